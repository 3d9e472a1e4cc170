//! U1 and U2: the two commands of README's quick start, on a fresh clone and without a terminal.

use std::{fs, time::Duration};

use crate::{
    check::{Check, Outcome, Profile, Run},
    outside::{Checkout, root, typed},
};

/// How long the demonstration may take once it is built.
const DEMONSTRATION: Duration = Duration::from_secs(60);

/// How long a build, or all tests, may take.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Words that must stand in the demonstration's output: every delivery mode and what happened.
const SHOWN: [&str; 6] = ["ordered", "unordered", "unreliable", "sequenced", "RTT", "connect"];

/// U1. Quick: in this checkout instead of a fresh clone.
pub(super) struct FirstCommand;

impl Check for FirstCommand {
    fn id(&self) -> &'static str {
        "U1"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, run: &Run) -> Outcome {
        demonstration(run.quick).unwrap_or_else(|reason| Outcome::fell_short("not shown").note(reason))
    }
}

/// U2. Quick: `cargo xtask ci --fast` in this checkout.
pub(super) struct SecondCommand;

impl Check for SecondCommand {
    fn id(&self) -> &'static str {
        "U2"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, run: &Run) -> Outcome {
        all_tests(run.quick).unwrap_or_else(|reason| Outcome::fell_short("tests fail").note(reason))
    }
}

fn demonstration(quick: bool) -> Result<Outcome, String> {
    let [first, _] = quick_start()?;
    let clone = if quick { None } else { Some(Checkout::fresh()?) };
    let directory = clone.as_ref().map_or(root(), |clone| &clone.directory);
    let build = first.split(" -- ").next().unwrap_or(&first).replacen("cargo run", "cargo build", 1);
    let (_, building) = typed(&build, directory, PATIENCE)?;
    let (output, time) = typed(&first, directory, DEMONSTRATION)?;
    let missing: Vec<_> = SHOWN.iter().filter(|word| !output.contains(**word)).collect();
    let plain = !output.contains('\x1b');
    let figure =
        format!("`{first}` built in {:.0} s, ran {:.0} s", building.as_secs_f64(), time.as_secs_f64());
    let mut outcome = Outcome::new(missing.is_empty() && plain, figure);
    if !missing.is_empty() {
        outcome = outcome.note(format!("its output does not mention {missing:?}"));
    }
    if !plain {
        outcome = outcome.note("its output has escape codes though it is no terminal");
    }
    Ok(outcome)
}

fn all_tests(quick: bool) -> Result<Outcome, String> {
    let [_, second] = quick_start()?;
    let clone = if quick { None } else { Some(Checkout::fresh()?) };
    let directory = clone.as_ref().map_or(root(), |clone| &clone.directory);
    let command = if quick { format!("{second} --fast") } else { second };
    let (output, _) = typed(&command, directory, PATIENCE)?;
    let summary = output.lines().rfind(|line| line.starts_with("ci: ")).unwrap_or_default();
    Ok(Outcome::new(summary.contains(" 0 failed"), format!("`{command}` said {summary:?}")))
}

/// The two lines of the `sh` block under README's "Quick start".
fn quick_start() -> Result<[String; 2], String> {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    commands(&readme)
        .ok_or_else(|| "README.md has no `sh` block of two commands under \"Quick start\"".into())
}

fn commands(readme: &str) -> Option<[String; 2]> {
    let section = readme.split_once("Quick start\n")?.1;
    let block = section.split_once("```sh\n")?.1.split_once("```")?.0;
    let lines: Vec<_> = block.lines().map(str::to_owned).collect();
    <[String; 2]>::try_from(lines).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_commands_are_found() {
        let readme = "# X\n\n## Quick start\n\nText.\n\n```sh\ncargo run\ncargo xtask ci\n```\n\nMore.\n";
        assert_eq!(commands(readme), Some(["cargo run".to_owned(), "cargo xtask ci".to_owned()]));
        assert_eq!(commands(&readme.replace("cargo run\n", "")), None, "one command is not two");
        assert_eq!(commands("# X\n"), None);
    }
}

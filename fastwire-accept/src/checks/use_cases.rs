//! U5 and U6: one program driven in three ways, and every documented name.

use std::fs;

use crate::check::{Check, Outcome, Profile, Run};
use crate::outside::{cargo_here, root};

/// "In under 40 lines": the whole file, without blank lines and comments.
const LINES: usize = 40;
const WAYS: [&str; 3] = ["echo_tick", "echo_thread", "echo_async"];

/// U5.
pub(super) struct ThreeWays;

impl Check for ThreeWays {
    fn id(&self) -> &'static str {
        "U5"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, _: &Run) -> Outcome {
        let mut said = Vec::new();
        let mut figures = Vec::new();
        for name in WAYS {
            match way(name) {
                Ok((lines, output)) => {
                    figures.push(format!("{name} {lines} lines"));
                    said.push((lines < LINES, output));
                }
                Err(reason) => return Outcome::fell_short(format!("{name} does not run")).note(reason),
            }
        }
        let short = said.iter().all(|(short, _)| *short);
        let same = said.iter().all(|(_, output)| *output == said[0].1 && !output.is_empty());
        let outcome = Outcome::new(short && same, figures.join(", "));
        if same { outcome } else { outcome.note("the three do not say the same") }
    }
}

/// Runs one of the examples; its length, and what it printed.
fn way(name: &str) -> Result<(usize, String), String> {
    let path = root().join(format!("fastwire/examples/{name}.rs"));
    let source = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let output = cargo_here(&format!("run --quiet --locked -p fastwire --all-features --example {name}"))?;
    let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    Ok((source.lines().filter(code).count(), output))
}

/// U6.
pub(super) struct EveryName;

impl Check for EveryName {
    fn id(&self) -> &'static str {
        "U6"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, _: &Run) -> Outcome {
        let rows = fs::read_to_string(root().join("docs/names.md")).unwrap_or_default();
        let rows = rows.lines().filter(|line| line.starts_with("| `")).count();
        match cargo_here("test --locked -p fastwire --all-features --test it names:: -- --nocapture") {
            Ok(output) => {
                let tests = output.lines().filter(|line| line.starts_with("test names::")).count();
                let figure = format!("{rows} rows of names, {tests} tests over all of them");
                Outcome::new(tests >= 2 && rows > 0, figure)
            }
            Err(reason) => Outcome::fell_short("a name is missing or wrong").note(reason),
        }
    }
}

//! The command line of `cargo xtask accept`.

use std::path::PathBuf;

use crate::{
    catalogue,
    check::{Check, Profile},
};

pub(crate) const HELP: &str = "\
cargo xtask accept ID... [OPTIONS]

  ID               a line of docs/acceptance.md, such as R1; a letter alone is every built line of its table
  --quick          the form for continuous integration, about ten seconds a line
  --profile NAME   base or extended; otherwise every profile the line is built for
  --seed N         of a check over many seeds this one alone, told in detail; else where chance starts (default 1)
  --json FILE      also write the results there
  --list [ID...]   what there is and what is not built yet; with IDs, exit code 2 unless all are built

A line each: R1/base ok 25000 seeds, 0 failures, 412 s
Exit code 0: all ok; 1: something fell short; 2: unknown or not built.";

/// What was asked.
pub(crate) enum Command {
    Help,
    /// These identifiers, or all when there are none.
    List(Vec<String>),
    Run(Options),
}

/// How to run which checks.
pub(crate) struct Options {
    /// Built, in the order given, each once.
    pub(crate) ids: Vec<String>,
    pub(crate) quick: bool,
    pub(crate) profile: Option<Profile>,
    pub(crate) seed: Option<u64>,
    pub(crate) json: Option<PathBuf>,
}

/// Reads the arguments; the error says what to change.
pub(crate) fn parse(arguments: &[String], checks: &[Box<dyn Check>]) -> Result<Command, String> {
    let mut options = Options { ids: Vec::new(), quick: false, profile: None, seed: None, json: None };
    let mut named: Vec<String> = Vec::new();
    let mut list = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--list" => list = true,
            "--quick" => options.quick = true,
            "--json" => options.json = Some(value()?.into()),
            "--profile" => {
                options.profile = Some(match value()?.as_str() {
                    "base" => Profile::Base,
                    "extended" => Profile::Extended,
                    other => return Err(format!("--profile {other:?}: choose base or extended")),
                });
            }
            "--seed" => {
                let text = value()?;
                let number =
                    text.strip_prefix("0x").map_or_else(|| text.parse(), |h| u64::from_str_radix(h, 16));
                let number =
                    number.map_err(|_| format!("--seed {text:?}: give a number from 0 to 2^64 - 1"))?;
                options.seed = Some(number);
            }
            option if option.starts_with('-') => return Err(format!("unknown option {option}; see --help")),
            id => named.push(id.to_uppercase()),
        }
    }
    if list {
        return Ok(Command::List(named));
    }
    if named.is_empty() {
        return Err("name the checks to run, such as R1; --list shows them, --help the options".into());
    }
    for name in &named {
        for id in expand(name, checks)? {
            if !options.ids.contains(&id) {
                options.ids.push(id);
            }
        }
    }
    if options.ids.is_empty() {
        return Err(format!("nothing of {} is built yet", named.join(", ")));
    }
    Ok(Command::Run(options))
}

/// The checks a name stands for: itself, which must be built, or whatever is built of a table.
fn expand(name: &str, checks: &[Box<dyn Check>]) -> Result<Vec<String>, String> {
    let table = name.len() == 1;
    let mut lines = catalogue::LINES
        .iter()
        .filter(|line| line.id == name || (table && line.id.starts_with(name)))
        .map(|line| line.id.to_owned())
        .peekable();
    if lines.peek().is_none() {
        return Err(format!("{name} is unknown; --list shows what there is"));
    }
    let built: Vec<_> = lines.filter(|id| checks.iter().any(|check| check.id() == id)).collect();
    if built.is_empty() && !table { Err(format!("{name} is not built yet")) } else { Ok(built) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(&line.split_whitespace().map(Into::into).collect::<Vec<_>>(), &checks::all())
    }

    #[test]
    fn options_may_stand_anywhere() {
        let Ok(Command::Run(options)) = parsed("--quick s11 --seed 0x1f U3 --profile extended S11") else {
            panic!("these arguments are fine");
        };
        assert_eq!(options.ids, ["S11", "U3"]);
        assert!(options.quick && options.seed == Some(31) && options.profile == Some(Profile::Extended));
    }

    #[test]
    fn a_letter_is_whatever_is_built_of_a_table() {
        let Ok(Command::Run(options)) = parsed("P S") else {
            panic!("S11 is built");
        };
        assert!(options.ids.contains(&"S11".to_owned()));
        assert!(options.ids.iter().all(|id| id.starts_with(['P', 'S'])));
    }

    #[test]
    fn what_cannot_be_done_is_said_before_anything_runs() {
        for (line, says) in [
            ("", "name the checks"),
            ("R99", "unknown"),
            ("S11 Z", "unknown"),
            ("S11 --profile fast", "base or extended"),
            ("S11 --seed -1", "2^64"),
            ("S11 --seed", "needs a value"),
            ("S11 --slow", "unknown option"),
        ] {
            assert!(parsed(line).is_err_and(|reason| reason.contains(says)), "{line:?}");
        }
    }

    #[test]
    fn what_is_not_built_is_said_too() {
        for name in ["S11", "S"] {
            assert!(parse(&[name.into()], &[]).is_err_and(|reason| reason.contains("built yet")), "{name}");
        }
    }
}

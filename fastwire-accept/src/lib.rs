//! The acceptance checks of `docs/acceptance.md`, each a figure and the command that shows it.
//!
//! [`catalogue`] knows every line of the tables, built or not; [`checks`] holds what is built; `report` prints and
//! writes the results. A check implements [`Check`] and joins the list in `checks/mod.rs`.

pub mod catalogue;
pub mod check;
pub mod checks;
pub mod figure;
pub mod flood;
mod foreign;
pub mod line;
mod options;
pub mod outside;
pub mod relay;
mod report;
mod scenario;
mod scripted;
pub mod soak;
mod stand_in;

use std::{process::ExitCode, time::Instant};

pub use check::{Check, Fault, Outcome, Profile, Run};

use fastwire_testkit::counting::Counting;
use options::{Command, Options};
use report::{Row, print_row, write_json};

/// Every program of this crate can say what it allocates.
#[global_allocator]
static COUNTING: Counting = Counting;

/// Does what `cargo xtask accept` was asked. Exit code 0: all ok; 1: something fell short; 2: unknown, not built, or the
/// arguments make no sense.
pub fn run(arguments: &[String]) -> ExitCode {
    let checks = checks::all();
    let options = match options::parse(arguments, &checks) {
        Ok(Command::Help) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Command::List(ids)) => return report::list(&ids, &checks),
        Ok(Command::Run(options)) => options,
        Err(reason) => {
            eprintln!("accept: {reason}");
            return ExitCode::from(2);
        }
    };
    let rows = perform(&options, &checks);
    if let Some(file) = &options.json
        && let Err(e) = write_json(file, &rows)
    {
        eprintln!("accept: cannot write {}: {e}", file.display());
        return ExitCode::from(2);
    }
    if rows.iter().all(|row| row.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn perform(options: &Options, checks: &[Box<dyn Check>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for id in &options.ids {
        // one line may have a check for each profile
        let of_line = checks.iter().filter(|check| check.id() == id);
        let (left_out, runs): (Vec<_>, Vec<_>) =
            of_line.partition(|check| options.quick && !check.has_quick_form());
        if !left_out.is_empty() {
            println!("{id} has no quick form: left out");
        }
        for (check, &profile) in
            runs.iter().flat_map(|check| check.profiles().iter().map(move |p| (check, p)))
        {
            if options.profile.is_some_and(|wanted| profile != Profile::Either && profile != wanted) {
                continue;
            }
            let run = Run { profile, quick: options.quick, seed: options.seed };
            let started = Instant::now();
            let outcome = guarded(check.as_ref(), &run);
            let row = Row::new(check.id(), &run, outcome, started.elapsed());
            print_row(&row);
            rows.push(row);
        }
    }
    rows
}

/// A check that panics has fallen short; the others still run.
fn guarded(check: &dyn Check, run: &Run) -> Outcome {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check.run(run)));
    result.unwrap_or_else(|panic| Outcome::fell_short(format!("panicked: {}", panic_text(panic.as_ref()))))
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    impl Check for Panics {
        fn id(&self) -> &'static str {
            "R1"
        }

        fn profiles(&self) -> &'static [Profile] {
            &[Profile::Base]
        }

        fn run(&self, _: &Run) -> Outcome {
            panic!("seed 7 lost a message")
        }
    }

    #[test]
    fn a_check_that_panics_has_fallen_short() {
        let outcome = guarded(&Panics, &Run { profile: Profile::Base, quick: true, seed: None });
        assert!(!outcome.ok && outcome.figure.contains("seed 7"));
    }
}

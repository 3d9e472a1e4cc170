//! `cargo xtask ci`: every check of the project, in the order in which they fail fastest.

mod audit;
mod edges;
mod house;
pub(crate) mod portable;
mod steps;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use self::steps::{Outcome, STEPS, Step};
use crate::{Done, helped, workspace::Workspace};

const HELP: &str = "\
cargo xtask ci [--fast] [--list] [STEP...]

  --fast  the steps to run before every commit
  --list  the steps, in order
  STEP    only these steps

Stops at the first step that fails; exit code 0 only if all passed.";

pub(crate) fn run(arguments: &[String]) -> Done {
    if helped(arguments, HELP) {
        return Ok(ExitCode::SUCCESS);
    }
    let (options, named): (Vec<_>, Vec<_>) = arguments.iter().partition(|a| a.starts_with("--"));
    if let Some(unknown) = options.iter().find(|option| !["--fast", "--list"].contains(&option.as_str())) {
        return Err(format!("unknown option {unknown}; see cargo xtask ci --help"));
    }
    if let Some(unknown) = named.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        return Err(format!("no step {unknown:?}; `cargo xtask ci --list` shows them"));
    }
    let fast = options.iter().any(|option| *option == "--fast");
    let wanted = |step: &&Step| {
        (!fast || step.fast) && (named.is_empty() || named.iter().any(|name| *name == step.name))
    };
    let steps: Vec<_> = STEPS.iter().filter(wanted).collect();
    if options.iter().any(|option| *option == "--list") {
        for step in steps {
            println!("{:10} {}{}", step.name, step.says, if step.fast { " (fast)" } else { "" });
        }
        return Ok(ExitCode::SUCCESS);
    }
    perform(&steps, &Workspace::load()?)
}

fn perform(steps: &[&Step], workspace: &Workspace) -> Done {
    let mut rows = Vec::new();
    let mut failure = None;
    for (index, step) in steps.iter().enumerate() {
        println!("\n== {}/{} {}: {}", index + 1, steps.len(), step.name, step.says);
        let started = Instant::now();
        let result = (step.work)(workspace);
        let time = started.elapsed();
        let verdict = match &result {
            Ok(Outcome::Passed) => "ok".to_owned(),
            Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
            Err(_) => "FAILED".to_owned(),
        };
        println!("== {}: {verdict}, {}", step.name, Readable(time));
        rows.push((step.name, verdict, time));
        if let Err(reason) = result {
            failure = Some((step.name, reason));
            break;
        }
    }
    let count = |start: &str| rows.iter().filter(|(_, verdict, _)| verdict.starts_with(start)).count();
    let skipped = count("skipped");
    let total: Duration = rows.iter().map(|(_, _, time)| *time).sum();
    println!();
    for (name, verdict, time) in &rows {
        println!("  {name:10} {:>11}  {verdict}", Readable(*time).to_string());
    }
    if let Some((name, reason)) = &failure {
        println!("\n{reason}\nAgain, this step alone: cargo xtask ci {name}");
    }
    let left_out = match skipped {
        0 => String::new(),
        n => format!(", {n} skipped"),
    };
    println!("\nci: {} passed, {} failed{left_out} in {}", count("ok"), count("FAILED"), Readable(total));
    Ok(if failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A duration as one reads it in a table.
struct Readable(Duration);

impl std::fmt::Display for Readable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_secs() {
            seconds @ 60.. => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
            _ => write!(f, "{:.1} s", self.0.as_secs_f64()),
        }
    }
}

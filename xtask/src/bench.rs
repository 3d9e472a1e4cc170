//! `cargo xtask bench`: the criterion benches of every layer, and comparing two commits.

use std::process::ExitCode;

use crate::{Done, helped, shell::Shell, workspace::Workspace};

const HELP: &str = "\
cargo xtask bench [-p CRATE]... [--save NAME] [--against NAME] [--list] [FILTER]

  -p CRATE        only this crate's benches
  --save NAME     keep the figures under this name
  --against NAME  compare with figures kept before
  --list          the benches there are
  FILTER          only benches whose name contains it

Two commits, on a quiet machine:

  git switch --detach OLD && cargo xtask bench --save old
  git switch --detach NEW && cargo xtask bench --against old";

pub(crate) fn run(arguments: &[String]) -> Done {
    if helped(arguments, HELP) {
        return Ok(ExitCode::SUCCESS);
    }
    let mut crates = Vec::new();
    let mut passed_on = Vec::new();
    let mut only_list = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value =
            || rest.next().ok_or(format!("{argument} needs a value; see cargo xtask bench --help"));
        match argument.as_str() {
            "-p" => crates.push(value()?.clone()),
            "--save" => passed_on.extend(["--save-baseline".to_owned(), value()?.clone()]),
            "--against" => passed_on.extend(["--baseline".to_owned(), value()?.clone()]),
            "--list" => only_list = true,
            option if option.starts_with('-') => {
                return Err(format!("unknown option {option}; see cargo xtask bench --help"));
            }
            filter => passed_on.push(filter.to_owned()),
        }
    }
    let workspace = Workspace::load()?;
    if let Some(unknown) = crates.iter().find(|name| workspace.member(name).is_none()) {
        return Err(format!("-p {unknown}: no such crate in the workspace"));
    }
    let mut benches = 0;
    for member in workspace.members.iter().filter(|m| crates.is_empty() || crates.contains(&m.name)) {
        for bench in member.targets("bench") {
            benches += 1;
            if only_list {
                println!("{} {}", member.name, bench.name);
                continue;
            }
            // One target at a time: the test harness of a library would not know criterion's options.
            Shell::cargo(&format!("bench -p {} --bench {} --", member.name, bench.name))
                .arguments(&passed_on)
                .directory(&workspace.root)
                .run()?;
        }
    }
    if benches == 0 { Err("no benches there".into()) } else { Ok(ExitCode::SUCCESS) }
}

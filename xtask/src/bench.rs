//! `cargo xtask bench`: FastWire beside its peers, layer by layer, and in instructions.

use std::process::ExitCode;

use crate::{Done, counts, helped, shell::Shell, workspace::Workspace, workspace::root};

const HELP: &str = "\
cargo xtask bench [--short | --full | --quick] [--workload P1,P3...] [--system NAME,...] [--rounds N]
                  [--json FILE] [--docs] [--render FILE]
    FastWire and its peers, client and server in separate processes; --short (the default) takes about five
    minutes, --full about 25. --docs writes docs/bench.md and docs/bench.svg, --render FILE does so from FILE.

cargo xtask bench --time [--json]
    nanoseconds of each layer, of AEAD libraries and of key agreement, in one run

cargo xtask bench --fan-out
    nanoseconds of a server's core, with few connections and with many

cargo xtask bench --counts [--bless]
    instructions of each layer (valgrind) against fastwire-bench/counts.json; more than 2 % above it is an error;
    --bless writes the file

cargo xtask bench --layers [-p CRATE]... [--save NAME] [--against NAME] [--list] [FILTER]
    the criterion benches of every crate; only those whose name contains FILTER
    --save NAME     keep the figures under this name
    --against NAME  compare with figures kept before

Two commits, on a quiet machine:

  git switch --detach OLD && cargo xtask bench --layers --save old
  git switch --detach NEW && cargo xtask bench --layers --against old";

pub(crate) fn run(arguments: &[String]) -> Done {
    if helped(arguments, HELP) {
        return Ok(ExitCode::SUCCESS);
    }
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("--layers") => layers(rest),
        Some("--counts") => counts::run(rest),
        Some("--fan-out") => member("layers", &["fan-out"]).replace(),
        Some("--time") => member("layers", &["time"]).arguments(rest).replace(),
        _ => member("fastwire-bench", &[]).arguments(arguments).replace(),
    }
}

/// A program of the member that stands apart because of the peers it compiles.
pub(crate) fn member(program: &str, arguments: &[&str]) -> Shell {
    // A directory of its own: it has other features and profiles than the workspace.
    Shell::cargo(
        "run --quiet --release --manifest-path fastwire-bench/Cargo.toml --target-dir target/bench --bin",
    )
    .arguments([program, "--"])
    .arguments(arguments)
    .directory(root())
}

/// Builds the programs of that member; where one of them is.
pub(crate) fn built(program: &str) -> Result<String, String> {
    Shell::cargo(
        "build --quiet --release --manifest-path fastwire-bench/Cargo.toml --target-dir target/bench",
    )
    .directory(root())
    .run()?;
    Ok(root().join("target/bench/release").join(program).to_string_lossy().into_owned())
}

fn layers(arguments: &[String]) -> Done {
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

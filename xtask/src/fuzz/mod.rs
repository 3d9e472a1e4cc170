//! `cargo xtask fuzz`: replay the corpus on stable Rust, or fuzz with cargo-fuzz on nightly.

mod record;

use std::{fs, path::PathBuf, process::ExitCode};

use crate::{
    Done, helped,
    shell::Shell,
    workspace::{Workspace, root},
};
use record::{Record, Run, today};

const HELP: &str = "\
cargo xtask fuzz                    replay every target's corpus (stable Rust)
cargo xtask fuzz TARGET [SECONDS]   fuzz one target (default 60 s; needs nightly, cargo-fuzz and a C++ compiler) and add
                                    its executions to fuzz/executions.json
cargo xtask fuzz --all SECONDS      each target in turn, so long
cargo xtask fuzz --minimise TARGET  keep the inputs of its corpus, with what its runs found, that together reach
                                    everything they reach
cargo xtask fuzz --table            executions so far
cargo xtask fuzz --seeds            write the first inputs of every target again, from tests/vectors
cargo xtask fuzz --list             the targets there are";

/// A target that takes more memory, or longer over one input, has a fault.
const LIMITS: [&str; 4] = ["-rss_limit_mb=512", "-timeout=10", "-max_len=2048", "-print_final_stats=1"];

pub(crate) fn run(arguments: &[String]) -> Done {
    if helped(arguments, HELP) {
        return Ok(ExitCode::SUCCESS);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => replay(&Workspace::load()?)?.run().map(|()| ExitCode::SUCCESS),
        ["--list"] => {
            targets()?.iter().for_each(|target| println!("{}", target.name));
            Ok(ExitCode::SUCCESS)
        }
        ["--table"] => {
            print!("{}", Record::load()?.table());
            Ok(ExitCode::SUCCESS)
        }
        ["--seeds"] => {
            let shell = Shell::cargo("run --quiet --manifest-path fuzz/Cargo.toml --example seeds");
            shell.directory(root()).run().map(|()| ExitCode::SUCCESS)
        }
        ["--minimise", target] => minimise(&find(target)?),
        ["--all", seconds] => fuzz_all(&targets()?, parse(seconds)?),
        [target] => fuzz_all(&[find(target)?], 60),
        [target, seconds] | [target, "--for", seconds] | ["--for", seconds, target] => {
            fuzz_all(&[find(target)?], parse(seconds)?)
        }
        _ => Err(format!("cannot make sense of {arguments:?}; see cargo xtask fuzz --help")),
    }
}

/// The command that replays every corpus; an error when there are no fuzz targets.
pub(crate) fn replay(workspace: &Workspace) -> Result<Shell, String> {
    targets()?;
    // A directory of its own: the fuzz workspace has other profiles.
    let target = workspace.target.join("fuzz");
    Ok(Shell::cargo("test --quiet --manifest-path fuzz/Cargo.toml --target-dir")
        .arguments([target.to_string_lossy()])
        .directory(&workspace.root))
}

/// A target, as `fuzz/src/lib.rs` lists it.
struct Target {
    name: String,
    kind: &'static str,
}

impl Target {
    /// What is checked in.
    fn corpus(&self) -> PathBuf {
        root().join("fuzz/corpus").join(&self.name)
    }

    /// What runs here found on their way, which is kept out of the corpus until it is minimised.
    fn found(&self) -> PathBuf {
        root().join("target/fuzz-found").join(&self.name)
    }
}

fn parse(seconds: &str) -> Result<u32, String> {
    seconds.parse().map_err(|_| format!("{seconds:?}: give a whole number of seconds, such as 60"))
}

/// Fuzzes one after the other. A fault in one keeps the others from nothing.
fn fuzz_all(targets: &[Target], seconds: u32) -> Done {
    let mut failed = Vec::new();
    for target in targets {
        if !fuzz(target, seconds)? {
            failed.push(target.name.as_str());
        }
    }
    match failed[..] {
        [] => Ok(ExitCode::SUCCESS),
        _ => Err(format!("found something in {}; the inputs are in fuzz/artifacts", failed.join(", "))),
    }
}

/// Fuzzes one target and adds to the record; whether nothing was found.
fn fuzz(target: &Target, seconds: u32) -> Result<bool, String> {
    let found = target.found();
    fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
    // The first directory is written to.
    let directories = [found, target.corpus()].map(|path| path.to_string_lossy().into_owned());
    let shell = cargo_fuzz("run", target)?
        .arguments(directories)
        .arguments(["--", &format!("-max_total_time={seconds}")])
        .arguments(LIMITS);
    println!("$ {shell}");
    let (ok, said) = shell.teed()?;
    let Some(run) = Run::parse(&said) else {
        return Err(format!("`{shell}` failed before it ran anything"));
    };
    let mut record = Record::load()?;
    record.add(&target.name, target.kind, run, today());
    record.save()?;
    Ok(ok)
}

fn minimise(target: &Target) -> Done {
    let (found, corpus) = (target.found(), target.corpus());
    for file in fs::read_dir(&found).into_iter().flatten().flatten() {
        fs::copy(file.path(), corpus.join(file.file_name()))
            .map_err(|error| format!("{}: {error}", file.path().display()))?;
    }
    cargo_fuzz("cmin", target)?.replace()
}

/// Without a sanitizer: the code is safe Rust that checks its arithmetic here, and runs three times as often so.
fn cargo_fuzz(command: &str, target: &Target) -> Result<Shell, String> {
    if !Shell::new("cargo-fuzz").words("--version").succeeds() {
        return Err(
            "cargo-fuzz is missing; `cargo install cargo-fuzz` and a nightly toolchain bring it".into()
        );
    }
    // Through rustup, since the cargo that runs us is a stable one.
    Ok(Shell::new("rustup")
        .words("run nightly cargo fuzz")
        .arguments([command, "--features", "libfuzzer", "--sanitizer", "none", &target.name])
        .directory(root()))
}

fn find(name: &str) -> Result<Target, String> {
    let mut targets = targets()?;
    let known: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    let at = known.iter().position(|known| known == name);
    let at = at.ok_or_else(|| format!("no fuzz target {name:?}; there are: {}", known.join(", ")))?;
    Ok(targets.swap_remove(at))
}

fn targets() -> Result<Vec<Target>, String> {
    let file = root().join("fuzz/src/lib.rs");
    let text = fs::read_to_string(file).map_err(|_| "there are no fuzz targets yet".to_owned())?;
    let mut targets: Vec<Target> = text.lines().filter_map(listed).collect();
    targets.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(targets)
}

/// Reads `name: Kind path;`.
fn listed(line: &str) -> Option<Target> {
    let (name, rest) = line.strip_prefix("    ")?.strip_suffix(';')?.split_once(": ")?;
    let kind = match rest.split_once(' ')?.0 {
        "Parser" => "parser",
        "State" => "state",
        _ => return None,
    };
    Some(Target { name: name.into(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_from_the_list_and_all_are_in_the_record() {
        let targets = targets().unwrap();
        let record = Record::load().unwrap();
        let binaries = fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap().count();
        assert_eq!((targets.len(), record.0.len()), (binaries, binaries));
        for target in targets {
            assert_eq!(record.0.get(&target.name).map(|entry| &*entry.kind), Some(target.kind));
        }
    }
}

//! `cargo xtask fuzz`: replay the corpus on stable Rust, or fuzz with cargo-fuzz on nightly.

use std::{fs, process::ExitCode};

use crate::{
    Done, helped,
    shell::Shell,
    workspace::{Workspace, root},
};

const HELP: &str = "\
cargo xtask fuzz                    replay every target's corpus (stable Rust)
cargo xtask fuzz TARGET [SECONDS]   fuzz one target (default 60 s; needs nightly, cargo-fuzz and a C++ compiler)
cargo xtask fuzz --minimise TARGET  keep the inputs of its corpus that together reach everything it reaches
cargo xtask fuzz --seeds            write the first inputs of every target again, from tests/vectors
cargo xtask fuzz --list             the targets there are";

pub(crate) fn run(arguments: &[String]) -> Done {
    if helped(arguments, HELP) {
        return Ok(ExitCode::SUCCESS);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => replay(&Workspace::load()?)?.run().map(|()| ExitCode::SUCCESS),
        ["--list"] => {
            targets()?.iter().for_each(|target| println!("{target}"));
            Ok(ExitCode::SUCCESS)
        }
        ["--seeds"] => {
            let shell = Shell::cargo("run --quiet --manifest-path fuzz/Cargo.toml --example seeds");
            shell.directory(root()).run().map(|()| ExitCode::SUCCESS)
        }
        ["--minimise", target] => cargo_fuzz("cmin", target, &[]),
        [target] => fuzz(target, "60"),
        [target, seconds] | [target, "--for", seconds] | ["--for", seconds, target] => fuzz(target, seconds),
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

fn fuzz(target: &str, seconds: &str) -> Done {
    let seconds: u32 =
        seconds.parse().map_err(|_| format!("{seconds:?}: give a whole number of seconds, such as 60"))?;
    // A target that takes more memory, or longer over one input, has a fault.
    let time = format!("-max_total_time={seconds}");
    cargo_fuzz(
        "run",
        target,
        &[&time, "-rss_limit_mb=512", "-timeout=10", "-max_len=2048", "-print_final_stats=1"],
    )
}

/// Without a sanitizer: the code is safe Rust that checks its arithmetic here, and runs three times as often so.
fn cargo_fuzz(command: &str, target: &str, limits: &[&str]) -> Done {
    let known = targets()?;
    if !known.iter().any(|name| name == target) {
        return Err(format!("no fuzz target {target:?}; there are: {}", known.join(", ")));
    }
    if !Shell::new("cargo-fuzz").words("--version").succeeds() {
        return Err(
            "cargo-fuzz is missing; `cargo install cargo-fuzz` and a nightly toolchain bring it".into()
        );
    }
    // Through rustup, since the cargo that runs us is a stable one.
    Shell::new("rustup")
        .words("run nightly cargo fuzz")
        .arguments([command, "--features", "libfuzzer", "--sanitizer", "none", target, "--"])
        .arguments(limits)
        .directory(root())
        .replace()
}

fn targets() -> Result<Vec<String>, String> {
    let directory = root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&directory).map_err(|_| "there are no fuzz targets yet".to_owned())?;
    let mut names: Vec<String> = files
        .filter_map(|file| file.ok()?.file_name().to_str()?.strip_suffix(".rs").map(Into::into))
        .collect();
    names.sort();
    Ok(names)
}

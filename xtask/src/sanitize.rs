//! `cargo xtask sanitize`: the tests of the code that touches memory by hand, under AddressSanitizer.

use std::process::ExitCode;

use crate::{
    Done, helped,
    shell::Shell,
    workspace::{Workspace, root},
};

const HELP: &str = "\
cargo xtask sanitize   the tests of fastwire-crypto (whose ring back end is unsafe) and of fastwire's sockets and shells, with what they
                       depend on, under AddressSanitizer: bounds, use after free, leaks

Needs a nightly toolchain for Linux on x86-64 or ARM64; without one it says so and exits with 0. The standard library is the toolchain's
own, not instrumented. ThreadSanitizer is not offered: it takes locks of a library that is not instrumented for races. What threads share
is explored by `cargo xtask ci model` instead.";

/// A package, which of its tests, by libtest's filter.
const TESTS: &[&str] = &[
    "-p fastwire-crypto --all-features --lib --tests",
    "-p fastwire --all-features --lib transport::",
    "-p fastwire --all-features --test it shell::",
];

pub(crate) fn run(arguments: &[String]) -> Done {
    if helped(arguments, HELP) {
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.is_empty() {
        return Err(format!("cannot make sense of {arguments:?}; see cargo xtask sanitize --help"));
    }
    let version = Shell::new("rustup").words("run nightly rustc -vV").output().unwrap_or_default();
    let Some(host) = version.lines().find_map(|line| line.strip_prefix("host: ")) else {
        println!("skipped: no nightly toolchain, try `rustup toolchain install nightly`");
        return Ok(ExitCode::SUCCESS);
    };
    if !["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"].contains(&host) {
        println!("skipped: no AddressSanitizer for {host} with a standard library that is not instrumented");
        return Ok(ExitCode::SUCCESS);
    }
    let target = Workspace::load()?.target.join("sanitize");
    for tests in TESTS {
        // With a target of its own the flags reach no build script and no procedural macro.
        let shell =
            Shell::new("rustup").words("run nightly cargo test --quiet --target").words(host).words(tests);
        let shell = shell.variable("RUSTFLAGS", "-Zsanitizer=address").variable("CARGO_INCREMENTAL", "0");
        shell.variable("CARGO_TARGET_DIR", &target.to_string_lossy()).directory(root()).run()?;
    }
    Ok(ExitCode::SUCCESS)
}

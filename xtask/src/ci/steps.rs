//! The steps of `cargo xtask ci`.
//!
//! Steps share what they compile: clippy and the tests use the same features and profile, so dependencies are built once
//! for checking and once for running. Only the acceptance checks (release) and the oldest Rust build them again.

use std::time::Duration;

use super::{audit, edges, house, portable};
use crate::{
    accept, fuzz,
    shell::Shell,
    workspace::{Member, Workspace},
};

/// One step: what the summary calls it, what it looks at, how.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) says: &'static str,
    /// Whether `--fast` includes it.
    pub(super) fast: bool,
    pub(super) work: fn(&Workspace) -> Result<Outcome, String>,
}

/// How a step ended, if it did not fail.
pub(super) enum Outcome {
    Passed,
    /// Nothing to check here, and why.
    Skipped(String),
}

/// Every step, cheapest first.
pub(super) const STEPS: &[Step] = &[
    Step { name: "format", says: "the code is formatted", fast: true, work: format },
    Step { name: "house", says: "every file keeps the rules of the house", fast: true, work: house },
    Step { name: "edges", says: "crates know only the crates they may know", fast: true, work: edges },
    Step { name: "audit", says: "licences, sources and duplicates of dependencies", fast: true, work: audit },
    Step { name: "clippy", says: "no warning with all features", fast: true, work: clippy },
    Step { name: "unit", says: "unit tests of every crate", fast: true, work: unit_tests },
    Step { name: "vectors", says: "the extended profile's bytes are as written", fast: true, work: vectors },
    Step { name: "tests", says: "all tests with all features", fast: false, work: tests },
    Step { name: "doctests", says: "all examples in the documentation", fast: false, work: doctests },
    Step { name: "docs", says: "the documentation builds without a warning", fast: false, work: docs },
    Step {
        name: "alone",
        says: "each crate by itself, every combination of features",
        fast: false,
        work: alone,
    },
    Step { name: "no-std", says: "fastwire-wire without the standard library", fast: false, work: no_std },
    Step { name: "msrv", says: "the rust-version of the manifests is true", fast: false, work: msrv },
    Step { name: "examples", says: "examples build, the bounded ones run", fast: false, work: examples },
    Step {
        name: "wireshark",
        says: "the dissector decrypts all modes of both profiles",
        fast: false,
        work: wireshark,
    },
    Step { name: "portable", says: "the fallbacks of everything Linux-only", fast: false, work: portable },
    Step { name: "model", says: "what threads share, under many schedules", fast: false, work: model },
    Step {
        name: "bench",
        says: "the harness beside the peers builds without a warning",
        fast: false,
        work: bench,
    },
    Step { name: "fuzz", says: "the fuzz targets over their corpus", fast: false, work: fuzz_corpus },
    Step {
        name: "accept",
        says: "faults and attacks survived, 64 simulated networks among them",
        fast: false,
        work: accept,
    },
];

/// How long a bounded example may run.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);

fn format(workspace: &Workspace) -> Result<Outcome, String> {
    here(workspace, "fmt --all --check").run()?;
    passed(here(workspace, "fmt --manifest-path fuzz/Cargo.toml --check").run())
}

fn house(workspace: &Workspace) -> Result<Outcome, String> {
    report(house::faults(workspace)?)
}

fn edges(workspace: &Workspace) -> Result<Outcome, String> {
    report(edges::faults(workspace))
}

fn audit(workspace: &Workspace) -> Result<Outcome, String> {
    report(audit::faults(workspace))
}

fn clippy(workspace: &Workspace) -> Result<Outcome, String> {
    passed(here(workspace, "clippy --workspace --all-targets --all-features -- -D warnings").run())
}

fn unit_tests(workspace: &Workspace) -> Result<Outcome, String> {
    passed(test(workspace, "--workspace --all-features --lib --bins").run())
}

fn vectors(workspace: &Workspace) -> Result<Outcome, String> {
    passed(here(workspace, "run --quiet -p fastwire-accept --bin vectors -- --check").run())
}

fn tests(workspace: &Workspace) -> Result<Outcome, String> {
    passed(test(workspace, "--workspace --all-features").run())
}

fn doctests(workspace: &Workspace) -> Result<Outcome, String> {
    passed(here(workspace, "test --quiet --workspace --all-features --doc").run())
}

fn docs(workspace: &Workspace) -> Result<Outcome, String> {
    let shell = here(workspace, "doc --workspace --all-features --no-deps");
    passed(shell.variable("RUSTDOCFLAGS", "-D warnings").run())
}

/// One package at a time, so that no other member's features or dependencies help out.
fn alone(workspace: &Workspace) -> Result<Outcome, String> {
    for member in workspace.published() {
        for features in combinations(member) {
            let mut shell = here(workspace, "clippy --quiet --no-default-features -p").words(&member.name);
            if !features.is_empty() {
                shell = shell.arguments(["--features", &features.join(",")]);
            }
            shell.words("-- -D warnings").run()?;
        }
    }
    Ok(Outcome::Passed)
}

/// Builds for a target without `std` where one is installed. Its source says `#![no_std]` in any case: a house rule.
fn no_std(workspace: &Workspace) -> Result<Outcome, String> {
    let Ok(installed) = Shell::new("rustup").words("target list --installed").output() else {
        return Ok(Outcome::Skipped("no rustup to ask for a bare-metal target".into()));
    };
    let Some(bare) = installed.lines().find(|target| target.contains("-none")) else {
        return Ok(Outcome::Skipped(
            "no bare-metal target, try `rustup target add thumbv7em-none-eabi`".into(),
        ));
    };
    passed(here(workspace, "check -p fastwire-wire --no-default-features --target").words(bare).run())
}

/// Checks with the oldest Rust that is promised, where rustup has it.
fn msrv(workspace: &Workspace) -> Result<Outcome, String> {
    let Some((major, minor, _)) = workspace.member("fastwire").and_then(|member| member.rust_version) else {
        return Err("fastwire/Cargo.toml states no rust-version".into());
    };
    let oldest = format!("{major}.{minor}");
    if !Shell::new("rustup").arguments(["run", &oldest, "cargo", "--version"]).succeeds() {
        return Ok(Outcome::Skipped(format!("no Rust {oldest}, try `rustup toolchain install {oldest}`")));
    }
    let target = workspace.target.join("msrv");
    let shell = Shell::new("rustup").arguments(["run", &oldest]);
    let shell = shell.words("cargo check --workspace --all-features --target-dir");
    passed(shell.arguments([target.to_string_lossy()]).directory(&workspace.root).run())
}

/// Dissects recorded conversations, where there is tshark.
fn wireshark(workspace: &Workspace) -> Result<Outcome, String> {
    if !Shell::new("tshark").words("--version").succeeds() {
        return Ok(Outcome::Skipped("no tshark, try `apt-get install tshark`".into()));
    }
    passed(here(workspace, "test --quiet -p fastwire --all-features --test it wireshark").run())
}

/// Builds every example and runs those that `[package.metadata.xtask] bounded-examples` of a crate names: they need no
/// arguments, no terminal and no second process, and end by themselves.
fn examples(workspace: &Workspace) -> Result<Outcome, String> {
    here(workspace, "build --workspace --all-features --examples").run()?;
    for member in &workspace.members {
        let bounded = member.metadata["xtask"]["bounded-examples"].as_array();
        for name in bounded.into_iter().flatten().filter_map(|name| name.as_str()) {
            let Some(example) = member.targets("example").find(|example| example.name == name) else {
                return Err(format!("{}: bounded-examples names {name:?}, which is no example", member.name));
            };
            // Not through `cargo run`, which would leave a grandchild behind when it must be stopped.
            let path = workspace.target.join("debug/examples").join(&example.name);
            Shell::new(&path.to_string_lossy()).directory(&workspace.root).run_within(EXAMPLE_LIMIT)?;
        }
    }
    Ok(Outcome::Passed)
}

fn portable(workspace: &Workspace) -> Result<Outcome, String> {
    let tests = test(workspace, "-p fastwire -p fastwire-fec --all-features");
    passed(portable::force(tests, "fastwire_portable", &workspace.target)?.run())
}

/// The unit tests that explore interleavings of threads (`fastwire/src/sync.rs`): a bounded number of schedules of each.
fn model(workspace: &Workspace) -> Result<Outcome, String> {
    let tests = test(workspace, "-p fastwire --all-features --lib model_");
    passed(portable::force(tests, "fastwire_model", &workspace.target)?.run())
}

/// Peers and all: the only step that compiles them. It measures nothing.
fn bench(workspace: &Workspace) -> Result<Outcome, String> {
    let target = workspace.target.join("bench");
    let target = target.to_string_lossy();
    let words = "--manifest-path fastwire-bench/Cargo.toml --target-dir";
    here(workspace, "fmt --check --manifest-path fastwire-bench/Cargo.toml").run()?;
    let clippy = here(workspace, "clippy --quiet --all-targets").words(words);
    clippy.arguments([&target, "--", "-D", "warnings"]).run()?;
    passed(here(workspace, "test --quiet").words(words).arguments([&target]).run())
}

fn fuzz_corpus(workspace: &Workspace) -> Result<Outcome, String> {
    passed(fuzz::replay(workspace)?.run())
}

/// The quick form of what docs/acceptance.md lists under R, E and S, as far as it is built: but for the floods of S1 and S2,
/// whose figures are times, and for mutations, which take hours. Of K what talks to another implementation, and what is far from
/// its limits on a busy machine too.
fn accept(_: &Workspace) -> Result<Outcome, String> {
    let lines = ["R", "E", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "K2", "K5", "--quick"];
    passed(accept::command(&lines).run())
}

fn here(workspace: &Workspace, words: &str) -> Shell {
    Shell::cargo(words).directory(&workspace.root)
}

/// nextest where it is installed (it stops a test that hangs), else cargo's own runner. Neither runs doctests here.
///
/// Property tests take the same cases each time: what is judged is the change, not its luck. By hand they take new ones.
fn test(workspace: &Workspace, selection: &str) -> Shell {
    let runner = if Shell::cargo("nextest --version").succeeds() {
        here(workspace, "nextest run --no-tests pass").words(selection)
    } else {
        let selects_targets = selection.contains("--lib");
        let targets = if selects_targets { "" } else { "--lib --bins --tests" };
        here(workspace, "test --quiet").words(selection).words(targets)
    };
    runner.variable("PROPTEST_RNG_SEED", "1")
}

/// Every set of features a crate can be built with: all subsets of a few, else none, each alone and all.
fn combinations(member: &Member) -> Vec<Vec<&str>> {
    const FEW: usize = 3;
    let features: Vec<_> = member.features.keys().map(String::as_str).filter(|f| *f != "default").collect();
    if features.len() <= FEW {
        let subsets = 0..1_usize << features.len();
        let chosen = |set| features.iter().enumerate().filter(move |(i, _)| set >> i & 1 == 1);
        return subsets.map(|set| chosen(set).map(|(_, feature)| *feature).collect()).collect();
    }
    let mut sets = vec![Vec::new()];
    sets.extend(features.iter().map(|feature| vec![*feature]));
    sets.push(features);
    sets
}

fn passed(result: Result<(), String>) -> Result<Outcome, String> {
    result.map(|()| Outcome::Passed)
}

/// Prints what is wrong, a line each.
fn report(faults: Vec<String>) -> Result<Outcome, String> {
    faults.iter().for_each(|fault| println!("  {fault}"));
    match faults.len() {
        0 => Ok(Outcome::Passed),
        count => Err(format!("{count} to mend, listed above")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn member(features: &[&str]) -> Member {
        Member {
            name: "x".into(),
            directory: Default::default(),
            published: true,
            rust_version: None,
            features: features
                .iter()
                .map(|name| ((*name).to_owned(), Vec::new()))
                .collect::<BTreeMap<_, _>>(),
            targets: Vec::new(),
            dependencies: Vec::new(),
            metadata: Default::default(),
        }
    }

    #[test]
    fn few_features_are_tried_in_every_combination_and_many_one_by_one() {
        assert_eq!(combinations(&member(&["default"])), [Vec::<&str>::new()]);
        assert_eq!(
            combinations(&member(&["a", "b", "default"])),
            [vec![], vec!["a"], vec!["b"], vec!["a", "b"]]
        );
        let many = member(&["a", "b", "c", "d"]);
        let sets = combinations(&many);
        assert_eq!(sets.len(), 6);
        assert_eq!(sets[0], Vec::<&str>::new());
        assert_eq!(sets[5], ["a", "b", "c", "d"]);
    }

    #[test]
    fn step_names_are_unique() {
        for (index, step) in STEPS.iter().enumerate() {
            assert!(STEPS[..index].iter().all(|other| other.name != step.name), "{} twice", step.name);
        }
    }
}

//! S11: the standards' own vectors and everything in `tests/vectors`, through the tests that read them.

use crate::{
    check::{Check, Outcome, Profile, Run},
    outside::cargo_here,
};

/// What a test must be named after, and the standard behind it.
const STANDARDS: [(&str, &str); 5] = [
    ("rfc7748", "X25519"),
    ("rfc8439", "ChaCha20-Poly1305"),
    ("rfc5869", "HKDF"),
    ("gcm", "AES-128-GCM"),
    ("low_order", "X25519 points of low order"),
];

/// The whole workspace, so that what `cargo xtask ci` has built is used again.
const COMMAND: &str = "test --locked --workspace --all-features --lib --tests -- --nocapture";

/// S11.
pub(super) struct StandardVectors;

impl Check for StandardVectors {
    fn id(&self) -> &'static str {
        "S11"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, _: &Run) -> Outcome {
        let names: Vec<_> = STANDARDS.iter().map(|(name, _)| *name).collect();
        let output = match cargo_here(&format!("{COMMAND} vectors {}", names.join(" "))) {
            Ok(output) => output,
            Err(complaint) => return Outcome::fell_short("a vector is not met").note(complaint),
        };
        let tests = passed_tests(&output);
        let tests_named = |name: &str| tests.iter().filter(|test| test.contains(name)).count();
        let cases: u64 = output.lines().filter_map(cases).sum();
        let missing: Vec<_> = STANDARDS.iter().filter(|(name, _)| tests_named(name) == 0).collect();
        let figure = format!(
            "{} of {} standards, {} tests over {cases} recorded cases",
            STANDARDS.len() - missing.len(),
            STANDARDS.len(),
            tests_named("vectors"),
        );
        let outcome = Outcome::new(missing.is_empty() && cases > 0, figure);
        missing.iter().fold(outcome, |outcome, (name, what)| {
            outcome.note(format!("no test is named after {name} ({what})"))
        })
    }
}

/// Names of the tests that passed: lines `test NAME ... ok`. What a test prints itself may stand between.
pub(super) fn passed_tests(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... ").map(|(name, _)| name))
        .filter(|name| !name.contains(' '))
        .collect()
}

/// How many cases a line of the vector loader speaks of.
pub(super) fn cases(line: &str) -> Option<u64> {
    line[line.find("vectors: ")?..].strip_suffix(" cases")?.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_cases_are_counted_from_what_cargo_prints() {
        let output = "running 2 tests\nvectors: /x/keys.json has 8 cases\n\
                      test keys::rfc7748 ... ok\ntest b ... vectors: 24 files session_* in /x, 100 cases\nok\n";
        assert_eq!(passed_tests(output), ["keys::rfc7748", "b"]);
        assert_eq!(output.lines().filter_map(cases).sum::<u64>(), 108);
    }
}

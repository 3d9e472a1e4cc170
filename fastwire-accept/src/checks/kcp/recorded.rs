//! K1: every file of `tests/vectors-kcp`, through the tests that read them.

use crate::check::{Check, Outcome, Profile, Run};
use crate::checks::vectors::{cases, passed_tests};
use crate::outside::cargo_here;

/// The tests, by a part of their names, that must have run.
const PARTS: [&str; 5] = ["crypt", "fec", "traces", "sessions", "listener"];

const COMMAND: &str = "test --locked -p fastwire-kcp --test it vectors -- --nocapture";

/// K1.
pub(in super::super) struct Recorded;

impl Check for Recorded {
    fn id(&self) -> &'static str {
        "K1"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, _: &Run) -> Outcome {
        let output = match cargo_here(COMMAND) {
            Ok(output) => output,
            Err(complaint) => return Outcome::fell_short("a vector is not met").note(complaint),
        };
        let tests = passed_tests(&output);
        let missing: Vec<_> =
            PARTS.iter().filter(|part| !tests.iter().any(|t| t.starts_with(*part))).collect();
        let count: u64 = output.lines().filter_map(cases).sum();
        let figure = format!("{} tests over {count} recorded cases", tests.len());
        let outcome = Outcome::new(missing.is_empty() && count > 0, figure);
        missing.iter().fold(outcome, |outcome, part| outcome.note(format!("no test of {part}")))
    }
}

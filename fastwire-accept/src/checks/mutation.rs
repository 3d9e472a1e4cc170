//! S12: small faults put into the code that attacks aim at, through `cargo xtask mutants`.

use crate::{
    check::{Check, Outcome, Profile, Run},
    outside::cargo_here,
};

/// How many faults.
const SAMPLE: usize = 200;

/// S12.
pub(super) struct Mutation;

impl Check for Mutation {
    fn id(&self) -> &'static str {
        "S12"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn has_quick_form(&self) -> bool {
        // One fault takes as long as a build and a run of the tests.
        false
    }

    fn run(&self, run: &Run) -> Outcome {
        let command = format!("xtask mutants --sample {SAMPLE} --seed {}", run.start());
        let (ok, said) = match cargo_here(&command) {
            Ok(said) => (true, said),
            Err(said) => (false, said),
        };
        let verdict = said.lines().rfind(|line| line.contains("% caught"));
        let Some(verdict) = verdict else {
            return Outcome::fell_short("no faults were tried").note(said);
        };
        let outcome = Outcome::new(ok, verdict);
        let missed = said.lines().filter(|line| line.starts_with("missed: "));
        missed.fold(outcome, |outcome, line| outcome.note(line))
    }
}

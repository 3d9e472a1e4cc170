//! R9, the real part: a soak over sockets, both profiles at once.

use std::time::Duration;

use crate::check::{Check, Outcome, Profile, Run};
use crate::soak::{self, Plan, Progress};

const HOUR: Duration = Duration::from_secs(3600);

/// R9.
pub(super) struct Soak;

impl Check for Soak {
    fn id(&self) -> &'static str {
        "R9"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, run: &Run) -> Outcome {
        let mut plan = if run.quick { Plan::QUICK } else { Plan::full(HOUR) };
        plan.seed = run.start();
        let mut progress = if run.quick { Progress::silent() } else { Progress::default() };
        let report = match soak::run(plan, &mut progress) {
            Ok(report) => report,
            Err(reason) => return Outcome::fell_short(reason),
        };
        let faults = report.faults();
        let figure = if faults.is_empty() { report.figure() } else { faults.join("; ") };
        let outcome = Outcome::new(faults.is_empty(), figure);
        let happened = report.happened().into_iter();
        let outcome = happened.fold(outcome, |outcome, (name, count)| outcome.fault(name, count));
        report.to_string().lines().skip(1).fold(outcome, Outcome::note)
    }
}

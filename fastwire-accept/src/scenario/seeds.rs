//! One scenario over many seeds, on all processors.

use std::ops::{AddAssign, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::{Outcome, Profile, Run};

/// After so many failures the rest would only repeat them.
const ENOUGH_FAILURES: usize = 40;
/// How often a long run says how far it is.
const SHOWN_EVERY: Duration = Duration::from_secs(10);
/// How many are shown.
const SHOWN_FAILURES: usize = 8;

/// A seed that failed, and why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) reason: String,
}

/// What came of all seeds.
#[derive(Debug)]
pub(crate) struct Seeds<T> {
    profile: Profile,
    /// How many were run.
    pub(crate) count: u64,
    pub(crate) failures: Vec<Failure>,
    /// The sum of what the others gave.
    pub(crate) total: T,
}

/// Runs `scenario` for all seeds, or for the one that was asked for alone; `scenario` learns whether to be verbose.
///
/// The result does not depend on the number of processors: only the order in which sums are taken does.
pub(crate) fn run_seeds<T: Default + AddAssign + Send>(
    run: &Run,
    seeds: RangeInclusive<u64>,
    scenario: impl Fn(u64, bool) -> Result<T, String> + Sync,
) -> Seeds<T> {
    let (first, last) = run.seed.map_or((*seeds.start(), *seeds.end()), |seed| (seed, seed));
    let next = AtomicU64::new(first);
    let shown = Mutex::new(Instant::now());
    let all = Mutex::new(Seeds { profile: run.profile, count: 0, failures: Vec::new(), total: T::default() });
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last || seed < first {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| scenario(seed, run.seed.is_some())))
                .unwrap_or_else(|panic| Err(format!("panicked: {}", crate::panic_text(panic.as_ref()))));
            let Ok(mut all) = all.lock() else { return };
            all.add(seed, result);
            let (count, failures) = (all.count, all.failures.len());
            if let Ok(mut shown) = shown.lock()
                && shown.elapsed() >= SHOWN_EVERY
            {
                *shown = Instant::now();
                eprintln!("{count} of {} seeds, {failures} failures so far", last - first + 1);
            }
            if all.failures.len() >= ENOUGH_FAILURES {
                next.store(u64::MAX, Ordering::Relaxed);
            }
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from).min((last - first) as usize + 1);
    thread::scope(|scope| {
        for _ in 1..processors {
            scope.spawn(work);
        }
        work();
    });
    let mut all = all.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    all.failures.sort_by_key(|failure| failure.seed);
    all
}

impl<T: AddAssign> Seeds<T> {
    /// Counts one more that was run.
    pub(crate) fn add(&mut self, seed: u64, result: Result<T, String>) {
        self.count += 1;
        match result {
            Ok(tally) => self.total += tally,
            Err(reason) => {
                // a run that is broken off should not have been in vain
                eprintln!("seed {seed} failed: {reason}");
                self.failures.push(Failure { seed, reason });
            }
        }
    }
}

impl<T> Seeds<T> {
    /// `25000 seeds, 0 failures`
    pub(crate) fn figure(&self) -> String {
        format!("{} seeds, {} failures", self.count, self.failures.len())
    }

    /// Adds a line for each failure, with the command that repeats it.
    pub(crate) fn explain(&self, id: &str, outcome: Outcome) -> Outcome {
        let outcome = self.failures.iter().take(SHOWN_FAILURES).fold(outcome, |outcome, failure| {
            let Failure { seed, reason } = failure;
            let again = match self.profile {
                Profile::Either => format!("cargo xtask accept {id} --seed {seed}"),
                profile => format!("cargo xtask accept {id} --profile {profile} --seed {seed}"),
            };
            outcome.note(format!("seed {seed}: {reason}; again: {again}"))
        });
        match self.failures.len().saturating_sub(SHOWN_FAILURES) {
            0 => outcome,
            more => outcome.note(format!("and {more} more")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: Option<u64>) -> Run {
        Run { profile: Profile::Base, quick: true, seed }
    }

    #[test]
    fn every_seed_runs_once_and_failures_name_theirs() {
        let scenario = |seed, _| match seed {
            17 => panic!("as planned"),
            23 => Err("lost a message".to_owned()),
            seed => Ok(seed),
        };
        let all = run_seeds(&run(None), 1..=30, scenario);
        assert_eq!((all.count, all.total), (30, (1..=30).sum::<u64>() - 17 - 23));
        let outcome = all.explain("R1", Outcome::new(false, all.figure()));
        assert_eq!(outcome.figure, "30 seeds, 2 failures");
        assert!(outcome.notes[0].contains("seed 17: panicked: as planned"));
        assert!(
            outcome.notes[1]
                .contains("lost a message; again: cargo xtask accept R1 --profile base --seed 23")
        );
    }

    #[test]
    fn a_single_seed_runs_alone_and_verbosely() {
        let all = run_seeds(&run(Some(77)), 1..=30, |seed, verbose| Ok(seed + u64::from(verbose)));
        assert_eq!((all.count, all.total), (1, 78));
    }
}

//! Laws every congestion controller must keep, and a check that tries to break them.
//!
//! ```
//! use fastwire_congestion::{Conservative, conformance};
//!
//! let report = conformance::check(|path| Conservative::new(path)).expect("a conforming controller");
//! println!("{report}");
//! ```
//!
//! The check drives pairs of controllers through event sequences from a fixed generator, so a failure comes back on
//! every run and names the law, the scenario, the sequence and the step. It takes well under a second.

mod probe;
mod scenario;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::{CongestionController, PathInfo};

/// Sequences tried for each scenario.
const SEQUENCES: u64 = 48;

/// What a connection relies on in its controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Law {
    /// No order of events makes it panic.
    NoPanic,
    /// The window never falls under two packets, or twice the MTU in bytes. A not-a-number shows here too.
    Floor,
    /// The quota never exceeds what the window leaves.
    QuotaWithinWindow,
    /// With nothing in flight a full packet may leave within a second, and the pacing rate lets it.
    Progress,
    /// Two controllers told the same answer the same.
    Deterministic,
    /// The recovery profile asks for at least one later packet.
    Profile,
    /// A congestion event never raises the window.
    CongestionNeverRaises,
    /// A report that a congestion event was spurious never lowers the window.
    SpuriousNeverLowers,
    /// After persistent congestion a clean path brings the window back to where it had started, or to 64 packets.
    Recovers,
    /// After a path change the window is that of a controller made for the new path.
    PathRestarts,
    /// All of the above hold when the clock steps backwards.
    ClockBackwards,
    /// All of the above hold at the ends of every number's range.
    ExtremeValues,
}

impl Law {
    /// Every law, in the order they are tried.
    pub const ALL: &'static [Self] = &[
        Self::NoPanic,
        Self::Floor,
        Self::QuotaWithinWindow,
        Self::Progress,
        Self::Deterministic,
        Self::Profile,
        Self::CongestionNeverRaises,
        Self::SpuriousNeverLowers,
        Self::Recovers,
        Self::PathRestarts,
        Self::ClockBackwards,
        Self::ExtremeValues,
    ];
}

/// A check without a broken law.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The laws that were tried.
    pub laws: &'static [Law],
    /// The event sequences played.
    pub sequences: u64,
    /// The events in them.
    pub events: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} laws hold over {} events in {} sequences", self.laws.len(), self.events, self.sequences)
    }
}

/// A broken law and where to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Which law.
    pub law: Law,
    /// The scenario that broke it.
    pub scenario: &'static str,
    /// The sequence within the scenario, counted from 0.
    pub sequence: u64,
    /// The step within the sequence, counted from 0.
    pub step: u64,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { law, scenario, sequence, step, detail } = self;
        write!(f, "{law:?} broken in scenario \"{scenario}\", sequence {sequence}, step {step}: {detail}")
    }
}

impl std::error::Error for Failure {}

/// Tries every [`Law`] on the controllers that `make` makes.
///
/// # Errors
///
/// The first broken law found. A panic inside the controller is caught and reported as one, unless the program
/// is built to abort on panics.
pub fn check<C, F>(make: F) -> Result<Report, Failure>
where
    C: CongestionController,
    F: Fn(&PathInfo) -> C,
{
    let make = |path: &PathInfo| -> Box<dyn CongestionController + '_> { Box::new(make(path)) };
    let mut events = 0;
    for scenario in scenario::ALL {
        for sequence in 0..SEQUENCES {
            let mut step = 0;
            let played =
                catch_unwind(AssertUnwindSafe(|| scenario.play(&make, origin(), sequence, &mut step)));
            let broken = match played {
                Ok(Ok(())) => None,
                Ok(Err(broken)) => Some(broken),
                Err(panic) => Some((Law::NoPanic, format!("panicked: {}", message(&*panic)))),
            };
            if let Some((law, detail)) = broken {
                // A law that holds on ordinary input and breaks on this one: the input is the news.
                let (law, detail) = match scenario.about {
                    Some(about) if about != law => (about, format!("{law:?}: {detail}")),
                    _ => (law, detail),
                };
                return Err(Failure { law, scenario: scenario.name, sequence, step, detail });
            }
            events += step;
        }
    }
    let sequences = SEQUENCES * scenario::ALL.len() as u64;
    Ok(Report { laws: Law::ALL, sequences, events })
}

/// A moment with an hour before it and after it. The library's one look at a clock: an `Instant` has no other
/// origin, and no outcome depends on its value.
fn origin() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

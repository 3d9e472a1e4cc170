//! What an acceptance check is: an identifier, the profiles it is built for, and a run with an outcome.

use std::fmt;

/// A line of `docs/acceptance.md` that is built.
pub trait Check: Sync {
    /// Its identifier in the tables, such as `R1`. Its title stands in the [catalogue](crate::catalogue).
    fn id(&self) -> &'static str;

    /// The profiles it is built for; [`Profile::Either`] alone where the profile makes no difference.
    fn profiles(&self) -> &'static [Profile];

    /// Whether it can be done in about ten seconds. Where not, `--quick` leaves it out and says so.
    fn has_quick_form(&self) -> bool {
        true
    }

    /// Runs it once. A panic counts as falling short and its message as the figure.
    fn run(&self, run: &Run) -> Outcome;
}

/// How to run a check.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// One of the profiles the check is built for.
    pub profile: Profile,
    /// The form for continuous integration: at most about ten seconds.
    pub quick: bool,
    /// The one pseudo-random run to repeat, alone and verbosely, of a check that consists of many; `None`: all.
    pub seed: Option<u64>,
}

impl Run {
    /// Where pseudo-random choices start in a check that is one single run.
    pub fn start(&self) -> u64 {
        self.seed.unwrap_or(1)
    }
}

/// Which of the protocol's profiles a check exercises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Part A of PROTOCOL.md.
    Base,
    /// Part B of PROTOCOL.md.
    Extended,
    /// The check does not depend on the profile.
    Either,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "base",
            Self::Extended => "extended",
            Self::Either => "either",
        })
    }
}

/// What a run showed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether the line's demand is met.
    pub ok: bool,
    /// What was measured, in a few words: `25000 seeds, 0 failures`.
    pub figure: String,
    /// How often each fault the line names happened. One that never did makes the run fall short.
    pub faults: Vec<Fault>,
    /// Further lines for the reader: failing seeds and how to repeat them, single measurements.
    pub notes: Vec<String>,
}

/// A fault and how often it happened.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What went wrong on purpose, such as `lost` or `duplicated`.
    pub name: &'static str,
    /// How many times it did.
    pub count: u64,
}

impl Outcome {
    /// The demand is met if `ok`.
    pub fn new(ok: bool, figure: impl Into<String>) -> Self {
        Self { ok, figure: figure.into(), ..Self::default() }
    }

    /// The demand is not met.
    pub fn fell_short(figure: impl Into<String>) -> Self {
        Self::new(false, figure)
    }

    /// Adds a fault that must have happened for the run to count.
    #[must_use]
    pub fn fault(mut self, name: &'static str, count: u64) -> Self {
        self.faults.push(Fault { name, count });
        self
    }

    /// Adds a line for the reader.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The faults that were to happen and did not.
    pub fn missing_faults(&self) -> impl Iterator<Item = &'static str> {
        self.faults.iter().filter(|fault| fault.count == 0).map(|fault| fault.name)
    }
}

//! The core's clock: monotone, and blind to the time in which nobody drove it.

use std::time::{Duration, Instant};

/// A gap between two calls counts at most this much. A game that loads a level for five seconds, a
/// laptop that slept and a clock that jumped are not five seconds of the peer's silence.
pub(crate) const MAX_GAP: Duration = Duration::from_secs(1);

/// After a gap longer than this a client asks at once whether its connection still stands: the machine may have slept,
/// and the network around it may be another.
const PAUSE: Duration = Duration::from_secs(3);

/// A deadline is never told to the shell as farther away than this, so that an idle endpoint that is
/// driven on time never loses time to [`MAX_GAP`].
const MAX_SLEEP: Duration = Duration::from_millis(900);

/// Turns the shell's `now` into the endpoint's own time: never backward, at most [`MAX_GAP`] forward a
/// call. Everything in the core runs on the endpoint's own time.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    outside: Instant,
    inside: Instant,
    /// There was a gap longer than [`PAUSE`].
    paused: bool,
}

impl Clock {
    pub(crate) fn new(now: Instant) -> Self {
        Self { start: now, outside: now, inside: now, paused: false }
    }

    /// Takes the shell's time and gives the endpoint's.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) -> Instant {
        // most calls: the shell reads its clock once for many
        if now != self.outside {
            self.step(now);
        }
        self.inside
    }

    fn step(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.outside);
        self.paused |= gap > PAUSE;
        self.outside = now;
        self.inside += gap.min(MAX_GAP);
    }

    /// Whether there was a long gap since this was last asked.
    pub(crate) fn take_gap(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }

    /// The endpoint's time at the last call.
    pub(crate) fn now(&self) -> Instant {
        self.inside
    }

    /// The shell's time at the last call.
    pub(crate) fn shell_now(&self) -> Instant {
        self.outside
    }

    /// The shell's time since it began, gaps and all: what two clocks can be compared by.
    pub(crate) fn uptime(&self) -> Duration {
        self.outside.saturating_duration_since(self.start)
    }

    /// A deadline of the endpoint's in the shell's time.
    pub(crate) fn outside(&self, deadline: Instant) -> Instant {
        self.outside + deadline.saturating_duration_since(self.inside).min(MAX_SLEEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_with_the_shell_when_driven_often() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        for ms in 0..5_000 {
            assert_eq!(clock.advance(start + Duration::from_millis(ms)), start + Duration::from_millis(ms));
        }
    }

    #[test]
    fn long_gaps_are_told_once() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        clock.advance(start + PAUSE);
        assert!(!clock.take_gap());
        clock.advance(start + PAUSE * 2 + Duration::from_millis(1));
        assert_eq!((clock.take_gap(), clock.take_gap()), (true, false));
        clock.advance(start);
        assert!(!clock.take_gap(), "backward is no gap");
    }

    #[test]
    fn jumps_count_one_second_forward_and_nothing_backward() {
        let start = Instant::now() + Duration::from_secs(10_000);
        let mut clock = Clock::new(start);
        assert_eq!(clock.advance(start + Duration::from_secs(3600)), start + MAX_GAP);
        assert_eq!(clock.advance(start), start + MAX_GAP);
        assert_eq!(
            clock.advance(start + Duration::from_millis(5)),
            start + MAX_GAP + Duration::from_millis(5)
        );
    }
}

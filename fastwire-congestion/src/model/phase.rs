//! What the model does at the moment: fill the pipe, empty the queue, cruise, look for more, look at the path.

use std::time::{Duration, Instant};

/// The states of draft-ietf-ccwg-bbr ("State Machine").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Doubles the rate each round trip until delivery grows no more.
    Startup,
    /// Empties the queue that startup left.
    Drain,
    /// Leaves room: a little slower than the path, until what is in flight fits it.
    Down,
    /// As fast as the path.
    Cruise,
    /// One round trip without the bounds of earlier losses, so that what follows is measured with a full pipe.
    Refill,
    /// Faster than the path, to see whether it has become faster.
    Up,
    /// Little in flight, so that the queue is empty and the round-trip time is that of the path.
    ProbeRtt {
        /// Little enough has been in flight since.
        since: Option<Instant>,
    },
}

impl Phase {
    /// Pacing gain ("StartupPacingGain", "DrainPacingGain" and the table of ProbeBW).
    pub(super) const fn pacing_gain(self) -> f64 {
        match self {
            Self::Startup => 2.77, // 4 ln 2: the least that doubles the rate each round trip
            Self::Drain => 0.5,
            // The draft has 0.9. A look for bandwidth leaves a queue of a quarter of what fits the path: two round trips of it
            // instead of three.
            Self::Down => 0.85,
            Self::Up => 1.25,
            Self::Cruise | Self::Refill | Self::ProbeRtt { .. } => 1.0,
        }
    }

    /// Window gain ("DefaultCwndGain", "ProbeRTTCwndGain").
    pub(super) const fn window_gain(self) -> f64 {
        match self {
            Self::Up => 2.25,
            Self::ProbeRtt { .. } => 0.5,
            _ => 2.0,
        }
    }

    /// What is sent now asks the path for more than it is known to carry, or may still show the answer.
    pub(super) const fn is_probing(self) -> bool {
        matches!(self, Self::Startup | Self::Drain | Self::Refill | Self::Up)
    }
}

/// Round trips without growth after which the pipe is full ("Exiting Startup Based on Bandwidth Plateau").
const FLAT_ROUNDS: u32 = 3;
/// Growth under this is none.
const GROWTH: f64 = 1.25;

/// Whether startup has filled the pipe.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pipe {
    highest: u64,
    flat: u32,
    full: bool,
}

impl Pipe {
    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn fill(&mut self) {
        self.full = true;
    }

    /// A round trip in use has ended with this bandwidth known. One flat round is enough where the round-trip time
    /// shows a queue all the same: then delivery is flat because the pipe is full, and not by chance.
    pub(super) fn on_round(&mut self, bandwidth: u64, queue: bool) {
        if bandwidth as f64 >= self.highest as f64 * GROWTH {
            (self.highest, self.flat) = (bandwidth, 0);
            return;
        }
        self.flat += 1;
        self.full |= queue || self.flat >= FLAT_ROUNDS;
    }
}

/// When to look for more: after 2 to 3 seconds, so that flows do not look at once, or after as many round trips as
/// Reno would need to get a packet more for each in flight, at most 63 ("Time Scale for Bandwidth Probing").
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    began: Instant,
    wait: Duration,
    rounds: u32,
}

const LEAST_WAIT: Duration = Duration::from_secs(2);
const MOST_ROUNDS: u64 = 63;

impl Schedule {
    pub(super) const fn new(now: Instant) -> Self {
        Self { began: now, wait: LEAST_WAIT, rounds: 0 }
    }

    /// Starts to wait. `salt` differs from flow to flow; the same salt makes the same choice.
    pub(super) fn restart(&mut self, now: Instant, salt: u64) {
        let mixed = (salt ^ (salt >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.began = now;
        self.wait = LEAST_WAIT + Duration::from_millis((mixed >> 32) % 1000);
        self.rounds = (mixed & 1) as u32;
    }

    pub(super) fn on_round(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
    }

    /// `packets`: what fits the path.
    pub(super) fn is_due(&self, now: Instant, packets: u64) -> bool {
        now.saturating_duration_since(self.began) >= self.wait
            || u64::from(self.rounds) >= packets.clamp(1, MOST_ROUNDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipe_is_full_after_three_flat_rounds_or_one_with_a_queue() {
        let mut pipe = Pipe::default();
        for round in 0..10 {
            pipe.on_round(1000 << round, round % 2 == 0);
        }
        assert!(!pipe.is_full(), "doubling is growth, queue or not");
        let mut quiet = pipe;
        quiet.on_round(1100 << 9, false);
        quiet.on_round(1100 << 9, false);
        assert!(!quiet.is_full());
        quiet.on_round(1200 << 9, false);
        assert!(quiet.is_full());
        pipe.on_round(1100 << 9, true);
        assert!(pipe.is_full());
    }

    #[test]
    fn flows_look_for_more_at_different_times() {
        let now = Instant::now();
        let mut waits: Vec<u128> = (0..100_u64)
            .map(|flow| {
                let mut schedule = Schedule::new(now);
                schedule.restart(now, flow.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let due = |ms: &u64| schedule.is_due(now + Duration::from_millis(*ms), u64::MAX);
                u128::from((0..4000).find(due).expect("within four seconds"))
            })
            .collect();
        waits.sort_unstable();
        assert!(waits[0] >= 2000 && waits[99] <= 3000);
        assert!(waits[75] - waits[25] > 300, "{waits:?}");
    }

    #[test]
    fn a_short_path_is_probed_by_round_trips() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        (0..62).for_each(|_| schedule.on_round());
        assert!(!schedule.is_due(now, 1000));
        schedule.on_round();
        assert!(schedule.is_due(now, 1000) && schedule.is_due(now, 10));
    }
}

//! What the model remembers: the highest bandwidth, the lowest round-trip time, how acknowledgements clump.

use std::time::{Duration, Instant};

/// The highest delivery rate of this and the last probing cycle (draft-ietf-ccwg-bbr, "MaxBwFilterLen": 2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MaxBandwidth {
    cycles: [u64; 2],
}

impl MaxBandwidth {
    pub(super) fn get(&self) -> u64 {
        self.cycles[0].max(self.cycles[1])
    }

    /// A sample that the application limited counts only if it shows more than was known.
    pub(super) fn on_sample(&mut self, rate: u64, app_limited: bool) {
        if !app_limited || rate >= self.get() {
            self.cycles[0] = self.cycles[0].max(rate);
        }
    }

    /// A new cycle begins. One without a sample does not count.
    pub(super) fn advance(&mut self) {
        if self.cycles[0] > 0 {
            self.cycles = [0, self.cycles[0]];
        }
    }
}

/// How long a lowest round-trip time holds (draft-ietf-ccwg-bbr, "MinRTTFilterLen").
const MIN_RTT_HOLDS: Duration = Duration::from_secs(10);
/// How often the queue must have been seen empty (draft-ietf-ccwg-bbr, "ProbeRTTInterval").
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);

/// The lowest round-trip time in a window of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinRtt {
    lowest: Option<Duration>,
    seen_at: Instant,
    /// The lowest since the queue was last known empty; replaces `lowest` when that is old.
    recent: Option<Duration>,
    recent_at: Instant,
    /// The queue was not seen empty for [`PROBE_RTT_INTERVAL`].
    due: bool,
}

impl MinRtt {
    pub(super) const fn new(now: Instant) -> Self {
        Self { lowest: None, seen_at: now, recent: None, recent_at: now, due: false }
    }

    pub(super) fn get(&self) -> Option<Duration> {
        self.lowest
    }

    pub(super) fn on_sample(&mut self, now: Instant, rtt: Duration) {
        let expired = now.saturating_duration_since(self.recent_at) > PROBE_RTT_INTERVAL;
        self.due |= expired;
        if expired || self.recent.is_none_or(|recent| rtt <= recent) {
            (self.recent, self.recent_at) = (Some(rtt), now);
        }
        let old = now.saturating_duration_since(self.seen_at) > MIN_RTT_HOLDS;
        let recent = self.recent.unwrap_or(rtt);
        if old || self.lowest.is_none_or(|lowest| recent <= lowest) {
            (self.lowest, self.seen_at) = (Some(recent), self.recent_at);
        }
    }

    /// The queue was not seen empty for so long that it must be emptied to look.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// The queue has just been emptied, or was not ours: what is measured now is the path.
    pub(super) fn refreshed(&mut self, now: Instant) {
        self.recent_at = now;
        self.due = false;
    }
}

/// Round trips over which jitter is remembered.
const JITTER_ROUNDS: usize = 8;
/// Samples that a round trip needs to show it.
const JITTER_SAMPLES: u32 = 8;

/// How far round-trip times lie apart within a round trip, as the median of the last ones: a flow that looks for bandwidth
/// makes some round trips vary, jitter makes all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jitter {
    /// The last `known`, at most [`JITTER_ROUNDS`]; the next takes the place of `next`.
    spreads: [Duration; JITTER_ROUNDS],
    known: usize,
    next: usize,
    median: Duration,
}

impl Jitter {
    /// Zero before anything is known.
    pub(super) fn get(&self) -> Duration {
        self.median
    }

    /// Whether `samples` were enough for `spread` to count.
    pub(super) fn on_round(&mut self, spread: Duration, samples: u32) -> bool {
        if samples < JITTER_SAMPLES {
            return false;
        }
        if let Some(place) = self.spreads.get_mut(self.next) {
            *place = spread;
        }
        self.next = (self.next + 1) % JITTER_ROUNDS;
        self.known = (self.known + 1).min(JITTER_ROUNDS);
        let mut sorted = self.spreads;
        let known = sorted.get_mut(..self.known).unwrap_or_default();
        known.sort_unstable();
        self.median = known.get(known.len() / 2).copied().unwrap_or_default();
        true
    }
}

/// Round trips over which the clumping of acknowledgements is remembered, in two halves
/// (draft-ietf-ccwg-bbr, "ExtraAckedFilterLen": 10).
const HALF: u32 = 5;

/// How much more than the bandwidth explains arrived at once: acknowledgements that clump, by which the window must
/// be larger to keep the path busy while none come (draft-ietf-ccwg-bbr, "BBRUpdateACKAggregation").
#[derive(Clone, Copy, Debug)]
pub(super) struct ExtraAcked {
    began: Instant,
    acked: u64,
    halves: [u64; 2],
    rounds: u32,
}

impl ExtraAcked {
    pub(super) const fn new(now: Instant) -> Self {
        Self { began: now, acked: 0, halves: [0; 2], rounds: 0 }
    }

    pub(super) fn get(&self) -> u64 {
        self.halves[0].max(self.halves[1])
    }

    pub(super) fn on_acked(
        &mut self,
        now: Instant,
        bytes: u64,
        bandwidth: u64,
        cwnd: u64,
        round_start: bool,
    ) {
        if round_start {
            self.rounds += 1;
            if self.rounds == HALF {
                self.rounds = 0;
                self.halves = [0, self.halves[0]];
            }
        }
        let elapsed = now.saturating_duration_since(self.began).as_secs_f64();
        let mut expected = (bandwidth as f64 * elapsed) as u64;
        if self.acked <= expected {
            (self.began, self.acked, expected) = (now, 0, 0);
        }
        self.acked = self.acked.saturating_add(bytes);
        let extra = self.acked.saturating_sub(expected).min(cwnd);
        self.halves[0] = self.halves[0].max(extra);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_forgotten_after_two_cycles_and_only_those_with_samples_count() {
        let mut filter = MaxBandwidth::default();
        filter.on_sample(1000, false);
        filter.on_sample(500, true);
        assert_eq!(filter.get(), 1000);
        filter.advance();
        filter.advance();
        filter.advance();
        assert_eq!(filter.get(), 1000, "nothing was measured since");
        filter.on_sample(800, false);
        assert_eq!(filter.get(), 1000);
        filter.advance();
        filter.on_sample(700, false);
        assert_eq!(filter.get(), 800);
        filter.on_sample(900, true);
        assert_eq!(filter.get(), 900, "more than was known is news, whoever limited it");
    }

    #[test]
    fn a_longer_path_is_believed_after_ten_seconds_and_a_shorter_one_at_once() {
        let start = Instant::now();
        let mut filter = MinRtt::new(start);
        let ms = Duration::from_millis;
        filter.on_sample(start, ms(50));
        for tick in 1..=100 {
            filter.on_sample(start + ms(100) * tick, ms(80));
            assert_eq!(filter.get(), Some(ms(50)), "after {tick}");
        }
        filter.on_sample(start + ms(10_001), ms(80));
        assert_eq!(filter.get(), Some(ms(80)));
        filter.on_sample(start + ms(10_002), ms(20));
        assert_eq!(filter.get(), Some(ms(20)));
    }

    #[test]
    fn an_empty_queue_needs_no_probe() {
        let start = Instant::now();
        let mut filter = MinRtt::new(start);
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            filter.on_sample(now, Duration::from_micros(50_000 + 100 * (second % 3).min(1)));
            assert!(!filter.is_due());
        }
        assert_eq!(filter.get(), Some(Duration::from_millis(50)));
        filter.on_sample(start + Duration::from_secs(65), Duration::from_millis(70));
        assert!(filter.is_due());
        filter.refreshed(start + Duration::from_secs(65));
        assert!(!filter.is_due());
    }

    #[test]
    fn jitter_is_what_most_round_trips_show_and_a_few_do_not_change_it() {
        let ms = Duration::from_millis;
        let mut jitter = Jitter::default();
        assert!(!jitter.on_round(ms(9), JITTER_SAMPLES - 1));
        assert_eq!(jitter.get(), Duration::ZERO);
        for round in 0..80 {
            assert!(jitter.on_round(ms(if round % 8 < 3 { 30 } else { 2 }), JITTER_SAMPLES));
            assert!(round < 6 || jitter.get() == ms(2), "{:?} after {round}", jitter.get());
        }
        (0..5).for_each(|_| _ = jitter.on_round(ms(8), 100));
        assert_eq!(jitter.get(), ms(8));
    }

    #[test]
    fn clumps_are_measured_and_smooth_delivery_is_none() {
        let start = Instant::now();
        let (mut smooth, mut clumped) = (ExtraAcked::new(start), ExtraAcked::new(start));
        for step in 1..1000 {
            let now = start + Duration::from_millis(step);
            smooth.on_acked(now, 1000, 1_000_000, u64::MAX, step % 50 == 0);
            if step % 20 == 0 {
                clumped.on_acked(now, 20_000, 1_000_000, u64::MAX, step % 50 == 0);
            }
        }
        assert!(smooth.get() <= 2000, "{}", smooth.get());
        assert!((18_000..=40_000).contains(&clumped.get()), "{}", clumped.get());
    }
}

//! What round-trip times say of the queue, on lines whose delay varies by itself too.
//!
//! A round trip of samples whose lowest is above the lowest known shows a queue: so it is where the delay is steady.
//! Jitter looks like that. A line that keeps the order of its packets holds each back until the most delayed one before
//! it has passed, so a flow that fills the line meets nearly the whole jitter with every packet, and a flow at its
//! beginning hardly any. So how far samples rise and fall within a round trip is measured, and only what is above the
//! lowest by more than that counts as a queue.

use std::time::{Duration, Instant};

use super::filters::{Jitter, MinRtt};

/// A round-trip time that stays above the lowest by this part of it shows a queue.
const QUEUE: u32 = 12;
/// One above the lowest by this part of it shows a queue as large as a look for more bandwidth makes.
const LARGE_QUEUE: u32 = 4;
/// As much above what jitter explains does, too.
const LARGE_BEYOND_JITTER: u32 = 8;
/// So many acknowledgements in a row that show a large queue end startup: more than the noise of a line makes.
const QUEUED_ACKS: u32 = 16;
/// Samples with which the lowest of a round trip that is under way says something.
const MANY: u32 = 16;
/// Differences up to this mean nothing.
const NOISE: Duration = Duration::from_millis(1);

/// The round-trip times of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrips {
    lowest: MinRtt,
    /// The lowest that all samples of some round trip were above.
    floor: MinRtt,
    jitter: Jitter,
    /// The highest of this and the last probing cycle.
    highest: [Duration; 2],
    latest: Duration,
    round: Round,
    /// Acknowledgements in a row that showed a large queue.
    queued: u32,
}

/// The samples of one round trip.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    lowest: Option<Duration>,
    highest: Duration,
    /// How far a sample fell below an earlier one at most, and rose above one.
    fell: Duration,
    rose: Duration,
    samples: u32,
}

impl RoundTrips {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            lowest: MinRtt::new(now),
            floor: MinRtt::new(now),
            jitter: Jitter::default(),
            highest: [Duration::ZERO; 2],
            latest: Duration::ZERO,
            round: Round::default(),
            queued: 0,
        }
    }

    pub(super) fn on_sample(&mut self, now: Instant, rtt: Duration) {
        self.lowest.on_sample(now, rtt);
        self.highest[0] = self.highest[0].max(rtt);
        self.latest = rtt;
        let round = &mut self.round;
        let lowest = round.lowest.map_or(rtt, |lowest| lowest.min(rtt));
        round.lowest = Some(lowest);
        round.highest = round.highest.max(rtt);
        round.fell = round.fell.max(round.highest.saturating_sub(rtt));
        round.rose = round.rose.max(rtt.saturating_sub(lowest));
        round.samples = round.samples.saturating_add(1);
        self.queued = if self.is_large(rtt) { self.queued.saturating_add(1) } else { 0 };
    }

    /// Takes the round trip that has ended into account. What it showed can be asked until [`begin_round`](Self::begin_round).
    pub(super) fn end_round(&mut self, now: Instant) {
        let Some(lowest) = self.round.lowest else { return };
        // A queue that grows makes them rise and none fall, one that shrinks the reverse. Jitter does both.
        let spread = self.round.fell.min(self.round.rose);
        if self.jitter.on_round(spread, self.round.samples) {
            self.floor.on_sample(now, lowest);
        }
    }

    pub(super) fn begin_round(&mut self) {
        self.round = Round::default();
    }

    /// A probing cycle begins.
    pub(super) fn begin_cycle(&mut self) {
        self.highest = [Duration::ZERO, self.highest[0]];
    }

    /// The lowest sample of the last seconds.
    pub(super) fn lowest(&self) -> Option<Duration> {
        self.lowest.get()
    }

    /// How far samples lie apart though nothing has changed.
    pub(super) fn jitter(&self) -> Duration {
        self.jitter.get()
    }

    /// What a round trip takes without a queue, jitter included.
    pub(super) fn without_queue(&self) -> Option<Duration> {
        self.floor().map(|floor| floor.saturating_add(self.jitter()))
    }

    /// The lowest of this round trip.
    pub(super) fn of_round(&self) -> Option<Duration> {
        self.round.lowest
    }

    /// The lowest that a full round trip of samples is expected to show: no further above the lowest sample than by jitter.
    fn floor(&self) -> Option<Duration> {
        let lowest = self.lowest.get()?;
        let most = lowest.saturating_add(self.jitter());
        Some(self.floor.get().map_or(lowest, |floor| floor.clamp(lowest, most)))
    }

    fn is_above(&self, rtt: Duration, part: u32) -> bool {
        let noise = self.jitter().max(NOISE);
        self.floor().is_some_and(|floor| rtt > floor.saturating_add((floor / part).max(noise)))
    }

    fn is_large(&self, rtt: Duration) -> bool {
        self.floor().is_some_and(|floor| {
            let beyond_jitter = self.jitter().saturating_add(floor / LARGE_BEYOND_JITTER);
            rtt > floor.saturating_add((floor / LARGE_QUEUE).max(beyond_jitter).max(NOISE))
        })
    }

    /// Whether all samples of this round trip show a queue.
    pub(super) fn shows_queue(&self) -> bool {
        self.round.lowest.is_some_and(|rtt| self.is_above(rtt, QUEUE))
    }

    /// The same of a round trip that is under way: not before there are many samples, of which the lowest says something.
    pub(super) fn shows_queue_already(&self) -> bool {
        self.round.samples >= MANY && self.shows_queue()
    }

    /// Whether all samples of this round trip show a queue of two thirds of that at least.
    pub(super) fn shows_small_queue(&self) -> bool {
        self.round.lowest.is_some_and(|rtt| self.is_above(rtt, 3 * QUEUE / 2))
    }

    /// Whether the last acknowledgements all showed a large queue.
    pub(super) fn shows_large_queue(&self) -> bool {
        self.queued >= QUEUED_ACKS
    }

    /// Whether the queue is in the lower half of what it varied by in this and the last probing cycle, as the newest
    /// sample shows it.
    pub(super) fn queue_is_low(&self) -> bool {
        let Some(lowest) = self.lowest.get() else { return false };
        let spread = self.highest[0].max(self.highest[1]).saturating_sub(lowest);
        self.latest <= lowest.saturating_add((spread / 2).max(NOISE))
    }

    /// The queue was not seen empty for so long that it must be emptied to look.
    pub(super) fn is_probe_due(&self) -> bool {
        self.lowest.is_due()
    }

    /// The queue has just been emptied, or was not ours: what is measured now is the path.
    pub(super) fn refreshed(&mut self, now: Instant) {
        self.lowest.refreshed(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Round trips of 100 samples 500 µs apart over a line of 50 ms, with a queue and a jitter in order as
    /// given in µs by round trip: for each whether it showed a queue, and a large one.
    fn play(rounds: u32, queue: impl Fn(u32, u32) -> u64, jitter_us: u64) -> Vec<(bool, bool)> {
        let start = Instant::now();
        let mut trips = RoundTrips::new(start);
        let (mut state, mut newest) = (1_u64, 0);
        let mut shown = Vec::new();
        for round in 0..rounds {
            for sample in 0..100 {
                let sent = u64::from(round * 100 + sample) * 500;
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let jitter = (state >> 33) % (jitter_us + 1);
                newest = (sent + 50_000 + queue(round, sample) + jitter).max(newest);
                trips.on_sample(start + Duration::from_micros(newest), Duration::from_micros(newest - sent));
            }
            let now = start + Duration::from_micros(newest);
            trips.end_round(now);
            shown.push((trips.shows_queue(), trips.shows_large_queue()));
            trips.begin_round();
        }
        shown
    }

    #[test]
    fn jitter_of_a_line_that_keeps_order_is_no_queue() {
        for jitter_us in [0, 1000, 3000, 10_000, 20_000] {
            let shown = play(200, |_, _| 0, jitter_us);
            let queues = shown.iter().skip(2).filter(|(queue, _)| *queue).count();
            assert!(queues <= 4, "{queues} of 200 round trips at a jitter of {jitter_us} µs");
            assert!(shown.iter().all(|(_, large)| !large));
        }
    }

    #[test]
    fn a_queue_beyond_the_jitter_is_seen_and_one_that_varies_is_no_jitter() {
        for jitter_us in [0, 1000, 3000, 10_000] {
            // 10 round trips without a queue, then one that grows to 20 ms within 20 round trips and stays.
            let queue = |round: u32, sample: u32| {
                u64::from((round * 100 + sample).saturating_sub(1000).min(2000)) * 10
            };
            let shown = play(40, queue, jitter_us);
            assert!(shown.iter().take(10).skip(2).all(|(queue, _)| !queue), "{jitter_us}: {shown:?}");
            assert!(shown.iter().skip(31).all(|(queue, _)| *queue), "{jitter_us}: {shown:?}");
        }
    }

    #[test]
    fn a_path_without_jitter_is_judged_by_its_lowest_sample() {
        let mut trips = RoundTrips::new(Instant::now());
        let now = Instant::now();
        for rtt_ms in [50, 50, 52] {
            trips.on_sample(now, Duration::from_millis(rtt_ms));
        }
        assert_eq!(trips.without_queue(), Some(Duration::from_millis(50)));
        trips.begin_round();
        trips.on_sample(now, Duration::from_millis(54));
        assert!(!trips.shows_queue() && trips.shows_small_queue());
        trips.begin_round();
        trips.on_sample(now, Duration::from_millis(55));
        assert!(trips.shows_queue() && !trips.shows_queue_already());
        (0..15).for_each(|_| trips.on_sample(now, Duration::from_millis(63)));
        assert!(!trips.shows_large_queue() && trips.shows_queue_already());
        trips.on_sample(now, Duration::from_millis(63));
        assert!(trips.shows_large_queue());
    }
}

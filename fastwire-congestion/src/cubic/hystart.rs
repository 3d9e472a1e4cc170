//! HyStart++ (RFC 9406): slow start that ends when the round-trip time rises, before a queue overflows.

use std::time::{Duration, Instant};

/// RFC 9406 §4.3.
const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u32 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u32 = 5;

/// What slow start does with the next acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// The window grows by what was acknowledged, divided by this.
    By(u32),
    /// Slow start is over: the path is full.
    Ends,
}

/// The round trips of slow start. Paced senders have no limit on what one acknowledgement adds (RFC 9406 §4.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct HyStart {
    /// A round ends when something sent after this is acknowledged.
    round_began: Instant,
    samples: u32,
    lowest: Option<Duration>,
    lowest_before: Option<Duration>,
    css: Option<Css>,
}

/// Conservative slow start: the round-trip time rose, and it is not yet sure that it stays up.
#[derive(Clone, Copy, Debug)]
struct Css {
    /// Below this the rise was a false alarm.
    baseline: Duration,
    rounds: u32,
}

impl HyStart {
    pub(super) const fn new(now: Instant) -> Self {
        Self { round_began: now, samples: 0, lowest: None, lowest_before: None, css: None }
    }

    /// An acknowledgement at `now` of a packet sent at `sent_at`, with this round-trip time.
    pub(super) fn on_acked(&mut self, now: Instant, sent_at: Instant, rtt: Duration) -> Growth {
        if sent_at >= self.round_began {
            self.round_began = now;
            self.lowest_before = self.lowest.take().or(self.lowest_before);
            self.samples = 0;
            if let Some(css) = &mut self.css {
                css.rounds += 1;
                if css.rounds >= CSS_ROUNDS {
                    return Growth::Ends;
                }
            }
        }
        let lowest = self.lowest.map_or(rtt, |lowest| lowest.min(rtt));
        self.lowest = Some(lowest);
        self.samples = self.samples.saturating_add(1);
        if self.samples >= N_RTT_SAMPLE {
            self.css = match (self.css, self.lowest_before) {
                (Some(css), _) if lowest < css.baseline => None,
                (None, Some(before)) if lowest >= before.saturating_add(threshold(before)) => {
                    Some(Css { baseline: lowest, rounds: 0 })
                }
                (css, _) => css,
            };
        }
        Growth::By(if self.css.is_some() { CSS_GROWTH_DIVISOR } else { 1 })
    }
}

fn threshold(before: Duration) -> Duration {
    (before / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays rounds of ten acknowledgements whose round-trip time `rtt` gives; how each round ended.
    fn rounds(count: u32, rtt: impl Fn(u32) -> u64) -> Vec<Growth> {
        let mut now = Instant::now();
        let mut slow_start = HyStart::new(now);
        let mut ends = Vec::new();
        for round in 0..count {
            let sample = Duration::from_millis(rtt(round));
            let sent_at = now;
            now += sample;
            ends.extend((0..10).map(|_| slow_start.on_acked(now, sent_at, sample)).last());
            now += Duration::from_micros(1);
        }
        ends
    }

    #[test]
    fn a_steady_round_trip_never_ends_it() {
        assert!(rounds(100, |_| 50).iter().all(|growth| *growth == Growth::By(1)));
        // Below the threshold of an eighth, and of 4 ms.
        assert!(rounds(100, |round| 50 + 5 * u64::from(round % 2)).iter().all(|g| *g == Growth::By(1)));
        assert!(rounds(100, |round| 1 + 3 * u64::from(round % 2)).iter().all(|g| *g == Growth::By(1)));
    }

    #[test]
    fn a_rise_that_stays_slows_it_and_then_ends_it() {
        // Each acknowledgement of the sixth round after the rise, counted from it, finds the end.
        let mut now = Instant::now();
        let mut slow_start = HyStart::new(now);
        let mut growths = Vec::new();
        for rtt in [50, 60, 60, 60, 60, 60, 60] {
            let sent_at = now;
            now += Duration::from_millis(rtt);
            growths.push(
                (0..10)
                    .map(|_| slow_start.on_acked(now, sent_at, Duration::from_millis(rtt)))
                    .collect::<Vec<_>>(),
            );
            now += Duration::from_micros(1);
        }
        assert_eq!(*growths[0].last().unwrap(), Growth::By(1));
        for round in &growths[1..6] {
            assert_eq!(*round.last().unwrap(), Growth::By(4));
        }
        assert_eq!(growths[6][0], Growth::Ends);
    }

    #[test]
    fn a_rise_that_goes_away_is_forgotten() {
        let ends = rounds(20, |round| if round == 3 { 70 } else { 50 });
        assert_eq!(ends[3], Growth::By(4));
        assert!(ends[4..].iter().all(|growth| *growth == Growth::By(1)));
    }
}

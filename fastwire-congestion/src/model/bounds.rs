//! What losses and queues have taught: how much in flight is too much, and how fast is too fast for now.

use std::time::Duration;

/// What excessive loss leaves of a bound (draft-ietf-ccwg-bbr, "Beta").
pub(super) const BETA: f64 = 0.7;
/// Room left for others below what was once too much ("Headroom": 0.15).
pub(super) const HEADROOM: f64 = 0.85;
/// What one round trip with a queue leaves of the rate at least.
const YIELD: f64 = 0.85;
/// Round trips of giving way in which a queue must shrink.
const PATIENCE: u32 = 8;
/// What is left of a round-trip time in which the queue shrank within these, and within one.
const SHRUNK: f64 = 0.95;
const SHRINKS: f64 = 0.97;
/// Round trips without a queue after which the rate recovers twice as fast.
const CALM: u32 = 3;

/// `None` everywhere: nothing has been too much yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    /// Long-term: more in flight than this has made the path lose ("inflight_longterm").
    in_flight: Option<u64>,
    /// Short-term ("inflight_shortterm", "bw_shortterm").
    short_in_flight: Option<u64>,
    short_rate: Option<u64>,
    /// The rate's bound is that of a loss.
    lost: bool,
    /// Round trips in a row without a queue and without excessive loss.
    clean: u32,
    yielding: Yielding,
    /// Acknowledged bytes not yet turned into growth of `in_flight`.
    credit: u64,
}

/// Round trips in a row that showed a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Yielding {
    rounds: u32,
    /// The round-trip time when this or the last [`PATIENCE`] of them began, and in the newest.
    rtt_before: Duration,
    last_rtt: Duration,
    /// Giving way was of no use.
    stubborn: bool,
}

/// What a round trip with a queue has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// The delivery rate over this round trip, and over the last ones.
    pub(super) rate: u64,
    pub(super) usual_rate: u64,
    /// The lowest round-trip time in it, and what one takes without a queue.
    pub(super) rtt: Duration,
    pub(super) without: Duration,
}

impl Bounds {
    /// The rate within the short-term bound.
    pub(super) fn rate(&self, rate: u64) -> u64 {
        self.short_rate.map_or(rate, |bound| bound.min(rate))
    }

    /// The most in flight while more is looked for.
    pub(super) fn most(&self) -> u64 {
        self.in_flight.unwrap_or(u64::MAX).min(self.short_in_flight.unwrap_or(u64::MAX))
    }

    /// The most in flight while nothing is looked for: room is left for others.
    pub(super) fn with_headroom(&self, fitting: u64, floor: u64) -> u64 {
        let long = self.in_flight.map_or(u64::MAX, |bound| ((bound as f64 * HEADROOM) as u64).max(floor));
        fitting.min(long).min(self.short_in_flight.unwrap_or(u64::MAX))
    }

    /// So much in flight was too much.
    pub(super) fn reached(&mut self, in_flight: u64) {
        self.in_flight = Some(in_flight);
        self.credit = 0;
    }

    /// The path marked packets with so much allowed in flight.
    pub(super) fn marked(&mut self, window: u64) {
        let bound = (window as f64 * BETA) as u64;
        self.short_in_flight = Some(self.short_in_flight.map_or(bound, |known| known.min(bound)));
    }

    /// A round trip lost too much without a probe: others have come, or the path has become slower. Each pair is what
    /// was believed and what the round trip has shown.
    pub(super) fn lower(&mut self, rate: (u64, u64), in_flight: (u64, u64)) {
        let lowered = |bound: Option<u64>, (believed, shown): (u64, u64)| {
            Some(((bound.unwrap_or(believed) as f64 * BETA) as u64).max(shown))
        };
        self.short_rate = lowered(self.short_rate, rate);
        self.lost = true;
        self.short_in_flight = lowered(self.short_in_flight, in_flight);
    }

    /// A round trip showed a queue throughout that no probe had made: the rate believed is too high, or others have
    /// come. The rate falls to one that leaves `share` bytes of it waiting, by at most [`YIELD`]. All flows leave the
    /// same, so those that have much fall by more, as in FAST TCP (Wei, Jin, Low and Hegde 2006, §IV).
    ///
    /// A queue that does not shrink is not made by flows that give way, and whoever makes it would take everything. Then
    /// the bound goes until the queue does.
    pub(super) fn give_way(&mut self, believed: u64, queue: &Queue, share: u64) {
        self.clean = 0;
        let yielding = &mut self.yielding;
        let first = yielding.rounds == 0;
        if yielding.rounds.is_multiple_of(PATIENCE) {
            yielding.stubborn |= !first && queue.rtt >= yielding.rtt_before.mul_f64(SHRUNK);
            yielding.rtt_before = queue.rtt;
        }
        yielding.rounds = yielding.rounds.saturating_add(1);
        let shrinks = queue.rtt < yielding.last_rtt.mul_f64(SHRINKS);
        yielding.last_rtt = queue.rtt;
        if yielding.stubborn {
            self.short_rate = None;
            return;
        }
        if yielding.rounds == 2 || (shrinks && !first) {
            return; // what was given away before shows one round trip later
        }
        let rate = self.rate(believed);
        // At first only what was shown: a flow alone has but to drain what a rate a little too high has left.
        let target = if first {
            queue.usual_rate.max(queue.rate)
        } else {
            let rtt = queue.rtt.max(Duration::from_micros(1)).as_secs_f64();
            ((queue.rate as f64 * queue.without.as_secs_f64() + share as f64) / rtt) as u64
        };
        self.short_rate = Some(target.clamp((rate as f64 * YIELD) as u64, rate));
    }

    /// A round trip showed neither a queue nor more loss than the line's own: the short-term bounds rise, by `step`
    /// at first and by twice as much after every few such round trips, until they bind no more.
    pub(super) fn recover(&mut self, rate: u64, in_flight: u64, step: u64) {
        self.yielding = Yielding::default();
        let growth = 1_u64 << (self.clean / CALM).min(20);
        self.clean = self.clean.saturating_add(1);
        let step = step.saturating_mul(growth);
        let risen =
            |bound: u64, believed: u64| Some(bound.saturating_add(step)).filter(|bound| *bound < believed);
        self.short_rate = self.short_rate.and_then(|bound| risen(bound, rate));
        self.short_in_flight = self.short_in_flight.and_then(|bound| risen(bound, in_flight));
    }

    /// A probe begins: what losses have taught since the last one no longer holds. What was given away to others
    /// stays given.
    pub(super) fn begin_probe(&mut self) {
        self.short_in_flight = None;
        if self.lost {
            (self.short_rate, self.lost) = (None, false);
        }
    }

    pub(super) fn forget_short_term(&mut self) {
        (self.short_in_flight, self.short_rate) = (None, None);
    }

    /// Raises the long-term bound where it holds the probe back: by one packet in its first round trip and twice as
    /// many in each further one ("BBRProbeInflightLongtermUpward").
    pub(super) fn raise(&mut self, in_flight: u64, acked: u64, cwnd: u64, mtu: u64, round: u32) {
        let Some(bound) = self.in_flight.as_mut() else { return };
        if in_flight.saturating_add(acked).saturating_add(2 * mtu) < *bound {
            return;
        }
        let growth = u128::from(mtu) << round.min(30);
        let credit = u128::from(self.credit) + u128::from(acked) * growth;
        let cwnd = u128::from(cwnd.max(1));
        let grown = u64::try_from(credit / cwnd).unwrap_or(u64::MAX).min(acked);
        *bound = bound.saturating_add(grown);
        self.credit = (credit % cwnd) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_grows_by_one_packet_then_two_then_four() {
        let mut bounds = Bounds::default();
        bounds.reached(120_000);
        let mut before = 120_000;
        for round in 0..6 {
            for _ in 0..100 {
                bounds.raise(bounds.most(), 1200, 120_000, 1200, round);
            }
            let grown = bounds.most() - before;
            assert!(grown.abs_diff(1200 << round) <= 2, "{grown} in round trip {round}");
            before = bounds.most();
        }
        bounds.raise(1000, 1200, 120_000, 1200, 9);
        assert_eq!(bounds.most(), before, "a bound that holds nothing back stays");
    }

    #[test]
    fn short_term_bounds_fall_by_three_tenths_never_below_what_was_delivered_and_are_forgotten() {
        let mut bounds = Bounds::default();
        bounds.lower((1000, 100), (5000, 4000));
        assert_eq!((bounds.rate(1000), bounds.most()), (700, 4000));
        bounds.lower((1000, 600), (5000, 0));
        assert_eq!((bounds.rate(1000), bounds.most()), (600, 2800));
        bounds.forget_short_term();
        assert_eq!((bounds.rate(1000), bounds.most()), (1000, u64::MAX));
    }

    #[test]
    fn headroom_is_left_while_nothing_is_looked_for() {
        let mut bounds = Bounds::default();
        assert_eq!(bounds.with_headroom(5000, 4800), 5000);
        bounds.reached(10_000);
        assert_eq!(bounds.most(), 10_000);
        assert_eq!(bounds.with_headroom(u64::MAX, 4800), 8500);
        assert_eq!(bounds.with_headroom(5000, 4800), 5000);
        bounds.reached(4800);
        assert_eq!(bounds.with_headroom(u64::MAX, 4800), 4800);
    }

    fn queue(rate: u64, rtt_ms: u64) -> Queue {
        let (rtt, without) = (Duration::from_millis(rtt_ms), Duration::from_millis(50));
        Queue { rate, usual_rate: rate, rtt, without }
    }

    #[test]
    fn two_flows_that_give_way_and_recover_come_to_share_evenly() {
        // A line of 2000 packets a second over 50 ms; the queue is what both have in flight beyond it.
        let (line, share, mut rates) = (2000.0, 8, [1700.0_f64, 300.0]);
        let mut bounds = [Bounds::default(); 2];
        let mut backlog = 30.0_f64;
        for _ in 0..600 {
            let total: f64 = rates.iter().sum();
            backlog = (backlog + (total - line) * 0.05).max(0.0);
            let rtt_ms = 50 + (backlog / line * 1000.0) as u64;
            for (rate, bounds) in rates.iter_mut().zip(&mut bounds) {
                let delivered = *rate / total.max(line) * line;
                if rtt_ms > 54 {
                    bounds.give_way(2000, &queue(delivered as u64, rtt_ms), share);
                } else {
                    bounds.recover(2000, 1000, 40);
                }
                *rate = bounds.rate(2000) as f64;
            }
        }
        let ratio = rates[0].min(rates[1]) / rates[0].max(rates[1]);
        assert!(ratio > 0.75, "{rates:?}");
    }

    #[test]
    fn a_queue_that_does_not_shrink_is_given_way_to_for_a_while_only() {
        let mut bounds = Bounds::default();
        for _ in 0..PATIENCE {
            bounds.give_way(2000, &queue(1000, 100), 8);
        }
        assert!(bounds.rate(2000) < 1500);
        bounds.give_way(2000, &queue(1000, 100), 8);
        assert_eq!(bounds.rate(2000), 2000);
        bounds.recover(2000, 1000, 40);
        bounds.give_way(2000, &queue(1900, 100), 8);
        assert_eq!(bounds.rate(2000), 1900, "the queue was gone between: it is tried again");
    }

    #[test]
    fn bounds_recover_faster_and_faster_and_then_are_gone() {
        let mut bounds = Bounds::default();
        bounds.lower((100_000, 0), (100_000, 0));
        let mut steps = Vec::new();
        while bounds.rate(100_000) < 100_000 {
            let before = bounds.rate(100_000);
            bounds.recover(100_000, 100_000, 1000);
            steps.push(bounds.rate(100_000) - before);
        }
        assert_eq!(steps[..7], [1000, 1000, 1000, 2000, 2000, 2000, 4000]);
        assert_eq!(bounds.most(), u64::MAX);
    }
}

//! Which losses are congestion: those beyond what the line loses by itself.
//!
//! BBRv3 takes more than 2 % lost in a round trip for too much in flight, so a line that loses 5 % by itself would
//! slow it for good. Here the 2 % count from what the line loses while its queue is empty, and chance is given room,
//! because a tenth of a hundred packets is seldom exactly ten.

/// Loss beyond the line's own that is too much (draft-ietf-ccwg-bbr, "LossThresh").
const THRESHOLD: f64 = 0.02;
/// So many standard deviations of chance are no sign of congestion.
const DEVIATIONS: f64 = 3.0;
/// The line's own loss is believed up to this. Beyond it something else is wrong.
const MOST: f64 = 0.2;
/// How fast the line's own loss is forgotten: a round trip weighs so much less than the next one.
const FORGET: f64 = 1.0 - 1.0 / 24.0;
/// Packets of known fate after which a new count begins. Round trips with fewer are judged together, else chance
/// would excuse too much.
const ENOUGH: f64 = 64.0;
/// What a round trip with a queue leaves of the line's own loss: what is not seen again was congestion after all.
const DOUBT: f64 = 0.99;
/// Packets of known fate before a judgement.
const FEWEST: f64 = 16.0;

/// The losses of this round trip beside those of the line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    /// Of this round trip, all; and those that fell while the queue was low.
    all: Fates,
    low: Fates,
    /// Weighted sums over the round trips before, while the queue was low.
    own: Fates,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fates {
    lost: f64,
    arrived: f64,
}

impl Fates {
    fn sum(self) -> f64 {
        self.lost + self.arrived
    }
}

impl Losses {
    /// `low`: the packets around them met a queue in the lower half of what it varies by. A full queue drops packets
    /// while it is full; a line loses them whenever it likes.
    pub(super) fn on_lost(&mut self, packets: u32, low: bool) {
        self.all.lost += f64::from(packets);
        self.low.lost += if low { f64::from(packets) } else { 0.0 };
    }

    pub(super) fn on_arrived(&mut self, packets: u32, low: bool) {
        self.all.arrived += f64::from(packets);
        self.low.arrived += if low { f64::from(packets) } else { 0.0 };
    }

    /// The share that the line loses by itself, 0 to [`MOST`].
    pub(super) fn own(&self) -> f64 {
        let all = self.own.sum();
        if all < FEWEST { 0.0 } else { (self.own.lost / all).min(MOST) }
    }

    /// Whether this round trip has lost more than the line and chance explain.
    pub(super) fn are_excessive(&self) -> bool {
        let all = self.all.sum();
        let share = self.own() + THRESHOLD;
        let chance = DEVIATIONS * (all * share * (1.0 - share)).sqrt();
        all >= FEWEST && self.all.lost > all * share + chance
    }

    /// Ends the round trip.
    pub(super) fn end_round(&mut self) {
        if self.low.sum() > 0.0 {
            self.own.lost = self.own.lost * FORGET + self.low.lost;
            self.own.arrived = self.own.arrived * FORGET + self.low.arrived;
        } else {
            self.own.lost *= DOUBT;
        }
        self.low = Fates::default();
        if self.all.sum() >= ENOUGH {
            self.all = Fates::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random numbers in 0..1 (SplitMix64).
    fn chance(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn round(losses: &mut Losses, share: f64, state: &mut u64) -> bool {
        for _ in 0..100 {
            if chance(state) < share { losses.on_lost(1, true) } else { losses.on_arrived(1, true) }
        }
        let excessive = losses.are_excessive();
        losses.end_round();
        excessive
    }

    #[test]
    fn what_the_line_loses_by_itself_is_learnt_and_hardly_ever_too_much() {
        for share in [0.0, 0.01, 0.05, 0.1, 0.2] {
            let mut state = 7;
            let mut losses = Losses::default();
            for _ in 0..50 {
                round(&mut losses, share, &mut state);
            }
            let alarms = (0..1000).filter(|_| round(&mut losses, share, &mut state)).count();
            assert!(alarms <= 10, "{alarms} false alarms in 1000 round trips at {share}");
            assert!((losses.own() - share).abs() < 0.02, "{} learnt of {share}", losses.own());
        }
    }

    #[test]
    fn an_overflowing_queue_is_found_in_one_round_trip() {
        for share in [0.0, 0.01, 0.05, 0.1] {
            let (mut state, mut losses) = (3, Losses::default());
            for _ in 0..50 {
                round(&mut losses, share, &mut state);
            }
            let found = (0..100).filter(|_| {
                let mut with_queue = losses;
                round(&mut with_queue, share + 0.2, &mut state)
            });
            assert!(found.count() >= 75, "at {share}");
        }
    }

    #[test]
    fn nothing_is_learnt_from_a_full_queue_nor_judged_from_a_few_packets() {
        let mut losses = Losses::default();
        for _ in 0..50 {
            losses.on_arrived(80, true);
            losses.on_arrived(10, false);
            losses.on_lost(10, false);
            losses.end_round();
        }
        assert_eq!(losses.own(), 0.0);
        losses.on_lost(8, true);
        assert!(!losses.are_excessive());
    }

    #[test]
    fn what_is_not_seen_again_is_doubted() {
        let mut losses = Losses::default();
        losses.on_lost(10, true);
        losses.on_arrived(90, true);
        losses.end_round();
        assert_eq!(losses.own(), 0.1);
        for _ in 0..500 {
            losses.on_lost(10, false);
            losses.on_arrived(90, false);
            losses.end_round();
        }
        assert!(losses.own() < 0.01);
    }
}

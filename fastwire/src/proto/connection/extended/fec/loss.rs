//! How many packets the path loses, and how much parity that takes.

/// Packets that the estimate looks back on, with exponentially falling weight.
const SPAN: f64 = 256.0;

/// Below this the path loses nothing.
const NOTHING: f64 = 0.001;

/// A group may fail so often.
const RESIDUE: f64 = 0.001;

/// The share of packets that get lost, whether they were recovered or not.
#[derive(Debug, Clone, Default)]
pub(super) struct LossRate {
    lost: f64,
    known: f64,
}

impl LossRate {
    /// The fates of so many more packets are known.
    pub(super) fn record(&mut self, arrived: u32, lost: u32) {
        let fates = f64::from(arrived) + f64::from(lost);
        if fates == 0.0 {
            return;
        }
        let kept = (1.0 - 1.0 / SPAN).powf(fates);
        self.lost = self.lost * kept + f64::from(lost);
        self.known = self.known * kept + fates;
    }

    /// Packets that were taken for lost have arrived.
    pub(super) fn take_back(&mut self, packets: u32) {
        self.lost = (self.lost - f64::from(packets)).max(0.0);
    }

    /// 0.0 to 1.0; 0.0 where nothing worth mention gets lost.
    pub(super) fn rate(&self) -> f64 {
        // few fates are no estimate: at least half a span is reckoned with
        let rate = self.lost / self.known.max(SPAN / 2.0);
        if rate < NOTHING { 0.0 } else { rate.min(1.0) }
    }
}

/// Parity packets that a group of `data` packets takes, so that it fails seldom where packets get lost at `rate`, each by itself;
/// at most `most`.
pub(super) fn parity_for(data: usize, rate: f64, most: usize) -> usize {
    if rate <= 0.0 {
        return 0;
    }
    (1..most).find(|&parity| failing(data + parity, parity, rate) <= RESIDUE).unwrap_or(most)
}

/// The probability that of `total` packets more than `spare` are lost (binomial).
fn failing(total: usize, spare: usize, rate: f64) -> f64 {
    let mut term = (1.0 - rate).powi(i32::try_from(total).unwrap_or(i32::MAX));
    let mut survives = term;
    for lost in 1..=spare {
        term *= rate / (1.0 - rate).max(f64::EPSILON) * (total + 1 - lost) as f64 / lost as f64;
        survives += term;
    }
    1.0 - survives
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The estimate of a steady loss comes near it, and a line that loses nothing is soon known as one.
        #[test]
        fn the_estimate_follows_the_line(every in 4u32..60) {
            let mut loss = LossRate::default();
            prop_assert_eq!(loss.rate(), 0.0);
            for packet in 0..4000u32 {
                let lost = u32::from(packet.is_multiple_of(every));
                loss.record(1 - lost, lost);
            }
            let real = 1.0 / f64::from(every);
            prop_assert!((loss.rate() - real).abs() < real / 4.0 , "{} of {real}", loss.rate());
            loss.record(2500, 0);
            prop_assert_eq!(loss.rate(), 0.0);
        }

        /// More loss never takes less parity, and no group gets more than there is.
        #[test]
        fn parity_rises_with_loss(data in 1usize..33, most in 1usize..9, rate in 0.0f64..0.9) {
            let parity = parity_for(data, rate, most);
            prop_assert!(parity <= most);
            prop_assert!(parity <= parity_for(data, rate + 0.05, most));
            prop_assert_eq!(parity == 0, rate == 0.0);
        }

        /// The tail of the binomial distribution, by counting.
        #[test]
        fn a_group_fails_as_often_as_counted(total in 1usize..12, spare in 0usize..6, rate in 0.001f64..0.9) {
            let counted: f64 = (0u32..1 << total)
                .filter(|lost| lost.count_ones() as usize > spare)
                .map(|lost| {
                    let lost = lost.count_ones() as i32;
                    rate.powi(lost) * (1.0 - rate).powi(total as i32 - lost)
                })
                .sum();
            prop_assert!((failing(total, spare.min(total), rate) - counted).abs() < 1e-9);
        }
    }
}

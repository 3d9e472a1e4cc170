//! Round-trip time and the retransmission timeout from it, in ms.

use super::settings::Rules;

const INITIAL_RTO: u32 = 200;
const MAX_RTO: u32 = 60_000;

/// The estimator. Integer arithmetic, as the C KCP has it: its exact results are part of the timing.
#[derive(Debug, Clone)]
pub(crate) struct Rtt {
    /// Smoothed; 0 before the first sample.
    smoothed: u32,
    variance: u32,
    rto: u32,
    /// 30 with any nodelay level, else 100.
    least_rto: u32,
}

impl Rtt {
    pub(crate) fn new(level: u32) -> Self {
        let mut rtt = Self { smoothed: 0, variance: 0, rto: INITIAL_RTO, least_rto: 0 };
        rtt.set_level(level);
        rtt
    }

    /// Takes effect with the next sample.
    pub(crate) fn set_level(&mut self, level: u32) {
        self.least_rto = if level == 0 { 100 } else { 30 };
    }

    pub(crate) fn smoothed(&self) -> u32 {
        self.smoothed
    }

    pub(crate) fn variance(&self) -> u32 {
        self.variance
    }

    pub(crate) fn rto(&self) -> u32 {
        self.rto
    }

    /// Takes a measured round trip.
    pub(crate) fn sample(&mut self, rtt: u32, interval: u32, rules: &Rules) {
        // An echoed time may be anything; sums below stay within 32 bits.
        let rtt = rtt.min(1 << 24);
        if self.smoothed == 0 {
            self.smoothed = rtt;
            self.variance = rtt / 2;
        } else if rules.damped_variance {
            self.smooth_damped(rtt);
        } else {
            let delta = rtt.abs_diff(self.smoothed);
            self.variance = (3 * self.variance + delta) / 4;
            self.smoothed = ((7 * self.smoothed + rtt) / 8).max(1);
        }
        let rto = self.smoothed + interval.max(4 * self.variance);
        self.rto = rto.clamp(self.least_rto, MAX_RTO);
    }

    /// RFC 6298 §2 with one exception: a sample below the expected range weighs an eighth as much in the
    /// variance, since a path that got faster is no reason to wait longer.
    fn smooth_damped(&mut self, rtt: u32) {
        let (sample, smoothed, variance) = (rtt as i32, self.smoothed as i32, self.variance as i32);
        let delta = sample - smoothed;
        let smoothed = (smoothed + (delta >> 3)).max(1);
        let weight = if sample < smoothed - variance { 5 } else { 2 };
        let variance = variance + ((delta.abs() - variance) >> weight);
        self.smoothed = smoothed as u32;
        self.variance = variance.max(0) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Timing;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_timeout_stays_in_bounds(samples in prop::collection::vec(any::<u32>(), 1..50), level in 0..3u32) {
            for timing in [Timing::Classic, Timing::Prompt] {
                let mut rtt = Rtt::new(level);
                for &sample in &samples {
                    rtt.sample(sample, 100, timing.rules());
                    let least = if level == 0 { 100 } else { 30 };
                    prop_assert!((least..=MAX_RTO).contains(&rtt.rto()));
                }
            }
        }

        #[test]
        fn equal_samples_converge(sample in 1..10_000u32) {
            for timing in [Timing::Classic, Timing::Prompt] {
                let mut rtt = Rtt::new(1);
                (0..200).for_each(|_| rtt.sample(sample, 10, timing.rules()));
                prop_assert_eq!(rtt.smoothed(), sample);
                prop_assert!(rtt.rto() <= (sample + 20).max(30));
            }
        }
    }
}

//! The round-trip time of a path and the timeout that follows from it (RFC 6298).

use std::time::Duration;

/// Smoothed round-trip time, its variation, and the retransmission timeout.
#[derive(Debug, Clone)]
pub struct Rtt {
    /// `None` until the first sample.
    state: Option<State>,
    initial_rto: Duration,
    min_rto: Duration,
    max_rto: Duration,
    /// The least that is added for variation (RFC 9002 §6.1.2: the timer's granularity).
    granularity: Duration,
}

#[derive(Debug, Clone, Copy)]
struct State {
    smoothed: Duration,
    variance: Duration,
    latest: Duration,
    min: Duration,
}

impl Rtt {
    /// No sample yet; the timeout is `initial_rto`, later between `min_rto` and `max_rto`.
    pub fn new(initial_rto: Duration, min_rto: Duration, max_rto: Duration) -> Self {
        let max_rto = max_rto.max(min_rto);
        Self { state: None, initial_rto, min_rto, max_rto, granularity: Duration::ZERO }
    }

    /// The same where the timeout is never nearer than `granularity` to the smoothed round-trip time.
    pub(crate) fn with_granularity(self, granularity: Duration) -> Self {
        Self { granularity, ..self }
    }

    /// No sample yet, with the same bounds.
    pub(crate) fn restarted(&self) -> Self {
        Self { state: None, ..self.clone() }
    }

    /// Takes a sample that contains `delay` the peer says it waited: taken off unless the result would be less than
    /// the least round trip (RFC 9002 §5.3). Returns what counted.
    pub(crate) fn sample_delayed(&mut self, rtt: Duration, delay: Duration) -> Duration {
        let Some(old) = self.state else {
            self.sample(rtt);
            return rtt;
        };
        let min = old.min.min(rtt);
        let adjusted = rtt.checked_sub(delay).filter(|&adjusted| adjusted >= min).unwrap_or(rtt);
        self.sample(adjusted);
        if let Some(state) = &mut self.state {
            state.min = min;
        }
        adjusted
    }

    /// Takes a sample, which must come from a packet that was sent once (Karn's algorithm, RFC 6298 §3).
    pub fn sample(&mut self, rtt: Duration) {
        self.state = Some(match self.state {
            // RFC 6298 §2.2: SRTT <- R, RTTVAR <- R/2
            None => State { smoothed: rtt, variance: rtt / 2, latest: rtt, min: rtt },
            // RFC 6298 §2.3, alpha 1/8, beta 1/4: RTTVAR first, with the old SRTT
            Some(old) => State {
                smoothed: toward(old.smoothed, rtt, 8),
                variance: toward(old.variance, old.smoothed.abs_diff(rtt), 4),
                latest: rtt,
                min: old.min.min(rtt),
            },
        });
    }

    /// Whether there was a sample.
    pub fn is_measured(&self) -> bool {
        self.state.is_some()
    }

    /// The smoothed round-trip time; zero before the first sample.
    pub fn smoothed(&self) -> Duration {
        self.state.map_or(Duration::ZERO, |s| s.smoothed)
    }

    /// The mean deviation of the samples (RTTVAR); zero before the first sample.
    pub fn variance(&self) -> Duration {
        self.state.map_or(Duration::ZERO, |s| s.variance)
    }

    /// The newest sample; zero before the first.
    pub fn latest(&self) -> Duration {
        self.state.map_or(Duration::ZERO, |s| s.latest)
    }

    /// The least sample; zero before the first.
    pub fn min(&self) -> Duration {
        self.state.map_or(Duration::ZERO, |s| s.min)
    }

    /// The retransmission timeout: SRTT + 4 RTTVAR (RFC 6298 §2.3) within the bounds given.
    pub fn rto(&self) -> Duration {
        match self.state {
            None => self.initial_rto,
            Some(s) => s
                .smoothed
                .saturating_add(s.variance.saturating_mul(4).max(self.granularity))
                .clamp(self.min_rto, self.max_rto),
        }
    }
}

/// `old` moved a `part`th of the way to `new`.
fn toward(old: Duration, new: Duration, part: u32) -> Duration {
    let step = old.abs_diff(new) / part;
    if new >= old { old.saturating_add(step) } else { old - step }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rtt() -> Rtt {
        Rtt::new(Duration::from_secs(1), Duration::from_millis(50), Duration::from_secs(5))
    }

    proptest! {
        #[test]
        fn stays_between_the_samples_and_within_bounds(samples in prop::collection::vec(0u64..100_000_000_000, 1..50)) {
            let mut rtt = rtt();
            for &sample in &samples {
                rtt.sample(Duration::from_nanos(sample));
                prop_assert!(rtt.rto() >= Duration::from_millis(50) && rtt.rto() <= Duration::from_secs(5));
            }
            let (min, max) = (samples.iter().min().unwrap(), samples.iter().max().unwrap());
            prop_assert!((u128::from(*min)..=u128::from(*max)).contains(&rtt.smoothed().as_nanos()));
            prop_assert_eq!(rtt.min(), Duration::from_nanos(*min));
            prop_assert_eq!(rtt.latest(), Duration::from_nanos(*samples.last().unwrap()));
        }

        #[test]
        fn converges_on_a_constant_path(start in 0u64..2_000, then in 0u64..2_000) {
            let mut rtt = rtt();
            rtt.sample(Duration::from_millis(start));
            for _ in 0..200 {
                rtt.sample(Duration::from_millis(then));
            }
            prop_assert!(rtt.smoothed().abs_diff(Duration::from_millis(then)) < Duration::from_millis(1));
            prop_assert!(rtt.variance() < Duration::from_millis(1));
        }
    }

    #[test]
    fn extreme_samples_do_not_overflow() {
        let mut rtt = rtt();
        for sample in [Duration::MAX, Duration::ZERO, Duration::MAX, Duration::MAX] {
            rtt.sample(sample);
            assert!(rtt.rto() <= Duration::from_secs(5));
        }
    }
}

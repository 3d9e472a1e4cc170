//! Lets data out at a rate, in bursts.

use super::settings::Pacing;

/// Most bytes that leave at once under pacing.
pub const PACING_BURST: u32 = 64 * 1500;
/// Least burst: a conversation always moves.
const MIN_BURST: i64 = 2 * 1500;

/// A bucket that fills with time and empties with data.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pacer {
    /// Bytes that may leave now; below 0 after resends, which are counted but never held back.
    tokens: i64,
    /// When `tokens` was right.
    at: i64,
    /// Bytes a second; 0 when nothing is held back.
    rate: u64,
}

impl Pacer {
    /// Brings the bucket up to `now`. `window` is what may be in flight, in bytes, `rtt` in ms.
    pub(crate) fn refill(&mut self, pacing: Pacing, window: u64, rtt: u32, now: i64) {
        let elapsed = (now - self.at).clamp(0, 1000) as u64;
        self.at = now;
        self.rate = match pacing {
            Pacing::Off => 0,
            Pacing::Rate(rate) => u64::from(rate.max(1)),
            Pacing::Auto if rtt == 0 => 0,
            // RFC 9002 §7.7: N = 1.25.
            Pacing::Auto => (window * 1250 / u64::from(rtt)).max(1),
        };
        let burst = i64::from(PACING_BURST);
        self.tokens = match self.rate {
            0 => burst,
            rate => (self.tokens + (rate * elapsed / 1000) as i64).min(burst),
        };
    }

    /// Whether data may leave.
    pub(crate) fn is_open(&self) -> bool {
        self.rate == 0 || self.tokens > 0
    }

    pub(crate) fn spend(&mut self, bytes: usize) {
        self.tokens = (self.tokens - bytes as i64).max(-i64::from(PACING_BURST));
    }

    /// When to look again.
    pub(crate) fn opens_at(&self) -> i64 {
        if self.is_open() {
            return self.at;
        }
        let missing = (MIN_BURST - self.tokens) as u64;
        self.at + (missing * 1000).div_ceil(self.rate.max(1)).clamp(1, 1000) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_faster_than_its_rate(rate in 1_000..10_000_000u32, steps in prop::collection::vec(0..50i64, 1..200)) {
            let mut pacer = Pacer::default();
            let (mut now, mut sent) = (0, 0u64);
            for step in steps {
                now += step;
                pacer.refill(Pacing::Rate(rate), 0, 0, now);
                while pacer.is_open() {
                    pacer.spend(1400);
                    sent += 1400;
                }
                prop_assert!(pacer.opens_at() > now);
            }
            prop_assert!(sent <= u64::from(rate) * now as u64 / 1000 + u64::from(PACING_BURST) + 1400);
        }
    }
}

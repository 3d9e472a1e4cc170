//! The loss ratio that statistics show: over the last 100 reliable packets whose fate is known.

/// How many packets the ratio looks back on (PROTOCOL A11).
const SPAN: u32 = 100;

/// The last 100 fates, newest in the lowest bit; set = lost or repeated.
#[derive(Debug, Clone, Default)]
pub(crate) struct LossTracker {
    fates: u128,
    known: u32,
}

impl LossTracker {
    /// Notes a packet that was acknowledged after one transmission, or that had to be repeated.
    pub(crate) fn record(&mut self, lost: bool) {
        self.fates = ((self.fates << 1) | u128::from(lost)) & ((1 << SPAN) - 1);
        self.known = (self.known + 1).min(SPAN);
    }

    /// 0.0 to 1.0; 0.0 while nothing is known.
    pub(crate) fn ratio(&self) -> f64 {
        if self.known == 0 { 0.0 } else { f64::from(self.fates.count_ones()) / f64::from(self.known) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_share_of_the_last_hundred(fates in prop::collection::vec(any::<bool>(), 0..350)) {
            let mut tracker = LossTracker::default();
            for &lost in &fates {
                tracker.record(lost);
            }
            let last = &fates[fates.len().saturating_sub(100)..];
            let lost = last.iter().filter(|&&lost| lost).count();
            let expected = if last.is_empty() { 0.0 } else { lost as f64 / last.len() as f64 };
            prop_assert!((tracker.ratio() - expected).abs() < 1e-12);
        }
    }
}

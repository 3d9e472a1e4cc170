//! A budget of so many acts a second, as a token bucket one second deep.

use std::time::Instant;

/// Grants at most `rate` acts a second, and at most one second's worth at once.
#[derive(Debug)]
pub(crate) struct Budget {
    rate: u32,
    left: f64,
    at: Instant,
}

impl Budget {
    pub(crate) fn new(rate: u32, now: Instant) -> Self {
        Self { rate, left: f64::from(rate), at: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let rate = f64::from(self.rate);
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + elapsed * rate).min(rate);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn grants_its_rate_and_no_more() {
        let start = Instant::now();
        let mut budget = Budget::new(100, start);
        let granted = (0..100_000u64).filter(|i| budget.take(start + Duration::from_micros(i * 100))).count();
        // 10 s at 100 a second, and the second's worth it started with.
        assert!((1099..=1100).contains(&granted), "{granted}");
    }
}

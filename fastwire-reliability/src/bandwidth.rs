//! A smoothed byte rate: an exponentially weighted mean over steps of 10 ms.

use std::time::{Duration, Instant};

/// The step to which the weight 0.2 belongs (PROTOCOL A11).
const STEP: Duration = Duration::from_millis(10);

/// Share of the old rate that remains after one step.
const KEPT: f64 = 0.8;

/// Bytes per second in one direction.
#[derive(Debug, Clone)]
pub struct Bandwidth {
    rate: f64,
    /// Bytes since `since`, not yet in `rate`.
    pending: u64,
    since: Instant,
}

impl Bandwidth {
    /// A rate of zero, starting at `now`.
    pub fn new(now: Instant) -> Self {
        Self { rate: 0.0, pending: 0, since: now }
    }

    /// Counts `bytes` that passed at `now`.
    #[inline]
    pub fn on_bytes(&mut self, now: Instant, bytes: u64) {
        self.fold(now);
        self.pending = self.pending.saturating_add(bytes);
    }

    /// Counts more bytes that passed when those before did.
    #[inline]
    pub fn add(&mut self, bytes: u64) {
        self.pending = self.pending.saturating_add(bytes);
    }

    /// The rate in bytes per second as of `now`.
    pub fn rate(&self, now: Instant) -> f64 {
        let mut settled = self.clone();
        settled.fold(now);
        settled.rate
    }

    /// Puts what is pending into the rate once at least a step has passed:
    /// rate += (1 − 0.8^(dt / 10 ms)) (bytes / dt − rate)
    fn fold(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < STEP {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        let weight = 1.0 - KEPT.powf(seconds / STEP.as_secs_f64());
        self.rate += weight * (self.pending as f64 / seconds - self.rate);
        self.pending = 0;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stream_shows_its_rate_and_silence_fades() {
        let start = Instant::now();
        let mut meter = Bandwidth::new(start);
        let mut now = start;
        for _ in 0..1000 {
            now += Duration::from_millis(3);
            meter.on_bytes(now, 300);
        }
        let rate = meter.rate(now);
        assert!((rate - 100_000.0).abs() < 5_000.0, "{rate}");
        // what was pending, spread over the second, and nothing of the old rate
        assert!(meter.rate(now + Duration::from_secs(1)) < 1_500.0);
    }

    #[test]
    fn one_step_moves_a_fifth_of_the_way() {
        let start = Instant::now();
        let mut meter = Bandwidth::new(start);
        meter.on_bytes(start, 1000);
        let rate = meter.rate(start + STEP);
        assert!((rate - 0.2 * 100_000.0).abs() < 1e-6, "{rate}");
        let (mut at_once, mut in_parts) = (meter.clone(), meter.clone());
        at_once.on_bytes(start + STEP, 70);
        in_parts.on_bytes(start + STEP, 30);
        in_parts.add(40);
        assert_eq!(at_once.rate(start + STEP * 2), in_parts.rate(start + STEP * 2));
        // a clock that goes backward changes nothing
        assert!(meter.rate(start).abs() < 1e-9);
    }
}

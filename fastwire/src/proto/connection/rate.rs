//! Limits of so much a second that an application sets: on what a connection sends, and on what it delivers.

use std::time::{Duration, Instant};

use crate::Limits;

/// What was not used is kept for so long.
const SAVED: Duration = Duration::from_millis(100);

/// What may always be kept: a few full datagrams, or messages.
const LEAST_SAVED: f64 = 4096.0;

/// A token bucket. What is taken may exceed what is there; then it stays closed until that is paid off.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    per_second: f64,
    most: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_second: f64, least: f64, now: Instant) -> Self {
        let most = (per_second * SAVED.as_secs_f64()).max(least);
        Self { per_second, most, tokens: most, at: now }
    }

    /// `None`: open. Else when it opens.
    fn opens_at(&mut self, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.most);
        let missing = 1.0 - self.tokens;
        (missing > 0.0)
            .then(|| now + Duration::from_secs_f64((missing / self.per_second).clamp(1e-6, 3600.0)))
    }
}

/// What a connection may send ([`max_send_rate`](crate::ServerConfig::max_send_rate)).
#[derive(Debug, Default)]
pub(crate) struct SendCap(Option<Box<Capped>>);

#[derive(Debug)]
struct Capped {
    bucket: Bucket,
    /// When data may leave again, if it was held back at the last look.
    opens_at: Option<Instant>,
}

impl SendCap {
    pub(crate) fn new(per_second: Option<u64>, now: Instant) -> Self {
        Self(per_second.map(|rate| {
            Box::new(Capped { bucket: Bucket::new(rate as f64, LEAST_SAVED, now), opens_at: None })
        }))
    }

    /// Whether nothing but acknowledgements and control may leave.
    pub(crate) fn is_closed(&mut self, now: Instant) -> bool {
        let Some(capped) = &mut self.0 else { return false };
        capped.opens_at = capped.bucket.opens_at(now);
        capped.opens_at.is_some()
    }

    pub(crate) fn on_sent(&mut self, bytes: usize) {
        if let Some(capped) = &mut self.0 {
            capped.bucket.tokens -= bytes as f64;
        }
    }

    pub(crate) fn opens_at(&self) -> Option<Instant> {
        self.0.as_ref()?.opens_at
    }
}

/// What a connection may deliver ([`Limits::receive_messages_per_second`], [`Limits::receive_bytes_per_second`]).
#[derive(Debug, Default)]
pub(crate) struct Intake(Option<Box<Metered>>);

#[derive(Debug)]
struct Metered {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    opens_at: Option<Instant>,
    /// How often it closed.
    throttled: u64,
}

impl Intake {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        let messages = limits.receive_messages_per_second.map(|rate| Bucket::new(rate.into(), 1.0, now));
        let bytes = limits.receive_bytes_per_second.map(|rate| Bucket::new(rate as f64, LEAST_SAVED, now));
        let is_metered = messages.is_some() || bytes.is_some();
        Self(is_metered.then(|| Box::new(Metered { messages, bytes, opens_at: None, throttled: 0 })))
    }

    /// Whether what arrives has to wait.
    pub(crate) fn is_closed(&mut self, now: Instant) -> bool {
        let Some(metered) = &mut self.0 else { return false };
        let buckets = [&mut metered.messages, &mut metered.bytes].into_iter().flatten();
        let opens_at = buckets.filter_map(|bucket| bucket.opens_at(now)).max();
        metered.throttled += u64::from(opens_at.is_some() && metered.opens_at.is_none());
        metered.opens_at = opens_at;
        opens_at.is_some()
    }

    pub(crate) fn on_delivered(&mut self, bytes: usize) {
        let Some(metered) = &mut self.0 else { return };
        if let Some(bucket) = &mut metered.messages {
            bucket.tokens -= 1.0;
        }
        if let Some(bucket) = &mut metered.bytes {
            bucket.tokens -= bytes as f64;
        }
    }

    pub(crate) fn opens_at(&self) -> Option<Instant> {
        self.0.as_ref()?.opens_at
    }

    /// Whether it opens now. Says so once.
    pub(crate) fn wakes(&mut self, now: Instant) -> bool {
        self.0.as_mut().is_some_and(|metered| metered.opens_at.take_if(|at| *at <= now).is_some())
    }

    pub(crate) fn throttled(&self) -> u64 {
        self.0.as_ref().map_or(0, |metered| metered.throttled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is taken whenever it is open: over any run no more leaves than the rate, what may be saved, and the one
        /// packet that closed it; and a sender that always has something gets that much.
        #[test]
        fn a_cap_holds_and_is_used(rate in 2_000u64..10_000_000, sizes in prop::collection::vec(20usize..1300, 10..300)) {
            let start = Instant::now();
            let (mut cap, mut now, mut sent) = (SendCap::new(Some(rate), start), start, 0.0);
            let saved = (rate as f64 / 10.0).max(4096.0);
            for &size in &sizes {
                while cap.is_closed(now) {
                    let at = cap.opens_at().unwrap();
                    prop_assert!(at > now && at - now < Duration::from_secs(2));
                    now = at;
                }
                cap.on_sent(size);
                sent += size as f64;
                let most = (now - start).as_secs_f64() * rate as f64 + saved + 1300.0;
                prop_assert!(sent <= most + 1.0, "{} of {}", sent, most);
            }
            prop_assert!((now - start).as_secs_f64() * rate as f64 <= sent + 1300.0);
        }
    }
}

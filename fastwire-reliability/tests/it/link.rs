//! One direction of a path in virtual time: delay, jitter, loss, duplication, outages; seeded.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 <= probability && probability > 0.0
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LinkConfig {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    /// Share of packets that take up to four times as long.
    pub(crate) reorder: f64,
}

impl LinkConfig {
    pub(crate) fn clean(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, loss: 0.0, duplicate: 0.0, reorder: 0.0 }
    }

    pub(crate) fn lossy(delay: Duration, loss: f64) -> Self {
        Self { loss, ..Self::clean(delay) }
    }
}

/// Packets under way; the payload type is the test's own.
pub(crate) struct Link<P> {
    pub(crate) config: LinkConfig,
    rng: Rng,
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    packets: std::collections::HashMap<u64, P>,
    count: u64,
    pub(crate) dropped: u64,
}

impl<P: Clone> Link<P> {
    pub(crate) fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng(seed),
            heap: BinaryHeap::new(),
            packets: Default::default(),
            count: 0,
            dropped: 0,
        }
    }

    pub(crate) fn send(&mut self, now: Instant, packet: P) {
        if self.rng.chance(self.config.loss) {
            self.dropped += 1;
            return;
        }
        let copies = 1 + u32::from(self.rng.chance(self.config.duplicate));
        for _ in 0..copies {
            let mut delay = self.config.delay;
            delay += Duration::from_nanos(self.rng.below(self.config.jitter.as_nanos() as u64 + 1));
            if self.rng.chance(self.config.reorder) {
                delay += Duration::from_nanos(self.rng.below(3 * self.config.delay.as_nanos() as u64 + 1));
            }
            self.count += 1;
            self.packets.insert(self.count, packet.clone());
            self.heap.push(Reverse((now + delay, self.count)));
        }
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Option<P> {
        let Reverse((at, id)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        self.packets.remove(&id)
    }
}

//! The narrowest place of a line: a rate, and the queue before it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sim::LinkConfig;

/// What the bottleneck did to a datagram.
pub(super) struct Passage {
    /// When its last bit leaves.
    pub(super) leaves: Instant,
    /// How long it waited before its first bit left.
    pub(super) queued: Duration,
    pub(super) marked: bool,
}

/// A sender of fixed rate behind a queue that drops at its tail.
#[derive(Debug, Default)]
pub(super) struct Bottleneck {
    /// Those not yet gone: when each leaves, and its bytes with headers.
    waiting: VecDeque<(Instant, usize)>,
    /// Sum of the bytes in `waiting`.
    bytes: usize,
}

impl Bottleneck {
    /// `None`: the queue is full.
    pub(super) fn pass(&mut self, now: Instant, len: usize, config: &LinkConfig) -> Option<Passage> {
        let Some(rate) = config.rate else {
            return Some(Passage { leaves: now, queued: Duration::ZERO, marked: false });
        };
        while let Some(&(leaves, bytes)) = self.waiting.front()
            && leaves <= now
        {
            self.waiting.pop_front();
            self.bytes -= bytes;
        }
        let bytes = len + config.overhead;
        // The first always fits: a queue too short for a single datagram would let nothing pass.
        let is_full = self.waiting.len() >= config.queue_packets || self.bytes + bytes > config.queue_bytes;
        if is_full && !self.waiting.is_empty() {
            return None;
        }
        let marked = self.bytes > config.mark_above;
        let begins = self.waiting.back().map_or(now, |(leaves, _)| now.max(*leaves));
        let nanos = (bytes as u128 * 8 * 1_000_000_000).div_ceil(u128::from(rate));
        let leaves = begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.waiting.push_back((leaves, bytes));
        self.bytes += bytes;
        Some(Passage { leaves, queued: begins - now, marked })
    }
}

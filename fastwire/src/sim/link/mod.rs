//! One direction of a line: datagrams go in, and come out later, damaged, twice or not at all.

mod bottleneck;
mod stats;
mod stray;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use self::bottleneck::{Bottleneck, Passage};
pub use self::stats::LinkStats;
use self::stray::Stray;
use super::{LinkConfig, LinkConfigError, Loss, Reorder, Rng};
use crate::transport::ChunkPool;

/// A datagram at the far end of a [`Link`].
#[derive(Debug)]
pub struct Delivery<M = ()> {
    /// When it arrives.
    pub at: Instant,
    /// Its bytes, perhaps not those that were sent.
    pub bytes: BytesMut,
    /// What was sent along with it.
    pub meta: M,
    /// How long it waited at the bottleneck.
    pub queued: Duration,
    /// The queue was above the mark when it came; meant for ECN.
    pub marked: bool,
}

/// One direction of a line, as bad as its [`LinkConfig`] says.
///
/// `M` is whatever should travel along with each datagram. The order of deliveries due at the same time is that of
/// their sending.
#[derive(Debug)]
pub struct Link<M = ()> {
    config: LinkConfig,
    rng: Rng,
    /// The time of the first datagram: outages count from it.
    epoch: Option<Instant>,
    /// An outage set while the link runs: from, until.
    outage: Option<(Instant, Instant)>,
    bottleneck: Bottleneck,
    /// Datagrams still to be lost in the burst under way.
    burst_left: u32,
    /// Datagrams still to be corrupted in the burst under way.
    corrupt_left: u32,
    /// Gilbert–Elliott: in the bad state.
    is_bad: bool,
    /// The latest arrival so far of a datagram that kept its place.
    newest: Option<Instant>,
    /// Numbers the scheduled deliveries, which settles the order of those due together.
    sequence: u64,
    /// In order of `at`: where nearly everything goes.
    line: VecDeque<(u64, Delivery<M>)>,
    /// Deliveries due before the last of `line`.
    strays: BinaryHeap<Reverse<Stray<M>>>,
    /// Held back by number of datagrams: key (passed count that sets it free, sequence). `at` is the latest time.
    held: BTreeMap<(u64, u64), Delivery<M>>,
    /// When to let go of what is held, in order of time. The front is always still held.
    held_until: VecDeque<(Instant, (u64, u64))>,
    /// Datagrams that kept their place so far.
    passed: u64,
    stats: LinkStats,
    pool: ChunkPool,
}

impl<M: Clone> Link<M> {
    /// A link at rest.
    ///
    /// # Errors
    ///
    /// The first parameter of `config` out of its range.
    pub fn new(config: LinkConfig, seed: u64) -> Result<Self, LinkConfigError> {
        config.validate()?;
        Ok(Self::with_rng(config, Rng::new(seed)))
    }

    /// As `new`, for a valid `config`.
    pub(super) fn with_rng(config: LinkConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            epoch: None,
            outage: None,
            bottleneck: Bottleneck::default(),
            burst_left: 0,
            corrupt_left: 0,
            is_bad: false,
            newest: None,
            sequence: 0,
            line: VecDeque::new(),
            strays: BinaryHeap::new(),
            held: BTreeMap::new(),
            held_until: VecDeque::new(),
            passed: 0,
            stats: LinkStats::default(),
            pool: ChunkPool::new(),
        }
    }

    /// Changes the line under way. What is on its way stays; what is sent from now on may overtake it, as after a
    /// change of route.
    ///
    /// # Errors
    ///
    /// The first parameter of `config` out of its range; the old one stays in force.
    pub fn set_config(&mut self, config: LinkConfig) -> Result<(), LinkConfigError> {
        config.validate()?;
        self.config = config;
        self.newest = None;
        self.burst_left = 0;
        self.corrupt_left = 0;
        self.is_bad = false;
        Ok(())
    }

    /// Nothing passes that is sent from `from` until `until`. Replaces an outage set before in this way.
    pub fn blackout(&mut self, from: Instant, until: Instant) {
        self.outage = Some((from, until));
    }

    /// Sends a datagram. `now` must not run backward from call to call.
    pub fn send(&mut self, now: Instant, datagram: &[u8], meta: M) {
        self.stats.offered += 1;
        self.stats.offered_bytes += datagram.len() as u64;
        let epoch = *self.epoch.get_or_insert(now);
        if datagram.len() > self.config.mtu {
            self.stats.oversized += 1;
            return;
        }
        let outage = self.outage.is_some_and(|(from, until)| (from..until).contains(&now));
        if outage || self.config.is_blacked_out(now.saturating_duration_since(epoch)) {
            self.stats.blacked_out += 1;
            return;
        }
        let Some(Passage { leaves, queued, marked }) =
            self.bottleneck.pass(now, datagram.len(), &self.config)
        else {
            self.stats.queue_drops += 1;
            return;
        };
        if self.loses() {
            self.stats.lost += 1;
            return;
        }
        self.stats.marked += u64::from(marked);
        if self.rng.chance(self.config.duplicate) {
            self.stats.duplicated += 1;
            let bytes = self.copy(datagram);
            self.travel(Delivery { at: leaves, bytes, meta: meta.clone(), queued, marked });
        }
        let bytes = self.copy(datagram);
        self.travel(Delivery { at: leaves, bytes, meta, queued, marked });
    }

    /// The next datagram that has arrived by `now`. Call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Delivery<M>> {
        self.let_go(now);
        let first_in_line = self.line.front().map(|(sequence, delivery)| (delivery.at, *sequence));
        let first_stray = self.strays.peek().map(|Reverse(stray)| stray.key());
        let from_line = match (first_in_line, first_stray) {
            (Some(line), Some(stray)) => line < stray,
            (line, _) => line.is_some(),
        };
        let (at, _) = if from_line { first_in_line? } else { first_stray? };
        if at > now {
            return None;
        }
        let delivery = if from_line {
            self.line.pop_front()?.1
        } else {
            self.strays.pop().map(|Reverse(stray)| stray.delivery)?
        };
        self.stats.delivered += 1;
        self.stats.delivered_bytes += delivery.bytes.len() as u64;
        Some(delivery)
    }

    /// When the next datagram arrives, if any is on its way.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Instant> {
        let line = self.line.front().map(|(_, delivery)| delivery.at);
        let stray = self.strays.peek().map(|Reverse(stray)| stray.delivery.at);
        let held = self.held_until.front().map(|(at, _)| *at);
        [line, stray, held].into_iter().flatten().min()
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    fn loses(&mut self) -> bool {
        match self.config.loss {
            Loss::None => false,
            Loss::Bernoulli { rate } => self.rng.chance(rate),
            Loss::Bursts { rate, length } => in_burst(&mut self.rng, &mut self.burst_left, rate, length),
            Loss::GilbertElliott { enter, leave, good, bad } => {
                let change = if self.is_bad { leave } else { enter };
                self.is_bad ^= self.rng.chance(change);
                self.rng.chance(if self.is_bad { bad } else { good })
            }
        }
    }

    /// The bytes that arrive.
    fn copy(&mut self, datagram: &[u8]) -> BytesMut {
        let mut bytes = self.pool.copy(datagram);
        let (rate, length) = (self.config.corrupt, self.config.corrupt_burst);
        if !bytes.is_empty() && in_burst(&mut self.rng, &mut self.corrupt_left, rate, length) {
            let bit = self.rng.below(bytes.len() as u64 * 8);
            if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
            self.stats.corrupted += 1;
        }
        bytes
    }

    /// From the bottleneck, left at `delivery.at`, to the far end.
    fn travel(&mut self, mut delivery: Delivery<M>) {
        let jitter = self.rng.duration(self.config.jitter * 2);
        delivery.at += self.config.latency - self.config.jitter + jitter;
        match self.config.reorder {
            Some((share, how)) if self.rng.chance(share) => {
                self.stats.reordered += 1;
                match how {
                    Reorder::Delay(longest) => {
                        delivery.at += self.rng.duration(longest);
                        self.schedule(delivery);
                    }
                    Reorder::Depth { depth, at_most } => {
                        let passed = self.passed + 1 + self.rng.below(u64::from(depth));
                        self.hold(passed, at_most, delivery);
                    }
                }
            }
            _ => self.keep_place(delivery),
        }
    }

    /// Schedules a datagram behind all that kept their place before it.
    fn keep_place(&mut self, mut delivery: Delivery<M>) {
        let at = self.newest.map_or(delivery.at, |newest| newest.max(delivery.at));
        self.newest = Some(at);
        delivery.at = at;
        self.schedule(delivery);
        self.passed += 1;
        while let Some(entry) = self.held.first_entry().filter(|entry| entry.key().0 <= self.passed) {
            let mut delivery = entry.remove();
            delivery.at = at.min(delivery.at);
            self.schedule(delivery);
        }
        self.forget_freed();
    }

    fn schedule(&mut self, delivery: Delivery<M>) {
        let sequence = self.sequence;
        self.sequence += 1;
        if self.line.back().is_none_or(|(_, last)| last.at <= delivery.at) {
            self.line.push_back((sequence, delivery));
        } else {
            self.strays.push(Reverse(Stray { sequence, delivery }));
        }
    }

    fn hold(&mut self, until_passed: u64, at_most: Duration, mut delivery: Delivery<M>) {
        let key = (until_passed, self.sequence);
        self.sequence += 1;
        // Jitter may bring a later datagram's time before an earlier one's; time spent held keeps the order.
        let until = delivery.at + at_most;
        let until = self.held_until.back().map_or(until, |(last, _)| until.max(*last));
        delivery.at = until;
        self.held_until.push_back((until, key));
        self.held.insert(key, delivery);
    }

    /// Lets go of what was held long enough.
    fn let_go(&mut self, now: Instant) {
        while let Some(&(until, key)) = self.held_until.front()
            && until <= now
        {
            self.held_until.pop_front();
            if let Some(delivery) = self.held.remove(&key) {
                self.schedule(delivery);
            }
            self.forget_freed();
        }
    }

    /// Restores that the front of `held_until` is still held.
    fn forget_freed(&mut self) {
        while self.held_until.front().is_some_and(|(_, key)| !self.held.contains_key(key)) {
            self.held_until.pop_front();
        }
    }
}

/// Whether chance strikes now, where it strikes `length` times in a row and at `rate` in all. `left`: strikes still to come
/// of the burst under way.
fn in_burst(rng: &mut Rng, left: &mut u32, rate: f64, length: u32) -> bool {
    if *left == 0 {
        // In a long run (1 − s)/s datagrams pass between two bursts that start with probability s, so
        // rate = length / (length + (1 − s)/s).
        let start = rate / (f64::from(length) * (1.0 - rate) + rate);
        if !rng.chance(start) {
            return false;
        }
        *left = length;
    }
    *left -= 1;
    true
}

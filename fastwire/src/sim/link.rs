//! One direction of a line: datagrams go in, and come out later, damaged, twice or not at all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use bytes::BytesMut;

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

/// What happened on a link so far, in datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Sent into the link.
    pub offered: u64,
    /// Bytes sent into the link, without headers.
    pub offered_bytes: u64,
    /// Arrived at the far end, copies included.
    pub delivered: u64,
    /// Bytes that arrived, without headers.
    pub delivered_bytes: u64,
    /// Larger than the MTU.
    pub oversized: u64,
    /// Sent during an outage.
    pub blacked_out: u64,
    /// Found the queue of the bottleneck full.
    pub queue_drops: u64,
    /// Marked by the bottleneck.
    pub marked: u64,
    /// Lost on the way.
    pub lost: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Fell behind.
    pub reordered: u64,
    /// Arrived with a flipped bit.
    pub corrupted: u64,
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

/// A delivery out of line, ordered by its time and then by its sending.
#[derive(Debug)]
struct Stray<M> {
    sequence: u64,
    delivery: Delivery<M>,
}

impl<M> Stray<M> {
    fn key(&self) -> (Instant, u64) {
        (self.delivery.at, self.sequence)
    }
}

impl<M> PartialEq for Stray<M> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<M> Eq for Stray<M> {}

impl<M> PartialOrd for Stray<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Stray<M> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// What the bottleneck did to a datagram.
struct Passage {
    /// When its last bit leaves.
    leaves: Instant,
    /// How long it waited before its first bit left.
    queued: Duration,
    marked: bool,
}

/// A sender of fixed rate behind a queue that drops at its tail.
#[derive(Debug, Default)]
struct Bottleneck {
    /// Those not yet gone: when each leaves, and its bytes with headers.
    waiting: VecDeque<(Instant, usize)>,
    /// Sum of the bytes in `waiting`.
    bytes: usize,
}

impl Bottleneck {
    /// `None`: the queue is full.
    fn pass(&mut self, now: Instant, len: usize, config: &LinkConfig) -> Option<Passage> {
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

impl LinkStats {
    /// Every fault with its name and how often it happened.
    #[must_use]
    pub fn faults(&self) -> [(&'static str, u64); 8] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("corrupted", self.corrupted),
            ("dropped by the queue", self.queue_drops),
            ("marked", self.marked),
            ("oversized", self.oversized),
            ("blacked out", self.blacked_out),
        ]
    }
}

impl AddAssign for LinkStats {
    fn add_assign(&mut self, other: Self) {
        self.offered += other.offered;
        self.offered_bytes += other.offered_bytes;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.oversized += other.oversized;
        self.blacked_out += other.blacked_out;
        self.queue_drops += other.queue_drops;
        self.marked += other.marked;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
    }
}

/// `100 sent, 97 delivered, 5 lost, 2 duplicated`: faults that did not happen are left out.
impl fmt::Display for LinkStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent, {} delivered", self.offered, self.delivered)?;
        for (name, count) in self.faults().into_iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {count} {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn link(config: LinkConfig, seed: u64) -> Link<u32> {
        Link::new(config, seed).unwrap()
    }

    /// Sends `count` numbered datagrams of `len` bytes, `gap` apart; returns (sent at, delivery) in order of arrival,
    /// each taken at the very time the link announces.
    fn run(link: &mut Link<u32>, count: u32, len: usize, gap: Duration) -> Vec<(Instant, Delivery<u32>)> {
        let start = Instant::now();
        let sent_at = |number: u32| start + gap * number;
        let mut arrived = Vec::new();
        let mut number = 0;
        loop {
            let next_send = (number < count).then(|| sent_at(number));
            match (next_send, link.next_delivery()) {
                (Some(now), next) if next.is_none_or(|next| now < next) => {
                    link.send(now, &vec![number as u8; len], number);
                    number += 1;
                }
                (_, Some(now)) => {
                    let before = arrived.len();
                    while let Some(delivery) = link.poll(now) {
                        assert_eq!(delivery.at, now, "delivered when it was due");
                        arrived.push((sent_at(delivery.meta), delivery));
                    }
                    assert!(arrived.len() > before, "an announced delivery happens");
                }
                (None, None) => break,
                (Some(_), None) => unreachable!("sent above"),
            }
        }
        let stats = link.stats();
        let lost = stats.lost + stats.blacked_out + stats.oversized + stats.queue_drops;
        assert_eq!(
            stats.offered + stats.duplicated,
            stats.delivered + lost,
            "every datagram is accounted for"
        );
        arrived
    }

    /// Checks a count against a binomial distribution at five standard deviations.
    #[track_caller]
    fn assert_share(count: u64, of: u64, probability: f64) {
        let mean = of as f64 * probability;
        let deviation = (mean * (1.0 - probability)).sqrt();
        assert!(
            (count as f64 - mean).abs() <= 5.0 * deviation.max(1.0),
            "{count} of {of}, expected {mean:.0}"
        );
    }

    fn faulty() -> impl Strategy<Value = LinkConfig> {
        let loss = prop_oneof![
            Just(Loss::None),
            (0.0..1.0).prop_map(|rate| Loss::Bernoulli { rate }),
            (0.0..1.0, 1u32..9).prop_map(|(rate, length)| Loss::Bursts { rate, length }),
            (0.0..1.0, 0.0..1.0, 0.0..0.2, 0.5..1.0)
                .prop_map(|(enter, leave, good, bad)| Loss::GilbertElliott { enter, leave, good, bad }),
        ];
        let reorder = prop_oneof![
            (0u32..100).prop_map(|ms| Reorder::Delay(ms * MS)),
            (1u32..5000, 1u32..2000).prop_map(|(depth, ms)| Reorder::Depth { depth, at_most: ms * MS }),
        ];
        let faults = (loss, 0.0..1.0, 0.0..1.0, reorder, 0.0..1.0);
        let line =
            (0u32..400, 0.0..1.0, proptest::option::of(10_000u64..100_000_000), 1usize..50, 100usize..2000);
        (faults, line).prop_map(
            |((loss, duplicate, share, how, corrupt), (ms, jitter, rate, packets, mtu))| {
                let latency = ms * MS;
                let config = LinkConfig::new()
                    .latency(latency)
                    .jitter(latency.mul_f64(jitter))
                    .loss(loss)
                    .duplicate(duplicate)
                    .reorder(share, how)
                    .corrupt(corrupt)
                    .queue_packets(packets)
                    .mtu(mtu)
                    .blackout(50 * MS..70 * MS);
                match rate {
                    Some(rate) => config.rate(rate),
                    None => config,
                }
            },
        )
    }

    proptest! {
        /// Whatever the faults: nothing arrives before its latency or after it must, no bytes but one bit differ,
        /// nothing arrives more than twice, and the same seed gives the same trace.
        #[test]
        fn any_line_keeps_the_laws(config in faulty(), seed: u64, gap in 0u64..5000, len in 0usize..600) {
            let gap = Duration::from_micros(gap);
            let arrived = run(&mut link(config.clone(), seed), 300, len, gap);
            let at_most = match config.reorder {
                Some((_, Reorder::Delay(at_most) | Reorder::Depth { at_most, .. })) => at_most,
                None => Duration::ZERO,
            };
            let mut copies = [0; 300];
            for (sent, delivery) in &arrived {
                let travelled = delivery.at - *sent;
                let sending = config.rate.map_or(Duration::ZERO, |rate| {
                    Duration::from_secs_f64((len + 28) as f64 * 8.0 / rate as f64)
                });
                let leaves = delivery.queued + sending;
                prop_assert!(travelled + MS / 1000 >= leaves + config.latency - config.jitter);
                prop_assert!(travelled <= leaves + config.latency + config.jitter + at_most + MS / 1000);
                prop_assert_eq!(delivery.bytes.len(), len);
                let flipped: u32 =
                    delivery.bytes.iter().map(|byte| (byte ^ delivery.meta as u8).count_ones()).sum();
                prop_assert!(flipped <= 1);
                copies[delivery.meta as usize] += 1;
            }
            prop_assert!(copies.iter().all(|count| *count <= 2));
            let again = run(&mut link(config, seed), 300, len, gap);
            let trace = |run: &[(Instant, Delivery<u32>)]| -> Vec<_> {
                run.iter().map(|(sent, d)| (d.meta, d.at - *sent, d.bytes.to_vec())).collect()
            };
            prop_assert_eq!(trace(&arrived), trace(&again));
        }

        /// Without faults every line, however long, narrow and unsteady, delivers exact copies in order.
        #[test]
        fn a_line_without_faults_is_exact(
            latency in 0u32..400,
            jitter in 0.0..1.0,
            rate in proptest::option::of(100_000u64..1_000_000_000),
            seed: u64,
            gap in 0u64..5000,
        ) {
            let latency = latency * MS;
            let mut config = LinkConfig::new().latency(latency).jitter(latency.mul_f64(jitter));
            if let Some(rate) = rate {
                config = config.rate(rate);
            }
            let arrived = run(&mut link(config, seed), 500, 100, Duration::from_micros(gap));
            prop_assert!(arrived.iter().map(|(_, delivery)| delivery.meta).eq(0..500));
            for (_, delivery) in arrived {
                prop_assert_eq!(&delivery.bytes[..], &[delivery.meta as u8; 100][..]);
            }
        }
    }

    const MANY: u32 = 100_000;

    #[test]
    fn each_share_is_what_was_asked_for() {
        for (seed, share) in [0.0, 0.01, 0.05, 0.3, 0.5, 1.0].into_iter().enumerate() {
            let config = LinkConfig::new()
                .loss(Loss::Bernoulli { rate: 0.05 })
                .duplicate(share)
                .corrupt(share)
                .reorder(share, Reorder::Delay(MS));
            let mut link = link(config, seed as u64);
            run(&mut link, MANY, 8, MS / 100);
            let stats = link.stats();
            let passed = stats.offered - stats.lost;
            assert_share(stats.lost, stats.offered, 0.05);
            assert_share(stats.duplicated, passed, share);
            assert_share(stats.corrupted, stats.delivered, share);
            assert_share(stats.reordered, stats.delivered, share);
        }
    }

    #[test]
    fn every_bit_is_flipped_as_often_as_any_other() {
        let mut link = link(LinkConfig::new().corrupt(1.0), 5);
        let mut flips = [0u64; 64];
        for (_, delivery) in run(&mut link, MANY, 8, MS) {
            let wrong = u64::from_le_bytes(delivery.bytes[..].try_into().unwrap())
                ^ u64::from_le_bytes([delivery.meta as u8; 8]);
            assert_eq!(wrong.count_ones(), 1);
            flips[wrong.trailing_zeros() as usize] += 1;
        }
        flips.iter().for_each(|count| assert_share(*count, MANY.into(), 1.0 / 64.0));
    }

    /// Lengths of the runs of lost datagrams.
    fn lost_runs(arrived: &[(Instant, Delivery<u32>)]) -> Vec<u32> {
        let numbers: Vec<u32> = arrived.iter().map(|(_, delivery)| delivery.meta).collect();
        numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|run| *run > 0).collect()
    }

    #[test]
    fn bursts_have_their_length_and_their_rate() {
        for (rate, length) in [(0.05, 3), (0.3, 3), (0.1, 10), (0.2, 1)] {
            let mut link = link(LinkConfig::new().loss(Loss::Bursts { rate, length }), 9);
            let runs = lost_runs(&run(&mut link, MANY, 1, MS));
            assert!(runs.iter().all(|run| run % length == 0), "only whole bursts");
            // Bursts, not datagrams, are independent: `length` times the variance.
            let stats = link.stats();
            assert_share(stats.lost / u64::from(length), stats.offered / u64::from(length), rate);
        }
    }

    #[test]
    fn gilbert_elliott_spends_its_time_as_the_chain_says() {
        let (enter, leave) = (0.02, 0.25);
        let loss = Loss::GilbertElliott { enter, leave, good: 0.0, bad: 1.0 };
        let mut link = link(LinkConfig::new().loss(loss), 3);
        let runs = lost_runs(&run(&mut link, MANY, 1, MS));
        // Stationary share of the bad state enter / (enter + leave); mean stay 1 / leave.
        let share = link.stats().lost as f64 / f64::from(MANY);
        assert!((share - enter / (enter + leave)).abs() < 0.005, "{share}");
        let mean = f64::from(runs.iter().sum::<u32>()) / runs.len() as f64;
        assert!((mean - 1.0 / leave).abs() < 0.2, "{mean}");
    }

    #[test]
    fn reordering_is_as_deep_as_asked_for_and_no_deeper() {
        for depth in [1, 4, 100, 4096] {
            let how = Reorder::Depth { depth, at_most: 3600 * SECOND };
            let mut link = link(LinkConfig::new().latency(20 * MS).reorder(0.05, how), 11);
            let arrived = run(&mut link, 20_000, 1, MS);
            // How many of those that kept their place overtook a datagram.
            let mut newest = 0;
            let mut keepers = Vec::new();
            let mut deepest = 0;
            for (_, delivery) in &arrived {
                if delivery.meta >= newest {
                    newest = delivery.meta;
                    keepers.push(delivery.meta);
                } else {
                    let overtaken_by =
                        keepers.len() - keepers.partition_point(|keeper| *keeper < delivery.meta);
                    deepest = deepest.max(overtaken_by as u32);
                }
            }
            assert!(deepest <= depth, "{deepest} of {depth}");
            assert!(deepest * 10 >= depth * 9, "{deepest} of {depth}");
        }
    }

    #[test]
    fn what_nothing_overtakes_is_let_go_in_time() {
        let how = Reorder::Depth { depth: 4096, at_most: 100 * MS };
        let mut link = link(LinkConfig::new().latency(20 * MS).reorder(1.0, how), 2);
        let arrived = run(&mut link, 50, 1, MS);
        assert!(arrived.iter().all(|(sent, delivery)| delivery.at - *sent == 120 * MS));
    }

    #[test]
    fn jitter_is_even_around_the_latency() {
        let mut link = link(LinkConfig::new().latency(25 * MS).jitter(5 * MS), 4);
        let mut tenths = [0; 10];
        // Further apart than the jitter, so that order costs nothing.
        for (sent, delivery) in run(&mut link, MANY, 1, 11 * MS) {
            let travelled = (delivery.at - sent - 20 * MS).as_micros();
            tenths[(travelled / 1000).min(9) as usize] += 1;
        }
        tenths.iter().for_each(|count| assert_share(*count, MANY.into(), 0.1));
    }

    #[test]
    fn the_bottleneck_passes_its_rate_and_its_queue_holds_its_length() {
        // 1000 + 28 bytes at 8.224 Mbit/s take a millisecond each.
        let config = LinkConfig::new().rate(8_224_000).latency(10 * MS).queue_packets(25);
        let mut narrow = link(config.clone(), 0);
        let arrived = run(&mut narrow, 100, 1000, Duration::ZERO);
        let times: Vec<_> = arrived.iter().map(|(sent, delivery)| delivery.at - *sent).collect();
        assert_eq!(times, (1..=25).map(|number| 10 * MS + number * MS).collect::<Vec<_>>());
        assert_eq!(narrow.stats().queue_drops, 75);
        assert!(arrived.iter().enumerate().all(|(place, (_, d))| d.queued == place as u32 * MS));

        let mut by_bytes = link(config.queue_bytes(10 * 1028), 0);
        assert_eq!(run(&mut by_bytes, 100, 1000, Duration::ZERO).len(), 10);

        // Twice as fast as the bottleneck: half of it passes, at the full rate, once the queue is full.
        let mut overrun = link(LinkConfig::new().rate(8_224_000).queue_packets(25), 0);
        let arrived = run(&mut overrun, 2000, 1000, MS / 2);
        assert!((1000..=1026).contains(&arrived.len()), "{}", arrived.len());
        assert!(arrived.windows(2).all(|pair| pair[1].1.at - pair[0].1.at == MS));
    }

    #[test]
    fn a_queue_above_its_mark_marks() {
        let config = LinkConfig::new().rate(8_224_000).queue_packets(100).mark_above(5 * 1028);
        let arrived = run(&mut link(config, 0), 20, 1000, Duration::ZERO);
        assert!(arrived.iter().enumerate().all(|(place, (_, delivery))| delivery.marked == (place > 5)));
    }

    #[test]
    fn outages_and_the_mtu_drop_what_they_should() {
        let config = LinkConfig::new().blackout_every(20 * MS, 70 * MS);
        let mut dark = link(config, 0);
        let arrived = run(&mut dark, 700, 1, MS);
        assert_eq!((arrived.len(), dark.stats().blacked_out), (500, 200));
        let now = Instant::now();
        dark.blackout(now, now + MS);
        dark.send(now, b"x", 0);
        assert_eq!(dark.stats().blacked_out, 201);

        let mut small = link(LinkConfig::new().mtu(1200), 0);
        assert_eq!(run(&mut small, 3, 1200, MS).len(), 3);
        assert_eq!(run(&mut small, 3, 1201, MS).len(), 0);
        assert_eq!(small.stats().to_string(), "6 sent, 3 delivered, 3 oversized");
    }

    #[test]
    fn a_shorter_route_overtakes_the_longer() {
        let start = Instant::now();
        let mut link = link(LinkConfig::new().latency(SECOND), 0);
        link.send(start, b"long", 1);
        link.set_config(LinkConfig::new().latency(10 * MS)).unwrap();
        link.send(start, b"short", 2);
        assert_eq!(link.poll(start + 10 * MS).map(|delivery| delivery.meta), Some(2));
        assert_eq!(link.poll(start + SECOND).map(|delivery| delivery.meta), Some(1));
        assert!(link.set_config(LinkConfig::new().corrupt(2.0)).is_err());
    }
}

//! Segments in flight: a ring by number, and timers that name those which are due.
#![allow(
    clippy::indexing_slicing,
    reason = "a slot is a number masked by the ring's length, and the bits are as long as the ring"
)]

use super::outbox::Piece;
use super::segment::distance;
use super::settings::Rules;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Slots of the ring at its smallest; a multiple of the bits of a word.
const MIN_SLOTS: usize = 64;
/// Slots that an empty ring keeps for the next burst; a longer one is given back, so that idle sessions are small.
const KEPT_SLOTS: usize = 256;

/// A numbered segment.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) frg: u8,
    /// In `Flight::skipped`.
    listed: bool,
    /// Transmissions so far.
    pub(crate) transmissions: u32,
    /// Later segments acknowledged since the last fast resend.
    skips: u32,
    /// Timeout of the latest transmission, in ms.
    rto: u32,
    /// Clock of the latest transmission, as on the wire.
    ts: u32,
    /// When it times out.
    due: i64,
    pub(crate) data: Vec<u8>,
}

/// Why a segment is transmitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    First,
    Timeout,
    Fast,
    Early,
}

/// What decides which segments are due and how their timeouts grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) rules: &'static Rules,
    pub(crate) level: u32,
    /// Skips that call for a fast resend; `u32::MAX` when that is off.
    pub(crate) resend: u32,
}

/// The sent and unacknowledged segments of a conversation.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    /// Oldest number in flight, or `next` when there is none.
    first: u32,
    /// Number of the next new segment.
    next: u32,
    /// Number of the oldest segment that was never transmitted, or `next`.
    fresh: u32,
    /// Segment n is at n & (len − 1). Empty, or a power of two of at least [`MIN_SLOTS`] and `next − first`.
    slots: Vec<Sent>,
    /// One bit a slot: whether its segment is unacknowledged.
    live: Vec<u64>,
    live_count: usize,
    /// Timeouts, soonest first. An entry whose segment is gone or has another timeout is stale.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    /// Live segments whose skips reached what the policy looks at.
    skipped: Vec<u32>,
}

impl Flight {
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Unacknowledged segments.
    pub(crate) fn len(&self) -> usize {
        self.live_count
    }

    pub(crate) fn start_at(&mut self, sn: u32) {
        debug_assert_eq!(self.live_count, 0);
        (self.first, self.next, self.fresh) = (sn, sn, sn);
    }

    /// Numbers a piece. It is due at the next [`collect_due`](Self::collect_due).
    pub(crate) fn push(&mut self, piece: Piece) {
        let span = self.next.wrapping_sub(self.first) as usize;
        if span == self.slots.len() {
            self.grow();
        }
        let slot = self.slot(self.next);
        self.slots[slot] = Sent { frg: piece.frg, data: piece.data, ..Sent::default() };
        self.live[slot / 64] |= 1 << (slot % 64);
        self.live_count += 1;
        self.next = self.next.wrapping_add(1);
    }

    /// Frees everything before `una`.
    pub(crate) fn acknowledge_before(&mut self, una: u32, mut free: impl FnMut(Vec<u8>)) {
        while self.live_count > 0 && distance(una, self.first) > 0 {
            let slot = self.slot(self.first);
            free(self.remove(slot));
        }
    }

    /// Frees `sn`; false when it is not in flight.
    pub(crate) fn acknowledge(&mut self, sn: u32, mut free: impl FnMut(Vec<u8>)) -> bool {
        if !self.is_live(sn) {
            return false;
        }
        let slot = self.slot(sn);
        free(self.remove(slot));
        true
    }

    /// Whether `sn` lies between the oldest in flight and the next new one.
    pub(crate) fn spans(&self, sn: u32) -> bool {
        distance(sn, self.first) >= 0 && distance(sn, self.next) < 0
    }

    /// `sn`, transmitted at `ts`, arrived: counts a skip for each segment before it that was transmitted no later.
    pub(crate) fn count_skips(&mut self, sn: u32, ts: u32, policy: &Policy) {
        if !self.spans(sn) {
            return;
        }
        let threshold = policy.listing_threshold();
        let mut at = self.first;
        while let Some(earlier) = self.next_live(at, sn) {
            let slot = self.slot(earlier);
            let sent = &mut self.slots[slot];
            if sent.transmissions > 0 && distance(ts, sent.ts) >= 0 {
                sent.skips = sent.skips.saturating_add(1);
                if sent.skips >= threshold && !sent.listed {
                    sent.listed = true;
                    self.skipped.push(earlier);
                }
            }
            at = earlier.wrapping_add(1);
        }
    }

    /// Rebuilds what depends on the policy, after it changed.
    pub(crate) fn policy_changed(&mut self, policy: &Policy) {
        self.skipped.clear();
        let threshold = policy.listing_threshold();
        let mut at = self.first;
        while let Some(sn) = self.next_live(at, self.next) {
            let slot = self.slot(sn);
            let sent = &mut self.slots[slot];
            sent.listed = sent.transmissions > 0 && sent.skips >= threshold;
            if sent.listed {
                self.skipped.push(sn);
            }
            at = sn.wrapping_add(1);
        }
    }

    /// Whether a segment is due for another reason than a timeout, unless `new_data` speaks against it.
    pub(crate) fn has_skipped(&self, policy: &Policy) -> bool {
        self.skipped.iter().any(|&sn| {
            self.is_live(sn) && {
                let sent = &self.slots[self.slot(sn)];
                policy.rules.early_resend && sent.skips > 0 || policy.wants_fast(sent)
            }
        })
    }

    /// Writes the numbers that are due at `now` to `due`, in order, each with its cause.
    pub(crate) fn collect_due(&mut self, now: i64, policy: &Policy, due: &mut Vec<(u32, Cause)>) {
        let new_data = self.fresh != self.next;
        while let Some(&Reverse((at, sn))) = self.timers.peek() {
            if at > now {
                break;
            }
            self.timers.pop();
            if self.is_timer(at, sn) {
                due.push((sn, Cause::Timeout));
            }
        }
        // Every entry is live and `listed`, or stale. What is sent now leaves the list.
        for i in (0..self.skipped.len()).rev() {
            let sn = self.skipped[i];
            let slot = self.is_live(sn).then(|| self.slot(sn));
            let cause = match slot.map(|slot| &self.slots[slot]) {
                None => None,
                Some(sent) if sent.due <= now && !policy.rules.timeout_clears_skips => continue,
                Some(sent) if sent.due <= now => None,
                Some(sent) if policy.wants_fast(sent) => Some(Cause::Fast),
                Some(_) if policy.rules.early_resend && !new_data => Some(Cause::Early),
                Some(_) => continue,
            };
            due.extend(cause.map(|cause| (sn, cause)));
            self.skipped.swap_remove(i);
            if let Some(slot) = slot {
                self.slots[slot].listed = false;
            }
        }
        let first = self.first;
        due.sort_unstable_by_key(|&(sn, _)| sn.wrapping_sub(first));
        // Two transmissions may have set the same timeout.
        due.dedup();
        while self.fresh != self.next {
            if self.is_live(self.fresh) {
                due.push((self.fresh, Cause::First));
            }
            self.fresh = self.fresh.wrapping_add(1);
        }
    }

    /// Notes a transmission at `now` (`ts` on the wire) and sets the next timeout; the segment to be sent.
    pub(crate) fn transmit(
        &mut self,
        sn: u32,
        cause: Cause,
        now: i64,
        rx_rto: u32,
        policy: &Policy,
    ) -> &Sent {
        let slot = self.slot(sn);
        let sent = &mut self.slots[slot];
        sent.transmissions += 1;
        sent.ts = now as u32;
        let mut wait = 0;
        match cause {
            Cause::First => {
                sent.rto = rx_rto;
                if policy.rules.slow_first_timeout && policy.level == 0 {
                    wait = rx_rto / 8;
                }
            }
            Cause::Timeout => {
                sent.rto = policy.grown(sent.rto, rx_rto);
                if policy.rules.timeout_clears_skips {
                    sent.skips = 0;
                }
            }
            Cause::Fast | Cause::Early => {
                if policy.rules.fast_takes_measured_rto {
                    sent.rto = rx_rto;
                }
                sent.skips = 0;
            }
        }
        sent.due = now + i64::from(sent.rto) + i64::from(wait);
        self.timers.push(Reverse((sent.due, sn)));
        if self.timers.len() > 2 * self.live_count + MIN_SLOTS {
            self.drop_stale_timers();
        }
        &self.slots[slot]
    }

    /// When the next segment times out.
    pub(crate) fn next_timeout(&mut self) -> Option<i64> {
        while let Some(&Reverse((at, sn))) = self.timers.peek() {
            if self.is_timer(at, sn) {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    fn slot(&self, sn: u32) -> usize {
        sn as usize & (self.slots.len() - 1)
    }

    fn is_live(&self, sn: u32) -> bool {
        self.spans(sn) && {
            let slot = self.slot(sn);
            self.live[slot / 64] >> (slot % 64) & 1 == 1
        }
    }

    fn is_timer(&self, at: i64, sn: u32) -> bool {
        self.is_live(sn) && {
            let sent = &self.slots[self.slot(sn)];
            sent.transmissions > 0 && sent.due == at
        }
    }

    /// The first live number from `from` on, before `end`.
    fn next_live(&self, from: u32, end: u32) -> Option<u32> {
        let mut sn = from;
        while distance(sn, end) < 0 {
            let slot = self.slot(sn);
            let rest = self.live[slot / 64] >> (slot % 64);
            if rest != 0 {
                let found = sn.wrapping_add(rest.trailing_zeros());
                return (distance(found, end) < 0).then_some(found);
            }
            sn = sn.wrapping_add(64 - (slot % 64) as u32);
        }
        None
    }

    fn remove(&mut self, slot: usize) -> Vec<u8> {
        self.live[slot / 64] &= !(1 << (slot % 64));
        self.live_count -= 1;
        self.first = self.next_live(self.first, self.next).unwrap_or(self.next);
        if distance(self.fresh, self.first) < 0 {
            self.fresh = self.first;
        }
        let data = std::mem::take(&mut self.slots[slot].data);
        if self.live_count == 0 && self.slots.len() > KEPT_SLOTS {
            self.first = self.next;
            (self.slots, self.live) = (Vec::new(), Vec::new());
            (self.timers, self.skipped) = (BinaryHeap::new(), Vec::new());
        }
        data
    }

    fn grow(&mut self) {
        let len = (2 * self.slots.len()).max(MIN_SLOTS);
        let mut slots: Vec<Sent> = Vec::new();
        slots.resize_with(len, Sent::default);
        let mut live = vec![0u64; len / 64];
        let mut at = self.first;
        while let Some(sn) = self.next_live(at, self.next) {
            let from = self.slot(sn);
            let to = sn as usize & (len - 1);
            slots[to] = std::mem::take(&mut self.slots[from]);
            live[to / 64] |= 1 << (to % 64);
            at = sn.wrapping_add(1);
        }
        self.slots = slots;
        self.live = live;
    }

    fn drop_stale_timers(&mut self) {
        let mut timers = std::mem::take(&mut self.timers);
        timers.retain(|&Reverse((at, sn))| self.is_timer(at, sn));
        self.timers = timers;
    }
}

impl Policy {
    fn wants_fast(&self, sent: &Sent) -> bool {
        sent.skips >= self.resend && sent.transmissions <= self.rules.fast_limit
    }

    /// Skips from which on a segment is of interest to a flush.
    fn listing_threshold(&self) -> u32 {
        if self.rules.early_resend { 1 } else { self.resend }
    }

    /// The timeout after a timeout.
    fn grown(&self, own: u32, measured: u32) -> u32 {
        let step = match self.level {
            0 => own.max(measured),
            1 => own / 2,
            _ => measured / 2,
        };
        own.saturating_add(step).min(self.rules.longest_backoff.max(measured))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Timing;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The same as a list: number → (transmissions, skips, due, ts).
    type Model = BTreeMap<u32, (u32, u32, i64, u32)>;

    const RTO: u32 = 50;

    fn due_of(model: &Model, now: i64, policy: &Policy) -> Vec<(u32, Cause)> {
        let new_data = model.values().any(|sent| sent.0 == 0);
        let cause = |&(transmissions, skips, due, _): &(u32, u32, i64, u32)| {
            if transmissions == 0 {
                Some(Cause::First)
            } else if due <= now {
                Some(Cause::Timeout)
            } else if skips >= policy.resend && transmissions <= policy.rules.fast_limit {
                Some(Cause::Fast)
            } else if policy.rules.early_resend && !new_data && skips > 0 {
                Some(Cause::Early)
            } else {
                None
            }
        };
        model.iter().filter_map(|(&n, sent)| Some((n, cause(sent)?))).collect()
    }

    proptest! {
        #[test]
        fn names_what_a_scan_would_find(
            start in prop_oneof![any::<u32>(), Just(u32::MAX - 20)],
            classic: bool, resend in prop_oneof![1..4u32, Just(u32::MAX)],
            calls in prop::collection::vec((0..5u8, any::<u8>(), 0..30u8), 1..150),
        ) {
            let rules = if classic { Timing::Classic } else { Timing::Prompt }.rules();
            let policy = Policy { rules, level: 2, resend };
            let mut flight = Flight::default();
            flight.start_at(start);
            // The model counts from 0 and never wraps.
            let (mut model, mut next, mut now, mut most) = (Model::new(), 0u32, 0i64, 0);
            for (call, which, step) in calls {
                now += i64::from(step);
                let oldest = model.keys().next().copied().unwrap_or(next);
                let number = oldest + u32::from(which) % 100;
                match call {
                    0 => for _ in 0..which % 90 {
                        flight.push(Piece { frg: 0, data: Vec::new() });
                        model.insert(next, (0, 0, 0, 0));
                        next += 1;
                    },
                    1 => {
                        let freed = flight.acknowledge(start.wrapping_add(number), drop);
                        prop_assert_eq!(freed, model.remove(&number).is_some());
                    }
                    2 => {
                        flight.acknowledge_before(start.wrapping_add(number), drop);
                        model.retain(|&n, _| n >= number);
                    }
                    3 => {
                        let ts = now as u32 - u32::from(step);
                        flight.count_skips(start.wrapping_add(number), ts, &policy);
                        if number < next {
                            for (_, sent) in model.range_mut(..number) {
                                sent.1 += u32::from(sent.0 > 0 && sent.3 <= ts);
                            }
                        }
                    }
                    _ => {
                        let mut due = Vec::new();
                        flight.collect_due(now, &policy, &mut due);
                        let expected = due_of(&model, now, &policy);
                        let found: Vec<_> = due.iter().map(|&(sn, c)| (sn.wrapping_sub(start), c)).collect();
                        prop_assert_eq!(&found, &expected);
                        for (n, cause) in expected {
                            let sent = flight.transmit(start.wrapping_add(n), cause, now, RTO, &policy);
                            let model = model.get_mut(&n).unwrap();
                            let cleared = cause != Cause::Timeout || !classic;
                            let skips = if cleared { 0 } else { model.1 };
                            *model = (model.0 + 1, skips, sent.due, now as u32);
                        }
                    }
                }
                prop_assert_eq!(flight.len(), model.len());
                prop_assert!(!model.is_empty() || flight.slots.len() <= KEPT_SLOTS);
                let oldest = model.keys().next().copied().unwrap_or(next);
                prop_assert_eq!(flight.first(), start.wrapping_add(oldest));
                let soonest = model.values().filter(|sent| sent.0 > 0).map(|sent| sent.2).min();
                prop_assert_eq!(flight.next_timeout(), soonest);
                most = most.max(model.len());
                prop_assert!(flight.timers.len() <= 2 * most + MIN_SLOTS + 1);
            }
        }
    }
}

//! Which unacknowledged messages of a channel go along in later packets before any loss is seen (PROTOCOL B5, Redundancy).

use std::collections::VecDeque;
use std::time::Instant;

use crate::Redundancy;

/// Messages remembered; more than are under way at the rates this is for.
const MAX_RECENT: usize = 512;

/// A budget that was not used is kept for so many of the longest messages.
const MAX_SAVED: i64 = 4;

#[derive(Debug)]
struct Recent {
    number: u64,
    /// When it left last.
    at: Instant,
    len: u32,
    /// Copies that may follow.
    left: u8,
    /// Packets under way that carry it.
    out: u8,
}

/// The copies of one channel: its budget, and the small messages that are under way.
#[derive(Debug)]
pub(crate) struct Copies {
    config: Redundancy,
    /// By number, ascending.
    recent: VecDeque<Recent>,
    /// Bytes of copies that may be sent.
    budget: i64,
}

impl Copies {
    pub(crate) fn new(config: Redundancy) -> Self {
        Self { config, recent: VecDeque::new(), budget: 0 }
    }

    /// A whole message left for the first time.
    pub(crate) fn on_new(&mut self, number: u64, len: usize, now: Instant) {
        if len > usize::from(self.config.max_len) {
            return;
        }
        let most = i64::from(self.config.max_len) * MAX_SAVED;
        self.budget = (self.budget + len as i64 * i64::from(self.config.percent) / 100).min(most);
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        let left = self.config.most();
        self.recent.push_back(Recent { number, at: now, len: len as u32, left, out: 1 });
    }

    /// The newest message before `below` that a packet leaving at `now` may carry again: one that left earlier.
    pub(crate) fn next(&self, below: u64, now: Instant) -> Option<u64> {
        let mut newest_first = self.recent.iter().rev().filter(|recent| recent.number < below);
        let fits =
            |recent: &&Recent| recent.left > 0 && recent.at < now && i64::from(recent.len) <= self.budget;
        newest_first.find(fits).map(|recent| recent.number)
    }

    /// A copy left.
    pub(crate) fn copied(&mut self, number: u64, now: Instant) {
        let Some(recent) = find(&mut self.recent, number) else { return };
        recent.left = recent.left.saturating_sub(1);
        recent.out = recent.out.saturating_add(1);
        recent.at = now;
        let len = i64::from(recent.len);
        self.budget -= len;
    }

    /// It was repeated because it was lost.
    pub(crate) fn repeated(&mut self, number: u64, now: Instant) {
        if let Some(recent) = find(&mut self.recent, number) {
            recent.at = now;
            recent.out = recent.out.saturating_add(1);
        }
    }

    /// A packet with it was lost. Gives whether another one with it is under way.
    pub(crate) fn lost(&mut self, number: u64) -> bool {
        let Some(recent) = find(&mut self.recent, number) else { return false };
        recent.out = recent.out.saturating_sub(1);
        recent.out > 0
    }

    /// It is acknowledged.
    pub(crate) fn done(&mut self, number: u64) {
        if let Ok(index) = self.recent.binary_search_by_key(&number, |recent| recent.number) {
            self.recent.remove(index);
        }
    }

    /// Nothing under way matters any more.
    pub(crate) fn clear(&mut self) {
        self.recent.clear();
    }
}

fn find(recent: &mut VecDeque<Recent>, number: u64) -> Option<&mut Recent> {
    let index = recent.binary_search_by_key(&number, |recent| recent.number).ok()?;
    recent.get_mut(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        /// Over any sequence of messages the bytes of copies stay within the budget, no message has more copies than it may,
        /// and none leaves in the moment of the message itself.
        #[test]
        fn copies_stay_within_the_budget(
            percent in 1u16..=400, lens in prop::collection::vec(1usize..600, 1..80), room in 0usize..6,
        ) {
            let (mut now, mut copies) = (Instant::now(), Copies::new(Redundancy::percent(percent)));
            let (mut sent, mut copied) = (0u64, 0u64);
            let mut counts = std::collections::HashMap::new();
            for (number, len) in (1..).zip(&lens) {
                copies.on_new(number, *len, now);
                sent += if *len <= 400 { *len as u64 } else { 0 };
                prop_assert!(copies.next(u64::MAX, now).is_none_or(|older| older < number));
                let mut below = u64::MAX;
                for _ in 0..room {
                    let Some(older) = copies.next(below, now) else { break };
                    prop_assert!(older < number && lens[older as usize - 1] <= 400);
                    copies.copied(older, now);
                    copied += lens[older as usize - 1] as u64;
                    *counts.entry(older).or_insert(0u16) += 1;
                    below = older;
                }
                prop_assert!(copied * 100 <= sent * u64::from(percent));
                now += Duration::from_millis(1);
            }
            prop_assert!(counts.values().all(|&count| count <= percent.div_ceil(100)));
        }
    }
}

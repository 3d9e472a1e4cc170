//! Which sequences arrived and were not yet acknowledged, and when that is due.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::seen::Seen;

/// The most separate stretches kept; beyond, neighbours join, which costs at most a needless acknowledgement.
const MAX_RANGES: usize = 64;

/// A block reports this many new sequences; the field behind it reports as many again, so that one
/// lost acknowledgement loses nothing (PROTOCOL A6 rule 1: at least every 16 packets).
const BLOCK: u32 = 16;

/// The longest an acknowledgement of unreliable packets waits for a packet to ride on.
const MAX_DELAY: Duration = Duration::from_millis(10);

/// What has to be reported to the peer, as stretches of sequences.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// Ascending, disjoint, each (first, last). May cover sequences that never arrived.
    ranges: SmallVec<[(u32, u32); 2]>,
    /// Arrivals since nothing was owed.
    pending: u32,
    /// When the acknowledgement must leave; meaningful while `ranges` is not empty.
    due: Option<Instant>,
    /// Stretches looked through by [`take`](Self::take), for tests: work nobody sees otherwise.
    #[cfg(test)]
    looked: u64,
}

impl Owed {
    /// Notes that `sequence` arrived at `now`, perhaps again. `at_once`: the sender waits for it (reliable).
    pub(crate) fn add(&mut self, sequence: u32, at_once: bool, now: Instant) {
        self.pending = self.pending.saturating_add(1);
        let due = if at_once || self.pending >= BLOCK { now } else { now + MAX_DELAY };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));

        let after = self.ranges.iter().rposition(|&(first, _)| first <= sequence).map_or(0, |i| i + 1);
        if let Some((_, last)) = after.checked_sub(1).and_then(|i| self.ranges.get_mut(i)) {
            if sequence <= *last {
                return;
            }
            if sequence - *last == 1 {
                *last = sequence;
                return;
            }
        }
        self.ranges.insert(after, (sequence, sequence));
        if self.ranges.len() > MAX_RANGES {
            let (_, last) = self.ranges.remove(1);
            if let Some(oldest) = self.ranges.first_mut() {
                oldest.1 = last;
            }
        }
    }

    /// When the acknowledgement must leave; `None` while nothing is owed.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next acknowledgement, oldest sequences first: reporting newer ones first would make the peer
    /// take the older for lost. What it covers is no longer owed. With nothing owed: the freshest.
    pub(crate) fn take(&mut self, seen: &Seen) -> Option<(u32, u32)> {
        self.forget_through(seen.forgotten());
        while let Some(&(first, _)) = self.ranges.first() {
            #[cfg(test)]
            {
                self.looked += 1;
            }
            let ack = if seen.highest().saturating_sub(first) < BLOCK {
                seen.highest()
            } else {
                let last = first.saturating_add(BLOCK - 1);
                match (first..=last).rev().find(|&sequence| seen.received(sequence)) {
                    Some(ack) => ack,
                    None => {
                        self.forget_through(last);
                        continue;
                    }
                }
            };
            self.forget_through(ack.max(first));
            return Some((ack, seen.field(ack)));
        }
        None
    }

    fn forget_through(&mut self, ack: u32) {
        self.ranges.retain(|(first, last)| {
            *first = (*first).max(ack.saturating_add(1));
            ack < *last
        });
        if self.ranges.is_empty() {
            self.pending = 0;
            self.due = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A peer that leaps through the sequences of an unreliable channel: stretches join over billions of numbers, which
    /// must not be walked through one by one.
    #[test]
    fn what_the_window_has_forgotten_is_not_looked_for() {
        let now = Instant::now();
        let (mut seen, mut owed) = (Seen::default(), Owed::default());
        for leap in 1..200u32 {
            let sequence = leap * (u32::MAX / 200);
            seen.insert(sequence);
            owed.add(sequence, false, now);
        }
        let reported = std::iter::from_fn(|| owed.take(&seen)).count();
        assert!(owed.looked <= 2 * 1024 / u64::from(BLOCK), "{} stretches looked through", owed.looked);
        assert_eq!((reported, owed.due()), (1, None), "the newest is all the window knows");
    }

    proptest! {
        /// Whatever arrives in whatever order, the acknowledgements report all of it and nothing else.
        #[test]
        fn every_arrival_is_reported(arrivals in prop::collection::vec(1u32..1024, 1..300)) {
            let now = Instant::now();
            let (mut seen, mut owed) = (Seen::default(), Owed::default());
            for &sequence in &arrivals {
                if !seen.received(sequence) {
                    seen.insert(sequence);
                }
                owed.add(sequence, true, now);
                prop_assert!(owed.ranges.len() <= MAX_RANGES);
            }
            let mut reported = BTreeSet::new();
            let mut previous = 0;
            while let Some((ack, field)) = owed.take(&seen) {
                prop_assert!(ack > previous, "oldest first");
                previous = ack;
                reported.insert(ack);
                reported.extend((0..32u32).filter(|i| field >> i & 1 == 1).map(|i| ack - 1 - i));
            }
            prop_assert_eq!(reported, BTreeSet::from_iter(arrivals));
            prop_assert_eq!(owed.due(), None);
        }

        /// In order, each sequence but the newest 16 is reported twice: one lost acknowledgement loses nothing.
        #[test]
        fn blocks_overlap(count in 40u32..1000) {
            let now = Instant::now();
            let (mut seen, mut owed) = (Seen::default(), Owed::default());
            for sequence in 1..=count {
                seen.insert(sequence);
                owed.add(sequence, true, now);
            }
            let mut times = vec![0u32; count as usize + 1];
            while let Some((ack, field)) = owed.take(&seen) {
                for i in 0..33u32 {
                    if (i == 0 || field >> (i - 1) & 1 == 1) && ack > i {
                        times[(ack - i) as usize] += 1;
                    }
                }
            }
            let doubly = count as usize - 16;
            prop_assert!(times[1..=doubly].iter().all(|&times| times >= 2), "{:?}", times);
        }
    }

    #[test]
    fn unreliable_arrivals_wait_ten_milliseconds_or_sixteen_packets() {
        let now = Instant::now();
        let mut owed = Owed::default();
        owed.add(1, false, now);
        owed.add(2, false, now + Duration::from_millis(3));
        assert_eq!(owed.due(), Some(now + MAX_DELAY));
        for sequence in 3..=16 {
            owed.add(sequence, false, now + Duration::from_millis(4));
        }
        assert_eq!(owed.due(), Some(now + Duration::from_millis(4)));
    }

    #[test]
    fn a_duplicate_far_back_is_reported_again() {
        let now = Instant::now();
        let (mut seen, mut owed) = (Seen::default(), Owed::default());
        (1..=5000).for_each(|sequence| seen.insert(sequence));
        owed.add(7, true, now);
        assert_eq!(owed.take(&seen), Some((22, 0x1f_ffff)));
        assert_eq!(owed.take(&seen), None);
    }
}

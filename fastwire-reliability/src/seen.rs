//! Which sequences of a channel have arrived: drops duplicates and makes acknowledgements.

use std::collections::VecDeque;

/// How many sequences beyond the lowest missing one are kept apart (PROTOCOL A6 rule 1).
pub(crate) const WINDOW: u32 = 1024;

/// What an arriving sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    New,
    Duplicate,
    /// Fell out of a sliding window; whether it had arrived is forgotten.
    TooOld,
    /// Beyond the window of a reliable channel.
    TooFar,
}

/// A window over the sequences above the lowest missing one. Holds no memory while nothing is missing.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    highest: u32,
    /// Every sequence up to here is decided: arrived, or (up to `slid`) given up.
    floor: u32,
    /// Up to here the window slid over sequences that may never have arrived; 0 on reliable channels.
    slid: u32,
    /// Bit i of word w: sequence `start + 64 w + i` has arrived. Empty while `highest == floor`.
    words: VecDeque<u64>,
    /// A multiple of 64; `floor + 1` is in the first word, or right behind it.
    start: u64,
}

impl Seen {
    /// A window in which nothing has arrived and `first` comes first.
    pub(crate) fn starting_at(first: u32) -> Self {
        let before = first.saturating_sub(1);
        Self { highest: before, floor: before, ..Self::default() }
    }

    /// The highest sequence that arrived, 0 = none.
    pub(crate) fn highest(&self) -> u32 {
        self.highest
    }

    /// The sequence below the lowest that may still come.
    pub(crate) fn floor(&self) -> u32 {
        self.floor
    }

    /// Up to this sequence nothing is known any more; 0 on reliable channels.
    pub(crate) fn forgotten(&self) -> u32 {
        self.slid
    }

    /// What `sequence` is. `slides`: an unreliable channel, where newer sequences move the window.
    pub(crate) fn judge(&self, sequence: u32, slides: bool) -> Arrival {
        if sequence <= self.slid {
            Arrival::TooOld
        } else if self.contains(sequence) {
            Arrival::Duplicate
        } else if !slides && sequence - self.floor > WINDOW {
            Arrival::TooFar
        } else {
            Arrival::New
        }
    }

    /// Notes that `sequence` arrived, which [`judge`](Self::judge) called new; slides the window where it must.
    pub(crate) fn insert(&mut self, sequence: u32) {
        self.highest = self.highest.max(sequence);
        let Some(distance) = sequence.checked_sub(self.floor) else { return };
        if distance == 1 && self.words.is_empty() {
            self.floor = sequence;
            return;
        }
        if distance > WINDOW {
            self.slide(sequence - WINDOW);
        }
        if self.words.is_empty() {
            self.start = (u64::from(self.floor) + 1) & !63;
        }
        let at = u64::from(sequence).saturating_sub(self.start);
        let word = (at / 64) as usize;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= 1 << (at % 64);
        }
        self.advance();
    }

    /// Whether `sequence` is known to have arrived.
    pub(crate) fn received(&self, sequence: u32) -> bool {
        sequence > self.slid && self.contains(sequence)
    }

    /// The field of an acknowledgement of `ack`: bit i = `ack − 1 − i` arrived (PROTOCOL A2).
    pub(crate) fn field(&self, ack: u32) -> u32 {
        if ack <= self.floor.saturating_add(1) && ack.saturating_sub(33) >= self.slid {
            // nothing is missing below `ack`: as many ones as there are sequences from 1 on
            return match ack {
                0 => 0,
                1..=32 => (1 << (ack - 1)) - 1,
                _ => u32::MAX,
            };
        }
        (0..32)
            .filter(|&i| ack.checked_sub(1 + i).is_some_and(|n| n > 0 && self.received(n)))
            .fold(0, |field, i| field | 1 << i)
    }

    /// Gives back memory that a burst took.
    pub(crate) fn trim(&mut self) {
        self.words.shrink_to_fit();
    }

    fn contains(&self, sequence: u32) -> bool {
        if sequence <= self.floor {
            return true;
        }
        let Some(at) = u64::from(sequence).checked_sub(self.start) else { return false };
        self.words.get((at / 64) as usize).is_some_and(|bits| bits >> (at % 64) & 1 == 1)
    }

    fn slide(&mut self, floor: u32) {
        self.floor = floor;
        self.slid = floor;
        while !self.words.is_empty() && self.start + 64 <= u64::from(floor) + 1 {
            self.words.pop_front();
            self.start += 64;
        }
    }

    /// Moves the floor over what has arrived.
    fn advance(&mut self) {
        while let Some(bits) = self.words.front() {
            let offset = u64::from(self.floor) + 1 - self.start;
            if offset < 64 {
                let ones = (bits >> offset).trailing_ones();
                self.floor += ones;
                if offset + u64::from(ones) < 64 {
                    break;
                }
            }
            self.words.pop_front();
            self.start += 64;
        }
        if self.floor >= self.highest {
            self.words.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The window as a plain set: what has arrived, and what was given up.
    #[derive(Default)]
    struct Model {
        arrived: BTreeSet<u32>,
        slid: u32,
    }

    impl Model {
        fn floor(&self) -> u32 {
            let mut floor = self.slid;
            while floor < u32::MAX && self.arrived.contains(&(floor + 1)) {
                floor += 1;
            }
            floor
        }

        fn judge(&self, sequence: u32, slides: bool) -> Arrival {
            if sequence <= self.slid {
                Arrival::TooOld
            } else if self.arrived.contains(&sequence) {
                Arrival::Duplicate
            } else if !slides && sequence - self.floor() > WINDOW {
                Arrival::TooFar
            } else {
                Arrival::New
            }
        }

        fn insert(&mut self, sequence: u32) {
            let lost = sequence.saturating_sub(WINDOW);
            if lost > self.floor() {
                self.slid = lost;
            }
            self.arrived.insert(sequence);
        }

        fn field(&self, ack: u32) -> u32 {
            (0..32u32).fold(0, |field, i| {
                let n = ack.checked_sub(1 + i).filter(|&n| n > self.slid);
                field | u32::from(n.is_some_and(|n| self.arrived.contains(&n))) << i
            })
        }
    }

    fn agree(start: u32, slides: bool, steps: &[u32]) {
        let mut seen = Seen { highest: start, floor: start, slid: start, ..Seen::default() };
        let mut model = Model { arrived: BTreeSet::new(), slid: start };
        let mut highest = start;
        for &step in steps {
            let sequence = start.saturating_add(step);
            if sequence == 0 {
                continue;
            }
            assert_eq!(seen.judge(sequence, slides), model.judge(sequence, slides), "{sequence}");
            if model.judge(sequence, slides) == Arrival::New {
                seen.insert(sequence);
                model.insert(sequence);
                highest = highest.max(sequence);
            }
            assert_eq!(seen.floor(), model.floor());
            assert_eq!(seen.highest(), highest);
            for ack in
                [highest, sequence, sequence.saturating_sub(20), seen.floor(), seen.floor().saturating_add(1)]
            {
                assert_eq!(seen.field(ack), model.field(ack), "field of {ack}");
            }
            assert!(seen.words.len() <= 18);
        }
    }

    fn steps() -> impl Strategy<Value = Vec<u32>> {
        prop_oneof![
            prop::collection::vec(0u32..200, 0..400),
            prop::collection::vec(0u32..3000, 0..200),
            prop::collection::vec(prop_oneof![0u32..100, any::<u32>()], 0..60),
            // mostly in order, with holes that close later
            Just(()).prop_perturb(|(), mut rng| {
                let mut order: Vec<u32> = (1..800).collect();
                for i in 0..order.len() - 1 {
                    let j = (i + 1 + (rng.next_u32() % 40) as usize).min(order.len() - 1);
                    if rng.next_u32() % 4 == 0 {
                        order.swap(i, j);
                    }
                }
                order
            }),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in steps(), slides: bool) {
            agree(0, slides, &steps);
        }

        #[test]
        fn agrees_at_the_end_of_the_number_line(steps in steps(), slides: bool) {
            agree(u32::MAX - 700, slides, &steps);
        }
    }

    #[test]
    fn begins_just_below_its_first_sequence() {
        for first in [1, 2, 64, 65, 10_000, u32::MAX] {
            let mut seen = Seen::starting_at(first);
            assert_eq!((seen.highest(), seen.floor()), (first - 1, first - 1));
            assert_ne!(seen.judge(first - 1, false), Arrival::New);
            assert_eq!(seen.judge(first, false), Arrival::New);
            seen.insert(first);
            assert_eq!((seen.highest(), seen.floor()), (first, first));
        }
    }

    #[test]
    fn holds_no_memory_in_order() {
        let mut seen = Seen::default();
        for sequence in 1..10_000 {
            seen.insert(sequence);
        }
        assert_eq!((seen.floor(), seen.highest(), seen.words.capacity()), (9_999, 9_999, 0));
    }
}

//! Which bytes of a message: a few stretches, in order.

use smallvec::SmallVec;

/// Stretches (start, end), ascending, neither empty nor touching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(SmallVec<[(u32, u32); 2]>);

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn first(&self) -> Option<(u32, u32)> {
        self.0.first().copied()
    }

    /// Whether all bytes from 0 to `len` are in.
    pub(crate) fn covers(&self, len: u32) -> bool {
        len == 0 || self.first().is_some_and(|(start, end)| start == 0 && end >= len)
    }

    /// Adds a stretch; returns how many of its bytes are new.
    pub(crate) fn insert(&mut self, start: u32, end: u32) -> u32 {
        if start >= end {
            return 0;
        }
        match self.0.last_mut() {
            None => {
                self.0.push((start, end));
                return end - start;
            }
            // what arrives in order
            Some(last) if last.1 == start => {
                last.1 = end;
                return end - start;
            }
            Some(last) if last.1 < start => {
                self.0.push((start, end));
                return end - start;
            }
            Some(_) => {}
        }
        let from = self.0.partition_point(|range| range.1 < start);
        let to = self.0.partition_point(|range| range.0 <= end);
        let (mut joined, mut old) = ((start, end), 0);
        for range in self.0.get(from..to).unwrap_or_default() {
            joined = (joined.0.min(range.0), joined.1.max(range.1));
            old += range.1 - range.0;
        }
        self.0.drain(from..to);
        self.0.insert(from, joined);
        joined.1 - joined.0 - old
    }

    /// Takes a stretch out.
    pub(crate) fn remove(&mut self, start: u32, end: u32) {
        if start >= end {
            return;
        }
        if let Some(first) = self.0.first_mut().filter(|first| first.0 == start && first.1 > end) {
            first.0 = end;
            return;
        }
        let from = self.0.partition_point(|range| range.1 <= start);
        let to = self.0.partition_point(|range| range.0 < end);
        if from >= to {
            return;
        }
        let touched = self.0.get(from..to).unwrap_or_default();
        let left = touched.first().map(|range| (range.0, start)).filter(|left| left.0 < left.1);
        let right = touched.last().map(|range| (end, range.1)).filter(|right| right.0 < right.1);
        self.0.drain(from..to);
        for range in [right, left].into_iter().flatten() {
            self.0.insert(from, range);
        }
    }

    /// The parts of a stretch that are not in.
    pub(crate) fn gaps(&self, start: u32, end: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let from = self.0.partition_point(|range| range.1 <= start);
        let mut inside = self.0.get(from..).unwrap_or_default().iter();
        let mut at = start;
        std::iter::from_fn(move || {
            while at < end {
                let (gap_end, next) = match inside.next() {
                    Some(range) if range.0 < end => (range.0, range.1),
                    _ => (end, end),
                };
                let gap = (at, gap_end);
                at = next;
                if gap.0 < gap.1 {
                    return Some(gap);
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agree_with_a_set_of_bytes(steps in prop::collection::vec((any::<bool>(), 0u32..60, 0u32..20), 1..60)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (insert, start, len) in steps {
                let end = start + len;
                let gaps: Vec<u32> = ranges.gaps(start, end).flat_map(|(start, end)| start..end).collect();
                prop_assert_eq!(gaps, (start..end).filter(|byte| !model.contains(byte)).collect::<Vec<_>>());
                if insert {
                    let new = (start..end).filter(|&byte| model.insert(byte)).count();
                    prop_assert_eq!(ranges.insert(start, end) as usize, new);
                } else {
                    ranges.remove(start, end);
                    model.retain(|byte| !(start..end).contains(byte));
                }
                let listed: Vec<u32> = ranges.0.iter().flat_map(|&(start, end)| start..end).collect();
                prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", ranges);
                prop_assert_eq!(listed, model.iter().copied().collect::<Vec<_>>());
                for len in 0..80 {
                    prop_assert_eq!(ranges.covers(len), (0..len).all(|byte| model.contains(&byte)));
                }
            }
        }
    }
}

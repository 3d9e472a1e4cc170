//! A set of channel indices, with turns.

/// Up to 256 channels, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ChannelSet([u64; 4]);

impl ChannelSet {
    /// Every channel.
    pub(crate) const ALL: Self = Self([u64::MAX; 4]);

    /// The members of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a & e, b & f, c & g, d & h])
    }

    pub(crate) fn insert(&mut self, channel: u8) {
        if let Some(word) = self.0.get_mut(usize::from(channel >> 6)) {
            *word |= 1 << (channel & 63);
        }
    }

    pub(crate) fn remove(&mut self, channel: u8) {
        if let Some(word) = self.0.get_mut(usize::from(channel >> 6)) {
            *word &= !(1 << (channel & 63));
        }
    }

    /// Inserts or removes.
    pub(crate) fn set(&mut self, channel: u8, member: bool) {
        if member { self.insert(channel) } else { self.remove(channel) }
    }

    /// The members of either.
    pub(crate) const fn union(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a | e, b | f, c | g, d | h])
    }

    /// The members that are not in `other`.
    pub(crate) const fn minus(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a & !e, b & !f, c & !g, d & !h])
    }

    /// Whether there is exactly one member.
    pub(crate) const fn is_single(self) -> bool {
        let [a, b, c, d] = self.0;
        a.count_ones() + b.count_ones() + c.count_ones() + d.count_ones() == 1
    }

    /// The only member, if there is one and it is below 64, as in almost every layout.
    #[inline]
    pub(crate) const fn only_low(self) -> Option<u8> {
        let [a, b, c, d] = self.0;
        if b | c | d == 0 && a.is_power_of_two() { Some(a.trailing_zeros() as u8) } else { None }
    }

    pub(crate) fn contains(&self, channel: u8) -> bool {
        self.0.get(usize::from(channel >> 6)).is_some_and(|word| word >> (channel & 63) & 1 == 1)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }

    /// Every channel of the set once, ascending from the one after `turn`, then from 0.
    pub(crate) fn after(self, turn: u8) -> Turns {
        Turns { left: self, next: turn.wrapping_add(1) }
    }

    /// The lowest member from `from` on.
    fn first_from(self, from: u8) -> Option<u8> {
        let start = from >> 6;
        let mut mask = u64::MAX << (from & 63);
        for index in start..4 {
            let bits = self.0.get(usize::from(index)).copied().unwrap_or(0) & mask;
            if bits != 0 {
                return Some((index << 6) | bits.trailing_zeros() as u8);
            }
            mask = u64::MAX;
        }
        None
    }
}

/// The members of a set, each in its turn.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    left: ChannelSet,
    /// Where to look first.
    next: u8,
}

impl Iterator for Turns {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.left.is_empty() {
            return None;
        }
        let channel = self.left.first_from(self.next).or_else(|| self.left.first_from(0))?;
        self.left.remove(channel);
        self.next = channel;
        Some(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn every_member_has_its_turn(members in prop::collection::btree_set(any::<u8>(), 0..40), gone: u8, turn: u8) {
            let mut set = ChannelSet::default();
            members.iter().for_each(|&channel| set.insert(channel));
            set.remove(gone);
            let left: BTreeSet<u8> = members.iter().copied().filter(|&channel| channel != gone).collect();
            prop_assert_eq!(set.is_empty(), left.is_empty());
            let only = left.first().copied().filter(|&only| left.len() == 1 && only < 64);
            prop_assert_eq!(set.only_low(), only);
            let mut expected: Vec<u8> = left.into_iter().collect();
            expected.sort_by_key(|&channel| channel.wrapping_sub(turn).wrapping_sub(1));
            prop_assert_eq!(set.after(turn).collect::<Vec<_>>(), expected);
        }
    }
}

//! A set of channel indices, with turns.

/// Up to 256 channels, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ChannelSet([u64; 4]);

impl ChannelSet {
    /// Every channel.
    pub(crate) const ALL: Self = Self([u64::MAX; 4]);

    /// The members of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.word(i) & other.word(i)))
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
    pub(crate) fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.word(i) | other.word(i)))
    }

    /// The members that are not in `other`.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.word(i) & !other.word(i)))
    }

    /// Whether there is exactly one member.
    pub(crate) fn is_single(self) -> bool {
        self.0.iter().map(|word| word.count_ones()).sum::<u32>() == 1
    }

    fn word(self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    pub(crate) fn contains(&self, channel: u8) -> bool {
        self.0.get(usize::from(channel >> 6)).is_some_and(|word| word >> (channel & 63) & 1 == 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// Every channel of the set once, ascending from the one after `turn`, then from 0.
    pub(crate) fn after(self, turn: u8) -> impl Iterator<Item = u8> {
        let (mut upper, mut lower) = (self, self);
        for (index, (upper, lower)) in upper.0.iter_mut().zip(&mut lower.0).enumerate() {
            let through = match (usize::from(turn) + 1).saturating_sub(index * 64) {
                0 => 0,
                bits @ 1..64 => (1 << bits) - 1,
                _ => u64::MAX,
            };
            *upper &= !through;
            *lower &= through;
        }
        upper.ascending().chain(lower.ascending())
    }

    fn ascending(self) -> impl Iterator<Item = u8> {
        self.0.into_iter().zip([0u8, 64, 128, 192]).flat_map(|(mut bits, base)| {
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as u8)?;
                bits &= bits - 1;
                Some(base + bit)
            })
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
        fn every_member_has_its_turn(members in prop::collection::btree_set(any::<u8>(), 0..40), gone: u8, turn: u8) {
            let mut set = ChannelSet::default();
            members.iter().for_each(|&channel| set.insert(channel));
            set.remove(gone);
            let left: BTreeSet<u8> = members.iter().copied().filter(|&channel| channel != gone).collect();
            prop_assert_eq!(set.is_empty(), left.is_empty());
            let mut expected: Vec<u8> = left.into_iter().collect();
            expected.sort_by_key(|&channel| channel.wrapping_sub(turn).wrapping_sub(1));
            prop_assert_eq!(set.after(turn).collect::<Vec<_>>(), expected);
        }
    }
}

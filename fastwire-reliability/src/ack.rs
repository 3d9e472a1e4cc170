//! An acknowledgement is a set of numbers, and says which numbers below its largest are missing.

/// The numbers one packet header acknowledges (PROTOCOL A2): `largest`, and `largest − 1 − i` for each set bit i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AckSet {
    largest: u64,
    field: u32,
}

impl AckSet {
    /// `None` for ack 0, which acknowledges nothing whatever the field says.
    pub(crate) fn from_header(ack: u32, field: u32) -> Option<Self> {
        (ack != 0).then_some(Self { largest: u64::from(ack), field })
    }

    pub(crate) fn largest(self) -> u64 {
        self.largest
    }

    /// The acknowledged numbers, newest first, none below 1.
    pub(crate) fn iter(self) -> impl Iterator<Item = u64> {
        std::iter::once(self.largest).chain(self.below(self.field))
    }

    /// The numbers in the set's reach that it does not acknowledge, newest first, none below 1.
    pub(crate) fn missing(self) -> impl Iterator<Item = u64> {
        self.below(!self.field)
    }

    fn below(self, mut bits: u32) -> impl Iterator<Item = u64> {
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let i = u64::from(bits.trailing_zeros());
            bits &= bits - 1;
            (self.largest - 1).checked_sub(i).filter(|&number| number > 0)
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
        fn is_the_set_the_header_describes(ack in prop_oneof![1u32..100, any::<u32>()], field: u32) {
            prop_assume!(ack > 0);
            let set = AckSet::from_header(ack, field).unwrap();
            let mut expected = BTreeSet::from([u64::from(ack)]);
            let mut missing = BTreeSet::new();
            for i in 0..32 {
                let number = i64::from(ack) - 1 - i;
                if number >= 1 {
                    let to = if field >> i & 1 == 1 { &mut expected } else { &mut missing };
                    to.insert(number as u64);
                }
            }
            let listed: Vec<_> = set.iter().collect();
            prop_assert!(listed.is_sorted_by(|a, b| a > b));
            prop_assert_eq!(BTreeSet::from_iter(listed), expected);
            prop_assert_eq!(BTreeSet::from_iter(set.missing()), missing);
        }
    }

    #[test]
    fn ack_zero_is_no_set() {
        assert_eq!(AckSet::from_header(0, u32::MAX), None);
    }
}

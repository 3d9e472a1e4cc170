//! Which of the most recent packet numbers have been seen (PROTOCOL A3, after RFC 4303 §3.4.3).

use std::fmt;

/// What a window knows about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Higher than every number seen.
    Newest,
    /// Inside the window and not seen.
    Late,
    /// Inside the window and seen.
    Duplicate,
    /// Below the window: nobody knows.
    TooOld,
}

impl Freshness {
    /// Whether a packet with this number may be accepted.
    pub const fn is_fresh(self) -> bool {
        matches!(self, Self::Newest | Self::Late)
    }
}

/// A sliding window over `64 × WORDS` numbers, up to the highest one seen.
///
/// ```
/// use fastwire_crypto::{Freshness, ReplayWindow};
///
/// let mut window = ReplayWindow::<16>::new();
/// window.commit(2000);
/// assert_eq!(window.check(2000), Freshness::Duplicate);
/// assert_eq!(window.check(977), Freshness::Late);
/// assert_eq!(window.check(976), Freshness::TooOld);
/// ```
#[derive(Clone)]
pub struct ReplayWindow<const WORDS: usize> {
    /// Highest number seen; 0 before the first.
    highest: u64,
    /// Number n has bit n mod [`Self::SIZE`]. Bits of numbers above `highest` or below the window are
    /// of numbers in it: a bit is cleared when its place passes to a new number. Words beyond the end are zero: a connection
    /// that says little needs little.
    seen: Vec<u64>,
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    /// Numbers in the window: `highest` and the `SIZE - 1` below it.
    pub const SIZE: u64 = {
        assert!(WORDS > 0, "a window has at least one word");
        WORDS as u64 * 64
    };

    /// A window that has seen nothing. Every number is fresh to it.
    pub const fn new() -> Self {
        Self { highest: 0, seen: Vec::new() }
    }

    /// Highest number seen; 0 before the first.
    #[inline]
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// What the window knows about `number`.
    #[inline]
    pub fn check(&self, number: u64) -> Freshness {
        if number > self.highest {
            return Freshness::Newest;
        }
        if self.highest.saturating_sub(number) >= Self::SIZE {
            return Freshness::TooOld;
        }
        let (word, bit) = Self::place(number);
        match (self.word(word) & bit != 0, number == self.highest) {
            (true, _) => Freshness::Duplicate,
            // The highest number is unseen only in an empty window, where it is 0.
            (false, true) => Freshness::Newest,
            (false, false) => Freshness::Late,
        }
    }

    /// Marks `number` as seen and moves the window if it is the highest. What is too old changes nothing.
    #[inline]
    pub fn commit(&mut self, number: u64) {
        if number > self.highest {
            self.advance(number);
        } else if self.highest.saturating_sub(number) >= Self::SIZE {
            return;
        }
        let (word, bit) = Self::place(number);
        if word >= self.seen.len() {
            self.grow(word);
        }
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
    }

    /// Makes room for a word, and some more: doubling, up to the whole window.
    #[cold]
    fn grow(&mut self, word: usize) {
        let words = word.saturating_add(1).next_power_of_two().min(WORDS);
        self.seen.reserve_exact(words.saturating_sub(self.seen.len()));
        self.seen.resize(words, 0);
    }

    /// Hints that the place of the next number will be used soon.
    pub(crate) fn prefetch(&self) {
        if let Some(word) = self.seen.get(Self::place(self.highest).0) {
            crate::prefetch(word);
        }
    }

    #[inline]
    fn word(&self, index: usize) -> u64 {
        self.seen.get(index).copied().unwrap_or(0)
    }

    /// Which of the 32 numbers below `number` were seen: bit i stands for `number - 1 - i`. Numbers outside the window
    /// count as not seen.
    pub fn seen_below(&self, number: u64) -> u32 {
        let (mut word, mut taken, mut end) = (0, 0_u32, number);
        // at most two words hold them
        while taken < 32
            && let Some(top) = end.checked_sub(1)
        {
            let (index, bit) = (Self::place(top).0, (top % 64) as u32);
            // The top bit first: bit 0 of the answer is the number nearest below. (63 ^ bit is 63 - bit.)
            let bits = self.word(index).reverse_bits().wrapping_shr(63 ^ bit);
            // What is beyond the 32nd is shifted out.
            word |= (bits as u32).wrapping_shl(taken);
            taken = taken.saturating_add(bit).saturating_add(1);
            end = top & !63;
        }
        self.mask_outside(number, word)
    }

    /// Clears the bits of numbers that the window no longer, or not yet, speaks of.
    fn mask_outside(&self, number: u64, word: u32) -> u32 {
        let (first, last) = (number.saturating_sub(32), number.saturating_sub(1));
        if last > self.highest || self.highest.saturating_sub(first) >= Self::SIZE {
            let known = |i: &u32| {
                let age = last.checked_sub((*i).into()).and_then(|number| self.highest.checked_sub(number));
                age.is_some_and(|age| age < Self::SIZE)
            };
            return (0..32).filter(known).fold(0, |kept, i| kept | word & 1 << i);
        }
        word
    }

    /// Gives the places of the numbers from `highest + 1` to `number` to them.
    fn advance(&mut self, number: u64) {
        let steps = number.saturating_sub(self.highest);
        if steps >= Self::SIZE {
            self.seen.fill(0);
        } else {
            // Up to a word at a time: [first, first + len) never crosses a word's end.
            let (mut first, mut left) = (self.highest.saturating_add(1), steps);
            while left > 0 {
                let len = left.min(64_u64.saturating_sub(first % 64));
                let (word, bit) = Self::place(first);
                if let Some(seen) = self.seen.get_mut(word) {
                    *seen &= !u64::MAX.wrapping_shr(64_u32.saturating_sub(len as u32)).wrapping_mul(bit);
                }
                (first, left) = (first.wrapping_add(len), left.saturating_sub(len));
            }
        }
        self.highest = number;
    }

    /// Word, below `WORDS`, and bit of a number.
    #[inline]
    const fn place(number: u64) -> (usize, u64) {
        let word = match (number / 64).checked_rem(WORDS as u64) {
            Some(word) => word as usize,
            None => 0,
        };
        (word, 1_u64.wrapping_shl((number % 64) as u32))
    }
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize> fmt::Debug for ReplayWindow<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayWindow").field("size", &Self::SIZE).field("highest", &self.highest).finish()
    }
}

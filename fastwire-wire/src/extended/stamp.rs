//! What stands before the bytes of a stamped message: when it was sent, by the server's clock (PROTOCOL B5, Stamps).

/// What of the time travels: 12 days of microseconds.
const MASK: u64 = 0xff_ffff_ffff;

/// The largest error there is.
const MAX_ERROR: u64 = 7 << 31;

/// When a message was sent, and how far off that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The low 40 bits of the server's time in microseconds.
    time: u64,
    /// Three bits of digits, below five bits of how far they are shifted.
    error: u8,
}

impl Stamp {
    /// Bytes of a stamp.
    pub const LEN: usize = 6;

    /// A stamp of this time; both are in microseconds. What the error is rounded to is not less, and at most a quarter more; it
    /// ends at four hours.
    #[must_use]
    pub fn new(time: u64, error: u64) -> Self {
        let error = error.min(MAX_ERROR);
        let shift = 61u32.saturating_sub(error.leading_zeros());
        let digits = error.div_ceil(1u64.wrapping_shl(shift));
        // eight of them are four of the next
        let (digits, shift) = if digits > 7 { (4, shift.saturating_add(1)) } else { (digits, shift) };
        Self { time: time & MASK, error: (shift << 3) as u8 | digits as u8 }
    }

    /// As it travels.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [a, b, c, d, e, ..] = self.time.to_le_bytes();
        [a, b, c, d, e, self.error]
    }

    /// Takes the stamp off a message; `None`: it is too short to have one.
    #[must_use]
    pub fn split(message: &[u8]) -> Option<(Self, &[u8])> {
        let (&[a, b, c, d, e, error], rest) = message.split_first_chunk()?;
        Some((Self { time: u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]), error }, rest))
    }

    /// The time, being the one nearest to `now` with these low bits; microseconds.
    #[must_use]
    pub fn time(self, now: u64) -> u64 {
        let ahead = self.time.wrapping_sub(now) & MASK;
        if ahead <= MASK / 2 {
            return now.saturating_add(ahead);
        }
        // there is nothing before the clock's zero
        now.checked_sub(now.wrapping_sub(self.time) & MASK).unwrap_or(self.time)
    }

    /// How far off the time may be, in microseconds.
    #[must_use]
    pub const fn error(self) -> u64 {
        ((self.error & 7) as u64).wrapping_shl((self.error >> 3) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        /// Whatever is stamped is read, if the reader's clock is within six days, and the error is never told smaller than it is.
        #[test]
        fn a_stamp_says_what_was_stamped(
            time in 0u64..1 << 62, off in -(1i64 << 39) + 1..1 << 39, bits in 0u32..34, low: u64, rest: Vec<u8>,
        ) {
            let error = low % (1 << bits);
            let mut message = Stamp::new(time, error).to_bytes().to_vec();
            message.extend(&rest);
            let (stamp, left) = Stamp::split(&message).unwrap();
            prop_assert_eq!(left, &rest[..]);
            if let Some(now) = time.checked_add_signed(off) {
                prop_assert_eq!(stamp.time(now), time);
            }
            prop_assert!(stamp.error() >= error && stamp.error() <= error + error / 4, "{} for {error}", stamp.error());
        }

        /// No bytes of a peer's make trouble, and all of them are a stamp.
        #[test]
        fn any_bytes_are_a_stamp(bytes: [u8; Stamp::LEN], now: u64) {
            let (stamp, rest) = Stamp::split(&bytes).unwrap();
            prop_assert!(rest.is_empty() && stamp.error() <= MAX_ERROR);
            prop_assert_eq!(stamp.to_bytes(), bytes);
            prop_assert!(stamp.time(now).abs_diff(now) <= 1 << 39 || stamp.time(now) <= MASK);
            prop_assert_eq!(Stamp::split(&bytes[1..]), None);
        }
    }

    #[test]
    fn the_largest_error_is_told() {
        assert_eq!(Stamp::new(0, u64::MAX).error(), MAX_ERROR);
        assert_eq!(Stamp::new(0, 0).error(), 0);
    }
}

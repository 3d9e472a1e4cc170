//! 128-bit identifiers, for messages of the application (PROTOCOL A1).

use core::fmt;
use core::str::FromStr;

use crate::{DecodeError, EncodeError};

/// A 128-bit identifier; 16 bytes on the wire, most significant first.
///
/// ```
/// use fastwire_wire::Uuid;
///
/// let id = Uuid::from_ints(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
/// assert_eq!(id.to_string(), "01234567-89ab-cdef-fedc-ba9876543210");
/// assert_eq!("01234567-89AB-CDEF-FEDC-BA9876543210".parse(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The identifier whose bits are all zero.
    pub const NIL: Self = Self([0; 16]);

    /// Bytes on the wire.
    pub const LEN: usize = 16;

    /// Joins the most and the least significant 64 bits.
    pub const fn from_ints(msb: u64, lsb: u64) -> Self {
        Self((((msb as u128) << 64) | lsb as u128).to_be_bytes())
    }

    /// Takes the 16 bytes as they are on the wire.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes as they are on the wire.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The most significant 64 bits.
    pub const fn msb(self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }

    /// The least significant 64 bits.
    pub const fn lsb(self) -> u64 {
        u128::from_be_bytes(self.0) as u64
    }
}

/// Writes `id` at the start of `out` and returns the bytes written, 16.
///
/// # Errors
///
/// [`EncodeError::BufferTooSmall`]; `out` is untouched then.
pub fn put_uuid(out: &mut [u8], id: Uuid) -> Result<usize, EncodeError> {
    let available = out.len();
    match out.first_chunk_mut() {
        Some(slot) => *slot = id.0,
        None => return Err(EncodeError::BufferTooSmall { needed: Uuid::LEN, available }),
    }
    Ok(Uuid::LEN)
}

/// Reads a UUID from the start of `input`; returns it with the bytes it took, 16.
///
/// # Errors
///
/// [`DecodeError::InvalidUuid`] if there are fewer than 16 bytes.
pub fn read_uuid(input: &[u8]) -> Result<(Uuid, usize), DecodeError> {
    match input.first_chunk() {
        Some(bytes) => Ok((Uuid(*bytes), Uuid::LEN)),
        None => Err(DecodeError::InvalidUuid { available: input.len() }),
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (msb, lsb) = (self.msb(), self.lsb());
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            msb >> 32,
            msb >> 16 & 0xffff,
            msb & 0xffff,
            lsb >> 48,
            lsb & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

/// A text that is no UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid UUID text: expected 8-4-4-4-12 hexadecimal digits, wrong at byte {position}")]
pub struct ParseUuidError {
    position: usize,
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    /// Reads the 8-4-4-4-12 form, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        const TEXT_LEN: usize = 36;
        let mut value = 0u128;
        for (position, byte) in text.bytes().enumerate() {
            let wrong = ParseUuidError { position };
            match position {
                8 | 13 | 18 | 23 if byte == b'-' => {}
                8 | 13 | 18 | 23 | TEXT_LEN.. => return Err(wrong),
                _ => value = value << 4 | u128::from(char::from(byte).to_digit(16).ok_or(wrong)?),
            }
        }
        if text.len() < TEXT_LEN {
            return Err(ParseUuidError { position: text.len() });
        }
        Ok(Self(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn texts_of_another_form_name_the_place() {
        let good = "01234567-89ab-cdef-fedc-ba9876543210";
        for position in 0..good.len() {
            let mut bad = good.as_bytes().to_vec();
            bad[position] = b'x';
            let bad = core::str::from_utf8(&bad).unwrap();
            assert_eq!(bad.parse::<Uuid>(), Err(ParseUuidError { position }));
            assert_eq!(good[..position].parse::<Uuid>(), Err(ParseUuidError { position }));
        }
        assert_eq!(format!("{good}0").parse::<Uuid>(), Err(ParseUuidError { position: 36 }));
    }
}

//! Numbers that take as many bytes as they need: LEB128 over 32 and 64 bits (PROTOCOL A1).

use crate::{DecodeError, EncodeError};

/// Most bytes of a varint.
pub const MAX_VARINT_LEN: usize = 5;

/// Most bytes of a varlong.
pub const MAX_VARLONG_LEN: usize = 10;

/// Bytes that [`put_varint`] writes for `value`: 1 to 5.
#[inline]
pub const fn varint_len(value: u32) -> usize {
    u32::BITS.saturating_sub((value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Bytes that [`put_varlong`] writes for `value`: 1 to 10.
#[inline]
pub const fn varlong_len(value: u64) -> usize {
    u64::BITS.saturating_sub((value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Writes `value` at the start of `out` and returns the bytes written, 1 to 5.
///
/// # Errors
///
/// [`EncodeError::BufferTooSmall`]; `out` is untouched then.
#[inline]
pub fn put_varint(out: &mut [u8], value: u32) -> Result<usize, EncodeError> {
    // almost every length, offset and message number
    match (value, out) {
        (..0x80, [first, ..]) => {
            *first = value as u8;
            Ok(1)
        }
        (0x80..0x4000, [first, second, ..]) => {
            (*first, *second) = (value as u8 | 0x80, (value >> 7) as u8);
            Ok(2)
        }
        (0x4000..0x20_0000, [first, second, third, ..]) => {
            (*first, *second, *third) = (value as u8 | 0x80, (value >> 7) as u8 | 0x80, (value >> 14) as u8);
            Ok(3)
        }
        (_, out) => put_leb128(out, u64::from(value), varint_len(value)),
    }
}

/// Writes `value` at the start of `out` and returns the bytes written, 1 to 10.
///
/// # Errors
///
/// [`EncodeError::BufferTooSmall`]; `out` is untouched then.
#[inline]
pub fn put_varlong(out: &mut [u8], value: u64) -> Result<usize, EncodeError> {
    put_leb128(out, value, varlong_len(value))
}

/// Reads a varint from the start of `input`; returns it with the bytes it took.
///
/// Longer forms than necessary are read (`80 00` is 0); bits above the 32nd are refused.
///
/// # Errors
///
/// [`DecodeError::BufferTooSmall`] if the input ends first, [`DecodeError::VarIntOverflow`] if the
/// value has more than 5 bytes or 32 bits.
#[inline]
pub fn read_varint(input: &[u8]) -> Result<(u32, usize), DecodeError> {
    match input {
        // Almost every varint is the acknowledgement or sequence of a young channel.
        [byte @ ..0x80, ..] => Ok((u32::from(*byte), 1)),
        [low, byte @ ..0x80, ..] => Ok((u32::from(*low & 0x7f) | u32::from(*byte) << 7, 2)),
        [low, mid, byte @ ..0x80, ..] => {
            Ok((u32::from(*low & 0x7f) | u32::from(*mid & 0x7f) << 7 | u32::from(*byte) << 14, 3))
        }
        _ => {
            // The fifth byte has room for bits 28 to 31.
            let (value, len) = read_leb128::<MAX_VARINT_LEN, 0x0f>(input, DecodeError::VarIntOverflow)?;
            Ok((value as u32, len))
        }
    }
}

/// Reads a varlong from the start of `input`; returns it with the bytes it took.
///
/// Longer forms than necessary are read (`80 00` is 0); bits above the 64th are refused.
///
/// # Errors
///
/// [`DecodeError::BufferTooSmall`] if the input ends first, [`DecodeError::VarLongOverflow`] if the
/// value has more than 10 bytes or 64 bits.
#[inline]
pub fn read_varlong(input: &[u8]) -> Result<(u64, usize), DecodeError> {
    // The tenth byte has room for bit 63.
    read_leb128::<MAX_VARLONG_LEN, 0x01>(input, DecodeError::VarLongOverflow)
}

#[inline]
fn put_leb128(out: &mut [u8], mut value: u64, len: usize) -> Result<usize, EncodeError> {
    let available = out.len();
    let Some((last, rest)) = out.get_mut(..len).and_then(|out| out.split_last_mut()) else {
        return Err(EncodeError::BufferTooSmall { needed: len, available });
    };
    for byte in rest {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    *last = value as u8;
    Ok(len)
}

/// `LAST` is the largest value of byte number `MAX`, so a continuation bit there overflows too.
fn read_leb128<const MAX: usize, const LAST: u8>(
    input: &[u8],
    overflow: DecodeError,
) -> Result<(u64, usize), DecodeError> {
    let mut value = 0;
    let mut shift = 0_u32;
    for (len, &byte) in (1..=MAX).zip(input) {
        if len == MAX && byte > LAST {
            return Err(overflow);
        }
        // Ten bytes at most, so at most by 63.
        value |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte < 0x80 {
            return Ok((value, len));
        }
        shift = shift.wrapping_add(7);
    }
    Err(DecodeError::BufferTooSmall { needed: input.len().saturating_add(1), available: input.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_change_at_every_seventh_bit() {
        for bits in 1..64u32 {
            let len = bits.div_ceil(7) as usize;
            assert_eq!(varlong_len((1 << bits) - 1), len);
            assert_eq!(varlong_len(1 << bits), (bits as usize + 1).div_ceil(7));
            if bits < 32 {
                assert_eq!(varint_len((1 << bits) - 1), len);
            }
        }
        assert_eq!((varint_len(0), varint_len(u32::MAX)), (1, MAX_VARINT_LEN));
        assert_eq!((varlong_len(0), varlong_len(u64::MAX)), (1, MAX_VARLONG_LEN));
    }

    #[test]
    fn bits_above_the_last_are_refused() {
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok((u32::MAX, 5)));
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x10]), Err(DecodeError::VarIntOverflow));
        let mut long = [0xff; 10];
        long[9] = 1;
        assert_eq!(read_varlong(&long), Ok((u64::MAX, 10)));
        long[9] = 2;
        assert_eq!(read_varlong(&long), Err(DecodeError::VarLongOverflow));
    }

    #[test]
    fn a_small_buffer_stays_untouched() {
        let mut out = [7; 4];
        assert_eq!(
            put_varint(&mut out, u32::MAX),
            Err(EncodeError::BufferTooSmall { needed: 5, available: 4 })
        );
        assert_eq!(out, [7; 4]);
    }
}

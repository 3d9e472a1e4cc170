//! The header before a piece of a message (PROTOCOL A7).

use crate::{DecodeError, EncodeError, FRAGMENT_HEADER_SIZE, FragmentFlags, MAX_FRAGMENTS, Writer};

/// Which piece of which message follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentHeader {
    /// The message; the same on all its fragments.
    pub id: u16,
    /// The piece's place in the message, from 0, below `count`.
    pub index: u8,
    /// The number of pieces, 1 to 255; the same on all fragments of a message.
    pub count: u8,
    /// How the whole message was compressed; the same on all its fragments.
    pub flags: FragmentFlags,
}

impl FragmentHeader {
    /// Bytes of the header.
    pub const LEN: usize = FRAGMENT_HEADER_SIZE;

    /// Writes the header at the start of `out` and returns the bytes written, 5.
    ///
    /// # Errors
    ///
    /// [`EncodeError::InvalidFragmentHeader`] unless `index` is below `count`,
    /// [`EncodeError::BufferTooSmall`]; `out` is untouched then.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let &Self { id, index, count, flags } = self;
        if index >= count {
            return Err(EncodeError::InvalidFragmentHeader { index, count });
        }
        let [high, low] = id.to_be_bytes();
        Writer::new(out).put_array(&[high, low, index, count, flags.bits()])?;
        Ok(Self::LEN)
    }

    /// Reads a header from the start of `input`; returns it with the bytes it took, 5.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TruncatedFragmentHeader`] if there are fewer than 5 bytes,
    /// [`DecodeError::InvalidFragmentHeader`] unless `index` is below `count`.
    pub fn decode(input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let Some(&[high, low, index, count, flags]) = input.first_chunk() else {
            return Err(DecodeError::TruncatedFragmentHeader { available: input.len() });
        };
        if index >= count {
            return Err(DecodeError::InvalidFragmentHeader { index, count });
        }
        let id = u16::from_be_bytes([high, low]);
        Ok((Self { id, index, count, flags: FragmentFlags::from_bits(flags) }, Self::LEN))
    }
}

/// The number of fragments a message of `len` bytes takes in pieces of at most `piece` bytes.
///
/// An empty message takes one. `None` if it takes more than [`MAX_FRAGMENTS`], or if `piece` is 0.
///
/// ```
/// use fastwire_wire::{MAX_FRAGMENT_PAYLOAD, MAX_MESSAGE_SIZE, fragment_count};
///
/// assert_eq!(fragment_count(0, MAX_FRAGMENT_PAYLOAD), Some(1));
/// assert_eq!(fragment_count(1156, MAX_FRAGMENT_PAYLOAD), Some(2));
/// assert_eq!(fragment_count(MAX_MESSAGE_SIZE + 1, MAX_FRAGMENT_PAYLOAD), None);
/// ```
pub const fn fragment_count(len: usize, piece: usize) -> Option<u8> {
    if piece == 0 {
        return None;
    }
    match len.div_ceil(piece) {
        0 => Some(1),
        count @ 1..=MAX_FRAGMENTS => Some(count as u8),
        _ => None,
    }
}

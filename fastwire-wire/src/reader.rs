//! Reading values one after another from a slice.

use crate::{DecodeError, Uuid, read_uuid, read_varint, read_varlong};

/// A cursor over bytes that were received.
///
/// Every method takes its value from the front of what is left, or fails and takes nothing.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// What is left; always a suffix of the input.
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `input`.
    pub const fn new(input: &'a [u8]) -> Self {
        Self { rest: input, len: input.len() }
    }

    /// Bytes that are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Bytes that were taken.
    pub const fn position(&self) -> usize {
        self.len.wrapping_sub(self.rest.len())
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that are left, without taking them.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`] if fewer are left, as with every method here.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(|| self.too_small(n))?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`].
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| self.too_small(N))?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next varint (PROTOCOL A1).
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`], [`DecodeError::VarIntOverflow`].
    #[inline]
    pub fn varint(&mut self) -> Result<u32, DecodeError> {
        let (value, len) = read_varint(self.rest)?;
        self.rest = self.rest.get(len..).unwrap_or_default();
        Ok(value)
    }

    /// The next varlong (PROTOCOL A1).
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`], [`DecodeError::VarLongOverflow`].
    #[inline]
    pub fn varlong(&mut self) -> Result<u64, DecodeError> {
        let (value, len) = read_varlong(self.rest)?;
        self.bytes(len)?;
        Ok(value)
    }

    /// The next string (PROTOCOL A1), borrowed from the input.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`], [`DecodeError::NegativeStringLength`],
    /// [`DecodeError::InvalidUtf8`].
    pub fn string(&mut self) -> Result<&'a str, DecodeError> {
        let mut ahead = self.clone();
        let length = i16::from_be_bytes(ahead.array()?);
        let length = usize::try_from(length).map_err(|_| DecodeError::NegativeStringLength { length })?;
        let bytes = ahead.bytes(length)?;
        let text = core::str::from_utf8(bytes)
            .map_err(|error| DecodeError::InvalidUtf8 { valid_up_to: error.valid_up_to() })?;
        *self = ahead;
        Ok(text)
    }

    /// The next UUID (PROTOCOL A1).
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidUuid`] if fewer than 16 bytes are left.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        let (id, len) = read_uuid(self.rest)?;
        self.bytes(len)?;
        Ok(id)
    }

    /// Passes over zeros.
    pub(crate) fn skip_zeros(&mut self) {
        let zeros = self.rest.iter().take_while(|&&byte| byte == 0).count();
        self.rest = self.rest.get(zeros..).unwrap_or_default();
    }

    #[cold]
    const fn too_small(&self, needed: usize) -> DecodeError {
        DecodeError::BufferTooSmall { needed, available: self.rest.len() }
    }
}

macro_rules! integers {
    ($($name:ident: $type:ident::$from:ident, $doc:literal;)*) => {
        impl Reader<'_> {
            $(
                #[doc = concat!("The next ", $doc, ".")]
                ///
                /// # Errors
                ///
                /// [`DecodeError::BufferTooSmall`].
                #[inline]
                pub fn $name(&mut self) -> Result<$type, DecodeError> {
                    self.array().map($type::$from)
                }
            )*
        }
    };
}

integers! {
    u8: u8::from_le_bytes, "byte";
    u16_be: u16::from_be_bytes, "16-bit number, big-endian";
    u16_le: u16::from_le_bytes, "16-bit number, little-endian";
    u32_be: u32::from_be_bytes, "32-bit number, big-endian";
    u32_le: u32::from_le_bytes, "32-bit number, little-endian";
    u64_be: u64::from_be_bytes, "64-bit number, big-endian";
    u64_le: u64::from_le_bytes, "64-bit number, little-endian";
}

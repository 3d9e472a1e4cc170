//! Writing values one after another into a slice.

use crate::{EncodeError, Uuid, put_uuid, put_varint, put_varlong, string, sum};

/// A cursor over a buffer that is to be sent.
///
/// Every method puts its value behind the last one, or fails and puts nothing.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    /// Never above `out.len()`.
    written: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the first byte of `out`.
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, written: 0 }
    }

    /// Bytes written so far.
    pub const fn written(&self) -> usize {
        self.written
    }

    /// Bytes of room that are left.
    pub const fn remaining(&self) -> usize {
        self.out.len().wrapping_sub(self.written)
    }

    /// The bytes written so far, for as long as the buffer lives.
    pub fn into_written(self) -> &'a mut [u8] {
        self.out.get_mut(..self.written).unwrap_or_default()
    }

    /// Puts bytes as they are.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`] if the room does not suffice, as with every method here.
    #[inline]
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let available = self.remaining();
        let Some(slot) = self.room().get_mut(..bytes.len()) else {
            return Err(EncodeError::BufferTooSmall { needed: bytes.len(), available });
        };
        slot.copy_from_slice(bytes);
        self.advance(bytes.len());
        Ok(())
    }

    /// Puts the bytes of an array as they are.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    #[inline]
    pub fn put_array<const N: usize>(&mut self, bytes: &[u8; N]) -> Result<(), EncodeError> {
        let available = self.remaining();
        match self.room().first_chunk_mut() {
            Some(slot) => *slot = *bytes,
            None => return Err(EncodeError::BufferTooSmall { needed: N, available }),
        }
        self.advance(N);
        Ok(())
    }

    /// Puts a varint (PROTOCOL A1), 1 to 5 bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    #[inline]
    pub fn put_varint(&mut self, value: u32) -> Result<(), EncodeError> {
        let len = put_varint(self.room(), value)?;
        self.advance(len);
        Ok(())
    }

    /// Puts a varlong (PROTOCOL A1), 1 to 10 bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    #[inline]
    pub fn put_varlong(&mut self, value: u64) -> Result<(), EncodeError> {
        let len = put_varlong(self.room(), value)?;
        self.advance(len);
        Ok(())
    }

    /// Puts a string (PROTOCOL A1): its length in 2 bytes, then its UTF-8.
    ///
    /// # Errors
    ///
    /// [`EncodeError::StringTooLong`] above 32 767 bytes, [`EncodeError::BufferTooSmall`].
    pub fn put_string(&mut self, text: &str) -> Result<(), EncodeError> {
        let length = string::length_field(text.len())?;
        let needed = text.len().saturating_add(length.len());
        if self.remaining() < needed {
            return Err(EncodeError::BufferTooSmall { needed, available: self.remaining() });
        }
        self.put_array(&length)?;
        self.put_bytes(text.as_bytes())
    }

    /// Puts a UUID (PROTOCOL A1), 16 bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    pub fn put_uuid(&mut self, id: Uuid) -> Result<(), EncodeError> {
        let len = put_uuid(self.room(), id)?;
        self.advance(len);
        Ok(())
    }

    #[inline]
    fn advance(&mut self, len: usize) {
        self.written = sum::end(self.written, len);
    }

    #[inline]
    fn room(&mut self) -> &mut [u8] {
        self.out.get_mut(self.written..).unwrap_or_default()
    }
}

macro_rules! integers {
    ($($name:ident: $type:ident::$to:ident, $doc:literal;)*) => {
        impl Writer<'_> {
            $(
                #[doc = concat!("Puts a ", $doc, ".")]
                ///
                /// # Errors
                ///
                /// [`EncodeError::BufferTooSmall`].
                #[inline]
                pub fn $name(&mut self, value: $type) -> Result<(), EncodeError> {
                    self.put_array(&value.$to())
                }
            )*
        }
    };
}

integers! {
    put_u8: u8::to_le_bytes, "byte";
    put_u16_be: u16::to_be_bytes, "16-bit number, big-endian";
    put_u16_le: u16::to_le_bytes, "16-bit number, little-endian";
    put_u32_be: u32::to_be_bytes, "32-bit number, big-endian";
    put_u32_le: u32::to_le_bytes, "32-bit number, little-endian";
    put_u64_be: u64::to_be_bytes, "64-bit number, big-endian";
    put_u64_le: u64::to_le_bytes, "64-bit number, little-endian";
}

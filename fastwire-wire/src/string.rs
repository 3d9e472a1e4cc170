//! Text with its length before it: signed 16-bit big-endian, then UTF-8 (PROTOCOL A1).

use crate::{DecodeError, EncodeError, MAX_STRING_LEN, Reader, Writer};

/// Writes `text` at the start of `out` and returns the bytes written: 2 and the text's length.
///
/// # Errors
///
/// [`EncodeError::StringTooLong`] above 32 767 bytes, [`EncodeError::BufferTooSmall`]; `out` is
/// untouched then.
pub fn put_string(out: &mut [u8], text: &str) -> Result<usize, EncodeError> {
    let mut writer = Writer::new(out);
    writer.put_string(text)?;
    Ok(writer.written())
}

/// Reads a string from the start of `input`; returns it with the bytes it took.
///
/// # Errors
///
/// [`DecodeError::BufferTooSmall`], [`DecodeError::NegativeStringLength`],
/// [`DecodeError::InvalidUtf8`].
pub fn read_string(input: &[u8]) -> Result<(&str, usize), DecodeError> {
    let mut reader = Reader::new(input);
    let text = reader.string()?;
    Ok((text, reader.position()))
}

/// The length field of a string of `length` bytes, if there is one.
pub(crate) fn length_field(length: usize) -> Result<[u8; 2], EncodeError> {
    if length > MAX_STRING_LEN {
        return Err(EncodeError::StringTooLong { length });
    }
    Ok((length as u16).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec;

    #[test]
    fn the_longest_string_has_32767_bytes() {
        let mut out = vec![0; MAX_STRING_LEN + 3];
        let mut text: String = core::iter::repeat_n('x', MAX_STRING_LEN).collect();
        assert_eq!(put_string(&mut out, &text), Ok(MAX_STRING_LEN + 2));
        assert_eq!(read_string(&out), Ok((text.as_str(), MAX_STRING_LEN + 2)));
        text.push('x');
        assert_eq!(put_string(&mut out, &text), Err(EncodeError::StringTooLong { length: 32768 }));
    }

    #[test]
    fn what_is_not_utf8_is_refused_with_its_place() {
        assert_eq!(read_string(b"\0\x03ab\xff"), Err(DecodeError::InvalidUtf8 { valid_up_to: 2 }));
        assert_eq!(read_string(b"\xff\xfe"), Err(DecodeError::NegativeStringLength { length: -2 }));
    }
}

//! Zstandard dictionaries: checked once, shared cheaply, known by their SHA-256.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

/// The first bytes of a dictionary in zstd's format (RFC 8878 §5).
const MAGIC: [u8; 4] = 0xEC30_A437_u32.to_le_bytes();

/// A dictionary in zstd's format with an id other than 0. Clones share the bytes.
///
/// `zstd --train samples/* --maxdict=8KB -o game.dict` makes one from recorded messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Dictionary {
    bytes: Arc<[u8]>,
    /// Never 0: a frame made with a nameless dictionary does not say which one it needs.
    id: u32,
    hash: [u8; 32],
}

impl Dictionary {
    /// Takes the content of a dictionary file.
    ///
    /// # Errors
    ///
    /// The bytes are not in zstd's dictionary format, or the id in them is 0 (PROTOCOL A8).
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self, DictionaryError> {
        let bytes = bytes.into();
        let (Some(magic), Some(id)) = (bytes.get(..4), bytes.get(4..8)) else {
            return Err(DictionaryError::TooShort { length: bytes.len() });
        };
        if magic != MAGIC {
            return Err(DictionaryError::NotZstdFormat);
        }
        let id = id.iter().rev().fold(0, |id, &byte| id << 8 | u32::from(byte)); // little-endian
        if id == 0 {
            return Err(DictionaryError::NoId);
        }
        let hash = dictionary_hash(&bytes);
        Ok(Self { bytes, id, hash })
    }

    /// The content of the file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The id that frames made with it carry. Never 0.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What the handshake compares: the SHA-256 of the bytes.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary")
            .field("id", &format_args!("{:#010x}", self.id))
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// The SHA-256 by which the handshake compares dictionaries, of any bytes.
pub fn dictionary_hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Why bytes are not a usable dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DictionaryError {
    /// Fewer than the 8 bytes of the header.
    #[error("a dictionary of {length} bytes is too short, its header alone has 8; give the whole file")]
    TooShort {
        /// How many bytes were given.
        length: usize,
    },
    /// The first bytes are not those of zstd's dictionary format.
    #[error(
        "the dictionary does not start with 37 a4 30 ec: raw content is not used, make one with `zstd --train`"
    )]
    NotZstdFormat,
    /// The id is 0.
    #[error(
        "the dictionary's id is 0, so frames could not name it; train one with an id from 1 to 4294967295"
    )]
    NoId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_zstd_format_with_an_id_is_taken() {
        let header = |id: u32| [MAGIC, id.to_le_bytes(), [9; 4]].concat();
        assert_eq!(Dictionary::from_bytes(header(0x0102_0304)).unwrap().id(), 0x0102_0304);
        assert_eq!(Dictionary::from_bytes(header(0)), Err(DictionaryError::NoId));
        assert_eq!(Dictionary::from_bytes(b"raw content".to_vec()), Err(DictionaryError::NotZstdFormat));
        for length in 0..8 {
            let short = header(1)[..length].to_vec();
            assert_eq!(Dictionary::from_bytes(short), Err(DictionaryError::TooShort { length }));
        }
    }

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-4, the one-block example.
        let expected = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
            0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(dictionary_hash(b"abc"), expected);
    }
}

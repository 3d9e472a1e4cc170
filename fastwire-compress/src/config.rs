//! What can be chosen: the algorithm, when it is tried, and what a connection has agreed on.

use std::fmt;

use crate::Dictionary;

/// Payloads shorter than this are not compressed unless told otherwise, in bytes.
pub const DEFAULT_HURDLE: usize = 128;

/// No payload grows past this on decompression, in bytes (PROTOCOL A8).
pub const MAX_DECOMPRESSED_SIZE: usize = 4 * 1024 * 1024;

/// A compression algorithm as the handshake names it (PROTOCOL A5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// Payloads travel as they are.
    #[default]
    None = 0,
    /// LZ4 blocks: little work, a modest gain.
    Lz4 = 1,
    /// Zstandard frames: more work, a larger gain, and dictionaries.
    Zstd = 2,
}

impl Algorithm {
    /// The number on the wire.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The algorithm of a number on the wire, if it is one.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Whether this build carries it: the Cargo features `lz4` and `zstd`.
    pub const fn is_available(self) -> bool {
        match self {
            Self::None => true,
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// How a compressed payload is encoded: what the fragment flags can say (PROTOCOL A7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The original size as 4 bytes little-endian, then one LZ4 block.
    Lz4,
    /// One Zstandard frame; it names its dictionary itself.
    Zstd,
}

impl Encoding {
    /// The algorithm that makes it.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Lz4 => Algorithm::Lz4,
            Self::Zstd => Algorithm::Zstd,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.algorithm().fmt(f)
    }
}

/// What a connection agreed to compress with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Method {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Both sides hold the same dictionary. Only zstd uses it.
    pub dictionary: bool,
}

impl Method {
    /// No compression.
    pub const NONE: Self = Self { algorithm: Algorithm::None, dictionary: false };
    /// LZ4.
    pub const LZ4: Self = Self { algorithm: Algorithm::Lz4, dictionary: false };
    /// Zstandard without a dictionary.
    pub const ZSTD: Self = Self { algorithm: Algorithm::Zstd, dictionary: false };
    /// Zstandard with the dictionary that both sides hold.
    pub const ZSTD_DICTIONARY: Self = Self { algorithm: Algorithm::Zstd, dictionary: true };
}

/// How an endpoint compresses. The default compresses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionConfig {
    /// What to propose in the handshake.
    pub algorithm: Algorithm,
    /// Payloads shorter than this stay as they are, in bytes. Default [`DEFAULT_HURDLE`].
    pub hurdle: usize,
    /// The zstd level: from -131072, the fastest, to 22; 0 is zstd's own default, 3. Only zstd uses it.
    pub zstd_level: i32,
    /// The dictionary that both sides hold. Only zstd uses it.
    pub dictionary: Option<Dictionary>,
}

impl CompressionConfig {
    /// This algorithm with every other value at its default.
    pub const fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, hurdle: DEFAULT_HURDLE, zstd_level: 0, dictionary: None }
    }

    /// What a connection uses whose peer agrees to everything.
    pub const fn method(&self) -> Method {
        let dictionary = matches!(self.algorithm, Algorithm::Zstd) && self.dictionary.is_some();
        Method { algorithm: self.algorithm, dictionary }
    }
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self::new(Algorithm::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_handshake_and_no_others() {
        for id in 0..=u8::MAX {
            assert_eq!(Algorithm::from_id(id).map(Algorithm::id), (id <= 2).then_some(id));
        }
    }

    #[test]
    fn a_dictionary_counts_with_zstd_only() {
        let mut header = [0; 16];
        header[..8].copy_from_slice(&[0x37, 0xa4, 0x30, 0xec, 1, 0, 0, 0]);
        let dictionary = Dictionary::from_bytes(header.to_vec()).unwrap();
        for (algorithm, counts) in
            [(Algorithm::None, false), (Algorithm::Lz4, false), (Algorithm::Zstd, true)]
        {
            let mut config = CompressionConfig::new(algorithm);
            assert_eq!(config.method(), Method { algorithm, dictionary: false });
            config.dictionary = Some(dictionary.clone());
            assert_eq!(config.method(), Method { algorithm, dictionary: counts });
        }
    }
}

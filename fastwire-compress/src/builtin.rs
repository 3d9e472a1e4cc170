//! The compressor that comes with FastWire: LZ4 and zstd behind one hurdle and one limit.

use crate::{
    Algorithm, CompressError, Compressed, CompressionConfig, Compressor, DecompressError, Encoding,
    MAX_DECOMPRESSED_SIZE, Method,
};

/// LZ4 and zstd with contexts that are made on first use and kept.
///
/// It expands whatever its build can, whichever algorithm the configuration names: base peers may send either
/// (PROTOCOL A8).
pub struct BuiltinCompressor {
    hurdle: usize,
    #[cfg(feature = "lz4")]
    lz4: crate::lz4::Lz4,
    #[cfg(feature = "zstd")]
    zstd: crate::zstd::Zstd,
}

impl BuiltinCompressor {
    /// A compressor for this configuration.
    ///
    /// # Errors
    ///
    /// The algorithm is not part of this build, the level is out of range, or zstd refuses the dictionary.
    pub fn new(config: &CompressionConfig) -> Result<Self, ConfigError> {
        if !config.algorithm.is_available() {
            return Err(ConfigError::NotBuilt { algorithm: config.algorithm });
        }
        Ok(Self {
            hurdle: config.hurdle,
            #[cfg(feature = "lz4")]
            lz4: crate::lz4::Lz4::default(),
            #[cfg(feature = "zstd")]
            zstd: crate::zstd::Zstd::new(config.zstd_level, config.dictionary.clone())?,
        })
    }
}

impl Compressor for BuiltinCompressor {
    fn compress(
        &mut self,
        method: Method,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Compressed, CompressError> {
        let size_fits = (self.hurdle..=MAX_DECOMPRESSED_SIZE).contains(&input.len());
        if method.algorithm == Algorithm::None || !size_fits {
            return Ok(Compressed::NotWorthIt);
        }
        let start = out.len();
        let made = match method.algorithm {
            #[cfg(feature = "lz4")]
            Algorithm::Lz4 => self.lz4.compress(input, out).map(|()| Encoding::Lz4),
            #[cfg(feature = "zstd")]
            Algorithm::Zstd => self.zstd.compress(method.dictionary, input, out).map(|()| Encoding::Zstd),
            algorithm => Err(CompressError::NotBuilt { algorithm }),
        };
        let encoding = made?;
        let length = out.len().saturating_sub(start);
        if length >= input.len() {
            out.truncate(start);
            return Ok(Compressed::NotWorthIt);
        }
        Ok(Compressed::Smaller(encoding, length))
    }

    #[cfg_attr(not(any(feature = "lz4", feature = "zstd")), allow(unused_variables))]
    fn decompress(
        &mut self,
        encoding: Encoding,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, DecompressError> {
        let start = out.len();
        let limit = limit.min(MAX_DECOMPRESSED_SIZE);
        let expanded = match encoding {
            #[cfg(feature = "lz4")]
            Encoding::Lz4 => crate::lz4::decompress(input, limit, out),
            #[cfg(feature = "zstd")]
            Encoding::Zstd => self.zstd.decompress(input, limit, out),
            #[allow(unreachable_patterns)] // reachable with a feature off
            encoding => Err(DecompressError::NotBuilt { encoding }),
        };
        if expanded.is_err() {
            out.truncate(start);
        }
        expanded.map(|()| out.len().saturating_sub(start))
    }
}

impl std::fmt::Debug for BuiltinCompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuiltinCompressor").field("hurdle", &self.hurdle).finish_non_exhaustive()
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The algorithm is not part of this build.
    #[error(
        "compression algorithm {algorithm} is not part of this build: enable the Cargo feature of that name"
    )]
    NotBuilt {
        /// The algorithm that was asked for.
        algorithm: Algorithm,
    },
    /// The zstd level is out of range.
    #[error("zstd_level is {level}, allowed are {min} to {max} (0 = zstd's default)")]
    Level {
        /// The level that was asked for.
        level: i32,
        /// The fastest.
        min: i32,
        /// The strongest.
        max: i32,
    },
    /// The dictionary has a sound header, but zstd refuses its tables.
    #[error(
        "zstd refuses the dictionary with id {id:#010x}: its tables are damaged, give the file as it was trained"
    )]
    Dictionary {
        /// The id in its header.
        id: u32,
    },
}

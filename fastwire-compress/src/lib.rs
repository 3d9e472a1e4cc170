#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod builtin;
mod compressor;
mod config;
mod dictionary;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "zstd")]
mod zstd;

pub use builtin::{BuiltinCompressor, ConfigError};
pub use compressor::{CompressError, Compressed, Compressor, DecompressError};
pub use config::{Algorithm, CompressionConfig, DEFAULT_HURDLE, Encoding, MAX_DECOMPRESSED_SIZE, Method};
pub use dictionary::{Dictionary, DictionaryError, dictionary_hash};

//! The trait an endpoint compresses through, and what its calls answer.

use crate::{Algorithm, Encoding, Method};

/// Compresses and expands payloads.
///
/// Contexts are large, so an endpoint owns one compressor and lends it to its connections; what a connection has
/// agreed on comes with each call. Payloads are independent of each other: no call leaves a trace in a later
/// one's bytes.
///
/// The trait is object-safe and `Box<dyn Compressor>` implements it.
pub trait Compressor: Send {
    /// Appends the compressed form of `input` to `out`, if that is shorter than `input`.
    ///
    /// With [`Compressed::NotWorthIt`] and with an error `out` holds what it held before. Payloads under the
    /// compressor's hurdle are not worth it, nor those over
    /// [`MAX_DECOMPRESSED_SIZE`](crate::MAX_DECOMPRESSED_SIZE), which no peer would expand.
    ///
    /// # Errors
    ///
    /// The method asks for what this compressor lacks: an algorithm or a dictionary.
    fn compress(
        &mut self,
        method: Method,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Compressed, CompressError>;

    /// Appends the expanded form of `input` to `out` and returns its length, at most `limit` bytes and at most
    /// [`MAX_DECOMPRESSED_SIZE`](crate::MAX_DECOMPRESSED_SIZE).
    ///
    /// `input` may be hostile: what would pass the limit is refused before memory is taken for it. With an error
    /// `out` holds what it held before.
    ///
    /// # Errors
    ///
    /// `input` is malformed, would pass the limit, or needs what this compressor lacks.
    fn decompress(
        &mut self,
        encoding: Encoding,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, DecompressError>;
}

impl<C: Compressor + ?Sized> Compressor for Box<C> {
    fn compress(
        &mut self,
        method: Method,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Compressed, CompressError> {
        (**self).compress(method, input, out)
    }

    fn decompress(
        &mut self,
        encoding: Encoding,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, DecompressError> {
        (**self).decompress(encoding, input, limit, out)
    }
}

/// What became of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressed {
    /// So many bytes in this encoding were appended, fewer than the payload has.
    Smaller(Encoding, usize),
    /// Nothing was appended: send the payload as it is.
    NotWorthIt,
}

/// Why a payload could not be compressed. Sending it as it is remains possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The algorithm is not part of this build.
    #[error("{algorithm} is not part of this build: enable the Cargo feature of that name")]
    NotBuilt {
        /// The algorithm that was asked for.
        algorithm: Algorithm,
    },
    /// The method says that a dictionary is shared, but none was configured.
    #[error(
        "the method asks for a dictionary and the compressor has none: set `CompressionConfig::dictionary`"
    )]
    NoDictionary,
    /// The algorithm failed, which it does only for want of memory.
    #[error("{algorithm} failed: {reason}")]
    Failed {
        /// The algorithm.
        algorithm: Algorithm,
        /// Its own words.
        reason: &'static str,
    },
}

/// Why a compressed payload could not be expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The bytes are not what the encoding says.
    #[error("malformed {encoding} payload: {reason}")]
    Malformed {
        /// What it claimed to be.
        encoding: Encoding,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It would grow past the limit.
    #[error("the payload would expand to more than {limit} bytes")]
    TooLarge {
        /// The limit it would pass, in bytes.
        limit: usize,
    },
    /// It was made with a dictionary that is not ours.
    #[error("the payload needs the zstd dictionary with id {id:#010x}: configure the same one on both sides")]
    UnknownDictionary {
        /// The id in the frame.
        id: u32,
    },
    /// The encoding is not part of this build.
    #[error("{encoding} is not part of this build: enable the Cargo feature of that name")]
    NotBuilt {
        /// The encoding of the payload.
        encoding: Encoding,
    },
    /// The decoder's own memory could not be had.
    #[error("no memory for a {encoding} decoder")]
    OutOfMemory {
        /// The encoding of the payload.
        encoding: Encoding,
    },
}

//! Zstandard payloads: one frame each, with checksum, and with the dictionary where one is shared (PROTOCOL A8).

use std::io::Cursor;

use zstd_safe::{CCtx, CDict, CParameter, DCtx, DDict, zstd_sys::ZSTD_ErrorCode};

use crate::{Algorithm, CompressError, ConfigError, DecompressError, Dictionary, Encoding};

/// How a frame begins (RFC 8878 §3.1.1). Skippable and legacy frames begin otherwise and are refused.
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The smallest block that expands, in bytes: its header and one byte to repeat (RFC 8878 §3.1.1.2).
const MIN_BLOCK: usize = 4;
/// What a block expands to at most, in bytes (RFC 8878 §3.1.1.2.4).
const MAX_BLOCK_CONTENT: usize = 128 * 1024;
/// The first guess at the content of a frame that does not say its size: so many times its length ...
const GUESS: usize = 8;
/// ... and so many times more after each guess that was too low.
const GROWTH: usize = 4;

/// Contexts that are made on first use and kept: a few hundred kilobytes each.
pub(crate) struct Zstd {
    level: i32,
    encoder: Option<CCtx<'static>>,
    decoder: Option<DCtx<'static>>,
    dictionary: Option<Prepared>,
}

/// A dictionary whose tables have been read.
struct Prepared {
    dictionary: Dictionary,
    /// An encoder of its own: it keeps the digested dictionary, and changing between payloads with and without
    /// would digest it anew.
    encoder: Option<CCtx<'static>>,
    decoding: DDict<'static>,
}

impl Zstd {
    pub(crate) fn new(level: i32, dictionary: Option<Dictionary>) -> Result<Self, ConfigError> {
        let (min, max) = (zstd_safe::min_c_level(), zstd_safe::max_c_level());
        if !(min..=max).contains(&level) {
            return Err(ConfigError::Level { level, min, max });
        }
        let dictionary = dictionary.map(|dictionary| Prepared::new(level, dictionary)).transpose()?;
        Ok(Self { level, encoder: None, decoder: None, dictionary })
    }

    /// Appends one frame, whatever its length.
    pub(crate) fn compress(
        &mut self,
        with_dictionary: bool,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        let (slot, dictionary) = if with_dictionary {
            let prepared = self.dictionary.as_mut().ok_or(CompressError::NoDictionary)?;
            (&mut prepared.encoder, Some(&prepared.dictionary))
        } else {
            (&mut self.encoder, None)
        };
        let encoder = match slot {
            Some(encoder) => encoder,
            None => slot.insert(encoder(self.level, dictionary)?),
        };
        out.reserve(zstd_safe::compress_bound(input.len()));
        encoder.compress2(&mut behind(out), input).map_err(failed)?;
        Ok(())
    }

    /// Appends the content of the one frame that `input` is, at most `limit` bytes. With an error `out` may hold
    /// more than before.
    pub(crate) fn decompress(
        &mut self,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        if input.is_empty() {
            return Ok(()); // no frame, no content: a base peer decodes it so
        }
        if !input.starts_with(&MAGIC) {
            return Err(malformed("not a zstd frame"));
        }
        if zstd_safe::find_frame_compressed_size(input).map_err(named)? != input.len() {
            return Err(malformed("bytes behind the frame"));
        }
        let with_dictionary = self.needs_dictionary(input)?;
        let size =
            zstd_safe::get_frame_content_size(input).map_err(|_| malformed("the header ends early"))?;
        let size = size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        if size.is_some_and(|size| size > limit) {
            return Err(DecompressError::TooLarge { limit });
        }
        // A claim beyond what the blocks can hold takes no memory.
        let possible = (input.len() / MIN_BLOCK).saturating_mul(MAX_BLOCK_CONTENT);
        if size.is_some_and(|size| size > possible) {
            return Err(malformed("more content claimed than the blocks can hold"));
        }
        let most = limit.min(possible);
        let mut room = size.unwrap_or(input.len().saturating_mul(GUESS)).min(most);
        let start = out.len();
        loop {
            // Each try is one call into a buffer of known size: no window is allocated, whatever the header asks for.
            out.reserve_exact(room);
            match self.decode(with_dictionary, input, out)? {
                Decoded::Whole if out.len().saturating_sub(start) > limit => {
                    return Err(DecompressError::TooLarge { limit });
                }
                Decoded::Whole => return Ok(()),
                Decoded::OutOfRoom if size.is_some() => {
                    return Err(malformed("more content than the header says"));
                }
                Decoded::OutOfRoom if room < most => room = room.saturating_mul(GROWTH).min(most),
                Decoded::OutOfRoom => return Err(DecompressError::TooLarge { limit }),
            }
        }
    }

    fn needs_dictionary(&self, frame: &[u8]) -> Result<bool, DecompressError> {
        match (zstd_safe::get_dict_id_from_frame(frame), &self.dictionary) {
            (None, _) => Ok(false),
            (Some(id), Some(prepared)) if id.get() == prepared.dictionary.id() => Ok(true),
            (Some(id), _) => Err(DecompressError::UnknownDictionary { id: id.get() }),
        }
    }

    fn decode(
        &mut self,
        with_dictionary: bool,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Decoded, DecompressError> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            slot => slot
                .insert(DCtx::try_create().ok_or(DecompressError::OutOfMemory { encoding: Encoding::Zstd })?),
        };
        let mut target = behind(out);
        let decoded = match &self.dictionary {
            Some(prepared) if with_dictionary => {
                decoder.decompress_using_ddict(&mut target, frame, &prepared.decoding)
            }
            _ => decoder.decompress(&mut target, frame),
        };
        match decoded {
            Ok(_) => Ok(Decoded::Whole),
            Err(code) if zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => {
                Ok(Decoded::OutOfRoom)
            }
            Err(code) => Err(named(code)),
        }
    }
}

enum Decoded {
    Whole,
    OutOfRoom,
}

impl Prepared {
    fn new(level: i32, dictionary: Dictionary) -> Result<Self, ConfigError> {
        let refused = || ConfigError::Dictionary { id: dictionary.id() };
        let decoding = DDict::try_create(dictionary.as_bytes()).ok_or_else(refused)?;
        // Encoders digest it on first use; damage is to be known now.
        CDict::try_create(dictionary.as_bytes(), level).ok_or_else(refused)?;
        Ok(Self { dictionary, encoder: None, decoding })
    }
}

/// An encoder with its parameters set for good.
fn encoder(level: i32, dictionary: Option<&Dictionary>) -> Result<CCtx<'static>, CompressError> {
    let no_memory = CompressError::Failed { algorithm: Algorithm::Zstd, reason: "no memory for a context" };
    let mut encoder = CCtx::try_create().ok_or(no_memory)?;
    encoder.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
    encoder.set_parameter(CParameter::ChecksumFlag(true)).map_err(failed)?;
    if let Some(dictionary) = dictionary {
        encoder.load_dictionary(dictionary.as_bytes()).map_err(failed)?;
    }
    Ok(encoder)
}

/// The room behind what `out` holds.
fn behind(out: &mut Vec<u8>) -> Cursor<&mut Vec<u8>> {
    let end = out.len() as u64;
    let mut cursor = Cursor::new(out);
    cursor.set_position(end);
    cursor
}

fn failed(code: usize) -> CompressError {
    CompressError::Failed { algorithm: Algorithm::Zstd, reason: zstd_safe::get_error_name(code) }
}

fn named(code: usize) -> DecompressError {
    malformed(zstd_safe::get_error_name(code))
}

fn malformed(reason: &'static str) -> DecompressError {
    DecompressError::Malformed { encoding: Encoding::Zstd, reason }
}

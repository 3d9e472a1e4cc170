//! LZ4 payloads: the original size as 4 bytes little-endian, then one block (PROTOCOL A8).

use lz4_flex::block::{self, CompressTable};

use crate::{CompressError, DecompressError, Encoding};

/// The size in front of the block, in bytes.
const PREFIX: usize = 4;
/// From this length on a block needs the hash table with wide entries.
const WIDE: usize = u16::MAX as usize;
/// A block of n bytes expands to at most 255 n: a length byte adds at most 255, every other byte less.
const MAX_EXPANSION: usize = 255;

/// The hash tables of the encoder, cleared for each payload and never given back.
#[derive(Default)]
pub(crate) struct Lz4 {
    /// For payloads under [`WIDE`]: half the memory to clear.
    narrow: Option<CompressTable>,
    wide: Option<CompressTable>,
}

impl Lz4 {
    /// Appends prefix and block, whatever their length.
    pub(crate) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
        let failed = |reason| CompressError::Failed { algorithm: Encoding::Lz4.algorithm(), reason };
        let size = u32::try_from(input.len()).map_err(|_| failed("payload of 4 GiB and more"))?;
        let table = if input.len() < WIDE {
            self.narrow.get_or_insert_with(CompressTable::small)
        } else {
            self.wide.get_or_insert_with(CompressTable::large)
        };
        out.extend_from_slice(&size.to_le_bytes());
        let start = out.len();
        out.resize(start.saturating_add(block::get_maximum_output_size(input.len())), 0);
        let written = out.get_mut(start..).map(|room| block::compress_into_with_table(input, room, table));
        match written {
            Some(Ok(length)) => {
                out.truncate(start.saturating_add(length));
                Ok(())
            }
            _ => {
                out.truncate(start.saturating_sub(PREFIX));
                Err(failed("the block exceeds its bound"))
            }
        }
    }
}

/// Appends the expanded block, at most `limit` bytes. With an error `out` may hold more than before.
pub(crate) fn decompress(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let malformed = |reason| DecompressError::Malformed { encoding: Encoding::Lz4, reason };
    let (prefix, block) = input.split_first_chunk::<PREFIX>().ok_or_else(|| malformed("no size in front"))?;
    let claimed = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
    if claimed > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    if claimed == 0 || block.is_empty() {
        return Ok(()); // the claim is an upper bound; a base peer decodes both to nothing
    }
    // A claim beyond what the block can hold takes no memory.
    let room = claimed.min(block.len().saturating_mul(MAX_EXPANSION));
    let start = out.len();
    out.reserve_exact(room);
    out.resize(start.saturating_add(room), 0); // zeros, so a decoder that skips bytes shows nothing of earlier payloads
    let target = out.get_mut(start..).unwrap_or_default();
    let length = block::decompress_into(block, target).map_err(|error| malformed(reason(&error)))?;
    out.truncate(start.saturating_add(length));
    Ok(())
}

fn reason(error: &block::DecompressError) -> &'static str {
    use block::DecompressError as Error;
    match error {
        Error::OutputTooSmall { .. } => "more data than the size in front",
        Error::LiteralOutOfBounds => "a literal passes the end",
        Error::ExpectedAnotherByte => "the block ends early",
        Error::OffsetZero => "a match of offset 0",
        Error::OffsetOutOfBounds => "a match begins before the payload",
        _ => "not an LZ4 block",
    }
}

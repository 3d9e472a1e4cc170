//! Compression of one direction: zstd with a history over the whole stream, flushed at the end of each frame.

use std::io;
use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

/// Memory of the history, as a power of two in bytes: 1 MiB at either end. A peer cannot ask for more.
const WINDOW_LOG: u32 = 20;
/// Most bytes that expanding gives at a time, however small what it was given.
pub const PIECE: usize = 32 << 10;

/// The compressing side.
pub struct Packer(Encoder<'static>);

impl Packer {
    /// A new direction at zstd's `level`, 1 (fast) to 19 (small).
    ///
    /// # Errors
    /// When zstd has no memory, or no such level.
    pub fn new(level: i32) -> io::Result<Self> {
        let mut encoder = Encoder::new(level)?;
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        Ok(Self(encoder))
    }

    /// Appends `bytes` to `out`, compressed; the other side can expand all of them without waiting for more.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn pack(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        loop {
            out.reserve(bytes.len() / 2 + 1024);
            let written = out.len();
            let mut output = OutBuffer::around_pos(out, written);
            if input.pos < bytes.len() {
                self.0.run(&mut input, &mut output)?;
            } else if self.0.flush(&mut output)? == 0 {
                return Ok(());
            }
        }
    }
}

/// The expanding side.
pub struct Unpacker {
    decoder: Decoder<'static>,
    piece: Vec<u8>,
}

impl Unpacker {
    /// A new direction.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self { decoder, piece: Vec::with_capacity(PIECE) })
    }

    /// Expands a part of `bytes`, which it takes off: at most [`PIECE`] bytes. Call again until it gives none.
    ///
    /// # Errors
    /// Kind `InvalidData` when the bytes are not what a [`Packer`] makes.
    pub fn unpack(&mut self, bytes: &mut &[u8]) -> io::Result<&[u8]> {
        self.piece.clear();
        let mut input = InBuffer::around(bytes);
        let mut output = OutBuffer::around(&mut self.piece);
        let result = self.decoder.run(&mut input, &mut output);
        let taken = input.pos;
        result.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        *bytes = &bytes[taken..];
        Ok(&self.piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expanded(unpacker: &mut Unpacker, mut bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let piece = unpacker.unpack(&mut bytes)?;
            assert!(piece.len() <= PIECE);
            if piece.is_empty() && bytes.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(piece);
        }
    }

    proptest! {
        #[test]
        fn every_frame_expands_at_once(frames in prop::collection::vec((any::<u8>(), 0..70_000usize, any::<bool>()), 1..8), level in 1..6) {
            let (mut packer, mut unpacker) = (Packer::new(level).unwrap(), Unpacker::new().unwrap());
            for (byte, len, even) in frames {
                let frame: Vec<u8> =
                    (0..len as u32).map(|i| if even { byte } else { (i.wrapping_mul(2_654_435_761) >> 13) as u8 }).collect();
                let mut packed = Vec::new();
                packer.pack(&frame, &mut packed).unwrap();
                prop_assert!(expanded(&mut unpacker, &packed).unwrap() == frame);
            }
        }

        #[test]
        fn foreign_bytes_are_an_error_or_pieces(bytes: Vec<u8>) {
            let _ = expanded(&mut Unpacker::new().unwrap(), &bytes);
        }
    }
}

//! What can be sent as a message: anything that is bytes, copied into pooled chunks where it must be.

use bytes::{Bytes, BytesMut};

use crate::transport::ChunkPool;

/// A message to send: owned bytes are taken as they are, borrowed ones are copied once.
pub trait Payload {
    /// The message as shared bytes.
    fn into_bytes(self, pool: &mut ChunkPool) -> Bytes;

    /// The message, where it would have to be copied: short ones have a shorter way.
    fn borrowed(&self) -> Option<&[u8]> {
        None
    }
}

impl Payload for Bytes {
    fn into_bytes(self, _: &mut ChunkPool) -> Bytes {
        self
    }
}

impl Payload for &Bytes {
    fn into_bytes(self, _: &mut ChunkPool) -> Bytes {
        self.clone()
    }
}

impl Payload for BytesMut {
    fn into_bytes(self, _: &mut ChunkPool) -> Bytes {
        self.freeze()
    }
}

impl Payload for Vec<u8> {
    fn into_bytes(self, _: &mut ChunkPool) -> Bytes {
        self.into()
    }
}

impl Payload for String {
    fn into_bytes(self, _: &mut ChunkPool) -> Bytes {
        self.into()
    }
}

impl Payload for &[u8] {
    fn into_bytes(self, pool: &mut ChunkPool) -> Bytes {
        pool.copy(self).freeze()
    }

    fn borrowed(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl<const N: usize> Payload for &[u8; N] {
    fn into_bytes(self, pool: &mut ChunkPool) -> Bytes {
        pool.copy(self).freeze()
    }

    fn borrowed(&self) -> Option<&[u8]> {
        Some(&self[..])
    }
}

impl<const N: usize> Payload for [u8; N] {
    fn into_bytes(self, pool: &mut ChunkPool) -> Bytes {
        pool.copy(&self).freeze()
    }

    fn borrowed(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl Payload for &Vec<u8> {
    fn into_bytes(self, pool: &mut ChunkPool) -> Bytes {
        pool.copy(self).freeze()
    }

    fn borrowed(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl Payload for &str {
    fn into_bytes(self, pool: &mut ChunkPool) -> Bytes {
        pool.copy(self.as_bytes()).freeze()
    }

    fn borrowed(&self) -> Option<&[u8]> {
        Some(self.as_bytes())
    }
}

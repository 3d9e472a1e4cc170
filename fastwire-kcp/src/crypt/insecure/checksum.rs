//! The framing of every cipher that is no AEAD: nonce 16, CRC-32 of the inner part 4, inner part; all of it enciphered.

use std::ops::Range;

use crate::crypt::{NONCE_LEN, OpenError, PacketCrypt, SealError};

/// Nonce in front of the checksum, bytes.
const NONCE: usize = 16;
/// Nonce and CRC-32 (IEEE, little-endian), bytes.
const HEADER: usize = NONCE + 4;

/// Enciphers whole datagrams in place, length unchanged; the field's `BlockCrypt`.
pub trait DatagramCipher: Send + Sync {
    /// Enciphers a datagram that begins with 16 random bytes.
    fn encrypt(&self, datagram: &mut [u8]);

    /// The inverse of [`encrypt`](Self::encrypt), for bytes of any origin and length.
    fn decrypt(&self, datagram: &mut [u8]);
}

/// A [`DatagramCipher`] with kcp-go's nonce and checksum. Insecure: a checksum finds damage, not forgery.
#[derive(Debug, Clone, Default)]
pub struct Checksummed<C>(pub C);

impl<C: DatagramCipher> PacketCrypt for Checksummed<C> {
    fn header_len(&self) -> usize {
        HEADER
    }

    fn tag_len(&self) -> usize {
        0
    }

    fn seal(&self, datagram: &mut [u8], nonce: &[u8; NONCE_LEN]) -> Result<(), SealError> {
        let len = datagram.len();
        let (header, inner) =
            datagram.split_first_chunk_mut::<HEADER>().ok_or(SealError::Short { len, needed: HEADER })?;
        header[..NONCE].copy_from_slice(&nonce[..NONCE]);
        header[NONCE..].copy_from_slice(&crc32fast::hash(inner).to_le_bytes());
        self.0.encrypt(datagram);
        Ok(())
    }

    fn open(&self, datagram: &mut [u8]) -> Result<Range<usize>, OpenError> {
        let len = datagram.len();
        if len < HEADER {
            return Err(OpenError::Short { len, needed: HEADER });
        }
        self.0.decrypt(datagram);
        let sum = crc32fast::hash(&datagram[HEADER..]).to_le_bytes();
        if datagram[NONCE..HEADER] == sum { Ok(HEADER..len) } else { Err(OpenError::Checksum) }
    }
}

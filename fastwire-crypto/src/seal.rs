//! Sealing whole packets: `[nonce 8, LE][ciphertext][tag 16]` (PROTOCOL A3).

use std::fmt;

use crate::cipher::{Cipher, NONCE_LEN, TAG_LEN};

/// Bytes before the ciphertext: the nonce counter, little-endian.
pub const PREFIX_LEN: usize = 8;

/// Bytes after the ciphertext: the tag.
pub const SUFFIX_LEN: usize = TAG_LEN;

/// Why a packet was not sealed. It must not be sent then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The key has sealed as many packets as it may: end the connection and make new keys.
    #[error("key used up after {limit} packets: reconnect to get new keys")]
    LimitReached {
        /// Packets the key may seal.
        limit: u64,
    },
    /// The buffer has no room for prefix and suffix.
    #[error("packet of {len} bytes is too short to seal: nonce and tag alone take {needed}")]
    TooShort {
        /// Bytes of the buffer.
        len: usize,
        /// Bytes of prefix and suffix.
        needed: usize,
    },
    /// The cipher refused, as it may for over-long packets.
    #[error("the cipher refused a packet of {len} bytes")]
    Refused {
        /// Bytes of the buffer.
        len: usize,
    },
}

/// One direction of a connection, sending side. No nonce leaves it twice.
pub struct Sealer<C> {
    cipher: C,
    plaintext: bool,
    /// Packets the key may seal.
    limit: u64,
    /// Packets sealed so far, those the cipher refused included.
    packets: u64,
    /// Nonce of the next packet, never used before; 0 after the last.
    next: u64,
    avoid_control_bit: bool,
}

impl<C: Cipher> Sealer<C> {
    /// Starts at nonce 1. The cipher's key must not have sealed anything before.
    pub fn new(cipher: C) -> Self {
        Self::after(cipher, 0)
    }

    /// Goes on after `packets` packets that the cipher's key has sealed, as if they had left from here.
    pub fn after(cipher: C, packets: u64) -> Self {
        let (plaintext, limit) = (cipher.is_plaintext(), cipher.limits().seals);
        Self { cipher, plaintext, limit, packets, next: packets.wrapping_add(1), avoid_control_bit: false }
    }

    /// Bytes to leave free before the plaintext: 8, or 0 with suite 0.
    #[inline]
    pub const fn prefix_len(&self) -> usize {
        if self.plaintext { 0 } else { PREFIX_LEN }
    }

    /// Bytes to leave free after the plaintext: 16, or 0 with suite 0.
    #[inline]
    pub const fn suffix_len(&self) -> usize {
        if self.plaintext { 0 } else { SUFFIX_LEN }
    }

    /// Bytes that sealing adds: 24, or 0 with suite 0.
    #[inline]
    pub const fn overhead(&self) -> usize {
        self.prefix_len().saturating_add(self.suffix_len())
    }

    /// Whether packets travel bare (suite 0).
    pub const fn is_plaintext(&self) -> bool {
        self.plaintext
    }

    /// Packets sealed so far.
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Packets that may still be sealed before [`SealError::LimitReached`].
    pub const fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.packets)
    }

    /// While set, nonces whose lowest byte has bit 1 set are skipped: 1, 4, 5, 8, 9, …
    ///
    /// The first byte of a sealed packet is the lowest byte of its nonce, and some base clients take
    /// a packet with that bit for a bare control packet until they are connected (PROTOCOL A5).
    pub const fn avoid_control_bit(&mut self, avoid: bool) {
        self.avoid_control_bit = avoid;
    }

    /// Seals a packet laid out as prefix | plaintext | suffix, and returns its nonce.
    ///
    /// With suite 0 prefix and suffix are empty, the packet stays as it is, and the nonce is only a
    /// running number.
    ///
    /// # Errors
    ///
    /// [`SealError::TooShort`], [`SealError::LimitReached`], [`SealError::Refused`].
    #[inline]
    pub fn seal(&mut self, packet: &mut [u8]) -> Result<u64, SealError> {
        let len = packet.len();
        if self.plaintext {
            return self.claim_nonce();
        }
        let too_short = SealError::TooShort { len, needed: PREFIX_LEN + SUFFIX_LEN };
        let (prefix, rest) = packet.split_first_chunk_mut::<PREFIX_LEN>().ok_or(too_short)?;
        let (data, suffix) = rest.split_last_chunk_mut::<SUFFIX_LEN>().ok_or(too_short)?;
        // Claimed first: whatever the cipher does with it, this nonce is used.
        let nonce = self.claim_nonce()?;
        *prefix = nonce.to_le_bytes();
        *suffix =
            self.cipher.seal(&aead_nonce(*prefix), &[], data).map_err(|_| SealError::Refused { len })?;
        Ok(nonce)
    }

    fn claim_nonce(&mut self) -> Result<u64, SealError> {
        if self.avoid_control_bit && self.next & 0b10 != 0 {
            self.next = (self.next | 0b11).wrapping_add(1);
        }
        if self.packets >= self.limit || self.next == 0 {
            return Err(SealError::LimitReached { limit: self.limit });
        }
        let nonce = self.next;
        self.next = nonce.wrapping_add(1);
        self.packets = self.packets.saturating_add(1);
        Ok(nonce)
    }
}

/// The 8 bytes on the wire followed by 4 zero bytes (PROTOCOL A3).
#[inline]
pub(crate) fn aead_nonce(wire: [u8; PREFIX_LEN]) -> [u8; NONCE_LEN] {
    let [a, b, c, d, e, f, g, h] = wire;
    [a, b, c, d, e, f, g, h, 0, 0, 0, 0]
}

impl<C> fmt::Debug for Sealer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("packets", &self.packets)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

//! AEAD datagrams: nonce, sealed inner part, tag; no associated data (the field's `NewAEADCrypt`).

use std::ops::Range;

use aead::{AeadCore, AeadInOut, KeyInit, Tag, TagPosition, array::typenum::Unsigned};

use super::{NONCE_LEN, OpenError, PacketCrypt, SealError};

/// AES-128-GCM; kcptun's `aes-128-gcm`. Nonces are random 96-bit numbers: change the key before 2³² datagrams
/// (NIST SP 800-38D §8.3).
pub type Aes128Gcm = Aead<aes_gcm::Aes128Gcm>;

/// AES-192-GCM; limit as [`Aes128Gcm`].
pub type Aes192Gcm = Aead<aes_gcm::AesGcm<aes::Aes192, aead::consts::U12>>;

/// AES-256-GCM; limit as [`Aes128Gcm`].
pub type Aes256Gcm = Aead<aes_gcm::Aes256Gcm>;

/// ChaCha20-Poly1305 (RFC 8439): fast without AES instructions; limit as [`Aes128Gcm`].
pub type ChaCha20Poly1305 = Aead<chacha20poly1305::ChaCha20Poly1305>;

/// XChaCha20-Poly1305: its 24-byte nonces may be random for as long as the key lives.
pub type XChaCha20Poly1305 = Aead<chacha20poly1305::XChaCha20Poly1305>;

/// A [`PacketCrypt`] from any AEAD of the `aead` crate whose nonce has at most [`NONCE_LEN`] bytes and whose tag
/// stands last.
#[derive(Clone)]
pub struct Aead<A>(A);

impl<A: AeadInOut> Aead<A> {
    /// Protects datagrams with a keyed AEAD.
    pub fn from_cipher(cipher: A) -> Self {
        const {
            assert!(A::NonceSize::USIZE <= NONCE_LEN);
            assert!(matches!(A::TAG_POSITION, TagPosition::Postfix));
        }
        Self(cipher)
    }
}

impl<A: AeadInOut + KeyInit> Aead<A> {
    /// Keys the AEAD; `None` when `key` has not its length.
    pub fn new(key: &[u8]) -> Option<Self> {
        A::new_from_slice(key).ok().map(Self::from_cipher)
    }
}

impl<A: AeadCore> Aead<A> {
    const NONCE: usize = A::NonceSize::USIZE;
    const TAG: usize = A::TagSize::USIZE;

    /// Nonce, inner part and tag, when the datagram has room for them.
    fn split(datagram: &mut [u8]) -> Option<(&mut [u8], &mut [u8], &mut [u8])> {
        let inner = datagram.len().checked_sub(Self::NONCE + Self::TAG)?;
        let (nonce, sealed) = datagram.split_at_mut(Self::NONCE);
        let (inner, tag) = sealed.split_at_mut(inner);
        Some((nonce, inner, tag))
    }
}

impl<A: AeadInOut + Send + Sync> PacketCrypt for Aead<A> {
    fn header_len(&self) -> usize {
        Self::NONCE
    }

    fn tag_len(&self) -> usize {
        Self::TAG
    }

    fn seal(&self, datagram: &mut [u8], nonce: &[u8; NONCE_LEN]) -> Result<(), SealError> {
        let len = datagram.len();
        let (nonce_room, inner, tag_room) =
            Self::split(datagram).ok_or(SealError::Short { len, needed: Self::NONCE + Self::TAG })?;
        nonce_room.copy_from_slice(&nonce[..Self::NONCE]);
        let nonce = (&*nonce_room).try_into().map_err(|_| SealError::Refused)?;
        let tag = self.0.encrypt_inout_detached(nonce, &[], inner.into()).map_err(|_| SealError::Refused)?;
        tag_room.copy_from_slice(&tag);
        Ok(())
    }

    fn open(&self, datagram: &mut [u8]) -> Result<Range<usize>, OpenError> {
        let len = datagram.len();
        let (nonce, inner, tag) =
            Self::split(datagram).ok_or(OpenError::Short { len, needed: Self::NONCE + Self::TAG })?;
        let nonce = (&*nonce).try_into().map_err(|_| OpenError::Tag)?;
        let tag: &Tag<A> = (&*tag).try_into().map_err(|_| OpenError::Tag)?;
        self.0.decrypt_inout_detached(nonce, &[], inner.into(), tag).map_err(|_| OpenError::Tag)?;
        Ok(Self::NONCE..len - Self::TAG)
    }
}

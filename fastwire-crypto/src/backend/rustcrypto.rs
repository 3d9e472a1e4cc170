//! AEADs in Rust alone.

use aead::{AeadInOut, KeyInit};

use super::{Backend, Keyed, sealed::Sealed};
use crate::cipher::{CipherError, NONCE_LEN, TAG_LEN};

/// `aes-gcm` and `chacha20poly1305`: pure Rust, on every platform.
#[derive(Debug, Clone, Copy)]
pub struct RustCrypto;

impl Sealed for RustCrypto {}

impl Backend for RustCrypto {
    type Aes128Gcm = aes_gcm::Aes128Gcm;
    type ChaCha20Poly1305 = chacha20poly1305::ChaCha20Poly1305;
}

// Compiles only while the libraries wipe their keys, which is a Cargo feature of theirs.
const _: () = {
    const fn wiped_on_drop<T: zeroize::ZeroizeOnDrop>() {}
    wiped_on_drop::<aes_gcm::Aes128Gcm>();
    wiped_on_drop::<chacha20poly1305::ChaCha20Poly1305>();
    wiped_on_drop::<x25519_dalek::StaticSecret>();
};

/// The key of the mask over packet numbers.
#[cfg(not(feature = "ring"))]
#[expect(clippy::large_enum_variant, reason = "it stands in a box")]
pub(crate) enum MaskKey {
    Aes(aes::Aes128Enc),
    ChaCha20(zeroize::Zeroizing<[u8; 32]>),
}

#[cfg(not(feature = "ring"))]
impl MaskKey {
    /// `None` for suite 0, which has no mask.
    pub(crate) fn new(suite: crate::CipherSuite, hp: &[u8; 32]) -> Option<Self> {
        Some(match suite {
            crate::CipherSuite::None => return None,
            crate::CipherSuite::Aes128Gcm => Self::Aes(aes::Aes128Enc::new_from_slice(&hp[..16]).ok()?),
            crate::CipherSuite::ChaCha20Poly1305 => Self::ChaCha20(zeroize::Zeroizing::new(*hp)),
        })
    }

    pub(crate) fn mask(&self, sample: &[u8; 16]) -> [u8; 4] {
        use aes::cipher::{Block, BlockCipherEncrypt, KeyIvInit, StreamCipher, StreamCipherSeek};

        match self {
            Self::Aes(cipher) => {
                let mut block = Block::<aes::Aes128Enc>::from(*sample);
                cipher.encrypt_block(&mut block);
                let [m0, m1, m2, m3, ..]: [u8; 16] = block.into();
                [m0, m1, m2, m3]
            }
            Self::ChaCha20(key) => {
                let [c0, c1, c2, c3, nonce @ ..] = *sample;
                let mut mask = [0; 4];
                let mut cipher = chacha20::ChaCha20::new((&**key).into(), (&nonce).into());
                // The block counter is 32 bits: every position below lies within the key stream.
                cipher.seek(u64::from(u32::from_le_bytes([c0, c1, c2, c3])) * 64);
                cipher.apply_keystream(&mut mask);
                mask
            }
        }
    }
}

macro_rules! keyed {
    ($cipher:ty) => {
        impl Keyed for $cipher {
            fn new(key: &[u8]) -> Option<Self> {
                Self::new_from_slice(key).ok()
            }

            #[inline]
            fn seal(
                &self,
                nonce: &[u8; NONCE_LEN],
                aad: &[u8],
                data: &mut [u8],
            ) -> Result<[u8; TAG_LEN], CipherError> {
                let tag = self.encrypt_inout_detached(nonce.into(), aad, data.into());
                tag.map(Into::into).map_err(|_| CipherError)
            }

            // The tag is checked over the ciphertext before it is decrypted: a refused packet stays ciphertext.
            #[inline]
            fn open(
                &self,
                nonce: &[u8; NONCE_LEN],
                aad: &[u8],
                data: &mut [u8],
                tag: &[u8; TAG_LEN],
            ) -> Result<(), CipherError> {
                self.decrypt_inout_detached(nonce.into(), aad, data.into(), tag.into())
                    .map_err(|_| CipherError)
            }
        }
    };
}

keyed!(aes_gcm::Aes128Gcm);
keyed!(chacha20poly1305::ChaCha20Poly1305);

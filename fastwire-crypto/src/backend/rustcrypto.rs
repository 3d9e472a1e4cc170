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

//! Who does the AES and the ChaCha20: RustCrypto always, ring where the feature is on.
//!
//! Both seal to the same bytes and refuse the same packets; one can open what the other sealed.

#[cfg(feature = "ring")]
mod ring;
mod rustcrypto;

use crate::cipher::{CipherError, NONCE_LEN, TAG_LEN};

#[cfg(feature = "ring")]
pub use ring::Ring;
pub use rustcrypto::RustCrypto;

#[cfg(feature = "ring")]
pub(crate) use ring::MaskKey;
#[cfg(not(feature = "ring"))]
pub(crate) use rustcrypto::MaskKey;

/// What [`Aead`](crate::Aead) uses.
#[cfg(feature = "ring")]
pub type DefaultBackend = Ring;
/// What [`Aead`](crate::Aead) uses.
#[cfg(not(feature = "ring"))]
pub type DefaultBackend = RustCrypto;

/// A library of AEADs. Sealed: a cipher from elsewhere implements [`Cipher`](crate::Cipher) instead.
pub trait Backend: sealed::Sealed {
    #[doc(hidden)]
    type Aes128Gcm: Keyed;
    #[doc(hidden)]
    type ChaCha20Poly1305: Keyed;
}

/// An AEAD with its key, which it wipes on drop.
#[doc(hidden)]
pub trait Keyed: Send + Sized {
    /// `None`: the key has the wrong length.
    fn new(key: &[u8]) -> Option<Self>;

    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError>;

    /// On failure `data` holds no plaintext.
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CipherError>;
}

mod sealed {
    /// Implemented in this crate alone.
    pub trait Sealed {}
}

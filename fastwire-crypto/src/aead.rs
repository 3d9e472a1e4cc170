//! The built-in ciphers: one enum of everything that can be negotiated.

use std::fmt;

use aead::{AeadInOut, KeyInit};
use aes_gcm::Aes128Gcm;
use chacha20poly1305::ChaCha20Poly1305;

use crate::CipherSuite;
use crate::cipher::{AeadLimits, Cipher, CipherError, KeyError, NONCE_LEN, TAG_LEN};

/// A built-in cipher with its key, which is wiped on drop.
pub struct Aead(Inner);

enum Inner {
    None,
    // Round keys and tables: boxed, so that a connection in plaintext or ChaCha20 does not carry them.
    Aes128Gcm(Box<Aes128Gcm>),
    ChaCha20Poly1305(ChaCha20Poly1305),
}

// Compiles only while the backends wipe their keys, which is a Cargo feature of theirs.
const _: () = {
    const fn wiped_on_drop<T: zeroize::ZeroizeOnDrop>() {}
    wiped_on_drop::<Aes128Gcm>();
    wiped_on_drop::<ChaCha20Poly1305>();
    wiped_on_drop::<x25519_dalek::StaticSecret>();
};

impl Aead {
    /// Makes the cipher of `suite` with `key`.
    ///
    /// # Errors
    ///
    /// [`KeyError::WrongLength`] unless the key has [`CipherSuite::key_len`] bytes.
    pub fn new(suite: CipherSuite, key: &[u8]) -> Result<Self, KeyError> {
        let wrong = KeyError::WrongLength { suite, expected: suite.key_len(), got: key.len() };
        Ok(Self(match suite {
            CipherSuite::None if key.is_empty() => Inner::None,
            CipherSuite::None => return Err(wrong),
            CipherSuite::Aes128Gcm => {
                Inner::Aes128Gcm(Box::new(Aes128Gcm::new_from_slice(key).map_err(|_| wrong)?))
            }
            CipherSuite::ChaCha20Poly1305 => {
                Inner::ChaCha20Poly1305(ChaCha20Poly1305::new_from_slice(key).map_err(|_| wrong)?)
            }
        }))
    }

    /// The suite this cipher belongs to.
    pub const fn suite(&self) -> CipherSuite {
        match self.0 {
            Inner::None => CipherSuite::None,
            Inner::Aes128Gcm(_) => CipherSuite::Aes128Gcm,
            Inner::ChaCha20Poly1305(_) => CipherSuite::ChaCha20Poly1305,
        }
    }
}

impl Cipher for Aead {
    #[inline]
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError> {
        let tag = match &self.0 {
            Inner::None => return Ok([0; TAG_LEN]),
            Inner::Aes128Gcm(cipher) => cipher.encrypt_inout_detached(nonce.into(), aad, data.into()),
            Inner::ChaCha20Poly1305(cipher) => cipher.encrypt_inout_detached(nonce.into(), aad, data.into()),
        };
        tag.map(Into::into).map_err(|_| CipherError)
    }

    // Both check the tag over the ciphertext before they decrypt, so a refused packet stays ciphertext.
    #[inline]
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CipherError> {
        match &self.0 {
            Inner::None => return Ok(()),
            Inner::Aes128Gcm(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), aad, data.into(), tag.into())
            }
            Inner::ChaCha20Poly1305(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), aad, data.into(), tag.into())
            }
        }
        .map_err(|_| CipherError)
    }

    fn is_plaintext(&self) -> bool {
        matches!(self.0, Inner::None)
    }

    fn limits(&self) -> AeadLimits {
        match self.0 {
            Inner::None => AeadLimits::NONE,
            Inner::Aes128Gcm(_) => AeadLimits::AES_GCM,
            Inner::ChaCha20Poly1305(_) => AeadLimits::CHACHA20_POLY1305,
        }
    }
}

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aead({})", self.suite())
    }
}

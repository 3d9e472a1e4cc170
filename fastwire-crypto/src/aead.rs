//! The built-in ciphers: one enum of everything that can be negotiated.

use std::fmt;

use crate::CipherSuite;
use crate::backend::{Backend, DefaultBackend, Keyed};
use crate::cipher::{AeadLimits, Cipher, CipherError, KeyError, NONCE_LEN, TAG_LEN};

/// The built-in cipher, by the fastest library this build has.
pub type Aead = AeadBy<DefaultBackend>;

/// A built-in cipher with its key, which is wiped on drop, by the library `B`.
pub struct AeadBy<B: Backend>(Inner<B>);

enum Inner<B: Backend> {
    None,
    // Round keys and tables: boxed, so that a connection in plaintext does not carry them.
    Aes128Gcm(Box<B::Aes128Gcm>),
    ChaCha20Poly1305(Box<B::ChaCha20Poly1305>),
}

impl<B: Backend> AeadBy<B> {
    /// Makes the cipher of `suite` with `key`.
    ///
    /// # Errors
    ///
    /// [`KeyError::WrongLength`] unless the key has [`CipherSuite::key_len`] bytes.
    pub fn new(suite: CipherSuite, key: &[u8]) -> Result<Self, KeyError> {
        let wrong = || KeyError::WrongLength { suite, expected: suite.key_len(), got: key.len() };
        Ok(Self(match suite {
            CipherSuite::None if key.is_empty() => Inner::None,
            CipherSuite::None => return Err(wrong()),
            CipherSuite::Aes128Gcm => Inner::Aes128Gcm(Box::new(Keyed::new(key).ok_or_else(wrong)?)),
            CipherSuite::ChaCha20Poly1305 => {
                Inner::ChaCha20Poly1305(Box::new(Keyed::new(key).ok_or_else(wrong)?))
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

impl<B: Backend> Cipher for AeadBy<B> {
    #[inline]
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError> {
        match &self.0 {
            Inner::None => Ok([0; TAG_LEN]),
            Inner::Aes128Gcm(cipher) => cipher.seal(nonce, aad, data),
            Inner::ChaCha20Poly1305(cipher) => cipher.seal(nonce, aad, data),
        }
    }

    #[inline]
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CipherError> {
        match &self.0 {
            Inner::None => Ok(()),
            Inner::Aes128Gcm(cipher) => cipher.open(nonce, aad, data, tag),
            Inner::ChaCha20Poly1305(cipher) => cipher.open(nonce, aad, data, tag),
        }
    }

    #[inline]
    fn prefetch(&self) {
        match &self.0 {
            Inner::None => {}
            Inner::Aes128Gcm(cipher) => crate::prefetch(&**cipher),
            Inner::ChaCha20Poly1305(cipher) => crate::prefetch(&**cipher),
        }
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

impl<B: Backend> fmt::Debug for AeadBy<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aead({})", self.suite())
    }
}

//! The trait behind which an AEAD lives, and what can go wrong with one.

use crate::CipherSuite;

/// Bytes of an AEAD nonce.
pub const NONCE_LEN: usize = 12;

/// Bytes of an AEAD tag.
pub const TAG_LEN: usize = 16;

/// An AEAD with its key: seals and opens bytes where they lie.
///
/// Implement it to bring another backend; [`CipherSuites`](crate::CipherSuites) hands it out. Whoever
/// calls must never seal twice under one nonce; [`Sealer`](crate::Sealer) sees to that.
pub trait Cipher: Send {
    /// Encrypts `data` in place and returns the tag over it and `aad`.
    ///
    /// # Errors
    ///
    /// [`CipherError`] if the backend refuses, for instance an over-long message. `data` is
    /// unspecified then and must not be sent.
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError>;

    /// Checks the tag over `data` and `aad`, then decrypts `data` in place.
    ///
    /// # Errors
    ///
    /// [`CipherError`] if the tag does not fit. `data` must not hold any plaintext then: either the
    /// ciphertext as it was, or wiped.
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CipherError>;

    /// Whether packets travel bare: no nonce, no tag, no replay window (suite 0).
    fn is_plaintext(&self) -> bool {
        false
    }

    /// How often this key may be used.
    fn limits(&self) -> AeadLimits;

    /// Hints that the key will be used soon ([`prefetch`](crate::prefetch())), for ciphers that keep it elsewhere than in
    /// themselves. Default: nothing.
    fn prefetch(&self) {}
}

impl<T: Cipher + ?Sized> Cipher for Box<T> {
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CipherError> {
        (**self).seal(nonce, aad, data)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), CipherError> {
        (**self).open(nonce, aad, data, tag)
    }

    fn is_plaintext(&self) -> bool {
        (**self).is_plaintext()
    }

    fn prefetch(&self) {
        (**self).prefetch();
    }

    fn limits(&self) -> AeadLimits {
        (**self).limits()
    }
}

/// How often one key may be used before the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AeadLimits {
    /// Packets that may be sealed: beyond, their ciphertexts tell more than they should.
    pub seals: u64,
    /// Packets that may fail to open: beyond, guessing a tag is no longer hopeless.
    pub forgeries: u64,
}

impl AeadLimits {
    /// AES-GCM. Sealing 2²⁸ packets keeps an attacker's advantage negligible for packets of up to 2¹¹
    /// bytes (RFC 9001 §B.1.1, PROTOCOL A6 rule 9); 2⁵² may fail to open (RFC 9001 §6.6, PROTOCOL B4).
    pub const AES_GCM: Self = Self { seals: 1 << 28, forgeries: 1 << 52 };

    /// ChaCha20-Poly1305. The nonce counter ends before confidentiality does: 2⁶² packets; 2³⁶ may
    /// fail to open (RFC 9001 §6.6, PROTOCOL B4).
    pub const CHACHA20_POLY1305: Self = Self { seals: 1 << 62, forgeries: 1 << 36 };

    /// No limit, for what protects nothing.
    pub const NONE: Self = Self { seals: u64::MAX, forgeries: u64::MAX };
}

/// A cipher refused to seal or to open. It does not say why: that would help who forges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cipher refused the packet: its tag does not fit, or it is too long")]
pub struct CipherError;

/// Why keys or a keyed cipher cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key's length is not the suite's.
    #[error("key of {got} bytes for {suite}: it takes {expected} bytes")]
    WrongLength {
        /// The suite the key was given for.
        suite: CipherSuite,
        /// Bytes the suite takes.
        expected: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// The suite is not available here.
    #[error("{suite} is not available: choose another suite")]
    Unsupported {
        /// The suite that was asked for.
        suite: CipherSuite,
    },
    /// The peer's public key is a point of low order, so the shared secret would be known to everyone.
    #[error("the peer's public key is a low-order point: the shared secret is all zero")]
    LowOrderPoint,
    /// More bytes were asked of a key derivation than HKDF-SHA256 gives.
    #[error("{requested} bytes of key material requested: HKDF-SHA256 gives at most 8160")]
    TooMuchKeyMaterial {
        /// Bytes that were asked for.
        requested: usize,
    },
}

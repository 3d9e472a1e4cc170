//! X25519: two peers that show each other a public key come to share a secret (RFC 7748, PROTOCOL A4).

use std::fmt;

use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::KeyError;

/// A public key as it is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the 32 bytes as they are on the wire. Any bytes will do; a point of low order is refused
    /// when a secret is agreed on.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes as they are on the wire.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The 32 bytes as they are on the wire.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// One side of a key agreement. [`KeyPair`] is the built-in one; another X25519 goes here.
pub trait KeyAgreement {
    /// The key to show to the peer.
    fn public(&self) -> PublicKey;

    /// The secret shared with the owner of `peer`.
    ///
    /// # Errors
    ///
    /// [`KeyError::LowOrderPoint`] if the secret would be all zero.
    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, KeyError>;
}

/// A secret key with its public key. The secret is wiped on drop and never shown.
pub struct KeyPair {
    secret: StaticSecret,
    public: PublicKey,
}

impl KeyPair {
    /// Makes the pair of 32 secret bytes, which must come from a source fit for keys. Any will do:
    /// X25519 sets the bits it needs set.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let secret = StaticSecret::from(secret);
        let public = PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// The key to show to the peer.
    pub const fn public(&self) -> PublicKey {
        self.public
    }
}

impl KeyAgreement for KeyPair {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, KeyError> {
        SharedSecret::new(self.secret.diffie_hellman(&peer.0.into()).to_bytes())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The result of a key agreement; wiped on drop. Never all zero.
pub struct SharedSecret(Zeroizing<[u8; 32]>);

impl SharedSecret {
    /// Takes what X25519 gave.
    ///
    /// # Errors
    ///
    /// [`KeyError::LowOrderPoint`] if it is all zero (RFC 7748 §6.1).
    pub fn new(secret: [u8; 32]) -> Result<Self, KeyError> {
        let secret = Zeroizing::new(secret);
        // Without an early exit, so that the time does not depend on the secret.
        match secret.iter().fold(0, |any, byte| any | byte) {
            0 => Err(KeyError::LowOrderPoint),
            _ => Ok(Self(secret)),
        }
    }

    /// The secret bytes, input of a key derivation.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

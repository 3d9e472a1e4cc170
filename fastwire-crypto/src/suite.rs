//! The suites peers can agree on, and how a keyed cipher is made of one (PROTOCOL A3).

use std::fmt;

use crate::{Aead, Cipher, KeyError};

/// What protects the packets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
#[non_exhaustive]
pub enum CipherSuite {
    /// Nothing: packets travel bare.
    None = 0,
    /// AES-128-GCM; fast where the processor has AES instructions.
    #[default]
    Aes128Gcm = 1,
    /// ChaCha20-Poly1305; fast in software.
    ChaCha20Poly1305 = 2,
}

impl CipherSuite {
    /// All suites, in the order of their ids.
    pub const ALL: [Self; 3] = [Self::None, Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// The suite with the given id on the wire, if there is one.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Aes128Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The id on the wire.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Bytes of a key: 0, 16 or 32.
    pub const fn key_len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Aes128Gcm => 16,
            Self::ChaCha20Poly1305 => 32,
        }
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no cipher",
            Self::Aes128Gcm => "AES-128-GCM",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        })
    }
}

/// Makes the ciphers of a connection, one for each direction.
///
/// Closures implement it, so another backend needs no type of its own:
///
/// ```
/// use fastwire_crypto::{Aead, Cipher, CipherSuite, CipherSuites, KeyError};
///
/// fn bytes_of_key(suites: &impl CipherSuites) -> usize {
///     (0..64).find(|&n| suites.make(CipherSuite::Aes128Gcm, &vec![0; n]).is_ok()).unwrap_or_default()
/// }
///
/// let boxed = |suite: CipherSuite, key: &[u8]| -> Result<Box<dyn Cipher>, KeyError> {
///     Ok(Box::new(Aead::new(suite, key)?))
/// };
/// assert_eq!(bytes_of_key(&boxed), 16);
/// ```
pub trait CipherSuites: Send + Sync {
    /// What is made.
    type Cipher: Cipher;

    /// Makes the cipher of `suite` with `key`.
    ///
    /// # Errors
    ///
    /// [`KeyError::WrongLength`] unless the key has [`CipherSuite::key_len`] bytes,
    /// [`KeyError::Unsupported`] if the suite is not available.
    fn make(&self, suite: CipherSuite, key: &[u8]) -> Result<Self::Cipher, KeyError>;
}

impl<F, C> CipherSuites for F
where
    F: Fn(CipherSuite, &[u8]) -> Result<C, KeyError> + Send + Sync,
    C: Cipher,
{
    type Cipher = C;

    fn make(&self, suite: CipherSuite, key: &[u8]) -> Result<C, KeyError> {
        self(suite, key)
    }
}

/// The suites that come with this crate.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuiltinSuites;

impl CipherSuites for BuiltinSuites {
    type Cipher = Aead;

    fn make(&self, suite: CipherSuite, key: &[u8]) -> Result<Aead, KeyError> {
        Aead::new(suite, key)
    }
}

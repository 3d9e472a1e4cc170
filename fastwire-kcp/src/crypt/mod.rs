//! Packet protection as kcp-go frames it: the outermost layer of a datagram, around the FEC or KCP bytes inside.
//!
//! | crypt | before the inner part | after it | what it gives |
//! |---|---|---|---|
//! | an AEAD ([`Aead`]) | nonce, 12 or 24 bytes | tag, 16 bytes | secrecy, and forgeries are refused |
//! | any cipher of [`insecure`], `none` too | nonce 16, CRC-32 4 | nothing | at best secrecy from onlookers; anyone can forge |
//! | [`insecure::Null`] | nothing | nothing | nothing: the C KCP's bare datagrams |
//!
//! Both ends must use the same crypt and the same key. A datagram that does not open costs its receiver a counter and
//! is dropped. No layer of KCP protects against *replay*: a recorded datagram opens again.
//!
//! ```
//! use fastwire_kcp::crypt::{Crypt, CryptKind, NONCE_LEN, PacketCrypt};
//!
//! let crypt = Crypt::from_passphrase(CryptKind::XChaCha20Poly1305, "a long shared secret");
//!
//! // The inner part is written where it will be sent from: header room, payload, tag room.
//! let mut datagram = vec![0; crypt.header_len()];
//! datagram.extend_from_slice(b"payload");
//! datagram.resize(datagram.len() + crypt.tag_len(), 0);
//!
//! let nonce = [7; NONCE_LEN]; // fresh random bytes for every datagram
//! crypt.seal(&mut datagram, &nonce)?;
//! let inner = crypt.open(&mut datagram)?;
//! assert_eq!(&datagram[inner], b"payload");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod aead;
mod derive;
pub mod insecure;
mod kind;

use std::{fmt, ops::Range, sync::Arc};

pub use self::{
    aead::{Aead, Aes128Gcm, Aes192Gcm, Aes256Gcm, ChaCha20Poly1305, XChaCha20Poly1305},
    derive::{KCPTUN_ITERATIONS, KCPTUN_SALT, derive_key},
    kind::{CryptKind, KeyError, KeyLengths, UnknownCrypt},
};

/// Random bytes [`PacketCrypt::seal`] is given for each datagram; every crypt takes as many of the first as it needs.
pub const NONCE_LEN: usize = 24;

/// Seals and opens datagrams in place; keyed, shared by all sessions of a socket.
///
/// A sealed datagram is `header_len` bytes, the inner part, `tag_len` bytes. Neither figure ever changes.
pub trait PacketCrypt: Send + Sync {
    /// Bytes in front of the inner part.
    fn header_len(&self) -> usize;

    /// Bytes after the inner part.
    fn tag_len(&self) -> usize;

    /// Turns `datagram` (header room, inner part, tag room; what stands in the rooms does not matter) into what goes
    /// on the wire.
    ///
    /// `nonce` must be fresh and unpredictable for each datagram: an AEAD loses all security when one repeats.
    ///
    /// # Errors
    /// [`SealError::Short`] when the two rooms do not fit. After an error the datagram must not be sent.
    fn seal(&self, datagram: &mut [u8], nonce: &[u8; NONCE_LEN]) -> Result<(), SealError>;

    /// Opens a datagram from the wire and says where in it the inner part now stands.
    ///
    /// # Errors
    /// [`OpenError`]; the bytes of the datagram are then without meaning.
    fn open(&self, datagram: &mut [u8]) -> Result<Range<usize>, OpenError>;
}

/// Why a datagram could not be sealed: a fault of the caller, never of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// No room for header and tag.
    #[error("datagram is {len} bytes long, but header and tag alone take {needed}: leave room for both")]
    Short {
        /// Length of the datagram in bytes.
        len: usize,
        /// Least length in bytes: header and tag.
        needed: usize,
    },
    /// The cipher refused; those of this crate do so only for inner parts of many gigabytes.
    #[error("the cipher refused to seal the datagram: do not send it")]
    Refused,
}

/// Why a datagram from the network did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Shorter than header and tag.
    #[error("datagram is {len} bytes long, header and tag alone take {needed}")]
    Short {
        /// Length of the datagram in bytes.
        len: usize,
        /// Least length in bytes: header and tag.
        needed: usize,
    },
    /// The CRC-32 does not match: another key, another cipher, or damage on the way.
    #[error("wrong checksum: other key or cipher than the peer's, or a damaged datagram")]
    Checksum,
    /// The AEAD tag does not match: another key, another cipher, damage on the way or a forgery.
    #[error("wrong tag: other key or cipher than the peer's, or a damaged or forged datagram")]
    Tag,
}

/// A crypt chosen at run time. Clones share the key schedule.
#[derive(Clone)]
pub struct Crypt {
    /// Absent when the crypt is the user's own.
    kind: Option<CryptKind>,
    crypt: Arc<dyn PacketCrypt>,
}

impl Crypt {
    /// Keys the cipher `kind` with exactly the bytes of `key`.
    ///
    /// # Errors
    /// [`KeyError::Length`] when the cipher takes no key of this length, see [`CryptKind::key_lengths`].
    pub fn new(kind: CryptKind, key: &[u8]) -> Result<Self, KeyError> {
        Ok(Self { kind: Some(kind), crypt: kind.keyed(key)? })
    }

    /// Keys the cipher `kind` as kcptun does: [`derive_key`] with its salt and iterations, cut to the longest key the
    /// cipher takes. Takes milliseconds, on purpose.
    pub fn from_passphrase(kind: CryptKind, passphrase: impl AsRef<[u8]>) -> Self {
        let key = derive_key(passphrase.as_ref(), KCPTUN_SALT, KCPTUN_ITERATIONS);
        let cut = kind.key_lengths().longest_within(key.len());
        Self::new(kind, &key[..cut]).expect("the key was cut to a length that the cipher takes")
    }

    /// A cipher of your own, for example [`Aead`] around another AEAD crate.
    pub fn custom(crypt: impl PacketCrypt + 'static) -> Self {
        Self { kind: None, crypt: Arc::new(crypt) }
    }

    /// Which cipher this is; `None` for a [`custom`](Self::custom) one.
    pub fn kind(&self) -> Option<CryptKind> {
        self.kind
    }
}

impl fmt::Debug for Crypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        match self.kind {
            Some(kind) => write!(f, "Crypt({kind})"),
            None => f.write_str("Crypt(custom)"),
        }
    }
}

impl PacketCrypt for Crypt {
    fn header_len(&self) -> usize {
        self.crypt.header_len()
    }

    fn tag_len(&self) -> usize {
        self.crypt.tag_len()
    }

    fn seal(&self, datagram: &mut [u8], nonce: &[u8; NONCE_LEN]) -> Result<(), SealError> {
        self.crypt.seal(datagram, nonce)
    }

    fn open(&self, datagram: &mut [u8]) -> Result<Range<usize>, OpenError> {
        self.crypt.open(datagram)
    }
}

impl<T: PacketCrypt + ?Sized> PacketCrypt for Box<T> {
    fn header_len(&self) -> usize {
        (**self).header_len()
    }

    fn tag_len(&self) -> usize {
        (**self).tag_len()
    }

    fn seal(&self, datagram: &mut [u8], nonce: &[u8; NONCE_LEN]) -> Result<(), SealError> {
        (**self).seal(datagram, nonce)
    }

    fn open(&self, datagram: &mut [u8]) -> Result<Range<usize>, OpenError> {
        (**self).open(datagram)
    }
}

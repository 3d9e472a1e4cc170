//! Which cipher: its name in the field, the keys it takes, and its construction from them.

use std::{fmt, str::FromStr, sync::Arc};

use super::{Aes128Gcm, Aes192Gcm, Aes256Gcm, ChaCha20Poly1305, PacketCrypt, XChaCha20Poly1305, insecure};

/// A cipher by name. All but [`Insecure`](Self::Insecure) are AEADs; choose among them where the peer allows.
///
/// [`FromStr`] and [`Display`](fmt::Display) use kcptun's names where it has one: `"aes-128-gcm"`, `"salsa20"`. Mind
/// that `"aes"`, its default, is AES-256 in CFB and authenticates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CryptKind {
    /// `aes-128-gcm`, see [`Aes128Gcm`].
    Aes128Gcm,
    /// `aes-192-gcm`, see [`Aes192Gcm`].
    Aes192Gcm,
    /// `aes-256-gcm`, see [`Aes256Gcm`].
    Aes256Gcm,
    /// `chacha20-poly1305`, see [`ChaCha20Poly1305`].
    ChaCha20Poly1305,
    /// `xchacha20-poly1305`, see [`XChaCha20Poly1305`].
    XChaCha20Poly1305,
    /// A cipher that does not authenticate: for peers that cannot do better.
    Insecure(insecure::Kind),
}

impl CryptKind {
    const AEADS: [Self; 5] =
        [Self::Aes128Gcm, Self::Aes192Gcm, Self::Aes256Gcm, Self::ChaCha20Poly1305, Self::XChaCha20Poly1305];

    /// Every cipher there is, the AEADs first.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::AEADS.into_iter().chain(insecure::Kind::ALL.map(Self::Insecure))
    }

    /// Its name, as [`FromStr`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes192Gcm => "aes-192-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::XChaCha20Poly1305 => "xchacha20-poly1305",
            Self::Insecure(kind) => kind.name(),
        }
    }

    /// The key lengths it takes.
    pub const fn key_lengths(self) -> KeyLengths {
        match self {
            Self::Aes128Gcm => KeyLengths::Exactly(16),
            Self::Aes192Gcm => KeyLengths::Exactly(24),
            Self::Aes256Gcm | Self::ChaCha20Poly1305 | Self::XChaCha20Poly1305 => KeyLengths::Exactly(32),
            Self::Insecure(kind) => kind.key_lengths(),
        }
    }

    pub(super) fn keyed(self, key: &[u8]) -> Result<Arc<dyn PacketCrypt>, KeyError> {
        fn boxed<C: PacketCrypt + 'static>(crypt: C) -> Arc<dyn PacketCrypt> {
            Arc::new(crypt)
        }
        match self {
            Self::Aes128Gcm => Aes128Gcm::new(key).map(boxed),
            Self::Aes192Gcm => Aes192Gcm::new(key).map(boxed),
            Self::Aes256Gcm => Aes256Gcm::new(key).map(boxed),
            Self::ChaCha20Poly1305 => ChaCha20Poly1305::new(key).map(boxed),
            Self::XChaCha20Poly1305 => XChaCha20Poly1305::new(key).map(boxed),
            Self::Insecure(kind) => kind.keyed(key),
        }
        .ok_or(KeyError::Length { kind: self, len: key.len() })
    }
}

impl From<insecure::Kind> for CryptKind {
    fn from(kind: insecure::Kind) -> Self {
        Self::Insecure(kind)
    }
}

impl fmt::Display for CryptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CryptKind {
    type Err = UnknownCrypt;

    fn from_str(name: &str) -> Result<Self, UnknownCrypt> {
        Self::all().find(|kind| kind.name() == name).ok_or_else(|| UnknownCrypt { name: name.to_owned() })
    }
}

/// A name that no cipher has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no cipher is called {name:?}: use one of {}", Names)]
#[non_exhaustive]
pub struct UnknownCrypt {
    /// The name asked for.
    pub name: String,
}

/// All names, with commas between them.
struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CryptKind::all().enumerate().try_for_each(|(i, kind)| {
            f.write_str(if i == 0 { "" } else { ", " })?;
            f.write_str(kind.name())
        })
    }
}

/// Why a cipher could not be keyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The cipher takes no key of this length.
    #[error("the key for {kind} is {len} bytes long, it must have {}", kind.key_lengths())]
    Length {
        /// The cipher.
        kind: CryptKind,
        /// Length of the key given, in bytes.
        len: usize,
    },
}

/// The key lengths of a cipher, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyLengths {
    /// This length only.
    Exactly(usize),
    /// 16, 24 or 32.
    Words128To256,
    /// From 1 to this length.
    UpTo(usize),
    /// Any, none at all included.
    Any,
}

impl KeyLengths {
    /// Whether a key of `len` bytes is taken.
    pub const fn contains(self, len: usize) -> bool {
        match self {
            Self::Exactly(only) => len == only,
            Self::Words128To256 => matches!(len, 16 | 24 | 32),
            Self::UpTo(most) => 1 <= len && len <= most,
            Self::Any => true,
        }
    }

    /// The longest key of at most `most` bytes; all ciphers take one of 32 or less.
    pub(super) fn longest_within(self, most: usize) -> usize {
        (0..=most).rev().find(|len| self.contains(*len)).unwrap_or(most)
    }
}

impl fmt::Display for KeyLengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(only) => write!(f, "{only} bytes"),
            Self::Words128To256 => f.write_str("16, 24 or 32 bytes"),
            Self::UpTo(most) => write!(f, "1 to {most} bytes"),
            Self::Any => f.write_str("any length"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypt::Crypt;

    #[test]
    fn every_kind_is_keyed_by_exactly_the_lengths_it_names() {
        for kind in CryptKind::all() {
            for len in 0..=80 {
                let keyed = Crypt::new(kind, &vec![7; len]);
                assert_eq!(keyed.is_ok(), kind.key_lengths().contains(len), "{kind}, {len} bytes");
                if let Err(error) = keyed {
                    assert_eq!(error, KeyError::Length { kind, len });
                }
            }
        }
    }

    #[test]
    fn names_are_distinct_and_read_back() {
        for kind in CryptKind::all() {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(CryptKind::all().filter(|other| other.name() == kind.name()).count(), 1, "{kind}");
        }
        let error = "AES".parse::<CryptKind>().unwrap_err().to_string();
        assert!(
            error.contains("\"AES\"") && error.contains("aes-128-gcm, ") && error.ends_with("null"),
            "{error}"
        );
    }

    /// kcptun cuts its 32 bytes to what the cipher takes.
    #[test]
    fn passphrases_give_keys_of_kcptuns_lengths() {
        for kind in CryptKind::all() {
            let expected = match kind.name() {
                "aes-128" | "aes-128-gcm" | "sm4" | "tea" | "xtea" | "cast5" => 16,
                "aes-192" | "aes-192-gcm" | "3des" => 24,
                _ => 32,
            };
            assert_eq!(kind.key_lengths().longest_within(32), expected, "{kind}");
            assert_eq!(Crypt::from_passphrase(kind, "it's a secrect").kind(), Some(kind));
        }
    }

    #[test]
    fn errors_say_what_would_be_right() {
        let message = |name: &str| {
            let kind: CryptKind = name.parse().expect("a name");
            Crypt::new(kind, &[0; 57]).expect_err("wrong length").to_string()
        };
        assert_eq!(message("aes-128-gcm"), "the key for aes-128-gcm is 57 bytes long, it must have 16 bytes");
        assert_eq!(
            message("twofish"),
            "the key for twofish is 57 bytes long, it must have 16, 24 or 32 bytes"
        );
        assert_eq!(message("blowfish"), "the key for blowfish is 57 bytes long, it must have 1 to 56 bytes");
    }
}

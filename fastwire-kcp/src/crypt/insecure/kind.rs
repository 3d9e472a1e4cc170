//! The insecure ciphers by name.

use std::sync::Arc;

use blowfish::Blowfish;
use cipher::{BlockCipherEncrypt, KeyInit};

use super::{Cfb, Checksummed, DatagramCipher, Null, Plain, Salsa20, Tea, Xor, Xtea, twofish::Twofish};
use crate::crypt::{KeyLengths, PacketCrypt};

/// A cipher that does not authenticate, see [the module](super); the names are kcptun's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// `aes`: AES-256 in CFB.
    Aes256,
    /// `aes-192`: AES-192 in CFB.
    Aes192,
    /// `aes-128`: AES-128 in CFB.
    Aes128,
    /// `sm4`: SM4 in CFB.
    Sm4,
    /// `twofish`: Twofish in CFB.
    Twofish,
    /// `blowfish`: Blowfish in CFB, 8-byte blocks.
    Blowfish,
    /// `cast5`: CAST-128 in CFB, 8-byte blocks.
    Cast5,
    /// `3des`: triple DES with three keys in CFB, 8-byte blocks. Slow.
    TripleDes,
    /// `tea`: see [`Tea`].
    Tea,
    /// `xtea`: see [`Xtea`].
    Xtea,
    /// `salsa20`: see [`Salsa20`].
    Salsa20,
    /// `xor`: see [`Xor`].
    Xor,
    /// `none`: see [`Plain`]. Not the same on the wire as [`Null`](Self::Null).
    Plain,
    /// `null`: see [`struct@Null`].
    Null,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::Aes256,
        Self::Aes192,
        Self::Aes128,
        Self::Sm4,
        Self::Twofish,
        Self::Blowfish,
        Self::Cast5,
        Self::TripleDes,
        Self::Tea,
        Self::Xtea,
        Self::Salsa20,
        Self::Xor,
        Self::Plain,
        Self::Null,
    ];

    pub(in crate::crypt) const fn name(self) -> &'static str {
        match self {
            Self::Aes256 => "aes",
            Self::Aes192 => "aes-192",
            Self::Aes128 => "aes-128",
            Self::Sm4 => "sm4",
            Self::Twofish => "twofish",
            Self::Blowfish => "blowfish",
            Self::Cast5 => "cast5",
            Self::TripleDes => "3des",
            Self::Tea => "tea",
            Self::Xtea => "xtea",
            Self::Salsa20 => "salsa20",
            Self::Xor => "xor",
            Self::Plain => "none",
            Self::Null => "null",
        }
    }

    pub(in crate::crypt) const fn key_lengths(self) -> KeyLengths {
        match self {
            Self::Aes128 | Self::Sm4 | Self::Cast5 | Self::Tea | Self::Xtea => KeyLengths::Exactly(16),
            Self::Aes192 | Self::TripleDes => KeyLengths::Exactly(24),
            Self::Aes256 => KeyLengths::Exactly(32),
            Self::Twofish => KeyLengths::Words128To256,
            Self::Blowfish => KeyLengths::UpTo(56),
            Self::Salsa20 | Self::Xor | Self::Plain | Self::Null => KeyLengths::Any,
        }
    }

    /// `None` when the cipher takes no key of this length.
    pub(in crate::crypt) fn keyed(self, key: &[u8]) -> Option<Arc<dyn PacketCrypt>> {
        Some(match self {
            Self::Aes256 => cfb::<aes::Aes256>(key)?,
            Self::Aes192 => cfb::<aes::Aes192>(key)?,
            Self::Aes128 => cfb::<aes::Aes128>(key)?,
            Self::Sm4 => cfb::<sm4::Sm4>(key)?,
            Self::Twofish => cfb::<Twofish>(key)?,
            Self::Blowfish => blowfish(key)?,
            Self::Cast5 if key.len() == 16 => cfb::<cast5::Cast5>(key)?,
            Self::Cast5 => return None,
            Self::TripleDes => cfb::<des::TdesEde3>(key)?,
            Self::Tea => cfb::<Tea>(key)?,
            Self::Xtea => cfb::<Xtea>(key)?,
            Self::Salsa20 => checksummed(Salsa20::new(key)),
            Self::Xor => checksummed(Xor::new(key)),
            Self::Plain => checksummed(Plain),
            Self::Null => Arc::new(Null),
        })
    }
}

fn checksummed<C: DatagramCipher + 'static>(cipher: C) -> Arc<dyn PacketCrypt> {
    Arc::new(Checksummed(cipher))
}

fn cfb<C: BlockCipherEncrypt + KeyInit + Send + Sync + 'static>(key: &[u8]) -> Option<Arc<dyn PacketCrypt>> {
    Some(checksummed(Cfb::new(C::new_from_slice(key).ok()?)))
}

/// Blowfish repeats its key over 72 bytes, so a key shorter than its crate takes is the same key written four times.
fn blowfish(key: &[u8]) -> Option<Arc<dyn PacketCrypt>> {
    match key.len() {
        1..4 => cfb::<Blowfish>(&key.repeat(4)),
        _ => cfb::<Blowfish>(key),
    }
}

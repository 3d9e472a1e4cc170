//! The mask over packet numbers, so that they show nobody the order of packets (PROTOCOL B4).

use std::fmt;

use aes::cipher::{Block, BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher, StreamCipherSeek};
use chacha20::ChaCha20;
use zeroize::Zeroizing;

use crate::CipherSuite;

/// Makes the four mask bytes of a packet from a sample of its ciphertext, as RFC 9001 §5.4 does.
pub struct HeaderMask(Inner);

enum Inner {
    Aes(Box<aes::Aes128Enc>),
    ChaCha20(Zeroizing<[u8; 32]>),
}

impl HeaderMask {
    /// The mask of `suite` with the key `hp`. Suite 0 has none; it never occurs in the extended profile.
    pub fn new(suite: CipherSuite, hp: &[u8; 32]) -> Option<Self> {
        Some(Self(match suite {
            CipherSuite::None => return None,
            CipherSuite::Aes128Gcm => Inner::Aes(Box::new(aes::Aes128Enc::new_from_slice(&hp[..16]).ok()?)),
            CipherSuite::ChaCha20Poly1305 => Inner::ChaCha20(Zeroizing::new(*hp)),
        }))
    }

    /// The mask for a packet whose ciphertext, from after the packet number on, begins with `sample`.
    pub fn mask(&self, sample: &[u8; 16]) -> [u8; 4] {
        match &self.0 {
            Inner::Aes(cipher) => {
                let mut block = Block::<aes::Aes128Enc>::from(*sample);
                cipher.encrypt_block(&mut block);
                [block[0], block[1], block[2], block[3]]
            }
            Inner::ChaCha20(key) => {
                let [c0, c1, c2, c3, nonce @ ..] = *sample;
                let mut mask = [0; 4];
                let mut cipher = ChaCha20::new((&**key).into(), (&nonce).into());
                // The block counter is 32 bits: every position below lies within the key stream.
                cipher.seek(u64::from(u32::from_le_bytes([c0, c1, c2, c3])) * 64);
                cipher.apply_keystream(&mut mask);
                mask
            }
        }
    }
}

impl fmt::Debug for HeaderMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderMask(..)")
    }
}

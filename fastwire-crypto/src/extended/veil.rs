//! The veil: handshake datagrams and connection ids that look like noise to whoever does not know the server's key (PROTOCOL B7).

use std::fmt;

use aes::cipher::{Block, BlockCipherEncrypt};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};

use crate::{CipherError, KeyError, Prk, TAG_LEN};

/// Bytes of the nonce before a veiled datagram.
pub const VEIL_NONCE: usize = 24;
/// Bytes that the veil adds to a datagram at least: nonce, time, length, tag.
pub const VEIL_OVERHEAD: usize = VEIL_NONCE + HEAD + TAG_LEN;
/// Time and length.
const HEAD: usize = 6;

/// What the veil is made with. It follows from the server's public key, so it hides and does not protect.
pub struct VeilKeys {
    handshake: Box<XChaCha20Poly1305>,
    ids: Box<aes::Aes128Enc>,
}

/// A datagram without its veil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unveiled {
    /// The nonce it came under.
    pub nonce: [u8; VEIL_NONCE],
    /// When it was sent, in Unix seconds.
    pub time: u32,
    /// The datagram.
    pub datagram: Vec<u8>,
}

impl VeilKeys {
    /// The keys that follow from a server's identity key.
    ///
    /// # Errors
    ///
    /// None with the ciphers there are.
    pub fn new(server_key: &[u8; 32]) -> Result<Self, KeyError> {
        let prk = Prk::extract(b"fastwire veil 1", server_key);
        let (mut handshake, mut ids) = ([0; 32], [0; 16]);
        prk.expand(&[b"hs"], &mut handshake)?;
        prk.expand(&[b"cid"], &mut ids)?;
        Ok(Self {
            handshake: Box::new(XChaCha20Poly1305::new((&handshake).into())),
            ids: Box::new(aes::Aes128Enc::new((&ids).into())),
        })
    }

    /// Puts a datagram of at most 65 535 bytes behind the veil. `nonce` must be random and new each time; `padding` is
    /// thrown away by the receiver.
    ///
    /// # Errors
    ///
    /// [`CipherError`] for a longer datagram.
    pub fn veil(
        &self,
        nonce: [u8; VEIL_NONCE],
        time: u32,
        datagram: &[u8],
        padding: &[u8],
    ) -> Result<Vec<u8>, CipherError> {
        let len = u16::try_from(datagram.len()).map_err(|_| CipherError)?;
        let mut out =
            Vec::with_capacity(VEIL_OVERHEAD.saturating_add(datagram.len()).saturating_add(padding.len()));
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&time.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(datagram);
        out.extend_from_slice(padding);
        let tag = self
            .handshake
            .encrypt_inout_detached(&nonce.into(), &[], out.get_mut(VEIL_NONCE..).unwrap_or_default().into())
            .map_err(|_| CipherError)?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Takes the veil off; `None`: there was none, or another server's.
    pub fn unveil(&self, veiled: &[u8]) -> Option<Unveiled> {
        let (nonce, sealed) = veiled.split_first_chunk::<VEIL_NONCE>()?;
        let (data, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
        let mut plain = data.to_vec();
        let cipher = &self.handshake;
        cipher.decrypt_inout_detached(&(*nonce).into(), &[], (&mut plain[..]).into(), &(*tag).into()).ok()?;
        let (time, rest) = plain.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let datagram = rest.get(..u16::from_le_bytes(*len).into())?.to_vec();
        Some(Unveiled { nonce: *nonce, time: u32::from_le_bytes(*time), datagram })
    }

    /// What hides the connection id of a packet whose ciphertext, from after the packet number on, begins with `sample`.
    pub fn id_mask(&self, sample: &[u8; 16]) -> [u8; 8] {
        let mut block = Block::<aes::Aes128Enc>::from(*sample);
        self.ids.encrypt_block(&mut block);
        block.first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for VeilKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VeilKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_veiled_comes_back_and_nothing_else_does(
            key: [u8; 32],
            nonce: [u8; 24],
            time: u32,
            datagram in proptest::collection::vec(any::<u8>(), 0..300),
            padding in proptest::collection::vec(any::<u8>(), 0..50),
            flip: prop::sample::Index,
            bit in 0..8u8,
        ) {
            let veil = VeilKeys::new(&key).expect("keys");
            let mut veiled = veil.veil(nonce, time, &datagram, &padding).expect("short enough");
            prop_assert_eq!(veiled.len(), VEIL_OVERHEAD + datagram.len() + padding.len());
            prop_assert_eq!(veil.unveil(&veiled), Some(Unveiled { nonce, time, datagram }));
            let at = flip.index(veiled.len());
            veiled[at] ^= 1 << bit;
            prop_assert_eq!(veil.unveil(&veiled), None);
        }
    }
}

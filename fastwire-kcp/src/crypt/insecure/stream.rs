//! The ciphers that need no blocks: Salsa20, the XOR table, and none at all.

use cipher::{KeyIvInit, StreamCipher};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::DatagramCipher;

/// Salsa20/20 under the first 8 bytes of the datagram as nonce, which stay in clear. Insecure: see [the module](super).
#[derive(Clone)]
pub struct Salsa20(Zeroizing<[u8; 32]>);

impl Salsa20 {
    /// Takes the first 32 bytes of `key`, padded with zeros when it is shorter.
    pub fn new(key: &[u8]) -> Self {
        let mut padded = Zeroizing::new([0; 32]);
        padded.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Self(padded)
    }
}

impl DatagramCipher for Salsa20 {
    fn encrypt(&self, datagram: &mut [u8]) {
        if let Some((nonce, rest)) = datagram.split_first_chunk_mut::<8>() {
            salsa20::Salsa20::new((&*self.0).into(), (&*nonce).into()).apply_keystream(rest);
        }
    }

    fn decrypt(&self, datagram: &mut [u8]) {
        self.encrypt(datagram);
    }
}

/// Salt of the XOR table.
const XOR_SALT: &[u8] = b"sH3CIVoF#rWLtJo6";
/// PBKDF2 iterations of the XOR table.
const XOR_ITERATIONS: u32 = 32;
/// Length of the XOR table: the longest datagram of a kcp-go session.
const XOR_LEN: usize = 1500;

/// One secret table over every datagram. **Insecure**: the XOR of two datagrams is the XOR of their contents.
///
/// Bytes after the first 1500 stay in clear, as with kcp-go, whose datagrams are never longer.
#[derive(Clone)]
pub struct Xor(Zeroizing<[u8; XOR_LEN]>);

impl Xor {
    /// Makes the table of `key`, which may have any length: PBKDF2-HMAC-SHA1 with a fixed salt.
    pub fn new(key: &[u8]) -> Self {
        let mut table = Zeroizing::new([0; XOR_LEN]);
        pbkdf2::pbkdf2_hmac::<Sha1>(key, XOR_SALT, XOR_ITERATIONS, &mut table[..]);
        Self(table)
    }

    /// The table, 1500 bytes.
    pub fn table(&self) -> &[u8] {
        &self.0[..]
    }
}

impl DatagramCipher for Xor {
    fn encrypt(&self, datagram: &mut [u8]) {
        datagram.iter_mut().zip(self.table()).for_each(|(byte, mask)| *byte ^= mask);
    }

    fn decrypt(&self, datagram: &mut [u8]) {
        self.encrypt(datagram);
    }
}

/// Nonce and checksum in clear; kcptun's `none`. **Insecure**: nothing is enciphered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl DatagramCipher for Plain {
    fn encrypt(&self, _: &mut [u8]) {}

    fn decrypt(&self, _: &mut [u8]) {}
}

//! Protection one can see through: bytes are tinted, not hidden, and get a checksum, so that what the fuzzer writes is
//! what the endpoint reads. It remembers every nonce.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fastwire::crypto::{AeadLimits, Cipher, CipherError, CipherSuite, CipherSuites, KeyError};

/// The highest nonce each key has sealed, over every endpoint of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Nonces(Arc<Mutex<HashMap<u64, u64>>>);

/// Makes [`Glass`].
#[derive(Debug, Clone)]
pub(super) struct GlassSuites {
    pub(super) nonces: Nonces,
    /// Whether the key goes into the checksum. Without, everybody has every key.
    pub(super) keyed: bool,
}

impl CipherSuites for GlassSuites {
    type Cipher = Glass;

    fn make(&self, suite: CipherSuite, key: &[u8]) -> Result<Glass, KeyError> {
        assert_ne!(suite, CipherSuite::None, "nobody allowed it");
        let key = mix(0, key);
        Ok(Glass { key, salt: if self.keyed { key } else { 0 }, nonces: self.nonces.clone() })
    }
}

/// A checksum in place of a cipher.
#[derive(Debug)]
pub(super) struct Glass {
    key: u64,
    salt: u64,
    nonces: Nonces,
}

/// Every byte of a ciphertext differs from its plaintext, as with a cipher: zeros of a header never look like the low
/// nonce of another framing.
fn tint(data: &mut [u8]) {
    data.iter_mut().for_each(|byte| *byte ^= 0xa5);
}

/// Appends a packet as anybody could seal it when everybody has every key.
pub(super) fn seal_openly(nonce: u64, plain: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&nonce.to_le_bytes());
    let start = out.len();
    out.extend_from_slice(plain);
    tint(&mut out[start..]);
    let tag = tag(0, nonce, &out[start..]);
    out.extend_from_slice(&tag);
}

fn tag(salt: u64, nonce: u64, data: &[u8]) -> [u8; 16] {
    let sum = mix(salt ^ nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15), data);
    let mut tag = [0x5a; 16];
    tag[..8].copy_from_slice(&sum.to_le_bytes());
    tag
}

fn mix(start: u64, data: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| (sum.rotate_left(23) ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let chunks = data.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    chunks.fold(step(start, data.len() as u64 + 1), step)
}

fn number(nonce: &[u8; 12]) -> u64 {
    let [number @ .., _, _, _, _] = *nonce;
    u64::from_le_bytes(number)
}

impl Cipher for Glass {
    fn seal(&self, nonce: &[u8; 12], _: &[u8], data: &mut [u8]) -> Result<[u8; 16], CipherError> {
        let number = number(nonce);
        let mut highest = self.nonces.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = highest.insert(self.key, number).unwrap_or(0);
        assert!(number > last, "nonce {number} after {last} under one key");
        tint(data);
        Ok(tag(self.salt, number, data))
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        _: &[u8],
        data: &mut [u8],
        theirs: &[u8; 16],
    ) -> Result<(), CipherError> {
        if tag(self.salt, number(nonce), data) != *theirs {
            return Err(CipherError);
        }
        tint(data);
        Ok(())
    }

    fn limits(&self) -> AeadLimits {
        AeadLimits::AES_GCM
    }
}

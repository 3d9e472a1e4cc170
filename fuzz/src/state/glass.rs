//! Protection one can see through: bytes are tinted, not hidden, and get a checksum, so that what the fuzzer writes is
//! what the endpoint reads. It remembers every nonce.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use fastwire::crypto::{AeadLimits, Cipher, CipherError, CipherSuite, CipherSuites, KeyError, NONCE_LEN};

/// What each key has sealed, over every endpoint of a run: keys with their nonces. Those of the base profile count up,
/// those of the extended one are a secret vector and the packet number.
#[derive(Debug, Clone, Default)]
pub(super) struct Nonces(Arc<Mutex<HashSet<(u64, [u8; NONCE_LEN])>>>);

/// Makes [`Glass`].
#[derive(Debug, Clone)]
pub(super) struct GlassSuites {
    pub(super) nonces: Nonces,
    /// Whether the key goes into the checksum. Without, everybody has every key.
    pub(super) keyed: bool,
    /// Whether a nonce that is used twice is a fault. Not with a peer that may do as it likes.
    pub(super) watched: bool,
}

impl GlassSuites {
    /// For endpoints of ours.
    pub(super) fn new() -> Self {
        Self { nonces: Nonces::default(), keyed: true, watched: true }
    }

    /// For a peer.
    pub(super) fn unwatched() -> Self {
        Self { watched: false, ..Self::new() }
    }
}

impl CipherSuites for GlassSuites {
    type Cipher = Glass;

    fn make(&self, suite: CipherSuite, key: &[u8]) -> Result<Glass, KeyError> {
        assert_ne!(suite, CipherSuite::None, "nobody allowed it");
        let key = mix(0, key);
        let nonces = self.watched.then(|| self.nonces.clone());
        Ok(Glass { key, salt: if self.keyed { key } else { 0 }, nonces })
    }
}

/// A checksum in place of a cipher.
#[derive(Debug)]
pub(super) struct Glass {
    key: u64,
    salt: u64,
    nonces: Option<Nonces>,
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
    let tag = tag(0, nonce, &[], &out[start..]);
    out.extend_from_slice(&tag);
}

fn tag(salt: u64, nonce: u64, associated: &[u8], data: &[u8]) -> [u8; 16] {
    let salt = if associated.is_empty() { salt } else { mix(salt, associated) };
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

/// All of a nonce as a number; that of the base profile is its counter.
fn number(nonce: &[u8; NONCE_LEN]) -> u64 {
    let [number @ .., a, b, c, d] = *nonce;
    let rest = u64::from(u32::from_le_bytes([a, b, c, d]));
    u64::from_le_bytes(number) ^ rest.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Cipher for Glass {
    fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; 16], CipherError> {
        if let Some(nonces) = &self.nonces {
            let mut used = nonces.0.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(used.insert((self.key, *nonce)), "nonce {nonce:?} twice under one key");
        }
        tint(data);
        Ok(tag(self.salt, number(nonce), associated, data))
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        data: &mut [u8],
        theirs: &[u8; 16],
    ) -> Result<(), CipherError> {
        if tag(self.salt, number(nonce), associated, data) != *theirs {
            return Err(CipherError);
        }
        tint(data);
        Ok(())
    }

    fn limits(&self) -> AeadLimits {
        AeadLimits::AES_GCM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_twice_under_one_key_is_seen_in_either_form() {
        let suites = GlassSuites::new();
        let make = |key| suites.make(CipherSuite::Aes128Gcm, &[key; 16]).expect("always");
        let (one, other) = (make(1), make(2));
        for nonce in [[7; NONCE_LEN], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(one.seal(&nonce, b"", &mut [1]).is_ok() && other.seal(&nonce, b"", &mut [1]).is_ok());
            let again = make(1);
            let twice = std::panic::AssertUnwindSafe(|| again.seal(&nonce, b"", &mut [2]));
            assert!(std::panic::catch_unwind(twice).is_err());
        }
    }

    #[test]
    fn a_packet_opens_only_as_it_was_sealed() {
        let suites = GlassSuites::new();
        let make = |key| suites.make(CipherSuite::Aes128Gcm, &[key; 16]).expect("always");
        let (nonce, mut sealed) = ([9; NONCE_LEN], *b"hello");
        let tag = make(1).seal(&nonce, b"head", &mut sealed).expect("once");
        for at in 0..NONCE_LEN {
            let mut bent = nonce;
            bent[at] ^= 1;
            assert!(make(1).open(&bent, b"head", &mut sealed.clone(), &tag).is_err());
        }
        assert!(make(1).open(&nonce, b"heap", &mut sealed.clone(), &tag).is_err());
        assert!(make(2).open(&nonce, b"head", &mut sealed.clone(), &tag).is_err());
        make(1).open(&nonce, b"head", &mut sealed, &tag).expect("as it was sealed");
        assert_eq!(&sealed, b"hello");
    }
}

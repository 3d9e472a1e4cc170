//! HKDF-SHA256: one secret becomes many independent ones (RFC 5869).

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::KeyError;

/// A pseudorandom key, from which further keys are expanded; wiped on drop.
pub struct Prk(Zeroizing<[u8; 32]>);

impl Prk {
    /// Most bytes that [`expand`](Self::expand) gives.
    pub const MAX_EXPAND: usize = 255 * 32;

    /// HKDF-Extract: concentrates the input key material (RFC 5869 §2.2).
    pub fn extract(salt: &[u8], input: &[u8]) -> Self {
        let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), input);
        let own = Self(Zeroizing::new(prk.into()));
        prk.as_mut_slice().zeroize();
        own
    }

    /// Takes 32 bytes that are a pseudorandom key already, such as an earlier expansion.
    pub fn from_bytes(prk: [u8; 32]) -> Self {
        Self(Zeroizing::new(prk))
    }

    /// HKDF-Expand: fills `out` with key material for the purpose that the parts of `info`, joined,
    /// name (RFC 5869 §2.3).
    ///
    /// # Errors
    ///
    /// [`KeyError::TooMuchKeyMaterial`] above [`Self::MAX_EXPAND`] bytes.
    pub fn expand(&self, info: &[&[u8]], out: &mut [u8]) -> Result<(), KeyError> {
        let too_much = KeyError::TooMuchKeyMaterial { requested: out.len() };
        let hkdf = Hkdf::<Sha256>::from_prk(&*self.0).map_err(|_| too_much)?;
        hkdf.expand_multi_info(info, out).map_err(|_| too_much)
    }
}

impl fmt::Debug for Prk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prk(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expand_gives_at_most_255_blocks() {
        let prk = Prk::extract(b"salt", b"input");
        let mut out = vec![0; Prk::MAX_EXPAND + 1];
        assert_eq!(prk.expand(&[b"info"], &mut out), Err(KeyError::TooMuchKeyMaterial { requested: 8161 }));
        assert_eq!(prk.expand(&[b"info"], &mut out[1..]), Ok(()));
    }

    #[test]
    fn info_is_joined() {
        let prk = Prk::extract(b"salt", b"input");
        let (mut joined, mut parts) = ([0; 32], [0; 32]);
        prk.expand(&[b"exporter"], &mut joined).unwrap();
        prk.expand(&[b"exp", b"", b"orter"], &mut parts).unwrap();
        assert_eq!(joined, parts);
    }
}

//! The mask over packet numbers, so that they show nobody the order of packets (PROTOCOL B4).

use std::fmt;

use crate::CipherSuite;
use crate::backend::MaskKey;

/// Makes the four mask bytes of a packet from a sample of its ciphertext, as RFC 9001 §5.4 does.
pub struct HeaderMask(Box<MaskKey>);

impl HeaderMask {
    /// The mask of `suite` with the key `hp`. Suite 0 has none; it never occurs in the extended profile.
    pub fn new(suite: CipherSuite, hp: &[u8; 32]) -> Option<Self> {
        MaskKey::new(suite, hp).map(|key| Self(Box::new(key)))
    }

    /// Hints that the key will be used soon.
    pub(super) fn prefetch(&self) {
        crate::prefetch(&*self.0);
    }

    /// The mask for a packet whose ciphertext, from after the packet number on, begins with `sample`.
    #[inline]
    pub fn mask(&self, sample: &[u8; 16]) -> [u8; 4] {
        self.0.mask(sample)
    }
}

impl fmt::Debug for HeaderMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderMask(..)")
    }
}

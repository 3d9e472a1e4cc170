//! Randomness of an endpoint: one 32-byte seed, everything after it reproducible.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The endpoint's random numbers: ChaCha20 keyed with the shell's seed.
pub(crate) struct Entropy {
    rng: ChaCha20Rng,
    /// Handed out before random bytes are, in this order (recorded conversations fix keys and tokens).
    scripted: Vec<Vec<u8>>,
}

impl Entropy {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { rng: ChaCha20Rng::from_seed(seed), scripted: Vec::new() }
    }

    pub(crate) fn script(&mut self, mut values: Vec<Vec<u8>>) {
        values.reverse();
        self.scripted = values;
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        if let Some(value) = self.scripted.pop_if(|value| value.len() == N) {
            let mut bytes = [0; N];
            bytes.copy_from_slice(&value);
            return bytes;
        }
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}

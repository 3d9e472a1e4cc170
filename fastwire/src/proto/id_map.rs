//! A map from connection ids: found once for each packet, so its hash is one multiplication.
//!
//! The ids in it are random and ours. Whoever looks up others adds none, so nobody can make it slow.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::ConnectionId;

/// Connections by the ids that a server gave out (PROTOCOL B4).
pub(crate) type IdMap = HashMap<[u8; 8], ConnectionId, BuildHasherDefault<IdHasher>>;

/// Hashes eight random bytes.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        // the golden ratio's bits: any odd number with bits all over it spreads ids that share a prefix
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        if let Some(id) = bytes.first_chunk() {
            self.0 = (self.0 ^ u64::from_le_bytes(*id)).wrapping_mul(SPREAD).rotate_left(29);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // the array's length, always the same
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_differ_anywhere_are_told_apart_and_spread() {
        let mut map = IdMap::default();
        let mut low_bits = std::collections::HashSet::new();
        for n in 0..4096u64 {
            for id in [n.to_le_bytes(), n.to_be_bytes(), (n << 24).to_le_bytes()] {
                map.insert(id, ConnectionId::new(n as u32, 1));
                let mut hasher = IdHasher::default();
                hasher.write(&id);
                low_bits.insert(hasher.finish() & 0xfff);
            }
        }
        for n in 0..4096u64 {
            assert_eq!(map.get(&(n << 24).to_le_bytes()), Some(&ConnectionId::new(n as u32, 1)));
        }
        assert!(low_bits.len() > 2000, "{} of 4096 buckets", low_bits.len());
    }
}

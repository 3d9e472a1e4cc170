//! Owned copies of short byte strings, cut from chunks that are used again: no allocation per packet.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Copies byte strings into large chunks and hands out slices of them.
///
/// A chunk is used again as soon as all its slices are dropped. While somebody keeps a single slice its chunk stays
/// in memory as a whole, so a receiver that hoards messages pays with [`ChunkPool::CHUNK`] bytes at most for each.
#[derive(Debug, Default)]
pub struct ChunkPool {
    /// Empty; its spare capacity is what is left of the chunk in use.
    current: BytesMut,
    /// Used-up chunks, oldest first, at most [`ChunkPool::KEPT`]: each waits for its slices to be dropped.
    resting: VecDeque<BytesMut>,
}

impl ChunkPool {
    /// The size of a chunk in bytes.
    pub const CHUNK: usize = 64 * 1024;
    /// How many used-up chunks the pool holds on to; what is beyond belongs to the holders of the slices alone.
    pub const KEPT: usize = 16;

    /// A pool that holds no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An owned copy of `contents`. What is larger than a chunk gets an allocation of its own.
    pub fn copy(&mut self, contents: &[u8]) -> BytesMut {
        if contents.len() > Self::CHUNK {
            return BytesMut::from(contents);
        }
        if self.current.capacity() < contents.len() {
            self.turn();
        }
        self.current.extend_from_slice(contents);
        self.current.split()
    }

    /// Takes another chunk: one whose slices are gone, else a new one.
    #[cold]
    fn turn(&mut self) {
        self.resting.push_back(std::mem::take(&mut self.current));
        for _ in 0..self.resting.len() {
            let Some(mut chunk) = self.resting.pop_front() else { break };
            if chunk.try_reclaim(Self::CHUNK) {
                self.current = chunk;
                return;
            }
            self.resting.push_back(chunk);
        }
        if self.resting.len() > Self::KEPT {
            self.resting.pop_front();
        }
        self.current = BytesMut::with_capacity(Self::CHUNK);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The chunk a slice was cut from, told by its address.
    fn chunks_used(pool: &mut ChunkPool, copies: usize, keep: usize) -> usize {
        let mut kept = VecDeque::new();
        let mut starts = HashSet::new();
        let mut room = 0;
        for _ in 0..copies {
            if room < 1200 {
                room = ChunkPool::CHUNK;
            }
            let copy = pool.copy(&[7; 1200]);
            if room == ChunkPool::CHUNK {
                starts.insert(copy.as_ptr() as usize);
            }
            room -= 1200;
            kept.push_back(copy);
            if kept.len() > keep {
                kept.pop_front();
            }
        }
        starts.len()
    }

    #[test]
    fn chunks_whose_slices_are_gone_are_used_again() {
        assert_eq!(chunks_used(&mut ChunkPool::new(), 10_000, 0), 1, "nothing kept: one chunk will do");
        assert!(chunks_used(&mut ChunkPool::new(), 10_000, 54) <= 3, "one chunk's worth kept");
        assert!(chunks_used(&mut ChunkPool::new(), 10_000, 540) <= 12, "ten chunks' worth kept");
    }

    #[test]
    fn the_pool_holds_a_bounded_number_of_chunks() {
        let mut pool = ChunkPool::new();
        let kept: Vec<_> = (0..64).map(|_| pool.copy(&[1; ChunkPool::CHUNK])).collect();
        assert_eq!(pool.resting.len(), ChunkPool::KEPT);
        assert!(kept.iter().all(|copy| copy[..] == [1; ChunkPool::CHUNK]));
    }

    proptest! {
        #[test]
        fn copies_never_share_bytes(
            script in proptest::collection::vec((0usize..3000, any::<u8>(), 0usize..8), 1..300)
        ) {
            let mut pool = ChunkPool::new();
            let mut held: VecDeque<(BytesMut, usize, u8)> = VecDeque::new();
            for (len, fill, drops) in script {
                let mut copy = pool.copy(&vec![fill; len]);
                // A holder may write to its copy, as opening in place does.
                copy.iter_mut().for_each(|byte| *byte = !*byte);
                held.push_back((copy, len, !fill));
                for _ in 0..drops.min(held.len() / 2) {
                    held.pop_front();
                }
                for (copy, len, fill) in &held {
                    prop_assert_eq!(copy.len(), *len);
                    prop_assert!(copy.iter().all(|byte| byte == fill));
                }
            }
        }
    }

    #[test]
    fn more_than_a_chunk_is_copied_too() {
        let large = vec![3; ChunkPool::CHUNK + 1];
        assert_eq!(ChunkPool::new().copy(&large), large);
    }
}

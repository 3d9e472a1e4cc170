//! Short messages that wait, one behind the other: neither an allocation nor a counted owner each.

use std::collections::VecDeque;

/// A block takes no more; the next message begins another. So memory is never moved, and goes back as messages are taken.
const BLOCK: usize = 16 << 10;

/// Empty blocks that are kept: what a full wake brings does not allocate.
const SPARES: usize = 16;

/// Byte strings in the order they came. Their lengths are for the owner to know.
#[derive(Debug, Default)]
pub(crate) struct SmallMessages {
    /// Oldest first. Only the last one grows.
    blocks: VecDeque<Vec<u8>>,
    /// Bytes of the first block that were taken.
    taken: usize,
    spares: Vec<Vec<u8>>,
}

impl SmallMessages {
    /// The longest message worth keeping here.
    pub(crate) const LONGEST: usize = 256;

    /// Appends a message of at most [`LONGEST`](Self::LONGEST) bytes.
    #[inline]
    pub(crate) fn push(&mut self, message: &[u8]) {
        match self.blocks.back_mut() {
            Some(block) if block.capacity() - block.len() >= message.len() => {
                block.extend_from_slice(message)
            }
            Some(block) if block.len() + message.len() <= BLOCK => grow(block, message),
            _ => self.push_to_new(message),
        }
    }

    /// Takes the oldest message, which has `len` bytes.
    #[inline]
    pub(crate) fn pop<T>(&mut self, len: usize, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let block = self.blocks.front()?;
        let end = self.taken + len;
        let result = block.get(self.taken..end).map(take);
        self.taken = end;
        if end >= block.len() {
            self.leave_block();
        }
        result
    }

    /// Gives back what memory is not in use.
    pub(crate) fn trim(&mut self) {
        self.spares = Vec::new();
        if self.blocks.iter().all(Vec::is_empty) {
            self.blocks = VecDeque::new();
        }
    }

    #[cold]
    fn push_to_new(&mut self, message: &[u8]) {
        let mut block = self.spares.pop().unwrap_or_default();
        block.extend_from_slice(message);
        self.blocks.push_back(block);
    }

    /// The first block was taken to its end. The last one stays in place to be filled again.
    fn leave_block(&mut self) {
        self.taken = 0;
        if self.blocks.len() == 1 {
            self.blocks.iter_mut().for_each(Vec::clear);
            return;
        }
        if let Some(mut block) = self.blocks.pop_front()
            && self.spares.len() < SPARES
        {
            block.clear();
            self.spares.push(block);
        }
    }
}

/// Appends to a block that has no room left, but may have more.
#[cold]
fn grow(block: &mut Vec<u8>, message: &[u8]) {
    let wanted = (2 * block.len()).max(block.len() + message.len()).min(BLOCK);
    block.reserve_exact(wanted - block.len());
    block.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is taken is what was put in, in its order, whatever lengths follow each other; and memory is that of what waits.
        #[test]
        fn messages_come_out_as_they_went_in(
            steps in prop::collection::vec((0usize..=SmallMessages::LONGEST, 0usize..3), 1..600),
        ) {
            let mut small = SmallMessages::default();
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            for (number, (len, takes)) in steps.into_iter().enumerate() {
                let message = vec![number as u8; len];
                small.push(&message);
                model.push_back(message);
                for _ in 0..takes {
                    let Some(expected) = model.pop_front() else { break };
                    prop_assert_eq!(small.pop(expected.len(), <[u8]>::to_vec), Some(expected));
                }
                let waiting: usize = model.iter().map(Vec::len).sum();
                let held: usize = small.blocks.iter().map(Vec::capacity).sum();
                prop_assert!(held <= waiting + waiting / 32 + 2 * BLOCK, "{} bytes for {}", held, waiting);
            }
            while let Some(expected) = model.pop_front() {
                prop_assert_eq!(small.pop(expected.len(), <[u8]>::to_vec), Some(expected));
            }
            small.trim();
            prop_assert_eq!(small.blocks.capacity() + small.spares.capacity(), 0);
        }
    }
}

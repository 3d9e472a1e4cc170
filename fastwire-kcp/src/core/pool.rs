//! Buffers for the data of segments, used again and again.

use std::sync::{Arc, Mutex, PoisonError};

/// Most buffers that wait for use; more are returned to the allocator.
pub const MAX_POOLED: usize = 4096;
/// Least capacity of a pooled buffer, in bytes: a segment of the usual MTU.
const BUFFER_LEN: usize = 1500;

/// A stock of buffers, shared by all conversations that were given a clone.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Pool {
    /// An empty stock.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer for at least `len` bytes.
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let buffer = self.lock().pop();
        let mut buffer = buffer.unwrap_or_else(|| Vec::with_capacity(len.max(BUFFER_LEN)));
        buffer.reserve(len);
        buffer
    }

    /// Takes a buffer back. Outsized ones are not kept, so that what waits here is bounded in bytes too.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        if !(BUFFER_LEN..=2 * BUFFER_LEN).contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        let mut free = self.lock();
        if free.len() < MAX_POOLED {
            free.push(buffer);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        // A buffer is whole whatever its last user did.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_is_bounded_and_reused() {
        let pool = Pool::new();
        let mut buffer = pool.take(10);
        buffer.extend_from_slice(b"data");
        let address = buffer.as_ptr();
        pool.give(buffer);
        let again = pool.take(1400);
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), address);
        (0..MAX_POOLED + 5).for_each(|_| pool.give(Vec::with_capacity(BUFFER_LEN)));
        pool.give(Vec::with_capacity(1 << 20));
        assert_eq!(pool.lock().len(), MAX_POOLED);
    }
}

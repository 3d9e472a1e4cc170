//! Data cut into segments that have no number yet.

use super::pool::Pool;
use std::collections::VecDeque;

/// Data of one segment and how many of its message follow.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) frg: u8,
    pub(crate) data: Vec<u8>,
}

/// Pieces that an empty queue keeps room for.
const KEPT: usize = 256;

/// The queue in front of the flight.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Piece>,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn pop(&mut self) -> Option<Piece> {
        let piece = self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        piece
    }

    /// Queues a whole message as pieces of at most `mss` bytes; an empty one is one empty piece.
    pub(crate) fn push_message(&mut self, message: &[u8], mss: usize, pool: &Pool) {
        let count = message.len().div_ceil(mss).max(1);
        let mut pieces = message.chunks(mss);
        for left in (0..count).rev() {
            self.push(left as u8, pieces.next().unwrap_or_default(), mss, pool);
        }
    }

    /// Fills the last piece up to `mss` bytes; returns how many of `bytes` fitted.
    pub(crate) fn fill_last(&mut self, bytes: &[u8], mss: usize) -> usize {
        let Some(last) = self.queue.back_mut() else { return 0 };
        let room = mss.saturating_sub(last.data.len()).min(bytes.len());
        last.data.extend(bytes.iter().take(room));
        if room > 0 {
            last.frg = 0;
        }
        room
    }

    /// Queues bytes without boundaries in pieces of at most `mss`.
    pub(crate) fn push_stream(&mut self, bytes: &[u8], mss: usize, pool: &Pool) {
        for piece in bytes.chunks(mss) {
            self.push(0, piece, mss, pool);
        }
    }

    fn push(&mut self, frg: u8, bytes: &[u8], mss: usize, pool: &Pool) {
        // Room for a full piece: in stream mode later writes may fill it up.
        let mut data = pool.take(mss);
        data.extend_from_slice(bytes);
        self.queue.push_back(Piece { frg, data });
    }
}

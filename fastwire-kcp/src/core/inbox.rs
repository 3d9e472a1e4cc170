//! What has arrived: pieces waiting for an earlier one, and the queue in order for the reader.

use super::pool::Pool;
use super::segment::distance;
use std::collections::VecDeque;

/// Why a message was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing has arrived.
    #[error("nothing to read: wait for more datagrams")]
    Empty,
    /// Only a part of the next message has arrived.
    #[error("the next message is incomplete: wait for more datagrams")]
    Incomplete,
    /// The buffer is too small; the message stays.
    #[error("buffer holds {given} bytes, the message has {needed}: pass a larger one")]
    BufferTooSmall {
        /// Length of the buffer in bytes.
        given: usize,
        /// Length of the message in bytes.
        needed: usize,
    },
}

/// Segments that empty queues keep room for; more is given back, so that idle sessions are small.
const KEPT: usize = 256;

#[derive(Debug)]
struct Held {
    frg: u8,
    data: Vec<u8>,
}

/// The receiving half of a conversation.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Next number expected; everything before it is in `queue` or was read.
    next: u32,
    /// Most segments in `queue`, and how far ahead of `next` a number may be.
    window: u32,
    /// In order, for the reader. May hold more than `window` only after the window was made smaller.
    queue: VecDeque<Held>,
    /// Ahead of order: number n is at n & (len − 1). A power of two long or empty; grows on use to the window.
    ahead: Vec<Option<Held>>,
    ahead_count: usize,
    /// Bytes of the first segment of `queue` that a stream reader has taken.
    taken: usize,
    /// Bytes in `queue` that no reader has taken.
    readable: usize,
}

impl Inbox {
    pub(crate) fn new(window: u32) -> Self {
        Self { window, ..Self::default() }
    }

    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    pub(crate) fn start_at(&mut self, sn: u32) {
        self.next = sn;
    }

    pub(crate) fn set_window(&mut self, window: u32) {
        self.window = window;
    }

    /// Free slots of the window, as told to the peer.
    pub(crate) fn free(&self) -> u32 {
        self.window.saturating_sub(self.queue.len() as u32)
    }

    /// Bytes in order that no reader has taken.
    pub(crate) fn readable(&self) -> usize {
        self.readable
    }

    /// Whether `sn` is before the end of the window: such a segment is acknowledged.
    pub(crate) fn is_before_end(&self, sn: u32) -> bool {
        distance(sn, self.next.wrapping_add(self.window)) < 0
    }

    /// Keeps a segment that [`is_before_end`](Self::is_before_end); false when it is an old or a repeated one.
    pub(crate) fn accept(&mut self, sn: u32, frg: u8, data: &[u8], pool: &Pool) -> bool {
        let Ok(offset) = usize::try_from(distance(sn, self.next)) else { return false };
        if offset >= self.window as usize {
            return false;
        }
        if offset == 0 && self.free() > 0 && self.ahead_count == 0 {
            // The usual case never touches the ring.
            self.enqueue(Held { frg, data: copy(data, pool) });
            return true;
        }
        if offset >= self.ahead.len() {
            self.grow(offset + 1);
        }
        let slot = sn as usize & (self.ahead.len() - 1);
        let Some(place) = self.ahead.get_mut(slot) else { return false };
        let fresh = place.is_none();
        if fresh {
            *place = Some(Held { frg, data: copy(data, pool) });
            self.ahead_count += 1;
        }
        self.advance();
        fresh
    }

    /// Length of the next message, complete or an error.
    pub(crate) fn peek(&self) -> Result<usize, RecvError> {
        let first = self.queue.front().ok_or(RecvError::Empty)?;
        if first.frg == 0 {
            return Ok(first.data.len() - self.taken);
        }
        if self.queue.len() < usize::from(first.frg) + 1 {
            return Err(RecvError::Incomplete);
        }
        let mut len = 0;
        for held in &self.queue {
            len += held.data.len();
            if held.frg == 0 {
                break;
            }
        }
        Ok(len - self.taken)
    }

    /// Moves one whole message into `buffer`; its length, and whether a closed window opened.
    pub(crate) fn recv(&mut self, buffer: &mut [u8], pool: &Pool) -> Result<(usize, bool), RecvError> {
        let needed = self.peek()?;
        if needed > buffer.len() {
            return Err(RecvError::BufferTooSmall { given: buffer.len(), needed });
        }
        let was_full = self.free() == 0;
        let mut at = 0;
        while let Some(held) = self.queue.pop_front() {
            let bytes = held.data.get(self.taken..).unwrap_or_default();
            if let Some(place) = buffer.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
            at += bytes.len();
            self.readable -= bytes.len();
            self.taken = 0;
            pool.give(held.data);
            if held.frg == 0 {
                break;
            }
        }
        self.advance();
        Ok((at, was_full && self.free() > 0))
    }

    /// Moves bytes in order into `buffer`, as many as there are; unless `join`, never past the end of a
    /// segment that ends a message. Empty messages are skipped. How many, and whether a closed window opened.
    pub(crate) fn read(&mut self, buffer: &mut [u8], join: bool, pool: &Pool) -> (usize, bool) {
        let was_full = self.free() == 0;
        let mut at = 0;
        while let Some(held) = self.queue.front() {
            let bytes = held.data.get(self.taken..).unwrap_or_default();
            if !bytes.is_empty() && at == buffer.len() {
                break;
            }
            let count = bytes.len().min(buffer.len() - at);
            if let (Some(place), Some(bytes)) = (buffer.get_mut(at..at + count), bytes.get(..count)) {
                place.copy_from_slice(bytes);
            }
            at += count;
            self.readable -= count;
            if count < bytes.len() {
                self.taken += count;
                break;
            }
            let ends_message = held.frg == 0;
            self.taken = 0;
            if let Some(held) = self.queue.pop_front() {
                pool.give(held.data);
            }
            self.advance();
            if ends_message && at > 0 && !join {
                break;
            }
        }
        (at, was_full && self.free() > 0)
    }

    /// Segments in order, and segments ahead of order.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.queue.len(), self.ahead_count)
    }

    /// Moves what has become in order, while the reader's queue has room.
    fn advance(&mut self) {
        if self.ahead_count == 0 && self.ahead.len() > KEPT {
            self.ahead = Vec::new();
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        while self.ahead_count > 0 && self.free() > 0 {
            let slot = self.next as usize & (self.ahead.len() - 1);
            let Some(held) = self.ahead.get_mut(slot).and_then(Option::take) else { return };
            self.ahead_count -= 1;
            self.enqueue(held);
        }
    }

    fn enqueue(&mut self, held: Held) {
        self.readable += held.data.len();
        self.queue.push_back(held);
        self.next = self.next.wrapping_add(1);
    }

    /// Makes the ring long enough for `offset < len`.
    fn grow(&mut self, len: usize) {
        let len = len.next_power_of_two().max(16);
        let mut longer: Vec<Option<Held>> = Vec::new();
        longer.resize_with(len, || None);
        for offset in 0..self.ahead.len() {
            let sn = (self.next as usize).wrapping_add(offset);
            let from = sn & (self.ahead.len() - 1);
            if let (Some(to), Some(from)) = (longer.get_mut(sn & (len - 1)), self.ahead.get_mut(from)) {
                *to = from.take();
            }
        }
        self.ahead = longer;
    }
}

fn copy(data: &[u8], pool: &Pool) -> Vec<u8> {
    let mut buffer = pool.take(data.len());
    buffer.extend_from_slice(data);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The same, kept in a map: numbers from `start`, data is one byte.
    struct Model {
        next: u32,
        window: u32,
        queue: VecDeque<u8>,
        ahead: BTreeMap<u32, u8>,
    }

    impl Model {
        fn accept(&mut self, offset: u32, byte: u8) -> bool {
            let number = self.next + offset;
            if offset >= self.window || self.ahead.contains_key(&number) {
                return false;
            }
            self.ahead.insert(number, byte);
            self.advance();
            true
        }

        fn advance(&mut self) {
            while self.queue.len() < self.window as usize {
                let Some(byte) = self.ahead.remove(&self.next) else { return };
                self.queue.push_back(byte);
                self.next += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(start: u32, window in 1..40u32,
                            calls in prop::collection::vec((0..50u32, any::<u8>(), any::<bool>()), 0..200)) {
            let pool = Pool::new();
            let mut inbox = Inbox::new(window);
            inbox.start_at(start);
            let mut model = Model { next: 0, window, queue: VecDeque::new(), ahead: BTreeMap::new() };
            for (offset, byte, read) in calls {
                if read {
                    let mut got = [0];
                    let count = inbox.recv(&mut got, &pool).map_or(0, |(count, _)| count);
                    let expected = model.queue.pop_front();
                    prop_assert_eq!(&got[..count], expected.as_slice());
                    model.advance();
                } else {
                    let sn = inbox.next().wrapping_add(offset);
                    prop_assert_eq!(inbox.accept(sn, 0, &[byte], &pool), model.accept(offset, byte));
                }
                prop_assert_eq!(inbox.next(), start.wrapping_add(model.next));
                prop_assert_eq!(inbox.readable(), model.queue.len());
                prop_assert_eq!(inbox.held(), (model.queue.len(), model.ahead.len()));
                prop_assert!(inbox.ahead.len() <= (window as usize).next_power_of_two().max(16));
            }
        }
    }

    #[test]
    fn stream_reads_stop_at_messages_only_when_asked() {
        let pool = Pool::new();
        let mut inbox = Inbox::new(128);
        let pieces: [(u8, &[u8]); 5] = [(1, b"ab"), (0, b"c"), (0, b""), (0, b"de"), (0, b"f")];
        for (sn, (frg, data)) in (0..).zip(pieces) {
            inbox.accept(sn, frg, data, &pool);
        }
        let mut buffer = [0; 8];
        assert_eq!(inbox.read(&mut buffer, false, &pool), (3, false));
        assert_eq!(&buffer[..3], b"abc");
        assert_eq!(inbox.read(&mut buffer[..1], false, &pool), (1, false));
        assert_eq!(inbox.read(&mut buffer[1..], true, &pool), (2, false));
        assert_eq!(&buffer[..3], b"def");
    }
}

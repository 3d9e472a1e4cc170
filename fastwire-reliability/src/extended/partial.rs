//! One incomplete message: its bytes as they come, in any order and cut in any way.

use bytes::Bytes;

use super::ranges::Ranges;

/// What an incomplete message costs beside its bytes.
pub(crate) const PARTIAL_OVERHEAD: usize = 160;

/// What a piece far ahead costs beside its bytes.
const FAR_OVERHEAD: usize = 48;

/// The buffer begins with this much, or the message's length.
const FIRST: usize = 16 << 10;

/// How far beyond twice what has arrived the buffer may reach: a peer that sends little makes us hold little.
const AHEAD: usize = 64 << 10;

/// A piece contradicts the earlier ones of its message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction;

/// A message of which some bytes have arrived.
#[derive(Debug)]
pub(crate) struct Partial {
    total: u32,
    content: u8,
    /// As long as the furthest byte in it.
    buffer: Vec<u8>,
    /// Which bytes have arrived, those in `far` included.
    arrived: Ranges,
    count: u32,
    /// Pieces that lie too far ahead for the buffer.
    far: Vec<(u32, Box<[u8]>)>,
    far_held: usize,
}

impl Partial {
    pub(crate) fn new(total: u32, content: u8) -> Self {
        Self {
            total,
            content,
            buffer: Vec::new(),
            arrived: Ranges::default(),
            count: 0,
            far: Vec::new(),
            far_held: 0,
        }
    }

    pub(crate) fn content(&self) -> u8 {
        self.content
    }

    /// What it costs.
    pub(crate) fn held(&self) -> usize {
        PARTIAL_OVERHEAD + self.buffer.capacity() + self.far_held
    }

    /// Adds a piece, which must lie in the message. Bytes already held win. True once the message is whole.
    pub(crate) fn add(
        &mut self,
        offset: u32,
        total: u32,
        content: u8,
        piece: &[u8],
    ) -> Result<bool, Contradiction> {
        let end = offset.checked_add(piece.len() as u32).filter(|&end| end <= total).ok_or(Contradiction)?;
        if total != self.total || content != self.content {
            return Err(Contradiction);
        }
        if offset as usize == self.buffer.len() && self.arrived.covers(offset) && self.far.is_empty() {
            // the usual case: all in order
            self.reserve(piece.len());
            self.buffer.extend_from_slice(piece);
            self.count += self.arrived.insert(offset, end);
            return Ok(self.count == total);
        }
        let news: smallvec::SmallVec<[(u32, u32); 4]> = self.arrived.gaps(offset, end).collect();
        for (start, stop) in news {
            if let Some(bytes) = piece.get((start - offset) as usize..(stop - offset) as usize) {
                self.count += self.arrived.insert(start, stop);
                self.place(start, bytes);
            }
        }
        self.gather();
        Ok(self.count == total)
    }

    /// The message, once it is whole.
    pub(crate) fn into_bytes(self) -> Bytes {
        debug_assert!(self.count == self.total && self.far.is_empty());
        self.buffer.into()
    }

    /// The furthest byte the buffer may have for what has arrived.
    fn reach(&self) -> usize {
        let total = self.total as usize;
        if self.buffer.capacity() >= total { total } else { (self.count as usize * 2 + AHEAD).min(total) }
    }

    fn place(&mut self, offset: u32, bytes: &[u8]) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if end > self.buffer.len() {
            if end > self.reach() {
                self.far_held += bytes.len() + FAR_OVERHEAD;
                self.far.push((offset, bytes.into()));
                return;
            }
            let more = end - self.buffer.len();
            self.reserve(more);
            self.buffer.resize(end, 0);
        }
        if let Some(room) = self.buffer.get_mut(start..end) {
            room.copy_from_slice(bytes);
        }
    }

    /// Puts what was far ahead into the buffer, once that may reach so far.
    fn gather(&mut self) {
        while !self.far.is_empty() {
            let (len, total) = (self.buffer.len(), self.total as usize);
            if self.buffer.capacity() + self.far_held > total {
                // By now the whole message costs less; its sender has paid for that with its credit, and for no more.
                self.buffer.reserve_exact(total.saturating_sub(len));
            }
            let reach = self.reach();
            let near = |(offset, bytes): &(u32, Box<[u8]>)| *offset as usize + bytes.len() <= reach;
            let Some(at) = self.far.iter().position(near) else { return };
            let (offset, bytes) = self.far.swap_remove(at);
            self.far_held -= bytes.len() + FAR_OVERHEAD;
            self.place(offset, &bytes);
        }
    }

    /// Makes room for `more` bytes, twice as much as there was where it must grow, but never beyond the message.
    fn reserve(&mut self, more: usize) {
        let (len, capacity) = (self.buffer.len(), self.buffer.capacity());
        if len + more > capacity {
            let total = self.total as usize;
            let wanted = (capacity * 2).max(FIRST).min(total).max(len + more);
            self.buffer.reserve_exact(wanted - len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Pieces in any order, overlapping, again: the message is whole exactly when every byte has arrived, is what its sender
        /// sent, and what is held is bounded by what arrived.
        #[test]
        fn any_pieces_give_the_message(
            total in prop_oneof![4 => 1u32..5_000, 1 => 100_000u32..300_000],
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 1u32..3000), 1..40),
        ) {
            let message: Vec<u8> = (0..total).map(|i| (i ^ i >> 8) as u8).collect();
            let mut partial = Partial::new(total, 2);
            let (mut arrived, mut count) = (vec![false; total as usize], 0);
            let tail = (0..total.div_ceil(1000)).map(|i| (i * 1000, 1000));
            let pieces = cuts.iter().map(|(at, len)| (at.index(total as usize) as u32, *len)).chain(tail);
            for (offset, len) in pieces {
                let end = (offset + len).min(total);
                let piece = &message[offset as usize..end as usize];
                let bytes = &mut arrived[offset as usize..end as usize];
                count += bytes.iter().filter(|&&arrived| !arrived).count();
                bytes.fill(true);
                let whole = partial.add(offset, total, 2, piece).unwrap();
                prop_assert_eq!(whole, count == total as usize);
                let most = 5 * count + 2 * AHEAD + FIRST + PARTIAL_OVERHEAD + 400 * FAR_OVERHEAD;
                prop_assert!(partial.held() <= most, "{} for {}", partial.held(), count);
                prop_assert!(partial.held() >= PARTIAL_OVERHEAD + count);
                // a sender's credit covers the whole message: nobody who keeps to it may be found holding more
                prop_assert!(partial.held() <= PARTIAL_OVERHEAD + total as usize, "{} of {}", partial.held(), total);
                if whole {
                    break;
                }
            }
            prop_assert_eq!(partial.into_bytes(), message);
        }
    }

    #[test]
    fn contradictions_are_told() {
        let mut partial = Partial::new(1000, 0);
        assert_eq!(partial.add(0, 1000, 0, &[1; 64]), Ok(false));
        assert_eq!(partial.add(64, 1001, 0, &[1; 64]), Err(Contradiction));
        assert_eq!(partial.add(64, 1000, 1, &[1; 64]), Err(Contradiction));
        assert_eq!(partial.add(990, 1000, 0, &[1; 64]), Err(Contradiction));
        assert_eq!(partial.add(u32::MAX, 1000, 0, &[1; 64]), Err(Contradiction));
    }
}

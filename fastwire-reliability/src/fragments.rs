//! Ids of fragmented messages, and the cutting of a message into pieces (PROTOCOL A7, A6 rule 6).

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_wire::{FragmentFlags, FragmentHeader, MAX_FRAGMENTS};

/// How long an id rests after use: base peers keep a partial message, keyed by its id alone, that long.
const REST: Duration = Duration::from_secs(5);

/// Ids are freed in blocks of this many, so that 64 times are enough to know which rest.
const BLOCK: u16 = 1024;

/// The ids of one connection, for all channels and probes.
#[derive(Debug, Default)]
pub(crate) struct FragmentIds {
    next: u16,
    /// When the last id of each block was given out; grown as blocks are used the first time.
    left: Vec<Instant>,
    /// The next id was refused because it rests until then.
    resting: Option<Instant>,
}

impl FragmentIds {
    /// When an id that was asked for in vain has rested.
    pub(crate) fn resting_until(&self) -> Option<Instant> {
        self.resting
    }

    /// The next id; `None` while it rests, or while `in_use` says that a packet with an id from its block waits for
    /// acknowledgement. `in_use` is asked at the beginning of a block only.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        in_use: impl FnOnce(&dyn Fn(u16) -> bool) -> bool,
    ) -> Option<u16> {
        let block = usize::from(self.next / BLOCK);
        match self.left.get_mut(block) {
            None => self.left.push(now),
            Some(left) => {
                if self.next.is_multiple_of(BLOCK) {
                    self.resting = Some(*left + REST).filter(|&until| now < until);
                    if self.resting.is_some() || in_use(&|id| usize::from(id / BLOCK) == block) {
                        return None;
                    }
                }
                *left = now;
            }
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        Some(id)
    }
}

/// A message being cut: which piece comes next.
#[derive(Debug)]
pub(crate) struct Cut {
    message: Bytes,
    header: FragmentHeader,
    /// Bytes of every piece but the last.
    piece: usize,
}

impl Cut {
    /// Cuts `message` into pieces of at most `piece` bytes, or into 255 larger ones if it was taken when pieces were larger.
    pub(crate) fn new(message: Bytes, piece: usize, id: u16, flags: FragmentFlags) -> Self {
        let piece = piece.max(message.len().div_ceil(MAX_FRAGMENTS)).max(1);
        let count = message.len().div_ceil(piece).clamp(1, MAX_FRAGMENTS) as u8;
        Self { message, header: FragmentHeader { id, index: 0, count, flags }, piece }
    }

    pub(crate) fn id(&self) -> u16 {
        self.header.id
    }

    /// The next piece, and whether it is the last.
    pub(crate) fn next(&mut self) -> (FragmentHeader, Bytes, bool) {
        let header = self.header;
        let piece = self.message.split_to(self.piece.min(self.message.len()));
        self.header.index = header.index.saturating_add(1);
        (header, piece, self.header.index >= header.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_put_together_are_the_message(len in 0usize..10_000, piece in 1usize..1300) {
            let message = Bytes::from((0..len).map(|i| i as u8).collect::<Vec<_>>());
            let mut cut = Cut::new(message.clone(), piece, 9, FragmentFlags::ZSTD);
            let mut joined = Vec::new();
            for index in 0.. {
                let (header, bytes, last) = cut.next();
                prop_assert_eq!((header.id, header.index, header.flags), (9, index, FragmentFlags::ZSTD));
                prop_assert_eq!(last, index + 1 == header.count);
                prop_assert!(header.count == 1 || !bytes.is_empty());
                prop_assert!(bytes.len() <= piece || len > piece * MAX_FRAGMENTS);
                joined.extend_from_slice(&bytes);
                if last {
                    break;
                }
            }
            prop_assert_eq!(joined, message);
        }
    }

    #[test]
    fn an_id_rests_and_waits_for_its_packets() {
        let start = Instant::now();
        let mut ids = FragmentIds::default();
        let free = |_: &dyn Fn(u16) -> bool| false;
        for id in 0..=u16::MAX {
            assert_eq!(ids.next(start, free), Some(id));
        }
        assert_eq!(ids.next(start + REST - Duration::from_millis(1), free), None);
        assert_eq!(ids.resting_until(), Some(start + REST));
        assert_eq!(
            ids.next(start + REST, |in_block| in_block(1023)),
            None,
            "a packet of the block is in flight"
        );
        assert_eq!(ids.next(start + REST, |in_block| in_block(1024)), Some(0));
        assert_eq!(ids.resting_until(), None);
        assert_eq!(ids.next(start + REST, free), Some(1));
    }
}

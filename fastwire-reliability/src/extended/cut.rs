//! How much of a message fits into what is left of a packet, and the DATA frame for it.

use fastwire_wire::extended::{Data, MIN_PIECE, Piece};
use fastwire_wire::varint_len;

/// A message that would fit into a packet of its own is cut only if at least this much room would stay empty: putting
/// the pieces together costs the receiver a copy.
pub(crate) const WORTH_CUTTING: usize = 256;

/// A message, or a part of it, that wants to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) channel: u8,
    pub(crate) number: u64,
    pub(crate) content: u8,
    /// The whole message.
    pub(crate) message: &'a [u8],
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// What was written of a [`Part`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    /// Bytes of the packet.
    pub(crate) len: usize,
    /// Bytes of the message; they may begin before the part did.
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// All of the message.
    pub(crate) whole: bool,
}

impl Part<'_> {
    fn total(&self) -> u32 {
        // no message is longer than 64 MiB
        self.message.len() as u32
    }

    fn overhead(&self) -> usize {
        2 + varint_len(self.number as u32) + usize::from(self.content != 0)
    }

    /// Whether the whole message fits into so much room as one frame.
    pub(crate) fn fits_whole(&self, room: usize) -> bool {
        fits(self.message.len(), self.overhead(), room).is_some()
    }

    /// Writes the whole message as one frame, if it fits.
    pub(crate) fn put_whole(&self, room: &mut [u8]) -> Option<Put> {
        let last = fits(self.message.len(), self.overhead(), room.len())?;
        self.put(room, 0, self.total(), None, last)
    }

    /// Writes the part, or as much of it as the room takes; nothing if that would be needlessly little.
    pub(crate) fn put_piece(&self, room: &mut [u8]) -> Option<Put> {
        let (total, least) = (self.total(), MIN_PIECE as u32);
        let (mut start, mut end) = (self.start, self.end.min(total));
        if end < total && end.saturating_sub(start) < least {
            // a piece that ends inside the message has a least size: more bytes than asked for
            start = end.saturating_sub(least);
            end = (start + least).min(total);
        }
        if start == 0
            && end == total
            && let Some(put) = self.put_whole(room)
        {
            return Some(put);
        }
        let overhead = self.overhead() + varint_len(start) + varint_len(total);
        let rest = end.checked_sub(start)? as usize;
        let (len, last) = match fits(rest, overhead, room.len()) {
            Some(last) => (rest, last),
            None => cut(rest, overhead, room.len())?,
        };
        self.put(room, start, start + len as u32, Some(Piece { offset: start, total }), last)
    }

    fn put(&self, room: &mut [u8], start: u32, end: u32, piece: Option<Piece>, last: bool) -> Option<Put> {
        let payload = self.message.get(start as usize..end as usize)?;
        let data = Data {
            channel: self.channel,
            message: self.number as u32,
            piece,
            content: self.content,
            payload,
        };
        let len = data.encode(room, last).ok()?;
        Some(Put { len, start, end, whole: piece.is_none() })
    }
}

/// Whether `rest` bytes fit: with a length (false), or because they fill the room exactly (true).
fn fits(rest: usize, overhead: usize, room: usize) -> Option<bool> {
    let needed = overhead + rest;
    if needed + varint_len(rest as u32) <= room { Some(false) } else { (needed == room).then_some(true) }
}

/// As many of `rest` bytes as the room takes, and whether they fill it so that no length is needed.
fn cut(rest: usize, overhead: usize, room: usize) -> Option<(usize, bool)> {
    let len = room.checked_sub(overhead)?;
    // Where all would fit without a length, but not fill the room: fewer, with one.
    let (len, last) = if len < rest {
        (len, true)
    } else {
        (len.checked_sub(varint_len(rest as u32))?.min(rest - 1), false)
    };
    (len >= MIN_PIECE).then_some((len, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastwire_wire::extended::{Frame, Frames};
    use proptest::prelude::*;

    proptest! {
        /// Whatever part is asked for and whatever room there is: what is written can be read, lies in the room, makes
        /// progress, and a frame without a length fills the room.
        #[test]
        fn what_is_put_is_sound(
            len in 0usize..4000, from in 0usize..4000, size in 0usize..4000, room in 0usize..1500, number: u64, content in 0u8..4,
        ) {
            let message: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let start = from % len.max(1);
            let end = (start + size.max(1)).min(len);
            let part = Part { channel: 3, number, content, message: &message, start: start as u32, end: end as u32 };
            let mut buffer = vec![0xee; room];
            let Some(put) = part.put_piece(&mut buffer) else {
                prop_assert!(room < 64 + 16 && (size < len || !part.fits_whole(room)));
                return Ok(());
            };
            prop_assert!(put.end as usize > start || len == 0);
            prop_assert!(put.start as usize <= start);
            let frames: Vec<_> = Frames::new(&buffer[..put.len]).unwrap().collect();
            let Ok(Frame::Data(data)) = frames[0] else { panic!("{frames:?}") };
            prop_assert_eq!((frames.len(), data.message, data.content), (1, number as u32, content));
            prop_assert_eq!(data.payload, &message[put.start as usize..put.end as usize]);
            let piece = Piece { offset: put.start, total: len as u32 };
            prop_assert_eq!(data.piece, (!put.whole).then_some(piece));
            prop_assert!(buffer[0] & 2 == 0 || put.len == room);
        }
    }
}

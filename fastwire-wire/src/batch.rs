//! Batch frames: many sealed packets in one datagram (PROTOCOL A9).
//!
//! `[count 1]`, then `count` times `[length 2 LE][packet]`. A frame is checked as a whole before its
//! first packet is handed out, so a broken frame has no effect and reading a checked one cannot fail.

use core::ops::Range;

use crate::{DecodeError, EncodeError, MAX_BATCH_PACKETS, sum};

/// Bytes that a frame adds to a datagram.
pub const FRAME_OVERHEAD: usize = 1;

/// Bytes that a frame adds to each of its packets.
pub const ENTRY_OVERHEAD: usize = 2;

/// The packets of a frame, in order.
///
/// ```
/// use fastwire_wire::BatchReader;
///
/// let frame = [2, 1, 0, b'a', 2, 0, b'b', b'c'];
/// let packets: Vec<&[u8]> = BatchReader::new(&frame)?.collect();
/// assert_eq!(packets, [b"a".as_slice(), b"bc"]);
/// # Ok::<(), fastwire_wire::DecodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BatchReader<'a> {
    frame: &'a [u8],
    cursor: BatchCursor,
}

impl<'a> BatchReader<'a> {
    /// Checks the whole frame. Bytes after its last packet are ignored.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidBatchFrame`] if the count is 0 or a packet is missing or cut short.
    pub fn new(frame: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(Self { frame, cursor: BatchCursor::new(frame)? })
    }
}

impl<'a> Iterator for BatchReader<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.frame.get(self.cursor.next(self.frame)?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.cursor.left.into(), Some(self.cursor.left.into()))
    }
}

impl ExactSizeIterator for BatchReader<'_> {}

/// A place in a frame that does not borrow it, so that packets can be opened where they lie.
///
/// ```
/// use fastwire_wire::BatchCursor;
///
/// let mut frame = [2, 1, 0, b'a', 2, 0, b'b', b'c'];
/// let mut cursor = BatchCursor::new(&frame)?;
/// while let Some(packet) = cursor.next(&frame) {
///     frame[packet].make_ascii_uppercase();
/// }
/// assert_eq!(frame, [2, 1, 0, b'A', 2, 0, b'B', b'C']);
/// # Ok::<(), fastwire_wire::DecodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BatchCursor {
    /// Where the next entry begins.
    offset: usize,
    /// Packets that were not handed out.
    left: u8,
}

impl BatchCursor {
    /// Checks the whole frame. Bytes after its last packet are ignored.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidBatchFrame`] if the count is 0 or a packet is missing or cut short.
    pub fn new(frame: &[u8]) -> Result<Self, DecodeError> {
        let count = frame.first().copied().unwrap_or_default();
        let start = Self { offset: FRAME_OVERHEAD, left: count };
        let mut check = start.clone();
        while check.next(frame).is_some() {}
        if count == 0 || check.left > 0 {
            let (complete, available) = (count.saturating_sub(check.left), frame.len());
            return Err(DecodeError::InvalidBatchFrame { count, complete, available });
        }
        Ok(start)
    }

    /// Where in `frame` the next packet lies; `None` after the last.
    ///
    /// `frame` must be the one this cursor was made for, its lengths unchanged. Given another, the
    /// answer is of no use, but always a range of that frame.
    pub fn next(&mut self, frame: &[u8]) -> Option<Range<usize>> {
        let left = self.left.checked_sub(1)?;
        let (length, rest) = frame.get(self.offset..)?.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes(*length));
        if length > rest.len() {
            return None;
        }
        let start = sum::end(self.offset, ENTRY_OVERHEAD);
        self.offset = sum::end(start, length);
        self.left = left;
        Some(start..self.offset)
    }
}

/// Fills a buffer with packets, up to the buffer's end or 255 of them.
///
/// A packet that lies elsewhere is copied with [`push`](Self::push); one that is built and sealed in
/// place goes into [`room`](Self::room) and is taken over by [`commit`](Self::commit).
#[derive(Debug)]
pub struct BatchWriter<'a> {
    out: &'a mut [u8],
    /// Bytes used, the count's place included; may exceed `out.len()` only while `count` is 0.
    used: usize,
    count: u8,
}

impl<'a> BatchWriter<'a> {
    /// Begins an empty frame. `out.len()` is the limit for the whole datagram.
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, used: FRAME_OVERHEAD, count: 0 }
    }

    /// The number of packets in the frame.
    pub const fn count(&self) -> u8 {
        self.count
    }

    /// The length of the largest packet that still fits; 0 also means that none does.
    pub fn remaining(&self) -> usize {
        if usize::from(self.count) == MAX_BATCH_PACKETS {
            return 0;
        }
        self.out.len().saturating_sub(sum::end(self.used, ENTRY_OVERHEAD)).min(u16::MAX.into())
    }

    /// Appends a copy of `packet`.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BatchFull`] after 255 packets, [`EncodeError::PacketTooLong`] above 65 535
    /// bytes, [`EncodeError::BufferTooSmall`]; the frame is unchanged then.
    pub fn push(&mut self, packet: &[u8]) -> Result<(), EncodeError> {
        self.append(packet.len(), |slot| slot.copy_from_slice(packet))
    }

    /// The place where the next packet may be built.
    pub fn room(&mut self) -> &mut [u8] {
        let (start, len) = (sum::end(self.used, ENTRY_OVERHEAD), self.remaining());
        self.out.get_mut(start..).and_then(|out| out.get_mut(..len)).unwrap_or_default()
    }

    /// Takes over the first `len` bytes of [`room`](Self::room) as the next packet.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn commit(&mut self, len: usize) -> Result<(), EncodeError> {
        self.append(len, |_| ())
    }

    /// Ends the frame and returns the bytes of the datagram; 0 if there is no packet in it.
    pub fn finish(self) -> usize {
        match (self.count, self.out.first_mut()) {
            (1.., Some(first)) => {
                *first = self.count;
                self.used
            }
            _ => 0,
        }
    }

    fn append(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), EncodeError> {
        if usize::from(self.count) == MAX_BATCH_PACKETS {
            return Err(EncodeError::BatchFull);
        }
        let field = u16::try_from(length).map_err(|_| EncodeError::PacketTooLong { length })?;
        let available = self.out.len().saturating_sub(self.used);
        let needed = sum::end(ENTRY_OVERHEAD, length);
        let entry = self.out.get_mut(self.used..).and_then(|out| out.get_mut(..needed));
        let Some((head, body)) = entry.and_then(|entry| entry.split_first_chunk_mut()) else {
            return Err(EncodeError::BufferTooSmall { needed, available });
        };
        *head = field.to_le_bytes();
        fill(body);
        self.used = sum::end(self.used, needed);
        self.count = self.count.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn an_empty_frame_is_no_datagram() {
        assert_eq!(BatchWriter::new(&mut [0; 8]).finish(), 0);
        assert_eq!(BatchWriter::new(&mut []).finish(), 0);
        let mut none = [];
        let mut writer = BatchWriter::new(&mut none);
        assert_eq!((writer.remaining(), writer.room().len()), (0, 0));
        assert!(writer.push(&[]).is_err());
    }

    #[test]
    fn a_packet_that_does_not_fit_changes_nothing() {
        let mut out = [0; 7];
        let mut writer = BatchWriter::new(&mut out);
        writer.push(b"ab").unwrap();
        assert_eq!(writer.push(b"c"), Err(EncodeError::BufferTooSmall { needed: 3, available: 2 }));
        writer.push(b"").unwrap();
        assert_eq!(writer.finish(), 7);
        assert_eq!(out, [2, 2, 0, b'a', b'b', 0, 0]);
    }

    #[test]
    fn the_count_ends_at_255() {
        let mut out = vec![0; 1024];
        let mut writer = BatchWriter::new(&mut out);
        for _ in 0..MAX_BATCH_PACKETS {
            writer.push(&[9]).unwrap();
        }
        assert_eq!((writer.push(&[9]), writer.remaining()), (Err(EncodeError::BatchFull), 0));
        let len = writer.finish();
        assert_eq!(BatchReader::new(&out[..len]).unwrap().len(), 255);
    }

    #[test]
    fn a_cursor_on_another_frame_stays_inside_it() {
        let mut cursor = BatchCursor::new(&[3, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(cursor.next(&[]), None);
        assert_eq!(cursor.next(&[3, 0xff, 0xff, 1]), None);
        assert_eq!(cursor.next(&[3, 1, 0, 7]), Some(3..4));
        assert_eq!(cursor.next(&[3]), None);
    }
}

//! The sending half of one channel: messages that wait, that are under way, that were lost; the stream's end; credit.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::copies::Copies;
use super::cut::{Part, Put, WORTH_CUTTING};
use super::held::Held;
use super::ranges::Ranges;
use super::{MESSAGE_CREDIT, SPAN};
use crate::asks::{Asks, Key};
use crate::{ChannelConfig, DeliveryMode, MessageFate};

/// A message that waits to be sent.
#[derive(Debug)]
struct Queued {
    message: Held,
    content: u8,
    asked: Key,
}

/// A reliable message with a number. Empty once it is acknowledged.
#[derive(Debug)]
struct Begun {
    message: Bytes,
    content: u8,
    done: bool,
    /// It stands in `repeats`.
    listed: bool,
    /// It left in one frame only, and that was lost.
    lost: bool,
    asked: Key,
    /// `None` while it left in one frame.
    pieces: Option<Box<Pieces>>,
}

#[derive(Debug, Default)]
struct Pieces {
    acked: Ranges,
    lost: Ranges,
}

/// The message whose first transmission has begun and not ended.
#[derive(Debug)]
struct Cutting {
    number: u64,
    message: Bytes,
    content: u8,
    sent: u32,
    asked: Key,
}

/// How the own half of a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The number it took.
    pub(crate) number: u64,
    /// RESET with this code, else FIN.
    pub(crate) reset: Option<u16>,
    pub(crate) acked: bool,
}

/// What left, and what that means for the counts of what waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    pub(crate) put: Put,
    pub(crate) number: u64,
    /// Bytes sent for the first time.
    pub(crate) bytes: usize,
    /// The message's last bytes left.
    pub(crate) last: bool,
    /// It is the first of the message that left.
    pub(crate) begun: bool,
    /// What an unreliable message asked for; reliable ones keep that to themselves.
    pub(crate) asked: Key,
}

/// The sending half of one channel.
#[derive(Debug)]
pub(crate) struct Outbox {
    mode: DeliveryMode,
    queue: VecDeque<Queued>,
    /// Bytes that were never sent, of `queue` and `cutting`.
    unsent: usize,
    /// So many at the front of `queue` could have left and did not.
    offered: usize,
    cutting: Option<Cutting>,
    /// Reliable messages from the oldest unfinished on; index = number − first.
    begun: VecDeque<Begun>,
    first: u64,
    /// The number the next message gets.
    next: u64,
    /// Messages with something lost, the oldest first: the others may wait for it.
    repeats: VecDeque<u64>,
    /// Credit used and granted.
    used: u64,
    limit: u64,
    /// The application ended the current stream's half.
    closed: bool,
    /// Halves it ended so far.
    closings: u64,
    /// The end that takes its number once what is queued has left and the stream before is over.
    closing: Option<Option<u16>>,
    /// The end that took its number last.
    end: Option<End>,
    /// Ends that took a number.
    ends: u64,
    /// `end` waits to leave, for the first time or again.
    end_due: bool,
    latest_only: bool,
    /// When the first of `queue` expires, or earlier.
    expires: Option<Instant>,
    /// `None`: nothing is repeated before it is lost.
    copies: Option<Box<Copies>>,
}

impl Outbox {
    /// An outbox whose first message gets number `first`.
    pub(crate) fn starting_at(mode: DeliveryMode, limit: u64, first: u64) -> Self {
        Self {
            mode,
            queue: VecDeque::new(),
            unsent: 0,
            offered: 0,
            cutting: None,
            begun: VecDeque::new(),
            first,
            next: first,
            repeats: VecDeque::new(),
            used: 0,
            limit,
            closed: false,
            closings: 0,
            closing: None,
            end: None,
            ends: 0,
            end_due: false,
            latest_only: false,
            expires: None,
            copies: None,
        }
    }

    /// Has it treat its messages so.
    pub(crate) fn configured(mut self, config: &ChannelConfig) -> Self {
        self.latest_only = config.latest_only;
        let copies = config.redundancy.filter(|_| self.is_reliable());
        self.copies = copies.map(|config| Box::new(Copies::new(config)));
        self
    }

    pub(crate) fn is_reliable(&self) -> bool {
        self.mode.is_reliable()
    }

    /// Whether a message, or an end, may be added, if the application has seen the peer end `peer_ends` streams. With the
    /// ends of both sides a stream is over, and what comes belongs to the next.
    pub(crate) fn is_open(&self, peer_ends: u64) -> bool {
        !self.closed || (self.closing.is_none() && peer_ends >= self.closings)
    }

    /// Queues a message; returns how many messages and bytes it superseded (PROTOCOL B5, UnreliableSequenced): those
    /// that could have left before and had to wait, or all.
    pub(crate) fn push(&mut self, message: Held, content: u8, asked: Key, asks: &mut Asks) -> (usize, usize) {
        self.closed = false;
        let mut superseded = (0, 0);
        if self.mode == DeliveryMode::UnreliableSequenced && (self.offered > 0 || self.latest_only) {
            let old = if self.latest_only { self.queue.len() } else { self.offered.min(self.queue.len()) };
            for old in self.queue.drain(..old) {
                superseded = (superseded.0 + 1, superseded.1 + old.message.len());
                asks.settle(old.asked, MessageFate::Superseded);
            }
            self.offered = 0;
        }
        self.unsent = self.unsent + message.len() - superseded.1;
        self.queue.push_back(Queued { message, content, asked });
        if let Some(at) = asks.expires_at(asked) {
            self.expires = Some(self.expires.map_or(at, |first| first.min(at)));
        }
        superseded
    }

    /// When [`expire`](Self::expire) may have something to do.
    pub(crate) fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Drops what need not leave any more, if its first piece has not. Gives how many messages and bytes.
    pub(crate) fn expire(&mut self, now: Instant, asks: &mut Asks) -> (usize, usize) {
        let (mut gone, mut next, mut index, mut offered) = ((0, 0), None, 0, self.offered);
        self.queue.retain(|queued| {
            let at = asks.expires_at(queued.asked);
            let expired = at.is_some_and(|at| at <= now);
            if expired {
                asks.settle(queued.asked, MessageFate::Expired);
                gone = (gone.0 + 1, gone.1 + queued.message.len());
                offered -= usize::from(index < self.offered);
            } else if let Some(at) = at {
                next = Some(next.map_or(at, |first: Instant| first.min(at)));
            }
            index += 1;
            !expired
        });
        self.offered = offered;
        self.unsent -= gone.1;
        self.expires = next;
        gone
    }

    /// Bytes that wait to be sent for the first time.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent
    }

    /// What waits had its chance to leave.
    pub(crate) fn note_offered(&mut self) {
        self.offered = self.queue.len();
    }

    /// Ends the stream after what is queued.
    pub(crate) fn finish(&mut self) {
        self.closed = true;
        self.closings += 1;
        self.closing = Some(None);
    }

    /// Whether a RESET still makes a difference, `peer_ends` as for [`is_open`](Self::is_open).
    pub(crate) fn can_reset(&self, peer_ends: u64) -> bool {
        let ending = self.closing.is_some() || self.is_finishing();
        self.is_open(peer_ends) || (ending && !self.is_ended(peer_ends))
    }

    /// The application has ended the current stream's half and has seen the peer do so: it is done with that stream, which
    /// has to arrive all the same.
    fn is_ended(&self, peer_ends: u64) -> bool {
        self.closed && peer_ends >= self.closings
    }

    /// The current stream was finished, and the peer does not have all of it yet.
    fn is_finishing(&self) -> bool {
        let finished = self.end.is_some_and(|end| end.reset.is_none());
        self.closed && self.closing.is_none() && finished && !self.is_over()
    }

    /// Ends the stream at once, `peer_ends` as for [`is_open`](Self::is_open). Returns the messages and bytes that waited, and the reliable messages that were under way.
    pub(crate) fn reset(&mut self, code: u16, peer_ends: u64, asks: &mut Asks) -> (usize, usize, usize) {
        let (messages, mut bytes) = (self.queue.len() + usize::from(self.cutting.is_some()), 0);
        for queued in self.queue.drain(..) {
            bytes += queued.message.len();
            asks.settle(queued.asked, MessageFate::Lost);
        }
        bytes += self.cutting.take().map_or(0, |cutting| cutting.message.len() - cutting.sent as usize);
        self.offered = 0;
        self.unsent = 0;
        let (finishing, mut under_way) = (self.is_finishing() && !self.is_ended(peer_ends), 0);
        // before a stream is over nothing of the next is under way: then what is belongs to the one before
        if finishing || self.is_over() {
            for begun in self.begun.drain(..).filter(|begun| !begun.done) {
                under_way += 1;
                asks.settle(begun.asked, MessageFate::Lost);
            }
            if let Some(copies) = &mut self.copies {
                copies.clear();
            }
            self.repeats.clear();
            self.first = self.next;
        }
        if finishing {
            // it takes the number of the FIN
            if let Some(end) = &mut self.end {
                (end.reset, end.acked) = (Some(code), false);
                self.end_due = true;
            }
            return (messages, bytes, under_way);
        }
        if self.closing.is_none() {
            self.closings += 1;
        }
        self.closed = true;
        self.closing = Some(Some(code));
        (messages, bytes, under_way)
    }

    /// Whether new data may leave: nothing of a stream before the last one is acknowledged.
    fn may_begin(&self, len: usize) -> bool {
        if !self.mode.is_reliable() {
            return true;
        }
        self.is_over()
            && self.next - self.first < SPAN
            && self.used.saturating_add(len as u64 + MESSAGE_CREDIT) <= self.limit
    }

    /// Whether something new can leave.
    pub(crate) fn has_new(&self) -> bool {
        self.cutting.is_some() || self.queue.front().is_some_and(|front| self.may_begin(front.message.len()))
    }

    /// The length of the next message that was not begun.
    pub(crate) fn next_len(&self) -> Option<usize> {
        self.queue.front().filter(|_| self.cutting.is_none()).map(|next| next.message.len())
    }

    /// Whether something waits, be it for credit.
    pub(crate) fn is_waiting(&self) -> bool {
        self.cutting.is_some() || !self.queue.is_empty()
    }

    pub(crate) fn has_repeats(&self) -> bool {
        !self.repeats.is_empty()
    }

    /// Whether the stream's end can leave now.
    pub(crate) fn has_end(&self) -> bool {
        let room = self.next - self.first < SPAN;
        self.end_due || (self.closing.is_some() && !self.is_waiting() && self.is_over() && room)
    }

    /// Whether the peer has the stream that was ended last, with its end.
    fn is_over(&self) -> bool {
        self.end.is_none_or(|end| end.acked && self.first > end.number)
    }

    /// Whether an end was asked for and is not acknowledged.
    pub(crate) fn is_ending(&self) -> bool {
        self.closing.is_some() || self.end.is_some_and(|end| !end.acked)
    }

    /// The end to be written now, and the credit used up to it.
    pub(crate) fn take_end(&mut self) -> Option<(End, u64)> {
        if !self.has_end() {
            return None;
        }
        if !self.end_due {
            let reset = self.closing.take()?;
            self.end = Some(End { number: self.next, reset, acked: false });
            self.ends += 1;
            self.next += 1;
            if self.begun.is_empty() {
                self.first = self.next;
            } else {
                // it stands in the line, and needs nothing of its own
                self.begun.push_back(Begun::done());
            }
        }
        self.end_due = false;
        self.end.map(|end| (end, self.used))
    }

    /// An end could not be written after all, or was lost.
    pub(crate) fn end_lost(&mut self, number: u64, reset: bool) {
        if self.end.is_some_and(|end| end.number == number && end.reset.is_some() == reset && !end.acked) {
            self.end_due = true;
        }
    }

    pub(crate) fn end_acked(&mut self, number: u64, reset: bool) {
        if let Some(end) = &mut self.end
            && end.number == number
            && end.reset.is_some() == reset
        {
            end.acked = true;
            self.end_due = false;
        }
    }

    /// Ends that took a number so far: the peer may know of so many.
    pub(crate) fn ends(&self) -> u64 {
        self.ends
    }

    /// Raises the credit.
    pub(crate) fn grant(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Writes the next message that was not sent before, or more of it. `fresh`: the room of an empty packet. `None`: it
    /// does not fit here.
    pub(crate) fn put_new(
        &mut self,
        channel: u8,
        room: &mut [u8],
        fresh: usize,
        asks: &mut Asks,
        now: Instant,
    ) -> Option<Left> {
        if self.cutting.is_none() {
            let front = self.queue.front()?;
            let number = self.next;
            let (content, len, asked) = (front.content, front.message.len(), front.asked);
            let part = Part { channel, number, content, message: &front.message, start: 0, end: len as u32 };
            if let Some(put) = part.put_whole(room) {
                let message = self.queue.pop_front()?.message;
                self.unsent -= len;
                asks.left(asked, now);
                self.begin(message, content, asked);
                if let Some(copies) = &mut self.copies {
                    copies.on_new(number, len, now);
                }
                return Some(Left { put, number, bytes: len, last: true, begun: true, asked });
            }
            let worth = self.mode.is_reliable() && room.len() >= WORTH_CUTTING;
            if part.fits_whole(fresh) && !worth {
                return None;
            }
            let put = part.put_piece(room)?;
            let message = self.queue.pop_front()?.message.into_bytes();
            self.unsent -= put.end as usize;
            self.cutting = Some(Cutting { number, message: message.clone(), content, sent: put.end, asked });
            asks.left(asked, now);
            self.begin(Held::Shared(message), content, asked);
            if let Some(begun) = self.begun.back_mut() {
                begun.pieces = Some(Box::default());
            }
            return Some(Left { put, number, bytes: put.end as usize, last: false, begun: true, asked });
        }
        let cutting = self.cutting.as_mut()?;
        let (number, end, asked) = (cutting.number, cutting.message.len() as u32, cutting.asked);
        let part = Part {
            channel,
            number,
            content: cutting.content,
            message: &cutting.message,
            start: cutting.sent,
            end,
        };
        let put = part.put_piece(room)?;
        let bytes = put.end.saturating_sub(cutting.sent) as usize;
        self.unsent -= bytes;
        cutting.sent = put.end;
        let last = put.end >= end;
        if last {
            self.cutting = None;
        }
        Some(Left { put, number, bytes, last, begun: false, asked })
    }

    /// Writes the next lost piece. `None`: none is lost, or it does not fit here.
    pub(crate) fn put_repeat(
        &mut self,
        channel: u8,
        room: &mut [u8],
        fresh: usize,
        now: Instant,
    ) -> Option<(Put, u64)> {
        self.prune_repeats();
        let &number = self.repeats.front()?;
        let begun = self.begun_mut(number)?;
        let end = begun.message.len() as u32;
        let (start, stop) = begun.pieces.as_ref().and_then(|pieces| pieces.lost.first()).unwrap_or((0, end));
        let part =
            Part { channel, number, content: begun.content, message: &begun.message, start, end: stop };
        if room.len() < WORTH_CUTTING && part.fits_whole(fresh) && !part.fits_whole(room.len()) {
            return None;
        }
        let put = part.put_piece(room)?;
        match &mut begun.pieces {
            Some(pieces) => pieces.lost.remove(put.start, put.end),
            None if put.whole => {}
            None => {
                let mut pieces = Pieces::default();
                pieces.lost.insert(put.end, end);
                begun.pieces = Some(Box::new(pieces));
            }
        }
        begun.lost = false;
        if put.whole
            && let Some(copies) = &mut self.copies
        {
            copies.repeated(number, now);
        }
        self.prune_repeats();
        Some((put, number))
    }

    /// Writes the newest message below `below` that goes along once more, whole. Gives its number; `Some` with nothing put: it
    /// does not fit.
    pub(crate) fn put_redundant(
        &mut self,
        channel: u8,
        below: u64,
        room: &mut [u8],
        now: Instant,
    ) -> Option<(u64, Option<Put>)> {
        let number = self.copies.as_ref()?.next(below, now)?;
        let Some(begun) = self.begun_mut(number) else { return Some((number, None)) };
        let end = begun.message.len() as u32;
        let part = Part { channel, number, content: begun.content, message: &begun.message, start: 0, end };
        let put = part.put_whole(room);
        if put.is_some()
            && let Some(copies) = &mut self.copies
        {
            copies.copied(number, now);
        }
        Some((number, put))
    }

    /// Writes a copy of what may still be under way, if it is not acknowledged.
    pub(crate) fn put_copy(
        &mut self,
        channel: u8,
        number: u64,
        stretch: Option<(u32, u32)>,
        room: &mut [u8],
    ) -> Option<Put> {
        let begun = self.begun_mut(number)?;
        let (start, end) = stretch.unwrap_or((0, begun.message.len() as u32));
        if let Some(pieces) = &begun.pieces
            && pieces.acked.gaps(start, end).next().is_none()
        {
            return None;
        }
        let part = Part { channel, number, content: begun.content, message: &begun.message, start, end };
        let put = part.put_piece(room)?;
        if !put.whole && begun.pieces.is_none() {
            begun.pieces = Some(Box::default());
        }
        Some(put)
    }

    /// Whole messages were acknowledged. Returns how many were unfinished until now.
    pub(crate) fn whole_acked(&mut self, first: u64, count: u32, asks: &mut Asks) -> usize {
        let numbers = first..first.saturating_add(count.into());
        let finished = numbers.filter(|&number| self.complete(number, asks)).count();
        self.advance();
        finished
    }

    /// A piece was acknowledged; whether that finished its message.
    pub(crate) fn piece_acked(&mut self, number: u64, start: u32, end: u32, asks: &mut Asks) -> bool {
        let Some(begun) = self.begun_mut(number) else { return false };
        let len = begun.message.len() as u32;
        let pieces = begun.pieces.get_or_insert_default();
        if std::mem::take(&mut begun.lost) {
            pieces.lost.insert(0, len);
        }
        pieces.acked.insert(start, end);
        if !pieces.lost.is_empty() {
            pieces.lost.remove(start, end);
        }
        let finished = pieces.acked.covers(len) && self.complete(number, asks);
        if finished || !self.repeats.is_empty() {
            self.advance();
        }
        finished
    }

    /// Whole messages were lost; none is finished by that.
    pub(crate) fn whole_lost(&mut self, first: u64, count: u32) -> usize {
        for number in first..first.saturating_add(count.into()) {
            if self.copies.as_mut().is_some_and(|copies| copies.lost(number)) {
                continue;
            }
            let Some(begun) = self.begun_mut(number) else { continue };
            let len = begun.message.len() as u32;
            match &mut begun.pieces {
                None => begun.lost = true,
                Some(pieces) => pieces.lose(0, len),
            }
            self.list(number);
        }
        self.prune_repeats();
        0
    }

    /// A piece was lost; no message is finished by that.
    pub(crate) fn piece_lost(&mut self, number: u64, start: u32, end: u32) -> usize {
        if let Some(begun) = self.begun_mut(number) {
            let len = begun.message.len() as u32;
            let pieces = begun.pieces.get_or_insert_default();
            let (start, end) = if std::mem::take(&mut begun.lost) { (0, len) } else { (start, end) };
            pieces.lose(start, end);
            self.list(number);
            self.prune_repeats();
        }
        0
    }

    /// Reliable messages not wholly acknowledged: number, if any, and length.
    pub(crate) fn undelivered(&self) -> impl Iterator<Item = (Option<u32>, usize)> + '_ {
        let begun = self.begun.iter().zip(self.first..).filter(|(begun, _)| !begun.done);
        let begun = begun.map(|(begun, number)| (Some(number as u32), begun.message.len()));
        begun.chain(self.queue.iter().map(|queued| (None, queued.message.len())))
    }

    /// Gives back memory that a burst took.
    pub(crate) fn trim(&mut self) {
        self.queue.shrink_to_fit();
        self.begun.shrink_to_fit();
        self.repeats.shrink_to_fit();
    }

    fn begin(&mut self, message: Held, content: u8, asked: Key) {
        self.next += 1;
        self.offered = self.offered.saturating_sub(1);
        if self.mode.is_reliable() {
            let message = message.into_bytes();
            self.used += message.len() as u64 + MESSAGE_CREDIT;
            self.begun.push_back(Begun { message, content, asked, ..Begun::new() });
        }
    }

    fn begun_mut(&mut self, number: u64) -> Option<&mut Begun> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.begun.get_mut(index).filter(|begun| !begun.done)
    }

    fn complete(&mut self, number: u64, asks: &mut Asks) -> bool {
        let Some(begun) = self.begun_mut(number) else { return false };
        let asked = begun.asked;
        *begun = Begun::done();
        if asked != 0 {
            asks.acknowledged(asked);
        }
        if let Some(copies) = &mut self.copies {
            copies.done(number);
        }
        true
    }

    fn advance(&mut self) {
        self.prune_repeats();
        while self.begun.front().is_some_and(|begun| begun.done) {
            self.begun.pop_front();
            self.first += 1;
        }
    }

    /// Restores what `repeats` promises: the message in front has something lost.
    fn prune_repeats(&mut self) {
        while let Some(&number) = self.repeats.front() {
            if let Some(begun) = self.begun_mut(number) {
                if begun.lost || begun.pieces.as_ref().is_some_and(|pieces| !pieces.lost.is_empty()) {
                    break;
                }
                begun.listed = false;
            }
            self.repeats.pop_front();
        }
    }

    fn list(&mut self, number: u64) {
        if let Some(begun) = self.begun_mut(number).filter(|begun| !begun.listed) {
            begun.listed = true;
            // mostly at the end: what is lost is found in the order of sending
            let at = self.repeats.partition_point(|&other| other < number);
            self.repeats.insert(at, number);
        }
    }
}

impl Begun {
    fn new() -> Self {
        Self {
            message: Bytes::new(),
            content: 0,
            done: false,
            listed: false,
            lost: false,
            asked: 0,
            pieces: None,
        }
    }

    fn done() -> Self {
        Self { done: true, ..Self::new() }
    }
}

impl Pieces {
    fn lose(&mut self, start: u32, end: u32) {
        for (start, end) in self.acked.gaps(start, end) {
            self.lost.insert(start, end);
        }
    }
}

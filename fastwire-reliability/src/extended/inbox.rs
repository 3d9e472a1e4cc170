//! The receiving half of a reliable channel: what has arrived, what waits for its turn, what the peer may still send.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use fastwire_wire::FragmentFlags;
use fastwire_wire::extended::Data;

use super::deliveries::{Deliveries, Keep, cost};
use super::number::expand;
use super::partial::Partial;
use super::{Incoming, MESSAGE_CREDIT, SPAN};
use crate::quality::Quality;
use crate::{Delivery, Violation};

/// What the accounts leave out: small messages cost the allocator more than their credit.
const SLACK: u64 = 64 << 10;

/// A message above the lowest missing one.
#[derive(Debug)]
enum Slot {
    Missing,
    /// Delivered before its turn (unordered channels).
    Done,
    Whole(u8, Box<[u8]>),
    Partial(Box<Partial>),
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    News,
    Duplicate,
}

/// The receiving half of one reliable channel.
#[derive(Debug)]
pub(crate) struct Inbox {
    channel: u8,
    ordered: bool,
    /// Every number up to here is done.
    floor: u64,
    highest: u64,
    /// Numbers seen, of 1 to `highest`.
    known: u64,
    /// Credit those took.
    charged: u64,
    /// Index = number − floor − 1.
    slots: VecDeque<Slot>,
    /// What `slots` hold.
    held: usize,
    /// Credit of what waits for the application, and of what it has taken.
    waiting: u64,
    taken: u64,
    window: u64,
    /// The limit told to the peer.
    announced: u64,
    /// The number of the FIN that waits for what is before it.
    fin: Option<u64>,
    /// The peer's ends that were delivered, and that the application took.
    ends: u64,
    ends_seen: u64,
    pub(crate) quality: Quality,
}

impl Inbox {
    /// An inbox whose first message has number `first`.
    pub(crate) fn starting_at(channel: u8, ordered: bool, window: u64, first: u64) -> Self {
        Self {
            channel,
            ordered,
            floor: first - 1,
            highest: first - 1,
            known: first - 1,
            charged: 0,
            slots: VecDeque::new(),
            held: 0,
            waiting: 0,
            taken: 0,
            window,
            announced: window,
            fin: None,
            ends: 0,
            ends_seen: 0,
            quality: Quality::default(),
        }
    }

    /// Bytes held for the peer, overhead included.
    pub(crate) fn held(&self) -> usize {
        self.held + usize::try_from(self.waiting).unwrap_or(usize::MAX)
    }

    /// Ends of the peer that the application has seen.
    pub(crate) fn ends_seen(&self) -> u64 {
        self.ends_seen
    }

    /// The limit that can be told to the peer.
    pub(crate) fn limit(&self) -> u64 {
        self.taken + self.window
    }

    /// The limit the peer knows, or will.
    pub(crate) fn announced(&self) -> u64 {
        self.announced
    }

    /// Notes that the limit is told.
    pub(crate) fn announce(&mut self) -> u64 {
        self.announced = self.limit();
        self.announced
    }

    /// Whether the limit has risen enough to be told (PROTOCOL B5).
    pub(crate) fn owes_credit(&self) -> bool {
        self.limit() - self.announced >= (self.window / 4).max(1)
    }

    /// Whether a message of `longest` bytes might wait for credit that could be told.
    pub(crate) fn might_block(&self, longest: usize) -> bool {
        self.limit() > self.announced
            && self.announced.saturating_sub(self.used()) < longest as u64 + MESSAGE_CREDIT
    }

    /// Takes a message or a piece of one. `own_ends`: how many streams of the channel we ended.
    pub(crate) fn accept(
        &mut self,
        data: &Data<'_>,
        own_ends: u64,
        now: Instant,
        out: &mut Deliveries,
        keep: &mut Keep<'_>,
    ) -> Result<Taken, Violation> {
        let payload = data.payload;
        let number = expand(data.message, self.highest);
        if number <= self.floor {
            return Ok(Taken::Duplicate);
        }
        self.check(number, own_ends)?;
        let total = data.piece.map_or(payload.len() as u32, |piece| piece.total);
        let whole = payload.len() as u32 == total;
        let index = (number - self.floor - 1) as usize;
        let missing = matches!(self.slots.get(index), None | Some(Slot::Missing));
        if missing {
            self.count(number, u64::from(total) + MESSAGE_CREDIT)?;
            self.quality.arrived(number, now);
            if whole && index == 0 {
                self.slots.pop_front();
                self.floor += 1;
                let message = out.keep(payload, keep);
                self.deliver(data.content, message, out);
                self.drain(out);
                return Ok(Taken::News);
            }
        }
        while self.slots.len() <= index {
            self.slots.push_back(Slot::Missing);
        }
        let mismatch = Violation::PieceMismatch { channel: self.channel, message: data.message };
        let Some(slot) = self.slots.get_mut(index) else { return Ok(Taken::Duplicate) };
        let before = slot.held();
        match slot {
            Slot::Done => return Ok(Taken::Duplicate),
            Slot::Whole(content, bytes) => {
                let same = *content == data.content && bytes.len() == total as usize;
                return if same { Ok(Taken::Duplicate) } else { Err(mismatch) };
            }
            Slot::Missing if whole && self.ordered => {
                *slot = Slot::Whole(data.content, Box::from(payload));
                self.held += slot.held();
                return Ok(Taken::News);
            }
            Slot::Missing if whole => {
                *slot = Slot::Done;
                let message = out.keep(payload, keep);
                self.deliver(data.content, message, out);
                return Ok(Taken::News);
            }
            Slot::Missing => *slot = Slot::Partial(Box::new(Partial::new(total, data.content))),
            Slot::Partial(_) => {}
        }
        let Slot::Partial(partial) = slot else { return Ok(Taken::Duplicate) };
        let offset = data.piece.map_or(0, |piece| piece.offset);
        let complete = partial.add(offset, total, data.content, payload).map_err(|_| mismatch)?;
        self.held = self.held - before + slot.held();
        if complete {
            self.completed(index, out);
        }
        if self.held() as u64 > self.window.saturating_add(SLACK) {
            return Err(Violation::ReceiveBudget {
                channel: self.channel,
                held: self.held(),
                budget: usize::try_from(self.window).unwrap_or(usize::MAX),
            });
        }
        Ok(Taken::News)
    }

    /// Takes the end of the peer's half of the stream, which counts once everything before it is delivered.
    pub(crate) fn finish(
        &mut self,
        message: u32,
        own_ends: u64,
        out: &mut Deliveries,
    ) -> Result<Taken, Violation> {
        let number = expand(message, self.highest);
        if number <= self.floor || self.fin == Some(number) {
            return Ok(Taken::Duplicate);
        }
        self.check(number, own_ends)?;
        if number <= self.highest {
            return Err(Violation::BadEnd { channel: self.channel, message });
        }
        self.count(number, 0)?;
        self.fin = Some(number);
        self.drain(out);
        Ok(Taken::News)
    }

    /// Takes the end of the peer's half at once. `consumed`: credit the peer used up to it.
    pub(crate) fn reset(
        &mut self,
        message: u32,
        consumed: u64,
        code: u16,
        own_ends: u64,
        out: &mut Deliveries,
    ) -> Result<Taken, Violation> {
        let number = expand(message, self.highest);
        if number <= self.floor {
            return Ok(Taken::Duplicate);
        }
        if self.fin != Some(number) {
            self.check(number, own_ends)?;
        }
        let channel = self.channel;
        if number < self.highest
            || (number == self.highest && self.fin != Some(number))
            || consumed < self.charged
        {
            return Err(Violation::BadEnd { channel, message });
        }
        if consumed > self.announced {
            return Err(Violation::CreditExceeded { channel, used: consumed, limit: self.announced });
        }
        self.slots = VecDeque::new();
        self.held = 0;
        (self.floor, self.highest, self.known) = (number, number, number);
        self.charged = consumed;
        // what never comes counts as taken
        self.taken = consumed.saturating_sub(self.waiting);
        self.fin = None;
        self.ends += 1;
        out.push_reliable(Incoming::Reset { channel, code });
        Ok(Taken::News)
    }

    /// The application took a message of `len` bytes.
    pub(crate) fn took(&mut self, len: usize) {
        let credit = len as u64 + MESSAGE_CREDIT;
        self.waiting = self.waiting.saturating_sub(credit);
        self.taken += credit;
    }

    /// The application saw the peer's end.
    pub(crate) fn saw_end(&mut self) {
        self.ends_seen += 1;
    }

    pub(crate) fn trim(&mut self) {
        self.slots.shrink_to_fit();
    }

    /// The least the peer can have used: each number it left out was a message too.
    fn used(&self) -> u64 {
        self.charged + (self.highest - self.known) * MESSAGE_CREDIT
    }

    /// Whether a number above the floor may come.
    fn check(&self, number: u64, own_ends: u64) -> Result<(), Violation> {
        let (channel, message) = (self.channel, number as u32);
        if number - self.floor > SPAN {
            return Err(Violation::SpanExceeded { channel, message });
        }
        // the next stream begins once both sides have ended the last
        if self.fin.is_some_and(|fin| number >= fin) || self.ends > own_ends {
            return Err(Violation::AfterEnd { channel, message });
        }
        Ok(())
    }

    /// Counts a number that is seen for the first time and what it costs; nothing if that is beyond the limit, since a peer may
    /// go on sending after it was told that the connection is over.
    fn count(&mut self, number: u64, credit: u64) -> Result<(), Violation> {
        let before = (self.known, self.charged, self.highest);
        self.known += 1;
        self.charged += credit;
        self.highest = self.highest.max(number);
        let (channel, used, limit) = (self.channel, self.used(), self.announced);
        if used > limit {
            (self.known, self.charged, self.highest) = before;
            return Err(Violation::CreditExceeded { channel, used, limit });
        }
        Ok(())
    }

    fn completed(&mut self, index: usize, out: &mut Deliveries) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Slot::Partial(partial) = std::mem::replace(slot, Slot::Done) else { return };
        self.held -= partial.held();
        let (content, data) = (partial.content(), partial.into_bytes());
        if !self.ordered || index == 0 {
            self.deliver(content, data, out);
            if index == 0 {
                self.drain(out);
            }
        } else if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot::Whole(content, Vec::from(data).into());
            self.held += slot.held();
        }
    }

    fn deliver(&mut self, content: u8, data: Bytes, out: &mut Deliveries) {
        self.waiting += cost(data.len()) as u64;
        let (channel, content) = (self.channel, FragmentFlags::from_bits(content));
        out.push_reliable(Incoming::Message(Delivery { channel, content, data }));
    }

    /// Moves the floor over what is done.
    fn drain(&mut self, out: &mut Deliveries) {
        loop {
            if self.fin == Some(self.floor + 1) {
                self.fin = None;
                self.ends += 1;
                out.push_reliable(Incoming::Finished { channel: self.channel });
                self.slots.pop_front();
                self.floor += 1;
                continue;
            }
            match self.slots.front() {
                Some(Slot::Done | Slot::Whole(..)) => {}
                None | Some(Slot::Missing | Slot::Partial(_)) => break,
            }
            self.floor += 1;
            let Some(slot) = self.slots.pop_front() else { break };
            self.held -= slot.held();
            if let Slot::Whole(content, data) = slot {
                self.deliver(content, data.into(), out);
            }
        }
    }
}

impl Slot {
    fn held(&self) -> usize {
        match self {
            Self::Missing | Self::Done => 0,
            Self::Whole(_, data) => cost(data.len()),
            Self::Partial(partial) => partial.held(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Credit is told once it has risen by a quarter of the window, or where the largest message would have to wait.
        #[test]
        fn credit_is_told_a_quarter_at_a_time(
            window in 1u64..1 << 24,
            lengths in prop::collection::vec(0usize..100_000, 1..50),
            longest in 0usize..1 << 20,
        ) {
            let mut inbox = Inbox::starting_at(0, true, window, 1);
            let mut risen = 0;
            for len in lengths {
                prop_assert_eq!(inbox.owes_credit(), risen > 0 && risen >= window / 4);
                let left = inbox.announced();
                prop_assert_eq!(inbox.might_block(longest), risen > 0 && left < longest as u64 + MESSAGE_CREDIT);
                if inbox.owes_credit() {
                    prop_assert_eq!(inbox.announce(), left + risen);
                    risen = 0;
                }
                inbox.took(len);
                risen += len as u64 + MESSAGE_CREDIT;
            }
        }
    }
}

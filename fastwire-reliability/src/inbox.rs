//! The receiving half of one channel: what has arrived, what waits for its turn, what is to be acknowledged.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use fastwire_wire::{FragmentFlags, FragmentHeader};

use crate::DeliveryMode;
use crate::owed::Owed;
use crate::quality::Quality;
use crate::reassembly::{Joined, PIECE_OVERHEAD, Reassembly, Whole, first_of};
use crate::seen::Seen;

/// A packet's content.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) fragment: Option<FragmentHeader>,
    pub(crate) payload: Bytes,
}

impl Packet {
    /// A fragment of a message of two or more pieces, which has to wait for the others.
    pub(crate) fn piece(&self) -> Option<&FragmentHeader> {
        self.fragment.as_ref().filter(|header| header.count > 1 && !self.payload.is_empty())
    }

    /// An empty piece of several: takes its sequence and stands for nothing (PROTOCOL A6 rule 2).
    pub(crate) fn is_probe(&self) -> bool {
        self.payload.is_empty() && self.fragment.is_some_and(|header| header.count > 1)
    }
}

/// Where an inbox puts messages that are complete and whose turn it is.
pub(crate) type Deliver<'a> = &'a mut dyn FnMut(FragmentFlags, Bytes);

/// A fragment contradicts the earlier ones of its message.
#[derive(Debug)]
pub(crate) struct Contradiction(pub(crate) FragmentHeader);

/// The receiving half of one channel.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) seen: Seen,
    pub(crate) owed: Owed,
    pub(crate) reassembly: Reassembly,
    pub(crate) quality: Quality,
    /// Ordered channels: packets that came before their turn; index = sequence − floor − 1, the first always absent.
    early: VecDeque<Option<Packet>>,
    /// What `early` costs, without the reassembly.
    early_held: usize,
    /// Sequenced channels: the first sequence of the newest message delivered.
    newest: i64,
}

/// What an entry of `early` costs, be it absent.
const SLOT: usize = std::mem::size_of::<Option<Packet>>();

impl Inbox {
    /// An inbox whose first packet has sequence `first`.
    pub(crate) fn starting_at(first: u32) -> Self {
        Self {
            seen: Seen::starting_at(first),
            owed: Owed::default(),
            reassembly: Reassembly::default(),
            quality: Quality::default(),
            early: VecDeque::new(),
            early_held: 0,
            newest: 0,
        }
    }

    /// Bytes held for messages that cannot be delivered yet, overhead included.
    pub(crate) fn held(&self) -> usize {
        self.early_held + self.early.len() * SLOT + self.reassembly.held()
    }

    /// What taking `packet` would add to [`held`](Self::held): 0 if it can be delivered, or dropped, at once.
    pub(crate) fn cost(&self, mode: DeliveryMode, sequence: u32, packet: &Packet) -> usize {
        if mode == DeliveryMode::ReliableOrdered && !self.is_head(sequence) {
            let index = (sequence - self.seen.floor()) as usize;
            return packet.payload.len() + PIECE_OVERHEAD + index.saturating_sub(self.early.len()) * SLOT;
        }
        packet.piece().map_or(0, |header| self.reassembly.cost(header, sequence, packet.payload.len()))
    }

    /// Whether `sequence` is the lowest missing one.
    pub(crate) fn is_head(&self, sequence: u32) -> bool {
        self.seen.floor().checked_add(1) == Some(sequence)
    }

    /// Whether the packet belongs to a message that begins at or before the lowest missing sequence: the head of the line.
    pub(crate) fn is_front(&self, sequence: u32, packet: &Packet) -> bool {
        let first = packet.fragment.map_or(i64::from(sequence), |header| first_of(&header, sequence));
        first <= i64::from(self.seen.floor()) + 1
    }

    /// Whether a message older than the newest delivered is of no use any more (PROTOCOL A6 rule 5).
    pub(crate) fn is_stale(&self, sequence: u32, packet: &Packet) -> bool {
        let first = packet.fragment.map_or(i64::from(sequence), |header| first_of(&header, sequence));
        first <= self.newest
    }

    /// Takes a new packet. The sequence counts as arrived from here on.
    pub(crate) fn take(
        &mut self,
        mode: DeliveryMode,
        sequence: u32,
        packet: Packet,
        now: Instant,
        deliver: Deliver<'_>,
    ) -> Result<(), Contradiction> {
        if mode != DeliveryMode::ReliableOrdered {
            self.seen.insert(sequence);
            return self.process(mode, sequence, packet, now, deliver);
        }
        if !self.is_head(sequence) {
            self.hold(sequence, packet);
            self.seen.insert(sequence);
            return Ok(());
        }
        self.seen.insert(sequence);
        self.early.pop_front();
        self.process(mode, sequence, packet, now, deliver)?;
        let mut turn = sequence;
        while let Some(packet) = self.early.front_mut().and_then(Option::take) {
            turn += 1;
            self.early.pop_front();
            self.early_held -= packet.payload.len() + PIECE_OVERHEAD;
            self.process(mode, turn, packet, now, deliver)?;
        }
        Ok(())
    }

    /// Gives back memory that a burst took.
    pub(crate) fn trim(&mut self) {
        self.seen.trim();
        self.reassembly.trim();
        self.early.shrink_to_fit();
    }

    fn hold(&mut self, sequence: u32, packet: Packet) {
        // no underflow: a new sequence is above the floor, and within the window
        let index = (sequence - self.seen.floor() - 1) as usize;
        if self.early.len() <= index {
            self.early.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.early.get_mut(index) {
            self.early_held += packet.payload.len() + PIECE_OVERHEAD;
            // a copy: the packet may be a small part of the buffer it was received in
            *slot = Some(Packet { payload: Bytes::copy_from_slice(&packet.payload), ..packet });
        }
    }

    /// A packet whose turn it is: every piece takes part in its message, every message leaves when whole.
    fn process(
        &mut self,
        mode: DeliveryMode,
        sequence: u32,
        packet: Packet,
        now: Instant,
        deliver: Deliver<'_>,
    ) -> Result<(), Contradiction> {
        if packet.is_probe() {
            return Ok(());
        }
        let Some(header) = packet.fragment else {
            self.newest = i64::from(sequence);
            self.supersede(mode);
            deliver(FragmentFlags::EMPTY, packet.payload);
            return Ok(());
        };
        let first = first_of(&header, sequence);
        let whole = if header.count == 1 {
            Whole { data: packet.payload, flags: header.flags, first }
        } else {
            match self.reassembly.join(&header, sequence, packet.payload, now) {
                Joined::Complete(whole) => whole,
                Joined::Incomplete => return Ok(()),
                Joined::Contradiction => return Err(Contradiction(header)),
            }
        };
        self.newest = whole.first;
        self.supersede(mode);
        deliver(whole.flags, whole.data);
        Ok(())
    }

    /// Incomplete messages older than the newest delivered will never be.
    fn supersede(&mut self, mode: DeliveryMode) {
        if mode == DeliveryMode::UnreliableSequenced && self.reassembly.len() > 0 {
            let dropped = self.reassembly.drop_before(self.newest);
            self.quality.stale += dropped as u64;
        }
    }
}

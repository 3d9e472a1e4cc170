//! What waits for the application, in the order it came; reliable and unreliable apart, because only the latter may be
//! dropped.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::Incoming;
use super::MESSAGE_CREDIT;
use crate::channel_set::ChannelSet;

/// Copies bytes into memory that is shared with others'.
pub type Keep<'a> = dyn FnMut(&[u8]) -> Bytes + 'a;

/// Deliveries that may wait in memory that is shared with other connections'; later ones have the connection's own.
pub(crate) const MAX_PINNED: usize = 256;

/// The connection's own copies share memory of so many bytes: none is an allocation of its own.
const CHUNK: usize = 16 << 10;

/// What a delivery costs, its bytes included.
pub(crate) fn cost(len: usize) -> usize {
    len + MESSAGE_CREDIT as usize
}

#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    reliable: VecDeque<(u64, Incoming)>,
    loose: VecDeque<(u64, Incoming)>,
    /// Reliable channels that are paused, and what of them came up for delivery since.
    paused: ChannelSet,
    aside: BTreeMap<u8, VecDeque<Incoming>>,
    count: u64,
    /// What `loose` costs.
    loose_held: usize,
    /// Where copies are made; what is handed out is cut off its front.
    copies: BytesMut,
}

impl Deliveries {
    pub(crate) fn push_reliable(&mut self, incoming: Incoming) {
        self.count += 1;
        self.reliable.push_back((self.count, incoming));
    }

    pub(crate) fn push_loose(&mut self, incoming: Incoming) {
        self.count += 1;
        self.loose_held += len(&incoming);
        self.loose.push_back((self.count, incoming));
    }

    /// Stops or resumes delivering what is on a reliable channel.
    pub(crate) fn pause(&mut self, channel: u8, paused: bool) {
        if paused {
            self.paused.insert(channel);
            return;
        }
        self.paused.remove(channel);
        // before anything of the channel that is still in line, which came later
        let Some(aside) = self.aside.remove(&channel) else { return };
        for incoming in aside.into_iter().rev() {
            self.reliable.push_front((0, incoming));
        }
    }

    pub(crate) fn unpause_all(&mut self) {
        for channel in self.paused.after(u8::MAX) {
            self.pause(channel, false);
        }
    }

    /// The oldest that is not on a paused channel; and whether it is reliable.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Incoming, bool)> {
        if self.reliable.is_empty() {
            return self.pop_loose().map(|incoming| (incoming, false));
        }
        self.pop_either()
    }

    fn pop_either(&mut self) -> Option<(Incoming, bool)> {
        while let Some((_, front)) = self.reliable.front() {
            let channel = front.channel();
            if !self.paused.contains(channel) {
                break;
            }
            let aside = self.reliable.pop_front().map(|(_, incoming)| incoming);
            self.aside.entry(channel).or_default().extend(aside);
        }
        let reliable = match (self.reliable.front(), self.loose.front()) {
            (Some((a, _)), Some((b, _))) => a < b,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if reliable {
            return self.reliable.pop_front().map(|(_, incoming)| (incoming, true));
        }
        self.pop_loose().map(|incoming| (incoming, false))
    }

    /// The oldest unreliable one.
    #[inline]
    pub(crate) fn pop_loose(&mut self) -> Option<Incoming> {
        let (_, incoming) = self.loose.pop_front()?;
        self.loose_held -= len(&incoming);
        Some(incoming)
    }

    pub(crate) fn loose_held(&self) -> usize {
        self.loose_held
    }

    /// A payload as it may wait: in shared memory, or in the connection's own once many wait.
    pub(crate) fn keep(&mut self, payload: &[u8], shared: &mut Keep<'_>) -> Bytes {
        let aside = match self.aside.is_empty() {
            true => 0,
            false => self.aside.values().map(VecDeque::len).sum(),
        };
        if self.reliable.len() + self.loose.len() + aside < MAX_PINNED {
            return shared(payload);
        }
        if self.copies.capacity() < payload.len() {
            self.copies.reserve(payload.len().max(CHUNK));
        }
        self.copies.extend_from_slice(payload);
        self.copies.split().freeze()
    }

    pub(crate) fn trim(&mut self) {
        self.copies = BytesMut::new();
        self.reliable.shrink_to_fit();
        self.loose.shrink_to_fit();
    }
}

fn len(incoming: &Incoming) -> usize {
    match incoming {
        Incoming::Message(delivery) => cost(delivery.data.len()),
        Incoming::Finished { .. } | Incoming::Reset { .. } => 0,
    }
}

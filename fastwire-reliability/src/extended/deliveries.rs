//! What waits for the application, in the order it came; reliable and unreliable apart, because only the latter may be
//! dropped.

use std::collections::VecDeque;

use super::Incoming;
use super::MESSAGE_CREDIT;

/// Deliveries that may wait as parts of receive buffers; later ones are copied.
pub(crate) const MAX_PINNED: usize = 256;

/// What a delivery costs, its bytes included.
pub(crate) fn cost(len: usize) -> usize {
    len + MESSAGE_CREDIT as usize
}

#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    reliable: VecDeque<(u64, Incoming)>,
    loose: VecDeque<(u64, Incoming)>,
    count: u64,
    /// What `loose` costs.
    loose_held: usize,
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

    /// The oldest; and whether it is reliable.
    pub(crate) fn pop(&mut self) -> Option<(Incoming, bool)> {
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
    pub(crate) fn pop_loose(&mut self) -> Option<Incoming> {
        let (_, incoming) = self.loose.pop_front()?;
        self.loose_held -= len(&incoming);
        Some(incoming)
    }

    pub(crate) fn loose_held(&self) -> usize {
        self.loose_held
    }

    /// Whether another may wait as a part of its receive buffer.
    pub(crate) fn may_pin(&self) -> bool {
        self.reliable.len() + self.loose.len() < MAX_PINNED
    }

    pub(crate) fn trim(&mut self) {
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

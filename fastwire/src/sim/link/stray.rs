//! What is out of line, in the order in which it arrives.

use std::time::Instant;

use super::Delivery;

/// A delivery out of line, ordered by its time and then by its sending.
#[derive(Debug)]
pub(super) struct Stray<M> {
    pub(super) sequence: u64,
    pub(super) delivery: Delivery<M>,
}

impl<M> Stray<M> {
    pub(super) fn key(&self) -> (Instant, u64) {
        (self.delivery.at, self.sequence)
    }
}

impl<M> PartialEq for Stray<M> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<M> Eq for Stray<M> {}

impl<M> PartialOrd for Stray<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Stray<M> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

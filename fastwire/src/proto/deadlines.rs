//! When to look at which connection again: a heap of deadlines with lazy removal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::ConnectionId;

/// Deadlines of all connections. A connection has one entry that counts, the earliest pushed; it keeps
/// that time itself and pushes again only when its deadline moves to an earlier one. An entry that comes
/// due too early (its deadline moved away meanwhile) costs one look.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
}

impl Deadlines {
    /// Adds `deadline` unless an entry at or before it stands already (`scheduled`).
    pub(crate) fn schedule(
        &mut self,
        id: ConnectionId,
        scheduled: &mut Option<Instant>,
        deadline: Option<Instant>,
    ) {
        let Some(deadline) = deadline else { return };
        if scheduled.is_none_or(|at| deadline < at) {
            *scheduled = Some(deadline);
            self.heap.push(Reverse((deadline, id)));
        }
    }

    /// The next connection whose entry is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnectionId)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

//! When to look at which connection again: an ordered set of deadlines, one for each connection.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::ConnectionId;

/// Deadlines of all connections. A connection has one entry, whose time it keeps itself; the entry moves when the
/// deadline moves to an earlier time. One whose deadline moved away meanwhile is moved only once it is the next of all: before
/// the endpoint's owner goes to sleep for it, or when it comes due.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    entries: BTreeSet<(Instant, ConnectionId)>,
}

impl Deadlines {
    /// Has the connection looked at by `deadline`, unless its entry stands at or before it already (`scheduled`).
    pub(crate) fn schedule(
        &mut self,
        id: ConnectionId,
        scheduled: &mut Option<Instant>,
        deadline: Option<Instant>,
    ) {
        let Some(deadline) = deadline else { return };
        if scheduled.is_some_and(|at| at <= deadline) {
            return;
        }
        if let Some(at) = scheduled.replace(deadline) {
            self.entries.remove(&(at, id));
        }
        self.entries.insert((deadline, id));
    }

    /// The next connection whose entry is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnectionId)> {
        let (at, _) = self.entries.first()?;
        if *at > now {
            return None;
        }
        self.entries.pop_first()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// The entry that comes due next.
    pub(crate) fn first(&self) -> Option<(Instant, ConnectionId)> {
        self.entries.first().copied()
    }

    /// Moves a connection's entry behind a deadline that has moved away.
    pub(crate) fn postpone(&mut self, id: ConnectionId, scheduled: &mut Option<Instant>, deadline: Instant) {
        self.forget(id, *scheduled);
        self.entries.insert((deadline, id));
        *scheduled = Some(deadline);
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, id: ConnectionId, scheduled: Option<Instant>) {
        if let Some(at) = scheduled {
            self.entries.remove(&(at, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every connection is looked at by its nearest deadline, and has one entry whatever comes and goes.
        #[test]
        fn each_connection_has_one_entry_and_is_looked_at_in_time(
            steps in prop::collection::vec((0u32..8, 0u64..100, 0u64..20), 1..200),
        ) {
            let start = Instant::now();
            let mut deadlines = Deadlines::default();
            let mut scheduled = [None; 8];
            let mut nearest: [Option<Instant>; 8] = [None; 8];
            let mut now = start;
            for (index, ahead, wait) in steps {
                let id = ConnectionId::new(index, 1);
                let deadline = now + Duration::from_millis(ahead);
                let slot = index as usize;
                deadlines.schedule(id, &mut scheduled[slot], Some(deadline));
                nearest[slot] = Some(nearest[slot].map_or(deadline, |at| at.min(deadline)));
                now += Duration::from_millis(wait);
                while let Some((at, id)) = deadlines.pop_due(now) {
                    let slot = id.index();
                    prop_assert_eq!((scheduled[slot].take(), nearest[slot].take()), (Some(at), Some(at)));
                }
                prop_assert!(nearest.iter().flatten().all(|at| *at > now), "nobody is forgotten");
                prop_assert_eq!(deadlines.entries.len(), scheduled.iter().flatten().count());
                prop_assert_eq!(deadlines.next(), nearest.iter().flatten().min().copied());
            }
        }
    }
}

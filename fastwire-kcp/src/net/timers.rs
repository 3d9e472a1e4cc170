//! When to look at which session: one entry a session, however often its time moves.

use std::collections::BTreeSet;

/// Never, in ms of the driver's clock.
pub(super) const NEVER: u64 = u64::MAX;

/// The times of all sessions, in ms. A time that moves away leaves its entry where it is, and costs one look when that
/// comes due; one that moves nearer moves the entry.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// At most one entry for each session; no entry is at [`NEVER`].
    entries: BTreeSet<(u64, usize)>,
    /// The time of each session's entry, [`NEVER`] without one.
    armed: Vec<u64>,
}

impl Timers {
    /// Makes sure that `session` comes due no later than `at`.
    pub(super) fn set(&mut self, session: usize, at: u64) {
        if session >= self.armed.len() {
            self.armed.resize(session + 1, NEVER);
        }
        let armed = self.armed[session];
        if at < armed {
            self.armed[session] = at;
            self.entries.remove(&(armed, session));
            self.entries.insert((at, session));
        }
    }

    /// Takes the entry of `session` away.
    pub(super) fn forget(&mut self, session: usize) {
        if let Some(armed) = self.armed.get_mut(session) {
            self.entries.remove(&(std::mem::replace(armed, NEVER), session));
        }
    }

    /// Takes a session whose entry is due at `now`.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<usize> {
        let &(at, session) = self.entries.first()?;
        if at > now {
            return None;
        }
        self.entries.pop_first();
        self.armed[session] = NEVER;
        Some(session)
    }

    /// When the next entry is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.entries.first().map(|&(at, _)| at)
    }
}

/// A timer that comes later than this, in ms, says that the driver was kept waiting.
const LATE: u64 = 10;
/// How long timers then wait, in ms, for sockets to tell what has arrived meanwhile.
const GRACE: u64 = 5;
/// How long they wait, in ms, when a socket is never empty.
const MOST_GRACE: u64 = 50;

/// A driver that was kept waiting finds timers that have passed beside acknowledgements that it has not read. It reads
/// first: otherwise every session would send again what has long arrived, and a machine with too much to do had more.
#[derive(Debug, Default)]
pub(super) struct Grace {
    since: Option<u64>,
}

impl Grace {
    /// Whether timers wait at `now` although the first is `due`. `behind`: a socket has more to read.
    pub(super) fn holds(&mut self, now: u64, due: Option<u64>, behind: bool) -> bool {
        let Some(late) = due.and_then(|due| now.checked_sub(due)) else {
            self.since = None;
            return false;
        };
        if self.since.is_none() && late < LATE && !behind {
            return false;
        }
        let waited = now - *self.since.get_or_insert(now);
        let holds = waited < if behind { MOST_GRACE } else { GRACE };
        if !holds {
            self.since = None;
        }
        holds
    }

    /// When the wait ends at the earliest, if timers wait.
    pub(super) fn until(&self) -> Option<u64> {
        self.since.map(|since| since + GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn timers_wait_only_when_late_or_behind_and_not_for_long(
            steps in prop::collection::vec((0..40u64, any::<bool>()), 1..200)) {
            let (mut grace, mut now, mut due) = (Grace::default(), 0, 7);
            let mut held_since = None;
            for (step, behind) in steps {
                now += step;
                let late = now.saturating_sub(due);
                if grace.holds(now, Some(due), behind) {
                    prop_assert!(now >= due && grace.until().is_some());
                    prop_assert!(behind || late >= LATE || held_since.is_some());
                    prop_assert!(now - *held_since.get_or_insert(now) < MOST_GRACE);
                } else {
                    prop_assert_eq!(grace.until(), None);
                    held_since = None;
                    if now >= due {
                        due = now + 7;
                    }
                }
            }
        }

        #[test]
        fn every_session_comes_due_at_the_earliest_time_set(
            calls in prop::collection::vec((0..4u8, 0..6usize, 0..100u64), 0..300)) {
            let (mut timers, mut model, mut now) = (Timers::default(), BTreeMap::new(), 0);
            for (call, session, step) in calls {
                match call {
                    0 => {
                        timers.forget(session);
                        model.remove(&session);
                    }
                    1 => {
                        now += step;
                        let mut due: Vec<_> = std::iter::from_fn(|| timers.pop_due(now)).collect();
                        due.sort_unstable();
                        let expected: Vec<_> =
                            model.iter().filter(|&(_, &at)| at <= now).map(|(&key, _)| key).collect();
                        prop_assert_eq!(due, expected);
                        model.retain(|_, at| *at > now);
                    }
                    _ => {
                        let at = if step == 99 { NEVER } else { now + step };
                        timers.set(session, at);
                        let kept = model.get(&session).copied().unwrap_or(NEVER).min(at);
                        if kept != NEVER {
                            model.insert(session, kept);
                        }
                    }
                }
                prop_assert_eq!(timers.next(), model.values().min().copied());
                prop_assert_eq!(timers.entries.len(), model.len(), "one entry a session");
            }
        }
    }
}

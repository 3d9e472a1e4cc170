//! The largest datagram the path carries, found by probing (RFC 8899, PROTOCOL B6).

use std::time::{Duration, Instant};

use fastwire_reliability::Outcome;

/// What every path carries (PROTOCOL A11).
pub(super) const BASE: usize = 1200;
/// A size counts as too large after so many probes of it were lost (RFC 8899 §5.1.2).
const MAX_PROBES: u8 = 3;
/// The search ends when the answer is known this well.
const STEP: usize = 16;
/// When to look again whether a path has become wider (RFC 8899 §5.1.1).
const RAISE: Duration = Duration::from_secs(600);
/// So many packets in a row lost of more than [`BASE`] bytes, and none acknowledged: a black hole (RFC 8899 §4.3).
const BLACK_HOLE: u8 = 6;

/// Searches between what is known to pass and what is known not to.
#[derive(Debug)]
pub(super) struct PathMtu {
    passes: usize,
    /// Smallest size known not to pass; one above the limit to begin with.
    fails: usize,
    limit: usize,
    /// Size and deadline of the probe under way.
    probe: Option<(usize, Instant)>,
    lost: u8,
    next: Instant,
    /// Large packets lost since one was acknowledged.
    suspicious: u8,
}

impl PathMtu {
    /// Nothing is searched beyond `limit`.
    pub(super) fn new(limit: usize, now: Instant) -> Self {
        let limit = limit.max(BASE);
        Self { passes: BASE, fails: limit + 1, limit, probe: None, lost: 0, next: now, suspicious: 0 }
    }

    /// The largest datagram that may be sent.
    pub(super) fn current(&self) -> usize {
        self.passes
    }

    /// Another path: nothing is known.
    pub(super) fn reset(&mut self, now: Instant) {
        *self = Self::new(self.limit, now);
    }

    fn is_searching(&self) -> bool {
        self.fails - self.passes > STEP || (self.fails > self.limit && self.passes < self.limit)
    }

    /// The size of the probe that is due, if one is. The largest possible size is tried first: most often it passes.
    pub(super) fn due(&self, now: Instant) -> Option<usize> {
        let due = self.probe.is_none() && self.is_searching() && now >= self.next;
        due.then(|| self.next_size())
    }

    fn next_size(&self) -> usize {
        if self.fails > self.limit { self.limit } else { (self.passes + self.fails) / 2 }
    }

    pub(super) fn on_probe_sent(&mut self, size: usize, timeout: Duration, now: Instant) {
        self.probe = Some((size, now + timeout));
    }

    /// The peer acknowledged a probe of `size` bytes.
    pub(super) fn on_acked(&mut self, size: usize, now: Instant) {
        self.probe = None;
        self.lost = 0;
        self.suspicious = 0;
        self.passes = self.passes.max(size.min(self.limit));
        self.next = if self.is_searching() { now } else { now + RAISE };
    }

    /// A lost probe says nothing of congestion.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((size, _)) = self.probe.take_if(|(_, deadline)| now >= *deadline) {
            self.lost += 1;
            if self.lost >= MAX_PROBES {
                self.lost = 0;
                self.fails = size;
                self.next = if self.is_searching() { now } else { now + RAISE };
            }
        }
        if !self.is_searching() && now >= self.next && self.passes < self.limit {
            self.fails = self.limit + 1;
        }
    }

    /// What became of data. Gives whether the size fell back to [`BASE`].
    pub(super) fn on_outcome(&mut self, outcome: &Outcome, now: Instant) -> bool {
        let lost = (outcome.lost_packets, outcome.largest_lost_bytes);
        let silent = outcome.congestion.as_ref().is_some_and(|event| event.persistent);
        self.on_data(outcome.largest_acked_bytes, lost, silent, now)
    }

    /// Packets of up to [`BASE`] bytes say nothing of larger ones. When nothing at all gets through any more (`silent`), the path
    /// may have become narrower too: it is searched anew.
    fn on_data(
        &mut self,
        largest_acked: u32,
        (lost, largest_lost): (u32, u32),
        silent: bool,
        now: Instant,
    ) -> bool {
        let is_large = |bytes: u32| bytes as usize > BASE;
        if is_large(largest_acked) {
            self.suspicious = 0;
        } else if is_large(largest_lost) {
            self.suspicious = self.suspicious.saturating_add(lost.min(255) as u8);
        }
        let hole = self.suspicious >= BLACK_HOLE;
        if self.passes <= BASE || !(hole || silent) {
            return false;
        }
        self.reset(now);
        if hole {
            self.next = now + RAISE;
        }
        true
    }

    /// A probe larger than `allowance`, which an unproved path leaves, waits until there is more.
    pub(super) fn next_deadline(&self, allowance: u64) -> Option<Instant> {
        match self.probe {
            Some((_, deadline)) => Some(deadline),
            None if self.is_searching() && self.next_size() as u64 > allowance => None,
            None if self.passes < self.limit => Some(self.next),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the path carries, the search ends just below it and never sends more than it was allowed to.
        #[test]
        fn the_search_finds_the_path(limit in 1200usize..9000, path in 1200usize..10_000) {
            let mut now = Instant::now();
            let mut mtu = PathMtu::new(limit, now);
            let mut probes = 0;
            for _ in 0..200 {
                mtu.handle_timeout(now);
                let Some(size) = mtu.due(now) else { break };
                prop_assert!(size <= limit && size > mtu.current());
                probes += 1;
                mtu.on_probe_sent(size, Duration::from_millis(100), now);
                if size <= path {
                    mtu.on_acked(size, now);
                } else {
                    now += Duration::from_millis(100);
                }
            }
            let most = path.min(limit);
            prop_assert!(mtu.current() <= most && most - mtu.current() <= STEP, "{} of {most}", mtu.current());
            prop_assert!(probes <= 40, "{probes}");
        }
    }

    #[test]
    fn a_black_hole_ends_with_the_base_size_and_acknowledgements_clear_suspicion() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(1452, now);
        mtu.on_probe_sent(1452, Duration::from_secs(1), now);
        mtu.on_acked(1452, now);
        assert!(!mtu.on_data(0, (5, 1300), false, now) && !mtu.on_data(1300, (1, 1300), false, now));
        // what is small gets through a hole, and its loss says nothing
        assert!(!mtu.on_data(100, (5, 1300), false, now) && !mtu.on_data(1200, (9, 1200), false, now));
        assert!(mtu.on_data(1200, (1, 1300), false, now));
        assert_eq!((mtu.current(), mtu.due(now)), (BASE, None));
        assert!(!mtu.on_data(0, (9, 1300), false, now), "there is nothing below");
    }

    #[test]
    fn when_nothing_gets_through_the_path_is_searched_anew() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(1452, now);
        mtu.on_probe_sent(1452, Duration::from_secs(1), now);
        mtu.on_acked(1452, now);
        assert!(mtu.on_data(0, (0, 0), true, now));
        assert_eq!((mtu.current(), mtu.due(now)), (BASE, Some(1452)));
    }
}

//! Connection ids: by which a server finds a connection wherever its client is (PROTOCOL B4, B6).

use std::time::{Duration, Instant};

use fastwire_wire::CONTROL_PREFIX;
use smallvec::SmallVec;

/// An id, as it stands before every packet of a client.
pub(crate) type Cid = [u8; 8];

/// Unused ids a server keeps at its client.
const SPARE: usize = 3;
/// Ids a client holds at most, the one in use included; more is a protocol error.
const MAX_HELD: usize = 8;

/// Ids a server gave a client.
#[derive(Debug)]
pub(super) struct Issued {
    /// Ascending. The first `announced` of them left with a NEW_CID, or with CONNECTED.
    ids: SmallVec<[Id; 4]>,
    next_sequence: u32,
    /// The highest one the client used.
    used: u32,
}

#[derive(Debug, Clone, Copy)]
struct Id {
    sequence: u32,
    cid: Cid,
    /// When it is forgotten: a higher one is in use.
    until: Option<Instant>,
    /// A NEW_CID for it waits to leave.
    owed: bool,
}

impl Issued {
    /// The first id goes out with CONNECTED.
    pub(super) fn new(cid: Cid) -> Self {
        let first = Id { sequence: 0, cid, until: None, owed: false };
        Self { ids: SmallVec::from_slice(&[first]), next_sequence: 1, used: 0 }
    }

    pub(super) fn first(&self) -> Cid {
        self.ids.first().map_or([0; 8], |id| id.cid)
    }

    /// Whether another spare id is to be issued.
    pub(super) fn wants_more(&self) -> bool {
        self.ids.iter().filter(|id| id.sequence > self.used).count() < SPARE
    }

    pub(super) fn issue(&mut self, cid: Cid) {
        self.ids.push(Id { sequence: self.next_sequence, cid, until: None, owed: true });
        self.next_sequence = self.next_sequence.wrapping_add(1);
    }

    /// The next id that the client is to be told of.
    pub(super) fn owed(&self) -> Option<(u32, Cid)> {
        self.ids.iter().find(|id| id.owed).map(|id| (id.sequence, id.cid))
    }

    pub(super) fn set_owed(&mut self, sequence: u32, owed: bool) {
        if let Some(id) = self.ids.iter_mut().find(|id| id.sequence == sequence) {
            id.owed = owed;
        }
    }

    /// A packet came under `cid`: lower ids retire after `grace`. Gives whether it is a new one, so that the client moved on purpose.
    pub(super) fn on_used(&mut self, cid: Cid, grace: impl FnOnce() -> Duration, now: Instant) -> bool {
        let Some(sequence) = self.ids.iter().find(|id| id.cid == cid).map(|id| id.sequence) else {
            return false;
        };
        if sequence <= self.used {
            return false;
        }
        self.used = sequence;
        let grace = grace();
        for id in self.ids.iter_mut().filter(|id| id.sequence < sequence) {
            id.until.get_or_insert(now + grace);
            id.owed = false;
        }
        true
    }

    /// Forgets ids whose time is up, and names them.
    pub(super) fn expire(&mut self, now: Instant, mut gone: impl FnMut(Cid)) {
        self.ids.retain(|id| {
            let over = id.until.is_some_and(|until| now >= until);
            if over {
                gone(id.cid);
            }
            !over
        });
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.ids.iter().filter_map(|id| id.until).min()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Cid> + '_ {
        self.ids.iter().map(|id| id.cid)
    }
}

/// Ids a client was given.
#[derive(Debug)]
pub(super) struct Given {
    /// In use.
    pub(super) current: Cid,
    current_sequence: u32,
    spare: SmallVec<[(u32, Cid); 3]>,
}

impl Given {
    pub(super) fn new(cid: Cid) -> Self {
        Self { current: cid, current_sequence: 0, spare: SmallVec::new() }
    }

    /// Takes a NEW_CID. Gives `false` if the server gave too many.
    pub(super) fn add(&mut self, sequence: u32, cid: Cid) -> bool {
        let known =
            sequence <= self.current_sequence || self.spare.iter().any(|(other, _)| *other == sequence);
        if known {
            return true;
        }
        if self.spare.len() + 1 >= MAX_HELD {
            return false;
        }
        let at = self.spare.iter().position(|(other, _)| *other > sequence).unwrap_or(self.spare.len());
        self.spare.insert(at, (sequence, cid));
        true
    }

    /// Goes on to the next id, if there is one: on another path nobody shall link the two.
    pub(super) fn advance(&mut self) {
        if !self.spare.is_empty() {
            let (sequence, cid) = self.spare.remove(0);
            self.current = cid;
            self.current_sequence = sequence;
        }
    }
}

/// Whether `cid` could be mistaken for a bare control packet (PROTOCOL B4).
pub(crate) fn is_ambiguous(cid: &Cid) -> bool {
    *cid == CONTROL_PREFIX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_spare_ids_wait_and_used_ones_retire() {
        let start = Instant::now();
        let grace = Duration::from_millis(300);
        let mut issued = Issued::new([1; 8]);
        let mut given = Given::new(issued.first());
        for n in 2u8.. {
            if !issued.wants_more() {
                break;
            }
            issued.issue([n; 8]);
        }
        while let Some((sequence, cid)) = issued.owed() {
            assert!(given.add(sequence, cid));
            issued.set_owed(sequence, false);
        }
        assert_eq!(given.spare.len(), SPARE);
        given.advance();
        assert!(!issued.on_used([1; 8], || grace, start), "the id in use is no news");
        assert!(issued.on_used(given.current, || grace, start));
        assert!(!issued.on_used(given.current, || grace, start));
        assert!(issued.wants_more());
        let mut gone = Vec::new();
        issued.expire(start + grace - Duration::from_millis(1), |cid| gone.push(cid));
        assert!(gone.is_empty(), "packets under the old id may still be on their way");
        issued.expire(start + grace, |cid| gone.push(cid));
        assert_eq!(gone, [[1; 8]]);
    }

    #[test]
    fn a_client_holds_eight_and_counts_none_twice() {
        let mut given = Given::new([0; 8]);
        for sequence in 1..8u32 {
            assert!(given.add(sequence, [sequence as u8; 8]));
            assert!(given.add(sequence, [sequence as u8; 8]), "a repeated NEW_CID is no news");
        }
        assert!(!given.add(8, [8; 8]));
        given.advance();
        assert!(given.add(8, [8; 8]));
        assert!(given.add(0, [9; 8]), "an old one is ignored");
        assert_eq!(given.current, [1; 8]);
    }
}

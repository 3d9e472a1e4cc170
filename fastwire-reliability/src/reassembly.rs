//! Puts the pieces of fragmented messages together, in any order (PROTOCOL A6 rule 6, A7).

use std::time::Instant;

use bytes::Bytes;
use fastwire_wire::{FragmentFlags, FragmentHeader};

/// How far a fragment's `sequence − index` may lie from the message's first one.
const REACH: u64 = 1024;

/// What a separately kept piece costs beside its bytes: list entry, reference count, allocator.
pub(crate) const PIECE_OVERHEAD: usize = 96;

/// What an incomplete message costs beside its bytes.
const PARTIAL_OVERHEAD: usize = std::mem::size_of::<Partial>() + 32;

/// A whole message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) data: Bytes,
    pub(crate) flags: FragmentFlags,
    /// The sequence of its first piece, as its sender must have given it; can be negative for a wrong peer.
    pub(crate) first: i64,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    Complete(Whole),
    Incomplete,
    /// Count, flags or place disagree with the message's earlier fragments.
    Contradiction,
}

/// An incomplete message.
#[derive(Debug)]
struct Partial {
    id: u16,
    flags: FragmentFlags,
    count: u8,
    /// Pieces 0 to `next − 1` are in `front`.
    next: u8,
    /// `sequence − index` of the fragment that came first.
    first: i64,
    started: Instant,
    front: Vec<u8>,
    /// Pieces beyond `next`, copied so that they pin no larger buffer.
    early: Vec<(u8, Bytes)>,
    /// What this message costs in all.
    held: usize,
}

/// The incomplete messages of one channel.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// In the order begun.
    partials: Vec<Partial>,
    held: usize,
}

impl Reassembly {
    /// Incomplete messages.
    pub(crate) fn len(&self) -> usize {
        self.partials.len()
    }

    /// Bytes they hold, overhead included.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// What adding a piece of `len` bytes would add to [`held`](Self::held); if it completes a message, rather more.
    pub(crate) fn cost(&self, header: &FragmentHeader, sequence: u32, len: usize) -> usize {
        let partial = self.find(header, sequence).and_then(|at| self.partials.get(at));
        match partial {
            None if header.index == 0 => PARTIAL_OVERHEAD + len,
            None => PARTIAL_OVERHEAD + PIECE_OVERHEAD + len,
            Some(partial) if header.index == partial.next => {
                partial.capacity_for(len) - partial.front.capacity()
            }
            Some(_) => PIECE_OVERHEAD + len,
        }
    }

    /// Adds a piece of a message of two or more.
    pub(crate) fn join(
        &mut self,
        header: &FragmentHeader,
        sequence: u32,
        piece: Bytes,
        now: Instant,
    ) -> Joined {
        let at = self.find(header, sequence).unwrap_or_else(|| {
            self.held += PARTIAL_OVERHEAD;
            self.partials.push(Partial::new(header, first_of(header, sequence), now));
            self.partials.len() - 1
        });
        let Some(partial) = self.partials.get_mut(at) else { return Joined::Incomplete };
        let before = partial.held;
        if !partial.add(header, piece) {
            return Joined::Contradiction;
        }
        self.held = self.held - before + partial.held;
        if partial.next < partial.count {
            return Joined::Incomplete;
        }
        let partial = self.partials.remove(at);
        self.held -= partial.held;
        Joined::Complete(Whole { data: partial.front.into(), flags: partial.flags, first: partial.first })
    }

    /// An incomplete message all of whose sequences lie at or below `floor`, so that nothing can complete it: its id and
    /// the number of missing pieces.
    pub(crate) fn beyond_hope(&self, floor: u32) -> Option<(u16, u8)> {
        let last = |partial: &Partial| partial.first.saturating_add(REACH as i64 + i64::from(partial.count));
        let lost = self.partials.iter().find(|&partial| last(partial) < i64::from(floor))?;
        let have = usize::from(lost.next) + lost.early.len();
        Some((lost.id, lost.count.saturating_sub(have as u8)))
    }

    /// When the oldest incomplete message was begun.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.partials.first().map(|partial| partial.started)
    }

    /// Drops the oldest incomplete message; false if there is none.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        if self.partials.is_empty() {
            return false;
        }
        self.held -= self.partials.remove(0).held;
        true
    }

    /// Drops incomplete messages whose first piece is older than sequence `newest`; returns how many.
    pub(crate) fn drop_before(&mut self, newest: i64) -> usize {
        let before = self.partials.len();
        let held = &mut self.held;
        self.partials.retain(|partial| {
            let keep = partial.first > newest;
            if !keep {
                *held -= partial.held;
            }
            keep
        });
        before - self.partials.len()
    }

    /// Gives back memory that a burst took.
    pub(crate) fn trim(&mut self) {
        self.partials.shrink_to_fit();
    }

    fn find(&self, header: &FragmentHeader, sequence: u32) -> Option<usize> {
        let first = first_of(header, sequence);
        let matches = |partial: &Partial| partial.id == header.id && partial.first.abs_diff(first) <= REACH;
        self.partials.iter().rposition(matches)
    }
}

/// Where the sender of this fragment put the message's piece 0.
pub(crate) fn first_of(header: &FragmentHeader, sequence: u32) -> i64 {
    i64::from(sequence) - i64::from(header.index)
}

impl Partial {
    fn new(header: &FragmentHeader, first: i64, now: Instant) -> Self {
        Self {
            id: header.id,
            flags: header.flags,
            count: header.count,
            next: 0,
            first,
            started: now,
            front: Vec::new(),
            early: Vec::new(),
            held: PARTIAL_OVERHEAD,
        }
    }

    /// False if the fragment contradicts those before it.
    fn add(&mut self, header: &FragmentHeader, piece: Bytes) -> bool {
        let again = header.index < self.next || self.early.iter().any(|(index, _)| *index == header.index);
        if again || header.count != self.count || header.flags != self.flags {
            return false;
        }
        if header.index > self.next {
            self.held += PIECE_OVERHEAD + piece.len();
            self.early.push((header.index, Bytes::copy_from_slice(&piece)));
            return true;
        }
        self.append(&piece);
        while let Some(at) = self.early.iter().position(|(index, _)| *index == self.next) {
            let (_, piece) = self.early.swap_remove(at);
            self.held -= PIECE_OVERHEAD + piece.len();
            self.append(&piece);
        }
        true
    }

    /// The buffer's capacity once piece `next`, of `len` bytes, is in it: doubled where it must grow, up to what
    /// the message takes if its pieces are like this one. So never more than twice what has arrived.
    fn capacity_for(&self, len: usize) -> usize {
        let (needed, capacity) = (self.front.len() + len, self.front.capacity());
        if needed <= capacity {
            return capacity;
        }
        let likely = needed + len * usize::from((self.count - self.next).saturating_sub(1));
        likely.min(capacity * 2).max(needed)
    }

    /// Appends piece `next`.
    fn append(&mut self, piece: &[u8]) {
        let capacity = self.capacity_for(piece.len());
        if capacity > self.front.capacity() {
            self.held -= self.front.capacity();
            self.front.reserve_exact(capacity - self.front.len());
            self.held += self.front.capacity();
        }
        self.front.extend_from_slice(piece);
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(id: u16, index: u8, count: u8) -> FragmentHeader {
        FragmentHeader { id, index, count, flags: FragmentFlags::EMPTY }
    }

    fn held(reassembly: &Reassembly) -> usize {
        let early =
            |p: &Partial| p.early.iter().map(|(_, piece)| piece.len() + PIECE_OVERHEAD).sum::<usize>();
        reassembly.partials.iter().map(|p| PARTIAL_OVERHEAD + p.front.capacity() + early(p)).sum()
    }

    proptest! {
        /// Several messages whose pieces arrive in any order: each comes out once, whole, when its last piece
        /// does; the account of memory is exact, told before, and ends at nothing.
        #[test]
        fn any_order_of_pieces_gives_the_messages(
            counts in prop::collection::vec(2u8..40, 1..6),
            piece in 1usize..100,
            shuffle in any::<prop::sample::Index>().prop_perturb(|_, mut rng| rng.random::<u64>()),
        ) {
            let now = Instant::now();
            let mut arrivals = Vec::new();
            let mut sequence = 0;
            for (id, &count) in counts.iter().enumerate() {
                for index in 0..count {
                    sequence += 1;
                    arrivals.push((sequence, header(id as u16, index, count)));
                }
            }
            let mut state = shuffle | 1;
            for i in (1..arrivals.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                arrivals.swap(i, (state >> 33) as usize % (i + 1));
            }
            let body = |id: u16, index: u8| vec![(id as u8).wrapping_mul(31).wrapping_add(index); piece];
            let mut reassembly = Reassembly::default();
            let mut missing = counts.clone();
            for (sequence, header) in arrivals {
                let left = &mut missing[usize::from(header.id)];
                *left -= 1;
                // A piece that closes a gap takes in those that came early: what it costs is not known before.
                let closes = reassembly.find(&header, sequence).is_some_and(|at| {
                    let partial = &reassembly.partials[at];
                    header.index == partial.next && !partial.early.is_empty()
                });
                let told = reassembly.held() + reassembly.cost(&header, sequence, piece);
                let joined = reassembly.join(&header, sequence, body(header.id, header.index).into(), now);
                prop_assert_eq!(reassembly.held(), held(&reassembly));
                if joined == Joined::Incomplete && !closes {
                    prop_assert_eq!(reassembly.held(), told);
                }
                match joined {
                    Joined::Complete(whole) => {
                        prop_assert_eq!(*left, 0);
                        let expected: Vec<u8> = (0..header.count).flat_map(|i| body(header.id, i)).collect();
                        prop_assert_eq!(whole.data, expected);
                    }
                    Joined::Incomplete => prop_assert!(*left > 0),
                    Joined::Contradiction => prop_assert!(false),
                }
            }
            prop_assert_eq!((reassembly.len(), reassembly.held()), (0, 0));
        }
    }

    #[test]
    fn the_oldest_goes_first_and_takes_its_memory_along() {
        let mut reassembly = Reassembly::default();
        let begun: Vec<_> = (0..3).map(|ms| Instant::now() + std::time::Duration::from_millis(ms)).collect();
        for (id, &now) in begun.iter().enumerate() {
            reassembly.join(&header(id as u16, 0, 2), 10 * id as u32 + 1, Bytes::from_static(b"x"), now);
        }
        for &now in &begun {
            assert_eq!(reassembly.oldest(), Some(now));
            assert!(reassembly.drop_oldest());
            assert_eq!(reassembly.held(), held(&reassembly));
        }
        assert!(!reassembly.drop_oldest());
        assert_eq!((reassembly.len(), reassembly.held()), (0, 0));
    }

    #[test]
    fn contradictions_are_told() {
        let now = Instant::now();
        let mut reassembly = Reassembly::default();
        let piece = Bytes::from_static(b"x");
        assert_eq!(reassembly.join(&header(1, 1, 3), 2, piece.clone(), now), Joined::Incomplete);
        assert_eq!(reassembly.join(&header(1, 0, 4), 1, piece.clone(), now), Joined::Contradiction);
        assert_eq!(reassembly.join(&header(1, 1, 3), 3, piece.clone(), now), Joined::Contradiction);
        let flags = FragmentHeader { flags: FragmentFlags::COMPRESSED, ..header(1, 0, 3) };
        assert_eq!(reassembly.join(&flags, 1, piece, now), Joined::Contradiction);
    }

    #[test]
    fn an_id_far_away_is_another_message() {
        let now = Instant::now();
        let mut reassembly = Reassembly::default();
        let piece = Bytes::from_static(b"x");
        assert_eq!(reassembly.join(&header(1, 0, 2), 5, piece.clone(), now), Joined::Incomplete);
        assert!(reassembly.find(&header(1, 1, 2), 5 + 1025).is_some());
        assert!(reassembly.find(&header(1, 1, 2), 5 + 1026).is_none());
        assert_eq!(reassembly.join(&header(1, 1, 2), 5 + 1026, piece, now), Joined::Incomplete);
        assert_eq!(reassembly.len(), 2);
        assert_eq!(reassembly.beyond_hope(5 + 1024 + 2), None);
        assert_eq!(reassembly.beyond_hope(5 + 1024 + 3), Some((1, 1)));
    }

    #[test]
    fn one_small_fragment_reserves_little() {
        let mut reassembly = Reassembly::default();
        let piece = Bytes::from(vec![0; 1155]);
        reassembly.join(&header(1, 0, 255), 1, piece, Instant::now());
        assert!(reassembly.held() < 1155 + 300, "{}", reassembly.held());
    }
}

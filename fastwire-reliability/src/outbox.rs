//! The sending half of one channel: messages that wait, the one being cut, packets that wait for acknowledgement.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_wire::{FragmentFlags, FragmentHeader};

use crate::asks::{Asks, Key};
use crate::fragments::Cut;
use crate::seen::WINDOW;
use crate::space::{AckSpace, Repeat};
use crate::{MessageFate, Peer, Terms};

/// Numbers from the oldest unacknowledged to the newest that a foreign base peer can be asked to remember (PROTOCOL A6
/// rule 2), and how many more null probes may take.
const FOREIGN_SPAN: usize = 24;
const PROBE_SPAN: usize = 8;

/// How long a foreign base peer keeps an incomplete message (PROTOCOL A6 rule 4).
pub(crate) const FOREIGN_PATIENCE: Duration = Duration::from_secs(5);

/// Of which a message may be planned to take this long.
const FOREIGN_PLAN: Duration = Duration::from_secs(3);

/// What a packet of the base profile carries, bound to its sequence for life.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) fragment: Option<FragmentHeader>,
    pub(crate) payload: Bytes,
}

/// A message that waits to be sent.
#[derive(Debug)]
struct Queued {
    message: Bytes,
    content: FragmentFlags,
    asked: Key,
}

/// A reliable message under way whose sender asked what becomes of it: its sequences, the last one once it is known.
#[derive(Debug)]
struct Asked {
    key: Key,
    first: u64,
    last: Option<u64>,
}

impl Queued {
    /// A compressed message always travels as fragments, even one that fits in one (PROTOCOL A7).
    fn is_cut(&self, piece_size: usize) -> bool {
        !self.content.is_empty() || self.message.len() > piece_size
    }
}

/// A fragmented message that a foreign base peer will forget.
#[derive(Debug)]
struct Watch {
    id: u16,
    first: u64,
    at: Instant,
}

/// The sending half of one channel.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Queued>,
    /// The front of `queue` went here when its first piece was due.
    cut: Option<Cut>,
    pub(crate) space: AckSpace<Piece>,
    /// A packet of an unreliable channel whose acknowledgement will be an RTT sample.
    pub(crate) timed: Option<(u32, Instant)>,
    /// Oldest first; empty between our own peers.
    watches: VecDeque<Watch>,
    /// What the message asked for that the piece handed out last is of.
    current: Key,
    /// Messages under way, oldest first.
    asked: VecDeque<Asked>,
    /// When the first of `queue` expires, or earlier.
    expires: Option<Instant>,
}

impl Outbox {
    /// An outbox whose first packet gets sequence `first`.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            cut: None,
            space: AckSpace::new(first, Repeat::SameNumber),
            timed: None,
            watches: VecDeque::new(),
            current: 0,
            asked: VecDeque::new(),
            expires: None,
        }
    }

    /// The highest sequence given to a packet.
    pub(crate) fn highest(&self) -> u32 {
        u32::try_from(self.space.next() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn push(&mut self, message: Bytes, content: FragmentFlags, asked: Key, asks: &Asks) {
        self.queue.push_back(Queued { message, content, asked });
        if let Some(at) = asks.expires_at(asked) {
            self.expires = Some(self.expires.map_or(at, |first| first.min(at)));
        }
    }

    /// Empties the queue; a message that is being cut stays.
    pub(crate) fn take_queue<'a>(
        &'a mut self,
        asks: &'a mut Asks,
    ) -> impl Iterator<Item = (Bytes, FragmentFlags, Terms)> + 'a {
        self.expires = None;
        self.queue.drain(..).map(|queued| (queued.message, queued.content, asks.take(queued.asked)))
    }

    /// When [`expire`](Self::expire) may have something to do.
    pub(crate) fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Drops what need not leave any more, if its first piece has not. Gives how many messages and bytes.
    pub(crate) fn expire(&mut self, now: Instant, asks: &mut Asks) -> (usize, usize) {
        let (mut gone, mut next) = ((0, 0), None);
        self.queue.retain(|queued| {
            let at = asks.expires_at(queued.asked);
            let expired = at.is_some_and(|at| at <= now);
            if expired {
                asks.settle(queued.asked, MessageFate::Expired);
                gone = (gone.0 + 1, gone.1 + queued.message.len());
            } else if let Some(at) = at {
                next = Some(next.map_or(at, |first: Instant| first.min(at)));
            }
            !expired
        });
        self.expires = next;
        gone
    }

    /// The piece handed out last, of a reliable message, has this sequence.
    pub(crate) fn bound(&mut self, number: u64, last: bool, asks: &mut Asks, now: Instant) {
        let key = self.current;
        if key == 0 {
            return;
        }
        asks.left(key, now);
        let of_it = self.asked.back_mut().filter(|asked| asked.key == key && asked.last.is_none());
        match of_it {
            Some(asked) => asked.last = last.then_some(number),
            None => self.asked.push_back(Asked { key, first: number, last: last.then_some(number) }),
        }
    }

    /// The piece handed out last was an unreliable message's: nobody hears of it again.
    pub(crate) fn forget_asked(&mut self, asks: &mut Asks) {
        asks.settle(std::mem::take(&mut self.current), MessageFate::Lost);
    }

    /// Says of which messages all pieces are acknowledged.
    pub(crate) fn settle(&mut self, asks: &mut Asks) {
        if self.asked.is_empty() {
            return;
        }
        let space = &self.space;
        let acked = |number: u64| space.get(number).is_none_or(|sent| sent.carries.is_none());
        self.asked.retain(|asked| {
            let done = asked.last.is_some_and(|last| (asked.first.max(space.oldest())..=last).all(acked));
            if done {
                asks.acknowledged(asked.key);
            }
            !done
        });
    }

    /// Whether messages, or the rest of one, wait to be sent for the first time.
    pub(crate) fn has_new(&self) -> bool {
        self.cut.is_some() || !self.queue.is_empty()
    }

    /// Whether the span leaves a sequence for new data, or for a probe.
    pub(crate) fn has_room(&self, peer: Peer, probe: bool) -> bool {
        let span = match (peer, probe) {
            (Peer::Own, _) => WINDOW as usize,
            (Peer::Foreign, false) => FOREIGN_SPAN,
            (Peer::Foreign, true) => FOREIGN_SPAN + PROBE_SPAN,
        };
        self.space.span() < span && self.space.next() < u64::from(u32::MAX)
    }

    /// The next piece of the front message, and whether it is the message's last. `id` is asked when a fragmented
    /// message begins. `None`: nothing waits, or `id` has none.
    pub(crate) fn next_piece(
        &mut self,
        piece_size: usize,
        id: impl FnOnce() -> Option<u16>,
    ) -> Option<(Piece, bool)> {
        if self.cut.is_none() {
            let front = self.queue.front()?;
            if !front.is_cut(piece_size) {
                let Queued { message: payload, asked, .. } = self.queue.pop_front()?;
                self.current = asked;
                return Some((Piece { fragment: None, payload }, true));
            }
            let id = id()?;
            let Queued { message, content, asked } = self.queue.pop_front()?;
            self.current = asked;
            self.cut = Some(Cut::new(message, piece_size, id, content));
        }
        let (header, payload, last) = self.cut.as_mut()?.next();
        if last {
            self.cut = None;
        }
        Some((Piece { fragment: Some(header), payload }, last))
    }

    /// Whether the next piece begins a message that needs a fragment id.
    pub(crate) fn needs_id(&self, piece_size: usize) -> bool {
        self.cut.is_none() && self.queue.front().is_some_and(|front| front.is_cut(piece_size))
    }

    /// Watches over a message of several pieces that begins with sequence `first`.
    pub(crate) fn watch(&mut self, id: u16, first: u64, at: Instant) {
        self.prune();
        self.watches.push_back(Watch { id, first, at });
    }

    /// When a foreign peer forgets the oldest message.
    pub(crate) fn forgotten_at(&self) -> Option<Instant> {
        self.watches.front().map(|watch| watch.at + FOREIGN_PATIENCE)
    }

    /// How long the oldest message has waited, if by `now` it is forgotten and not wholly acknowledged.
    pub(crate) fn forgotten(&mut self, now: Instant) -> Option<Duration> {
        self.prune();
        while let Some(watch) = self.watches.front() {
            let waited = now.saturating_duration_since(watch.at);
            if waited < FOREIGN_PATIENCE {
                break;
            }
            let id = watch.id;
            let of_it =
                |piece: &Piece| piece.fragment.is_some_and(|header| header.id == id && header.count > 1);
            if self.cut.as_ref().is_some_and(|cut| cut.id() == id) || self.space.unacknowledged().any(of_it) {
                return Some(waited);
            }
            self.watches.pop_front();
        }
        None
    }

    /// The peer is one of ours: it forgets nothing.
    pub(crate) fn unwatch(&mut self) {
        self.watches.clear();
    }

    /// Nothing waits, nothing is unacknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        !self.has_new() && self.space.is_empty()
    }

    /// Gives back memory that a burst took.
    pub(crate) fn trim(&mut self) {
        self.queue.shrink_to_fit();
        self.space.trim();
        self.prune();
        self.watches.shrink_to_fit();
    }

    /// Forgets watches over messages all of whose sequences were acknowledged.
    fn prune(&mut self) {
        if self.space.is_empty() && self.cut.is_none() {
            self.watches.clear();
        }
        while self.watches.get(1).is_some_and(|next| next.first <= self.space.oldest()) {
            self.watches.pop_front();
        }
    }
}

/// The most pieces a message to a foreign base peer may have over a path with this round trip:
/// pieces × srtt / 24 ≤ 3 s (PROTOCOL A6 rule 4).
pub(crate) fn foreign_pieces(srtt: Duration) -> usize {
    let budget = FOREIGN_PLAN.as_nanos() * FOREIGN_SPAN as u128;
    usize::try_from(budget / srtt.as_nanos().max(1)).unwrap_or(usize::MAX)
}

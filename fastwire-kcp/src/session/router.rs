//! Which session of a listener a datagram belongs to, and whether it opens a new one. Sans-IO.

use super::Peek;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// Conversations of one address at a time, under [`Compat::Safe`].
pub const MAX_CONVS_PER_ADDRESS: usize = 4;
/// Conversations remembered after they were closed here, so that late datagrams do not open them again.
pub const MAX_CLOSED_REMEMBERED: usize = 4096;
/// How long they are remembered, in ms: longer than a datagram lives, and a peer resends.
const REMEMBERED_FOR: u32 = 60_000;
/// First number that no opening datagram has: a window of the largest kind, reordered.
const MAX_OPENING_SN: u32 = 65_535;

/// How a listener treats what no well-behaved peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compat {
    /// A conversation ends only here or by its timeout. Another number from a known address opens a session
    /// beside it (a client that restarted, another behind the same NAT port), only data opens one, and what was
    /// closed here stays closed. To a well-behaved peer there is no difference.
    #[default]
    Safe,
    /// As kcp-go: one session an address; another number with sn 0 replaces it, anything that shows a number
    /// opens one. Whoever can forge an address can end a session.
    KcpGo,
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<Id> {
    /// To this session.
    Session(Id),
    /// It opens a session.
    Open {
        /// Its conversation number.
        conv: u32,
        /// The session that ends by it.
        replaces: Option<Id>,
    },
    /// Nowhere.
    Drop,
}

/// The sessions of a listener by address. Addresses are the network's to choose: the map is the standard library's,
/// whose hashes cannot be foreseen.
#[derive(Debug)]
pub struct Router<Id> {
    compat: Compat,
    /// Sessions of each address, the one heard last at the end. Never empty.
    sessions: HashMap<SocketAddr, Vec<(u32, Id)>>,
    /// Sessions of all addresses.
    count: usize,
    /// Closed here, and when; at most [`MAX_CLOSED_REMEMBERED`].
    closed: HashMap<(SocketAddr, u32), u32>,
    /// The keys of `closed`, oldest first.
    closed_order: VecDeque<(SocketAddr, u32)>,
}

impl<Id: Copy + PartialEq> Router<Id> {
    /// A router without sessions.
    pub fn new(compat: Compat) -> Self {
        Self {
            compat,
            sessions: HashMap::new(),
            count: 0,
            closed: HashMap::new(),
            closed_order: VecDeque::new(),
        }
    }

    /// Where a datagram from `from` goes that arrived at `now` (ms, wrapping).
    pub fn route(&mut self, now: u32, from: SocketAddr, peek: Peek) -> Route<Id> {
        let known = self.sessions.get_mut(&from);
        match (peek, known) {
            (Peek::Nothing, _) | (Peek::Hidden, None) => Route::Drop,
            (Peek::Hidden, Some(known)) => known.last().map_or(Route::Drop, |&(_, id)| Route::Session(id)),
            (Peek::Shown { conv, sn, opens }, known) => {
                let known = known.map_or(&mut [][..], Vec::as_mut_slice);
                let at = known.iter().position(|&(other, _)| other == conv);
                if let Some(from) = at.and_then(|at| known.get_mut(at..))
                    && let Some(&(_, id)) = from.first()
                {
                    from.rotate_left(1);
                    return Route::Session(id);
                }
                match (self.compat, known.last()) {
                    (Compat::KcpGo, None) => Route::Open { conv, replaces: None },
                    (Compat::KcpGo, Some(&(_, old))) if sn == 0 => Route::Open { conv, replaces: Some(old) },
                    (Compat::KcpGo, Some(_)) => Route::Drop,
                    (Compat::Safe, _) => {
                        let may_open = opens && sn < MAX_OPENING_SN && known.len() < MAX_CONVS_PER_ADDRESS;
                        if may_open && !self.is_closed(now, from, conv) {
                            Route::Open { conv, replaces: None }
                        } else {
                            Route::Drop
                        }
                    }
                }
            }
        }
    }

    /// Adds a session that was opened. Under [`Compat::KcpGo`] whatever the address had before is forgotten.
    pub fn insert(&mut self, from: SocketAddr, conv: u32, id: Id) {
        let known = self.sessions.entry(from).or_default();
        if self.compat == Compat::KcpGo {
            self.count -= known.len();
            known.clear();
        }
        known.push((conv, id));
        self.count += 1;
    }

    /// Removes a session that ended; under [`Compat::Safe`] it is remembered for a while.
    pub fn remove(&mut self, now: u32, from: SocketAddr, conv: u32, id: Id) {
        let Some(known) = self.sessions.get_mut(&from) else { return };
        let before = known.len();
        known.retain(|&(_, other)| other != id);
        self.count -= before - known.len();
        if known.is_empty() {
            self.sessions.remove(&from);
        }
        if self.compat == Compat::Safe {
            self.remember_closed(now, (from, conv));
        }
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True without sessions.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn is_closed(&self, now: u32, from: SocketAddr, conv: u32) -> bool {
        self.closed.get(&(from, conv)).is_some_and(|at| now.wrapping_sub(*at) < REMEMBERED_FOR)
    }

    fn remember_closed(&mut self, now: u32, key: (SocketAddr, u32)) {
        if self.closed.insert(key, now).is_some() {
            return;
        }
        self.closed_order.push_back(key);
        if self.closed_order.len() > MAX_CLOSED_REMEMBERED
            && let Some(oldest) = self.closed_order.pop_front()
        {
            self.closed.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn another_number_opens_beside_and_never_replaces() {
        let mut router = Router::new(Compat::Safe);
        let data = |conv| Peek::Shown { conv, sn: 0, opens: true };
        assert_eq!(router.route(0, address(1), data(1)), Route::Open { conv: 1, replaces: None });
        router.insert(address(1), 1, 'a');
        assert_eq!(router.route(0, address(1), data(2)), Route::Open { conv: 2, replaces: None });
        router.insert(address(1), 2, 'b');
        assert_eq!(router.route(0, address(1), data(1)), Route::Session('a'));
        assert_eq!(router.route(0, address(1), Peek::Hidden), Route::Session('a'), "the one heard last");
        let ack = Peek::Shown { conv: 3, sn: 0, opens: false };
        assert_eq!(router.route(0, address(1), ack), Route::Drop);
        assert_eq!(router.route(0, address(2), ack), Route::Drop);
        router.remove(0, address(1), 1, 'a');
        assert_eq!(router.route(0, address(1), data(1)), Route::Drop, "closed stays closed");
        let later = router.route(REMEMBERED_FOR, address(1), data(1));
        assert_eq!(later, Route::Open { conv: 1, replaces: None }, "but not for ever");
        assert_eq!(router.route(0, address(1), Peek::Hidden), Route::Session('b'));
    }

    #[test]
    fn a_replaced_session_gets_no_more_datagrams() {
        let mut router = Router::new(Compat::KcpGo);
        let data = |conv| Peek::Shown { conv, sn: 0, opens: true };
        router.insert(address(1), 1, 'a');
        assert_eq!(router.route(0, address(1), data(2)), Route::Open { conv: 2, replaces: Some('a') });
        router.insert(address(1), 2, 'b');
        assert_eq!((router.len(), router.route(0, address(1), Peek::Hidden)), (1, Route::Session('b')));
        assert_eq!(router.route(0, address(1), data(1)), Route::Open { conv: 1, replaces: Some('b') });
        router.remove(0, address(1), 1, 'a');
        assert_eq!((router.len(), router.route(0, address(1), data(2))), (1, Route::Session('b')));
    }

    proptest! {
        #[test]
        fn what_the_network_can_grow_is_bounded(
            calls in prop::collection::vec((0..3u16, 0..20u32, any::<bool>()), 0..300)) {
            let mut router = Router::new(Compat::Safe);
            for (id, (port, conv, close)) in calls.into_iter().enumerate() {
                let peek = Peek::Shown { conv, sn: 0, opens: true };
                match router.route(0, address(port), peek) {
                    Route::Open { conv, .. } => router.insert(address(port), conv, id),
                    Route::Session(id) if close => router.remove(0, address(port), conv, id),
                    _ => {}
                }
                prop_assert!(router.sessions.values().all(|known| (1..=MAX_CONVS_PER_ADDRESS).contains(&known.len())));
                prop_assert_eq!(router.len(), router.sessions.values().map(Vec::len).sum::<usize>());
            }
        }
    }

    #[test]
    fn closed_conversations_are_remembered_up_to_the_limit() {
        let mut router = Router::new(Compat::Safe);
        for conv in 0..MAX_CLOSED_REMEMBERED as u32 + 10 {
            router.insert(address(1), conv, conv);
            router.remove(0, address(1), conv, conv);
        }
        assert_eq!(router.closed.len(), MAX_CLOSED_REMEMBERED);
        assert_eq!(router.closed_order.len(), MAX_CLOSED_REMEMBERED);
        assert!(router.is_empty());
    }
}

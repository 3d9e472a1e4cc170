//! What became of the cookies that were accepted: one cookie makes one connection (PROTOCOL B2).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use fastwire_crypto::extended::COOKIE_LEN;

use super::COOKIE_LIFETIME;
use crate::ConnectionId;

type Cookie = [u8; COOKIE_LEN];

/// Where an accepted cookie led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Used {
    /// To this connection, half-open or established.
    By(ConnectionId),
    /// To a connection that has ended.
    Gone,
}

#[derive(Debug)]
struct Entry {
    used: Used,
    /// Its place among the half-open ones.
    half_open: Option<u64>,
    /// The cookie itself is too old to be accepted again.
    outlived: bool,
}

/// Cookies in use. An entry lives as long as its cookie or its half-open connection, so there are at most as many as key
/// agreements are granted in that time.
#[derive(Debug)]
pub(crate) struct Cookies {
    entries: HashMap<Cookie, Entry>,
    /// When which was accepted, oldest first.
    order: VecDeque<(Instant, Cookie)>,
    /// Half-open connections, oldest first.
    half_open: BTreeMap<u64, (Cookie, ConnectionId)>,
    max_half_open: usize,
    next: u64,
}

impl Cookies {
    pub(crate) fn new(max_half_open: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            half_open: BTreeMap::new(),
            max_half_open,
            next: 0,
        }
    }

    pub(crate) fn used(&mut self, cookie: &Cookie, now: Instant) -> Option<Used> {
        self.expire(now);
        self.entries.get(cookie).map(|entry| entry.used)
    }

    /// Notes the half-open connection of a cookie. Gives the oldest, to be ended, where there are too many.
    pub(crate) fn bind(&mut self, cookie: Cookie, id: ConnectionId, now: Instant) -> Option<ConnectionId> {
        self.expire(now);
        let oldest = if self.half_open.len() >= self.max_half_open { self.evict() } else { None };
        let place = self.next;
        self.next += 1;
        self.half_open.insert(place, (cookie, id));
        self.entries.insert(cookie, Entry { used: Used::By(id), half_open: Some(place), outlived: false });
        self.order.push_back((now, cookie));
        oldest
    }

    /// The connection is half-open no more.
    pub(crate) fn confirm(&mut self, cookie: &Cookie) {
        self.change(cookie, None);
    }

    /// The connection has ended.
    pub(crate) fn release(&mut self, cookie: &Cookie) {
        self.change(cookie, Some(Used::Gone));
    }

    pub(crate) fn half_open(&self) -> usize {
        self.half_open.len()
    }

    fn evict(&mut self) -> Option<ConnectionId> {
        let (_, (cookie, id)) = self.half_open.pop_first()?;
        self.change(&cookie, Some(Used::Gone));
        Some(id)
    }

    fn change(&mut self, cookie: &Cookie, used: Option<Used>) {
        let Some(entry) = self.entries.get_mut(cookie) else { return };
        entry.used = used.unwrap_or(entry.used);
        if let Some(place) = entry.half_open.take() {
            self.half_open.remove(&place);
        }
        if entry.outlived {
            self.entries.remove(cookie);
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((accepted, cookie)) = self.order.front().copied() {
            // A cookie is a whole second older than it looks at most: its time counts seconds.
            if now.saturating_duration_since(accepted) <= COOKIE_LIFETIME + COOKIE_LIFETIME / 10 {
                break;
            }
            self.order.pop_front();
            match self.entries.get_mut(&cookie) {
                Some(entry) if entry.half_open.is_some() => entry.outlived = true,
                _ => drop(self.entries.remove(&cookie)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cookie(n: u32) -> Cookie {
        let mut cookie = [0; COOKIE_LEN];
        cookie[..4].copy_from_slice(&n.to_le_bytes());
        cookie
    }

    fn id(n: u32) -> ConnectionId {
        ConnectionId::new(n, 0)
    }

    #[test]
    fn a_used_cookie_is_remembered_until_it_is_too_old_anyway() {
        let start = Instant::now();
        let mut cookies = Cookies::new(8);
        for (n, end) in [(1, Used::By(id(1))), (2, Used::Gone)] {
            assert_eq!(cookies.used(&cookie(n), start), None);
            assert_eq!(cookies.bind(cookie(n), id(n), start), None);
            cookies.confirm(&cookie(n));
            if end == Used::Gone {
                cookies.release(&cookie(n));
            }
        }
        let (late, too_late) = (start + COOKIE_LIFETIME, start + COOKIE_LIFETIME * 2);
        assert_eq!(cookies.used(&cookie(1), late), Some(Used::By(id(1))));
        assert_eq!(cookies.used(&cookie(2), late), Some(Used::Gone));
        assert_eq!(cookies.used(&cookie(1), too_late), None);
        assert!(cookies.entries.is_empty() && cookies.order.is_empty());
    }

    #[test]
    fn half_open_connections_are_bounded_and_the_oldest_makes_room() {
        let now = Instant::now();
        let mut cookies = Cookies::new(100);
        for n in 0..1000 {
            let evicted = cookies.bind(cookie(n), id(n), now);
            assert_eq!(evicted, n.checked_sub(100).map(id));
            if let Some(n) = n.checked_sub(100) {
                assert_eq!(cookies.used(&cookie(n), now), Some(Used::Gone));
            }
        }
        assert_eq!(cookies.half_open(), 100);
        // The established ones do not count.
        (900..1000).for_each(|n| cookies.confirm(&cookie(n)));
        assert_eq!(cookies.bind(cookie(1000), id(1000), now), None);
        assert_eq!(cookies.half_open(), 1);
    }

    #[test]
    fn a_half_open_connection_outlives_its_cookie_and_leaves_nothing() {
        let start = Instant::now();
        for release in [true, false] {
            let mut cookies = Cookies::new(1);
            cookies.bind(cookie(1), id(1), start);
            let late = start + Duration::from_secs(60);
            assert_eq!(cookies.used(&cookie(1), late), Some(Used::By(id(1))));
            if release {
                cookies.release(&cookie(1));
            } else {
                cookies.confirm(&cookie(1));
            }
            assert_eq!(cookies.used(&cookie(1), late), None);
            assert_eq!((cookies.half_open(), cookies.entries.len()), (0, 0));
        }
    }
}

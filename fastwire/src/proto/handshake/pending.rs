//! Server side: handshakes between CHALLENGE and the first packet that opens.
//!
//! A CONNECT costs the server a small entry and no key agreement. Entries are bounded in number, per IP
//! address, per IP address and port, and in age; the oldest makes room (PROTOCOL A5).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastwire_crypto::KeyPair;
use fastwire_wire::{Challenge, Connect, PROTOCOL_VERSION};
use smallvec::SmallVec;

use crate::config::Limits;
use crate::proto::session::{Session, Terms};

/// At most this many handshakes from one IP address and port, told apart by the client's key.
const PER_ADDRESS: usize = 4;

/// One unfinished handshake.
pub(crate) struct Pending<C> {
    pub(crate) remote: SocketAddr,
    pub(crate) connect: Connect,
    pub(crate) terms: Terms,
    /// 0 = compression as asked, 1 = it differs.
    pub(crate) compression_ack: u8,
    /// The server's key pair when the CHALLENGE was made.
    pub(crate) server_keys: Arc<KeyPair>,
    created: Instant,
    /// Made when the first packet that may be sealed arrives, never before.
    pub(crate) session: Option<Box<Session<C>>>,
    /// The keys cannot be agreed (a low-order point): nothing will ever open.
    pub(crate) hopeless: bool,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    /// CHALLENGEs sent.
    pub(crate) challenges: u32,
}

impl<C> Pending<C> {
    pub(crate) fn new(
        remote: SocketAddr,
        connect: Connect,
        terms: Terms,
        compression_ack: u8,
        server_keys: Arc<KeyPair>,
        now: Instant,
    ) -> Self {
        Self {
            remote,
            connect,
            terms,
            compression_ack,
            server_keys,
            created: now,
            session: None,
            hopeless: false,
            bytes_received: 0,
            bytes_sent: 0,
            challenges: 0,
        }
    }

    /// The round trip from CHALLENGE to its answer, if there was only one CHALLENGE (Karn).
    pub(crate) fn rtt(&self, now: Instant) -> Option<Duration> {
        (self.challenges == 1).then(|| now.saturating_duration_since(self.created))
    }

    /// The CHALLENGE of this handshake: the same bytes every time.
    pub(crate) fn challenge(&self, application_version: u16) -> Challenge {
        Challenge {
            version: PROTOCOL_VERSION,
            application_version,
            public_key: *self.server_keys.public().as_bytes(),
            token: self.terms.token,
            cipher: self.terms.suite.id(),
            compression_ack: self.compression_ack,
            features: self.terms.features,
            migration_token: self.terms.migration_token,
        }
    }
}

/// All unfinished handshakes of a server.
pub(crate) struct PendingTable<C> {
    by_address: HashMap<SocketAddr, SmallVec<[Box<Pending<C>>; 1]>>,
    per_ip: HashMap<IpAddr, usize>,
    /// Oldest first. May name entries that are gone.
    order: VecDeque<(Instant, SocketAddr, [u8; 32])>,
    len: usize,
    max: usize,
    max_per_ip: usize,
}

impl<C> PendingTable<C> {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            by_address: HashMap::new(),
            per_ip: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
            max: limits.pending_handshakes,
            max_per_ip: limits.pending_handshakes_per_ip,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The handshakes of one address.
    pub(crate) fn at(&mut self, remote: SocketAddr) -> &mut [Box<Pending<C>>] {
        self.by_address.get_mut(&remote).map(|entries| entries.as_mut_slice()).unwrap_or_default()
    }

    /// The handshake of one client key at one address.
    pub(crate) fn find(&mut self, remote: SocketAddr, client_key: &[u8; 32]) -> Option<&mut Pending<C>> {
        self.at(remote).iter_mut().find(|p| p.connect.public_key == *client_key).map(|p| &mut **p)
    }

    /// Adds a handshake. Gives how many older ones made room.
    pub(crate) fn insert(&mut self, pending: Pending<C>) -> u64 {
        let (remote, key, created) = (pending.remote, pending.connect.public_key, pending.created);
        let mut evicted = 0;
        let at_address = self.by_address.get(&remote).map_or(0, |entries| entries.len());
        if at_address >= PER_ADDRESS {
            evicted += self.evict_oldest(|address| *address == remote);
        } else if self.per_ip.get(&remote.ip()).copied().unwrap_or(0) >= self.max_per_ip {
            evicted += self.evict_oldest(|address| address.ip() == remote.ip());
        }
        if self.len >= self.max {
            evicted += self.evict_oldest(|_| true);
        }
        self.by_address.entry(remote).or_default().push(Box::new(pending));
        *self.per_ip.entry(remote.ip()).or_default() += 1;
        self.order.push_back((created, remote, key));
        self.len += 1;
        evicted
    }

    pub(crate) fn remove(&mut self, remote: SocketAddr, client_key: &[u8; 32]) -> Option<Box<Pending<C>>> {
        let entries = self.by_address.get_mut(&remote)?;
        let index = entries.iter().position(|p| p.connect.public_key == *client_key)?;
        let pending = entries.swap_remove(index);
        if entries.is_empty() {
            self.by_address.remove(&remote);
        }
        if let Some(count) = self.per_ip.get_mut(&remote.ip()) {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&remote.ip());
            }
        }
        self.len -= 1;
        Some(pending)
    }

    /// Drops what else was begun from an address from which a handshake has just been completed.
    pub(crate) fn clear(&mut self, remote: SocketAddr) {
        while let Some(key) = self.at(remote).first().map(|pending| pending.connect.public_key) {
            self.remove(remote, &key);
        }
    }

    /// Drops handshakes older than `timeout`. Gives how many.
    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) -> u64 {
        let mut expired = 0;
        while let Some(&(created, remote, key)) = self.order.front() {
            if now.saturating_duration_since(created) < timeout {
                break;
            }
            self.order.pop_front();
            expired += self.remove_created(created, remote, &key);
        }
        expired
    }

    /// When the oldest handshake ends.
    pub(crate) fn next_expiry(&self, timeout: Duration) -> Option<Instant> {
        self.order.front().map(|(created, ..)| *created + timeout)
    }

    fn evict_oldest(&mut self, matches: impl Fn(&SocketAddr) -> bool) -> u64 {
        let mut index = 0;
        while let Some(&(created, remote, key)) = self.order.get(index) {
            if matches(&remote) {
                self.order.remove(index);
                if self.remove_created(created, remote, &key) == 1 {
                    return 1;
                }
            } else {
                index += 1;
            }
        }
        0
    }

    /// Removes the handshake that an entry of `order` names, if it is still that one.
    fn remove_created(&mut self, created: Instant, remote: SocketAddr, key: &[u8; 32]) -> u64 {
        let same = self.find(remote, key).is_some_and(|pending| pending.created == created);
        if same { self.remove(remote, key).map_or(0, |_| 1) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compress::Method;
    use crate::crypto::{Aead, CipherSuite};
    use crate::wire::Features;

    fn remote((ip, port): (u8, u8)) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, ip], u16::from(port) + 1))
    }

    fn pending(address: (u8, u8), key: u8, now: Instant) -> Pending<Aead> {
        let connect = Connect {
            version: PROTOCOL_VERSION,
            application_version: 0,
            public_key: [key; 32],
            cipher: 0,
            compression: 0,
            dictionary_hash: None,
            features: Features::EMPTY,
        };
        let terms = Terms {
            suite: CipherSuite::None,
            token: [key; 32],
            features: Features::EMPTY,
            migration_token: None,
            compression: Method::NONE,
        };
        Pending::new(remote(address), connect, terms, 0, Arc::new(KeyPair::from_secret([1; 32])), now)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert((u8, u8), u8),
        Remove((u8, u8), u8),
        Clear((u8, u8)),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let address = (0u8..3, 0u8..3);
        let step = prop_oneof![
            8 => (address.clone(), 0u8..8).prop_map(|(address, key)| Step::Insert(address, key)),
            2 => (address.clone(), 0u8..8).prop_map(|(address, key)| Step::Remove(address, key)),
            1 => address.prop_map(Step::Clear),
            2 => (0u64..400).prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 1..200)
    }

    /// Takes the oldest that matches out of a list that is oldest first; how many that were.
    fn take_oldest(list: &mut Vec<(Instant, (u8, u8), u8)>, matches: impl Fn((u8, u8)) -> bool) -> u64 {
        list.iter().position(|&(_, address, _)| matches(address)).map_or(0, |at| {
            list.remove(at);
            1
        })
    }

    proptest! {
        /// The table holds what a list would, and makes room as it says: first of the address, else of the IP address, then of all.
        #[test]
        fn the_table_agrees_with_a_list(steps in steps()) {
            let timeout = Duration::from_secs(1);
            let mut limits = Limits::default();
            (limits.pending_handshakes, limits.pending_handshakes_per_ip) = (12, 7);
            let (mut table, mut list) = (PendingTable::new(&limits), Vec::new());
            let mut now = Instant::now();
            for step in steps {
                // No two at the same moment: which is the older is clear.
                now += Duration::from_nanos(1);
                match step {
                    Step::Insert(address, key) => {
                        if table.find(remote(address), &[key; 32]).is_some() {
                            continue;
                        }
                        let of_address = list.iter().filter(|entry: &&(_, _, u8)| entry.1 == address).count();
                        let of_ip = list.iter().filter(|entry: &&(_, (u8, u8), u8)| entry.1.0 == address.0).count();
                        let mut evicted = 0;
                        if of_address >= PER_ADDRESS {
                            evicted += take_oldest(&mut list, |other| other == address);
                        } else if of_ip >= 7 {
                            evicted += take_oldest(&mut list, |other| other.0 == address.0);
                        }
                        if list.len() >= 12 {
                            evicted += take_oldest(&mut list, |_| true);
                        }
                        list.push((now, address, key));
                        prop_assert_eq!(table.insert(pending(address, key, now)), evicted);
                    }
                    Step::Remove(address, key) => {
                        let at = list.iter().position(|&(_, other, k)| (other, k) == (address, key));
                        let removed = table.remove(remote(address), &[key; 32]);
                        prop_assert_eq!(removed.map(|pending| pending.created), at.map(|at| list.remove(at).0));
                    }
                    Step::Clear(address) => {
                        table.clear(remote(address));
                        list.retain(|&(_, other, _)| other != address);
                    }
                    Step::Wait(millis) => {
                        now += Duration::from_millis(millis);
                        let before = list.len();
                        list.retain(|&(created, ..)| now - created < timeout);
                        prop_assert_eq!(table.expire(now, timeout), (before - list.len()) as u64);
                    }
                }
                prop_assert_eq!(table.len(), list.len());
                for &(created, address, key) in &list {
                    let found = table.find(remote(address), &[key; 32]);
                    prop_assert_eq!(found.map(|pending| pending.created), Some(created));
                }
                // Entries of `order` that are gone only bring it forward.
                let next = table.next_expiry(timeout);
                prop_assert!(list.first().is_none_or(|&(created, ..)| next.is_some_and(|next| next <= created + timeout)));
            }
        }
    }

    #[test]
    fn only_one_challenge_gives_a_round_trip() {
        let start = Instant::now();
        let mut pending = pending((1, 1), 1, start);
        let now = start + Duration::from_millis(70);
        let told: Vec<_> = (0..3)
            .map(|challenges| {
                pending.challenges = challenges;
                pending.rtt(now)
            })
            .collect();
        assert_eq!(told, [None, Some(Duration::from_millis(70)), None]);
    }
}

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

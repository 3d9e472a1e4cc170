//! The endpoint: all connections of one server or client, and the only door to them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use fastwire_compress::Compressor;
use fastwire_congestion::{CongestionController, ControllerFactory, PathInfo};
use fastwire_crypto::extended::sha256;
use fastwire_crypto::{Cipher, CipherSuites, KeyPair};
use fastwire_reliability::Outcome;

use super::admission::Admission;
use super::clock::Clock;
use super::connection::{Change, Connection, Env};
use super::deadlines::Deadlines;
use super::delivery::Told;
use super::ended::{Ended, Graveyard};
use super::entropy::Entropy;
use super::handshake::client::{HandshakeDatagram, SocketRequest};
use super::handshake::extended::late::Late;
use super::memory::Memory;
use super::prelude::Prelude;
use super::router::Router;
use super::shared::Compressions;
use super::slab::Slab;
use super::stamps::Times;
use super::transmit::TransmitBuf;
use super::veil::Veil;
use super::{Side, client};
use crate::config::{ClientConfig, CommonConfig, ServerConfig};
use crate::identity::Identity;
use crate::observe::{Observed, Subject};
use crate::transport::{ChunkPool, RecvMeta, SocketId, Transmit};
use crate::{ConfigError, ConnectError, ConnectionId, DisconnectReason, EndpointStats, Event};

/// The exchangeable parts of an endpoint.
pub struct Parts<C, Z, G> {
    /// Makes ciphers from negotiated suites and keys; shared, because keys of an extended connection change as it goes on.
    pub suites: Arc<dyn CipherSuites<Cipher = C>>,
    /// Compresses and expands messages.
    pub compressor: Z,
    /// Makes a congestion controller for each connection.
    pub controllers: Box<dyn ControllerFactory<Controller = G>>,
}

/// All connections of one server or client, as a state machine. See the [module](crate::proto) for how
/// to drive it.
pub struct Endpoint<C, Z, G> {
    pub(super) config: CommonConfig,
    pub(super) side: Side,
    pub(super) parts: Parts<C, Z, G>,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) connections: Slab<Connection<C, G>>,
    /// What only a server has.
    pub(super) router: Option<Router<C>>,
    /// The socket a client's next connection starts from: the last one's, which is the one left open.
    pub(super) home: SocketId,
    /// The next socket a client opens.
    pub(super) next_socket: u32,
    /// Handshakes of a client that did not win.
    pub(super) late: Late,
    /// What hides handshakes, where that is configured.
    pub(super) veil: Option<Veil>,
    pub(super) deadlines: Deadlines,
    /// Connections that may have something to send.
    pub(super) ready: VecDeque<ConnectionId>,
    /// Connections that may have something to deliver.
    pub(super) deliverable: VecDeque<ConnectionId>,
    pub(super) events: VecDeque<Event>,
    /// When messages were sent.
    pub(super) times: Times,
    /// Of the connections whose `Disconnected` is in `events`.
    pub(super) ended: Graveyard,
    pub(super) answers: VecDeque<HandshakeDatagram>,
    /// A server's handshakes, for observers; `None` without them.
    pub(super) prelude: Option<Box<Prelude>>,
    pub(super) socket_requests: VecDeque<SocketRequest>,
    /// Datagrams for other shards, and which.
    pub(super) strays: VecDeque<(usize, RecvMeta, BytesMut)>,
    pub(super) outcome: Outcome,
    pub(super) changes: Vec<Change>,
    pub(super) scratch: Vec<u8>,
    pub(super) compressions: Compressions,
    pub(super) pool: ChunkPool,
    /// Messages as they travel compressed. In chunks of their own: beside the messages they were made of, a few bytes that wait
    /// would pin the room of the original.
    pub(super) compressed: ChunkPool,
    /// Receipts asked for so far.
    pub(super) receipts: u64,
    pub(super) stats: EndpointStats,
    pub(super) memory: Memory,
    pub(super) admission: Admission,
    /// When it was made, on its own clock.
    pub(super) started: Instant,
}

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    /// A server's endpoint.
    ///
    /// # Errors
    /// The first field of `config` that cannot work.
    pub fn server(
        config: &ServerConfig,
        parts: Parts<C, Z, G>,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let mut endpoint = Self::new(config.common()?, Side::Server, parts, seed, now);
        let keys = KeyPair::from_secret(endpoint.entropy.bytes());
        let identity = identity_of(&endpoint.config, &seed);
        endpoint.router = Some(Router::new(
            &endpoint.config,
            config.max_connections,
            config.require_application_version,
            (keys, identity),
            now,
        ));
        endpoint.set_info(config.info.clone())?;
        Ok(endpoint)
    }

    /// A client's endpoint.
    ///
    /// # Errors
    /// The first field of `config` that cannot work.
    pub fn client(
        config: &ClientConfig,
        parts: Parts<C, Z, G>,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        Ok(Self::new(config.common()?, Side::Client, parts, seed, now))
    }

    pub(super) fn new(
        config: CommonConfig,
        side: Side,
        parts: Parts<C, Z, G>,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let prelude = (side == Side::Server && config.observers.is_some()).then(Box::default);
        let veil = config.extended.veil.clone();
        let veil = veil.map(|keys| Veil::new(keys, config.limits.veil_nonces, now));
        Self {
            config,
            veil,
            side,
            parts,
            clock: Clock::new(now),
            entropy: Entropy::new(seed),
            connections: Slab::new(),
            router: None,
            home: SocketId::PRIMARY,
            next_socket: 1,
            late: Late::default(),
            deadlines: Deadlines::default(),
            ready: VecDeque::new(),
            deliverable: VecDeque::new(),
            events: VecDeque::new(),
            times: Times::default(),
            ended: Graveyard::default(),
            answers: VecDeque::new(),
            prelude,
            socket_requests: VecDeque::new(),
            strays: VecDeque::new(),
            outcome: Outcome::default(),
            changes: Vec::new(),
            scratch: Vec::new(),
            compressions: Compressions::default(),
            pool: ChunkPool::new(),
            compressed: ChunkPool::new(),
            receipts: 0,
            stats: EndpointStats::default(),
            memory: Memory::default(),
            admission: Admission::default(),
            started: now,
        }
    }

    /// Does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.clock.advance(now);
        if let Some(router) = &mut self.router {
            self.stats.handshakes_expired += router.pending.expire(now, self.config.handshake_timeout);
            router.gate.expire(now);
        }
        if self.clock.take_gap() && self.side == Side::Client {
            client::handle_gap(self, now);
        }
        while let Some((at, id)) = self.deadlines.pop_due(now) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if connection.common.scheduled != Some(at) {
                continue;
            }
            connection.common.scheduled = None;
            // Entries do not follow deadlines that move away, as those of a busy connection do all the time.
            let deadline = connection.common.deadline.filter(|_| !connection.common.is_ready);
            if deadline.is_some_and(|deadline| deadline > now) {
                self.deadlines.schedule(id, &mut connection.common.scheduled, deadline);
                continue;
            }
            if self.side == Side::Client {
                client::handle_timeout(self, id, now);
            }
            self.with_connection(id, |connection, env| connection.handle_timeout(now, env));
            if self.connections.get_mut(id).is_some_and(|connection| connection.common.intake.wakes(now)) {
                self.mark_deliverable(id);
            }
        }
    }

    /// The next event. Messages come in the order their connection delivers them; a connection that is
    /// [paused](Self::pause) keeps its own. After `Disconnected`, and until the next call, the connection's
    /// address, figures and user data can still be asked for.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        match self.poll(None)? {
            Told::Event(event) => Some(event),
            // asked for by who says where to
            Told::Copied { .. } => None,
        }
    }

    /// As [`poll_event`](Self::poll_event), for who needs no owner of a message's bytes: those of a short one may be copied to
    /// `into`, in place of what is there.
    #[inline]
    pub(crate) fn poll_told(&mut self, into: &mut Vec<u8>) -> Option<Told> {
        self.poll(Some(into))
    }

    #[inline]
    fn poll(&mut self, mut into: Option<&mut Vec<u8>>) -> Option<Told> {
        self.ended.bury();
        loop {
            if !self.events.is_empty() {
                return self.next_told().map(Told::Event);
            }
            let id = *self.deliverable.front()?;
            match self.next_delivery(id, into.as_deref_mut()) {
                Some(told) => return Some(told),
                None => {
                    self.deliverable.pop_front();
                    self.account(id);
                    if let Some(connection) = self.connections.get_mut(id) {
                        connection.common.is_deliverable = false;
                    }
                }
            }
        }
    }

    /// The next event that is not a message.
    fn next_told(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.times.on_event();
        if matches!(event, Event::Disconnected { .. }) {
            self.ended.tell();
        }
        Some(event)
    }

    /// Fills `buf` with the next datagrams to send: all of one size to one address, only the last one
    /// shorter. `None`: nothing is due.
    pub fn poll_transmit<'b>(&mut self, now: Instant, buf: &'b mut TransmitBuf) -> Option<Transmit<'b>> {
        let now = self.clock.advance(now);
        buf.clear();
        if let Some(answer) = self.answers.pop_front() {
            return Some(self.transmit_handshake(&answer, buf));
        }
        while let Some(&id) = self.ready.front() {
            let (route, more) = self.transmit_connection(id, now, buf);
            self.ready.pop_front();
            if more {
                self.ready.push_back(id);
            } else {
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.common.is_ready = false;
                }
                self.reschedule(id);
            }
            if let Some(route) = route {
                self.stats.datagrams_sent += buf.segments() as u64;
                self.stats.bytes_sent += buf.len() as u64;
                buf.set_connection(id);
                return Some(buf.transmit(route));
            }
        }
        self.compressions.clear();
        self.settle_deadlines();
        None
    }

    /// Fills `buf` with datagrams of one connection alone (what `send_now` needs between two ticks).
    pub fn poll_transmit_of<'b>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        buf: &'b mut TransmitBuf,
    ) -> Option<Transmit<'b>> {
        let now = self.clock.advance(now);
        buf.clear();
        let route = self.transmit_connection(id, now, buf).0?;
        self.stats.datagrams_sent += buf.segments() as u64;
        self.stats.bytes_sent += buf.len() as u64;
        Some(buf.transmit(route))
    }

    /// The next wish about sockets: to open or to close one.
    pub fn poll_socket(&mut self) -> Option<SocketRequest> {
        self.socket_requests.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due at the latest; `None`: nothing will happen by
    /// itself. Valid once `poll_transmit` has given `None`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.ready.is_empty() || !self.answers.is_empty() {
            return Some(self.clock.outside(self.clock.now()));
        }
        let pending =
            self.router.as_ref().and_then(|router| router.pending.next_expiry(self.config.handshake_timeout));
        let next = self.deadlines.next().into_iter().chain(pending).min()?;
        Some(self.clock.outside(next))
    }

    /// Moves the next entries away if their deadlines have: those of a busy connection do all the time, and its owner would
    /// wake up for nothing, or set a timer that is not needed.
    fn settle_deadlines(&mut self) {
        while let Some((at, id)) = self.deadlines.first() {
            let Some(connection) = self.connections.get_mut(id) else { return };
            let common = &mut connection.common;
            let moved = common.deadline.filter(|deadline| *deadline > at && !common.is_ready);
            let Some(deadline) = moved else { return };
            self.deadlines.postpone(id, &mut common.scheduled, deadline);
        }
    }

    pub(super) fn add_connection(&mut self, path: (SocketId, SocketAddr), now: Instant) -> ConnectionId {
        let controller = self.controller(false, now);
        let (side, config) = (self.side, &self.config);
        let connection = self.connections.insert(Connection::new(side, path, controller, config, now));
        self.watch(connection, now);
        connection
    }

    /// Asks the application for somebody who hears what happens to a new connection.
    pub(super) fn watch(&mut self, connection: ConnectionId, now: Instant) {
        let observers = self.config.observers.as_ref();
        if let (Some(observers), Some(new)) = (observers, self.connections.get_mut(connection)) {
            let (is_server, remote) = (self.side == Side::Server, new.remote());
            let began = self.prelude.as_ref().and_then(|prelude| prelude.began(remote));
            let at = began.unwrap_or(now);
            new.common.observer = observers.make(&Subject { connection, is_server, remote, at });
            if let (Some(prelude), Some(observer)) = (&mut self.prelude, &mut new.common.observer) {
                self.stats.handshakes_unobserved += prelude.tell(remote, &mut **observer);
            }
        }
    }

    /// A server's handshake datagram whose connection is still to come, if there will be one.
    pub(super) fn note_handshake(&mut self, remote: SocketAddr, sent: bool, datagram: &[u8], now: Instant) {
        if let Some(prelude) = &mut self.prelude {
            self.stats.handshakes_unobserved += prelude.note(remote, sent, datagram, now);
        }
    }

    /// A congestion controller for a new connection. `extended`: its profile.
    pub(super) fn controller(&self, extended: bool, now: Instant) -> G {
        let path = PathInfo::new(now, self.config.mtu as u16).with_initial_window(self.config.initial_cwnd);
        self.parts.controllers.make(&path.with_extended(extended))
    }

    /// Calls into a connection, then acts upon what changed. The connection is looked at again for
    /// things to send.
    pub(super) fn with_connection(
        &mut self,
        id: ConnectionId,
        call: impl FnOnce(&mut Connection<C, G>, &mut Env<'_>),
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let mut env = Env {
            config: &self.config,
            outcome: &mut self.outcome,
            changes: &mut self.changes,
            entropy: &mut self.entropy,
            ids: self.router.as_ref().map(|router| &router.ids),
            uptime: self.clock.uptime(),
            pool: &mut self.pool,
            may_move: false,
        };
        call(connection, &mut env);
        if !connection.common.is_ready {
            connection.common.is_ready = true;
            self.ready.push_back(id);
        }
        self.apply_changes(id);
        self.account(id);
    }

    pub(super) fn apply_changes(&mut self, id: ConnectionId) {
        self.collect_receipts(id);
        if self.changes.is_empty() {
            return;
        }
        let mut changes = std::mem::take(&mut self.changes);
        for change in changes.drain(..) {
            match change {
                Change::Established => self.on_established(id),
                Change::Failed(error) => {
                    tracing::warn!(connection = %id, %error, "connection failed");
                    self.drain_messages(id);
                    self.events.push_back(Event::Error { connection: id, error });
                }
                Change::Ended(reason) => self.on_ended(id, reason),
                Change::Moved { from } => self.on_moved(id, from),
                Change::Datagram(datagram) => self.answer(datagram),
                Change::NewId(cid) => {
                    if let Some(router) = &mut self.router {
                        router.ids.insert(cid, id);
                    }
                }
                Change::IdDone(cid) => {
                    if let Some(router) = &mut self.router {
                        router.ids.remove(&cid);
                    }
                }
                Change::Late(losers) => self.late.add(losers, self.clock.now()),
                Change::SocketDone(socket) => self.socket_requests.push_back(SocketRequest::Close { socket }),
            }
        }
        // Keep the vector's memory.
        changes.append(&mut self.changes);
        self.changes = changes;
    }

    pub(super) fn on_established(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        self.home = connection.socket();
        if let Some(router) = &mut self.router {
            // An extended connection is never found by its address (PROTOCOL B4).
            match connection.extended() {
                Some(extended) => router.confirm_cookie(&extended.cookie()),
                None => drop(router.addresses.insert(connection.remote(), id)),
            }
            if let Some(token) = connection.migration_token() {
                router.tokens.insert(token, id);
            }
        }
        tracing::debug!(connection = %id, remote = %connection.remote(), "connected");
        self.stats.connections_established += 1;
        self.events.push_back(Event::Connected { connection: id });
    }

    pub(super) fn on_moved(&mut self, id: ConnectionId, from: SocketAddr) {
        let (Some(router), Some(connection)) = (&mut self.router, self.connections.get(id)) else { return };
        if router.addresses.get(&from) == Some(&id) {
            router.addresses.remove(&from);
        }
        router.addresses.insert(connection.remote(), id);
    }

    pub(super) fn on_ended(&mut self, id: ConnectionId, reason: DisconnectReason) {
        self.drain_messages(id);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.settle_receipts();
        }
        self.collect_receipts(id);
        let Some(mut connection) = self.connections.remove(id) else { return };
        self.memory.held = self.memory.held.saturating_sub(connection.common.charged);
        connection.common.observe(self.clock.now(), || Observed::Closed { reason: Some(reason) });
        self.deadlines.forget(id, connection.common.scheduled);
        if let Some(router) = &mut self.router {
            if let Some(home) = connection.common.home {
                router.residents.leave(home);
            }
            if router.addresses.get(&connection.remote()) == Some(&id) {
                router.addresses.remove(&connection.remote());
            }
            if let Some(token) = connection.migration_token() {
                router.tokens.remove(&token);
            }
            if let Some(extended) = connection.extended() {
                for cid in extended.ids() {
                    router.ids.remove(&cid);
                }
                router.release_cookie(&extended.cookie());
            }
        }
        if let Some(handshake) = &connection.common.handshake {
            let sockets = handshake.sockets().filter(|socket| *socket != self.home);
            self.socket_requests.extend(sockets.map(|socket| SocketRequest::Close { socket }));
        }
        let retiring = connection.retiring_sockets().map(|socket| SocketRequest::Close { socket });
        self.socket_requests.extend(retiring);
        if connection.is_known() {
            tracing::debug!(connection = %id, remote = %connection.remote(), %reason, "disconnected");
            self.stats.connections_ended += 1;
            self.events.push_back(Event::Disconnected { connection: id, reason });
            self.ended.push(Ended {
                id,
                remote: connection.remote(),
                stats: connection.stats(self.clock.now()),
                farewell: connection.take_told(),
                undelivered: connection.undelivered(),
                user_data: connection.common.user_data.take(),
            });
        } else if self.side == Side::Client {
            self.events.push_back(Event::ConnectFailed { connection: id, error: ConnectError::Closed });
        }
    }
}

/// The server's configured identity, or else one that follows from the seed.
fn identity_of(config: &CommonConfig, seed: &[u8; 32]) -> Identity {
    config.extended.identity.clone().unwrap_or_else(|| {
        if config.extended.spoken {
            tracing::warn!("no identity is loaded: this server makes itself a new key, and pins of it will not survive a restart");
        }
        identity_from(seed)
    })
}

/// The identity of servers that were given none: all that are made of one seed have the same.
pub(crate) fn identity_from(seed: &[u8; 32]) -> Identity {
    Identity::from_secret(sha256(&[&b"fastwire identity"[..], seed].concat()))
}

/// The seed of one shard of a server, of the server's.
pub(crate) fn seed_of_shard(seed: &[u8; 32], index: usize) -> [u8; 32] {
    sha256(&[&b"fastwire shard"[..], seed, &index.to_le_bytes()].concat())
}

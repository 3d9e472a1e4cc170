//! The endpoint: all connections of one server or client, and the only door to them.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use fastwire_compress::{Compressor, Encoding, MAX_DECOMPRESSED_SIZE};
use fastwire_congestion::{CongestionController, ControllerFactory, PathInfo};
use fastwire_crypto::{Cipher, CipherSuites, KeyPair, PublicKey};
use fastwire_reliability::{Delivery, Outcome};
use fastwire_wire::{Control, FragmentFlags};

use super::clock::Clock;
use super::connection::{Change, Connection, Env, Receipt, opens};
use super::deadlines::Deadlines;
use super::entropy::Entropy;
use super::handshake::client::{HandshakeDatagram, SocketRequest, connect};
use super::handshake::{BareControl, looks_bare, parse_bare};
use super::router::{Arrival, Router};
use super::session::Session;
use super::slab::Slab;
use super::transmit::TransmitBuf;
use super::{Side, client};
use crate::config::{ClientConfig, CommonConfig, ServerConfig};
use crate::transport::{ChunkPool, RecvMeta, SocketId, Transmit};
use crate::{ConfigError, ConnectError, ConnectionId, DisconnectReason, EndpointStats, Event};

/// Timers are no finer than this: what is overdue and cannot be done yet is looked at again after it.
const GRANULARITY: std::time::Duration = std::time::Duration::from_millis(1);
/// Answers to CONNECT that wait to be sent; more are lost packets.
const MAX_WAITING_ANSWERS: usize = 1024;

/// The exchangeable parts of an endpoint.
pub struct Parts<C, Z, G> {
    /// Makes ciphers from negotiated suites and keys.
    pub suites: Box<dyn CipherSuites<Cipher = C>>,
    /// Compresses and expands messages.
    pub compressor: Z,
    /// Makes a congestion controller for each connection.
    pub controllers: Box<dyn ControllerFactory<Controller = G>>,
}

/// All connections of one server or client, as a state machine. See the [module](crate::proto) for how
/// to drive it.
pub struct Endpoint<C, Z, G> {
    pub(super) config: CommonConfig,
    side: Side,
    pub(super) parts: Parts<C, Z, G>,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) connections: Slab<Connection<C, G>>,
    /// What only a server has.
    pub(super) router: Option<Router<C>>,
    /// The next socket a client opens.
    pub(super) next_socket: u32,
    deadlines: Deadlines,
    /// Connections that may have something to send.
    ready: VecDeque<ConnectionId>,
    /// Connections that may have something to deliver.
    deliverable: VecDeque<ConnectionId>,
    pub(super) events: VecDeque<Event>,
    answers: VecDeque<HandshakeDatagram>,
    pub(super) socket_requests: VecDeque<SocketRequest>,
    outcome: Outcome,
    changes: Vec<Change>,
    pub(super) scratch: Vec<u8>,
    pub(super) pool: ChunkPool,
    pub(super) stats: EndpointStats,
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
        endpoint.router = Some(Router::new(
            &endpoint.config,
            config.max_connections,
            config.require_application_version,
            keys,
            now,
        ));
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

    fn new(config: CommonConfig, side: Side, parts: Parts<C, Z, G>, seed: [u8; 32], now: Instant) -> Self {
        Self {
            config,
            side,
            parts,
            clock: Clock::new(now),
            entropy: Entropy::new(seed),
            connections: Slab::new(),
            router: None,
            next_socket: 1,
            deadlines: Deadlines::default(),
            ready: VecDeque::new(),
            deliverable: VecDeque::new(),
            events: VecDeque::new(),
            answers: VecDeque::new(),
            socket_requests: VecDeque::new(),
            outcome: Outcome::default(),
            changes: Vec::new(),
            scratch: Vec::new(),
            pool: ChunkPool::new(),
            stats: EndpointStats::default(),
        }
    }

    // ---- inputs -----------------------------------------------------------------------------------

    /// Takes a received datagram. Whatever is in it costs a counter at most, unless an authenticated peer
    /// sent it.
    pub fn handle_datagram(&mut self, now: Instant, meta: &RecvMeta, datagram: BytesMut) {
        let now = self.clock.advance(now);
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        match self.side {
            Side::Server => self.route_to_connection(now, meta, datagram),
            Side::Client => self.route_to_client(now, meta, datagram),
        }
    }

    /// Does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.clock.advance(now);
        if let Some(router) = &mut self.router {
            self.stats.handshakes_expired += router.pending.expire(now, self.config.handshake_timeout);
        }
        while let Some((at, id)) = self.deadlines.pop_due(now) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if connection.scheduled != Some(at) {
                continue;
            }
            connection.scheduled = None;
            if self.side == Side::Client {
                client::handle_timeout(self, id, now);
            }
            self.with_connection(id, now, |connection, env| connection.handle_timeout(now, env));
        }
    }

    // ---- outputs ----------------------------------------------------------------------------------

    /// The next event. Messages come in the order their connection delivers them; a connection that is
    /// [paused](Self::pause) keeps its own.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let id = *self.deliverable.front()?;
            match self.next_message(id) {
                Some(message) => return Some(message),
                None => {
                    self.deliverable.pop_front();
                    if let Some(connection) = self.connections.get_mut(id) {
                        connection.is_deliverable = false;
                    }
                }
            }
        }
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
            let (path, more) = self.transmit_connection(id, now, buf);
            self.ready.pop_front();
            if more {
                self.ready.push_back(id);
            } else {
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.is_ready = false;
                }
                self.reschedule(id);
            }
            if let Some((socket, remote)) = path {
                self.stats.datagrams_sent += buf.segments() as u64;
                self.stats.bytes_sent += buf.len() as u64;
                return Some(buf.transmit(socket, remote));
            }
        }
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
        let ((socket, remote), _) = match self.transmit_connection(id, now, buf) {
            (Some(path), more) => (path, more),
            (None, _) => return None,
        };
        self.stats.datagrams_sent += buf.segments() as u64;
        self.stats.bytes_sent += buf.len() as u64;
        Some(buf.transmit(socket, remote))
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

    // ---- routing ----------------------------------------------------------------------------------

    /// A server's datagram: by address, then as a handshake under way, then by token, then as CONNECT.
    fn route_to_connection(&mut self, now: Instant, meta: &RecvMeta, datagram: BytesMut) {
        let bare = parse_bare(&datagram);
        let Some(router) = &mut self.router else { return };
        let known = router.addresses.get(&meta.remote).copied();
        let mut datagram = datagram;
        if let Some(id) = known {
            match self.offer(id, now, meta, datagram, bare.as_ref(), true) {
                Receipt::Opened => return,
                Receipt::NotOpened(back) => datagram = back,
            }
        }
        if self.complete_handshake(now, meta, &datagram, bare.as_ref()) {
            return;
        }
        if let Some(id) = self.by_token(&datagram).filter(|id| Some(*id) != known) {
            match self.offer(id, now, meta, datagram, bare.as_ref(), known.is_none()) {
                Receipt::Opened => return,
                Receipt::NotOpened(back) => datagram = back,
            }
        }
        match bare {
            Some(BareControl::Connect(connect)) => {
                let Some(router) = &mut self.router else { return };
                let books = (&mut self.entropy, &mut self.stats);
                let arrival = Arrival { meta, len: datagram.len(), now };
                let answer =
                    router.handle_connect(connect, arrival, self.connections.len(), &self.config, books);
                if self.answers.len() < MAX_WAITING_ANSWERS {
                    self.answers.extend(answer);
                }
            }
            _ if looks_bare(&datagram) => self.stats.malformed_handshakes += 1,
            _ => self.stats.unroutable += 1,
        }
    }

    fn by_token(&self, datagram: &[u8]) -> Option<ConnectionId> {
        let token: [u8; 8] = datagram.get(..8)?.try_into().ok()?;
        self.router.as_ref()?.tokens.get(&token).copied()
    }

    /// Completes the handshake whose keys open the datagram, if there is one.
    fn complete_handshake(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        datagram: &BytesMut,
        bare: Option<&BareControl>,
    ) -> bool {
        let Some(router) = &mut self.router else { return false };
        let mut found = None;
        for pending in router.pending.at(meta.remote) {
            if pending.session.is_none() && !pending.hopeless {
                if bare.is_some() || datagram.len() < fastwire_wire::WIRE_OVERHEAD {
                    continue;
                }
                if !router.agreements.take(now) {
                    self.stats.key_agreements_refused += 1;
                    continue;
                }
                self.stats.key_agreements += 1;
                let client = PublicKey::from(pending.connect.public_key);
                let suites = &*self.parts.suites;
                match Session::agree(Side::Server, &pending.server_keys, &client, pending.terms, suites) {
                    Ok(session) => pending.session = Some(Box::new(session)),
                    Err(_) => pending.hopeless = true,
                }
            }
            let Some(session) = &mut pending.session else { continue };
            if !session.is_sealed() && !is_response(datagram, &session.token) {
                continue;
            }
            let mut copy = datagram.clone();
            let opened = opens(session, &mut copy);
            if !opened.is_empty() {
                found = Some((pending.connect.public_key, copy, opened));
                break;
            }
        }
        let Some((key, datagram, opened)) = found else { return false };
        let Some(pending) = router.pending.remove(meta.remote, &key) else { return false };
        let Some(session) = pending.session else { return false };
        let old = router.addresses.get(&meta.remote).copied();
        if let Some(old) = old {
            self.with_connection(old, now, |connection, env| connection.end(DisconnectReason::Replaced, env));
        }
        let id = self.add_connection((meta.socket, meta.remote), now);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.credit_handshake(pending.bytes_received, pending.bytes_sent);
        }
        self.with_connection(id, now, |connection, env| {
            connection.establish(*session, (meta.socket, meta.remote), now, env);
            connection.receive_opened(now, meta, datagram, &opened, env);
        });
        self.mark_deliverable(id);
        true
    }

    /// A client's datagram: for the connection whose server sent it.
    fn route_to_client(&mut self, now: Instant, meta: &RecvMeta, mut datagram: BytesMut) {
        let bare = parse_bare(&datagram);
        let ids: smallvec::SmallVec<[ConnectionId; 2]> = self.connections.ids().collect();
        for &id in &ids {
            let Some(connection) = self.connections.get(id) else { continue };
            let expected = connection.remote() == meta.remote
                || connection.handshake.as_ref().is_some_and(|handshake| handshake.expects(meta.remote));
            if !expected {
                continue;
            }
            match self.offer(id, now, meta, datagram, bare.as_ref(), false) {
                Receipt::Opened => return,
                Receipt::NotOpened(back) => datagram = back,
            }
        }
        match &bare {
            Some(bare) => client::handle_bare(self, &ids, bare, meta, now),
            None => self.stats.unroutable += 1,
        }
    }

    /// Offers a datagram to one connection.
    fn offer(
        &mut self,
        id: ConnectionId,
        now: Instant,
        meta: &RecvMeta,
        datagram: BytesMut,
        bare: Option<&BareControl>,
        may_move: bool,
    ) -> Receipt {
        let mut receipt = None;
        let mut datagram = Some(datagram);
        self.with_connection(id, now, |connection, env| {
            env.may_move = may_move;
            receipt = datagram.take().map(|datagram| connection.receive(now, meta, datagram, bare, env));
        });
        match receipt {
            Some(Receipt::Opened) => {
                self.mark_deliverable(id);
                Receipt::Opened
            }
            Some(Receipt::NotOpened(back)) => Receipt::NotOpened(back),
            None => Receipt::NotOpened(datagram.unwrap_or_default()),
        }
    }

    // ---- connections ------------------------------------------------------------------------------

    pub(super) fn add_connection(
        &mut self,
        path: (SocketId, std::net::SocketAddr),
        now: Instant,
    ) -> ConnectionId {
        let info = PathInfo::new(now, self.config.mtu as u16).with_initial_window(self.config.initial_cwnd);
        let controller = self.parts.controllers.make(&info);
        let (side, config) = (self.side, &self.config);
        self.connections.insert(Connection::new(side, path, controller, config, now))
    }

    /// Calls into a connection, then acts upon what changed. The connection is looked at again for
    /// things to send.
    pub(super) fn with_connection(
        &mut self,
        id: ConnectionId,
        now: Instant,
        call: impl FnOnce(&mut Connection<C, G>, &mut Env<'_>),
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let mut env = Env {
            config: &self.config,
            outcome: &mut self.outcome,
            changes: &mut self.changes,
            may_move: false,
        };
        call(connection, &mut env);
        if !connection.is_ready {
            connection.is_ready = true;
            self.ready.push_back(id);
        }
        self.apply_changes(id, now);
    }

    fn apply_changes(&mut self, id: ConnectionId, now: Instant) {
        if self.changes.is_empty() {
            return;
        }
        let mut changes = std::mem::take(&mut self.changes);
        for change in changes.drain(..) {
            match change {
                Change::Established => self.on_established(id),
                Change::Failed(error) => {
                    self.drain_messages(id);
                    self.events.push_back(Event::Error { connection: id, error });
                }
                Change::Ended(reason) => self.on_ended(id, reason, now),
                Change::Moved { from } => self.on_moved(id, from),
                Change::SocketDone(socket) => self.socket_requests.push_back(SocketRequest::Close { socket }),
            }
        }
        // Keep the vector's memory.
        changes.append(&mut self.changes);
        self.changes = changes;
    }

    fn on_established(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        if let Some(router) = &mut self.router {
            router.addresses.insert(connection.remote(), id);
            if let Some(token) = connection.migration_token() {
                router.tokens.insert(token, id);
            }
        }
        self.stats.connections_established += 1;
        self.events.push_back(Event::Connected { connection: id });
    }

    fn on_moved(&mut self, id: ConnectionId, from: std::net::SocketAddr) {
        let (Some(router), Some(connection)) = (&mut self.router, self.connections.get(id)) else { return };
        if router.addresses.get(&from) == Some(&id) {
            router.addresses.remove(&from);
        }
        router.addresses.insert(connection.remote(), id);
    }

    pub(super) fn on_ended(&mut self, id: ConnectionId, reason: DisconnectReason, _now: Instant) {
        self.drain_messages(id);
        let Some(connection) = self.connections.remove(id) else { return };
        if let Some(router) = &mut self.router {
            if router.addresses.get(&connection.remote()) == Some(&id) {
                router.addresses.remove(&connection.remote());
            }
            if let Some(token) = connection.migration_token() {
                router.tokens.remove(&token);
            }
        }
        if let Some(handshake) = &connection.handshake {
            let sockets = handshake.sockets().filter(|socket| *socket != SocketId::PRIMARY);
            self.socket_requests.extend(sockets.map(|socket| SocketRequest::Close { socket }));
        }
        if connection.session().is_some() {
            self.stats.connections_ended += 1;
            self.events.push_back(Event::Disconnected { connection: id, reason });
        } else {
            self.events.push_back(Event::ConnectFailed { connection: id, error: ConnectError::Closed });
        }
    }

    // ---- sending ----------------------------------------------------------------------------------

    /// One train of datagrams of one connection: where it goes, and whether there is more.
    fn transmit_connection(
        &mut self,
        id: ConnectionId,
        now: Instant,
        buf: &mut TransmitBuf,
    ) -> (Option<(SocketId, std::net::SocketAddr)>, bool) {
        let Some(connection) = self.connections.get_mut(id) else { return (None, false) };
        let handshake = match &mut connection.handshake {
            Some(handshake) => handshake.poll_datagram(&self.config, now),
            None => {
                let path = (connection.socket(), connection.remote());
                connection.revival_due(now).map(|keys| connect(&self.config, keys, path))
            }
        };
        if let Some(datagram) = handshake {
            buf.push_datagram(&datagram.bytes);
            connection.on_handshake_sent(datagram.bytes.len());
            return (Some((datagram.socket, datagram.remote)), true);
        }
        let mut env = Env {
            config: &self.config,
            outcome: &mut self.outcome,
            changes: &mut self.changes,
            may_move: false,
        };
        let more = connection.transmit(now, buf, &mut env);
        let path = (!buf.is_empty()).then(|| (connection.socket(), connection.remote()));
        self.apply_changes(id, now);
        (path, more)
    }

    fn transmit_handshake<'b>(
        &mut self,
        answer: &HandshakeDatagram,
        buf: &'b mut TransmitBuf,
    ) -> Transmit<'b> {
        buf.push_datagram(&answer.bytes);
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += answer.bytes.len() as u64;
        buf.transmit(answer.socket, answer.remote)
    }

    fn reschedule(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let soonest = self.clock.now() + GRANULARITY;
        let deadline = connection.next_deadline(&self.config).map(|at| at.max(soonest));
        self.deadlines.schedule(id, &mut connection.scheduled, deadline);
    }

    // ---- delivery ---------------------------------------------------------------------------------

    pub(super) fn mark_deliverable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is_deliverable
            && !connection.is_paused
        {
            connection.is_deliverable = true;
            self.deliverable.push_back(id);
        }
    }

    fn next_message(&mut self, id: ConnectionId) -> Option<Event> {
        loop {
            let connection = self.connections.get_mut(id).filter(|connection| !connection.is_paused)?;
            let delivery = connection.poll_delivery()?;
            if let Some(message) = self.expand(id, delivery) {
                return Some(message);
            }
        }
    }

    /// The messages that a connection still holds become events, so that they come before its end.
    fn drain_messages(&mut self, id: ConnectionId) {
        while let Some(delivery) =
            self.connections.get_mut(id).and_then(|connection| connection.poll_delivery())
        {
            let message = self.expand(id, delivery);
            self.events.extend(message);
        }
    }

    /// Decompresses a delivered message (PROTOCOL A8: wire bytes are held, expansion happens here).
    fn expand(&mut self, id: ConnectionId, delivery: Delivery) -> Option<Event> {
        let Delivery { channel, content, data, .. } = delivery;
        let data = if content.contains(FragmentFlags::COMPRESSED) {
            let encoding = if content.contains(FragmentFlags::ZSTD) { Encoding::Zstd } else { Encoding::Lz4 };
            self.scratch.clear();
            let result =
                self.parts.compressor.decompress(encoding, &data, MAX_DECOMPRESSED_SIZE, &mut self.scratch);
            match result {
                Ok(_) => Bytes::copy_from_slice(&self.scratch),
                Err(error) => {
                    self.on_undecodable(id, channel, error.to_string());
                    return None;
                }
            }
        } else {
            data
        };
        self.connections.get_mut(id)?.on_delivered();
        Some(Event::Message { connection: id, channel, data })
    }

    fn on_undecodable(&mut self, id: ConnectionId, channel: u8, why: String) {
        let now = self.clock.now();
        self.with_connection(id, now, |connection, env| {
            connection.on_undecodable();
            if connection.is_reliable(channel) {
                connection.fail_decompression(why, now, env);
            }
        });
    }
}

/// Without a cipher nothing proves that the client holds the token but the token itself.
fn is_response(datagram: &[u8], token: &[u8; 32]) -> bool {
    let Some((_, body)) = datagram.split_at_checked(fastwire_wire::CONTROL_PREFIX.len()) else {
        return false;
    };
    matches!(Control::decode(body), Ok((Control::Response { token: theirs }, _)) if theirs == *token)
}

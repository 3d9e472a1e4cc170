//! One connection: its channels, keys, controller and path, and the orders between them.
//!
//! Receive marks what is owed and never sends (`receive.rs`); transmit is the only way out (`send.rs`);
//! what time brings is in `liveness.rs`. The endpoint learns of it all through [`Change`]s.

mod liveness;
mod path;
mod pressure;
mod receive;
mod revival;
mod send;

use std::any::Any;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_congestion::{CongestionController, FirstRepeat};
use fastwire_crypto::{Cipher, KeyError, KeyPair};
use fastwire_reliability::{
    Bandwidth, Channels, ChannelsConfig, Delivery, Outcome, Peer, PushError, ReceiveQuality, RecoveryProfile,
};
use fastwire_wire::{Challenge, DEFAULT_MTU, FragmentFlags, FragmentHeader, PacketHeader, WIRE_OVERHEAD};
use smallvec::SmallVec;

use self::path::Path;
use self::pressure::Pressure;
use self::revival::Revival;
use self::send::Next;
use super::Side;
use super::handshake::client::{ClientHandshake, HandshakeDatagram};
use super::session::Session;
use super::transmit::{Framing, Route};
use crate::config::CommonConfig;
use crate::transport::SocketId;
use crate::{ConnectionError, ConnectionState, ConnectionStats, DisconnectReason, SendError};

pub(crate) use self::receive::{Receipt, opens};

/// What happened to a connection that its endpoint has to act upon.
#[derive(Debug)]
pub(crate) enum Change {
    /// The handshake is complete.
    Established,
    /// An error; the connection says farewell and ends.
    Failed(ConnectionError),
    /// It is over: forget it.
    Ended(DisconnectReason),
    /// The peer moved from this address.
    Moved { from: SocketAddr },
    /// A local socket is no longer needed.
    SocketDone(SocketId),
}

/// What the endpoint lends to a connection for one call.
pub(crate) struct Env<'a> {
    pub(crate) config: &'a CommonConfig,
    pub(crate) outcome: &'a mut Outcome,
    pub(crate) changes: &'a mut Vec<Change>,
    /// The address a datagram came from is no other connection's: this one may move there.
    pub(crate) may_move: bool,
}

/// Counters that [`ConnectionStats`] shows as they are.
#[derive(Debug, Default)]
struct Counters {
    bytes_sent: u64,
    bytes_received: u64,
    packets_sent: u64,
    packets_received: u64,
    datagrams_sent: u64,
    datagrams_received: u64,
    messages_sent: u64,
    messages_received: u64,
    replayed: u64,
    forged: u64,
    malformed: u64,
    undecodable: u64,
    send_errors: u64,
    migrations: u64,
}

/// What is to be sent beside the channels' packets.
#[derive(Debug, Default)]
struct Owed {
    /// CONNECTED, which tells the peer that we are no foreign implementation.
    connected: bool,
    /// A packet of any kind, to keep the peer from thinking us gone.
    heartbeat: bool,
    /// DISCONNECT.
    disconnect: bool,
}

/// A connection on its way out.
#[derive(Debug)]
struct Closing {
    reason: DisconnectReason,
    /// Until then queued reliable messages may leave.
    linger_until: Instant,
    /// DISCONNECTs sent.
    farewells: u8,
    next_farewell: Instant,
}

/// One connection, established or on its way there.
pub(crate) struct Connection<C, G> {
    side: Side,
    /// Server: the key of the CONNECT it began with. A late copy of that CONNECT asks for nothing new.
    client_key: Option<[u8; 32]>,
    state: ConnectionState,
    path: Path,
    /// Keys and terms; on a client `None` until the handshake is won.
    session: Option<Session<C>>,
    pub(crate) handshake: Option<Box<ClientHandshake<C>>>,
    revival: Option<Box<Revival>>,
    channels: Channels,
    pressure: Pressure<G>,
    /// The peer is this library (a CONNECTED of it opened).
    own_peer: bool,
    established_at: Option<Instant>,
    last_heard: Instant,
    last_sent: Instant,
    /// CONNECTED goes out again at growing intervals: it is never acknowledged.
    next_connected: Option<Instant>,
    connected_interval: Duration,
    owed: Owed,
    closing: Option<Closing>,
    /// Sockets no longer used, and until when they stay open.
    retiring: SmallVec<[(SocketId, Instant); 1]>,
    /// DISCONNECTs under the keys of handshakes that lost, so that they leave no ghost at the server.
    farewells: Vec<HandshakeDatagram>,
    /// A packet that did not fit the last train of datagrams.
    stash: Option<Next>,
    counters: Counters,
    sent_bandwidth: Bandwidth,
    received_bandwidth: Bandwidth,
    pub(crate) user_data: Option<Box<dyn Any + Send>>,
    /// The endpoint's books: the earliest entry in its deadline heap, and on which of its lists this is.
    pub(crate) scheduled: Option<Instant>,
    pub(crate) is_ready: bool,
    pub(crate) is_deliverable: bool,
    pub(crate) is_paused: bool,
}

impl<C: Cipher, G: CongestionController> Connection<C, G> {
    pub(crate) fn new(
        side: Side,
        (socket, remote): (SocketId, SocketAddr),
        controller: G,
        config: &CommonConfig,
        now: Instant,
    ) -> Self {
        let profile = controller.recovery_profile();
        let profile = RecoveryProfile {
            fast_retransmit_threshold: profile.fast_retransmit_threshold,
            half_first_rto: profile.first_repeat == FirstRepeat::HalfRto,
        };
        let mut channels_config = ChannelsConfig::default();
        channels_config.max_queued_bytes = config.limits.send_queue_bytes;
        channels_config.max_queued_messages = config.limits.send_queue_messages;
        channels_config.receive_budget = Some(config.limits.receive_budget);
        channels_config.fragment_timeout = config.fragment_timeout;
        channels_config.max_retransmits = config.max_retransmits;
        channels_config.connection_timeout = config.connection_timeout;
        let mut connection = Self {
            side,
            state: ConnectionState::Connecting,
            path: Path::new(socket, remote),
            session: None,
            handshake: None,
            revival: None,
            channels: Channels::new(config.channel_layout.clone(), &channels_config, profile),
            pressure: Pressure::new(controller),
            own_peer: false,
            client_key: None,
            established_at: None,
            last_heard: now,
            last_sent: now,
            next_connected: None,
            connected_interval: Duration::ZERO,
            owed: Owed::default(),
            closing: None,
            retiring: SmallVec::new(),
            farewells: Vec::new(),
            stash: None,
            counters: Counters::default(),
            sent_bandwidth: Bandwidth::new(now),
            received_bandwidth: Bandwidth::new(now),
            user_data: None,
            scheduled: None,
            is_ready: false,
            is_deliverable: false,
            is_paused: false,
        };
        // A message may be queued before the framing is agreed: leave room for what we ask for.
        connection.channels.set_piece_size(piece_size(DEFAULT_MTU, Framing::most(config.features)));
        connection
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn state(&self) -> ConnectionState {
        self.state
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.path.remote
    }

    /// The way its datagrams take.
    pub(crate) fn route(&self) -> Route {
        Route { socket: self.path.socket, remote: self.path.remote, source: self.path.source }
    }

    pub(crate) fn socket(&self) -> SocketId {
        self.path.socket
    }

    pub(crate) fn session(&self) -> Option<&Session<C>> {
        self.session.as_ref()
    }

    pub(crate) fn migration_token(&self) -> Option<[u8; 8]> {
        self.session.as_ref()?.migration_token
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.channels.rtt().smoothed()
    }

    pub(crate) fn export(&self, label: &[u8], out: &mut [u8]) -> Option<Result<(), KeyError>> {
        Some(self.session.as_ref()?.export(label, out))
    }

    /// Whether a CONNECT with this key is the one the connection began with.
    pub(crate) fn began_with(&self, client_key: &[u8; 32]) -> bool {
        self.client_key.as_ref() == Some(client_key)
    }

    /// The handshake before this connection existed: the client's key, bytes received and sent.
    pub(crate) fn credit_handshake(&mut self, client_key: [u8; 32], received: u64, sent: u64) {
        self.client_key = Some(client_key);
        self.counters.bytes_received += received;
        self.counters.bytes_sent += sent;
    }

    /// Takes the keys and terms of a finished handshake. Pieces are cut to fit from now on.
    pub(crate) fn establish(
        &mut self,
        session: Session<C>,
        (socket, remote): (SocketId, SocketAddr),
        now: Instant,
        env: &mut Env<'_>,
    ) {
        self.path = Path::new(socket, remote);
        self.session = Some(session);
        self.handshake = None;
        self.state = ConnectionState::Connected;
        self.established_at = Some(now);
        self.last_heard = now;
        self.owed.connected = true;
        self.next_connected = Some(now);
        self.channels.set_peer(Peer::Foreign);
        self.cut_to_fit(env.config);
        env.changes.push(Change::Established);
    }

    /// The framing of what we send, and with it the largest piece.
    fn cut_to_fit(&mut self, config: &CommonConfig) {
        self.channels.set_piece_size(piece_size(self.max_datagram(config), self.framing()));
    }

    fn framing(&self) -> Framing {
        let candidate = || Some(&self.handshake.as_ref()?.candidates.last()?.session);
        self.session.as_ref().or_else(candidate).map(Session::framing).unwrap_or_default()
    }

    /// The largest datagram the peer takes: a foreign one no more than the base MTU (PROTOCOL A11).
    fn max_datagram(&self, config: &CommonConfig) -> usize {
        if self.own_peer { config.mtu } else { DEFAULT_MTU }
    }

    /// A CHALLENGE was answered: what is sent from now on goes under its keys, to where it came from.
    pub(crate) fn on_candidate(&mut self, config: &CommonConfig) {
        if let Some(candidate) = self.handshake.as_ref().and_then(|handshake| handshake.candidates.last()) {
            self.path = Path::new(candidate.socket, candidate.remote);
        }
        self.cut_to_fit(config);
        // PROTOCOL A5: a base server acknowledges nothing before its first heartbeat, unless there is data.
        if !self.channels.has_outgoing() {
            self.channels.push_probe(0);
        }
    }

    /// Queues a message. `content` says how it was compressed.
    pub(crate) fn enqueue(
        &mut self,
        message: &Bytes,
        channel: u8,
        content: FragmentFlags,
        now: Instant,
    ) -> Result<(), SendError> {
        if !matches!(self.state, ConnectionState::Connecting | ConnectionState::Connected) {
            return Err(SendError::ConnectionClosed);
        }
        self.channels.push(channel, message, content, now).map_err(|error| match error {
            PushError::InvalidChannel { channel, channels } => {
                SendError::InvalidChannel { channel, last: (channels - 1) as u8 }
            }
            PushError::MessageTooLarge { len, max } => SendError::MessageTooLarge { len, max },
            _ => SendError::QueueFull(message.clone()),
        })?;
        self.counters.messages_sent += 1;
        Ok(())
    }

    /// The next message for the application, as it travelled.
    pub(crate) fn poll_delivery(&mut self) -> Option<Delivery> {
        self.channels.poll_delivery()
    }

    pub(crate) fn on_delivered(&mut self) {
        self.counters.messages_received += 1;
    }

    pub(crate) fn on_undecodable(&mut self) {
        self.counters.undecodable += 1;
    }

    pub(crate) fn is_reliable(&self, channel: u8) -> bool {
        self.channels.layout().mode(channel).is_some_and(|mode| mode.is_reliable())
    }

    pub(crate) fn on_handshake_sent(&mut self, bytes: usize) {
        self.counters.bytes_sent += bytes as u64;
        self.counters.datagrams_sent += 1;
    }

    pub(crate) fn on_send_error(&mut self) {
        self.counters.send_errors += 1;
    }

    /// Moves to another local socket; the peer learns of it with the next packet.
    pub(crate) fn rebind(&mut self, socket: SocketId, now: Instant) {
        let old = std::mem::replace(&mut self.path.socket, socket);
        self.retire(old, now);
        self.owed.heartbeat = true;
        self.counters.migrations += 1;
    }

    /// Keeps a socket open for three RTOs more: something may still be under way to it.
    fn retire(&mut self, socket: SocketId, now: Instant) {
        self.retiring.push((socket, now + self.channels.rto() * 3));
    }

    pub(crate) fn retiring_sockets(&self) -> impl Iterator<Item = SocketId> + '_ {
        self.retiring.iter().map(|(socket, _)| *socket)
    }

    pub(crate) fn take_farewell(&mut self) -> Option<HandshakeDatagram> {
        self.farewells.pop()
    }

    /// Everything [`ConnectionStats`] tells.
    pub(crate) fn stats(&self, now: Instant) -> ConnectionStats {
        let rtt = self.channels.rtt();
        let channels = self.channels.stats();
        let (bytes_in_flight, packets_in_flight) = self.channels.in_flight();
        ConnectionStats {
            rtt: rtt.smoothed(),
            rtt_variance: rtt.variance(),
            latest_rtt: rtt.latest(),
            min_rtt: rtt.min(),
            rto: self.channels.rto(),
            packet_loss: self.channels.loss(),
            bytes_sent: self.counters.bytes_sent,
            bytes_received: self.counters.bytes_received,
            packets_sent: self.counters.packets_sent,
            packets_received: self.counters.packets_received,
            datagrams_sent: self.counters.datagrams_sent,
            datagrams_received: self.counters.datagrams_received,
            messages_sent: self.counters.messages_sent,
            messages_received: self.counters.messages_received,
            congestion_window: self.pressure.controller.window().packets,
            bytes_in_flight,
            packets_in_flight,
            send_queue_bytes: self.channels.queued_bytes() as u64,
            uptime: self.established_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
            send_bandwidth: self.sent_bandwidth.rate(now),
            recv_bandwidth: self.received_bandwidth.rate(now),
            retransmits: channels.retransmits,
            spurious_retransmits: channels.spurious,
            probes: channels.probes,
            duplicates: channels.duplicates,
            replayed: self.counters.replayed,
            forged: self.counters.forged,
            malformed: self.counters.malformed,
            over_budget: channels.over_budget,
            stale: channels.stale,
            incomplete: channels.incomplete_dropped,
            undecodable: self.counters.undecodable,
            send_errors: self.counters.send_errors,
            migrations: self.counters.migrations,
            memory_held: self.channels.memory_held() as u64,
        }
    }

    /// What the receiver can say about an unreliable channel; `None`: no such channel.
    pub(crate) fn receive_quality(&self, channel: u8) -> Option<ReceiveQuality> {
        self.channels.layout().mode(channel)?;
        Some(self.channels.receive_quality(channel))
    }

    pub(crate) fn max_message(&self) -> usize {
        self.channels.max_message()
    }

    /// A round trip that the handshake measured.
    pub(crate) fn seed_rtt(&mut self, sample: Duration, now: Instant) {
        self.channels.seed_rtt(sample, now);
    }

    /// The key pair of a CONNECT that is due beside a silent connection, if one is.
    pub(crate) fn revival_due(&mut self, now: Instant) -> Option<&KeyPair> {
        let revival = self.revival.as_mut()?;
        revival.due(now).then_some(&revival.keys)
    }

    /// Takes a CHALLENGE that came beside the live connection.
    pub(crate) fn handle_revival_challenge(
        &mut self,
        challenge: &Challenge,
        config: &CommonConfig,
        now: Instant,
    ) {
        // Without the back-off, which has grown with the very silence that is in question.
        let rto = self.channels.rtt().rto();
        let end = self.last_heard + config.connection_timeout;
        if let Some(revival) = &mut self.revival {
            revival.handle_challenge(challenge, rto, end, now);
            self.owed.heartbeat = true;
        }
    }

    /// The peer asks, beside this connection, whether it is still there: it is.
    pub(crate) fn on_asked_after(&mut self) {
        self.owed.heartbeat = true;
    }

    /// Takes over from a connection that was given up: its handshake so far.
    pub(crate) fn take_revival(&mut self, now: Instant) -> Option<(Box<Revival>, Challenge)> {
        let challenge = *self.revival.as_ref()?.verdict(self.own_peer, now)?;
        Some((self.revival.take()?, challenge))
    }

    pub(crate) fn wants_revival(&self, config: &CommonConfig, now: Instant) -> bool {
        config.reconnect
            && self.state == ConnectionState::Connected
            && self.revival.is_none()
            && now.saturating_duration_since(self.last_heard) >= revival::SILENCE
    }

    pub(crate) fn start_revival(&mut self, keys: KeyPair, now: Instant) {
        self.revival = Some(Box::new(Revival::new(keys, now)));
    }
}

/// The largest piece of a message that a datagram has room for (PROTOCOL A7).
fn piece_size(max_datagram: usize, framing: Framing) -> usize {
    max_datagram - WIRE_OVERHEAD - PacketHeader::MAX_LEN - FragmentHeader::LEN - framing.overhead()
}

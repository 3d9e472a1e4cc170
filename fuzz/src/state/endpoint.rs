//! An endpoint and the meters that run along with it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::compress::{Algorithm, BuiltinCompressor, CompressionConfig};
use fastwire::congestion::{BuiltinController, BuiltinControllers};
use fastwire::crypto::{Cipher, CipherSuites};
use fastwire::proto::{Endpoint, Parts, SocketRequest, TransmitBuf};
use fastwire::transport::{RecvMeta, SocketId};
use fastwire::{
    ClientConfig, ClientProfile, ConnectionId, Event, Fec, Limits, Profile, ServerConfig, ServerProfile,
};

/// Most an answer to an address that proved nothing may be, times what came from it (PROTOCOL A5).
const AMPLIFICATION: u64 = 3;

/// What a connection may hold beyond `Limits::receive_budget`: one message of the largest size that is being completed
/// in a doubled buffer, incomplete unreliable messages (1 MiB) and bookkeeping.
const BEYOND_BUDGET: u64 = (1 << 20) + (640 << 10) + (64 << 10);

/// `Limits::extended_receive_budget` here.
const EXTENDED_BUDGET: usize = 128 << 10;
/// What is kept for parity, and the parity sent.
const FEC_BYTES: usize = 16 << 10;
const FEC: Fec = Fec::percent(200).over(2);

/// What a connection of the extended profile may hold beyond it: what the unreliable channels share, which is no more
/// again, and for each channel bookkeeping of small messages and a buffer that grew.
const EXTENDED_BEYOND: u64 = (128 << 10) + 6 * (64 << 10);

pub(super) fn server_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7777))
}

/// The address of a socket of the client.
pub(super) fn client_address(socket: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 50_000 + (socket % 1000) as u16))
}

/// Bits of a byte choose features and small limits; the smallest that are allowed, so that scripts reach them.
pub(super) fn configs(profile: Profile, choice: u8) -> (ServerConfig, ClientConfig) {
    let mut limits = Limits::default();
    limits.pending_handshakes = 8;
    limits.pending_handshakes_per_ip = 4;
    limits.key_agreements_per_second = 8;
    limits.send_queue_bytes = 1 << 20;
    limits.send_queue_messages = 64;
    limits.receive_budget = 1 << 20;
    limits.bans = 4;
    limits.half_open_connections = 3;
    limits.key_agreements_per_address = 4;
    limits.extended_receive_budget = Some(EXTENDED_BUDGET);
    limits.fec_bytes = FEC_BYTES;
    let mut server = ServerConfig::default();
    let mut client = ClientConfig::default();
    (server.profile, client.profile) = match profile {
        Profile::Extended => (ServerProfile::ExtendedOnly, ClientProfile::Require),
        _ => (ServerProfile::BaseOnly, ClientProfile::BaseOnly),
    };
    let compression = match choice >> 2 & 3 {
        0 | 1 => CompressionConfig::default(),
        2 => CompressionConfig::new(Algorithm::Lz4),
        _ => CompressionConfig::new(Algorithm::Zstd),
    };
    server.max_connections = 4;
    (server.send_batching, client.send_batching) = (choice & 1 != 0, choice & 1 != 0);
    (server.connection_migration, client.connection_migration) = (choice & 2 != 0, choice & 2 != 0);
    let clock = profile == Profile::Extended && choice & 2 != 0;
    (server.clock_sync, client.clock_sync) = (clock, clock);
    (server.fec, client.fec) = ((choice & 1 != 0).then_some(FEC), (choice & 2 != 0).then_some(FEC));
    (server.compression, client.compression) = (compression.clone(), compression);
    (server.limits, client.limits) = (limits.clone(), limits);
    (server, client)
}

/// A datagram an endpoint sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) socket: SocketId,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// An endpoint, its time and what is known about it.
pub(super) struct Metered<C> {
    pub(super) core: Endpoint<C, BuiltinCompressor, BuiltinController>,
    pub(super) now: Instant,
    pub(super) events: Vec<Event>,
    pub(super) sent: Vec<Sent>,
    buf: TransmitBuf,
    limits: Limits,
    mtu: usize,
    /// Received from and sent to each address that proved nothing.
    strangers: HashMap<SocketAddr, (u64, u64)>,
    /// Extended profile: addresses that a connection was at; it may say farewell there, and ask there whether it is right that it moved.
    proved: HashSet<SocketAddr>,
    is_server: bool,
    extended: bool,
}

impl<C: Cipher + 'static> Metered<C> {
    pub(super) fn server<S>(config: &ServerConfig, suites: S, seed: u8, now: Instant) -> Self
    where
        S: CipherSuites<Cipher = C> + 'static,
    {
        let parts = parts(suites, &config.compression, BuiltinControllers::new(config.congestion));
        let core = Endpoint::server(config, parts, [seed; 32], now).expect("valid");
        let extended = config.profile == ServerProfile::ExtendedOnly;
        Self::new(core, (&config.limits, config.mtu), (true, extended), now)
    }

    pub(super) fn client<S>(config: &ClientConfig, suites: S, seed: u8, now: Instant) -> Self
    where
        S: CipherSuites<Cipher = C> + 'static,
    {
        let parts = parts(suites, &config.compression, BuiltinControllers::new(config.congestion));
        let core = Endpoint::client(config, parts, [seed; 32], now).expect("valid");
        let extended = config.profile == ClientProfile::Require;
        Self::new(core, (&config.limits, config.mtu), (false, extended), now)
    }

    fn new(
        core: Endpoint<C, BuiltinCompressor, BuiltinController>,
        (limits, mtu): (&Limits, usize),
        (is_server, extended): (bool, bool),
        now: Instant,
    ) -> Self {
        Self {
            core,
            now,
            events: Vec::new(),
            sent: Vec::new(),
            buf: TransmitBuf::new(4),
            limits: limits.clone(),
            mtu,
            strangers: HashMap::new(),
            proved: HashSet::new(),
            is_server,
            extended,
        }
    }

    /// Hands over a datagram.
    pub(super) fn feed(&mut self, socket: SocketId, from: SocketAddr, bytes: &[u8]) {
        self.strangers.entry(from).or_default().0 += bytes.len() as u64;
        let meta = RecvMeta { socket, remote: from, local: None, ecn: None };
        self.core.handle_datagram(self.now, &meta, BytesMut::from(bytes));
    }

    /// Lets time pass, stopping wherever something is due.
    pub(super) fn sleep(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..64 {
            match self.core.poll_timeout() {
                Some(at) if at < end => self.now = self.now.max(at),
                _ => break,
            }
            self.core.handle_timeout(self.now);
            self.transmit();
        }
        self.now = end;
        self.core.handle_timeout(self.now);
    }

    /// Everything that is due leaves, under the meters.
    pub(super) fn transmit(&mut self) {
        let mut rounds = 0;
        while let Some(transmit) = self.core.poll_transmit(self.now, &mut self.buf) {
            let (to, socket) = (transmit.destination, transmit.socket);
            let segments: Vec<Vec<u8>> = transmit.segments().map(<[u8]>::to_vec).collect();
            for bytes in segments {
                assert!(!bytes.is_empty() && bytes.len() <= self.mtu, "a datagram of {} bytes", bytes.len());
                let stranger = self.strangers.entry(to).or_default();
                let proves = self.core.has_connection_at(to);
                if proves && self.extended {
                    self.proved.insert(to);
                }
                if self.is_server && !proves && !self.proved.contains(&to) {
                    stranger.1 += bytes.len() as u64;
                    assert!(stranger.1 <= AMPLIFICATION * stranger.0, "{stranger:?} received and sent");
                } else {
                    *stranger = (0, 0);
                }
                self.sent.push(Sent { socket, to, bytes });
            }
            rounds += 1;
            assert!(rounds < 100_000, "sending does not end");
        }
    }

    /// Takes the events.
    pub(super) fn listen(&mut self) {
        while let Some(event) = self.core.poll_event() {
            if let Event::Disconnected { connection, .. } = &event {
                assert!(self.core.connections().all(|id| id != *connection), "an ended connection lives on");
            }
            self.events.push(event);
        }
    }

    /// What the endpoint wishes about sockets, which must stay few.
    pub(super) fn sockets(&mut self, open: &mut Vec<SocketId>) {
        while let Some(request) = self.core.poll_socket() {
            match request {
                SocketRequest::Open { socket, .. } => open.push(socket),
                SocketRequest::Close { socket } => open.retain(|one| *one != socket),
            }
        }
        assert!(open.len() <= 8, "{} sockets", open.len());
    }

    /// Memory and counts against `Limits`.
    pub(super) fn check(&self) {
        assert!(self.core.pending_handshakes() <= self.limits.pending_handshakes);
        let ids: Vec<ConnectionId> = self.core.connections().collect();
        assert!(ids.len() <= 5, "{} connections", ids.len());
        for id in ids {
            let stats = self.core.connection_stats(id).expect("it is there");
            let most = match self.core.profile(id) {
                Some(Profile::Extended) => (EXTENDED_BUDGET + FEC_BYTES) as u64 + EXTENDED_BEYOND,
                _ => self.limits.receive_budget as u64 + BEYOND_BUDGET,
            };
            assert!(stats.memory_held <= most, "{} bytes held", stats.memory_held);
            assert!(stats.send_queue_bytes <= self.limits.send_queue_bytes as u64);
            assert!((0.0..=1.0).contains(&stats.packet_loss));
        }
    }
}

fn parts<C: Cipher, S: CipherSuites<Cipher = C> + 'static>(
    suites: S,
    compression: &CompressionConfig,
    controllers: BuiltinControllers,
) -> Parts<C, BuiltinCompressor, BuiltinController> {
    let compressor = BuiltinCompressor::new(compression).expect("valid");
    Parts { suites: std::sync::Arc::new(suites), compressor, controllers: Box::new(controllers) }
}

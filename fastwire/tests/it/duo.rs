//! A server and a client whose every datagram passes through the test's hands, in virtual time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::compress::BuiltinCompressor;
use fastwire::congestion::{BuiltinController, BuiltinControllers};
use fastwire::crypto::{Aead, BuiltinSuites, Cipher};
use fastwire::proto::{Endpoint, Parts, SocketRequest, TransmitBuf};
use fastwire::transport::{RecvMeta, SocketId};
use fastwire::{ClientConfig, ClientProfile, ConnectionId, Event, Profile, ServerConfig, ServerProfile};

/// Defaults that speak the base profile and nothing else.
pub(crate) fn base_server() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.profile = ServerProfile::BaseOnly;
    config
}

/// As [`base_server`].
pub(crate) fn base_client() -> ClientConfig {
    let mut config = ClientConfig::default();
    config.profile = ClientProfile::BaseOnly;
    config
}

/// Defaults on both sides that speak `profile` and nothing else.
pub(crate) fn configs(profile: Profile) -> (ServerConfig, ClientConfig) {
    let (mut server, mut client) = (base_server(), base_client());
    if profile == Profile::Extended {
        (server.profile, client.profile) = (ServerProfile::ExtendedOnly, ClientProfile::Require);
    }
    (server, client)
}

/// Both profiles.
pub(crate) const PROFILES: [Profile; 2] = [Profile::Base, Profile::Extended];

/// An endpoint of the standard parts.
pub(crate) type Core = CoreWith<Aead>;

/// The same with other ciphers.
pub(crate) type CoreWith<C> = Endpoint<C, BuiltinCompressor, BuiltinController>;

/// A datagram an endpoint wants sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// Where a datagram of a [`Duo`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

pub(crate) fn server_address() -> SocketAddr {
    "10.0.0.1:7777".parse().expect("address")
}

/// The address of one of the client's sockets.
pub(crate) fn client_address(socket: SocketId) -> SocketAddr {
    SocketAddr::new([10, 0, 0, 2].into(), 50_000 + socket.0 as u16)
}

fn parts(config: &fastwire::compress::CompressionConfig, controllers: BuiltinControllers) -> PartsOfCore {
    Parts {
        suites: Arc::new(BuiltinSuites),
        compressor: BuiltinCompressor::new(config).expect("compression"),
        controllers: Box::new(controllers),
    }
}

type PartsOfCore = Parts<Aead, BuiltinCompressor, BuiltinController>;

/// What Unix time it is when a test begins.
const UNIX: u64 = 1_800_000_000;

pub(crate) fn server(config: &ServerConfig, now: Instant) -> Core {
    let parts = parts(&config.compression, BuiltinControllers::new(config.congestion));
    let mut server = Endpoint::server(config, parts, [1; 32], now).expect("server");
    server.set_unix_time(now, UNIX);
    server
}

pub(crate) fn client(config: &ClientConfig, now: Instant) -> Core {
    seeded_client(config, 2, now)
}

/// A client whose keys follow from `seed`.
pub(crate) fn seeded_client(config: &ClientConfig, seed: u8, now: Instant) -> Core {
    let parts = parts(&config.compression, BuiltinControllers::new(config.congestion));
    let mut client = Endpoint::client(config, parts, [seed; 32], now).expect("client");
    client.set_unix_time(now, UNIX);
    client
}

/// Everything that is due to be sent.
pub(crate) fn drain<C: Cipher>(core: &mut CoreWith<C>, now: Instant) -> Vec<Sent> {
    let mut buf = TransmitBuf::new(4);
    let mut sent = Vec::new();
    while let Some(transmit) = core.poll_transmit(now, &mut buf) {
        sent.extend(transmit.segments().map(|bytes| Sent {
            socket: transmit.socket,
            to: transmit.destination,
            bytes: bytes.to_vec(),
        }));
    }
    sent
}

/// Hands an endpoint a datagram that came from `from`.
pub(crate) fn feed<C: Cipher>(core: &mut CoreWith<C>, now: Instant, from: SocketAddr, bytes: &[u8]) {
    feed_on(core, now, SocketId::PRIMARY, from, bytes);
}

pub(crate) fn feed_on<C: Cipher>(
    core: &mut CoreWith<C>,
    now: Instant,
    socket: SocketId,
    from: SocketAddr,
    bytes: &[u8],
) {
    let meta = RecvMeta { socket, remote: from, local: None, ecn: None };
    core.handle_datagram(now, &meta, BytesMut::from(bytes));
}

/// Everything that happened.
pub(crate) fn events<C: Cipher>(core: &mut CoreWith<C>) -> Vec<Event> {
    std::iter::from_fn(|| core.poll_event()).collect()
}

/// A datagram under way.
#[derive(Debug, Clone)]
struct Flight {
    due: Instant,
    way: Way,
    /// The client's end of the line.
    socket: SocketId,
    bytes: Vec<u8>,
}

/// A server and a client joined by a line of 10 ms each way that does to each datagram what the test says.
pub(crate) struct Duo {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) server: Core,
    pub(crate) client: Core,
    pub(crate) server_events: Vec<Event>,
    pub(crate) client_events: Vec<Event>,
    /// Everything that was sent, lost or not: when, which way, on which of the client's sockets.
    pub(crate) log: Vec<(Duration, Way, SocketId, Vec<u8>)>,
    /// A socket of the client that nothing gets through from.
    pub(crate) deaf_to: Option<SocketId>,
    /// The client's open sockets.
    pub(crate) sockets: BTreeSet<SocketId>,
    flights: Vec<Flight>,
}

pub(crate) const LATENCY: Duration = Duration::from_millis(10);

impl Duo {
    pub(crate) fn new(server_config: &ServerConfig, client_config: &ClientConfig) -> Self {
        let now = Instant::now();
        Self {
            start: now,
            now,
            server: server(server_config, now),
            client: client(client_config, now),
            server_events: Vec::new(),
            client_events: Vec::new(),
            log: Vec::new(),
            deaf_to: None,
            sockets: BTreeSet::from([SocketId::PRIMARY]),
            flights: Vec::new(),
        }
    }

    /// Connects and settles; gives the ids at the server and at the client.
    pub(crate) fn connected(
        server_config: &ServerConfig,
        client_config: &ClientConfig,
    ) -> (Self, ConnectionId, ConnectionId) {
        let mut duo = Self::new(server_config, client_config);
        let at_client = duo.connect();
        duo.run(Duration::from_millis(300), |_, _| true);
        let at_server = duo.server_id();
        assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);
        duo.server_events.clear();
        duo.client_events.clear();
        duo.log.clear();
        (duo, at_server, at_client)
    }

    pub(crate) fn connect(&mut self) -> ConnectionId {
        self.client.connect(self.now, &[server_address()]).expect("connects")
    }

    /// The server's only connection.
    pub(crate) fn server_id(&self) -> ConnectionId {
        let ids: Vec<_> = self.server.connections().collect();
        assert_eq!(ids.len(), 1, "one connection at the server");
        ids[0]
    }

    /// Runs for `span` of virtual time. `fate` sees each datagram as it is sent and says whether it arrives.
    pub(crate) fn run(&mut self, span: Duration, mut fate: impl FnMut(Way, &[u8]) -> bool) {
        self.run_changing(span, |way, bytes, copies| {
            if fate(way, bytes) {
                copies.push((Duration::ZERO, bytes.to_vec()));
            }
        });
    }

    /// As [`run`](Self::run); `fate` says which copies arrive, and how much later than they should.
    pub(crate) fn run_changing(
        &mut self,
        span: Duration,
        mut fate: impl FnMut(Way, &[u8], &mut Vec<(Duration, Vec<u8>)>),
    ) {
        let end = self.now + span;
        loop {
            self.work(&mut fate);
            let wakes = [self.server.poll_timeout(), self.client.poll_timeout()].into_iter().flatten();
            let next = wakes.chain(self.flights.iter().map(|flight| flight.due)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.arrive();
            self.server.handle_timeout(self.now);
            self.client.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn arrive(&mut self) {
        while let Some(index) = self.flights.iter().position(|flight| flight.due <= self.now) {
            let flight = self.flights.remove(index);
            match flight.way {
                Way::ToServer => {
                    feed(&mut self.server, self.now, client_address(flight.socket), &flight.bytes)
                }
                Way::ToClient if !self.sockets.contains(&flight.socket) => {}
                Way::ToClient => {
                    feed_on(&mut self.client, self.now, flight.socket, server_address(), &flight.bytes);
                }
            }
        }
    }

    fn work(&mut self, fate: &mut impl FnMut(Way, &[u8], &mut Vec<(Duration, Vec<u8>)>)) {
        self.server_events.extend(events(&mut self.server));
        self.client_events.extend(events(&mut self.client));
        while let Some(request) = self.client.poll_socket() {
            match request {
                SocketRequest::Open { socket, .. } => {
                    assert!(self.sockets.insert(socket), "{socket:?} twice")
                }
                SocketRequest::Close { socket } => {
                    assert!(self.sockets.remove(&socket), "{socket:?} was closed")
                }
            }
        }
        let mut sent = Vec::new();
        for datagram in drain(&mut self.client, self.now) {
            assert!(
                self.sockets.contains(&datagram.socket),
                "sent over {:?}, which is closed",
                datagram.socket
            );
            sent.push((Way::ToServer, datagram.socket, datagram.bytes));
        }
        for datagram in drain(&mut self.server, self.now) {
            let known = (0..32).map(SocketId).find(|socket| client_address(*socket) == datagram.to);
            sent.extend(known.map(|socket| (Way::ToClient, socket, datagram.bytes)));
        }
        for (way, socket, bytes) in sent {
            let mut copies = Vec::new();
            if way == Way::ToClient || self.deaf_to != Some(socket) {
                fate(way, &bytes, &mut copies);
            }
            self.log.push((self.now - self.start, way, socket, bytes));
            for (later, bytes) in copies {
                self.flights.push(Flight { due: self.now + LATENCY + later, way, socket, bytes });
            }
        }
    }
}

/// The type of a bare control packet (PROTOCOL A5), if this reads as one.
pub(crate) fn bare_type(datagram: &[u8]) -> Option<u8> {
    datagram.strip_prefix(&[2, 0, 0, 0, 0, 0, 0, 0])?.first().copied()
}

pub(crate) const CONNECT: Option<u8> = Some(1);
pub(crate) const CHALLENGE: Option<u8> = Some(2);

/// Whether this is an unframed RESPONSE: sealed, and of its size.
pub(crate) fn is_response(datagram: &[u8]) -> bool {
    datagram.len() == 8 + 8 + 33 + 16 && bare_type(datagram) != CONNECT
}

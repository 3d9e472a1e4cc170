//! A server and a client as bare cores, whose every datagram passes through the hands of whoever sits between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::compress::BuiltinCompressor;
use fastwire::congestion::{BuiltinController, BuiltinControllers};
use fastwire::crypto::{Aead, BuiltinSuites};
use fastwire::proto::{Endpoint, Parts, SocketRequest, TransmitBuf};
use fastwire::sim::Rng;
use fastwire::transport::{RecvMeta, SocketId};
use fastwire::{ClientConfig, ConnectionId, Event, ServerConfig};

/// An endpoint of the standard parts.
pub(crate) type Core = Endpoint<Aead, BuiltinCompressor, BuiltinController>;

/// Time from one end to the other.
pub(crate) const LATENCY: Duration = Duration::from_millis(10);

/// A datagram under way, or about to be.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// From the client to the server.
    pub(crate) up: bool,
    /// The client's socket.
    pub(crate) socket: SocketId,
    pub(crate) bytes: Vec<u8>,
    /// How much later it arrives than it should.
    pub(crate) later: Duration,
}

/// Whoever sits between: takes a datagram as it was sent and says what arrives instead, where and when.
pub(crate) type Between<'a> = &'a mut dyn FnMut(Parcel, &mut Vec<Parcel>);

/// Passes everything on.
pub(crate) fn honest(parcel: Parcel, out: &mut Vec<Parcel>) {
    out.push(parcel);
}

/// The two, in virtual time.
pub(crate) struct Cores {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) server: Core,
    pub(crate) client: Core,
    /// Events that nobody has taken yet: the server's and the client's.
    pub(crate) at_server: Vec<Event>,
    pub(crate) at_client: Vec<Event>,
    flights: BTreeMap<(Instant, u64), Parcel>,
    sent: u64,
    buf: TransmitBuf,
}

impl Cores {
    pub(crate) fn new(seed: u64, server: &ServerConfig, client: &ClientConfig) -> Result<Self, String> {
        let now = Instant::now();
        let mut rng = Rng::new(seed ^ 0x63_6f_72_65);
        let mut entropy = || std::array::from_fn(|_| rng.next_u64() as u8);
        let told = |error: fastwire::ConfigError| error.to_string();
        let (mut server, mut client) = (
            Endpoint::server(server, parts()?, entropy(), now).map_err(told)?,
            Endpoint::client(client, parts()?, entropy(), now).map_err(told)?,
        );
        server.set_unix_time(now, 1_800_000_000);
        client.set_unix_time(now, 1_800_000_000);
        Ok(Self {
            start: now,
            now,
            server,
            client,
            at_server: Vec::new(),
            at_client: Vec::new(),
            flights: BTreeMap::new(),
            sent: 0,
            buf: TransmitBuf::new(4),
        })
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Begins to connect the client.
    pub(crate) fn connect(&mut self) -> Result<ConnectionId, String> {
        self.client.connect(self.now, &[server_address()]).map_err(|error| error.to_string())
    }

    /// Has a datagram arrive at the server from `from`, now.
    pub(crate) fn spoof(&mut self, from: SocketAddr, bytes: &[u8]) {
        let meta = RecvMeta { socket: SocketId::PRIMARY, remote: from, local: None, ecn: None };
        self.server.handle_datagram(self.now, &meta, BytesMut::from(bytes));
    }

    /// Runs until `stop` says so, at most until `until`. Gives whether it did.
    pub(crate) fn run(
        &mut self,
        until: Instant,
        between: Between<'_>,
        mut stop: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        loop {
            self.work(between);
            if stop(self) {
                return true;
            }
            let wakes = [self.server.poll_timeout(), self.client.poll_timeout()].into_iter().flatten();
            let next = wakes.chain(self.flights.keys().next().map(|(at, _)| *at)).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                self.now = self.now.max(until);
                return false;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let Parcel { up, socket, bytes, .. } = entry.remove();
                if up {
                    self.spoof(client_address(socket), &bytes);
                } else {
                    let meta = RecvMeta { socket, remote: server_address(), local: None, ecn: None };
                    self.client.handle_datagram(self.now, &meta, BytesMut::from(&bytes[..]));
                }
            }
            self.server.handle_timeout(self.now);
            self.client.handle_timeout(self.now);
        }
    }

    fn work(&mut self, between: Between<'_>) {
        self.at_server.extend(std::iter::from_fn(|| self.server.poll_event()));
        self.at_client.extend(std::iter::from_fn(|| self.client.poll_event()));
        // Every socket the client asks for is open at once and stays open.
        while let Some(SocketRequest::Open { .. } | SocketRequest::Close { .. }) = self.client.poll_socket() {
        }
        let mut sent = Vec::new();
        while let Some(transmit) = self.client.poll_transmit(self.now, &mut self.buf) {
            let socket = transmit.socket;
            let later = Duration::ZERO;
            sent.extend(transmit.segments().map(|s| Parcel { up: true, socket, bytes: s.to_vec(), later }));
        }
        while let Some(transmit) = self.server.poll_transmit(self.now, &mut self.buf) {
            // What goes to addresses of others arrives nowhere.
            let Some(socket) = socket_at(transmit.destination) else { continue };
            let later = Duration::ZERO;
            sent.extend(transmit.segments().map(|s| Parcel { up: false, socket, bytes: s.to_vec(), later }));
        }
        let mut arriving = Vec::new();
        for parcel in sent {
            between(parcel, &mut arriving);
        }
        for parcel in arriving {
            self.sent += 1;
            self.flights.insert((self.now + LATENCY + parcel.later, self.sent), parcel);
        }
    }
}

/// The type of a bare control packet, if a datagram reads as one.
pub(crate) fn bare_type(datagram: &[u8]) -> Option<u8> {
    datagram.strip_prefix(&fastwire::wire::CONTROL_PREFIX[..])?.first().copied()
}

pub(crate) fn server_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7777))
}

/// The address of one of the client's sockets.
pub(crate) fn client_address(socket: SocketId) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 50_000 + socket.0 as u16))
}

/// The client's socket at an address, if it is one of its.
pub(crate) fn socket_at(address: SocketAddr) -> Option<SocketId> {
    let number = address.port().checked_sub(client_address(SocketId::PRIMARY).port())?;
    let socket = SocketId(number.into());
    (client_address(socket) == address).then_some(socket)
}

/// The standard parts of an endpoint.
pub(crate) fn parts() -> Result<Parts<Aead, BuiltinCompressor, BuiltinController>, String> {
    Ok(Parts {
        suites: Arc::new(BuiltinSuites),
        compressor: BuiltinCompressor::new(&Default::default()).map_err(|error| error.to_string())?,
        controllers: Box::new(BuiltinControllers::new(Default::default())),
    })
}

//! A server's core under a crowd: what one message in and one answer out cost when connections are too many for the
//! processor's caches. No sockets, and only the server's share is timed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::compress::{BuiltinCompressor, CompressionConfig};
use fastwire::congestion::{BuiltinController, BuiltinControllers, CongestionMode};
use fastwire::crypto::{Aead, BuiltinSuites};
use fastwire::proto::{Endpoint, Parts, TransmitBuf};
use fastwire::transport::{ChunkPool, RecvMeta, SocketId};
use fastwire::{ClientConfig, ConnectionId, Event, ServerConfig};

type Core = Endpoint<Aead, BuiltinCompressor, BuiltinController>;

/// Each connection sends and gets so many messages a second.
const RATE: f64 = 30.0;
/// The channel of the default layout that is unreliable.
const UNRELIABLE: u8 = 2;
/// Pairs that are measured.
const PAIRS: usize = 40_000;

/// Prints a row for each number of connections and of datagrams a wake.
pub fn print() {
    println!("| connections | datagrams a wake | announced, ns a pair | not announced |\n|---|---|---|---|");
    for connections in [20, 1000, 5000] {
        let mut crowd = Crowd::connected(connections);
        for wake in [1, 8] {
            let [with, without] = crowd.both(wake);
            println!("| {connections} | {wake} | {with:.0} | {without:.0} |");
        }
    }
}

fn parts() -> Parts<Aead, BuiltinCompressor, BuiltinController> {
    Parts {
        suites: Arc::new(BuiltinSuites),
        compressor: BuiltinCompressor::new(&CompressionConfig::default()).unwrap_or_else(|e| panic!("{e}")),
        controllers: Box::new(BuiltinControllers::new(CongestionMode::Aggressive)),
    }
}

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 255, 0, 1)), 7777);

fn client(index: usize) -> SocketAddr {
    let [_, a, b, c] = (index as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 50_000))
}

/// Which client has this address.
fn index(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => (u32::from(ip) & 0x00ff_ffff) as usize,
        IpAddr::V6(_) => 0,
    }
}

fn from(remote: SocketAddr) -> RecvMeta {
    RecvMeta { socket: SocketId::PRIMARY, remote, local: None, ecn: None }
}

struct Crowd {
    server: Core,
    clients: Vec<(Core, ConnectionId)>,
    now: Instant,
    buf: TransmitBuf,
    pool: ChunkPool,
    /// Who sends next.
    turn: usize,
}

impl Crowd {
    fn connected(connections: usize) -> Self {
        let now = Instant::now();
        let mut config = ServerConfig::default();
        config.max_connections = connections;
        config.limits.half_open_connections = connections;
        config.limits.key_agreements_per_second = 1_000_000;
        config.limits.key_agreements_per_address = 1_000_000;
        config.limits.key_agreements_per_site = 1_000_000;
        let server = Endpoint::server(&config, parts(), [1; 32], now).unwrap_or_else(|e| panic!("{e}"));
        let clients = (0..connections).map(|index| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&(index as u64).to_le_bytes());
            let core = Endpoint::client(&ClientConfig::default(), parts(), seed, now);
            let mut core: Core = core.unwrap_or_else(|e| panic!("{e}"));
            let id = core.connect(now, &[SERVER]).unwrap_or_else(|e| panic!("{e}"));
            (core, id)
        });
        let clients = clients.collect();
        let (buf, pool) = (TransmitBuf::new(32), ChunkPool::new());
        let mut crowd = Self { server, clients, now, buf, pool, turn: 0 };
        for _ in 0..40 {
            crowd.now += Duration::from_millis(5);
            crowd.server.handle_timeout(crowd.now);
            for index in 0..connections {
                crowd.clients[index].0.handle_timeout(crowd.now);
                for datagram in crowd.sent_by(index) {
                    crowd.server.handle_datagram(crowd.now, &from(client(index)), datagram);
                }
                let answers = crowd.answers();
                crowd.deliver(answers);
            }
            while crowd.server.poll_event().is_some() {}
        }
        assert_eq!(crowd.server.connection_count(), connections, "the crowd is connected");
        crowd
    }

    /// What a client wants to send.
    fn sent_by(&mut self, index: usize) -> Vec<BytesMut> {
        let mut sent = Vec::new();
        while let Some(transmit) = self.clients[index].0.poll_transmit(self.now, &mut self.buf) {
            sent.extend(transmit.segments().map(|datagram| self.pool.copy(datagram)));
        }
        sent
    }

    /// What the server wants to send.
    fn answers(&mut self) -> Vec<(usize, BytesMut)> {
        let mut answers = Vec::new();
        while let Some(transmit) = self.server.poll_transmit(self.now, &mut self.buf) {
            let to = index(transmit.destination);
            answers.extend(transmit.segments().map(|datagram| (to, self.pool.copy(datagram))));
        }
        answers
    }

    /// Gives clients their datagrams, and tells how many messages those brought.
    fn deliver(&mut self, datagrams: Vec<(usize, BytesMut)>) -> usize {
        let mut messages = 0;
        for (index, datagram) in datagrams {
            let Some((core, _)) = self.clients.get_mut(index) else { continue };
            core.handle_datagram(self.now, &from(SERVER), datagram);
            while let Some(event) = core.poll_event() {
                messages += usize::from(matches!(event, Event::Message { .. }));
            }
        }
        messages
    }

    /// Median nanoseconds a pair, with datagrams announced and without, in turns.
    fn both(&mut self, wake: usize) -> [f64; 2] {
        let mut times = [Vec::new(), Vec::new()];
        let wakes = (PAIRS / wake).max(8 * self.clients.len() / wake);
        // Turns are longer than a round over all connections, so that each way finds the caches as it left them.
        let turns = 4;
        for turn in 0..2 * turns {
            for _ in 0..wakes / turns {
                let time = self.wake(wake, turn % 2 == 0);
                times[turn % 2].push(time);
            }
        }
        times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
    }

    /// One wake of the server. Nanoseconds a pair.
    fn wake(&mut self, datagrams: usize, announced: bool) -> f64 {
        self.now += Duration::from_secs_f64(datagrams as f64 / (RATE * self.clients.len() as f64));
        let mut arriving = Vec::new();
        for _ in 0..datagrams {
            self.turn = (self.turn + 1) % self.clients.len();
            let (core, id) = &mut self.clients[self.turn];
            core.handle_timeout(self.now);
            let _ = core.send(self.now, *id, &[5u8; 64][..], UNRELIABLE);
            let turn = self.turn;
            arriving.extend(self.sent_by(turn).into_iter().map(|datagram| (from(client(turn)), datagram)));
        }
        let started = Instant::now();
        if announced {
            self.server.announce(arriving.iter().map(|(_, datagram)| &datagram[..]));
        }
        for (meta, datagram) in arriving {
            self.server.handle_datagram(self.now, &meta, datagram);
        }
        while let Some(event) = self.server.poll_event() {
            if let Event::Message { connection, .. } = event {
                let _ = self.server.send(self.now, connection, &[7u8; 200][..], UNRELIABLE);
            }
        }
        self.server.handle_timeout(self.now);
        let answers = self.answers();
        let nanos = started.elapsed().as_nanos() as f64;
        let answered = self.deliver(answers);
        assert_eq!(answered, datagrams, "each message has its answer");
        nanos / datagrams as f64
    }
}

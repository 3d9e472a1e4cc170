//! What the core allocates: nothing per packet once it has warmed up, and little for a connection that idles.
//!
//! A binary of its own, because its allocator serves the whole process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::compress::{BuiltinCompressor, CompressionConfig};
use fastwire::congestion::{BuiltinController, BuiltinControllers, CongestionMode};
use fastwire::crypto::{Aead, BuiltinSuites};
use fastwire::proto::{Endpoint, Parts, TransmitBuf};
use fastwire::transport::{ChunkPool, RecvMeta, SocketId};
use fastwire::{ClientConfig, ConnectionId, Event, Fec, ServerConfig};
use fastwire_testkit::counting::{Counting, allocations, live_bytes};

#[global_allocator]
static COUNTING: Counting = Counting;

type Core = Endpoint<Aead, BuiltinCompressor, BuiltinController>;

fn parts(mode: CongestionMode) -> Parts<Aead, BuiltinCompressor, BuiltinController> {
    Parts {
        suites: Arc::new(BuiltinSuites),
        compressor: BuiltinCompressor::new(&CompressionConfig::default()).expect("compression"),
        controllers: Box::new(BuiltinControllers::new(mode)),
    }
}

fn server_address() -> SocketAddr {
    "10.0.0.1:7777".parse().expect("address")
}

fn client_address(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 50_000))
}

/// A server and a client joined without loss or delay, driven as a shell does it: pooled receive buffers, one
/// transmit buffer.
struct Bench {
    server: Core,
    client: Core,
    now: Instant,
    buf: TransmitBuf,
    pool: ChunkPool,
    at_server: Option<ConnectionId>,
    delivered: [u64; 2],
    /// Every so many-th datagram of the client's gets lost.
    loses: Option<u64>,
    carried: u64,
}

/// Hands everything that one endpoint wants sent to the other.
fn carry(
    from: &mut Core,
    to: &mut Core,
    source: SocketAddr,
    now: Instant,
    (buf, pool): (&mut TransmitBuf, &mut ChunkPool),
    (loses, carried): (Option<u64>, &mut u64),
) {
    let meta = RecvMeta { socket: SocketId::PRIMARY, remote: source, local: None, ecn: None };
    while let Some(transmit) = from.poll_transmit(now, buf) {
        for datagram in transmit.segments() {
            *carried += 1;
            if loses.is_none_or(|every| !carried.is_multiple_of(every)) {
                to.handle_datagram(now, &meta, pool.copy(datagram));
            }
        }
    }
}

impl Bench {
    fn new(batching: bool) -> (Self, ConnectionId) {
        let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
        server.send_batching = batching;
        client.send_batching = batching;
        Self::with(&server, &client)
    }

    fn with(server: &ServerConfig, client: &ClientConfig) -> (Self, ConnectionId) {
        let now = Instant::now();
        let mut bench = Self {
            server: Endpoint::server(server, parts(CongestionMode::Conservative), [1; 32], now)
                .expect("server"),
            client: Endpoint::client(client, parts(CongestionMode::Conservative), [2; 32], now)
                .expect("client"),
            now,
            buf: TransmitBuf::new(16),
            pool: ChunkPool::new(),
            at_server: None,
            delivered: [0; 2],
            loses: None,
            carried: 0,
        };
        let id = bench.client.connect(now, &[server_address()]).expect("connects");
        for _ in 0..10 {
            bench.turn();
        }
        (bench, id)
    }

    /// One millisecond: time, both ways, events.
    fn turn(&mut self) {
        self.now += Duration::from_millis(1);
        self.server.handle_timeout(self.now);
        self.client.handle_timeout(self.now);
        carry(
            &mut self.client,
            &mut self.server,
            client_address(1),
            self.now,
            (&mut self.buf, &mut self.pool),
            (self.loses, &mut self.carried),
        );
        carry(
            &mut self.server,
            &mut self.client,
            server_address(),
            self.now,
            (&mut self.buf, &mut self.pool),
            (None, &mut 0),
        );
        for (delivered, core) in self.delivered.iter_mut().zip([&mut self.server, &mut self.client]) {
            while let Some(event) = core.poll_event() {
                match event {
                    Event::Message { .. } => *delivered += 1,
                    Event::Connected { connection } => self.at_server = self.at_server.or(Some(connection)),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// `turns` milliseconds of messages both ways on all four modes; gives the packets that went.
    fn exchange(&mut self, at_client: ConnectionId, turns: u32, len: usize) -> u64 {
        let message = [0x5a; 1100];
        let packets = |bench: &Self| {
            let of = |core: &Core, id| core.connection_stats(id).map_or(0, |stats| stats.packets_sent);
            of(&bench.server, bench.at_server.expect("connected")) + of(&bench.client, at_client)
        };
        let before = packets(self);
        for _ in 0..turns {
            let at_server = self.at_server.expect("connected");
            for channel in 0..4 {
                self.client.send(self.now, at_client, &message[..len], channel).expect("queued");
                self.server.send(self.now, at_server, &message[..len], channel).expect("queued");
            }
            self.turn();
        }
        packets(self) - before
    }
}

/// Amortised growth of queues and hash tables, whose layout differs from run to run, and clean-up that is due once
/// a second; against tens of thousands of packets. Mostly 0, at times some twenty.
const STRAY: u64 = 64;

#[test]
fn the_steady_path_allocates_nothing_per_packet() {
    for batching in [false, true] {
        for len in [20, 64, 200, 1100] {
            let (mut bench, at_client) = Bench::new(batching);
            bench.exchange(at_client, 3000, len);
            let (before, delivered) = (allocations(), bench.delivered);
            let packets = bench.exchange(at_client, 3000, len);
            let made = allocations() - before;
            println!("batching {batching}, {len} bytes: {made} allocations in {packets} packets");
            assert!(
                bench.delivered.iter().zip(delivered).all(|(now, then)| now - then >= 11_900),
                "{:?}",
                bench.delivered
            );
            // many messages in a packet: few packets carry the 12 000 of either side
            assert!(packets > 3000);
            assert!(made <= STRAY, "{made} allocations in {packets} packets");
        }
    }
}

/// What a client that sends holds, and the server it sends to, a twentieth of the packets being lost; and what the server says it holds.
fn held(fec: Option<Fec>) -> ([i64; 2], u64, u64) {
    let (server, mut client) = (ServerConfig::default(), ClientConfig::default());
    client.fec = fec;
    let (mut bench, at_client) = Bench::with(&server, &client);
    bench.loses = Some(20);
    for turn in 0..6000 {
        // the largest packets there are, unreliable: nothing else is held for them
        if turn % 4 == 0 {
            (0..6).for_each(|_| drop(bench.client.send(bench.now, at_client, &[7u8; 1100][..], 2)));
        }
        bench.turn();
    }
    let stats = bench.client.connection_stats(at_client).expect("connected");
    assert_eq!(stats.fec_sent > 0, fec.is_some());
    let server = bench.server.connection_stats(bench.at_server.expect("connected")).expect("connected");
    assert!((server.fec_recovered > 0) == fec.is_some(), "{server:?}");
    let Bench { server: receiver, client: sender, .. } = bench;
    let begin = live_bytes();
    drop(sender);
    let middle = live_bytes();
    drop(receiver);
    ([begin - middle, middle - live_bytes()], server.memory_held, stats.fec_sent)
}

/// Parity costs its sender an open group, its receiver what it keeps of packets: less than `Limits::fec_bytes` and a little, however
/// much is sent; and no allocation a packet.
#[test]
fn parity_costs_a_connection_no_more_memory_than_its_limit() {
    let limit = ServerConfig::default().limits.fec_bytes as i64;
    let ([sender, receiver], ..) = held(None);
    for fec in [Fec::percent(30), Fec::percent(100).over(4)] {
        let ([with, kept], told, parity) = held(Some(fec));
        let (sends, keeps) = (with - sender, kept - receiver);
        println!(
            "{fec:?}, {parity} packets of parity: its sender {sends} bytes, its receiver {keeps}, told {told}"
        );
        assert!(sends <= 96 << 10, "a group of 32 packets, their parity, and nothing that grows: {sends}");
        assert!(keeps > 0 && keeps <= limit + (16 << 10), "{keeps} bytes");
        assert!(told as i64 <= limit, "{told} bytes");
    }
}

#[test]
fn an_idle_connection_costs_a_server_little_memory() {
    const CLIENTS: u32 = 500;
    let start = Instant::now();
    let mut now = start;
    let mut server: Core =
        Endpoint::server(&ServerConfig::default(), parts(CongestionMode::Auto), [1; 32], now)
            .expect("server");
    let mut buf = TransmitBuf::new(16);
    let mut pool = ChunkPool::new();
    let mut clients: Vec<Core> = (0..CLIENTS)
        .map(|number| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&number.to_le_bytes());
            let mut client: Core =
                Endpoint::client(&ClientConfig::default(), parts(CongestionMode::Auto), seed, now)
                    .expect("client");
            client.connect(now, &[server_address()]).expect("connects");
            client
        })
        .collect();
    // The handshakes, then heartbeats alone, until the cookies of the handshakes are forgotten.
    for turn in 0..900 {
        now += Duration::from_millis(if turn < 300 { 10 } else { 20 });
        let mut datagrams: Vec<(u32, BytesMut)> = Vec::new();
        for (number, client) in (0u32..).zip(&mut clients) {
            client.handle_timeout(now);
            while client.poll_event().is_some() {}
            while let Some(transmit) = client.poll_transmit(now, &mut buf) {
                datagrams.extend(transmit.segments().map(|bytes| (number, pool.copy(bytes))));
            }
        }
        let mut answers: Vec<(SocketAddr, BytesMut)> = Vec::new();
        for (number, datagram) in datagrams.drain(..) {
            let meta = RecvMeta {
                socket: SocketId::PRIMARY,
                remote: client_address(number),
                local: None,
                ecn: None,
            };
            server.handle_datagram(now, &meta, datagram);
        }
        server.handle_timeout(now);
        while server.poll_event().is_some() {}
        while let Some(transmit) = server.poll_transmit(now, &mut buf) {
            let to = transmit.destination;
            answers.extend(transmit.segments().map(|bytes| (to, BytesMut::from(bytes))));
        }
        let meta = RecvMeta { socket: SocketId::PRIMARY, remote: server_address(), local: None, ecn: None };
        for (to, datagram) in answers {
            let number = (0..CLIENTS).find(|number| client_address(*number) == to).expect("a client");
            clients[number as usize].handle_datagram(now, &meta, datagram);
        }
    }
    assert_eq!(server.connection_count(), CLIENTS as usize);
    // What the server holds is what dropping it gives back.
    let before = live_bytes();
    drop(server);
    let each = (before - live_bytes()) / i64::from(CLIENTS);
    println!("an idle connection holds {each} bytes at the server");
    assert!(each <= 8 * 1024, "{each} bytes");
}

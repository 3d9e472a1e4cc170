//! The whole way of a message through the core, without sockets: queue, seal, open, deliver, acknowledge; and the
//! handshake. `cargo bench -p fastwire --bench path`

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastwire::compress::{BuiltinCompressor, CompressionConfig};
use fastwire::congestion::{BuiltinController, BuiltinControllers, CongestionMode};
use fastwire::crypto::{Aead, BuiltinSuites};
use fastwire::proto::{Endpoint, Parts, TransmitBuf};
use fastwire::transport::{ChunkPool, RecvMeta, SocketId};
use fastwire::{ClientConfig, ConnectionId, Event, ServerConfig};

type Core = Endpoint<Aead, BuiltinCompressor, BuiltinController>;

/// Messages queued before each exchange of datagrams.
const BURST: usize = 16;

fn parts() -> Parts<Aead, BuiltinCompressor, BuiltinController> {
    Parts {
        suites: Arc::new(BuiltinSuites),
        compressor: BuiltinCompressor::new(&CompressionConfig::default()).expect("compression"),
        controllers: Box::new(BuiltinControllers::new(CongestionMode::Aggressive)),
    }
}

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 7777).into()
}

struct Pair {
    server: Core,
    client: Core,
    now: Instant,
    buf: TransmitBuf,
    pool: ChunkPool,
    delivered: u64,
}

impl Pair {
    fn new(batching: bool) -> Self {
        let now = Instant::now();
        let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
        (server.send_batching, client.send_batching) = (batching, batching);
        Self {
            server: Endpoint::server(&server, parts(), [1; 32], now).expect("server"),
            client: Endpoint::client(&client, parts(), [2; 32], now).expect("client"),
            now,
            buf: TransmitBuf::new(32),
            pool: ChunkPool::new(),
            delivered: 0,
        }
    }

    fn connected(batching: bool) -> (Self, ConnectionId) {
        let mut pair = Self::new(batching);
        let id = pair.client.connect(pair.now, &[address(1)]).expect("connects");
        for _ in 0..10 {
            pair.exchange();
        }
        assert_eq!(pair.server.connection_count(), 1);
        (pair, id)
    }

    /// Carries everything both ways, a fifth of a millisecond later.
    fn exchange(&mut self) {
        self.now += Duration::from_micros(200);
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        let Self { server, client, now, buf, pool, .. } = self;
        carry(client, server, address(2), *now, buf, pool);
        carry(server, client, address(1), *now, buf, pool);
        while let Some(event) = self.server.poll_event() {
            if let Event::Message { data, .. } = &event {
                self.delivered += 1;
                black_box(data);
            }
        }
        while self.client.poll_event().is_some() {}
    }
}

fn carry(
    from: &mut Core,
    to: &mut Core,
    source: SocketAddr,
    now: Instant,
    buf: &mut TransmitBuf,
    pool: &mut ChunkPool,
) {
    let meta = RecvMeta { socket: SocketId::PRIMARY, remote: source, local: None, ecn: None };
    while let Some(transmit) = from.poll_transmit(now, buf) {
        for datagram in transmit.segments() {
            to.handle_datagram(now, &meta, pool.copy(datagram));
        }
    }
}

fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("path");
    group.throughput(Throughput::Elements(BURST as u64));
    for (mode, channel) in [("reliable", 0), ("unreliable", 2)] {
        // 1152 bytes: the largest message that one base datagram carries, batch frame included.
        for (len, batching) in [(64, false), (64, true), (1152, false)] {
            let (mut pair, id) = Pair::connected(batching);
            let message = vec![7; len];
            let frame = if batching { ", batched" } else { "" };
            group.bench_function(format!("{BURST} {mode} messages of {len} B{frame}"), |b| {
                b.iter(|| {
                    for _ in 0..BURST {
                        pair.client.send(pair.now, id, black_box(&message), channel).expect("queued");
                    }
                    pair.exchange();
                });
            });
            assert!(pair.delivered > 0);
        }
    }
    group.finish();
}

fn handshake(c: &mut Criterion) {
    // Two endpoints made, a key pair and a key agreement each, CONNECT to CONNECTED.
    c.bench_function("handshake", |b| b.iter(|| Pair::connected(false).0.delivered));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = messages, handshake
}
criterion_main!(benches);

//! R10: recorded conversations, and a peer without any of the hardening.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::compress::BuiltinCompressor;
use fastwire::congestion::{BuiltinController, BuiltinControllers, CongestionMode};
use fastwire::crypto::{Aead, BuiltinSuites};
use fastwire::proto::{Endpoint, Parts, SocketRequest, TransmitBuf};
use fastwire::sim::{Link, LinkConfig, LinkStats, Loss, Rng};
use fastwire::transport::{RecvMeta, SocketId};
use fastwire::{ClientConfig, ConnectionId, Event, SendError, ServerConfig};

use crate::check::{Check, Outcome, Profile, Run};
use crate::foreign::Foreign;
use crate::outside::cargo_here;
use crate::scenario::run_seeds;

/// Seeds, each with every case.
const SEEDS: u64 = 40;
const QUICK_SEEDS: u64 = 4;
/// Messages each way.
const MESSAGES: usize = 4;
/// Loss each way, and the size of the messages that have to get through.
const CASES: [(f64, usize); 3] = [(0.0, 255 * 1155), (0.05, 255 * 1155), (0.20, 73_000)];
const LATENCY: Duration = Duration::from_millis(10);
/// Far more than it takes, and less than any patience.
const WITHIN: Duration = Duration::from_secs(300);

/// R10.
pub(super) struct ForeignPeers;

impl Check for ForeignPeers {
    fn id(&self) -> &'static str {
        "R10"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base]
    }

    fn run(&self, run: &Run) -> Outcome {
        let recorded = conversations();
        let seeds = run_seeds(run, 1..=if run.quick { QUICK_SEEDS } else { SEEDS }, |seed, verbose| {
            let mut total = Total::default();
            for (loss, len) in CASES {
                for (theirs, ours) in [("client", "server"), ("server", "client")] {
                    let told =
                        |reason| format!("weak {theirs}, {:.0} % loss, {len} bytes: {reason}", loss * 100.0);
                    let talk =
                        Talk::new(seed, loss, len, ours == "server").and_then(Talk::run).map_err(told)?;
                    if verbose {
                        println!("    weak {theirs}, loss {loss}, 4 x {len} bytes each way: {talk:?}");
                    }
                    total += talk;
                }
            }
            Ok(total)
        });
        let (replayed, cases) = recorded.as_ref().map_or((0, 0), |&(tests, cases)| (tests, cases));
        let figure = format!(
            "{cases} recorded conversations replay ({replayed} tests); weak peers: {}, {} messages of 294 and 73 KB \
             delivered, slowest {MESSAGES} in {:.1} s",
            seeds.figure(),
            seeds.total.delivered,
            seeds.total.slowest.as_secs_f64(),
        );
        let mut outcome = Outcome::new(seeds.failures.is_empty() && recorded.is_ok() && cases > 0, figure);
        if let Err(reason) = recorded {
            outcome = outcome.note(reason);
        }
        let outcome = seeds.explain(self.id(), outcome);
        outcome
            .fault("lost", seeds.total.lines.lost)
            .fault("acknowledgements that only a null probe brought", seeds.total.probes)
    }
}

/// Replays every recorded conversation through an endpoint: how many tests did, over how many conversations.
fn conversations() -> Result<(usize, usize), String> {
    let output = cargo_here("test --locked -p fastwire --test it vectors_sessions -- --nocapture")?;
    let tests =
        output.lines().filter(|line| line.starts_with("test ") && line.contains("vectors_sessions")).count();
    let files = output.lines().filter_map(|line| {
        let (_, count) = line.split_once("vectors: ")?;
        count.split_once(" files session_")?.0.parse::<usize>().ok()
    });
    let files = files.max().unwrap_or_default();
    if tests == 0 { Err("no test replays the recorded conversations".into()) } else { Ok((tests, files)) }
}

#[derive(Debug, Default)]
struct Total {
    delivered: usize,
    slowest: Duration,
    lines: LinkStats,
    probes: u64,
}

impl std::ops::AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.slowest = self.slowest.max(other.slowest);
        self.lines += other.lines;
        self.probes += other.probes;
    }
}

/// Our endpoint and a foreign one, and the lines between them.
struct Talk {
    now: Instant,
    start: Instant,
    ours: Endpoint<Aead, BuiltinCompressor, BuiltinController>,
    connection: Option<ConnectionId>,
    theirs: Foreign,
    /// From us, and to us. A client of ours may use several sockets.
    up: Link<SocketId>,
    down: Link<SocketId>,
    newest_socket: SocketId,
    buf: TransmitBuf,
    messages: Vec<Vec<u8>>,
    to_them: Vec<Vec<u8>>,
    to_us: Vec<Vec<u8>>,
}

impl Talk {
    fn new(seed: u64, loss: f64, len: usize, we_serve: bool) -> Result<Self, String> {
        let now = Instant::now();
        let mut rng = Rng::new(seed);
        let mode =
            if seed.is_multiple_of(2) { CongestionMode::Aggressive } else { CongestionMode::Conservative };
        let parts = Parts {
            suites: Arc::new(BuiltinSuites),
            compressor: BuiltinCompressor::new(&Default::default()).map_err(|error| error.to_string())?,
            controllers: Box::new(BuiltinControllers::new(mode)),
        };
        let entropy = std::array::from_fn(|_| rng.next_u64() as u8);
        let (ours, theirs) = if we_serve {
            let config = ServerConfig::default();
            (Endpoint::server(&config, parts, entropy, now), Foreign::client(&mut rng, now))
        } else {
            let mut config = ClientConfig::default();
            config.connect_timeout = Duration::from_secs(30);
            (Endpoint::client(&config, parts, entropy, now), Foreign::server(&mut rng, now))
        };
        let mut ours = ours.map_err(|error| error.to_string())?;
        if !we_serve {
            ours.connect(now, &[address()]).map_err(|error| error.to_string())?;
        }
        let line = LinkConfig::new().latency(LATENCY).loss(Loss::Bernoulli { rate: loss });
        let link = |seed| Link::new(line.clone(), seed).map_err(|error| error.to_string());
        Ok(Self {
            now,
            start: now,
            ours,
            connection: None,
            theirs,
            up: link(rng.next_u64())?,
            down: link(rng.next_u64())?,
            newest_socket: SocketId::PRIMARY,
            buf: TransmitBuf::new(1),
            messages: (0..MESSAGES)
                .map(|n| (0..len).map(|i| (i * 7 + i / 255 + n) as u8).collect())
                .collect(),
            to_them: Vec::new(),
            to_us: Vec::new(),
        })
    }

    /// Sends four messages each way, one after the other each, and waits for all of them.
    fn run(mut self) -> Result<Total, String> {
        let mut sent = 0;
        for message in &self.messages {
            self.theirs.peer.send(0, message);
        }
        while self.to_them.len() < MESSAGES || self.to_us.len() < MESSAGES {
            if self.now - self.start > WITHIN {
                let (to_them, to_us) = (self.to_them.len(), self.to_us.len());
                return Err(format!(
                    "after {WITHIN:?} {to_them} messages reached the weak peer and {to_us} us"
                ));
            }
            if let Some(id) = self.connection {
                while sent < MESSAGES {
                    match self.ours.send(self.now, id, &self.messages[sent], 0) {
                        Ok(()) => sent += 1,
                        Err(SendError::QueueFull(_)) => break,
                        Err(error) => return Err(error.to_string()),
                    }
                }
            }
            self.step()?;
        }
        if self.to_them != self.messages || self.to_us != self.messages {
            return Err("messages arrived changed or out of order".into());
        }
        let mut lines = self.up.stats();
        lines += self.down.stats();
        let stats =
            self.connection.and_then(|id| self.ours.connection_stats(id)).ok_or("the connection is gone")?;
        Ok(Total { delivered: 2 * MESSAGES, slowest: self.now - self.start, lines, probes: stats.probes })
    }

    fn step(&mut self) -> Result<(), String> {
        let now = self.now;
        while let Some(arrived) = self.down.poll(now) {
            let meta = RecvMeta { socket: arrived.meta, remote: address(), local: None, ecn: None };
            self.ours.handle_datagram(now, &meta, BytesMut::from(&arrived.bytes[..]));
        }
        while let Some(arrived) = self.up.poll(now) {
            // It answers to where it was last spoken to from.
            self.newest_socket = arrived.meta;
            self.theirs.receive(&arrived.bytes, now);
        }
        self.ours.handle_timeout(now);
        while let Some(event) = self.ours.poll_event() {
            match event {
                Event::Connected { connection } => self.connection = Some(connection),
                Event::Message { data, channel: 0, .. } => self.to_us.push(data.to_vec()),
                other => return Err(format!("{other:?}")),
            }
        }
        while let Some(SocketRequest::Open { .. } | SocketRequest::Close { .. }) = self.ours.poll_socket() {}
        while let Some(transmit) = self.ours.poll_transmit(now, &mut self.buf) {
            for datagram in transmit.segments() {
                self.up.send(now, datagram, transmit.socket);
            }
        }
        for datagram in self.theirs.act(now) {
            self.down.send(now, &datagram, self.newest_socket);
        }
        self.to_them.extend(self.theirs.peer.take_delivered().into_iter().map(|(_, message)| message));
        if self.theirs.peer.is_dead() {
            return Err("the weak peer gave up".into());
        }
        if self.theirs.dismissed {
            return Err("we said goodbye".into());
        }
        let wakes = [self.ours.poll_timeout(), self.up.next_delivery(), self.down.next_delivery()];
        let next = wakes.into_iter().flatten().chain([self.theirs.next_act()]).min();
        self.now = next.unwrap_or(now).max(now + Duration::from_micros(1));
        Ok(())
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7777))
}

//! A server, honest clients and hostile peers in virtual time, with every byte counted that the server allocates.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::compress::{Algorithm, CompressionConfig};
use fastwire::proto::{Endpoint, TransmitBuf};
use fastwire::sim::Rng;
use fastwire::transport::{RecvMeta, SocketId};
use fastwire::{ConnectionId, Event, ServerConfig};
use fastwire_testkit::counting;

use super::{KIB, MIB, base, extended};
use crate::check::Profile;
use crate::scenario::{Core, configs, parts, percentile, server_address};
use crate::scripted::Scripted;

/// A step, and the time from one end to the other.
const STEP: Duration = Duration::from_millis(5);
/// Between two messages of an honest client.
const EVERY: Duration = Duration::from_millis(15);
const HONEST: usize = 20;
/// Steps in peace, and of the attack.
const PEACE: u32 = 300;
const ATTACK: u32 = 500;
/// Packets that a hostile peer sends in a step.
const PACKETS: u64 = 24;
/// What the server sends to who does not acknowledge. It shrinks to a few bytes, so that as many wait as may.
const LOAD: [u8; 1000] = [0x5a; 1000];
/// Bookkeeping of a message that waits, as `Limits::memory` counts it.
const QUEUED: i64 = 96;
const SMALL: usize = 1 << 20;

/// What a hostile peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Bombs,
    Gaps,
    OneOf255,
    Deaf,
    Empty,
    Credit,
}

impl Deed {
    pub(super) const ALL: [Self; 6] =
        [Self::Bombs, Self::Gaps, Self::OneOf255, Self::Deaf, Self::Empty, Self::Credit];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bombs => "decompression bombs",
            Self::Gaps => "gaps in the sequences",
            Self::OneOf255 => "one piece of 255",
            Self::Deaf => "nothing acknowledged",
            Self::Empty => "empty entries",
            Self::Credit => "credit ignored",
        }
    }

    /// The application takes nothing, so that whatever can be held is.
    fn is_unread(self) -> bool {
        matches!(self, Self::Gaps | Self::OneOf255 | Self::Credit)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Showing {
    /// The most that the server allocated for the hostile peers, and for everything.
    pub(super) taken: i64,
    pub(super) all: i64,
    /// Hostile packets, or messages they did not acknowledge.
    pub(super) attacks: u64,
    pub(super) shed: u64,
    /// Honest clients that lost their connection.
    pub(super) lost: usize,
    /// The honest ones' p99.
    pub(super) before: Duration,
    pub(super) beside: Duration,
}

fn config(profile: Profile, small: bool, memory: Option<usize>) -> ServerConfig {
    let (mut config, _) = configs(profile);
    config.compression = CompressionConfig::new(Algorithm::Lz4);
    config.send_batching = true;
    config.connection_timeout = Duration::from_secs(60);
    if small {
        config.limits.send_queue_bytes = SMALL;
        config.limits.receive_budget = SMALL;
        config.limits.extended_receive_budget = Some(SMALL);
        config.limits.max_message = SMALL / 4;
    }
    if let Some(memory) = memory {
        config.limits.memory = memory;
    }
    config
}

/// What a peer that does this may take, by the names of docs/operations.md.
pub(super) fn budget(profile: Profile, deed: Deed, small: bool) -> i64 {
    let limits = config(profile, small, None).limits;
    if deed == Deed::Deaf {
        return limits.send_queue_bytes as i64 + limits.send_queue_messages as i64 * QUEUED;
    }
    match profile {
        // One message being completed, and incomplete unreliable ones.
        Profile::Base | Profile::Either => limits.receive_budget as i64 + 640 * KIB + MIB,
        Profile::Extended => {
            // Two reliable channels, and the unreliable ones' share.
            let budget = limits.extended_receive_budget.unwrap_or(2 * (4 << 20)) as i64;
            budget + budget / 2
        }
    }
}

/// The server, and what it has allocated.
struct Metered {
    core: Core,
    held: i64,
}

impl Metered {
    /// Whatever is allocated in here and still there afterwards is the server's.
    fn with<R>(&mut self, work: impl FnOnce(&mut Core) -> R) -> R {
        let before = counting::live_bytes();
        let result = work(&mut self.core);
        self.held += counting::live_bytes() - before;
        result
    }
}

struct Honest {
    core: Core,
    id: ConnectionId,
    next: Instant,
    number: u64,
    waiting: VecDeque<Instant>,
}

enum Hostile {
    Base(base::Peer),
    Extended(Box<Scripted>),
}

impl Hostile {
    fn receive(&mut self, datagram: &[u8]) {
        match self {
            Self::Base(peer) => peer.receive(datagram),
            Self::Extended(peer) => {
                peer.receive(datagram);
                peer.plaintexts.clear();
            }
        }
    }

    fn outgoing(&mut self) -> Vec<Vec<u8>> {
        match self {
            Self::Base(peer) => std::mem::take(&mut peer.outgoing),
            Self::Extended(peer) => std::mem::take(&mut peer.outgoing),
        }
    }

    fn is_connected(&self) -> bool {
        match self {
            Self::Base(peer) => peer.is_connected(),
            Self::Extended(peer) => peer.is_connected(),
        }
    }

    /// Something that completes the handshake.
    fn confirm(&mut self) {
        match self {
            Self::Base(peer) => peer.confirm(),
            Self::Extended(peer) => peer.acknowledge(),
        }
    }

    /// Its `number`th packet.
    fn act(&mut self, deed: Deed, number: u64, credit: u64) {
        match self {
            Self::Base(peer) => peer.act(deed, number),
            Self::Extended(peer) => extended::act(peer, deed, number, credit),
        }
    }
}

fn p99(delays: &mut [Duration]) -> Duration {
    Duration::from_secs_f64(percentile(delays, 0.99) / 1e3)
}

fn address(number: usize) -> SocketAddr {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 50_000))
}

struct Arena {
    now: Instant,
    deed: Deed,
    server: Metered,
    honest: Vec<Honest>,
    hostile: Vec<Hostile>,
    /// Whose connection is whose, at the server: hostile ones.
    marked: HashSet<ConnectionId>,
    numbers: HashMap<SocketAddr, usize>,
    buf: TransmitBuf,
    delays: Vec<Duration>,
    lost: usize,
    load: u64,
}

/// So many peers do it to a server with these budgets.
pub(super) fn run(
    profile: Profile,
    deed: Deed,
    peers: usize,
    small: bool,
    memory: Option<usize>,
) -> Result<Showing, String> {
    let config = config(profile, small, memory);
    let budget = config.limits.extended_receive_budget.unwrap_or(2 * (4 << 20)) as u64;
    let mut arena = Arena::new(profile, deed, &config)?;
    for _ in 0..PEACE {
        arena.step();
    }
    let before = p99(&mut arena.delays);
    arena.delays.clear();
    let empty = arena.server.held;
    let mut rng = Rng::new(44);
    for _ in 0..peers {
        arena.enter(match profile {
            Profile::Extended => Hostile::Extended(Box::new(Scripted::client_with_compression(&mut rng, 1))),
            _ => Hostile::Base(base::Peer::new(&mut rng)),
        });
    }
    for step in 0..60 {
        arena.step();
        if step == 30 {
            arena.hostile.iter_mut().for_each(Hostile::confirm);
        }
    }
    let connected = arena.hostile.iter().filter(|peer| peer.is_connected()).count();
    if connected < peers || arena.server.core.connection_count() < HONEST + peers {
        return Err(format!("{}: only {connected} of {peers} hostile peers connected", deed.name()));
    }
    arena.begin();
    let mut showing = Showing { before, ..Showing::default() };
    for step in 0..u64::from(ATTACK) {
        if deed != Deed::Deaf {
            for peer in &mut arena.hostile {
                for packet in 0..PACKETS {
                    peer.act(deed, step * PACKETS + packet, budget / 2);
                    showing.attacks += 1;
                }
            }
        }
        arena.step();
        showing.taken = showing.taken.max(arena.server.held - empty);
        showing.all = showing.all.max(arena.server.held);
    }
    showing.attacks += arena.load;
    showing.beside = p99(&mut arena.delays);
    showing.lost = arena.lost;
    showing.shed = arena.server.core.health().map_or(0, |health| health.memory_shed);
    Ok(showing)
}

impl Arena {
    fn new(profile: Profile, deed: Deed, config: &ServerConfig) -> Result<Self, String> {
        let told = |error: fastwire::ConfigError| error.to_string();
        let now = Instant::now();
        let before = counting::live_bytes();
        let core = Endpoint::server(config, parts()?, [1; 32], now).map_err(told)?;
        let held = counting::live_bytes() - before;
        let mut arena = Self {
            now,
            deed,
            server: Metered { core, held },
            honest: Vec::new(),
            hostile: Vec::new(),
            marked: HashSet::new(),
            numbers: HashMap::new(),
            buf: TransmitBuf::new(16),
            delays: Vec::new(),
            lost: 0,
            load: 0,
        };
        let (_, asked) = configs(profile);
        for number in 0..HONEST {
            let mut core: Core =
                Endpoint::client(&asked, parts()?, [3 + number as u8; 32], now).map_err(told)?;
            let id = core.connect(now, &[server_address()]).map_err(|error| error.to_string())?;
            let next = now + Duration::from_millis(500) + EVERY * number as u32 / HONEST as u32;
            arena.numbers.insert(address(number), number);
            arena.honest.push(Honest { core, id, next, number: 0, waiting: VecDeque::new() });
        }
        Ok(arena)
    }

    fn enter(&mut self, peer: Hostile) {
        let number = HONEST + self.hostile.len();
        self.numbers.insert(address(number), number);
        self.hostile.push(peer);
    }

    /// From here on the hostile ones' messages stay where they are.
    fn begin(&mut self) {
        let ids: Vec<_> = self.server.core.connections().collect();
        for id in ids {
            let number = self.server.core.remote_addr(id).and_then(|at| self.numbers.get(&at).copied());
            if number.is_some_and(|number| number >= HONEST) {
                self.marked.insert(id);
                if self.deed.is_unread() {
                    self.server.with(|core| core.pause(id, true));
                }
            }
        }
    }

    fn step(&mut self) {
        let now = self.now;
        let mut up = Vec::new();
        for (number, peer) in self.honest.iter_mut().enumerate() {
            peer.turn(now, &mut self.delays, &mut self.lost);
            while let Some(transmit) = peer.core.poll_transmit(now, &mut self.buf) {
                up.extend(transmit.segments().map(|bytes| (number, bytes.to_vec())));
            }
        }
        for (number, peer) in self.hostile.iter_mut().enumerate() {
            up.extend(peer.outgoing().into_iter().map(|bytes| (HONEST + number, bytes)));
        }
        self.now += STEP;
        let now = self.now;
        for (number, bytes) in &up {
            let meta =
                RecvMeta { socket: SocketId::PRIMARY, remote: address(*number), local: None, ecn: None };
            self.server.with(|core| core.handle_datagram(now, &meta, BytesMut::from(&bytes[..])));
        }
        let (marked, deed, mut load) = (&self.marked, self.deed, 0);
        self.server.with(|core| {
            core.handle_timeout(now);
            while let Some(event) = core.poll_event() {
                if let Event::Message { connection, channel, data } = event
                    && !marked.contains(&connection)
                {
                    // Honest ones have room.
                    let _ = core.send(now, connection, data, channel);
                }
            }
            if deed == Deed::Deaf {
                for id in marked {
                    while core.send(now, *id, &LOAD[..], 0).is_ok() {
                        load += 1;
                    }
                }
            }
        });
        self.load += load;
        let mut down = Vec::new();
        loop {
            let buf = &mut self.buf;
            let Some(transmit) = self.server.with(|core| core.poll_transmit(now, buf)) else { break };
            let Some(number) = self.numbers.get(&transmit.destination).copied() else { continue };
            down.extend(transmit.segments().map(|bytes| (number, bytes.to_vec())));
        }
        self.now += STEP;
        for (number, bytes) in down {
            match self.honest.get_mut(number) {
                Some(peer) => {
                    let meta = RecvMeta {
                        socket: SocketId::PRIMARY,
                        remote: server_address(),
                        local: None,
                        ecn: None,
                    };
                    peer.core.handle_datagram(self.now, &meta, BytesMut::from(&bytes[..]));
                }
                None => self.hostile[number - HONEST].receive(&bytes),
            }
        }
    }
}

impl Honest {
    /// Takes what came back and says the next thing.
    fn turn(&mut self, now: Instant, delays: &mut Vec<Duration>, lost: &mut usize) {
        self.core.handle_timeout(now);
        while self.core.poll_socket().is_some() {}
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Message { .. } => {
                    if let Some(left) = self.waiting.pop_front() {
                        delays.push(now - left);
                    }
                }
                Event::Disconnected { .. } | Event::ConnectFailed { .. } => *lost += 1,
                _ => {}
            }
        }
        while now >= self.next {
            self.next += EVERY;
            self.number += 1;
            if self.core.send(now, self.id, self.number.to_le_bytes(), 0).is_ok() {
                self.waiting.push_back(now);
            }
        }
    }
}

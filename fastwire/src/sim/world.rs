//! Endpoints on a simulated network, in virtual time, from one seed.
//!
//! Meters run along in every world: no (key, nonce) pair twice, no datagram above the MTU, no stranger
//! answered with more than he sent, nothing beyond the congestion window, nobody who holds more than his limits allow.
//! [`World::report`] shows them.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastwire_compress::BuiltinCompressor;
use fastwire_congestion::{BuiltinControllers, CongestionMode};
use fastwire_reliability::extended::Undelivered;

use super::meters::{
    Allowed, AmplificationMeter, MemoryMeter, MeterReport, MeteredAead, NonceMeter, Sealing,
};
use super::quota::{MeteredController, QuotaMeter};
use super::trace::{Sighting, Trace};
use super::{LinkConfig, LinkConfigError, Network, Rng};
use crate::proto::{Endpoint, MessageTime, Parts, SocketRequest, TransmitBuf};
use crate::transport::{RecvMeta, SocketId};
use crate::{
    ClientConfig, ConfigError, ConnectError, ConnectionId, Event, Payload, Profile, ReceiptId, SendError,
    SendOptions, ServerConfig,
};

/// A simulated endpoint.
pub type SimEndpoint = Endpoint<MeteredAead, BuiltinCompressor, MeteredController>;

/// Bytes that are received together at most.
const MAX_TRAIN: usize = 65_535;

/// What Unix time it is when a world begins.
const UNIX_START: u64 = 1_800_000_000;

/// Names a node of a [`World`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

/// When a node does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// As soon as a datagram arrives or a timer is due.
    Events,
    /// In a tick at this interval, like a game loop.
    Ticks(Duration),
}

#[derive(Debug, Clone)]
enum Config {
    Server(Box<ServerConfig>),
    Client(Box<ClientConfig>),
}

struct Node {
    /// `None` while it is switched off.
    endpoint: Option<SimEndpoint>,
    config: Config,
    drive: Drive,
    next_tick: Instant,
    /// Sockets and their addresses; the primary one first.
    sockets: Vec<(SocketId, SocketAddr)>,
    /// Datagrams that wait for the next tick.
    inbox: VecDeque<(RecvMeta, bytes::BytesMut)>,
    next_port: u16,
    line: Option<LinkConfig>,
    buf: TransmitBuf,
    mtu: usize,
    strangers: AmplificationMeter,
    allowed: Allowed,
    memory: MemoryMeter,
    /// What the connection that ended last had not delivered.
    undelivered: Vec<Undelivered>,
}

/// Servers and clients joined by a [`Network`], driven in virtual time.
pub struct World {
    start: Instant,
    now: Instant,
    rng: Rng,
    network: Network,
    nodes: Vec<Node>,
    events: VecDeque<(NodeId, Event, Option<MessageTime>)>,
    /// When the message was sent that was told of last.
    message_time: Option<MessageTime>,
    nonces: NonceMeter,
    oversized: u64,
    /// Packets that left beyond a congestion window.
    beyond_quota: Arc<AtomicU64>,
    trace: Trace,
}

impl World {
    /// A world without nodes. The seed decides everything that will happen in it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // The instant is only a zero point: nothing depends on which one it is.
        let start = Instant::now();
        let mut rng = Rng::new(seed);
        let network = Network::new(rng.next_u64());
        Self {
            start,
            now: start,
            rng,
            network,
            nodes: Vec::new(),
            events: VecDeque::new(),
            message_time: None,
            nonces: NonceMeter::default(),
            oversized: 0,
            beyond_quota: Arc::default(),
            trace: Trace::default(),
        }
    }

    /// Adds a server.
    ///
    /// # Errors
    /// What is wrong with its configuration.
    pub fn server(&mut self, config: ServerConfig) -> Result<NodeId, ConfigError> {
        self.add(Config::Server(Box::new(config)))
    }

    /// Adds a client.
    ///
    /// # Errors
    /// What is wrong with its configuration.
    pub fn client(&mut self, config: ClientConfig) -> Result<NodeId, ConfigError> {
        self.add(Config::Client(Box::new(config)))
    }

    fn add(&mut self, config: Config) -> Result<NodeId, ConfigError> {
        let id = NodeId(self.nodes.len());
        let host = Ipv4Addr::from(0x0a00_0001 + self.nodes.len() as u32);
        let address = SocketAddr::from((host, 7777));
        self.network.add(address);
        let (mtu, limits, layout) = match &config {
            Config::Server(config) => (config.mtu, &config.limits, &config.channel_layout),
            Config::Client(config) => (config.mtu, &config.limits, &config.channel_layout),
        };
        let allowed = Allowed::by(limits, layout);
        self.nodes.push(Node {
            endpoint: None,
            config,
            drive: Drive::Events,
            next_tick: self.now,
            sockets: vec![(SocketId::PRIMARY, address)],
            inbox: VecDeque::new(),
            next_port: 7778,
            line: None,
            buf: TransmitBuf::new(8),
            mtu,
            strangers: AmplificationMeter::default(),
            allowed,
            memory: MemoryMeter::default(),
            undelivered: Vec::new(),
        });
        self.switch_on(id)?;
        Ok(id)
    }

    /// Starts a node's endpoint afresh, with new entropy, on its old address: a process that was restarted.
    ///
    /// # Errors
    /// What is wrong with its configuration.
    pub fn switch_on(&mut self, node: NodeId) -> Result<(), ConfigError> {
        let mut seed = [0; 32];
        for word in seed.chunks_exact_mut(8) {
            word.copy_from_slice(&self.rng.next_u64().to_le_bytes());
        }
        let (compression, congestion, cwnd) = match &self.nodes[node.0].config {
            Config::Server(c) => (&c.compression, c.congestion, c.initial_cwnd),
            Config::Client(c) => (&c.compression, c.congestion, c.initial_cwnd),
        };
        let compressor = BuiltinCompressor::new(compression)
            .map_err(|error| ConfigError::Compression(error.to_string()))?;
        let parts = Parts {
            suites: Arc::new(self.nonces.of(node)),
            compressor,
            controllers: Box::new(QuotaMeter::new(
                controllers(congestion, cwnd),
                Arc::clone(&self.beyond_quota),
            )),
        };
        let mut endpoint = match &self.nodes[node.0].config {
            Config::Server(config) => Endpoint::server(config, parts, seed, self.now)?,
            Config::Client(config) => Endpoint::client(config, parts, seed, self.now)?,
        };
        endpoint.set_unix_time(self.now, UNIX_START + self.elapsed().as_secs());
        self.nodes[node.0].endpoint = Some(endpoint);
        Ok(())
    }

    /// Switches a node off, as a crash does: nobody is told.
    pub fn switch_off(&mut self, node: NodeId) {
        let node = &mut self.nodes[node.0];
        node.endpoint = None;
        node.inbox.clear();
        node.sockets.truncate(1);
    }

    /// Nothing drives a node for `time` while the rest of the world goes on, and nothing that arrives meanwhile is kept: a
    /// machine that sleeps. Events of other nodes wait for [`next_event`](Self::next_event).
    pub fn freeze(&mut self, node: NodeId, time: Duration) {
        let endpoint = self.nodes[node.0].endpoint.take();
        let deadline = self.now + time;
        let mut others = VecDeque::new();
        while let Some((other, event)) = self.next_event(deadline) {
            others.push_back((other, event, self.message_time));
        }
        self.events = others;
        self.nodes[node.0].endpoint = endpoint;
        self.nodes[node.0].next_tick = self.now;
    }

    /// How a node is driven; by events unless said otherwise.
    pub fn drive(&mut self, node: NodeId, drive: Drive) {
        self.nodes[node.0].drive = drive;
        self.nodes[node.0].next_tick = self.now;
    }

    /// What the line between a client and everybody else is like, in both directions, for all sockets it opens.
    ///
    /// # Errors
    /// The first parameter of `config` out of its range.
    pub fn line(
        &mut self,
        client: NodeId,
        server: NodeId,
        config: LinkConfig,
    ) -> Result<(), LinkConfigError> {
        let to = self.address(server);
        for (_, from) in self.nodes[client.0].sockets.clone() {
            self.network.set_line(from, to, config.clone())?;
        }
        self.nodes[client.0].line = Some(config);
        Ok(())
    }

    /// A node's own address, of its primary socket.
    #[must_use]
    pub fn address(&self, node: NodeId) -> SocketAddr {
        self.nodes[node.0].sockets[0].1
    }

    /// The address a node's newest socket believes to have.
    #[must_use]
    pub fn newest_address(&self, node: NodeId) -> SocketAddr {
        self.nodes[node.0].sockets[self.nodes[node.0].sockets.len() - 1].1
    }

    /// The network, to change it while it runs.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Random numbers for the scenario, from the same seed.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// A node's endpoint, to ask or command it; call [`poke`](Self::poke) after commands. `None` while it is off.
    pub fn endpoint(&mut self, node: NodeId) -> Option<&mut SimEndpoint> {
        self.nodes[node.0].endpoint.as_mut()
    }

    /// Starts to connect a client to a server.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    pub fn connect(&mut self, client: NodeId, server: NodeId) -> Result<ConnectionId, ConnectError> {
        let (now, to) = (self.now, self.address(server));
        let endpoint = self.nodes[client.0].endpoint.as_mut().ok_or(ConnectError::NotAClient)?;
        let id = endpoint.connect(now, &[to])?;
        self.poke(client);
        Ok(id)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// As [`Endpoint::send`].
    pub fn send(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        data: impl Payload,
        channel: u8,
    ) -> Result<(), SendError> {
        let now = self.now;
        let endpoint = self.nodes[node.0].endpoint.as_mut().ok_or(SendError::ConnectionClosed)?;
        endpoint.send(now, connection, data, channel)
    }

    /// Queues a message for which something is asked.
    ///
    /// # Errors
    /// As [`Endpoint::send_with`].
    pub fn send_with(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        data: impl Payload,
        channel: u8,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        let now = self.now;
        let endpoint = self.nodes[node.0].endpoint.as_mut().ok_or(SendError::ConnectionClosed)?;
        endpoint.send_with(now, connection, data, channel, options)
    }

    /// Lets a node that is driven by events act at once. Call after commands.
    pub fn poke(&mut self, node: NodeId) {
        if self.nodes[node.0].drive == Drive::Events {
            self.work(node);
        }
    }

    /// The next event anywhere, at `deadline` at the latest. `None`: the deadline came first.
    pub fn next_event(&mut self, deadline: Instant) -> Option<(NodeId, Event)> {
        loop {
            if let Some((node, event, time)) = self.events.pop_front() {
                self.message_time = time;
                return Some((node, event));
            }
            if !self.step(deadline) {
                return None;
            }
        }
    }

    /// As [`Endpoint::message_time`], of the message that [`next_event`](Self::next_event) gave last.
    pub fn message_time(&self) -> Option<MessageTime> {
        self.message_time
    }

    /// Runs until `deadline`, or until `stop` says so after an event. Gives whether it did.
    pub fn run_until(
        &mut self,
        deadline: Instant,
        mut stop: impl FnMut(&mut Self, NodeId, Event) -> bool,
    ) -> bool {
        while let Some((node, event)) = self.next_event(deadline) {
            if stop(self, node, event) {
                return true;
            }
        }
        false
    }

    /// Goes on to the next thing that happens, or to `deadline` if that comes first (then `false`).
    fn step(&mut self, deadline: Instant) -> bool {
        let wakes = (0..self.nodes.len()).filter_map(|index| self.next_wake(index));
        let next = wakes.chain(self.network.next_event_time()).min();
        let Some(next) = next.filter(|next| *next < deadline) else {
            self.now = self.now.max(deadline);
            return false;
        };
        self.now = self.now.max(next);
        let mut touched = Vec::new();
        while let Some(arrived) = self.network.poll(self.now) {
            let found = self.nodes.iter().position(|node| node.sockets.iter().any(|(_, a)| *a == arrived.to));
            let Some(index) = found else { continue };
            let node = &mut self.nodes[index];
            let socket =
                node.sockets.iter().find(|(_, a)| *a == arrived.to).map_or(SocketId::PRIMARY, |(s, _)| *s);
            if node.endpoint.is_none() {
                continue;
            }
            self.trace.see(&Sighting {
                at: self.now - self.start,
                arrived: true,
                from: arrived.from,
                to: arrived.to,
                bytes: &arrived.bytes,
            });
            node.strangers.on_received(arrived.from, arrived.bytes.len());
            let meta = RecvMeta { socket, remote: arrived.from, local: None, ecn: arrived.ecn };
            node.inbox.push_back((meta, arrived.bytes));
            if node.drive == Drive::Events && !touched.contains(&index) {
                touched.push(index);
            }
        }
        for index in 0..self.nodes.len() {
            let due = self.next_wake(index).is_some_and(|at| at <= self.now);
            if due || touched.contains(&index) {
                self.work(NodeId(index));
            }
        }
        true
    }

    fn next_wake(&self, index: usize) -> Option<Instant> {
        let node = &self.nodes[index];
        let endpoint = node.endpoint.as_ref()?;
        match node.drive {
            Drive::Events => endpoint.poll_timeout(),
            Drive::Ticks(_) => Some(node.next_tick),
        }
    }

    /// One wake of a node: receive, time, events, transmit.
    fn work(&mut self, id: NodeId) {
        let (now, network) = (self.now, &mut self.network);
        self.nonces.set_time(now - self.start);
        let node = &mut self.nodes[id.0];
        if let Drive::Ticks(interval) = node.drive {
            if now < node.next_tick {
                return;
            }
            node.next_tick = now + interval;
        }
        let Some(endpoint) = &mut node.endpoint else { return };
        while let Some((meta, mut train)) = node.inbox.pop_front() {
            // what arrived together is joined, as systems do
            let size = train.len();
            while let Some((other, next)) = node.inbox.front() {
                let fits = (1..=size).contains(&next.len()) && train.len() + next.len() <= MAX_TRAIN;
                if *other != meta || !fits || !train.len().is_multiple_of(size) {
                    break;
                }
                train.extend_from_slice(next);
                node.inbox.pop_front();
            }
            endpoint.handle_train(now, &meta, &mut train, size);
        }
        endpoint.handle_timeout(now);
        while let Some(event) = endpoint.poll_event() {
            if let Event::Disconnected { connection, .. } = event {
                node.undelivered = endpoint.undelivered(connection).to_vec();
            }
            self.events.push_back((id, event, endpoint.message_time()));
        }
        while let Some(request) = endpoint.poll_socket() {
            match request {
                SocketRequest::Open { socket, remote } => {
                    let address = SocketAddr::new(node.sockets[0].1.ip(), node.next_port);
                    node.next_port += 1;
                    network.add(address);
                    if let Some(line) = &node.line {
                        // The line's parameters were checked when it was set.
                        let _ = network.set_line(address, remote, line.clone());
                    }
                    node.sockets.push((socket, address));
                }
                SocketRequest::Close { socket } => {
                    if node.sockets.len() > 1 {
                        node.sockets.retain(|(open, _)| *open != socket);
                    }
                }
            }
        }
        let is_server = matches!(node.config, Config::Server(_));
        while let Some(transmit) = endpoint.poll_transmit(now, &mut node.buf) {
            let Some((_, from)) = node.sockets.iter().find(|(socket, _)| *socket == transmit.socket) else {
                continue;
            };
            for datagram in transmit.segments() {
                if datagram.len() > node.mtu {
                    self.oversized += 1;
                }
                if is_server {
                    let known = endpoint.has_connection_at(transmit.destination);
                    node.strangers.on_sent(transmit.destination, datagram, known);
                }
                let (from, to) = (*from, transmit.destination);
                self.trace.see(&Sighting { at: now - self.start, arrived: false, from, to, bytes: datagram });
                network.send(now, from, to, transmit.ecn, datagram);
            }
        }
        for id in endpoint.connections() {
            let Some(stats) = endpoint.connection_stats(id) else { continue };
            let arrived = match endpoint.profile(id) {
                Some(Profile::Extended) => node.allowed.extended,
                _ => node.allowed.base,
            };
            node.memory.look(stats.memory_held, arrived);
            node.memory.look(stats.send_queue_bytes, node.allowed.queue);
        }
        if let Some(health) = endpoint.health() {
            node.memory.look(health.memory_held, health.memory_limit);
        }
    }

    /// The reliable messages that the connection of a node that ended last had not delivered
    /// ([`Endpoint::undelivered`]).
    #[must_use]
    pub fn undelivered(&self, node: NodeId) -> &[Undelivered] {
        &self.nodes[node.0].undelivered
    }

    /// Shows every datagram to `watcher`, when it is sent and when it arrives at a node that is on.
    pub fn watch(&mut self, watcher: impl FnMut(&Sighting<'_>) + Send + 'static) {
        self.trace.watch(Box::new(watcher));
    }

    /// Shows every plaintext to `watcher` when it is sealed.
    pub fn watch_plaintexts(&mut self, watcher: impl FnMut(&Sealing<'_>) + Send + 'static) {
        self.nonces.watch(Box::new(watcher));
    }

    /// A digest of all datagrams so far: when each was sent and arrived, its ports and bytes. Two runs of one seed
    /// have the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.trace.digest()
    }

    /// What the meters show.
    #[must_use]
    pub fn report(&self) -> MeterReport {
        MeterReport {
            nonces_reused: self.nonces.reused(),
            oversized: self.oversized,
            beyond_quota: self.beyond_quota.load(Ordering::Relaxed),
            over_memory: self.nodes.iter().map(|node| node.memory.over()).sum(),
            memory: self.nodes.iter().map(|node| node.memory.most()).fold(0.0, f64::max),
            amplification: self.nodes.iter().map(|node| node.strangers.worst()).fold(0.0, f64::max),
            on_unproved_paths: self.nodes.iter().map(|node| node.strangers.worst_path()).fold(0.0, f64::max),
        }
    }
}

fn controllers(mode: CongestionMode, initial_cwnd: u32) -> BuiltinControllers {
    BuiltinControllers { initial_window: initial_cwnd, ..BuiltinControllers::new(mode) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server and a client that talk for a second, after `bend` has changed what the meters go by.
    fn talk(bend: impl Fn(&mut Node)) -> MeterReport {
        let mut world = World::new(3);
        let server = world.server(ServerConfig::default()).expect("server");
        let client = world.client(ClientConfig::default()).expect("client");
        world.line(client, server, LinkConfig::new().latency(Duration::from_millis(10))).expect("line");
        world.nodes.iter_mut().for_each(bend);
        let id = world.connect(client, server).expect("connects");
        for _ in 0..100 {
            world.send(client, id, vec![7; 5000], 0).expect("queued");
        }
        world.poke(client);
        let deadline = world.now() + Duration::from_secs(1);
        world.run_until(deadline, |_, _, _| false);
        world.report()
    }

    #[test]
    fn nothing_is_seen_in_a_sound_world() {
        let report = talk(|_| ());
        assert_eq!((report.oversized, report.over_memory), (0, 0), "{report:?}");
        assert!(report.memory > 0.0 && report.memory < 1.0, "{report:?}");
    }

    #[test]
    fn a_datagram_above_the_mtu_and_memory_above_the_limits_are_seen() {
        assert!(talk(|node| node.mtu = 100).oversized > 10);
        let tight = Allowed { base: 1 << 20, extended: 1 << 20, queue: 1000 };
        assert!(talk(|node| node.allowed = tight).over_memory > 0);
    }
}

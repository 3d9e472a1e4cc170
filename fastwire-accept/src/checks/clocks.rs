//! R6: clocks that jump, and programs that do not call for a while, on the core with hand-made time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::proto::{Endpoint, TransmitBuf};
use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, Rng};
use fastwire::transport::{RecvMeta, SocketId};
use fastwire::{ClientConfig, ConnectionId, DisconnectReason, Event, ServerConfig};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Core, client_address, configs, parts, run_seeds, server_address, socket_at};

const SEEDS: u64 = 20;
const QUICK_SEEDS: u64 = 2;
const JUMPS: usize = 1000;
const HOUR: Duration = Duration::from_secs(3600);
/// A level is loaded for so long.
const LOADING: Duration = Duration::from_secs(5);
/// Shorter than the loading screen, longer than the second it may count as.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);
/// What the sockets of a sleeping program hold.
const SOCKET_BUFFER: usize = 150;
/// How long a datagram takes, and how often both sides are called.
const STEP: Duration = Duration::from_millis(5);

/// R6.
pub(super) struct Clocks;

impl Check for Clocks {
    fn id(&self) -> &'static str {
        "R6"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let seeds = run_seeds(run, 1..=if run.quick { QUICK_SEEDS } else { SEEDS }, |seed, verbose| {
            let mut total = jumps(run.profile, seed)?;
            for sleeper in [0, 1] {
                total += loading_screen(run.profile, seed, sleeper)
                    .map_err(|reason| format!("side {sleeper} asleep: {reason}"))?;
            }
            total += silence(run.profile, seed)?;
            if verbose {
                println!("    {total:?}");
            }
            Ok(total)
        });
        let figure = format!(
            "{}, each with {JUMPS} random jumps and 2 loading screens; {} messages delivered as promised",
            seeds.figure(),
            seeds.total.delivered
        );
        let outcome = Outcome::new(seeds.failures.is_empty(), figure)
            .fault("jumps of up to an hour forward", seeds.total.forward)
            .fault("jumps of up to an hour backward", seeds.total.backward)
            .fault("loading screens of 5 s", seeds.total.pauses)
            .fault("datagrams lost in full socket buffers", seeds.total.overflowed)
            .fault("peers that fell silent between jumps", seeds.total.silences)
            .note("the core takes Unix time for connect tokens alone, and none was in use");
        seeds.explain(self.id(), outcome)
    }
}

#[derive(Debug, Default)]
struct Total {
    forward: u64,
    backward: u64,
    pauses: u64,
    overflowed: u64,
    silences: u64,
    delivered: u64,
}

impl std::ops::AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.forward += other.forward;
        self.backward += other.backward;
        self.pauses += other.pauses;
        self.overflowed += other.overflowed;
        self.silences += other.silences;
        self.delivered += other.delivered;
    }
}

/// A thousand jumps of the two sides' clocks, each for itself, under traffic on all modes.
fn jumps(profile: Profile, seed: u64) -> Result<Total, String> {
    let mut rng = Rng::new(seed);
    let (server, client) = configs(profile);
    let mut pair = Pair::connected(seed, server, client)?;
    let mut total = Total::default();
    for jump in 0..JUMPS {
        let side = rng.below(2) as usize;
        // The first ones as far as can be, then of every size.
        let reach = HOUR.mul_f64(if jump < 4 { 1.0 } else { rng.unit() * rng.unit() });
        let forward = if jump < 4 { jump % 2 == 0 } else { rng.chance(0.5) };
        if forward {
            pair.sides[side].clock += reach;
            total.forward += 1;
        } else if let Some(earlier) = pair.sides[side].clock.checked_sub(reach) {
            pair.sides[side].clock = earlier;
            total.backward += 1;
        }
        for _ in 0..1 + rng.below(8) {
            pair.talk()?;
            pair.step(STEP)?;
        }
    }
    pair.finish()?;
    total.delivered = pair.delivered();
    Ok(total)
}

/// One side is not called for five seconds, and has little patience itself; what arrives meanwhile waits in its socket
/// as far as there is room.
fn loading_screen(profile: Profile, seed: u64, sleeper: usize) -> Result<Total, String> {
    let (mut server, mut client) = configs(profile);
    // In the extended profile the shorter of both counts on both sides, and the other one would rightly give up.
    match (profile, sleeper) {
        (Profile::Extended, _) => {}
        (_, 0) => server.connection_timeout = SHORT_TIMEOUT,
        _ => client.connection_timeout = SHORT_TIMEOUT,
    }
    let mut pair = Pair::connected(seed, server, client)?;
    let mut total = Total::default();
    for _ in 0..100 {
        pair.talk()?;
        pair.step(STEP)?;
    }
    pair.asleep = Some(sleeper);
    for _ in 0..LOADING.as_millis() / STEP.as_millis() {
        pair.talk()?;
        pair.step(STEP)?;
    }
    pair.asleep = None;
    total.pauses += 1;
    for _ in 0..1000 {
        pair.talk()?;
        pair.step(STEP)?;
    }
    pair.finish()?;
    total.overflowed = pair.overflowed;
    total.delivered = pair.delivered();
    Ok(total)
}

/// A peer that is gone: jumps backward bring its end no nearer, jumps forward by a second each, and it comes.
fn silence(profile: Profile, seed: u64) -> Result<Total, String> {
    let (server, mut config) = configs(profile);
    config.connection_timeout = SHORT_TIMEOUT;
    config.reconnect = false;
    let mut pair = Pair::connected(seed, server, config)?;
    let mut total = Total { silences: 1, ..Total::default() };
    for jump in 1..=20 {
        let client = &mut pair.sides[1];
        // Forward and back again: of both only the first counts, and for one second.
        for clock in [client.clock + HOUR, client.clock] {
            client.endpoint.handle_timeout(clock);
            while client.endpoint.poll_transmit(clock, &mut pair.buf).is_some() {}
        }
        total.forward += 1;
        total.backward += 1;
        if let Some(event) = client.endpoint.poll_event() {
            return match event {
                Event::Disconnected { reason: DisconnectReason::Timeout, .. } if (3..=4).contains(&jump) => {
                    Ok(total)
                }
                other => {
                    Err(format!("{other:?} after {jump} jumps forward with a timeout of {SHORT_TIMEOUT:?}"))
                }
            };
        }
    }
    Err("a silent peer was never given up".into())
}

/// Two endpoints, each with a clock of its own, and datagrams that take a step to arrive.
struct Pair {
    /// Server, then client.
    sides: [Side; 2],
    /// This one is not called.
    asleep: Option<usize>,
    overflowed: u64,
    buf: TransmitBuf,
}

struct Side {
    endpoint: Core,
    connection: Option<ConnectionId>,
    clock: Instant,
    /// On which of the client's sockets each travels.
    inbox: VecDeque<(SocketId, Vec<u8>)>,
    /// What this side sends on each channel.
    ledgers: Vec<Ledger>,
    frame: usize,
}

impl Pair {
    fn connected(seed: u64, server: ServerConfig, client: ClientConfig) -> Result<Self, String> {
        // Far from the beginning of time, so that it can be set back.
        let start = Instant::now() + HOUR * 10_000;
        let mut rng = Rng::new(!seed);
        let mut seed = || std::array::from_fn(|_| rng.next_u64() as u8);
        let server = Endpoint::server(&server, parts()?, seed(), start).map_err(|error| error.to_string())?;
        let mut client =
            Endpoint::client(&client, parts()?, seed(), start).map_err(|error| error.to_string())?;
        client.connect(start, &[server_address()]).map_err(|error| error.to_string())?;
        let sides = [(server, 0), (client, 1)].map(|(endpoint, salt)| Side {
            endpoint,
            connection: None,
            clock: start,
            inbox: VecDeque::new(),
            ledgers: DeliveryMode::ALL.iter().map(|mode| Ledger::new(*mode, salt)).collect(),
            frame: 0,
        });
        let mut pair = Self { sides, asleep: None, overflowed: 0, buf: TransmitBuf::new(8) };
        for _ in 0..100 {
            pair.step(STEP)?;
        }
        if pair.sides.iter().any(|side| side.connection.is_none()) {
            return Err("not connected".into());
        }
        Ok(pair)
    }

    /// Both sides that are awake send a little on every channel, now and then.
    fn talk(&mut self) -> Result<(), String> {
        for (index, side) in self.sides.iter_mut().enumerate() {
            let Some(id) = side.connection else { continue };
            side.frame += 1;
            if self.asleep == Some(index) || !side.frame.is_multiple_of(4) {
                continue;
            }
            for (channel, ledger) in (0u8..).zip(&mut side.ledgers) {
                let len = side.frame * 7 % 2000;
                side.endpoint
                    .send(side.clock, id, ledger.message(len), channel)
                    .map_err(|error| format!("side {index}, frame {}: {error}", side.frame))?;
                ledger.on_sent(len);
            }
        }
        Ok(())
    }

    /// Time passes, and whoever is awake is called.
    fn step(&mut self, time: Duration) -> Result<(), String> {
        let mut sent: [Vec<(SocketId, Vec<u8>)>; 2] = Default::default();
        for index in [0, 1] {
            self.sides[index].clock += time;
            if self.asleep == Some(index) {
                continue;
            }
            let side = &mut self.sides[index];
            while let Some((socket, datagram)) = side.inbox.pop_front() {
                let (here, remote) = match index {
                    0 => (SocketId::PRIMARY, client_address(socket)),
                    _ => (socket, server_address()),
                };
                let meta = RecvMeta { socket: here, remote, local: None, ecn: None };
                side.endpoint.handle_datagram(side.clock, &meta, BytesMut::from(&datagram[..]));
            }
            side.endpoint.handle_timeout(side.clock);
            while let Some(event) = self.sides[index].endpoint.poll_event() {
                match event {
                    Event::Connected { connection } if self.sides[index].connection.is_none() => {
                        self.sides[index].connection = Some(connection);
                    }
                    Event::Message { channel, data, .. } => {
                        let ledger = &mut self.sides[1 - index].ledgers[usize::from(channel)];
                        ledger.on_delivered(&data).map_err(|law| format!("side {index}: {law}"))?;
                    }
                    other => return Err(format!("side {index}: {other:?}")),
                }
            }
            let side = &mut self.sides[index];
            while side.endpoint.poll_socket().is_some() {}
            while let Some(transmit) = side.endpoint.poll_transmit(side.clock, &mut self.buf) {
                // Every socket the client asks for is open at once and stays open.
                let socket = match index {
                    0 => socket_at(transmit.destination),
                    _ => Some(transmit.socket),
                };
                if let Some(socket) = socket {
                    sent[1 - index].extend(transmit.segments().map(|datagram| (socket, datagram.to_vec())));
                }
            }
        }
        for (side, sent) in self.sides.iter_mut().zip(sent) {
            for datagram in sent {
                if side.inbox.len() < SOCKET_BUFFER {
                    side.inbox.push_back(datagram)
                } else {
                    self.overflowed += 1
                }
            }
        }
        Ok(())
    }

    /// Everything that was promised arrives, and nobody is lost meanwhile.
    fn finish(&mut self) -> Result<(), String> {
        for _ in 0..Duration::from_secs(60).as_millis() / STEP.as_millis() {
            if self.sides.iter().flat_map(|side| &side.ledgers).all(Ledger::is_complete) {
                return Ok(());
            }
            self.step(STEP)?;
        }
        Err("a reliable message is missing a minute after the end".into())
    }

    fn delivered(&self) -> u64 {
        self.sides.iter().flat_map(|side| &side.ledgers).map(|ledger| ledger.delivered() as u64).sum()
    }
}

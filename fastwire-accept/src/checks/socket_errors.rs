//! R5: sockets that refuse, on real UDP and in threads of their own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastwire::transport::{Faults, FaultyTransport, SocketError, Transport, UdpTransport};
use fastwire::{Client, ClientThread, DisconnectReason, Handler, Peer, SendError, Server, ServerThread};
use rustix::time::{ClockId, clock_gettime};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::configs;

const FEW: f64 = 0.01;
const FEW_FOR: Duration = Duration::from_secs(10);
const FEW_FOR_QUICK: Duration = Duration::from_secs(2);
const ALL_FOR: Duration = Duration::from_secs(2);
const ROUNDS: u64 = 5;
/// How much of a processor both sides together may use while everything fails.
const MOST_CPU: f64 = 0.10;
const AGAIN_WITHIN: Duration = Duration::from_secs(1);
/// Of the connection that fails for longer than it may.
const TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);
/// Everything reliable has arrived so long after the last error.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// Every so many messages one that takes a train.
const LARGE_EVERY: u32 = 16;
const LARGE: usize = 20_000;

/// R5.
pub(super) struct SocketErrors;

impl Check for SocketErrors {
    fn id(&self) -> &'static str {
        "R5"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        check(run).unwrap_or_else(Outcome::fell_short)
    }
}

fn check(run: &Run) -> Result<Outcome, String> {
    let seed = run.seed.unwrap_or(1);
    let faults = Faults::default();
    let mut few = Pair::connect(run.profile, seed, &faults, Duration::from_secs(10))?;
    // Each kind at least once; chance brings the others.
    let kinds =
        SocketError::ALL.into_iter().filter(|error| few.offload || *error != SocketError::OffloadFailed);
    kinds.for_each(|error| faults.push(error));
    faults.set_share(FEW);
    few.talk_for(if run.quick { FEW_FOR_QUICK } else { FEW_FOR })?;
    faults.set_share(0.0);
    let mut delivered = few.settle()?;
    let injected_by_few: u64 = SocketError::ALL.iter().map(|error| faults.injected(*error)).sum();

    let (mut cpu, mut again): (f64, Duration) = (0.0, Duration::ZERO);
    for round in 0..if run.quick { 1 } else { ROUNDS } {
        let mut all = Pair::connect(run.profile, seed + round, &faults, Duration::from_secs(10))?;
        all.talk_for(Duration::from_millis(500))?;
        faults.set_share(1.0);
        let before = cpu_time();
        all.talk_for(ALL_FOR)?;
        cpu = cpu.max((cpu_time() - before).as_secs_f64() / ALL_FOR.as_secs_f64());
        faults.set_share(0.0);
        again = again.max(all.next_echo()?);
        delivered += all.settle()?;
    }

    let mut gone = Pair::connect(run.profile, seed, &faults, TIMEOUT)?;
    let offload = gone.offload;
    gone.talk_for(Duration::from_millis(500))?;
    faults.set_share(1.0);
    let ended_after = gone.end()?;
    faults.set_share(0.0);

    let ok = cpu <= MOST_CPU && again <= AGAIN_WITHIN && ended_after >= TIMEOUT;
    let figure = format!(
        "{delivered} reliable messages, none lost; {:.1} % of a processor while all fails, traffic again after \
         {:.2} s, given up {:.2} s after the last word (timeout {} s)",
        cpu * 100.0,
        again.as_secs_f64(),
        ended_after.as_secs_f64(),
        TIMEOUT.as_secs(),
    );
    let outcome = Outcome::new(ok, figure).fault("injected at 1 %", injected_by_few);
    let kinds = SocketError::ALL.into_iter().filter(|error| offload || *error != SocketError::OffloadFailed);
    let outcome = kinds.fold(outcome, |outcome, error| outcome.fault(name(error), faults.injected(error)));
    Ok(if offload { outcome } else { outcome.note("no segmentation offload here, so no EIO") })
}

/// Two threads over sockets that fail as `Faults` says, and what was said between them.
struct Pair {
    server: ServerThread<Echo>,
    client: ClientThread<Ears>,
    said: [u32; 2],
    heard: Arc<Mutex<Heard>>,
    offload: bool,
}

#[derive(Debug, Default)]
struct Heard {
    /// The next number expected on the ordered channel.
    ordered: u32,
    unordered: HashSet<u32>,
    fault: Option<String>,
    last: Option<Instant>,
    ended: Option<(Instant, DisconnectReason)>,
}

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        // A full queue would show as a message that never comes back.
        let _ = peer.send(data, channel);
    }
}

struct Ears(Arc<Mutex<Heard>>);

impl Handler for Ears {
    fn on_message(&mut self, _: &mut Peer<'_>, data: &[u8], channel: u8) {
        let mut heard = lock(&self.0);
        heard.last = Some(Instant::now());
        let number = data.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
        if channel == 0 && number != heard.ordered {
            heard.fault = Some(format!("message {number} came in place of {}", heard.ordered));
        } else if channel == 0 {
            heard.ordered += 1;
        } else if !heard.unordered.insert(number) {
            heard.fault = Some(format!("message {number} came twice"));
        }
    }

    fn on_disconnect(&mut self, _: &mut Peer<'_>, reason: DisconnectReason) {
        lock(&self.0).ended = Some((Instant::now(), reason));
    }
}

impl Pair {
    fn connect(profile: Profile, seed: u64, faults: &Faults, timeout: Duration) -> Result<Self, String> {
        let socket = |seed| {
            let socket = UdpTransport::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
            Ok::<_, String>(FaultyTransport::new(socket, faults.clone(), seed))
        };
        let transport = socket(seed)?;
        let offload = transport.max_segments() > 1;
        let (mut config, mut client) = configs(profile);
        (config.connection_timeout, client.connection_timeout) = (timeout, timeout);
        let server = Server::builder().config(config).build(transport).map_err(|error| error.to_string())?;
        let at = server.local_addr().map_err(|error| error.to_string())?;
        let server = server.spawn(Echo).map_err(|error| error.to_string())?;
        let client = Client::builder().config(client).build(socket(!seed)?);
        let mut client = client.map_err(|error| error.to_string())?;
        client.connect_to(at).map_err(|error| error.to_string())?;
        client.wait_connected().map_err(|error| error.to_string())?;
        let heard = Arc::<Mutex<Heard>>::default();
        let client = client.spawn(Ears(Arc::clone(&heard))).map_err(|error| error.to_string())?;
        Ok(Self { server, client, said: [0; 2], heard, offload })
    }

    /// Says a number on both reliable channels every few milliseconds.
    fn talk_for(&mut self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.say()?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn say(&mut self) -> Result<(), String> {
        for (channel, next) in (0u8..).zip(&mut self.said) {
            let mut message = next.to_le_bytes().to_vec();
            if next.is_multiple_of(LARGE_EVERY) {
                message.resize(LARGE, 7);
            }
            match self.client.send(message, channel) {
                Ok(()) => *next += 1,
                Err(SendError::QueueFull(_)) => {}
                Err(error) => return Err(format!("message {next}: {error}; {:?}", lock(&self.heard).ended)),
            }
        }
        Ok(())
    }

    /// How long it takes until something comes back again.
    fn next_echo(&mut self) -> Result<Duration, String> {
        let started = Instant::now();
        let before = lock(&self.heard).ordered;
        while lock(&self.heard).ordered == before {
            if started.elapsed() > SETTLED_WITHIN {
                return Err(format!("nothing came back within {SETTLED_WITHIN:?} of the last error"));
            }
            self.say()?;
            thread::sleep(PAUSE);
        }
        Ok(started.elapsed())
    }

    /// Waits for all that was said; how much it was.
    fn settle(self) -> Result<u64, String> {
        let started = Instant::now();
        loop {
            let heard = lock(&self.heard);
            if let Some(fault) = &heard.fault {
                return Err(fault.clone());
            }
            if let Some((_, reason)) = heard.ended {
                return Err(format!("the connection ended: {reason}"));
            }
            if heard.ordered == self.said[0] && heard.unordered.len() == self.said[1] as usize {
                break;
            }
            if started.elapsed() > SETTLED_WITHIN {
                let back = (heard.ordered, heard.unordered.len());
                return Err(format!("of {:?} messages {back:?} came back", self.said));
            }
            drop(heard);
            thread::sleep(PAUSE);
        }
        self.client.stop().map_err(|error| error.to_string())?;
        self.server.stop().map_err(|error| error.to_string())?;
        Ok(self.said.iter().map(|said| u64::from(*said)).sum())
    }

    /// Waits until the client gives up; how long after the last message from its server that was.
    fn end(&mut self) -> Result<Duration, String> {
        let started = Instant::now();
        while started.elapsed() < SETTLED_WITHIN {
            let heard = lock(&self.heard);
            if let Some((at, reason)) = heard.ended {
                let took = at.saturating_duration_since(heard.last.unwrap_or(started));
                return if reason == DisconnectReason::Timeout {
                    Ok(took)
                } else {
                    Err(format!("ended after {took:?}, but {reason}"))
                };
            }
            drop(heard);
            thread::sleep(PAUSE);
        }
        Err(format!("still connected after {SETTLED_WITHIN:?} without a packet"))
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn name(error: SocketError) -> &'static str {
    match error {
        SocketError::WouldBlock => "EAGAIN",
        SocketError::NoBufferSpace => "ENOBUFS",
        SocketError::OutOfMemory => "ENOMEM",
        SocketError::MessageTooLong => "EMSGSIZE",
        SocketError::ConnectionRefused => "ECONNREFUSED",
        SocketError::HostUnreachable => "EHOSTUNREACH",
        SocketError::NetworkUnreachable => "ENETUNREACH",
        SocketError::NetworkDown => "ENETDOWN",
        SocketError::NotPermitted => "EPERM",
        SocketError::Interrupted => "EINTR",
        SocketError::OffloadFailed => "EIO on a train",
        _ => "another error",
    }
}

//! R9: connections that last for a month, and counters that come to their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastwire::sim::{LinkConfig, Loss, Reorder, Sealing};
use fastwire::wire::extended::{Frame, Frames};
use fastwire::{ConnectionError, Counters, DisconnectReason, Event};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, Plan, Tally, Traffic, run_seeds};

const SEEDS: u64 = 20;
const QUICK_SEEDS: u64 = 1;
/// Counters start so far before they wrap.
const BEFORE: u32 = 10_000;
/// Messages on each channel and way: enough to get past that, and a packet for each.
const MESSAGES: usize = 15_000;
const PACE: Duration = Duration::from_millis(2);
/// Packets of one key.
const EPOCH: u32 = 1 << 16;
/// Sequences of the base profile that are never used: the connection ends before (PROTOCOL A6 rule 9).
const RESERVE: u32 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);
const DAYS: u32 = 30;
/// A message on every channel and way this often meanwhile.
const SELDOM: Duration = Duration::from_secs(1800);
/// In the quick form peers say that they live this often, not once a second.
const QUICK_HEARTBEAT: Duration = Duration::from_secs(60);
const QUICK_TIMEOUT: Duration = Duration::from_secs(240);

/// R9.
pub(super) struct Wraparounds;

#[derive(Debug, Default)]
struct Total {
    tally: Tally,
    messages: u64,
    packets: u64,
    epochs: u64,
    exhausted: u64,
    days: u64,
    memory: u64,
}

impl std::ops::AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.tally += other.tally;
        self.messages += other.messages;
        self.packets += other.packets;
        self.epochs += other.epochs;
        self.exhausted += other.exhausted;
        self.days += other.days;
        self.memory = self.memory.max(other.memory);
    }
}

impl Check for Wraparounds {
    fn id(&self) -> &'static str {
        "R9"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let (profile, quick) = (run.profile, run.quick);
        let last = if quick { QUICK_SEEDS } else { SEEDS };
        // The month is seed 0.
        let seeds = run_seeds(run, 0..=last, |seed, verbose| match (seed, profile) {
            (0, _) => month(profile, quick, verbose),
            (_, Profile::Extended) => wraps(seed, verbose),
            _ => last_sequences(seed, verbose),
        });
        let Total { tally, days, memory, .. } = &seeds.total;
        let figure = format!(
            "{}, {days} virtual days on one connection, {} messages delivered as promised, {memory} bytes held at the end",
            seeds.figure(),
            tally.delivered,
        );
        let outcome = Outcome::new(seeds.failures.is_empty(), figure);
        let outcome = seeds.explain(self.id(), outcome);
        if run.seed.is_some() {
            return outcome;
        }
        let outcome = outcome.fault("days", *days).fault("datagrams lost", tally.lines.lost);
        match profile {
            Profile::Extended => outcome
                .fault("message numbers wrapped", seeds.total.messages)
                .fault("packet numbers passed 2^32", seeds.total.packets)
                .fault("keys changed by epoch", seeds.total.epochs),
            _ => outcome.fault("sequences used up", seeds.total.exhausted),
        }
    }
}

fn line() -> LinkConfig {
    LinkConfig::new()
        .latency(Duration::from_millis(10))
        .loss(Loss::Bernoulli { rate: 0.01 })
        .duplicate(0.01)
        .reorder(0.02, Reorder::Delay(Duration::from_millis(20)))
}

/// A connection whose counters start there on both sides.
fn connect(profile: Profile, seed: u64, counters: Counters, verbose: bool) -> Result<Duo, String> {
    let (mut world, server, client) = Duo::strangers(seed, &Makings::new(profile, line()))?;
    for node in [server, client] {
        world.endpoint(node).ok_or("switched off")?.script_counters(counters);
    }
    let at_client = world.connect(client, server).map_err(|error| error.to_string())?;
    Duo::await_connection(world, (server, client), at_client, verbose)
}

fn plan() -> Plan {
    Plan {
        lengths: [(); 4].map(|()| (0..MESSAGES).map(|i| (i * 37 % 300) as u32).collect()),
        burst: 1,
        pause: PACE,
        within: DAY,
        afterwards: Duration::from_secs(2),
        mark: None,
    }
}

/// Every counter of the extended profile over its end, alone and together.
fn wraps(seed: u64, verbose: bool) -> Result<Total, String> {
    let mut total = Total::default();
    let usual = Counters::default();
    let (packet, message) = (BEFORE.wrapping_neg(), (1 << 32) - u64::from(BEFORE));
    for (name, counters) in [
        ("message numbers", Counters { message, ..usual }),
        ("packet numbers", Counters { packet, ..usual }),
        ("an epoch", Counters { packet: EPOCH - BEFORE, ..usual }),
        ("all at once", Counters { packet, message, ..usual }),
    ] {
        let told = |reason: String| format!("{name}: {reason}");
        let mut duo = connect(Profile::Extended, seed, counters, verbose).map_err(told)?;
        // Messages whose number is small again.
        let wrapped = Arc::new(AtomicU64::new(0));
        if counters.message != usual.message {
            let wrapped = Arc::clone(&wrapped);
            duo.world.watch_plaintexts(move |sealing: &Sealing<'_>| {
                let frames = Frames::new(sealing.plaintext).into_iter().flatten().map_while(Result::ok);
                let small =
                    frames.filter(|frame| matches!(frame, Frame::Data(data) if data.message < BEFORE));
                wrapped.fetch_add(small.count() as u64, Ordering::Relaxed);
            });
        }
        let traffic = Traffic::run(&plan(), &mut duo).map_err(told)?;
        let (sent, delivered) = traffic.counts();
        let packets = duo.stats()?.map(|end| end.packets_sent);
        if packets.iter().any(|packets| *packets <= BEFORE.into()) {
            return Err(told(format!("only {packets:?} packets left")));
        }
        let mut tally = Tally { sent, delivered, ..Tally::default() };
        tally.close(Profile::Extended, &mut duo.world).map_err(told)?;
        total += Total {
            tally,
            messages: wrapped.load(Ordering::Relaxed),
            packets: u64::from(counters.packet == packet),
            epochs: u64::from(counters.packet != 0),
            ..Total::default()
        };
    }
    Ok(total)
}

/// Sequences of the base profile come to their end: whoever uses them up says so, and a new connection goes on.
fn last_sequences(seed: u64, verbose: bool) -> Result<Total, String> {
    let counters = Counters { sequence: (RESERVE + BEFORE).wrapping_neg(), ..Counters::default() };
    let mut duo = connect(Profile::Base, seed, counters, verbose)?;
    let (mut sent, mut heard) = (0u32, 0u32);
    let (mut error, mut ends) = (None, Vec::new());
    let deadline = duo.world.now() + Duration::from_secs(3600);
    while ends.len() < 2 {
        if duo.world.now() > deadline {
            return Err(format!("{sent} messages sent, {heard} heard, and no end"));
        }
        for _ in 0..8 {
            // A connection that has ended takes nothing.
            if duo.world.send(duo.client, duo.at_client, sent.to_le_bytes(), 0).is_ok() {
                sent += 1;
            }
        }
        duo.world.poke(duo.client);
        let until = duo.world.now() + 4 * PACE;
        while let Some((node, event)) = duo.next_event(until) {
            match event {
                Event::Message { data, .. } if data[..] == heard.to_le_bytes() => heard += 1,
                Event::Error { error: what, .. } if node == duo.client => error = Some(what),
                Event::Disconnected { reason, .. } => ends.push((node == duo.client, reason)),
                other => return Err(format!("after {heard} messages: {other:?}")),
            }
        }
    }
    duo.say(format_args!("{sent} sent, {heard} heard, {error:?}, {ends:?}"));
    let announced = error == Some(ConnectionError::Exhausted("sequence numbers"));
    if !announced || !ends.contains(&(true, DisconnectReason::Error)) {
        return Err(format!("ended {ends:?} with {error:?}"));
    }
    if heard < BEFORE - 1000 {
        return Err(format!("ended after {heard} messages, {BEFORE} sequences before the reserve"));
    }
    let mut tally = Tally { sent: sent.into(), delivered: heard.into(), ..Tally::default() };
    let again = duo.world.connect(duo.client, duo.server).map_err(|error| error.to_string())?;
    let (world, nodes) = (duo.world, (duo.server, duo.client));
    let mut duo = Duo::await_connection(world, nodes, again, verbose)?;
    tally.close(Profile::Base, &mut duo.world)?;
    Ok(Total { tally, exhausted: 1, ..Total::default() })
}

/// A month on one connection, with a message now and then.
fn month(profile: Profile, quick: bool, verbose: bool) -> Result<Total, String> {
    let mut makings = Makings::new(profile, line());
    if quick {
        for (interval, timeout) in [
            (&mut makings.server.heartbeat_interval, &mut makings.server.connection_timeout),
            (&mut makings.client.heartbeat_interval, &mut makings.client.connection_timeout),
        ] {
            (*interval, *timeout) = (QUICK_HEARTBEAT, QUICK_TIMEOUT);
        }
        // Else the client asks after its server whenever it has been silent for 2 s.
        makings.client.reconnect = false;
    }
    let mut duo = Duo::connect(1, &makings, verbose)?;
    let count = (DAY * DAYS).as_secs() / SELDOM.as_secs() + 1;
    let plan = Plan {
        lengths: [(); 4].map(|()| (0..count).map(|i| (i * 97 % 5000) as u32).collect()),
        burst: 1,
        pause: SELDOM,
        within: DAY * (DAYS + 1),
        afterwards: Duration::from_secs(60),
        mark: None,
    };
    let traffic = Traffic::run(&plan, &mut duo)?;
    let (sent, delivered) = traffic.counts();
    let days = duo.world.elapsed().as_secs() / DAY.as_secs();
    let memory = duo.stats()?.iter().map(|end| end.memory_held).max().unwrap_or_default();
    let mut tally = Tally { sent, delivered, ..Tally::default() };
    tally.close(profile, &mut duo.world)?;
    Ok(Total { tally, days, memory, ..Total::default() })
}

//! E4: what kills other implementations of the base profile, and must not end a connection here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastwire::sim::{LinkConfig, Loss};
use fastwire::wire::{CONTROL_PREFIX, ControlType};
use fastwire::{Event, SendError};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, Plan, Tally, Traffic};

const LATENCY: Duration = Duration::from_millis(25);
/// One in a hundred datagrams, for an hour.
const HOUR: Duration = Duration::from_secs(3600);
const HOUR_QUICK: Duration = Duration::from_secs(120);
/// A message on each channel and way this often.
const PACE: Duration = Duration::from_millis(100);
const OUTAGE: Duration = Duration::from_secs(8);
const LARGE: u32 = 255 * 1155;

/// E4.
pub(super) struct Survival;

impl Check for Survival {
    fn id(&self) -> &'static str {
        "E4"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base]
    }

    fn run(&self, run: &Run) -> Outcome {
        let seed = run.seed.unwrap_or(1);
        let (small, large) = if run.quick { (100_000, 10) } else { (1_000_000, 100) };
        let hour = if run.quick { HOUR_QUICK } else { HOUR };
        let verbose = run.seed.is_some();
        let mut faults = Faults::default();
        let mut notes = Vec::new();
        let mut failed = 0;
        let stories: [(&str, Story<'_>); 7] = [
            ("small messages as fast as the queue takes them", &mut |f| {
                small_messages(seed, small, false, f)
            }),
            ("small messages at once, with the limit raised", &mut |f| small_messages(seed, small, true, f)),
            ("large messages", &mut |f| large_messages(seed, large, verbose, f)),
            ("a lost acknowledgement", &mut |f| lost_acknowledgement(seed, f)),
            ("1 % loss", &mut |f| long_loss(seed, hour, verbose, f)),
            ("an outage of 8 s", &mut |f| outage(seed, verbose, f)),
            ("a duplicated CHALLENGE", &mut |f| duplicated_challenge(seed, f)),
        ];
        let count = stories.len();
        for (name, story) in stories {
            match story(&mut faults) {
                Ok(figure) => notes.push(format!("{name}: {figure}")),
                Err(reason) => {
                    failed += 1;
                    notes.push(format!("{name}: FAILED: {reason}"));
                }
            }
        }
        let figure = format!("{} of {count} survived (a restarted server: R7)", count - failed);
        let outcome = Outcome::new(failed == 0, figure)
            .fault("full queues", faults.full_queues)
            .fault("acknowledgements lost", faults.acknowledgements)
            .fault("datagrams lost", faults.lost)
            .fault("datagrams swallowed by the outage", faults.blacked_out)
            .fault("CHALLENGEs duplicated", faults.challenges);
        notes.into_iter().fold(outcome, Outcome::note)
    }
}

/// Plays one of them: what it showed, or what went wrong.
type Story<'a> = &'a mut dyn FnMut(&mut Faults) -> Result<String, String>;

#[derive(Debug, Default)]
struct Faults {
    full_queues: u64,
    acknowledgements: u64,
    lost: u64,
    blacked_out: u64,
    challenges: u64,
}

/// Sends numbered messages on the ordered channel. Without `at_once` the queue's limit says how fast.
fn small_messages(seed: u64, count: u32, at_once: bool, faults: &mut Faults) -> Result<String, String> {
    let mut makings = Makings::new(Profile::Base, LinkConfig::new().latency(LATENCY));
    if at_once {
        makings.client.limits.send_queue_messages = count as usize;
        makings.client.limits.send_queue_bytes = 1 << 30;
    }
    let mut duo = Duo::connect(seed, &makings, false)?;
    let (mut sent, mut received, mut full) = (0u32, 0u32, 0u64);
    let began = duo.world.now();
    while received < count {
        while sent < count {
            match duo.world.send(duo.client, duo.at_client, sent.to_le_bytes(), 0) {
                Ok(()) => sent += 1,
                Err(SendError::QueueFull(message)) if !at_once => {
                    if message[..] != sent.to_le_bytes() {
                        return Err("a full queue handed back another message".into());
                    }
                    full += 1;
                    break;
                }
                Err(error) => return Err(format!("message {sent}: {error}")),
            }
        }
        duo.world.poke(duo.client);
        let until = duo.world.now() + Duration::from_millis(100);
        while let Some((_, event)) = duo.next_event(until) {
            match event {
                Event::Message { data, .. } if data[..] == received.to_le_bytes() => received += 1,
                other => return Err(format!("instead of message {received}: {other:?}")),
            }
            // Room again: fill it.
            if sent < count && received.is_multiple_of(1024) {
                break;
            }
        }
        if duo.world.now() - began > HOUR * 4 {
            return Err(format!("only {received} of {count} after four hours"));
        }
    }
    faults.full_queues += full;
    let took = (duo.world.now() - began).as_secs_f64();
    let [_, client] = duo.stats()?;
    Ok(format!("{count} in {took:.0} virtual s, {full} full queues, {} repeats", client.retransmits))
}

fn large_messages(seed: u64, count: usize, verbose: bool, _: &mut Faults) -> Result<String, String> {
    let mut duo =
        Duo::connect(seed, &Makings::new(Profile::Base, LinkConfig::new().latency(LATENCY)), verbose)?;
    let lengths = [vec![LARGE; count], vec![], vec![], vec![]];
    let took = converse(&mut duo, lengths, count, Duration::from_millis(10))?;
    let [_, client] = duo.stats()?;
    Ok(format!("{count} of {LARGE} bytes each way in {took:.0} virtual s, {} repeats", client.retransmits))
}

/// The only acknowledgement of the only message gets lost: the repeat has to be acknowledged again.
fn lost_acknowledgement(seed: u64, faults: &mut Faults) -> Result<String, String> {
    let mut duo =
        Duo::connect(seed, &Makings::new(Profile::Base, LinkConfig::new().latency(LATENCY)), false)?;
    let settled = duo.world.now() + Duration::from_millis(300);
    if let Some((_, event)) = duo.next_event(settled) {
        return Err(format!("{event:?}"));
    }
    duo.world.send(duo.client, duo.at_client, b"once", 1).map_err(|error| error.to_string())?;
    duo.world.poke(duo.client);
    // The message is on its way; whatever the server says about it in the next 60 ms vanishes.
    let (server, client, now) =
        (duo.world.address(duo.server), duo.world.address(duo.client), duo.world.now());
    let before = duo.world.network().stats().blacked_out;
    duo.world.network().blackout(
        server,
        client,
        now + LATENCY / 2,
        now + LATENCY + Duration::from_millis(60),
    );
    let mut heard = 0;
    let until = now + Duration::from_secs(30);
    while let Some((_, event)) = duo.next_event(until) {
        match event {
            Event::Message { data, .. } if data[..] == *b"once" => heard += 1,
            other => return Err(format!("{other:?}")),
        }
    }
    let lost = duo.world.network().stats().blacked_out - before;
    faults.acknowledgements += lost;
    let [_, client] = duo.stats()?;
    if heard != 1 || client.packets_in_flight != 0 || client.retransmits == 0 {
        return Err(format!(
            "heard {heard} times, {} in flight, {} repeats",
            client.packets_in_flight, client.retransmits
        ));
    }
    Ok(format!("acknowledged after {} repeats", client.retransmits))
}

fn long_loss(seed: u64, time: Duration, verbose: bool, faults: &mut Faults) -> Result<String, String> {
    let line = LinkConfig::new().latency(LATENCY).loss(Loss::Bernoulli { rate: 0.01 });
    let mut duo = Duo::connect(seed, &Makings::new(Profile::Base, line), verbose)?;
    let count = (time.as_millis() / PACE.as_millis()) as usize;
    let lengths = [(); 4].map(|()| (0..count).map(|i| (i * 37 % 1500) as u32).collect());
    let took = converse(&mut duo, lengths, 1, PACE)?;
    faults.lost += duo.world.network().stats().lost;
    let [server, client] = duo.stats()?;
    Ok(format!("{took:.0} virtual s, {} repeats", server.retransmits + client.retransmits))
}

fn outage(seed: u64, verbose: bool, faults: &mut Faults) -> Result<String, String> {
    let from = Duration::from_secs(5);
    let line = LinkConfig::new().latency(LATENCY).blackout(from..from + OUTAGE);
    let mut duo = Duo::connect(seed, &Makings::new(Profile::Base, line), verbose)?;
    let lengths = [(); 4].map(|()| vec![200; 200]);
    let took = converse(&mut duo, lengths, 1, PACE)?;
    faults.blacked_out += duo.world.network().stats().blacked_out;
    Ok(format!("{took:.1} virtual s for 20 s of traffic"))
}

/// Every CHALLENGE arrives twice, the second time after the answer to the first is out.
fn duplicated_challenge(seed: u64, faults: &mut Faults) -> Result<String, String> {
    let makings = Makings::new(Profile::Base, LinkConfig::new().latency(LATENCY));
    let (mut world, server, client) = Duo::strangers(seed, &makings)?;
    type Seen = Arc<Mutex<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>>;
    let (seen, duplicated) = (Seen::default(), Arc::new(AtomicU64::new(0)));
    {
        let seen = Arc::clone(&seen);
        world.watch(move |sighting| {
            let kind = sighting.bytes.strip_prefix(&CONTROL_PREFIX[..]).and_then(<[u8]>::first);
            if !sighting.arrived && kind == Some(&ControlType::Challenge.id()) {
                let challenge = (sighting.from, sighting.to, sighting.bytes.to_vec());
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(challenge);
            }
        });
    }
    let at_client = world.connect(client, server).map_err(|error| error.to_string())?;
    let mut connected = [false; 2];
    for _ in 0..200 {
        let until = world.now() + Duration::from_millis(5);
        while let Some((node, event)) = world.next_event(until) {
            match event {
                Event::Connected { .. } => connected[usize::from(node == client)] = true,
                Event::Message { .. } => {}
                other => return Err(format!("{other:?}")),
            }
        }
        let now = world.now();
        let challenges = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (from, to, bytes) in challenges.iter().take(1) {
            world.network().send(now, *from, *to, None, bytes);
            duplicated.fetch_add(1, Ordering::Relaxed);
        }
        if connected[1] {
            world.send(client, at_client, b"still here", 0).map_err(|error| error.to_string())?;
            world.poke(client);
        }
    }
    let report = world.report();
    faults.challenges += duplicated.load(Ordering::Relaxed);
    if connected != [true; 2] || report.nonces_reused > 0 {
        return Err(format!("connected {connected:?}, {} nonces used twice", report.nonces_reused));
    }
    Ok(format!("{} copies, no nonce used twice", duplicated.load(Ordering::Relaxed)))
}

/// Traffic both ways under the laws of the modes; how many virtual seconds it took.
fn converse(duo: &mut Duo, lengths: [Vec<u32>; 4], burst: usize, pause: Duration) -> Result<f64, String> {
    let began = duo.world.now();
    let plan = Plan { lengths, burst, pause, within: HOUR * 4, afterwards: Duration::ZERO, mark: None };
    Traffic::run(&plan, duo)?;
    let took = (duo.world.now() - began).as_secs_f64();
    Tally::default().close(Profile::Base, &mut duo.world)?;
    Ok(took)
}

//! S3: what a server sends to an address that has proved nothing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastwire::Event;
use fastwire::crypto::extended::short_hash;
use fastwire::sim::{LinkConfig, Loss, Reorder, Rng, Sighting, World};
use fastwire::wire::extended::{ConnectTrailer, EXTENDED_VERSION, MIN_CONNECT_DATAGRAM};
use fastwire::wire::{Connect, Control, Features, PROTOCOL_VERSION};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, Tally, configs, max_amplification, run_seeds};

const SEEDS: u64 = 2_000;
const QUICK_SEEDS: u64 = 60;
/// The most on a path that a connection has moved to and that is not proved yet.
const MAX_UNPROVEN: f64 = 3.0;
const MS: Duration = Duration::from_millis(1);

/// S3.
pub(super) struct Amplification;

impl Check for Amplification {
    fn id(&self) -> &'static str {
        "S3"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let profile = run.profile;
        let allowed = max_amplification(profile);
        let count = if run.quick { QUICK_SEEDS } else { SEEDS };
        let deaf = run_seeds(run, 1..=count, |seed, _| deaf_clients(profile, seed));
        let strange = run_seeds(run, 1..=count, |seed, _| strangers(profile, seed));
        let moved = run_seeds(run, 1..=count, |seed, verbose| unproven_path(profile, seed, verbose));
        let failures = deaf.failures.len() + strange.failures.len() + moved.failures.len();
        let figure = format!(
            "at most {:.2} to clients that hear nothing, {:.2} to strangers (allowed {allowed}), {:.2} on an \
             unproven path (allowed {MAX_UNPROVEN}), {failures} failures",
            deaf.total.amplification, strange.total.amplification, moved.total.ratio,
        );
        let outcome = Outcome::new(failures == 0, figure)
            .fault("answers that never arrived", deaf.total.lines.lost)
            .fault("datagrams of strangers", strange.total.sent)
            .fault("connections moved", moved.total.moves);
        let outcome = deaf.explain(self.id(), outcome);
        let outcome = strange.explain(self.id(), outcome);
        moved.explain(self.id(), outcome)
    }
}

/// Clients that hear nothing, or little, and ask on and on.
fn deaf_clients(profile: Profile, seed: u64) -> Result<Tally, String> {
    let mut rng = Rng::new(seed);
    let line = LinkConfig::new()
        .latency(10 * MS)
        .reorder(0.2, Reorder::Delay(200 * MS))
        .duplicate(if rng.chance(0.5) { 0.3 } else { 0.0 });
    let makings = Makings::new(profile, line.clone());
    let (mut world, server, client) = Duo::strangers(seed, &makings)?;
    let (from, to) = (world.address(server), world.address(client));
    let deaf = line.duplicate(0.0).loss(Loss::Bernoulli { rate: if rng.chance(0.5) { 1.0 } else { 0.8 } });
    world.network().set_link(from, to, deaf).map_err(|error| error.to_string())?;
    world.connect(client, server).map_err(|error| error.to_string())?;
    let deadline = world.now() + Duration::from_secs(6);
    world
        .run_until(deadline, |_, node, event| node == client && matches!(event, Event::ConnectFailed { .. }));
    let mut tally = Tally::default();
    // Copies the line made count as received: the meter sits at the server.
    tally.close(profile, &mut world)?;
    Ok(tally)
}

/// CONNECTs whole, cut and damaged, refused and accepted; noise; nothing at all.
fn strangers(profile: Profile, seed: u64) -> Result<Tally, String> {
    let mut rng = Rng::new(seed);
    let mut world = World::new(seed);
    let (mut config, _) = configs(profile);
    config.require_application_version = rng.chance(0.3);
    let server = world.server(config).map_err(|error| error.to_string())?;
    let to = world.address(server);
    if rng.chance(0.2) {
        world.endpoint(server).ok_or("off")?.ban([192, 0, 2, 1].into());
    }
    let mut tally = Tally::default();
    // A base CONNECT is refused by a server of the extended profile, by the measure of the base profile.
    let asks =
        if profile == Profile::Extended && rng.chance(0.7) { Profile::Extended } else { Profile::Base };
    for _ in 0..200 {
        let from = SocketAddr::from(([192, 0, 2, rng.below(3) as u8], 1 + rng.below(40) as u16));
        let datagram = strange(asks, &mut rng);
        let now = world.now();
        world.network().send(now, from, to, None, &datagram);
        tally.sent += 1;
        let until = now + Duration::from_micros(rng.below(5_000));
        while world.next_event(until).is_some() {}
    }
    tally.close(asks, &mut world)?;
    if asks != profile {
        // Within its own measure, which is not the one shown.
        tally.amplification = 0.0;
    }
    Ok(tally)
}

fn strange(asks: Profile, rng: &mut Rng) -> Vec<u8> {
    let noise = |rng: &mut Rng, len: usize| -> Vec<u8> { (0..len).map(|_| rng.next_u64() as u8).collect() };
    if rng.chance(0.2) {
        let len = rng.below(1300) as usize;
        return noise(rng, len);
    }
    let mut key = [0; 32];
    // Few keys, so that copies turn up; never all zero.
    key.fill(1 + rng.below(50) as u8);
    let extended = if asks == Profile::Extended { Features::EXTENDED } else { Features::EMPTY };
    let control = Control::Connect(Connect {
        version: PROTOCOL_VERSION + u8::from(rng.chance(0.1)),
        application_version: rng.below(2) as u16,
        public_key: key,
        cipher: rng.below(4) as u8,
        compression: rng.below(4) as u8,
        dictionary_hash: rng.chance(0.2).then_some([7; 32]),
        features: Features::SEND_BATCHING | Features::CONNECTION_MIGRATION | extended,
    });
    let mut bytes = vec![0; 8 + control.encoded_len()];
    let len = control.encode_bare(&mut bytes).unwrap_or_default();
    bytes.truncate(len);
    let mut shortest = 0;
    if asks == Profile::Extended {
        let nonce = rng.next_u64().to_le_bytes();
        let layout = if rng.chance(0.8) { short_hash(&[0, 1, 2, 3]) } else { nonce };
        let server_key_id = if rng.chance(0.8) { [0; 8] } else { nonce };
        let suites = rng.below(8) as u8;
        let trailer = ConnectTrailer {
            version: EXTENDED_VERSION,
            suites,
            client_nonce: nonce,
            server_key_id,
            layout_hash: layout,
        };
        let mut out = [0; ConnectTrailer::LEN];
        let more = trailer.encode(&mut out).unwrap_or_default();
        bytes.extend_from_slice(&out[..more]);
        bytes.resize(MIN_CONNECT_DATAGRAM, 0);
        // Cut below that it is a base CONNECT, and answered as such.
        shortest = 120;
    }
    let len = bytes.len();
    match rng.below(4) {
        0 => bytes.truncate(shortest + rng.below((len - shortest) as u64) as usize),
        1 => {
            let bit = rng.below(len as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        _ => {}
    }
    bytes
}

#[derive(Debug, Default)]
struct Moved {
    tally: Tally,
    moves: u64,
    ratio: f64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Self) {
        self.tally += other.tally;
        self.moves += other.moves;
        self.ratio = self.ratio.max(other.ratio);
    }
}

/// A connection moves to an address from which nothing is ever acknowledged, in the middle of a download.
fn unproven_path(profile: Profile, seed: u64, verbose: bool) -> Result<Moved, String> {
    let line = LinkConfig::new().latency(10 * MS);
    let mut makings = Makings::new(profile, line.clone());
    makings.server.connection_migration = true;
    makings.client.connection_migration = true;
    let mut duo = Duo::connect(seed, &makings, verbose)?;
    let settled = duo.world.now() + Duration::from_millis(500);
    while duo.next_event(settled).is_some() {}
    for _ in 0..1000 {
        // As much as the queue takes; what it does not is not missed.
        let _ = duo.world.send(duo.server, duo.at_server, vec![1; 4000], 0);
    }
    duo.world.poke(duo.server);
    let (home, server) = (duo.world.address(duo.client), duo.world.address(duo.server));
    let dead = line.loss(Loss::Bernoulli { rate: 1.0 });
    duo.world.network().set_link(server, home, dead).map_err(|error| error.to_string())?;
    let public = if seed.is_multiple_of(2) {
        duo.world.network().rebind_port(home)
    } else {
        duo.world.network().rebind_address(home)
    };
    let public = public.ok_or("the client is not on the network")?;
    // Received from there, sent there, the worst ratio.
    let books = Arc::new(Mutex::new((0u64, 0u64, 0.0f64)));
    let writer = Arc::clone(&books);
    duo.world.watch(move |sighting: &Sighting<'_>| {
        let mut books = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if sighting.arrived && sighting.from == public {
            books.0 += sighting.bytes.len() as u64;
        } else if !sighting.arrived && sighting.to == public {
            books.1 += sighting.bytes.len() as u64;
            books.2 = books.2.max(books.1 as f64 / books.0.max(1) as f64);
        }
    });
    let until = duo.world.now() + Duration::from_secs(4);
    let mut rng = Rng::new(seed);
    while duo.world.now() < until {
        let _ = duo.world.send(duo.client, duo.at_client, vec![2; rng.below(900) as usize], 2);
        duo.world.poke(duo.client);
        let pause = duo.world.now() + Duration::from_millis(1 + rng.below(100));
        while duo.world.next_event(pause.min(until)).is_some() {}
    }
    let (received, sent, ratio) = *books.lock().unwrap_or_else(PoisonError::into_inner);
    duo.say(format_args!("{received} bytes from the new address, {sent} to it"));
    if ratio > MAX_UNPROVEN {
        return Err(format!("{ratio:.2} times the bytes that came from an unproven path went there"));
    }
    let mut tally = Tally::default();
    tally.close(profile, &mut duo.world)?;
    Ok(Moved { tally, moves: u64::from(sent > 0), ratio })
}

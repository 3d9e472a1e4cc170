//! S5: a man in the middle of the handshake, against a client that has pinned the server's key.

use std::time::Duration;

use fastwire::crypto::CipherSuite;
use fastwire::sim::Rng;
use fastwire::wire::CONTROL_PREFIX;
use fastwire::{ClientConfig, ClientProfile, ConnectionId, Event, Identity, ServerConfig, ServerProfile};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Cores, Parcel, bare_type, run_seeds};
use crate::scripted::Scripted;

const MS: Duration = Duration::from_millis(1);
/// Tampering once costs at most so much.
const HEALS_WITHIN: Duration = Duration::from_secs(2);
/// Longer than a client tries.
const PATIENCE: Duration = Duration::from_secs(6);
/// Types of the handshake's datagrams, and how many bits of each there are to flip.
const KINDS: [(u8, &str, usize); 4] =
    [(1, "CONNECT", 1200 * 8), (2, "CHALLENGE", 90 * 8), (3, "RESPONSE", 180 * 8), (4, "CONNECTED", 70 * 8)];
const FLIPS: usize = KINDS[0].2 + KINDS[1].2 + KINDS[2].2 + KINDS[3].2;
/// Every so many bits in the quick form.
const QUICK_STRIDE: u64 = 47;
/// Each of the other attacks is tried so often.
const ROUNDS: u64 = 200;
const QUICK_ROUNDS: u64 = 6;
/// CONNECT's datagram: features stand here, cipher, trailer, suites.
const CONNECT_CIPHER: usize = 8 + 36;
const CONNECT_FEATURES: usize = 8 + 39;
const CONNECT_KEY: std::ops::Range<usize> = 12..44;
const CONNECT_SUITES: usize = 8 + 41;
/// CHALLENGE's: key, cipher, features.
const CHALLENGE_KEY: std::ops::Range<usize> = 12..44;
const CHALLENGE_CIPHER: usize = 8 + 68;
const CHALLENGE_FEATURES: usize = 8 + 70;
const BASE_CONNECT_LEN: usize = 8 + 40;

/// S5.
pub(super) struct Middleman;

/// What the man in the middle does beside flipping bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Answers as a server of his own, with his own identity.
    OwnServer,
    /// Puts his key in the place of the client's, the server's, or both.
    SwapKeys,
    /// Clears the extended bit, of CONNECT and of CHALLENGE.
    StripBit,
    /// Cuts CONNECT down to that of the base profile.
    CutConnect,
    /// Has suite 0 selected.
    ForceSuite,
    /// Delays datagrams so that they come in any order.
    Reorder,
    /// Sends every datagram many times, and those of an earlier handshake.
    Replay,
}

const ATTACKS: [(Attack, &str, bool); 7] = [
    // Whether the client connects all the same.
    (Attack::OwnServer, "servers of his own", false),
    (Attack::SwapKeys, "keys swapped", false),
    (Attack::StripBit, "extended bits stripped", false),
    (Attack::CutConnect, "trailers cut off", false),
    (Attack::ForceSuite, "suite 0 forced", false),
    (Attack::Reorder, "datagrams reordered", true),
    (Attack::Replay, "datagrams replayed", true),
];

#[derive(Debug, Default)]
struct Total {
    flipped: [u64; KINDS.len()],
    flipped_always: u64,
    attacks: [u64; ATTACKS.len()],
    /// Handshakes that came through, and the slowest after a single flip.
    connected: u64,
    slowest: Duration,
}

impl std::ops::AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.flipped.iter_mut().zip(other.flipped).for_each(|(sum, more)| *sum += more);
        self.attacks.iter_mut().zip(other.attacks).for_each(|(sum, more)| *sum += more);
        self.flipped_always += other.flipped_always;
        self.connected += other.connected;
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl Check for Middleman {
    fn id(&self) -> &'static str {
        "S5"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let (stride, rounds) = if run.quick { (QUICK_STRIDE, QUICK_ROUNDS) } else { (1, ROUNDS) };
        let flips = (FLIPS as u64).div_ceil(stride);
        let last = flips + rounds * ATTACKS.len() as u64 - 1;
        let seeds = run_seeds(run, 0..=last, |seed, verbose| match seed.checked_sub(flips) {
            None => flip(seed, (seed * stride) as usize, verbose),
            Some(number) => attack(seed, number as usize % ATTACKS.len(), verbose),
        });
        let figure = format!(
            "{}; a pinned client connected {} times, never to another key nor in a weaker profile; a flipped bit heals \
             within {:.2} s",
            seeds.figure(),
            seeds.total.connected,
            seeds.total.slowest.as_secs_f64(),
        );
        let outcome = seeds.explain(self.id(), Outcome::new(seeds.failures.is_empty(), figure));
        if run.seed.is_some() {
            return outcome;
        }
        const FLIPPED: [&str; 4] = ["bits of CONNECT flipped", "of CHALLENGE", "of RESPONSE", "of CONNECTED"];
        let outcome = FLIPPED
            .iter()
            .zip(seeds.total.flipped)
            .fold(outcome, |outcome, (name, count)| outcome.fault(name, count));
        let outcome = outcome.fault("flipped every time", seeds.total.flipped_always);
        let attacks = ATTACKS.iter().zip(seeds.total.attacks);
        attacks.fold(outcome, |outcome, ((_, name, _), count)| outcome.fault(name, count))
    }
}

/// A server that would speak either profile with either suite, and a client that has pinned its key.
fn configs(seed: u64) -> (ServerConfig, ClientConfig) {
    let mut rng = Rng::new(seed ^ 0x1d_e7);
    let identity = Identity::from_secret(std::array::from_fn(|_| rng.next_u64() as u8));
    let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
    client.pinned = Some(identity.public_key());
    client.profile = ClientProfile::Auto;
    // The worst that an operator may allow.
    server.cipher_preference.push(CipherSuite::None);
    client.cipher_preference.push(CipherSuite::None);
    server.profile = ServerProfile::Both;
    server.identity = Some(identity);
    (server, client)
}

/// One bit flipped: of the first datagram of its kind, then of each.
fn flip(seed: u64, index: usize, verbose: bool) -> Result<Total, String> {
    let (mut kind, mut bit) = (0, index);
    while bit >= KINDS[kind].2 {
        bit -= KINDS[kind].2;
        kind += 1;
    }
    let (id, name, _) = KINDS[kind];
    let mut total = Total::default();
    for always in [false, true] {
        let mut done = 0;
        let mut between = |mut parcel: Parcel, out: &mut Vec<Parcel>| {
            let wanted = bare_type(&parcel.bytes) == Some(id) && (always || done == 0);
            if wanted && let Some(byte) = parcel.bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
                done += 1;
            }
            out.push(parcel);
        };
        let reason = |reason: String| format!("bit {bit} of {name} flipped, always {always}: {reason}");
        let took = try_to_connect(seed, &mut between).map_err(reason)?;
        if verbose {
            println!("    bit {bit} of {name}, always {always}: {done} times, connected after {took:?}");
        }
        total.connected += u64::from(took.is_some());
        if always {
            total.flipped_always += u64::from(done > 0);
            continue;
        }
        total.flipped[kind] += u64::from(done > 0);
        match took.filter(|took| *took <= HEALS_WITHIN) {
            Some(took) => total.slowest = total.slowest.max(took),
            None => return Err(reason(format!("not healed in time: {took:?}"))),
        }
    }
    Ok(total)
}

fn attack(seed: u64, index: usize, verbose: bool) -> Result<Total, String> {
    let (attack, name, connects) = ATTACKS[index];
    let mut rng = Rng::new(seed);
    let mut man = Man { rng: rng.fork(), own: Scripted::server(&mut rng), past: Vec::new(), done: 0 };
    if attack == Attack::Replay {
        // What an earlier handshake of the same two looked like.
        let mut listen = |parcel: Parcel, out: &mut Vec<Parcel>| {
            man.past.push(parcel.clone());
            out.push(parcel);
        };
        try_to_connect(seed, &mut listen)?;
    }
    let mut between = |parcel: Parcel, out: &mut Vec<Parcel>| man.meddle(attack, parcel, out);
    // The earlier handshake was another one of the same server: the same identity, other randomness.
    let took = try_to_connect_with(configs(seed), seed ^ 1 << 40, &mut between)
        .map_err(|reason| format!("{name}: {reason}"))?;
    if verbose {
        println!("    {name}: {} times, connected after {took:?}", man.done);
    }
    if took.is_some() != connects {
        return Err(format!("{name}: connected after {took:?}"));
    }
    let mut total = Total { connected: u64::from(took.is_some()), ..Total::default() };
    total.attacks[index] = man.done;
    Ok(total)
}

/// The man in the middle.
struct Man {
    rng: Rng,
    own: Scripted,
    past: Vec<Parcel>,
    done: u64,
}

impl Man {
    fn meddle(&mut self, attack: Attack, mut parcel: Parcel, out: &mut Vec<Parcel>) {
        let kind = bare_type(&parcel.bytes);
        let own_key: [u8; 32] = std::array::from_fn(|_| self.rng.next_u64() as u8);
        match (attack, kind) {
            (Attack::OwnServer, _) if parcel.up => {
                self.own.receive(&parcel.bytes);
                for bytes in self.own.outgoing.drain(..) {
                    self.done += 1;
                    out.push(Parcel { up: false, bytes, ..parcel.clone() });
                }
                return;
            }
            (Attack::OwnServer, _) => return,
            (Attack::SwapKeys, Some(1)) if self.rng.chance(0.7) => {
                self.done += 1;
                parcel.bytes[CONNECT_KEY].copy_from_slice(&own_key);
            }
            (Attack::SwapKeys, Some(2)) => {
                self.done += 1;
                parcel.bytes[CHALLENGE_KEY].copy_from_slice(&own_key);
            }
            (Attack::StripBit, Some(1)) => {
                self.done += 1;
                parcel.bytes[CONNECT_FEATURES] &= !4;
            }
            (Attack::StripBit, Some(2)) => {
                self.done += 1;
                parcel.bytes[CHALLENGE_FEATURES] &= !4;
            }
            (Attack::CutConnect, Some(1)) => {
                self.done += 1;
                parcel.bytes.truncate(BASE_CONNECT_LEN + self.rng.below(27) as usize);
            }
            (Attack::ForceSuite, Some(1)) => {
                self.done += 1;
                parcel.bytes[CONNECT_CIPHER] = 0;
                if self.rng.chance(0.5) {
                    parcel.bytes[CONNECT_SUITES] = 1;
                }
            }
            (Attack::ForceSuite, Some(2)) => {
                self.done += 1;
                parcel.bytes[CHALLENGE_CIPHER] = 0;
            }
            (Attack::Reorder, _) => {
                parcel.later = self.rng.duration(120 * MS);
                self.done += 1;
            }
            (Attack::Replay, _) => {
                for _ in 0..self.rng.below(4) {
                    self.done += 1;
                    out.push(Parcel { later: self.rng.duration(400 * MS), ..parcel.clone() });
                }
                if !self.past.is_empty() {
                    let old = self.past[self.rng.below(self.past.len() as u64) as usize].clone();
                    self.done += 1;
                    out.push(Parcel { later: self.rng.duration(100 * MS), ..old });
                }
            }
            _ => {}
        }
        out.push(parcel);
    }
}

fn try_to_connect(seed: u64, between: crate::scenario::Between<'_>) -> Result<Option<Duration>, String> {
    try_to_connect_with(configs(seed), seed, between)
}

/// Connects if that can be done: how long it took until a message had come through. An error: to somebody else, or weakly.
fn try_to_connect_with(
    (server, client): (ServerConfig, ClientConfig),
    seed: u64,
    between: crate::scenario::Between<'_>,
) -> Result<Option<Duration>, String> {
    let pinned = client.pinned;
    let mut cores = Cores::new(seed, &server, &client)?;
    let id = cores.connect()?;
    let until = cores.now + PATIENCE;
    let (mut connected, mut heard) = (false, None);
    cores.run(until, between, |cores| {
        for event in std::mem::take(&mut cores.at_client) {
            if let Event::Connected { connection } = event {
                connected = true;
                // Lost if the connection is another's; then nobody hears it.
                let _ = cores.client.send(cores.now, connection, CONTROL_PREFIX, 0);
                cores.client.handle_timeout(cores.now);
            }
        }
        for event in std::mem::take(&mut cores.at_server) {
            if let Event::Message { connection, .. } = event {
                heard = Some(connection);
            }
        }
        heard.is_some()
    });
    if connected {
        is_sound(&mut cores, id, heard, pinned)?;
    }
    Ok(heard.map(|_| cores.elapsed()))
}

/// Whether the client's connection is with the pinned server, which knows it, in the extended profile.
fn is_sound(
    cores: &mut Cores,
    at_client: ConnectionId,
    at_server: Option<ConnectionId>,
    pinned: Option<fastwire::crypto::PublicKey>,
) -> Result<(), String> {
    let client = &cores.client;
    if client.profile(at_client) != Some(fastwire::Profile::Extended) {
        return Err(format!("connected in {:?}", client.profile(at_client)));
    }
    if client.server_key(at_client) != pinned {
        return Err(format!("connected to {:?}", client.server_key(at_client)));
    }
    if matches!(client.cipher_suite(at_client), None | Some(CipherSuite::None)) {
        return Err(format!("connected with suite {:?}", client.cipher_suite(at_client)));
    }
    let at_server = at_server.ok_or("the client is connected, and its server hears nothing")?;
    let (mut ours, mut theirs) = ([0; 32], [0; 32]);
    let exported = cores.client.export_keying_material(at_client, b"S5", &mut ours)
        && cores.server.export_keying_material(at_server, b"S5", &mut theirs);
    if exported && ours == theirs { Ok(()) } else { Err("client and server hold different keys".into()) }
}

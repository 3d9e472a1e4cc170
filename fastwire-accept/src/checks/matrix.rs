//! R1: all four modes over every kind of bad line, seed by seed.

use std::time::Duration;

use fastwire::compress::{Algorithm, CompressionConfig};
use fastwire::congestion::CongestionMode;
use fastwire::crypto::CipherSuite;
use fastwire::sim::{Drive, LinkConfig, Loss, Reorder, Rng};
use fastwire::{ChannelConfig, Fec, Redundancy};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, Plan, Tally, Traffic, run_seeds};

const SEEDS: u64 = 25_000;
const QUICK_SEEDS: u64 = 64;
/// Seeds of the extended profile that failed once: the short form has them too.
const FAILED_ONCE: [u64; 5] = [1425, 10_440, 11_500, 15_993, 21_540];
/// Every so many seeds one is run twice, and both runs are compared datagram for datagram.
const REPLAY_EVERY: u64 = 16;
/// Messages on each channel in each direction.
const MESSAGES: usize = 200;
/// One seed in so many has messages up to the maximum size.
const LARGE_ONE_IN: u64 = 20;
/// And one in so many up to what only the extended profile carries; else no more than this.
const LARGEST_ONE_IN: u64 = 500;
const LARGE: usize = 300_000;
/// Of these a lane has so many, among small ones.
const LARGE_MESSAGES: usize = 3;
/// Where the line is so bad that the defaults are not meant for it.
const PATIENT: Duration = Duration::from_secs(60);

/// By when everything must have arrived: the largest messages over the worst lines take hours.
const WITHIN: Duration = Duration::from_secs(24 * 3600);

/// R1.
pub(super) struct Matrix;

impl Check for Matrix {
    fn id(&self) -> &'static str {
        "R1"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let mut seeds = run_seeds(run, 1..=if run.quick { QUICK_SEEDS } else { SEEDS }, |seed, verbose| {
            one_seed(run.profile, seed, verbose)
        });
        if run.quick && run.seed.is_none() && run.profile == Profile::Extended {
            FAILED_ONCE.iter().for_each(|&seed| seeds.add(seed, one_seed(run.profile, seed, false)));
        }
        let Tally {
            lines, lost_in_bursts, delivered, sent, replayed, packets, retransmits, recovered, ..
        } = seeds.total;
        let outcome = Outcome::new(seeds.failures.is_empty(), seeds.figure()).note(format!(
            "{delivered} of {sent} messages delivered, {packets} packets, {retransmits} of them repeats, {recovered} made of parity, \
                 {:.0} virtual hours, {replayed} seeds run twice and found equal",
            seeds.total.seconds / 3600.0,
        ));
        let outcome = seeds.explain(self.id(), outcome);
        if run.seed.is_some() {
            return outcome;
        }
        outcome
            .fault("lost singly", lines.lost - lost_in_bursts)
            .fault("lost in bursts of 3", lost_in_bursts)
            .fault("reordered", lines.reordered)
            .fault("duplicated", lines.duplicated)
            .fault("corrupted", lines.corrupted)
            .fault("dropped by the queue", lines.queue_drops)
    }
}

/// One line, two configurations, the traffic of one seed.
struct Scenario {
    profile: Profile,
    makings: Makings,
    plan: Plan,
    in_bursts: bool,
}

fn one_seed(profile: Profile, seed: u64, verbose: bool) -> Result<Tally, String> {
    let scenario = Scenario::draw(profile, seed);
    if verbose {
        println!("{:#?}", scenario.makings);
        println!("bursts of {} every {:?}", scenario.plan.burst, scenario.plan.pause);
    }
    let (digest, mut tally) = scenario.run(seed, verbose)?;
    if seed.is_multiple_of(REPLAY_EVERY) || verbose {
        let (again, _) = scenario.run(seed, false)?;
        if again != digest {
            return Err(format!("two runs differ: {digest:016x} and {again:016x}"));
        }
        tally.replayed = 1;
    }
    Ok(tally)
}

impl Scenario {
    fn draw(profile: Profile, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x52_31);
        let rng = &mut rng;
        let in_bursts = rng.chance(0.5);
        let rate = *pick(rng, &[0.0, 0.01, 0.05, 0.1, 0.2, 0.3]);
        let loss = if in_bursts { Loss::Bursts { rate, length: 3 } } else { Loss::Bernoulli { rate } };
        let reorder = *pick(rng, &[0.0, 0.05, 0.5]);
        let depth = 1 + log_uniform(rng, 1, 4096).min(4095) as u32;
        let corrupt = *pick(rng, &[0.0, 0.02, 0.3]);
        let round_trip = Duration::from_micros(log_uniform(rng, 1_000, 750_000));
        let held = Duration::from_micros(log_uniform(rng, 1_000, 500_000));
        let latency = round_trip / 2;
        let line = LinkConfig::new()
            .latency(latency)
            .jitter(if rng.chance(0.3) { latency / 4 } else { Duration::ZERO })
            .loss(loss)
            .reorder(reorder, Reorder::Depth { depth, at_most: held })
            .duplicate(*pick(rng, &[0.0, 0.05, 0.5]))
            .corrupt(corrupt)
            .rate(log_uniform(rng, 2_000_000, 20_000_000))
            .queue_packets(25);
        let mut makings = Makings::new(profile, line);
        makings.server_drive = drive(rng);
        makings.client_drive = drive(rng);
        configure(&mut makings, rng);
        correct_errors(&mut makings, seed);
        treat_channels(&mut makings, seed);
        let patient = rate + corrupt > 0.3 || round_trip > Duration::from_millis(300);
        if patient {
            makings.server.connection_timeout = PATIENT;
            makings.server.handshake_timeout = PATIENT;
            makings.client.connection_timeout = PATIENT;
            makings.client.connect_timeout = PATIENT;
        }
        let plan = Plan {
            lengths: Default::default(),
            burst: log_uniform(rng, 1, 64) as usize,
            pause: Duration::from_micros(log_uniform(rng, 500, 50_000)),
            within: WITHIN,
            mark: None,
            afterwards: round_trip + held + Duration::from_secs(2),
        };
        Self { profile, makings, plan, in_bursts }
    }

    fn run(&self, seed: u64, verbose: bool) -> Result<(u64, Tally), String> {
        let mut duo = Duo::connect(seed, &self.makings, verbose)?;
        let most = [(duo.client, duo.at_client), (duo.server, duo.at_server)]
            .map(|(node, id)| duo.world.endpoint(node)?.max_message_size(id));
        let most = most.into_iter().flatten().min().filter(|_| seed.is_multiple_of(LARGE_ONE_IN));
        // Megabytes on every channel take a while over the worst of these lines.
        let most = most.map(|most| if seed.is_multiple_of(LARGEST_ONE_IN) { most } else { most.min(LARGE) });
        let mut rng = Rng::new(seed ^ 0x6c_65_6e);
        let lengths = [(); 4].map(|()| lengths(&mut rng, most.map(|most| most as u32)));
        let traffic = Traffic::run(&Plan { lengths, ..self.plan.clone() }, &mut duo)?;
        let mut tally = Tally::default();
        (tally.sent, tally.delivered) = traffic.counts();
        for end in duo.stats()? {
            tally.retransmits += end.retransmits;
            tally.spurious += end.spurious_retransmits;
            tally.packets += end.packets_sent;
            tally.recovered += end.fec_recovered;
        }
        tally.close(self.profile, &mut duo.world)?;
        tally.lost_in_bursts = if self.in_bursts { tally.lines.lost } else { 0 };
        Ok((duo.world.digest(), tally))
    }
}

/// Everything else that may differ from one deployment to the next.
fn configure(makings: &mut Makings, rng: &mut Rng) {
    let Makings { server, client, .. } = makings;
    // Each side for itself: a feature is in use where both ask for it.
    for (batching, migration) in [
        (&mut server.send_batching, &mut server.connection_migration),
        (&mut client.send_batching, &mut client.connection_migration),
    ] {
        *batching = rng.chance(0.7);
        *migration = rng.chance(0.7);
    }
    let algorithms = [Algorithm::None, Algorithm::Lz4, Algorithm::Zstd];
    server.compression = CompressionConfig::new(*pick(rng, &algorithms));
    // Mostly the same; where not, the side that learns of it sends uncompressed.
    client.compression = if rng.chance(0.8) {
        server.compression.clone()
    } else {
        CompressionConfig::new(*pick(rng, &algorithms))
    };
    if rng.chance(0.5) {
        client.cipher_preference = vec![CipherSuite::ChaCha20Poly1305, CipherSuite::Aes128Gcm];
    }
    let modes = [CongestionMode::Conservative, CongestionMode::Aggressive];
    server.congestion = *pick(rng, &modes);
    client.congestion = *pick(rng, &modes);
}

/// Parity in advance on some seeds, each side for itself.
fn correct_errors(makings: &mut Makings, seed: u64) {
    let rng = &mut Rng::new(seed ^ 0x66_65_63);
    for fec in [&mut makings.server.fec, &mut makings.client.fec] {
        let (percent, flushes) = (1 + rng.below(400) as u16, 1 + rng.below(16) as u8);
        *fec = rng.chance(0.3).then(|| Fec::percent(percent).over(flushes));
    }
    if rng.chance(0.05) {
        makings.server.limits.fec_bytes = 0;
    }
}

/// Copies in advance and newest only on some seeds, each side for itself.
fn treat_channels(makings: &mut Makings, seed: u64) {
    let rng = &mut Rng::new(seed ^ 0x63_68_61);
    for configs in [&mut makings.server.channel_configs, &mut makings.client.channel_configs] {
        for channel in 0..4 {
            let mut config = ChannelConfig::default();
            config.redundancy =
                (channel < 2 && rng.chance(0.3)).then(|| Redundancy::percent(1 + rng.below(400) as u16));
            config.latest_only = channel == 3 && rng.chance(0.3);
            configs.insert(channel, config);
        }
    }
}

/// By events, or in ticks of 1 to 33 ms.
fn drive(rng: &mut Rng) -> Drive {
    if rng.chance(0.5) { Drive::Events } else { Drive::Ticks(Duration::from_millis(1 + rng.below(33))) }
}

/// The lengths of a lane's messages: some empty, most small, and in between three large ones where `most` says how
/// large, the first of them as large as can be.
fn lengths(rng: &mut Rng, most: Option<u32>) -> Vec<u32> {
    let small = |rng: &mut Rng| if rng.chance(0.05) { 0 } else { log_uniform(rng, 1, 3000) as u32 };
    let mut lengths: Vec<u32> = (0..MESSAGES).map(|_| small(rng)).collect();
    let Some(most) = most else { return lengths };
    for index in 0..LARGE_MESSAGES {
        let len = if index == 0 { most } else { log_uniform(rng, 3000, u64::from(most)) as u32 };
        let place = rng.below(MESSAGES as u64) as usize;
        lengths.insert(place, len);
    }
    lengths
}

/// A number from `low` up to `high`, each order of magnitude equally likely.
fn log_uniform(rng: &mut Rng, low: u64, high: u64) -> u64 {
    let (from, to) = ((low as f64).ln(), (high as f64).ln());
    ((from + rng.unit() * (to - from)).exp().round() as u64).clamp(low, high)
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.below(from.len() as u64) as usize]
}

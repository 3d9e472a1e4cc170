//! `cargo xtask sim table`: delays of small messages and goodput of large ones, by profile, controller and loss.

use std::fmt::Write as _;
use std::time::Duration;

use fastwire::congestion::CongestionMode::{self, Aggressive, Conservative, Cubic, ModelBased};
use fastwire::sim::{LinkConfig, Loss};
use fastwire::{ChannelConfig, Event, Fec, Redundancy, SendError};

use crate::check::Profile;
use crate::scenario::{Duo, Game, Makings, percentile};

const LOSSES: [f64; 5] = [0.0, 0.01, 0.05, 0.1, 0.2];
const SEEDS: u64 = 5;

/// Half the round trip.
const ONE_WAY: Duration = Duration::from_millis(25);

/// The bottleneck and its queue.
const RATE: u64 = 20_000_000;
const QUEUE: usize = 64 * 1024;

/// A bulk transfer ends with so many bytes, or after so long.
const BULK: usize = 8 << 20;
const BULK_WITHIN: Duration = Duration::from_secs(60);
const BULK_MESSAGE: usize = 16 << 10;

/// Pairs of a profile and a controller.
const PAIRS: [(Profile, CongestionMode); 6] = [
    (Profile::Base, Conservative),
    (Profile::Base, Aggressive),
    (Profile::Extended, Conservative),
    (Profile::Extended, Aggressive),
    (Profile::Extended, Cubic),
    (Profile::Extended, ModelBased),
];

/// What leaves before any loss is seen.
#[derive(Clone, Copy)]
enum Advance {
    Nothing,
    /// Copies of so many bytes for each hundred.
    Copies(u16),
    /// Parity of at most so many packets for each hundred, over so many flushes.
    Parity(u16, u8),
}

const ADVANCES: [Advance; 6] = [
    Advance::Copies(50),
    Advance::Copies(100),
    Advance::Copies(200),
    Advance::Parity(67, 3),
    Advance::Parity(100, 1),
    Advance::Parity(100, 2),
];

impl Advance {
    fn apply(self, makings: &mut Makings) {
        match self {
            Self::Nothing => {}
            Self::Copies(percent) => {
                let mut config = ChannelConfig::default();
                config.redundancy = Some(Redundancy::percent(percent));
                makings.client.channel_configs.insert(0, config);
            }
            Self::Parity(percent, flushes) => makings.client.fec = Some(Fec::percent(percent).over(flushes)),
        }
    }
}

impl std::fmt::Display for Advance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => write!(f, "nothing"),
            Self::Copies(percent) => write!(f, "{percent} % copies"),
            Self::Parity(percent, flushes) => write!(f, "{percent} % parity, {flushes} flushes"),
        }
    }
}

/// All tables, as text for docs/latency.md.
pub(super) fn tables() -> Result<String, String> {
    Ok(format!(
        "200 bytes, reliable and ordered, 60 times a second for 20 s, over 25 ms each way, {SEEDS} seeds a row.\n\n{}\n\
         8 MiB in messages of 16 KiB, reliable and ordered, over the same line, and through a bottleneck of 20 Mbit/s with a queue of \
         64 KiB; at most 60 s. The queueing delay is the smoothed round trip less the smallest one, looked at every 20 ms.\n\n{}",
        small()?,
        bulk()?
    ))
}

fn makings(profile: Profile, mode: CongestionMode, line: LinkConfig) -> Makings {
    let mut makings = Makings::new(profile, line);
    (makings.server.congestion, makings.client.congestion) = (mode, mode);
    makings
}

fn line(loss: f64) -> LinkConfig {
    LinkConfig::new().latency(ONE_WAY).loss(Loss::Bernoulli { rate: loss })
}

fn small() -> Result<String, String> {
    let mut table = String::from(
        "| profile | controller | in advance | loss | p50 (ms) | p95 | p99 | max | bytes a byte |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let plain = PAIRS.map(|(profile, mode)| (profile, mode, Advance::Nothing));
    let in_advance = ADVANCES.map(|advance| (Profile::Extended, ModelBased, advance));
    for (profile, mode, advance) in plain.into_iter().chain(in_advance) {
        for loss in LOSSES {
            let mut makings = makings(profile, mode, line(loss));
            advance.apply(&mut makings);
            let (mut delays, mut bytes, mut delivered) = (Vec::new(), 0, 0);
            for seed in 1..=SEEDS {
                let mut played = Game::INPUT.play(seed, &makings)?;
                delays.append(&mut played.delays);
                bytes += played.bytes;
                delivered += played.delivered;
            }
            let _ = writeln!(
                table,
                "| {profile} | {mode:?} | {advance} | {:.0} % | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} |",
                loss * 100.0,
                percentile(&mut delays, 0.5),
                percentile(&mut delays, 0.95),
                percentile(&mut delays, 0.99),
                percentile(&mut delays, 1.0),
                bytes as f64 / delivered as f64,
            );
        }
    }
    Ok(table)
}

fn bulk() -> Result<String, String> {
    let mut table = String::from(
        "| profile | controller | loss | MB/s | MB/s, 20 Mbit/s | queueing delay p50, p95 (ms) |\n|---|---|---|---|---|---|\n",
    );
    for (profile, mode) in PAIRS {
        for loss in LOSSES {
            let (free, _) = transfer(&makings(profile, mode, line(loss)))?;
            let narrow = line(loss).rate(RATE).queue_packets(usize::MAX).queue_bytes(QUEUE);
            let (bound, mut waits) = transfer(&makings(profile, mode, narrow))?;
            let _ = writeln!(
                table,
                "| {profile} | {mode:?} | {:.0} % | {free:.2} | {bound:.2} | {:.1}, {:.1} |",
                loss * 100.0,
                percentile(&mut waits, 0.5),
                percentile(&mut waits, 0.95),
            );
        }
    }
    Ok(table)
}

/// Bytes a microsecond, which are MB/s, and what the queue added to the round trip at every look.
fn transfer(makings: &Makings) -> Result<(f64, Vec<Duration>), String> {
    let mut duo = Duo::connect(1, makings, false)?;
    let (start, mut waits) = (duo.world.now(), Vec::new());
    let (mut offered, mut delivered) = (0, 0);
    while delivered < BULK && duo.world.now() - start < BULK_WITHIN {
        while offered < BULK {
            match duo.world.send(duo.client, duo.at_client, vec![7; BULK_MESSAGE], 0) {
                Ok(()) => offered += BULK_MESSAGE,
                Err(SendError::QueueFull(_)) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        duo.world.poke(duo.client);
        let until = duo.world.now() + Duration::from_millis(20);
        while let Some((_, event)) = duo.next_event(until) {
            match event {
                Event::Message { data, .. } => delivered += data.len(),
                other => return Err(format!("{other:?}")),
            }
            if delivered >= BULK {
                break;
            }
        }
        let [_, client] = duo.stats()?;
        waits.push(client.rtt.saturating_sub(client.min_rtt));
    }
    let micros = (duo.world.now() - start).as_micros().max(1) as f64;
    Ok((delivered as f64 / micros, waits))
}

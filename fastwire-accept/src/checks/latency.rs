//! P5 in the simulator: how long small reliable messages take on a line that loses, with and without parity in advance.

use std::time::Duration;

use fastwire::Fec;
use fastwire::sim::{LinkConfig, Loss};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Game, Makings, mean_and_error, percentile};

/// P5 of the extended profile; the base profile's is measured beside the peers.
pub(super) struct Latency;

const SEEDS: u64 = 20;
const QUICK_SEEDS: u64 = 3;

/// The best peer's p99 in ms on the same line, measured by `cargo xtask bench P5` (docs/acceptance.md).
const BEST_PEER: [f64; 3] = [77.0, 116.0, 157.0];

const LOSSES: [f64; 3] = [0.01, 0.05, 0.10];

/// A way to send, and what it must reach at each loss.
struct Way {
    name: &'static str,
    fec: Option<Fec>,
    share: f64,
    most_ms: [f64; 3],
    /// Bytes, as a multiple of those without redundancy.
    most_bytes: f64,
}

fn ways() -> [Way; 3] {
    [
        Way {
            name: "without redundancy",
            fec: None,
            share: 0.99,
            most_ms: BEST_PEER.map(|ms| ms * 1.05),
            most_bytes: 1.0,
        },
        Way {
            name: "parity up to 62 % over 3 flushes",
            fec: Some(Fec::percent(62).over(3)),
            share: 0.95,
            most_ms: [35.0, 45.0, 65.0],
            most_bytes: 1.6,
        },
        Way {
            name: "parity up to 100 % over 2 flushes",
            fec: Some(Fec::percent(100).over(2)),
            share: 0.99,
            most_ms: [45.0, 50.0, 65.0],
            most_bytes: 2.1,
        },
    ]
}

impl Check for Latency {
    fn id(&self) -> &'static str {
        "P5"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let seeds = match (run.seed, run.quick) {
            (Some(seed), _) => seed..seed + 1,
            (None, true) => 1..QUICK_SEEDS + 1,
            (None, false) => 1..SEEDS + 1,
        };
        let (mut ok, mut figures, mut lost) = (true, Vec::new(), 0);
        for (index, loss) in LOSSES.into_iter().enumerate() {
            let mut plain = 0.0;
            for way in ways() {
                let mut single = Vec::new();
                let (mut delays, mut bytes) = (Vec::new(), 0);
                for seed in seeds.clone() {
                    let mut played = match Game::INPUT.play(seed, &makings(loss, way.fec)) {
                        Ok(played) => played,
                        Err(reason) => return Outcome::fell_short(format!("seed {seed}: {reason}")),
                    };
                    single.push(percentile(&mut played.delays, way.share));
                    delays.append(&mut played.delays);
                    bytes += played.bytes;
                    lost += played.lost;
                }
                let at = percentile(&mut delays, way.share);
                let (_, error) = mean_and_error(&single);
                if way.fec.is_none() {
                    plain = bytes as f64;
                }
                let cost = bytes as f64 / plain;
                let most = way.most_ms[index];
                let holds = at <= most && cost <= way.most_bytes;
                ok &= holds;
                figures.push(format!(
                    "{} % loss, {}: p{:.0} {at:.1} ± {error:.1} ms (at most {most:.1}), {cost:.2} × the bytes{}",
                    loss * 100.0,
                    way.name,
                    way.share * 100.0,
                    if holds { "" } else { "  <- fell short" },
                ));
            }
        }
        let count = seeds.end - seeds.start;
        let outcome =
            Outcome::new(ok, format!("{count} seeds a case, {} cases", figures.len())).fault("lost", lost);
        figures.into_iter().fold(outcome, Outcome::note)
    }
}

fn makings(loss: f64, fec: Option<Fec>) -> Makings {
    let line = LinkConfig::new()
        .latency(Duration::from_millis(25))
        .jitter(Duration::from_millis(5))
        .loss(Loss::Bernoulli { rate: loss });
    let mut makings = Makings::new(Profile::Extended, line);
    makings.client.fec = fec;
    makings
}

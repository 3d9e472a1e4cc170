//! P6 in the simulator: bulk through a bottleneck, with loss beside it.

use std::time::Duration;

use fastwire::congestion::CongestionMode;
use fastwire::sim::{LinkConfig, Loss};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Makings, Narrow, carry, mean_and_error, percentile};

/// P6 of the extended profile; the base profile's is measured beside the peers.
pub(super) struct Bottleneck;

const SEEDS: u64 = 20;
const QUICK_SEEDS: u64 = 2;

const NARROW: Narrow = Narrow { rate: 20_000_000, queue: 64 << 10 };
const BULK: usize = 8 << 20;
const WITHIN: Duration = Duration::from_secs(60);

/// Loss, and what quinn with BBR reaches there, in MB/s (docs/acceptance.md).
const CASES: [(f64, f64); 4] = [(0.0, 2.34), (0.01, 2.28), (0.05, 2.20), (0.10, 2.11)];

/// Of that.
const SHARE: f64 = 0.95;
const MOST_DROPS: f64 = 500.0;
const MOST_WAIT_MS: f64 = 15.0;

impl Check for Bottleneck {
    fn id(&self) -> &'static str {
        "P6"
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
        for (loss, peer) in CASES {
            let (mut rates, mut drops, mut waits) = (Vec::new(), Vec::new(), Vec::new());
            for seed in seeds.clone() {
                let mut carried = match carry(seed, &makings(loss), NARROW, BULK, WITHIN) {
                    Ok(carried) => carried,
                    Err(reason) => return Outcome::fell_short(format!("seed {seed}: {reason}")),
                };
                rates.push(carried.rate());
                drops.push(carried.drops as f64);
                waits.append(&mut carried.waits);
                lost += carried.lost;
            }
            let ((rate, error), (dropped, _)) = (mean_and_error(&rates), mean_and_error(&drops));
            let wait = percentile(&mut waits, 0.95);
            let least = SHARE * peer;
            let holds = rate >= least && dropped < MOST_DROPS && wait <= MOST_WAIT_MS;
            ok &= holds;
            figures.push(format!(
                "{} % loss: {rate:.2} ± {error:.2} MB/s (at least {least:.2}), {dropped:.0} queue drops (under {MOST_DROPS}), \
                 queueing delay p95 {wait:.1} ms (at most {MOST_WAIT_MS}){}",
                loss * 100.0,
                if holds { "" } else { "  <- fell short" },
            ));
        }
        let count = seeds.end - seeds.start;
        let outcome =
            Outcome::new(ok, format!("{count} seeds a case, {} cases", figures.len())).fault("lost", lost);
        figures.into_iter().fold(outcome, Outcome::note)
    }
}

fn makings(loss: f64) -> Makings {
    let line = LinkConfig::new()
        .latency(Duration::from_millis(25))
        .jitter(Duration::from_millis(5))
        .loss(Loss::Bernoulli { rate: loss })
        .rate(NARROW.rate)
        .queue_packets(usize::MAX)
        .queue_bytes(NARROW.queue);
    let mut makings = Makings::new(Profile::Extended, line);
    let mode = CongestionMode::ModelBased;
    (makings.server.congestion, makings.client.congestion) = (mode, mode);
    makings
}

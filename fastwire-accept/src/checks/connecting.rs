//! R2: connecting over a very bad line.

use std::time::Duration;

use fastwire::Event;
use fastwire::sim::{LinkConfig, Loss};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, Tally, run_seeds};

const CONNECTS: u64 = 10_000;
const QUICK_CONNECTS: u64 = 500;
/// The share of connects that must succeed, and within what virtual time; also the default connect timeout.
const ENOUGH: f64 = 0.999;
const WITHIN: Duration = Duration::from_secs(5);
const ROUND_TRIP: Duration = Duration::from_millis(50);
const SHARE: f64 = 0.3;
const BURST: u32 = 3;

/// R2.
pub(super) struct Connecting;

/// The lines, by name.
fn lines() -> [(&'static str, LinkConfig); 4] {
    let line = || LinkConfig::new().latency(ROUND_TRIP / 2);
    [
        ("lost in bursts", line().loss(Loss::Bursts { rate: SHARE, length: BURST })),
        ("lost singly", line().loss(Loss::Bernoulli { rate: SHARE })),
        ("corrupted in bursts", line().corrupt(SHARE).corrupt_burst(BURST)),
        ("corrupted singly", line().corrupt(SHARE)),
    ]
}

impl Check for Connecting {
    fn id(&self) -> &'static str {
        "R2"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let connects = if run.quick { QUICK_CONNECTS } else { CONNECTS };
        let mut outcome = Outcome::new(true, "");
        let mut shares = Vec::new();
        for (name, line) in lines() {
            let makings = Makings::new(run.profile, line);
            let seeds =
                run_seeds(run, 1..=connects, |seed, verbose| connect(run.profile, seed, &makings, verbose));
            let on_time = seeds.total.delivered as f64 / seeds.count as f64;
            let broken = !seeds.failures.is_empty();
            outcome.ok &= on_time >= ENOUGH && !broken;
            shares.push(format!("{:.2} % {name}", on_time * 100.0));
            let faults = seeds.total.lines.lost + seeds.total.lines.corrupted;
            let late = seeds.total.sent - seeds.total.delivered;
            outcome = outcome.fault(name, faults).note(format!(
                "{name}: {} connects, {late} not within {WITHIN:?}, {:.0} ms on average",
                seeds.count,
                seeds.total.seconds * 1000.0 / seeds.count as f64,
            ));
            outcome = seeds.explain(self.id(), outcome);
        }
        outcome.figure = format!("connected within {WITHIN:?}: {}", shares.join(", "));
        outcome
    }
}

/// One connect: `sent` counts it, `delivered` if it was on time on both sides; `seconds` is how long it took.
fn connect(profile: Profile, seed: u64, makings: &Makings, verbose: bool) -> Result<Tally, String> {
    let (mut world, server, client) = Duo::strangers(seed, makings)?;
    world.connect(client, server).map_err(|error| error.to_string())?;
    let deadline = world.now() + WITHIN;
    let (mut here, mut there) = (false, false);
    world.run_until(deadline, |world, node, event| {
        if verbose {
            println!(
                "    {:?} {} {event:?}",
                world.elapsed(),
                if node == client { "client" } else { "server" }
            );
        }
        if let Event::Connected { .. } = event {
            here |= node == client;
            there |= node == server;
        }
        here && there
    });
    let mut tally = Tally { sent: 1, delivered: u64::from(here && there), ..Tally::default() };
    tally.close(profile, &mut world)?;
    Ok(tally)
}

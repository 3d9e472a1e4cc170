//! R8: a NAT that forgets its mapping again and again during a transfer.

use std::time::Duration;

use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, LinkConfig, Loss};
use fastwire::{Event, SendError};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, Tally, run_seeds};

const SEEDS: u64 = 50;
const QUICK_SEEDS: u64 = 2;
const TOTAL: usize = 10_000_000;
const LEN: usize = 2000;
const EVERY: Duration = Duration::from_millis(1500);
const LONGEST_STALL: Duration = Duration::from_secs(1);
/// So that the transfer takes long enough for some moves.
const RATES: [u64; 3] = [4_000_000, 10_000_000, 20_000_000];
const LATENCIES: [u64; 3] = [5, 25, 60];
/// A deeper queue would delay everything by more than the stall that is allowed.
const QUEUE: usize = 100;
const WITHIN: Duration = Duration::from_secs(600);

/// R8.
pub(super) struct Rebinding;

#[derive(Debug, Default)]
struct Total {
    tally: Tally,
    ports: u64,
    addresses: u64,
    followed: u64,
    longest: Duration,
    /// The most that went to a new path before it was proved, relative to what came from there.
    unproved: f64,
}

impl std::ops::AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.tally += other.tally;
        self.ports += other.ports;
        self.addresses += other.addresses;
        self.followed += other.followed;
        self.longest = self.longest.max(other.longest);
        self.unproved = self.unproved.max(other.unproved);
    }
}

impl Check for Rebinding {
    fn id(&self) -> &'static str {
        "R8"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let seeds = run_seeds(run, 1..=if run.quick { QUICK_SEEDS } else { SEEDS }, |seed, verbose| {
            let mut total = Total::default();
            for port_only in [true, false] {
                for up in [true, false] {
                    total += transfer(run.profile, seed, port_only, up, verbose)
                        .map_err(|reason| format!("port only {port_only}, upward {up}: {reason}"))?;
                }
            }
            Ok(total)
        });
        let Total { unproved, ports, addresses, followed, longest, .. } = &seeds.total;
        let figure = format!(
            "{}, 4 transfers of {TOTAL} bytes each, every message once and in order; {followed} moves followed, longest \
             stall {:.2} s; {:.2} times what came from a new path at most",
            seeds.figure(),
            longest.as_secs_f64(),
            unproved,
        );
        let outcome = Outcome::new(seeds.failures.is_empty(), figure)
            .fault("ports rebound", *ports)
            .fault("addresses rebound", *addresses);
        seeds.explain(self.id(), outcome)
    }
}

fn transfer(profile: Profile, seed: u64, port_only: bool, up: bool, verbose: bool) -> Result<Total, String> {
    let (rate, latency) = (RATES[seed as usize % 3], LATENCIES[seed as usize / 3 % 3]);
    let line = LinkConfig::new()
        .latency(Duration::from_millis(latency))
        .loss(Loss::Bernoulli { rate: if seed.is_multiple_of(2) { 0.0 } else { 0.005 } })
        .rate(rate)
        .queue_packets(QUEUE);
    let makings = Makings::new(profile, line);
    let mut duo = Duo::connect(seed, &makings, verbose)?;
    let (from, id, to) =
        if up { (duo.client, duo.at_client, duo.server) } else { (duo.server, duo.at_server, duo.client) };
    let mut ledger = Ledger::new(DeliveryMode::ReliableOrdered, seed);
    let mut total = Total::default();
    let deadline = duo.world.now() + WITHIN;
    let (mut heard, mut next_move) = (duo.world.now(), duo.world.now() + EVERY);
    while ledger.delivered() * LEN < TOTAL {
        while ledger.sent() * LEN < TOTAL {
            match duo.world.send(from, id, ledger.message(LEN), 0) {
                Ok(()) => ledger.on_sent(LEN),
                Err(SendError::QueueFull(_)) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        duo.world.poke(from);
        let pause = duo.world.now() + Duration::from_millis(10);
        while let Some((node, event)) = duo.next_event(pause) {
            let Event::Message { data, .. } = event else { return Err(format!("{event:?}")) };
            if node != to {
                return Err("a message came back".into());
            }
            ledger.on_delivered(&data).map_err(|law| law.to_string())?;
            total.longest = total.longest.max(duo.world.now() - heard);
            heard = duo.world.now();
        }
        if duo.world.now() - heard > LONGEST_STALL {
            return Err(format!(
                "nothing for {:?} after {} of {TOTAL} bytes",
                duo.world.now() - heard,
                ledger.delivered() * LEN
            ));
        }
        if duo.world.now() >= next_move {
            next_move += EVERY;
            let home = duo.world.address(duo.client);
            let moved = if port_only {
                total.ports += 1;
                duo.world.network().rebind_port(home)
            } else {
                total.addresses += 1;
                duo.world.network().rebind_address(home)
            };
            duo.say(format_args!("the client is seen at {moved:?} now"));
        }
        if duo.world.now() >= deadline {
            return Err(format!("{} of {TOTAL} bytes within {WITHIN:?}", ledger.delivered() * LEN));
        }
    }
    let [server, _] = duo.stats()?;
    total.followed = server.migrations;
    total.unproved = duo.world.report().on_unproved_paths;
    total.tally.close(profile, &mut duo.world)?;
    Ok(total)
}

//! R4: the largest messages there are, and a million of the smallest.

use std::time::Duration;

use fastwire::congestion::CongestionMode;
use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, LinkConfig, Loss};
use fastwire::{Event, SendError};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, Tally, run_seeds};

const LARGE: usize = 100;
const SMALL: usize = 1_000_000;
const QUICK_LARGE: usize = 20;
const QUICK_SMALL: usize = 50_000;
const SMALL_LEN: usize = 16;
const MAX_FRAGMENTED_MESSAGE: usize = 255 * 1155;
const LATENCY: Duration = Duration::from_millis(25);
/// Repeats allowed where nothing is lost.
const MAX_REPEATS: f64 = 0.01;
/// By when, in virtual time.
const WITHIN: Duration = Duration::from_secs(3600);

/// R4.
pub(super) struct Volume;

/// Its runs: name, loss, whether the messages are large, the reliable mode, the controller.
const RUNS: [(&str, f64, bool, DeliveryMode, CongestionMode); 6] = {
    use CongestionMode::{Aggressive, Conservative};
    use DeliveryMode::{ReliableOrdered, ReliableUnordered};
    [
        ("255 fragments, no loss", 0.0, true, ReliableOrdered, Conservative),
        ("255 fragments, no loss, aggressive", 0.0, true, ReliableUnordered, Aggressive),
        ("255 fragments, 5 % loss", 0.05, true, ReliableOrdered, Conservative),
        ("255 fragments, 5 % loss, aggressive", 0.05, true, ReliableUnordered, Aggressive),
        ("small ones", 0.0, false, ReliableOrdered, Aggressive),
        ("small ones, conservative", 0.0, false, ReliableUnordered, Conservative),
    ]
};

impl Check for Volume {
    fn id(&self) -> &'static str {
        "R4"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let quick = run.quick;
        let seeds = run_seeds(run, 0..=RUNS.len() as u64 - 1, |seed, verbose| {
            let index = (seed as usize).min(RUNS.len() - 1);
            transfer(run.profile, index, quick, verbose)
                .map_err(|reason| format!("{}: {reason}", RUNS[index].0))
        });
        let Tally { delivered, retransmits, packets, lines, .. } = seeds.total;
        let figure = format!(
            "{} transfers, {} failures, {delivered} messages in {packets} packets, {retransmits} of them repeats",
            seeds.count,
            seeds.failures.len(),
        );
        let outcome = Outcome::new(seeds.failures.is_empty(), figure);
        let outcome = if run.seed.is_none() { outcome.fault("lost", lines.lost) } else { outcome };
        seeds.explain(self.id(), outcome)
    }
}

/// From client to server, as fast as messages are accepted.
fn transfer(profile: Profile, index: usize, quick: bool, verbose: bool) -> Result<Tally, String> {
    let (_, rate, large, mode, congestion) = RUNS[index];
    let mut makings =
        Makings::new(profile, LinkConfig::new().latency(LATENCY).loss(Loss::Bernoulli { rate }));
    makings.client.congestion = congestion;
    makings.server.congestion = congestion;
    let mut duo = Duo::connect(index as u64 + 1, &makings, verbose)?;
    // A moment for both to learn that the other is one of theirs.
    let settled = duo.world.now() + Duration::from_secs(1);
    while duo.next_event(settled).is_some() {}
    let most = duo.world.endpoint(duo.client).and_then(|endpoint| endpoint.max_message_size(duo.at_client));
    // The most that the base profile's 255 fragments hold.
    let most = most.ok_or("the connection is gone")?.min(MAX_FRAGMENTED_MESSAGE);
    let (count, len) = match (large, quick) {
        (true, false) => (LARGE, most),
        (true, true) => (QUICK_LARGE, most),
        (false, false) => (SMALL, SMALL_LEN),
        (false, true) => (QUICK_SMALL, SMALL_LEN),
    };
    let channel = mode.id();
    let mut ledger = Ledger::new(mode, 4);
    let began = duo.world.elapsed();
    let deadline = duo.world.now() + WITHIN;
    while ledger.sent() < count || !ledger.is_complete() {
        while ledger.sent() < count {
            match duo.world.send(duo.client, duo.at_client, ledger.message(len), channel) {
                Ok(()) => ledger.on_sent(len),
                Err(SendError::QueueFull(_)) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        duo.world.poke(duo.client);
        // Until the queue has had time to shrink.
        let until = (duo.world.now() + Duration::from_millis(10)).min(deadline);
        while let Some((_, event)) = duo.next_event(until) {
            match event {
                Event::Message { data, .. } => ledger.on_delivered(&data).map_err(|law| law.to_string())?,
                other => return Err(format!("{other:?}")),
            }
        }
        if duo.world.now() >= deadline {
            return Err(format!("{} of {} after {WITHIN:?}", ledger.delivered(), ledger.sent()));
        }
    }
    let took = duo.world.elapsed() - began;
    let [_, client] = duo.stats()?;
    duo.say(format_args!(
        "{} messages of {len} bytes in {took:?}, {} repeats",
        ledger.delivered(),
        client.retransmits
    ));
    let share = client.retransmits as f64 / client.packets_sent as f64;
    if rate == 0.0 && share > MAX_REPEATS {
        return Err(format!("{:.2} % of the packets were repeats, though nothing was lost", share * 100.0));
    }
    let mut tally = Tally {
        sent: ledger.sent() as u64,
        delivered: ledger.delivered() as u64,
        retransmits: client.retransmits,
        packets: client.packets_sent,
        ..Tally::default()
    };
    tally.close(profile, &mut duo.world)?;
    Ok(tally)
}

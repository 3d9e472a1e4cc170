//! S7: no key ever seals two packets under one nonce, whatever arrives twice and whoever starts anew.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastwire::sim::{LinkConfig, Loss, NodeId, Reorder, Rng, Sighting, World};
use fastwire::{ConnectionId, Event};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, Tally, run_seeds};

const SEEDS: u64 = 2_000;
const QUICK_SEEDS: u64 = 40;
const ROUNDS: u32 = 5;
const MS: Duration = Duration::from_millis(1);
/// A bare CHALLENGE begins with a control header and its type, and so does RESPONSE of the extended profile; that of the base
/// profile always has this length, and nothing else there.
const CHALLENGE: [u8; 9] = [2, 0, 0, 0, 0, 0, 0, 0, 2];
const RESPONSE: [u8; 9] = [2, 0, 0, 0, 0, 0, 0, 0, 3];
const RESPONSE_LEN: usize = 24 + 8 + 1 + 32;
const MESSAGE_LEN: usize = 200;

/// S7.
pub(super) struct Nonces;

#[derive(Debug, Default)]
struct Findings {
    tally: Tally,
    challenges_again: u64,
    responses_again: u64,
    server_restarts: u64,
    client_restarts: u64,
    connections: u64,
}

impl std::ops::AddAssign for Findings {
    fn add_assign(&mut self, other: Self) {
        self.tally += other.tally;
        self.challenges_again += other.challenges_again;
        self.responses_again += other.responses_again;
        self.server_restarts += other.server_restarts;
        self.client_restarts += other.client_restarts;
        self.connections += other.connections;
    }
}

impl Check for Nonces {
    fn id(&self) -> &'static str {
        "S7"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let seeds = run_seeds(run, 1..=if run.quick { QUICK_SEEDS } else { SEEDS }, |seed, verbose| {
            one_seed(run.profile, seed, verbose)
        });
        let Findings { tally, connections, .. } = &seeds.total;
        let figure =
            format!("{}, {connections} connections, {} nonces twice", seeds.figure(), tally.nonces_reused,);
        let outcome = Outcome::new(seeds.failures.is_empty(), figure);
        let outcome = seeds.explain(self.id(), outcome);
        if run.seed.is_some() {
            return outcome;
        }
        outcome
            .fault("CHALLENGE again", seeds.total.challenges_again)
            .fault("RESPONSE again", seeds.total.responses_again)
            .fault("server restarts", seeds.total.server_restarts)
            .fault("client restarts", seeds.total.client_restarts)
    }
}

fn one_seed(profile: Profile, seed: u64, verbose: bool) -> Result<Findings, String> {
    let mut rng = Rng::new(seed);
    let line = LinkConfig::new()
        .latency((1 + rng.below(60)) as u32 * MS)
        .loss(Loss::Bernoulli { rate: 0.1 })
        .duplicate(0.5)
        .corrupt(0.1)
        .reorder(0.3, Reorder::Delay(150 * MS));
    let mut makings = Makings::new(profile, line);
    makings.server.send_batching = rng.chance(0.5);
    makings.client.send_batching = rng.chance(0.5);
    makings.server.connection_migration = rng.chance(0.5);
    makings.client.connection_migration = rng.chance(0.5);
    let (mut world, server, client) = Duo::strangers(seed, &makings)?;
    let counts = count_copies(profile, &mut world);
    let mut findings = Findings::default();
    let mut ends: Vec<(NodeId, ConnectionId)> = Vec::new();
    for _ in 0..ROUNDS {
        // A client that is connected, or connecting, says so; then there is nothing to do.
        let _ = world.connect(client, server);
        let round = world.now() + Duration::from_millis(1500 + rng.below(3000));
        while world.now() < round {
            for &(node, id) in &ends {
                // An end that is gone takes no message.
                let _ = world.send(node, id, vec![5; MESSAGE_LEN], rng.below(4) as u8);
            }
            world.poke(client);
            world.poke(server);
            let pause = (world.now() + 20 * MS).min(round);
            while let Some((node, event)) = world.next_event(pause) {
                match event {
                    Event::Connected { connection } => {
                        findings.connections += u64::from(node == client);
                        ends.push((node, connection));
                    }
                    Event::Disconnected { connection, .. } => ends.retain(|end| *end != (node, connection)),
                    _ => {}
                }
            }
        }
        let (gone, restarts) = if rng.chance(0.5) {
            (server, &mut findings.server_restarts)
        } else {
            (client, &mut findings.client_restarts)
        };
        if verbose {
            let name = if gone == server { "server" } else { "client" };
            println!("    {:10.3} s  {name} restarts", world.elapsed().as_secs_f64());
        }
        *restarts += 1;
        world.switch_off(gone);
        ends.retain(|(node, _)| *node != gone);
        let back = world.now() + Duration::from_millis(rng.below(400));
        while world.next_event(back).is_some() {}
        world.switch_on(gone).map_err(|error| error.to_string())?;
    }
    findings.challenges_again = counts[0].load(Ordering::Relaxed);
    findings.responses_again = counts[1].load(Ordering::Relaxed);
    findings.tally.close(profile, &mut world)?;
    Ok(findings)
}

/// Counts copies of CHALLENGE and of RESPONSE that arrive.
fn count_copies(profile: Profile, world: &mut World) -> Arc<[AtomicU64; 2]> {
    let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let writer = Arc::clone(&counts);
    let mut seen = HashSet::new();
    world.watch(move |sighting: &Sighting<'_>| {
        if !sighting.arrived {
            return;
        }
        let is_challenge = sighting.bytes.starts_with(&CHALLENGE);
        let is_response = match profile {
            Profile::Extended => sighting.bytes.starts_with(&RESPONSE),
            _ => sighting.bytes.len() == RESPONSE_LEN && !is_challenge,
        };
        if (is_challenge || is_response) && !seen.insert(sighting.bytes.to_vec()) {
            writer[usize::from(is_response)].fetch_add(1, Ordering::Relaxed);
        }
    });
    counts
}

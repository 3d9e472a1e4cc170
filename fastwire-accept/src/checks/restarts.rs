//! R7: servers and clients that die and come back on the same port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastwire::sim::{LinkConfig, Loss, NodeId};
use fastwire::{ConnectionId, DisconnectReason, Event};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, run_seeds};

mod sockets;

const SEEDS: u64 = 200;
const QUICK_SEEDS: u64 = 8;
/// Traffic has to flow again so soon after the return.
const AGAIN_WITHIN: Duration = Duration::from_secs(3);
/// Where the line loses what the two say to find each other again, which costs a second each time.
const AGAIN_WITHIN_LOSSY: Duration = Duration::from_secs(10);
/// How long the dead stay away; a client asks for its server as long as its connection timeout lasts.
const AWAY: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(8),
];
const FRAME: Duration = Duration::from_millis(20);

/// R7.
pub(super) struct Restarts;

impl Check for Restarts {
    fn id(&self) -> &'static str {
        "R7"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let seeds = run_seeds(run, 1..=if run.quick { QUICK_SEEDS } else { SEEDS }, |seed, verbose| {
            let mut total = Total::default();
            for who in [Dies::Server, Dies::Client] {
                for away in AWAY {
                    total += restart(run.profile, seed, who, away, verbose)
                        .map_err(|reason| format!("{who:?} away for {away:?}: {reason}"))?;
                }
            }
            Ok(total)
        });
        let real = if run.seed.is_none() {
            sockets::restarts(run.profile)
        } else {
            Ok((Duration::ZERO, Duration::ZERO))
        };
        let Total { servers, clients, stale, lossy, worst_server, worst_client } = seeds.total;
        let [server, server_lossy] = worst_server.map(|time| time.as_secs_f64());
        let [client, client_lossy] = worst_client.map(|time| time.as_secs_f64());
        let figure = format!(
            "{}; traffic again {server:.2} s at most after a server's return, {client:.2} s after a client's \
             (where 1 to 5 % of the packets are lost: {server_lossy:.2} s, {client_lossy:.2} s)",
            seeds.figure(),
        );
        let outcome = Outcome::new(seeds.failures.is_empty() && real.is_ok(), figure)
            .fault("servers killed", servers)
            .fault("clients killed", clients)
            .fault("of these over a lossy line", lossy)
            .fault("stale packets offered", stale)
            .note(match real {
                Ok((server, client)) => format!(
                    "real sockets: {:.2} s after the server's return, {:.2} s after the client's",
                    server.as_secs_f64(),
                    client.as_secs_f64()
                ),
                Err(reason) => format!("real sockets: {reason}"),
            });
        seeds.explain(self.id(), outcome)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dies {
    Server,
    Client,
}

#[derive(Debug, Default)]
struct Total {
    servers: u64,
    clients: u64,
    stale: u64,
    /// Restarts beside a line that loses packets.
    lossy: u64,
    /// The longest time without traffic: over sound lines, and over lossy ones.
    worst_server: [Duration; 2],
    worst_client: [Duration; 2],
}

impl std::ops::AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.servers += other.servers;
        self.clients += other.clients;
        self.stale += other.stale;
        self.lossy += other.lossy;
        for index in [0, 1] {
            self.worst_server[index] = self.worst_server[index].max(other.worst_server[index]);
            self.worst_client[index] = self.worst_client[index].max(other.worst_client[index]);
        }
    }
}

/// Everything that had arrived before the death, to be offered again after the return.
type Past = Arc<Mutex<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>>;

/// Which of the two lives of the conversation a message belongs to; it is all a message says.
const OLD: u8 = 1;
const NEW: u8 = 2;

fn restart(profile: Profile, seed: u64, who: Dies, away: Duration, verbose: bool) -> Result<Total, String> {
    let loss = [0.0, 0.01, 0.05][seed as usize % 3];
    let limit = if loss > 0.0 { AGAIN_WITHIN_LOSSY } else { AGAIN_WITHIN };
    let latency = Duration::from_millis([1, 20, 60][seed as usize / 3 % 3]);
    let mut makings =
        Makings::new(profile, LinkConfig::new().latency(latency).loss(Loss::Bernoulli { rate: loss }));
    makings.server.send_batching = seed.is_multiple_of(2);
    makings.client.send_batching = seed.is_multiple_of(2);
    makings.server.connection_migration = seed % 4 < 2;
    makings.client.connection_migration = seed % 4 < 2;
    let (mut world, server, client) = Duo::strangers(seed, &makings)?;
    let past = Past::default();
    {
        let past = Arc::clone(&past);
        world.watch(move |seen| {
            if seen.arrived {
                let old = (seen.from, seen.to, seen.bytes.to_vec());
                past.lock().unwrap_or_else(PoisonError::into_inner).push(old);
            }
        });
    }
    let at_client = world.connect(client, server).map_err(|error| error.to_string())?;
    let mut duo = Duo::await_connection(world, (server, client), at_client, verbose)?;
    let mut life = Life { server: vec![duo.at_server], client: Some(duo.at_client), ..Life::default() };
    let until = duo.world.now() + Duration::from_millis(500 + seed % 7 * 10);
    while duo.world.now() < until {
        life.frame(&mut duo, OLD)?;
    }
    let dead = if who == Dies::Server { duo.server } else { duo.client };
    duo.world.switch_off(dead);
    let old = std::mem::replace(&mut life, Life { reborn: true, ..Life::default() });
    let other = if who == Dies::Server { duo.client } else { duo.server };
    let stale = std::mem::take(&mut *past.lock().unwrap_or_else(PoisonError::into_inner));
    duo.world.watch(|_| {});

    let back = duo.world.now() + away;
    let mut ends = Vec::new();
    while let Some((node, event)) = duo.world.next_event(back) {
        life.hear(&duo, node, event, &mut ends)?;
    }
    duo.world.switch_on(dead).map_err(|error| error.to_string())?;
    let returned = duo.world.now();
    if who == Dies::Client {
        duo.world.connect(duo.client, duo.server).map_err(|error| error.to_string())?;
    }
    duo.say(format_args!("{who:?} is back"));
    // Its past is offered to both again, in the midst of the new beginning.
    let mut offered = stale.iter();
    let deadline = returned + limit * 2;
    while !(life.heard[0] && life.heard[1]) {
        let now = duo.world.now();
        if now >= deadline {
            return Err(format!(
                "no traffic within {:?} of the return ({life:?}, ends {ends:?})",
                now - returned
            ));
        }
        for (from, to, bytes) in offered.by_ref().take(stale.len() / 50 + 1) {
            duo.world.network().send(now, *from, *to, None, bytes);
        }
        life.frame_with(&mut duo, NEW, &mut ends)?;
    }
    let took = duo.world.now() - returned;
    for (from, to, bytes) in &stale {
        let now = duo.world.now();
        duo.world.network().send(now, *from, *to, None, bytes);
    }
    let settled = duo.world.now() + Duration::from_secs(2);
    while duo.world.now() < settled {
        life.frame_with(&mut duo, NEW, &mut ends)?;
    }
    duo.say(format_args!("traffic again after {took:?}; ends: {ends:?}"));
    if took > limit {
        return Err(format!("traffic again only {took:?} after the return"));
    }
    let survivor = if who == Dies::Server { old.client } else { old.server.first().copied() };
    let reasons: Vec<_> = ends
        .iter()
        .filter(|(node, id, _)| *node == other && Some(*id) == survivor)
        .map(|(_, _, why)| *why)
        .collect();
    let as_expected = match who {
        Dies::Server => reasons == [DisconnectReason::Timeout],
        // Found by id, and the new one has another: nobody knows that they are the same client.
        Dies::Client if profile == Profile::Extended => {
            matches!(reasons[..], [] | [DisconnectReason::Timeout])
        }
        Dies::Client if loss == 0.0 => reasons == [DisconnectReason::Replaced],
        // It may be back over its second port, where nothing is to be replaced: then the old one times out some day.
        Dies::Client => matches!(reasons[..], [] | [DisconnectReason::Replaced | DisconnectReason::Timeout]),
    };
    if !as_expected {
        return Err(format!("the survivor's old connection ended {reasons:?}"));
    }
    let mut total = Total { stale: stale.len() as u64 * 2, lossy: u64::from(loss > 0.0), ..Total::default() };
    match who {
        Dies::Server => (total.servers, total.worst_server[usize::from(loss > 0.0)]) = (1, took),
        Dies::Client => (total.clients, total.worst_client[usize::from(loss > 0.0)]) = (1, took),
    }
    let report = duo.world.report();
    if report.nonces_reused > 0 {
        return Err(format!("{} nonces used twice under one key", report.nonces_reused));
    }
    Ok(total)
}

/// The connection of the moment, and who has heard what was said in it.
#[derive(Debug, Default)]
struct Life {
    /// Those that the server has: a client that asked from two ports may have two, until it tells the loser.
    server: Vec<ConnectionId>,
    client: Option<ConnectionId>,
    /// Whether it is the second one.
    reborn: bool,
    /// The server has heard the client's new life, and the other way round.
    heard: [bool; 2],
}

impl Life {
    /// Both say something, and time passes.
    fn frame(&mut self, duo: &mut Duo, life: u8) -> Result<(), String> {
        let mut ends = Vec::new();
        self.frame_with(duo, life, &mut ends)?;
        if ends.is_empty() { Ok(()) } else { Err(format!("{ends:?}")) }
    }

    fn frame_with(&mut self, duo: &mut Duo, life: u8, ends: &mut Vec<End>) -> Result<(), String> {
        let server = self.server.iter().map(|id| (duo.server, *id));
        for (node, id) in server.chain(self.client.map(|id| (duo.client, id))) {
            for channel in 0..4 {
                // A connection that is on its way out takes nothing.
                let _ = duo.world.send(node, id, [life; 40], channel);
            }
            duo.world.poke(node);
        }
        let until = duo.world.now() + FRAME;
        while let Some((node, event)) = duo.world.next_event(until) {
            self.hear(duo, node, event, ends)?;
        }
        Ok(())
    }

    fn hear(&mut self, duo: &Duo, node: NodeId, event: Event, ends: &mut Vec<End>) -> Result<(), String> {
        let at_server = node == duo.server;
        match event {
            Event::Connected { connection } if at_server => self.server.push(connection),
            Event::Connected { connection } => self.client = Some(connection),
            Event::Message { connection, data, .. } => {
                let is_current = match at_server {
                    true => self.server.contains(&connection),
                    false => self.client == Some(connection),
                };
                if data.first() == Some(&NEW) {
                    self.heard[usize::from(!at_server)] = true;
                } else if is_current && self.reborn {
                    return Err("a message of the old life arrived in the new one".into());
                }
            }
            Event::Disconnected { connection, reason } => {
                if at_server {
                    self.server.retain(|id| *id != connection);
                }
                ends.push((node, connection, reason));
            }
            other => return Err(format!("{other:?}")),
        }
        Ok(())
    }
}

/// Whose connection ended, and why.
type End = (NodeId, ConnectionId, DisconnectReason);

//! The server of a soak, in a process of its own that outlives every restart: what it leaks over a hundred lives shows.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use fastwire::{Event, Server, ServerConfig, ServerProfile};
use fastwire_testkit::counting;
use serde_json::{Value, json};

use crate::stand_in::StandIn;

/// The first argument of the program when it is to be the server.
const ROLE: &str = "--soak-server";
/// One look at the socket; the owner of a server driven by ticks.
const NAP: Duration = Duration::from_millis(2);
/// Between the end of a life and the next.
const AWAY: Duration = Duration::from_millis(500);
/// A farewell takes three datagrams, an RTO apart.
const DRAIN: Duration = Duration::from_secs(2);

/// Is the server, if this process was started to be it; to be asked first thing in `main`.
#[must_use]
pub fn stand_in() -> Option<ExitCode> {
    if std::env::args().nth(1)? != ROLE {
        return None;
    }
    Some(match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("soak server: {reason}");
            ExitCode::FAILURE
        }
    })
}

fn bind(at: SocketAddr) -> Result<Server, String> {
    let mut config = ServerConfig::default();
    config.profile = ServerProfile::Both;
    config.connection_migration = true;
    config.max_connections = 4096;
    Server::builder().config(config).bind(at).map_err(|error| error.to_string())
}

/// Tells its address, then obeys: `look` (it answers with its figures), `crash`, `drain`. Ends with its input.
fn serve() -> Result<(), String> {
    counting::watch_process();
    let (tell, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let mut server = Some(bind(([127, 0, 0, 1], 0).into())?);
    let at = server.as_ref().and_then(|server| server.local_addr().ok()).ok_or("no address")?;
    println!("{at}");
    let mut life = Life::default();
    loop {
        match orders.try_recv() {
            Ok(order) => match order.as_str() {
                "look" => {
                    println!("{}", life.look(server.as_ref()));
                    // Nobody to tell it to any more.
                    if std::io::stdout().flush().is_err() {
                        return Ok(());
                    }
                }
                "drain" => {
                    if let Some(server) = &mut server {
                        server.shut_down_within(DRAIN);
                        life.drains = true;
                    }
                }
                _ => {
                    if let Some(mut server) = server.take() {
                        life.migrations += moves(&server);
                        let ids: Vec<_> = server.connections().collect();
                        for id in ids {
                            server.endpoint_mut().abort(Instant::now(), id);
                        }
                        life.end();
                    }
                }
            },
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        if let Some(running) = &mut server {
            turn(running, &mut life);
            if life.drains && running.connection_count() == 0 {
                server = None;
                life.end();
            }
        } else if life.back.is_some_and(|back| Instant::now() >= back) {
            server = Some(bind(at)?);
        }
        std::thread::sleep(NAP);
    }
}

#[derive(Default)]
struct Life {
    /// It is told to leave.
    drains: bool,
    /// When the next one begins.
    back: Option<Instant>,
    restarts: u64,
    echoed: u64,
    /// Echoes that found no room, which at this rate none may.
    refused: u64,
    migrations: u64,
}

impl Life {
    fn end(&mut self) {
        self.drains = false;
        self.back = Some(Instant::now() + AWAY);
        self.restarts += 1;
    }

    fn look(&self, server: Option<&Server>) -> Value {
        let process = counting::process();
        json!({
            "up": server.is_some() && !self.drains,
            "connections": server.map_or(0, Server::connection_count),
            "held": server.map_or(0, |server| server.health().memory_held),
            "migrations": self.migrations + server.map_or(0, moves),
            "echoed": self.echoed,
            "refused": self.refused,
            "restarts": self.restarts,
            "allocations": process.allocations,
            "blocks": process.live_blocks,
            "bytes": process.live_bytes,
        })
    }
}

/// How often the clients that are there have moved.
fn moves(server: &Server) -> u64 {
    server.connections().filter_map(|id| server.connection_stats(id)).map(|stats| stats.migrations).sum()
}

/// Everything goes back on its channel.
fn turn(server: &mut Server, life: &mut Life) {
    server.receive(Instant::now());
    while let Some(event) = server.poll_event() {
        match event {
            Event::Message { connection, channel, data } => match server.send(connection, data, channel) {
                Ok(()) => life.echoed += 1,
                // To who is on his way out nothing can be sent any more.
                Err(fastwire::SendError::ConnectionClosed) => {}
                Err(_) => life.refused += 1,
            },
            Event::Disconnected { connection, .. } => {
                life.migrations += server.connection_stats(connection).map_or(0, |stats| stats.migrations);
            }
            _ => {}
        }
    }
    server.flush(Instant::now());
}

/// The process, from outside.
pub(super) struct ServerProcess {
    pub(super) process: StandIn,
    pub(super) at: SocketAddr,
}

impl ServerProcess {
    pub(super) fn start() -> Result<Self, String> {
        let mut process = StandIn::start(&[ROLE])?;
        let at = process.line()?.parse().map_err(|_| "the server did not start".to_owned())?;
        Ok(Self { process, at })
    }

    /// Its figures.
    pub(super) fn look(&mut self) -> Result<Value, String> {
        serde_json::from_str(&self.process.ask("look")?).map_err(|error| error.to_string())
    }
}

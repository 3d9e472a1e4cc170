//! The server under attack, in a process of its own: this very program, started with another first argument.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use fastwire::{Handler, Peer, Server};
use serde_json::Value;

use crate::check::Profile;
use crate::scenario::configs;
use crate::stand_in::{StandIn, resident};

/// The first argument of the program when it is to be the server.
const ROLE: &str = "--flood-server";

/// Sends back what it hears.
struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        // A full queue means that the client does not read.
        let _ = peer.send(data, channel);
    }
}

/// Is the server, if this process was started to be it; to be asked first thing in `main`.
#[must_use]
pub fn stand_in() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != ROLE {
        return None;
    }
    let profile = match arguments.next().as_deref() {
        Some("extended") => Profile::Extended,
        _ => Profile::Base,
    };
    Some(match serve(profile) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("flood server: {reason}");
            ExitCode::FAILURE
        }
    })
}

/// Tells its address, then its health for each line it is sent, and ends with its input.
fn serve(profile: Profile) -> Result<(), String> {
    let (mut config, _) = configs(profile);
    config.max_connections = 4096;
    let server = Server::builder().config(config).bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let at = server.local_addr().map_err(|error| error.to_string())?;
    println!("{at}");
    let server = server.spawn(Echo).map_err(|error| error.to_string())?;
    for line in std::io::stdin().lines() {
        if line.is_err() {
            break;
        }
        let health = serde_json::to_string(&server.health()).map_err(|error| error.to_string())?;
        println!("{health}");
        // Nobody to tell it to any more.
        if std::io::stdout().flush().is_err() {
            break;
        }
    }
    Ok(())
}

/// The process, from outside. Ends with it.
pub(super) struct ServerProcess {
    process: StandIn,
    pub(super) at: SocketAddr,
}

impl ServerProcess {
    pub(super) fn start(profile: Profile) -> Result<Self, String> {
        let mut process = StandIn::start(&[ROLE, &profile.to_string()])?;
        let at = process.line()?.parse().map_err(|_| "the server did not start".to_owned())?;
        Ok(Self { process, at })
    }

    /// Its health, as it says.
    fn health(&mut self) -> Result<Value, String> {
        let line = self.process.ask("")?;
        serde_json::from_str(&line).map_err(|error| error.to_string())
    }

    /// Its counters.
    pub(super) fn counters(&mut self) -> Result<Value, String> {
        Ok(self.health()?["stats"].take())
    }

    /// Its resident memory in bytes.
    pub(super) fn resident(&self) -> u64 {
        resident(&self.process.proc())
    }
}

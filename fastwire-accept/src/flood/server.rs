//! The server under attack, in a process of its own: this very program, started with another first argument.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use fastwire::{Handler, Peer, Server};
use serde_json::Value;

use crate::check::Profile;
use crate::scenario::configs;

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
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(super) at: SocketAddr,
}

impl ServerProcess {
    pub(super) fn start(profile: Profile) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .args([ROLE, &profile.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the server's process: {error}"))?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(orders), Some(answers)) = (orders, answers) else { return Err("no pipes".into()) };
        let mut process =
            Self { child, orders, answers: BufReader::new(answers), at: ([127, 0, 0, 1], 0).into() };
        process.at = process.line()?.trim().parse().map_err(|_| "the server did not start".to_owned())?;
        Ok(process)
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(length) if length > 0 => Ok(line),
            _ => Err("the server's process has ended".into()),
        }
    }

    /// Its health, as it says.
    fn health(&mut self) -> Result<Value, String> {
        writeln!(self.orders).map_err(|_| "the server's process has ended".to_owned())?;
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| error.to_string())
    }

    /// Its counters.
    pub(super) fn counters(&mut self) -> Result<Value, String> {
        Ok(self.health()?["stats"].take())
    }

    /// Its resident memory in bytes.
    pub(super) fn resident(&self) -> u64 {
        resident(&format!("/proc/{}/status", self.child.id()))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory in bytes, as a process's status file says; 0 where there is none.
pub(crate) fn resident(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

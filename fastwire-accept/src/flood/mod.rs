//! Floods beside live clients: a server in a process of its own, a hundred clients, and attackers with spoofed addresses.
//!
//! `attack` builds and sends, `crowd` is whoever is honest, `server` the process under attack, `sink` the floor: a socket that
//! only receives. `stages` puts them together; `report` is what came of it.

mod attack;
mod crowd;
mod record;
mod report;
mod responses;
mod server;
mod sink;
mod stages;

use std::process::ExitCode;

use crate::check::Profile;

pub(crate) use report::{Report, Stage};
pub(crate) use responses::flood_of_responses;
pub use server::stand_in;
pub(crate) use stages::{Plan, run};

const HELP: &str = "\
cargo xtask flood [--profile base|extended] [--quick]

Floods a server that runs in a process of its own beside 100 clients which send 60 messages a second each and want them back:
spoofed CONNECTs at 8000 a second, garbage, empty and replayed datagrams, then CONNECTs as fast as a socket that only receives
keeps up with, then twice that; and RESPONSEs with valid cookies from one address. Ends by itself, within two minutes.

Spoofing needs raw sockets (root); without them the attackers are many sockets on 127.0.0.0/8.";

/// Does what `cargo xtask flood` was asked.
#[must_use]
pub fn command(arguments: &[String]) -> ExitCode {
    let mut profiles = vec![Profile::Base, Profile::Extended];
    let mut quick = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            "--quick" => quick = true,
            "--profile" => match rest.next().map(String::as_str) {
                Some("base") => profiles = vec![Profile::Base],
                Some("extended") => profiles = vec![Profile::Extended],
                other => return refuse(&format!("--profile {other:?}: choose base or extended")),
            },
            other => return refuse(&format!("unknown option {other}; --help lists them")),
        }
    }
    for profile in profiles {
        let plan = if quick { Plan::QUICK } else { Plan::FULL };
        match run(profile, plan) {
            Ok(report) => println!("{profile}\n{report}"),
            Err(reason) => return refuse(&reason),
        }
        match flood_of_responses(profile, plan) {
            Ok(report) => println!("{report}\n"),
            Err(reason) => return refuse(&reason),
        }
    }
    ExitCode::SUCCESS
}

fn refuse(reason: &str) -> ExitCode {
    eprintln!("flood: {reason}");
    ExitCode::from(2)
}

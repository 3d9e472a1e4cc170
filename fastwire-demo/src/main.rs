//! FastWire at work: a server and several clients that exchange messages on all four modes over real UDP sockets.
//!
//! `cargo run --release -p fastwire-demo` plays all of it in one process for ten seconds. With arguments it is a server
//! here and a client there. [`game`] is what an application of your own would look like; the rest starts and shows it.

mod game;
mod options;
mod panel;
mod play;
mod top;

use std::process::ExitCode;

use options::{HELP, Options};

/// Exit code 0: every mode delivered; 1: one did not, or nothing could be played; 2: the arguments make no sense.
fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            eprintln!("fastwire-demo: {complaint}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match play::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fastwire-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

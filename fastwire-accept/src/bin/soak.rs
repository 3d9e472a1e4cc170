//! The program behind `cargo xtask soak`: an hour of clients over a bad line, and a server that must not grow.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = fastwire_accept::soak::stand_in() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    fastwire_accept::soak::command(&arguments)
}

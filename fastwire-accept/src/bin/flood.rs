//! The program behind `cargo xtask flood`: a server under attack beside a hundred live clients.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = fastwire_accept::flood::stand_in() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    fastwire_accept::flood::command(&arguments)
}

//! The program behind `cargo xtask accept`: runs acceptance checks and reports a line each.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = fastwire_accept::flood::stand_in().or_else(fastwire_accept::soak::stand_in) {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    fastwire_accept::run(&arguments)
}

//! The project's own commands: `cargo xtask help` lists them.
//!
//! This crate stays small, because a fresh clone compiles it first. It runs cargo and looks at files; what needs
//! FastWire itself (acceptance checks, simulator, proxy) lives in `fastwire-accept` and is started from here.

mod accept;
mod bench;
mod ci;
mod counts;
mod flood;
mod fuzz;
mod mutants;
mod profile;
mod proxy;
mod sanitize;
mod shell;
mod sim;
mod soak;
mod vectors;
mod workspace;

use std::process::ExitCode;

/// What every command returns: its exit code, or why it could not run.
type Done = Result<ExitCode, String>;

const HELP: &str = "\
The project's commands:

  cargo xtask ci [--fast] [STEP...]   check everything; --fast: what one runs before a commit; --list: the steps
  cargo xtask accept ID... [OPTIONS]  acceptance checks of docs/acceptance.md; --list shows which are built
  cargo xtask sim [OPTIONS]           one simulated run, such as a seed that failed
  cargo xtask sim figure              the controllers on one bottleneck: docs/congestion.md and its pictures
  cargo xtask sim table               delays and goodput by profile, controller and loss: docs/latency.md
  cargo xtask proxy [OPTIONS]         a lossy path between real UDP sockets
  cargo xtask flood [OPTIONS]         floods of spoofed datagrams beside 100 live clients, in one report
  cargo xtask soak MINUTES            200 clients over a bad line, restarts: does anything break or grow?
  cargo xtask vectors [--check]       the extended profile's bytes with fixed keys
  cargo xtask bench [OPTIONS]         FastWire beside its peers; --counts: instructions, --layers: criterion benches
  cargo xtask profile WORKLOAD        where the time of a workload or a layer goes
  cargo xtask fuzz [TARGET [SECONDS]] replay the corpus, or fuzz (needs nightly and cargo-fuzz)
  cargo xtask mutants [OPTIONS]       faults put into the code that attacks aim at; do the tests notice?
  cargo xtask sanitize                the tests of sockets and unsafe code under AddressSanitizer (needs nightly)
  cargo xtask help                    this text

Each command says more with --help.";

fn main() -> ExitCode {
    if let Some(code) = ci::portable::stand_in() {
        return code;
    }
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_else(|| "help".into());
    let rest: Vec<String> = arguments.collect();
    let done = match command.as_str() {
        "ci" => ci::run(&rest),
        "accept" => accept::run(&rest),
        "sim" => sim::run(&rest),
        "vectors" => vectors::run(&rest),
        "flood" => flood::run(&rest),
        "soak" => soak::run(&rest),
        "proxy" => proxy::run(&rest),
        "bench" => bench::run(&rest),
        "profile" => profile::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "mutants" => mutants::run(&rest),
        "sanitize" => sanitize::run(&rest),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        unknown => Err(format!("unknown command {unknown:?}; `cargo xtask help` lists them")),
    };
    done.unwrap_or_else(|reason| {
        eprintln!("xtask: {reason}");
        ExitCode::from(2)
    })
}

/// Prints `text` and reports success when the arguments ask for help.
fn helped(arguments: &[String], text: &str) -> bool {
    let asked = arguments.iter().take_while(|a| *a != "--").any(|a| a == "--help" || a == "-h");
    if asked {
        println!("{text}");
    }
    asked
}

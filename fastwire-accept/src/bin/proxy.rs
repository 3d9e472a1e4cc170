//! The program behind `cargo xtask proxy`: a bad line between real UDP sockets.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastwire_accept::line::{self, LineOptions};
use fastwire_accept::relay::{Rebind, Relay, Summary, cpu_seconds};

const HELP: &str = "\
cargo xtask proxy --listen ADDRESS --to ADDRESS [OPTIONS]

Forwards datagrams from any number of clients to one server and back, over a line as bad as asked for; each client
has a line of its own. Prints a line a second and what it did at the end.

  --listen ADDRESS    where clients connect to (127.0.0.1:40000; port 0: any)
  --to ADDRESS        the server";

const REST: &str = "\
  --rebind TIME       the server sees each client at another port every TIME
  --rebind-address    and at another address of 127.0.0.0/8
  --seed N            where chance starts (default 1)
  --for TIME          stop after this (default: run until interrupted)";

struct Options {
    listen: SocketAddr,
    to: SocketAddr,
    line: LineOptions,
    rebind: Option<Duration>,
    how: Rebind,
    seed: u64,
    run_for: Option<Duration>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{HELP}\n{}\n{REST}", line::HELP);
        return ExitCode::SUCCESS;
    }
    match parse(arguments).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("proxy: {reason}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: Vec<String>) -> Result<Options, String> {
    let (mut listen, mut to, mut rebind, mut run_for) = (None, None, None, None);
    let (mut how, mut seed, mut line) = (Rebind::Port, 1, LineOptions::default());
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--listen" => listen = Some(address(&value()?)?),
            "--to" => to = Some(address(&value()?)?),
            "--rebind" => rebind = Some(line::duration(&value()?)?),
            "--rebind-address" => how = Rebind::Address,
            "--seed" => seed = value()?.parse().map_err(|_| "--seed needs a whole number".to_owned())?,
            "--for" => run_for = Some(line::duration(&value()?)?),
            other => {
                if !line.accept(other, value)? {
                    return Err(format!("unknown option {other}; --help lists them"));
                }
            }
        }
    }
    let listen = listen.ok_or("--listen is missing: where should clients connect to?")?;
    let to = to.ok_or("--to is missing: where is the server?")?;
    Ok(Options { listen, to, line, rebind, how, seed, run_for })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address: write 127.0.0.1:7777 or [::1]:7777"))
}

fn run(options: &Options) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let line = options.line.config()?;
    let mut relay = Relay::bind(options.listen, options.to, line, options.seed)
        .map_err(|error| format!("cannot listen at {}: {error}", options.listen))?;
    if let Some(period) = options.rebind {
        relay = relay.rebind_every(period, options.how);
    }
    println!("listening at {}, forwarding to {}", relay.local_addr().map_err(failed)?, options.to);
    let start = Instant::now();
    let end = options.run_for.map(|run_for| start + run_for);
    let mut before = Summary::default();
    for second in 1.. {
        let until = start + Duration::from_secs(second);
        relay.run(end.map_or(until, |end| end.min(until))).map_err(failed)?;
        let summary = relay.summary();
        println!("{}", rates(second, &before, &summary));
        before = summary;
        if end.is_some_and(|end| until >= end) {
            break;
        }
    }
    let cpu = cpu_seconds().map_or_else(String::new, |seconds| format!("; {seconds:.2} s of processor time"));
    println!("in all: {}{cpu}", relay.summary());
    Ok(())
}

/// The last second: datagrams and bytes that came through each way, and what went missing.
fn rates(second: u64, before: &Summary, now: &Summary) -> String {
    let way = |before: fastwire::sim::LinkStats, now: fastwire::sim::LinkStats| {
        let datagrams = now.delivered - before.delivered;
        let kilobytes = (now.delivered_bytes - before.delivered_bytes) as f64 / 1e3;
        let missing = (now.offered - before.offered).saturating_sub(datagrams);
        format!("{datagrams} datagrams, {kilobytes:.1} kB, {missing} missing")
    };
    let (up, down) = (way(before.up, now.up), way(before.down, now.down));
    format!("{second:>4} s  {} clients  up {up}  down {down}", now.clients)
}

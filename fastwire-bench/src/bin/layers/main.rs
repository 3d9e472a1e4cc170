//! What each layer costs by itself: in nanoseconds beside the libraries it stands on, or run bare for an instruction
//! counter.

mod ciphers;
mod fan_out;
mod kernels;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const HELP: &str = "\
layers time [--json]  nanoseconds of every layer, of AEAD libraries and of key agreement
layers list           the layers whose instructions are counted
layers run NAME N     that layer N times, nothing else: for valgrind
layers fan-out        nanoseconds of a server's core with few and with many connections";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => kernels::COUNTED.iter().for_each(|(name, _)| println!("{name}")),
        ["run", name, times] => {
            let Some((_, make)) = kernels::COUNTED.iter().find(|(known, _)| *known == name) else {
                eprintln!("layers: no layer {name}");
                return ExitCode::FAILURE;
            };
            let mut once = make();
            (0..times.parse().unwrap_or(1)).for_each(|_| once());
        }
        ["fan-out"] => fan_out::print(),
        ["time"] => print(&time(), false),
        ["time", "--json"] => print(&time(), true),
        _ => println!("{HELP}"),
    }
    ExitCode::SUCCESS
}

/// One measurement: what, by whom, nanoseconds.
type Timing = (String, String, f64);

fn time() -> Vec<Timing> {
    let mut all: Vec<(String, String, kernels::Once)> = Vec::new();
    for (name, make) in kernels::COUNTED.iter().chain(kernels::TIMED) {
        all.push(((*name).to_owned(), "fastwire".to_owned(), make()));
    }
    all.extend(ciphers::all());
    // Five rounds over everything, so that a slow moment of the machine hits all alike; the median counts.
    let mut rounds = vec![Vec::new(); all.len()];
    for _ in 0..5 {
        for (index, (_, _, once)) in all.iter_mut().enumerate() {
            rounds[index].push(nanoseconds(once));
        }
    }
    let medians = rounds.into_iter().map(|mut round| {
        round.sort_by(f64::total_cmp);
        round[round.len() / 2]
    });
    all.into_iter().zip(medians).map(|((what, by, _), nanos)| (what, by, nanos)).collect()
}

/// The time one call takes, of as many as fit into 40 ms.
fn nanoseconds(once: &mut kernels::Once) -> f64 {
    let (mut calls, mut batch) = (0u64, 1u64);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(40) {
        (0..batch).for_each(|_| once());
        calls += batch;
        batch = (batch * 2).min(1024);
    }
    started.elapsed().as_nanos() as f64 / calls as f64
}

fn print(timings: &[Timing], as_json: bool) {
    if as_json {
        let rows: Vec<Value> = timings
            .iter()
            .map(|(what, by, nanos)| json!({"workload": "P9", "case": what, "system": by, "metric": "ns", "unit": "ns", "better": "lower", "median": nanos, "rounds": 5}))
            .collect();
        println!("{:#}", Value::from(rows));
        return;
    }
    println!("| what | by | ns |\n|---|---|---|");
    for (what, by, nanos) in timings {
        println!("| {what} | {by} | {nanos:.1} |");
    }
}

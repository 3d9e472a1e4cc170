//! FastWire beside its peers: the harness of `cargo xtask bench`.
//!
//! The program that people start is the parent: it runs itself again as server, client and relay, so that the
//! processor time of each can be told apart.

mod behaviour;
mod chart;
mod plan;
mod poll;
mod relay;
mod report;
mod results;
mod run;
mod system;
mod systems;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use plan::{Case, Scale};
use results::Results;
use system::{Args, Outcome};

const HELP: &str = "\
cargo xtask bench [--short | --full | --quick] [OPTIONS]

  --short            about five minutes (the default)
  --full             the figures that are published: about 25 minutes
  --quick            a few seconds a workload, to see that everything works
  --workload LIST    only these, such as P1,P3
  --system LIST      only these, such as fastwire-base-aes128,quinn
  --rounds N         rounds of each system in place of the plan's
  --json FILE        write the figures to FILE after each case; of a FILE that is there, other workloads' figures are kept
  --docs             write docs/bench.md and docs/bench.svg from what was measured
  --render FILE      measure nothing: write docs/bench.md and docs/bench.svg from FILE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let args = Args::parse(&arguments);
    system::stay_on_processor(&args);
    let done: Outcome<()> = match arguments.first().map(String::as_str) {
        Some("serve") => systems::serve(&args),
        Some("drive") => systems::drive(&args).map(|report| report.print()),
        Some("relay") => relay::run(&args),
        Some("--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        _ => Options::parse(&arguments).and_then(|options| options.run()),
    };
    if let Err(error) = done {
        eprintln!("bench: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

struct Options {
    scale: Scale,
    workloads: Vec<String>,
    systems: Vec<String>,
    rounds: Option<usize>,
    json: Option<PathBuf>,
    docs: bool,
    render: Option<PathBuf>,
}

impl Options {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self {
            scale: Scale::Short,
            workloads: plan::WORKLOADS.iter().map(|workload| (*workload).to_owned()).collect(),
            systems: Vec::new(),
            rounds: None,
            json: None,
            docs: false,
            render: None,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
            let list = |text: &str| text.split(',').map(str::to_owned).collect();
            match argument.as_str() {
                "--short" => options.scale = Scale::Short,
                "--full" => options.scale = Scale::Full,
                "--quick" => options.scale = Scale::Quick,
                "--workload" => options.workloads = list(&value()?.to_uppercase()),
                "--system" => options.systems = list(value()?),
                "--rounds" => options.rounds = Some(value()?.parse()?),
                "--json" => options.json = Some(value()?.into()),
                "--docs" => options.docs = true,
                "--render" => options.render = Some(value()?.into()),
                other => return Err(format!("unknown option {other}; see --help").into()),
            }
        }
        if let Some(unknown) = options.workloads.iter().find(|name| !plan::WORKLOADS.contains(&name.as_str()))
        {
            return Err(format!("no workload {unknown}; there are {}", plan::WORKLOADS.join(", ")).into());
        }
        Ok(options)
    }

    fn run(&self) -> Outcome<()> {
        if let Some(file) = &self.render {
            let (machine, results) = Results::read(file)?;
            return write_docs(&machine, &results);
        }
        let started = Instant::now();
        let kept = self.json.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        let kept = kept.and_then(|text| serde_json::from_str(&text).ok());
        let mut results = Results::default();
        for workload in &self.workloads {
            let raw_rate = if workload == "P4" && self.scale != Scale::Quick { probe() } else { 30.0 };
            for mut case in plan::cases(workload, self.scale, raw_rate) {
                case.rounds = self.rounds.unwrap_or(case.rounds);
                if !self.systems.is_empty() {
                    case.systems.retain(|system| self.systems.iter().any(|wanted| wanted == system));
                }
                println!(
                    "{} {}: {} systems, {} rounds; {} since the start",
                    case.workload,
                    case.case,
                    case.systems.len(),
                    case.rounds,
                    minutes(started)
                );
                measure(&case, &mut results);
                // A run that is broken off loses one case.
                self.save(&results, kept.as_ref())?;
            }
        }
        println!("\n{}", results.markdown());
        if self.docs {
            write_docs(&results.json()["machine"], &results)?;
        }
        println!("took {}", minutes(started));
        let ours = results.failures.iter().filter(|failure| failure.system.starts_with("fastwire"));
        match ours.map(|failure| failure.rounds).sum() {
            0 => Ok(()),
            rounds => Err(format!("{rounds} rounds of FastWire failed, listed above").into()),
        }
    }

    /// Writes what is known so far, with what `kept` says of other workloads.
    fn save(&self, results: &Results, kept: Option<&serde_json::Value>) -> Outcome<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let mut file = results.json();
        if let Some(kept) = kept {
            keep_others(&mut file, kept);
        }
        Ok(std::fs::write(path, format!("{file:#}\n"))?)
    }
}

/// Time since `started`, for people.
fn minutes(started: Instant) -> String {
    let seconds = started.elapsed().as_secs();
    format!("{} min {} s", seconds / 60, seconds % 60)
}

/// Keeps what an older file says of workloads that were not measured now.
fn keep_others(file: &mut serde_json::Value, old: &serde_json::Value) {
    let measured: Vec<_> =
        file["rows"].as_array().into_iter().flatten().map(|row| row["workload"].clone()).collect();
    for list in ["rows", "failures"] {
        let Some(entries) = file[list].as_array_mut() else { continue };
        let kept = old[list].as_array().into_iter().flatten();
        entries.extend(kept.filter(|entry| !measured.contains(&entry["workload"])).cloned());
        entries.sort_by_key(|entry| entry["workload"].to_string());
    }
}

/// The highest rate at which raw sockets on both ends deliver 99 % to 5000 connections on this machine today.
fn probe() -> f64 {
    for &rate in plan::RATES {
        let good = (0..2).all(|seed| {
            run::round(&plan::probe(rate), "raw-batched", seed).is_ok_and(|round| {
                round.delivered.is_some_and(|share| share >= 0.99)
                    && round.offered.is_some_and(|share| share >= 0.95)
            })
        });
        if good {
            println!("P4: raw sockets serve 5000 connections {rate} times a second");
            return rate;
        }
    }
    plan::RATES.last().copied().unwrap_or(1.0)
}

/// Rounds that a system may fail in a case without ever having given a figure; after them it is left out.
const CHANCES: u64 = 2;

/// All rounds of a case, the systems in turn, each round beginning with another one.
fn measure(case: &Case, results: &mut Results) {
    for start in (0..case.rounds).step_by(case.at_once) {
        let end = (start + case.at_once).min(case.rounds);
        for turn in 0..case.systems.len() {
            let system = case.systems[(turn + start / case.at_once) % case.systems.len()];
            let failed = results.failed_rounds(case.workload, &case.case, system);
            if failed >= CHANCES && !results.has(case.workload, &case.case, system) {
                continue;
            }
            let rounds: Vec<_> = thread::scope(|scope| {
                let started: Vec<_> = (start..end)
                    .map(|seed| scope.spawn(move || run::round(case, system, seed as u64 + 1)))
                    .collect();
                started
                    .into_iter()
                    .map(|round| round.join().unwrap_or_else(|_| Err("panicked".into())))
                    .collect()
            });
            let which = format!("{} {} {end}/{}", case.workload, case.case, case.rounds);
            for round in rounds {
                match round {
                    Ok(round) => {
                        let first = round.figures.first();
                        let said = first
                            .map_or(String::new(), |f| format!("{} {}", results::short(f.value), f.metric));
                        println!("{which} {system}: {said}");
                        results.add(case.workload, &case.case, system, &round);
                    }
                    Err(error) => {
                        println!("{which} {system}: FAILED {error}");
                        results.fail(case.workload, &case.case, system, &error.to_string());
                    }
                }
            }
        }
    }
}

fn write_docs(machine: &serde_json::Value, results: &Results) -> Outcome<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let text = |key: &str| match &machine[key] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let page = format!(
        "# FastWire beside its peers\n\nWritten by `cargo xtask bench --docs`; what is measured and how stands in \
         [performance.md](performance.md). Medians of the rounds, in brackets the smallest and the largest.\n\n\
         {}, {} cores, Linux {}, {}, commit {}, {}.\n\n![bars a system, the floor as a line](bench.svg)\n\n{}",
        text("cpu"),
        text("cores"),
        text("kernel"),
        text("rustc"),
        text("commit"),
        text("date"),
        results.markdown().trim_end()
    );
    std::fs::write(docs.join("bench.md"), page + "\n")?;
    std::fs::write(docs.join("bench.svg"), chart::svg(results))?;
    println!("written: docs/bench.md, docs/bench.svg");
    Ok(())
}

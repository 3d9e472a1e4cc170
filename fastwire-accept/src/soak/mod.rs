//! An hour of life over real sockets: clients come, talk, move and leave over a bad line, the server is restarted, and
//! what it holds must not grow.
//!
//! `server` is the process under test, `crowd` its clients, `report` what came of it with the slopes.

mod crowd;
mod report;
mod server;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastwire::sim::{LinkConfig, Loss, Reorder, Rng};

use crate::relay::{Rebind, Relay, Summary};
use crate::stand_in::{descriptors, resident};
use crowd::{Guest, Lives, Tally};
use report::Sample;
use server::ServerProcess;

pub(crate) use report::Report;
pub use server::stand_in;

const HELP: &str = "\
cargo xtask soak MINUTES [--clients N] [--seed N] [--report FILE]

Runs a server in a process of its own and clients of both profiles, which reach it through a line that loses, repeats, reorders
and corrupts datagrams and gives all of them another address now and then. Clients talk on all four channels, come and go, with
and without a word, and change their ports; the server is restarted, by turns like a crash and with a goodbye. Every promise of
the channels is checked. Shows a line while it runs and a report with slopes at the end.

  MINUTES        how long; fractions are fine
  --clients N    how many at a time (default 200)
  --seed N       where chance starts (default 1)
  --report FILE  also write the report and every sample there, as JSON

Exit code 0: nothing was broken and nothing grew; 1: else.";

/// One look at all sockets.
const NAP: Duration = Duration::from_millis(20);
/// Between two looks at the figures.
const LOOK: Duration = Duration::from_secs(1);
/// The same while the server is away.
const KNOCK: Duration = Duration::from_millis(100);
/// How long what is under way at the end may take.
const SETTLE: Duration = Duration::from_secs(30);

/// What to do, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// Between two messages of a client.
    pub(crate) every: Duration,
    /// Between two clients that leave, with another one coming.
    pub(crate) churn: Duration,
    /// Between two clients that change their port.
    pub(crate) moves: Duration,
    /// Between two times that the line gives everybody another address.
    pub(crate) rebinds: Duration,
    /// Between two restarts of the server.
    pub(crate) restarts: Duration,
}

impl Plan {
    /// 200 clients, a message a second each.
    pub(crate) fn full(time: Duration) -> Self {
        Self {
            clients: 200,
            time,
            seed: 1,
            every: Duration::from_secs(1),
            churn: Duration::from_secs(2),
            moves: Duration::from_secs(3),
            rebinds: Duration::from_secs(60).min(time / 4),
            restarts: Duration::from_secs(300).min(time / 3),
        }
    }

    /// Seconds, in which nothing can be said about slopes.
    pub(crate) const QUICK: Self = Self {
        clients: 40,
        time: Duration::from_secs(6),
        seed: 1,
        every: Duration::from_millis(100),
        churn: Duration::from_millis(500),
        moves: Duration::from_millis(700),
        rebinds: Duration::from_millis(1200),
        restarts: Duration::from_millis(2500),
    };
}

/// The line of every client.
fn line() -> LinkConfig {
    LinkConfig::new()
        .latency(Duration::from_millis(20))
        .jitter(Duration::from_millis(5))
        .loss(Loss::Bernoulli { rate: 0.02 })
        .duplicate(0.005)
        .corrupt(0.002)
        .reorder(0.01, Reorder::Delay(Duration::from_millis(20)))
}

/// Does what `cargo xtask soak` was asked.
#[must_use]
pub fn command(arguments: &[String]) -> ExitCode {
    let (mut minutes, mut clients, mut seed, mut file) = (None, None, 1, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || rest.next().and_then(|text| text.parse::<u64>().ok());
        match argument.as_str() {
            "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            "--clients" => clients = number().filter(|n| (1..=2000).contains(n)).or(Some(0)),
            "--seed" => match number() {
                Some(number) => seed = number,
                None => return refuse("--seed needs a whole number"),
            },
            "--report" => match rest.next() {
                Some(path) => file = Some(path.clone()),
                None => return refuse("--report needs the name of a file"),
            },
            other => match other.parse::<f64>() {
                Ok(n) if n > 0.0 && n <= 60.0 * 24.0 * 30.0 => minutes = Some(n),
                _ => return refuse(&format!("{other:?}: give minutes, more than 0; --help says more")),
            },
        }
    }
    let Some(minutes) = minutes else { return refuse("how many minutes? --help says more") };
    let mut plan = Plan { seed, ..Plan::full(Duration::from_secs_f64(60.0 * minutes)) };
    match clients {
        Some(0) => return refuse("--clients needs a number from 1 to 2000"),
        Some(number) => plan.clients = number as usize,
        None => {}
    }
    let report = match run(plan, &mut Progress::default()) {
        Ok(report) => report,
        Err(reason) => return refuse(&reason),
    };
    println!("{report}");
    if let Some(file) = file
        && let Err(error) = std::fs::write(&file, format!("{:#}\n", report.json()))
    {
        return refuse(&format!("cannot write {file}: {error}"));
    }
    if report.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refuse(reason: &str) -> ExitCode {
    eprintln!("soak: {reason}");
    ExitCode::from(2)
}

/// A line that says how it goes: over itself on a terminal, else one a minute.
#[derive(Default)]
pub(crate) struct Progress {
    shown: Option<Instant>,
    silent: bool,
}

impl Progress {
    /// Shows nothing.
    pub(crate) fn silent() -> Self {
        Self { silent: true, ..Self::default() }
    }

    fn show(&mut self, now: Instant, sample: &Sample, tally: &Tally) {
        use std::io::{IsTerminal, Write};
        let live = std::io::stderr().is_terminal();
        let pause = Duration::from_secs(if live { 1 } else { 60 });
        if self.silent || self.shown.is_some_and(|shown| now.saturating_duration_since(shown) < pause) {
            return;
        }
        self.shown = Some(now);
        let mut out = std::io::stderr().lock();
        // Nobody may be there to read it.
        let _ = match live {
            true => write!(out, "\r{}\x1b[K", report::progress(sample, tally)).and_then(|()| out.flush()),
            false => writeln!(out, "{}", report::progress(sample, tally)),
        };
    }
}

/// The line in a thread of its own.
struct Running {
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    summary: Arc<Mutex<Summary>>,
    thread: Option<std::thread::JoinHandle<Result<(), String>>>,
}

impl Running {
    fn start(plan: &Plan, server: SocketAddr) -> Result<Self, String> {
        let told = |error: std::io::Error| error.to_string();
        let relay = Relay::bind(([127, 0, 0, 1], 0).into(), server, line(), plan.seed).map_err(told)?;
        let mut relay = relay.rebind_every(plan.rebinds, Rebind::Port).forget_after(Duration::from_secs(20));
        let at = relay.local_addr().map_err(told)?;
        let stop = Arc::new(AtomicBool::new(false));
        let summary = Arc::new(Mutex::new(Summary::default()));
        let (stopped, told_to) = (Arc::clone(&stop), Arc::clone(&summary));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                relay.run(Instant::now() + LOOK / 4).map_err(|error| format!("the line: {error}"))?;
                *told_to.lock().unwrap_or_else(PoisonError::into_inner) = relay.summary();
            }
            Ok(())
        });
        Ok(Self { at, stop, summary, thread: Some(thread) })
    }

    fn summary(&self) -> Summary {
        *self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it; an error is why it ended before.
    fn stop(mut self) -> Result<Summary, String> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread.map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| Err("the line: panicked".into())))?;
        Ok(self.summary())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Something that happens again and again.
struct Every {
    pause: Duration,
    next: Instant,
}

impl Every {
    fn new(start: Instant, pause: Duration) -> Self {
        Self { pause, next: start + pause }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            // What was missed is not made up for.
            self.next = (self.next + self.pause).max(now);
        }
        due
    }
}

/// Does it all.
pub(crate) fn run(plan: Plan, progress: &mut Progress) -> Result<Report, String> {
    fastwire_testkit::counting::watch_process();
    let mut server = ServerProcess::start()?;
    let line = Running::start(&plan, server.at)?;
    let start = Instant::now();
    let mut field = Field {
        plan,
        at: line.at,
        guests: Vec::new(),
        number: 0,
        lives: Lives { number: 0, back: Some(start) },
        rng: Rng::new(plan.seed),
        tally: Tally::default(),
    };
    for _ in 0..plan.clients {
        field.welcome()?;
    }
    let [mut churn, mut moves, mut restarts] =
        [plan.churn, plan.moves, plan.restarts].map(|pause| Every::new(start, pause));
    let mut samples: Vec<Sample> = Vec::new();
    let mut look = start;
    let mut finishing = None;
    loop {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(start);
        if elapsed >= plan.time && finishing.is_none() {
            finishing = Some(now);
            field.guests.iter_mut().for_each(Guest::leave);
        }
        if finishing.is_none() {
            if churn.is_due(now) {
                field.say_goodbye();
                field.welcome()?;
            }
            if moves.is_due(now) {
                field.move_one();
            }
            // Not just before the end, so that everybody can come back.
            if restarts.is_due(now) && elapsed + plan.restarts / 2 < plan.time {
                server.process.tell(if field.lives.number.is_multiple_of(2) { "crash" } else { "drain" })?;
                field.lives = Lives { number: field.lives.number + 1, back: None };
            }
        }
        if now >= look {
            let sample = Sample::take(elapsed, &mut server, line.summary())?;
            if field.lives.back.is_none() && sample.is_up && sample.restarts == field.lives.number {
                field.lives.back = Some(now);
            }
            look = now + if field.lives.back.is_some() { LOOK } else { KNOCK };
            progress.show(now, &sample, &field.tally);
            samples.push(sample);
        }
        field.turn();
        let waited = finishing.map(|since| now.saturating_duration_since(since));
        if waited.is_some_and(|waited| field.guests.is_empty() || waited > SETTLE) {
            break;
        }
        std::thread::sleep(NAP);
    }
    for guest in &field.guests {
        field.tally.fault(format!("{guest}: did not come to its end"));
    }
    let line = line.stop()?;
    Ok(Report { plan, samples, tally: field.tally, line })
}

struct Field {
    plan: Plan,
    at: SocketAddr,
    guests: Vec<Guest>,
    number: u64,
    lives: Lives,
    rng: Rng,
    tally: Tally,
}

impl Field {
    fn welcome(&mut self) -> Result<(), String> {
        self.number += 1;
        self.guests.push(Guest::come(self.number, self.at, self.plan.every, &mut self.tally)?);
        Ok(())
    }

    /// One who talks leaves, by turns with and without a word.
    fn say_goodbye(&mut self) {
        let Some(guest) = pick(&mut self.guests, &mut self.rng) else { return };
        if self.rng.chance(0.5) { guest.crash(&mut self.tally) } else { guest.leave() }
    }

    fn move_one(&mut self) {
        if let Some(guest) = pick(&mut self.guests, &mut self.rng) {
            guest.rebind(&mut self.tally);
        }
    }

    fn turn(&mut self) {
        for guest in &mut self.guests {
            guest.turn(self.lives, &mut self.rng, &mut self.tally);
        }
        self.guests.retain(|guest| !guest.is_gone());
    }
}

/// One of those who talk.
fn pick<'a>(guests: &'a mut [Guest], rng: &mut Rng) -> Option<&'a mut Guest> {
    let count = guests.iter().filter(|guest| guest.talks()).count();
    guests.iter_mut().filter(|guest| guest.talks()).nth(rng.below(count as u64) as usize)
}

impl Sample {
    fn take(at: Duration, server: &mut ServerProcess, line: Summary) -> Result<Self, String> {
        let figures = server.look()?;
        let number = |name: &str| figures[name].as_i64().unwrap_or_default();
        let proc = server.process.proc();
        let own = fastwire_testkit::counting::process();
        Ok(Self {
            at,
            is_up: figures["up"].as_bool().unwrap_or_default(),
            restarts: number("restarts") as u64,
            connections: number("connections") as u64,
            migrations: number("migrations") as u64,
            refused: number("refused") as u64,
            held: number("held") as u64,
            resident: resident(&proc),
            descriptors: descriptors(&proc),
            blocks: number("blocks"),
            bytes: number("bytes"),
            allocations: number("allocations") as u64,
            own_resident: resident("/proc/self"),
            own_descriptors: descriptors("/proc/self"),
            own_bytes: own.live_bytes,
            datagrams: line.up.delivered + line.down.delivered,
        })
    }
}

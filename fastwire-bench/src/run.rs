//! Starts server, relay and client of one measurement, each in a process of its own, and collects what they say.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::plan::Case;
use crate::system::{Outcome, quantile};

/// A client that has said nothing for so long is stopped.
const PATIENCE: Duration = Duration::from_secs(90);
/// The same of a server or relay that starts or ends.
const HELPER_PATIENCE: Duration = Duration::from_secs(20);

/// One figure of one round.
#[derive(Clone, Debug)]
pub struct Figure {
    pub metric: String,
    pub unit: String,
    pub better: String,
    pub value: f64,
}

/// All figures of one round.
#[derive(Clone, Debug, Default)]
pub struct Round {
    pub figures: Vec<Figure>,
    pub delivered: Option<f64>,
    pub offered: Option<f64>,
}

/// A child that lives as long as its standard input is open.
struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    /// What it prints, line by line.
    lines: Receiver<String>,
    port: u16,
}

impl Helper {
    fn start(arguments: &[String]) -> Outcome<Self> {
        let mut child = command(arguments)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let (line, lines) = channel();
        // A thread reads, so that a child that hangs cannot hold up the run.
        thread::spawn(move || output.lines().map_while(Result::ok).all(|said| line.send(said).is_ok()));
        let mut helper = Self { child, input, lines, port: 0 };
        let said = helper.line();
        helper.port = said.trim().parse().map_err(|_| format!("{}: did not start", arguments.join(" ")))?;
        Ok(helper)
    }

    /// The next line it prints; empty if none comes.
    fn line(&self) -> String {
        self.lines.recv_timeout(HELPER_PATIENCE).unwrap_or_default()
    }

    /// Ends it and gives its last line.
    fn finish(mut self) -> Outcome<Value> {
        drop(self.input.take());
        Ok(serde_json::from_str(&self.line()).unwrap_or(Value::Null))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.input.take());
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[String]) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

fn words(first: &str, text: &str, more: &[String]) -> Vec<String> {
    // A value may have a space in it: `case=in turn`.
    let mut words: Vec<String> = vec![first.to_owned()];
    for word in text.split(' ') {
        match words.last_mut() {
            Some(last) if !word.contains('=') => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words.extend_from_slice(more);
    words
}

/// Runs one round of a case with one system.
pub fn round(case: &Case, system: &str, seed: u64) -> Outcome<Round> {
    let mut more = vec![format!("system={system}"), format!("seed={seed}")];
    let relayed = !case.line.is_empty();
    let mut relay_port = 0;
    if relayed {
        // The server has to know where clients will see it, before the relay is there.
        relay_port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        more.push(format!("relay=127.0.0.1:{relay_port}"));
    }
    let server = Helper::start(&words("serve", &case.serve, &more))?;
    let (mut port, mut relay) = (server.port, None);
    if relayed {
        let line = [
            format!("line={}", case.line),
            format!("port={relay_port}"),
            format!("server=127.0.0.1:{port}"),
            format!("seed={seed}"),
        ];
        let started = Helper::start(&words("relay", "x=", &line))?;
        port = started.port;
        relay = Some(started);
    }
    more.push(format!("server=127.0.0.1:{port}"));
    more.push(format!("server_pid={}", server.child.id()));
    more.push(format!("relay_pid={}", relay.as_ref().map_or(0, |relay| relay.child.id())));
    let said = client(&words("drive", &case.drive, &more))?;
    let mut round = Round {
        delivered: said["delivered"].as_f64(),
        offered: said["offered"].as_f64(),
        ..Round::default()
    };
    for row in said["rows"].as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let value = row["value"].as_f64().ok_or("a figure is no number")?;
        round.figures.push(Figure {
            metric: text("metric"),
            unit: text("unit"),
            better: text("better"),
            value,
        });
    }
    let logged = server.finish()?;
    let seen = relay.map(Helper::finish).transpose()?;
    one_way(&mut round, &logged);
    over_the_relay(&mut round, seen.as_ref());
    // The first figure is what a case is about.
    round.figures.sort_by_key(|figure| figure.metric == "relay CPU");
    Ok(round)
}

/// Runs a client and gives what it printed.
fn client(arguments: &[String]) -> Outcome<Value> {
    let mut child = command(arguments)?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let until = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(format!("{}: took longer than {} s", arguments.join(" "), PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{} failed", arguments.join(" ")).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn figure(round: &mut Round, metric: &str, unit: &str, better: &str, value: f64) {
    let (metric, unit, better) = (metric.to_owned(), unit.to_owned(), better.to_owned());
    round.figures.push(Figure { metric, unit, better, value });
}

/// What a server logged of messages under way.
fn one_way(round: &mut Round, logged: &Value) {
    let nanos = logged["latencies"].as_array().into_iter().flatten().filter_map(Value::as_f64);
    let mut millis: Vec<f64> = nanos.map(|nanos| nanos / 1e6).collect();
    let sent = round.figures.iter().find(|figure| figure.metric == "sent").map(|figure| figure.value);
    let Some(sent) = sent else { return };
    round.figures.retain(|figure| figure.metric != "sent");
    round.delivered = Some(millis.len() as f64 / sent.max(1.0));
    for (metric, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
        let value = quantile(&mut millis, share);
        figure(round, metric, "ms", "lower", value);
    }
}

fn over_the_relay(round: &mut Round, seen: Option<&Value>) {
    let Some(seen) = seen else { return };
    let number = |key: &str| seen[key].as_f64().unwrap_or(0.0);
    let payload =
        round.figures.iter().find(|figure| figure.metric == "payload bytes").map(|figure| figure.value);
    if let Some(payload) = payload {
        round.figures.retain(|figure| figure.metric != "payload bytes");
        figure(round, "bytes sent/byte", "", "lower", (number("up_bytes") + number("down_bytes")) / payload);
    } else {
        figure(round, "queue drops", "datagrams", "lower", number("queue_drops"));
        figure(round, "queueing delay p95", "ms", "lower", number("queue_delay_p95"));
    }
}

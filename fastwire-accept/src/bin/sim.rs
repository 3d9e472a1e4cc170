//! The program behind `cargo xtask sim`: one simulated run in virtual time, seen from close.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastwire::congestion::CongestionMode;
use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, NodeId, World};
use fastwire::{ClientConfig, ConnectionId, Event, SendError, ServerConfig};
use fastwire_accept::figure;
use fastwire_accept::line::{self, LineOptions};

const HELP: &str = "\
cargo xtask sim [OPTIONS]

Connects a client to a server over a simulated line, sends messages on all four delivery modes in both directions, and
prints how they arrived. Virtual time: a minute takes a moment, and the same seed gives the same run.

cargo xtask sim figure

Writes the tables and pictures of docs/congestion.md.

cargo xtask sim table

Prints delays and goodput by profile, controller and loss, and writes them into docs/latency.md. Takes minutes.
";

const REST: &str = "\
  --messages N        on each channel and in each direction (default 1000)
  --size BYTES        of each message (default 200)
  --every TIME        one message a channel (default 16.7ms, 60 a second)
  --controller NAME   conservative (default), aggressive, cubic or model-based
  --aggressive        the same as --controller aggressive
  --seed N            where chance starts (default 1)";

/// After the last message was sent.
const PATIENCE: Duration = Duration::from_secs(60);

struct Options {
    line: LineOptions,
    messages: usize,
    size: usize,
    every: Duration,
    congestion: CongestionMode,
    seed: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "figure") {
        return write_figures(&arguments[1..]);
    }
    if arguments == ["table"] {
        return match figure::write_table() {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("sim table: {reason}");
                ExitCode::FAILURE
            }
        };
    }
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{HELP}\n{}\n{REST}", line::HELP);
        return ExitCode::SUCCESS;
    }
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("sim: {reason}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("sim: seed {}: {reason}", options.seed);
            ExitCode::FAILURE
        }
    }
}

fn write_figures(rest: &[String]) -> ExitCode {
    if !rest.is_empty() {
        print!("{}", figure::HELP);
        let asked = rest.iter().all(|argument| argument == "--help" || argument == "-h");
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    match figure::write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("sim figure: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn controller(name: &str) -> Result<CongestionMode, String> {
    match name {
        "conservative" => Ok(CongestionMode::Conservative),
        "aggressive" => Ok(CongestionMode::Aggressive),
        "cubic" => Ok(CongestionMode::Cubic),
        "model-based" => Ok(CongestionMode::ModelBased),
        other => {
            Err(format!("unknown controller {other}; there are conservative, aggressive, cubic, model-based"))
        }
    }
}

fn parse(arguments: Vec<String>) -> Result<Options, String> {
    let mut options = Options {
        line: LineOptions::default(),
        messages: 1000,
        size: 200,
        every: Duration::from_micros(16_667),
        congestion: CongestionMode::Conservative,
        seed: 1,
    };
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{argument} needs a whole number"));
        match argument.as_str() {
            "--messages" => options.messages = number(value()?)?,
            "--size" => options.size = number(value()?)?,
            "--every" => options.every = line::duration(&value()?)?,
            "--controller" => options.congestion = controller(&value()?)?,
            "--aggressive" => options.congestion = CongestionMode::Aggressive,
            "--seed" => options.seed = number(value()?)? as u64,
            other => {
                if !options.line.accept(other, value)? {
                    return Err(format!("unknown option {other}; --help lists them"));
                }
            }
        }
    }
    Ok(options)
}

/// One direction of one channel.
struct Lane {
    from: NodeId,
    to: NodeId,
    sender: ConnectionId,
    channel: u8,
    mode: DeliveryMode,
    ledger: Ledger,
    /// When which message was sent, by its content.
    sent_at: HashMap<Vec<u8>, Instant>,
    delays: Vec<Duration>,
    refused: u64,
}

fn run(options: &Options) -> Result<(), String> {
    let mut world = World::new(options.seed);
    let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
    (server.congestion, client.congestion) = (options.congestion, options.congestion);
    let server = world.server(server).map_err(|error| error.to_string())?;
    let client = world.client(client).map_err(|error| error.to_string())?;
    world.line(client, server, options.line.config()?).map_err(|error| error.to_string())?;
    let at_client = world.connect(client, server).map_err(|error| error.to_string())?;
    let at_server = connect(&mut world, server)?;
    println!("connected after {:.1?}", world.elapsed());

    let mut lanes = lanes(options.seed, (client, at_client), (server, at_server));
    let start = world.now();
    for number in 0..options.messages {
        for lane in &mut lanes {
            lane.send(&mut world, options.size)?;
        }
        world.poke(client);
        world.poke(server);
        let next = start + options.every * (number as u32 + 1);
        receive(&mut world, &mut lanes, next)?;
    }
    let deadline = world.now() + PATIENCE;
    while world.now() < deadline && !lanes.iter().all(|lane| lane.ledger.is_complete()) {
        let next = world.now() + Duration::from_millis(10);
        receive(&mut world, &mut lanes, next)?;
    }
    // What is unreliable may still be on its way.
    let next = world.now() + Duration::from_secs(2);
    receive(&mut world, &mut lanes, next)?;

    print_lanes(&lanes, client);
    print_ends(&mut world, [("client", client, at_client), ("server", server, at_server)]);
    match lanes.iter().find(|lane| !lane.ledger.is_complete()) {
        Some(lane) => Err(format!("{:?} is not complete {PATIENCE:?} after the last message", lane.mode)),
        None => Ok(()),
    }
}

fn connect(world: &mut World, server: NodeId) -> Result<ConnectionId, String> {
    let (deadline, mut at_server, mut connected) = (world.now() + PATIENCE, None, false);
    while let Some((node, event)) = world.next_event(deadline) {
        match event {
            Event::Connected { connection } if node == server => at_server = Some(connection),
            Event::Connected { .. } => connected = true,
            Event::ConnectFailed { error, .. } => return Err(error.to_string()),
            _ => {}
        }
        if let (Some(id), true) = (at_server, connected) {
            return Ok(id);
        }
    }
    Err("not connected".to_owned())
}

fn lanes(seed: u64, client: (NodeId, ConnectionId), server: (NodeId, ConnectionId)) -> Vec<Lane> {
    let modes = (0..).zip(DeliveryMode::ALL);
    let each = |(channel, mode): (u8, DeliveryMode)| {
        [(client, server), (server, client)].map(|((from, sender), (to, _))| Lane {
            from,
            to,
            sender,
            channel,
            mode,
            ledger: Ledger::new(mode, seed ^ u64::from(channel)),
            sent_at: HashMap::new(),
            delays: Vec::new(),
            refused: 0,
        })
    };
    modes.flat_map(each).collect()
}

impl Lane {
    fn send(&mut self, world: &mut World, size: usize) -> Result<(), String> {
        let message = self.ledger.message(size);
        match world.send(self.from, self.sender, &message, self.channel) {
            Ok(()) => {
                self.ledger.on_sent(size);
                self.sent_at.insert(message, world.now());
                Ok(())
            }
            Err(SendError::QueueFull(_)) => {
                self.refused += 1;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn receive(world: &mut World, lanes: &mut [Lane], until: Instant) -> Result<(), String> {
    while let Some((node, event)) = world.next_event(until) {
        match event {
            Event::Message { channel, data, .. } => {
                let lane = lanes.iter_mut().find(|lane| lane.to == node && lane.channel == channel);
                let lane = lane.ok_or("a message on a channel nobody sent on")?;
                lane.ledger.on_delivered(&data).map_err(|law| law.to_string())?;
                let sent = lane.sent_at.get(&data[..]);
                lane.delays.extend(sent.map(|at| world.now() - *at));
            }
            other => return Err(format!("after {:.3?}: {other:?}", world.elapsed())),
        }
    }
    Ok(())
}

fn print_lanes(lanes: &[Lane], client: NodeId) {
    println!("\n{:<28}{:>8}{:>11}{:>9}{:>9}{:>9}{:>9}", "", "sent", "delivered", "p50", "p95", "p99", "max");
    for lane in lanes {
        let mut delays = lane.delays.clone();
        delays.sort_unstable();
        let at = |share: f64| {
            let index = ((delays.len() as f64 * share) as usize).min(delays.len().saturating_sub(1));
            delays.get(index).map_or("-".to_owned(), |delay| format!("{:.1}ms", delay.as_secs_f64() * 1e3))
        };
        let name = format!("{:?} {}", lane.mode, if lane.from == client { "up" } else { "down" });
        let (sent, delivered) = (lane.ledger.sent(), lane.ledger.delivered());
        println!(
            "{name:<28}{sent:>8}{delivered:>11}{:>9}{:>9}{:>9}{:>9}",
            at(0.5),
            at(0.95),
            at(0.99),
            at(1.0)
        );
        if lane.refused > 0 {
            println!("{:<28}{:>8} refused: the send queue was full", "", lane.refused);
        }
    }
}

fn print_ends(world: &mut World, ends: [(&str, NodeId, ConnectionId); 2]) {
    println!();
    for (name, node, id) in ends {
        let Some(stats) = world.endpoint(node).and_then(|endpoint| endpoint.connection_stats(id)) else {
            continue;
        };
        println!(
            "{name}: rtt {:.1?} ± {:.1?}, loss {:.1} %, {} packets sent, {} of them repeats, {} bytes sent",
            stats.rtt,
            stats.rtt_variance,
            stats.packet_loss * 100.0,
            stats.packets_sent,
            stats.retransmits,
            stats.bytes_sent,
        );
    }
    let line = world.network().stats();
    println!("line: {line}");
    println!("virtual time: {:.1?}", world.elapsed());
}

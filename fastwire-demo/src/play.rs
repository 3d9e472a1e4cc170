//! Starts servers and clients, lets them play, and judges what came of it.

use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use fastwire::sim::{LinkConfig, Loss};
use fastwire::transport::{LossyTransport, Readiness, Transport, UdpTransport};
use fastwire::{Client, ClientThread, Server, ServerThread};

use crate::game::{Ears, FRAME_RATE, LANES, Player, Room, Score};
use crate::options::{Options, Role};
use crate::panel::{Line, Panel, View};
use crate::top::Top;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Who plays when everybody plays here.
const NAMES: [&str; 4] = ["Ada", "Bob", "Cleo", "Dan"];
/// What is still on its way at the end gets this long to arrive.
const LAST_MESSAGES: Duration = Duration::from_secs(5);

/// Plays what the options ask for. Gives whether every mode delivered something.
pub(crate) fn run(options: &Options) -> Result<bool> {
    match &options.role {
        Role::Everybody => everybody(options),
        Role::Server(address) => server_alone(address, options.top, options.duration),
        Role::Client(server) => client_alone(server, options),
    }
}

fn everybody(options: &Options) -> Result<bool> {
    let score = Arc::new(Score::default());
    let server = Server::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    let server: ServerThread<Room> = server.spawn(Room(Arc::clone(&score)))?;
    println!(
        "A server listens on UDP {address}. {} clients connect to it, each from a socket of its own.",
        NAMES.len()
    );
    let mut threads = Vec::new();
    for name in NAMES {
        threads.push(join(name, address, options.bad_line, &score)?);
    }
    play(options.duration, &threads, &score, View::BothEnds)?;

    for (_, thread) in threads {
        thread.stop()?;
    }
    server.stop()?;
    let delivered = everything_delivered(score.heard.get()) && everything_delivered(score.learned.get());
    println!(
        "\nWhat you saw: {} clients and a server exchanged messages over UDP, encrypted with AES-128-GCM.",
        NAMES.len()
    );
    for (lane, ((said, heard), (told, learned))) in LANES.iter().zip(
        score
            .said
            .get()
            .into_iter()
            .zip(score.heard.get())
            .zip(score.told.get().into_iter().zip(score.learned.get())),
    ) {
        println!(
            "  {:20} {:>6} of {:<6} messages arrived ({})",
            lane.mode,
            heard + learned,
            said + told,
            lane.carries,
        );
    }
    let maps = score.maps.load(Ordering::Relaxed);
    println!("  {maps} of {} newcomers got the world map, 200 KB in one message.", NAMES.len());
    if options.bad_line {
        println!(
            "The line lost 5 % of all packets each way. What is reliable was sent again until it arrived;"
        );
        println!("what is not was let go, and nobody waited for it.");
    } else {
        println!("Nothing gets lost inside one machine: add `-- --bad-line` to see what the modes are for.");
    }
    Ok(verdict(delivered))
}

fn server_alone(address: &str, top: bool, duration: Option<Duration>) -> Result<bool> {
    let score = Arc::new(Score::default());
    let server = Server::bind(address)?;
    let address = server.local_addr()?;
    let server = server.spawn(Room(Arc::clone(&score)))?;
    println!(
        "A server listens on UDP {address}. Connect to it: fastwire-demo client HOST:{}",
        address.port()
    );
    let (mut panel, mut table) = (Panel::new(View::Server), top.then(Top::new));
    let started = Instant::now();
    while duration.is_none_or(|duration| started.elapsed() < duration) && !server.is_stopped() {
        thread::sleep(Duration::from_millis(50));
        if let Some(table) = &mut table {
            table.show(&server.handle())?;
            continue;
        }
        let peers = server.connections().into_iter().filter_map(|id| server.connection(id));
        panel.show(&score, || peers.map(|peer| Line::of_peer(&peer)).collect());
    }
    server.stop()?;
    Ok(true)
}

fn client_alone(server: &str, options: &Options) -> Result<bool> {
    let score = Arc::new(Score::default());
    let player = [join("You", server, options.bad_line, &score)?];
    play(options.duration, &player, &score, View::Client)?;
    let [(_, thread)] = player;
    thread.stop()?;
    println!("\nWhat you saw: a client talked to a server that tells everybody what each player says.");
    Ok(verdict(everything_delivered(score.learned.get())))
}

/// Connects a player and lets its client run in a thread of its own.
fn join(
    name: &'static str,
    server: impl ToSocketAddrs + std::fmt::Debug,
    bad_line: bool,
    score: &Arc<Score>,
) -> Result<(Player, ClientThread<Ears>)> {
    let started = Instant::now();
    let mut client = Client::builder().build(transport(&server, bad_line)?)?;
    client.connect_to(server)?;
    client.wait_connected()?;
    println!(
        "  {name} has connected, {:.1} ms after the first packet.",
        started.elapsed().as_secs_f64() * 1e3
    );
    let thread = client.spawn(Ears(Arc::clone(score)))?;
    Ok((Player { name, client: thread.handle() }, thread))
}

/// A UDP socket that reaches the server, behind a simulated bad line if asked for.
fn transport(server: &impl ToSocketAddrs, bad_line: bool) -> Result<Box<dyn Readiness>> {
    let v6 = server.to_socket_addrs()?.next().is_some_and(|address: SocketAddr| address.is_ipv6());
    let socket = UdpTransport::bind(if v6 { "[::]:0" } else { "0.0.0.0:0" })?;
    if !bad_line {
        return Ok(Box::new(socket));
    }
    let line = LinkConfig::new()
        .latency(Duration::from_millis(30))
        .jitter(Duration::from_millis(5))
        .loss(Loss::Bernoulli { rate: 0.05 });
    let seed = u64::from(socket.local_addr()?.port());
    Ok(Box::new(LossyTransport::new(socket, line.clone(), line, seed)?))
}

/// Plays frame by frame, then waits for what is still under way.
fn play(
    duration: Option<Duration>,
    players: &[(Player, ClientThread<Ears>)],
    score: &Score,
    view: View,
) -> Result<()> {
    let mut panel = Panel::new(view);
    let started = Instant::now();
    for frame in 0.. {
        let now = started + Duration::from_secs(frame) / FRAME_RATE;
        if duration.is_some_and(|duration| now >= started + duration) {
            break;
        }
        thread::sleep(now.saturating_duration_since(Instant::now()));
        for (player, _) in players {
            player.play(frame, score)?;
        }
        panel.show(score, || players.iter().map(|(player, _)| Line::of_player(player)).collect());
    }
    // A client alone does not know what the server told whom.
    let deadline =
        Instant::now() + if view == View::BothEnds { LAST_MESSAGES } else { Duration::from_millis(500) };
    while !score.is_complete() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    panel.show_last(score, players.iter().map(|(player, _)| Line::of_player(player)).collect());
    Ok(())
}

fn everything_delivered(arrived: [u64; LANES.len()]) -> bool {
    arrived.into_iter().all(|count| count > 0)
}

fn verdict(delivered: bool) -> bool {
    println!("{}", if delivered { "All four modes delivered." } else { "A MODE DELIVERED NOTHING." });
    delivered
}

//! What operators do with a server: decide who gets a place, show how it does, answer server browsers, and drain it.
//!
//! With `--features metrics` the same figures also go through the metrics facade.

use std::error::Error;
use std::time::{Duration, Instant};

use fastwire::{
    Client, ConnectError, DisconnectReason, Event, Handler, Peer, Server, ServerConfig, ServerHealth,
    ServerInfo,
};

/// How long clients may take what is queued for them once the server leaves.
const DRAIN: Duration = Duration::from_secs(5);

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        let _ = peer.send(data, channel);
    }
}

/// What a health check and an alarm look at.
fn judge(health: &ServerHealth) -> &'static str {
    if health.memory_shed > 0 || health.memory_held > health.memory_limit / 4 * 3 {
        "short of memory"
    } else if !health.is_accepting {
        "full, or leaving"
    } else {
        "fine"
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    #[cfg(feature = "metrics")]
    let gauges = figures::install()?;

    let mut config = ServerConfig::default();
    config.max_connections = 2;
    config.info = Some(ServerInfo::new("Harbour 7").with_details("map=docks"));
    // Called for every client that has proved its address, before it takes a place.
    let builder = Server::builder().config(config).on_accept(|client| {
        let known = client.remote.ip().is_loopback();
        println!("server: {:?} asks, {} are in: {known}", client.profile, client.connections);
        known
    });
    let server = builder.bind("127.0.0.1:0")?.spawn(Echo)?;
    let address = server.local_addr().ok_or("no address")?;

    let mut first = Client::connect(address)?;
    first.wait_connected()?;
    println!("health: {}", judge(&server.health()));
    let mut second = Client::connect(address)?;
    second.wait_connected()?;
    let health = server.health();
    println!("health: {}, {} of {} connections", judge(&health), health.connections, health.max_connections);

    // A server browser needs no connection.
    let status = fastwire::query(address, Duration::from_secs(2))?;
    println!("browser: {} has {} of {} players", status.name, status.players, status.max_players);

    let mut third = Client::connect(address)?;
    match third.wait_connected() {
        Err(ConnectError::ServerFull) => println!("third client: the server is full"),
        other => return Err(format!("{other:?}, and the server is full").into()),
    }

    // Two lines of a dashboard, once a second in real life.
    let stats = server.health().stats;
    println!("server: {} connects, {} turned away", stats.connects_received, stats.rejected);
    #[cfg(feature = "metrics")]
    println!("metrics: {}", gauges.wait_for("fastwire_connections_max")?);

    // Leaves: newcomers are turned away, the others get what is queued and are told.
    first.send("goodbye", 0)?;
    first.flush(Instant::now());
    let stopping = std::thread::spawn(move || server.stop_within(DRAIN));
    for client in [&mut first, &mut second] {
        println!("client: {:?}", until_told(client)?);
    }
    stopping.join().map_err(|_| "the server panicked")??;
    Ok(())
}

/// Goes on until the server says goodbye.
fn until_told(client: &mut Client) -> Result<DisconnectReason, Box<dyn Error>> {
    let give_up = Instant::now() + 2 * DRAIN;
    while Instant::now() < give_up {
        client.receive(Instant::now());
        while let Some(event) = client.poll_event() {
            if let Event::Disconnected { reason, .. } = event {
                return Ok(reason);
            }
        }
        client.flush(Instant::now());
        std::thread::sleep(Duration::from_millis(5));
    }
    Err("the server said no goodbye".into())
}

/// A recorder of one's own; programs take an exporter's instead.
#[cfg(feature = "metrics")]
mod figures {
    use std::collections::BTreeMap;
    use std::error::Error;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    /// Every gauge by its name.
    #[derive(Clone, Default)]
    pub(super) struct Gauges(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

    /// Takes the figures of every server from now on.
    pub(super) fn install() -> Result<Gauges, Box<dyn Error>> {
        let gauges = Gauges::default();
        metrics::set_global_recorder(gauges.clone())?;
        Ok(gauges)
    }

    impl Gauges {
        /// The name and value of a gauge, once a server has told it: they do so ten times a second.
        pub(super) fn wait_for(&self, name: &str) -> Result<String, Box<dyn Error>> {
            let give_up = Instant::now() + Duration::from_secs(5);
            while Instant::now() < give_up {
                if let Some(value) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
                    return Ok(format!("{name} {}", f64::from_bits(value.load(Ordering::Relaxed))));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(format!("{name} was not told").into())
        }
    }

    impl Recorder for Gauges {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let mut gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Gauge::from_arc(Arc::clone(gauges.entry(key.name().to_owned()).or_default()))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
}

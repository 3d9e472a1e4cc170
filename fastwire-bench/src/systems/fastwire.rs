//! FastWire: the tick-driven client, the owned-thread server and client, and async tasks.

use std::net::UdpSocket;
use std::os::fd::BorrowedFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fastwire::congestion::CongestionMode;
use fastwire::crypto::CipherSuite;
use fastwire::transport::{UdpConfig, UdpTransport};
use fastwire::{
    Client as Inner, ClientConfig, ClientProfile, ConnectionState, Event, Handler, Limits, Peer, Server,
    ServerConfig, ServerProfile,
};

use crate::behaviour::Behaviour;
use crate::poll::{self, Mode, PollClient, PollServer, fd_of};
use crate::report::{Meter, Report};
use crate::system::{Args, Failure, Outcome, small_udp, udp};

/// What a system's name says.
struct Variant {
    suite: CipherSuite,
    extended: bool,
}

impl Variant {
    fn of(args: &Args) -> Outcome<Self> {
        let (suite, extended) = match args.text("system") {
            "fastwire-extended-aes128" => (CipherSuite::Aes128Gcm, true),
            "fastwire-extended-chacha20" => (CipherSuite::ChaCha20Poly1305, true),
            "fastwire-base-aes128" => (CipherSuite::Aes128Gcm, false),
            "fastwire-base-chacha20" => (CipherSuite::ChaCha20Poly1305, false),
            other => return Err(format!("no system {other:?}").into()),
        };
        Ok(Self { suite, extended })
    }

    fn server(&self, args: &Args) -> ServerConfig {
        let mut config = ServerConfig::default();
        config.cipher_preference = vec![self.suite];
        config.send_batching = batching(args);
        config.congestion = congestion(args);
        config.max_connections = 8192;
        config.profile = if self.extended { ServerProfile::ExtendedOnly } else { ServerProfile::BaseOnly };
        config.limits = limits();
        config
    }

    fn client(&self, args: &Args) -> ClientConfig {
        let mut config = ClientConfig::default();
        config.cipher_preference = vec![self.suite];
        config.send_batching = batching(args);
        config.congestion = congestion(args);
        config.connect_timeout = Duration::from_secs(20);
        config.profile = if self.extended { ClientProfile::Require } else { ClientProfile::BaseOnly };
        config.limits = limits();
        config
    }
}

/// Small messages share datagrams where many are sent at once.
fn batching(args: &Args) -> bool {
    args.text("work") == "flood" && args.get::<usize>("size") < 500
}

/// On a path without loss or bottleneck nothing is to be shared fairly.
fn congestion(args: &Args) -> CongestionMode {
    if args.text("path") == "clean" { CongestionMode::Aggressive } else { CongestionMode::Auto }
}

/// The handshake budgets are lifted: handshakes are measured, not their limit.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.pending_handshakes = 16_384;
    limits.pending_handshakes_per_ip = 16_384;
    limits.key_agreements_per_second = 1_000_000;
    limits.key_agreements_per_address = 1_000_000;
    limits.key_agreements_per_site = 1_000_000;
    limits.half_open_connections = 16_384;
    limits.challenges_per_second = 1_000_000;
    limits
}

/// The channels of the default layout.
fn channel(mode: Mode) -> u8 {
    match mode {
        Mode::Ordered => 0,
        Mode::Unreliable => 2,
    }
}

struct Answering {
    behaviour: Behaviour,
    reply: Vec<u8>,
    down: u8,
}

impl Answering {
    fn new(args: &Args) -> Self {
        Self { behaviour: Behaviour::new(args), reply: Vec::new(), down: channel(Mode::of(args, "down")) }
    }
}

impl Handler for Answering {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], _: u8) {
        if self.behaviour.on_message(data, &mut self.reply) {
            // A full queue drops the answer, as any server does that serves many.
            let _ = peer.send(&self.reply, self.down);
        }
    }
}

pub fn serve(args: &Args) -> Outcome<()> {
    let config = Variant::of(args)?.server(args);
    if args.text("wait") == "spin" {
        let socket = udp()?;
        let port = socket.local_addr()?.port();
        let transport = UdpTransport::from_socket(socket.try_clone()?, UdpConfig::new())?;
        let inner = Server::builder().config(config).build(transport)?;
        let server = Spinning { inner, socket, handler: Answering::new(args) };
        return poll::serve(server, port, args);
    }
    if args.text("wait") == "async" {
        return super::stream::runtime()?.block_on(serve_async(config, args));
    }
    let server = Server::builder().config(config).bind("127.0.0.1:0")?;
    println!("{}", server.local_addr()?.port());
    let thread = server.spawn(Answering::new(args))?;
    let stop = poll::stop_with_parent();
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let handler = thread.stop()?;
    crate::report::print_latencies(&handler.behaviour.latencies);
    Ok(())
}

/// The tick-driven server, its answers given by its own handler.
struct Spinning {
    inner: Server,
    socket: UdpSocket,
    handler: Answering,
}

impl PollServer for Spinning {
    fn descriptor(&self) -> BorrowedFd<'_> {
        fd_of(&self.socket)
    }

    fn turn(&mut self, _: &mut dyn FnMut(&[u8], &mut Vec<u8>) -> bool) -> Outcome<()> {
        self.inner.tick(Instant::now(), &mut self.handler);
        Ok(())
    }

    fn sleep(&self) -> Duration {
        until(self.inner.next_timeout())
    }
}

fn until(timeout: Option<Instant>) -> Duration {
    timeout.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(Instant::now()))
}

/// The tick-driven client.
pub struct Client {
    inner: Inner,
    socket: UdpSocket,
}

impl PollClient for Client {
    fn start(args: &Args, crowd: bool) -> Outcome<Self> {
        let config = Variant::of(args)?.client(args);
        let socket = if crowd { small_udp()? } else { udp()? };
        let transport = UdpTransport::from_socket(socket.try_clone()?, UdpConfig::new())?;
        let mut inner = Inner::builder().config(config).build(transport)?;
        inner.connect_to(args.server()?)?;
        Ok(Self { inner, socket })
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        fd_of(&self.socket)
    }

    fn is_connected(&mut self) -> bool {
        self.inner.state() == ConnectionState::Connected
    }

    fn send(&mut self, data: &[u8], mode: Mode) -> bool {
        self.inner.send(data, channel(mode)).is_ok()
    }

    fn receive(&mut self, on: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        self.inner.receive(Instant::now());
        while let Some(event) = self.inner.poll_event() {
            match event {
                Event::Message { data, .. } => on(&data),
                Event::Disconnected { reason, .. } => return Err(format!("disconnected: {reason}").into()),
                Event::ConnectFailed { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome<()> {
        self.inner.flush(Instant::now());
        Ok(())
    }

    fn sleep(&self) -> Duration {
        until(self.inner.next_timeout())
    }
}

pub fn drive(args: &Args) -> Outcome<Report> {
    match (args.text("work"), args.text("wait")) {
        ("ping", "async") => super::stream::runtime()?.block_on(ping_async(args)),
        ("ping", "wait") => ping_thread(args),
        _ => poll::drive::<Client>(args),
    }
}

/// Sends the next message from within the callback that brought the answer.
struct Pinging {
    message: Vec<u8>,
    channel: u8,
    started: Instant,
    times: Vec<f64>,
    count: usize,
    connected: mpsc::Sender<()>,
    done: mpsc::Sender<Vec<f64>>,
}

impl Handler for Pinging {
    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        let _ = self.connected.send(());
        self.started = Instant::now();
        let _ = peer.send(&self.message, self.channel);
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, _: &[u8], _: u8) {
        self.times.push(self.started.elapsed().as_nanos() as f64 / 1e3);
        if self.times.len() == self.count {
            let _ = self.done.send(std::mem::take(&mut self.times));
        } else {
            self.started = Instant::now();
            let _ = peer.send(&self.message, self.channel);
        }
    }
}

fn ping_thread(args: &Args) -> Outcome<Report> {
    let count = args.get("count");
    let (connected, is_connected) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    let handler = Pinging {
        message: vec![0x5a; args.get("size")],
        channel: channel(Mode::of(args, "up")),
        started: Instant::now(),
        times: Vec::with_capacity(count),
        count,
        connected,
        done,
    };
    let config = Variant::of(args)?.client(args);
    let thread = Inner::builder().config(config).connect(args.server()?)?.spawn(handler)?;
    is_connected.recv_timeout(Duration::from_secs(20))?;
    let meter = Meter::start(args);
    let mut times = is_done.recv_timeout(Duration::from_secs(60))?;
    let report = meter.ping(&mut times);
    drop(thread);
    Ok(report)
}

async fn serve_async(config: ServerConfig, args: &Args) -> Outcome<()> {
    let server = Server::builder().config(config).bind("127.0.0.1:0")?.into_async();
    println!("{}", server.local_addr().ok_or("no address")?.port());
    let stop = super::stream::stop();
    let args = args.clone();
    tokio::spawn(async move {
        while let Some(mut connection) = server.accept().await {
            let mut handler = Answering::new(&args);
            tokio::spawn(async move {
                while let Some((_, data)) = connection.recv().await {
                    if handler.behaviour.on_message(&data, &mut handler.reply) {
                        let _ = connection.send_now(&handler.reply, handler.down).await;
                    }
                }
            });
        }
    });
    stop.await?;
    crate::report::print_latencies(&[]);
    Ok(())
}

async fn ping_async(args: &Args) -> Outcome<Report> {
    let config = Variant::of(args)?.client(args);
    let client = Inner::builder().config(config).connect(args.server()?)?.into_async();
    let mut connection = client.connection().await.map_err(Failure::from)?;
    let (count, up) = (args.get::<usize>("count"), channel(Mode::of(args, "up")));
    let message = vec![0x5a; args.get("size")];
    let mut times = Vec::with_capacity(count);
    let meter = Meter::start(args);
    for _ in 0..count {
        let started = Instant::now();
        connection.send_now(&message, up).await?;
        connection.recv().await.ok_or("closed")?;
        times.push(started.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(meter.ping(&mut times))
}

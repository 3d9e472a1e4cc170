//! What a real kernel reports: a port that nobody listens on, an interface that takes less than it did.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastwire::{
    Client, ClientConfig, ClientProfile, ConnectError, ConnectionId, ConnectionState, DisconnectReason,
    Event, Profile, Server, ServerConfig,
};

/// No run takes this long; one that does hangs.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Set in the process that runs in a network namespace of its own.
const INSIDE: &str = "FASTWIRE_TEST_IN_NAMESPACE";

/// A loopback port that the kernel refuses datagrams to.
fn closed_port() -> SocketAddr {
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_refuses(address);
    address
}

/// The kernel answers a datagram to this address with "port unreachable".
fn assert_refuses(address: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(GIVE_UP)).unwrap();
    socket.send(b"anybody there?").unwrap();
    assert_eq!(socket.recv(&mut [0; 16]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

fn profiles() -> [(ClientProfile, Profile); 2] {
    [(ClientProfile::BaseOnly, Profile::Base), (ClientProfile::Require, Profile::Extended)]
}

/// A server, a client and the application on both: what arrives at the server goes back.
struct Pair {
    server: Server,
    client: Client,
    connection: Option<ConnectionId>,
    echoes: Vec<Vec<u8>>,
    ended: Option<DisconnectReason>,
}

impl Pair {
    fn turn(&mut self) {
        let now = Instant::now();
        self.server.receive(now);
        while let Some(event) = self.server.poll_event() {
            if let Event::Message { connection, channel, data } = event {
                self.connection = Some(connection);
                self.server.send(connection, data, channel).unwrap();
            }
        }
        self.server.flush(now);
        self.client.receive(now);
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Message { data, .. } => self.echoes.push(data.to_vec()),
                Event::Disconnected { reason, .. } => self.ended = Some(reason),
                _ => {}
            }
        }
        self.client.flush(now);
        thread::yield_now();
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let give_up = Instant::now() + GIVE_UP;
        while !done(self) {
            assert!(
                Instant::now() < give_up,
                "never {what}: {:?}, {:?}",
                self.client.state(),
                self.client.stats()
            );
            self.turn();
        }
    }
}

/// Passes datagrams between one client and a server until it is closed, and its ports with it.
struct Relay {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Relay {
    fn to(server: SocketAddr) -> Self {
        let (front, back) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        back.connect(server).unwrap();
        let (address, closing) = (front.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        }
        let until = Arc::clone(&closing);
        let thread = thread::spawn(move || {
            let (mut buffer, mut client) = ([0; 65_536], None);
            while !until.load(Ordering::Acquire) {
                if let Ok((len, from)) = front.recv_from(&mut buffer) {
                    client = Some(from);
                    let _ = back.send(&buffer[..len]);
                }
                if let (Ok(len), Some(client)) = (back.recv(&mut buffer), client) {
                    let _ = front.send_to(&buffer[..len], client);
                }
            }
        });
        Self { address, closing, thread }
    }

    fn close(self) {
        self.closing.store(true, Ordering::Release);
        self.thread.join().unwrap();
        assert_refuses(self.address);
    }
}

#[test]
fn a_closed_port_is_asked_until_the_time_to_connect_is_over() {
    for (profile, _) in profiles() {
        let mut config = ClientConfig::default();
        (config.profile, config.connect_timeout) = (profile, Duration::from_millis(500));
        let mut client = Client::builder().config(config).connect(closed_port()).unwrap();
        let give_up = Instant::now() + GIVE_UP;
        let error = loop {
            assert!(Instant::now() < give_up);
            let now = Instant::now();
            client.receive(now);
            let event = client.poll_event();
            client.flush(now);
            match event {
                None => thread::yield_now(),
                Some(Event::ConnectFailed { error, .. }) => break error,
                Some(other) => panic!("{other:?} instead of a failed attempt"),
            }
        };
        // Neither refused nor broken: as if nobody had answered.
        assert_eq!(error, ConnectError::Timeout { after: Duration::from_millis(500) });
    }
}

#[test]
fn a_connection_whose_peer_s_port_closed_ends_by_its_timeout_and_no_sooner_for_the_refusals() {
    for (wanted, profile) in profiles() {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let relay = Relay::to(server.local_addr().unwrap());
        let mut config = ClientConfig::default();
        config.profile = wanted;
        (config.heartbeat_interval, config.connection_timeout) =
            (Duration::from_millis(100), Duration::from_secs(3));
        config.reconnect = false;
        let client = Client::builder().config(config).connect(relay.address).unwrap();
        let mut pair = Pair { server, client, connection: None, echoes: Vec::new(), ended: None };
        pair.client.send("once", 0).unwrap();
        pair.until("connected", |pair| pair.echoes.len() == 1);
        assert_eq!(pair.client.server().unwrap().profile(), Some(profile));
        relay.close();
        // What is sent from now on is refused; the client goes on sending.
        let before = pair.client.stats().unwrap().packets_sent;
        pair.client.send("into the void", 0).unwrap();
        pair.until("gone on", |pair| {
            pair.client.stats().is_some_and(|stats| stats.packets_sent > before + 2)
        });
        assert_eq!((pair.client.state(), pair.ended), (ConnectionState::Connected, None));
        pair.until("ended", |pair| pair.ended.is_some());
        assert_eq!(pair.ended, Some(DisconnectReason::Timeout));
    }
}

/// Runs `unshare` with a network of its own, as root or as who becomes root in a user namespace.
fn in_a_namespace(command: &[&std::ffi::OsStr]) -> Option<std::process::Output> {
    let own_network = |rights: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(rights).arg("--net").env(INSIDE, "1");
        unshare
    };
    let permitted = |rights: &&[&str]| {
        let tried =
            own_network(rights).args(["ip", "link", "set", "dev", "lo", "up", "mtu", "4028"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let rights: &[&str] = [&[][..], &["--user", "--map-root-user"]].into_iter().find(permitted)?;
    Some(own_network(rights).args(command).output().unwrap())
}

fn set_loopback(words: &str) {
    let output =
        Command::new("ip").args("link set dev lo".split(' ')).args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_connection_goes_on_in_smaller_datagrams_over_an_interface_whose_mtu_is_cut() {
    if std::env::var_os(INSIDE).is_none() {
        let own = std::env::current_exe().unwrap();
        let name = concat!(
            module_path!(),
            "::a_connection_goes_on_in_smaller_datagrams_over_an_interface_whose_mtu_is_cut"
        );
        let (_, name) = name.split_once("::").unwrap();
        let output =
            in_a_namespace(&[own.as_os_str(), "--exact".as_ref(), name.as_ref(), "--nocapture".as_ref()]);
        let Some(output) = output else {
            println!(
                "skipped: no network namespace of its own to be had (unshare, ip and the right to use them)"
            );
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{errors}");
        return;
    }
    const WIDE: usize = 4000;
    const NARROW: usize = 1400;
    set_loopback("up mtu 4028");
    let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
    (server.mtu, client.mtu, client.profile) = (WIDE, WIDE, ClientProfile::Require);
    let server = Server::builder().config(server).bind("127.0.0.1:0").unwrap();
    let client = Client::builder().config(client).connect(server.local_addr().unwrap()).unwrap();
    let mut pair = Pair { server, client, connection: None, echoes: Vec::new(), ended: None };
    let mut sent = Vec::new();
    let mut talk = |pair: &mut Pair, messages: u8| {
        for _ in 0..messages {
            let message = vec![sent.len() as u8; 20_000];
            pair.client.send(&message, 0).unwrap();
            sent.push(message);
        }
        pair.until("answered", |pair| pair.echoes.len() == sent.len());
        assert!(pair.echoes == sent, "each message once, whole, in order");
    };
    let mtus = |pair: &Pair| {
        let at_server = pair.server.connection_stats(pair.connection.unwrap()).unwrap().path_mtu;
        [pair.client.stats().unwrap().path_mtu, at_server]
    };
    talk(&mut pair, 4);
    pair.until("found wide", |pair| mtus(pair) == [WIDE, WIDE]);
    set_loopback(&format!("mtu {}", NARROW + 28));
    talk(&mut pair, 8);
    // A plain socket lets the system cut what is too large, so there is nothing to find.
    if !cfg!(fastwire_portable) {
        pair.until("found narrow", |pair| mtus(pair).iter().all(|mtu| (1200..=NARROW).contains(mtu)));
    }
    talk(&mut pair, 4);
    assert_eq!((pair.client.state(), pair.ended), (ConnectionState::Connected, None));
}

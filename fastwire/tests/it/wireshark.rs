//! The Wireshark dissector decrypts what travelled over loopback sockets: every message of all four modes, in both profiles.
//!
//! Needs tshark; without it the tests say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastwire::crypto::CipherSuite;
use fastwire::sim::Rng;
use fastwire::transport::{RecvBatch, SendOutcome, SocketId, Transmit, Transport, UdpTransport};
use fastwire::{Client, ClientConfig, Event, KeyLog, Profile, Server, ServerConfig};

use crate::duo::{PROFILES, configs};

/// Datagrams with their two ends, in the order seen.
type Tape = Arc<Mutex<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>>;

/// A server's socket that keeps a copy of everything.
struct Recorder {
    socket: UdpTransport,
    tape: Tape,
}

impl Transport for Recorder {
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        let count = self.socket.recv(batch)?;
        let (local, mut tape) = (self.local_addr()?, self.tape.lock().expect("tape"));
        tape.extend(batch.iter_mut().map(|(meta, datagram)| (meta.remote, local, datagram.to_vec())));
        Ok(count)
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
        let outcome = self.socket.send(transmit)?;
        if matches!(outcome, SendOutcome::Sent) {
            let (local, mut tape) = (self.local_addr()?, self.tape.lock().expect("tape"));
            tape.extend(transmit.segments().map(|datagram| (local, transmit.destination, datagram.to_vec())));
        }
        Ok(outcome)
    }

    fn max_segments(&self) -> usize {
        self.socket.max_segments()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn open(&mut self, socket: SocketId, remote: SocketAddr) -> io::Result<()> {
        self.socket.open(socket, remote)
    }

    fn close(&mut self, socket: SocketId) {
        self.socket.close(socket);
    }
}

/// The datagrams as a capture file: IPv4 and UDP headers before each (pcap, link type 101).
fn pcap(tape: &[(SocketAddr, SocketAddr, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    for (index, (from, to, datagram)) in tape.iter().enumerate() {
        let len = 28 + datagram.len() as u32;
        for word in [1, index as u32, len, len] {
            file.extend(word.to_le_bytes());
        }
        let octets = |address: &SocketAddr| match address {
            SocketAddr::V4(v4) => v4.ip().octets(),
            SocketAddr::V6(_) => panic!("recorded over IPv4"),
        };
        file.extend([0x45, 0]);
        file.extend((len as u16).to_be_bytes());
        file.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        file.extend(octets(from));
        file.extend(octets(to));
        for half in [from.port(), to.port(), (8 + datagram.len()) as u16, 0] {
            file.extend(half.to_be_bytes());
        }
        file.extend(datagram);
    }
    file
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/wireshark")
}

/// What tshark prints with the dissector loaded; `None`, and a reason printed, where there is no tshark.
fn tshark(arguments: &[&str]) -> Option<String> {
    let script = format!("lua_script:{}", scripts().join("fastwire.lua").display());
    match Command::new("tshark").args(["-X", &script]).args(arguments).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !errors.contains("Lua"), "tshark: {errors}");
            Some(String::from_utf8(output.stdout).expect("text"))
        }
        Err(error) => {
            println!("skipped: tshark does not start ({error}); apt-get install tshark");
            None
        }
    }
}

/// One conversation: random messages on every channel, both ways, large ones too, before and after the client moved.
fn converse(server: ServerConfig, client: ClientConfig, seed: u64) -> (Tape, BTreeMap<bool, Vec<Vec<u8>>>) {
    let tape = Tape::default();
    let socket = UdpTransport::bind("127.0.0.1:0".parse::<SocketAddr>().expect("address")).expect("a socket");
    let recorder = Recorder { socket, tape: Arc::clone(&tape) };
    let mut server = Server::builder().config(server).build(recorder).expect("server");
    let mut client =
        Client::builder().config(client).connect(server.local_addr().expect("address")).expect("client");
    let mut rng = Rng::new(seed);
    let mut sent: BTreeMap<bool, Vec<Vec<u8>>> = BTreeMap::new();
    let (mut heard, mut at_server, mut rounds) = (0, None, 0);
    let give_up = Instant::now() + Duration::from_secs(20);
    // Loopback loses nothing, so unreliable messages are waited for too.
    while rounds < 4 || heard < sent.values().map(Vec::len).sum() {
        let now = Instant::now();
        assert!(now < give_up, "{heard} messages heard, {:?}", client.state());
        server.receive(now);
        while let Some(event) = server.poll_event() {
            match event {
                Event::Connected { connection } => at_server = Some(connection),
                Event::Message { .. } => heard += 1,
                _ => {}
            }
        }
        client.receive(now);
        while let Some(event) = client.poll_event() {
            heard += usize::from(matches!(event, Event::Message { .. }));
        }
        let all_heard = heard == sent.values().map(Vec::len).sum::<usize>();
        if let (Some(at_server), true, true) = (at_server, all_heard, rounds < 4) {
            if rounds == 2 {
                client.rebind().expect("moves");
            }
            for channel in 0..4 {
                let size = if channel < 2 && rounds % 2 == 1 { 5000 } else { 60 + 200 * rounds };
                for up in [true, false] {
                    let message: Vec<u8> = (0..size).map(|_| rng.next_u64() as u8).collect();
                    match up {
                        true => client.send(&message[..], channel).expect("queued"),
                        false => server.send(at_server, &message[..], channel).expect("queued"),
                    }
                    sent.entry(up).or_default().push(message);
                }
            }
            rounds += 1;
        }
        server.flush(now);
        client.flush(now);
        std::thread::yield_now();
    }
    (tape, sent)
}

/// Payloads that the dissector shows, by direction: true is to the server.
fn payloads(capture: &Path, keys: &Path, server_port: u16) -> Option<Vec<(bool, Vec<u8>)>> {
    let keylog = format!("fastwire.keylog:{}", keys.display());
    let capture = capture.to_str().expect("a path of text");
    let fields = ["-T", "fields", "-E", "occurrence=a", "-e", "udp.dstport", "-e", "fastwire.payload"];
    let text = tshark(&[&["-o", &keylog, "-r", capture], &fields[..]].concat())?;
    let mut shown = Vec::new();
    for line in text.lines() {
        let (port, payloads) = line.split_once('\t').expect("two fields");
        for payload in payloads.split(',').filter(|payload| !payload.is_empty()) {
            let digits: Vec<u8> = payload.chars().filter_map(|c| Some(c.to_digit(16)? as u8)).collect();
            let bytes = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
            shown.push((port.parse::<u16>().expect("a port") == server_port, bytes));
        }
    }
    Some(shown)
}

/// Whether pieces among the payloads cover the whole message.
fn is_covered(message: &[u8], payloads: &[(bool, Vec<u8>)], up: bool) -> bool {
    let mut covered = vec![false; message.len()];
    for (_, piece) in payloads.iter().filter(|(way, piece)| *way == up && piece.len() >= 8) {
        // Messages are random: who looks like a part of one is a part of it.
        if let Some(at) = message.windows(piece.len()).position(|window| window == piece) {
            covered[at..at + piece.len()].fill(true);
        }
    }
    // A shorter piece proves itself by being just what is missing between two others.
    let short: Vec<&Vec<u8>> = payloads
        .iter()
        .filter(|(way, piece)| *way == up && piece.len() < 8)
        .map(|(_, piece)| piece)
        .collect();
    let indexed: Vec<(bool, u8)> = covered.into_iter().zip(message.iter().copied()).collect();
    indexed.chunk_by(|a, b| a.0 == b.0).all(|run| {
        let bytes = || run.iter().map(|(_, byte)| *byte);
        run[0].0 || short.iter().any(|piece| piece.iter().copied().eq(bytes()))
    })
}

#[test]
fn every_message_of_every_mode_appears_decrypted() {
    if tshark(&["--version"]).is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("fastwire-wireshark-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    for profile in PROFILES {
        for suite in [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305] {
            let batching = suite == CipherSuite::Aes128Gcm;
            let name = format!("{profile:?} {suite}");
            let (keys, capture) = (folder.join("keys"), folder.join("capture.pcap"));
            let _ = fs::remove_file(&keys);
            let (mut server, mut client) = configs(profile);
            (server.connection_migration, client.connection_migration) = (true, true);
            (server.send_batching, client.send_batching) = (batching, batching);
            client.cipher_preference = vec![suite];
            client.key_log = Some(KeyLog::append_to(&keys).expect("a key log"));
            let (tape, sent) = converse(server, client, 7);
            let tape = tape.lock().expect("tape");
            let server_port = tape[0].1.port();
            assert!(
                tape.iter().any(|(from, ..)| from.port() != server_port && *from != tape[0].0),
                "it moved"
            );
            fs::write(&capture, pcap(&tape)).expect("a capture");
            let shown = payloads(&capture, &keys, server_port).expect("tshark is there");
            for (up, messages) in &sent {
                assert_eq!(messages.len(), 16);
                for (index, message) in messages.iter().enumerate() {
                    assert!(is_covered(message, &shown, *up), "{name}: message {index}, to the server: {up}");
                }
            }
            // Without the key log nothing is seen.
            fs::write(&keys, "").expect("emptied");
            assert_eq!(payloads(&capture, &keys, server_port), Some(Vec::new()), "{name}");
            if profile == Profile::Extended {
                let ids = ["-r", capture.to_str().expect("text"), "-Y", "fastwire.token", "-T", "fields"];
                let challenges = tshark(&[&ids[..], &["-e", "fastwire.profile"]].concat()).expect("tshark");
                assert!(challenges.lines().all(|line| line == "extended") && !challenges.is_empty());
            }
        }
    }
    fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn its_ciphers_agree_with_published_vectors() {
    let vectors = format!("lua_script:{}", scripts().join("vectors.lua").display());
    // A capture of nothing.
    let empty = std::env::temp_dir().join(format!("fastwire-empty-{}.pcap", std::process::id()));
    fs::write(&empty, pcap(&[])).expect("a file");
    let told = tshark(&["-X", &vectors, "-r", empty.to_str().expect("text")]);
    fs::remove_file(empty).expect("removed");
    if let Some(told) = told {
        assert!(told.lines().count() >= 10 && told.lines().all(|line| line.starts_with("ok ")), "{told}");
    }
}

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

use fastwire::compress::{Algorithm, CompressionConfig};
use fastwire::crypto::CipherSuite;
use fastwire::sim::Rng;
use fastwire::transport::{RecvBatch, SendOutcome, SocketId, Transmit, Transport, UdpTransport};
use fastwire::{Client, ClientConfig, Event, Identity, KeyLog, Profile, SendOptions, Server, ServerConfig};

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

/// Messages of one conversation, by direction: true is to the server.
type Sent = BTreeMap<bool, Vec<Vec<u8>>>;

/// One conversation: random messages on every channel, both ways, large ones too, before and after the client moved.
fn converse(server: ServerConfig, client: ClientConfig, seed: u64) -> (Tape, Sent) {
    let mut rng = Rng::new(seed);
    converse_in(server, client, &mut |size| (0..size).map(|_| rng.next_u64() as u8).collect())
}

/// The same in messages that `write` makes of a size.
fn converse_in(
    server: ServerConfig,
    client: ClientConfig,
    write: &mut dyn FnMut(usize) -> Vec<u8>,
) -> (Tape, Sent) {
    let tape = Tape::default();
    let socket = UdpTransport::bind("127.0.0.1:0".parse::<SocketAddr>().expect("address")).expect("a socket");
    let recorder = Recorder { socket, tape: Arc::clone(&tape) };
    let mut server = Server::builder().config(server).build(recorder).expect("server");
    let mut client =
        Client::builder().config(client).connect(server.local_addr().expect("address")).expect("client");
    let mut sent = Sent::new();
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
                    let message = write(size);
                    // a stamp where both know the time
                    let options = SendOptions::new().stamped();
                    match up {
                        true => client.send_with(channel, &message[..], options).expect("queued"),
                        false => server.send_with(at_server, channel, &message[..], options).expect("queued"),
                    };
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

/// What the fields are in every packet that has one of them.
fn fields_of(capture: &Path, options: &[&str], fields: &[&str]) -> Vec<Vec<String>> {
    let filter = fields.join(" or ");
    let mut arguments = options.to_vec();
    arguments.extend(["-r", capture.to_str().expect("text"), "-Y", &filter, "-T", "fields"]);
    fields.iter().for_each(|field| arguments.extend(["-e", field]));
    let text = tshark(&arguments).expect("tshark is there");
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn veiled_handshakes_and_masked_ids_are_seen_through() {
    if tshark(&["--version"]).is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("fastwire-veiled-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let (keys, capture) = (folder.join("keys"), folder.join("capture.pcap"));
    let identity = Identity::from_secret([7; 32]);
    let server_key = identity.public_key();
    let (mut server, mut client) = configs(Profile::Extended);
    (client.pinned, server.identity) = (Some(server_key), Some(identity));
    (server.veil, client.veil) = (true, true);
    client.key_log = Some(KeyLog::append_to(&keys).expect("a key log"));
    let (tape, sent) = converse(server, client, 9);
    let tape = tape.lock().expect("tape");
    fs::write(&capture, pcap(&tape)).expect("a capture");
    let server_port = tape[0].1.port();
    let shown = payloads(&capture, &keys, server_port).expect("tshark is there");
    for (up, messages) in &sent {
        for (index, message) in messages.iter().enumerate() {
            assert!(is_covered(message, &shown, *up), "message {index}, to the server: {up}");
        }
    }
    let handshake = |options: &[&str]| -> Vec<u8> {
        let controls = fields_of(&capture, options, &["fastwire.control"]);
        controls.iter().map(|fields| fields[0].parse().expect("a number")).collect()
    };
    let log = format!("fastwire.keylog:{}", keys.display());
    let with_log = handshake(&["-o", &log]);
    assert!([1, 2, 3].iter().all(|kind| with_log.contains(kind)), "{with_log:?}");
    // the ids are those that the server gave, however they travelled
    let ids = fields_of(&capture, &["-o", &log], &["fastwire.cid"]);
    let ids: std::collections::BTreeSet<&str> = ids.iter().flat_map(|fields| fields[0].split(',')).collect();
    assert!(ids.len() < 20, "{ids:?}");
    // without keys the public key shows the handshake and nothing behind it; without that there is noise
    fs::write(&keys, "").expect("emptied");
    let known = format!("fastwire.veil:{}", to_hex(server_key.as_bytes()));
    let with_key = handshake(&["-o", &known]);
    assert!([1, 2, 3, 4].iter().all(|kind| with_key.contains(kind)), "{with_key:?}");
    assert_eq!(fields_of(&capture, &["-o", &known], &["fastwire.payload"]), Vec::<Vec<String>>::new());
    assert_eq!(handshake(&[]), Vec::<u8>::new());
    fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn compressed_and_stamped_messages_are_shown_as_such() {
    if tshark(&["--version"]).is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("fastwire-content-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let (keys, capture) = (folder.join("keys"), folder.join("capture.pcap"));
    for (profile, algorithm) in [
        (Profile::Extended, Algorithm::Lz4),
        (Profile::Extended, Algorithm::Zstd),
        (Profile::Base, Algorithm::Lz4),
    ] {
        let _ = fs::remove_file(&keys);
        let (mut server, mut client) = configs(profile);
        (server.compression, client.compression) =
            (CompressionConfig::new(algorithm), CompressionConfig::new(algorithm));
        (server.clock_sync, client.clock_sync) = (true, true);
        (server.connection_migration, client.connection_migration) = (true, true);
        client.key_log = Some(KeyLog::append_to(&keys).expect("a key log"));
        let mut count = 0;
        let words = ["north", "south", "east", "west", "up", "down"];
        let mut write = |size: usize| {
            count += 1;
            let text = (0..).map(|i: usize| words[(i * i + count) % 6]).flat_map(str::bytes);
            text.take(size).collect()
        };
        let (tape, sent) = converse_in(server, client, &mut write);
        fs::write(&capture, pcap(&tape.lock().expect("tape"))).expect("a capture");
        let log = format!("fastwire.keylog:{}", keys.display());
        let fields = ["fastwire.content", "fastwire.original", "fastwire.expanded", "fastwire.sent"];
        let shown = fields_of(&capture, &["-o", &log], &fields);
        let column = |index: usize| -> Vec<String> {
            let values = shown.iter().flat_map(|fields| fields[index].split(',').map(str::to_owned));
            values.filter(|value| !value.is_empty()).collect()
        };
        let (contents, sizes, expanded, stamps) = (column(0), column(1), column(2), column(3));
        let name = format!("{profile:?} {algorithm:?}");
        let flags = if algorithm == Algorithm::Lz4 { 1 } else { 3 };
        let value = |content: &String| u8::from_str_radix(content.trim_start_matches("0x"), 16).expect("hex");
        assert!(contents.iter().any(|content| value(content) & 3 == flags), "{name}: {contents:?}");
        assert!(contents.iter().all(|content| [0, flags].contains(&(value(content) & 3))), "{name}");
        let all: Vec<&Vec<u8>> = sent.values().flatten().collect();
        assert!(sizes.len() >= 16, "{name}: {sizes:?}");
        for size in &sizes {
            let size: usize = size.parse().expect("a number");
            assert!(all.iter().any(|message| message.len() == size), "{name}: {size}");
        }
        let expanded_all = expanded.iter().all(|text| all.iter().any(|message| to_hex(message) == *text));
        assert!(expanded_all, "{name}");
        assert_eq!(expanded.len() >= 16, algorithm == Algorithm::Lz4, "{name}: {}", expanded.len());
        let stamped = contents.iter().any(|content| value(content) & 4 != 0);
        assert_eq!(stamped, !stamps.is_empty(), "{name}");
        assert_eq!(stamped, profile == Profile::Extended, "{name}");
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

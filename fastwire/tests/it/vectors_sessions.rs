//! Every recorded conversation through a real endpoint in both roles, and its packets through the layers below.
//!
//! The recorded peer acknowledges what the endpoint that was recorded had sent. So wherever a recorded packet
//! begins a message of the role under test, the test has its own endpoint send the same message first; what then
//! leaves is dropped. Congestion control is off (Aggressive), so that nothing is held back.

use std::time::{Duration, Instant};

use fastwire::compress::{Algorithm, CompressionConfig, Dictionary};
use fastwire::congestion::CongestionMode;
use fastwire::crypto::{BuiltinSuites, CipherSuite, CipherSuites, Opener};
use fastwire::wire::{BatchReader, FragmentHeader, PacketFlags, PacketHeader};
use fastwire::{ClientConfig, DisconnectReason, Event, ServerConfig};
use fastwire_testkit::vectors::{self, Value, cases, hex, number};

use crate::duo::{
    Core, base_client, base_server, client, client_address, drain, events, feed, server, server_address,
};

/// What a session or handshake was recorded with.
pub(crate) struct Setting {
    pub(crate) suite: CipherSuite,
    compression: CompressionConfig,
    features: u64,
}

impl Setting {
    pub(crate) fn of(value: &Value) -> Self {
        let suite = CipherSuite::from_id(number(&value["suite"]) as u8).expect("suite");
        let compression = match value["compression"].as_str().expect("compression") {
            "none" => CompressionConfig::new(Algorithm::None),
            "lz4" => CompressionConfig::new(Algorithm::Lz4),
            "zstd" => CompressionConfig::new(Algorithm::Zstd),
            "zstd+dict" => {
                let dictionary = Dictionary::from_bytes(vectors::dictionary()).expect("dictionary");
                CompressionConfig { dictionary: Some(dictionary), ..CompressionConfig::new(Algorithm::Zstd) }
            }
            other => panic!("compression {other:?}"),
        };
        Self { suite, compression, features: number(&value["features"]) }
    }

    fn batching(&self) -> bool {
        self.features & 1 != 0
    }

    /// PROTOCOL A10: without a cipher nothing is authenticated, and migration is refused. The implementation
    /// that was recorded allowed it.
    pub(crate) fn departs(&self) -> bool {
        self.suite == CipherSuite::None && self.features & 2 != 0
    }

    fn migration(&self) -> bool {
        self.features & 2 != 0 && !self.departs()
    }

    pub(crate) fn server(&self) -> ServerConfig {
        let mut config = base_server();
        config.cipher_preference = vec![self.suite];
        config.compression = self.compression.clone();
        config.congestion = CongestionMode::Aggressive;
        config.send_batching = self.batching();
        config.connection_migration = self.migration();
        config
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = base_client();
        config.cipher_preference = vec![self.suite];
        config.compression = self.compression.clone();
        config.congestion = CongestionMode::Aggressive;
        config.send_batching = self.batching();
        config.connection_migration = self.migration();
        config
    }
}

/// A server that has the recorded keys and tokens.
pub(crate) fn scripted_server(value: &Value, setting: &Setting, now: Instant) -> Core {
    let mut core = server(&setting.server(), now);
    core.script_server_key(hex(&value["server_private"]).try_into().expect("32 bytes"));
    core.script_entropy(vec![hex(&value["challenge_token"]), hex(&value["migration_token"])]);
    core
}

/// A client that has the recorded key.
pub(crate) fn scripted_client(value: &Value, setting: &Setting, now: Instant) -> Core {
    let mut core = client(&setting.client(), now);
    core.script_entropy(vec![hex(&value["client_private"])]);
    core
}

/// A message: its channel and its bytes.
type Message = (u8, Vec<u8>);

fn message(value: &Value) -> Message {
    (number(&value["channel"]) as u8, hex(&value["payload"]))
}

fn received(value: &Value) -> Vec<Message> {
    value.as_array().map(|list| list.iter().map(message).collect()).unwrap_or_default()
}

/// What one side's application sent, to be sent again in the same order.
struct Script {
    left: Vec<Message>,
}

impl Script {
    fn of(session: &Value, side: &str) -> Self {
        let sent = cases(&session["sent"]).iter();
        Self { left: sent.filter(|sent| sent["from"] == side).map(message).collect() }
    }

    /// Sends the messages that the packets of a recorded datagram begin.
    fn follow(&mut self, core: &mut Core, datagram: &Value, now: Instant) {
        let Some(id) = core.connections().next() else { return };
        for packet in datagram["packets"].as_array().into_iter().flatten() {
            let control = number(&packet["flags"]) & 2 != 0;
            let later_piece = packet["fragment"].is_object() && number(&packet["fragment"]["index"]) > 0;
            if control || later_piece {
                continue;
            }
            let channel = number(&packet["channel"]) as u8;
            let next = self.left.iter().position(|(c, _)| *c == channel).expect("a message of that channel");
            let (channel, data) = self.left.remove(next);
            core.send(now, id, data, channel).expect("queued");
        }
        drain(core, now);
    }
}

/// What an application saw of a conversation.
#[derive(Debug, Default)]
struct Seen {
    connected: usize,
    messages: Vec<Message>,
    ends: Vec<DisconnectReason>,
}

impl Seen {
    fn look(&mut self, core: &mut Core) {
        for event in events(core) {
            match event {
                Event::Connected { .. } => self.connected += 1,
                Event::Message { channel, data, .. } => self.messages.push((channel, data.to_vec())),
                Event::Disconnected { reason, .. } => self.ends.push(reason),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Deliveries equal those recorded: channel by channel in order, and as a whole as a multiset.
    fn check(&self, name: &str, mut expected: Vec<Message>) {
        for channel in 0..4 {
            let of = |list: &[Message]| list.iter().filter(|m| m.0 == channel).cloned().collect::<Vec<_>>();
            assert_eq!(of(&self.messages), of(&expected), "{name}: channel {channel}");
        }
        let mut messages = self.messages.clone();
        messages.sort();
        expected.sort();
        assert_eq!(messages, expected, "{name}");
        assert_eq!(
            (self.connected, self.ends.as_slice()),
            (1, [DisconnectReason::Graceful].as_slice()),
            "{name}"
        );
    }
}

fn is_disconnect(datagram: &Value) -> bool {
    datagram["packets"].as_array().into_iter().flatten().any(|p| p["control"].as_u64() == Some(5))
}

/// Lets an endpoint that closes say its farewells.
fn finish(core: &mut Core, seen: &mut Seen, mut now: Instant) {
    for _ in 0..100 {
        now += Duration::from_millis(100);
        core.handle_timeout(now);
        drain(core, now);
        seen.look(core);
    }
}

#[test]
fn vectors_sessions_replay_through_a_server() {
    let sessions = vectors::sessions();
    let mut messages = 0;
    for (name, session) in &sessions {
        let setting = Setting::of(session);
        let mut now = Instant::now();
        let mut core = scripted_server(session, &setting, now);
        let mut script = Script::of(session, "server");
        let mut seen = Seen::default();
        for datagram in cases(&session["datagrams"]) {
            now += Duration::from_millis(1);
            let mut bytes = hex(&datagram["hex"]);
            match (datagram["dir"].as_str(), datagram["kind"].as_str()) {
                (Some("c2s"), kind) => {
                    if kind.is_none() && setting.departs() {
                        // We agreed on no migration (PROTOCOL A10), so our client would send no token.
                        bytes.drain(..8);
                    }
                    let from = client_address(Default::default());
                    if kind == Some("CONNECT") && setting.departs() {
                        assert_eq!(bytes.pop(), Some(3), "{name}: the features");
                        bytes.push(1);
                    }
                    feed(&mut core, now, from, &bytes);
                }
                (Some("s2c"), Some("CHALLENGE")) => {
                    let sent = drain(&mut core, now);
                    assert_eq!(sent.len(), 1, "{name}");
                    if !setting.departs() {
                        assert_eq!(sent[0].bytes, bytes, "{name}: CHALLENGE");
                    }
                }
                (Some("s2c"), None) if is_disconnect(datagram) && session["closer"] == "server" => {
                    let id = core.connections().next().expect("still connected");
                    core.close(now, id).expect("open");
                }
                (Some("s2c"), None) => script.follow(&mut core, datagram, now),
                other => panic!("{name}: {other:?}"),
            }
            seen.look(&mut core);
        }
        finish(&mut core, &mut seen, now);
        seen.check(name, received(&session["server_received"]));
        assert!(script.left.is_empty(), "{name}: {} messages of the server", script.left.len());
        messages += seen.messages.len();
    }
    println!("vectors: {} sessions through a server, {messages} messages", sessions.len());
}

#[test]
fn vectors_sessions_replay_through_a_client() {
    let sessions = vectors::sessions();
    let mut messages = 0;
    for (name, session) in &sessions {
        let setting = Setting::of(session);
        let mut now = Instant::now();
        let mut core = scripted_client(session, &setting, now);
        let mut script = Script::of(session, "client");
        let mut seen = Seen::default();
        core.connect(now, &[server_address()]).expect("connects");
        for datagram in cases(&session["datagrams"]) {
            now += Duration::from_millis(1);
            let bytes = hex(&datagram["hex"]);
            match (datagram["dir"].as_str(), datagram["kind"].as_str()) {
                (Some("s2c"), _) => feed(&mut core, now, server_address(), &bytes),
                (Some("c2s"), Some(kind @ ("CONNECT" | "RESPONSE"))) => {
                    let sent = drain(&mut core, now);
                    if !setting.departs() {
                        assert_eq!(sent[0].bytes, bytes, "{name}: {kind}");
                    }
                }
                (Some("c2s"), None) if is_disconnect(datagram) && session["closer"] == "client" => {
                    let id = core.connections().next().expect("still connected");
                    core.close(now, id).expect("open");
                }
                (Some("c2s"), None) => script.follow(&mut core, datagram, now),
                other => panic!("{name}: {other:?}"),
            }
            seen.look(&mut core);
        }
        finish(&mut core, &mut seen, now);
        seen.check(name, received(&session["client_received"]));
        assert!(script.left.is_empty(), "{name}: {} messages of the client", script.left.len());
        messages += seen.messages.len();
    }
    println!("vectors: {} sessions through a client, {messages} messages", sessions.len());
}

#[test]
fn vectors_sessions_open_packet_by_packet() {
    let sessions = vectors::sessions();
    let mut packets = 0;
    for (name, session) in &sessions {
        let suite = Setting::of(session).suite;
        // Suite 0 has no key, whatever was derived.
        let key = |side: &str| hex(&session[side])[..suite.key_len()].to_vec();
        let opener = |key: &[u8]| Opener::new(BuiltinSuites.make(suite, key).expect("key"));
        let mut openers = [opener(&key("c2s_key")), opener(&key("s2c_key"))];
        for datagram in cases(&session["datagrams"]) {
            let opener = &mut openers[usize::from(datagram["dir"] == "s2c")];
            for (sealed, expected) in sealed_packets(datagram).iter().zip(recorded_packets(datagram)) {
                check_packet(name, opener, sealed, expected);
                packets += 1;
            }
        }
    }
    assert!(packets > 50 * sessions.len(), "{packets} packets");
    println!("vectors: {} sessions, {packets} packets opened", sessions.len());
}

fn recorded_packets(datagram: &Value) -> &[Value] {
    datagram["packets"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The sealed packets of a datagram, out of migration token and batch frame.
fn sealed_packets(datagram: &Value) -> Vec<Vec<u8>> {
    let bytes = hex(&datagram["hex"]);
    if recorded_packets(datagram).is_empty() {
        return Vec::new();
    }
    let token = datagram["token"].as_str().map_or(0, |token| token.len() / 2);
    assert_eq!(bytes[..token], hex(&Value::from(datagram["token"].as_str().unwrap_or_default())));
    let body = &bytes[token..];
    let packets: Vec<Vec<u8>> = match datagram["batched"].as_bool() {
        Some(true) => BatchReader::new(body).expect("a batch frame").map(<[u8]>::to_vec).collect(),
        _ => vec![body.to_vec()],
    };
    assert_eq!(packets.len(), recorded_packets(datagram).len());
    packets
}

fn check_packet(name: &str, opener: &mut Opener<fastwire::crypto::Aead>, sealed: &[u8], expected: &Value) {
    let mut packet = sealed.to_vec();
    let opened = opener.open(&mut packet).unwrap_or_else(|error| panic!("{name}: {error}: {expected}"));
    let plaintext = &packet[opened.range.clone()];
    assert_eq!(plaintext, hex(&expected["plaintext"]), "{name}");
    if !opener.is_plaintext() {
        assert_eq!(opened.nonce.to_le_bytes().as_slice(), hex(&expected["nonce"]), "{name}");
    }
    let (header, len) = PacketHeader::decode(plaintext).expect("header");
    let field = |key: &str| number(&expected[key]);
    assert_eq!(u64::from(header.flags.bits()), field("flags"));
    assert_eq!(u64::from(header.channel), field("channel"));
    assert_eq!(u64::from(header.sequence), field("sequence"));
    assert_eq!(u64::from(header.ack), field("ack"));
    assert_eq!(u64::from(header.ack_field), field("ack_field"));
    assert_eq!(len as u64, field("header_len"));
    let body = &plaintext[len..];
    if header.flags.contains(PacketFlags::CONTROL) {
        assert_eq!(u64::from(body[0]), field("control"));
    }
    if header.flags.contains(PacketFlags::FRAGMENT) {
        let (fragment, _) = FragmentHeader::decode(body).expect("fragment header");
        let field = |key: &str| number(&expected["fragment"][key]);
        assert_eq!(u64::from(fragment.id), field("id"));
        assert_eq!(u64::from(fragment.index), field("index"));
        assert_eq!(u64::from(fragment.count), field("count"));
        assert_eq!(u64::from(fragment.flags.bits()), field("flags"));
    }
    // What we would have written: the same bytes.
    let mut again = [0; PacketHeader::MAX_LEN];
    let written = header.encode(&mut again).expect("room");
    assert_eq!(again[..written], plaintext[..len], "{name}: header");
}

//! Endpoints among strangers: nobody here has a key.

use std::time::{Duration, Instant};

use fastwire::crypto::CipherSuite;
use fastwire::transport::SocketId;
use fastwire::wire::{
    CONTROL_PREFIX, Challenge, Connect, Control, Features, Reject, RejectReason, VersionMismatch,
};
use fastwire::{ConnectionState, DisconnectReason, Event, Profile};

use super::endpoint::{Metered, client_address, configs, server_address};
use super::glass::GlassSuites;
use crate::Script;

fn suites() -> GlassSuites {
    GlassSuites::new()
}

fn bare(control: &Control) -> Vec<u8> {
    let mut bytes = vec![0; CONTROL_PREFIX.len() + control.encoded_len()];
    control.encode_bare(&mut bytes).expect("room");
    bytes
}

/// A few bytes that come up more often than chance would have it.
fn key(script: &mut Script<'_>) -> [u8; 32] {
    match script.byte() {
        0 => [0; 32],
        255 => script.array(),
        byte => [byte; 32],
    }
}

/// A server that gets CONNECTs, answers to its challenges without their keys, and anything at all from eight addresses.
/// Nobody gets connected, no address gets more than three times what it sent, pending handshakes and key agreements
/// keep their limits, and at the end a handshake from a ninth address is still answered.
pub fn server_before_auth(data: &[u8]) {
    let mut script = Script::new(data);
    let (config, _) = configs(Profile::Base, script.byte());
    let start = Instant::now();
    let mut server = Metered::server(&config, suites(), 1, start);
    let mut last = Vec::new();
    while !script.is_over() {
        let action = script.byte();
        let from = client_address(u32::from(action >> 5));
        match action & 7 {
            0 | 1 => {
                let connect = Connect {
                    version: 1 + script.byte() / 255,
                    application_version: 0,
                    public_key: key(&mut script),
                    cipher: script.byte() % 4,
                    compression: script.byte() % 4,
                    dictionary_hash: (action & 0x10 != 0).then(|| script.array()),
                    features: Features::from_bits(script.byte()),
                };
                last = bare(&Control::Connect(connect));
                last.extend_from_slice(script.take(usize::from(action & 8) * 150));
                server.feed(SocketId::PRIMARY, from, &last);
            }
            2 => server.feed(SocketId::PRIMARY, from, &last.clone()),
            3 => {
                // What might be a RESPONSE: of its size, sealed with nothing.
                let mut bytes = vec![0; 65];
                bytes[0] = 1 + script.byte() % 4;
                let body = script.take(57);
                bytes[8..8 + body.len()].copy_from_slice(body);
                server.feed(SocketId::PRIMARY, from, &bytes);
            }
            4 => server.feed(SocketId::PRIMARY, from, script.block()),
            5 => {
                let mut bytes = CONTROL_PREFIX.to_vec();
                bytes.extend_from_slice(script.block());
                server.feed(SocketId::PRIMARY, from, &bytes);
            }
            6 => {
                server.core.ban(from.ip());
                server.core.unban(from.ip());
            }
            _ => server.sleep(Duration::from_millis(u64::from(script.byte()) * 8)),
        }
        server.transmit();
        server.listen();
        server.check();
        assert_eq!((server.core.connection_count(), server.events.len()), (0, 0));
    }
    let stats = server.core.stats();
    let seconds = (server.now - start).as_secs() + 2;
    assert!(stats.key_agreements <= seconds * u64::from(config.limits.key_agreements_per_second));

    // Whoever comes next is served.
    server.sent.clear();
    let connect = Connect {
        version: 1,
        application_version: 0,
        public_key: [9; 32],
        cipher: CipherSuite::Aes128Gcm.id(),
        compression: 0,
        dictionary_hash: None,
        features: Features::EMPTY,
    };
    server.feed(SocketId::PRIMARY, ([10, 0, 0, 3], 1).into(), &bare(&Control::Connect(connect)));
    server.transmit();
    let answer = server.sent.first().expect("an answer");
    assert!(matches!(Control::decode(&answer.bytes[8..]), Ok((Control::Challenge(_), _))));
}

/// A client that gets challenges of nobody, refusals, sealed packets without a key and anything at all, from its
/// server's address and from others. It never believes it is connected, opens few sockets, and its attempt ends once,
/// within its time.
pub fn client_before_auth(data: &[u8]) {
    let mut script = Script::new(data);
    let (_, mut config) = configs(Profile::Base, script.byte());
    config.connect_timeout = Duration::from_secs(3);
    let mut client = Metered::client(&config, suites(), 2, Instant::now());
    let id = client.core.connect(client.now, &[server_address()]).expect("connects");
    let mut open = vec![SocketId::PRIMARY];
    while !script.is_over() {
        let action = script.byte();
        let from = if action & 0x80 == 0 { server_address() } else { client_address(7) };
        let socket = open.get(usize::from(action >> 5 & 3)).copied().unwrap_or(SocketId::PRIMARY);
        match action & 7 {
            0 | 1 => {
                let migration = action & 8 != 0;
                let challenge = Challenge {
                    version: 1 + script.byte() / 255,
                    application_version: 0,
                    public_key: key(&mut script),
                    token: key(&mut script),
                    cipher: script.byte() % 4,
                    compression_ack: script.byte() % 3,
                    features: Features::from_bits(script.byte() & !2 | if migration { 2 } else { 0 }),
                    migration_token: migration.then(|| script.array()),
                };
                let mut bytes = bare(&Control::Challenge(challenge));
                bytes.truncate(bytes.len() - usize::from(action & 0x10 != 0));
                client.feed(socket, from, &bytes);
            }
            2 => {
                let reason = RejectReason::from_code(script.byte() % 8);
                client.feed(socket, from, &bare(&Control::Reject(Reject { reason })));
            }
            3 => {
                let told = VersionMismatch { version: script.byte(), application_version: 1 };
                client.feed(socket, from, &bare(&Control::VersionMismatch(told)));
            }
            4 => client.feed(socket, from, script.block()),
            5 => {
                let mut bytes = CONTROL_PREFIX.to_vec();
                bytes.extend_from_slice(script.block());
                client.feed(socket, from, &bytes);
            }
            6 => {
                let mut bytes = vec![0; 24];
                bytes[0] = script.byte();
                bytes.extend_from_slice(script.block());
                client.feed(socket, from, &bytes);
            }
            _ => client.sleep(Duration::from_millis(u64::from(script.byte()) * 4)),
        }
        client.transmit();
        client.listen();
        client.sockets(&mut open);
        client.check();
        assert_ne!(client.core.state(id), ConnectionState::Connected);
        assert!(client.sent.len() < 4096, "a client that floods");
    }
    for _ in 0..20 {
        client.sleep(Duration::from_secs(1));
        client.transmit();
        client.listen();
    }
    let failed = client.events.iter().filter(|event| matches!(event, Event::ConnectFailed { .. })).count();
    let others: Vec<_> = client
        .events
        .iter()
        .filter(|event| {
            !matches!(
                event,
                Event::ConnectFailed { .. }
                    | Event::Disconnected {
                        reason: DisconnectReason::Rejected | DisconnectReason::Timeout,
                        ..
                    }
            )
        })
        .collect();
    assert_eq!((failed, others.len()), (1, 0), "{:?}", client.events);
    assert_eq!(client.core.connection_count(), 0);
}

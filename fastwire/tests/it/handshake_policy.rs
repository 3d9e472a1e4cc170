//! What the two sides of a handshake agree on, and what they refuse (PROTOCOL A5).

use std::time::Duration;

use fastwire::crypto::CipherSuite;
use fastwire::transport::SocketId;
use fastwire::wire::{Challenge, Control, PacketHeader};
use fastwire::{ClientConfig, ConnectError, Event, ServerConfig};

use crate::duo::{CHALLENGE, CONNECT, Core, Duo, Way, bare_type, client_address, seeded_client};
use crate::handshake::{MS, bare, defaults};

fn challenge_in(datagram: &[u8]) -> Challenge {
    let (_, len) = PacketHeader::decode(datagram).expect("header");
    match Control::decode(&datagram[len..]).expect("control").0 {
        Control::Challenge(challenge) => challenge,
        other => panic!("{other:?}"),
    }
}

/// How a client of one policy fares with a server of another.
fn outcome(server: &[CipherSuite], client: &[CipherSuite]) -> Result<CipherSuite, ConnectError> {
    let (mut server_config, mut client_config) = defaults();
    server_config.cipher_preference = server.to_vec();
    client_config.cipher_preference = client.to_vec();
    let mut duo = Duo::new(&server_config, &client_config);
    let at_client = duo.connect();
    duo.run(MS(6000), |_, _| true);
    match &duo.client_events[..] {
        [Event::Connected { .. }] => {
            let suite = duo.client.cipher_suite(at_client).expect("connected");
            assert_eq!(duo.server.cipher_suite(duo.server_id()), Some(suite), "both sides agree");
            Ok(suite)
        }
        [Event::ConnectFailed { error, .. }] => {
            assert_eq!(duo.server_events, []);
            Err(error.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_sides_keep_their_cipher_policy_and_suite_0_needs_both() {
    use CipherSuite::{Aes128Gcm as Aes, ChaCha20Poly1305 as ChaCha, None};
    assert_eq!(outcome(&[Aes, ChaCha], &[Aes, ChaCha]), Ok(Aes));
    assert_eq!(outcome(&[Aes, ChaCha], &[ChaCha, Aes]), Ok(ChaCha), "the client's, if the server allows it");
    assert_eq!(outcome(&[ChaCha], &[Aes, ChaCha]), Ok(ChaCha), "else the server's first choice");
    assert_eq!(outcome(&[ChaCha], &[Aes]), Err(ConnectError::CipherRefused(ChaCha.id())));
    assert_eq!(outcome(&[None, Aes], &[None, Aes]), Ok(None));
    assert_eq!(outcome(&[Aes], &[None, Aes]), Ok(Aes));
    assert_eq!(outcome(&[Aes], &[None]), Err(ConnectError::CipherRefused(Aes.id())));
    assert_eq!(outcome(&[None], &[Aes]), Err(ConnectError::CipherRefused(None.id())));
    assert_eq!(outcome(&[None, Aes], &[Aes]), Ok(Aes));
}

#[test]
fn a_challenge_bent_to_suite_0_once_is_refused_and_the_handshake_heals() {
    let (server, client) = defaults();
    let mut duo = Duo::new(&server, &client);
    let at_client = duo.connect();
    let mut bent = 0;
    duo.run_changing(MS(2000), |_, bytes, copies| {
        let mut bytes = bytes.to_vec();
        if bare_type(&bytes) == CHALLENGE && bent < 1 {
            let mut challenge = challenge_in(&bytes);
            challenge.cipher = 0;
            bytes = bare(&Control::Challenge(challenge));
            bent += 1;
        }
        copies.push((Duration::ZERO, bytes));
    });
    assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);
    assert_eq!(duo.client.cipher_suite(at_client), Some(CipherSuite::Aes128Gcm));
}

#[test]
fn one_bent_bit_anywhere_in_the_handshake_never_yields_a_bent_connection() {
    let (server, client) = defaults();
    for (kind, len) in [(CONNECT, 48usize), (CHALLENGE, 79)] {
        for bit in (0..len * 8).step_by(5) {
            let mut duo = Duo::new(&server, &client);
            let at_client = duo.connect();
            let mut bent = 0;
            duo.run_changing(MS(2000), |_, bytes, copies| {
                let mut bytes = bytes.to_vec();
                if bare_type(&bytes) == kind && bent < 1 {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    bent += 1;
                }
                copies.push((Duration::ZERO, bytes));
            });
            assert_eq!(duo.client_events, [Event::Connected { connection: at_client }], "{kind:?} bit {bit}");
            let suite = duo.client.cipher_suite(at_client);
            assert!(suite.is_some_and(|suite| suite != CipherSuite::None));
            assert_eq!(duo.server.cipher_suite(duo.server_id()), suite);
        }
    }
}

/// Runs a handshake that fails and gives the error.
fn failure(server: &ServerConfig, client: &ClientConfig, prepare: impl FnOnce(&mut Core)) -> ConnectError {
    let mut duo = Duo::new(server, client);
    prepare(&mut duo.server);
    duo.connect();
    duo.run(MS(2000), |_, _| true);
    assert!(duo.server.stats().rejected > 0);
    match &duo.client_events[..] {
        [Event::ConnectFailed { error, .. }] => error.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_learns_why_it_was_turned_away() {
    let (mut server, mut client) = defaults();
    let banned = failure(&server, &client, |core| assert!(core.ban(client_address(SocketId::PRIMARY).ip())));
    assert_eq!(banned, ConnectError::Banned);

    server.application_version = 7;
    client.application_version = 3;
    assert!(matches!(outcome_of(&server, &client)[..], [Event::Connected { .. }]), "told, not required");
    server.require_application_version = true;
    let expected =
        ConnectError::VersionMismatch { protocol: 1, application: 7, our_protocol: 1, our_application: 3 };
    assert_eq!(failure(&server, &client, |_| ()), expected);
    client.application_version = 7;
    assert!(matches!(outcome_of(&server, &client)[..], [Event::Connected { .. }]));
}

fn outcome_of(server: &ServerConfig, client: &ClientConfig) -> Vec<Event> {
    let mut duo = Duo::new(server, client);
    duo.connect();
    duo.run(MS(2000), |_, _| true);
    duo.client_events
}

#[cfg(all(feature = "lz4", feature = "zstd"))]
#[test]
fn a_dictionary_that_differs_turns_compression_off_on_our_side() {
    use fastwire::compress::{Algorithm, CompressionConfig, Dictionary};
    let dictionary = Dictionary::from_bytes(fastwire_testkit::vectors::dictionary()).expect("dictionary");
    let with = CompressionConfig { dictionary: Some(dictionary), ..CompressionConfig::new(Algorithm::Zstd) };
    let without = CompressionConfig::new(Algorithm::Zstd);
    let lz4 = CompressionConfig::new(Algorithm::Lz4);
    let text = b"the same words again and again and again, ".repeat(40);
    for (at_server, at_client, compresses) in [
        (&with, &with, true),
        (&without, &without, true),
        (&with, &without, false),
        (&without, &with, false),
        (&lz4, &with, false),
    ] {
        let (mut server, mut client) = defaults();
        server.compression = at_server.clone();
        client.compression = at_client.clone();
        let (mut duo, at_server, at_client) = Duo::connected(&server, &client);
        duo.client.send(duo.now, at_client, &text, 0).expect("queued");
        duo.server.send(duo.now, at_server, &text, 0).expect("queued");
        duo.run(MS(500), |_, _| true);
        assert!(matches!(&duo.server_events[..], [Event::Message { data, .. }] if *data == text));
        assert!(matches!(&duo.client_events[..], [Event::Message { data, .. }] if *data == text));
        for way in [Way::ToServer, Way::ToClient] {
            let bytes: usize = duo.log.iter().filter(|entry| entry.1 == way).map(|entry| entry.3.len()).sum();
            assert_eq!(bytes < text.len() / 2, compresses, "{way:?}: {bytes} bytes");
        }
    }
}

#[test]
fn both_ends_export_the_same_key_material_and_nobody_else_does() {
    let (server, client) = defaults();
    let (mut duo, at_server, at_client) = Duo::connected(&server, &client);
    let export = |core: &Core, id, label: &[u8]| {
        let mut out = [0; 32];
        assert!(core.export_keying_material(id, label, &mut out));
        out
    };
    let ours = export(&duo.client, at_client, b"login");
    assert_eq!(ours, export(&duo.server, at_server, b"login"));
    assert_ne!(ours, export(&duo.server, at_server, b"other"));
    duo.client = seeded_client(&client, 3, duo.now);
    let again = duo.connect();
    duo.run(MS(1000), |_, _| true);
    assert_ne!(ours, export(&duo.client, again, b"login"), "another connection, other keys");
}

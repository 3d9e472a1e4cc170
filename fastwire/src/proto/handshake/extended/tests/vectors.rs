//! Handshakes with fixed keys: both ends put on the wire what PROTOCOL part B says, byte for byte.

use std::time::{Duration, Instant};

use fastwire_crypto::extended::{DirectionSecret, PN_LEN, ShortOpener, ShortSealer};
use fastwire_crypto::{CipherSuite, TAG_LEN};
use fastwire_testkit::vectors::{Value, cases, extended_load, hex, number};
use fastwire_wire::extended::Params;

use super::world::*;
use crate::connect_token::{ConnectToken, ConnectTokenKey, TokenKeys};
use crate::identity::Identity;
use crate::profile::PreSharedKey;
use crate::{ClientProfile, ServerProfile};

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().expect("the right length")
}

fn keys_of(secret: &DirectionSecret) -> [Vec<u8>; 3] {
    let (key, iv) = secret.key().expect("a key");
    [secret.mask_key().to_vec(), key.to_vec(), iv.to_vec()]
}

/// A packet after the handshake: one end seals these bytes, the other opens them.
fn check_packet(sender: &DirectionSecret, receiver: &DirectionSecret, number: u64, id: &[u8], case: &Value) {
    let plaintext = hex(&case["plaintext"]);
    let mut packet = [id, &[0; PN_LEN], &plaintext, &[0; TAG_LEN]].concat();
    let mut sealer = ShortSealer::starting_at(number, sender.clone(), suites()).expect("a sealer");
    assert_eq!(sealer.seal(&mut packet, id.len()), Ok(number));
    assert_eq!(packet, hex(&case["packet"]));
    let mut opener = ShortOpener::new(receiver.clone(), suites()).expect("an opener");
    let opened = opener.open(&mut packet, id.len()).expect("opens");
    assert_eq!((opened.number, &packet[opened.range]), (number, &plaintext[..]));
}

#[test]
fn vectors_of_handshakes_come_out_byte_for_byte() {
    let file = extended_load("handshakes");
    for case in cases(&file["handshakes"]) {
        let name = &case["name"];
        let suite = CipherSuite::from_id(number(&case["suite"]) as u8).expect("a suite");
        let others =
            CipherSuite::ALL.into_iter().filter(|other| *other != suite && *other != CipherSuite::None);
        let suites: Vec<_> = std::iter::once(suite).chain(others).collect();
        let identity = Identity::from_secret(array(&case["identity_secret"]));
        let psk = (!case["psk"].is_null()).then(|| PreSharedKey::new(array(&case["psk"])));
        let (mut server, mut client) = (server_config(), client_config());
        (server.profile, client.profile) = (ServerProfile::ExtendedOnly, ClientProfile::Require);
        (server.application_version, client.application_version) = (0x0102, 0x0102);
        (server.cipher_preference, client.cipher_preference) = (suites.clone(), suites);
        (server.psk, client.psk) = (psk.clone(), psk);
        client.pinned = case["pinned"].as_bool().expect("a flag").then(|| identity.public_key());
        client.auth = hex(&case["auth"]).into();
        server.identity = Some(identity);
        if !case["token_key"].is_null() {
            let bytes = [hex(&case["token"]), hex(&case["token_psk"])].concat();
            client.connect_token = Some(ConnectToken::from_bytes(&bytes).expect("a token"));
            server.token_keys = Some(TokenKeys::new(ConnectTokenKey::new(array(&case["token_key"])), 3));
            server.require_token = true;
        }

        let start = Instant::now();
        let now = start + Duration::from_secs(number(&case["seconds"]));
        let mut server = Server::new(&server, start);
        server.router.gate.set_unix_time(1_999_999_999, now);
        server.entropy.script(
            ["cookie_random", "epoch_secret", "cookie_key", "server_random"].map(|f| hex(&case[f])).into(),
        );
        let mut client =
            Client::scripted(&client, vec![hex(&case["client_secret"]), hex(&case["client_nonce"])], now);
        client.config.extended.params = Params::decode(&hex(&case["client_params"])).expect("parameters").0;
        server.config.extended.params = Params::decode(&hex(&case["server_params"])).expect("parameters").0;

        let connect = client.poll(now).expect("asks");
        let payload = hex(&case["connect"]);
        assert_eq!(&connect[8..8 + payload.len()], &payload, "{name}");
        assert!(
            connect.len() == 1200 && connect[8 + payload.len()..].iter().all(|byte| *byte == 0),
            "{name}"
        );
        let from = case["client_address"].as_str().expect("an address").parse().expect("an address");
        let challenge = server.connect(&connect, from, now).expect("answers");
        assert_eq!(challenge, hex(&case["challenge"]), "{name}");
        assert!(client.take(&challenge, now), "{name}");
        let response = client.poll(now).expect("answers");
        assert_eq!(response, hex(&case["response"]), "{name}");
        let (agreed, _) = server.accept(&response, now, 1).expect("accepted");
        assert_eq!(
            connected(&agreed, &server.config, array(&case["cid"])),
            hex(&case["connected"]),
            "{name}"
        );
        let won = client.connected(&hex(&case["connected"])).expect("opens");
        assert_eq!((won.agreed.cid, won.number), (array(&case["cid"]), 0), "{name}");
        let (server_keys, client_keys) = (&agreed.keys, &won.agreed.keys);
        check_packet(&client_keys.c2s, &server_keys.c2s, 0, &hex(&case["cid"]), &case["up"]);
        check_packet(&server_keys.s2c, &client_keys.s2c, 1, &[], &case["down"]);
        for agreed in [&agreed, &won.agreed] {
            for (secret, field) in [(&agreed.keys.c2s, "c2s"), (&agreed.keys.s2c, "s2c")] {
                assert_eq!(
                    keys_of(secret),
                    ["hp", "key", "iv"].map(|part| hex(&case[field][part])),
                    "{name} {field}"
                );
            }
            let mut exported = [0; 32];
            let label = case["exporter_label"].as_str().expect("a label");
            agreed.keys.export(label.as_bytes(), &mut exported).expect("exports");
            assert_eq!(exported[..], hex(&case["exported"]), "{name}");
        }
    }
}

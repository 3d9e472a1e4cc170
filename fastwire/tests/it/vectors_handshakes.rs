//! Recorded handshakes against real endpoints: the same bytes from the same keys, and how a server takes odd CONNECTs.

use std::time::{Duration, Instant};

use fastwire::Event;
use fastwire::crypto::{BuiltinSuites, CipherSuites, KeyPair, Opener, PublicKey, derive_session_keys};
use fastwire::wire::{Control, PacketHeader};
use fastwire_testkit::vectors::{Value, cases, hex, load, number};

use crate::duo::{base_server, client_address, drain, events, feed, server, server_address};
use crate::vectors_sessions::{Setting, scripted_client, scripted_server};

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().expect("length")
}

#[test]
fn vectors_handshakes_agree_on_the_recorded_keys() {
    let file = load("handshakes");
    for case in cases(&file) {
        let suite = Setting::of(case).suite;
        let client = KeyPair::from_secret(bytes(&case["client_private"]));
        let server = KeyPair::from_secret(bytes(&case["server_private"]));
        assert_eq!(client.public().as_bytes(), &bytes(&case["client_public"]));
        assert_eq!(server.public().as_bytes(), &bytes(&case["server_public"]));
        let token = bytes(&case["challenge_token"]);
        for (own, peer) in [(&client, &server), (&server, &client)] {
            let peer = PublicKey::from(*peer.public().as_bytes());
            let keys = derive_session_keys(own, &peer, &token, suite).expect("keys");
            // Suite 0 has no key, whatever was derived.
            let len = suite.key_len();
            assert_eq!(keys.c2s(), &hex(&case["c2s_key"])[..len], "{}", case["session"]);
            assert_eq!(keys.s2c(), &hex(&case["s2c_key"])[..len], "{}", case["session"]);
        }
        let key = &hex(&case["c2s_key"])[..suite.key_len()];
        let mut opener = Opener::new(BuiltinSuites.make(suite, key).expect("key"));
        let mut response = hex(&case["response"]);
        let range = opener.open(&mut response).expect("opens").range;
        assert_eq!(response[range], hex(&case["response_plaintext"]));
    }
    println!("vectors: {} handshakes agreed", cases(&file).len());
}

#[test]
fn vectors_handshakes_give_the_same_bytes_from_both_endpoints() {
    let file = load("handshakes");
    let mut whole = 0;
    for case in cases(&file) {
        let (name, setting) = (&case["session"], Setting::of(case));
        let now = Instant::now();
        let mut client = scripted_client(case, &setting, now);
        client.connect(now, &[server_address()]).expect("connects");
        let connect = drain(&mut client, now).remove(0).bytes;
        let mut server = scripted_server(case, &setting, now);
        let from = client_address(Default::default());
        feed(&mut server, now, from, &connect);
        assert_eq!(server.pending_handshakes(), 1);
        let challenge = drain(&mut server, now).remove(0).bytes;
        feed(&mut client, now, server_address(), &challenge);
        let response = drain(&mut client, now).remove(0).bytes;
        if setting.departs() {
            // PROTOCOL A10: no migration without a cipher, so the features differ, and with them the bytes.
            assert_ne!(connect, hex(&case["connect"]));
            continue;
        }
        assert_eq!(connect, hex(&case["connect"]), "{name}: CONNECT");
        assert_eq!(challenge, hex(&case["challenge"]), "{name}: CHALLENGE");
        assert_eq!(response, hex(&case["response"]), "{name}: RESPONSE");
        // Their first packets after it open in our endpoints: both ends are connected.
        feed(&mut server, now, from, &hex(&case["response"]));
        feed(&mut server, now, from, &hex(&case["first_c2s_data"]));
        feed(&mut client, now + Duration::from_millis(1), server_address(), &hex(&case["first_s2c"]));
        assert!(
            matches!(events(&mut server)[..], [Event::Connected { .. }, Event::Message { .. }]),
            "{name}"
        );
        assert!(matches!(events(&mut client)[..], [Event::Connected { .. }, ..]), "{name}");
        whole += 1;
    }
    assert!(whole > 0);
    println!("vectors: {whole} of {} handshakes byte for byte", cases(&file).len());
}

/// What we answer where it is not what was recorded, and the rule that says so.
fn departure(name: &str) -> Option<&'static str> {
    match name {
        // PROTOCOL A5, "Suite: the client's, if the server's policy allows it, else the server's first choice".
        "unknown cipher 7" => Some("first choice"),
        // PROTOCOL A5, the same rule: "never 0 without opt-in on both sides".
        "cipher none" => Some("first choice"),
        // PROTOCOL A5, "A server does no Diffie-Hellman before RESPONSE arrives": it cannot know yet.
        "zero public key" => Some("challenged"),
        _ => None,
    }
}

#[test]
fn vectors_server_reactions_hold_for_a_real_server() {
    let file = load("handshake_codec");
    let mut config = base_server();
    config.send_batching = true;
    config.connection_migration = true;
    for case in cases(&file["server_reactions"]) {
        let name = case["name"].as_str().expect("name");
        let now = Instant::now();
        let mut core = server(&config, now);
        feed(&mut core, now, client_address(Default::default()), &hex(&case["connect"]));
        let sent = drain(&mut core, now);
        assert_eq!(core.stats().key_agreements, 0, "{name}: PROTOCOL A5, no agreement before RESPONSE");
        if departure(name) == Some("challenged") {
            assert_eq!((sent.len(), core.pending_handshakes()), (1, 1), "{name}");
            continue;
        }
        assert_eq!(core.pending_handshakes() == 1, case["pending_created"] == true, "{name}");
        let Some(expected_type) = case["reply_type"].as_u64() else {
            assert!(sent.is_empty(), "{name}: silence");
            continue;
        };
        assert_eq!(sent.len(), 1, "{name}");
        let reply = &sent[0].bytes;
        assert_eq!(reply.len() as u64, number(&case["reply_len"]), "{name}");
        assert!(reply.len() <= 3 * hex(&case["connect"]).len(), "{name}: amplification");
        let (header, len) = PacketHeader::decode(reply).expect("header");
        assert_eq!(header, PacketHeader::control(0, 0, 0), "{name}");
        let (control, _) = Control::decode(&reply[len..]).expect("control");
        assert_eq!(u64::from(control.control_type().id()), expected_type, "{name}");
        match control {
            Control::Challenge(challenge) => {
                let expected = |field: &str| number(&case["reply"][field]);
                let first = config.cipher_preference[0].id();
                let cipher = departure(name).map_or(expected("cipher"), |_| first.into());
                assert_eq!(u64::from(challenge.cipher), cipher, "{name}");
                assert_eq!(u64::from(challenge.compression_ack), expected("compression_ack"), "{name}");
                assert_eq!(u64::from(challenge.features.bits()), expected("features"), "{name}");
            }
            _ => assert_eq!(*reply, hex(&case["reply_hex"]), "{name}"),
        }
    }
    println!("vectors: {} server reactions", cases(&file["server_reactions"]).len());
}

/// Every file of the project's vectors stands in the table of their README with the crates that read it, and each of
/// those crates does.
#[test]
fn vectors_files_are_all_consumed() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace");
    let directory = root.join("tests/vectors");
    let readme = std::fs::read_to_string(directory.join("README.md")).expect("README.md");
    let rows: Vec<(String, Vec<String>)> = readme
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let name = cells.next()?.trim().trim_end_matches('`').to_owned();
            Some((name, cells.next()?.split(',').map(|name| name.trim().to_owned()).collect()))
        })
        .collect();
    let mut files = 0;
    for entry in std::fs::read_dir(&directory).expect("directory") {
        let file = entry.expect("entry").file_name().into_string().expect("a name");
        if file == "README.md" {
            continue;
        }
        let stem = file.split('.').next().unwrap_or_default();
        let (wanted, row) = match stem {
            "dict" => ("dictionary()".to_owned(), "dict.zstd"),
            _ if stem.starts_with("session_") => ("sessions()".to_owned(), "session_SUITE_COMPRESSION_fN"),
            _ => (format!("load(\"{stem}\")"), stem),
        };
        let (_, readers) = rows
            .iter()
            .find(|(name, _)| name == row)
            .unwrap_or_else(|| panic!("{file}: no row `{row}` in {}", directory.join("README.md").display()));
        for reader in readers {
            let sources = root.join(reader).join("tests/it");
            let reads = std::fs::read_dir(&sources)
                .unwrap_or_else(|error| panic!("{}: {error}", sources.display()))
                .filter_map(|source| std::fs::read_to_string(source.expect("entry").path()).ok())
                .any(|text| text.contains(&wanted));
            assert!(reads, "{file}: {reader} does not read it ({wanted})");
        }
        files += 1;
    }
    println!(
        "vectors: {files} files, each read by the crates that {} names",
        directory.join("README.md").display()
    );
}

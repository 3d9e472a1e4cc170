//! The recorded key derivations and sealed packets of the base protocol, case by case.

use fastwire_crypto::*;
use fastwire_testkit::vectors::{Value, cases, hex, load, number};

use crate::sealed;

fn array(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

fn suite(case: &Value) -> CipherSuite {
    CipherSuite::from_id(number(&case["suite"]).try_into().unwrap()).unwrap()
}

/// The recorded keys of suite 0 are 16 bytes nobody uses; here it has none.
fn cipher(case: &Value) -> Aead {
    let key = if suite(case) == CipherSuite::None { vec![] } else { hex(&case["key"]) };
    Aead::new(suite(case), &key).unwrap()
}

#[test]
fn vectors_key_derivation() {
    for case in cases(&load("keys")["derivations"]) {
        let client = KeyPair::from_secret(array(&case["client_private"]));
        let server = KeyPair::from_secret(array(&case["server_private"]));
        assert_eq!(client.public().to_bytes(), array(&case["client_public"]), "{case}");
        assert_eq!(server.public().to_bytes(), array(&case["server_public"]), "{case}");
        let shared = client.agree(&server.public()).unwrap();
        assert_eq!(*shared.as_bytes(), array(&case["shared_secret"]), "{case}");

        let token = array(&case["challenge_token"]);
        for (suite, name) in
            [(CipherSuite::Aes128Gcm, "aes128gcm"), (CipherSuite::ChaCha20Poly1305, "chacha20poly1305")]
        {
            for (own, peer) in [(&client, server.public()), (&server, client.public())] {
                let keys = derive_session_keys(own, &peer, &token, suite).unwrap();
                assert_eq!(keys.c2s(), hex(&case[name]["c2s"]), "{case}");
                assert_eq!(keys.s2c(), hex(&case[name]["s2c"]), "{case}");
            }
        }

        // The recorded peer derives 16 bytes for suite 0 and never uses them (PROTOCOL A3: no key).
        let none = derive_session_keys(&client, &server.public(), &token, CipherSuite::None).unwrap();
        assert_eq!((none.c2s(), none.s2c()), (&[][..], &[][..]));
        let prk = Prk::from_bytes(array(&case["hkdf_prk"]));
        let mut key = [0; 16];
        for label in ["c2s", "s2c"] {
            prk.expand(&[label.as_bytes()], &mut key).unwrap();
            assert_eq!(key[..], hex(&case["none"][label]), "{case}");
        }
        let (mut exported, mut expanded) = ([0; 40], [0; 40]);
        none.export(b"login", &mut exported).unwrap();
        prk.expand(&[b"explogin"], &mut expanded).unwrap();
        assert_eq!(exported, expanded, "PROTOCOL A5: Expand(prk, \"exp\" | label)");
    }
}

#[test]
fn vectors_low_order_points() {
    let own = KeyPair::from_secret([7; 32]);
    for case in cases(&load("keys")["low_order_points"]) {
        let peer = PublicKey::from_bytes(array(&case["public"]));
        let error = derive_session_keys(&own, &peer, &[0; 32], CipherSuite::Aes128Gcm).unwrap_err();
        assert_eq!(error, KeyError::LowOrderPoint, "{case}");
        assert!(case["derive_error"].is_string());
    }
}

#[test]
fn vectors_seal_and_open() {
    for case in cases(&load("aead")["seal"]) {
        let (plaintext, packet) = (hex(&case["plaintext"]), hex(&case["packet"]));
        let nonce = number(&case["nonce"]);
        if suite(case) == CipherSuite::None {
            assert_eq!(packet, plaintext);
        } else {
            assert_eq!(sealed(&cipher(case), nonce, &plaintext), packet, "{case}");
        }

        let mut sealer = Sealer::after(cipher(case), nonce - 1);
        let mut own = vec![0; sealer.prefix_len()];
        own.extend_from_slice(&plaintext);
        own.resize(own.len() + sealer.suffix_len(), 0);
        match sealer.seal(&mut own) {
            Ok(used) => assert_eq!((used, &own), (nonce, &packet), "{case}"),
            // PROTOCOL A6 rule 9: the recorded peer has no such limit.
            Err(error) => {
                assert!(
                    matches!(error, SealError::LimitReached { limit } if nonce > limit),
                    "{error} {case}"
                );
            }
        }

        let mut received = packet;
        let opened = Opener::new(cipher(case)).open(&mut received).unwrap();
        assert_eq!(received[opened.range], plaintext, "{case}");
    }
}

#[test]
fn vectors_replay_trace() {
    let file = load("aead");
    let trace = &file["replay_trace"];
    let (sender, mut opener) = (cipher(trace), Opener::new(cipher(trace)));
    for step in cases(&trace["steps"]) {
        let nonce = number(&step["nonce"]);
        let opened = opener.open(&mut sealed(&sender, nonce, b"x"));
        match step["error"].as_str() {
            None => assert_eq!(opened.unwrap().nonce, nonce, "{step}"),
            Some("replayed packet") => assert_eq!(opened, Err(OpenError::Replayed { nonce }), "{step}"),
            Some(other) => panic!("unexpected error {other} in {step}"),
        }
    }
}

#[test]
fn vectors_tampered() {
    let file = load("aead");
    let tampered = &file["tampered"];
    for case in cases(&tampered["cases"]) {
        let mut opener = Opener::new(cipher(tampered));
        let mut packet = hex(&case["packet"]);
        let error = opener.open(&mut packet).unwrap_err();
        match (error, case["error"].as_str()) {
            (OpenError::Replayed { nonce: 0 }, Some("replayed packet")) => {}
            (OpenError::Forged | OpenError::TooShort { .. }, Some("decryption failed")) => {}
            (error, _) => panic!("{error} instead of {case}"),
        }
        // What was refused did not move the window: the untouched packet still opens.
        opener.open(&mut sealed(&cipher(tampered), 1, b"abc")).unwrap();
    }
}

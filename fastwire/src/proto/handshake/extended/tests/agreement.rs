//! What both ends agree on, with every kind of proof.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_compress::Algorithm;
use fastwire_crypto::CipherSuite;
use proptest::prelude::*;

use super::world::*;
use crate::connect_token::{ConnectTokenKey, TokenClaims, TokenKeys};
use crate::profile::PreSharedKey;
use crate::{ClientProfile, ServerProfile};

fn suite_lists() -> impl Strategy<Value = Vec<CipherSuite>> {
    let suites = vec![CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305];
    proptest::sample::subsequence(suites, 1..=2).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever proofs are in play, both ends come to the same keys, and each hears what the other said.
    #[test]
    fn both_ends_agree(
        (ours, theirs) in (suite_lists(), suite_lists()),
        pinned: bool,
        psk: Option<[u8; 32]>,
        token: bool,
        auth in proptest::collection::vec(any::<u8>(), 0..=512),
        compressed: (bool, bool),
        user_data: [u8; 16],
    ) {
        let now = Instant::now();
        let (mut server, mut client) = (server_config(), if pinned { pinning_config() } else { client_config() });
        (server.profile, client.profile) = (ServerProfile::Auto, ClientProfile::Require);
        (server.cipher_preference, client.cipher_preference) = (theirs.clone(), ours.clone());
        (server.psk, client.psk) = (psk.map(PreSharedKey::new), psk.map(PreSharedKey::new));
        if psk.is_none() && !token {
            server.profile = ServerProfile::ExtendedOnly;
        }
        if compressed.0 {
            server.compression.algorithm = Algorithm::Lz4;
        }
        if compressed.1 {
            client.compression.algorithm = Algorithm::Lz4;
        }
        client.auth = Bytes::from(auth.clone());
        client.auth_to_anyone = true;
        let mut claims = TokenClaims { client_id: 77, server_id: 3, expiry: 1_000, user_data: [0; 64] };
        claims.user_data[..16].copy_from_slice(&user_data);
        if token {
            let key = ConnectTokenKey::new([8; 32]);
            client.connect_token = Some(key.issue_with(&claims, [4; 24], PreSharedKey::new([6; 32])).expect("seals"));
            server.token_keys = Some(TokenKeys::new(key, 3));
            server.require_token = true;
        }
        let mut server = Server::new(&server, now);
        server.router.gate.set_unix_time(999, now);
        let mut client = Client::new(&client, now);
        let common = ours.iter().any(|suite| theirs.contains(suite));
        let done = shake(&mut server, &mut client, now);
        prop_assert_eq!(done.is_some(), common);
        let Some(done) = done else { return Ok(()) };
        let (there, here) = (&done.servers, &done.clients.agreed);
        prop_assert!(same_keys(there, here));
        let expected = if theirs.contains(&ours[0]) {
            ours[0]
        } else {
            *theirs.iter().find(|suite| ours.contains(suite)).expect("one in common")
        };
        prop_assert_eq!(here.suite, expected);
        prop_assert_eq!(there.peer, client.config.extended.params);
        prop_assert_eq!(here.peer, server.config.extended.params);
        prop_assert_eq!(&there.auth[..], &auth[..]);
        prop_assert_eq!(there.claims, token.then_some(claims));
        prop_assert_eq!(here.server_key, *server.router.gate.public_key().as_bytes());
        prop_assert_eq!((here.cookie, here.server_random), (there.cookie, there.server_random));
        prop_assert_eq!(here.cid, [9; 8]);
        prop_assert_eq!(here.compression, there.compression);
        let same = compressed.0 == compressed.1;
        let expected = if same && compressed.0 { Algorithm::Lz4 } else { Algorithm::None };
        prop_assert_eq!(here.compression.algorithm, expected);
        prop_assert!(done.connect.len() >= 1200 && done.response.len() <= 850);
        prop_assert!(done.challenge.len() * 5 <= done.connect.len());
    }
}

/// The secret of one server is no use at another, and none is not the same as one.
#[test]
fn a_secret_that_differs_gives_no_connection() {
    let now = Instant::now();
    for (theirs, ours) in [(Some([1; 32]), Some([2; 32])), (Some([1; 32]), None), (None, Some([1; 32]))] {
        let (mut server, mut client) = (server_config(), client_config());
        (server.profile, client.profile) = (ServerProfile::ExtendedOnly, ClientProfile::Require);
        (server.psk, client.psk) = (theirs.map(PreSharedKey::new), ours.map(PreSharedKey::new));
        let (mut server, mut client) = (Server::new(&server, now), Client::new(&client, now));
        assert!(shake(&mut server, &mut client, now).is_none());
        assert_eq!((server.stats.key_agreements, server.stats.responses_forged), (2, 1));
    }
}

/// The first epoch's keys answer for as long as the cookies made with them live, and no longer.
#[test]
fn cookies_live_ten_seconds_across_a_change_of_keys() {
    for (asked_at, answered_after, good) in [
        (0, 9_000, true),
        (59_500, 9_000, true),
        (59_500, 11_500, false),
        (0, 11_500, false),
        (70_000, 100, true),
    ] {
        let start = Instant::now();
        let (mut server, mut client) =
            (Server::new(&server_config(), start), Client::new(&client_config(), start));
        let connect = client.poll(start).expect("asks");
        // Somebody asked first, so that the epoch began then.
        server.connect(&connect, address(CLIENT), start).expect("answers");
        let asked = start + Duration::from_millis(asked_at);
        let challenge = server.connect(&connect, address(CLIENT), asked).expect("answers");
        assert!(client.take(&challenge, start));
        let response = client.poll(start).expect("answers");
        let answered = asked + Duration::from_millis(answered_after);
        // Others ask meanwhile: the epoch changes under this handshake.
        server.connect(&connect, address(CLIENT), answered).expect("answers");
        let accepted = server.accept(&response, answered, 1);
        assert_eq!(accepted.is_some(), good, "asked at {asked_at} ms, answered {answered_after} ms later");
        assert_eq!(server.stats.cookies_refused, u64::from(!good));
    }
}

/// A server that answers a thousand CONNECTs holds no more than before it answered any.
#[test]
fn a_challenge_leaves_nothing_behind() {
    let now = Instant::now();
    let mut server = Server::new(&server_config(), now);
    for n in 0..1000u16 {
        let connect = Client::new(&client_config(), now).poll(now).expect("asks");
        assert!(server.connect(&connect, ([10, 0, (n >> 8) as u8, n as u8], 9).into(), now).is_some());
    }
    assert_eq!((server.router.pending.len(), server.router.gate.cookies.half_open()), (0, 0));
    assert_eq!((server.stats.challenges_sent, server.stats.key_agreements), (1000, 0));
}

//! A man in the middle: flips, replays, other servers, weaker profiles.

use std::time::{Duration, Instant};

use fastwire_wire::{Features, PROTOCOL_VERSION};
use proptest::prelude::*;

use super::world::*;
use crate::identity::Identity;
use crate::proto::handshake::extended::server::ResponseOutcome;
use crate::{ClientProfile, ConnectError, ConnectionId, ServerProfile};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// With one bit flipped in any of the four datagrams either nothing comes of it, or both ends agree on the keys, with the
    /// server that was pinned and no weaker than without the flip.
    #[test]
    fn a_flipped_bit_gives_no_other_connection(which in 0..4usize, bit in any::<prop::sample::Index>(), pinned: bool) {
        let now = Instant::now();
        let config = if pinned { pinning_config() } else { client_config() };
        let (mut server, mut client) = (Server::new(&server_config(), now), Client::new(&config, now));
        let mut step = 0;
        let mut pass = |mut datagram: Vec<u8>| {
            if step == which {
                let bit = bit.index(datagram.len() * 8);
                datagram[bit / 8] ^= 1 << (bit % 8);
            }
            step += 1;
            datagram
        };
        let connect = pass(client.poll(now).expect("asks"));
        let Some(challenge) = server.connect(&connect, address(CLIENT), now) else { return Ok(()) };
        if !client.take(&pass(challenge), now) {
            return Ok(());
        }
        if pinned {
            prop_assert!(client.handshake.candidates.is_empty(), "no base profile");
        } else if !client.handshake.candidates.is_empty() {
            // Feature bit 04 was hit: without a proof of who the server is, nothing can be done about it.
            return Ok(());
        }
        let response = pass(client.poll(now).expect("answers"));
        let Some((servers, connected)) = server.accept(&response, now, 1) else { return Ok(()) };
        let Some(won) = client.connected(&pass(connected)) else { return Ok(()) };
        prop_assert!(same_keys(&servers, &won.agreed));
        prop_assert_eq!(won.agreed.server_key, *server.router.gate.public_key().as_bytes());
        prop_assert_eq!(won.agreed.cookie, servers.cookie);
    }

    /// No bytes make a server or a client do anything but count.
    #[test]
    fn any_bytes_are_harmless(noise in proptest::collection::vec(any::<u8>(), 0..900), kind in 0..9u8, keep in 0..300usize) {
        let now = Instant::now();
        let (mut server, mut client) = (Server::new(&server_config(), now), Client::new(&client_config(), now));
        let connect = client.poll(now).expect("asks");
        let challenge = server.connect(&connect, address(CLIENT), now).expect("answers");
        prop_assert!(client.take(&challenge, now));
        let response = client.poll(now).expect("answers");
        let mut datagram = [&fastwire_wire::CONTROL_PREFIX[..], &[kind], &noise].concat();
        let mut cut = response.clone();
        cut.truncate(keep);
        cut.extend_from_slice(&noise);
        for bytes in [&datagram, &noise, &cut] {
            prop_assert!(cut == response || matches!(server.response(bytes, address(CLIENT), now), ResponseOutcome::Ignored));
            client.take(bytes, now);
            prop_assert!(client.connected(bytes).is_none());
        }
        datagram.resize(1200, 0);
        server.connect(&datagram, address(CLIENT), now);
        prop_assert!(server.accept(&response, now, 1).is_some(), "and the handshake goes on");
    }
}

/// Another server that claims to have the pinned key can do nothing with the answer, and its CONNECTED does not open.
#[test]
fn an_impostor_never_gets_a_pinning_client() {
    let now = Instant::now();
    let mut config = server_config();
    config.identity = Some(Identity::from_secret([66; 32]));
    let (mut impostor, mut client) = (Server::new(&config, now), Client::new(&pinning_config(), now));
    let pinned = pinning_config().pinned.expect("pinned");
    let connect = client.poll(now).expect("asks");
    assert!(
        impostor
            .connect(&connect, address(CLIENT), now)
            .is_some_and(|refusal| refusal[8] == 8 && refusal[9] == 6)
    );
    impostor.router.gate.pretend_to_be(&pinned);
    let challenge = impostor.connect(&connect, address(CLIENT), now).expect("a challenge");
    assert!(client.take(&challenge, now), "its CHALLENGE looks like any other");
    let response = client.poll(now).expect("answers");
    assert!(impostor.accept(&response, now, 1).is_none());
    assert_eq!(impostor.stats.responses_forged, 1);
    // It makes up keys of its own.
    let mut accomplice = Client::new(&client_config(), now);
    let own = shake(&mut impostor, &mut accomplice, now).expect("a handshake");
    assert!(client.connected(&own.connected).is_none());
}

/// A client that demands the extended profile does not hear a server that speaks the base profile, nor refusals by who has not
/// seen its nonce.
#[test]
fn a_demanding_client_is_deaf_to_the_base_profile() {
    let now = Instant::now();
    let mut config = server_config();
    config.profile = ServerProfile::BaseOnly;
    let require = crate::ClientConfig { profile: ClientProfile::Require, ..crate::ClientConfig::default() };
    for (client, taken) in [(client_config(), true), (pinning_config(), false), (require, false)] {
        let (mut server, mut client) = (Server::new(&config, now), Client::new(&client, now));
        let connect = client.poll(now).expect("asks");
        let challenge = server.connect(&connect, address(CLIENT), now).expect("answers");
        let Some(crate::proto::handshake::BareControl::Challenge(read)) =
            crate::proto::handshake::parse_bare(&challenge)
        else {
            panic!("a CHALLENGE");
        };
        assert_eq!((read.features, read.version), (Features::EMPTY, PROTOCOL_VERSION));
        assert_eq!(client.take(&challenge, now), taken);
        assert_eq!(client.handshake.candidates.len(), usize::from(taken));
    }
    for (client, believed) in [(client_config(), true), (pinning_config(), false)] {
        let mut client = Client::new(&client, now);
        client.poll(now).expect("asks");
        let banned = [&fastwire_wire::CONTROL_PREFIX[..], &[8, 1]].concat();
        client.take(&banned, now);
        client.take(&banned, now);
        let verdict = client.handshake.verdict(now + Duration::from_secs(1));
        assert_eq!(verdict, None, "a copy of the first says nothing more");
        client.take(&banned, now + Duration::from_millis(100));
        let verdict = client.handshake.verdict(now + Duration::from_secs(1));
        assert_eq!(verdict, believed.then_some(ConnectError::Banned));
        // With a nonce that is not this client's nobody is believed.
        let mut client = Client::new(&client_config(), now);
        let forged = [&banned[..], &[7; 8]].concat();
        client.take(&forged, now);
        client.take(&forged, now + Duration::from_millis(100));
        assert_eq!(client.handshake.verdict(now + Duration::from_secs(1)), None);
    }
}

/// A recorded RESPONSE makes one connection: later copies lead to it, and when it is over nowhere.
#[test]
fn a_replayed_response_makes_no_second_connection() {
    let now = Instant::now();
    let (mut server, mut client) = (Server::new(&server_config(), now), Client::new(&client_config(), now));
    let done = shake(&mut server, &mut client, now).expect("a handshake");
    let id = ConnectionId::new(1, 0);
    let seconds = |s| now + Duration::from_secs(s);
    let outcome = |server: &mut Server, at| server.response(&done.response, address(CLIENT), at);
    assert!(matches!(outcome(&mut server, seconds(1)), ResponseOutcome::Again(again) if again == id));
    server.router.confirm_cookie(&done.servers.cookie);
    assert!(matches!(outcome(&mut server, seconds(9)), ResponseOutcome::Again(again) if again == id));
    assert!(matches!(
        server.response(&done.response, "203.0.113.9:5000".parse().expect("an address"), seconds(9)),
        ResponseOutcome::Ignored
    ));
    server.router.release_cookie(&done.servers.cookie);
    for at in [9, 10, 11, 12, 30, 100] {
        assert!(matches!(outcome(&mut server, seconds(at)), ResponseOutcome::Ignored), "after {at} s");
    }
    assert_eq!(server.stats.key_agreements, 2);
}

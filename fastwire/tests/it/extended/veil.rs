//! The veil (PROTOCOL B7): handshakes through bad lines, and what is answered to those who do not know the server's key.

use std::time::Duration;

use fastwire::sim::{LinkConfig, Loss, Reorder};
use fastwire::{ClientConfig, Identity, Profile, ServerConfig};

use super::{MS, Pair};
use crate::duo::{
    Duo, PROFILES, Way, bare_type, client_address, configs, drain, events, feed, seeded_client,
};

/// Both behind the veil of one identity.
fn veiled() -> (ServerConfig, ClientConfig) {
    let (mut server, mut client) = configs(Profile::Extended);
    let identity = Identity::from_secret([5; 32]);
    (client.pinned, server.identity) = (Some(identity.public_key()), Some(identity));
    (server.veil, client.veil) = (true, true);
    (server, client)
}

#[test]
fn connections_stand_and_move_behind_it_on_bad_lines() {
    for seed in 0..30 {
        let line = LinkConfig::new()
            .latency(MS(20))
            .loss(Loss::Bernoulli { rate: 0.2 })
            .duplicate(0.2)
            .corrupt(0.02)
            .reorder(0.2, Reorder::Delay(MS(50)));
        let (server, client) = veiled();
        let mut pair = Pair::with(seed, line, server, client);
        for round in 0..40u8 {
            if round == 20 {
                let now = pair.world.now();
                pair.world.endpoint(pair.client).expect("client").rebind(now, pair.at_client).expect("moves");
            }
            pair.world.send(pair.client, pair.at_client, vec![round; 700], 0).expect("queued");
            pair.world.send(pair.server, pair.at_server, vec![round; 700], 0).expect("queued");
            pair.run(MS(20));
        }
        pair.run(MS(5000));
        for (node, id) in [(pair.client, pair.at_client), (pair.server, pair.at_server)] {
            let endpoint = pair.world.endpoint(node).expect("it runs");
            let stats = endpoint.connection_stats(id).expect("it stands");
            assert_eq!((stats.messages_sent, stats.messages_received), (40, 40), "seed {seed}");
        }
    }
}

#[test]
fn nothing_on_the_wire_reads_as_a_handshake_and_no_size_gives_it_away() {
    let (server, client) = veiled();
    let mut duo = Duo::new(&server, &client);
    let id = duo.connect();
    duo.run(MS(300), |_, _| true);
    duo.client.send(duo.now, id, "hidden", 0).expect("queued");
    duo.run(MS(300), |_, _| true);
    assert!(duo.log.iter().all(|(_, _, _, bytes)| bare_type(bytes).is_none()));
    let ids: Vec<_> =
        duo.log.iter().filter(|(_, way, ..)| *way == Way::ToServer).map(|l| &l.3[..8]).collect();
    let different: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), different.len(), "the connection id never shows twice");
}

#[test]
fn a_replayed_conversation_gets_no_byte_back() {
    let (server, client) = veiled();
    let mut duo = Duo::new(&server, &client);
    let id = duo.connect();
    duo.run(MS(300), |_, _| true);
    duo.client.send(duo.now, id, "hidden", 0).expect("queued");
    duo.run(MS(300), |_, _| true);
    duo.client.close(duo.now, id).expect("closes");
    duo.run(Duration::from_secs(2), |_, _| true);
    assert_eq!(duo.server.connections().count(), 0);
    let up = duo.log.iter().filter(|(_, way, ..)| *way == Way::ToServer);
    let up: Vec<(_, Vec<u8>)> = up.map(|(_, _, socket, bytes)| (*socket, bytes.clone())).collect();
    assert!(up.len() >= 4);
    assert!(drain(&mut duo.server, duo.now).is_empty());
    for seconds in [0, 30, 100, 400] {
        let now = duo.now + Duration::from_secs(seconds);
        for (socket, bytes) in &up {
            for from in [client_address(*socket), "10.9.9.9:999".parse().expect("address")] {
                feed(&mut duo.server, now, from, bytes);
                assert!(drain(&mut duo.server, now).is_empty(), "{seconds} s later");
            }
        }
        assert!(events(&mut duo.server).is_empty());
    }
    assert!(duo.server.stats().veiled_stale >= 16);
}

#[test]
fn who_does_not_know_the_key_gets_no_byte_back() {
    let (server, client) = veiled();
    let mut other = client.clone();
    other.pinned = Some(Identity::from_secret([6; 32]).public_key());
    let mut bare = client;
    bare.veil = false;
    let mut strangers = vec![other, bare];
    strangers.extend(PROFILES.map(|profile| configs(profile).1));
    for stranger in strangers {
        let mut duo = Duo::new(&server, &stranger);
        duo.connect();
        duo.run(Duration::from_secs(6), |_, _| true);
        let (up, down): (Vec<_>, Vec<_>) = duo.log.iter().partition(|(_, way, ..)| *way == Way::ToServer);
        assert!(!up.is_empty() && down.is_empty());
    }
}

#[test]
fn a_server_without_the_veil_takes_nothing_behind_one_for_a_handshake() {
    let (mut server, client) = veiled();
    server.veil = false;
    let mut up = 0;
    for seed in 0..100 {
        let mut duo = Duo::new(&server, &client);
        duo.client = seeded_client(&client, seed, duo.now);
        duo.connect();
        duo.run(Duration::from_secs(6), |_, _| true);
        up += duo.log.len();
        assert!(duo.log.iter().all(|(_, way, ..)| *way == Way::ToServer), "seed {seed}");
        assert_eq!(duo.server.stats().connects_received, 0);
    }
    assert!(up > 2000, "{up} datagrams: too few to find one in 512");
}

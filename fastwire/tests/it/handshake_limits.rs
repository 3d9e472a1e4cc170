//! What handshakes cost a server, and where its limits are (PROTOCOL A5).

use std::time::Instant;

use fastwire::sim::{LinkConfig, World};
use fastwire::wire::{CONTROL_PREFIX, ControlType, PROTOCOL_VERSION};
use fastwire::{ConnectError, Event};
use proptest::prelude::*;

use crate::duo::{
    CHALLENGE, Core, Duo, PROFILES, bare_type, base_client, base_server, configs, drain, feed, seeded_client,
    server, server_address,
};
use crate::handshake::{MS, answer, connect_of, defaults};

#[test]
fn the_same_connect_gets_the_same_challenge() {
    let now = Instant::now();
    let mut core = server(&base_server(), now);
    let first = answer(&mut core, now, &connect_of(1, now));
    let again = answer(&mut core, now + MS(400), &connect_of(1, now));
    let other = answer(&mut core, now + MS(500), &connect_of(2, now));
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(core.pending_handshakes(), 2);
    // After the handshake timeout it is forgotten.
    let mut late = now;
    for _ in 0..6 {
        late += MS(1000);
        core.handle_timeout(late);
    }
    assert_eq!((core.pending_handshakes(), core.stats().handshakes_expired), (0, 2));
    assert_ne!(first, answer(&mut core, late, &connect_of(1, now)));
}

#[test]
fn pending_handshakes_are_bounded_and_the_oldest_makes_room() {
    let now = Instant::now();
    let mut core = server(&base_server(), now);
    let first: Vec<_> = (0..6).map(|seed| answer(&mut core, now, &connect_of(seed, now))).collect();
    assert_eq!((core.pending_handshakes(), core.stats().handshakes_expired), (4, 2), "per address and port");
    assert_eq!(answer(&mut core, now, &connect_of(5, now)), first[5], "the newest four stand");
    assert_eq!(answer(&mut core, now, &connect_of(2, now)), first[2]);
    assert_ne!(answer(&mut core, now, &connect_of(0, now)), first[0], "the oldest is gone");

    let mut config = base_server();
    config.limits.pending_handshakes = 100;
    config.limits.pending_handshakes_per_ip = 10;
    let mut core = server(&config, now);
    for n in 0..1000u32 {
        let from = ([10, 1, (n / 250) as u8, (n % 20) as u8], 1000 + n as u16).into();
        feed(&mut core, now, from, &connect_of(n as u8, now));
        assert!(core.pending_handshakes() <= 100);
    }
    assert_eq!(core.pending_handshakes(), 100, "in all");
    let mut core = server(&config, now);
    for n in 0..200u16 {
        feed(&mut core, now, ([10, 1, 0, 1], 1000 + n).into(), &connect_of(n as u8, now));
    }
    assert_eq!(core.pending_handshakes(), 10, "per IP address");
}

#[test]
fn a_spoofed_flood_costs_no_key_agreement_and_little_answer() {
    let now = Instant::now();
    let mut core = server(&base_server(), now);
    let (mut received, mut sent) = (0, 0);
    for n in 0..2000u32 {
        let from = ([10, 7, (n >> 8) as u8, n as u8], 1000).into();
        let connect = connect_of(n as u8, now);
        received += connect.len();
        feed(&mut core, now, from, &connect);
        sent += drain(&mut core, now).iter().map(|datagram| datagram.bytes.len()).sum::<usize>();
    }
    let stats = core.stats();
    assert_eq!((stats.connects_received, stats.key_agreements), (2000, 0));
    assert!(sent as f64 / received as f64 <= 1.82, "{sent} / {received}");
}

#[test]
fn key_agreements_are_bounded_a_second() {
    let mut config = base_server();
    config.limits.key_agreements_per_second = 10;
    let now = Instant::now();
    let mut core = server(&config, now);
    for n in 0..100u8 {
        let from = ([10, 7, 0, n], 1000).into();
        feed(&mut core, now, from, &connect_of(n, now));
        for _ in 0..3 {
            feed(&mut core, now, from, &[0x55; 65]);
        }
    }
    assert_eq!(core.stats().key_agreements, 10);
    assert!(core.stats().key_agreements_refused > 0);
    assert_eq!(core.connection_count(), 0);
}

#[test]
fn one_address_gets_its_share_of_key_agreements_and_no_more() {
    let now = Instant::now();
    let mut core = server(&base_server(), now);
    let ask = |core: &mut Core, host: u8, n: u32, at: Instant| {
        let from = ([10, 7, 0, host], 1000 + n as u16).into();
        feed(core, at, from, &connect_of(n as u8, now));
        feed(core, at, from, &[0x55; 65]);
    };
    for second in 0..5u32 {
        for n in 0..400 {
            ask(&mut core, 1, second * 400 + n, now + MS(1000) * second);
        }
    }
    assert_eq!(core.stats().key_agreements, 200 + 4 * 100, "the burst, and its rate");
    let before = core.stats().key_agreements;
    for n in 0..50 {
        ask(&mut core, 2, n, now + MS(4000));
    }
    assert_eq!(core.stats().key_agreements, before + 50, "nobody else pays for it");
}

#[test]
fn answers_to_connect_are_bounded_a_second() {
    let now = Instant::now();
    for profile in PROFILES {
        let (mut config, asking) = configs(profile);
        config.limits.challenges_per_second = 100;
        let mut core = server(&config, now);
        let mut client = seeded_client(&asking, 1, now);
        client.connect(now, &[server_address()]).expect("connects");
        let connect = drain(&mut client, now).remove(0).bytes;
        let mut answers = 0;
        for n in 0..2000u32 {
            let at = now + MS(1) * n;
            feed(&mut core, at, ([10, 7, (n >> 8) as u8, n as u8], 1000).into(), &connect);
            answers += drain(&mut core, at).len();
        }
        let stats = core.stats();
        assert!((205..=210).contains(&answers), "{profile:?}: {answers} in two seconds, ten at once");
        assert_eq!((stats.challenges_sent, stats.connects_refused), (answers as u64, 2000 - answers as u64));
    }
}

proptest! {
    /// Only the flag is set in the header of a bare packet (PROTOCOL A5); whatever else wears it is none, unless it is a CONNECT of our version.
    #[test]
    fn what_is_no_bare_packet_gets_no_answer(
        bent in (0usize..8, 1u8..=255),
        rest in prop::collection::vec(any::<u8>(), 0..1200),
        keeps_the_flag in any::<bool>(),
    ) {
        let now = Instant::now();
        for profile in PROFILES {
            let (config, asking) = configs(profile);
            let mut core = server(&config, now);
            let mut client = seeded_client(&asking, 1, now);
            client.connect(now, &[server_address()]).expect("connects");
            let connect = drain(&mut client, now).remove(0).bytes;
            for payload in [&rest[..], &connect[CONTROL_PREFIX.len()..]] {
                let mut datagram = [&CONTROL_PREFIX[..], payload].concat();
                let (place, bits) = bent;
                datagram[place] ^= bits;
                if keeps_the_flag {
                    datagram[0] |= 2;
                }
                let is_ours = datagram[8..].starts_with(&[ControlType::Connect.id(), PROTOCOL_VERSION]);
                if datagram.starts_with(&CONTROL_PREFIX) || datagram[0] & 2 != 0 && is_ours {
                    continue;
                }
                feed(&mut core, now, ([10, 7, 0, 1], 1000).into(), &datagram);
            }
            prop_assert!(drain(&mut core, now).is_empty());
            prop_assert_eq!(core.stats().connects_received, 0);
        }
    }

    /// Of whatever version and however long a CONNECT is: its refusal is no larger, and refusals are bounded like CHALLENGEs.
    #[test]
    fn a_refusal_is_no_larger_than_its_question_and_refusals_are_bounded(
        version in any::<u8>(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        copies in 1usize..40,
    ) {
        let now = Instant::now();
        for profile in PROFILES {
            let (mut config, _) = configs(profile);
            config.limits.challenges_per_second = 100;
            let mut core = server(&config, now);
            let question = [&CONTROL_PREFIX[..], &[1, version], &payload].concat();
            let mut refusals = 0;
            for n in 0..copies {
                feed(&mut core, now, ([10, 7, 0, n as u8], 1000).into(), &question);
                for sent in drain(&mut core, now) {
                    if bare_type(&sent.bytes) != CHALLENGE {
                        refusals += 1;
                        prop_assert!(sent.bytes.len() <= question.len(), "{} for {}", sent.bytes.len(), question.len());
                    }
                }
            }
            // A tenth of a second's at once.
            prop_assert!(refusals <= 10, "{refusals}");
            prop_assert_eq!(core.stats().rejected, refusals);
        }
    }
}

#[test]
fn a_full_server_lets_a_restarted_client_back_in() {
    let (mut server, client) = defaults();
    server.max_connections = 1;
    let (mut duo, _, _) = Duo::connected(&server, &client);
    duo.client = seeded_client(&client, 3, duo.now);
    let at_client = duo.connect();
    duo.run(MS(1000), |_, _| true);
    assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);
}

#[test]
fn a_full_server_says_so_also_to_those_it_had_challenged() {
    let mut config = base_server();
    config.max_connections = 3;
    let mut world = World::new(9);
    let server = world.server(config).expect("server");
    let clients: Vec<_> = (0..8).map(|_| world.client(base_client()).expect("client")).collect();
    for &client in &clients {
        // All at once: every CONNECT arrives while the server still has room.
        world.line(client, server, LinkConfig::new().latency(MS(20))).expect("line");
        world.connect(client, server).expect("connects");
    }
    let (mut connected, mut refused) = (0, 0);
    let deadline = world.now() + MS(7000);
    world.run_until(deadline, |world, node, event| {
        assert!(world.endpoint(server).expect("on").connection_count() <= 3, "over the limit");
        match event {
            Event::Connected { .. } if node != server => connected += 1,
            Event::ConnectFailed { error, .. } => {
                assert_eq!(error, ConnectError::ServerFull);
                refused += 1;
            }
            Event::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
        false
    });
    assert_eq!((connected, refused), (3, 5));
}

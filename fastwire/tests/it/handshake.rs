//! The handshake of PROTOCOL A5, rule by rule.

use std::time::{Duration, Instant};

use fastwire::sim::{LinkConfig, Loss, Reorder, World};
use fastwire::transport::SocketId;
use fastwire::wire::{Control, Reject, RejectReason, VersionMismatch};
use fastwire::{ClientConfig, ConnectError, DisconnectReason, Event, ServerConfig};

use crate::duo::{
    CHALLENGE, CONNECT, Core, Duo, LATENCY, Way, bare_type, base_client, base_server, client, client_address,
    drain, events, feed, is_response, seeded_client, server, server_address,
};

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;

pub(crate) fn defaults() -> (ServerConfig, ClientConfig) {
    (base_server(), base_client())
}

/// A CONNECT of a client whose key follows from `seed`.
pub(crate) fn connect_of(seed: u8, now: Instant) -> Vec<u8> {
    let mut core = seeded_client(&base_client(), seed, now);
    core.connect(now, &[server_address()]).expect("connects");
    drain(&mut core, now).remove(0).bytes
}

pub(crate) fn bare(control: &Control) -> Vec<u8> {
    let mut bytes = vec![0; 8 + control.encoded_len()];
    control.encode_bare(&mut bytes).expect("fits");
    bytes
}

/// The one answer of a server to one datagram.
pub(crate) fn answer(core: &mut Core, now: Instant, datagram: &[u8]) -> Vec<u8> {
    feed(core, now, client_address(SocketId::PRIMARY), datagram);
    let mut sent = drain(core, now);
    assert_eq!(sent.len(), 1);
    sent.remove(0).bytes
}

#[test]
fn a_lost_datagram_of_the_handshake_costs_a_repeat_and_not_the_connection() {
    type Kind = fn(&[u8]) -> bool;
    let kinds: [(&str, Way, Kind); 4] = [
        ("CONNECT", Way::ToServer, |bytes| bare_type(bytes) == CONNECT),
        ("CHALLENGE", Way::ToClient, |bytes| bare_type(bytes) == CHALLENGE),
        ("RESPONSE and all after it", Way::ToServer, |bytes| bare_type(bytes) != CONNECT),
        ("the server's first packets", Way::ToClient, |bytes| bare_type(bytes) != CHALLENGE),
    ];
    for (name, lost_way, kind) in kinds {
        for losses in 0..8 {
            let (server, client) = defaults();
            let mut duo = Duo::new(&server, &client);
            let at_client = duo.connect();
            let mut lost = 0;
            let mut connected_by = MS(100) * losses + LATENCY * 6;
            if lost_way == Way::ToClient && name != "CHALLENGE" {
                // CONNECTED is repeated at most an initial RTO later; a repeated RESPONSE asks for it sooner.
                connected_by += MS(100);
            }
            duo.run(connected_by, |way, bytes| {
                let lose = way == lost_way && lost < losses && kind(bytes);
                lost += u32::from(lose);
                !lose
            });
            let expected = [Event::Connected { connection: at_client }];
            assert_eq!(duo.client_events, expected, "{losses} × {name} lost");
            duo.run(MS(1000), |_, _| true);
            assert_eq!(duo.server_events.len(), 1, "{losses} × {name} lost: {:?}", duo.server_events);
        }
    }
}

#[test]
fn a_challenge_counts_only_from_the_address_connected_to_and_only_while_connecting() {
    let now = Instant::now();
    let mut theirs = server(&base_server(), now);
    let mut core = client(&base_client(), now);
    core.connect(now, &[server_address()]).expect("connects");
    let connect = drain(&mut core, now).remove(0).bytes;
    let challenge = answer(&mut theirs, now, &connect);
    feed(&mut core, now, "10.0.0.66:7777".parse().expect("address"), &challenge);
    feed(&mut core, now, "10.0.0.1:7778".parse().expect("address"), &challenge);
    assert!(drain(&mut core, now).is_empty(), "a stranger's CHALLENGE is not answered");
    assert_eq!(core.stats().key_agreements, 0);
    feed(&mut core, now, server_address(), &challenge);
    assert!(is_response(&drain(&mut core, now)[0].bytes));

    let (mut duo, _, at_client) = Duo::connected(&base_server(), &base_client());
    let agreements = duo.client.stats().key_agreements;
    feed(&mut duo.client, duo.now, server_address(), &challenge);
    for refusal in refusals() {
        feed(&mut duo.client, duo.now, server_address(), &refusal);
    }
    duo.run(MS(3000), |_, _| true);
    assert_eq!(duo.client.stats().key_agreements, agreements, "nothing is agreed beside a live connection");
    assert_eq!(duo.client_events, []);
    assert_eq!(duo.client.state(at_client), fastwire::ConnectionState::Connected);
}

fn refusals() -> [Vec<u8>; 3] {
    [
        bare(&Control::Reject(Reject { reason: RejectReason::SERVER_FULL })),
        bare(&Control::Reject(Reject { reason: RejectReason::BANNED })),
        bare(&Control::VersionMismatch(VersionMismatch { version: 9, application_version: 9 })),
    ]
}

#[test]
fn a_forged_refusal_is_belied_by_a_challenge_and_believed_only_after_a_grace_time() {
    for refusal in refusals() {
        let (server, client) = defaults();
        let mut duo = Duo::new(&server, &client);
        let at_client = duo.connect();
        feed(&mut duo.client, duo.now, server_address(), &refusal);
        // The true CHALLENGE is late, but within the grace time.
        let mut lost = 0;
        duo.run(MS(1000), |way, bytes| {
            let lose = way == Way::ToClient && bare_type(bytes) == CHALLENGE && lost < 4;
            lost += u32::from(lose);
            !lose
        });
        assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);

        let mut duo = Duo::new(&server, &client);
        duo.connect();
        feed(&mut duo.client, duo.now, server_address(), &refusal);
        duo.run(MS(450), |_, _| false);
        assert_eq!(duo.client_events, []);
        duo.run(MS(100), |_, _| false);
        assert_eq!(duo.client_events, [], "a single one may come of damage on the way");
        feed(&mut duo.client, duo.now, server_address(), &refusal);
        duo.run(MS(10), |_, _| false);
        assert!(matches!(&duo.client_events[..], [Event::ConnectFailed { .. }]), "{:?}", duo.client_events);
    }
}

#[test]
fn a_client_restarted_at_its_address_takes_its_place_and_a_spoofed_connect_does_not() {
    let (server, client) = defaults();
    let (mut duo, old, _) = Duo::connected(&server, &client);
    for seed in 10..20 {
        feed(&mut duo.server, duo.now, client_address(SocketId::PRIMARY), &connect_of(seed, duo.now));
    }
    duo.run(MS(3000), |_, _| true);
    assert_eq!(
        (&duo.server_events[..], &duo.client_events[..]),
        (&[][..], &[][..]),
        "CONNECTs alone do nothing"
    );

    duo.client = seeded_client(&client, 3, duo.now);
    let at_client = duo.connect();
    duo.run(MS(1000), |_, _| true);
    assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);
    let new = duo.server_id();
    let replaced = Event::Disconnected { connection: old, reason: DisconnectReason::Replaced };
    assert_eq!(duo.server_events, [replaced, Event::Connected { connection: new }]);
}

#[test]
fn a_second_copy_of_challenge_restarts_no_counter() {
    let now = Instant::now();
    let mut theirs = server(&base_server(), now);
    let mut core = client(&base_client(), now);
    core.connect(now, &[server_address()]).expect("connects");
    let challenge = answer(&mut theirs, now, &drain(&mut core, now)[0].bytes);
    let mut nonces = Vec::new();
    for copy in 0..20 {
        let now = now + MS(50) * copy;
        feed(&mut core, now, server_address(), &challenge);
        core.handle_timeout(now);
        let sealed =
            drain(&mut core, now).into_iter().filter(|datagram| bare_type(&datagram.bytes) != CONNECT);
        nonces.extend(sealed.map(|datagram| u64::from_le_bytes(datagram.bytes[..8].try_into().expect("8"))));
    }
    let count = nonces.len() as u64;
    assert!(count > 5);
    assert_eq!(nonces, (1..=count).collect::<Vec<_>>());
    assert_eq!(core.stats().key_agreements, 1);
}

#[test]
fn no_nonce_twice_and_no_connection_lost_on_lines_that_duplicate_and_reorder() {
    for seed in 0..60 {
        let line = LinkConfig::new()
            .latency(MS(60))
            .jitter(MS(60))
            .duplicate(0.5)
            .reorder(0.3, Reorder::Delay(MS(150)))
            .loss(Loss::Bernoulli { rate: 0.1 });
        let mut world = World::new(seed);
        let server = world.server(base_server()).expect("server");
        let client = world.client(base_client()).expect("client");
        world.line(client, server, line).expect("line");
        world.connect(client, server).expect("connects");
        let mut ends = Vec::new();
        let deadline = world.now() + MS(8000);
        world.run_until(deadline, |_, node, event| {
            if !matches!(event, Event::Connected { .. }) {
                ends.push((node == server, event));
            }
            false
        });
        assert!(ends.is_empty(), "seed {seed}: {ends:?}");
        let report = world.report();
        assert_eq!(report.nonces_reused, 0, "seed {seed}");
        assert!(report.amplification <= 1.82, "seed {seed}: {report:?}");
        assert_eq!(world.endpoint(client).map(|e| e.connection_count()), Some(1), "seed {seed}");
    }
}

#[test]
fn a_connect_that_comes_after_the_handshake_disturbs_nothing() {
    let (server, client) = defaults();
    let mut duo = Duo::new(&server, &client);
    let at_client = duo.connect();
    let start = duo.now;
    // A copy of the first CONNECT arrives when its handshake is complete at the server, while the client
    // has heard nothing under the new keys yet.
    let mut first = true;
    duo.run_changing(LATENCY * 8, |way, bytes, copies| {
        if bare_type(bytes) == CONNECT && std::mem::take(&mut first) {
            copies.push((LATENCY * 3, bytes.to_vec()));
        }
        if way == Way::ToServer || bare_type(bytes) == CHALLENGE {
            copies.push((Duration::ZERO, bytes.to_vec()));
        }
    });
    assert!(duo.now > start && duo.client_events.is_empty());
    duo.run(MS(5000), |_, _| true);
    assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);
    assert_eq!(duo.server_events, [Event::Connected { connection: duo.server_id() }]);
}

#[test]
fn a_second_port_gets_through_to_a_server_deaf_to_the_first() {
    let (server, client) = defaults();
    let mut duo = Duo::new(&server, &client);
    duo.deaf_to = Some(SocketId::PRIMARY);
    let at_client = duo.connect();
    duo.run(MS(990), |_, _| true);
    assert_eq!(duo.client_events, []);
    duo.run(MS(100), |_, _| true);
    assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);
    let keys: Vec<_> = duo.log.iter().filter(|(.., bytes)| bare_type(bytes) == CONNECT).collect();
    let key_of =
        |socket: u32| keys.iter().find(|(_, _, s, _)| s.0 == socket).map(|(.., b)| b[12..44].to_vec());
    assert_ne!(key_of(0), key_of(1), "the second port has a key pair of its own");
    duo.run(MS(1000), |_, _| true);
    assert_eq!(duo.sockets.len(), 1, "one socket is left");

    // The next connection uses the socket that is left.
    duo.client.close(duo.now, at_client).expect("open");
    duo.run(MS(5000), |_, _| true);
    duo.client_events.clear();
    let again = duo.connect();
    duo.run(MS(1000), |_, _| true);
    assert_eq!(duo.client_events, [Event::Connected { connection: again }]);
}

#[test]
fn the_loser_of_two_ports_leaves_no_ghost_at_the_server() {
    let (server, client) = defaults();
    let mut duo = Duo::new(&server, &client);
    let at_client = duo.connect();
    // The first port's RESPONSE arrives, its answers do not, until the second port is on its way.
    let blocked = duo.start + MS(1030);
    let start = duo.start;
    let mut now = start;
    while now < start + MS(3000) {
        now += MS(5);
        let through = now >= blocked;
        duo.run(MS(5), |way, bytes| through || way == Way::ToServer || bare_type(bytes) == CHALLENGE);
    }
    assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);
    let ghosts: Vec<_> = duo.server.connections().collect();
    assert_eq!(ghosts.len(), 1, "{:?}", duo.server_events);
}

#[test]
fn a_server_completes_with_any_packet_that_opens() {
    let (server, client) = defaults();
    let mut duo = Duo::new(&server, &client);
    let at_client = duo.connect();
    duo.client.send(duo.now, at_client, b"at once", 0).expect("queued");
    duo.run(MS(300), |way, bytes| !(way == Way::ToServer && is_response(bytes)));
    assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);
    let message = Event::Message { connection: duo.server_id(), channel: 0, data: b"at once"[..].into() };
    assert_eq!(duo.server_events, [Event::Connected { connection: duo.server_id() }, message]);
}

#[test]
fn a_client_finds_a_restarted_server_within_three_seconds() {
    let line = LinkConfig::new().latency(MS(20));
    let mut world = World::new(5);
    let server = world.server(base_server()).expect("server");
    let client = world.client(base_client()).expect("client");
    world.line(client, server, line).expect("line");
    let first = world.connect(client, server).expect("connects");
    let deadline = world.now() + MS(1000);
    world.run_until(deadline, |_, _, _| false);
    world.send(client, first, b"never acknowledged", 0).expect("queued");
    world.switch_off(server);
    world.switch_on(server).expect("on");
    let restarted = world.now();
    let mut seen = Vec::new();
    let mut back = None;
    world.run_until(restarted + MS(5000), |world, node, event| {
        if node == client {
            seen.push(event);
            back = Some(world.now());
        }
        seen.len() == 2
    });
    let timeout = Event::Disconnected { connection: first, reason: DisconnectReason::Timeout };
    assert_eq!(seen[0], timeout);
    assert!(matches!(seen[1], Event::Connected { connection } if connection != first), "{seen:?}");
    assert!(back.is_some_and(|at| at - restarted <= MS(3000)), "{:?}", back.map(|at| at - restarted));
    assert_eq!(world.report().nonces_reused, 0);
}

#[test]
fn reconnecting_can_be_turned_off() {
    let (server_config, mut client) = defaults();
    client.reconnect = false;
    let (mut duo, _, at_client) = Duo::connected(&server_config, &client);
    duo.server = server(&server_config, duo.now);
    duo.run(MS(12_000), |_, _| true);
    let timeout = Event::Disconnected { connection: at_client, reason: DisconnectReason::Timeout };
    assert_eq!(duo.client_events, [timeout]);
}

#[test]
fn first_packets_to_a_base_peer_never_look_like_bare_control() {
    let (server, client) = defaults();
    let mut duo = Duo::new(&server, &client);
    duo.connect();
    // Of the client only CONNECT and RESPONSE arrive: the server cannot know whether the client has keys.
    for step in 0..300 {
        duo.run(MS(20), |way, bytes| match way {
            Way::ToServer => bare_type(bytes) == CONNECT || is_response(bytes),
            Way::ToClient => bare_type(bytes) == CHALLENGE,
        });
        let id = duo.server.connections().next();
        if let Some(id) = id {
            let _ = duo.server.send(duo.now, id, [step as u8; 10], 2);
        }
    }
    let first_bytes: Vec<u8> = duo
        .log
        .iter()
        .filter(|(_, way, _, bytes)| *way == Way::ToClient && bare_type(bytes) != CHALLENGE)
        .map(|(.., bytes)| bytes[0])
        .collect();
    assert!(first_bytes.len() > 100, "{}", first_bytes.len());
    assert!(first_bytes.iter().all(|byte| byte & 2 == 0), "{first_bytes:?}");
}

#[test]
fn a_sealed_packet_that_looks_like_connect_is_opened_first() {
    let now = Instant::now();
    let mut hits = 0;
    for seed in 0..=255u8 {
        for shift in 0..4 {
            let mut theirs = server(&base_server(), now);
            let mut core = seeded_client(&base_client(), seed, now);
            core.script_entropy(vec![[seed ^ (shift * 64 + 1); 32].map(|b| b.wrapping_add(shift)).to_vec()]);
            let id = core.connect(now, &[server_address()]).expect("connects");
            core.send(now, id, [7; 100], 2).expect("queued");
            let challenge = answer(&mut theirs, now, &drain(&mut core, now)[0].bytes);
            feed(&mut core, now, server_address(), &challenge);
            let sent = drain(&mut core, now);
            let data = &sent[1].bytes;
            if bare_type(data) != CONNECT {
                continue;
            }
            hits += 1;
            for datagram in &sent[..2] {
                feed(&mut theirs, now, client_address(SocketId::PRIMARY), &datagram.bytes);
            }
            assert_eq!(theirs.stats().connects_received, 1, "no CONNECT but the first");
            assert!(matches!(events(&mut theirs)[..], [Event::Connected { .. }, Event::Message { .. }]));
        }
    }
    assert!(hits > 0, "no packet of the 1024 looked like CONNECT; change the seeds");
}

#[test]
fn connecting_to_nobody_ends_at_the_connect_timeout() {
    let (server, client) = defaults();
    let mut duo = Duo::new(&server, &client);
    let at_client = duo.connect();
    duo.run(MS(4950), |_, _| false);
    assert_eq!(duo.client_events, []);
    duo.run(MS(100), |_, _| false);
    let error = ConnectError::Timeout { after: MS(5000) };
    assert_eq!(duo.client_events, [Event::ConnectFailed { connection: at_client, error }]);
    // CONNECT: 20 in the first 2 s, then 1.5 times slower up to 500 ms, and as much from the second port.
    let connects = duo.log.iter().filter(|entry| entry.2 == SocketId::PRIMARY).count();
    assert!((25..=32).contains(&connects), "{connects}");
    assert_eq!(duo.sockets.len(), 1, "the second port is closed again");
}

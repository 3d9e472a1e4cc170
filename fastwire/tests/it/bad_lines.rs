//! Faults that simulated seeds brought to light, each as a law over many seeds.

use std::time::Duration;

use fastwire::congestion::CongestionMode;
use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, LinkConfig, Loss, NodeId, World};
use fastwire::{ClientConfig, ConnectionId, Event, Profile, ServerConfig};

use crate::duo::{PROFILES, configs};

const MINUTE: Duration = Duration::from_secs(60);

fn patient(profile: Profile) -> (ServerConfig, ClientConfig) {
    let (mut server, mut client) = configs(profile);
    (server.connection_timeout, server.handshake_timeout) = (MINUTE, MINUTE);
    (client.connection_timeout, client.connect_timeout) = (MINUTE, MINUTE);
    (server, client)
}

/// Connects; gives the world, and both ends of the connection.
fn connect(
    seed: u64,
    line: LinkConfig,
    (server, client): (ServerConfig, ClientConfig),
) -> (World, [(NodeId, ConnectionId); 2]) {
    let mut world = World::new(seed);
    let server = world.server(server).expect("server");
    let client = world.client(client).expect("client");
    world.line(client, server, line).expect("line");
    let at_client = world.connect(client, server).expect("begins");
    let deadline = world.now() + MINUTE;
    // A client may begin several connections at a server, from two ports: the keys tell which one it uses.
    let mut begun = Vec::new();
    let mut at_server = None;
    world.run_until(deadline, |world, node, event| {
        if let Event::Connected { connection } = event
            && node == server
        {
            begun.push(connection);
        }
        let wanted = key(world, (client, at_client));
        at_server = begun.iter().copied().find(|id| wanted.is_some() && key(world, (server, *id)) == wanted);
        at_server.is_some()
    });
    (
        world,
        [(server, at_server.unwrap_or_else(|| panic!("seed {seed}: not connected"))), (client, at_client)],
    )
}

/// Something only both ends of one connection know.
fn key(world: &mut World, (node, id): (NodeId, ConnectionId)) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    world.endpoint(node)?.export_keying_material(id, b"which one", &mut key).then_some(key)
}

/// With a bit of the handshake flipped on its way both sides have keys, but may think differently of the framing; and a
/// damaged CHALLENGE must not keep its own sound copy out.
#[test]
fn a_damaged_handshake_leaves_no_deaf_connection() {
    for (seed, profile) in (0..300).flat_map(|seed| PROFILES.map(|profile| (seed, profile))) {
        let (mut server, mut client) = patient(profile);
        (server.send_batching, client.send_batching) = (seed % 2 == 0, true);
        (server.connection_migration, client.connection_migration) = (true, seed % 3 > 0);
        let line = LinkConfig::new().latency(Duration::from_millis(5)).corrupt(0.3);
        let (mut world, ends) = connect(seed, line, (server, client));
        for (node, id) in ends {
            world.send(node, id, b"hello".as_slice(), 0).expect("queued");
            world.poke(node);
        }
        let deadline = world.now() + Duration::from_secs(20);
        let mut heard = [false; 2];
        world.run_until(deadline, |_, node, event| {
            if let Event::Message { .. } = event {
                heard[usize::from(node == ends[1].0)] = true;
            }
            heard == [true; 2]
        });
        assert_eq!(heard, [true; 2], "seed {seed}, {profile:?}: both sides hear each other");
    }
}

/// Silence of a server that lives is only loss, however long it lasts by chance.
#[test]
fn a_quiet_connection_over_a_bad_line_is_not_taken_for_dead() {
    for (seed, profile) in (0..10).flat_map(|seed| PROFILES.map(|profile| (seed, profile))) {
        let line = LinkConfig::new()
            .latency(Duration::from_millis(20))
            .loss(Loss::Bernoulli { rate: 0.3 })
            .corrupt(0.3);
        let (mut world, ends) = connect(seed, line, patient(profile));
        let deadline = world.now() + 10 * MINUTE;
        let ended = world.run_until(deadline, |_, node, event| {
            matches!(event, Event::Disconnected { connection, .. } if ends.contains(&(node, connection)))
        });
        assert!(!ended, "seed {seed}, {profile:?}: ended after {:?}", world.elapsed());
    }
}

/// What overflowed a queue comes back in portions, so that it arrives at last, congestion control or not.
#[test]
fn a_burst_far_beyond_the_queue_arrives() {
    let modes = [(1, CongestionMode::Aggressive), (2, CongestionMode::Conservative)];
    for (profile, (seed, mode)) in PROFILES.into_iter().flat_map(|profile| modes.map(|mode| (profile, mode)))
    {
        let (mut server, mut client) = configs(profile);
        (server.congestion, client.congestion) = (mode, mode);
        let line = LinkConfig::new()
            .latency(Duration::from_millis(2))
            .loss(Loss::Bursts { rate: 0.1, length: 3 })
            .rate(2_000_000)
            .queue_packets(25);
        let (mut world, [_, (node, id)]) = connect(seed, line, (server, client));
        let mut ledger = Ledger::new(DeliveryMode::ReliableOrdered, seed);
        for _ in 0..1000 {
            world.send(node, id, ledger.message(900), 0).expect("queued");
            ledger.on_sent(900);
        }
        world.poke(node);
        let deadline = world.now() + MINUTE;
        world.run_until(deadline, |_, _, event| {
            match event {
                Event::Message { data, .. } => ledger.on_delivered(&data).expect("law"),
                Event::Connected { .. } => {}
                other => panic!("{profile:?} {mode:?}: {other:?}"),
            }
            ledger.is_complete()
        });
        assert!(ledger.is_complete(), "{profile:?} {mode:?}: {} of {}", ledger.delivered(), ledger.sent());
    }
}

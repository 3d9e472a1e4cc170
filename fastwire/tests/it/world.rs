//! The core on simulated networks.

use std::time::Duration;

use fastwire::compress::{Algorithm, CompressionConfig};
use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, LinkConfig, Loss, NodeId, World};
use fastwire::{ClientConfig, ConnectionId, DisconnectReason, Event, Profile, SendError, ServerConfig};

use crate::duo::{PROFILES, configs};

const MODES: [DeliveryMode; 4] = [
    DeliveryMode::ReliableOrdered,
    DeliveryMode::ReliableUnordered,
    DeliveryMode::Unreliable,
    DeliveryMode::UnreliableSequenced,
];

struct Pair {
    world: World,
    server: NodeId,
    client: NodeId,
    at_server: ConnectionId,
    at_client: ConnectionId,
}

fn pair(seed: u64, line: LinkConfig, (server, client): (ServerConfig, ClientConfig)) -> Pair {
    let mut world = World::new(seed);
    let server = world.server(server).expect("server");
    let client = world.client(client).expect("client");
    world.line(client, server, line).expect("line");
    let at_client = world.connect(client, server).expect("connects");
    let deadline = world.now() + Duration::from_secs(5);
    let mut at_server = None;
    let mut connected = false;
    world.run_until(deadline, |_, node, event| {
        if let Event::Connected { connection } = event {
            if node == server {
                at_server = Some(connection);
            } else {
                connected = true;
            }
        }
        connected && at_server.is_some()
    });
    assert!(connected, "the client connects");
    Pair { world, server, client, at_server: at_server.expect("the server sees it"), at_client }
}

fn exchange(mut pair: Pair, messages: usize, len: impl Fn(usize) -> usize, within: Duration) -> Pair {
    let mut up: Vec<Ledger> = MODES.iter().map(|mode| Ledger::new(*mode, 1)).collect();
    let mut down: Vec<Ledger> = MODES.iter().map(|mode| Ledger::new(*mode, 2)).collect();
    let deadline = pair.world.now() + within;
    let mut next = 0;
    while pair.world.now() < deadline {
        if next < messages {
            for channel in 0..4u8 {
                for (node, id, ledgers) in
                    [(pair.client, pair.at_client, &mut up), (pair.server, pair.at_server, &mut down)]
                {
                    let ledger = &mut ledgers[usize::from(channel)];
                    let len = len(next);
                    match pair.world.send(node, id, ledger.message(len), channel) {
                        Ok(()) => ledger.on_sent(len),
                        Err(SendError::QueueFull(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            pair.world.poke(pair.client);
            pair.world.poke(pair.server);
            next += 1;
        }
        let pause = pair.world.now() + Duration::from_millis(5);
        while let Some((node, event)) = pair.world.next_event(pause.min(deadline)) {
            match event {
                Event::Message { channel, data, .. } => {
                    let ledgers = if node == pair.server { &mut up } else { &mut down };
                    ledgers[usize::from(channel)].on_delivered(&data).expect("law");
                }
                other => panic!("{:?}: {other:?}", pair.world.elapsed()),
            }
        }
        if next >= messages && up.iter().chain(&down).all(Ledger::is_complete) {
            break;
        }
    }
    for ledger in up.iter().chain(&down) {
        assert!(ledger.is_complete(), "{ledger:?}");
        assert!(ledger.delivered() > 0);
    }
    let report = pair.world.report();
    assert_eq!(report.over_memory, 0, "{report:?}");
    assert!(report.memory > 0.0 && report.memory <= 1.0, "{report:?}");
    pair
}

#[test]
fn all_four_modes_over_a_perfect_line() {
    for profile in PROFILES {
        let line = LinkConfig::new().latency(Duration::from_millis(10));
        let pair = pair(1, line, configs(profile));
        let mut pair = exchange(pair, 300, |i| i * 7 % 3000, Duration::from_secs(60));
        let stats =
            pair.world.endpoint(pair.client).and_then(|e| e.connection_stats(pair.at_client)).expect("stats");
        assert_eq!(stats.retransmits, 0, "{profile:?}: {stats:?}");
        assert_eq!(pair.world.report().nonces_reused, 0);
        assert_eq!(pair.world.report().oversized, 0);
    }
}

#[test]
fn all_four_modes_over_a_bad_line() {
    for (seed, profile) in (0..20).flat_map(|seed| PROFILES.map(|profile| (seed, profile))) {
        let line = LinkConfig::new()
            .latency(Duration::from_millis(20))
            .jitter(Duration::from_millis(10))
            .loss(Loss::Bernoulli { rate: 0.1 })
            .duplicate(0.05)
            .corrupt(0.02);
        let pair = pair(seed, line, configs(profile));
        let pair = exchange(pair, 200, |i| i * 7 % 3000, Duration::from_secs(120));
        assert_eq!(pair.world.report().nonces_reused, 0);
    }
}

#[test]
fn closing_delivers_what_is_queued_and_tells_the_peer() {
    PROFILES.into_iter().for_each(close_after_a_burst);
}

fn close_after_a_burst(profile: Profile) {
    let line = LinkConfig::new().latency(Duration::from_millis(10));
    let mut pair = pair(3, line, configs(profile));
    for number in 0..50u8 {
        pair.world.send(pair.client, pair.at_client, [number; 500], 0).expect("queued");
    }
    let now = pair.world.now();
    pair.world.endpoint(pair.client).expect("on").close(now, pair.at_client).expect("open");
    pair.world.poke(pair.client);
    let mut got = 0;
    let mut ends = Vec::new();
    let server = pair.server;
    pair.world.run_until(now + Duration::from_secs(5), |_, node, event| {
        match event {
            Event::Message { .. } => got += 1,
            Event::Disconnected { reason, .. } => ends.push((node == server, reason)),
            other => panic!("{other:?}"),
        }
        false
    });
    assert_eq!(got, 50);
    assert_eq!(ends, [(true, DisconnectReason::Graceful), (false, DisconnectReason::Graceful)]);
}

#[test]
fn a_channel_set_apart_is_never_compressed() {
    let text = b"the same words again and again ".repeat(30);
    let bytes_on = |profile: Profile, channel: u8| {
        let (mut server, mut client) = configs(profile);
        server.compression = CompressionConfig::new(Algorithm::Lz4);
        client.compression = server.compression.clone();
        client.uncompressed_channels = vec![1];
        let line = LinkConfig::new().latency(Duration::from_millis(10));
        let mut pair = pair(4, line, (server, client));
        let stats = |pair: &mut Pair| {
            let endpoint = pair.world.endpoint(pair.client).expect("on");
            endpoint.connection_stats(pair.at_client).expect("connected").bytes_sent
        };
        let before = stats(&mut pair);
        pair.world.send(pair.client, pair.at_client, &text, channel).expect("queued");
        pair.world.poke(pair.client);
        stats(&mut pair) - before
    };
    for profile in PROFILES {
        assert!(bytes_on(profile, 0) < 200);
        assert!(bytes_on(profile, 1) > text.len() as u64);
    }
}

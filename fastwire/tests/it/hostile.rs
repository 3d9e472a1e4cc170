//! Hostile input costs a counter: any bytes, from anywhere, and genuine datagrams with wounds.

use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, Rng};
use fastwire::transport::SocketId;
use fastwire::{ClientConfig, ConnectionId, Event, ServerConfig};
use proptest::prelude::*;

use crate::duo::{Duo, base_client, base_server, client_address, feed, server_address};
use crate::handshake::MS;

fn configs(batching: bool, migration: bool) -> (ServerConfig, ClientConfig) {
    let (mut server, mut client) = (base_server(), base_client());
    (server.send_batching, client.send_batching) = (batching, batching);
    (server.connection_migration, client.connection_migration) = (migration, migration);
    (server, client)
}

/// How the bytes begin: as nothing known, as a bare control packet, as a sealed packet, as a framed one.
#[derive(Debug, Clone, Copy)]
enum Start {
    Nothing,
    Bare,
    Nonce(u8),
    Token,
    TokenAndBatch,
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Nothing),
        Just(Start::Bare),
        (1u8..40).prop_map(Start::Nonce),
        Just(Start::Token),
        Just(Start::TokenAndBatch),
    ]
}

fn datagram(start: Start, rest: &[u8], token: Option<[u8; 8]>) -> Vec<u8> {
    let token = token.unwrap_or([7; 8]);
    let mut bytes = match start {
        Start::Nothing => Vec::new(),
        Start::Bare => vec![2, 0, 0, 0, 0, 0, 0, 0],
        Start::Nonce(nonce) => vec![nonce, 0, 0, 0, 0, 0, 0, 0],
        Start::Token => token.to_vec(),
        Start::TokenAndBatch => {
            let mut bytes = token.to_vec();
            bytes.push(1);
            bytes.extend_from_slice(&(rest.len() as u16).to_le_bytes());
            bytes
        }
    };
    bytes.extend_from_slice(rest);
    bytes
}

/// Both ends say something and hear it: whatever came before, the connection is as it was.
fn still_talks(duo: &mut Duo, at_server: ConnectionId, at_client: ConnectionId) {
    assert_eq!((&duo.server_events[..], &duo.client_events[..]), (&[][..], &[][..]));
    for channel in 0..4 {
        duo.client.send(duo.now, at_client, b"up", channel).expect("queued");
        duo.server.send(duo.now, at_server, b"down", channel).expect("queued");
    }
    duo.run(MS(100), |_, _| true);
    for (events, text) in [(&duo.server_events, b"up".as_slice()), (&duo.client_events, b"down")] {
        assert_eq!(events.len(), 4, "{events:?}");
        assert!(events.iter().all(|event| matches!(event, Event::Message { data, .. } if data == text)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_cost_a_counter_and_nothing_else(
        features in any::<(bool, bool)>(),
        input in proptest::collection::vec((start(), proptest::collection::vec(any::<u8>(), 0..1300), 0u8..3), 1..40),
    ) {
        let (server, client) = configs(features.0, features.1);
        let (mut duo, at_server, at_client) = Duo::connected(&server, &client);
        let token = duo.server.migration_token(at_server);
        let (home, before) = (duo.server.remote_addr(at_server), duo.server.stats());
        for (start, rest, from) in &input {
            let bytes = datagram(*start, rest, token);
            match from {
                0 => feed(&mut duo.server, duo.now, client_address(SocketId::PRIMARY), &bytes),
                1 => feed(&mut duo.server, duo.now, "10.66.6.6:666".parse().expect("address"), &bytes),
                _ => feed(&mut duo.client, duo.now, server_address(), &bytes),
            }
        }
        prop_assert_eq!(duo.server.remote_addr(at_server), home);
        prop_assert_eq!(duo.server.connection_count(), 1);
        let (stats, to_server) = (duo.server.stats(), input.iter().filter(|entry| entry.2 < 2).count() as u64);
        prop_assert_eq!(stats.datagrams_received - before.datagrams_received, to_server);
        prop_assert_eq!(stats.connections_established, 1);
        still_talks(&mut duo, at_server, at_client);
    }

    #[test]
    fn any_bytes_during_the_handshake_do_not_stop_it(
        input in proptest::collection::vec((start(), proptest::collection::vec(any::<u8>(), 0..200), any::<bool>()), 1..40),
    ) {
        let (server, client) = configs(false, false);
        let mut duo = Duo::new(&server, &client);
        let at_client = duo.connect();
        for (start, rest, to_client) in &input {
            let bytes = datagram(*start, rest, None);
            if *to_client {
                feed(&mut duo.client, duo.now, server_address(), &bytes);
            } else {
                feed(&mut duo.server, duo.now, client_address(SocketId::PRIMARY), &bytes);
            }
            duo.run(MS(3), |_, _| true);
        }
        duo.run(MS(1500), |_, _| true);
        prop_assert_eq!(&duo.client_events[..], &[Event::Connected { connection: at_client }][..]);
        let at_server = duo.server_id();
        duo.server_events.clear();
        duo.client_events.clear();
        still_talks(&mut duo, at_server, at_client);
    }
}

/// A copy of a datagram with a wound: a flipped bit, an end cut off, bytes added, two halves swapped.
fn wounded(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    let at = rng.next_u64() as usize % copy.len();
    match rng.next_u64() % 4 {
        0 => copy[at] ^= 1 << (rng.next_u64() % 8),
        1 => copy.truncate(at),
        2 => copy.extend_from_slice(&bytes[at..]),
        _ => copy.rotate_left(at.max(1)),
    }
    copy
}

#[test]
fn wounded_copies_of_every_datagram_change_nothing() {
    const MODES: [DeliveryMode; 4] = [
        DeliveryMode::ReliableOrdered,
        DeliveryMode::ReliableUnordered,
        DeliveryMode::Unreliable,
        DeliveryMode::UnreliableSequenced,
    ];
    for (seed, (batching, migration)) in
        (1u64..).zip([(false, false), (true, false), (false, true), (true, true)])
    {
        let (server, client) = configs(batching, migration);
        let (mut duo, at_server, at_client) = Duo::connected(&server, &client);
        let mut rng = Rng::new(seed);
        let mut ledgers: Vec<[Ledger; 2]> =
            MODES.map(|mode| [Ledger::new(mode, 1), Ledger::new(mode, 2)]).into_iter().collect();
        for step in 0..200usize {
            let len = step * 13 % 2500;
            for (channel, [up, down]) in (0u8..).zip(&mut ledgers) {
                duo.client.send(duo.now, at_client, up.message(len), channel).expect("queued");
                duo.server.send(duo.now, at_server, down.message(len), channel).expect("queued");
                up.on_sent(len);
                down.on_sent(len);
            }
            duo.run_changing(MS(40), |_, bytes, copies| {
                // Wounded copies before the true one and after it.
                for _ in 0..2 {
                    copies.push((MS(0), wounded(bytes, &mut rng)));
                }
                copies.push((MS(0), bytes.to_vec()));
                copies.push((MS(1), wounded(bytes, &mut rng)));
            });
        }
        duo.run(MS(2000), |_, _| true);
        for (side, events) in [&duo.server_events, &duo.client_events].into_iter().enumerate() {
            for event in events {
                let Event::Message { channel, data, .. } = event else { panic!("{event:?}") };
                ledgers[usize::from(*channel)][side].on_delivered(data).expect("law");
            }
        }
        for ledger in ledgers.iter().flatten() {
            assert!(ledger.is_complete() && ledger.delivered() == 200, "{ledger:?}");
        }
        let stats = duo.server.connection_stats(at_server).expect("connected");
        assert!(stats.forged > 100 && stats.migrations == 0, "{stats:?}");
    }
}

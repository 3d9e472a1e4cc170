//! Clients that move (PROTOCOL A10): followed on proof, and by nobody else's doing.

use std::time::Duration;

use fastwire::congestion::CongestionMode;
use fastwire::crypto::CipherSuite;
use fastwire::proto::RebindError;
use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, LinkConfig, NodeId, World};
use fastwire::transport::SocketId;
use fastwire::{ClientConfig, ConnectionId, Event, SendError, ServerConfig};

use crate::duo::{
    Core, Duo, Way, base_client, base_server, client_address, drain, events, feed, seeded_client,
    server_address,
};
use crate::handshake::MS;

fn migrating() -> (ServerConfig, ClientConfig) {
    let (mut server, mut client) = (base_server(), base_client());
    server.connection_migration = true;
    client.connection_migration = true;
    (server, client)
}

/// How a client's address changes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Move {
    /// The client opens another socket.
    Rebind,
    /// A NAT gives it another port, or another address; the client does not know.
    Port,
    Address,
}

struct Traveller {
    world: World,
    server: NodeId,
    client: NodeId,
    at_server: ConnectionId,
    at_client: ConnectionId,
}

fn traveller(seed: u64) -> Traveller {
    let (server_config, client_config) = migrating();
    let mut world = World::new(seed);
    let server = world.server(server_config).expect("server");
    let client = world.client(client_config).expect("client");
    world.line(client, server, LinkConfig::new().latency(MS(20))).expect("line");
    let at_client = world.connect(client, server).expect("connects");
    let deadline = world.now() + MS(500);
    world.run_until(deadline, |_, _, event| {
        assert!(matches!(event, Event::Connected { .. }), "{event:?}");
        false
    });
    let at_server = world.endpoint(server).and_then(|e| e.connections().next()).expect("connected");
    Traveller { world, server, client, at_server, at_client }
}

impl Traveller {
    fn go(&mut self, how: Move) {
        let (now, own) = (self.world.now(), self.world.newest_address(self.client));
        match how {
            Move::Rebind => {
                let endpoint = self.world.endpoint(self.client).expect("on");
                endpoint.rebind(now, self.at_client).expect("migration agreed");
                self.world.poke(self.client);
            }
            Move::Port => assert!(self.world.network().rebind_port(own).is_some()),
            Move::Address => assert!(self.world.network().rebind_address(own).is_some()),
        }
    }

    fn migrations(&mut self) -> u64 {
        let endpoint = self.world.endpoint(self.server).expect("on");
        endpoint.connection_stats(self.at_server).expect("still connected").migrations
    }
}

#[test]
fn a_transfer_goes_on_wherever_the_client_moves() {
    for how in [Move::Rebind, Move::Port, Move::Address] {
        for len in [50, 1100] {
            let mut on = traveller(7);
            let mut ledgers = [
                Ledger::new(DeliveryMode::ReliableOrdered, 1),
                Ledger::new(DeliveryMode::ReliableOrdered, 2),
            ];
            let mut moves = 0;
            for step in 0..600u32 {
                if step % 150 == 75 {
                    on.go(how);
                    moves += 1;
                }
                let ends = [(on.client, on.at_client), (on.server, on.at_server)];
                for ((node, id), ledger) in ends.into_iter().zip(&mut ledgers) {
                    match on.world.send(node, id, ledger.message(len), 0) {
                        Ok(()) => ledger.on_sent(len),
                        Err(SendError::QueueFull(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                    on.world.poke(node);
                }
                let deadline = on.world.now() + MS(16);
                let server = on.server;
                on.world.run_until(deadline, |_, node, event| {
                    let Event::Message { data, .. } = event else { panic!("{how:?}: {event:?}") };
                    ledgers[usize::from(node != server)].on_delivered(&data).expect("law");
                    false
                });
            }
            let (deadline, server) = (on.world.now() + MS(5000), on.server);
            on.world.run_until(deadline, |_, node, event| {
                let Event::Message { data, .. } = event else { panic!("{how:?}: {event:?}") };
                ledgers[usize::from(node != server)].on_delivered(&data).expect("law");
                false
            });
            assert!(ledgers.iter().all(Ledger::is_complete), "{how:?}, {len} bytes: {ledgers:?}");
            assert_eq!(on.migrations(), moves, "{how:?}");
            assert_eq!(on.world.report().nonces_reused, 0);
        }
    }
}

#[test]
fn a_silent_client_that_moves_stays_connected() {
    for how in [Move::Rebind, Move::Port, Move::Address] {
        let mut on = traveller(8);
        for _ in 0..3 {
            on.go(how);
            let deadline = on.world.now() + MS(12_000);
            on.world.run_until(deadline, |_, _, event| panic!("{how:?}: {event:?}"));
        }
        assert_eq!(on.migrations(), 3, "{how:?}");
    }
}

#[test]
fn a_server_that_sends_much_to_a_client_that_only_acknowledges_follows_it() {
    for how in [Move::Rebind, Move::Port, Move::Address] {
        let mut on = traveller(9);
        let mut ledger = Ledger::new(DeliveryMode::ReliableOrdered, 1);
        let mut stall = Duration::ZERO;
        let mut last = on.world.now();
        for step in 0..500u32 {
            if step == 100 {
                on.go(how);
            }
            while on.world.send(on.server, on.at_server, ledger.message(1100), 0).is_ok() {
                ledger.on_sent(1100);
                if ledger.sent() - ledger.delivered() > 50 {
                    break;
                }
            }
            on.world.poke(on.server);
            let deadline = on.world.now() + MS(10);
            on.world.run_until(deadline, |world, _, event| {
                let Event::Message { data, .. } = event else { panic!("{how:?}: {event:?}") };
                ledger.on_delivered(&data).expect("law");
                stall = stall.max(world.now() - last);
                last = world.now();
                false
            });
        }
        assert_eq!(on.migrations(), 1, "{how:?}");
        assert!(ledger.delivered() > 500, "{how:?}: {}", ledger.delivered());
        // A NAT that changed is noticed with the client's next heartbeat, a second later at most.
        assert!(stall < MS(1700), "{how:?}: stalled for {stall:?}");
    }
}

/// A connection at rest, and so many of the client's sealed datagrams that never arrived.
fn with_spare_datagrams(count: usize) -> (Duo, ConnectionId, Vec<Vec<u8>>) {
    let (mut server, mut client) = migrating();
    server.congestion = CongestionMode::Aggressive;
    client.congestion = CongestionMode::Aggressive;
    let (mut duo, at_server, at_client) = Duo::connected(&server, &client);
    let mut spare = Vec::new();
    for _ in 0..count {
        duo.client.send(duo.now, at_client, [1; 30], 2).expect("queued");
        spare.extend(drain(&mut duo.client, duo.now).into_iter().map(|datagram| datagram.bytes));
    }
    assert_eq!(spare.len(), count);
    (duo, at_server, spare)
}

fn elsewhere(number: u16) -> std::net::SocketAddr {
    ([10, 9, (number >> 8) as u8, number as u8], 4000).into()
}

fn remote(core: &Core, id: ConnectionId) -> std::net::SocketAddr {
    core.remote_addr(id).expect("still connected")
}

#[test]
fn an_address_that_has_not_proved_itself_gets_three_times_what_it_sent() {
    let (mut duo, at_server, spare) = with_spare_datagrams(20);
    for _ in 0..200 {
        duo.server.send(duo.now, at_server, [2; 1100], 0).expect("queued");
    }
    let mut received = 0;
    for datagram in &spare {
        duo.now += MS(100);
        duo.server.handle_timeout(duo.now);
        feed(&mut duo.server, duo.now, elsewhere(1), datagram);
        received += datagram.len();
        assert_eq!(remote(&duo.server, at_server), elsewhere(1), "it moved");
        let to_there = drain(&mut duo.server, duo.now);
        assert!(to_there.iter().all(|sent| sent.to == elsewhere(1)));
        let stats = duo.server.connection_stats(at_server).expect("connected");
        let sent: usize = to_there.iter().map(|sent| sent.bytes.len()).sum();
        assert!(stats.packets_in_flight > 0);
        received = received.checked_sub(sent.div_ceil(3)).expect("at most three times what came from there");
    }
}

#[test]
fn a_connection_moves_at_most_once_a_second() {
    let (mut duo, at_server, spare) = with_spare_datagrams(60);
    let start = duo.now;
    for (number, datagram) in spare.iter().enumerate() {
        duo.now += MS(50);
        duo.server.handle_timeout(duo.now);
        feed(&mut duo.server, duo.now, elsewhere(number as u16), datagram);
    }
    let moves = duo.server.connection_stats(at_server).expect("connected").migrations;
    assert_eq!(moves, (duo.now - start).as_secs());
}

#[test]
fn replays_old_packets_and_garbage_move_nothing() {
    let (mut duo, at_server, spare) = with_spare_datagrams(40);
    let home = remote(&duo.server, at_server);
    let (old, newest) = spare.split_at(39);
    feed(&mut duo.server, duo.now, home, &newest[0]);
    for number in 0..10_000u32 {
        let mut datagram = spare[number as usize % spare.len()].clone();
        match number % 4 {
            // A replay of the newest; packets that are fresh but older; the right token before garbage; a flipped bit.
            0 => datagram.clone_from(&newest[0]),
            1 => datagram.clone_from(&old[number as usize % old.len()]),
            2 => datagram[8..].iter_mut().for_each(|byte| *byte ^= number as u8 | 1),
            _ => {
                let bit = number as usize % (8 * datagram.len());
                datagram[bit / 8] ^= 1 << (bit % 8);
            }
        }
        feed(&mut duo.server, duo.now, elsewhere(number as u16), &datagram);
        assert_eq!(remote(&duo.server, at_server), home, "datagram {number}");
    }
    assert_eq!(duo.server.connection_stats(at_server).expect("connected").migrations, 0);
    assert_eq!(duo.server.stats().key_agreements, 1);
}

#[test]
fn the_address_of_another_connection_is_never_taken_over() {
    let (server, client) = migrating();
    let (mut duo, first, _) = Duo::connected(&server, &client);
    let neighbour = elsewhere(1);
    // A second client, at an address of its own.
    let mut other = seeded_client(&client, 9, duo.now);
    let at_other = other.connect(duo.now, &[server_address()]).expect("connects");
    for _ in 0..20 {
        duo.now += MS(10);
        for datagram in drain(&mut other, duo.now) {
            feed(&mut duo.server, duo.now, neighbour, &datagram.bytes);
        }
        for datagram in drain(&mut duo.server, duo.now) {
            if datagram.to == neighbour {
                feed(&mut other, duo.now, server_address(), &datagram.bytes);
            }
        }
        other.handle_timeout(duo.now);
    }
    assert_eq!(other.state(at_other), fastwire::ConnectionState::Connected);
    let second = duo.server.connections().find(|id| *id != first).expect("connected");
    let home = remote(&duo.server, first);
    let at_client = duo.client.connections().next().expect("connected");
    events(&mut duo.server);
    for _ in 0..50 {
        duo.now += MS(100);
        duo.client.send(duo.now, at_client, [1; 30], 2).expect("queued");
        for datagram in drain(&mut duo.client, duo.now) {
            feed(&mut duo.server, duo.now, neighbour, &datagram.bytes);
        }
    }
    assert_eq!((remote(&duo.server, first), remote(&duo.server, second)), (home, neighbour));
    let heard = events(&mut duo.server);
    assert!(heard.iter().all(|event| matches!(event, Event::Message { .. }) && event.connection() == first));
    assert_eq!(heard.len(), 50, "what it says is heard all the same");
}

#[test]
fn migration_needs_both_sides_and_a_cipher() {
    let (server, client) = migrating();
    let rebind = |server: &ServerConfig, client: &ClientConfig| {
        let (mut duo, _, at_client) = Duo::connected(server, client);
        duo.client.rebind(duo.now, at_client)
    };
    assert_eq!(rebind(&server, &client), Ok(()));
    assert_eq!(rebind(&base_server(), &client), Err(RebindError::MigrationOff));
    assert_eq!(rebind(&server, &base_client()), Err(RebindError::MigrationOff));
    let (mut bare_server, mut bare_client) = (server.clone(), client.clone());
    bare_server.cipher_preference = vec![CipherSuite::None, CipherSuite::Aes128Gcm];
    bare_client.cipher_preference = vec![CipherSuite::None, CipherSuite::Aes128Gcm];
    assert_eq!(rebind(&bare_server, &bare_client), Err(RebindError::MigrationOff));
    bare_server.cipher_preference.truncate(1);
    assert!(bare_server.validate().is_err(), "a configuration that could never migrate says so");
}

#[test]
fn every_socket_but_the_last_is_closed_after_moving() {
    let (server, client) = migrating();
    let (mut duo, _, at_client) = Duo::connected(&server, &client);
    for _ in 0..5 {
        duo.client.rebind(duo.now, at_client).expect("migration agreed");
        duo.run(MS(30), |_, _| true);
    }
    duo.run(MS(5000), |_, _| true);
    assert_eq!(duo.sockets.iter().map(|socket| socket.0).collect::<Vec<_>>(), [5]);
    duo.client.rebind(duo.now, at_client).expect("migration agreed");
    duo.client.close(duo.now, at_client).expect("open");
    duo.run(MS(5000), |_, _| true);
    assert_eq!(duo.sockets.len(), 1);
    let again = duo.connect();
    duo.run(MS(1000), |_, _| true);
    assert_eq!(duo.client.state(again), fastwire::ConnectionState::Connected);
    let last = duo.log.iter().rev().find(|entry| entry.1 == Way::ToServer).map(|entry| entry.2);
    assert_eq!(last, duo.sockets.first().copied());
    assert_ne!(client_address(SocketId(6)), client_address(SocketId::PRIMARY));
}

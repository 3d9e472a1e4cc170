//! Clients that move (PROTOCOL B6): followed on proof, and by nobody else's doing.

use std::time::Duration;

use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, LinkConfig, Loss, NodeId};
use fastwire::{ConnectionId, Event, Profile, SendError};

use super::{MS, Pair};
use crate::duo::{Duo, Way, configs, drain, feed};

/// How a client's address changes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Move {
    /// The client opens another socket.
    Rebind,
    /// A NAT gives it another port, or another address; the client does not know.
    Port,
    Address,
}

fn go(pair: &mut Pair, how: Move) {
    let (now, own) = (pair.world.now(), pair.world.newest_address(pair.client));
    match how {
        Move::Rebind => {
            pair.world.endpoint(pair.client).expect("on").rebind(now, pair.at_client).expect("connected");
            pair.world.poke(pair.client);
        }
        Move::Port => assert!(pair.world.network().rebind_port(own).is_some()),
        Move::Address => assert!(pair.world.network().rebind_address(own).is_some()),
    }
}

/// Sends `total` bytes from one node to another while the client moves every 1.5 s.
fn transfer(pair: &mut Pair, up: bool, total: usize, how: Move) -> Duration {
    let (from, id, to) = if up {
        (pair.client, pair.at_client, pair.server)
    } else {
        (pair.server, pair.at_server, pair.client)
    };
    let mut ledger = Ledger::new(DeliveryMode::ReliableOrdered, 5);
    let (mut sent, mut received) = (0, 0);
    let start = pair.world.now();
    let mut next_move = start + MS(1500);
    let (mut last_delivery, mut longest) = (start, Duration::ZERO);
    while received < total {
        assert!(pair.world.now() < start + Duration::from_secs(60), "{received} of {total} bytes arrived");
        while sent < total {
            match pair.world.send(from, id, ledger.message(1000), 0) {
                Ok(()) => {
                    ledger.on_sent(1000);
                    sent += 1000;
                }
                Err(SendError::QueueFull(_)) => break,
                Err(other) => panic!("{other}"),
            }
        }
        pair.world.poke(from);
        if pair.world.now() >= next_move {
            go(pair, how);
            next_move = pair.world.now() + MS(1500);
        }
        let pause = pair.world.now() + MS(10);
        while let Some((node, event)) = pair.world.next_event(pause) {
            let Event::Message { data, .. } = event else { panic!("{how:?}: {event:?}") };
            assert_eq!(node, to);
            ledger.on_delivered(&data).expect("in order, once, whole");
            received += data.len();
            longest = longest.max(pair.world.now() - last_delivery);
            last_delivery = pair.world.now();
        }
    }
    longest
}

#[test]
fn a_transfer_goes_on_wherever_the_client_moves() {
    for (seed, how) in [Move::Rebind, Move::Port, Move::Address].into_iter().enumerate() {
        for up in [true, false] {
            let line = LinkConfig::new().latency(MS(20)).rate(10_000_000).queue_packets(100);
            let mut pair = Pair::connect(seed as u64, line);
            let longest = transfer(&mut pair, up, 6_000_000, how);
            assert!(longest <= Duration::from_secs(1), "{how:?} up {up}: stalled for {longest:?}");
            let report = pair.world.report();
            assert!(report.amplification <= 3.0, "{how:?}: {report:?}");
            assert_eq!((report.nonces_reused, report.oversized), (0, 0));
            assert!(migrations(&mut pair) >= 2, "{how:?} up {up}");
        }
    }
}

/// Whatever gets lost while a move is being proved: the answer to a challenge is not waited for for ever, and a client that only
/// receives notices that nothing comes any more.
#[test]
fn a_lossy_line_does_not_stall_a_move() {
    for seed in 0..6 {
        let line = LinkConfig::new()
            .latency(MS(20))
            .rate(10_000_000)
            .queue_packets(100)
            .loss(Loss::Bernoulli { rate: 0.02 });
        let mut pair = Pair::connect(seed, line);
        let how = if seed % 2 == 0 { Move::Port } else { Move::Address };
        let longest = transfer(&mut pair, false, 3_000_000, how);
        assert!(longest <= Duration::from_secs(1), "seed {seed}, {how:?}: stalled for {longest:?}");
        assert!(pair.world.report().on_unproved_paths <= 3.0, "seed {seed}");
    }
}

fn migrations(pair: &mut Pair) -> u64 {
    let (server, id): (NodeId, ConnectionId) = (pair.server, pair.at_server);
    let endpoint = pair.world.endpoint(server).expect("on");
    endpoint.connection_stats(id).expect("still connected").migrations
}

/// Whatever the server has to say, and whatever it has to find out: an address that somebody showed it gets at most three
/// times what came from there.
#[test]
fn an_unproved_address_gets_no_more_than_three_times_what_it_sent() {
    let (mut server, mut client) = configs(Profile::Extended);
    // a path MTU to search for, whose probes are larger than all the allowance
    (server.mtu, client.mtu) = (9000, 9000);
    for (wait, port_only) in (0..40).flat_map(|step| [(MS(step * 10), true), (MS(step * 10), false)]) {
        let mut duo = Duo::new(&server, &client);
        let at_client = duo.connect();
        let small = |way: Way, bytes: &[u8]| way == Way::ToServer || bytes.len() <= 1200;
        duo.run(MS(200) + wait, small);
        duo.client.send(duo.now, at_client, b"from elsewhere", 1).expect("queued");
        let stolen = drain(&mut duo.client, duo.now);
        let new = if port_only { "10.0.0.2:60000" } else { "10.0.0.3:60000" }.parse().expect("address");
        let (mut received, mut sent) = (0, 0);
        for datagram in &stolen {
            received += datagram.bytes.len();
            feed(&mut duo.server, duo.now, new, &datagram.bytes);
        }
        for _ in 0..200 {
            let out = drain(&mut duo.server, duo.now);
            sent += out.iter().filter(|out| out.to == new).map(|out| out.bytes.len()).sum::<usize>();
            assert!(sent <= 3 * received, "{sent} bytes for {received}, {wait:?}, port only: {port_only}");
            let Some(next) = duo.server.poll_timeout().filter(|next| *next < duo.now + MS(1000)) else {
                break;
            };
            duo.now = duo.now.max(next) + MS(1);
            duo.server.handle_timeout(duo.now);
        }
        assert!(sent > 0, "it is asked whether it is there");
    }
}

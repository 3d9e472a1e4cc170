//! What a packet costs, and how many messages fit into one.

use std::sync::{Arc, Mutex};

use fastwire::sim::{LinkConfig, NodeId};

use super::{MS, Pair};

/// Lengths of the datagrams that leave for a node while `act` and the following 5 ms last.
fn datagrams(pair: &mut Pair, to: NodeId, act: impl FnOnce(&mut Pair)) -> Vec<usize> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let address = pair.world.address(to).ip();
    pair.world.watch(move |sighting| {
        if !sighting.arrived && sighting.to.ip() == address {
            log.lock().expect("one thread").push(sighting.bytes.len());
        }
    });
    act(pair);
    pair.world.poke(pair.client);
    pair.world.poke(pair.server);
    pair.run(MS(5));
    pair.world.watch(|_| {});
    seen.lock().expect("one thread").clone()
}

#[test]
fn twenty_messages_of_40_bytes_leave_in_one_datagram_either_way() {
    let mut pair = Pair::connect(1, LinkConfig::new().latency(MS(20)));
    pair.run(MS(300));
    for (from, to, id) in
        [(pair.client, pair.server, pair.at_client), (pair.server, pair.client, pair.at_server)]
    {
        for channel in 0..4 {
            let lengths = datagrams(&mut pair, to, |pair| {
                for number in 0..20u8 {
                    pair.world.send(from, id, [number; 40], channel).expect("queued");
                }
            });
            assert_eq!(lengths.len(), 1, "channel {channel}: {lengths:?}");
            pair.run(MS(300));
        }
    }
}

#[test]
fn a_packet_costs_28_bytes_up_and_20_down_and_a_lone_message_at_most_7_more() {
    let mut pair = Pair::connect(2, LinkConfig::new().latency(MS(20)));
    pair.run(MS(300));
    for (from, to, id, overhead) in
        [(pair.client, pair.server, pair.at_client, 28), (pair.server, pair.client, pair.at_server, 20)]
    {
        for channel in 0..4 {
            let lengths = datagrams(&mut pair, to, |pair| {
                pair.world.send(from, id, [7; 40], channel).expect("queued");
            });
            let [length] = lengths[..] else { panic!("{lengths:?}") };
            assert!(length > overhead + 40 && length <= overhead + 7 + 40, "channel {channel}: {length}");
            pair.run(MS(300));
        }
    }
}

#[test]
fn the_acknowledgements_of_a_client_that_only_receives_stay_short() {
    let mut pair = Pair::connect(3, LinkConfig::new().latency(MS(5)).rate(20_000_000).queue_packets(50));
    let longest = Arc::new(Mutex::new(0));
    let (log, address) = (Arc::clone(&longest), pair.world.address(pair.server).ip());
    pair.world.watch(move |sighting| {
        if !sighting.arrived && sighting.to.ip() == address {
            let mut longest = log.lock().expect("one thread");
            *longest = sighting.bytes.len().max(*longest);
        }
    });
    for number in 0..5000u32 {
        while pair.world.send(pair.server, pair.at_server, vec![number as u8; 1100], 0).is_err() {
            pair.run(MS(5));
        }
        pair.world.poke(pair.server);
    }
    pair.run(MS(1000));
    // id 8, number 4, tag 16, PING 1, ACK 8 and 4 bytes for each 32 packets: two round trips of up to 40 ms at 2000 packets a second
    let longest = *longest.lock().expect("one thread");
    assert!(longest <= 37 + 4 * 6, "{longest} bytes");
}

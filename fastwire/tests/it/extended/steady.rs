//! On a line without faults nothing is sent twice.

use std::time::Duration;

use fastwire::sim::LinkConfig;

use super::{MS, Pair};

/// Long enough that the path is known.
const WARM_UP: u32 = 60;
const MEASURED: u32 = 400;

/// However long it lasts, what is said costs the same.
#[test]
fn acknowledgements_stay_small() {
    for both_ways in [false, true] {
        let mut pair = Pair::connect(1, LinkConfig::new().latency(MS(25)));
        let mut costs = Vec::new();
        for _ in 0..6 {
            let before = bytes(&mut pair);
            play(&mut pair, 400, Duration::from_micros(16_667), both_ways);
            costs.push((bytes(&mut pair) - before) / 400);
        }
        // message numbers grow by a byte
        assert!(costs[1..].iter().all(|cost| *cost <= costs[0] + 2), "bytes a message: {costs:?}");
    }
}

fn bytes(pair: &mut Pair) -> u64 {
    let ends = [(pair.client, pair.at_client), (pair.server, pair.at_server)];
    let of = |(node, id)| {
        let stats = pair.world.endpoint(node).and_then(|endpoint| endpoint.connection_stats(id));
        stats.expect("alive").bytes_sent
    };
    ends.map(of).iter().sum()
}

fn play(pair: &mut Pair, count: u32, every: Duration, both_ways: bool) {
    let start = pair.world.now();
    for number in 0..count {
        pair.world.send(pair.client, pair.at_client, vec![7; 200], 0).expect("sent");
        pair.world.poke(pair.client);
        if both_ways {
            pair.world.send(pair.server, pair.at_server, vec![7; 50], 0).expect("sent");
            pair.world.poke(pair.server);
        }
        let next = start + every * (number + 1);
        let left = next.saturating_duration_since(pair.world.now());
        pair.run(left);
    }
}

/// Messages at a steady rate from the client; gives packets of both sides that were repeated, and probes, after the warm-up.
fn needless(one_way: Duration, every: Duration, both_ways: bool) -> u64 {
    let mut pair = Pair::connect(1, LinkConfig::new().latency(one_way));
    play(&mut pair, WARM_UP, every, both_ways);
    let before = repeats(&mut pair);
    play(&mut pair, MEASURED, every, both_ways);
    repeats(&mut pair) - before
}

fn repeats(pair: &mut Pair) -> u64 {
    let ends = [(pair.client, pair.at_client), (pair.server, pair.at_server)];
    let of = |(node, id)| {
        let stats =
            pair.world.endpoint(node).and_then(|endpoint| endpoint.connection_stats(id)).expect("alive");
        stats.retransmits + stats.probes
    };
    ends.map(of).iter().sum()
}

#[test]
fn without_loss_and_jitter_nothing_is_repeated_and_nothing_probed() {
    for one_way in [1, 10, 25, 100, 400].map(MS) {
        for every in [1_000, 5_000, 16_667, 33_333, 50_000, 100_000, 250_000].map(Duration::from_micros) {
            for both_ways in [false, true] {
                let count = needless(one_way, every, both_ways);
                assert_eq!(
                    count, 0,
                    "{one_way:?} each way, a message each {every:?}, both ways: {both_ways}"
                );
            }
        }
    }
}

//! The server's clock on the client (PROTOCOL B5, Clock): how far off it may be, and that nobody who did not ask for it sees it.

use std::time::Duration;

use fastwire::Profile;
use fastwire::sim::{LinkConfig, Loss, Reorder};

use super::{MS, Pair};
use crate::duo::configs;

#[test]
fn the_clients_idea_is_within_its_error_on_any_line() {
    for seed in 0..20 {
        let line = LinkConfig::new()
            .latency(MS(5 + 10 * seed))
            .jitter(MS(5))
            .loss(Loss::Bernoulli { rate: 0.1 })
            .reorder(0.1, Reorder::Delay(MS(50)));
        let (mut server, mut client) = configs(Profile::Extended);
        (server.clock_sync, client.clock_sync) = (true, true);
        let mut pair = Pair::with(seed, line, server, client);
        let mut known = 0;
        for _ in 0..60 {
            pair.run(MS(500));
            let now = pair.world.now();
            let (server, client) = (pair.server, pair.client);
            for node in [server, client] {
                pair.world.endpoint(node).expect("it runs").handle_timeout(now);
            }
            let truth = pair.world.endpoint(server).expect("server").server_time(pair.at_server);
            let shown = pair.world.endpoint(client).expect("client").server_time(pair.at_client);
            let truth = truth.expect("a server knows its time");
            assert_eq!(truth.error, Duration::ZERO);
            let Some(shown) = shown else { continue };
            known += 1;
            let off = shown.time.abs_diff(truth.time);
            assert!(off <= shown.error + MS(1), "seed {seed}: off by {off:?}: {shown:?}");
            // a round trip, what jitter adds to the best of some, and a little drift
            assert!(shown.error <= MS(5 + 10 * seed + 80), "seed {seed}: {shown:?}");
        }
        assert!(known > 50, "seed {seed}: known {known} times");
    }
}

#[test]
fn without_it_on_both_sides_nothing_is_told() {
    for (at_server, at_client) in [(false, false), (true, false), (false, true)] {
        let (mut server, mut client) = configs(Profile::Extended);
        (server.clock_sync, client.clock_sync) = (at_server, at_client);
        let mut pair = Pair::with(1, LinkConfig::new().latency(MS(10)), server, client);
        pair.run(MS(8000));
        assert_eq!(pair.world.endpoint(pair.client).expect("client").server_time(pair.at_client), None);
    }
}

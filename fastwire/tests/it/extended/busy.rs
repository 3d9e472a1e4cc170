//! Applications that hardly leave an endpoint alone.

use std::time::Duration;

use fastwire::Profile;
use fastwire::sim::{LinkConfig, Loss};

use super::{MS, Pair};
use crate::duo::configs;

/// Whoever offers messages more often than timers are fine-grained does not keep them from running out: what is lost is sent
/// again, however often the full queue refuses more.
#[test]
fn timers_run_out_while_messages_are_offered_all_the_time() {
    for seed in 1..=4 {
        let line = LinkConfig::new().latency(MS(10)).loss(Loss::Bursts { rate: 0.5, length: 4 });
        let (server, mut client) = configs(Profile::Extended);
        client.limits.send_queue_messages = 16;
        let mut pair = Pair::with(seed, line, server, client);
        let mut refused = 0u32;
        for round in 0..4 {
            let (end, mut delivered) = (pair.world.now() + Duration::from_secs(5), 0);
            while pair.world.now() < end {
                for _ in 0..4 {
                    let sent = pair.world.send(pair.client, pair.at_client, vec![7; 500], 0);
                    refused += u32::from(sent.is_err());
                }
                pair.world.poke(pair.client);
                delivered += pair.run(Duration::from_micros(300)).len();
            }
            assert!(delivered > 0, "seed {seed}: nothing came in round {round}");
        }
        assert!(refused > 100, "seed {seed}: the queue refused {refused}");
    }
}

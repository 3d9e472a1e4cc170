//! A client that slept: it goes on, or learns within two seconds what was not delivered.

use std::time::Duration;

use fastwire::sim::LinkConfig;
use fastwire::{DisconnectReason, Event};

use super::{MS, Pair};

/// Switches the client's clock off for `time`: nothing drives it, and nothing reaches it.
fn sleep(pair: &mut Pair, time: Duration) {
    pair.world.freeze(pair.client, time);
}

#[test]
fn after_a_nap_the_connection_goes_on() {
    let mut pair = Pair::connect(1, LinkConfig::new().latency(MS(20)));
    pair.run(MS(500));
    sleep(&mut pair, Duration::from_secs(5));
    pair.world.send(pair.client, pair.at_client, b"awake", 0).expect("queued");
    pair.world.poke(pair.client);
    let messages = pair.run(Duration::from_secs(2));
    assert_eq!(messages, [(pair.server, 0, b"awake".to_vec())]);
}

#[test]
fn after_minutes_the_client_learns_what_was_lost_and_connects_anew() {
    let mut pair = Pair::connect(2, LinkConfig::new().latency(MS(20)));
    pair.run(MS(500));
    sleep(&mut pair, Duration::from_secs(300));
    let woke = pair.world.now();
    for len in [10, 20, 30] {
        pair.world.send(pair.client, pair.at_client, vec![1; len], 0).expect("queued");
    }
    pair.world.poke(pair.client);
    let (mut lost, mut ended_after, mut connected) = (Vec::new(), None, false);
    let client = pair.client;
    let deadline = woke + Duration::from_secs(5);
    while let Some((node, event)) = pair.world.next_event(deadline) {
        match event {
            Event::Disconnected { reason, .. } if node == client => {
                assert_eq!(reason, DisconnectReason::Timeout);
                ended_after = Some(pair.world.now() - woke);
                lost = pair.world.undelivered(client).iter().map(|message| message.len).collect::<Vec<_>>();
            }
            Event::Connected { .. } if node == client => connected = true,
            _ => {}
        }
    }
    assert!(ended_after.is_some_and(|after| after <= Duration::from_secs(2)), "{ended_after:?}");
    assert_eq!(lost, [10, 20, 30]);
    assert!(connected);
}

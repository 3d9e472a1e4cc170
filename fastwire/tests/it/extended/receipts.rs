//! Receipts, expiry and limits of a connection's rate, in both profiles, until any kind of end.

use std::collections::HashMap;
use std::time::Duration;

use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, LinkConfig, Loss, NodeId, World};
use fastwire::{
    ChannelConfig, ConnectionId, Event, Fec, MessageFate, Profile, ReceiptId, Redundancy, SendError,
    SendOptions,
};
use proptest::prelude::*;

use super::MS;
use crate::duo::configs;

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Close,
    CloseNow,
    Vanish,
}

/// What the client sent on each channel, and what it was told of it.
struct Sender {
    ledgers: [Ledger; 4],
    asked: HashMap<ReceiptId, u8>,
    ended: bool,
}

impl Sender {
    fn take(&mut self, world: &mut World, client: NodeId, until: Duration) {
        let deadline = world.now() + until;
        while let Some((node, event)) = world.next_event(deadline) {
            match event {
                Event::Message { channel, data, .. } => {
                    self.ledgers[usize::from(channel)].on_delivered(&data).expect("delivered as sent");
                }
                Event::Receipt { receipt, .. } => {
                    assert!(node == client && !self.ended, "{receipt:?} after the end");
                    assert_eq!(self.asked.get(&receipt.id), Some(&receipt.channel));
                    self.ledgers[usize::from(receipt.channel)].on_receipt(&receipt).expect("a true receipt");
                }
                Event::Disconnected { .. } if node == client => self.ended = true,
                _ => {}
            }
        }
    }

    fn send(
        &mut self,
        world: &mut World,
        client: NodeId,
        id: ConnectionId,
        channel: u8,
        len: usize,
        expiry: u64,
    ) {
        let ledger = &mut self.ledgers[usize::from(channel)];
        let mut options = SendOptions::new().receipt();
        if expiry > 0 {
            options = options.expires_after(MS(expiry));
        }
        match world.send_with(client, id, ledger.message(len), channel, options) {
            Ok(receipt) => {
                ledger.on_sent(len);
                ledger.on_asked(receipt.expect("asked for"));
                self.asked.insert(receipt.expect("asked for"), channel);
            }
            Err(SendError::NoReceipt(of)) => assert!(of == channel && channel > 1),
            Err(SendError::QueueFull(_) | SendError::MessageTooLarge { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// In either profile, queued before or after the connection stands, over a bad line, below any rate, with parity, copies or
    /// newest only, while its client moves and sleeps and its server does not read, until any end: whoever asked has one receipt
    /// before `Disconnected`, and it is true.
    #[test]
    fn whoever_asks_is_told_once_and_the_truth(
        seed: u64, base in any::<bool>(), loss in 0.0f64..0.2, lens in prop::collection::vec(8usize..3000, 10..60),
        cap in prop::option::of(20_000u64..200_000), early in 0usize..5, expiry in 0u64..80,
        (parity, copies, newest) in any::<(bool, bool, bool)>(),
        (moves, naps, holds) in any::<(u64, u64, u64)>(),
        end in prop::sample::select(vec![End::Close, End::CloseNow, End::Vanish]),
    ) {
        let (mut server, mut client) = configs(if base { Profile::Base } else { Profile::Extended });
        client.max_send_rate = cap;
        (server.fec, client.fec) =
            (parity.then_some(Fec::percent(60)), parity.then_some(Fec::percent(60).over(2)));
        for channel in 0..4 {
            let mut config = ChannelConfig::default();
            config.redundancy = (copies && channel < 2).then_some(Redundancy::copies(1));
            config.latest_only = newest && channel == 3;
            client.channel_configs.insert(channel, config);
        }
        let mut world = World::new(seed);
        let server = world.server(server).unwrap();
        let client = world.client(client).unwrap();
        let line = LinkConfig::new().latency(MS(20)).jitter(MS(3)).loss(Loss::Bernoulli { rate: loss });
        world.line(client, server, line).unwrap();
        let id = world.connect(client, server).unwrap();
        let ledgers = DeliveryMode::ALL.map(|mode| Ledger::new(mode, seed));
        let mut sender = Sender { ledgers, asked: HashMap::new(), ended: false };
        for (index, &len) in lens.iter().enumerate() {
            if index == early {
                sender.take(&mut world, client, MS(1500));
            }
            for channel in 0..4 {
                let expiry = if index % 3 == 0 { expiry } else { 0 };
                sender.send(&mut world, client, id, channel, len, expiry);
            }
            world.poke(client);
            // on purpose, or by its NAT; asleep, so that nothing drives it; the server's application not reading
            let now = world.now();
            match (moves >> (index % 64) & 1, naps >> (index % 64) & 3, holds >> (index % 64) & 3) {
                (1, ..) if index % 9 == 4 && !base && moves % 5 > 2 => {
                    let _ = world.endpoint(client).unwrap().rebind(now, id);
                }
                (1, ..) if index % 9 == 4 && !base => {
                    let home = world.address(client);
                    world.network().rebind_port(home);
                }
                (_, 3, _) if index % 7 == 3 => world.freeze(client, MS(1500)),
                (.., held) if index % 5 == 2 => {
                    let server = world.endpoint(server).unwrap();
                    let ids: Vec<ConnectionId> = server.connections().collect();
                    ids.into_iter().for_each(|id| server.pause(id, held == 3));
                }
                _ => {}
            }
            sender.take(&mut world, client, MS(7));
        }
        let at_server: Vec<ConnectionId> = world.endpoint(server).unwrap().connections().collect();
        at_server.into_iter().for_each(|id| world.endpoint(server).unwrap().pause(id, false));
        let now = world.now();
        match end {
            End::Close => world.endpoint(client).unwrap().close(now, id).unwrap(),
            End::CloseNow => world.endpoint(client).unwrap().close_now(now, id).unwrap(),
            End::Vanish => world.switch_off(server),
        }
        world.poke(client);
        sender.take(&mut world, client, Duration::from_secs(30));
        prop_assert!(sender.ended && !sender.asked.is_empty());
        for ledger in &sender.ledgers {
            prop_assert_eq!(ledger.receipts_due(), 0);
            // what the server had taken and not told when it vanished is gone with it
            if end != End::Vanish {
                ledger.check_receipts().unwrap();
            }
        }
    }
}

#[test]
fn a_connection_sends_and_delivers_no_faster_than_it_may() {
    for profile in [Profile::Base, Profile::Extended] {
        let (mut server, mut client) = configs(profile);
        client.max_send_rate = Some(50_000);
        server.limits.receive_messages_per_second = Some(100);
        let mut world = World::new(7);
        let server = world.server(server).unwrap();
        let client = world.client(client).unwrap();
        world.line(client, server, LinkConfig::new().latency(MS(10))).unwrap();
        let id = world.connect(client, server).unwrap();
        world.run_until(world.now() + MS(1000), |_, _, _| false);
        let sent =
            |world: &mut World| world.endpoint(client).unwrap().connection_stats(id).unwrap().bytes_sent;
        let before = sent(&mut world);
        for _ in 0..400 {
            world.send(client, id, vec![1; 1000], 0).unwrap();
        }
        world.poke(client);
        let mut delivered = 0;
        let deadline = world.now() + Duration::from_secs(4);
        while let Some((_, event)) = world.next_event(deadline) {
            delivered += usize::from(matches!(event, Event::Message { .. }));
        }
        let bytes = sent(&mut world) - before;
        assert!((180_000..215_000).contains(&bytes), "{profile:?}: {bytes} bytes in 4 s");
        assert!((150..=220).contains(&delivered), "{profile:?}: {delivered}");
        // small ones are few bytes and many messages
        for _ in 0..2000 {
            let _ = world.send(client, id, vec![2; 20], 0);
        }
        world.poke(client);
        world.run_until(world.now() + Duration::from_secs(12), |_, _, _| false);
        let mut small = 0;
        let deadline = world.now() + Duration::from_secs(4);
        while let Some((_, event)) = world.next_event(deadline) {
            small += usize::from(matches!(event, Event::Message { .. }));
        }
        assert!((380..=430).contains(&small), "{profile:?}: {small} messages in 4 s");
    }
}

#[test]
fn an_acknowledged_receipt_tells_the_round_trip() {
    let mut pair = super::Pair::connect(1, LinkConfig::new().latency(MS(30)));
    let options = SendOptions::new().receipt();
    let now = pair.world.now();
    pair.world.send_with(pair.client, pair.at_client, "hello", 0, options).unwrap();
    pair.world.poke(pair.client);
    let receipt = loop {
        match pair.world.next_event(now + MS(500)).expect("a receipt").1 {
            Event::Receipt { receipt, .. } => break receipt,
            _ => continue,
        }
    };
    let MessageFate::Acknowledged { rtt } = receipt.fate else { panic!("{receipt:?}") };
    assert!(rtt >= MS(60) && rtt <= MS(90), "{rtt:?}");
}

//! How old a message is (PROTOCOL B5, Stamps): what its receiver is told, and that nobody else pays for it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fastwire::sim::{LinkConfig, Loss, NodeId, Reorder, World};
use fastwire::{
    ChannelConfig, ClientConfig, ConnectionId, Event, Fec, Profile, Redundancy, SendOptions, ServerConfig,
};
use proptest::prelude::*;

use super::{MS, Pair};
use crate::duo::configs;

fn clocks(profile: Profile) -> (ServerConfig, ClientConfig) {
    let (mut server, mut client) = configs(profile);
    (server.clock_sync, client.clock_sync) = (true, true);
    (server, client)
}

/// Two ends whose clocks began at different times.
struct Ends {
    world: World,
    nodes: [NodeId; 2],
    ids: [Option<ConnectionId>; 2],
    /// What was sent: when, and whether with a stamp for which the sender knew the time.
    sent: HashMap<u32, (Instant, bool)>,
    told: u32,
    untold: u32,
}

impl Ends {
    fn new(seed: u64, line: LinkConfig, configs: (ServerConfig, ClientConfig), apart: Duration) -> Self {
        let mut world = World::new(seed);
        let server = world.server(configs.0).expect("server");
        let later = world.now() + apart;
        assert_eq!(world.next_event(later), None);
        let client = world.client(configs.1).expect("client");
        world.line(client, server, line).expect("line");
        let at_client = world.connect(client, server).expect("connects");
        Self {
            world,
            nodes: [server, client],
            ids: [None, Some(at_client)],
            sent: HashMap::new(),
            told: 0,
            untold: 0,
        }
    }

    /// Sends from a side, at once; whatever is compressible is compressed.
    fn send(&mut self, side: usize, channel: u8, len: usize, stamped: bool) {
        let Some(id) = self.ids[side] else { return };
        let number = self.sent.len() as u32;
        let mut message = number.to_le_bytes().to_vec();
        message.resize(len.max(4), number as u8);
        let node = self.nodes[side];
        let now = self.world.now();
        let endpoint = self.world.endpoint(node).expect("it runs");
        endpoint.handle_timeout(now);
        let knows = endpoint.server_time(id).is_some() && endpoint.profile(id) == Some(Profile::Extended);
        let options = if stamped { SendOptions::new().stamped() } else { SendOptions::new() };
        if self.world.send_with(node, id, message, channel, options).is_ok() {
            self.sent.insert(number, (now, stamped && knows));
        }
        self.world.poke(node);
    }

    fn run(&mut self, time: Duration) {
        let deadline = self.world.now() + time;
        while let Some((node, event)) = self.world.next_event(deadline) {
            let (data, side) = match event {
                Event::Connected { connection } => {
                    self.ids[usize::from(node == self.nodes[1])] = Some(connection);
                    continue;
                }
                Event::Message { data, .. } => (data, usize::from(node == self.nodes[1])),
                other => panic!("{other:?}"),
            };
            let (number, rest) = data.split_first_chunk().expect("a number");
            let number = u32::from_le_bytes(*number);
            assert!(rest.iter().all(|byte| *byte == number as u8), "what was sent");
            let (at, stamped) = self.sent[&number];
            let (now, time) = (self.world.now(), self.world.message_time());
            let id = self.ids[side].expect("known");
            let shown = self.world.endpoint(node).expect("it runs").server_time(id);
            let Some(time) = time else {
                assert!(!stamped || shown.is_none(), "{number} has no time");
                self.untold += 1;
                continue;
            };
            assert!(stamped, "{number} has a time that nobody gave it");
            self.told += 1;
            let age = now - at;
            assert!(time.age.abs_diff(age) <= time.error, "{number} is {age:?} old: {time:?}");
            assert!(time.error >= shown.expect("known").error, "{time:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Both ways, on every channel, cut into pieces or not, over any line, with copies and parity, the clocks begun at any
    /// time: the age told is the true one within the error told, and only what was stamped has one.
    #[test]
    fn the_age_told_is_the_true_one_within_its_error(
        seed: u64, latency in 1u64..120, jitter in 0u64..30, loss in 0.0f64..0.2, reorder in 0.0f64..0.3,
        apart in 0u64..5000, parity in any::<bool>(), copies in any::<bool>(),
        sends in prop::collection::vec(
            (0usize..2, 0u8..4, prop_oneof![4 => 4usize..200, 1 => 200usize..8000], any::<bool>(), 0u64..60), 20..120,
        ),
    ) {
        let line = LinkConfig::new().latency(MS(latency)).jitter(MS(jitter.min(latency))).loss(Loss::Bernoulli { rate: loss })
            .reorder(reorder, Reorder::Delay(MS(60)));
        let (mut server, mut client) = clocks(Profile::Extended);
        if parity {
            (server.fec, client.fec) = (Some(Fec::percent(50)), Some(Fec::percent(50)));
        }
        if copies {
            let mut config = ChannelConfig::default();
            config.redundancy = Some(Redundancy::copies(1));
            server.channel_configs.insert(0, config);
            client.channel_configs.insert(0, config);
        }
        let mut ends = Ends::new(seed, line, (server, client), MS(apart));
        for (side, channel, len, stamped, pause) in sends {
            ends.send(side, channel, len, stamped);
            ends.run(MS(pause));
        }
        // once the time is known for certain
        ends.run(MS(4000));
        for index in 0..20 {
            ends.send(index % 2, 0, 40, true);
            ends.run(MS(20));
        }
        ends.run(MS(10_000));
        prop_assert!(ends.told >= 20, "{} told, {} not", ends.told, ends.untold);
    }
}

#[test]
fn a_stamp_costs_seven_bytes_and_nobody_else_any() {
    let bytes = |stamped: bool, clock: bool| {
        let (mut server, mut client) = configs(Profile::Extended);
        (server.clock_sync, client.clock_sync) = (clock, clock);
        let mut pair = Pair::with(7, LinkConfig::new().latency(MS(10)), server, client);
        pair.run(MS(2000));
        let before = sent(&mut pair);
        let options = if stamped { SendOptions::new().stamped() } else { SendOptions::new() };
        for number in 0..100u8 {
            pair.world.send_with(pair.client, pair.at_client, [number; 40], 3, options).expect("room");
            pair.world.poke(pair.client);
            assert_eq!(pair.run(MS(10)).len(), usize::from(number > 0), "one on its way");
        }
        sent(&mut pair) - before
    };
    let plain = bytes(false, true);
    assert_eq!(bytes(true, true), plain + 700);
    let without = bytes(false, false);
    assert_eq!(bytes(true, false), without, "no clock, no stamp");
    // one question about the time falls into that second at most
    assert!(plain - without <= 40, "{plain} and {without}");
}

fn sent(pair: &mut Pair) -> u64 {
    let client = pair.world.endpoint(pair.client).expect("it runs");
    client.connection_stats(pair.at_client).expect("connected").bytes_sent
}

#[test]
fn without_a_clock_that_both_know_messages_go_without() {
    for (profile, at_server, at_client) in
        [(Profile::Base, true, true), (Profile::Extended, true, false), (Profile::Extended, false, true)]
    {
        let (mut server, mut client) = configs(profile);
        (server.clock_sync, client.clock_sync) = (at_server, at_client);
        let mut ends = Ends::new(3, LinkConfig::new().latency(MS(10)), (server, client), MS(0));
        for number in 0..50 {
            ends.run(MS(50));
            ends.sent.values_mut().for_each(|sent| sent.1 = false);
            ends.send(number % 2, 0, 40, true);
        }
        ends.sent.values_mut().for_each(|sent| sent.1 = false);
        ends.run(MS(1000));
        assert_eq!((ends.told, ends.untold), (0, ends.sent.len() as u32), "{profile:?}");
    }
}

#[test]
fn what_waited_for_the_end_has_its_time_still() {
    let (server, client) = clocks(Profile::Extended);
    let mut pair = Pair::with(5, LinkConfig::new().latency(MS(10)), server, client);
    pair.run(MS(2000));
    let (server, at_server) = (pair.server, pair.at_server);
    pair.world.endpoint(server).expect("it runs").pause(at_server, true);
    for number in 0..6u8 {
        let options = SendOptions::new();
        let options = if number % 3 == 1 { options.stamped() } else { options };
        pair.world.send_with(pair.client, pair.at_client, [number; 30], 0, options).expect("room");
    }
    pair.world.poke(pair.client);
    assert!(pair.run(MS(300)).is_empty(), "paused");
    let now = pair.world.now();
    pair.world.endpoint(pair.client).expect("it runs").close(now, pair.at_client).expect("open");
    pair.world.poke(pair.client);
    let (deadline, mut told) = (now + MS(1000), Vec::new());
    while let Some((node, event)) = pair.world.next_event(deadline) {
        if let (true, Event::Message { data, .. }) = (node == server, event) {
            told.push((data[0], pair.world.message_time().is_some_and(|time| time.age >= MS(290))));
        }
        assert!(!told.is_empty() || pair.world.message_time().is_none());
    }
    assert_eq!(told, [(0, false), (1, true), (2, false), (3, false), (4, true), (5, false)]);
}

//! Two of our own peers over a bad link: everything arrives, once, in order, with few repeats.

use std::time::Duration;

use bytes::Bytes;
use fastwire_reliability::{ChannelLayout, Channels, ChannelsConfig, Peer, RecoveryProfile};

use crate::link::{LinkConfig, Rng};
use crate::world::{Window, World};

fn own(config: &ChannelsConfig) -> Channels {
    let mut channels = Channels::new(ChannelLayout::default(), config, RecoveryProfile::default());
    channels.set_peer(Peer::Own);
    channels
}

fn pair() -> [Channels; 2] {
    let config = ChannelsConfig::default();
    [own(&config), own(&config)]
}

const MS: Duration = Duration::from_millis(1);

/// A message that differs from all others of its channel.
fn message(number: u64, len: usize) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(len.max(8), number as u8);
    bytes.into()
}

#[test]
fn every_mode_keeps_its_law_over_bad_links() {
    for seed in 0..60u64 {
        let mut rng = Rng(seed);
        let delay = Duration::from_micros(500 + rng.below(150_000));
        let config = LinkConfig {
            delay,
            jitter: Duration::from_micros(rng.below(20_000)),
            loss: [0.0, 0.01, 0.05, 0.2, 0.3][rng.below(5) as usize],
            duplicate: [0.0, 0.05, 0.5][rng.below(3) as usize],
            reorder: [0.0, 0.05, 0.5][rng.below(3) as usize],
        };
        let mut world = World::new(pair(), [config.clone(), config.clone()], seed);
        for side in &mut world.sides {
            side.window = match rng.below(3) {
                0 => Window::Aimd(4.0),
                1 => Window::Fixed(64),
                _ => Window::Unlimited,
            };
            // a foreign peer forgets long messages: see the weak peer
            let foreign = rng.below(3) == 0;
            if foreign {
                side.channels.set_peer(Peer::Foreign);
            }
            for number in 0..400 {
                let len = match rng.below(20) {
                    0 if !foreign => rng.below(12_000),
                    1 if foreign => 0,
                    1 => 1155 + rng.below(3),
                    _ => rng.below(300),
                };
                side.backlog.push_back((rng.below(4) as u8, message(number, len as usize)));
            }
        }
        let done = world.run(Duration::from_secs(600), World::is_quiet);
        assert!(done, "seed {seed} {config:?} is stuck");
        world.check(true);
    }
}

#[test]
fn no_loss_no_repeats() {
    // 100 messages of 255 fragments, AIMD, RTT 50 ms
    let mut world = World::new(pair(), [LinkConfig::clean(25 * MS), LinkConfig::clean(25 * MS)], 1);
    world.sides[0].window = Window::Aimd(4.0);
    world.sides[0].backlog.extend((0..100).map(|n| (0, message(n, 255 * 1155))));
    assert!(world.run(Duration::from_secs(300), World::is_quiet));
    world.check(true);
    let stats = world.sides[0].channels.stats();
    assert_eq!(stats.retransmits, 0);

    // small messages as fast as they are taken
    let mut world = World::new(pair(), [LinkConfig::clean(25 * MS), LinkConfig::clean(25 * MS)], 1);
    world.sides[0].backlog.extend((0..100_000).map(|n| (0, message(n, 32))));
    assert!(world.run(Duration::from_secs(300), World::is_quiet));
    world.check(true);
    assert_eq!(world.sides[0].channels.stats().retransmits, 0);
    // 1024 sequences a round trip at least
    assert!(world.sides[0].packets == 100_000);
}

#[test]
fn five_percent_loss_costs_little_more_than_its_share() {
    let links = [LinkConfig::lossy(25 * MS, 0.05), LinkConfig::lossy(25 * MS, 0.05)];
    let mut world = World::new(pair(), links, 7);
    world.sides[0].window = Window::Fixed(256);
    world.sides[0].backlog.extend((0..40).map(|n| (0, message(n, 255 * 1155))));
    assert!(world.run(Duration::from_secs(300), World::is_quiet));
    world.check(true);
    let side = &world.sides[0];
    let stats = side.channels.stats();
    let share = stats.retransmits as f64 / side.copies.len() as f64;
    println!("repeats {share:.3}, spurious {}, time {:?}", stats.spurious, side.packets);
    assert!(share < 0.08, "{share}");
    let most = side.copies.values().map(|(_, count)| *count).max().unwrap();
    assert!(most <= 8, "{most}");
}

#[test]
fn a_sudden_longer_path_costs_few_spurious_copies() {
    let mut world = World::new(pair(), [LinkConfig::clean(10 * MS), LinkConfig::clean(10 * MS)], 3);
    world.sides[0].window = Window::Unlimited;
    let mut number = 0;
    let mut tick = |world: &mut World| {
        world.sides[0].backlog.push_back((0, message(number, 200)));
        number += 1;
        world.run(Duration::from_micros(16_667), |_| false);
    };
    for _ in 0..200 {
        tick(&mut world);
    }
    let step = world.now;
    for link in &mut world.links {
        link.config.delay = 750 * MS;
    }
    for _ in 0..400 {
        tick(&mut world);
    }
    assert!(world.run(Duration::from_secs(20), World::is_quiet));
    world.check(true);
    let (most, _) = world.sides[0].repeats(step - 3000 * MS, step + 10_000 * MS);
    let (_, mean) = world.sides[0].repeats(step, step + Duration::from_micros(16_667 * 100));
    println!("most {most}, mean {mean}");
    assert!(most <= 4 && mean <= 1.0, "most {most}, mean {mean}");
    assert!(world.sides[0].channels.rtt().smoothed() > 1000 * MS);
}

#[test]
fn traffic_is_back_soon_after_an_outage() {
    for (seed, window) in [(1, Window::Unlimited), (2, Window::Aimd(4.0)), (3, Window::Fixed(32))] {
        let mut world = World::new(pair(), [LinkConfig::clean(20 * MS), LinkConfig::clean(20 * MS)], seed);
        world.sides[0].window = window;
        let mut number = 0;
        let mut second = |world: &mut World| {
            for _ in 0..60 {
                world.sides[0].backlog.push_back((0, message(number, 200)));
                number += 1;
                world.run(Duration::from_micros(16_667), |_| false);
            }
        };
        second(&mut world);
        second(&mut world);
        for link in &mut world.links {
            link.config.loss = 1.0;
        }
        for _ in 0..8 {
            second(&mut world);
        }
        let before = world.sides[1].received[&0].len();
        for link in &mut world.links {
            link.config.loss = 0.0;
        }
        let back = world.now;
        assert!(world.run(Duration::from_secs(2), |world| world.sides[1].received[&0].len() > before));
        println!("{window:?}: back after {:?}", world.now - back);
        assert!(world.run(Duration::from_secs(4), World::is_quiet));
        println!("{window:?}: all after {:?}", world.now - back);
        world.check(true);
    }
}

#[test]
fn a_black_hole_every_seven_seconds_only_delays() {
    let mut world = World::new(pair(), [LinkConfig::clean(20 * MS), LinkConfig::clean(20 * MS)], 5);
    for side in &mut world.sides {
        side.window = Window::Aimd(4.0);
    }
    let mut number = 0;
    for second in 0..42 {
        for link in &mut world.links {
            link.config.loss = if second % 7 < 2 { 1.0 } else { 0.0 };
        }
        for _ in 0..30 {
            for side in &mut world.sides {
                side.backlog.push_back(((number % 4) as u8, message(number, 100)));
            }
            number += 1;
            world.run(Duration::from_micros(33_333), |_| false);
        }
    }
    assert!(world.run(Duration::from_secs(10), World::is_quiet));
    world.check(true);
}

#[test]
fn a_reader_that_pauses_slows_the_sender_and_loses_nothing() {
    for seed in 0..8 {
        let mut config = ChannelsConfig::default();
        config.receive_budget = Some(256 << 10);
        let links = [LinkConfig::lossy(10 * MS, 0.05), LinkConfig::lossy(10 * MS, 0.05)];
        let mut world = World::new([own(&config), own(&config)], links, seed);
        world.sides[0].window = Window::Fixed(64);
        world.sides[0]
            .backlog
            .extend((0..300).map(|n| ((n % 2) as u8, message(n, 10 + (n as usize * 997) % 9000))));
        for round in 0..200 {
            world.sides[1].paused = round % 4 != 0;
            world.run(500 * MS, |_| false);
            if world.is_quiet() {
                break;
            }
        }
        assert!(world.run(Duration::from_secs(30), World::is_quiet), "seed {seed}");
        world.sides[1].paused = false;
        let now = world.now;
        world.sides[1].drain(now);
        world.check(true);
        assert!(world.sides[1].most_held <= 256 << 10, "{}", world.sides[1].most_held);
    }
}

#[test]
fn a_small_budget_slows_and_never_stops() {
    for seed in 0..24 {
        let mut config = ChannelsConfig::default();
        let longest = if seed % 2 == 0 {
            // less than one message: patience beyond the default is needed
            config.receive_budget = Some(64 << 10);
            config.connection_timeout = Duration::from_secs(3600);
            100_000
        } else {
            config.receive_budget = Some(1 << 20);
            255 * 1155
        };
        let link = LinkConfig { reorder: 0.3, ..LinkConfig::lossy(10 * MS, 0.1) };
        let mut world = World::new([own(&config), own(&config)], [link.clone(), link], seed);
        world.sides[0].window = if seed % 4 == 3 { Window::Aimd(4.0) } else { Window::Fixed(32) };
        let mut rng = Rng(seed);
        let lens = (0..40).map(|n| (n, if rng.below(5) == 0 { longest } else { rng.below(5000) as usize }));
        let messages: Vec<_> = lens.map(|(n, len)| ((n % 2) as u8, message(n, len))).collect();
        world.sides[0].backlog.extend(messages);
        assert!(world.run(Duration::from_secs(3600), World::is_quiet), "seed {seed} is stuck");
        world.check(true);
        // the budget, and what the one channel that always advances may add: one message, its buffer doubled
        let most = world.sides[1].most_held;
        assert!(most <= config.receive_budget.unwrap() + 2 * longest, "{most}");
    }
}

//! What a sender asks for single messages and channels: receipts, expiry, priorities, weights, copies.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use fastwire_reliability::extended::{ExtendedChannels, Incoming};
use fastwire_reliability::{
    ChannelConfig, ChannelLayout, ChannelsConfig, DeliveryMode, FragmentFlags, MessageFate, Quota,
    RecoveryProfile, Redundancy, Terms,
};
use fastwire_wire::extended::{Frame, Frames};
use proptest::prelude::*;

use crate::extended::{World, config, index_of, message};
use crate::link::LinkConfig;

const MS: Duration = Duration::from_millis(1);

fn configured(channels: &[(u8, ChannelConfig)]) -> ChannelsConfig {
    let mut config = config(None);
    config.channels = channels.iter().copied().collect();
    config
}

fn channel(change: impl FnOnce(&mut ChannelConfig)) -> ChannelConfig {
    let mut config = ChannelConfig::default();
    change(&mut config);
    config
}

/// Fates of a world's first peer's messages, each of which may have one only.
fn receipts(world: &mut World, into: &mut BTreeMap<u64, MessageFate>) -> Result<(), TestCaseError> {
    while let Some(receipt) = world.peers[0].channels.poll_receipt() {
        prop_assert_eq!(receipt.name >> 32, u64::from(receipt.channel));
        prop_assert_eq!(
            into.insert(receipt.name, receipt.fate),
            None,
            "a second receipt of {}",
            receipt.name
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Over any link, with any channels, expiries and holds, until the end of a connection at any time: every message that
    /// asked has one receipt, an acknowledged one is there, an expired or superseded one never left, and what is reliable and
    /// neither expired nor cut short by the end is acknowledged.
    #[test]
    fn receipts_come_once_and_are_true(
        seed: u64, loss in 0.0f64..0.4, lens in prop::collection::vec(4usize..3000, 20..80),
        expiry in 1u32..60, patience in 0u32..3, held in any::<bool>(), latest_only in any::<bool>(), copies in 0u16..3,
    ) {
        let link = LinkConfig { loss, duplicate: 0.1, reorder: 0.05, delay: 20 * MS, jitter: 10 * MS };
        let config = configured(&[
            (0, channel(|c| c.redundancy = (copies > 0).then_some(Redundancy::copies(copies)))),
            (3, channel(|c| c.latest_only = latest_only)),
        ]);
        let quota = Quota { packets: 8, bytes: 1 << 20 };
        let mut world = World::new(&config, link, quota, seed);
        let (mut fates, mut asked) = (BTreeMap::new(), HashSet::new());
        for (index, &len) in lens.iter().enumerate() {
            let now = world.now;
            world.peers[0].channels.hold(held && index % 7 < 3);
            for channel in 0..4u8 {
                let name = u64::from(channel) << 32 | index as u64;
                let mut terms = Terms::NONE.receipt(name);
                if index % 3 == 0 {
                    terms = terms.expires_at(now + expiry * MS);
                }
                let data = message(channel, index as u32, len);
                world.peers[0].channels.push_with(channel, &data, FragmentFlags::EMPTY, &terms, now).unwrap();
                asked.insert(name);
            }
            world.run(now + 5 * MS);
            receipts(&mut world, &mut fates)?;
        }
        world.peers[0].channels.hold(false);
        let cut_short = patience < 2;
        world.run(world.now + if cut_short { patience * 50 * MS } else { Duration::from_secs(60) });
        world.peers[0].channels.settle_receipts();
        receipts(&mut world, &mut fates)?;
        prop_assert!(fates.keys().copied().collect::<HashSet<_>>() == asked, "one receipt each");
        let mut arrived = HashSet::new();
        let mut newest = 0;
        for incoming in &world.received[1] {
            let Incoming::Message(delivery) = incoming else { continue };
            let index = index_of(&delivery.data);
            arrived.insert(u64::from(delivery.channel) << 32 | u64::from(index));
            newest = if delivery.channel == 3 { newest.max(index) } else { newest };
        }
        for (&name, &fate) in &fates {
            let (channel, index) = ((name >> 32) as u8, name as u32);
            let there = arrived.contains(&name);
            match fate {
                // a reliable message may still wait there for one before it
                MessageFate::Acknowledged { rtt } => {
                    prop_assert!(rtt >= 20 * MS, "{:?}", rtt);
                    let waits = cut_short && channel == 0;
                    prop_assert!(there || waits || (channel == 3 && index < newest), "{channel}/{index} is not there");
                }
                MessageFate::Expired => prop_assert!(!there && index % 3 == 0),
                MessageFate::Superseded => prop_assert!(!there && channel == 3),
                MessageFate::Lost => prop_assert!(channel > 1 || cut_short, "{channel}/{index} is lost"),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

/// The channels of the DATA frames that leave, packet by packet, while `quota` lets them, and their bytes.
fn leaving(
    channels: &mut ExtendedChannels,
    packets: u64,
    room: usize,
    now: Instant,
) -> Vec<Vec<(u8, usize)>> {
    let mut all = Vec::new();
    for number in 0..packets {
        let mut out = vec![0; room];
        channels.begin_packet();
        let written = channels.write_frames(&mut out, Quota::UNLIMITED, now);
        channels.packet_sent(number, room, now);
        let Ok(frames) = Frames::new(&out[..written.len]) else { break };
        let data = frames.filter_map(|frame| match frame.unwrap() {
            Frame::Data(data) => Some((data.channel, data.payload.len())),
            _ => None,
        });
        all.push(data.collect());
    }
    all
}

fn full(config: &ChannelsConfig, layout: ChannelLayout, messages: usize, len: usize) -> ExtendedChannels {
    let mut channels = ExtendedChannels::new(layout.clone(), config, RecoveryProfile::default());
    channels.set_peer(channels.limits());
    for index in 0..messages {
        for channel in 0..layout.len() as u8 {
            let data = message(channel, index as u32, len);
            channels.push(channel, &data, FragmentFlags::EMPTY, Instant::now()).unwrap();
        }
    }
    channels
}

#[test]
fn a_higher_priority_leaves_first() {
    let config = configured(&[(1, channel(|c| c.priority = 5)), (2, channel(|c| c.priority = 9))]);
    let mut channels = full(&config, ChannelLayout::default(), 40, 100);
    let sent: Vec<u8> = leaving(&mut channels, 30, 1170, Instant::now())
        .into_iter()
        .flatten()
        .map(|(channel, _)| channel)
        .collect();
    let (first, rest) = sent.split_at(40);
    assert!(first.iter().all(|&channel| channel == 2), "{first:?}");
    // what fits into the rest of the last packet may be of lower priority
    let (second, rest) = rest.split_at(40);
    assert!(second.iter().filter(|&&channel| channel != 1).count() <= 1, "{second:?}");
    assert!(rest[..20].contains(&0) && rest[..20].contains(&3));
}

proptest! {
    /// Channels of one priority share by their weights, none starves, whatever the sizes of messages.
    #[test]
    fn weights_share_the_packets(weights in prop::array::uniform4(1u8..8), len in 4usize..3000) {
        let layout = (0..4).fold(ChannelLayout::builder(), |b, _| b.channel(DeliveryMode::ReliableUnordered, 0));
        let configs: Vec<_> = (0..4u8).zip(weights).map(|(i, weight)| (i, channel(|c| c.weight = weight))).collect();
        let count = 600_000 / len;
        let mut config = configured(&configs);
        (config.max_queued_messages, config.max_queued_bytes) = (1 << 20, 64 << 20);
        let mut channels = full(&config, layout.build().unwrap(), count.min(10_000), len);
        let mut bytes = [0f64; 4];
        let packets = if count > 10_000 { 30 } else { 200 };
        for (channel, len) in leaving(&mut channels, packets, 1170, Instant::now()).into_iter().flatten() {
            bytes[usize::from(channel)] += len as f64;
        }
        let (all, sum) = (bytes.iter().sum::<f64>(), weights.iter().map(|&w| f64::from(w)).sum::<f64>());
        for (bytes, weight) in bytes.into_iter().zip(weights) {
            let (has, should) = (bytes / all, f64::from(weight) / sum);
            prop_assert!((has - should).abs() < 0.1, "{} instead of {}", has, should);
        }
    }
}

#[test]
fn what_is_newest_alone_leaves_where_that_is_asked() {
    let config = configured(&[(3, channel(|c| c.latest_only = true))]);
    let mut channels = full(&config, ChannelLayout::default(), 9, 50);
    assert_eq!(channels.stats().superseded, 8);
    let sent: Vec<(u8, usize)> = leaving(&mut channels, 9, 1170, Instant::now())
        .into_iter()
        .flatten()
        .filter(|(c, _)| *c == 3)
        .collect();
    assert_eq!(sent.len(), 1);
}

#[test]
fn nothing_but_control_leaves_while_held() {
    let mut channels = full(&config(None), ChannelLayout::default(), 3, 50);
    channels.hold(true);
    assert!(!channels.has_outgoing(Quota::UNLIMITED));
    assert!(leaving(&mut channels, 1, 1170, Instant::now()).iter().all(Vec::is_empty));
    channels.hold(false);
    assert!(channels.has_outgoing(Quota::UNLIMITED));
}

/// One small message every 16 ms with a share of packets lost; delays in ms, sorted, and bytes sent by the sender.
fn delays(redundancy: Option<Redundancy>, loss: f64, seed: u64) -> (Vec<u128>, u64) {
    let config = configured(&[(0, channel(|c| c.redundancy = redundancy))]);
    let link = LinkConfig { loss, jitter: 5 * MS, ..LinkConfig::clean(25 * MS) };
    let mut world = World::new(&config, link, Quota { packets: 64, bytes: 1 << 20 }, seed);
    let (start, mut at, mut delays) = (world.now, Vec::new(), Vec::new());
    for index in 0..1500u32 {
        at.push(world.now);
        world.peers[0].channels.push(0, &message(0, index, 200), FragmentFlags::EMPTY, world.now).unwrap();
        let next = start + (index + 1) * 16 * MS;
        while world.now < next {
            world.run(world.now + MS);
            for incoming in world.received[1].drain(..) {
                let Incoming::Message(delivery) = incoming else { continue };
                delays.push((world.now - at[index_of(&delivery.data) as usize]).as_millis());
            }
        }
    }
    delays.sort_unstable();
    (delays, world.peers[0].sent_bytes)
}

#[test]
fn copies_bring_what_is_lost_in_time_for_few_bytes() {
    for seed in 0..4 {
        let (without, bytes) = delays(None, 0.05, seed);
        let (with, more) = delays(Some(Redundancy::copies(1)), 0.05, seed);
        let p95 = |delays: &[u128]| delays[delays.len() * 95 / 100];
        assert!(p95(&with) <= 47, "{} ms", p95(&with));
        assert!(p95(&without) >= 60, "{} ms", p95(&without));
        assert!(more < bytes * 21 / 10, "{more} for {bytes}");
    }
}

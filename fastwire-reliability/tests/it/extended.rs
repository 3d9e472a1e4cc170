//! The extended profile's channels between two of ours, over links that lose, reorder and duplicate: the laws of delivery.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_reliability::extended::{ExtendedChannels, Incoming};
use fastwire_reliability::{
    ChannelLayout, ChannelsConfig, DeliveryMode, FragmentFlags, PushError, Quota, RecoveryProfile,
};
use proptest::prelude::*;

use crate::link::{Link, LinkConfig, Rng};
use crate::peer::{Packet, Peer};

/// Two ends and the way between them, in virtual time.
pub(crate) struct World {
    pub(crate) peers: [Peer; 2],
    /// From 0 to 1, from 1 to 0.
    pub(crate) links: [Link<Packet>; 2],
    quota: Quota,
    pub(crate) now: Instant,
    pub(crate) received: [Vec<Incoming>; 2],
    /// Whether the applications take what arrives.
    pub(crate) poll: bool,
}

pub(crate) fn channels(config: &ChannelsConfig) -> ExtendedChannels {
    ExtendedChannels::new(ChannelLayout::default(), config, RecoveryProfile::default())
}

pub(crate) fn config(receive_budget: Option<usize>) -> ChannelsConfig {
    let mut config = ChannelsConfig::default();
    config.receive_budget = receive_budget;
    config
}

impl World {
    pub(crate) fn new(config: &ChannelsConfig, link: LinkConfig, quota: Quota, seed: u64) -> Self {
        let [mut a, mut b] = [0, 1].map(|side| Peer::new(channels(config), seed ^ side));
        Peer::introduce(&mut a, &mut b);
        let links = [2, 3].map(|side| Link::new(link.clone(), seed ^ side));
        let (now, received) = (Instant::now(), Default::default());
        Self { peers: [a, b], links, quota, now, received, poll: true }
    }

    fn flush(&mut self) {
        for (peer, link) in self.peers.iter_mut().zip(&mut self.links) {
            for packet in peer.flush(self.now, self.quota) {
                link.send(self.now, packet);
            }
        }
    }

    /// Runs until `until`, or until nothing happens any more.
    pub(crate) fn run(&mut self, until: Instant) {
        loop {
            self.flush();
            let arrivals = self.links.iter().filter_map(Link::next_arrival);
            let next = arrivals.chain(self.peers.iter().filter_map(Peer::wake_at)).min();
            let Some(next) = next.filter(|&next| next <= until) else { break };
            self.now = self.now.max(next);
            for (to, peer) in self.peers.iter_mut().enumerate() {
                let link = &mut self.links[1 - to];
                while let Some(packet) = link.poll(self.now) {
                    peer.receive(&packet, self.now).expect("two good peers");
                    if self.poll {
                        self.received[to].extend(peer.deliveries());
                    }
                }
                peer.tick(self.now);
            }
        }
        self.now = self.now.max(until);
    }
}

/// Message `index` of a channel: its index, then a pattern.
pub(crate) fn message(channel: u8, index: u32, len: usize) -> Bytes {
    let pattern = (0..len.saturating_sub(4)).map(|i| (i as u8).wrapping_mul(7) ^ channel ^ index as u8);
    index.to_le_bytes().into_iter().chain(pattern).collect()
}

pub(crate) fn index_of(data: &Bytes) -> u32 {
    u32::from_le_bytes(data[..4].try_into().expect("a tagged message"))
}

/// Checks what was received on a channel against what was sent on it, by its mode.
fn check(
    mode: DeliveryMode,
    channel: u8,
    lens: &[usize],
    received: &[Incoming],
) -> Result<usize, TestCaseError> {
    let mut indices = Vec::new();
    for incoming in received {
        let Incoming::Message(delivery) = incoming else { continue };
        if delivery.channel == channel {
            let index = index_of(&delivery.data);
            let expected = message(channel, index, lens[index as usize]);
            prop_assert!(delivery.data == expected, "message {} of channel {} is damaged", index, channel);
            indices.push(index);
        }
    }
    let all: Vec<u32> = (0..lens.len() as u32).collect();
    let mut sorted = indices.clone();
    sorted.sort_unstable();
    match mode {
        DeliveryMode::ReliableOrdered => prop_assert_eq!(&indices, &all, "each once, in order"),
        DeliveryMode::ReliableUnordered => prop_assert_eq!(&sorted, &all, "each once"),
        DeliveryMode::Unreliable => prop_assert!(sorted.is_sorted_by(|a, b| a < b), "none twice"),
        DeliveryMode::UnreliableSequenced => {
            prop_assert!(indices.is_sorted_by(|a, b| a < b), "only newer ones")
        }
    }
    Ok(indices.len())
}

#[derive(Debug, Clone)]
struct Plan {
    delay: u64,
    jitter: u64,
    loss: f64,
    duplicate: f64,
    reorder: f64,
    window: Option<u32>,
    budget: Option<usize>,
    seed: u64,
    messages: usize,
    largest: usize,
}

fn plan() -> impl Strategy<Value = Plan> {
    let path =
        (1u64..80, 0u64..10, prop_oneof![Just(0.0), 0.0..0.3], prop_oneof![Just(0.0), 0.0..0.1], 0.0..0.2);
    let limits = (prop::option::of(2u32..64), prop::option::of(40_000usize..400_000));
    let load = (1usize..120, prop_oneof![Just(40usize), Just(1500), Just(15_000)]);
    (path, limits, load, any::<u64>()).prop_map(
        |((delay, jitter, loss, duplicate, reorder), (window, budget), (messages, largest), seed)| Plan {
            delay,
            jitter,
            loss,
            duplicate,
            reorder,
            window,
            budget,
            seed,
            messages,
            largest,
        },
    )
}

impl Plan {
    fn world(&self) -> World {
        let config = config(self.budget);
        let millis = Duration::from_millis;
        let link = LinkConfig {
            delay: millis(self.delay),
            jitter: millis(self.jitter),
            loss: self.loss,
            duplicate: self.duplicate,
            reorder: self.reorder,
        };
        let quota = self.window.map_or(Quota::UNLIMITED, |packets| Quota { packets, bytes: u64::MAX });
        World::new(&config, link, quota, self.seed)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn every_mode_keeps_its_promise_both_ways(plan in plan()) {
        let mut world = plan.world();
        let mut rng = Rng(plan.seed);
        let mut lens: [BTreeMap<u8, Vec<usize>>; 2] = Default::default();
        let most = world.peers[0].channels.max_message();
        for _ in 0..plan.messages {
            for (side, lens) in lens.iter_mut().enumerate() {
                let channel = rng.below(4) as u8;
                let len = 4 + rng.below(plan.largest as u64) as usize;
                let of = lens.entry(channel).or_default();
                let body = message(channel, of.len() as u32, len.min(most));
                of.push(body.len());
                world.peers[side].channels.push(channel, &body, FragmentFlags::EMPTY, world.now).unwrap();
            }
            let pause = Duration::from_micros(rng.below(4000));
            world.run(world.now + pause);
        }
        world.run(world.now + Duration::from_secs(240));
        for side in 0..2 {
            let peer = &mut world.peers[side];
            prop_assert!(peer.channels.is_idle(), "all was acknowledged");
            prop_assert_eq!(peer.channels.in_flight(), (0, 0));
            prop_assert_eq!(peer.channels.undelivered().count(), 0);
            prop_assert_eq!((peer.channels.queued_bytes(), peer.channels.queued_messages()), (0, 0));
            prop_assert_eq!(peer.channels.stalled_since(), None);
            let stats = peer.channels.stats();
            prop_assert!(stats.spurious <= stats.retransmits, "{:?}", stats);
            prop_assert_eq!(peer.channels.memory_held(), 0);
            for (&channel, lens) in &lens[side] {
                let mode = DeliveryMode::ALL[usize::from(channel)];
                let count = check(mode, channel, lens, &world.received[1 - side])?;
                if plan.loss == 0.0 && plan.reorder == 0.0 && plan.jitter == 0 && mode == DeliveryMode::Unreliable {
                    prop_assert_eq!(count, lens.len());
                }
            }
        }
        if plan.loss == 0.0 && plan.jitter == 0 && plan.reorder == 0.0 {
            for peer in &world.peers {
                prop_assert_eq!(peer.channels.stats().retransmits, 0, "nothing was lost");
            }
        }
    }
}

#[test]
fn a_message_of_the_largest_size_passes_whatever_was_sent_before() {
    let config = config(Some(200 << 10));
    let link = LinkConfig::lossy(Duration::from_millis(5), 0.05);
    let mut world = World::new(&config, link, Quota { packets: 20, bytes: u64::MAX }, 7);
    let most = world.peers[0].channels.max_message();
    assert_eq!(most, (100 << 10) - 32, "no more than the credit covers");
    let mut lens = Vec::new();
    for index in 0..12 {
        let len = if index % 3 == 0 { 90 } else { most };
        lens.push(len);
        world.peers[0].channels.push(0, &message(0, index, len), FragmentFlags::EMPTY, world.now).unwrap();
        world.run(world.now + Duration::from_secs(3));
        assert_eq!(world.received[1].len(), lens.len(), "message {index} of {len} bytes is stuck");
    }
    check(DeliveryMode::ReliableOrdered, 0, &lens, &world.received[1]).unwrap();
    let too_long = Bytes::from(vec![0; most + 1]);
    let refused = world.peers[0].channels.push(0, &too_long, FragmentFlags::EMPTY, world.now);
    assert_eq!(refused, Err(PushError::MessageTooLarge { len: most + 1, max: most }));
}

#[test]
fn who_takes_nothing_is_sent_no_more_than_the_credit() {
    let budget = 256 << 10;
    let link = LinkConfig::lossy(Duration::from_millis(5), 0.02);
    let mut world = World::new(&config(Some(budget)), link, Quota { packets: 100, bytes: u64::MAX }, 3);
    world.poll = false;
    let lens = vec![1000; 2000];
    for (index, &len) in lens.iter().enumerate() {
        for channel in [0, 1] {
            let body = message(channel, index as u32, len);
            world.peers[0].channels.push(channel, &body, FragmentFlags::EMPTY, world.now).unwrap();
        }
    }
    world.run(world.now + Duration::from_secs(20));
    let held = world.peers[1].channels.memory_held();
    assert!(held > budget / 10 * 9 && held <= budget, "{held} of {budget}");
    assert!(!world.peers[0].channels.is_idle());
    // once they are taken, the rest comes
    world.poll = true;
    let taken = world.peers[1].deliveries();
    world.received[1].extend(taken);
    world.run(world.now + Duration::from_secs(200));
    assert!(world.peers[0].channels.is_idle());
    for channel in [0, 1] {
        let mode = DeliveryMode::ALL[usize::from(channel)];
        check(mode, channel, &lens, &world.received[1]).unwrap();
    }
}

#[test]
fn a_sequenced_message_that_had_to_wait_gives_way_to_a_newer_one() {
    let now = Instant::now();
    let mut peer = Peer::new(channels(&config(None)), 1);
    let limits = peer.channels.limits();
    peer.channels.set_peer(limits);
    let push = |peer: &mut Peer, index| {
        let body = message(3, index, 1000);
        peer.channels.push(3, &body, FragmentFlags::EMPTY, now).unwrap();
    };
    // three of one tick: all of them leave
    (0..3).for_each(|index| push(&mut peer, index));
    assert_eq!(peer.flush(now, Quota::UNLIMITED).len(), 3);
    (3..6).for_each(|index| push(&mut peer, index));
    // one packet leaves, then the way is barred
    peer.channels.begin_packet();
    let written = peer.channels.write_frames(&mut [0; 1170], Quota::UNLIMITED, now);
    assert!(written.full && written.ack_eliciting && !written.reliable);
    peer.channels.abandon_packet();
    push(&mut peer, 6);
    assert_eq!((peer.channels.queued_messages(), peer.channels.stats().superseded), (1, 2));
    assert_eq!(peer.flush(now, Quota::UNLIMITED).len(), 1);
}

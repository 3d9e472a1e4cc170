//! Our channels against a peer that has none of the hardening of PROTOCOL A6.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_reliability::{
    ChannelLayout, Channels, ChannelsConfig, GiveUp, Outcome, Quota, RecoveryProfile,
};
use fastwire_testkit::weak_peer::{Fragment, Packet, WeakPeer};
use fastwire_wire::{FragmentFlags, FragmentHeader};

use crate::link::{Link, LinkConfig};

const MS: Duration = Duration::from_millis(1);

struct Pair {
    now: Instant,
    ours: Channels,
    theirs: WeakPeer,
    links: [Link<Packet>; 2],
    /// AIMD window in packets; `None` = no gate.
    window: Option<f64>,
    outcome: Outcome,
    received: Vec<(u8, Bytes)>,
    delivered: Vec<(u8, Vec<u8>)>,
    widest: u32,
}

impl Pair {
    fn new(loss: f64, window: Option<f64>, profile: RecoveryProfile, seed: u64) -> Self {
        let now = Instant::now();
        let link = LinkConfig::lossy(10 * MS, loss);
        Self {
            now,
            ours: Channels::new(ChannelLayout::default(), &ChannelsConfig::default(), profile),
            theirs: WeakPeer::new(&[0, 1, 2, 3], now),
            links: [Link::new(link.clone(), seed), Link::new(link, seed ^ 0xabcd)],
            window,
            outcome: Outcome::default(),
            received: Vec::new(),
            delivered: Vec::new(),
            widest: 0,
        }
    }

    /// As after a handshake, which has measured the path.
    fn connected(mut self) -> Self {
        self.ours.seed_rtt(20 * MS, self.now);
        self
    }

    fn send(&mut self, packet: Packet) {
        self.links[0].send(self.now, packet);
    }

    fn step(&mut self) -> Result<(), GiveUp> {
        let now = self.now;
        while let Some(packet) = self.links[1].poll(now) {
            self.outcome.clear();
            self.ours
                .acknowledge(packet.channel, packet.ack, packet.ack_field, now, &mut self.outcome)
                .unwrap();
            self.control();
            if packet.sequence > 0 {
                let fragment = packet.fragment.map(|f| FragmentHeader {
                    id: f.id,
                    index: f.index,
                    count: f.count,
                    flags: FragmentFlags::from_bits(f.flags),
                });
                self.ours
                    .accept(packet.channel, packet.sequence, fragment, packet.payload.into(), now)
                    .unwrap();
            }
            self.received
                .extend(std::iter::from_fn(|| self.ours.poll_delivery()).map(|d| (d.channel, d.data)));
        }
        while let Some(packet) = self.links[0].poll(now) {
            self.theirs.receive(&packet, now);
        }
        self.outcome.clear();
        self.ours.handle_timeout(now, &mut self.outcome)?;
        self.control();
        self.transmit();
        self.theirs.tick(now);
        while let Some(packet) = self.theirs.poll_transmit() {
            self.links[1].send(now, packet);
        }
        self.delivered.extend(self.theirs.take_delivered());
        Ok(())
    }

    fn control(&mut self) {
        let Some(window) = &mut self.window else { return };
        *window += f64::from(self.outcome.newly_acked_packets) / *window;
        if self.outcome.congestion.is_some() {
            *window = (*window / 2.0).max(2.0);
        }
    }

    fn transmit(&mut self) {
        let now = self.now;
        loop {
            let (_, in_flight) = self.ours.in_flight();
            let room = self.window.map_or(u32::MAX, |window| (window as u32).saturating_sub(in_flight));
            let Some(out) = self.ours.next_outgoing(now, Quota { packets: room, bytes: u64::MAX }) else {
                break;
            };
            self.ours.mark_sent(&out, out.payload.len() + 40, now);
            self.widest = self.widest.max(self.ours.in_flight().1);
            let (ack, ack_field) = self.ours.header_ack(out.channel);
            let fragment = out.fragment.map(|f| Fragment {
                id: f.id,
                index: f.index,
                count: f.count,
                flags: f.flags.bits(),
            });
            let (channel, sequence) = (out.channel, out.sequence);
            self.send(Packet { channel, sequence, ack, ack_field, fragment, payload: out.payload.to_vec() });
        }
        while let Some((channel, ack, ack_field)) = self.ours.next_owed_ack(now) {
            self.send(Packet { channel, sequence: 0, ack, ack_field, fragment: None, payload: Vec::new() });
        }
    }

    /// Runs until `done` or for `limit`; how long it took.
    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Result<Option<Duration>, GiveUp> {
        let start = self.now;
        while self.now < start + limit {
            self.step()?;
            if done(self) {
                return Ok(Some(self.now - start));
            }
            let ours = [self.ours.next_timeout(), self.ours.ack_due(), Some(self.theirs.next_tick())];
            let next = ours.into_iter().chain(self.links.iter().map(Link::next_arrival)).flatten().min();
            self.now = next.unwrap_or(self.now).max(self.now + Duration::from_micros(10));
        }
        Ok(None)
    }
}

fn messages(count: usize, len: usize) -> Vec<Bytes> {
    (0..count).map(|n| (0..len).map(|i| (i * 7 + n) as u8).collect::<Vec<_>>().into()).collect()
}

/// Sends messages one after the other on the ordered channel; all must arrive, in order.
fn ours_to_theirs(loss: f64, len: usize, window: Option<f64>, profile: RecoveryProfile) {
    let (mut slowest, mut probes) = (Duration::ZERO, 0);
    for seed in 0..20 {
        let mut pair = Pair::new(loss, window, profile, seed).connected();
        let messages = messages(4, len);
        for message in &messages {
            pair.ours.push(0, message, FragmentFlags::EMPTY, pair.now).unwrap();
        }
        let done = |pair: &Pair| pair.delivered.len() == 4 && pair.ours.is_idle();
        let took = pair.run(Duration::from_secs(60), done);
        let took = took.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        slowest = slowest.max(took.unwrap_or_else(|| panic!("seed {seed} is stuck")));
        probes += pair.ours.stats().probes;
        assert!(
            pair.delivered
                .iter()
                .map(|(channel, data)| (*channel, &data[..]))
                .eq(messages.iter().map(|m| (0, &m[..])))
        );
        assert!(pair.widest <= 24 + 8, "{}", pair.widest);
    }
    println!("loss {loss}, 4 x {len} bytes, window {window:?}: slowest of 20 {slowest:?}, {probes} probes");
}

#[test]
fn large_messages_reach_a_weak_peer() {
    let aggressive = RecoveryProfile { fast_retransmit_threshold: 2, half_first_rto: true };
    for (window, profile) in [(Some(4.0), RecoveryProfile::default()), (None, aggressive)] {
        ours_to_theirs(0.0, 255 * 1155, window, profile);
        ours_to_theirs(0.05, 255 * 1155, window, profile);
        ours_to_theirs(0.20, 73_000, window, profile);
    }
}

#[test]
fn large_messages_of_a_weak_peer_arrive() {
    for (loss, len) in [(0.0, 255 * 1155), (0.05, 255 * 1155), (0.2, 73_000)] {
        for seed in 0..10 {
            let mut pair = Pair::new(loss, None, RecoveryProfile::default(), seed);
            let messages = messages(4, len);
            for message in &messages {
                pair.theirs.send(0, message);
            }
            let done = |pair: &Pair| pair.received.len() == 4 && pair.theirs.is_idle();
            let took = pair.run(Duration::from_secs(120), done).unwrap();
            assert!(took.is_some() && !pair.theirs.is_dead(), "loss {loss} seed {seed}");
            assert!(pair.received.iter().zip(&messages).all(|((_, data), message)| data == message));
        }
    }
}

#[test]
fn small_messages_both_ways_on_all_channels() {
    for seed in 0..20 {
        let loss = [0.0, 0.01, 0.05, 0.1][seed as usize % 4];
        let mut pair = Pair::new(loss, Some(4.0), RecoveryProfile::default(), seed);
        let mut sent = 0usize;
        for round in 0..300u32 {
            for channel in 0..4u8 {
                let body = [channel, (round >> 8) as u8, round as u8];
                pair.ours
                    .push(channel, &Bytes::copy_from_slice(&body), FragmentFlags::EMPTY, pair.now)
                    .unwrap();
                pair.theirs.send(channel, &body);
            }
            sent += 1;
            assert_eq!(pair.run(20 * MS, |_| false), Ok(None), "seed {seed}");
        }
        let done = |pair: &Pair| pair.ours.is_idle() && pair.theirs.is_idle();
        assert!(pair.run(Duration::from_secs(30), done).unwrap().is_some(), "seed {seed}");
        assert!(!pair.theirs.is_dead());
        for channel in [0u8, 1] {
            let of = |c: &u8| *c == channel;
            assert_eq!(pair.delivered.iter().filter(|(c, _)| of(c)).count(), sent, "seed {seed}");
            assert_eq!(pair.received.iter().filter(|(c, _)| of(c)).count(), sent, "seed {seed}");
        }
        let ordered: Vec<_> =
            pair.received.iter().filter(|(c, _)| *c == 0).map(|(_, data)| data.clone()).collect();
        assert!(ordered.is_sorted());
    }
}

#[test]
fn a_message_too_long_for_a_slow_path_is_refused_and_a_forgotten_one_ends_the_connection() {
    let mut pair = Pair::new(0.0, None, RecoveryProfile::default(), 1);
    pair.ours.seed_rtt(1000 * MS, pair.now);
    // 3 s x 24 packets a round trip of 1 s
    let max = 72 * 1155;
    let long = Bytes::from(vec![0; max + 1]);
    let refused = pair.ours.push(0, &long, FragmentFlags::EMPTY, pair.now);
    assert_eq!(refused, Err(fastwire_reliability::PushError::MessageTooLarge { len: max + 1, max }));
    assert_eq!(
        pair.ours.push(2, &long, FragmentFlags::EMPTY, pair.now),
        Ok(()),
        "unreliable ones leave at once"
    );
    assert_eq!(pair.ours.push(0, &long.slice(1..), FragmentFlags::EMPTY, pair.now), Ok(()));
    pair.links[0].config.loss = 1.0;
    let start = pair.now;
    let end = pair.run(Duration::from_secs(60), |_| false).unwrap_err();
    assert!(matches!(end, GiveUp::MessageForgotten { channel: 0, .. }), "{end}");
    assert!(pair.now - start < Duration::from_millis(5100), "{:?}", pair.now - start);
}

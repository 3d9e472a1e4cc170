//! Two peers over two links in virtual time, with the law of every delivery mode checked.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_reliability::{Channels, DeliveryMode, Outcome, PushError, Quota};
use fastwire_wire::{FragmentFlags, FragmentHeader};

use crate::link::{Link, LinkConfig};

#[derive(Debug, Clone)]
pub(crate) enum Packet {
    Data { channel: u8, sequence: u32, fragment: Option<FragmentHeader>, payload: Bytes, ack: (u32, u32) },
    Heartbeat { channel: u8, ack: (u32, u32) },
}

/// AIMD as in PROTOCOL A11, or a fixed window, in packets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Window {
    Unlimited,
    Fixed(u32),
    Aimd(f64),
}

pub(crate) struct Side {
    pub(crate) channels: Channels,
    pub(crate) window: Window,
    /// Messages the application wants to send, not yet taken.
    pub(crate) backlog: VecDeque<(u8, Bytes)>,
    /// Messages taken, by channel, in order.
    pub(crate) sent: BTreeMap<u8, Vec<Bytes>>,
    pub(crate) received: BTreeMap<u8, Vec<Bytes>>,
    /// Transmissions of each reliable packet: (first time, count).
    pub(crate) copies: HashMap<(u8, u32), (Instant, u32)>,
    pub(crate) last_delivery: Option<Instant>,
    pub(crate) heartbeats: u64,
    pub(crate) packets: u64,
    pub(crate) most_held: usize,
    pub(crate) congestion_events: u64,
    /// The application does not poll while this is set.
    pub(crate) paused: bool,
    outcome: Outcome,
}

impl Side {
    fn new(channels: Channels) -> Self {
        Self {
            channels,
            window: Window::Unlimited,
            backlog: VecDeque::new(),
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            copies: HashMap::new(),
            last_delivery: None,
            heartbeats: 0,
            packets: 0,
            most_held: 0,
            congestion_events: 0,
            paused: false,
            outcome: Outcome::default(),
        }
    }

    fn push(&mut self, now: Instant) {
        while let Some((channel, message)) = self.backlog.front() {
            match self.channels.push(*channel, message, FragmentFlags::EMPTY, now) {
                Ok(()) => {
                    self.sent.entry(*channel).or_default().push(message.clone());
                    self.backlog.pop_front();
                }
                Err(PushError::QueueFull { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn quota(&self) -> Quota {
        let (_, in_flight) = self.channels.in_flight();
        let window = match self.window {
            Window::Unlimited => return Quota::UNLIMITED,
            Window::Fixed(window) => window,
            Window::Aimd(window) => window as u32,
        };
        Quota { packets: window.saturating_sub(in_flight), bytes: u64::MAX }
    }

    fn transmit(&mut self, now: Instant, link: &mut Link<Packet>) {
        while let Some(out) = {
            let quota = self.quota();
            self.channels.next_outgoing(now, quota)
        } {
            let ack = self.channels.header_ack(out.channel);
            self.channels.mark_sent(&out, out.payload.len() + 40, now);
            self.packets += 1;
            if out.reliable {
                let copies = self.copies.entry((out.channel, out.sequence)).or_insert((now, 0));
                copies.1 += 1;
                assert_eq!(out.repeat, copies.1 > 1);
            } else {
                assert!(!out.repeat);
            }
            let (channel, sequence, fragment, payload) =
                (out.channel, out.sequence, out.fragment, out.payload);
            link.send(now, Packet::Data { channel, sequence, fragment, payload, ack });
            self.push(now);
        }
        while let Some((channel, ack, field)) = self.channels.next_owed_ack(now) {
            self.heartbeats += 1;
            link.send(now, Packet::Heartbeat { channel, ack: (ack, field) });
        }
    }

    fn receive(&mut self, now: Instant, packet: Packet) {
        let (channel, (ack, field)) = match &packet {
            Packet::Data { channel, ack, .. } | Packet::Heartbeat { channel, ack } => (*channel, *ack),
        };
        self.outcome.clear();
        self.channels.acknowledge(channel, ack, field, now, &mut self.outcome).unwrap();
        self.control();
        if let Packet::Data { sequence, fragment, payload, .. } = packet {
            self.channels.accept(channel, sequence, fragment, payload, now).unwrap();
        }
        self.most_held = self.most_held.max(self.channels.memory_held());
        self.drain(now);
    }

    pub(crate) fn drain(&mut self, now: Instant) {
        if self.paused {
            return;
        }
        while let Some(delivery) = self.channels.poll_delivery() {
            self.received.entry(delivery.channel).or_default().push(delivery.data);
            self.last_delivery = Some(now);
        }
    }

    fn control(&mut self) {
        self.congestion_events += u64::from(self.outcome.congestion.is_some());
        if let Window::Aimd(window) = &mut self.window {
            *window += f64::from(self.outcome.newly_acked_packets) / *window;
            if self.outcome.congestion.is_some() {
                *window = (*window / 2.0).max(2.0);
            }
        }
    }

    /// Most copies, and mean number of repeats, of packets first sent in the given time.
    pub(crate) fn repeats(&self, from: Instant, to: Instant) -> (u32, f64) {
        let counts =
            self.copies.values().filter(|(at, _)| (from..to).contains(at)).map(|(_, count)| count - 1);
        let counts: Vec<u32> = counts.collect();
        let mean = f64::from(counts.iter().sum::<u32>()) / counts.len().max(1) as f64;
        (counts.into_iter().max().unwrap_or(0), mean)
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) sides: [Side; 2],
    /// `links[i]` carries what side i sends.
    pub(crate) links: [Link<Packet>; 2],
}

impl World {
    pub(crate) fn new(channels: [Channels; 2], links: [LinkConfig; 2], seed: u64) -> Self {
        let [a, b] = links;
        Self {
            now: Instant::now(),
            sides: channels.map(Side::new),
            links: [Link::new(a, seed), Link::new(b, seed ^ 0x5555)],
        }
    }

    /// Runs until `done`, at most until `limit` has passed; true if done.
    pub(crate) fn run(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.step();
            if done(self) {
                return true;
            }
            let next = self.next_event();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = end;
                return false;
            };
            // a deadline in the past may not stop the clock
            self.now = next.max(self.now + Duration::from_micros(1));
        }
    }

    fn step(&mut self) {
        let now = self.now;
        for i in [0, 1] {
            while let Some(packet) = self.links[1 - i].poll(now) {
                self.sides[i].receive(now, packet);
            }
            let side = &mut self.sides[i];
            side.outcome.clear();
            side.channels.handle_timeout(now, &mut side.outcome).unwrap();
            side.control();
            side.push(now);
            side.drain(now);
            side.transmit(now, &mut self.links[i]);
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let sides =
            self.sides.iter().flat_map(|side| [side.channels.next_timeout(), side.channels.ack_due()]);
        sides.chain(self.links.iter().map(Link::next_arrival)).flatten().min()
    }

    /// Everything reliable has arrived and is acknowledged, nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.sides.iter().all(|side| side.backlog.is_empty() && side.channels.is_idle())
            && self.links.iter().all(|link| link.next_arrival().is_none())
    }

    /// The law of each channel's mode, in both directions. `complete`: reliable channels delivered everything.
    pub(crate) fn check(&self, complete: bool) {
        for i in [0, 1] {
            let (from, to) = (&self.sides[i], &self.sides[1 - i]);
            for (&channel, received) in &to.received {
                let mode = from.channels.layout().mode(channel).unwrap();
                law(mode, &from.sent[&channel], received, complete);
            }
            for (&channel, sent) in &from.sent {
                let reliable = from.channels.layout().mode(channel).unwrap().is_reliable();
                let count = to.received.get(&channel).map_or(0, Vec::len);
                assert!(
                    !(reliable && complete) || count == sent.len(),
                    "channel {channel}: {count} of {}",
                    sent.len()
                );
            }
        }
    }
}

/// Messages of one channel are all different, so that one can tell them apart.
fn law(mode: DeliveryMode, sent: &[Bytes], received: &[Bytes], complete: bool) {
    match mode {
        DeliveryMode::ReliableOrdered => {
            assert!(sent.starts_with(received), "an exact prefix");
            assert!(!complete || sent.len() == received.len());
        }
        _ => {
            let index: HashMap<&Bytes, usize> = sent.iter().enumerate().map(|(i, m)| (m, i)).collect();
            let order: Vec<usize> = received.iter().map(|m| *index.get(m).expect("bit-identical")).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), order.len(), "nothing twice");
            if mode == DeliveryMode::UnreliableSequenced {
                assert!(order.is_sorted(), "strictly rising");
            }
            assert!(!(complete && mode.is_reliable()) || order.len() == sent.len());
        }
    }
}

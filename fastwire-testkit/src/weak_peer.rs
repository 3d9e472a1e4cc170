//! A base-profile peer as other implementations of the protocol are: correct to the letter, without any of the
//! hardening of PROTOCOL A6. What works with it works with them.
//!
//! It acknowledges 32 sequences back and no further, never acknowledges a duplicate, drops what is more than 32 behind,
//! repeats without back-off, dies after 15 repeats, keys incomplete messages by their id alone and forgets them 5 s
//! after their first piece. It is written against the protocol's text only: plain fields, no FastWire crate.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// A fragment header's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// The message.
    pub id: u16,
    /// The piece's place.
    pub index: u8,
    /// The number of pieces.
    pub count: u8,
    /// Compression flags.
    pub flags: u8,
}

/// A packet's fields, as they are inside the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The channel.
    pub channel: u8,
    /// The sequence; 0: a HEARTBEAT, which only acknowledges.
    pub sequence: u32,
    /// Highest sequence received.
    pub ack: u32,
    /// Bit i: `ack - 1 - i` was received.
    pub ack_field: u32,
    /// Set if the payload is a piece.
    pub fragment: Option<Fragment>,
    /// The message or piece.
    pub payload: Vec<u8>,
}

/// Delivery modes by their id in PROTOCOL A6.
const ORDERED: u8 = 0;
const SEQUENCED: u8 = 3;

const TICK: Duration = Duration::from_millis(10);
const FORGET: Duration = Duration::from_secs(5);
const PIECE: usize = 1155;
const MAX_REPEATS: u32 = 15;

/// One endpoint of a connection, after the handshake.
#[derive(Debug)]
pub struct WeakPeer {
    channels: Vec<Channel>,
    /// By id alone, over all channels.
    partials: HashMap<u16, Partial>,
    next_id: u16,
    next_tick: Instant,
    rtt: Option<(f64, f64)>,
    /// AIMD congestion window, packets.
    window: f64,
    last_loss: Option<Instant>,
    outgoing: VecDeque<Packet>,
    delivered: Vec<(u8, Vec<u8>)>,
    dead: bool,
    forgotten: u32,
}

#[derive(Debug, Default)]
struct Channel {
    mode: u8,
    ack: u32,
    field: u32,
    ack_pending: bool,
    /// Ordered: next sequence to deliver, and what each early sequence stands for.
    next: u32,
    early: BTreeMap<u32, Option<Vec<u8>>>,
    newest: u32,
    sequence: u32,
    queue: VecDeque<(Option<Fragment>, Vec<u8>)>,
    pending: BTreeMap<u32, Pending>,
}

#[derive(Debug)]
struct Pending {
    fragment: Option<Fragment>,
    payload: Vec<u8>,
    at: Instant,
    repeats: u32,
}

#[derive(Debug)]
struct Partial {
    started: Instant,
    flags: u8,
    pieces: Vec<Option<Vec<u8>>>,
}

impl WeakPeer {
    /// A peer whose channels have the given modes (ids of PROTOCOL A6).
    pub fn new(modes: &[u8], now: Instant) -> Self {
        Self {
            channels: modes.iter().map(|&mode| Channel { mode, next: 1, ..Channel::default() }).collect(),
            partials: HashMap::new(),
            next_id: 0,
            next_tick: now + TICK,
            rtt: None,
            window: 4.0,
            last_loss: None,
            outgoing: VecDeque::new(),
            delivered: Vec::new(),
            dead: false,
            forgotten: 0,
        }
    }

    /// Queues a message.
    pub fn send(&mut self, channel: u8, message: &[u8]) {
        let queue = &mut self.channels[usize::from(channel)].queue;
        if message.len() <= PIECE {
            queue.push_back((None, message.to_vec()));
            return;
        }
        let count = u8::try_from(message.len().div_ceil(PIECE)).expect("at most 255 pieces");
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        for (index, piece) in (0..=u8::MAX).zip(message.chunks(PIECE)) {
            queue.push_back((Some(Fragment { id, index, count, flags: 0 }), piece.to_vec()));
        }
    }

    /// Takes a packet.
    pub fn receive(&mut self, packet: &Packet, now: Instant) {
        self.process_ack(packet, now);
        if packet.sequence == 0 || !self.channels[usize::from(packet.channel)].arrives(packet.sequence) {
            return;
        }
        let message = match packet.fragment {
            None => Some(packet.payload.clone()),
            Some(fragment) => self.reassemble(fragment, &packet.payload, now),
        };
        let channel = &mut self.channels[usize::from(packet.channel)];
        channel.ack_pending = true;
        match channel.mode {
            ORDERED => {
                channel.early.insert(packet.sequence, message);
                while let Some(slot) = channel.early.remove(&channel.next) {
                    channel.next += 1;
                    self.delivered.extend(slot.map(|message| (packet.channel, message)));
                }
            }
            SEQUENCED if packet.sequence <= channel.newest => {}
            _ => {
                if let Some(message) = message {
                    channel.newest = channel.newest.max(packet.sequence);
                    self.delivered.push((packet.channel, message));
                }
            }
        }
    }

    /// Does what is due at `now`: acknowledges, repeats, forgets. Acts every 10 ms only.
    pub fn tick(&mut self, now: Instant) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        let before = self.partials.len();
        self.partials.retain(|_, partial| now.saturating_duration_since(partial.started) < FORGET);
        self.forgotten += (before - self.partials.len()) as u32;
        self.repeat(now);
        self.send_new(now);
        for (index, channel) in (0u8..).zip(&mut self.channels) {
            if std::mem::take(&mut channel.ack_pending) {
                self.outgoing.push_back(Packet {
                    channel: index,
                    sequence: 0,
                    ack: channel.ack,
                    ack_field: channel.field,
                    fragment: None,
                    payload: Vec::new(),
                });
            }
        }
    }

    /// When to call [`tick`](Self::tick).
    pub fn next_tick(&self) -> Instant {
        self.next_tick
    }

    /// The next packet to put on the wire.
    pub fn poll_transmit(&mut self) -> Option<Packet> {
        self.outgoing.pop_front()
    }

    /// The messages delivered since the last call, as (channel, message).
    pub fn take_delivered(&mut self) -> Vec<(u8, Vec<u8>)> {
        std::mem::take(&mut self.delivered)
    }

    /// Whether it gave the connection up: a packet was repeated 15 times.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether all it sent was acknowledged.
    pub fn is_idle(&self) -> bool {
        self.channels.iter().all(|channel| channel.queue.is_empty() && channel.pending.is_empty())
    }

    /// Incomplete messages it forgot (null probes, which it takes for the beginning of a message, included).
    pub fn forgotten(&self) -> u32 {
        self.forgotten
    }

    fn process_ack(&mut self, packet: &Packet, now: Instant) {
        let channel = &mut self.channels[usize::from(packet.channel)];
        assert!(packet.ack <= channel.sequence, "acknowledged {} of {}", packet.ack, channel.sequence);
        if packet.ack == 0 {
            return;
        }
        let below =
            (0..32).filter(|i| packet.ack_field >> i & 1 == 1).map(|i| packet.ack.wrapping_sub(1 + i));
        for sequence in std::iter::once(packet.ack).chain(below) {
            let Some(pending) = channel.pending.remove(&sequence) else { continue };
            self.window += 1.0 / self.window;
            if pending.repeats == 0 {
                let sample = now.saturating_duration_since(pending.at).as_secs_f64();
                self.rtt = Some(self.rtt.map_or((sample, sample / 2.0), |(srtt, var)| {
                    (srtt + (sample - srtt) / 8.0, var + ((srtt - sample).abs() - var) / 4.0)
                }));
            }
        }
    }

    fn repeat(&mut self, now: Instant) {
        let rto = self.rtt.map_or(1.0, |(srtt, var)| (srtt + 4.0 * var).clamp(0.05, 5.0));
        for (index, channel) in (0u8..).zip(&mut self.channels) {
            let (ack, ack_field) = (channel.ack, channel.field);
            for (&sequence, pending) in &mut channel.pending {
                if now.saturating_duration_since(pending.at).as_secs_f64() < rto {
                    continue;
                }
                if pending.repeats == MAX_REPEATS {
                    self.dead = true;
                    return;
                }
                pending.repeats += 1;
                pending.at = now;
                if self.last_loss.is_none_or(|at| now.saturating_duration_since(at).as_secs_f64() > rto) {
                    self.last_loss = Some(now);
                    self.window = (self.window / 2.0).max(2.0);
                }
                let (fragment, payload) = (pending.fragment, pending.payload.clone());
                self.outgoing.push_back(Packet {
                    channel: index,
                    sequence,
                    ack,
                    ack_field,
                    fragment,
                    payload,
                });
            }
        }
    }

    fn send_new(&mut self, now: Instant) {
        let mut in_flight: usize = self.channels.iter().map(|channel| channel.pending.len()).sum();
        for (index, channel) in (0u8..).zip(&mut self.channels) {
            let reliable = channel.mode <= 1;
            while !channel.queue.is_empty() && (!reliable || in_flight < self.window as usize) {
                let Some((fragment, payload)) = channel.queue.pop_front() else { break };
                channel.sequence += 1;
                let sequence = channel.sequence;
                if reliable {
                    in_flight += 1;
                    let pending = Pending { fragment, payload: payload.clone(), at: now, repeats: 0 };
                    channel.pending.insert(sequence, pending);
                }
                let (ack, ack_field) = (channel.ack, channel.field);
                channel.ack_pending = false;
                self.outgoing.push_back(Packet {
                    channel: index,
                    sequence,
                    ack,
                    ack_field,
                    fragment,
                    payload,
                });
            }
        }
    }

    fn reassemble(&mut self, fragment: Fragment, piece: &[u8], now: Instant) -> Option<Vec<u8>> {
        let count = usize::from(fragment.count);
        let partial = self.partials.entry(fragment.id).or_insert_with(|| Partial {
            started: now,
            flags: fragment.flags,
            pieces: vec![None; count],
        });
        if partial.pieces.len() != count
            || partial.flags != fragment.flags
            || fragment.index >= fragment.count
        {
            return None;
        }
        partial.pieces[usize::from(fragment.index)] = Some(piece.to_vec());
        if partial.pieces.iter().any(Option::is_none) {
            return None;
        }
        let whole = self.partials.remove(&fragment.id)?;
        Some(whole.pieces.into_iter().flatten().flatten().collect())
    }
}

impl Channel {
    /// Whether a sequence is new and within reach, which moves the window.
    fn arrives(&mut self, sequence: u32) -> bool {
        if sequence > self.ack {
            let shift = sequence - self.ack;
            // the old highest becomes bit `shift - 1`, unless there was none
            let old = if self.ack == 0 { 0 } else { (u64::from(self.field) << 1) | 1 };
            self.field = if shift > 33 { 0 } else { (old << (shift - 1)) as u32 };
            self.ack = sequence;
            return true;
        }
        let back = self.ack - sequence;
        if back == 0 || back > 32 || self.field >> (back - 1) & 1 == 1 {
            return false;
        }
        self.field |= 1 << (back - 1);
        true
    }
}

//! One end of a connection of the extended profile without keys: packet numbers, ACK frames and nothing else.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_reliability::extended::{ControlFrame, ExtendedChannels, Fate, Incoming};
use fastwire_reliability::{Outcome, Quota, Violation};
use fastwire_wire::extended::{Ack, Frame, Frames};

use crate::link::Rng;

/// Bytes of a packet's frames.
pub(crate) const ROOM: usize = 1170;

/// A packet under way.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) number: u64,
    pub(crate) frames: Bytes,
}

pub(crate) struct Peer {
    pub(crate) channels: ExtendedChannels,
    pub(crate) outcome: Outcome,
    pub(crate) room: usize,
    next: u64,
    skip_at: u64,
    rng: Rng,
    /// Numbers opened, the newest 8192.
    opened: Vec<u64>,
    highest: Option<u64>,
    pub(crate) sent_packets: u64,
    pub(crate) sent_bytes: u64,
}

impl Peer {
    pub(crate) fn new(channels: ExtendedChannels, seed: u64) -> Self {
        let mut rng = Rng(seed);
        let skip_at = rng.below(768) + 256;
        let (opened, outcome) = (vec![u64::MAX; 8192], Outcome::default());
        Self {
            channels,
            outcome,
            room: ROOM,
            next: 0,
            skip_at,
            rng,
            opened,
            highest: None,
            sent_packets: 0,
            sent_bytes: 0,
        }
    }

    /// Tells each what the other takes.
    pub(crate) fn introduce(a: &mut Self, b: &mut Self) {
        a.channels.set_peer(b.channels.limits());
        b.channels.set_peer(a.channels.limits());
    }

    fn was_opened(&self, number: u64) -> bool {
        self.opened[number as usize % 8192] == number
    }

    /// Everything that wants to leave now.
    pub(crate) fn flush(&mut self, now: Instant, quota: Quota) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            let data = self.channels.has_outgoing(self.quota(quota)) || self.channels.wants_probe();
            let ack = self.channels.ack_due().is_some_and(|due| due <= now);
            if !data && !ack {
                return packets;
            }
            assert!(packets.len() < 200_000, "this never ends");
            packets.push(self.packet(now, quota));
        }
    }

    fn quota(&self, quota: Quota) -> Quota {
        let (bytes, packets) = self.channels.in_flight();
        if quota == Quota::UNLIMITED {
            return quota;
        }
        Quota { packets: quota.packets.saturating_sub(packets), bytes: quota.bytes.saturating_sub(bytes) }
    }

    fn packet(&mut self, now: Instant, quota: Quota) -> Packet {
        if self.next == self.skip_at {
            self.channels.skip_number(self.next);
            self.next += 1;
            self.skip_at = self.next + self.rng.below(768) + 256;
        }
        let quota = self.quota(quota);
        let (mut out, mut len) = (vec![0; self.room], 0);
        self.channels.begin_packet();
        let mut ping = self.channels.wants_probe();
        if self.channels.ack_due().is_some() {
            ping |= self.channels.wants_answer();
            len = self.write_ack(&mut out, now);
        }
        let written = self.channels.write_frames(&mut out[len..], quota, now);
        len += written.len;
        if written.len == 0 && ping {
            len += Frame::Ping.encode(&mut out[len..], false).unwrap();
            self.channels.carry_ping();
        }
        assert!(len > 0, "what is said to wait is written");
        out.truncate(len);
        let number = self.next;
        self.next += 1;
        self.sent_packets += 1;
        self.sent_bytes += len as u64;
        self.channels.packet_sent(number, len + 30, now);
        Packet { number, frames: out.into() }
    }

    fn write_ack(&mut self, out: &mut [u8], now: Instant) -> usize {
        let largest = self.highest.expect("something arrived");
        let reach = largest.saturating_sub(self.channels.ack_floor()).div_ceil(32).clamp(1, 32);
        let mut bitmap = vec![0u8; reach as usize * 4];
        for bit in 0..reach * 32 {
            if largest.checked_sub(1 + bit).is_some_and(|number| self.was_opened(number)) {
                bitmap[bit as usize / 8] |= 1 << (bit % 8);
            }
        }
        let delay = (self.channels.ack_delay(now).as_micros() / 500).min(255) as u8;
        let ack = Ack { largest: largest as u32, delay, recovered: 0, bitmap: &bitmap };
        self.channels.on_ack_written(largest);
        self.channels.carry_ack(largest);
        Frame::Ack(ack).encode(out, false).unwrap()
    }

    /// Takes a packet; a duplicate changes nothing.
    pub(crate) fn receive(&mut self, packet: &Packet, now: Instant) -> Result<(), Violation> {
        let number = packet.number;
        if self.was_opened(number) || self.highest.is_some_and(|highest| number + 8192 <= highest) {
            return Ok(());
        }
        self.opened[number as usize % 8192] = number;
        let in_order = self.highest.map_or(0, |highest| highest + 1) == number;
        self.highest = self.highest.max(Some(number));
        let (mut eliciting, mut reliable) = (false, false);
        for frame in Frames::new(&packet.frames).expect("not empty") {
            let frame = frame.expect("well formed");
            eliciting |= frame.is_ack_eliciting();
            match frame {
                Frame::Ack(ack) => {
                    let behind = (self.next as u32).wrapping_sub(ack.largest);
                    let largest = self.next.wrapping_sub(u64::from(behind));
                    let delay = Duration::from_micros(500) * u32::from(ack.delay);
                    self.channels.acknowledge(largest, delay, ack.bitmap, now, &mut self.outcome)?;
                }
                Frame::Data(data) => {
                    let layout = self.channels.layout();
                    reliable |= layout.mode(data.channel).is_some_and(|mode| mode.is_reliable());
                    self.channels.accept(&data, now, &mut Bytes::copy_from_slice)?;
                }
                Frame::Credit { channel, limit } => self.channels.on_credit(channel, limit)?,
                Frame::Fin { channel, message } => self.channels.on_fin(channel, message)?,
                Frame::Reset { channel, message, consumed, code } => {
                    self.channels.on_reset(channel, message, consumed, code)?;
                }
                Frame::Ping => reliable = true,
                other => panic!("nobody sends {other:?}"),
            }
            reliable |= matches!(frame, Frame::Credit { .. } | Frame::Fin { .. } | Frame::Reset { .. });
        }
        self.channels.on_packet(number, in_order, eliciting, reliable, now);
        Ok(())
    }

    pub(crate) fn deliveries(&mut self) -> Vec<Incoming> {
        std::iter::from_fn(|| self.channels.poll_delivery()).collect()
    }

    pub(crate) fn controls(&mut self) -> Vec<(ControlFrame, Fate)> {
        std::iter::from_fn(|| self.channels.poll_control()).collect()
    }

    /// When something is to be done without a packet arriving.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.channels.next_timeout().into_iter().chain(self.channels.ack_due()).min()
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        if self.channels.next_timeout().is_some_and(|at| at <= now) {
            self.channels.handle_timeout(now, &mut self.outcome).unwrap();
        }
    }
}

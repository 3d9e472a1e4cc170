//! What became of packets: acknowledgements in, lost frames back to their channels.

use std::time::{Duration, Instant};

use super::packet::{Carried, Packet};
use super::{ControlFrame, ExtendedChannels, Fate};
use crate::Violation;
use crate::recovery::Outcome;

/// How far below its largest number an ACK frame reaches: 32 words of bits.
pub(crate) const REACH: u64 = 1024;

impl ExtendedChannels {
    /// Takes an ACK frame. Bit i of `bitmap`, in byte order, stands for packet `largest − 1 − i`; `delay` is how long the
    /// peer says that `largest` waited.
    ///
    /// # Errors
    ///
    /// [`Violation::AckOfUnsentPacket`], [`Violation::AckOfSkipped`]: the connection ends.
    pub fn acknowledge(
        &mut self,
        largest: u64,
        delay: Duration,
        bitmap: &[u8],
        now: Instant,
        out: &mut Outcome,
    ) -> Result<(), Violation> {
        self.clock = Some(now);
        self.asks.at(now);
        let next = self.space.next();
        if largest >= next {
            return Err(Violation::AckOfUnsentPacket { number: largest, next });
        }
        for &number in &self.skipped {
            let named = match largest.checked_sub(number) {
                None => false,
                Some(0) => true,
                Some(distance) => {
                    let bit = distance - 1;
                    let byte = usize::try_from(bit / 8).ok().and_then(|byte| bitmap.get(byte));
                    byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
                }
            };
            if named {
                return Err(Violation::AckOfSkipped { number });
            }
        }
        let before = out.newly_acked_packets;
        self.recovery.on_packets_acked(&mut self.space, largest, bitmap, delay, now, out);
        if out.newly_acked_packets > before {
            self.probes = 0;
        }
        self.settle_fates();
        Ok(())
    }

    /// Packets from `first` on are in a group whose parity is yet to leave: none of them is taken for lost before
    /// [`parity_sent`](Self::parity_sent) (PROTOCOL B5, FEC).
    pub fn await_parity(&mut self, first: u64, now: Instant) {
        self.recovery.shield_from(&mut self.space, first, now);
    }

    /// The last packet of parity over `packets` left as `number`.
    pub fn parity_sent(&mut self, packets: std::ops::Range<u64>, number: u64, now: Instant) {
        self.recovery.shielded(&mut self.space, packets, number, now);
    }

    /// No parity follows for the group that [`await_parity`](Self::await_parity) announced last.
    pub fn no_parity(&mut self, now: Instant) {
        self.recovery.unshield(&mut self.space, now);
    }

    /// The peer made so many more lost packets of parity.
    pub fn on_recovered(&mut self, packets: u32, now: Instant, out: &mut Outcome) {
        self.recovery.on_recovered(packets, now, out);
    }

    /// The next control frame whose packet's fate became known.
    pub fn poll_control(&mut self) -> Option<(ControlFrame, Fate)> {
        self.controls.pop_front()
    }

    /// Everything in flight is sent again, without a congestion event: the path changed (PROTOCOL B6).
    pub fn requeue_in_flight(&mut self) {
        self.recovery.take_back(&mut self.space);
        self.settle_fates();
    }

    /// Hands what packets carried back to its owners.
    pub(super) fn settle_fates(&mut self) {
        if self.space.returned.is_empty() {
            return;
        }
        let mut returned = std::mem::take(&mut self.space.returned);
        for (fate, packet) in &mut returned {
            self.return_packet(*fate, packet);
        }
        returned.clear();
        self.space.returned = returned;
        for channel in self.blocked.union(self.unended).after(u8::MAX) {
            self.refile(channel);
        }
        if self.is_idle() && self.recovery.in_flight().1 == 0 {
            self.recovery.at_rest();
        }
    }

    pub(super) fn return_packet(&mut self, fate: Fate, packet: &mut Packet) {
        if let (Fate::Acked, Some(largest)) = (fate, packet.ack) {
            self.owed.acknowledged(largest);
        }
        for &frame in &packet.frames {
            self.return_frame(fate, frame);
        }
        if packet.frames.spilled() && self.building.packet.frames.capacity() < packet.frames.capacity() {
            // its memory serves again
            let mut frames = std::mem::take(&mut packet.frames);
            frames.clear();
            if self.building.packet.frames.is_empty() {
                self.building.packet.frames = frames;
            }
        }
    }

    fn return_frame(&mut self, fate: Fate, frame: Carried) {
        match frame {
            Carried::Control(control) => self.controls.push_back((control, fate)),
            Carried::Credit { channel, limit } => {
                let slot = self.channels.get(usize::from(channel));
                let newest = slot.and_then(|slot| slot.inbox.as_ref()).map(|inbox| inbox.announced());
                if fate == Fate::Lost && newest == Some(limit) {
                    self.crediting.insert(channel);
                }
            }
            Carried::End { channel, number, reset } => {
                let Some(outbox) = self.outbox_mut(channel) else { return };
                match fate {
                    Fate::Acked => outbox.end_acked(number, reset),
                    Fate::Lost => outbox.end_lost(number, reset),
                }
                self.refile(channel);
            }
            Carried::Asked(key) => self.asks.piece_fate(key, fate == Fate::Acked),
            Carried::Whole { channel, first, count } => {
                let slot = self.channels.get_mut(usize::from(channel));
                let Some(outbox) = slot.and_then(|slot| slot.outbox.as_deref_mut()) else { return };
                let finished = match fate {
                    Fate::Acked => outbox.whole_acked(first, count, &mut self.asks),
                    Fate::Lost => outbox.whole_lost(first, count),
                };
                let repeats = outbox.has_repeats();
                self.finished(channel, finished, repeats);
            }
            Carried::Piece { channel, number, start, end } => {
                let slot = self.channels.get_mut(usize::from(channel));
                let Some(outbox) = slot.and_then(|slot| slot.outbox.as_deref_mut()) else { return };
                let finished = match fate {
                    Fate::Acked => usize::from(outbox.piece_acked(number, start, end, &mut self.asks)),
                    Fate::Lost => outbox.piece_lost(number, start, end),
                };
                let repeats = outbox.has_repeats();
                self.finished(channel, finished, repeats);
            }
        }
    }

    /// So many messages of a channel were finished, or something of it was lost. `repeats`: something lost waits now.
    #[inline]
    fn finished(&mut self, channel: u8, count: usize, repeats: bool) {
        self.unfinished -= count;
        if repeats || !self.repeating.is_empty() {
            self.repeating.set(channel, repeats);
        }
    }
}

//! What a packet carries, and in which order: small control frames; then priority by priority what was lost and what is new,
//! the channels in turn; then copies of what may yet be lost.

use std::time::Instant;

use fastwire_wire::extended::Frame;

use super::packet::Carried;
use super::shares::Level;
use super::{ControlFrame, ExtendedChannels, Written};
use crate::Quota;
use crate::channel_set::ChannelSet;
use crate::space::Class;

/// No DATA frame is shorter.
const LEAST: usize = 4;

/// The packet's room as it fills.
struct Filling<'a> {
    room: &'a mut [u8],
    written: Written,
}

impl Filling<'_> {
    fn rest(&mut self) -> &mut [u8] {
        self.room.get_mut(self.written.len..).unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        self.room.len() - self.written.len < LEAST
    }

    fn wrote(&mut self, len: usize, reliable: bool) {
        self.written.len += len;
        self.written.ack_eliciting = true;
        self.written.reliable |= reliable;
    }
}

impl ExtendedChannels {
    /// Whether [`write_frames`](Self::write_frames) would write something now.
    pub fn has_outgoing(&self, quota: Quota) -> bool {
        let open = (quota.is_open() && !self.held) || self.probes > 0;
        (!self.unreliable.is_empty() && !self.held)
            || !self.crediting.is_empty()
            || !self.ending.is_empty()
            || (open && (!self.reliable.is_empty() || (!self.repeating.is_empty() && self.may_repeat(quota))))
    }

    /// Whether a probe timeout asks for a packet regardless of quota, with a PING if
    /// [`write_frames`](Self::write_frames) writes nothing.
    pub fn wants_probe(&self) -> bool {
        self.probes > 0
    }

    /// Begins a packet: nothing is in it yet.
    pub fn begin_packet(&mut self) {
        self.building.packet.frames.clear();
        self.building.packet.ack = None;
        self.building.ack_eliciting = false;
        self.building.reliable = false;
        self.building.mtu_probe = false;
        self.building.repeat = false;
    }

    /// The packet under construction carries this control frame, whose fate [`poll_control`](Self::poll_control) will tell.
    pub fn carry(&mut self, frame: ControlFrame) {
        self.building.ack_eliciting |= frame.is_ack_eliciting();
        self.building.reliable |= frame.is_ack_eliciting();
        self.building.mtu_probe |= matches!(frame, ControlFrame::MtuProbe(_));
        self.building.packet.frames.push(Carried::Control(frame));
    }

    /// The packet under construction carries an ACK frame with this largest number.
    pub fn carry_ack(&mut self, largest: u64) {
        self.building.packet.ack = Some(largest);
    }

    /// The packet under construction carries a frame that is acknowledged and never repeated: PING, PATH_*, FEC.
    pub fn carry_ping(&mut self) {
        self.building.ack_eliciting = true;
        self.building.reliable = true;
    }

    /// Writes DATA, CREDIT, FIN and RESET frames into `room`, what is left of the packet under construction. Nothing may
    /// follow if they fill it: the last one may be without a length.
    ///
    /// Reliable data needs `quota`, or a probe timeout; unreliable data always may go, and so may control frames.
    pub fn write_frames(&mut self, room: &mut [u8], quota: Quota, now: Instant) -> Written {
        self.clock = Some(now);
        self.fresh = self.fresh.max(room.len());
        let probe = self.probes > 0;
        let open = (quota.is_open() && !self.held) || probe;
        if !self.expiring.is_empty() {
            self.drop_expired(now);
        }
        let mut filling = Filling { room, written: Written::default() };
        if let Some(channel) = self.only_channel(open, probe) {
            self.write_only(&mut filling, channel, now);
            return self.filled(filling, open);
        }
        self.write_credit(&mut filling);
        self.write_ends(&mut filling);
        let repeats = open && (probe || self.may_repeat(quota));
        let mut index = 0;
        while let Some(level) = self.level(index) {
            if repeats && !self.repeating.is_empty() {
                self.write_repeats(&mut filling, level, now);
            }
            self.write_new(&mut filling, level, open, now);
            index += 1;
        }
        if open && !self.redundant.is_empty() && filling.written.len > 0 && !filling.written.full {
            self.write_redundant(&mut filling, now);
        }
        // of streams whose last message has just left
        self.write_ends(&mut filling);
        if probe && !filling.written.reliable {
            self.write_copies(&mut filling);
        }
        self.filled(filling, open)
    }

    /// Concludes what was written.
    #[inline]
    fn filled(&mut self, filling: Filling<'_>, open: bool) -> Written {
        if filling.written.full || !open {
            self.note_offered();
        }
        if filling.written.full && filling.written.len == 0 {
            // What waits does not fit even alone: this is how large packets are now.
            self.fresh = filling.room.len();
        }
        self.building.ack_eliciting |= filling.written.ack_eliciting;
        self.building.reliable |= filling.written.reliable;
        filling.written
    }

    /// Notes that the packet under construction was sealed as `number` and leaves in a datagram of `bytes` bytes. Before
    /// the socket sees it: what the socket refuses is a lost packet.
    ///
    /// For every sealed packet, one with only ACK and PAD too (it takes no memory and is not in flight): so this knows
    /// which numbers the peer may acknowledge.
    pub fn packet_sent(&mut self, number: u64, bytes: usize, now: Instant) {
        self.clock = Some(now);
        if number < self.space.next() {
            debug_assert!(false, "packet numbers rise");
            return;
        }
        if !self.building.ack_eliciting {
            self.space.pass_to(number + 1, now);
            return;
        }
        if self.building.packet.ack.is_some() {
            self.owed.asked();
        }
        let class = self.building.class();
        if class != Class::Unreliable {
            self.probes = self.probes.saturating_sub(1);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let idle = self.building.packet.frames.is_empty();
        let leaving = crate::recovery::Leaving { number, bytes, class, repeat: self.building.repeat, idle };
        let packet = std::mem::take(&mut self.building.packet);
        self.recovery.on_packet_sent(&mut self.space, leaving, packet, now);
        self.building.ack_eliciting = false;
    }

    /// The packet under construction was not sealed: what it carries goes back.
    pub fn abandon_packet(&mut self) {
        let mut packet = std::mem::take(&mut self.building.packet);
        packet.ack = None;
        self.return_packet(super::Fate::Lost, &mut packet);
        self.begin_packet();
    }

    /// `number` is left out on purpose: an acknowledgement that names it is a [`Violation`](crate::Violation).
    pub fn skip_number(&mut self, number: u64) {
        if let Some(now) = self.clock.or_else(|| self.recovery.stalled_since()) {
            self.space.pass_to(number.saturating_add(1), now);
        } else {
            self.space.begin_at(number.saturating_add(1));
        }
        self.skipped.push_back(number);
        while self.skipped.front().is_some_and(|&oldest| number.saturating_sub(oldest) > super::fates::REACH)
        {
            self.skipped.pop_front();
        }
    }

    /// The channels of one priority, the highest is 0.
    fn level(&self, index: usize) -> Option<Level> {
        match &self.shares {
            None => (index == 0).then_some(Level { channels: ChannelSet::ALL, weighted: false }),
            Some(shares) => shares.level(index),
        }
    }

    fn may_repeat(&self, quota: Quota) -> bool {
        !quota.is_unlimited() || self.recovery.may_repeat()
    }

    fn write_credit(&mut self, filling: &mut Filling<'_>) {
        if self.crediting.is_empty() {
            return;
        }
        for channel in self.crediting.after(self.turn) {
            let slot = self.channels.get_mut(usize::from(channel));
            let Some(inbox) = slot.and_then(|slot| slot.inbox.as_mut()) else { continue };
            let limit = inbox.limit();
            let Ok(len) = Frame::Credit { channel, limit }.encode(filling.rest(), false) else {
                filling.written.full = true;
                break;
            };
            inbox.announce();
            self.crediting.remove(channel);
            self.building.packet.frames.push(Carried::Credit { channel, limit });
            filling.wrote(len, true);
        }
    }

    fn write_ends(&mut self, filling: &mut Filling<'_>) {
        if self.ending.is_empty() {
            return;
        }
        for channel in self.ending.after(self.turn) {
            let Some((end, consumed)) = self.outbox_mut(channel).and_then(|outbox| outbox.take_end()) else {
                self.refile(channel);
                continue;
            };
            let message = end.number as u32;
            let frame = match end.reset {
                None => Frame::Fin { channel, message },
                Some(code) => Frame::Reset { channel, message, consumed, code },
            };
            let reset = end.reset.is_some();
            match frame.encode(filling.rest(), false) {
                Ok(len) => {
                    self.building.packet.frames.push(Carried::End { channel, number: end.number, reset });
                    filling.wrote(len, true);
                }
                Err(_) => {
                    filling.written.full = true;
                    if let Some(outbox) = self.outbox_mut(channel) {
                        outbox.end_lost(end.number, reset);
                    }
                }
            }
            self.refile(channel);
        }
    }

    fn write_repeats(&mut self, filling: &mut Filling<'_>, level: Level, now: Instant) {
        for channel in self.repeating.and(level.channels).after(self.turn) {
            let fresh = self.fresh;
            let slot = self.channels.get_mut(usize::from(channel));
            let Some(outbox) = slot.and_then(|slot| slot.outbox.as_mut()) else { continue };
            while !filling.is_full() {
                let Some((put, number)) = outbox.put_repeat(channel, filling.rest(), fresh, now) else {
                    break;
                };
                filling.wrote(put.len, true);
                self.building.repeat = true;
                self.turn = channel;
                self.building.packet.add(channel, number, &put);
            }
            if outbox.has_repeats() {
                filling.written.full = true;
            } else {
                self.repeating.remove(channel);
            }
        }
    }

    /// The one channel that has something to send, where nothing else is to be thought of: most packets of a connection that
    /// sends much.
    #[inline]
    fn only_channel(&self, open: bool, probe: bool) -> Option<u8> {
        let special = self.crediting.union(self.ending).union(self.repeating);
        let special = special.union(self.expiring).union(self.redundant);
        if probe || self.held || self.shares.is_some() || !special.is_empty() {
            return None;
        }
        let set = if open { self.reliable.union(self.unreliable) } else { self.unreliable };
        set.only_low()
    }

    /// As much of one channel as fits: what [`write_new`](Self::write_new) does where no other channel waits.
    fn write_only(&mut self, filling: &mut Filling<'_>, channel: u8, now: Instant) {
        let fresh = self.fresh;
        let slot = self.channels.get_mut(usize::from(channel));
        let Some(outbox) = slot.and_then(|slot| slot.outbox.as_deref_mut()) else { return };
        let reliable = outbox.is_reliable();
        let (mut bytes, mut ended, mut begun) = (0, 0, 0);
        let before = filling.written.len;
        let mut last = None;
        loop {
            if filling.is_full() {
                filling.written.full = true;
                break;
            }
            let Some(left) = outbox.put_new(channel, filling.rest(), fresh, &mut self.asks, now) else {
                filling.written.full = true;
                filling.written.even = last.is_some() && last == outbox.next_len();
                break;
            };
            last = left.put.whole.then_some(left.bytes);
            filling.wrote(left.put.len, reliable);
            bytes += left.bytes;
            ended += usize::from(left.last);
            begun += usize::from(left.begun);
            if reliable {
                self.building.packet.add(channel, left.number, &left.put);
            } else if left.asked != 0 {
                self.asks.piece_left(left.asked, left.last);
                self.building.packet.frames.push(Carried::Asked(left.asked));
            }
            if !outbox.has_new() {
                break;
            }
        }
        if filling.written.len == before {
            return;
        }
        self.turn = channel;
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.queued_messages = self.queued_messages.saturating_sub(ended);
        if reliable {
            self.unfinished += begun;
        }
        if ended + begun > 0 {
            self.refile(channel);
            self.write_ends(filling);
        }
    }

    /// New messages of one priority, one of each channel in turn, or as many as its weight allows.
    fn write_new(&mut self, filling: &mut Filling<'_>, level: Level, open: bool, now: Instant) {
        let mut full = ChannelSet::default();
        loop {
            let set = if open { self.reliable } else { ChannelSet::default() };
            let set = if self.held { set } else { set.union(self.unreliable) };
            let set = set.and(level.channels).minus(full);
            if set.is_empty() {
                break;
            }
            if filling.is_full() {
                filling.written.full = true;
                break;
            }
            let alone = set.is_single();
            for channel in set.after(self.turn) {
                let weighted = level.weighted && !alone;
                if weighted && !self.shares.as_mut().is_none_or(|shares| shares.begin_turn(channel)) {
                    // it had its turn, or others would have theirs twice
                    self.turn = channel;
                    continue;
                }
                loop {
                    let before = filling.written.len;
                    if !self.write_one(filling, channel, now) {
                        full.insert(channel);
                        break;
                    }
                    let more = self.outbox(channel).is_some_and(|o| o.has_new());
                    let goes_on = match self.shares.as_mut().filter(|_| weighted) {
                        None => alone,
                        Some(shares) if !more => {
                            shares.forfeit(channel);
                            false
                        }
                        Some(shares) => shares.spend(channel, filling.written.len - before),
                    };
                    if !goes_on || !more || filling.is_full() {
                        break;
                    }
                }
                let short_of_room = filling.is_full() || full.contains(channel);
                if weighted && short_of_room {
                    // who is looked at without room would be paid for nothing; a turn that is not over goes on in the next packet
                    if self.shares.as_ref().is_some_and(|shares| shares.has_turn(channel)) {
                        self.turn = channel.wrapping_sub(1);
                    }
                    self.refile(channel);
                    filling.written.full |= full.contains(channel) || self.has_new_of(level, open);
                    return;
                }
                self.refile(channel);
                if filling.is_full() {
                    break;
                }
            }
        }
        filling.written.full |= !full.is_empty();
    }

    /// Whether something new of a priority may leave.
    fn has_new_of(&self, level: Level, open: bool) -> bool {
        let reliable = if open { self.reliable } else { ChannelSet::default() };
        let unreliable = if self.held { ChannelSet::default() } else { self.unreliable };
        !reliable.union(unreliable).and(level.channels).is_empty()
    }

    /// The next message, or piece, of one channel; false if it does not fit.
    fn write_one(&mut self, filling: &mut Filling<'_>, channel: u8, now: Instant) -> bool {
        let fresh = self.fresh;
        let slot = self.channels.get_mut(usize::from(channel));
        let Some(outbox) = slot.and_then(|slot| slot.outbox.as_mut()) else { return false };
        let Some(left) = outbox.put_new(channel, filling.rest(), fresh, &mut self.asks, now) else {
            return false;
        };
        let reliable = outbox.is_reliable();
        filling.wrote(left.put.len, reliable);
        self.turn = channel;
        self.queued_bytes = self.queued_bytes.saturating_sub(left.bytes);
        self.queued_messages -= usize::from(left.last && self.queued_messages > 0);
        if !reliable {
            if left.asked != 0 {
                self.asks.piece_left(left.asked, left.last);
                self.building.packet.frames.push(Carried::Asked(left.asked));
            }
            return true;
        }
        self.unfinished += usize::from(left.begun);
        self.building.packet.add(channel, left.number, &left.put);
        true
    }

    /// A probe with nothing new to carry: what the oldest packet in flight carries, and the next probe what the one
    /// after it does (RFC 9002 §6.2.4).
    fn write_copies(&mut self, filling: &mut Filling<'_>) {
        let has_data = |frame: &Carried| matches!(frame, Carried::Whole { .. } | Carried::Piece { .. });
        let oldest = self.space.in_flight().find_map(|(number, sent)| {
            let carries = sent.carries.as_ref()?;
            let wanted = number >= self.probe_from && carries.frames.iter().any(has_data);
            wanted.then(|| (number, carries.frames.clone()))
        });
        let Some((number, frames)) = oldest else { return };
        self.probe_from = number + 1;
        for frame in frames {
            let (channel, first, count, stretch) = match frame {
                Carried::Whole { channel, first, count } => (channel, first, count, None),
                Carried::Piece { channel, number, start, end } => (channel, number, 1, Some((start, end))),
                Carried::Credit { .. } | Carried::End { .. } | Carried::Control(_) | Carried::Asked(_) => {
                    continue;
                }
            };
            for number in first..first.saturating_add(count.into()) {
                let slot = self.channels.get_mut(usize::from(channel));
                let Some(outbox) = slot.and_then(|slot| slot.outbox.as_mut()) else { continue };
                let Some(put) = outbox.put_copy(channel, number, stretch, filling.rest()) else { continue };
                filling.wrote(put.len, true);
                self.building.repeat = true;
                self.building.packet.add(channel, number, &put);
            }
        }
        self.stats.probes += 1;
    }

    /// What left in earlier packets and may yet be lost goes along once more, the newest first (PROTOCOL B5, Redundancy).
    fn write_redundant(&mut self, filling: &mut Filling<'_>, now: Instant) {
        for channel in self.redundant.after(self.turn) {
            let slot = self.channels.get_mut(usize::from(channel));
            let Some(outbox) = slot.and_then(|slot| slot.outbox.as_mut()) else { continue };
            let mut below = u64::MAX;
            while let Some((number, put)) = outbox.put_redundant(channel, below, filling.rest(), now) {
                below = number;
                let Some(put) = put else { break };
                filling.wrote(put.len, true);
                self.building.packet.add_whole(channel, number);
                self.stats.copies += 1;
            }
        }
    }

    /// What waits on sequenced channels had its chance: a newer message replaces it.
    fn note_offered(&mut self) {
        for channel in self.unreliable.after(u8::MAX) {
            if let Some(outbox) = self.outbox_mut(channel) {
                outbox.note_offered();
            }
        }
    }
}

//! What goes out: messages in, packets in turn, acknowledgements of them.

use std::time::Instant;

use bytes::Bytes;
use fastwire_wire::{FragmentFlags, FragmentHeader, MAX_FRAGMENTS};

use crate::ack::AckSet;
use crate::channel_set::ChannelSet;
use crate::channels::{Channels, Outgoing, ack_of_unsent};
use crate::config::{Peer, Quota};
use crate::error::{PushError, Violation};
use crate::outbox::{Outbox, Piece, foreign_pieces};
use crate::recovery::Outcome;
use crate::{Receipt, Terms};

/// At this transmission of a packet to a foreign peer a null probe goes along: its second repeat (PROTOCOL A6 rule 2).
const PROBE_AT: u32 = 3;

/// How long a packet on an unreliable channel may wait for the acknowledgement that times it.
const TIMED_AGE: std::time::Duration = std::time::Duration::from_secs(2);

impl Channels {
    /// Queues a message. `content` describes its compression; a message with any content flag travels as
    /// fragments, be it small (PROTOCOL A7).
    ///
    /// # Errors
    ///
    /// [`PushError`]; the message was not taken.
    pub fn push(
        &mut self,
        channel: u8,
        message: &Bytes,
        content: FragmentFlags,
        now: Instant,
    ) -> Result<(), PushError> {
        self.push_with(channel, message, content, &Terms::NONE, now)
    }

    /// Queues a message that may expire, or whose sender wants to know what becomes of it:
    /// [`poll_receipt`](Self::poll_receipt) tells, once. Only reliable messages have receipts here.
    ///
    /// # Errors
    ///
    /// [`PushError`]; the message was not taken, and no receipt will come.
    pub fn push_with(
        &mut self,
        channel: u8,
        message: &Bytes,
        content: FragmentFlags,
        terms: &Terms,
        _now: Instant,
    ) -> Result<(), PushError> {
        let Some(mode) = self.layout.mode(channel) else {
            return Err(PushError::InvalidChannel { channel, channels: self.layout.len() });
        };
        if terms.receipt.is_some() && !mode.is_reliable() {
            return Err(PushError::NoReceipt { channel });
        }
        let len = message.len();
        let max = self.max_message_on(mode.is_reliable());
        if len > max {
            return Err(PushError::MessageTooLarge { len, max });
        }
        if self.queued_messages >= self.config.max_queued_messages
            || len > self.config.max_queued_bytes.saturating_sub(self.queued_bytes)
        {
            return Err(PushError::QueueFull { messages: self.queued_messages, bytes: self.queued_bytes });
        }
        let Some(slot) = self.channels.get_mut(usize::from(channel)) else {
            return Err(PushError::InvalidChannel { channel, channels: self.layout.len() });
        };
        let first = u64::from(self.first_sequence);
        let outbox = slot.outbox.get_or_insert_with(|| Box::new(Outbox::starting_at(first)));
        let asked = self.asks.open(channel, terms);
        outbox.push(message.clone(), content, asked, &self.asks);
        if terms.expires_at.is_some() {
            self.expiring.insert(channel);
        }
        self.queued_bytes += len;
        self.queued_messages += 1;
        self.waiting.insert(channel);
        Ok(())
    }

    /// What became of a message whose sender asked, one at a time. `None`: of no further one is it known yet.
    pub fn poll_receipt(&mut self) -> Option<Receipt> {
        self.asks.pop()
    }

    /// The connection is over: whoever asked and has had no receipt is told that the message is lost.
    pub fn settle_receipts(&mut self) {
        self.asks.settle_all();
    }

    /// Takes back every message of which nothing was sent: (channel, message, content, what it asked for), in order on each
    /// channel.
    pub fn take_queue(&mut self) -> Vec<(u8, Bytes, FragmentFlags, Terms)> {
        let mut taken = Vec::new();
        for (index, slot) in self.channels.iter_mut().enumerate() {
            let Some(outbox) = slot.outbox.as_mut() else { continue };
            let queue = outbox.take_queue(&mut self.asks);
            taken.extend(queue.map(|(message, content, terms)| (index as u8, message, content, terms)));
        }
        self.queued_messages = self.queued_messages.saturating_sub(taken.len());
        self.queued_bytes -=
            taken.iter().map(|(_, message, ..)| message.len()).sum::<usize>().min(self.queued_bytes);
        taken
    }

    /// The next packet to send. Repeats come first (while backed off, every other one), then null probes, then new
    /// packets, the channels in turn. Reliable packets need `quota`; unreliable ones always may go. `None`: nothing may leave now.
    pub fn next_outgoing(&mut self, now: Instant, quota: Quota) -> Option<Outgoing> {
        if !quota.is_open() {
            return self.next_new(now, false, true);
        }
        // Back-off ends with the acknowledgement of a packet sent once; and a peer without memory for what is
        // repeated may be waiting for something else. So new packets leave in between.
        let no_fresh = !self.recovery.has_fresh();
        let new_first = self.recovery.is_backed_off() && (self.repeated_last || no_fresh);
        self.repeated_last = false;
        if new_first && let Some(outgoing) = self.next_new(now, true, false) {
            return Some(outgoing);
        }
        // A base peer is silent about duplicates: without a fresh sequence even a lost acknowledgement stalls.
        if new_first && no_fresh && self.peer == Peer::Foreign {
            let repeating = self.repeating;
            if let Some(outgoing) = self.probe_one_of(repeating, now) {
                return Some(outgoing);
            }
        }
        let may_repeat = !quota.is_unlimited() || self.recovery.may_repeat();
        if may_repeat && let Some(outgoing) = self.next_repeat() {
            self.repeated_last = true;
            return Some(outgoing);
        }
        let probing = self.probing;
        self.probe_one_of(probing, now).or_else(|| self.next_new(now, true, true))
    }

    /// Notes that a packet leaves in a datagram that carries `bytes` bytes for it. To be called before the socket sees the
    /// datagram: one the socket refuses is a lost packet, and is repeated like any.
    pub fn mark_sent(&mut self, outgoing: &Outgoing, bytes: usize, now: Instant) {
        let Some(outbox) = self.outbox_mut(outgoing.channel) else { return };
        if !outgoing.reliable {
            let waits = |(_, at): &(u32, Instant)| now.saturating_duration_since(*at) < TIMED_AGE;
            if !outbox.timed.as_ref().is_some_and(waits) {
                outbox.timed = Some((outgoing.sequence, now));
            }
            return;
        }
        let number = u64::from(outgoing.sequence);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Some(slot) = self.channels.get_mut(usize::from(outgoing.channel)) else { return };
        let Some(outbox) = slot.outbox.as_mut() else { return };
        self.recovery.on_sent(&mut outbox.space, number, bytes, now);
        if self.peer == Peer::Foreign && outbox.space.get(number).is_some_and(|sent| sent.sends == PROBE_AT) {
            self.probing.insert(outgoing.channel);
        }
    }

    /// Has a null probe sent on a reliable channel: a packet that asks for an acknowledgement and carries nothing
    /// (PROTOCOL A6 rule 2). Other channels ignore it.
    pub fn push_probe(&mut self, channel: u8) {
        let reliable = self.layout.mode(channel).is_some_and(|mode| mode.is_reliable());
        if let Some(slot) = self.channels.get_mut(usize::from(channel)).filter(|_| reliable) {
            let first = u64::from(self.first_sequence);
            slot.outbox.get_or_insert_with(|| Box::new(Outbox::starting_at(first)));
            self.probing.insert(channel);
        }
    }

    /// A null probe to be sent now, whatever the quota: a fresh sequence, whose acknowledgement proves that the peer is
    /// where it was sent to (PROTOCOL A10). `None`: no reliable channel has room for one.
    pub fn next_probe(&mut self, now: Instant) -> Option<Outgoing> {
        let is_reliable = |channel: &u8| self.layout.mode(*channel).is_some_and(|mode| mode.is_reliable());
        let channel = (0..=u8::MAX).find(is_reliable)?;
        self.push_probe(channel);
        let probing = self.probing;
        self.probe_one_of(probing, now)
    }

    /// Whether something could leave if the quota allowed it.
    pub fn has_outgoing(&self) -> bool {
        if !self.repeating.is_empty() {
            let due = |channel| self.outbox(channel).is_some_and(|outbox| outbox.space.has_due());
            if self.repeating.after(0).any(due) {
                return true;
            }
        }
        let room = |channel, probe| {
            let reliable = self.layout.mode(channel).is_some_and(|mode| mode.is_reliable());
            self.outbox(channel).is_some_and(|outbox| !reliable || outbox.has_room(self.peer, probe))
        };
        self.probing.after(0).any(|channel| room(channel, true))
            || self.waiting.after(0).any(|channel| room(channel, false))
    }

    /// Takes the acknowledgement in a packet's header. An acknowledgement is a set: older ones and lower ones are welcome.
    ///
    /// # Errors
    ///
    /// [`Violation::AckOfUnsent`]: the connection ends.
    pub fn acknowledge(
        &mut self,
        channel: u8,
        ack: u32,
        field: u32,
        now: Instant,
        out: &mut Outcome,
    ) -> Result<(), Violation> {
        let Some(set) = AckSet::from_header(ack, field) else { return Ok(()) };
        let outbox = self.channels.get_mut(usize::from(channel)).and_then(|slot| slot.outbox.as_mut());
        let sent = outbox.as_ref().map_or(0, |outbox| outbox.highest());
        let Some(outbox) = outbox.filter(|_| ack <= sent) else {
            return Err(ack_of_unsent(channel, ack, sent));
        };
        if self.layout.mode(channel).is_some_and(|mode| mode.is_reliable()) {
            self.recovery.on_ack(&mut outbox.space, set, now, out);
            self.asks.at(now);
            outbox.settle(&mut self.asks);
            if outbox.space.has_due() {
                self.repeating.insert(channel);
            }
        } else if let Some((sequence, at)) = outbox.timed.filter(|(sequence, _)| ack >= *sequence) {
            outbox.timed = None;
            if set.iter().any(|number| number == u64::from(sequence)) {
                self.recovery.on_unreliable_sample(now.saturating_duration_since(at), now, out);
            }
        }
        Ok(())
    }

    fn max_message_on(&self, reliable: bool) -> usize {
        let pieces = match self.peer {
            Peer::Foreign if reliable => {
                foreign_pieces(self.recovery.rtt().smoothed()).clamp(1, MAX_FRAGMENTS)
            }
            _ => MAX_FRAGMENTS,
        };
        self.piece_size * pieces
    }

    /// A lost packet's next transmission.
    fn next_repeat(&mut self) -> Option<Outgoing> {
        for channel in self.repeating.after(self.turn) {
            let due = self.outbox_mut(channel).and_then(|outbox| {
                let (number, sent) = outbox.space.pop_due()?;
                let Piece { fragment, payload } = sent.carries.clone()?;
                let sequence = u32::try_from(number).unwrap_or(u32::MAX);
                let repeat = sent.sends > 0;
                Some(Outgoing { channel, sequence, fragment, payload, reliable: true, repeat })
            });
            if due.is_some() {
                self.turn = channel;
                return due;
            }
            self.repeating.remove(channel);
        }
        None
    }

    /// A fresh sequence whose acknowledgement covers the whole span (PROTOCOL A6 rule 2).
    fn probe_one_of(&mut self, channels: ChannelSet, now: Instant) -> Option<Outgoing> {
        for channel in channels.after(self.turn) {
            let peer = self.peer;
            if !self.outbox(channel).is_some_and(|outbox| outbox.has_room(peer, true)) {
                continue;
            }
            let id = self.next_id(now)?;
            self.probing.remove(channel);
            self.turn = channel;
            self.stats.probes += 1;
            let fragment = Some(FragmentHeader { id, index: 0, count: 2, flags: FragmentFlags::EMPTY });
            let piece = Piece { fragment, payload: Bytes::new() };
            return self.bind(channel, piece, true, now);
        }
        None
    }

    /// A packet that was never sent before.
    fn next_new(&mut self, now: Instant, reliable: bool, unreliable: bool) -> Option<Outgoing> {
        if !self.expiring.is_empty() {
            self.drop_expired(now);
        }
        for channel in self.waiting.after(self.turn) {
            let is_reliable = self.layout.mode(channel).is_some_and(|mode| mode.is_reliable());
            let allowed = if is_reliable { reliable } else { unreliable };
            let (peer, piece_size) = (self.peer, self.piece_size);
            let Some(outbox) = self.outbox(channel).filter(|_| allowed) else { continue };
            let has_room = outbox.has_room(if is_reliable { peer } else { Peer::Own }, false);
            let needs_id = outbox.needs_id(piece_size);
            if !has_room {
                continue;
            }
            let id = if needs_id { self.next_id(now) } else { None };
            let Some((piece, last)) = self.outbox_mut(channel).and_then(|o| o.next_piece(piece_size, || id))
            else {
                continue;
            };
            self.turn = channel;
            self.queued_bytes = self.queued_bytes.saturating_sub(piece.payload.len());
            self.queued_messages = self.queued_messages.saturating_sub(usize::from(last));
            if last && self.outbox(channel).is_some_and(|outbox| !outbox.has_new()) {
                self.waiting.remove(channel);
            }
            let outgoing = self.bind(channel, piece, is_reliable, now)?;
            let slot = self.channels.get_mut(usize::from(channel));
            if let Some(outbox) = slot.and_then(|slot| slot.outbox.as_deref_mut()) {
                match is_reliable {
                    true => outbox.bound(outgoing.sequence.into(), last, &mut self.asks, now),
                    false => outbox.forget_asked(&mut self.asks),
                }
            }
            return Some(outgoing);
        }
        None
    }

    /// Drops what waits and has expired by `now`.
    pub(crate) fn drop_expired(&mut self, now: Instant) {
        for channel in self.expiring.after(u8::MAX) {
            let slot = self.channels.get_mut(usize::from(channel));
            let Some(outbox) = slot.and_then(|slot| slot.outbox.as_deref_mut()) else { continue };
            if outbox.expires().is_some_and(|at| at <= now) {
                let (messages, bytes) = outbox.expire(now, &mut self.asks);
                self.stats.expired += messages as u64;
                self.queued_messages = self.queued_messages.saturating_sub(messages);
                self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
            }
            if !outbox.has_new() {
                self.waiting.remove(channel);
            }
            if outbox.expires().is_none() {
                self.expiring.remove(channel);
            }
        }
    }

    /// Gives `piece` the channel's next sequence.
    fn bind(&mut self, channel: u8, piece: Piece, reliable: bool, now: Instant) -> Option<Outgoing> {
        let watched = self.peer == Peer::Foreign;
        let outbox = self.outbox_mut(channel)?;
        let Piece { fragment, payload } = piece.clone();
        let number = if reliable { outbox.space.push(piece, now) } else { outbox.space.skip() };
        if let Some(header) = fragment
            && reliable
            && watched
            && header.index == 0
            && header.count > 1
            && !payload.is_empty()
        {
            outbox.watch(header.id, number, now);
        }
        let sequence = u32::try_from(number).unwrap_or(u32::MAX);
        Some(Outgoing { channel, sequence, fragment, payload, reliable, repeat: false })
    }

    /// A fragment id that no packet in flight and no message the peer may still hold has.
    fn next_id(&mut self, now: Instant) -> Option<u16> {
        let channels = &self.channels;
        self.ids.next(now, |in_block| {
            let outboxes = channels.iter().filter_map(|channel| channel.outbox.as_ref());
            let mut pieces = outboxes.flat_map(|outbox| outbox.space.unacknowledged());
            pieces.any(|piece| piece.fragment.is_some_and(|header| in_block(header.id)))
        })
    }

    fn outbox(&self, channel: u8) -> Option<&Outbox> {
        self.channels.get(usize::from(channel)).and_then(|slot| slot.outbox.as_deref())
    }

    fn outbox_mut(&mut self, channel: u8) -> Option<&mut Outbox> {
        self.channels.get_mut(usize::from(channel)).and_then(|slot| slot.outbox.as_deref_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelLayout, ChannelsConfig, RecoveryProfile};

    /// Channels whose next sequence on `channel` is `next`.
    fn at(channel: u8, next: u64) -> Channels {
        let mut channels =
            Channels::new(ChannelLayout::default(), &ChannelsConfig::default(), RecoveryProfile::default());
        channels.set_peer(Peer::Own);
        channels.channels[usize::from(channel)].outbox = Some(Box::new(Outbox::starting_at(next)));
        channels
    }

    #[test]
    fn the_last_sequences_are_announced_and_never_passed() {
        let now = Instant::now();
        let end = u64::from(u32::MAX);
        for channel in 0..4 {
            assert!(!at(channel, end - (1 << 20)).sequence_exhausted());
            assert!(at(channel, end - (1 << 20) + 2).sequence_exhausted());
            let mut channels = at(channel, end - 10);
            for _ in 0..100 {
                channels.push(channel, &Bytes::from_static(b"x"), FragmentFlags::EMPTY, now).unwrap();
            }
            let mut sent = Vec::new();
            while let Some(out) = channels.next_outgoing(now, Quota::UNLIMITED) {
                channels.mark_sent(&out, 40, now);
                sent.push(out.sequence);
            }
            assert_eq!(sent, (u32::MAX - 10..u32::MAX).collect::<Vec<_>>());
            let all = channels.acknowledge(channel, u32::MAX - 1, u32::MAX, now, &mut Outcome::default());
            assert_eq!((all, channels.in_flight()), (Ok(()), (0, 0)));
        }
    }
}

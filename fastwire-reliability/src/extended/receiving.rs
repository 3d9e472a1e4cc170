//! What comes in: messages, credit, ends of streams; and when that is acknowledged.

use std::time::{Duration, Instant};

use fastwire_wire::extended::Data;

use super::deliveries::Keep;
use super::inbox::{Inbox, Taken};
use super::loose::{self, LooseInbox};
use super::{CREDIT_DELAY, ExtendedChannels, Incoming, Polled};
use crate::{DeliveryMode, Violation};

impl ExtendedChannels {
    /// Takes a DATA frame, straight from the datagram it came in. What can be delivered waits in
    /// [`poll_delivery`](Self::poll_delivery). A message that arrives whole and in its turn is copied by `keep`, into memory
    /// that many connections may share; pieces are copied to where their message grows, and what has to wait into memory of
    /// its own, so that it pins nothing that is shared.
    ///
    /// # Errors
    ///
    /// [`Violation`]: the connection ends.
    pub fn accept(&mut self, data: &Data<'_>, now: Instant, keep: &mut Keep<'_>) -> Result<(), Violation> {
        self.clock = Some(now);
        let channel = data.channel;
        let Some(mode) = self.mode(channel) else { return Err(Violation::UnknownChannel { channel }) };
        if data.content & !self.content.bits() != 0 {
            return Err(Violation::ContentFlags { channel, flags: data.content });
        }
        let (total, max) =
            (data.piece.map_or(data.payload.len(), |piece| piece.total as usize), self.limits.max_message);
        if total > max {
            return Err(Violation::MessageTooLong { channel, total, max });
        }
        self.stats.received += 1;
        if mode.is_reliable() {
            return self.accept_reliable(data, now, keep);
        }
        let budget = usize::try_from(self.window).unwrap_or(usize::MAX);
        let sequenced = mode == DeliveryMode::UnreliableSequenced;
        let first = self.first_message;
        let Some(slot) = self.channels.get_mut(usize::from(channel)) else { return Ok(()) };
        let inbox = slot.loose.get_or_insert_with(|| Box::new(LooseInbox::starting_at(first)));
        match self.loose.accept(inbox, data, (sequenced, budget), now, &mut self.deliveries, keep)? {
            loose::Taken::Stale => self.stats.stale += 1,
            loose::Taken::News { dropped } => {
                self.stats.incomplete_dropped += dropped;
                self.stats.over_budget += dropped;
            }
        }
        Ok(())
    }

    /// The peer takes more on a channel: `limit` bytes since the connection began, counted as PROTOCOL B5 says.
    ///
    /// # Errors
    ///
    /// [`Violation`]: no such reliable channel.
    pub fn on_credit(&mut self, channel: u8, limit: u64) -> Result<(), Violation> {
        self.reliable_channel(channel)?;
        if let Some(outbox) = self.outbox_mut(channel) {
            outbox.grant(limit);
            self.refile(channel);
        }
        Ok(())
    }

    /// The peer's half of a channel's stream ends with `message`, a number of its own.
    ///
    /// # Errors
    ///
    /// [`Violation`]: the connection ends.
    pub fn on_fin(&mut self, channel: u8, message: u32) -> Result<(), Violation> {
        self.reliable_channel(channel)?;
        let ends = self.own_ends(channel);
        let terms = (self.limits.receive_budget, self.first_message);
        let Some(inbox) = open_inbox(&mut self.channels, &self.layout, channel, terms) else {
            return Ok(());
        };
        if inbox.finish(message, ends, &mut self.deliveries)? == Taken::Duplicate {
            self.stats.duplicates += 1;
        }
        Ok(())
    }

    /// The peer's half of a channel's stream ends at once. `consumed`: credit it used on the channel in all.
    ///
    /// # Errors
    ///
    /// [`Violation`]: the connection ends.
    pub fn on_reset(&mut self, channel: u8, message: u32, consumed: u64, code: u16) -> Result<(), Violation> {
        self.reliable_channel(channel)?;
        let ends = self.own_ends(channel);
        let terms = (self.limits.receive_budget, self.first_message);
        let Some(inbox) = open_inbox(&mut self.channels, &self.layout, channel, terms) else {
            return Ok(());
        };
        if inbox.reset(message, consumed, code, ends, &mut self.deliveries)? == Taken::Duplicate {
            self.stats.duplicates += 1;
        } else if inbox.owes_credit() {
            self.crediting.insert(channel);
        }
        Ok(())
    }

    /// The next thing the peer sent. Taking it raises the peer's credit.
    pub fn poll_delivery(&mut self) -> Option<Incoming> {
        let (incoming, reliable) = self.deliveries.pop()?;
        self.stats.delivered += u64::from(matches!(incoming, Incoming::Message(_)));
        if !reliable {
            return Some(incoming);
        }
        self.took_reliable(&incoming);
        Some(incoming)
    }

    /// As [`poll_delivery`](Self::poll_delivery), for who needs no owner of the bytes: a short message of an unreliable channel
    /// is copied to `into`, in place of what is there.
    #[inline]
    pub fn poll_delivery_into(&mut self, into: &mut Vec<u8>) -> Option<Polled> {
        let (polled, reliable) = self.deliveries.pop_into(into)?;
        self.stats.delivered +=
            u64::from(!matches!(polled, Polled::Owned(Incoming::Finished { .. } | Incoming::Reset { .. })));
        if let (true, Polled::Owned(incoming)) = (reliable, &polled) {
            self.took_reliable(incoming);
        }
        Some(polled)
    }

    /// A reliable channel's message or end was taken.
    fn took_reliable(&mut self, incoming: &Incoming) {
        let channel = incoming.channel();
        let slot = self.channels.get_mut(usize::from(channel));
        let Some(inbox) = slot.and_then(|slot| slot.inbox.as_mut()) else { return };
        match incoming {
            Incoming::Message(delivery) => inbox.took(delivery.data.len()),
            Incoming::Finished { .. } | Incoming::Reset { .. } => inbox.saw_end(),
        }
        if inbox.owes_credit() {
            self.crediting.insert(channel);
        } else if self.credit_at.is_none() && inbox.might_block(self.limits.max_message) {
            self.credit_at = self.clock.map(|now| now + CREDIT_DELAY);
        }
    }

    /// Stops (`true`) or resumes (`false`) delivering what comes on a reliable channel. Meanwhile it keeps its credit, so the
    /// peer can send on that channel no further than its share of the receive budget, and on all others as before. Gives
    /// whether there is such a channel.
    pub fn pause(&mut self, channel: u8, paused: bool) -> bool {
        let known = self.mode(channel).is_some_and(DeliveryMode::is_reliable);
        if known {
            self.deliveries.pause(channel, paused);
        }
        known
    }

    /// Nothing will be polled for a while (`true`), or again: what waits meanwhile has memory of its own, so that it keeps nothing alive
    /// of what it shared memory with.
    pub fn hold_back(&mut self, held_back: bool) {
        self.deliveries.hold_back(held_back);
    }

    /// What waits now is not polled soon: moves it into memory of its own.
    pub fn set_apart(&mut self) {
        self.deliveries.set_apart();
    }

    /// Resumes every channel.
    pub fn unpause_all(&mut self) {
        self.deliveries.unpause_all();
    }

    /// A packet was opened: notes that it is to be acknowledged. `in_order`: its number is the highest before it plus 1;
    /// `reliable`: it carried more than unreliable data.
    pub fn on_packet(
        &mut self,
        number: u64,
        in_order: bool,
        ack_eliciting: bool,
        reliable: bool,
        now: Instant,
    ) {
        self.owed.on_packet(number, in_order, ack_eliciting, reliable, now);
    }

    /// When an ACK must leave at the latest; a time that is not after now: at the end of this wake. `None`: none is owed.
    pub fn ack_due(&self) -> Option<Instant> {
        self.owed.due()
    }

    /// The lowest number that the next ACK has to cover: those below were covered by one that the peer acknowledged.
    pub fn ack_floor(&self) -> u64 {
        self.owed.floor()
    }

    /// Whether the next ACK should have a PING beside it. A side that only receives would never learn which of its ACKs
    /// arrived, so that each would have to cover all before it, nor that they go astray (RFC 9000 §13.2.4).
    pub fn wants_answer(&self) -> bool {
        self.owed.wants_answer()
    }

    /// An ACK with this largest number was written; none is owed any more. Say so to the packet that carries it too:
    /// [`carry_ack`](Self::carry_ack).
    pub fn on_ack_written(&mut self, _largest: u64) {
        self.owed.written();
    }

    /// Time since the largest number arrived.
    pub fn ack_delay(&self, now: Instant) -> Duration {
        self.owed.delay(now)
    }

    fn accept_reliable(
        &mut self,
        data: &Data<'_>,
        now: Instant,
        keep: &mut Keep<'_>,
    ) -> Result<(), Violation> {
        let channel = data.channel;
        let ends = self.own_ends(channel);
        let terms = (self.limits.receive_budget, self.first_message);
        let Some(inbox) = open_inbox(&mut self.channels, &self.layout, channel, terms) else {
            return Ok(());
        };
        if inbox.accept(data, ends, now, &mut self.deliveries, keep)? == Taken::Duplicate {
            self.stats.duplicates += 1;
        }
        Ok(())
    }

    fn reliable_channel(&self, channel: u8) -> Result<(), Violation> {
        match self.mode(channel) {
            None => Err(Violation::UnknownChannel { channel }),
            Some(mode) if !mode.is_reliable() => Err(Violation::NotReliable { channel }),
            Some(_) => Ok(()),
        }
    }

    fn own_ends(&self, channel: u8) -> u64 {
        self.outbox(channel).map_or(0, |outbox| outbox.ends())
    }
}

fn open_inbox<'a>(
    channels: &'a mut [super::Channel],
    layout: &crate::ChannelLayout,
    channel: u8,
    (budget, first): (u64, u64),
) -> Option<&'a mut Inbox> {
    let slot = channels.get_mut(usize::from(channel))?;
    let ordered = layout.mode(channel)? == DeliveryMode::ReliableOrdered;
    Some(slot.inbox.get_or_insert_with(|| {
        let window = budget / layout.reliable_channels().max(1) as u64;
        Box::new(Inbox::starting_at(channel, ordered, window, first))
    }))
}

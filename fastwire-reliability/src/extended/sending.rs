//! What the application sends: messages, and the ends of streams.

use std::time::Instant;

use bytes::Bytes;
use fastwire_wire::FragmentFlags;

use super::held::Held;
use super::outbox::Outbox;
use super::{ExtendedChannels, Undelivered};
use crate::asks::Key;
use crate::{MessageFate, PushError, Receipt, Terms};

impl ExtendedChannels {
    /// Queues a message. `content` describes its compression.
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
    /// [`poll_receipt`](Self::poll_receipt) tells, once.
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
        now: Instant,
    ) -> Result<(), PushError> {
        self.push_taking(channel, &mut message.clone(), content, terms, now)
    }

    /// As [`push_with`](Self::push_with), for who needs `message` no longer: it is empty afterwards, unless it was not taken.
    ///
    /// # Errors
    ///
    /// As of [`push_with`](Self::push_with).
    pub fn push_taking(
        &mut self,
        channel: u8,
        message: &mut Bytes,
        content: FragmentFlags,
        terms: &Terms,
        now: Instant,
    ) -> Result<(), PushError> {
        let Some(mode) = self.mode(channel) else { return Err(self.no_channel(channel)) };
        self.clock = Some(now);
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
        if self.outbox(channel).is_none() {
            self.open_outbox(channel)?;
        }
        let slot = self.channels.get_mut(usize::from(channel)).map(|slot| (&mut slot.outbox, &slot.inbox));
        let Some((Some(outbox), inbox)) = slot else { return Ok(()) };
        if !outbox.is_open(inbox.as_ref().map_or(0, |inbox| inbox.ends_seen())) {
            return Err(PushError::Finished { channel });
        }
        let asked = self.asks.open(channel, terms);
        if terms.expires_at.is_some() {
            self.expiring.insert(channel);
        }
        self.queue(channel, Held::Shared(std::mem::take(message)), content.bits(), asked);
        Ok(())
    }

    /// Queues a short message of an unreliable channel, of at most [`SMALL_MESSAGE`](super::SMALL_MESSAGE) bytes, as it is. Gives
    /// false if it was not taken: [`push`](Self::push) tells why, or takes it.
    #[inline]
    pub fn push_small(&mut self, channel: u8, message: &[u8], now: Instant) -> bool {
        let is_loose = self.mode(channel).is_some_and(|mode| !mode.is_reliable());
        let room = self.config.max_queued_bytes.saturating_sub(self.queued_bytes);
        if !is_loose
            || self.outbox(channel).is_none()
            || self.queued_messages >= self.config.max_queued_messages
            || message.len() > room.min(self.peer.max_message)
        {
            return false;
        }
        let Some(held) = Held::small(message) else { return false };
        self.clock = Some(now);
        self.queue(channel, held, 0, 0);
        true
    }

    /// Puts a message in line on a channel that was opened.
    fn queue(&mut self, channel: u8, message: Held, content: u8, asked: Key) {
        let slot = self.channels.get_mut(usize::from(channel));
        let Some(outbox) = slot.and_then(|slot| slot.outbox.as_deref_mut()) else { return };
        let (waited, len) = (outbox.is_waiting(), message.len());
        let (messages, bytes) = outbox.push(message, content, asked, &mut self.asks);
        self.stats.superseded += messages as u64;
        self.queued_bytes = self.queued_bytes + len - bytes;
        self.queued_messages = self.queued_messages + 1 - messages;
        // behind others it changes nothing
        if !waited || messages > 0 {
            self.refile(channel);
        }
    }

    /// Ends the own half of a reliable channel's stream after what is queued. Once the peer has ended its half too, the
    /// channel's next stream begins with the next message.
    ///
    /// # Errors
    ///
    /// [`PushError::InvalidChannel`], [`PushError::NotReliable`]; [`PushError::Finished`]: it was ended before.
    pub fn finish(&mut self, channel: u8) -> Result<(), PushError> {
        self.reliable_only(channel)?;
        let ends = self.peer_ends_seen(channel);
        let outbox = self.open_outbox(channel)?;
        if !outbox.is_open(ends) {
            return Err(PushError::Finished { channel });
        }
        outbox.finish();
        self.refile(channel);
        Ok(())
    }

    /// Ends the own half of a reliable channel's stream at once: what is queued or unacknowledged is dropped. Also after
    /// [`finish`](Self::finish), until the peer has acknowledged that.
    ///
    /// # Errors
    ///
    /// As of [`finish`](Self::finish).
    pub fn reset(&mut self, channel: u8, code: u16) -> Result<(), PushError> {
        self.reliable_only(channel)?;
        let ends = self.peer_ends_seen(channel);
        if !self.open_outbox(channel)?.can_reset(ends) {
            return Err(PushError::Finished { channel });
        }
        let slot = self.channels.get_mut(usize::from(channel));
        let Some(outbox) = slot.and_then(|slot| slot.outbox.as_deref_mut()) else { return Ok(()) };
        let (messages, bytes, under_way) = outbox.reset(code, ends, &mut self.asks);
        self.queued_messages = self.queued_messages.saturating_sub(messages);
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.unfinished = self.unfinished.saturating_sub(under_way);
        self.refile(channel);
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

    /// A message could not go on from the channels that the connection had before: whoever asked is told that it is lost.
    pub fn lose(&mut self, channel: u8, terms: &Terms) {
        let key = self.asks.open(channel, terms);
        self.asks.settle(key, MessageFate::Lost);
    }

    /// Takes over receipts of the channels that the connection had before.
    pub fn adopt_receipts(&mut self, receipts: impl Iterator<Item = Receipt>) {
        self.asks.adopt(receipts);
    }

    /// Stops (`true`) or resumes all that is not an acknowledgement, credit, an end or a probe: a limit of the own side's on
    /// what is sent was reached.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Drops what waits and has expired by `now`.
    pub(super) fn drop_expired(&mut self, now: Instant) {
        for channel in self.expiring.after(u8::MAX) {
            let slot = self.channels.get_mut(usize::from(channel));
            let Some(outbox) = slot.and_then(|slot| slot.outbox.as_deref_mut()) else { continue };
            if outbox.expires().is_some_and(|at| at <= now) {
                let (messages, bytes) = outbox.expire(now, &mut self.asks);
                self.stats.expired += messages as u64;
                self.queued_messages = self.queued_messages.saturating_sub(messages);
                self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
            }
            if outbox.expires().is_none() {
                self.expiring.remove(channel);
            }
            self.refile(channel);
        }
    }

    /// Bytes on a channel that wait to be sent for the first time.
    pub fn unsent_on(&self, channel: u8) -> usize {
        self.outbox(channel).map_or(0, Outbox::unsent)
    }

    /// Reliable messages not wholly acknowledged, of each channel the oldest first.
    pub fn undelivered(&self) -> impl Iterator<Item = Undelivered> + '_ {
        self.channels.iter().enumerate().flat_map(|(index, slot)| {
            let outbox = slot.outbox.as_ref().filter(|outbox| outbox.is_reliable());
            let messages = outbox.into_iter().flat_map(|outbox| outbox.undelivered());
            messages.map(move |(message, len)| Undelivered { channel: index as u8, message, len })
        })
    }

    fn reliable_only(&self, channel: u8) -> Result<(), PushError> {
        match self.mode(channel) {
            None => Err(self.no_channel(channel)),
            Some(mode) if !mode.is_reliable() => Err(PushError::NotReliable { channel }),
            Some(_) => Ok(()),
        }
    }

    fn no_channel(&self, channel: u8) -> PushError {
        PushError::InvalidChannel { channel, channels: self.layout.len() }
    }

    fn peer_ends_seen(&self, channel: u8) -> u64 {
        let slot = self.channels.get(usize::from(channel));
        slot.and_then(|slot| slot.inbox.as_ref()).map_or(0, |inbox| inbox.ends_seen())
    }

    fn open_outbox(&mut self, channel: u8) -> Result<&mut Outbox, PushError> {
        let (window, first, channels) = (self.peer_window, self.first_message, self.layout.len());
        let mode = self.mode(channel);
        let slot = self.channels.get_mut(usize::from(channel)).zip(mode);
        let (slot, mode) = slot.ok_or(PushError::InvalidChannel { channel, channels })?;
        let config = &self.config;
        Ok(slot.outbox.get_or_insert_with(|| {
            let outbox = Outbox::starting_at(mode, window, first);
            Box::new(match config.channels.get(&channel) {
                None => outbox,
                Some(config) => outbox.configured(config),
            })
        }))
    }
}

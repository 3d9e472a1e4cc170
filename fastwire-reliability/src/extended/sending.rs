//! What the application sends: messages, and the ends of streams.

use std::time::Instant;

use bytes::Bytes;
use fastwire_wire::FragmentFlags;

use super::outbox::Outbox;
use super::{ExtendedChannels, Undelivered};
use crate::PushError;

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
        let ends = self.peer_ends_seen(channel);
        let outbox = self.open_outbox(channel)?;
        if !outbox.is_open(ends) {
            return Err(PushError::Finished { channel });
        }
        let (messages, bytes) = outbox.push(message.clone(), content.bits());
        self.stats.superseded += messages as u64;
        self.queued_bytes = self.queued_bytes + len - bytes;
        self.queued_messages = self.queued_messages + 1 - messages;
        self.refile(channel);
        Ok(())
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
        let outbox = self.open_outbox(channel)?;
        if !outbox.can_reset(ends) {
            return Err(PushError::Finished { channel });
        }
        let (messages, bytes, under_way) = outbox.reset(code, ends);
        self.queued_messages = self.queued_messages.saturating_sub(messages);
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.unfinished = self.unfinished.saturating_sub(under_way);
        self.refile(channel);
        Ok(())
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
        let (window, missing, first) = (self.peer_window(), self.no_channel(channel), self.first_message);
        let mode = self.mode(channel);
        let slot = self.channels.get_mut(usize::from(channel)).zip(mode);
        let (slot, mode) = slot.ok_or(missing)?;
        Ok(slot.outbox.get_or_insert_with(|| Box::new(Outbox::starting_at(mode, window, first))))
    }
}

//! What an application may ask of a stream: to write, to end, to wait. A stream lives on a channel that the layout keeps
//! for streams (PROTOCOL B5, Streams).

use std::time::Instant;

use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;
use fastwire_reliability::Terms;

use super::Endpoint;
use super::commands::Wrap;
use crate::payload::Payload;
use crate::{ConnectionId, SendError, StreamError};

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    /// Queues bytes of the stream on a channel that the layout keeps for streams. They reach the peer as
    /// [`Event::Message`](crate::Event::Message)s of that channel, whose bounds mean nothing. Nothing at all tells the peer
    /// that there is a stream.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued then, and [`SendError::QueueFull`] hands the bytes back.
    pub fn write_stream(
        &mut self,
        now: Instant,
        id: ConnectionId,
        channel: u8,
        data: impl Payload,
    ) -> Result<(), SendError> {
        let now = self.clock.advance(now);
        let connection = self.connections.get(id).ok_or(SendError::ConnectionClosed)?;
        if connection.extended().is_none() || self.stream_channel(channel).is_err() {
            return Err(SendError::NoStream(channel));
        }
        let data = data.into_bytes(&mut self.pool);
        self.queue_bytes(now, id, data, channel, Wrap { may_compress: true, stamped: false }, &Terms::NONE)
    }

    /// Ends our half of the stream on a channel: the peer sees
    /// [`Event::StreamFinished`](crate::Event::StreamFinished) after all that was written before. When both halves have ended
    /// the next bytes begin the channel's next stream.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn finish_stream(&mut self, now: Instant, id: ConnectionId, channel: u8) -> Result<(), StreamError> {
        self.clock.advance(now);
        self.stream_channel(channel)?;
        let mut result = Err(StreamError::NotExtended);
        self.with_connection(id, |connection, _| {
            if let Some(extended) = connection.extended_mut() {
                result = extended.finish(channel);
            }
        });
        result
    }

    /// Breaks our half of the stream on a channel off: what was not delivered is dropped, and the peer sees
    /// [`Event::StreamReset`](crate::Event::StreamReset) with this code. A peer that sees it should end its half too.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn reset_stream(
        &mut self,
        now: Instant,
        id: ConnectionId,
        channel: u8,
        code: u16,
    ) -> Result<(), StreamError> {
        self.clock.advance(now);
        self.stream_channel(channel)?;
        let mut result = Err(StreamError::NotExtended);
        self.with_connection(id, |connection, _| {
            if let Some(extended) = connection.extended_mut() {
                result = extended.reset(channel, code);
            }
        });
        result
    }

    /// Stops (`true`) or resumes (`false`) delivering what comes on one reliable channel, and no other. While it is paused
    /// that stays in the channel's part of the receive budget, and the peer can send on it no further than that. Extended
    /// profile; [`pause`](Self::pause) is for whole connections.
    ///
    /// # Errors
    /// [`StreamError::NotExtended`]; [`StreamError::NoStream`]: the layout has no such channel, or an unreliable one.
    pub fn pause_channel(&mut self, id: ConnectionId, channel: u8, paused: bool) -> Result<(), StreamError> {
        let connection = self.connections.get_mut(id).and_then(|connection| connection.extended_mut());
        let known = connection.ok_or(StreamError::NotExtended)?.pause(channel, paused);
        if !paused {
            self.mark_deliverable(id);
        }
        if known { Ok(()) } else { Err(StreamError::NoStream(channel)) }
    }

    /// Bytes that were queued on a channel and wait to be sent for the first time. Extended profile.
    pub fn unsent_on(&self, id: ConnectionId, channel: u8) -> usize {
        let connection = self.connections.get(id).and_then(|connection| connection.extended());
        connection.map_or(0, |extended| extended.unsent_on(channel))
    }

    fn stream_channel(&self, channel: u8) -> Result<(), StreamError> {
        let opener = self.config.channel_layout.stream_opener(channel);
        opener.map(drop).ok_or(StreamError::NoStream(channel))
    }
}

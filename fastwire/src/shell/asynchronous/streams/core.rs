//! What a stream asks of the core, so that a model check can stand in for it.

use std::time::Instant;

use bytes::Bytes;

use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::proto::Endpoint;
use crate::{ConnectionId, SendError, StreamError};

/// An [`Endpoint`], as far as streams go; its methods of these names say what they do.
pub(super) trait Core {
    fn pause_channel(&mut self, id: ConnectionId, channel: u8, paused: bool) -> Result<(), StreamError>;
    fn unsent_on(&self, id: ConnectionId, channel: u8) -> usize;
    fn write_stream(
        &mut self,
        now: Instant,
        id: ConnectionId,
        channel: u8,
        data: Bytes,
    ) -> Result<(), SendError>;
    fn finish_stream(&mut self, now: Instant, id: ConnectionId, channel: u8) -> Result<(), StreamError>;
    fn reset_stream(
        &mut self,
        now: Instant,
        id: ConnectionId,
        channel: u8,
        code: u16,
    ) -> Result<(), StreamError>;
}

impl<C: Cipher, Z: Compressor, G: CongestionController> Core for Endpoint<C, Z, G> {
    fn pause_channel(&mut self, id: ConnectionId, channel: u8, paused: bool) -> Result<(), StreamError> {
        Self::pause_channel(self, id, channel, paused)
    }

    fn unsent_on(&self, id: ConnectionId, channel: u8) -> usize {
        Self::unsent_on(self, id, channel)
    }

    fn write_stream(
        &mut self,
        now: Instant,
        id: ConnectionId,
        channel: u8,
        data: Bytes,
    ) -> Result<(), SendError> {
        Self::write_stream(self, now, id, channel, data)
    }

    fn finish_stream(&mut self, now: Instant, id: ConnectionId, channel: u8) -> Result<(), StreamError> {
        Self::finish_stream(self, now, id, channel)
    }

    fn reset_stream(
        &mut self,
        now: Instant,
        id: ConnectionId,
        channel: u8,
        code: u16,
    ) -> Result<(), StreamError> {
        Self::reset_stream(self, now, id, channel, code)
    }
}

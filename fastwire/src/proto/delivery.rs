//! Messages on their way to the application: taken from the channels as late as possible, so that what is
//! not asked for stays in the receive budget.

use bytes::Bytes;
use fastwire_compress::{Compressor, Encoding, MAX_DECOMPRESSED_SIZE};
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;
use fastwire_reliability::Delivery;
use fastwire_wire::FragmentFlags;

use super::Endpoint;
use crate::{ConnectionId, Event};

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    pub(super) fn mark_deliverable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is_deliverable
            && !connection.is_paused
        {
            connection.is_deliverable = true;
            self.deliverable.push_back(id);
        }
    }

    pub(super) fn next_message(&mut self, id: ConnectionId) -> Option<Event> {
        loop {
            let connection = self.connections.get_mut(id).filter(|connection| !connection.is_paused)?;
            let delivery = connection.poll_delivery()?;
            if let Some(message) = self.expand(id, delivery) {
                return Some(message);
            }
        }
    }

    /// The messages that a connection still holds become events, so that they come before its end.
    pub(super) fn drain_messages(&mut self, id: ConnectionId) {
        while let Some(delivery) =
            self.connections.get_mut(id).and_then(|connection| connection.poll_delivery())
        {
            let message = self.expand(id, delivery);
            self.events.extend(message);
        }
    }

    /// Decompresses a delivered message (PROTOCOL A8: wire bytes are held, expansion happens here).
    pub(super) fn expand(&mut self, id: ConnectionId, delivery: Delivery) -> Option<Event> {
        let Delivery { channel, content, data, .. } = delivery;
        let data = if content.contains(FragmentFlags::COMPRESSED) {
            let encoding = if content.contains(FragmentFlags::ZSTD) { Encoding::Zstd } else { Encoding::Lz4 };
            self.scratch.clear();
            let result =
                self.parts.compressor.decompress(encoding, &data, MAX_DECOMPRESSED_SIZE, &mut self.scratch);
            match result {
                Ok(_) => Bytes::copy_from_slice(&self.scratch),
                Err(error) => {
                    self.on_undecodable(id, channel, error.to_string());
                    return None;
                }
            }
        } else {
            data
        };
        self.connections.get_mut(id)?.on_delivered();
        Some(Event::Message { connection: id, channel, data })
    }

    pub(super) fn on_undecodable(&mut self, id: ConnectionId, channel: u8, why: String) {
        let now = self.clock.now();
        self.with_connection(id, |connection, env| {
            connection.on_undecodable();
            if connection.is_reliable(channel) {
                connection.fail_decompression(why, now, env);
            }
        });
    }
}

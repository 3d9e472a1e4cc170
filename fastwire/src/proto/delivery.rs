//! Messages on their way to the application: taken from the channels as late as possible, so that what is
//! not asked for stays in the receive budget.

use std::collections::VecDeque;

use bytes::Bytes;
use fastwire_compress::{Compressor, Encoding, MAX_DECOMPRESSED_SIZE};
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;
use fastwire_reliability::Delivery;
use fastwire_reliability::extended::{Incoming, Polled};
use fastwire_wire::FragmentFlags;
use fastwire_wire::extended::Stamp;

use super::Endpoint;
use super::connection::Connection;
use crate::{ConnectionId, Event, Receipt, ReceiptId};

/// What [`Endpoint::poll_told`] gave.
#[derive(Debug)]
pub(crate) enum Told {
    /// A message, whose bytes were copied to where the caller said.
    Copied { connection: ConnectionId, channel: u8 },
    /// Anything else.
    Event(Event),
}

/// A message does not travel as it is.
const WRAPPED: FragmentFlags = FragmentFlags::COMPRESSED.union(FragmentFlags::STAMPED);

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    pub(super) fn mark_deliverable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.common.is_deliverable
            && !connection.common.is_paused
        {
            connection.common.is_deliverable = true;
            self.deliverable.push_back(id);
        }
    }

    /// The next thing that a connection delivers. The bytes of a short message may be copied to `into`, if there is such.
    #[inline]
    pub(super) fn next_delivery(&mut self, id: ConnectionId, into: Option<&mut Vec<u8>>) -> Option<Told> {
        let (now, mut into) = (self.clock.now(), into);
        loop {
            let connection =
                self.connections.get_mut(id).filter(|connection| !connection.common.is_paused)?;
            if connection.common.intake.is_closed(now) {
                if let Some(extended) = connection.extended_mut() {
                    extended.set_apart();
                }
                self.reschedule(id);
                return None;
            }
            let incoming = match into.as_deref_mut() {
                None => connection.poll_delivery()?,
                Some(into) => match connection.poll_delivery_into(into)? {
                    Polled::Owned(incoming) => incoming,
                    Polled::Copied { channel, content } => {
                        connection.common.intake.on_delivered(into.len());
                        if content.intersection(WRAPPED).is_empty() {
                            connection.on_delivered(channel, into.len(), now);
                            self.times.set(None);
                            return Some(Told::Copied { connection: id, channel });
                        }
                        let data = Bytes::copy_from_slice(into);
                        let event = self.unwrap_message(id, Delivery { channel, content, data });
                        self.account(id);
                        match event {
                            Some(event) => return Some(Told::Event(event)),
                            None => continue,
                        }
                    }
                },
            };
            if let Incoming::Message(delivery) = &incoming {
                connection.common.intake.on_delivered(delivery.data.len());
            }
            match incoming {
                Incoming::Message(Delivery { channel, content, data })
                    if content.intersection(WRAPPED).is_empty() =>
                {
                    connection.on_delivered(channel, data.len(), now);
                    self.times.set(None);
                    return Some(Told::Event(Event::Message { connection: id, channel, data }));
                }
                incoming => {
                    let event = self.event_of(id, incoming);
                    self.account(id);
                    if let Some(event) = event {
                        return Some(Told::Event(event));
                    }
                }
            }
        }
    }

    /// What became of messages whose sender asked becomes events.
    pub(super) fn collect_receipts(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        collect_receipts(id, connection, &mut self.events);
    }

    /// The messages that a connection still holds become events, so that they come before its end.
    pub(super) fn drain_messages(&mut self, id: ConnectionId) {
        if self.connections.get(id).is_none_or(|connection| connection.common.is_shed) {
            return;
        }
        if let Some(extended) = self.connections.get_mut(id).and_then(|connection| connection.extended_mut())
        {
            extended.unpause_all();
        }
        while let Some(incoming) =
            self.connections.get_mut(id).and_then(|connection| connection.poll_delivery())
        {
            let event = self.event_of(id, incoming);
            if event.is_some() {
                self.times.wait(self.events.len());
            }
            self.events.extend(event);
        }
    }

    fn event_of(&mut self, connection: ConnectionId, incoming: Incoming) -> Option<Event> {
        self.times.set(None);
        match incoming {
            Incoming::Message(delivery) => self.unwrap_message(connection, delivery),
            Incoming::Finished { channel } => Some(Event::StreamFinished { connection, channel }),
            Incoming::Reset { channel, code } => Some(Event::StreamReset { connection, channel, code }),
            _ => None,
        }
    }

    /// Takes the stamp off a delivered message, then expands it.
    fn unwrap_message(&mut self, id: ConnectionId, mut delivery: Delivery) -> Option<Event> {
        let mut time = None;
        if delivery.content.contains(FragmentFlags::STAMPED) && self.reads_stamps(id) {
            let Some((stamp, rest)) = Stamp::split(&delivery.data) else {
                self.on_undecodable(id, delivery.channel, "it is shorter than its stamp".to_owned());
                return None;
            };
            time = self.time_of(id, stamp);
            delivery.data = delivery.data.slice_ref(rest);
        }
        let event = self.expand(id, delivery)?;
        self.times.set(time);
        Some(event)
    }

    /// Decompresses a delivered message (PROTOCOL A8: wire bytes are held, expansion happens here).
    fn expand(&mut self, id: ConnectionId, delivery: Delivery) -> Option<Event> {
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
        let now = self.clock.now();
        self.connections.get_mut(id)?.on_delivered(channel, data.len(), now);
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

/// What became of messages whose sender asked becomes events.
#[inline]
pub(super) fn collect_receipts<C: Cipher, G: CongestionController>(
    id: ConnectionId,
    connection: &mut Connection<C, G>,
    events: &mut VecDeque<Event>,
) {
    while let Some(given) = connection.poll_receipt() {
        let receipt = Receipt { id: ReceiptId(given.name), channel: given.channel, fate: given.fate };
        events.push_back(Event::Receipt { connection: id, receipt });
    }
}

//! Streams of bytes over the channels that a layout keeps for them: opened, accepted, and given back when both halves
//! have ended.
//!
//! Tasks and the pump meet in [`Streams`]: tasks change a stream's state and list it, the pump serves what is listed. A
//! channel carries one stream at a time. It is free again once our half's end is in the core and the peer's was
//! delivered; a stream that was finished and dropped lives here until then.

mod core;
mod listener;
mod shared;
mod stream;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};

pub use self::listener::FastwireListener;
pub use self::shared::StreamReset;
use self::shared::{Served, Shared};
pub use self::stream::{FastwireStream, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::proto::Endpoint;
use crate::reliability::{ChannelLayout, StreamOpener};
use crate::shell::link::lock;
use crate::sync::Mutex;
use crate::{ConnectionId, DisconnectReason, Profile, StreamError};

/// The streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams {
    table: Mutex<Table>,
    /// As many permits as channels are free for us to open a stream on. Its queue is fair.
    free: Semaphore,
    /// A stream of the peer's has come, or none will any more.
    arrived: Notify,
    layout: ChannelLayout,
    opener: StreamOpener,
    /// Bytes that a stream holds in each direction.
    limit: usize,
}

#[derive(Debug)]
struct Slot {
    stream: Arc<Shared>,
    /// An application has it, or had.
    taken: bool,
}

#[derive(Debug, Default)]
struct Table {
    /// By channel; empty where the layout has no streams.
    slots: Vec<Option<Slot>>,
    /// Channels that we open streams on and that are free, the one that is so for longest first.
    free: VecDeque<u8>,
    /// Channels on which the peer opened a stream that nobody has accepted.
    offered: VecDeque<u8>,
    /// Streams that want the pump.
    listed: Vec<Arc<Shared>>,
    over: bool,
}

impl Streams {
    pub(crate) fn new(layout: &ChannelLayout, opener: StreamOpener, limit: usize) -> Self {
        let channels = if layout.has_streams() { layout.len() } else { 0 };
        let free: VecDeque<u8> = layout.stream_channels(opener).collect();
        Self {
            free: Semaphore::new(free.len()),
            table: Mutex::new(Table {
                slots: std::iter::repeat_with(|| None).take(channels).collect(),
                free,
                ..Table::default()
            }),
            arrived: Notify::new(),
            layout: layout.clone(),
            opener,
            limit,
        }
    }

    /// Whether the layout has channels on which this side opens streams.
    pub(super) fn can_open(&self) -> bool {
        self.layout.stream_channels(self.opener).next().is_some()
    }

    /// Takes a free channel, as soon as there is one. Cancellation-safe: a channel is taken only when this returns.
    pub(super) async fn open(&self) -> Result<Arc<Shared>, StreamError> {
        let permit = self.free.acquire().await.map_err(|_| StreamError::ConnectionClosed)?;
        permit.forget();
        let mut table = lock(&self.table);
        let channel = table.free.pop_front().filter(|_| !table.over).ok_or(StreamError::ConnectionClosed)?;
        table.take(channel).ok_or(StreamError::NoStream(channel))
    }

    /// Takes the next stream that the peer opened.
    pub(super) async fn accept(&self) -> Result<Arc<Shared>, StreamError> {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            // Listening before looking: what comes in between is not missed.
            arrived.as_mut().enable();
            {
                let mut table = lock(&self.table);
                if let Some(stream) = table.offered.pop_front().and_then(|channel| table.take(channel)) {
                    if !table.offered.is_empty() {
                        // for the next who waits: one notice may have stood for two streams
                        self.arrived.notify_one();
                    }
                    return Ok(stream);
                }
                if table.over {
                    return Err(StreamError::ConnectionClosed);
                }
            }
            arrived.await;
        }
    }

    /// Takes the stream of one channel, whether the peer has begun it or not.
    fn adopt(&self, channel: u8) -> Result<Arc<Shared>, StreamError> {
        let mut table = lock(&self.table);
        if table.over {
            return Err(StreamError::ConnectionClosed);
        }
        table.offered.retain(|offered| *offered != channel);
        table.take(channel).ok_or(StreamError::NoStream(channel))
    }

    /// Notes that a stream wants the pump.
    fn list(&self, stream: &Arc<Shared>) {
        lock(&self.table).listed.push(Arc::clone(stream));
    }

    /// Whether a stream wants the pump.
    pub(crate) fn is_listed(&self) -> bool {
        !lock(&self.table).listed.is_empty()
    }

    /// Carries out what tasks have asked for. Gives false when the core had no room for all of it.
    pub(crate) fn serve<C: Cipher, Z: Compressor, G: CongestionController>(
        &self,
        id: ConnectionId,
        now: Instant,
        endpoint: &mut Endpoint<C, Z, G>,
    ) -> bool {
        let listed = std::mem::take(&mut lock(&self.table).listed);
        if listed.is_empty() {
            return true;
        }
        let mut stuck = Vec::new();
        for stream in listed {
            match stream.serve(id, now, endpoint, self.limit) {
                Served::All => {}
                Served::Stuck => stuck.push(stream),
                Served::Over => self.retire(&stream),
            }
        }
        if stuck.is_empty() {
            return true;
        }
        let mut table = lock(&self.table);
        if !table.over {
            // those first that wait already
            stuck.append(&mut table.listed);
            table.listed = stuck;
        }
        false
    }

    /// Whether the core has sent enough of what a stream that waits for that had given it.
    pub(crate) fn could_go<C: Cipher, Z: Compressor, G: CongestionController>(
        &self,
        id: ConnectionId,
        endpoint: &Endpoint<C, Z, G>,
    ) -> bool {
        lock(&self.table).listed.iter().any(|stream| stream.could_go(id, endpoint))
    }

    /// Bytes came on a channel that carries streams.
    pub(super) fn on_data<C: Cipher, Z: Compressor, G: CongestionController>(
        &self,
        id: ConnectionId,
        channel: u8,
        data: Bytes,
        endpoint: &mut Endpoint<C, Z, G>,
    ) {
        // a base peer knows no streams
        if endpoint.profile(id) != Some(Profile::Extended) {
            return;
        }
        if let Some(stream) = self.stream_on(channel)
            && stream.on_data(data, self.limit)
        {
            let _ = endpoint.pause_channel(id, channel, true);
        }
    }

    /// The peer ended its half of the stream on a channel.
    pub(super) fn on_finished(&self, channel: u8) {
        if let Some(stream) = self.stream_on(channel)
            && stream.on_finished()
        {
            self.retire(&stream);
        }
    }

    /// The peer broke the stream on a channel off. Our half ends with it; of a stream that nobody has accepted nobody hears.
    pub(super) fn on_reset<C: Cipher, Z: Compressor, G: CongestionController>(
        &self,
        id: ConnectionId,
        channel: u8,
        code: u16,
        now: Instant,
        endpoint: &mut Endpoint<C, Z, G>,
    ) {
        let taken = lock(&self.table).taken_on(channel);
        let answer = taken.as_ref().map_or(Some(0), |stream| stream.on_reset(code));
        if let Some(code) = answer {
            let _ = endpoint.reset_stream(now, id, channel, code);
        }
        if let Some(stream) = taken {
            self.retire(&stream);
        }
    }

    /// The connection is over. What came can still be read.
    pub(crate) fn end(&self, reason: Option<DisconnectReason>) {
        let mut table = lock(&self.table);
        table.over = true;
        table.listed = Vec::new();
        let streams: Vec<_> = table.slots.iter().flatten().map(|slot| Arc::clone(&slot.stream)).collect();
        drop(table);
        for stream in streams {
            stream.on_lost(reason);
        }
        self.free.close();
        self.arrived.notify_waiters();
    }

    /// The stream of a channel on which something came: it begins now if there is none.
    fn stream_on(&self, channel: u8) -> Option<Arc<Shared>> {
        let mut table = lock(&self.table);
        self.layout.stream_opener(channel)?;
        let slot = table.slots.get_mut(usize::from(channel))?;
        if let Some(slot) = slot {
            return Some(Arc::clone(&slot.stream));
        }
        let stream = Arc::new(Shared::new(channel));
        *slot = Some(Slot { stream: Arc::clone(&stream), taken: false });
        if !self.opens(channel) {
            table.offered.push_back(channel);
            drop(table);
            self.arrived.notify_one();
        }
        Some(stream)
    }

    /// Whether it is this side that opens streams on a channel.
    fn opens(&self, channel: u8) -> bool {
        self.layout.stream_opener(channel) == Some(self.opener)
    }

    /// Both halves of a stream have ended: its channel is free.
    fn retire(&self, stream: &Arc<Shared>) {
        let mut table = lock(&self.table);
        let channel = stream.channel();
        let Some(slot) = table.slots.get_mut(usize::from(channel)) else { return };
        let Some(Slot { taken, .. }) = slot.take_if(|slot| Arc::ptr_eq(&slot.stream, stream)) else { return };
        table.offered.retain(|offered| *offered != channel);
        if taken && self.opens(channel) && !table.over {
            table.free.push_back(channel);
            drop(table);
            self.free.add_permits(1);
        }
    }
}

impl Table {
    /// Gives the stream of a channel to an application.
    fn take(&mut self, channel: u8) -> Option<Arc<Shared>> {
        let slot = self.slots.get_mut(usize::from(channel))?;
        let slot = slot.get_or_insert_with(|| Slot { stream: Arc::new(Shared::new(channel)), taken: false });
        slot.taken = true;
        Some(Arc::clone(&slot.stream))
    }

    /// The stream of a channel if an application has it; else it is forgotten.
    fn taken_on(&mut self, channel: u8) -> Option<Arc<Shared>> {
        let slot = self.slots.get_mut(usize::from(channel))?;
        if slot.as_ref().is_some_and(|slot| !slot.taken) {
            *slot = None;
            self.offered.retain(|offered| *offered != channel);
        }
        self.slots.get(usize::from(channel))?.as_ref().map(|slot| Arc::clone(&slot.stream))
    }
}

//! When a message was sent, by the server's clock: stamps on the way out, and what they say on the way in (PROTOCOL B5, Stamps).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;
use fastwire_wire::extended::Stamp;

use super::Endpoint;
use crate::ConnectionId;

/// Both sides count whole microseconds, when they ask for the time, tell it and use it.
const ROUNDING: Duration = Duration::from_micros(4);

/// When a message was sent whose sender asked with [`SendOptions::stamped`](crate::SendOptions::stamped).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MessageTime {
    /// The server's time when its application sent the message: time since the server's endpoint began.
    pub sent: Duration,
    /// How old the message was when it was handed over.
    pub age: Duration,
    /// How far off `age` may be: what the client knew of the server's clock when the message was sent or handed over. `sent` is no
    /// further off.
    pub error: Duration,
}

/// What is known of the message that was told of last, and of messages that wait among the events.
#[derive(Debug, Default)]
pub(super) struct Times {
    current: Option<MessageTime>,
    /// By how many events had been taken when theirs is.
    waiting: VecDeque<(u64, MessageTime)>,
    taken: u64,
}

impl Times {
    /// A message is told of.
    #[inline]
    pub(super) fn set(&mut self, time: Option<MessageTime>) {
        self.current = time;
    }

    /// The message just set becomes an event behind `ahead` others.
    pub(super) fn wait(&mut self, ahead: usize) {
        if let Some(time) = self.current.take() {
            self.waiting.push_back((self.taken + ahead as u64, time));
        }
    }

    /// An event that waited is told.
    pub(super) fn on_event(&mut self) {
        let its = self.waiting.front().is_some_and(|(at, _)| *at == self.taken);
        self.current = if its { self.waiting.pop_front().map(|(_, time)| time) } else { None };
        self.taken += 1;
    }
}

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    /// When the message was sent that [`poll_event`](Self::poll_event) gave last. `None` if its sender did not have it
    /// [stamped](crate::SendOptions::stamped), or we do not know the time, or that event was no message.
    pub fn message_time(&self) -> Option<MessageTime> {
        self.times.current
    }

    /// What is told next does not come from [`poll_event`](Self::poll_event).
    pub(crate) fn forget_message_time(&mut self) {
        self.times.set(None);
    }

    /// The stamp of a message that is sent now; `None` where there is no time that both sides know.
    pub(super) fn stamp(&self, id: ConnectionId) -> Option<Stamp> {
        let knows = self.connections.get(id)?.extended()?.tells_time();
        let now = self.server_time(id).filter(|_| knows)?;
        Some(Stamp::new(micros(now.time), micros(now.error)))
    }

    /// A message as it travels behind its stamp.
    #[cold]
    pub(super) fn behind(&mut self, stamp: Stamp, message: &Bytes) -> Bytes {
        self.scratch.clear();
        self.scratch.extend_from_slice(&stamp.to_bytes());
        self.scratch.extend_from_slice(message);
        self.compressed.copy(&self.scratch).freeze()
    }

    /// Whether stamps mean something on this connection.
    pub(super) fn reads_stamps(&self, id: ConnectionId) -> bool {
        let extended = self.connections.get(id).and_then(|connection| connection.extended());
        extended.is_some_and(|extended| extended.tells_time())
    }

    /// What a stamp says as its message is handed over; `None` while we do not know the time ourselves.
    pub(super) fn time_of(&self, id: ConnectionId, stamp: Stamp) -> Option<MessageTime> {
        let now = self.server_time(id)?;
        let sent = Duration::from_micros(stamp.time(micros(now.time)));
        let error = now.error.saturating_add(Duration::from_micros(stamp.error()) + ROUNDING);
        Some(MessageTime { sent, age: now.time.saturating_sub(sent), error })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

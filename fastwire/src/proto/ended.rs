//! What is left of connections that ended, until the application has heard of it.

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;

use fastwire_reliability::extended::Undelivered;

use super::connection::Farewell;
use crate::{ConnectionId, ConnectionStats};

/// What can still be asked about a connection while its `Disconnected` is on its way.
pub(crate) struct Ended {
    pub(crate) id: ConnectionId,
    pub(crate) remote: SocketAddr,
    pub(crate) stats: ConnectionStats,
    pub(crate) farewell: Farewell,
    pub(crate) undelivered: Vec<Undelivered>,
    pub(crate) user_data: Option<Box<dyn Any + Send>>,
}

/// Ended connections, one for each `Disconnected` that is queued, in the same order.
#[derive(Default)]
pub(crate) struct Graveyard {
    queue: VecDeque<Ended>,
    /// The event of the first one was polled: the next poll buries it.
    told: bool,
}

impl Graveyard {
    pub(crate) fn push(&mut self, ended: Ended) {
        self.queue.push_back(ended);
    }

    /// Before every poll.
    #[inline]
    pub(crate) fn bury(&mut self) {
        if self.told {
            self.told = false;
            self.queue.pop_front();
        }
    }

    /// A `Disconnected` was polled.
    pub(crate) fn tell(&mut self) {
        self.told = true;
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Ended> {
        self.queue.iter().find(|ended| ended.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Ended> {
        self.queue.iter_mut().find(|ended| ended.id == id)
    }
}

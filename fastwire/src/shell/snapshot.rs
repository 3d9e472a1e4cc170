//! What handles and tasks can tell about their connection without asking whoever drives it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::{Cipher, PublicKey};
use crate::proto::{Endpoint, ServerTime};
use crate::reliability::extended::Undelivered;
use crate::{ConnectionId, ConnectionStats, DisconnectReason};

/// A connection as it was when its endpoint last looked.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) remote: Option<SocketAddr>,
    /// Nothing before somebody holds a handle: a server has many connections, and these are most of a link.
    pub(super) stats: Option<Box<ConnectionStats>>,
    /// Extended profile: the server's identity key.
    pub(super) server_key: Option<PublicKey>,
    /// The server's time, and when it was that.
    pub(super) server_time: Option<(ServerTime, Instant)>,
    pub(super) reason: Option<DisconnectReason>,
    /// Once it is over.
    pub(super) last: Option<Arc<Last>>,
}

/// What is known only when a connection is over.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// The code and text that the peer closed with.
    pub(super) farewell: Option<(u16, String)>,
    /// Reliable messages that were not wholly acknowledged.
    pub(super) undelivered: Vec<Undelivered>,
}

impl Last {
    pub(super) fn of<C: Cipher, Z: Compressor, G: CongestionController>(
        id: ConnectionId,
        endpoint: &Endpoint<C, Z, G>,
    ) -> Self {
        Self {
            farewell: endpoint.farewell(id).map(|(code, text)| (code, text.to_owned())),
            undelivered: endpoint.undelivered(id).to_vec(),
        }
    }
}

impl Snapshot {
    /// The server's time at `now`. The further from the pump's last look, the less is known: the clock may have been steered since.
    pub(super) fn server_time(&self, now: Instant) -> Option<ServerTime> {
        let (shown, at) = self.server_time?;
        Some(shown.after(now.saturating_duration_since(at)))
    }

    pub(super) fn stats(self) -> ConnectionStats {
        self.stats.map_or_else(ConnectionStats::default, |stats| *stats)
    }

    pub(super) fn farewell(&self) -> Option<(u16, String)> {
        self.last.as_ref()?.farewell.clone()
    }

    pub(super) fn undelivered(&self) -> Vec<Undelivered> {
        self.last.as_ref().map(|last| last.undelivered.clone()).unwrap_or_default()
    }
}

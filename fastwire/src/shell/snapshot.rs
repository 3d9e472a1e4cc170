//! What handles and tasks can tell about their connection without asking whoever drives it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::{Cipher, PublicKey};
use crate::proto::Endpoint;
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

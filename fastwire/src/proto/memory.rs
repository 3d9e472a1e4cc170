//! What all connections of a server hold together, and who goes when it is too much.

use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;

use super::Endpoint;
use crate::{ConnectionId, ServerHealth};

/// A farewell that leaves at once is followed by no repeats, so it leaves this often.
const COPIES: usize = 2;

/// The server's account.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The sum of what is charged to the connections.
    pub(crate) held: u64,
    /// Connections ended because of it.
    pub(crate) shed: u64,
    /// Somebody is on the way out: what that changes is only put to the account.
    shedding: bool,
}

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    /// A server's state in one value. `None` for a client.
    pub fn health(&self) -> Option<ServerHealth> {
        let router = self.router.as_ref()?;
        Some(ServerHealth {
            uptime: self.clock.now().saturating_duration_since(self.started),
            is_accepting: self.connections.len() < router.max_connections,
            connections: self.connections.len(),
            max_connections: router.max_connections,
            pending_handshakes: self.pending_handshakes(),
            bans: router.bans(),
            memory_held: self.memory.held,
            memory_limit: self.config.limits.memory as u64,
            memory_shed: self.memory.shed,
            stats: self.stats,
        })
    }

    /// Puts what a connection holds to its account. Over the limit, whoever holds most goes.
    pub(super) fn account(&mut self, id: ConnectionId) {
        if self.router.is_none() {
            return;
        }
        if let Some(connection) = self.connections.get_mut(id) {
            let holds = connection.memory();
            self.memory.held =
                self.memory.held.saturating_sub(connection.common.charged).saturating_add(holds);
            connection.common.charged = holds;
        }
        if self.memory.shedding {
            return;
        }
        self.memory.shedding = true;
        while self.memory.held > self.config.limits.memory as u64 && self.shed_largest() {}
        self.memory.shedding = false;
    }

    /// Ends the connection that holds most. Gives false if none holds anything.
    fn shed_largest(&mut self) -> bool {
        let holds = |id: &ConnectionId| self.connections.get(*id).map_or(0, |c| c.common.charged);
        let Some(id) = self.connections.ids().max_by_key(holds).filter(|id| holds(id) > 0) else {
            return false;
        };
        self.memory.shed += 1;
        let now = self.clock.now();
        let mut farewell = None;
        self.with_connection(id, |connection, env| farewell = connection.shed(now, env));
        for farewell in farewell.into_iter().flat_map(|farewell| std::iter::repeat_n(farewell, COPIES)) {
            self.answer(farewell);
        }
        true
    }
}

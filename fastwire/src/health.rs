//! How a server is doing: one value to show, to log, or to answer a health check with.

use std::time::Duration;

use crate::EndpointStats;

/// A server at one moment. Cheap to take; with the Cargo feature `serde` it can be serialised.
///
/// ```
/// # fn main() -> Result<(), fastwire::StartError> {
/// let server = fastwire::Server::bind("127.0.0.1:0")?;
/// let health = server.health();
/// assert!(health.is_accepting && health.connections == 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ServerHealth {
    /// Since the server was opened. Time in which nobody drove it counts at most one second a gap.
    pub uptime: Duration,
    /// One more client would find a place: the server is neither full nor shutting down.
    pub is_accepting: bool,
    /// Connections, those on their way in or out included.
    pub connections: usize,
    /// How many there may be; 0 once the server shuts down.
    pub max_connections: usize,
    /// Handshakes under way.
    pub pending_handshakes: usize,
    /// Banned addresses.
    pub bans: usize,
    /// Bytes of messages that all connections hold together: partial, undelivered, waiting to leave or to be acknowledged,
    /// with their bookkeeping.
    pub memory_held: u64,
    /// How much that may be ([`Limits::memory`](crate::Limits::memory)).
    pub memory_limit: u64,
    /// Connections ended so far because all together held too much.
    pub memory_shed: u64,
    /// What the server has done so far.
    pub stats: EndpointStats,
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_serialised_under_its_name() {
        let health = ServerHealth { memory_shed: 7, is_accepting: true, ..ServerHealth::default() };
        let value = serde_json::to_value(&health).expect("a value");
        assert_eq!(value["memory_shed"], 7);
        assert_eq!(value["is_accepting"], true);
        assert_eq!(value["stats"]["key_agreements"], 0);
        let shown = format!("{health:?}");
        for name in value.as_object().expect("an object").keys() {
            assert!(shown.contains(&format!("{name}: ")), "{name}");
        }
    }
}

//! What an endpoint tells its application: connections that come and go, and the messages between.

use bytes::Bytes;

use crate::{ConnectError, ConnectionError, ConnectionId, Receipt};

/// One thing that happened. Of one connection the order is always `Connected`, then messages and
/// errors, then `Disconnected`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A connection is established: the peer has proved that it holds the keys.
    Connected {
        /// The new connection.
        connection: ConnectionId,
    },
    /// Server with [`authorize`](crate::ServerConfig::authorize): a client asks to be let in. Answer within five seconds with
    /// [`accept`](crate::proto::Endpoint::accept) or [`refuse`](crate::proto::Endpoint::refuse);
    /// [`client_auth`](crate::proto::Endpoint::client_auth) and [`token_claims`](crate::proto::Endpoint::token_claims) say
    /// what it showed.
    Authorize {
        /// The connection it would have.
        connection: ConnectionId,
    },
    /// A client's attempt ended without a connection.
    ConnectFailed {
        /// The id that [`connect`](crate::proto::Endpoint::connect) gave.
        connection: ConnectionId,
        /// Why.
        error: ConnectError,
    },
    /// A message arrived.
    Message {
        /// Whom it came from.
        connection: ConnectionId,
        /// The channel it was sent on.
        channel: u8,
        /// Its bytes, as the peer's application sent them.
        data: Bytes,
    },
    /// The peer ended its half of the stream on a reliable channel: what it sent before has been delivered. Extended profile.
    StreamFinished {
        /// Whose stream.
        connection: ConnectionId,
        /// The stream's channel.
        channel: u8,
    },
    /// The peer broke off its half of the stream on a reliable channel: what it sent and was not delivered will not be.
    /// Extended profile.
    StreamReset {
        /// Whose stream.
        connection: ConnectionId,
        /// The stream's channel.
        channel: u8,
        /// What its application says of it.
        code: u16,
    },
    /// What became of a message whose sender asked with [`SendOptions::receipt`](crate::SendOptions::receipt). Once for each,
    /// before the connection's `Disconnected`.
    Receipt {
        /// The connection it was sent on.
        connection: ConnectionId,
        /// Which message, and what became of it.
        receipt: Receipt,
    },
    /// Something went wrong on a connection of an authenticated peer. It ends next.
    Error {
        /// Which connection.
        connection: ConnectionId,
        /// What.
        error: ConnectionError,
    },
    /// A connection ended. Its id names nothing from now on.
    Disconnected {
        /// Which connection.
        connection: ConnectionId,
        /// Why.
        reason: DisconnectReason,
    },
}

impl Event {
    /// The connection the event speaks of.
    pub fn connection(&self) -> ConnectionId {
        match self {
            Event::Connected { connection }
            | Event::Authorize { connection }
            | Event::ConnectFailed { connection, .. }
            | Event::Message { connection, .. }
            | Event::StreamFinished { connection, .. }
            | Event::StreamReset { connection, .. }
            | Event::Receipt { connection, .. }
            | Event::Error { connection, .. }
            | Event::Disconnected { connection, .. } => *connection,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// Either side closed it.
    Graceful,
    /// Nothing was heard from the peer for the connection timeout.
    Timeout,
    /// An error ended it; an [`Event::Error`] before this one says which.
    Error,
    /// The server did not let the client in.
    Rejected,
    /// The server's application threw the client out with [`kick`](crate::proto::Endpoint::kick).
    Kicked,
    /// The client behind this connection started anew from the same address.
    Replaced,
}

impl std::fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DisconnectReason::Graceful => "closed",
            DisconnectReason::Timeout => "timed out",
            DisconnectReason::Error => "ended by an error",
            DisconnectReason::Rejected => "rejected by the server",
            DisconnectReason::Kicked => "kicked",
            DisconnectReason::Replaced => "replaced by a new connection of the same client",
        })
    }
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// It is over, or the id names no connection.
    Disconnected,
    /// The handshake is under way.
    Connecting,
    /// Established.
    Connected,
    /// Closing: queued reliable messages leave, then the peer is told.
    Disconnecting,
}

//! The facade's errors, one enum a question: may I configure this, did it connect, may I send, why did it end.

use std::time::Duration;

use bytes::Bytes;
use fastwire_reliability::PushError;
use thiserror::Error;

use crate::ConnectionId;

/// A configuration that cannot work. Names the field, its value and what is allowed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A figure outside its range.
    #[error("{field} is {value}; allowed is {allowed}")]
    OutOfRange {
        /// The configuration field.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// Two fields contradict each other.
    #[error("{field} and {other} contradict each other: {why}")]
    Contradiction {
        /// One field.
        field: &'static str,
        /// The other.
        other: &'static str,
        /// What is wrong, and what to change.
        why: &'static str,
    },
    /// The compression settings are unusable.
    #[error("compression: {0}")]
    Compression(String),
}

impl ConfigError {
    pub(crate) fn range(field: &'static str, value: impl ToString, allowed: &'static str) -> Self {
        ConfigError::OutOfRange { field, value: value.to_string(), allowed }
    }
}

/// Why the application turns a client away that asks to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Refusal {
    /// The client sees [`ConnectError::NotAuthorised`].
    #[default]
    NotAuthorised,
    /// The client sees [`ConnectError::Banned`]. It is no ban: see [`Endpoint::ban`](crate::proto::Endpoint::ban).
    Banned,
    /// The client sees [`ConnectError::ServerFull`].
    ServerFull,
}

/// Why a client did not get its connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No server answered in time.
    #[error(
        "no answer from the server within {after:?}: check the address, that the server runs, and that UDP is let through"
    )]
    Timeout {
        /// The connect timeout that ran out.
        after: Duration,
    },
    /// The server speaks another protocol version, or wants another application version.
    #[error(
        "the server speaks protocol version {protocol} for application version {application}; \
         this client speaks {our_protocol} for {our_application}"
    )]
    VersionMismatch {
        /// The server's protocol version.
        protocol: u8,
        /// The server's application version.
        application: u16,
        /// Our protocol version.
        our_protocol: u8,
        /// Our application version.
        our_application: u16,
    },
    /// The server has no free slot.
    #[error("the server is full; try again later")]
    ServerFull,
    /// The server has banned this client.
    #[error("the server has banned this client")]
    Banned,
    /// The server's channel layout is another (extended profile).
    #[error("the server's channel_layout differs from this client's; make them equal")]
    LayoutDiffers,
    /// The server does not let this client in: its application refused, its connect token is missing, expired or another's, or
    /// it speaks only the base profile where the server wants more (extended profile).
    #[error(
        "the server does not let this client in: its application refused, or it wants a valid connect token, or the \
         extended profile"
    )]
    NotAuthorised,
    /// The server's policy allows none of the suites offered (extended profile).
    #[error("the server allows none of the cipher suites in cipher_preference")]
    SuiteRefused,
    /// The server was too busy for this client until the connect timeout ran out (extended profile).
    #[error("the server is too busy; try again later")]
    Busy,
    /// The server's key is not the one that was pinned (extended profile).
    #[error(
        "the server has another key than the one that is pinned; pin its new one if its operator changed it"
    )]
    UnknownServerKey,
    /// The server wants a connect token and none is set (extended profile).
    #[error("the server wants a connect token; get one from its backend and set connect_token")]
    TokenRequired,
    /// The server answered, but its last word did not come: it does not share the secret, is not who was pinned, or the
    /// line broke (extended profile).
    #[error(
        "the server answered but did not complete the handshake within {after:?}: check the pre-shared key and the pinned key"
    )]
    Unconfirmed {
        /// The connect timeout that ran out.
        after: Duration,
    },
    /// The server refused for a reason this version does not know.
    #[error("the server refused with reason {0}")]
    Refused(u8),
    /// The server chose a cipher that this client's configuration does not allow.
    #[error(
        "the server chose cipher suite {0}, which cipher_preference does not allow; list it there to accept it"
    )]
    CipherRefused(u8),
    /// The application closed the connection before it was established.
    #[error("closed by the application before it was established")]
    Closed,
    /// This client is connected or connecting already.
    #[error("already connected or connecting as connection {0}; close it first")]
    AlreadyConnected(ConnectionId),
    /// No address to connect to.
    #[error("the server's name gave no address")]
    NoAddress,
    /// This endpoint is a server.
    #[error("a server does not connect")]
    NotAClient,
}

/// Why a stream cannot be opened, written to or ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// There is no connection, or it speaks the base profile.
    #[error("streams need an established connection of the extended profile")]
    NotExtended,
    /// The layout has no such channel, or not for streams.
    #[error("channel {0} carries no streams; give the layout channels that do: ChannelLayout::with_streams")]
    NoStream(u8),
    /// The layout has no channel on which this side opens streams.
    #[error("the layout has no channels for streams that this side opens; see ChannelLayout::with_streams")]
    NoneToOpen,
    /// Our half of the channel's stream has ended, and the peer's not yet, or our end has not left yet.
    #[error(
        "this half of the stream on channel {0} has ended; the next one begins when the peer's half has too"
    )]
    Ended(u8),
    /// The connection is over or closing.
    #[error("the connection is closed")]
    ConnectionClosed,
}

impl StreamError {
    pub(crate) fn from_push(error: PushError, channel: u8) -> Self {
        match error {
            PushError::InvalidChannel { .. } | PushError::NotReliable { .. } => {
                StreamError::NoStream(channel)
            }
            _ => StreamError::Ended(channel),
        }
    }
}

/// Why a message was not queued. Nothing is lost: what cannot be queued stays with, or goes back to, the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// No such channel in the layout.
    #[error("channel {channel} does not exist; the layout has channels 0 to {last}")]
    InvalidChannel {
        /// The channel asked for.
        channel: u8,
        /// The last channel of the layout.
        last: u8,
    },
    /// Larger than a message can be.
    #[error("a message of {len} bytes is too large; at most {max} bytes fit in one message here")]
    MessageTooLarge {
        /// Its size in bytes.
        len: usize,
        /// The largest possible, in bytes.
        max: usize,
    },
    /// The layout says that this channel carries streams, and a stream has no messages.
    #[error(
        "channel {0} carries streams; open a stream, or write to its stream, instead of sending messages"
    )]
    StreamChannel(u8),
    /// This channel carries messages and no stream, or the connection is not, or not yet, of the extended profile.
    #[error(
        "channel {0} carries no streams: they need a channel of ChannelLayout::with_streams and a connection of the \
         extended profile"
    )]
    NoStream(u8),
    /// This side has ended its half of the channel's stream. The next one begins when the peer has ended its half too and
    /// our end has left: try again then.
    #[error("the stream on channel {0} was ended")]
    StreamEnded(u8),
    /// Messages of an unreliable channel have receipts only on an established connection of the extended profile.
    #[error(
        "a message on channel {0} can have no receipt: unreliable messages have some only on an established connection of \
         the extended profile"
    )]
    NoReceipt(u8),
    /// The connection's send queue is full. Holds the message, to be offered again later.
    #[error("the send queue is full; send again after the next tick, or raise Limits::send_queue_bytes")]
    QueueFull(Bytes),
    /// The connection is over or closing, or the id never named one.
    #[error("the connection is closed")]
    ConnectionClosed,
}

/// What ended an established connection, where it was neither the peer's wish nor silence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// A reliable packet was repeated that often and stayed unacknowledged for the connection timeout.
    #[error("a packet was repeated {0} times without acknowledgement (max_retransmits)")]
    MaxRetransmits(u32),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// A reliable message can no longer be delivered to this peer.
    #[error("a reliable message can no longer be delivered: {0}")]
    Undeliverable(String),
    /// A reliable message could not be decompressed.
    #[error("a reliable message could not be decompressed: {0}")]
    Decompression(String),
    /// All connections of the server together held more than [`Limits::memory`](crate::Limits::memory), and this one held
    /// the most. What it held is gone, messages that were not delivered yet included.
    #[error(
        "the server's memory is used up, and this connection held the most of it: {held} bytes (Limits::memory)"
    )]
    ServerMemory {
        /// Bytes it held.
        held: u64,
    },
    /// The connection has used up what its keys or sequence numbers may carry; connect anew.
    #[error("the connection's {0} are used up; connect anew")]
    Exhausted(&'static str),
}

/// The id names no live connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("connection {0} does not exist (any more)")]
pub struct UnknownConnection(pub ConnectionId);

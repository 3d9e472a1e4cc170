//! Why a message cannot be sent, and why a connection must end.

use std::time::Duration;

use thiserror::Error;

/// Why a message was not taken. The caller still has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PushError {
    /// The layout has no such channel.
    #[error("channel {channel} does not exist: the layout has channels 0 to {}", .channels - 1)]
    InvalidChannel {
        /// The channel asked for.
        channel: u8,
        /// The number of channels in the layout.
        channels: usize,
    },
    /// The message does not fit 255 packets, or (to a foreign base peer over a slow path) would not arrive within
    /// the time that peer keeps incomplete messages.
    #[error("the message has {len} bytes; this connection now carries 0 to {max}: send it in parts")]
    MessageTooLarge {
        /// The message's length in bytes.
        len: usize,
        /// The longest message this channel takes now.
        max: usize,
    },
    /// Receipts of unreliable messages need an established connection of the extended profile: the base profile does not follow
    /// them.
    #[error(
        "channel {channel} is unreliable: its messages have receipts only on a connection of the extended profile"
    )]
    NoReceipt {
        /// The channel.
        channel: u8,
    },
    /// Only a reliable channel's stream can end (extended profile).
    #[error("channel {channel} is unreliable: only a reliable channel's stream can be finished or reset")]
    NotReliable {
        /// The channel.
        channel: u8,
    },
    /// The own half of the channel's stream has ended (extended profile). The next stream begins once the peer's half has
    /// ended too and the own end has left.
    #[error("the stream on channel {channel} was ended; the next begins when the peer ends its half too")]
    Finished {
        /// The channel.
        channel: u8,
    },
    /// Too much is waiting to be sent already.
    #[error("the send queue is full ({messages} messages, {bytes} bytes): try again when some have left")]
    QueueFull {
        /// Messages waiting.
        messages: usize,
        /// Bytes waiting.
        bytes: usize,
    },
}

/// What an authenticated peer did that the protocol does not allow. The connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// PROTOCOL A6 rule 8.
    #[error("the peer acknowledged sequence {ack} of channel {channel}, of which only {sent} were sent")]
    AckOfUnsent {
        /// The channel.
        channel: u8,
        /// The sequence acknowledged.
        ack: u32,
        /// The highest sequence sent.
        sent: u32,
    },
    /// PROTOCOL B5: a packet number that was never used.
    #[error("the peer acknowledged packet {number}, and the next to be sent is {next}")]
    AckOfUnsentPacket {
        /// The number acknowledged.
        number: u64,
        /// The number the next packet gets.
        next: u64,
    },
    /// PROTOCOL B5: a packet number that was left out on purpose.
    #[error("the peer acknowledged packet {number}, which was left out")]
    AckOfSkipped {
        /// The number acknowledged.
        number: u64,
    },
    /// A frame for a channel that the layout lacks.
    #[error("the peer sent a frame for channel {channel}, which does not exist")]
    UnknownChannel {
        /// The channel.
        channel: u8,
    },
    /// CREDIT, FIN or RESET for an unreliable channel.
    #[error("the peer sent a stream's frame for channel {channel}, which is unreliable")]
    NotReliable {
        /// The channel.
        channel: u8,
    },
    /// PROTOCOL B5, Messages.
    #[error("the peer sent a message of {total} bytes on channel {channel}; the longest taken has {max}")]
    MessageTooLong {
        /// The channel.
        channel: u8,
        /// The message's length.
        total: usize,
        /// The longest taken.
        max: usize,
    },
    /// Content flags that do not exist.
    #[error("the peer sent a message with content flags {flags:#04x} on channel {channel}")]
    ContentFlags {
        /// The channel.
        channel: u8,
        /// The flags.
        flags: u8,
    },
    /// Length or content of a message differ between its pieces (PROTOCOL B5).
    #[error("a piece of message {message} on channel {channel} contradicts the pieces before it")]
    PieceMismatch {
        /// The channel.
        channel: u8,
        /// The message's number.
        message: u32,
    },
    /// PROTOCOL B5, Credit.
    #[error("the peer used {used} bytes of credit on channel {channel}; its limit is {limit}")]
    CreditExceeded {
        /// The channel.
        channel: u8,
        /// Credit used, at the least.
        used: u64,
        /// The limit announced.
        limit: u64,
    },
    /// More than 65 536 message numbers from the oldest unfinished one (PROTOCOL B5, Credit).
    #[error("message {message} on channel {channel} is too far ahead of the oldest unfinished one")]
    SpanExceeded {
        /// The channel.
        channel: u8,
        /// The message's number.
        message: u32,
    },
    /// A message beyond the end of a stream, before both its halves ended.
    #[error("message {message} on channel {channel} lies beyond the end of the stream")]
    AfterEnd {
        /// The channel.
        channel: u8,
        /// The message's number.
        message: u32,
    },
    /// A stream's end that contradicts what came before.
    #[error("the end of the stream on channel {channel}, number {message}, contradicts what came before")]
    BadEnd {
        /// The channel.
        channel: u8,
        /// The end's number.
        message: u32,
    },
    /// A fragment of a reliable message contradicts the message's earlier ones (PROTOCOL A7), so
    /// the message can never be delivered (A6 rule 4).
    #[error("fragment {index} of message id {id} on channel {channel} contradicts the fragments before it")]
    FragmentMismatch {
        /// The channel.
        channel: u8,
        /// The message's id.
        id: u16,
        /// The fragment's index.
        index: u8,
    },
    /// All sequences that could belong to an incomplete reliable message have arrived (A6 rules 4 and 6).
    #[error(
        "message id {id} on channel {channel} can no longer be completed: the peer left {missing} pieces out"
    )]
    MessageIncomplete {
        /// The channel.
        channel: u8,
        /// The message's id.
        id: u16,
        /// Pieces that never came.
        missing: u8,
    },
    /// Over the receive budget the peer goes on with messages it does not complete.
    #[error(
        "incomplete messages of the peer hold {held} bytes, the budget is {budget}; channel {channel} wants more"
    )]
    ReceiveBudget {
        /// The channel.
        channel: u8,
        /// Bytes its newest packet would have brought it to.
        held: usize,
        /// The receive budget.
        budget: usize,
    },
}

/// Why the own side gives a connection up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GiveUp {
    /// PROTOCOL A6 rule 3.
    #[error("packet {sequence} of channel {channel} was repeated {repeats} times and never acknowledged")]
    MaxRetransmits {
        /// The channel.
        channel: u8,
        /// The packet's sequence.
        sequence: u32,
        /// How often it was repeated.
        repeats: u32,
    },
    /// A foreign base peer has by now forgotten a message's first pieces (PROTOCOL A6 rule 4).
    #[error(
        "a message on channel {channel} was not wholly acknowledged after {waited:?}; the peer forgets it"
    )]
    MessageForgotten {
        /// The channel.
        channel: u8,
        /// Time since its first piece was sent.
        waited: Duration,
    },
}

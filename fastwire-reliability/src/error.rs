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

//! What goes in and out of [`ExtendedChannels`](super::ExtendedChannels), as types.

use std::time::Duration;

use fastwire_wire::FragmentFlags;

use crate::Delivery;

/// What one side accepts, as its parameters announce it (PROTOCOL B2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// Bytes held for all reliable channels together; each has an equal share.
    pub receive_budget: u64,
    /// The longest message, in bytes.
    pub max_message: usize,
    /// How long an acknowledgement may wait.
    pub max_ack_delay: Duration,
}

/// A control frame of the connection that rides in a packet. The connection writes it, and writes it again when
/// [`poll_control`](super::ExtendedChannels::poll_control) says that it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlFrame {
    /// CONNECTED.
    Connected,
    /// NEW_CID with this sequence.
    NewCid(u32),
    /// DISCONNECT.
    Disconnect,
    /// A path MTU probe of this many bytes: its loss is no congestion (RFC 8899 §3).
    MtuProbe(u16),
}

impl ControlFrame {
    /// Whether the peer acknowledges a packet for it: all but DISCONNECT (PROTOCOL B5).
    pub const fn is_ack_eliciting(self) -> bool {
        !matches!(self, Self::Disconnect)
    }
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The peer acknowledged it.
    Acked,
    /// It was taken for lost. An acknowledgement may still come; it is not told.
    Lost,
}

/// What the peer sent on a channel. On an ordered channel in the order it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// A message.
    Message(Delivery),
    /// The peer's half of the channel's stream ended; every message of it was delivered.
    Finished {
        /// The channel.
        channel: u8,
    },
    /// The peer ended its half of the channel's stream at once; messages may be missing.
    Reset {
        /// The channel.
        channel: u8,
        /// What its application says of it.
        code: u16,
    },
}

impl Incoming {
    /// The channel it came on.
    pub const fn channel(&self) -> u8 {
        match self {
            Self::Message(delivery) => delivery.channel,
            Self::Finished { channel } | Self::Reset { channel, .. } => *channel,
        }
    }
}

/// What [`poll_delivery_into`](super::ExtendedChannels::poll_delivery_into) gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// A message whose bytes were copied to where the caller said.
    Copied {
        /// The channel.
        channel: u8,
        /// How its bytes are to be read.
        content: FragmentFlags,
    },
    /// Anything else, in memory of its own.
    Owned(Incoming),
}

/// What [`write_frames`](super::ExtendedChannels::write_frames) put into a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Bytes written. All of the room: the last frame may be one without a length, so nothing may follow it.
    pub len: usize,
    /// Whether the peer acknowledges a packet for them.
    pub ack_eliciting: bool,
    /// Whether something is repeated when the packet is lost: it arms the probe timeout.
    pub reliable: bool,
    /// More waits that did not fit: pad the packet to full size, so that a batch has packets of one size.
    pub full: bool,
    /// With `full`: what waits next is as long as what is in this packet, so that a batch may as well have packets of just
    /// this size.
    pub even: bool,
}

/// A reliable message that was not wholly acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undelivered {
    /// The channel.
    pub channel: u8,
    /// The message's number (its low 32 bits); `None`: no piece of it was ever sent.
    pub message: Option<u32>,
    /// Its length in bytes, as it was pushed.
    pub len: usize,
}

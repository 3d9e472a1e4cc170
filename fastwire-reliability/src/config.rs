//! Every limit and constant of the delivery layer, by name, with the protocol's defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{ChannelConfig, ChannelLayout};

/// The limits of one connection's [`Channels`](crate::Channels).
///
/// Change single fields of [`ChannelsConfig::default`]:
///
/// ```
/// use fastwire_reliability::ChannelsConfig;
///
/// let mut config = ChannelsConfig::default();
/// config.max_queued_messages = 100_000;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelsConfig {
    /// Bytes of messages waiting to be sent, over all channels; beyond, `push` says `QueueFull`. Default 4 MiB.
    pub max_queued_bytes: usize,
    /// Messages waiting to be sent, over all channels. Default 16 384.
    pub max_queued_messages: usize,
    /// Bytes that early packets and incomplete messages of reliable channels may hold, overhead included.
    /// `None`: 4 MiB a reliable channel, 64 MiB at most. Under 1 MiB a base peer may run out of repeats.
    pub receive_budget: Option<usize>,
    /// The longest message taken from a peer of the extended profile, in bytes; no more than a reliable channel's share of
    /// the receive budget. Default 4 MiB.
    pub max_message: usize,
    /// Bytes that incomplete messages of unreliable channels may hold; beyond, the oldest goes. Default 1 MiB.
    pub unreliable_budget: usize,
    /// How long an incomplete message of an unreliable channel is kept. Default 5 s.
    pub fragment_timeout: Duration,
    /// The retransmission timeout before the first RTT sample. Default 1 s.
    pub initial_rto: Duration,
    /// The least retransmission timeout. Default 50 ms.
    pub min_rto: Duration,
    /// The most the retransmission timeout gets from samples. Default 5 s.
    pub max_rto: Duration,
    /// What back-off may stretch the timeout to (or to the timeout itself, if that is more) while nothing is heard.
    /// Default 1 s, so that traffic is back soon after an outage.
    pub max_backoff: Duration,
    /// The same while acknowledgements arrive but none gives an RTT sample: the path lives and is
    /// slower than the timeout. Default 2 s (PROTOCOL A6 rule 3 allows no more).
    pub max_backoff_alive: Duration,
    /// What a peer may let an acknowledgement wait; added to the timeout. Default 10 ms.
    pub max_ack_delay: Duration,
    /// Repeats of one packet after which, if `connection_timeout` has passed too, the connection ends. Default 15.
    pub max_retransmits: u32,
    /// The connection timeout (see `max_retransmits`). Default 10 s.
    pub connection_timeout: Duration,
    /// How single channels are treated (extended profile); the others as [`ChannelConfig::DEFAULT`]. Default none.
    pub channels: BTreeMap<u8, ChannelConfig>,
}

impl Default for ChannelsConfig {
    fn default() -> Self {
        Self {
            max_queued_bytes: 4 << 20,
            max_queued_messages: 16_384,
            receive_budget: None,
            max_message: 4 << 20,
            unreliable_budget: 1 << 20,
            fragment_timeout: Duration::from_secs(5),
            initial_rto: Duration::from_secs(1),
            min_rto: Duration::from_millis(50),
            max_rto: Duration::from_secs(5),
            max_backoff: Duration::from_secs(1),
            max_backoff_alive: Duration::from_secs(2),
            max_ack_delay: Duration::from_millis(10),
            max_retransmits: 15,
            connection_timeout: Duration::from_secs(10),
            channels: BTreeMap::new(),
        }
    }
}

impl ChannelsConfig {
    /// How a channel is treated.
    pub fn channel(&self, channel: u8) -> ChannelConfig {
        self.channels.get(&channel).copied().unwrap_or_default()
    }

    /// The receive budget in bytes that holds for `layout`.
    pub fn receive_budget_for(&self, layout: &ChannelLayout) -> usize {
        const PER_CHANNEL: usize = 4 << 20;
        const MOST: usize = 64 << 20;
        self.receive_budget.unwrap_or_else(|| (PER_CHANNEL * layout.reliable_channels().max(1)).min(MOST))
    }
}

/// How eagerly lost packets are repeated; the congestion controller says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryProfile {
    /// Later acknowledged sequences of the channel after which a packet counts as lost: 3, aggressive 2. Kept within 1 to 16.
    pub fast_retransmit_threshold: u32,
    /// Whether the first repeat comes after half the retransmission timeout (PROTOCOL A11, aggressive).
    pub half_first_rto: bool,
}

impl Default for RecoveryProfile {
    fn default() -> Self {
        Self { fast_retransmit_threshold: 3, half_first_rto: false }
    }
}

/// Whose implementation the peer is (PROTOCOL A5: known once a sealed CONNECTED of it has opened).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Peer {
    /// Any implementation of the base protocol: it may acknowledge 33 sequences back and no further,
    /// and forget incomplete messages after 5 s. The assumption until the peer has shown otherwise.
    #[default]
    Foreign,
    /// Ours: its receive window is 1024 sequences, and it acknowledges all of them.
    Own,
}

/// What may leave now, as the congestion controller says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Packets.
    pub packets: u32,
    /// Bytes; a packet may leave while there is at least one.
    pub bytes: u64,
}

impl Quota {
    /// No gate.
    pub const UNLIMITED: Self = Self { packets: u32::MAX, bytes: u64::MAX };

    /// Nothing but unreliable packets may leave.
    pub const NONE: Self = Self { packets: 0, bytes: 0 };

    /// Whether the controller leaves it to the connection how many packets are in flight.
    pub(crate) const fn is_unlimited(self) -> bool {
        self.packets == u32::MAX && self.bytes == u64::MAX
    }

    /// Whether a packet may leave.
    pub const fn is_open(self) -> bool {
        self.packets > 0 && self.bytes > 0
    }
}

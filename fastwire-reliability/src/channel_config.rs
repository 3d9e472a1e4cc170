//! How the own side treats a channel: what of it leaves first, and how much is repeated beforehand. Not on the wire; both
//! sides may differ.

/// How messages of one channel are sent. The default treats all channels alike and repeats nothing beforehand.
///
/// Change single fields of [`ChannelConfig::default`]:
///
/// ```
/// use fastwire_reliability::{ChannelConfig, Redundancy};
///
/// let mut input = ChannelConfig::default();
/// input.priority = 10;
/// input.redundancy = Some(Redundancy::copies(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelConfig {
    /// What is waiting on a channel of a higher priority leaves first, new or repeated. Default 0, range 0–255. A channel may
    /// starve below one that always has something to send.
    pub priority: u8,
    /// The channel's share among those of its priority, by bytes. Default 1, range 1–255 (0 counts as 1). None of them starves.
    pub weight: u8,
    /// Sequenced channels: a message takes the place of all older ones that have not begun to leave. Default off: only of those
    /// that could have left before.
    pub latest_only: bool,
    /// Reliable channels: repeat small messages before any loss is seen. Default none. Extended profile.
    pub redundancy: Option<Redundancy>,
}

impl ChannelConfig {
    /// All channels alike, nothing repeated beforehand.
    pub const DEFAULT: Self = Self { priority: 0, weight: 1, latest_only: false, redundancy: None };
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A budget of copies: unacknowledged small messages go along in later packets, the newest first, before any loss is seen
/// (PROTOCOL B5, Redundancy). It only ever fills packets that leave anyway, within the congestion window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redundancy {
    /// Bytes of copies for each hundred bytes of messages. Range 1–400.
    pub percent: u16,
    /// Longer messages are not copied, in bytes. Default 400, range 1–1000.
    pub max_len: u16,
}

impl Redundancy {
    /// `count` copies of each message, 1 to 4.
    pub const fn copies(count: u16) -> Self {
        Self::percent(count.saturating_mul(100))
    }

    /// Copies of so many bytes for each hundred bytes of messages: at 50 every second message has one. 1 to 400.
    pub const fn percent(percent: u16) -> Self {
        Self { percent, max_len: 400 }
    }

    /// Copies of one message, at most.
    pub(crate) const fn most(self) -> u8 {
        let most = self.percent.div_ceil(100);
        if most > 4 { 4 } else { most as u8 }
    }
}

//! What channels a connection has: configuration shared by both peers, not on the wire (PROTOCOL A6).

use std::sync::Arc;

use thiserror::Error;

/// What becomes of a message that is lost, late or early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DeliveryMode {
    /// Every message once, in the order sent; what is early is held back.
    ReliableOrdered = 0,
    /// Every message once, as it arrives.
    ReliableUnordered = 1,
    /// Sent once, delivered as it arrives.
    Unreliable = 2,
    /// Sent once; delivered only if newer than everything delivered before.
    UnreliableSequenced = 3,
}

impl DeliveryMode {
    /// The four modes in the order of their ids.
    pub const ALL: [Self; 4] =
        [Self::ReliableOrdered, Self::ReliableUnordered, Self::Unreliable, Self::UnreliableSequenced];

    /// The mode's number in PROTOCOL A6, 0 to 3.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Whether messages are repeated until they are acknowledged.
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::ReliableOrdered | Self::ReliableUnordered)
    }
}

/// One channel of a [`ChannelLayout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ChannelSpec {
    mode: DeliveryMode,
    stream: u8,
}

/// The channels of a connection, by index. Both peers must use the same one.
///
/// Cloning is cheap: clones share the list.
///
/// ```
/// use fastwire_reliability::{ChannelLayout, DeliveryMode};
///
/// let layout = ChannelLayout::builder()
///     .channel(DeliveryMode::ReliableOrdered, 0)
///     .channel(DeliveryMode::Unreliable, 0)
///     .build()?;
/// assert_eq!(layout.mode(1), Some(DeliveryMode::Unreliable));
/// assert_eq!(ChannelLayout::default().len(), 4);
/// # Ok::<(), fastwire_reliability::LayoutError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChannelLayout {
    /// 1 to 256 channels.
    channels: Arc<[ChannelSpec]>,
}

impl Default for ChannelLayout {
    /// Channels 0 to 3 with the modes 0 to 3, all of stream 0.
    fn default() -> Self {
        Self { channels: DeliveryMode::ALL.map(|mode| ChannelSpec { mode, stream: 0 }).into() }
    }
}

impl ChannelLayout {
    /// The most channels a layout can have.
    pub const MAX_CHANNELS: usize = 256;

    /// Starts an empty layout.
    pub fn builder() -> ChannelLayoutBuilder {
        ChannelLayoutBuilder::default()
    }

    /// The number of channels, 1 to 256.
    #[allow(clippy::len_without_is_empty, reason = "a layout is never empty")]
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// The delivery mode of a channel; `None` if there is no such channel.
    #[inline]
    pub fn mode(&self, channel: u8) -> Option<DeliveryMode> {
        self.channels.get(usize::from(channel)).map(|spec| spec.mode)
    }

    /// The stream index a channel was given; `None` if there is no such channel.
    pub fn stream(&self, channel: u8) -> Option<u8> {
        self.channels.get(usize::from(channel)).map(|spec| spec.stream)
    }

    /// The modes of all channels, in order.
    pub fn modes(&self) -> impl ExactSizeIterator<Item = DeliveryMode> + '_ {
        self.channels.iter().map(|spec| spec.mode)
    }

    /// The number of channels whose mode is reliable.
    pub fn reliable_channels(&self) -> usize {
        self.modes().filter(|mode| mode.is_reliable()).count()
    }
}

/// Collects the channels of a [`ChannelLayout`].
#[derive(Debug, Clone, Default)]
pub struct ChannelLayoutBuilder {
    channels: Vec<ChannelSpec>,
}

impl ChannelLayoutBuilder {
    /// Adds a channel; the first one added is channel 0. `stream` groups channels for the
    /// application's own purposes; 0 for most.
    #[must_use]
    pub fn channel(mut self, mode: DeliveryMode, stream: u8) -> Self {
        self.channels.push(ChannelSpec { mode, stream });
        self
    }

    /// The finished layout.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] unless 1 to 256 channels were added.
    pub fn build(self) -> Result<ChannelLayout, LayoutError> {
        match self.channels.len() {
            1..=ChannelLayout::MAX_CHANNELS => Ok(ChannelLayout { channels: self.channels.into() }),
            channels => Err(LayoutError::ChannelCount { channels }),
        }
    }
}

/// Why a layout cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// Too few or too many channels.
    #[error("a channel layout has {channels} channels; it must have 1 to 256: call `channel` once for each")]
    ChannelCount {
        /// How many were added.
        channels: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(channels: usize) -> Result<ChannelLayout, LayoutError> {
        (0..channels)
            .fold(ChannelLayout::builder(), |b, i| b.channel(DeliveryMode::ALL[i % 4], (i / 4) as u8))
            .build()
    }

    #[test]
    fn one_to_256_channels_and_no_others() {
        assert_eq!(of(0), Err(LayoutError::ChannelCount { channels: 0 }));
        assert_eq!(of(257), Err(LayoutError::ChannelCount { channels: 257 }));
        for channels in [1, 4, 256] {
            let layout = of(channels).unwrap();
            assert_eq!(layout.len(), channels);
            for i in 0..channels {
                assert_eq!(layout.mode(i as u8), Some(DeliveryMode::ALL[i % 4]));
                assert_eq!(layout.stream(i as u8), Some((i / 4) as u8));
            }
        }
        assert_eq!(of(3).unwrap().mode(3), None);
        assert_eq!(of(3).unwrap().stream(255), None);
    }

    #[test]
    fn the_default_is_one_channel_a_mode() {
        let layout = ChannelLayout::default();
        assert!(layout.modes().eq(DeliveryMode::ALL));
        assert_eq!(layout.reliable_channels(), 2);
        assert!(DeliveryMode::ALL.iter().enumerate().all(|(i, mode)| usize::from(mode.id()) == i));
    }
}

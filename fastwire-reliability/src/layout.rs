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

/// Which side opens the streams of a channel that carries streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamOpener {
    /// The side that connected.
    Client,
    /// The side that was connected to.
    Server,
}

/// One channel of a [`ChannelLayout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ChannelSpec {
    mode: DeliveryMode,
    stream: u8,
    /// It carries streams of bytes and no messages.
    opener: Option<StreamOpener>,
}

impl ChannelSpec {
    const fn messages(mode: DeliveryMode, stream: u8) -> Self {
        Self { mode, stream, opener: None }
    }
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
        Self { channels: DeliveryMode::ALL.map(|mode| ChannelSpec::messages(mode, 0)).into() }
    }
}

impl ChannelLayout {
    /// The most channels a layout can have.
    pub const MAX_CHANNELS: usize = 256;

    /// Starts an empty layout.
    pub fn builder() -> ChannelLayoutBuilder {
        ChannelLayoutBuilder::default()
    }

    /// The default layout and channels for streams of bytes beside it: so many streams that the client opens at once, and
    /// so many that the server does.
    ///
    /// ```
    /// use fastwire_reliability::{ChannelLayout, StreamOpener};
    ///
    /// let layout = ChannelLayout::with_streams(64, 2)?;
    /// assert_eq!(layout.len(), 4 + 64 + 2);
    /// assert_eq!(layout.stream_opener(3), None);
    /// assert_eq!(layout.stream_opener(4), Some(StreamOpener::Client));
    /// assert_eq!(layout.stream_opener(69), Some(StreamOpener::Server));
    /// # Ok::<(), fastwire_reliability::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if that makes more than 256 channels.
    pub fn with_streams(by_client: usize, by_server: usize) -> Result<Self, LayoutError> {
        let messages = ChannelLayoutBuilder { channels: Self::default().channels.to_vec() };
        messages.streams(StreamOpener::Client, by_client).streams(StreamOpener::Server, by_server).build()
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

    /// Which side opens the streams of a channel; `None` for one that carries messages, and where there is no such channel.
    #[inline]
    pub fn stream_opener(&self, channel: u8) -> Option<StreamOpener> {
        self.channels.get(usize::from(channel))?.opener
    }

    /// The channels that carry the streams which one side opens, in order.
    pub fn stream_channels(&self, opener: StreamOpener) -> impl Iterator<Item = u8> + '_ {
        let specs = (0..=u8::MAX).zip(self.channels.iter());
        specs.filter(move |(_, spec)| spec.opener == Some(opener)).map(|(channel, _)| channel)
    }

    /// Whether any channel carries streams.
    pub fn has_streams(&self) -> bool {
        self.channels.iter().any(|spec| spec.opener.is_some())
    }

    /// One byte a channel, by which both sides of the extended profile see that they use the same layout: the mode, and 10
    /// (hexadecimal) more where the client opens streams, 20 more where the server does (PROTOCOL B2).
    pub fn shape(&self) -> impl ExactSizeIterator<Item = u8> + '_ {
        self.channels.iter().map(|spec| {
            let opener = match spec.opener {
                None => 0,
                Some(StreamOpener::Client) => 0x10,
                Some(StreamOpener::Server) => 0x20,
            };
            spec.mode.id() | opener
        })
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
        self.channels.push(ChannelSpec::messages(mode, stream));
        self
    }

    /// Adds `count` reliable, ordered channels that carry streams of bytes, opened by one side, and no messages (extended
    /// profile). Each carries one stream at a time and any number one after another.
    #[must_use]
    pub fn streams(mut self, opener: StreamOpener, count: usize) -> Self {
        let spec =
            ChannelSpec { opener: Some(opener), ..ChannelSpec::messages(DeliveryMode::ReliableOrdered, 0) };
        // no more than it takes for `build` to refuse
        let count = count.min(ChannelLayout::MAX_CHANNELS + 1);
        self.channels.extend(std::iter::repeat_n(spec, count));
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
    fn channels_of_streams_are_told_apart_by_who_opens_them() {
        for (client, server) in [(0, 0), (1, 0), (0, 1), (64, 64), (252, 0), (200, 52)] {
            let layout = ChannelLayout::with_streams(client, server).unwrap();
            assert_eq!(layout.stream_channels(StreamOpener::Client).count(), client);
            assert_eq!(layout.stream_channels(StreamOpener::Server).count(), server);
            assert_eq!(layout.has_streams(), client + server > 0);
            assert_eq!(layout.reliable_channels(), 2 + client + server);
            for (channel, shape) in (0..=255).zip(layout.shape()) {
                assert_eq!(Some(DeliveryMode::ALL[usize::from(shape & 3)]), layout.mode(channel));
                let opener = layout.stream_opener(channel);
                assert_eq!(shape >> 4, opener.map_or(0, |opener| 1 + opener as u8));
            }
        }
        assert_eq!(ChannelLayout::with_streams(200, 53), Err(LayoutError::ChannelCount { channels: 257 }));
        assert!(ChannelLayout::with_streams(usize::MAX, usize::MAX).is_err());
    }

    #[test]
    fn the_default_is_one_channel_a_mode() {
        let layout = ChannelLayout::default();
        assert!(layout.modes().eq(DeliveryMode::ALL));
        assert_eq!(layout.reliable_channels(), 2);
        assert!(DeliveryMode::ALL.iter().enumerate().all(|(i, mode)| usize::from(mode.id()) == i));
    }
}

//! Priorities and weights: which channels may fill a packet next, and how much each.

use crate::channel_set::ChannelSet;
use crate::{ChannelLayout, ChannelsConfig};

/// Bytes that a channel of weight 1 may send in its turn; a fraction of a packet, so that shares hold within a few packets.
const QUANTUM: i32 = 300;

/// One priority: its channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level {
    pub(crate) channels: ChannelSet,
    /// They have different weights.
    pub(crate) weighted: bool,
}

/// The priorities in use, highest first, and what each channel may still send in its turn (deficit round robin, Shreedhar
/// and Varghese 1995).
#[derive(Debug)]
pub(crate) struct Shares {
    levels: Vec<Level>,
    /// By channel.
    weights: Box<[u8]>,
    deficits: Box<[i32]>,
}

impl Shares {
    /// `None` where all channels are alike.
    pub(crate) fn of(layout: &ChannelLayout, config: &ChannelsConfig) -> Option<Box<Self>> {
        let of = |channel: u8| config.channel(channel);
        let channels: Vec<u8> = (0..layout.len()).map(|index| index as u8).collect();
        let mut priorities: Vec<u8> = channels.iter().map(|&channel| of(channel).priority).collect();
        priorities.sort_unstable_by(|a, b| b.cmp(a));
        priorities.dedup();
        let weights: Box<[u8]> = channels.iter().map(|&channel| of(channel).weight.max(1)).collect();
        if priorities.len() == 1 && weights.windows(2).all(|pair| pair.first() == pair.last()) {
            return None;
        }
        let levels = priorities.into_iter().map(|priority| {
            let mut level = Level { channels: ChannelSet::default(), weighted: false };
            let mut first = None;
            for &channel in channels.iter().filter(|&&channel| of(channel).priority == priority) {
                level.channels.insert(channel);
                let weight = of(channel).weight.max(1);
                level.weighted |= *first.get_or_insert(weight) != weight;
            }
            level
        });
        Some(Box::new(Self { levels: levels.collect(), weights, deficits: vec![0; layout.len()].into() }))
    }

    pub(crate) fn level(&self, index: usize) -> Option<Level> {
        self.levels.get(index).copied()
    }

    /// It is the channel's turn. Gives whether it may send; else it still pays for what it sent before.
    pub(crate) fn begin_turn(&mut self, channel: u8) -> bool {
        let weight = i32::from(self.weights.get(usize::from(channel)).copied().unwrap_or(1));
        let Some(deficit) = self.deficits.get_mut(usize::from(channel)) else { return true };
        if *deficit <= 0 {
            *deficit = deficit.saturating_add(QUANTUM * weight);
        }
        *deficit > 0
    }

    /// The channel sent so many bytes; whether it may send more in this turn.
    pub(crate) fn spend(&mut self, channel: u8, bytes: usize) -> bool {
        let Some(deficit) = self.deficits.get_mut(usize::from(channel)) else { return false };
        *deficit = deficit.saturating_sub(i32::try_from(bytes).unwrap_or(i32::MAX));
        *deficit > 0
    }

    /// Whether the channel may send more in this turn.
    pub(crate) fn has_turn(&self, channel: u8) -> bool {
        self.deficits.get(usize::from(channel)).is_some_and(|deficit| *deficit > 0)
    }

    /// The channel has nothing more to send: what it did not use is forfeit.
    pub(crate) fn forfeit(&mut self, channel: u8) {
        if let Some(deficit) = self.deficits.get_mut(usize::from(channel)) {
            *deficit = (*deficit).min(0);
        }
    }
}

//! The receiving half of all unreliable channels: they share one budget, over which the oldest goes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_wire::FragmentFlags;
use fastwire_wire::extended::Data;

use super::deliveries::{Deliveries, Keep};
use super::number::expand;
use super::partial::Partial;
use crate::quality::Quality;
use crate::{Delivery, Violation};

/// Incomplete messages kept over all unreliable channels.
const MAX_PARTIALS: usize = 256;

/// What one unreliable channel knows.
#[derive(Debug, Default)]
pub(crate) struct LooseInbox {
    highest: u64,
    /// Sequenced channels: the newest delivered.
    newest: u64,
    pub(crate) quality: Quality,
}

impl LooseInbox {
    /// An inbox whose first message has number `first`.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { highest: first - 1, newest: first - 1, quality: Quality::default() }
    }
}

#[derive(Debug)]
struct Begun {
    channel: u8,
    number: u64,
    started: Instant,
    partial: Partial,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// So many messages had to go for it.
    News { dropped: u64 },
    /// Older than the newest delivered.
    Stale,
}

/// The incomplete messages of all unreliable channels.
#[derive(Debug, Default)]
pub(crate) struct Loose {
    /// Oldest first.
    partials: VecDeque<Begun>,
    held: usize,
}

impl Loose {
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes a message or a piece of one; `budget` is for what is held here and for `out`'s unreliable messages.
    pub(crate) fn accept(
        &mut self,
        inbox: &mut LooseInbox,
        data: &Data<'_>,
        (sequenced, budget): (bool, usize),
        now: Instant,
        out: &mut Deliveries,
        keep: &mut Keep<'_>,
    ) -> Result<Taken, Violation> {
        let payload = data.payload;
        let (channel, number) = (data.channel, expand(data.message, inbox.highest));
        let known = data.piece.is_some().then(|| self.find(channel, number)).flatten();
        if known.is_none() {
            inbox.quality.arrived(number, now);
        }
        inbox.highest = inbox.highest.max(number);
        if sequenced && number <= inbox.newest {
            inbox.quality.stale += 1;
            return Ok(Taken::Stale);
        }
        let total = data.piece.map_or(payload.len() as u32, |piece| piece.total);
        let is_whole = payload.len() as u32 == total;
        let joined = if is_whole { None } else { self.join(known, data, number, total, now)? };
        if sequenced && (is_whole || joined.is_some()) {
            inbox.newest = number;
            inbox.quality.stale += self.drop_before(channel, number);
        }
        if is_whole {
            out.take_loose(channel, FragmentFlags::from_bits(data.content), payload, keep);
        } else if let Some((content, data)) = joined {
            out.push_loose(Delivery { channel, content: FragmentFlags::from_bits(content), data });
        }
        let mut dropped = 0;
        while self.held + out.loose_held() > budget || self.partials.len() > MAX_PARTIALS {
            if !self.drop_oldest() && !out.drop_loose() {
                break;
            }
            dropped += 1;
        }
        Ok(Taken::News { dropped })
    }

    /// When the oldest incomplete message was begun.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.partials.front().map(|begun| begun.started)
    }

    /// Drops what was begun `age` before `now`, or earlier; returns how many.
    pub(crate) fn drop_aged(&mut self, age: Duration, now: Instant) -> u64 {
        let mut dropped = 0;
        while self.oldest().is_some_and(|started| now.saturating_duration_since(started) >= age) {
            dropped += u64::from(self.drop_oldest());
        }
        dropped
    }

    fn join(
        &mut self,
        known: Option<usize>,
        data: &Data<'_>,
        number: u64,
        total: u32,
        now: Instant,
    ) -> Result<Option<(u8, Bytes)>, Violation> {
        let (channel, message) = (data.channel, data.message);
        let at = known.unwrap_or_else(|| {
            let partial = Partial::new(total, data.content);
            self.held += partial.held();
            self.partials.push_back(Begun { channel, number, started: now, partial });
            self.partials.len() - 1
        });
        let Some(begun) = self.partials.get_mut(at) else { return Ok(None) };
        let before = begun.partial.held();
        let offset = data.piece.map_or(0, |piece| piece.offset);
        let whole = begun
            .partial
            .add(offset, total, data.content, data.payload)
            .map_err(|_| Violation::PieceMismatch { channel, message })?;
        self.held = self.held - before + begun.partial.held();
        if !whole {
            return Ok(None);
        }
        let Some(begun) = self.partials.remove(at) else { return Ok(None) };
        self.held -= begun.partial.held();
        Ok(Some((begun.partial.content(), begun.partial.into_bytes())))
    }

    fn find(&self, channel: u8, number: u64) -> Option<usize> {
        self.partials.iter().rposition(|begun| begun.channel == channel && begun.number == number)
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(begun) = self.partials.pop_front() else { return false };
        self.held -= begun.partial.held();
        true
    }

    fn drop_before(&mut self, channel: u8, number: u64) -> u64 {
        let (before, held) = (self.partials.len(), &mut self.held);
        self.partials.retain(|begun| {
            let keep = begun.channel != channel || begun.number > number;
            if !keep {
                *held -= begun.partial.held();
            }
            keep
        });
        (before - self.partials.len()) as u64
    }
}

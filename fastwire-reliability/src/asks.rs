//! What becomes of messages whose sender wants to know it, or that are of use only for a while.
//!
//! A message that asks for nothing has no entry here and costs nothing. An entry is settled once: whoever is first to say
//! what became of the message is right.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a sender asks for one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// Report what becomes of it, under this name of the sender's choosing.
    pub receipt: Option<u64>,
    /// From then on it need not leave any more: it is dropped if no piece of it has left.
    pub expires_at: Option<Instant>,
}

impl Terms {
    /// Asks for nothing.
    pub const NONE: Self = Self { receipt: None, expires_at: None };

    /// Asks for a receipt under this name.
    #[must_use]
    pub const fn receipt(mut self, name: u64) -> Self {
        self.receipt = Some(name);
        self
    }

    /// Lets the message expire.
    #[must_use]
    pub const fn expires_at(mut self, at: Instant) -> Self {
        self.expires_at = Some(at);
        self
    }

    const fn is_none(&self) -> bool {
        self.receipt.is_none() && self.expires_at.is_none()
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageFate {
    /// The peer has all of it. On a sequenced channel it is delivered unless a newer one was.
    Acknowledged {
        /// From when its first piece left until the acknowledgement came; repeats count.
        rtt: Duration,
    },
    /// It will not be sent again and was not acknowledged, or the connection is over. It may have arrived all the same.
    Lost,
    /// Its time was up before any piece of it could leave.
    Expired,
    /// A newer message of its sequenced channel took its place before it could leave.
    Superseded,
}

/// What became of a message whose sender asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Receipt {
    /// The message's channel.
    pub channel: u8,
    /// The name it was asked for under.
    pub name: u64,
    /// What became of it.
    pub fate: MessageFate,
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    channel: u8,
    /// `None` once the receipt was given, or if none was asked for.
    receipt: Option<u64>,
    expires_at: Option<Instant>,
    /// When the message's first piece left.
    left_at: Option<Instant>,
    /// Unreliable: pieces under way, and whether some have left and the last one has not.
    pieces: u32,
    unfinished: bool,
    /// The message is over; the entry stays while pieces are under way or to come, so that nobody else is given its key.
    over: bool,
}

impl Ask {
    fn is_under_way(&self) -> bool {
        self.pieces > 0 || self.unfinished
    }
}

/// Names an entry; 0 names none.
pub(crate) type Key = u32;

/// Every message of a connection that asks for something; nothing until one does.
#[derive(Debug, Default)]
pub(crate) struct Asks(Option<Box<Book>>);

#[derive(Debug, Default)]
struct Book {
    entries: Vec<Option<Ask>>,
    free: Vec<Key>,
    given: VecDeque<Receipt>,
    /// The newest time seen.
    now: Option<Instant>,
}

impl Asks {
    /// Notes the time, for round trips.
    pub(crate) fn at(&mut self, now: Instant) {
        if let Some(book) = &mut self.0 {
            book.now = Some(now);
        }
    }

    /// An entry for a message; 0 if it asks for nothing.
    pub(crate) fn open(&mut self, channel: u8, terms: &Terms) -> Key {
        if terms.is_none() {
            return 0;
        }
        let book = self.0.get_or_insert_default();
        let ask = Ask {
            channel,
            receipt: terms.receipt,
            expires_at: terms.expires_at,
            left_at: None,
            pieces: 0,
            unfinished: false,
            over: false,
        };
        let key = book.free.pop().unwrap_or_else(|| {
            book.entries.push(None);
            // no connection has 2³² messages waiting
            book.entries.len() as Key
        });
        if let Some(entry) = book.entries.get_mut(key as usize - 1) {
            *entry = Some(ask);
        }
        key
    }

    /// What a message that goes on elsewhere asked for; its entry is gone.
    pub(crate) fn take(&mut self, key: Key) -> Terms {
        let Some(ask) = self.get(key).copied() else { return Terms::NONE };
        self.remove(key);
        Terms { receipt: ask.receipt, expires_at: ask.expires_at }
    }

    pub(crate) fn expires_at(&self, key: Key) -> Option<Instant> {
        let index = (key as usize).checked_sub(1)?;
        self.0.as_ref()?.entries.get(index)?.as_ref()?.expires_at
    }

    /// The message's first piece leaves.
    pub(crate) fn left(&mut self, key: Key, now: Instant) {
        if let Some(ask) = self.get(key) {
            ask.left_at.get_or_insert(now);
        }
    }

    /// Says what became of the message, if nobody did.
    pub(crate) fn settle(&mut self, key: Key, fate: MessageFate) {
        let Some(ask) = self.get(key) else { return };
        let (channel, receipt, under_way) = (ask.channel, ask.receipt.take(), ask.is_under_way());
        ask.over = true;
        if let Some(name) = receipt {
            self.book().given.push_back(Receipt { channel, name, fate });
        }
        if !under_way {
            self.remove(key);
        }
    }

    /// All of the message is acknowledged.
    pub(crate) fn acknowledged(&mut self, key: Key) {
        let Some(ask) = self.get(key) else { return };
        let left_at = ask.left_at;
        let rtt = self
            .book()
            .now
            .zip(left_at)
            .map_or(Duration::ZERO, |(now, at)| now.saturating_duration_since(at));
        self.settle(key, MessageFate::Acknowledged { rtt });
    }

    /// A piece of an unreliable message leaves.
    pub(crate) fn piece_left(&mut self, key: Key, last: bool) {
        if let Some(ask) = self.get(key) {
            ask.pieces += 1;
            ask.unfinished = !last;
        }
    }

    /// What became of a piece of an unreliable message. One that is lost takes the message with it.
    pub(crate) fn piece_fate(&mut self, key: Key, acked: bool) {
        let Some(ask) = self.get(key) else { return };
        ask.pieces = ask.pieces.saturating_sub(1);
        let (done, over) = (!ask.is_under_way(), ask.over);
        match (acked, over) {
            (false, false) => self.settle(key, MessageFate::Lost),
            (true, false) if done => self.acknowledged(key),
            (_, true) if done => self.remove(key),
            _ => {}
        }
    }

    /// The connection is over: what is open is lost.
    pub(crate) fn settle_all(&mut self) {
        let Some(book) = &self.0 else { return };
        let mut open: Vec<(u64, Key)> = (1..)
            .zip(&book.entries)
            .filter_map(|(key, entry)| Some((entry.as_ref()?.receipt?, key)))
            .collect();
        open.sort_unstable();
        for (_, key) in open {
            self.settle(key, MessageFate::Lost);
        }
    }

    /// Takes over receipts that were given elsewhere.
    pub(crate) fn adopt(&mut self, receipts: impl Iterator<Item = Receipt>) {
        let mut receipts = receipts.peekable();
        if receipts.peek().is_some() {
            self.book().given.extend(receipts);
        }
    }

    /// The next receipt.
    pub(crate) fn pop(&mut self) -> Option<Receipt> {
        self.0.as_mut()?.given.pop_front()
    }

    /// Gives back memory that a burst took.
    pub(crate) fn trim(&mut self) {
        if self.0.as_ref().is_some_and(|book| book.free.len() == book.entries.len() && book.given.is_empty())
        {
            self.0 = None;
        }
    }

    fn book(&mut self) -> &mut Book {
        self.0.get_or_insert_default()
    }

    fn get(&mut self, key: Key) -> Option<&mut Ask> {
        let index = (key as usize).checked_sub(1)?;
        self.0.as_mut()?.entries.get_mut(index)?.as_mut()
    }

    fn remove(&mut self, key: Key) {
        let Some(book) = &mut self.0 else { return };
        if let Some(entry) = (key as usize).checked_sub(1).and_then(|index| book.entries.get_mut(index))
            && entry.take().is_some()
        {
            book.free.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is said of messages in whatever order: each that asked has one receipt, entries are given back, and an
        /// unreliable message counts as acknowledged only if every piece of it was.
        #[test]
        fn every_ask_has_one_receipt(
            messages in prop::collection::vec((any::<bool>(), 1u32..5, any::<u8>()), 1..40), at_once in any::<bool>(),
        ) {
            let (now, mut asks) = (Instant::now(), Asks::default());
            asks.at(now);
            let mut open: Vec<(Key, u32, u8)> = Vec::new();
            for (name, (wants, pieces, fates)) in messages.iter().enumerate() {
                let terms = Terms { receipt: wants.then_some(name as u64), expires_at: Some(now) };
                let key = asks.open(3, &terms);
                prop_assert!(key > 0 && !open.iter().any(|(other, ..)| *other == key));
                // what becomes of a piece may be known before the next one leaves
                for piece in 0..*pieces {
                    asks.left(key, now);
                    asks.piece_left(key, piece + 1 == *pieces);
                    if at_once {
                        asks.piece_fate(key, fates >> piece & 1 == 1);
                        let other = asks.open(3, &Terms::NONE.expires_at(now));
                        prop_assert!(other != key || piece + 1 == *pieces, "a key that is still in use");
                        asks.settle(other, MessageFate::Expired);
                    }
                }
                if !at_once {
                    open.push((key, *pieces, *fates));
                }
            }
            for &(key, pieces, fates) in &open {
                (0..pieces).for_each(|piece| asks.piece_fate(key, fates >> piece & 1 == 1));
            }
            let mut given = std::collections::BTreeMap::new();
            while let Some(receipt) = asks.pop() {
                prop_assert_eq!(given.insert(receipt.name, receipt.fate), None);
            }
            for (name, (wants, pieces, fates)) in messages.iter().enumerate() {
                let all = (0..*pieces).all(|piece| fates >> piece & 1 == 1);
                let fate = if all { MessageFate::Acknowledged { rtt: Duration::ZERO } } else { MessageFate::Lost };
                prop_assert_eq!(given.get(&(name as u64)), wants.then_some(&fate));
            }
            asks.settle_all();
            prop_assert!(asks.pop().is_none());
            asks.trim();
            prop_assert!(asks.0.is_none(), "every entry was given back");
        }
    }

    #[test]
    fn what_asks_for_nothing_has_no_entry() {
        let mut asks = Asks::default();
        assert_eq!(asks.open(0, &Terms::NONE), 0);
        asks.settle(0, MessageFate::Lost);
        asks.acknowledged(0);
        assert!(asks.pop().is_none() && asks.0.is_none());
    }
}

//! What was compressed a moment ago, so that a message for many connections is compressed once.

use std::collections::VecDeque;

use bytes::Bytes;
use fastwire_compress::Method;
use fastwire_wire::FragmentFlags;

/// Messages remembered: what is queued for many connections comes in a row, or a few take turns.
const REMEMBERED: usize = 8;

/// Refused messages remembered: a few channels may each have one that does not fit.
const REFUSED: usize = 4;

/// Messages and what compressing them gave. Cleared whenever everything has left, so that it pins no memory for long.
#[derive(Debug, Default)]
pub(crate) struct Compressions {
    recent: VecDeque<Entry>,
    /// The messages that found no room last. Their sender offers them again, many times if they are long, and has the same
    /// handles for that: [`SendError::QueueFull`](crate::SendError::QueueFull) gives them back.
    refused: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    method: Method,
    /// Kept, so that as long as the entry lives nothing else is at its place in memory.
    message: Bytes,
    /// How it travels; `None`: as it is.
    wire: Option<(Bytes, FragmentFlags)>,
}

impl Compressions {
    /// What compressing this very message gave. Two handles on the same bytes are one message: they cannot change.
    pub(crate) fn find(&self, method: Method, message: &Bytes) -> Option<Option<(Bytes, FragmentFlags)>> {
        let mut entries = self.recent.iter().rev().chain(&self.refused);
        let of_it = entries.find(|entry| entry.method == method && entry.is_of(message));
        of_it.map(|entry| entry.wire.clone())
    }

    /// The message found no room.
    pub(crate) fn refuse(&mut self, message: &Bytes) {
        if let Some(at) = self.recent.iter().rposition(|entry| entry.is_of(message)) {
            if self.refused.len() == REFUSED {
                self.refused.pop_front();
            }
            self.refused.extend(self.recent.remove(at));
        }
    }

    /// The message is offered: if it was refused before, it is one of many again.
    pub(crate) fn take_up(&mut self, message: &Bytes) {
        let at = self.refused.iter().position(|entry| entry.is_of(message));
        if let Some(entry) = at.and_then(|at| self.refused.remove(at)) {
            self.remember(entry.method, entry.message, entry.wire);
        }
    }

    pub(crate) fn remember(&mut self, method: Method, message: Bytes, wire: Option<(Bytes, FragmentFlags)>) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(Entry { method, message, wire });
    }

    pub(crate) fn clear(&mut self) {
        self.recent.clear();
    }
}

impl Entry {
    fn is_of(&self, message: &Bytes) -> bool {
        self.message.as_ptr() == message.as_ptr() && self.message.len() == message.len()
    }
}

#[cfg(test)]
mod tests {
    use fastwire_compress::Algorithm;

    use super::*;

    #[test]
    fn only_what_found_no_room_is_remembered_until_it_does() {
        let method = Method { algorithm: Algorithm::Zstd, dictionary: false };
        let messages: Vec<Bytes> = (0..3u8).map(|byte| vec![byte; 10].into()).collect();
        let mut compressions = Compressions::default();
        for message in &messages {
            compressions.remember(method, message.clone(), None);
        }
        compressions.refuse(&messages[1]);
        let known = |compressions: &Compressions| {
            messages.iter().map(|message| compressions.find(method, message).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(known(&compressions), [true; 3]);
        compressions.clear();
        assert_eq!(known(&compressions), [false, true, false]);
        let equal = Bytes::from(messages[1].to_vec());
        assert_eq!(compressions.find(method, &equal), None, "another message with the same bytes");
        compressions.take_up(&messages[0]);
        assert_eq!(known(&compressions), [false, true, false]);
        compressions.take_up(&messages[1]);
        assert_eq!(known(&compressions), [false, true, false], "until everything has left");
        compressions.clear();
        assert_eq!(known(&compressions), [false; 3]);
    }
}

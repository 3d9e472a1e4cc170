//! What was compressed a moment ago, so that a message for many connections is compressed once.

use std::collections::VecDeque;

use bytes::Bytes;
use fastwire_compress::Method;
use fastwire_wire::FragmentFlags;

/// Messages remembered: what is queued for many connections comes in a row, or a few take turns.
const REMEMBERED: usize = 8;

/// Messages and what compressing them gave. Cleared whenever everything has left, so that it pins no memory for long.
#[derive(Debug, Default)]
pub(crate) struct Compressions(VecDeque<Entry>);

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
        let same = |entry: &&Entry| {
            entry.method == method
                && entry.message.as_ptr() == message.as_ptr()
                && entry.message.len() == message.len()
        };
        self.0.iter().rev().find(same).map(|entry| entry.wire.clone())
    }

    pub(crate) fn remember(&mut self, method: Method, message: Bytes, wire: Option<(Bytes, FragmentFlags)>) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Entry { method, message, wire });
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

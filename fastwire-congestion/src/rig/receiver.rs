//! The receiving end of a flow: what has arrived, and when to say so.

use std::time::Duration;

/// How long one packet may wait for a second before it is acknowledged (RFC 9000 §13.2, `max_ack_delay`).
pub(super) const MAX_ACK_DELAY: Duration = Duration::from_millis(25);

#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// Arrived, and in no acknowledgement that is on its way or has arrived.
    unreported: Vec<u64>,
    /// Of these, not yet worth an acknowledgement by themselves.
    waiting: u32,
    expected: u64,
    /// The timer runs for the packets that wait.
    pub(super) timer: bool,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// When to acknowledge what has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    Later,
}

impl Receiver {
    /// The second packet is acknowledged at once, and so is one out of order (RFC 9000 §13.2.1).
    pub(super) fn on_packet(&mut self, number: u64, bytes: u64) -> Due {
        self.packets += 1;
        self.bytes += bytes;
        self.unreported.push(number);
        self.waiting += 1;
        let in_order = number == self.expected;
        self.expected = self.expected.max(number + 1);
        if !in_order || self.waiting >= 2 { Due::Now } else { Due::Later }
    }

    /// The next acknowledgement. What it says is said again by the following one if it is `lost`.
    pub(super) fn acknowledge(&mut self, lost: bool) -> Option<Vec<u64>> {
        self.waiting = 0;
        if lost || self.unreported.is_empty() { None } else { Some(std::mem::take(&mut self.unreported)) }
    }
}

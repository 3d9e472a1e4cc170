//! When an acknowledgement is owed, and what it has to cover (PROTOCOL B5, Recovery).

use std::time::{Duration, Instant};

use crate::recovery::UNRELIABLE_PATIENCE;

/// Packets that ask for an acknowledgement and carry something reliable: with so many it is due at once.
const AT_ONCE: u32 = 2;

/// The same for packets with unreliable data alone, far inside the reach of an ACK frame (1024 numbers).
const UNRELIABLE_AT_ONCE: u32 = 256;

/// After so many packets a side that only acknowledges wants to hear which of its ACKs arrived (RFC 9000 §13.2.4).
const UNANSWERED: u32 = 8;

#[derive(Debug)]
pub(crate) struct AckOwed {
    max_delay: Duration,
    reliable: u32,
    unreliable: u32,
    due: Option<Instant>,
    /// Packets that ask for an acknowledgement, since an ACK of ours left in a packet that does.
    unanswered: u32,
    /// The largest number and its arrival.
    largest: Option<(u64, Instant)>,
    floor: u64,
}

impl AckOwed {
    pub(crate) fn new(max_delay: Duration) -> Self {
        Self { max_delay, reliable: 0, unreliable: 0, due: None, unanswered: 0, largest: None, floor: 0 }
    }

    /// A packet was opened.
    pub(crate) fn on_packet(
        &mut self,
        number: u64,
        in_order: bool,
        ack_eliciting: bool,
        reliable: bool,
        now: Instant,
    ) {
        if self.largest.is_none_or(|(largest, _)| number > largest) {
            self.largest = Some((number, now));
        }
        if !ack_eliciting {
            return;
        }
        let count = if reliable { &mut self.reliable } else { &mut self.unreliable };
        *count += 1;
        self.unanswered = self.unanswered.saturating_add(1);
        if self.due.is_some_and(|due| due <= now) {
            // it is as due as it can be
            return;
        }
        let at_once = !in_order || self.reliable >= AT_ONCE || self.unreliable >= UNRELIABLE_AT_ONCE;
        let delay = match (at_once, reliable) {
            (true, _) => Duration::ZERO,
            (false, true) => self.max_delay,
            (false, false) => self.max_delay * UNRELIABLE_PATIENCE,
        };
        let due = now + delay;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn delay(&self, now: Instant) -> Duration {
        self.largest.map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(at))
    }

    /// An ACK was written.
    pub(crate) fn written(&mut self) {
        (self.reliable, self.unreliable, self.due) = (0, 0, None);
    }

    /// An ACK left in a packet that the peer acknowledges. One that carries none, such as CREDIT between two ACKs, tells nothing of
    /// them however often it comes.
    pub(crate) fn asked(&mut self) {
        self.unanswered = 0;
    }

    /// Whether the next ACK should ask for an acknowledgement itself.
    pub(crate) fn wants_answer(&self) -> bool {
        self.unanswered >= UNANSWERED
    }

    /// The peer has an ACK whose largest number was this.
    pub(crate) fn acknowledged(&mut self, largest: u64) {
        self.floor = self.floor.max(largest.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_reliable_packet_or_a_gap_is_acknowledged_at_once_and_unreliable_ones_wait() {
        let (now, delay) = (Instant::now(), Duration::from_millis(10));
        let fresh = || AckOwed::new(delay);
        let mut owed = fresh();
        owed.on_packet(0, true, false, false, now);
        assert_eq!(owed.due(), None, "an acknowledgement is not acknowledged");
        owed.on_packet(1, true, true, false, now);
        assert_eq!(owed.due(), Some(now + delay * 4));
        owed.on_packet(2, true, true, true, now);
        assert_eq!(owed.due(), Some(now + delay));
        owed.on_packet(3, true, true, true, now);
        assert_eq!(owed.due(), Some(now));
        owed.written();
        assert_eq!(owed.due(), None);
        let mut owed = fresh();
        owed.on_packet(1, false, true, false, now);
        assert_eq!(owed.due(), Some(now), "a gap");
        let mut owed = fresh();
        (0..255).for_each(|number| owed.on_packet(number, true, true, false, now));
        assert_eq!(owed.due(), Some(now + delay * 4));
        owed.on_packet(255, true, true, false, now);
        assert_eq!(owed.due(), Some(now));
        assert_eq!(owed.delay(now + delay), delay);
        owed.on_packet(100, false, true, true, now + delay);
        assert_eq!(owed.delay(now + delay), delay, "a late packet is not the largest");
        owed.on_packet(256, true, true, true, now + delay);
        assert_eq!(owed.delay(now + delay), Duration::ZERO);
    }
}

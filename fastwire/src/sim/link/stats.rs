//! What happened on a link.

use std::fmt;
use std::ops::AddAssign;

/// What happened on a link so far, in datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Sent into the link.
    pub offered: u64,
    /// Bytes sent into the link, without headers.
    pub offered_bytes: u64,
    /// Arrived at the far end, copies included.
    pub delivered: u64,
    /// Bytes that arrived, without headers.
    pub delivered_bytes: u64,
    /// Larger than the MTU.
    pub oversized: u64,
    /// Sent during an outage.
    pub blacked_out: u64,
    /// Found the queue of the bottleneck full.
    pub queue_drops: u64,
    /// Marked by the bottleneck.
    pub marked: u64,
    /// Lost on the way.
    pub lost: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Fell behind.
    pub reordered: u64,
    /// Arrived with a flipped bit.
    pub corrupted: u64,
}

impl LinkStats {
    /// Every fault with its name and how often it happened.
    #[must_use]
    pub fn faults(&self) -> [(&'static str, u64); 8] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("corrupted", self.corrupted),
            ("dropped by the queue", self.queue_drops),
            ("marked", self.marked),
            ("oversized", self.oversized),
            ("blacked out", self.blacked_out),
        ]
    }
}

impl AddAssign for LinkStats {
    fn add_assign(&mut self, other: Self) {
        self.offered += other.offered;
        self.offered_bytes += other.offered_bytes;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.oversized += other.oversized;
        self.blacked_out += other.blacked_out;
        self.queue_drops += other.queue_drops;
        self.marked += other.marked;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
    }
}

/// `100 sent, 97 delivered, 5 lost, 2 duplicated`: faults that did not happen are left out.
impl fmt::Display for LinkStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent, {} delivered", self.offered, self.delivered)?;
        for (name, count) in self.faults().into_iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {count} {name}")?;
        }
        Ok(())
    }
}

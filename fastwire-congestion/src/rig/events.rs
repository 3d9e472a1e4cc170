//! Virtual time and chance: what happens next, and which of two equal runs is which.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::setup::{Change, Loss};

/// A packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packet {
    pub(super) flow: usize,
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// When it came to the queue.
    pub(super) queued_at: Instant,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The line has sent the packet at the head of the queue.
    Departure,
    Arrival(Packet),
    /// The receiver has waited long enough for a second packet.
    AckTimer(usize),
    /// An acknowledgement of these packets comes to the sender.
    Ack(usize, Vec<u64>),
    /// The sender may have something to do.
    Wake(usize),
    Change(Change),
    Sample,
}

/// Events in order of time, and of their making where times are equal.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    made: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Instant, event: Event) {
        self.heap.push(Reverse((at, self.made)));
        self.events.insert(self.made, event);
        self.made += 1;
    }

    pub(super) fn next(&mut self) -> Option<(Instant, Event)> {
        let Reverse((at, made)) = self.heap.pop()?;
        self.events.remove(&made).map(|event| (at, event))
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014), and the state of a line that loses in bursts.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    state: u64,
    bad: bool,
}

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed, bad: false }
    }

    /// A number from 0 up to but not including 1.
    fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn duration(&mut self, longest: Duration) -> Duration {
        if longest.is_zero() { longest } else { longest.mul_f64(self.unit()) }
    }

    /// Whether the next packet is lost.
    pub(super) fn loses(&mut self, loss: Loss) -> bool {
        match loss {
            Loss::Each(share) => share > 0.0 && self.unit() < share,
            Loss::Bursts(share, length) => {
                // Mean stays of `length` packets in the bad state, and as long in the good one as the share asks.
                let leave_bad = 1.0 / length.max(1.0);
                let leave_good = leave_bad * share / (1.0 - share).max(1e-9);
                let leaves = self.unit() < if self.bad { leave_bad } else { leave_good };
                self.bad ^= leaves;
                self.bad
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_lost_and_the_length_of_bursts_are_as_asked() {
        for (loss, length) in
            [(Loss::Each(0.1), 1.11), (Loss::Bursts(0.1, 3.0), 3.0), (Loss::Bursts(0.05, 8.0), 8.0)]
        {
            let mut chance = Chance::new(5);
            let lost: Vec<bool> = (0..200_000).map(|_| chance.loses(loss)).collect();
            let (Loss::Each(share) | Loss::Bursts(share, _)) = loss;
            let count = lost.iter().filter(|lost| **lost).count() as f64;
            let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
            assert!((count / 200_000.0 - share).abs() < 0.01, "{loss:?}: {count}");
            assert!((count / bursts / length - 1.0).abs() < 0.1, "{loss:?}: bursts of {}", count / bursts);
        }
        let mut chance = Chance::new(1);
        assert!((0..1000).all(|_| !chance.loses(Loss::Each(0.0))));
    }
}

//! What a simulated run is made of: the line, who sends over it, and what changes on the way.

use std::fmt;
use std::time::Duration;

use crate::{CongestionController, PathInfo};

/// Packets lost by chance, beside those a full queue drops.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// Each packet with this probability, 0 to 1.
    Each(f64),
    /// The same share, in bursts of this mean length in packets (Gilbert 1960: all is lost in the bad state).
    Bursts(f64, f64),
}

/// The bottleneck and the path around it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Line {
    /// Bytes a second, UDP payload.
    pub rate: u64,
    /// One way, without the queue.
    pub delay: Duration,
    /// Up to so much more for each packet, either way, so that packets overtake each other.
    pub jitter: Duration,
    /// What the queue before the line holds, in bytes; what does not fit is dropped.
    pub queue: u64,
    /// What is lost behind the queue. Acknowledgements are lost with the same probability.
    pub loss: Loss,
}

impl Line {
    /// A line of `rate` bytes a second and `delay` one way, with a queue of so many bytes, that loses nothing.
    pub const fn new(rate: u64, delay: Duration, queue: u64) -> Self {
        Self { rate, delay, jitter: Duration::ZERO, queue, loss: Loss::Each(0.0) }
    }

    /// The same line with this loss.
    pub const fn loss(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// The same line with this jitter.
    pub const fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// The share of packets that arrives, the queue aside.
    pub fn arriving(&self) -> f64 {
        match self.loss {
            Loss::Each(share) | Loss::Bursts(share, _) => 1.0 - share.clamp(0.0, 1.0),
        }
    }
}

/// What happens to the line during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Another rate, bytes a second.
    Rate(u64),
    /// Another delay, one way.
    Delay(Duration),
    /// Everything is lost for so long.
    Outage(Duration),
}

/// What a sender has to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic {
    /// As much as may leave, or this many bytes.
    Bulk(Option<u64>),
    /// A message of so many bytes at fixed times, each in a packet of its own.
    Messages {
        /// UDP payload bytes, at most a datagram.
        bytes: u64,
        /// One in this time.
        every: Duration,
    },
}

pub(super) type Make = Box<dyn Fn(&PathInfo) -> Box<dyn CongestionController>>;

/// One sender.
pub struct Flow {
    pub(super) name: String,
    pub(super) make: Make,
    pub(super) traffic: Traffic,
    pub(super) starts: Duration,
}

impl Flow {
    /// Sends as much as may leave, from the start, under the controllers that `make` makes.
    pub fn bulk<C, F>(name: impl Into<String>, make: F) -> Self
    where
        C: CongestionController + 'static,
        F: Fn(&PathInfo) -> C + 'static,
    {
        let make: Make = Box::new(move |path| Box::new(make(path)));
        Self { name: name.into(), make, traffic: Traffic::Bulk(None), starts: Duration::ZERO }
    }

    /// The same sender with other traffic.
    #[must_use]
    pub fn traffic(mut self, traffic: Traffic) -> Self {
        self.traffic = traffic;
        self
    }

    /// The same sender, beginning later.
    #[must_use]
    pub fn starts(mut self, at: Duration) -> Self {
        self.starts = at;
        self
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, traffic, starts, make: _ } = self;
        f.debug_struct("Flow")
            .field("name", name)
            .field("traffic", traffic)
            .field("starts", starts)
            .finish_non_exhaustive()
    }
}

/// A run: a line, the flows over it, and how long.
#[derive(Debug)]
pub struct Setup {
    pub(super) line: Line,
    pub(super) flows: Vec<Flow>,
    pub(super) changes: Vec<(Duration, Change)>,
    pub(super) duration: Duration,
    pub(super) datagram: u16,
    pub(super) seed: u64,
    pub(super) sampling: Duration,
}

impl Setup {
    /// A run of this length, or until every flow has delivered all it had. Datagrams of 1200 bytes.
    pub const fn new(line: Line, duration: Duration) -> Self {
        Self {
            line,
            flows: Vec::new(),
            changes: Vec::new(),
            duration,
            datagram: 1200,
            seed: 1,
            sampling: Duration::from_millis(50),
        }
    }

    /// One more flow.
    #[must_use]
    pub fn flow(mut self, flow: Flow) -> Self {
        self.flows.push(flow);
        self
    }

    /// One more change of the line, `at` after the start.
    #[must_use]
    pub fn change(mut self, at: Duration, change: Change) -> Self {
        self.changes.push((at, change));
        self
    }

    /// Where chance starts; 1 unless told otherwise.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The largest UDP payload, in bytes.
    #[must_use]
    pub const fn datagram(mut self, bytes: u16) -> Self {
        self.datagram = bytes;
        self
    }

    /// How far apart the moments of the report are; 50 ms unless told otherwise, at least 1 ms.
    #[must_use]
    pub fn sampling(mut self, every: Duration) -> Self {
        self.sampling = every.max(Duration::from_millis(1));
        self
    }
}

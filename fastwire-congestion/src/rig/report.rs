//! What a run has shown: throughput, queueing delay, losses, fairness, and all of it over time.

use std::time::Duration;

use super::receiver::Receiver;
use super::sender::Sender;
use super::setup::Line;
use crate::Window;

/// One flow at the end of a run. Counts are whole packets, bytes are UDP payload.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FlowReport {
    /// As it was given.
    pub name: String,
    /// When it began.
    pub began: Duration,
    /// When its last packet arrived.
    pub last_arrival: Duration,
    /// Bytes given to the network.
    pub sent: u64,
    /// Bytes that arrived.
    pub arrived: u64,
    /// Bytes known by the sender to have arrived.
    pub acknowledged: u64,
    /// Packets the full queue dropped.
    pub queue_drops: u64,
    /// Packets the line lost, by chance or in an outage.
    pub line_losses: u64,
    /// Packets the sender took for lost.
    pub declared_lost: u64,
    /// How often a message was due and could not leave.
    pub held_back: u64,
}

impl FlowReport {
    pub(super) fn new(name: &str, began: Duration) -> Self {
        Self {
            name: name.to_owned(),
            began,
            last_arrival: began,
            sent: 0,
            arrived: 0,
            acknowledged: 0,
            queue_drops: 0,
            line_losses: 0,
            declared_lost: 0,
            held_back: 0,
        }
    }

    pub(super) fn finish(&mut self, sender: &Sender, receiver: &Receiver) {
        self.sent = sender.sent_bytes;
        self.arrived = receiver.bytes;
        self.acknowledged = sender.acked_bytes;
        self.declared_lost = sender.declared_lost;
        self.held_back = sender.held_back;
    }
}

/// The run at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Moment {
    /// Since the start.
    pub at: Duration,
    /// Bytes a second that arrived since the moment before, for each flow.
    pub rates: Vec<f64>,
    /// The window of each flow.
    pub windows: Vec<Window>,
    /// How long a packet that comes now waits.
    pub queue: Duration,
}

/// What a run has shown.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The line as it was at the start.
    pub line: Line,
    /// How long the run took.
    pub ended: Duration,
    /// In the order in which they were given.
    pub flows: Vec<FlowReport>,
    /// At equal distances.
    pub moments: Vec<Moment>,
    /// How long each packet that left the queue had waited, shortest first.
    pub(super) waits: Vec<Duration>,
}

impl Report {
    pub(super) const fn new(line: Line) -> Self {
        Self { line, ended: Duration::ZERO, flows: Vec::new(), moments: Vec::new(), waits: Vec::new() }
    }

    pub(super) fn finish(&mut self, ended: Duration) {
        self.ended = ended;
        self.waits.sort_unstable();
    }

    /// Bytes a second that arrived, all flows together, from the first packet to the last; the time that the last
    /// one takes on the line without a queue is not counted.
    pub fn throughput(&self) -> f64 {
        let began = self.flows.iter().map(|flow| flow.began).min().unwrap_or_default();
        let last = self.flows.iter().map(|flow| flow.last_arrival).max().unwrap_or_default();
        let time = last.saturating_sub(began).saturating_sub(self.line.delay).as_secs_f64();
        let arrived: u64 = self.flows.iter().map(|flow| flow.arrived).sum();
        if time > 0.0 { arrived as f64 / time } else { 0.0 }
    }

    /// [`throughput`](Self::throughput) as a share of what the line can deliver, its own loss taken off.
    pub fn utilisation(&self) -> f64 {
        self.throughput() / (self.line.rate as f64 * self.line.arriving())
    }

    /// The waiting time in the queue that this share of the packets did not exceed; 0.5 is the median.
    pub fn queueing_delay(&self, share: f64) -> Duration {
        let index = (self.waits.len() as f64 * share.clamp(0.0, 1.0)) as usize;
        self.waits.get(index.min(self.waits.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// Packets the full queue dropped.
    pub fn queue_drops(&self) -> u64 {
        self.flows.iter().map(|flow| flow.queue_drops).sum()
    }

    /// The mean rate of each flow in bytes a second, between two times since the start.
    pub fn rates_between(&self, from: Duration, until: Duration) -> Vec<f64> {
        let within = |moment: &&Moment| moment.at > from && moment.at <= until;
        let moments: Vec<&Moment> = self.moments.iter().filter(within).collect();
        let mean = |flow: usize| {
            moments.iter().filter_map(|moment| moment.rates.get(flow)).sum::<f64>()
                / moments.len().max(1) as f64
        };
        (0..self.flows.len()).map(mean).collect()
    }

    /// The fairness index of Jain, Chiu and Hawe (1984) over the rates between two times: 1 where all are equal, one
    /// part of the number of flows where one has everything.
    pub fn fairness_between(&self, from: Duration, until: Duration) -> f64 {
        let rates = self.rates_between(from, until);
        let sum: f64 = rates.iter().sum();
        let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
        if squares > 0.0 { sum * sum / (rates.len() as f64 * squares) } else { 1.0 }
    }

    /// How long after `since` all flows together first reached `rate` bytes a second over `over`.
    pub fn time_to_reach(&self, since: Duration, rate: f64, over: Duration) -> Option<Duration> {
        let total = |moment: &Moment| moment.rates.iter().sum::<f64>();
        let step = self.moments.first().map_or(Duration::ZERO, |moment| moment.at).as_secs_f64();
        let length = ((over.as_secs_f64() / step.max(1e-3)).round() as usize).max(1);
        let after: Vec<&Moment> = self.moments.iter().filter(|moment| moment.at > since).collect();
        let reached = after.windows(length).find(|moments| {
            moments.iter().map(|moment| total(moment)).sum::<f64>() / length as f64 >= rate
        })?;
        reached.first().map(|moment| moment.at - since)
    }
}

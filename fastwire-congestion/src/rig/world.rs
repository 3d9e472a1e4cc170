//! The run itself: a queue, a line, senders and receivers, one event after the other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::events::{Agenda, Chance, Event, Packet};
use super::receiver::{Due, MAX_ACK_DELAY, Receiver};
use super::report::{FlowReport, Moment, Report};
use super::sender::Sender;
use super::setup::{Change, Line, Setup};

/// Plays the run. The same setup gives the same report.
pub fn run(setup: Setup) -> Report {
    World::new(setup).play()
}

struct World {
    now: Instant,
    start: Instant,
    end: Instant,
    line: Line,
    agenda: Agenda,
    chance: Chance,
    queue: VecDeque<Packet>,
    queued: u64,
    outage_until: Instant,
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    sampling: Duration,
    report: Report,
    flows: Vec<FlowReport>,
    /// What each flow had delivered at the last moment reported.
    delivered: Vec<u64>,
}

impl World {
    fn new(setup: Setup) -> Self {
        // An `Instant` has no other origin, and nothing depends on its value.
        let start = Instant::now();
        let mut agenda = Agenda::default();
        for (at, change) in &setup.changes {
            agenda.add(start + *at, Event::Change(*change));
        }
        agenda.add(start + setup.sampling, Event::Sample);
        let senders: Vec<Sender> =
            setup.flows.into_iter().map(|flow| Sender::new(flow, start, setup.datagram)).collect();
        for (index, sender) in senders.iter().enumerate() {
            agenda.add(sender.starts(), Event::Wake(index));
        }
        let flows =
            senders.iter().map(|sender| FlowReport::new(&sender.name, sender.starts() - start)).collect();
        Self {
            now: start,
            start,
            end: start + setup.duration,
            line: setup.line,
            agenda,
            chance: Chance::new(setup.seed),
            queue: VecDeque::new(),
            queued: 0,
            outage_until: start,
            receivers: senders.iter().map(|_| Receiver::default()).collect(),
            delivered: vec![0; senders.len()],
            senders,
            sampling: setup.sampling,
            report: Report::new(setup.line),
            flows,
        }
    }

    fn play(mut self) -> Report {
        while let Some((at, event)) = self.agenda.next().filter(|(at, _)| *at <= self.end) {
            self.now = at;
            self.happen(event);
            if self.senders.iter().all(Sender::has_delivered_all) {
                break;
            }
        }
        if !self.senders.iter().all(Sender::has_delivered_all) {
            self.now = self.end;
        }
        let ended = self.now - self.start;
        for ((mut flow, sender), receiver) in self.flows.into_iter().zip(&self.senders).zip(&self.receivers) {
            flow.finish(sender, receiver);
            self.report.flows.push(flow);
        }
        self.report.finish(ended);
        self.report
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Departure => self.depart(),
            Event::Arrival(packet) => {
                let flow = &mut self.flows[packet.flow];
                flow.last_arrival = self.now - self.start;
                let due = self.receivers[packet.flow].on_packet(packet.number, packet.bytes);
                match due {
                    Due::Now => self.acknowledge(packet.flow),
                    Due::Later if !self.receivers[packet.flow].timer => {
                        self.receivers[packet.flow].timer = true;
                        self.agenda.add(self.now + MAX_ACK_DELAY, Event::AckTimer(packet.flow));
                    }
                    Due::Later => {}
                }
            }
            Event::AckTimer(flow) => {
                self.receivers[flow].timer = false;
                self.acknowledge(flow);
            }
            Event::Ack(flow, numbers) => {
                self.senders[flow].on_ack(self.now, &numbers);
                self.pump(flow);
            }
            Event::Wake(flow) => {
                // An earlier wake took its place, unless this is the one meant.
                if self.senders[flow].wake_at.is_none_or(|at| at <= self.now) {
                    self.senders[flow].wake_at = None;
                    self.senders[flow].detect_losses(self.now);
                    if let Some((number, bytes)) = self.senders[flow].probe(self.now) {
                        self.enqueue(flow, number, bytes);
                    }
                    self.pump(flow);
                }
            }
            Event::Change(change) => match change {
                Change::Rate(rate) => self.line.rate = rate,
                Change::Delay(delay) => self.line.delay = delay,
                Change::Outage(length) => self.outage_until = self.now + length,
            },
            Event::Sample => self.sample(),
        }
    }

    /// Sends what may leave, and sees to it that the sender is called again.
    fn pump(&mut self, flow: usize) {
        while let Some((number, bytes)) = self.senders[flow].next_packet(self.now) {
            self.enqueue(flow, number, bytes);
        }
        let wake = self.senders[flow].next_wake(self.now);
        if let Some(at) = wake
            && self.senders[flow].wake_at.is_none_or(|known| at < known || known <= self.now)
        {
            self.senders[flow].wake_at = Some(at);
            self.agenda.add(at, Event::Wake(flow));
        }
    }

    fn enqueue(&mut self, flow: usize, number: u64, bytes: u64) {
        let packet = Packet { flow, number, bytes, queued_at: self.now };
        // What the line is sending has left the queue.
        let waiting = self.queued - self.queue.front().map_or(0, |head| head.bytes);
        if !self.queue.is_empty() && waiting + bytes > self.line.queue {
            self.flows[flow].queue_drops += 1;
            return;
        }
        self.queued += bytes;
        self.queue.push_back(packet);
        if self.queue.len() == 1 {
            self.serve(packet);
        }
    }

    fn serve(&mut self, head: Packet) {
        let waited = self.now.saturating_duration_since(head.queued_at);
        self.report.waits.push(waited);
        let sending = Duration::from_secs_f64(head.bytes as f64 / self.line.rate.max(1) as f64);
        self.agenda.add(self.now + sending, Event::Departure);
    }

    fn depart(&mut self) {
        let Some(packet) = self.queue.pop_front() else { return };
        self.queued -= packet.bytes;
        if let Some(head) = self.queue.front().copied() {
            self.serve(head);
        }
        if self.now < self.outage_until || self.chance.loses(self.line.loss) {
            self.flows[packet.flow].line_losses += 1;
            return;
        }
        let delay = self.line.delay + self.chance.duration(self.line.jitter);
        self.agenda.add(self.now + delay, Event::Arrival(packet));
    }

    fn acknowledge(&mut self, flow: usize) {
        let lost = self.now < self.outage_until || self.chance.loses(self.line.loss);
        if let Some(numbers) = self.receivers[flow].acknowledge(lost) {
            let delay = self.line.delay + self.chance.duration(self.line.jitter);
            self.agenda.add(self.now + delay, Event::Ack(flow, numbers));
        }
    }

    fn sample(&mut self) {
        self.agenda.add(self.now + self.sampling, Event::Sample);
        let rate = |bytes: u64| bytes as f64 / self.sampling.as_secs_f64();
        let rates =
            self.receivers.iter().zip(&mut self.delivered).map(|(receiver, delivered)| {
                rate(receiver.bytes - std::mem::replace(delivered, receiver.bytes))
            });
        self.report.moments.push(Moment {
            at: self.now - self.start,
            rates: rates.collect(),
            windows: self.senders.iter().map(|sender| sender.controller.window()).collect(),
            queue: Duration::from_secs_f64(self.queued as f64 / self.line.rate.max(1) as f64),
        });
    }
}

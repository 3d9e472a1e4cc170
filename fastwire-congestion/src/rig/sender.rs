//! The sending end of a flow: a controller, a pacer, and loss recovery after RFC 9002.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::receiver::MAX_ACK_DELAY;
use super::setup::{Flow, Traffic};
use crate::{
    Acked, AppLimited, Congestion, CongestionController, CongestionKind, InFlight, Lost, Pacer, PathInfo,
    RttSample, Sent, Spurious,
};

/// Later packets acknowledged that make one lost, and at most where packets overtake each other (RFC 9002 §6.1.1,
/// and adaptation as in RFC 8985 §3.3).
const REORDERING: (u64, u64) = (3, 256);
/// RFC 9002 §6.2.2.
const FIRST_RTT: Duration = Duration::from_millis(333);
/// RFC 9002 §7.6.1.
const PERSISTENT: u32 = 3;

/// Packets in flight at most, where a controller knows no limit: what a socket's buffer would refuse.
const MOST_IN_FLIGHT: usize = 1 << 14;

pub(super) struct Sender {
    pub(super) name: String,
    pub(super) controller: Box<dyn CongestionController>,
    pacer: Pacer,
    traffic: Traffic,
    starts: Instant,
    datagram: u16,
    outstanding: BTreeMap<u64, (Instant, u64)>,
    /// Declared lost, and not yet seen to have arrived after all.
    declared: BTreeSet<u64>,
    next_number: u64,
    bytes_in_flight: u64,
    rtt: Option<RttSample>,
    threshold: u64,
    recovery_began: Option<Instant>,
    /// Packets of the newest congestion event that have not turned up.
    missing: Option<u64>,
    probes: u32,
    last_ack_eliciting: Instant,
    largest_acked: Option<u64>,
    /// Messages, or bytes of a limited bulk, that were lost and must leave again.
    again: u64,
    fresh: u64,
    /// Messages that found no way out at their time.
    pub(super) held_back: u64,
    pub(super) declared_lost: u64,
    pub(super) sent_bytes: u64,
    pub(super) acked_bytes: u64,
    pub(super) wake_at: Option<Instant>,
    limited: bool,
}

impl Sender {
    pub(super) fn new(flow: Flow, now: Instant, datagram: u16) -> Self {
        let starts = now + flow.starts;
        Self {
            controller: (flow.make)(&PathInfo::new(starts, datagram)),
            name: flow.name,
            pacer: Pacer::new(starts),
            traffic: flow.traffic,
            starts,
            datagram,
            outstanding: BTreeMap::new(),
            declared: BTreeSet::new(),
            next_number: 0,
            bytes_in_flight: 0,
            rtt: None,
            threshold: REORDERING.0,
            recovery_began: None,
            missing: None,
            probes: 0,
            last_ack_eliciting: starts,
            largest_acked: None,
            again: 0,
            fresh: 0,
            held_back: 0,
            declared_lost: 0,
            sent_bytes: 0,
            acked_bytes: 0,
            wake_at: None,
            limited: false,
        }
    }

    pub(super) fn starts(&self) -> Instant {
        self.starts
    }

    fn in_flight(&self) -> InFlight {
        InFlight::new(self.outstanding.len() as u32, self.bytes_in_flight)
    }

    pub(super) fn has_delivered_all(&self) -> bool {
        matches!(self.traffic, Traffic::Bulk(Some(bytes)) if self.acked_bytes >= bytes)
    }

    /// The size of the next packet, if there is anything to send at `now`.
    fn next_size(&mut self, now: Instant) -> Option<u64> {
        let datagram = u64::from(self.datagram);
        match self.traffic {
            Traffic::Bulk(None) => Some(datagram),
            Traffic::Bulk(Some(bytes)) => {
                let left = bytes.saturating_sub(self.fresh) + self.again;
                (left > 0 && !self.has_delivered_all()).then(|| datagram.min(left))
            }
            Traffic::Messages { bytes, every } => {
                let due = (now.saturating_duration_since(self.starts).as_nanos() / every.as_nanos().max(1))
                    as u64
                    + 1;
                (self.fresh < due || self.again > 0).then_some(bytes.min(datagram))
            }
        }
    }

    fn took(&mut self, bytes: u64) {
        let amount = if matches!(self.traffic, Traffic::Messages { .. }) { 1 } else { bytes };
        if self.again >= amount {
            self.again -= amount;
        } else {
            self.fresh += amount - self.again;
            self.again = 0;
        }
    }

    /// The next packet that may leave at `now`: its number and size.
    pub(super) fn next_packet(&mut self, now: Instant) -> Option<(u64, u64)> {
        if now < self.starts {
            return None;
        }
        let bytes = self.next_size(now);
        let room = bytes.unwrap_or(u64::from(self.datagram));
        let allowed = self.controller.quota(now, self.in_flight()).allows(room)
            && self.outstanding.len() < MOST_IN_FLIGHT;
        let rate = self.controller.pacing_rate();
        let paced = self.pacer.allowance(now, rate, self.datagram) < room;
        let Some(bytes) = bytes else {
            if allowed && !paced && !std::mem::replace(&mut self.limited, true) {
                self.controller.on_app_limited(&AppLimited::new(now, self.in_flight()));
            }
            return None;
        };
        if !allowed || paced {
            self.held_back += u64::from(matches!(self.traffic, Traffic::Messages { .. }));
            return None;
        }
        self.took(bytes);
        Some((self.send(now, bytes), bytes))
    }

    fn send(&mut self, now: Instant, bytes: u64) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.outstanding.insert(number, (now, bytes));
        self.bytes_in_flight += bytes;
        self.sent_bytes += bytes;
        self.last_ack_eliciting = now;
        self.limited = false;
        self.pacer.on_sent(now, bytes);
        self.controller.on_sent(&Sent::new(now, bytes, self.in_flight()));
        number
    }

    /// A probe that nothing holds back, when an acknowledgement is overdue (RFC 9002 §6.2.4).
    pub(super) fn probe(&mut self, now: Instant) -> Option<(u64, u64)> {
        if self.probe_at().is_none_or(|at| now < at) {
            return None;
        }
        self.probes += 1;
        let bytes = self.next_size(now).unwrap_or(u64::from(self.datagram));
        if self.next_size(now).is_some() {
            self.took(bytes);
        }
        Some((self.send(now, bytes), bytes))
    }

    fn probe_at(&self) -> Option<Instant> {
        let timeout =
            self.rtt.map_or(2 * FIRST_RTT, |rtt| rtt.smoothed + (4 * rtt.var).max(Duration::from_millis(1)));
        let timeout = (timeout + MAX_ACK_DELAY) * 2_u32.pow(self.probes.min(6));
        (!self.outstanding.is_empty()).then(|| self.last_ack_eliciting + timeout)
    }

    fn loss_delay(&self) -> Duration {
        let rtt = self.rtt.map_or(FIRST_RTT, |rtt| rtt.smoothed.max(rtt.latest));
        // Where packets overtake each other, time waits as long as RFC 8985 §7.2 does.
        if self.threshold > REORDERING.0 { rtt * 5 / 4 } else { rtt * 9 / 8 }
    }

    /// When there may be something to do without a packet from outside.
    pub(super) fn next_wake(&mut self, now: Instant) -> Option<Instant> {
        let start = (now < self.starts).then_some(self.starts);
        let message = match self.traffic {
            Traffic::Messages { every, .. } => Some(self.starts + every * (self.fresh as u32)),
            Traffic::Bulk(_) => None,
        };
        let (datagram, rate) = (self.datagram, self.controller.pacing_rate());
        let room = self.next_size(now).is_some()
            && self.outstanding.len() < MOST_IN_FLIGHT
            && self.controller.quota(now, self.in_flight()).allows(u64::from(datagram));
        let release = if room { self.pacer.next_release(now, rate, datagram) } else { None };
        let lost = self.largest_acked.and_then(|largest| {
            let (_, (sent_at, _)) = self.outstanding.range(..largest).next()?;
            Some(*sent_at + self.loss_delay())
        });
        let later = |at: &Instant| *at > now;
        [start, message, release, lost, self.probe_at()].into_iter().flatten().filter(later).min()
    }

    pub(super) fn on_ack(&mut self, now: Instant, numbers: &[u64]) {
        let turned_up = numbers.iter().filter(|number| self.declared.remove(number)).count() as u64;
        let mut newest: Option<(u64, Instant)> = None;
        let (mut packets, mut bytes) = (0, 0);
        for number in numbers {
            if let Some((sent_at, size)) = self.outstanding.remove(number) {
                self.bytes_in_flight -= size;
                packets += 1;
                bytes += size;
                if newest.is_none_or(|(largest, _)| largest < *number) {
                    newest = Some((*number, sent_at));
                }
            }
        }
        self.acked_bytes += bytes + turned_up * u64::from(self.datagram);
        if let Some((largest, sent_at)) = newest {
            self.probes = 0;
            if self.largest_acked.is_none_or(|known| known < largest) {
                self.largest_acked = Some(largest);
                self.on_rtt(now.saturating_duration_since(sent_at));
            }
            if let Some(rtt) = self.rtt {
                self.controller.on_acked(&Acked::new(now, packets, bytes, sent_at, self.in_flight(), rtt));
            }
        }
        self.detect_losses(now);
        self.on_turned_up(now, turned_up);
    }

    /// RFC 9002 §5.3, without the adjustment by the receiver's delay.
    fn on_rtt(&mut self, latest: Duration) {
        self.rtt = Some(self.rtt.map_or(RttSample::first(latest), |rtt| RttSample {
            latest,
            smoothed: (rtt.smoothed * 7 + latest) / 8,
            var: (rtt.var * 3 + rtt.smoothed.abs_diff(latest)) / 4,
            min: rtt.min.min(latest),
        }));
    }

    /// RFC 9002 §6.1 and §7.6.
    pub(super) fn detect_losses(&mut self, now: Instant) {
        let Some(largest) = self.largest_acked else { return };
        let delay = self.loss_delay();
        let before = self.outstanding.range(..largest);
        let lost: Vec<(u64, Instant, u64)> = before
            .filter(|(number, (sent_at, _))| {
                largest - **number >= self.threshold || now.saturating_duration_since(*sent_at) >= delay
            })
            .map(|(number, (sent_at, bytes))| (*number, *sent_at, *bytes))
            .collect();
        let (Some(first), Some(last)) = (lost.first(), lost.last()) else { return };
        let span = last.1.saturating_duration_since(first.1);
        let whole = last.0 - first.0 + 1 == lost.len() as u64;
        let (mut bytes, count) = (0, lost.len() as u64);
        for (number, _, size) in &lost {
            self.outstanding.remove(number);
            self.declared.insert(*number);
            self.bytes_in_flight -= size;
            bytes += size;
            self.again += if matches!(self.traffic, Traffic::Messages { .. }) { 1 } else { *size };
        }
        self.declared_lost += count;
        let in_flight = self.in_flight();
        self.controller.on_lost(&Lost::new(now, count as u32, bytes, in_flight));
        let limit = self.rtt.map_or(FIRST_RTT, |rtt| rtt.smoothed + 4 * rtt.var) + MAX_ACK_DELAY;
        if self.recovery_began.is_none_or(|began| last.1 > began) {
            let persistent = whole && span > limit * PERSISTENT;
            let kind = if persistent { CongestionKind::Persistent } else { CongestionKind::Loss };
            self.recovery_began = Some(now);
            self.missing = Some(count);
            self.controller.on_congestion(&Congestion::new(now, kind, count as u32, bytes, in_flight));
        } else if let Some(missing) = &mut self.missing {
            *missing += count;
        }
    }

    fn on_turned_up(&mut self, now: Instant, packets: u64) {
        if packets == 0 {
            return;
        }
        self.threshold = (self.threshold * 2).min(REORDERING.1);
        let unit =
            if matches!(self.traffic, Traffic::Messages { .. }) { 1 } else { u64::from(self.datagram) };
        self.again = self.again.saturating_sub(packets * unit);
        if let Some(missing) = self.missing {
            self.missing = missing.checked_sub(packets).filter(|left| *left > 0);
            if self.missing.is_none() {
                self.controller.on_spurious(&Spurious::new(
                    now,
                    packets as u32,
                    packets * u64::from(self.datagram),
                ));
            }
        }
    }
}

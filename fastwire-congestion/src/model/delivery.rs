//! How fast the path delivers, and where round trips end: a short memory of what left when.
//!
//! The estimator is that of draft-cheng-iccrg-delivery-rate-estimation. What it keeps for each packet is kept here
//! for each moment of sending, because an acknowledgement names the time its newest packet left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{Acked, AppLimited, Sent};

/// Moments remembered at most; older ones go first. More than two round trips of them are never asked for.
const MAX_RECORDS: usize = 512;
/// Moments closer together than this share of a round trip are one.
const GRAIN: u32 = 128;
/// Before the first round trip is known.
const FIRST_GRAIN: Duration = Duration::from_micros(100);

/// What was known at a moment of sending.
#[derive(Clone, Copy, Debug)]
struct Record {
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    /// When the packet whose delivery was the newest then had left.
    first_sent_at: Instant,
    in_flight: u64,
    app_limited: bool,
}

/// What one acknowledgement says about the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Bytes a second, `None` where the time between was too short to tell.
    pub(super) rate: Option<u64>,
    /// How long what was delivered took to leave, and to arrive.
    sending: Duration,
    arriving: Duration,
    /// The application did not use the path when these packets left.
    pub(super) app_limited: bool,
    /// What was in flight when the newest of them left.
    pub(super) in_flight: u64,
    /// What was delivered since it left.
    pub(super) delivered: u64,
    /// A packet sent after the last round trip began has arrived: a new one begins.
    pub(super) round_start: bool,
}

impl Sample {
    /// The rate without what chance may have added to it, because the highest of many samples is believed: `jitter` may have
    /// brought the first and the last acknowledgement closer together by half of it, and of packets of `mtu` bytes, of
    /// which `loss` is lost, a standard deviation more than usual may have arrived.
    pub(super) fn cautious_rate(&self, jitter: Duration, loss: f64, mtu: u64) -> Option<u64> {
        self.rate?;
        let mtu = mtu.max(1) as f64;
        let chance = (self.delivered as f64 / mtu * loss * (1.0 - loss)).sqrt() * mtu;
        let interval = self.sending.max(self.arriving.saturating_add(jitter / 2));
        Some(((self.delivered as f64 - chance).max(0.0) / interval.as_secs_f64()) as u64)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// Oldest first, `at` strictly rising.
    records: VecDeque<Record>,
    grain: Duration,
    pub(super) delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    /// Until so much is delivered, samples show the application's rate.
    limited_until: Option<u64>,
    /// The round trip ends when a packet sent with so much delivered arrives.
    round_ends: u64,
}

impl Delivery {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            records: VecDeque::new(),
            grain: FIRST_GRAIN,
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            limited_until: None,
            round_ends: 0,
        }
    }

    /// `small`: so little in flight that only an application with little to say keeps it there.
    pub(super) fn on_sent(&mut self, sent: &Sent, small: u64) {
        if sent.in_flight.bytes <= sent.bytes {
            // A pause before this packet is no time of delivery.
            (self.first_sent_at, self.delivered_at) = (sent.now, sent.now);
        }
        let app_limited = self.limited_until.is_some() || sent.in_flight.bytes < small;
        if let Some(newest) = self.records.back_mut() {
            if sent.now < newest.at {
                self.records.clear(); // the clock has stepped back
            } else if sent.now - newest.at < self.grain {
                newest.in_flight = sent.in_flight.bytes;
                newest.app_limited = app_limited;
                return;
            }
        }
        if self.records.len() == MAX_RECORDS {
            self.records.pop_front();
        }
        if self.records.capacity() == 0 {
            // One is all that a quiet connection needs.
            self.records.reserve_exact(1);
        }
        self.records.push_back(Record {
            at: sent.now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            in_flight: sent.in_flight.bytes,
            app_limited,
        });
    }

    pub(super) fn on_app_limited(&mut self, event: &AppLimited) {
        self.limited_until = Some(self.delivered.saturating_add(event.in_flight.bytes));
    }

    /// `None`: the packets left longer ago than is remembered.
    pub(super) fn on_acked(&mut self, acked: &Acked) -> Option<Sample> {
        self.grain = (acked.rtt.smoothed / GRAIN).max(Duration::from_micros(1));
        self.delivered = self.delivered.saturating_add(acked.bytes);
        self.delivered_at = acked.now;
        self.limited_until = self.limited_until.filter(|until| self.delivered <= *until);
        let after = self.records.partition_point(|record| record.at <= acked.newest_sent_at);
        let record = *self.records.get(after.checked_sub(1)?)?;
        // What left before it gives no further sample: newer packets have arrived.
        self.records.drain(..after - 1);
        self.first_sent_at = record.at;
        let round_start = record.delivered >= self.round_ends;
        if round_start {
            self.round_ends = self.delivered;
        }
        let sending = record.at.saturating_duration_since(record.first_sent_at);
        let arriving = acked.now.saturating_duration_since(record.delivered_at);
        let delivered = self.delivered - record.delivered.min(self.delivered);
        // Under the smallest round trip, acknowledgements came in a clump (§4.1.3 of the draft).
        let interval = sending.max(arriving);
        let valid = interval >= acked.rtt.min && interval > Duration::ZERO;
        let rate = valid.then(|| (delivered as f64 / interval.as_secs_f64()) as u64);
        Some(Sample {
            rate,
            sending,
            arriving,
            app_limited: record.app_limited || acked.app_limited,
            in_flight: record.in_flight,
            delivered,
            round_start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InFlight, RttSample};

    const PACKET: u64 = 1200;

    /// A path of `rate` packets a second and `rtt`, fed with a packet each `gap`: the samples it gives.
    fn play(rate: u32, rtt: Duration, gap: Duration, packets: u32) -> Vec<Sample> {
        let start = Instant::now();
        let mut delivery = Delivery::new(start);
        let mut acks = VecDeque::new();
        let mut free = start;
        let mut samples = Vec::new();
        let mut in_flight = 0_u64;
        for packet in 0..packets {
            let now = start + gap * packet;
            while let Some(&(at, sent_at)) = acks.front().filter(|(at, _): &&(Instant, Instant)| *at <= now) {
                acks.pop_front();
                in_flight -= PACKET;
                let flight = InFlight::new((in_flight / PACKET) as u32, in_flight);
                let sample = RttSample { min: rtt, ..RttSample::first(at - sent_at) };
                samples.extend(delivery.on_acked(&Acked::new(at, 1, PACKET, sent_at, flight, sample)));
            }
            in_flight += PACKET;
            let flight = InFlight::new((in_flight / PACKET) as u32, in_flight);
            delivery.on_sent(&Sent::new(now, PACKET, flight), 4 * PACKET);
            free = free.max(now) + Duration::from_secs(1) / rate;
            acks.push_back((free + rtt, now));
        }
        assert!(delivery.records.len() <= MAX_RECORDS);
        samples
    }

    #[test]
    fn the_rate_is_that_of_the_bottleneck_or_of_the_sender_whichever_is_less() {
        for (rate, gap_us) in [(2000, 400), (2000, 1000), (1000, 900), (50, 19_000)] {
            let samples = play(rate, Duration::from_millis(50), Duration::from_micros(gap_us), 3000);
            let expected = f64::from(rate).min(1e6 / gap_us as f64) * PACKET as f64;
            let rates: Vec<f64> = samples.iter().skip(20).filter_map(|s| s.rate).map(|r| r as f64).collect();
            assert!(rates.len() > 100, "{} samples", rates.len());
            for sample in &rates[rates.len() / 2..] {
                assert!((0.97..1.03).contains(&(sample / expected)), "{sample} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_cautious_rate_leaves_out_what_jitter_and_luck_may_have_added() {
        let ms = Duration::from_millis;
        let of = |sending, arriving, jitter, loss| {
            let (rate, delivered) = (Some(1), 100 * PACKET);
            let (sending, arriving) = (ms(sending), ms(arriving));
            let sample = Sample {
                rate,
                sending,
                arriving,
                app_limited: false,
                in_flight: 0,
                delivered,
                round_start: false,
            };
            sample.cautious_rate(ms(jitter), loss, PACKET).map(|rate| (rate as f64 / 1000.0).round())
        };
        assert_eq!(of(40, 50, 0, 0.0), Some(2400.0));
        assert_eq!(of(40, 50, 20, 0.0), Some(2000.0), "half the jitter");
        assert_eq!(of(60, 50, 20, 0.0), Some(2000.0), "no less than what was sent");
        assert_eq!(of(75, 50, 20, 0.0), Some(1600.0));
        assert_eq!(of(40, 50, 0, 0.1), Some(2328.0), "3 packets of 100");
    }

    #[test]
    fn a_round_trip_is_a_round_trip() {
        let samples = play(2000, Duration::from_millis(50), Duration::from_millis(1), 2000);
        let rounds = samples.iter().filter(|sample| sample.round_start).count();
        assert!((36..=42).contains(&rounds), "{rounds} round trips of 50 ms in 2 s");
    }

    #[test]
    fn what_the_application_did_not_use_is_marked_until_it_has_arrived() {
        let now = Instant::now();
        let mut delivery = Delivery::new(now);
        let flight = |packets: u32| InFlight::new(packets, u64::from(packets) * PACKET);
        let rtt = RttSample::first(Duration::from_millis(50));
        let at = |ms| now + Duration::from_millis(ms);
        delivery.on_sent(&Sent::new(at(0), PACKET, flight(8)), 0);
        delivery.on_app_limited(&AppLimited::new(at(0), flight(8)));
        delivery.on_sent(&Sent::new(at(10), PACKET, flight(9)), 0);
        delivery.on_acked(&Acked::new(at(50), 8, 8 * PACKET, at(0), flight(1), rtt));
        delivery.on_sent(&Sent::new(at(51), PACKET, flight(2)), 0);
        let sample = delivery.on_acked(&Acked::new(at(60), 1, PACKET, at(10), flight(1), rtt)).unwrap();
        assert!(sample.app_limited);
        delivery.on_sent(&Sent::new(at(61), PACKET, flight(2)), 0);
        let sample = delivery.on_acked(&Acked::new(at(111), 2, 2 * PACKET, at(61), flight(0), rtt)).unwrap();
        assert!(!sample.app_limited);
    }
}

//! A controller that models the path, in the manner of BBRv3 (draft-ietf-ccwg-bbr): full speed with a short queue.

mod bounds;
mod delivery;
mod filters;
mod losses;
mod phase;
mod round_trips;

use std::time::{Duration, Instant};

use bounds::{Bounds, Queue};
use delivery::{Delivery, Sample};
use filters::{ExtraAcked, MaxBandwidth};
use losses::Losses;
use phase::{Phase, Pipe, Schedule};
use round_trips::RoundTrips;

use crate::{
    Acked, AppLimited, Congestion, CongestionController, CongestionKind, InFlight, Lost, PathChange,
    PathInfo, Quota, Sent, Spurious, Window,
};

/// The smallest window, in packets ("MinPipeCwnd").
const MIN_PACKETS: u64 = 4;
/// The largest window, in bytes: a terabyte, more than any path holds.
const MAX_WINDOW: u64 = 1 << 40;
/// How long little stays in flight to look at the path ("ProbeRTTDuration").
const PROBE_RTT: Duration = Duration::from_millis(200);
/// Round trips that a look for more bandwidth takes at most, where others keep the flow from filling the path.
const MOST_UP_ROUNDS: u32 = 6;
/// Round trips in which the queue and the losses are still those of the probe before.
const ANSWER_ROUNDS: u32 = 2;
/// What is left of the rate while a small queue stays, less than is given way to: it then grows no further where the
/// model is a little high, as the draft's pacing margin would have it at all times.
const LEAN: f64 = 0.97;
/// What a flow that gives way to a queue leaves waiting in it, in packets.
const YIELD_PACKETS: u64 = 8;

/// Model-based congestion control over bytes, in the manner of BBRv3 (draft-ietf-ccwg-bbr).
///
/// It measures how fast the path delivers and how long its round trip is without a queue, paces at that rate and
/// keeps about one product of the two in flight. From time to time it looks for more bandwidth, and for a lower
/// round-trip time where the queue was never seen empty.
///
/// Beyond the draft:
///
/// - Loss counts as congestion only where it exceeds what the line loses while its queue is low, and the rate makes up
///   for the line's own loss. So a line that loses 10 % of its packets by chance is still filled.
/// - A round-trip time that stays high shows a queue. The rate gives way to it until each flow leaves about 8 packets
///   waiting, as in FAST TCP, so that flows of this kind share evenly with a short queue; to a queue that does not
///   shrink for it, such as CUBIC's, it gives way no longer.
/// - How far round-trip times vary within a round trip is measured. Jitter is no queue, and its lowest and its luckiest
///   samples are not believed: what fits the path is counted with it, and bandwidth without what it may have added.
/// - Startup ends at a large queue that lasts for some acknowledgements, before it overflows.
#[derive(Clone, Debug)]
pub struct ModelBased {
    mtu: u64,
    /// The window to start with, in packets, here and on every later path.
    initial_packets: u32,
    initial: u64,
    delivery: Delivery,
    bandwidth: MaxBandwidth,
    round_trips: RoundTrips,
    extra_acked: ExtraAcked,
    losses: Losses,
    bounds: Bounds,
    phase: Phase,
    pipe: Pipe,
    schedule: Schedule,
    round: Round,
    /// The last round trip showed a small queue throughout: not enough to give way, enough to stop it growing.
    lean: bool,
    /// Startup ended because the queue overflowed. How much is too much in flight is known once it has been emptied.
    overflowed: bool,
    /// The delivery rate of the last round trips, smoothed.
    usual_rate: u64,
    /// When the phase began.
    since: Instant,
    /// The probe that ended last still shows in this round trip's samples; then the bandwidth filter moves on.
    answer_due: bool,
    /// Round trips since the last probe.
    after_probe: u32,
    /// Window in bytes, between [`MIN_PACKETS`] and [`MAX_WINDOW`].
    cwnd: u64,
    pacing_rate: Option<u64>,
    before_event: Option<u64>,
}

/// What this round trip has shown.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// The highest delivery rate, and the most delivered in one sample.
    rate: u64,
    delivered: u64,
    /// The newest delivery rate: at the end of a round trip, that over the round trip.
    last_rate: u64,
    /// The application limited a sample.
    app_limited: bool,
    /// Round trips since the phase began.
    number: u32,
}

impl ModelBased {
    /// Starts with the path's initial window, at least 10 packets or 14 720 bytes (RFC 9002 §7.2).
    pub fn new(path: &PathInfo) -> Self {
        let mtu = u64::from(path.mtu.max(1));
        let initial = path.initial_window_bytes().clamp(MIN_PACKETS * mtu, MAX_WINDOW);
        Self {
            mtu,
            initial_packets: path.initial_window_packets,
            initial,
            delivery: Delivery::new(path.now),
            bandwidth: MaxBandwidth::default(),
            round_trips: RoundTrips::new(path.now),
            extra_acked: ExtraAcked::new(path.now),
            losses: Losses::default(),
            bounds: Bounds::default(),
            phase: Phase::Startup,
            pipe: Pipe::default(),
            schedule: Schedule::new(path.now),
            round: Round::default(),
            lean: false,
            overflowed: false,
            usual_rate: 0,
            since: path.now,
            answer_due: false,
            after_probe: 0,
            cwnd: initial,
            pacing_rate: None,
            before_event: None,
        }
    }

    /// How fast the path delivers as far as is known, in UDP payload bytes a second; 0 before the first sample.
    pub fn bandwidth(&self) -> u64 {
        self.bounds.rate(self.bandwidth.get())
    }

    /// The share of packets that the line loses while its queue is empty, as far as is known, 0 to 0.2.
    pub fn line_loss(&self) -> f64 {
        self.losses.own()
    }

    /// The rate to send at for the path to deliver at its bandwidth: the line takes its share on the way.
    fn sending_rate(&self) -> f64 {
        self.bandwidth() as f64 / (1.0 - self.losses.own())
    }

    /// What fits the path without a queue, times `gain`. The initial window before anything is known.
    fn fitting(&self, gain: f64) -> u64 {
        match self.round_trips.without_queue() {
            Some(rtt) if self.bandwidth() > 0 => (self.sending_rate() * rtt.as_secs_f64() * gain) as u64,
            _ => (self.initial as f64 * gain) as u64,
        }
    }

    fn floor(&self) -> u64 {
        MIN_PACKETS * self.mtu
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
        self.round.number = 0;
    }

    /// Waits for the next look for more bandwidth.
    fn go_down(&mut self, acked: &Acked) {
        let salt = self.delivery.delivered ^ u64::from(acked.rtt.latest.subsec_nanos()).rotate_left(32);
        self.schedule.restart(acked.now, salt);
        self.round_trips.begin_cycle();
        self.answer_due = true;
        self.enter(Phase::Down, acked.now);
    }

    /// Judges the round trip that ended, and begins the next.
    fn end_round(&mut self, acked: &Acked) {
        self.round_trips.end_round(acked.now);
        let queue = self.round_trips.shows_queue();
        let usual = if self.usual_rate == 0 { self.round.last_rate } else { self.usual_rate };
        self.usual_rate = usual - usual / 4 + self.round.last_rate / 4;
        if self.phase == Phase::Startup && !self.round.app_limited {
            self.pipe.on_round(self.bandwidth.get(), queue);
        }
        let excessive = self.losses.are_excessive();
        self.after_probe = if self.phase.is_probing() { 0 } else { self.after_probe.saturating_add(1) };
        if self.after_probe > ANSWER_ROUNDS {
            let (rate, window) = (self.bandwidth.get(), self.cwnd);
            if excessive {
                self.bounds.lower((rate, self.round.rate), (window, self.round.delivered));
            } else if !queue {
                let step =
                    2.0 * self.mtu as f64 / acked.rtt.smoothed.max(Duration::from_micros(1)).as_secs_f64();
                self.bounds.recover(rate, self.fitting(2.0), step as u64);
            }
        }
        self.losses.end_round();
        if std::mem::take(&mut self.answer_due) && !self.round.app_limited {
            self.bandwidth.advance();
        }
        let steady = matches!(self.phase, Phase::Cruise | Phase::Down) && self.after_probe > ANSWER_ROUNDS;
        if steady && queue && !self.round.app_limited {
            let queue = Queue {
                rate: self.round.last_rate,
                usual_rate: self.usual_rate,
                rtt: self.round_trips.of_round().unwrap_or_default(),
                without: self.round_trips.without_queue().unwrap_or_default(),
            };
            self.bounds.give_way(self.bandwidth.get(), &queue, YIELD_PACKETS * self.mtu);
            self.phase = Phase::Down; // the wait for the next look goes on
        }
        self.lean = self.round_trips.shows_small_queue();
        self.round_trips.begin_round();
        self.schedule.on_round();
        self.round = Round { number: self.round.number.saturating_add(1), ..Round::default() };
    }

    fn observe(&mut self, acked: &Acked, sample: &Sample) {
        if sample.round_start {
            self.end_round(acked);
        }
        // A chance loss of few samples says nothing yet, and startup grows by what it finds.
        let luck = if self.phase == Phase::Startup { 0.0 } else { self.losses.own() };
        let believed = sample.cautious_rate(self.round_trips.jitter(), luck, self.mtu);
        if let Some(rate) = believed {
            self.bandwidth.on_sample(rate, sample.app_limited);
        }
        if let Some(rate) = sample.rate {
            self.round.rate = self.round.rate.max(rate);
            self.round.last_rate = rate;
        }
        self.round.delivered = self.round.delivered.max(sample.delivered);
        self.round.app_limited |= sample.app_limited;
        let (bandwidth, cwnd) = (self.bandwidth(), self.cwnd);
        self.extra_acked.on_acked(acked.now, acked.bytes, bandwidth, cwnd, sample.round_start);
    }

    /// Moves on to the next phase where it is time.
    fn steer(&mut self, acked: &Acked, sample: &Sample) {
        let in_flight = acked.in_flight.bytes;
        let too_much = self.losses.are_excessive();
        match self.phase {
            Phase::Startup => {
                if too_much && self.round_trips.shows_queue_already() && !sample.app_limited {
                    self.pipe.fill();
                    self.overflowed = true;
                }
                if self.round_trips.shows_large_queue() && !sample.app_limited {
                    self.pipe.fill();
                }
                if self.pipe.is_full() {
                    self.enter(Phase::Drain, acked.now);
                }
            }
            Phase::Drain if in_flight <= self.fitting(1.0) => {
                if std::mem::take(&mut self.overflowed) {
                    // The draft has what fits. Of that headroom would be left until the next look, of what was no more than a
                    // guess made while the queue overflowed.
                    self.bounds.reached(self.fitting(1.0 / bounds::HEADROOM).max(self.round.delivered));
                }
                self.go_down(acked);
            }
            Phase::Down if self.is_time_to_probe(acked.now) => self.refill(acked.now),
            Phase::Down if in_flight <= self.bounds.with_headroom(self.fitting(1.0), self.floor()) => {
                self.enter(Phase::Cruise, acked.now);
            }
            Phase::Cruise if self.is_time_to_probe(acked.now) => self.refill(acked.now),
            Phase::Refill if self.round.number >= 1 => self.enter(Phase::Up, acked.now),
            Phase::Up => self.probe_up(acked, sample, too_much),
            Phase::ProbeRtt { since } => self.probe_rtt(acked, since),
            Phase::Drain | Phase::Down | Phase::Cruise | Phase::Refill => {}
        }
        if self.round_trips.is_probe_due() && !matches!(self.phase, Phase::ProbeRtt { .. }) {
            if sample.app_limited {
                // What is in flight is less than the path holds: the queue is not this connection's.
                self.round_trips.refreshed(acked.now);
            } else {
                self.enter(Phase::ProbeRtt { since: None }, acked.now);
            }
        }
    }

    fn is_time_to_probe(&self, now: Instant) -> bool {
        self.schedule.is_due(now, self.fitting(0.5) / self.mtu)
    }

    fn refill(&mut self, now: Instant) {
        self.bounds.begin_probe();
        self.enter(Phase::Refill, now);
    }

    fn probe_up(&mut self, acked: &Acked, sample: &Sample, too_much: bool) {
        if too_much {
            if !sample.app_limited {
                let least = (self.fitting(1.0) as f64 * bounds::BETA) as u64;
                self.bounds.reached(sample.in_flight.max(least));
            }
            self.go_down(acked);
            return;
        }
        self.bounds.raise(acked.in_flight.bytes, acked.bytes, self.cwnd, self.mtu, self.round.number);
        let long_enough = self
            .round_trips
            .lowest()
            .is_some_and(|rtt| acked.now.saturating_duration_since(self.since) > rtt);
        let full = acked.in_flight.bytes >= self.fitting(1.25);
        if long_enough && (full || self.round.number >= MOST_UP_ROUNDS) {
            self.go_down(acked);
        }
    }

    fn probe_rtt(&mut self, acked: &Acked, since: Option<Instant>) {
        let Some(since) = since else {
            if acked.in_flight.bytes <= self.probe_rtt_window() {
                self.enter(Phase::ProbeRtt { since: Some(acked.now) }, acked.now);
            }
            return;
        };
        let lasted = acked.now.saturating_duration_since(since) >= PROBE_RTT || acked.now < since;
        if lasted && self.round.number >= 1 {
            self.round_trips.refreshed(acked.now);
            if self.pipe.is_full() {
                self.bounds.forget_short_term();
                self.go_down(acked);
                self.answer_due = false;
            } else {
                self.enter(Phase::Startup, acked.now);
            }
        }
    }

    fn probe_rtt_window(&self) -> u64 {
        self.fitting(Phase::ProbeRtt { since: None }.window_gain()).max(self.floor())
    }

    /// "BBRSetCwnd": grows by what was acknowledged towards what the model allows.
    fn resize(&mut self, acked: u64) {
        let floor = self.floor();
        let quantum = (self.pacing_rate.unwrap_or(0) / 1000).clamp(2 * self.mtu, 64 * self.mtu);
        let fitting = self.fitting(self.phase.window_gain()).saturating_add(self.extra_acked.get());
        let most = fitting.max(3 * quantum).max(floor);
        // In startup what the line lost has left room, too.
        let acked = (acked as f64 / (1.0 - self.losses.own())) as u64;
        if self.pipe.is_full() {
            self.cwnd = self.cwnd.saturating_add(acked).min(most);
        } else if self.cwnd < most || self.delivery.delivered < self.initial {
            self.cwnd = self.cwnd.saturating_add(acked);
        }
        let bound = match self.phase {
            Phase::Startup | Phase::Drain => u64::MAX,
            Phase::Refill | Phase::Up | Phase::Down => self.bounds.most(),
            Phase::Cruise => self.bounds.with_headroom(u64::MAX, floor),
            Phase::ProbeRtt { .. } => self.probe_rtt_window(),
        };
        self.cwnd = self.cwnd.min(bound).clamp(floor, MAX_WINDOW);
    }

    fn pace(&mut self, srtt: Duration) {
        let srtt = srtt.max(Duration::from_micros(1)).as_secs_f64();
        let gain = self.phase.pacing_gain();
        let known = self.sending_rate();
        let rate = if known > 0.0 { known } else { self.initial as f64 / srtt };
        let mut rate = gain * rate;
        if self.phase == Phase::Cruise && self.lean {
            rate *= LEAN;
        }
        if self.phase == Phase::Startup {
            // The rate known is that of a round trip ago, when the window was half of what it is now.
            rate = rate.max(gain * self.cwnd as f64 / srtt);
        }
        // Until the pipe is full the rate only rises. The smallest window may always leave within a round trip.
        let least = if self.pipe.is_full() { 0 } else { self.pacing_rate.unwrap_or(0) };
        let floor = (self.floor() as f64 / srtt) as u64;
        self.pacing_rate = Some((rate as u64).max(least).max(floor).max(self.mtu));
    }
}

impl CongestionController for ModelBased {
    fn on_sent(&mut self, sent: &Sent) {
        self.delivery.on_sent(sent, self.floor());
    }

    fn on_app_limited(&mut self, event: &AppLimited) {
        self.delivery.on_app_limited(event);
    }

    fn on_acked(&mut self, acked: &Acked) {
        self.round_trips.on_sample(acked.now, acked.rtt.latest);
        self.losses.on_arrived(acked.packets, self.round_trips.queue_is_low());
        if let Some(sample) = self.delivery.on_acked(acked) {
            self.observe(acked, &sample);
            self.steer(acked, &sample);
        }
        self.pace(acked.rtt.smoothed);
        self.resize(acked.bytes);
    }

    fn on_lost(&mut self, lost: &Lost) {
        self.losses.on_lost(lost.packets, self.round_trips.queue_is_low());
    }

    fn on_congestion(&mut self, event: &Congestion) {
        match event.kind {
            // What is lost is counted in `on_lost`; one loss is no sign of congestion here.
            CongestionKind::Loss => {}
            CongestionKind::Ecn => {
                self.before_event = Some(self.cwnd);
                self.bounds.marked(self.cwnd);
                self.pipe.fill();
                self.cwnd = self.cwnd.min(self.bounds.most()).max(self.floor());
            }
            CongestionKind::Persistent => {
                self.before_event = Some(self.cwnd);
                self.cwnd = self.cwnd.min(self.floor());
            }
        }
    }

    fn on_spurious(&mut self, _event: &Spurious) {
        self.bounds.forget_short_term();
        if let Some(before) = self.before_event.take() {
            self.cwnd = self.cwnd.max(before);
        }
    }

    fn on_path_change(&mut self, event: &PathChange) {
        *self = Self::new(&event.path.with_initial_window(self.initial_packets));
    }

    fn on_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu.max(1));
        self.cwnd = self.cwnd.clamp(self.floor(), MAX_WINDOW);
        self.pacing_rate = self.pacing_rate.map(|rate| rate.max(self.mtu));
    }

    fn quota(&self, _now: Instant, in_flight: InFlight) -> Quota {
        self.window().minus(in_flight)
    }

    fn window(&self) -> Window {
        Window::of_bytes(self.cwnd)
    }

    fn pacing_rate(&self) -> Option<u64> {
        self.pacing_rate
    }
}

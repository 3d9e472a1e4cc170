//! CUBIC (RFC 9438) with HyStart++ (RFC 9406): the loss-based controller most of the Internet runs.

mod curve;
mod hystart;

use std::time::{Duration, Instant};

use curve::{BETA, Epoch};
use hystart::{Growth, HyStart};

use crate::{
    Acked, Congestion, CongestionController, CongestionKind, InFlight, PathChange, PathInfo, Quota, Sent,
    Spurious, Window,
};

/// The smallest window, in packets (RFC 9002 §7.2).
const MIN_PACKETS: u64 = 2;
/// The largest window, in bytes: a terabyte, more than any path holds.
const MAX_WINDOW_BYTES: f64 = (1_u64 << 40) as f64;
/// What the pacing rate is of window a round trip: in slow start the window doubles each round trip, later a little
/// more than one window keeps it in use (RFC 9002 §7.7).
const PACING_GAIN: (f64, f64) = (2.0, 1.25);

/// CUBIC congestion control over a window in bytes: slow start with HyStart++, then a window that is a cubic
/// function of the time since the last congestion event, never below what Reno would have; fast convergence
/// (RFC 9438 §4.7); and every decrease is taken back when its loss turns out spurious (§4.9).
///
/// Fair to the TCP of others, and as they do it fills the queue of the bottleneck and takes every loss for
/// congestion: on a line with random loss it slows to a fraction of the line.
#[derive(Clone, Debug)]
pub struct Cubic {
    mtu: u64,
    /// The window to start with, in packets, here and on every later path.
    initial_packets: u32,
    /// Window in bytes. Finite, between [`MIN_PACKETS`] and [`MAX_WINDOW_BYTES`].
    cwnd: f64,
    /// At and above it congestion avoidance; infinite before the first event.
    ssthresh: f64,
    /// The window of the plateau, in bytes, kept across events for fast convergence.
    w_max: f64,
    slow_start: HyStart,
    /// Congestion avoidance, from its first acknowledgement to the next event.
    epoch: Option<Epoch>,
    /// The window when the newest event came, in bytes.
    prior: f64,
    /// When the window was last used and acknowledged, for the time that passes on the curve.
    last_acked: Instant,
    /// The acknowledgement before was of a window in use.
    in_use: bool,
    srtt: Option<Duration>,
    before_event: Option<Box<Before>>,
}

/// What a spurious event gives back (RFC 9438 §4.9.2).
#[derive(Clone, Copy, Debug)]
struct Before {
    cwnd: f64,
    ssthresh: f64,
    w_max: f64,
    prior: f64,
    epoch: Option<Epoch>,
}

impl Cubic {
    /// Starts with the path's initial window, at least 10 packets or 14 720 bytes (RFC 9002 §7.2).
    pub fn new(path: &PathInfo) -> Self {
        let cwnd = path.initial_window_bytes() as f64;
        Self {
            mtu: u64::from(path.mtu.max(1)),
            initial_packets: path.initial_window_packets,
            cwnd: cwnd.min(MAX_WINDOW_BYTES),
            ssthresh: f64::INFINITY,
            w_max: 0.0,
            slow_start: HyStart::new(path.now),
            epoch: None,
            prior: 0.0,
            last_acked: path.now,
            in_use: false,
            srtt: None,
            before_event: None,
        }
    }

    /// Whether the window still grows as in slow start.
    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    fn floor(&self) -> f64 {
        (MIN_PACKETS * self.mtu) as f64
    }

    fn set(&mut self, cwnd: f64) {
        self.cwnd = cwnd.clamp(self.floor(), MAX_WINDOW_BYTES);
    }

    /// Whether what was in flight tested the window (RFC 9002 §7.8, RFC 7661 §4.3): half of it in slow start, which
    /// doubles it each round trip, nearly all of it later.
    fn was_used(&self, acked: &Acked) -> bool {
        let used = acked.in_flight.bytes.saturating_add(acked.bytes) as f64;
        let needed = if self.in_slow_start() { self.cwnd / 2.0 } else { self.cwnd * 0.75 - self.floor() };
        !acked.app_limited && used >= needed
    }

    fn avoid(&mut self, acked: &Acked, passed: Duration) {
        let mtu = self.mtu as f64;
        let (cwnd, w_max, prior) = (self.cwnd / mtu, self.w_max / mtu, self.prior / mtu);
        let fresh = || Epoch::new(cwnd, w_max, prior);
        let epoch = self.epoch.get_or_insert_with(fresh);
        let rtt = acked.rtt.smoothed.as_secs_f64();
        let grown = epoch.grow(cwnd, acked.bytes as f64 / mtu, passed.as_secs_f64(), rtt);
        // One acknowledgement adds at most what it acknowledges, as in slow start.
        self.set((grown * mtu).min(self.cwnd + acked.bytes as f64));
    }
}

impl CongestionController for Cubic {
    fn on_sent(&mut self, _sent: &Sent) {}

    fn on_acked(&mut self, acked: &Acked) {
        self.srtt = Some(acked.rtt.smoothed);
        let passed = acked.now.saturating_duration_since(self.last_acked);
        self.last_acked = acked.now;
        let in_use = self.was_used(acked);
        let was_in_use = std::mem::replace(&mut self.in_use, in_use);
        if !self.in_use {
            return;
        }
        if self.in_slow_start() {
            match self.slow_start.on_acked(acked.now, acked.newest_sent_at, acked.rtt.latest) {
                Growth::By(divisor) => self.set(self.cwnd + acked.bytes as f64 / f64::from(divisor)),
                Growth::Ends => self.ssthresh = self.cwnd,
            }
        } else {
            self.avoid(acked, if was_in_use { passed } else { Duration::ZERO });
        }
    }

    fn on_congestion(&mut self, event: &Congestion) {
        let &mut Self { cwnd, ssthresh, w_max, prior, epoch, .. } = self;
        self.before_event = Some(Box::new(Before { cwnd, ssthresh, w_max, prior, epoch }));
        self.prior = cwnd;
        // Fast convergence: a flow that has less than before makes room (RFC 9438 §4.7).
        self.w_max = if cwnd < w_max { cwnd * (1.0 + BETA) / 2.0 } else { cwnd };
        self.ssthresh = (cwnd * BETA).max(self.floor());
        self.epoch = None;
        match event.kind {
            CongestionKind::Persistent => {
                self.set(self.floor()); // RFC 9002 §7.6.2
                self.slow_start = HyStart::new(event.now);
            }
            CongestionKind::Loss | CongestionKind::Ecn => self.set(self.ssthresh),
        }
        self.cwnd = self.cwnd.min(cwnd.max(self.floor()));
    }

    fn on_spurious(&mut self, _event: &Spurious) {
        if let Some(before) = self.before_event.take() {
            self.set(self.cwnd.max(before.cwnd));
            self.ssthresh = self.ssthresh.max(before.ssthresh);
            self.w_max = self.w_max.max(before.w_max);
            (self.prior, self.epoch) = (before.prior, before.epoch);
        }
    }

    fn on_path_change(&mut self, event: &PathChange) {
        *self = Self::new(&event.path.with_initial_window(self.initial_packets));
    }

    fn on_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu.max(1));
        self.set(self.cwnd);
    }

    fn quota(&self, _now: Instant, in_flight: InFlight) -> Quota {
        self.window().minus(in_flight)
    }

    fn window(&self) -> Window {
        Window::of_bytes(self.cwnd as u64)
    }

    fn pacing_rate(&self) -> Option<u64> {
        let srtt = self.srtt?.max(Duration::from_micros(1)).as_secs_f64();
        let (slow_start, avoidance) = PACING_GAIN;
        let gain = if self.in_slow_start() { slow_start } else { avoidance };
        Some(((self.cwnd * gain / srtt) as u64).max(self.mtu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RttSample;

    const MTU: u64 = 1200;

    fn acked(now: Instant, packets: u32, left: u64) -> Acked {
        let rtt = Duration::from_millis(50);
        let in_flight = InFlight::new((left / MTU) as u32, left);
        Acked::new(now, packets, u64::from(packets) * MTU, now - rtt, in_flight, RttSample::first(rtt))
    }

    fn loss(now: Instant) -> Congestion {
        Congestion::new(now, CongestionKind::Loss, 1, MTU, InFlight::NONE)
    }

    fn bytes(cubic: &Cubic) -> u64 {
        cubic.window().bytes.unwrap()
    }

    fn start(now: Instant, packets: u32) -> Cubic {
        Cubic::new(&PathInfo::new(now, MTU as u16).with_initial_window(packets))
    }

    #[test]
    fn slow_start_doubles_a_window_in_use_and_leaves_an_unused_one() {
        let now = Instant::now();
        let mut cubic = start(now, 10);
        let before = bytes(&cubic);
        cubic.on_acked(&acked(now, 1, 0));
        assert_eq!(bytes(&cubic), before, "one packet of ten is no use of the window");
        for _ in 0..10 {
            cubic.on_acked(&acked(now, 1, bytes(&cubic) - MTU));
        }
        assert_eq!(bytes(&cubic), 2 * before);
        cubic.on_acked(&acked(now, 20, 0).with_app_limited(true));
        assert_eq!(bytes(&cubic), 2 * before);
    }

    #[test]
    fn an_event_leaves_seven_tenths_and_a_second_one_makes_room() {
        let now = Instant::now();
        let mut cubic = start(now, 100);
        cubic.on_congestion(&loss(now));
        assert_eq!((cubic.cwnd, cubic.w_max), (84_000.0, 120_000.0));
        cubic.on_congestion(&loss(now));
        assert!((cubic.cwnd - 58_800.0).abs() < 1e-6);
        assert!((cubic.w_max - 84_000.0 * 0.85).abs() < 1e-6, "fast convergence, RFC 9438 §4.7");
    }

    #[test]
    fn a_spurious_event_gives_everything_back_once() {
        let now = Instant::now();
        let mut cubic = start(now, 100);
        cubic.on_congestion(&loss(now));
        cubic.on_spurious(&Spurious::new(now, 1, MTU));
        assert_eq!((bytes(&cubic), cubic.in_slow_start()), (120_000, true));
        cubic.on_congestion(&loss(now));
        cubic.on_congestion(&loss(now));
        cubic.on_spurious(&Spurious::new(now, 1, MTU));
        cubic.on_spurious(&Spurious::new(now, 1, MTU));
        assert_eq!(bytes(&cubic), 84_000, "only the newest event");
    }

    #[test]
    fn time_without_use_does_not_move_along_the_curve() {
        let now = Instant::now();
        let mut cubic = start(now, 100);
        cubic.on_congestion(&loss(now));
        let full = |cubic: &Cubic| bytes(cubic) - MTU;
        for step in 1..20 {
            cubic.on_acked(&acked(now + Duration::from_millis(step), 1, full(&cubic)));
        }
        let mut idle = cubic.clone();
        let hour = now + Duration::from_secs(3600);
        for ms in 0..10 {
            idle.on_acked(&acked(hour + Duration::from_millis(ms), 1, 0).with_app_limited(true));
        }
        idle.on_acked(&acked(hour + Duration::from_millis(11), 1, full(&idle)));
        assert!(bytes(&idle) - bytes(&cubic) < MTU, "an idle hour is no growth");
    }

    #[test]
    fn persistent_congestion_goes_to_the_floor_and_starts_slowly() {
        let now = Instant::now();
        let mut cubic = start(now, 100);
        cubic.on_congestion(&Congestion::new(now, CongestionKind::Persistent, 9, 9 * MTU, InFlight::NONE));
        assert_eq!(bytes(&cubic), 2 * MTU);
        assert!(cubic.in_slow_start());
    }
}

//! Additive increase, multiplicative decrease over a window in packets: the default, kind to shared networks.

use std::time::Instant;

use crate::{
    Acked, Congestion, CongestionController, CongestionKind, InFlight, PathChange, PathInfo, Quota,
    RecoveryProfile, Sent, Spurious, Window,
};

/// The window a connection starts with unless told otherwise, in packets.
pub const DEFAULT_INITIAL_WINDOW: u32 = 4;
/// The smallest window, in packets: with a single packet each delayed acknowledgement would stall the connection.
pub const MIN_WINDOW: u32 = 2;
/// The largest window of [`Conservative`], in packets: over a gigabyte in flight, more than any path holds.
pub const MAX_WINDOW: u32 = 1 << 20;

/// What a congestion event leaves of the window (RFC 5681 §3.1, PROTOCOL A11).
const DECREASE: f64 = 0.5;

/// AIMD congestion avoidance from the first packet on: each acknowledged packet adds `1/window`, about one packet a
/// round trip, and each congestion event halves the window (Chiu and Jain 1989; RFC 5681 §3.1; PROTOCOL A11).
#[derive(Clone, Debug)]
pub struct Conservative {
    /// Window in packets. Finite, between [`MIN_WINDOW`] and [`MAX_WINDOW`].
    cwnd: f64,
    /// The window to start with, here and on every later path.
    initial: f64,
    /// The window before the newest congestion event, until that event is confirmed spurious or followed by another.
    before_event: Option<f64>,
}

impl Conservative {
    /// Starts with the path's initial window, at least [`MIN_WINDOW`] packets.
    pub fn new(path: &PathInfo) -> Self {
        let initial = f64::from(path.initial_window_packets.clamp(MIN_WINDOW, MAX_WINDOW));
        Self { cwnd: initial, initial, before_event: None }
    }

    /// The window in packets with its fraction, as it grows.
    pub fn cwnd(&self) -> f64 {
        self.cwnd
    }
}

impl CongestionController for Conservative {
    fn on_sent(&mut self, _sent: &Sent) {}

    fn on_acked(&mut self, acked: &Acked) {
        // A window that was not in use has not been tested; growing it on the acknowledgements of a trickle
        // would let an idle connection burst later (RFC 9002 §7.8, RFC 7661 §3).
        if !acked.app_limited {
            self.cwnd = (self.cwnd + f64::from(acked.packets) / self.cwnd).min(f64::from(MAX_WINDOW));
        }
    }

    fn on_congestion(&mut self, event: &Congestion) {
        self.before_event = Some(self.cwnd);
        self.cwnd = match event.kind {
            CongestionKind::Persistent => f64::from(MIN_WINDOW), // RFC 9002 §7.6.2
            CongestionKind::Loss | CongestionKind::Ecn => (self.cwnd * DECREASE).max(f64::from(MIN_WINDOW)),
        };
    }

    /// Takes back the newest decrease, once (RFC 4015 §3).
    fn on_spurious(&mut self, _event: &Spurious) {
        if let Some(before) = self.before_event.take() {
            self.cwnd = self.cwnd.max(before);
        }
    }

    fn on_path_change(&mut self, _event: &PathChange) {
        *self = Self { cwnd: self.initial, initial: self.initial, before_event: None };
    }

    fn quota(&self, _now: Instant, in_flight: InFlight) -> Quota {
        self.window().minus(in_flight)
    }

    fn window(&self) -> Window {
        Window::of_packets(self.cwnd as u32) // the fraction does not carry a packet yet
    }

    fn recovery_profile(&self) -> RecoveryProfile {
        RecoveryProfile::CONSERVATIVE
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::RttSample;

    fn acked(now: Instant, packets: u32) -> Acked {
        let rtt = RttSample::first(Duration::from_millis(20));
        Acked::new(now, packets, u64::from(packets) * 1200, now, InFlight::NONE, rtt)
    }

    fn congestion(now: Instant, kind: CongestionKind) -> Congestion {
        Congestion::new(now, kind, 1, 1200, InFlight::NONE)
    }

    fn start(now: Instant) -> Conservative {
        Conservative::new(&PathInfo::new(now, 1200))
    }

    #[test]
    fn a_window_acknowledged_whole_adds_about_one_packet() {
        let now = Instant::now();
        let mut aimd = start(now);
        for round in 0..100_u32 {
            let before = aimd.cwnd();
            aimd.on_acked(&acked(now, aimd.window().packets.unwrap()));
            let grown = aimd.cwnd() - before;
            assert!(grown > 0.75 && grown <= 1.0, "round {round} added {grown}");
        }
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let now = Instant::now();
        let mut aimd = start(now);
        for _ in 0..10_000 {
            aimd.on_acked(&acked(now, 1).with_app_limited(true));
        }
        assert_eq!(aimd.window(), Window::of_packets(DEFAULT_INITIAL_WINDOW));
    }

    #[test]
    fn persistent_congestion_goes_to_the_floor_at_once() {
        let now = Instant::now();
        let mut aimd = Conservative::new(&PathInfo::new(now, 1200).with_initial_window(1000));
        aimd.on_congestion(&congestion(now, CongestionKind::Persistent));
        assert_eq!(aimd.window(), Window::of_packets(MIN_WINDOW));
    }

    #[test]
    fn a_spurious_event_is_taken_back_once() {
        let now = Instant::now();
        let mut aimd = Conservative::new(&PathInfo::new(now, 1200).with_initial_window(64));
        aimd.on_congestion(&congestion(now, CongestionKind::Loss));
        assert_eq!(aimd.cwnd(), 32.0);
        aimd.on_spurious(&Spurious::new(now, 1, 1200));
        assert_eq!(aimd.cwnd(), 64.0);
        aimd.on_congestion(&congestion(now, CongestionKind::Ecn));
        aimd.on_congestion(&congestion(now, CongestionKind::Loss));
        aimd.on_spurious(&Spurious::new(now, 1, 1200));
        aimd.on_spurious(&Spurious::new(now, 1, 1200));
        assert_eq!(aimd.cwnd(), 32.0, "only the newest of two events is taken back");
    }

    #[test]
    fn the_window_reaches_its_limit_and_stays_there() {
        let now = Instant::now();
        let mut aimd = start(now);
        for _ in 0..4 {
            aimd.on_acked(&acked(now, u32::MAX));
        }
        assert_eq!(aimd.window(), Window::of_packets(MAX_WINDOW));
    }
}

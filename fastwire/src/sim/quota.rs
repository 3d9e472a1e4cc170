//! A meter around the congestion controller: does what leaves keep within the window?
//!
//! Only what counts as in flight must: the extended profile lets unreliable messages and control frames go without.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use fastwire_congestion::{
    Acked, AppLimited, BuiltinController, BuiltinControllers, Congestion, CongestionController,
    ControllerFactory, InFlight, Lost, PathChange, PathInfo, Quota, RecoveryProfile, Sent, Spurious, Window,
};

/// Packets that may leave at one moment though the window is full: two probes of a timeout (RFC 9002 §6.2.4), one of the
/// path's MTU and one that asks after a path.
const PROBES: u32 = 4;

/// Makes controllers that are watched.
pub(crate) struct QuotaMeter {
    controllers: BuiltinControllers,
    beyond: Arc<AtomicU64>,
}

impl QuotaMeter {
    /// Adds what leaves beyond a window to `beyond`.
    pub(crate) fn new(controllers: BuiltinControllers, beyond: Arc<AtomicU64>) -> Self {
        Self { controllers, beyond }
    }
}

impl ControllerFactory for QuotaMeter {
    type Controller = MeteredController;

    fn make(&self, path: &PathInfo) -> MeteredController {
        let beyond = Arc::clone(&self.beyond);
        MeteredController {
            controller: self.controllers.make(path),
            beyond,
            before: AtomicU32::new(0),
            probes: 0,
            at: None,
        }
    }
}

/// A controller that counts the packets which left though it had no room for them.
#[derive(Debug)]
pub struct MeteredController {
    controller: BuiltinController,
    beyond: Arc<AtomicU64>,
    /// What was in flight when somebody last asked, or sent.
    before: AtomicU32,
    /// Packets beyond the window that left at the moment `at`.
    probes: u32,
    at: Option<Instant>,
}

impl CongestionController for MeteredController {
    fn on_sent(&mut self, sent: &Sent) {
        let packets = sent.in_flight.packets;
        if packets <= self.before.swap(packets, Ordering::Relaxed) {
            return self.controller.on_sent(sent);
        }
        let before = InFlight {
            packets: packets.saturating_sub(1),
            bytes: sent.in_flight.bytes.saturating_sub(sent.bytes),
        };
        let room = self.controller.window().minus(before);
        if room.packets == 0 || room.bytes == 0 {
            if self.at != Some(sent.now) {
                (self.at, self.probes) = (Some(sent.now), 0);
            }
            self.probes += 1;
            if self.probes > PROBES {
                self.beyond.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.controller.on_sent(sent);
    }

    fn on_app_limited(&mut self, event: &AppLimited) {
        self.controller.on_app_limited(event);
    }

    fn on_acked(&mut self, acked: &Acked) {
        self.controller.on_acked(acked);
    }

    fn on_lost(&mut self, lost: &Lost) {
        self.controller.on_lost(lost);
    }

    fn on_congestion(&mut self, event: &Congestion) {
        self.controller.on_congestion(event);
    }

    fn on_spurious(&mut self, event: &Spurious) {
        self.controller.on_spurious(event);
    }

    fn on_path_change(&mut self, event: &PathChange) {
        self.controller.on_path_change(event);
    }

    fn on_mtu(&mut self, mtu: u16) {
        self.controller.on_mtu(mtu);
    }

    fn quota(&self, now: Instant, in_flight: InFlight) -> Quota {
        self.before.store(in_flight.packets, Ordering::Relaxed);
        self.controller.quota(now, in_flight)
    }

    fn window(&self) -> Window {
        self.controller.window()
    }

    fn pacing_rate(&self) -> Option<u64> {
        self.controller.pacing_rate()
    }

    fn recovery_profile(&self) -> RecoveryProfile {
        self.controller.recovery_profile()
    }
}

#[cfg(test)]
mod tests {
    use fastwire_congestion::CongestionMode;

    use super::*;

    /// Sends until so many packets beyond the window have left at once; gives what the meter shows.
    fn overrun(by: u32) -> u64 {
        let beyond = Arc::new(AtomicU64::new(0));
        let controllers = BuiltinControllers::new(CongestionMode::Conservative);
        let now = Instant::now();
        let mut controller =
            QuotaMeter::new(controllers, Arc::clone(&beyond)).make(&PathInfo::new(now, 1200));
        let window = controller.window().packets.expect("it counts packets");
        for packets in 1..=window + by {
            let in_flight = InFlight { packets, bytes: u64::from(packets) * 1200 };
            controller.on_sent(&Sent::new(now, 1200, in_flight));
        }
        beyond.load(Ordering::Relaxed)
    }

    #[test]
    fn who_sends_beyond_the_window_is_seen_and_probes_are_not() {
        assert_eq!((overrun(0), overrun(PROBES)), (0, 0));
        assert_eq!((overrun(PROBES + 1), overrun(PROBES + 7)), (1, 7));
    }
}

//! The congestion controller of a connection, and what it is told when.

use std::time::Instant;

use fastwire_congestion::{
    Acked, Congestion, CongestionController, CongestionKind, InFlight, Lost, PathChange, PathInfo, RttSample,
    Sent, Spurious,
};
use fastwire_reliability::{Channels, Outcome, Quota};

/// A controller, with the books its contract asks of the connection.
pub(super) struct Pressure<G> {
    pub(super) controller: G,
    /// Packets of the newest congestion event that have not turned up since. `None`: no event, or one
    /// that cannot be taken back.
    missing: Option<u32>,
}

impl<G: CongestionController> Pressure<G> {
    pub(super) fn new(controller: G) -> Self {
        Self { controller, missing: None }
    }

    /// What may leave now.
    pub(super) fn quota(&self, channels: &Channels, now: Instant) -> Quota {
        let quota = self.controller.quota(now, in_flight(channels));
        Quota { packets: quota.packets, bytes: quota.bytes }
    }

    pub(super) fn on_sent(&mut self, channels: &Channels, bytes: usize, now: Instant) {
        self.controller.on_sent(&Sent::new(now, bytes as u64, in_flight(channels)));
    }

    /// Tells what an acknowledgement or a timeout brought, losses before the event they are.
    pub(super) fn on_outcome(&mut self, channels: &Channels, outcome: &Outcome, now: Instant) {
        let in_flight = in_flight(channels);
        if outcome.newly_acked_packets > 0 {
            self.on_acked(channels, outcome, in_flight, now);
        }
        if outcome.lost_packets > 0 {
            self.controller.on_lost(&Lost::new(now, outcome.lost_packets, outcome.lost_bytes, in_flight));
            self.missing = self.missing.map(|missing| missing + outcome.lost_packets);
        }
        if let Some(event) = &outcome.congestion {
            let kind = if event.persistent { CongestionKind::Persistent } else { CongestionKind::Loss };
            let congestion = Congestion::new(now, kind, event.lost_packets, event.lost_bytes, in_flight);
            self.controller.on_congestion(&congestion);
            self.missing = Some(event.lost_packets);
        }
        if outcome.spurious > 0 {
            self.on_turned_up(outcome.spurious, now);
        }
    }

    fn on_acked(&mut self, channels: &Channels, outcome: &Outcome, in_flight: InFlight, now: Instant) {
        let rtt = channels.rtt();
        let sample =
            RttSample { latest: rtt.latest(), smoothed: rtt.smoothed(), var: rtt.variance(), min: rtt.min() };
        let sent_at = outcome.newest_acked_sent_at.unwrap_or(now);
        // RFC 9002 §7.8: a window that was not used says nothing about what the path can carry.
        let used = in_flight.packets.saturating_add(outcome.newly_acked_packets);
        let app_limited = self.controller.window().packets.is_some_and(|window| used < window);
        let (packets, bytes) = (outcome.newly_acked_packets, outcome.newly_acked_bytes);
        let acked = Acked::new(now, packets, bytes, sent_at, in_flight, sample).with_app_limited(app_limited);
        self.controller.on_acked(&acked);
    }

    /// An event is taken back only when every packet of it has turned up (RFC 4015 §3).
    fn on_turned_up(&mut self, packets: u32, now: Instant) {
        let Some(missing) = self.missing else { return };
        if packets >= missing {
            self.missing = None;
            self.controller.on_spurious(&Spurious::new(now, packets, 0));
        } else {
            self.missing = Some(missing - packets);
        }
    }

    /// The peer moved to another network: what was learned of the path no longer holds.
    pub(super) fn on_path_change(&mut self, path: PathInfo) {
        self.missing = None;
        self.controller.on_path_change(&PathChange::new(path));
    }
}

fn in_flight(channels: &Channels) -> InFlight {
    let (bytes, packets) = channels.in_flight();
    InFlight::new(packets, bytes)
}

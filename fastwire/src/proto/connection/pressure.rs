//! The congestion controller of a connection, and what it is told when.

use std::time::Instant;

use fastwire_congestion::{
    Acked, AppLimited, Congestion, CongestionController, CongestionKind, InFlight, Lost, Pacer, PathChange,
    PathInfo, RttSample, Sent, Spurious,
};
use fastwire_reliability::extended::ExtendedChannels;
use fastwire_reliability::{Channels, Outcome, Quota, Rtt};
use fastwire_wire::DEFAULT_MTU;

use crate::observe::Metrics;

/// What a controller has to know of the channels of either profile.
pub(crate) trait Flight {
    /// Bytes and packets on their way.
    fn in_flight(&self) -> (u64, u32);
    /// The path's round-trip time.
    fn rtt(&self) -> &Rtt;
}

impl Flight for Channels {
    fn in_flight(&self) -> (u64, u32) {
        self.in_flight()
    }

    fn rtt(&self) -> &Rtt {
        self.rtt()
    }
}

impl Flight for ExtendedChannels {
    fn in_flight(&self) -> (u64, u32) {
        self.in_flight()
    }

    fn rtt(&self) -> &Rtt {
        self.rtt()
    }
}

/// A controller, with the books its contract asks of the connection.
pub(crate) struct Pressure<G> {
    pub(super) controller: G,
    pacer: Pacer,
    /// When the pacer lets the next train go, if it held one back at the last look.
    release_at: Option<Instant>,
    /// Packets of the newest congestion event that have not turned up since. `None`: no event, or one
    /// that cannot be taken back.
    missing: Option<u32>,
}

impl<G: CongestionController> Pressure<G> {
    pub(super) fn new(controller: G, now: Instant) -> Self {
        Self { controller, pacer: Pacer::new(now), release_at: None, missing: None }
    }

    /// What may leave now, in datagrams of up to `mtu` bytes: what the window and the pacer both let go.
    pub(super) fn quota(&mut self, channels: &impl Flight, mtu: usize, now: Instant) -> Quota {
        let quota = self.controller.quota(now, in_flight(channels));
        let (rate, mtu) = (self.controller.pacing_rate(), u16::try_from(mtu).unwrap_or(u16::MAX));
        let paced = self.pacer.allowance(now, rate, mtu);
        self.release_at = if paced == 0 { self.pacer.next_release(now, rate, mtu) } else { None };
        Quota { packets: quota.packets, bytes: quota.bytes.min(paced) }
    }

    /// The window in packets, of 1200 bytes where the controller counts bytes; `None`: none.
    pub(super) fn window_packets(&self) -> Option<u32> {
        let window = self.controller.window();
        let of_bytes = |bytes: u64| u32::try_from(bytes / DEFAULT_MTU as u64).unwrap_or(u32::MAX);
        window.packets.or(window.bytes.map(of_bytes))
    }

    /// What is known of the path, for an observer.
    pub(super) fn metrics(&self, channels: &impl Flight) -> Metrics {
        let rtt = channels.rtt();
        let (bytes_in_flight, packets_in_flight) = channels.in_flight();
        Metrics {
            rtt: rtt.smoothed(),
            rtt_variance: rtt.variance(),
            latest_rtt: rtt.latest(),
            min_rtt: rtt.min(),
            congestion_window: self.window_packets(),
            bytes_in_flight,
            packets_in_flight,
            pacing_rate: self.controller.pacing_rate(),
        }
    }

    /// When the pacer lets something go that it held back.
    pub(super) fn release_at(&self) -> Option<Instant> {
        self.release_at
    }

    /// A packet that counts as in flight left.
    pub(super) fn on_sent(&mut self, channels: &impl Flight, bytes: usize, now: Instant) {
        self.pacer.on_sent(now, bytes as u64);
        self.controller.on_sent(&Sent::new(now, bytes as u64, in_flight(channels)));
    }

    /// The application had nothing more to send, though more could have left.
    pub(super) fn on_app_limited(&mut self, channels: &impl Flight, now: Instant) {
        self.release_at = None;
        self.controller.on_app_limited(&AppLimited::new(now, in_flight(channels)));
    }

    /// Tells what an acknowledgement or a timeout brought, losses before the event they are.
    pub(super) fn on_outcome(&mut self, channels: &impl Flight, outcome: &Outcome, now: Instant) {
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

    fn on_acked(&mut self, channels: &impl Flight, outcome: &Outcome, in_flight: InFlight, now: Instant) {
        let rtt = channels.rtt();
        let sample =
            RttSample { latest: rtt.latest(), smoothed: rtt.smoothed(), var: rtt.variance(), min: rtt.min() };
        let sent_at = outcome.newest_acked_sent_at.unwrap_or(now);
        // RFC 9002 §7.8: a window that was not used says nothing about what the path can carry.
        let used = in_flight.packets.saturating_add(outcome.newly_acked_packets);
        let (packets, bytes) = (outcome.newly_acked_packets, outcome.newly_acked_bytes);
        // Windows in bytes belong to controllers that are paced, and told when the application runs out.
        let app_limited = self.controller.window().packets.is_some_and(|window| used < window);
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

fn in_flight(channels: &impl Flight) -> InFlight {
    let (bytes, packets) = channels.in_flight();
    InFlight::new(packets, bytes)
}

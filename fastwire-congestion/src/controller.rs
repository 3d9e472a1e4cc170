//! The two traits: a controller of one connection, and the factory that makes one for each.

use std::time::Instant;

use crate::{
    Acked, AppLimited, Congestion, InFlight, Lost, PathChange, PathInfo, Quota, RecoveryProfile, Sent,
    Spurious, Window,
};

/// Decides how much a connection may have on its way.
///
/// A connection reports what happens to its packets (`on_…`) and asks before it sends ([`quota`](Self::quota)).
/// A controller never reads a clock: time comes in with each call, and a clock that steps backwards must do no harm.
/// Calls come in any order that a hostile peer can provoke; [`conformance::check`](crate::conformance::check) tests
/// a controller against the laws the connection relies on.
///
/// The trait is object-safe and `Box<dyn CongestionController>` implements it.
pub trait CongestionController: Send {
    /// A packet left. Called once for each packet that counts as in flight.
    fn on_sent(&mut self, sent: &Sent);

    /// The application ran out of things to send while the quota and the pacer would let a packet go. Called once
    /// each time that happens, at the end of the train that left. For controllers that measure how fast the path
    /// delivers; others need not listen.
    fn on_app_limited(&mut self, event: &AppLimited) {
        let _ = event;
    }

    /// Packets arrived. Called once for each acknowledgement that ends the flight of any.
    fn on_acked(&mut self, acked: &Acked);

    /// Packets were declared lost. Called for every loss, before the [`on_congestion`](Self::on_congestion) it may
    /// lead to. For controllers that model the loss rate; others need not listen.
    fn on_lost(&mut self, lost: &Lost) {
        let _ = lost;
    }

    /// The path is congested. Called at most once a round trip.
    fn on_congestion(&mut self, event: &Congestion);

    /// The newest congestion event was a mistake. A controller may take back what it did; it must not slow down.
    fn on_spurious(&mut self, event: &Spurious) {
        let _ = event;
    }

    /// The connection moved: start again as a new controller would.
    fn on_path_change(&mut self, event: &PathChange);

    /// Path MTU discovery found that the same path carries UDP payloads of up to `mtu` bytes.
    fn on_mtu(&mut self, mtu: u16) {
        let _ = mtu;
    }

    /// How much may leave at `now` with `in_flight` on its way. At most what [`window`](Self::window) leaves.
    ///
    /// With nothing in flight it allows a packet at once or within a second, else a connection would stand still.
    fn quota(&self, now: Instant, in_flight: InFlight) -> Quota;

    /// How much may be in flight. Never under two packets.
    fn window(&self) -> Window;

    /// The rate to spread packets at, in UDP payload bytes a second. `None` leaves them unpaced.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// How eagerly to repeat what is lost.
    fn recovery_profile(&self) -> RecoveryProfile {
        RecoveryProfile::CONSERVATIVE
    }
}

impl<C: CongestionController + ?Sized> CongestionController for Box<C> {
    fn on_sent(&mut self, sent: &Sent) {
        (**self).on_sent(sent);
    }

    fn on_app_limited(&mut self, event: &AppLimited) {
        (**self).on_app_limited(event);
    }

    fn on_acked(&mut self, acked: &Acked) {
        (**self).on_acked(acked);
    }

    fn on_lost(&mut self, lost: &Lost) {
        (**self).on_lost(lost);
    }

    fn on_congestion(&mut self, event: &Congestion) {
        (**self).on_congestion(event);
    }

    fn on_spurious(&mut self, event: &Spurious) {
        (**self).on_spurious(event);
    }

    fn on_path_change(&mut self, event: &PathChange) {
        (**self).on_path_change(event);
    }

    fn on_mtu(&mut self, mtu: u16) {
        (**self).on_mtu(mtu);
    }

    fn quota(&self, now: Instant, in_flight: InFlight) -> Quota {
        (**self).quota(now, in_flight)
    }

    fn window(&self) -> Window {
        (**self).window()
    }

    fn pacing_rate(&self) -> Option<u64> {
        (**self).pacing_rate()
    }

    fn recovery_profile(&self) -> RecoveryProfile {
        (**self).recovery_profile()
    }
}

/// Makes a controller for each connection. Closures implement it:
///
/// ```
/// use fastwire_congestion::{Conservative, ControllerFactory, PathInfo};
/// # use std::time::Instant;
/// let factory = |path: &PathInfo| Conservative::new(path);
/// let controller = factory.make(&PathInfo::new(Instant::now(), 1200));
/// # let _ = controller;
/// ```
pub trait ControllerFactory: Send + Sync {
    /// What it makes. `Box<dyn CongestionController>` lets the choice differ from connection to connection.
    type Controller: CongestionController;

    /// A new controller for this path.
    fn make(&self, path: &PathInfo) -> Self::Controller;
}

impl<F, C> ControllerFactory for F
where
    F: Fn(&PathInfo) -> C + Send + Sync,
    C: CongestionController,
{
    type Controller = C;

    fn make(&self, path: &PathInfo) -> C {
        self(path)
    }
}

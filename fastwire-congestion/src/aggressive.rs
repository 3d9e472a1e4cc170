//! No gate: for traffic whose rate the application fixes itself, and for networks of one's own.

use std::time::Instant;

use crate::{
    Acked, Congestion, CongestionController, InFlight, PathChange, Quota, RecoveryProfile, Sent, Window,
};

/// Never holds a packet back and repeats lost ones early (PROTOCOL A11).
///
/// Congestion goes unanswered: use it where the application's own rate is far below what the path carries, such as
/// a game at a fixed tick.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aggressive;

impl CongestionController for Aggressive {
    fn on_sent(&mut self, _sent: &Sent) {}

    fn on_acked(&mut self, _acked: &Acked) {}

    fn on_congestion(&mut self, _event: &Congestion) {}

    fn on_path_change(&mut self, _event: &PathChange) {}

    fn quota(&self, _now: Instant, _in_flight: InFlight) -> Quota {
        Quota::UNLIMITED
    }

    fn window(&self) -> Window {
        Window::UNLIMITED
    }

    fn recovery_profile(&self) -> RecoveryProfile {
        RecoveryProfile::AGGRESSIVE
    }
}

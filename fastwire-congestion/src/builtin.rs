//! The controllers that come with FastWire behind one type, chosen by a configuration value.

use std::time::Instant;

use crate::{
    Acked, Aggressive, Congestion, CongestionController, Conservative, ControllerFactory,
    DEFAULT_INITIAL_WINDOW, InFlight, Lost, PathChange, PathInfo, Quota, RecoveryProfile, Sent, Spurious,
    Window,
};

/// Which built-in controller a connection uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CongestionMode {
    /// [`Conservative`]: shares the network fairly.
    #[default]
    Conservative,
    /// [`Aggressive`]: never holds a packet back.
    Aggressive,
}

/// A built-in controller.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BuiltinController {
    /// Additive increase, multiplicative decrease.
    Conservative(Conservative),
    /// No gate.
    Aggressive(Aggressive),
}

/// Makes built-in controllers: the default factory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltinControllers {
    /// Which one.
    pub mode: CongestionMode,
    /// The window to start with, in packets; it takes the place of
    /// [`PathInfo::initial_window_packets`]. At least [`MIN_WINDOW`](crate::MIN_WINDOW) is used.
    pub initial_window: u32,
}

impl BuiltinControllers {
    /// Controllers of this mode that start with [`DEFAULT_INITIAL_WINDOW`].
    pub const fn new(mode: CongestionMode) -> Self {
        Self { mode, initial_window: DEFAULT_INITIAL_WINDOW }
    }
}

impl Default for BuiltinControllers {
    fn default() -> Self {
        Self::new(CongestionMode::default())
    }
}

impl ControllerFactory for BuiltinControllers {
    type Controller = BuiltinController;

    fn make(&self, path: &PathInfo) -> BuiltinController {
        match self.mode {
            CongestionMode::Conservative => BuiltinController::Conservative(Conservative::new(
                &path.with_initial_window(self.initial_window),
            )),
            CongestionMode::Aggressive => BuiltinController::Aggressive(Aggressive),
        }
    }
}

/// Runs an expression on whichever controller it is.
macro_rules! each {
    ($self:expr, $controller:ident => $call:expr) => {
        match $self {
            BuiltinController::Conservative($controller) => $call,
            BuiltinController::Aggressive($controller) => $call,
        }
    };
}

impl CongestionController for BuiltinController {
    fn on_sent(&mut self, sent: &Sent) {
        each!(self, controller => controller.on_sent(sent));
    }

    fn on_acked(&mut self, acked: &Acked) {
        each!(self, controller => controller.on_acked(acked));
    }

    fn on_lost(&mut self, lost: &Lost) {
        each!(self, controller => controller.on_lost(lost));
    }

    fn on_congestion(&mut self, event: &Congestion) {
        each!(self, controller => controller.on_congestion(event));
    }

    fn on_spurious(&mut self, event: &Spurious) {
        each!(self, controller => controller.on_spurious(event));
    }

    fn on_path_change(&mut self, event: &PathChange) {
        each!(self, controller => controller.on_path_change(event));
    }

    fn on_mtu(&mut self, mtu: u16) {
        each!(self, controller => controller.on_mtu(mtu));
    }

    fn quota(&self, now: Instant, in_flight: InFlight) -> Quota {
        each!(self, controller => controller.quota(now, in_flight))
    }

    fn window(&self) -> Window {
        each!(self, controller => controller.window())
    }

    fn pacing_rate(&self) -> Option<u64> {
        each!(self, controller => controller.pacing_rate())
    }

    fn recovery_profile(&self) -> RecoveryProfile {
        each!(self, controller => controller.recovery_profile())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_makes_its_controller_with_its_profile() {
        let path = PathInfo::new(Instant::now(), 1200);
        let conservative = BuiltinControllers::default().make(&path);
        assert_eq!(conservative.window(), Window::of_packets(4));
        assert_eq!(conservative.recovery_profile(), RecoveryProfile::CONSERVATIVE);
        let aggressive = BuiltinControllers::new(CongestionMode::Aggressive).make(&path);
        assert_eq!(aggressive.window(), Window::UNLIMITED);
        assert_eq!(aggressive.recovery_profile(), RecoveryProfile::AGGRESSIVE);
        assert_eq!(aggressive.quota(path.now, InFlight::new(u32::MAX, u64::MAX)), Quota::UNLIMITED);
    }
}

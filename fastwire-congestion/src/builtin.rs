//! The controllers that come with FastWire behind one type, chosen by a configuration value.

use std::time::Instant;

use crate::{
    Acked, Aggressive, AppLimited, Congestion, CongestionController, Conservative, ControllerFactory, Cubic,
    DEFAULT_INITIAL_WINDOW, InFlight, Lost, ModelBased, PathChange, PathInfo, Quota, RecoveryProfile, Sent,
    Spurious, Window,
};

/// Which built-in controller a connection uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CongestionMode {
    /// What fits the connection: [`Conservative`] in the base profile, [`ModelBased`] in the extended one
    /// ([`PathInfo::extended`]), whose acknowledgements tell it each packet's fate.
    #[default]
    Auto,
    /// [`Conservative`]: shares the network fairly.
    Conservative,
    /// [`Aggressive`]: never holds a packet back.
    Aggressive,
    /// [`Cubic`]: what most of the Internet runs; fills queues and takes every loss for congestion.
    Cubic,
    /// [`ModelBased`]: full speed with a short queue, random loss or not.
    ModelBased,
}

/// A built-in controller.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BuiltinController {
    /// Additive increase, multiplicative decrease.
    Conservative(Conservative),
    /// No gate.
    Aggressive(Aggressive),
    /// CUBIC with HyStart++.
    Cubic(Box<Cubic>),
    /// A model of the path.
    ModelBased(Box<ModelBased>),
}

/// Makes built-in controllers: the default factory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltinControllers {
    /// Which one.
    pub mode: CongestionMode,
    /// The window to start with, in packets; it takes the place of
    /// [`PathInfo::initial_window_packets`]. At least [`MIN_WINDOW`](crate::MIN_WINDOW) is used, and by the
    /// controllers that count bytes at least [`PathInfo::initial_window_bytes`].
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
        let path = path.with_initial_window(self.initial_window);
        let mode = match self.mode {
            CongestionMode::Auto if path.extended => CongestionMode::ModelBased,
            CongestionMode::Auto => CongestionMode::Conservative,
            mode => mode,
        };
        match mode {
            CongestionMode::Auto | CongestionMode::Conservative => {
                BuiltinController::Conservative(Conservative::new(&path))
            }
            CongestionMode::Aggressive => BuiltinController::Aggressive(Aggressive),
            CongestionMode::Cubic => BuiltinController::Cubic(Box::new(Cubic::new(&path))),
            CongestionMode::ModelBased => BuiltinController::ModelBased(Box::new(ModelBased::new(&path))),
        }
    }
}

/// Runs an expression on whichever controller it is.
macro_rules! each {
    ($self:expr, $controller:ident => $call:expr) => {
        match $self {
            BuiltinController::Conservative($controller) => $call,
            BuiltinController::Aggressive($controller) => $call,
            BuiltinController::Cubic($controller) => $call,
            BuiltinController::ModelBased($controller) => $call,
        }
    };
}

impl CongestionController for BuiltinController {
    fn on_sent(&mut self, sent: &Sent) {
        each!(self, controller => controller.on_sent(sent));
    }

    fn on_app_limited(&mut self, event: &AppLimited) {
        each!(self, controller => controller.on_app_limited(event));
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
    fn auto_follows_the_profile() {
        let path = PathInfo::new(Instant::now(), 1200);
        let auto = BuiltinControllers::default();
        assert!(matches!(auto.make(&path), BuiltinController::Conservative(_)));
        assert!(matches!(auto.make(&path.with_extended(true)), BuiltinController::ModelBased(_)));
    }

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
        for mode in [CongestionMode::Cubic, CongestionMode::ModelBased] {
            let controller = BuiltinControllers::new(mode).make(&path);
            assert_eq!(controller.window(), Window::of_bytes(12_000), "RFC 9002 §7.2");
            assert_eq!(controller.recovery_profile(), RecoveryProfile::CONSERVATIVE);
        }
    }
}

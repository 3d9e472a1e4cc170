#![doc = include_str!("../README.md")]

mod aggressive;
mod answer;
mod builtin;
pub mod conformance;
mod conservative;
mod controller;
mod event;

pub use aggressive::Aggressive;
pub use answer::{FirstRepeat, Quota, RecoveryProfile, Window};
pub use builtin::{BuiltinController, BuiltinControllers, CongestionMode};
pub use conservative::{Conservative, DEFAULT_INITIAL_WINDOW, MAX_WINDOW, MIN_WINDOW};
pub use controller::{CongestionController, ControllerFactory};
pub use event::{
    Acked, Congestion, CongestionKind, InFlight, Lost, PathChange, PathInfo, RttSample, Sent, Spurious,
};

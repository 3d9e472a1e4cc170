#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aggressive;
mod answer;
mod builtin;
pub mod conformance;
mod conservative;
mod controller;
mod cubic;
mod event;
mod model;
mod pacer;
pub mod rig;

pub use aggressive::Aggressive;
pub use answer::{FirstRepeat, Quota, RecoveryProfile, Window};
pub use builtin::{BuiltinController, BuiltinControllers, CongestionMode};
pub use conservative::{Conservative, DEFAULT_INITIAL_WINDOW, MAX_WINDOW, MIN_WINDOW};
pub use controller::{CongestionController, ControllerFactory};
pub use cubic::Cubic;
pub use event::{
    Acked, AppLimited, Congestion, CongestionKind, InFlight, Lost, PathChange, PathInfo, RttSample, Sent,
    Spurious,
};
pub use model::ModelBased;
pub use pacer::Pacer;

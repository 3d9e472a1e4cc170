//! One bottleneck in virtual time: what controllers do to a line and to each other.
//!
//! Senders with a controller and a [`Pacer`](crate::Pacer) each share a queue of a given size before a line of a given
//! rate and delay, which may lose packets by chance. Loss detection and probes are those of RFC 9002, simplified.
//! There is no clock: thirty seconds take a moment, and the same [`Setup`] gives the same [`Report`].
//!
//! ```
//! use std::time::Duration;
//! use fastwire_congestion::{ModelBased, rig::{self, Flow, Line, Setup}};
//!
//! let line = Line::new(2_500_000, Duration::from_millis(25), 64 * 1024); // 20 Mbit/s, 50 ms round trip
//! let report = rig::run(Setup::new(line, Duration::from_secs(10)).flow(Flow::bulk("model", |path| ModelBased::new(path))));
//! assert!(report.utilisation() > 0.9);
//! println!("{:?} of queueing delay at the median", report.queueing_delay(0.5));
//! ```

mod events;
mod receiver;
mod report;
mod sender;
mod setup;
mod world;

pub use report::{FlowReport, Moment, Report};
pub use setup::{Change, Flow, Line, Loss, Setup, Traffic};
pub use world::run;

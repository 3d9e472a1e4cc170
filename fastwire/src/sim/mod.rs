//! A network to try things on: deterministic, in virtual time, as bad as one likes.
//!
//! [`Link`] is one direction of a line: latency, jitter, loss, duplication, reordering, corruption, a bottleneck with
//! its queue, a maximum datagram size and outages. [`Network`] joins nodes by such links and moves their addresses as
//! a NAT does. Both are pure: time and bytes come in as arguments, chance comes from one seed, and the same calls in
//! the same order give the same trace.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use fastwire::sim::{LinkConfig, Loss, Network};
//!
//! # fn main() -> Result<(), fastwire::sim::LinkConfigError> {
//! let mut now = Instant::now();
//! let (game, server) = ("10.0.0.2:5000".parse().unwrap(), "10.0.0.1:7777".parse().unwrap());
//! let mut network = Network::new(42);
//! network.add(game);
//! network.add(server);
//! let line = LinkConfig::new().latency(Duration::from_millis(25)).loss(Loss::Bernoulli { rate: 0.1 });
//! network.set_link(game, server, line)?;
//!
//! for number in 0..100u8 {
//!     network.send(now, game, server, None, &[number]);
//! }
//! let mut arrived = 0;
//! while let Some(at) = network.next_event_time() {
//!     now = at;
//!     while let Some(datagram) = network.poll(now) {
//!         assert_eq!((datagram.from, datagram.to), (game, server));
//!         arrived += 1;
//!     }
//! }
//! assert!((80..100).contains(&arrived));
//! # Ok(())
//! # }
//! ```

mod config;
mod laws;
mod link;
mod meters;
mod net;
mod quota;
mod rng;
mod trace;
mod world;

pub use config::{LinkConfig, LinkConfigError, Loss, Reorder};
pub use laws::{BrokenLaw, Ledger};
pub use link::{Delivery, Link, LinkStats};
pub use meters::{MeterReport, MeteredAead, Sealing};
pub use net::{Arrived, Network};
pub use quota::MeteredController;
pub use rng::Rng;
pub use trace::Sighting;
pub use world::{Drive, NodeId, SimEndpoint, World};

//! What the simulated checks share: a server and a client, traffic under the laws of the delivery modes, many seeds.

mod duo;
mod seeds;
mod tally;
mod traffic;

pub(crate) use duo::{Duo, Makings};
pub(crate) use seeds::run_seeds;
pub(crate) use tally::Tally;
pub(crate) use traffic::{Plan, Traffic};

/// The most a server of the base profile answers an address that has proved nothing, relative to what it sent.
pub(crate) const MAX_AMPLIFICATION: f64 = 1.82;

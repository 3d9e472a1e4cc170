//! What the simulated checks share: a server and a client, traffic under the laws of the delivery modes, many seeds.

mod bulk;
mod cores;
mod duo;
mod game;
mod seeds;
mod tally;
mod traffic;

use crate::check::Profile;

pub(crate) use bulk::{Narrow, carry};
pub(crate) use cores::{
    Between, Core, Cores, Parcel, bare_type, client_address, honest, parts, server_address, socket_at,
};
pub(crate) use duo::{Duo, Makings, configs};
pub(crate) use game::{Game, mean_and_error, percentile};
pub(crate) use seeds::run_seeds;
pub(crate) use tally::Tally;
pub(crate) use traffic::{Plan, Traffic};

/// The most on a path that a connection may have moved to and that is not proved yet.
pub(crate) const MAX_ON_UNPROVED_PATHS: f64 = 3.0;

/// The most a server answers an address that has proved nothing, relative to what it sent.
pub(crate) const fn max_amplification(profile: Profile) -> f64 {
    match profile {
        Profile::Extended => 0.2,
        Profile::Base | Profile::Either => 1.82,
    }
}

//! The checks that are built, a file each.

mod alone;
mod amplification;
mod connecting;
mod kcp;
mod matrix;
mod nonces;
mod outages;
mod own_controller;
mod quick_start;
mod vectors;
mod volume;

use crate::check::Check;

/// Every check that is built.
pub fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(matrix::Matrix),
        Box::new(connecting::Connecting),
        Box::new(outages::Outages),
        Box::new(volume::Volume),
        Box::new(amplification::Amplification),
        Box::new(nonces::Nonces),
        Box::new(vectors::StandardVectors),
        Box::new(alone::LeavesAlone),
        Box::new(quick_start::FirstCommand),
        Box::new(quick_start::SecondCommand),
        Box::new(kcp::Recorded),
        Box::new(kcp::Live),
        Box::new(kcp::Lossy),
        Box::new(kcp::Many),
        Box::new(kcp::Cost),
        Box::new(own_controller::OwnController),
    ]
}

//! The checks that are built, a file each.

mod alone;
mod kcp;
mod own_controller;
mod quick_start;
mod vectors;

use crate::check::Check;

/// Every check that is built.
pub fn all() -> Vec<Box<dyn Check>> {
    vec![
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

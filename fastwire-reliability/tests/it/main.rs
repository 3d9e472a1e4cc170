//! Laws of the delivery layer: recorded traces, two peers over a bad link in virtual time, a weak base peer, limits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod extended;
mod extended_hostile;
mod extended_recovery;
mod hostile;
mod link;
mod peer;
mod simulation;
mod streams;
mod terms;
mod vectors;
mod weak;
mod world;

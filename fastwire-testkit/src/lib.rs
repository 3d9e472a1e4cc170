//! What the tests of several FastWire crates share. A dev-dependency only; never published.

#![forbid(unsafe_code)]

pub mod vectors;
pub mod weak_peer;

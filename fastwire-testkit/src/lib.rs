//! What the tests of several FastWire crates share. A dev-dependency only; never published.

pub mod counting;
pub mod vectors;
pub mod weak_peer;

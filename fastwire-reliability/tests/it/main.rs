//! Laws of the delivery layer: recorded traces, two peers over a bad link in virtual time, a weak base peer, limits.

mod hostile;
mod link;
mod simulation;
mod vectors;
mod weak;
mod world;

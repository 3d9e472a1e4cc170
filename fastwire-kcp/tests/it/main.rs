//! What the crate promises, tested from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crypt;
#[cfg(feature = "tokio")]
mod exchange;
mod fec;
mod hostile;
#[cfg(feature = "tokio")]
mod interop;
mod listener;
mod names;
#[cfg(feature = "tokio")]
mod net;
mod network;
mod peer;
mod recorded;
mod sessions;
mod traces;

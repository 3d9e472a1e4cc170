//! Servers and clients in each of the three ways to drive them.

// Helpers and callbacks are test code too.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "tokio")]
mod asynchronous;
#[cfg(feature = "lz4")]
mod broadcast;
#[cfg(target_os = "linux")]
mod real_errors;
mod shards;
#[cfg(feature = "tokio")]
mod streams;
pub(crate) mod support;
mod thread;
mod tick;
mod udp;

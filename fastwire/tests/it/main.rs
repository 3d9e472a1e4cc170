//! The facade's integration tests.

mod bad_lines;
mod docs;
mod duo;
#[cfg(feature = "qlog")]
mod event_log;
mod extended;
mod forgeries;
mod handshake;
mod handshake_limits;
mod handshake_policy;
mod hostile;
mod incidents;
mod key_log;
mod liveness;
mod migration;
mod names;
mod operations;
mod server_memory;
mod shards;
mod shell;
mod streams;
#[cfg(all(feature = "lz4", feature = "zstd"))]
mod vectors_handshakes;
#[cfg(all(feature = "lz4", feature = "zstd"))]
mod vectors_sessions;
mod wireshark;
mod world;

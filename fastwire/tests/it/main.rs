//! The facade's integration tests.

mod docs;
mod duo;
mod handshake;
mod names;
mod shell;
#[cfg(all(feature = "lz4", feature = "zstd"))]
mod vectors_handshakes;
#[cfg(all(feature = "lz4", feature = "zstd"))]
mod vectors_sessions;
mod world;

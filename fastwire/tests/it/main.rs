//! The facade's integration tests.

mod docs;
#[allow(dead_code)]
mod duo;
#[cfg(all(feature = "lz4", feature = "zstd"))]
mod vectors_handshakes;
#[cfg(all(feature = "lz4", feature = "zstd"))]
mod vectors_sessions;
mod world;

//! The Rust of the project's documents, compiled and run as tests (`cargo test --doc`).

#[doc = include_str!("../../README.md")]
struct Readme;

#[doc = include_str!("../../docs/examples.md")]
struct Examples;

// It shows the async shell too.
#[cfg(feature = "tokio")]
#[doc = include_str!("../../docs/guide.md")]
struct Guide;

#[doc = include_str!("../../docs/observing.md")]
struct Observing;

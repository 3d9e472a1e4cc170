//! The facade's integration tests.

mod docs;
mod world;

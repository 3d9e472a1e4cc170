//! The facade's integration tests.

mod world;

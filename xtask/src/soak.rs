//! `cargo xtask soak`: clients, a bad line and restarts for as long as asked, in a report with slopes.

use crate::{Done, shell::Shell, workspace::root};

/// Hands everything to the `soak` binary of `fastwire-accept`.
pub(crate) fn run(arguments: &[String]) -> Done {
    Shell::cargo("run --quiet --release -p fastwire-accept --bin soak --")
        .arguments(arguments)
        .directory(root())
        .replace()
}

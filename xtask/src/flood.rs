//! `cargo xtask flood`: a server under attack beside live clients.

use crate::{Done, shell::Shell, workspace::root};

/// Hands everything to the `flood` binary of `fastwire-accept`.
pub(crate) fn run(arguments: &[String]) -> Done {
    Shell::cargo("run --quiet --release -p fastwire-accept --bin flood --")
        .arguments(arguments)
        .directory(root())
        .replace()
}

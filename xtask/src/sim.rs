//! `cargo xtask sim`: one simulated run, seen from close.

use crate::{Done, shell::Shell, workspace::root};

/// Hands everything to the `sim` binary of `fastwire-accept`.
pub(crate) fn run(arguments: &[String]) -> Done {
    Shell::cargo("run --quiet --release -p fastwire-accept --bin sim --")
        .arguments(arguments)
        .directory(root())
        .replace()
}

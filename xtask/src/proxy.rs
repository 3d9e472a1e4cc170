//! `cargo xtask proxy`: the simulator's link model between real UDP sockets.

use crate::{Done, shell::Shell, workspace::root};

/// Hands everything to the `proxy` binary of `fastwire-accept`.
pub(crate) fn run(arguments: &[String]) -> Done {
    Shell::cargo("run --quiet --release -p fastwire-accept --bin proxy --")
        .arguments(arguments)
        .directory(root())
        .replace()
}

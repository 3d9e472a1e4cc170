//! `cargo xtask vectors`: what the extended profile puts on the wire with fixed keys, written afresh.

use crate::{Done, shell::Shell, workspace::root};

/// Hands everything to the `vectors` binary of `fastwire-accept`.
pub(crate) fn run(arguments: &[String]) -> Done {
    Shell::cargo("run --quiet -p fastwire-accept --bin vectors --")
        .arguments(arguments)
        .directory(root())
        .replace()
}

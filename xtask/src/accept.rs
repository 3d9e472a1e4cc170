//! `cargo xtask accept`: the acceptance checks, built for release and run.

use crate::{Done, shell::Shell, workspace::root};

/// Hands everything to `fastwire-accept`; its exit code (0 all ok, 1 fell short, 2 unknown or not built) is ours.
pub(crate) fn run(arguments: &[String]) -> Done {
    command(arguments).replace()
}

/// The command line that runs the acceptance checks with these arguments.
pub(crate) fn command<S: AsRef<str>>(arguments: &[S]) -> Shell {
    Shell::cargo("run --quiet --release -p fastwire-accept --bin fastwire-accept --")
        .arguments(arguments)
        .directory(root())
}

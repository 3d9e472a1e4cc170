//! Compiling our own crates with `--cfg fastwire_portable` and nobody else's.
//!
//! `RUSTFLAGS` would compile every dependency again, in a place of its own, for a flag only our crates look at. Cargo's
//! `RUSTC_WORKSPACE_WRAPPER` is called for workspace members alone and their artefacts are kept apart from the usual ones; the
//! wrapper is this very program.

use std::process::{Command, ExitCode};

use crate::shell::Shell;

/// Set while we stand in for rustc.
const WRAPPING: &str = "FASTWIRE_XTASK_WRAPS_RUSTC";

/// Makes a cargo command force the fallbacks of everything Linux-only.
pub(super) fn force(shell: Shell) -> Result<Shell, String> {
    let own = std::env::current_exe().map_err(|e| format!("cannot find this program's own path: {e}"))?;
    Ok(shell.variable("RUSTC_WORKSPACE_WRAPPER", &own.to_string_lossy()).variable(WRAPPING, "1"))
}

/// Runs rustc with the flag, and with warnings denied, if cargo called us as its wrapper: `xtask /path/to/rustc ARGUMENTS`.
pub(crate) fn stand_in() -> Option<ExitCode> {
    std::env::var_os(WRAPPING)?;
    let mut arguments = std::env::args_os().skip(1);
    let status = Command::new(arguments.next()?)
        .args(arguments)
        .args(["--cfg", "fastwire_portable", "-Dwarnings"])
        .status();
    let code = status.ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    Some(ExitCode::from(code.unwrap_or(1)))
}

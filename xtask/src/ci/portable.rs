//! Compiling our own crates with a `--cfg` of ours, such as `fastwire_portable`, and nobody else's.
//!
//! `RUSTFLAGS` would compile every dependency again, in a place of its own, for a flag only our crates look at. Cargo's
//! `RUSTC_WORKSPACE_WRAPPER` is called for workspace members alone and their artefacts are kept apart from the usual ones; the
//! wrapper is this very program. Cargo tells wrappers apart by their path, so each flag has a link to it of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::shell::Shell;

/// Set while we stand in for rustc: the flag.
const WRAPPING: &str = "FASTWIRE_XTASK_WRAPS_RUSTC";

/// Makes a cargo command compile our crates with `--cfg flag`. `target` is the build directory.
pub(super) fn force(shell: Shell, flag: &str, target: &Path) -> Result<Shell, String> {
    let own = std::env::current_exe().map_err(|e| format!("cannot find this program's own path: {e}"))?;
    let links = target.join("wrappers");
    let link = links.join(flag);
    let linked = fs::create_dir_all(&links)
        .and_then(|()| if link.exists() { fs::remove_file(&link) } else { Ok(()) })
        .and_then(|()| fs::hard_link(&own, &link).or_else(|_| fs::copy(&own, &link).map(drop)));
    linked.map_err(|e| format!("{}: {e}", link.display()))?;
    Ok(shell.variable("RUSTC_WORKSPACE_WRAPPER", &link.to_string_lossy()).variable(WRAPPING, flag))
}

/// Runs rustc with the flag, and with warnings denied, if cargo called us as its wrapper: `xtask /path/to/rustc ARGUMENTS`.
pub(crate) fn stand_in() -> Option<ExitCode> {
    let flag = std::env::var_os(WRAPPING)?;
    let mut arguments = std::env::args_os().skip(1);
    let status =
        Command::new(arguments.next()?).args(arguments).arg("--cfg").arg(flag).arg("-Dwarnings").status();
    let code = status.ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    Some(ExitCode::from(code.unwrap_or(1)))
}

//! A project of a user's own: outside the workspace, with nothing but path dependencies on our crates.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A package in the temporary directory, removed when dropped. What it builds is kept in the workspace's target
/// directory, so that a second run is quick.
pub struct Project {
    directory: PathBuf,
}

impl Project {
    /// A package whose only dependencies are these crates of ours, with their default features.
    pub fn new(name: &str, crates: &[&str]) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let project = Self { directory };
        fs::create_dir_all(project.directory.join("src/bin"))?;
        let mut manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n"
        );
        for dependency in crates {
            let path = root().join(dependency);
            // A TOML literal string: Windows paths hold backslashes.
            manifest += &format!("{dependency} = {{ path = '{}' }}\n", path.display());
        }
        fs::write(project.directory.join("Cargo.toml"), manifest)?;
        // The same versions as ours, so that nothing is downloaded twice.
        fs::copy(root().join("Cargo.lock"), project.directory.join("Cargo.lock"))?;
        Ok(project)
    }

    /// Adds a program.
    pub fn program(&self, name: &str, source: &str) -> io::Result<()> {
        fs::write(self.directory.join("src/bin").join(format!("{name}.rs")), source)
    }

    /// Runs cargo there, with these words; its standard output, or what it complained about.
    pub fn cargo(&self, words: &str) -> Result<String, String> {
        let mut command = cargo();
        command.args(words.split_whitespace()).current_dir(&self.directory);
        command.env("CARGO_TARGET_DIR", root().join("target/outside"));
        output(command, words)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // What stays behind lies in the temporary directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs cargo in the workspace, with these words; its standard output, or what it complained about.
pub fn cargo_here(words: &str) -> Result<String, String> {
    let mut command = cargo();
    command.args(words.split_whitespace()).current_dir(root());
    output(command, words)
}

/// The workspace's root directory.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.stdin(std::process::Stdio::null());
    command
}

fn output(mut command: Command, words: &str) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|e| format!("cannot start cargo {words}: {e}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    const TAIL: usize = 30;
    let complaint = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let lines: Vec<_> = complaint.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
    Err(format!("cargo {words} failed ({status}):\n    {tail}"))
}

//! What a user does: a project of their own with path dependencies on our crates, a fresh clone, a typed command.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
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
        output(command, &format!("cargo {words}"))
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
    output(command, &format!("cargo {words}"))
}

/// The workspace's root directory.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// A clone of the last commit, as a newcomer gets it. Removed when dropped.
pub struct Checkout {
    /// Where it is.
    pub directory: PathBuf,
}

impl Checkout {
    /// Clones the repository this was built from.
    pub fn fresh() -> Result<Self, String> {
        let directory = std::env::temp_dir().join(format!("fastwire-clone-{}", std::process::id()));
        let mut command = Command::new("git");
        command.args(["clone", "--quiet", "--no-hardlinks"]).arg(root()).arg(&directory);
        output(command, "git clone")?;
        Ok(Self { directory })
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // What stays behind lies in the temporary directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs a command line as one types it, without a terminal; its standard output and how long it took. It is stopped at the
/// limit.
pub fn typed(line: &str, directory: &Path, limit: Duration) -> Result<(String, Duration), String> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(directory).env_remove("CARGO_TARGET_DIR");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("cannot start `{line}`: {e}"))?;
    let (said, complained) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < limit => std::thread::sleep(Duration::from_millis(50)),
            Ok(None) => {
                // Already gone is as good as killed.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("`{line}` did not end within {} s", limit.as_secs()));
            }
            Err(e) => return Err(format!("cannot wait for `{line}`: {e}")),
        }
    };
    let time = started.elapsed();
    let text = |reader: JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    let (said, complained) = (text(said), text(complained));
    if status.success() {
        Ok((said, time))
    } else {
        Err(format!("`{line}` failed ({status}):\n    {}", tail(&format!("{said}{complained}"))))
    }
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.stdin(Stdio::null());
    command
}

fn output(mut command: Command, words: &str) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|e| format!("cannot start {words}: {e}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let complaint = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    Err(format!("{words} failed ({status}):\n    {}", tail(&complaint)))
}

/// Reads to the end beside the child, so that it never waits for us.
fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks ends what there is to read.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// The last lines, which say what went wrong.
fn tail(text: &str) -> String {
    const LINES: usize = 30;
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n    ")
}

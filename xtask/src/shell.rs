//! Child processes: built, printed and run the same way everywhere.

use std::{
    fmt,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// A command about to run. Its `Display` is what one would type to repeat it.
pub(crate) struct Shell {
    program: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    directory: Option<PathBuf>,
}

impl Shell {
    /// `cargo` with these words, split at spaces.
    pub(crate) fn cargo(words: &str) -> Self {
        Self::new("cargo").words(words)
    }

    pub(crate) fn new(program: &str) -> Self {
        Self { program: program.into(), arguments: Vec::new(), variables: Vec::new(), directory: None }
    }

    /// Adds arguments, split at spaces.
    pub(crate) fn words(mut self, words: &str) -> Self {
        self.arguments.extend(words.split_whitespace().map(Into::into));
        self
    }

    /// Adds arguments as they are.
    pub(crate) fn arguments<S: AsRef<str>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(more.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Runs it with our own output; an error unless it exits with 0.
    pub(crate) fn run(&self) -> Result<(), String> {
        println!("$ {self}");
        let status = self.command().status().map_err(|e| self.not_started(&e))?;
        if status.success() { Ok(()) } else { Err(format!("`{self}` failed ({status})")) }
    }

    /// Runs it with our own output; an error unless it exits with 0 before the limit, after which it is killed.
    pub(crate) fn run_within(&self, limit: Duration) -> Result<(), String> {
        println!("$ {self}");
        let mut child = self.command().spawn().map_err(|e| self.not_started(&e))?;
        let started = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("`{self}` failed ({status})")),
                Ok(None) if started.elapsed() < limit => std::thread::sleep(Duration::from_millis(20)),
                Ok(None) => {
                    // Already gone is as good as killed.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("`{self}` did not end within {} s", limit.as_secs()));
                }
                Err(e) => return Err(format!("cannot wait for `{self}`: {e}")),
            }
        }
    }

    /// Runs it in our place: its output is ours and its exit code is ours.
    pub(crate) fn replace(&self) -> Result<ExitCode, String> {
        let status = self.command().status().map_err(|e| self.not_started(&e))?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(ExitCode::from(code.unwrap_or(1)))
    }

    /// What it prints on its standard output; an error unless it exits with 0.
    pub(crate) fn output(&self) -> Result<String, String> {
        let output = self.command().stderr(Stdio::inherit()).output().map_err(|e| self.not_started(&e))?;
        if !output.status.success() {
            return Err(format!("`{self}` failed ({})", output.status));
        }
        String::from_utf8(output.stdout).map_err(|_| format!("`{self}` printed something other than UTF-8"))
    }

    /// Whether it exits with 0, and all it prints, errors included.
    pub(crate) fn both_outputs(&self) -> Result<(bool, String), String> {
        let output = self.command().output().map_err(|e| self.not_started(&e))?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Runs it with what it complains passed on and kept; whether it exits with 0, and what that was.
    pub(crate) fn teed(&self) -> Result<(bool, String), String> {
        let mut child = self.command().stderr(Stdio::piped()).spawn().map_err(|e| self.not_started(&e))?;
        let mut said = String::new();
        for line in child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n')) {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            eprintln!("{line}");
            said += &line;
            said.push('\n');
        }
        let status = child.wait().map_err(|e| format!("cannot wait for `{self}`: {e}"))?;
        Ok((status.success(), said))
    }

    /// Whether it starts and exits with 0; prints nothing.
    pub(crate) fn succeeds(&self) -> bool {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        // The cargo that runs us, which a toolchain override may have chosen.
        let same_cargo = (self.program == "cargo").then(|| std::env::var_os("CARGO")).flatten();
        let mut command = Command::new(same_cargo.unwrap_or_else(|| self.program.clone().into()));
        command.args(&self.arguments).stdin(Stdio::null());
        // `cargo run` describes xtask's own package here; build scripts that look at it would run again.
        for (name, _) in std::env::vars_os() {
            let ours = name.to_str().is_some_and(|name| {
                ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix))
            });
            if ours {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    fn not_started(&self, error: &std::io::Error) -> String {
        format!("cannot start `{self}`: {error}")
    }
}

impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.variables {
            write!(f, "{name}={} ", Quoted(value))?;
        }
        f.write_str(&self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", Quoted(argument)))
    }
}

/// A word as one types it: quoted where a shell would split it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+@".contains(c);
        if !self.0.is_empty() && self.0.chars().all(plain) {
            f.write_str(self.0)
        } else {
            write!(f, "'{}'", self.0.replace('\'', r"'\''"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_prints_as_one_would_type_it() {
        let shell = Shell::cargo("test -p  fastwire").arguments(["--", "two words"]);
        let shell = shell.variable("RUSTFLAGS", "--cfg x");
        assert_eq!(shell.to_string(), "RUSTFLAGS='--cfg x' cargo test -p fastwire -- 'two words'");
    }

    #[test]
    fn a_command_that_hangs_is_stopped() {
        let hang = Shell::new("sleep").words("30");
        if Shell::new("sleep").words("0").succeeds() {
            assert!(hang.run_within(Duration::from_millis(50)).is_err_and(|e| e.contains("did not end")));
        }
    }
}

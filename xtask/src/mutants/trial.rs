//! One fault in a copy of the project: built, and the tests run over it until one notices.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::fault::Fault;
use crate::{shell::Shell, workspace::root};

/// Processor seconds after which a test binary loops, which counts as noticed. Those of the code as it is take a third at most.
const PROCESSOR: u32 = 45;
/// KiB of address space: a fault that allocates without end is stopped here.
const MEMORY: u32 = 4 << 20;
/// A binary that sleeps instead; long, because a busy machine is slow.
const SLEEPS: Duration = Duration::from_secs(240);

/// Which tests of a package have to notice, in the order in which they are asked.
pub(super) struct Tests {
    pub(super) package: &'static str,
    /// libtest's filters of its unit tests, of its integration tests; none: all.
    pub(super) unit: &'static [&'static str],
    pub(super) integration: &'static [&'static str],
}

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Caught,
    /// It looped, slept or took memory without end.
    Stopped,
    /// No test noticed.
    Missed,
    /// The compiler noticed.
    Unviable,
}

impl Fate {
    pub(super) const ALL: [Self; 4] = [Self::Caught, Self::Stopped, Self::Missed, Self::Unviable];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Stopped => "stopped",
            Self::Missed => "missed",
            Self::Unviable => "does not compile",
        }
    }
}

/// A copy of the project with a build directory of its own, so that one fault after the other costs no more than a crate and its tests.
pub(super) struct Copy {
    root: PathBuf,
}

impl Copy {
    /// Brings the copy at `root` up to date with the project.
    pub(super) fn renew(copy: PathBuf) -> Result<Self, String> {
        let git = Shell::new("git").words("ls-files --cached --others --exclude-standard -z");
        let listed = git.directory(root()).output()?;
        let files: Vec<&Path> = listed.split('\0').filter(|name| !name.is_empty()).map(Path::new).collect();
        for file in &files {
            // A file that was deleted and not committed yet is in the list.
            if let Ok(bytes) = fs::read(root().join(file)) {
                write(&copy.join(file), &bytes)?;
            }
        }
        let known: std::collections::HashSet<_> =
            files.into_iter().filter(|file| root().join(file).exists()).collect();
        prune(&copy, &copy, &known)?;
        Ok(Self { root: copy })
    }

    /// Whether the tests pass without a fault, and within the limits.
    pub(super) fn is_sound(&self, tests: &Tests) -> Result<bool, String> {
        Ok(self.ask(tests)? == Fate::Missed)
    }

    /// Puts the fault in, asks the tests, and takes it out again.
    pub(super) fn try_fault(&self, fault: &Fault, tests: &Tests) -> Result<Fate, String> {
        let file = self.root.join(&fault.file);
        let sound = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let faulty = fault.put_into(&sound).ok_or_else(|| format!("{}: not in its file", fault.name))?;
        write(&file, faulty.as_bytes())?;
        let fate = self.ask(tests);
        write(&file, sound.as_bytes())?;
        fate
    }

    fn ask(&self, tests: &Tests) -> Result<Fate, String> {
        let parts = [("--lib", tests.unit), ("--tests", tests.integration)];
        let mut built = Vec::new();
        // Few cases first: most faults show at once.
        for (part, filters) in parts {
            let Some(binaries) = self.build(tests.package, part)? else { return Ok(Fate::Unviable) };
            for binary in &binaries {
                match self.run(tests.package, binary, filters, Some("16"))? {
                    Fate::Missed => {}
                    fate => return Ok(fate),
                }
            }
            built.push((binaries, filters));
        }
        for (binary, filters) in
            built.iter().flat_map(|(list, filters)| list.iter().map(move |one| (one, filters)))
        {
            match self.run(tests.package, binary, filters, None)? {
                Fate::Missed => {}
                fate => return Ok(fate),
            }
        }
        Ok(Fate::Missed)
    }

    /// The test binaries of that part of the package; `None` when it does not compile.
    fn build(&self, package: &str, part: &str) -> Result<Option<Vec<PathBuf>>, String> {
        let cargo = Shell::cargo("test --no-run --quiet --all-features --message-format=json -p")
            .words(package)
            .words(part);
        let cargo = cargo.variable("CARGO_TARGET_DIR", &self.root.join("target").to_string_lossy());
        // Incremental whatever the caller's environment says: building is where time goes.
        let cargo = cargo.variable("CARGO_INCREMENTAL", "1");
        let (ok, said) = cargo.directory(&self.root).both_outputs()?;
        if !ok {
            return Ok(None);
        }
        let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let wanted = |message: &Value| {
            message["profile"]["test"] == true
                // `--tests` names the unit tests again.
                && (message["target"]["kind"][0] == "test") == (part == "--tests")
        };
        let binaries =
            messages.filter(wanted).filter_map(|message| message["executable"].as_str().map(PathBuf::from));
        Ok(Some(binaries.collect()))
    }

    /// `Missed` when every test passes.
    fn run(
        &self,
        package: &str,
        binary: &Path,
        filters: &[&str],
        cases: Option<&str>,
    ) -> Result<Fate, String> {
        let directory = self.root.join(package);
        let mut command = Command::new("sh");
        let limited = format!("ulimit -t {PROCESSOR} -v {MEMORY} -c 0; exec \"$0\" \"$@\"");
        command.args(["-c", &limited]).arg(binary).args(filters).current_dir(&directory);
        command.env("CARGO_MANIFEST_DIR", &directory).env("RUST_BACKTRACE", "0");
        command.env("PROPTEST_RNG_SEED", "1").env("PROPTEST_MAX_SHRINK_ITERS", "0");
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        if let Some(cases) = cases {
            command.env("PROPTEST_CASES", cases);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
        let fate = watch(&mut child);
        // Already gone is as good as killed.
        let _ = child.kill();
        let status = child.wait().map_err(|e| format!("cannot wait for {}: {e}", binary.display()))?;
        Ok(match fate {
            Some(fate) => fate,
            None if status.success() => Fate::Missed,
            // Panics end with a code, what a limit ends with a signal.
            None if status.code().is_some() => Fate::Caught,
            None => Fate::Stopped,
        })
    }
}

/// Reads what the tests print; what it says already, if anything, before they end by themselves.
fn watch(child: &mut Child) -> Option<Fate> {
    let output = child.stdout.take()?;
    let (failed, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            failed.store(lines.into_iter().any(|line| line.ends_with("... FAILED")), Ordering::SeqCst);
            ended.store(true, Ordering::SeqCst);
        });
        while !ended.load(Ordering::SeqCst) {
            if started.elapsed() > SLEEPS {
                let _ = child.kill();
                return Some(Fate::Stopped);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        failed.load(Ordering::SeqCst).then_some(Fate::Caught)
    })
}

/// Writes a file unless it reads so already: cargo goes by its time.
fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(file).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let made = file.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(file, bytes)).map_err(|e| format!("{}: {e}", file.display()))
}

/// Deletes what is not in the project any more.
fn prune(copy: &Path, directory: &Path, known: &std::collections::HashSet<&Path>) -> Result<(), String> {
    for entry in fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?.flatten() {
        let path = entry.path();
        let inside = path.strip_prefix(copy).unwrap_or(&path);
        if inside == Path::new("target") {
            continue;
        }
        if path.is_dir() {
            prune(copy, &path, known)?;
        } else if !known.contains(inside) {
            fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(())
}

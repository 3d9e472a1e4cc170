//! `cargo xtask mutants`: small faults put into the code that attacks aim at, and whether a test notices each.
//!
//! cargo-mutants says which faults there could be. This chooses a random sample of them, prints it, tries each in a copy of the project,
//! and counts. What was tried is kept, so that a run can stop and go on.

mod fault;
mod ledger;
mod trial;

use std::{
    collections::HashMap,
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    Done, helped,
    shell::Shell,
    workspace::{Workspace, root},
};
use fault::Fault;
use ledger::{Ledger, digest, of_code};
use trial::{Copy, Fate, Tests};

const HELP: &str = "\
cargo xtask mutants [OPTIONS]   mutation testing of the ack, replay, handshake, reassembly and crypto packet code
                                (needs cargo-mutants, git and a Unix shell)

  --sample N    how many faults, chosen at random (default 200; 0: all there are)
  --seed N      which ones (default 1)
  --list        only print the sample, and what became of it so far
  --minutes N   stop after so long; the next run goes on from there
  --fresh       forget what was tried: without it a fault that was noticed is not tried again while its file stays the same,
                and one that was missed not while the tests do

Exit code 0 when at least 90 % are caught, among those that compile and change anything. Those that change nothing are listed in
xtask/src/mutants/equivalent.txt, each with the reason.";

/// Of the faults that compile and change something, this share must be noticed.
const CAUGHT: f64 = 0.90;

/// The code under test: globs.
const FILES: &[&str] = &[
    "fastwire-wire/src/extended/*.rs",
    "fastwire-crypto/src/{open,seal,replay,session}.rs",
    "fastwire-crypto/src/extended/*.rs",
    "fastwire-reliability/src/{ack,fragments,owed,reassembly,receiving,recovery,seen,space}.rs",
    "fastwire-reliability/src/recovery/*.rs",
    "fastwire-reliability/src/extended/{inbox,loose,owed,partial,ranges,receiving}.rs",
    "fastwire/src/proto/handshake/*.rs",
    "fastwire/src/proto/handshake/extended/*.rs",
];

/// Who has to notice: a package's own tests; of the facade's, which take minutes, those that are about handshakes.
const TESTS: &[Tests] = &[
    Tests { package: "fastwire-wire", unit: &[], integration: &[] },
    Tests { package: "fastwire-crypto", unit: &[], integration: &[] },
    Tests { package: "fastwire-reliability", unit: &[], integration: &[] },
    Tests {
        package: "fastwire",
        unit: &["proto::handshake", "proto::connection::extended::tests", "proto::endpoint"],
        integration: &[
            "handshake",
            "extended::veil",
            "forgeries::",
            "incidents::lifecycle",
            "incidents::crypto",
            "operations::",
        ],
    },
];

/// Faults that change nothing, and why.
const EQUIVALENT: &str = include_str!("equivalent.txt");

struct Options {
    sample: usize,
    seed: u64,
    only_list: bool,
    minutes: Option<u64>,
    is_fresh: bool,
}

/// A fault of the sample, as this project reads now.
struct Candidate {
    fault: Fault,
    key: String,
    /// Of its file.
    code: u64,
}

pub(crate) fn run(arguments: &[String]) -> Done {
    if helped(arguments, HELP) {
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse(arguments)?;
    if !Shell::cargo("mutants --version").succeeds() {
        return Err("cargo-mutants is missing; `cargo install --locked cargo-mutants` brings it".into());
    }
    let all = candidates()?;
    let possible = all.len();
    let reasons = reasons(EQUIVALENT)?;
    if let Some(gone) = reasons.keys().find(|key| !all.iter().any(|one| one.key == **key)) {
        return Err(format!("equivalent.txt: there is no such fault any more: {gone}"));
    }
    let sample = sample(all, options.sample, options.seed);
    let directory = Workspace::load()?.target.join("mutants");
    fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let file = directory.join("tried.jsonl");
    if options.is_fresh {
        // Not there is as good as removed.
        let _ = fs::remove_file(&file);
    }
    let mut ledger = Ledger::open(file);
    let tests = digest(sources()?);
    let mut outcomes = Outcomes::default();
    let mut open = Vec::new();
    for candidate in &sample {
        let reason = reasons.get(candidate.key.as_str());
        let fate = ledger.fate(&candidate.key, candidate.code, tests);
        println!("{}{}", candidate.key, told(reason.map(String::as_str), fate));
        match fate {
            _ if reason.is_some() => outcomes.equivalent += 1,
            Some(fate) => outcomes.add(&candidate.key, fate),
            None => open.push(candidate),
        }
    }
    println!("{} of {possible} faults, seed {}; {} to try", sample.len(), options.seed, open.len());
    if !options.only_list && !open.is_empty() {
        let copy = Copy::renew(directory.join("copy"))?;
        let until = options.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
        try_all(&copy, &mut open, until, |candidate, fate| {
            outcomes.add(&candidate.key, fate);
            ledger.add(&candidate.key, candidate.code, tests, fate)
        })?;
    }
    Ok(outcomes.judge(open.len()))
}

/// Tries those that are open, package by package, and takes them off the list.
fn try_all(
    copy: &Copy,
    open: &mut Vec<&Candidate>,
    until: Option<Instant>,
    mut tell: impl FnMut(&Candidate, Fate) -> Result<(), String>,
) -> Result<(), String> {
    open.sort_by_key(|candidate| {
        let package = TESTS.iter().position(|tests| tests.package == candidate.fault.package);
        (std::cmp::Reverse(package), candidate.fault.file.clone())
    });
    let mut sound = None;
    while let Some(candidate) = open.last().copied() {
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(());
        }
        let package = &candidate.fault.package;
        let Some(tests) = TESTS.iter().find(|tests| tests.package == *package) else {
            return Err(format!("no tests are chosen for {package}"));
        };
        if sound != Some(tests.package) {
            if !copy.is_sound(tests)? {
                return Err(format!(
                    "the tests of {package} fail without any fault, or need longer than a fault is given"
                ));
            }
            sound = Some(tests.package);
        }
        let started = Instant::now();
        let fate = copy.try_fault(&candidate.fault, tests)?;
        println!("{}, {:.0} s: {}", fate.name(), started.elapsed().as_secs_f64(), candidate.key);
        tell(candidate, fate)?;
        open.pop();
    }
    Ok(())
}

/// Every fault that could be put into the files.
fn candidates() -> Result<Vec<Candidate>, String> {
    let files = FILES.iter().flat_map(|glob| ["--file", glob]);
    let listed = Shell::cargo("mutants --list --json").arguments(files).directory(root()).output()?;
    let mut read: HashMap<String, String> = HashMap::new();
    let mut all = Vec::new();
    for fault in Fault::list(&listed)? {
        let path = root().join(&fault.file);
        if !read.contains_key(&fault.file) {
            let source = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            read.insert(fault.file.clone(), source);
        }
        let source = read.get(&fault.file).map(String::as_str).unwrap_or_default();
        all.push(Candidate { key: fault.key(source), code: of_code(source), fault });
    }
    Ok(all)
}

/// Everything the tests are compiled of.
fn sources() -> Result<Vec<(String, Vec<u8>)>, String> {
    let listed = Shell::new("git").words("ls-files --cached --others --exclude-standard -- fastwire*.rs");
    let listed = listed.directory(root()).output()?;
    let read = |name: &str| Some((name.to_owned(), fs::read(root().join(name)).ok()?));
    Ok(listed.lines().filter_map(read).collect())
}

/// What is known of a fault of the sample.
fn told(reason: Option<&str>, fate: Option<Fate>) -> String {
    match (reason, fate) {
        (Some(reason), _) => format!(": changes nothing: {reason}"),
        (None, Some(fate)) => format!(": {}", fate.name()),
        (None, None) => String::new(),
    }
}

/// Reads a list of faults, each with its indented reason below it.
fn reasons(text: &str) -> Result<HashMap<&str, String>, String> {
    let mut reasons: HashMap<&str, String> = HashMap::new();
    let mut last = None;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        match (line.starts_with(' '), last) {
            (false, _) => last = Some(line),
            (true, Some(fault)) => {
                let reason = reasons.entry(fault).or_default();
                let space = if reason.is_empty() { "" } else { " " };
                *reason += &format!("{space}{}", line.trim());
            }
            (true, None) => return Err(format!("equivalent.txt: a reason without a fault: {line}")),
        }
    }
    match text
        .lines()
        .filter(|line| !line.starts_with([' ', '#']) && !line.is_empty())
        .find(|line| !reasons.contains_key(line))
    {
        Some(fault) => Err(format!("equivalent.txt: no reason for {fault}")),
        None => Ok(reasons),
    }
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { sample: 200, seed: 1, only_list: false, minutes: None, is_fresh: false };
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let number = match word {
                "--list" => {
                    options.only_list = true;
                    continue;
                }
                "--fresh" => {
                    options.is_fresh = true;
                    continue;
                }
                "--sample" | "--seed" | "--minutes" => {
                    words.next().and_then(|number| number.parse::<u64>().ok())
                }
                _ => return Err(format!("cannot make sense of {word:?}; see cargo xtask mutants --help")),
            };
            let number = number.ok_or_else(|| format!("{word}: give a whole number"))?;
            match word {
                "--seed" => options.seed = number,
                "--minutes" => options.minutes = Some(number),
                _ => options.sample = usize::try_from(number).unwrap_or(usize::MAX),
            }
        }
        Ok(options)
    }
}

/// What became of the faults.
#[derive(Debug, Default)]
struct Outcomes {
    caught: usize,
    /// Those no test noticed.
    missed: Vec<String>,
    /// Those that do not compile, which the compiler noticed: they count for nothing.
    unviable: usize,
    /// Those that change nothing: the same.
    equivalent: usize,
}

impl Outcomes {
    fn add(&mut self, key: &str, fate: Fate) {
        match fate {
            Fate::Caught | Fate::Stopped => self.caught += 1,
            Fate::Missed => self.missed.push(key.to_owned()),
            Fate::Unviable => self.unviable += 1,
        }
    }

    fn share(&self) -> f64 {
        let viable = self.caught + self.missed.len();
        if viable == 0 { 0.0 } else { self.caught as f64 / viable as f64 }
    }

    fn judge(&self, open: usize) -> ExitCode {
        self.missed.iter().for_each(|mutant| println!("missed: {mutant}"));
        println!(
            "{} caught, {} missed, {} do not compile, {} change nothing: {:.1} % caught (at least {:.0} % wanted)",
            self.caught,
            self.missed.len(),
            self.unviable,
            self.equivalent,
            100.0 * self.share(),
            100.0 * CAUGHT
        );
        if open > 0 {
            println!("{open} were not tried yet: the same command goes on with them");
        }
        ExitCode::from(u8::from(open > 0 || self.share() < CAUGHT))
    }
}

/// `size` of them (0: all), the same ones for the same seed: those whose keys, hashed with the seed, come first. So the sample stays what it
/// was, but for one or two, when a fault comes or goes.
fn sample(mut all: Vec<Candidate>, size: usize, seed: u64) -> Vec<Candidate> {
    all.sort_by_cached_key(|candidate| rank(&candidate.key, seed));
    if size > 0 {
        all.truncate(size);
    }
    all
}

/// FNV-1a, and the last step of SplitMix64 (Steele, Lea, Flood 2014) to mix it well.
fn rank(key: &str, seed: u64) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut z = seed.to_le_bytes().into_iter().chain(key.bytes()).fold(0xcbf2_9ce4_8422_2325, fold);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_follows_from_its_seed_and_hardly_from_who_else_is_there() {
        let all = |count: u32| -> Vec<Candidate> {
            (0..count)
                .map(|number| Candidate { fault: Fault::default(), key: number.to_string(), code: 0 })
                .collect()
        };
        let keys = |count, size, seed| -> Vec<String> {
            sample(all(count), size, seed).into_iter().map(|candidate| candidate.key).collect()
        };
        let mut distinct = keys(50, 20, 1);
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 20);
        assert_eq!(keys(5, 0, 1).len(), 5);
        for seed in 0..100 {
            let (fewer, more) = (keys(50, 20, seed), keys(51, 20, seed));
            assert_eq!(fewer, keys(50, 20, seed));
            assert!(more.iter().filter(|key| !fewer.contains(key)).count() <= 1);
            assert_ne!(fewer, keys(50, 20, seed + 1));
        }
    }

    #[test]
    fn the_share_leaves_out_what_does_not_compile_and_what_changes_nothing() {
        let outcomes = Outcomes { caught: 9, missed: vec!["x".into()], unviable: 90, equivalent: 90 };
        assert!((outcomes.share() - 0.9).abs() < 1e-9);
    }

    #[test]
    fn a_list_of_faults_gives_each_its_reason_or_is_refused() {
        let read = reasons("# note\na: b\n    one\n    two\n\nc\n    three\n").expect("each has one");
        assert_eq!(read, HashMap::from([("a: b", "one two".to_owned()), ("c", "three".to_owned())]));
        assert!(reasons("a\nb\n  why\n").is_err());
        assert!(reasons("  why\n").is_err());
        assert!(reasons(EQUIVALENT).is_ok());
    }
}

//! `cargo xtask mutants`: small faults put into the code that attacks aim at, and whether a test notices each.
//!
//! cargo-mutants makes the faults and runs the tests; this chooses a random sample of them, prints it, and counts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    Done, helped,
    shell::Shell,
    workspace::{Workspace, root},
};

const HELP: &str = "\
cargo xtask mutants [OPTIONS]   mutation testing of the ack, replay, handshake, reassembly and crypto packet code
                                (needs cargo-mutants and cargo-nextest)

  --sample N    how many faults, chosen at random (default 200; 0: all there are)
  --seed N      which ones (default 1)
  --list        only print the sample

Exit code 0 when at least 90 % are caught, among those that compile. What was missed is listed at the end and in
target/mutants/.";

/// Of the faults that compile, this share must be noticed.
const CAUGHT: f64 = 0.90;

/// A fault that makes a test run longer than this, in seconds, has been noticed: it loops.
const TIMEOUT: &str = "120";

/// A part of the code under test, and which tests of its package have to notice.
struct Area {
    name: &'static str,
    /// The globs of its files.
    files: &'static [&'static str],
    /// A nextest filter: the facade's other tests take minutes and are not about these files.
    tests: &'static str,
}

const AREAS: &[Area] = &[
    Area {
        name: "core",
        files: &[
            "fastwire-wire/src/extended/*.rs",
            "fastwire-crypto/src/{open,seal,replay,session}.rs",
            "fastwire-crypto/src/extended/*.rs",
            "fastwire-reliability/src/{ack,fragments,owed,reassembly,receiving,recovery,seen,space}.rs",
            "fastwire-reliability/src/recovery/*.rs",
            "fastwire-reliability/src/extended/{inbox,loose,owed,partial,ranges,receiving}.rs",
        ],
        tests: "all()",
    },
    Area {
        name: "handshake",
        files: &["fastwire/src/proto/handshake/*.rs", "fastwire/src/proto/handshake/extended/*.rs"],
        tests: "test(handshake) | test(connect) | test(refus) | test(incident)",
    },
];

struct Options {
    sample: usize,
    seed: u64,
    only_list: bool,
}

pub(crate) fn run(arguments: &[String]) -> Done {
    if helped(arguments, HELP) {
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse(arguments)?;
    for tool in ["mutants", "nextest"] {
        if !Shell::cargo(tool).words("--version").succeeds() {
            return Err(format!("cargo-{tool} is missing; `cargo install --locked cargo-{tool}` brings it"));
        }
    }
    let mut all = Vec::new();
    for area in AREAS {
        all.extend(area.mutants()?.into_iter().map(|mutant| (area, mutant)));
    }
    let possible = all.len();
    let sample = sample(all, options.sample, options.seed);
    sample.iter().for_each(|(_, mutant)| println!("{mutant}"));
    println!("{} of {possible} faults, seed {}", sample.len(), options.seed);
    if options.only_list {
        return Ok(ExitCode::SUCCESS);
    }
    let target = Workspace::load()?.target.join("mutants");
    let mut outcomes = Outcomes::default();
    for area in AREAS {
        let chosen: Vec<_> =
            sample.iter().filter(|(of, _)| of.name == area.name).map(|(_, mutant)| mutant).collect();
        if !chosen.is_empty() {
            outcomes.add(&area.test(&chosen, &target.join(area.name))?)?;
        }
    }
    Ok(outcomes.judge())
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { sample: 200, seed: 1, only_list: false };
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let number = match word {
                "--list" => {
                    options.only_list = true;
                    continue;
                }
                "--sample" | "--seed" => words.next().and_then(|number| number.parse::<u64>().ok()),
                _ => return Err(format!("cannot make sense of {word:?}; see cargo xtask mutants --help")),
            };
            let number = number.ok_or_else(|| format!("{word}: give a whole number"))?;
            match word {
                "--seed" => options.seed = number,
                _ => options.sample = usize::try_from(number).unwrap_or(usize::MAX),
            }
        }
        Ok(options)
    }
}

impl Area {
    /// Every fault that could be put into its files, as cargo-mutants names them.
    fn mutants(&self) -> Result<Vec<String>, String> {
        let listed = self.tool("mutants --list").output()?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// Tries these faults one by one; where the outcomes are.
    fn test(&self, mutants: &[&String], directory: &Path) -> Result<PathBuf, String> {
        fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        let mut shell = self.tool("mutants --all-features --test-tool nextest --no-shuffle");
        shell = shell.arguments(["--timeout", TIMEOUT, "--output", &directory.to_string_lossy()]);
        for mutant in mutants {
            shell = shell.arguments(["--re", &format!("^{}$", escaped(mutant))]);
        }
        // It fails when a fault was missed, which is ours to judge.
        shell.arguments(["--", "-E", self.tests]).replace()?;
        Ok(directory.join("mutants.out"))
    }

    fn tool(&self, words: &str) -> Shell {
        let files = self.files.iter().flat_map(|glob| ["--file", glob]);
        Shell::cargo(words).arguments(files).directory(root())
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
}

impl Outcomes {
    /// Adds what cargo-mutants wrote into `directory`.
    fn add(&mut self, directory: &Path) -> Result<(), String> {
        let lines = |name: &str| -> Result<Vec<String>, String> {
            let file = directory.join(name);
            let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            Ok(text.lines().map(str::to_owned).collect())
        };
        self.caught += lines("caught.txt")?.len() + lines("timeout.txt")?.len();
        self.missed.extend(lines("missed.txt")?);
        self.unviable += lines("unviable.txt")?.len();
        Ok(())
    }

    fn share(&self) -> f64 {
        let viable = self.caught + self.missed.len();
        if viable == 0 { 0.0 } else { self.caught as f64 / viable as f64 }
    }

    fn judge(&self) -> ExitCode {
        self.missed.iter().for_each(|mutant| println!("missed: {mutant}"));
        println!(
            "{} caught, {} missed, {} do not compile: {:.1} % caught (at least {:.0} % wanted)",
            self.caught,
            self.missed.len(),
            self.unviable,
            100.0 * self.share(),
            100.0 * CAUGHT
        );
        ExitCode::from(u8::from(self.share() < CAUGHT))
    }
}

/// `size` of them (0: all), the same ones for the same seed: a Fisher–Yates shuffle cut short.
fn sample<T>(mut all: Vec<T>, size: usize, seed: u64) -> Vec<T> {
    let size = if size == 0 { all.len() } else { size.min(all.len()) };
    let mut state = seed;
    for index in 0..size {
        let rest = (all.len() - index) as u64;
        // The rest is far smaller than 2⁶⁴, so the bias of the remainder does not matter.
        let offset = usize::try_from(next(&mut state) % rest).unwrap_or(0);
        all.swap(index, index + offset);
    }
    all.truncate(size);
    all
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A regular expression that matches just this text.
fn escaped(text: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$#&-~".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_subset_of_its_size_and_follows_from_its_seed() {
        for seed in 0..100 {
            let chosen = sample((0..50).collect(), 20, seed);
            let mut distinct = chosen.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), 20);
            assert_eq!(chosen, sample((0..50).collect(), 20, seed));
        }
        assert_ne!(sample((0..50).collect::<Vec<_>>(), 20, 1), sample((0..50).collect(), 20, 2));
        assert_eq!(sample((0..5).collect::<Vec<_>>(), 0, 1).len(), 5);
    }

    #[test]
    fn the_share_leaves_out_what_does_not_compile() {
        let outcomes = Outcomes { caught: 9, missed: vec!["x".into()], unviable: 90 };
        assert!((outcomes.share() - 0.9).abs() < 1e-9);
    }

    #[test]
    fn an_escaped_name_has_a_backslash_before_what_is_special() {
        assert_eq!(escaped("a.rs:1: replace + with *"), r"a\.rs:1: replace \+ with \*");
    }
}

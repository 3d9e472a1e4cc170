//! Runs every target over every input of its corpus, and over many small ones: what a fuzzer found stays found.

use std::fs;
use std::path::{Path, PathBuf};

use fastwire_fuzz::{Kind, TARGETS, Target};

fn corpus(target: &Target) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_of_the_corpus_keeps_the_laws() {
    for target in TARGETS {
        let files = corpus(target);
        assert!(files.len() >= 4, "{}: a corpus of {} inputs", target.name, files.len());
        for file in files {
            let input = fs::read(&file).expect("readable");
            let run = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(run.is_ok(), "{} fails over {}", target.name, file.display());
        }
    }
}

#[test]
fn every_short_input_keeps_the_laws() {
    let mut state = 1u64;
    for target in TARGETS {
        (target.run)(&[]);
        let rounds = if target.kind == Kind::Parser { 256 } else { 64 };
        for first in 0..rounds {
            for len in [1, 3, 40] {
                let mut input = vec![(first * (256 / rounds)) as u8];
                input.extend((1..len).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                }));
                (target.run)(&input);
            }
        }
    }
}

#[test]
fn every_target_has_its_binary_and_every_binary_its_target() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut files: Vec<String> = fs::read_dir(directory)
        .expect("there")
        .map(|file| file.expect("readable").file_name().to_string_lossy().trim_end_matches(".rs").to_owned())
        .collect();
    files.sort();
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
    let count = |kind| TARGETS.iter().filter(|target| target.kind == kind).count();
    assert!(count(Kind::Parser) >= 8 && count(Kind::State) >= 6);
}

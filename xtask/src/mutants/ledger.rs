//! What became of each fault so far, so that a run that was interrupted, or that followed a new test, goes on where it was.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::PathBuf,
};

use serde_json::{Value, json};

use super::trial::Fate;

/// Outcomes in a file, one a line, the newest last.
pub(super) struct Ledger {
    file: PathBuf,
    /// By key and digest.
    fates: HashMap<(String, u64), Fate>,
}

impl Ledger {
    pub(super) fn open(file: PathBuf) -> Self {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let fates = text.lines().filter_map(read).map(|(key, digest, fate)| ((key, digest), fate));
        Self { fates: fates.collect(), file }
    }

    /// What became of it when its file, or for a fault that was missed the tests, read as they do now.
    pub(super) fn fate(&self, key: &str, code: u64, tests: u64) -> Option<Fate> {
        let known = |digest| self.fates.get(&(key.to_owned(), digest)).copied();
        known(code)
            .filter(|fate| *fate != Fate::Missed)
            .or_else(|| known(tests).filter(|fate| *fate == Fate::Missed))
    }

    pub(super) fn add(&mut self, key: &str, code: u64, tests: u64, fate: Fate) -> Result<(), String> {
        let digest = if fate == Fate::Missed { tests } else { code };
        let line = json!({ "fault": key, "digest": digest.to_string(), "fate": fate.name() });
        let file = OpenOptions::new().create(true).append(true).open(&self.file);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .map_err(|e| format!("{}: {e}", self.file.display()))?;
        self.fates.insert((key.to_owned(), digest), fate);
        Ok(())
    }
}

fn read(line: &str) -> Option<(String, u64, Fate)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let fate = Fate::ALL.into_iter().find(|fate| value["fate"] == fate.name())?;
    Some((value["fault"].as_str()?.to_owned(), value["digest"].as_str()?.parse().ok()?, fate))
}

/// Of a file: the code alone, for unit tests stand last and only add to what is noticed.
pub(super) fn of_code(source: &str) -> u64 {
    digest(source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(source))
}

pub(super) fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_caught_stays_so_and_what_was_missed_until_the_tests_change() {
        let file = std::env::temp_dir().join(format!("fastwire-ledger-{}", std::process::id()));
        let _ = fs::remove_file(&file);
        let mut ledger = Ledger::open(file.clone());
        for (key, fate) in
            [("a", Fate::Caught), ("b", Fate::Missed), ("c", Fate::Stopped), ("d", Fate::Unviable)]
        {
            assert_eq!(ledger.fate(key, 1, 2), None);
            ledger.add(key, 1, 2, fate).expect("a file of our own");
        }
        for ledger in [&ledger, &Ledger::open(file.clone())] {
            assert_eq!(ledger.fate("a", 1, 9), Some(Fate::Caught));
            assert_eq!(ledger.fate("a", 9, 2), None);
            assert_eq!(ledger.fate("b", 1, 2), Some(Fate::Missed));
            assert_eq!(ledger.fate("b", 1, 9), None);
            assert_eq!(ledger.fate("c", 1, 9), Some(Fate::Stopped));
            assert_eq!(ledger.fate("d", 1, 9), Some(Fate::Unviable));
        }
        let _ = fs::remove_file(file);
    }

    #[test]
    fn unit_tests_do_not_change_what_the_code_is() {
        let code = "fn f() {}\n";
        assert_eq!(
            of_code(&format!("{code}\n#[cfg(test)]\nmod tests {{}}")),
            of_code(&format!("{code}\n#[cfg(test)]\nmod tests {{ }}"))
        );
        assert_ne!(of_code(code), of_code("fn g() {}\n"));
    }
}

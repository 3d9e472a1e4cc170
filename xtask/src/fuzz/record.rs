//! `fuzz/executions.json`: how often each target ran coverage-guided so far, and what it reached.

use std::{
    collections::BTreeMap,
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};

use crate::workspace::root;

const FILE: &str = "fuzz/executions.json";

/// What is known of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// `parser` or `state`.
    pub(super) kind: String,
    /// In total, over all runs.
    pub(super) executions: u64,
    /// libFuzzer's count of edges, at the end of the last run.
    pub(super) coverage: u64,
    /// Day of the last run, as `2026-11-24`.
    pub(super) date: String,
}

/// All targets that ran, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record(pub(super) BTreeMap<String, Entry>);

impl Record {
    pub(super) fn load() -> Result<Self, String> {
        let text = fs::read_to_string(root().join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
        Self::parse(&text)
    }

    pub(super) fn save(&self) -> Result<(), String> {
        fs::write(root().join(FILE), self.print()).map_err(|error| format!("{FILE}: {error}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("{FILE}: {error}"))?;
        let targets = value.as_object().ok_or_else(|| format!("{FILE} is no object"))?;
        let entries = targets.iter().map(|(name, value)| {
            let entry = entry(value).ok_or_else(|| format!("{FILE}: {name} lacks something"))?;
            Ok((name.clone(), entry))
        });
        entries.collect::<Result<_, String>>().map(Self)
    }

    fn print(&self) -> String {
        let entries = self.0.iter().map(|(name, entry)| {
            let Entry { kind, executions, coverage, date } = entry;
            let value = json!({ "kind": kind, "executions": executions, "coverage": coverage, "date": date });
            (name.clone(), value)
        });
        format!("{:#}\n", Value::Object(entries.collect::<Map<_, _>>()))
    }

    /// Adds what a run reported of itself.
    pub(super) fn add(&mut self, target: &str, kind: &str, run: Run, date: String) {
        let executions = self.0.get(target).map_or(0, |entry| entry.executions) + run.executions;
        let entry = Entry { kind: kind.into(), executions, coverage: run.coverage, date };
        self.0.insert(target.into(), entry);
    }

    /// Executions of all targets of a kind.
    pub(super) fn total(&self, kind: &str) -> u64 {
        self.0.values().filter(|entry| entry.kind == kind).map(|entry| entry.executions).sum()
    }

    /// The record as a table, in Markdown.
    pub(super) fn table(&self) -> String {
        let mut table =
            String::from("| target | kind | executions | coverage | last run |\n|---|---|---|---|---|\n");
        for kind in ["parser", "state"] {
            for (name, entry) in self.0.iter().filter(|(_, entry)| entry.kind == kind) {
                let Entry { executions, coverage, date, .. } = entry;
                table += &format!("| `{name}` | {kind} | {} | {coverage} | {date} |\n", grouped(*executions));
            }
        }
        for kind in ["parser", "state"] {
            table += &format!("| all of kind {kind} | | {} | | |\n", grouped(self.total(kind)));
        }
        table
    }
}

/// What libFuzzer says of a run at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) executions: u64,
    pub(super) coverage: u64,
}

impl Run {
    /// Reads what it printed; `None` if it did not get so far as to count.
    pub(super) fn parse(output: &str) -> Option<Self> {
        let counted =
            output.lines().rev().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let executions = counted?.trim().parse().ok()?;
        let coverage = output.lines().rev().find_map(|line| {
            let (_, rest) = line.split_once("cov: ")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        Some(Self { executions, coverage: coverage.unwrap_or(0) })
    }
}

/// Today, in UTC.
pub(super) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    day(seconds / 86_400)
}

/// A day since 1970 in the Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
fn day(days: u64) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn entry(value: &Value) -> Option<Entry> {
    let text = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name| value.get(name).and_then(Value::as_u64);
    Some(Entry {
        kind: text("kind")?,
        executions: number("executions")?,
        coverage: number("coverage")?,
        date: text("date")?,
    })
}

/// A number with a space before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "#3 NEW cov: 10 ft: 11\n#900\tDONE   cov: 1234 ft: 5 corp: 7/8b\n\
                           stat::number_of_executed_units: 900\nstat::average_exec_per_sec: 3\n";

    #[test]
    fn a_run_is_read_from_what_the_fuzzer_prints() {
        assert_eq!(Run::parse(PRINTED), Some(Run { executions: 900, coverage: 1234 }));
        assert_eq!(Run::parse("error: could not compile"), None);
    }

    #[test]
    fn runs_add_up_and_survive_the_file() {
        let mut record = Record::default();
        let run = Run { executions: 900, coverage: 12 };
        record.add("header", "parser", run, "2026-11-24".into());
        record.add("header", "parser", run, "2026-11-25".into());
        record.add("pair", "state", run, "2026-11-25".into());
        assert_eq!((record.total("parser"), record.total("state")), (1800, 900));
        assert_eq!(Record::parse(&record.print()), Ok(record));
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        assert_eq!(
            [0, 59, 60, 11_016, 20_781].map(day),
            ["1970-01-01", "1970-03-01", "1970-03-02", "2000-02-29", "2026-11-24"]
        );
    }

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 12_345_678].map(grouped), ["0", "999", "1 000", "12 345 678"]);
    }
}

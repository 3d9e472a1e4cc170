//! S9: every corpus replayed, and how often the targets ran coverage-guided (`fuzz/executions.json`).

use std::fs;

use serde_json::Value;

use crate::{
    check::{Check, Outcome, Profile, Run},
    outside::{cargo_here, root},
};

/// Kind of target, and the executions it has to have in all.
const DEMANDS: [(&str, u64); 2] = [("parser", 200_000_000), ("state", 5_000_000)];
/// Kind of target, and how many there have to be.
const TARGETS: [(&str, usize); 2] = [("parser", 8), ("state", 6)];

/// What `cargo xtask fuzz` runs, in the same directory, so that nothing is built twice.
const REPLAY: &str = "test --quiet --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --test replay";

/// S9.
pub(super) struct Fuzzing;

impl Check for Fuzzing {
    fn id(&self) -> &'static str {
        "S9"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, run: &Run) -> Outcome {
        let record = match record() {
            Ok(record) => record,
            Err(complaint) => return Outcome::fell_short(complaint),
        };
        let Verdict { there, enough, figure } = judge(&record);
        // The quick form is for continuous integration: it replays the corpora in a step of its own, and a commit cannot
        // make up for executions.
        if run.quick {
            return Outcome::new(there, figure);
        }
        match cargo_here(REPLAY) {
            Ok(_) => Outcome::new(enough, format!("{figure}; every corpus replayed")),
            Err(complaint) => Outcome::fell_short("an input of a corpus breaks a law").note(complaint),
        }
    }
}

fn record() -> Result<Value, String> {
    let path = root().join("fuzz/executions.json");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// What the record says.
struct Verdict {
    /// There are as many targets as there have to be, and each ran.
    there: bool,
    /// They ran often enough, too.
    enough: bool,
    figure: String,
}

fn judge(record: &Value) -> Verdict {
    let entries: Vec<&Value> = record.as_object().into_iter().flat_map(|targets| targets.values()).collect();
    let of_kind = |kind: &str| -> Vec<u64> {
        let entries = entries.iter().filter(|entry| entry["kind"] == *kind);
        entries
            .filter_map(|entry| entry["executions"].as_u64())
            .filter(|executions| *executions > 0)
            .collect()
    };
    let executed = DEMANDS.map(|(kind, demand)| (kind, of_kind(kind).iter().sum::<u64>(), demand));
    let there = TARGETS.iter().all(|(kind, least)| of_kind(kind).len() >= *least);
    let enough = executed.iter().all(|(_, executions, demand)| executions >= demand);
    let figure = executed.map(|(kind, executions, demand)| {
        let (millions, of) = (executions as f64 / 1e6, demand / 1_000_000);
        format!("{} {kind} targets, {millions:.1} of {of} million executions", of_kind(kind).len())
    });
    Verdict { there, enough: there && enough, figure: figure.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn with(parsers: u64, states: u64) -> Value {
        let entry = |kind: &str, executions: u64| json!({ "kind": kind, "executions": executions });
        let parsers = (0..8).map(|index| (format!("p{index}"), entry("parser", parsers / 8)));
        let states = (0..6).map(|index| (format!("s{index}"), entry("state", states / 6)));
        Value::Object(parsers.chain(states).collect::<Map<_, _>>())
    }

    #[test]
    fn executions_of_each_kind_are_held_against_their_demand() {
        assert!(judge(&with(200_000_000, 6_000_000)).enough);
        for record in [with(199_000_000, 6_000_000), with(200_000_000, 4_999_998)] {
            assert!(judge(&record).there && !judge(&record).enough);
        }
    }

    #[test]
    fn targets_that_never_ran_do_not_count() {
        let mut record = with(400_000_000, 6_000_000);
        record["p0"]["executions"] = json!(0);
        assert!(!judge(&record).there && !judge(&record).enough);
        assert!(!judge(&json!({})).there);
    }
}

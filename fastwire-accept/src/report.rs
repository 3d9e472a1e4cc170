//! How results are shown: a line each for people, a file for programs.

use std::{fs, path::Path, process::ExitCode, time::Duration};

use serde_json::{Map, Value, json};

use crate::{
    catalogue::{self, Line},
    check::{Check, Outcome, Profile, Run},
};

/// A finished run.
pub(crate) struct Row {
    id: &'static str,
    run: Run,
    outcome: Outcome,
    time: Duration,
    /// The demand was met and every fault happened.
    pub(crate) ok: bool,
}

impl Row {
    pub(crate) fn new(id: &'static str, run: &Run, outcome: Outcome, time: Duration) -> Self {
        let ok = outcome.ok && outcome.missing_faults().next().is_none();
        Self { id, run: *run, outcome, time, ok }
    }

    /// `R1/base ok quick 64 seeds, 0 failures, 4 s`
    fn line(&self) -> String {
        let profile = match self.run.profile {
            Profile::Either => String::new(),
            profile => format!("/{profile}"),
        };
        let verdict = if self.ok { "ok" } else { "FELL SHORT" };
        let quick = if self.run.quick { " quick" } else { "" };
        let mut figure = self.outcome.figure.clone();
        let missing: Vec<_> = self.outcome.missing_faults().collect();
        if !missing.is_empty() {
            figure += &format!(", never happened: {}", missing.join(", "));
        }
        format!("{}{profile} {verdict}{quick} {figure}, {:.0} s", self.id, self.time.as_secs_f64())
    }
}

pub(crate) fn print_row(row: &Row) {
    println!("{}", row.line());
    if !row.outcome.faults.is_empty() {
        let faults: Vec<_> = row.outcome.faults.iter().map(|f| format!("{} {}", f.name, f.count)).collect();
        println!("    faults: {}", faults.join(", "));
    }
    row.outcome.notes.iter().for_each(|note| println!("    {note}"));
}

pub(crate) fn write_json(file: &Path, rows: &[Row]) -> std::io::Result<()> {
    let rows: Vec<Value> = rows.iter().map(json).collect();
    fs::write(file, format!("{:#}\n", Value::Array(rows)))
}

fn json(row: &Row) -> Value {
    let faults: Map<_, _> = row.outcome.faults.iter().map(|f| (f.name.to_owned(), f.count.into())).collect();
    json!({
        "id": row.id,
        "profile": row.run.profile.to_string(),
        "quick": row.run.quick,
        "seed": row.run.seed,
        "ok": row.ok,
        "figure": row.outcome.figure,
        "seconds": row.time.as_secs_f64(),
        "faults": faults,
        "notes": row.outcome.notes,
    })
}

/// Prints the catalogue, or some lines of it; exit code 2 when one that was named is not built or does not exist.
pub(crate) fn list(ids: &[String], checks: &[Box<dyn Check>]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for id in ids.iter().filter(|id| catalogue::LINES.iter().all(|line| line.id != **id)) {
        println!("{id:4} unknown");
        code = ExitCode::from(2);
    }
    for line in catalogue::LINES.iter().filter(|line| ids.is_empty() || ids.iter().any(|id| id == line.id)) {
        let of_line = checks.iter().filter(|check| check.id() == line.id);
        let built: Vec<_> = of_line.flat_map(|check| check.profiles()).copied().collect();
        println!("{:4} {:24} {}", line.id, state(line, &built), line.title);
        if built.is_empty() && !ids.is_empty() {
            code = ExitCode::from(2);
        }
    }
    code
}

/// `built`, `not built`, or which of its profiles are.
fn state(line: &Line, built: &[Profile]) -> String {
    if built.is_empty() {
        return "not built".into();
    }
    let missing: Vec<_> = line.profiles.iter().filter(|profile| !built.contains(profile)).collect();
    match missing[..] {
        [] => "built".into(),
        [profile] => format!("built, not for {profile}"),
        _ => "built in part".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: Outcome) -> Row {
        let run = Run { profile: Profile::Base, quick: false, seed: None };
        Row::new("R1", &run, outcome, Duration::from_secs(412))
    }

    #[test]
    fn a_line_reads_as_documented() {
        let ok = row(Outcome::new(true, "25000 seeds, 0 failures").fault("lost", 9));
        assert_eq!(ok.line(), "R1/base ok 25000 seeds, 0 failures, 412 s");
        assert_eq!(json(&ok)["faults"]["lost"], 9);
    }

    #[test]
    fn a_fault_that_never_happened_makes_the_run_fall_short() {
        let row = row(Outcome::new(true, "25000 seeds").fault("lost", 9).fault("corrupted", 0));
        assert!(!row.ok);
        assert_eq!(row.line(), "R1/base FELL SHORT 25000 seeds, never happened: corrupted, 412 s");
    }

    #[test]
    fn a_line_built_for_one_profile_says_which_is_missing() {
        let line = catalogue::LINES.iter().find(|line| line.id == "R1").expect("R1 is there");
        assert_eq!(state(line, &[]), "not built");
        assert_eq!(state(line, &[Profile::Base]), "built, not for extended");
        assert_eq!(state(line, &[Profile::Base, Profile::Extended]), "built");
    }
}

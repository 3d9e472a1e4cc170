//! All rounds of a run: medians and spread, and how they are written to a file.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::run::Round;
use crate::system::{Outcome, quantile};

/// One figure of one system in one case, over all rounds.
#[derive(Clone, Debug)]
pub struct Row {
    pub workload: String,
    pub case: String,
    pub system: String,
    pub metric: String,
    pub unit: String,
    pub better: String,
    pub values: Vec<f64>,
    delivered: Vec<f64>,
    offered: Vec<f64>,
}

impl Row {
    pub fn median(&self) -> f64 {
        quantile(&mut self.values.clone(), 0.5)
    }

    fn min(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn max(&self) -> f64 {
        self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The median share that arrived, where that was looked at.
    pub fn delivered(&self) -> Option<f64> {
        (!self.delivered.is_empty()).then(|| quantile(&mut self.delivered.clone(), 0.5))
    }

    fn offered(&self) -> Option<f64> {
        (!self.offered.is_empty()).then(|| quantile(&mut self.offered.clone(), 0.5))
    }

    fn json(&self) -> Value {
        json!({
            "workload": self.workload, "case": self.case, "system": self.system, "metric": self.metric,
            "unit": self.unit, "better": self.better, "delivered": self.delivered(), "offered": self.offered(),
            "median": self.median(), "min": self.min(), "max": self.max(), "rounds": self.values.len(),
        })
    }
}

/// Rounds of one system in one case that gave no figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub workload: String,
    pub case: String,
    pub system: String,
    pub rounds: u64,
    /// What the last of them said.
    pub error: String,
}

impl Failure {
    fn json(&self) -> Value {
        json!({
            "workload": self.workload, "case": self.case, "system": self.system, "rounds": self.rounds,
            "error": self.error,
        })
    }
}

/// Everything that was measured, in the order in which it was first seen.
#[derive(Clone, Debug, Default)]
pub struct Results {
    pub rows: Vec<Row>,
    pub failures: Vec<Failure>,
}

impl Results {
    /// A round that gave no figures.
    pub fn fail(&mut self, workload: &str, case: &str, system: &str, error: &str) {
        let same = |f: &Failure| f.workload == workload && f.case == case && f.system == system;
        let known = self.failures.iter().position(same);
        let index = known.unwrap_or_else(|| {
            self.failures.push(Failure {
                workload: workload.to_owned(),
                case: case.to_owned(),
                system: system.to_owned(),
                rounds: 0,
                error: String::new(),
            });
            self.failures.len() - 1
        });
        let failure = &mut self.failures[index];
        failure.rounds += 1;
        error.clone_into(&mut failure.error);
    }

    /// How many rounds of a system failed in a case.
    pub fn failed_rounds(&self, workload: &str, case: &str, system: &str) -> u64 {
        let same = |f: &&Failure| f.workload == workload && f.case == case && f.system == system;
        self.failures.iter().find(same).map_or(0, |failure| failure.rounds)
    }

    /// Whether a system has any figure in a case.
    pub fn has(&self, workload: &str, case: &str, system: &str) -> bool {
        self.rows.iter().any(|row| row.workload == workload && row.case == case && row.system == system)
    }

    pub fn add(&mut self, workload: &str, case: &str, system: &str, round: &Round) {
        for figure in &round.figures {
            let same = |row: &&mut Row| {
                row.workload == workload
                    && row.case == case
                    && row.system == system
                    && row.metric == figure.metric
            };
            if self.rows.iter_mut().find(same).is_none() {
                self.rows.push(Row {
                    workload: workload.to_owned(),
                    case: case.to_owned(),
                    system: system.to_owned(),
                    metric: figure.metric.clone(),
                    unit: figure.unit.clone(),
                    better: figure.better.clone(),
                    values: Vec::new(),
                    delivered: Vec::new(),
                    offered: Vec::new(),
                });
            }
            if let Some(row) = self.rows.iter_mut().find(same) {
                row.values.push(figure.value);
                row.delivered.extend(round.delivered);
                row.offered.extend(round.offered);
            }
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "machine": machine(),
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "failures": self.failures.iter().map(Failure::json).collect::<Vec<_>>(),
        })
    }

    /// Reads rows back from a file; each has its median alone.
    pub fn read(path: &Path) -> Outcome<(Value, Self)> {
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        let rows = file["rows"].as_array().ok_or("no rows")?.iter().map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let number = |key: &str| row[key].as_f64();
            Row {
                workload: text("workload"),
                case: text("case"),
                system: text("system"),
                metric: text("metric"),
                unit: text("unit"),
                better: text("better"),
                values: [number("min"), number("median"), number("max")].into_iter().flatten().collect(),
                delivered: number("delivered").into_iter().collect(),
                offered: number("offered").into_iter().collect(),
            }
        });
        let failures = file["failures"].as_array().into_iter().flatten().map(|failure| {
            let text = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
            Failure {
                workload: text("workload"),
                case: text("case"),
                system: text("system"),
                rounds: failure["rounds"].as_u64().unwrap_or(1),
                error: text("error"),
            }
        });
        Ok((file["machine"].clone(), Self { rows: rows.collect(), failures: failures.collect() }))
    }

    /// The cases in order, each with its systems and metrics in order.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables: Vec<Table> = Vec::new();
        for row in &self.rows {
            let table = Table::of(&mut tables, &row.workload, &row.case);
            if !table.systems.contains(&row.system) {
                table.systems.push(row.system.clone());
            }
            if !table.metrics.contains(&row.metric) {
                table.metrics.push(row.metric.clone());
            }
        }
        for failure in &self.failures {
            let table = Table::of(&mut tables, &failure.workload, &failure.case);
            if !table.systems.contains(&failure.system) {
                table.systems.push(failure.system.clone());
            }
        }
        tables
    }

    pub fn find(&self, table: &Table, system: &str, metric: &str) -> Option<&Row> {
        self.rows.iter().find(|row| {
            row.workload == table.workload
                && row.case == table.case
                && row.system == system
                && row.metric == metric
        })
    }

    /// Markdown: a table for each case, medians with the smallest and largest round behind them.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for table in self.tables() {
            let _ = writeln!(out, "### {} {}\n", table.workload, table.case);
            let heads: Vec<_> = table.metrics.iter().map(|metric| self.head(&table, metric)).collect();
            let _ = writeln!(out, "| system | {} | delivered |", heads.join(" | "));
            let _ = writeln!(out, "|---|{}---|", "---|".repeat(heads.len()));
            for system in &table.systems {
                let cells = table.metrics.iter().map(|metric| match self.find(&table, system, metric) {
                    Some(row) => {
                        format!("{} ({}–{})", short(row.median()), short(row.min()), short(row.max()))
                    }
                    None => "–".to_owned(),
                });
                let cells: Vec<_> = cells.collect();
                let first = table.metrics.first().and_then(|metric| self.find(&table, system, metric));
                let delivered = first
                    .and_then(Row::delivered)
                    .map_or("–".to_owned(), |d| format!("{:.1} %", d * 100.0));
                let failed = self
                    .failed(&table, system)
                    .map_or(String::new(), |failure| format!(" ({} rounds failed)", failure.rounds));
                let _ = writeln!(out, "| {system}{failed} | {} | {delivered} |", cells.join(" | "));
            }
            for failure in table.systems.iter().filter_map(|system| self.failed(&table, system)) {
                let _ = writeln!(out, "\n{} failed: {}", failure.system, failure.error);
            }
            out.push('\n');
        }
        out
    }

    fn failed(&self, table: &Table, system: &str) -> Option<&Failure> {
        self.failures.iter().find(|failure| {
            failure.workload == table.workload && failure.case == table.case && failure.system == system
        })
    }

    fn head(&self, table: &Table, metric: &str) -> String {
        let row = self.rows.iter().find(|row| row.workload == table.workload && row.metric == metric);
        match row.map(|row| row.unit.as_str()).filter(|unit| !unit.is_empty() && !metric.contains(*unit)) {
            Some(unit) => format!("{metric}, {unit}"),
            None => metric.to_owned(),
        }
    }
}

/// One case, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub workload: String,
    pub case: String,
    pub systems: Vec<String>,
    pub metrics: Vec<String>,
}

impl Table {
    /// The table of a case, added to `tables` if it is not among them.
    fn of<'t>(tables: &'t mut Vec<Self>, workload: &str, case: &str) -> &'t mut Self {
        let known = tables.iter().position(|table| table.workload == workload && table.case == case);
        let index = known.unwrap_or_else(|| {
            let (workload, case) = (workload.into(), case.into());
            tables.push(Self { workload, case, systems: Vec::new(), metrics: Vec::new() });
            tables.len() - 1
        });
        &mut tables[index]
    }
}

/// A figure with about three digits, large ones in thousands and millions.
pub fn short(value: f64) -> String {
    match value.abs() {
        x if x >= 1e6 => format!("{:.2} M", value / 1e6),
        x if x >= 1e4 => format!("{:.0} k", value / 1e3),
        x if x >= 100.0 || value == 0.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What the figures depend on.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let said = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().ok();
        output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default().trim().to_owned()
    };
    json!({
        "cpu": cpu.trim_start_matches(['\t', ':', ' ']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "rustc": said("rustc", &["--version"]),
        "commit": said("git", &["rev-parse", "--short=12", "HEAD"]),
        "date": said("date", &["-u", "+%Y-%m-%d"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Figure;

    fn round(value: f64) -> Round {
        let figure = Figure { metric: "MB/s".into(), unit: "MB/s".into(), better: "higher".into(), value };
        Round { figures: vec![figure], delivered: Some(1.0), offered: None }
    }

    #[test]
    fn rounds_become_median_and_spread_whatever_their_order() {
        let mut results = Results::default();
        for value in [3.0, 1.0, 2.0] {
            results.add("P1", "16 KiB", "quinn", &round(value));
            results.add("P1", "16 KiB", "raw", &round(2.0 * value));
        }
        assert_eq!(results.rows.len(), 2);
        let row = results.rows[0].json();
        assert_eq!(
            (row["median"].as_f64(), row["min"].as_f64(), row["max"].as_f64()),
            (Some(2.0), Some(1.0), Some(3.0))
        );
        assert_eq!(row["rounds"], 3);
    }

    #[test]
    fn what_is_written_can_be_read_and_shown_again() {
        let mut results = Results::default();
        results.add("P1", "16 KiB", "quinn", &round(549.0));
        results.fail("P1", "16 KiB", "kcp", "closed");
        let file = std::env::temp_dir().join(format!("fastwire-bench-{}.json", std::process::id()));
        std::fs::write(&file, results.json().to_string()).expect("written");
        let (machine, read) = Results::read(&file).expect("read");
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(read.markdown(), results.markdown());
        assert!(machine["cores"].as_u64().is_some_and(|cores| cores > 0));
    }

    #[test]
    fn a_system_that_failed_has_a_row_that_says_so() {
        let mut results = Results::default();
        results.add("P3", "wait", "quinn", &round(60.0));
        results.fail("P3", "wait", "kcp", "not connected");
        results.fail("P3", "wait", "kcp", "took longer than 90 s");
        assert_eq!(results.failed_rounds("P3", "wait", "kcp"), 2);
        let shown = results.markdown();
        assert!(shown.contains("| kcp (2 rounds failed) | – | – |"), "{shown}");
        assert!(shown.contains("kcp failed: took longer than 90 s"), "{shown}");
        assert!(results.has("P3", "wait", "quinn") && !results.has("P3", "wait", "kcp"));
    }

    #[test]
    fn figures_keep_about_three_digits() {
        for (value, text) in [
            (8_912_345.0, "8.91 M"),
            (65_000.0, "65 k"),
            (549.4, "549"),
            (66.04, "66.0"),
            (0.129, "0.13"),
            (0.0, "0"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}

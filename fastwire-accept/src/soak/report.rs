//! What a soak showed: figures over time, their slopes, and whether anything was broken or grew.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::Plan;
use super::crowd::Tally;
use crate::relay::Summary;

/// Growth of resident memory that a run may show, in bytes an hour.
const GROWTH: f64 = (1 << 20) as f64;
/// Runs shorter than this say nothing about slopes.
const SHORTEST: Duration = Duration::from_secs(20 * 60);

/// The figures at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(super) at: Duration,
    pub(super) is_up: bool,
    pub(super) restarts: u64,
    pub(super) connections: u64,
    pub(super) migrations: u64,
    /// Echoes for which the server had no room.
    pub(super) refused: u64,
    /// What the server holds for its connections.
    pub(super) held: u64,
    /// Of the server's process: resident memory, open descriptors, blocks and bytes allocated, allocations so far.
    pub(super) resident: u64,
    pub(super) descriptors: u64,
    pub(super) blocks: i64,
    pub(super) bytes: i64,
    pub(super) allocations: u64,
    /// Of the process with the clients and the line.
    pub(super) own_resident: u64,
    pub(super) own_descriptors: u64,
    pub(super) own_bytes: i64,
    /// Datagrams that came through the line so far.
    pub(super) datagrams: u64,
}

/// A run, finished.
#[derive(Debug)]
pub(crate) struct Report {
    pub(super) plan: Plan,
    pub(super) samples: Vec<Sample>,
    pub(super) tally: Tally,
    pub(super) line: Summary,
}

const MIB: f64 = (1 << 20) as f64;

/// How it goes.
pub(super) fn progress(sample: &Sample, tally: &Tally) -> String {
    format!(
        "{:>5.1} min  {} connections, {} restarts, {} delivered, {} broken; server {:.1} MiB, {} descriptors, {} blocks; {} datagrams",
        sample.at.as_secs_f64() / 60.0,
        sample.connections,
        sample.restarts,
        tally.delivered,
        tally.faults,
        sample.resident as f64 / MIB,
        sample.descriptors,
        sample.blocks,
        sample.datagrams,
    )
}

impl Report {
    /// What counts for slopes: the server is up, and the first quarter, in which everything finds its size, is over.
    fn steady(&self) -> impl Iterator<Item = &Sample> + Clone {
        let begin = self.plan.time / 4;
        let is_steady =
            move |sample: &&Sample| sample.is_up && sample.at >= begin && sample.at <= self.plan.time;
        self.samples.iter().filter(is_steady)
    }

    /// By how much a figure grows an hour: least squares over the steady samples.
    fn slope(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        slope(self.steady().map(|sample| (sample.at.as_secs_f64() / 3600.0, figure(sample))))
    }

    fn range(&self, figure: impl Fn(&Sample) -> u64) -> (u64, u64) {
        let values = || self.steady().map(&figure);
        (values().min().unwrap_or_default(), values().max().unwrap_or_default())
    }

    fn judges_slopes(&self) -> bool {
        self.plan.time >= SHORTEST
    }

    /// What was broken or grew, a line each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = self.tally.broken.clone();
        let more = self.tally.faults.saturating_sub(faults.len() as u64);
        if more > 0 {
            faults.push(format!("and {more} more"));
        }
        let last = self.samples.last().copied().unwrap_or_default();
        if last.refused > 0 {
            faults.push(format!("the server had no room for {} echoes", last.refused));
        }
        if self.judges_slopes() {
            for (name, growth) in [
                ("resident memory", self.slope(|sample| sample.resident as f64)),
                ("allocated memory", self.slope(|sample| sample.bytes as f64)),
            ] {
                if growth > GROWTH {
                    faults.push(format!("the server's {name} grows by {:.2} MiB an hour", growth / MIB));
                }
            }
            let (fewest, most) = self.range(|sample| sample.descriptors);
            if fewest != most {
                faults.push(format!("the server has {fewest} to {most} descriptors"));
            }
        }
        faults
    }

    /// In a few words.
    pub(crate) fn figure(&self) -> String {
        let minutes = self.plan.time.as_secs_f64() / 60.0;
        let last = self.samples.last().copied().unwrap_or_default();
        let mut figure = format!(
            "{minutes:.1} minutes, {} clients at a time, {} in all, {} restarts, {} moves seen, {} messages delivered, {} broken promises",
            self.plan.clients,
            self.tally.joined,
            last.restarts,
            last.migrations,
            self.tally.delivered,
            self.tally.faults,
        );
        if self.judges_slopes() {
            let (fewest, most) = self.range(|sample| sample.descriptors);
            figure += &format!(
                ", server {:+.2} MiB an hour, {fewest} to {most} descriptors",
                self.slope(|sample| sample.resident as f64) / MIB
            );
        }
        figure
    }

    /// How often each fault happened.
    pub(crate) fn happened(&self) -> [(&'static str, u64); 6] {
        let last = self.samples.last().copied().unwrap_or_default();
        [
            ("datagrams lost", self.line.up.lost + self.line.down.lost),
            ("addresses changed", self.line.rebinds),
            ("moves seen by the server", last.migrations),
            ("restarts", last.restarts),
            ("clients found it again", self.tally.rejoined),
            ("clients crashed", self.tally.crashed),
        ]
    }

    /// Everything, for programs.
    pub(crate) fn json(&self) -> Value {
        let samples: Vec<Value> = self
            .samples
            .iter()
            .map(|s| {
                json!({
                    "seconds": s.at.as_secs_f64(), "up": s.is_up, "connections": s.connections, "restarts": s.restarts,
                    "held": s.held, "resident": s.resident, "descriptors": s.descriptors, "blocks": s.blocks,
                    "bytes": s.bytes, "allocations": s.allocations, "own_resident": s.own_resident,
                    "own_descriptors": s.own_descriptors, "own_bytes": s.own_bytes, "datagrams": s.datagrams,
                })
            })
            .collect();
        json!({ "report": self.to_string(), "faults": self.faults(), "samples": samples })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        writeln!(f, "{}", self.figure())?;
        writeln!(
            f,
            "clients: {} came, {} left after everything had come back, {} crashed, {} found a restarted server again (slowest {:.1?}), {} changed their port",
            tally.joined, tally.left, tally.crashed, tally.rejoined, tally.slowest_return, tally.moved
        )?;
        writeln!(f, "messages: {} sent, {} echoes delivered", tally.sent, tally.delivered)?;
        writeln!(f, "line: {}", self.line)?;
        writeln!(f, "{:<34}{:>12}{:>12}{:>12}{:>16}", "", "least", "most", "last", "slope an hour")?;
        let last = self.steady().last().copied().unwrap_or_default();
        let mut row = |name: &str, unit: f64, figure: &dyn Fn(&Sample) -> f64| {
            let values = self.steady().map(figure);
            let (least, most) =
                values.fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(value), b.max(value)));
            writeln!(
                f,
                "{name:<34}{:>12.2}{:>12.2}{:>12.2}{:>+16.3}",
                least / unit,
                most / unit,
                figure(&last) / unit,
                self.slope(figure) / unit
            )
        };
        row("server: resident, MiB", MIB, &|s| s.resident as f64)?;
        row("server: allocated, MiB", MIB, &|s| s.bytes as f64)?;
        row("server: blocks", 1.0, &|s| s.blocks as f64)?;
        row("server: held for connections, KiB", 1024.0, &|s| s.held as f64)?;
        row("server: descriptors", 1.0, &|s| s.descriptors as f64)?;
        row("server: connections", 1.0, &|s| s.connections as f64)?;
        row("clients and line: resident, MiB", MIB, &|s| s.own_resident as f64)?;
        row("clients and line: allocated, MiB", MIB, &|s| s.own_bytes as f64)?;
        row("clients and line: descriptors", 1.0, &|s| s.own_descriptors as f64)?;
        let end = self.samples.last().copied().unwrap_or_default();
        let per = end.allocations as f64 / end.datagrams.max(1) as f64;
        writeln!(f, "server: {} allocations in all, {per:.2} for a datagram of the line", end.allocations)?;
        if !self.judges_slopes() {
            writeln!(f, "too short to judge slopes: {} minutes are needed", SHORTEST.as_secs() / 60)?;
        }
        match self.faults() {
            faults if faults.is_empty() => write!(f, "nothing was broken"),
            faults => write!(f, "{}", faults.join("\n")),
        }
    }
}

/// The slope of the line that fits best; 0 for fewer than two moments.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let mean = |of: &dyn Fn((f64, f64)) -> f64| points.clone().map(of).sum::<f64>() / count.max(1.0);
    let (x, y) = (mean(&|point| point.0), mean(&|point| point.1));
    let covariance: f64 = points.clone().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.map(|point| (point.0 - x).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(leak: impl Fn(f64) -> f64, descriptors: impl Fn(u64) -> u64) -> Report {
        let samples = (0..3600)
            .map(|second| Sample {
                at: Duration::from_secs(second),
                is_up: second % 300 != 0,
                resident: (20.0 * MIB + leak(second as f64 / 3600.0)) as u64 + (second * 7919 % 65_536),
                descriptors: descriptors(second),
                ..Sample::default()
            })
            .collect();
        let plan = Plan::full(Duration::from_secs(3600));
        Report { plan, samples, tally: Tally::default(), line: Summary::default() }
    }

    #[test]
    fn what_grows_is_seen_and_what_finds_its_size_is_not() {
        assert_eq!(report(|_| 0.0, |_| 9).faults(), Vec::<String>::new());
        assert_eq!(report(|hours| 5.0 * MIB * (hours * 10.0).min(1.0), |_| 9).faults(), Vec::<String>::new());
        assert_eq!(report(|hours| 1.2 * MIB * hours, |_| 9).faults().len(), 1);
        assert_eq!(report(|_| 0.0, |second| 9 + second / 3000).faults().len(), 1);
        // Away it has fewer.
        assert_eq!(report(|_| 0.0, |second| 9 - u64::from(second % 300 == 0)).faults(), Vec::<String>::new());
    }

    #[test]
    fn a_slope_is_that_of_the_line() {
        let points = (0..100).map(|i| (f64::from(i), 3.0 * f64::from(i) - 7.0));
        assert!((slope(points) - 3.0).abs() < 1e-9);
        assert!(slope([(1.0, 2.0)].into_iter()).abs() < 1e-9);
    }

    #[test]
    fn a_broken_promise_is_told() {
        let mut report = report(|_| 0.0, |_| 9);
        for number in 0..25 {
            report.tally.fault(format!("client {number}"));
        }
        assert_eq!(report.faults().len(), 21);
        report.samples[3599].refused = 2;
        assert_eq!(report.faults().len(), 22);
    }
}

//! The chart: a panel of bars for each case, and the floor, where there is one, as a line.

use std::fmt::Write as _;

use crate::results::{Results, Row, Table, short};

const WIDTH: f64 = 860.0;
const PANEL: f64 = 420.0;
const BAR: f64 = 16.0;
const NAMES: f64 = 150.0;
const HEAD: f64 = 34.0;

/// The metric each workload is judged by, and what it is called.
const SHOWN: &[(&str, &str, &str)] = &[
    ("P1", "MB/s", "bulk, MB/s, more is better"),
    ("P2", "msgs/s", "unreliable messages/s, more is better"),
    ("P3", "p50", "round trip, µs, less is better"),
    ("P4", "server CPU µs/pair", "server CPU a pair, µs, less is better"),
    ("P5", "p99", "one way under loss, p99, ms, less is better"),
    ("P6", "MB/s", "through a bottleneck, MB/s, more is better"),
    ("P7", "p50", "handshake, µs, less is better"),
    ("P7", "handshakes/s", "handshakes/s, more is better"),
    ("P8", "idle KiB/connection", "idle memory, KiB, less is better"),
];

/// Draws everything that was measured.
pub fn svg(results: &Results) -> String {
    let panels: Vec<String> = results
        .tables()
        .iter()
        .flat_map(|table| SHOWN.iter().map(move |shown| (table, shown)))
        .filter(|(table, (workload, metric, _))| {
            table.workload == *workload && table.metrics.iter().any(|m| m == metric)
        })
        .map(|(table, (_, metric, title))| panel(results, table, metric, title))
        .filter(|panel| !panel.is_empty())
        .collect();
    let tallest = |row: &[String]| row.iter().map(|panel| height(panel)).fold(0.0, f64::max);
    let mut body = String::new();
    let mut y = 10.0;
    for row in panels.chunks(2) {
        for (column, panel) in row.iter().enumerate() {
            let x = 10.0 + column as f64 * PANEL;
            let _ = write!(body, "<g transform=\"translate({x:.0},{y:.0})\">{panel}</g>");
        }
        y += tallest(row) + 14.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{y:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{body}</svg>\n"
    )
}

/// Bars are as many as there are names.
fn height(panel: &str) -> f64 {
    HEAD + panel.matches("<rect").count() as f64 * BAR
}

fn panel(results: &Results, table: &Table, metric: &str, title: &str) -> String {
    let rows: Vec<&Row> =
        table.systems.iter().filter_map(|system| results.find(table, system, metric)).collect();
    let is_floor = |row: &&&Row| row.system.starts_with("raw");
    let bars: Vec<&Row> = rows.iter().filter(|row| !is_floor(row)).copied().collect();
    // Of several floors the best.
    let floor = rows.iter().filter(is_floor).map(|row| row.median()).reduce(|a, b| {
        let higher = rows.first().is_some_and(|row| row.better == "higher");
        if higher { a.max(b) } else { a.min(b) }
    });
    let largest = bars.iter().map(|row| row.median()).chain(floor).fold(0.0, f64::max);
    if bars.is_empty() || largest <= 0.0 {
        return String::new();
    }
    let room = PANEL - NAMES - 70.0;
    let scale = |value: f64| value / largest * room;
    let mut out = format!(
        "<text y=\"12\" font-weight=\"bold\">{} {}</text><text y=\"26\" fill=\"#666\">{title}</text>",
        table.workload, table.case
    );
    for (index, row) in bars.iter().enumerate() {
        let y = HEAD + index as f64 * BAR;
        let colour = if row.system.starts_with("fastwire") { "#c2410c" } else { "#94a3b8" };
        // Less than was promised is no figure to compare: pale.
        let pale = row.delivered().is_some_and(|delivered| delivered < 0.99);
        let _ = write!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{NAMES:.0}\" y=\"{:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{colour}\" opacity=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
            NAMES - 6.0,
            y + 10.0,
            row.system,
            y + 1.0,
            scale(row.median()),
            BAR - 4.0,
            if pale { 0.35 } else { 1.0 },
            NAMES + scale(row.median()) + 4.0,
            y + 10.0,
            short(row.median()),
        );
    }
    if let Some(floor) = floor {
        let x = NAMES + scale(floor);
        let bottom = HEAD + bars.len() as f64 * BAR;
        let _ = write!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.0}\" y2=\"{bottom:.0}\" stroke=\"#111\" stroke-dasharray=\"3 2\"/>\
             <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#111\">raw {}</text>",
            HEAD - 4.0,
            HEAD - 6.0,
            short(floor),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Figure, Round};

    #[test]
    fn every_system_has_a_bar_but_the_floor_which_is_a_line() {
        let mut results = Results::default();
        for (system, value) in
            [("fastwire-base-aes128", 900.0), ("quinn", 500.0), ("raw", 700.0), ("raw-batched", 1500.0)]
        {
            let figure =
                Figure { metric: "MB/s".into(), unit: "MB/s".into(), better: "higher".into(), value };
            results.add("P1", "16 KiB", system, &Round { figures: vec![figure], ..Round::default() });
        }
        let svg = svg(&results);
        // One rectangle is the background.
        assert_eq!(svg.matches("<rect").count(), 3);
        assert_eq!(svg.matches("<line").count(), 1);
        assert!(svg.contains("raw 1500"));
    }
}

//! The runs behind the tables and pictures of docs/congestion.md.

use std::fmt::Write as _;
use std::time::Duration;

use fastwire::congestion::rig::{self, Change, Flow, Line, Loss, Report, Setup, Traffic};
use fastwire::congestion::{BuiltinControllers, CongestionMode, ControllerFactory};

use super::chart::{Chart, Series};

/// 20 Mbit/s of UDP payload.
const RATE: u64 = 2_500_000;
const QUEUE: u64 = 64 * 1024;
const LOSSES: [f64; 5] = [0.0, 0.01, 0.05, 0.1, 0.2];
const SEEDS: u64 = 20;
const MODES: [CongestionMode; 3] =
    [CongestionMode::Conservative, CongestionMode::Cubic, CongestionMode::ModelBased];

fn line(queue: u64) -> Line {
    Line::new(RATE, Duration::from_millis(25), queue)
}

fn flow(mode: CongestionMode) -> Flow {
    Flow::bulk(format!("{mode:?}"), move |path| BuiltinControllers::new(mode).make(path))
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Mean and half the width of its 95 % confidence interval, as text.
fn interval(values: &[f64], digits: usize) -> String {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    // Student's t for 19 degrees of freedom.
    let half = 2.093 * (variance / count).sqrt();
    format!("{mean:.digits$} ± {half:.digits$}")
}

fn seeds(setup: impl Fn(u64) -> Setup) -> Vec<Report> {
    (1..=SEEDS).map(|seed| rig::run(setup(seed).seed(seed))).collect()
}

/// One flow alone, by loss.
pub(super) fn alone() -> (String, Chart) {
    let mut table = String::from(
        "| controller | loss | MB/s, 30 s | of what the line can deliver | queueing delay p50, p95 (ms) | queue drops | \
         MB/s, 8 MiB from the start | queue drops |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut chart = Chart {
        title: "Throughput alone by random loss, 20 Mbit/s, 50 ms, 64 KiB queue".into(),
        x: "loss (%)",
        y: "MB/s",
        series: Vec::new(),
    };
    for mode in MODES {
        let mut points = Vec::new();
        for loss in LOSSES {
            let line = line(QUEUE).loss(Loss::Each(loss));
            let long = seeds(|_| Setup::new(line, at(30.0)).flow(flow(mode)));
            let short = at(f64::from(8 << 20) / RATE as f64 / line.arriving());
            let start = seeds(|_| Setup::new(line, short).flow(flow(mode)));
            let each = |reports: &[Report], value: &dyn Fn(&Report) -> f64| -> Vec<f64> {
                reports.iter().map(value).collect()
            };
            let rate = each(&long, &|report| report.throughput() / 1e6);
            points.push((loss * 100.0, rate.iter().sum::<f64>() / rate.len() as f64));
            let _ = writeln!(
                table,
                "| `{mode:?}` | {:.0} % | {} | {} % | {}, {} | {} | {} | {} |",
                loss * 100.0,
                interval(&rate, 2),
                interval(&each(&long, &|report| report.utilisation() * 100.0), 1),
                interval(&each(&long, &|report| ms(report.queueing_delay(0.5))), 1),
                interval(&each(&long, &|report| ms(report.queueing_delay(0.95))), 1),
                interval(&each(&long, &|report| report.queue_drops() as f64), 0),
                interval(&each(&start, &|report| report.throughput() / 1e6), 2),
                interval(&each(&start, &|report| report.queue_drops() as f64), 0),
            );
        }
        chart.series.push(Series { name: format!("{mode:?}"), points });
    }
    let limit = LOSSES.map(|loss| (loss * 100.0, RATE as f64 / 1e6 * (1.0 - loss)));
    chart.series.push(Series { name: "limit of the line".into(), points: limit.into() });
    (table, chart)
}

/// Several flows on one line.
pub(super) fn sharing() -> String {
    use CongestionMode::{Conservative, Cubic, ModelBased};
    let mut table = String::from(
        "| flows, 2 s apart | queue | MB/s of each, 30 s to 60 s | Jain's index | queueing delay p50, p95 (ms) | \
         queue drops |\n|---|---|---|---|---|---|\n",
    );
    let sets: [&[CongestionMode]; 9] = [
        &[ModelBased, ModelBased],
        &[Cubic, Cubic],
        &[Conservative, Conservative],
        &[ModelBased, Cubic],
        &[Cubic, ModelBased],
        &[ModelBased, Conservative],
        &[Cubic, Conservative],
        &[ModelBased; 4],
        &[ModelBased, ModelBased, Cubic, Cubic],
    ];
    for queue in [16 * 1024, QUEUE, 256 * 1024] {
        for modes in sets {
            let mut setup = Setup::new(line(queue), at(60.0));
            for (number, mode) in modes.iter().enumerate() {
                setup = setup.flow(flow(*mode).starts(at(2.0 * number as f64)));
            }
            let report = rig::run(setup);
            let rates = report.rates_between(at(30.0), at(60.0));
            let rates: Vec<String> = rates.iter().map(|rate| format!("{:.2}", rate / 1e6)).collect();
            let names: Vec<String> = modes.iter().map(|mode| format!("`{mode:?}`")).collect();
            let _ = writeln!(
                table,
                "| {} | {} KiB | {} | {:.3} | {:.1}, {:.1} | {} |",
                names.join(", "),
                queue / 1024,
                rates.join(", "),
                report.fairness_between(at(30.0), at(60.0)),
                ms(report.queueing_delay(0.5)),
                ms(report.queueing_delay(0.95)),
                report.queue_drops(),
            );
        }
    }
    table
}

/// The rates of two flows over time.
pub(super) fn sharing_chart(first: CongestionMode, second: CongestionMode) -> Chart {
    let setup = Setup::new(line(QUEUE), at(60.0)).sampling(at(0.5)).flow(flow(first));
    let report = rig::run(setup.flow(flow(second).starts(at(5.0))));
    let series = report.flows.iter().enumerate().map(|(index, flow)| Series {
        name: format!("{} from {:.0} s", flow.name, flow.began.as_secs_f64()),
        points: report.moments.iter().map(|m| (m.at.as_secs_f64(), m.rates[index] / 1e6)).collect(),
    });
    let title = format!("{first:?} and {second:?} on one line, 64 KiB queue");
    Chart { title, x: "seconds", y: "MB/s", series: series.collect() }
}

/// The queue over time, one flow alone without loss.
pub(super) fn queue_chart() -> Chart {
    let series = MODES.map(|mode| {
        let report = rig::run(Setup::new(line(QUEUE), at(15.0)).sampling(at(0.05)).flow(flow(mode)));
        let points = report.moments.iter().map(|m| (m.at.as_secs_f64(), ms(m.queue))).collect();
        Series { name: format!("{mode:?}"), points }
    });
    let title = "Queueing delay alone, no random loss, 64 KiB queue".into();
    Chart { title, x: "seconds", y: "ms", series: series.into() }
}

const CHANGES: [(f64, Change, &str, f64); 3] = [
    (10.0, Change::Rate(RATE * 2), "the rate doubles", 2.0),
    (20.0, Change::Rate(RATE / 2), "it falls to a quarter of that", 0.5),
    (30.0, Change::Outage(Duration::from_secs(1)), "an outage of 1 s, counted from its end", 0.5),
];

/// How controllers follow a line that changes.
pub(super) fn recovery() -> (String, Chart) {
    let mut table = String::from("| change | to 90 % of the line over 1 s:");
    table.push_str(&MODES.map(|mode| format!(" `{mode:?}`")).join(" |"));
    table.push_str(" |\n|---|---|---|---|\n");
    let reports = MODES.map(|mode| {
        let setup = Setup::new(line(QUEUE), at(45.0)).sampling(at(0.25)).flow(flow(mode));
        rig::run(CHANGES.iter().fold(setup, |setup, (when, change, ..)| setup.change(at(*when), *change)))
    });
    for (when, change, name, share) in CHANGES {
        let since = at(when) + if let Change::Outage(length) = change { length } else { Duration::ZERO };
        let took = reports.each_ref().map(|report| {
            let took = report.time_to_reach(since, RATE as f64 * share * 0.9, at(1.0));
            took.map_or("not within the run".to_owned(), |took| format!("{:.2} s", took.as_secs_f64()))
        });
        let _ = writeln!(table, "| {name} | {} |", took.join(" | "));
    }
    let series = reports.iter().map(|report| Series {
        name: report.flows[0].name.clone(),
        points: report.moments.iter().map(|m| (m.at.as_secs_f64(), m.rates[0] / 1e6)).collect(),
    });
    let title = "20 Mbit/s, 40 from 10 s, 10 from 20 s, an outage from 30 s to 31 s".into();
    (table, Chart { title, x: "seconds", y: "MB/s", series: series.collect() })
}

/// Small messages at a fixed rate beside nothing: how often a controller held one back.
pub(super) fn game() -> String {
    let mut table = String::from(
        "| controller | loss | messages held back in 60 s, round trip 20 ms | 50 ms | 200 ms |\n|---|---|---|---|---|\n",
    );
    for mode in MODES {
        for loss in [0.0, 0.05, 0.1] {
            let held = [10, 25, 100].map(|delay| {
                let line = Line::new(RATE, Duration::from_millis(delay), QUEUE).loss(Loss::Each(loss));
                let traffic = Traffic::Messages { bytes: 240, every: Duration::from_micros(16_667) };
                let report = rig::run(Setup::new(line, at(60.0)).flow(flow(mode).traffic(traffic)));
                report.flows[0].held_back.to_string()
            });
            let _ = writeln!(table, "| `{mode:?}` | {:.0} % | {} |", loss * 100.0, held.join(" | "));
        }
    }
    table
}

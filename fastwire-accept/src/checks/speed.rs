//! P1 to P9: FastWire beside its peers, measured afresh by `cargo xtask bench` and compared within that one run.

use std::fs;

use serde_json::Value;

use crate::{
    check::{Check, Outcome, Profile, Run},
    outside::cargo_here,
};

/// The profiles there are systems for.
const BUILT: &[Profile] = &[Profile::Base, Profile::Extended];

/// The program beside the workspace that knows the peers, and its parts.
const BENCH: &str =
    "run --quiet --release --manifest-path fastwire-bench/Cargo.toml --target-dir target/bench --bin";

/// One of the lines P1 to P8.
pub(super) struct Speed {
    id: &'static str,
    demands: &'static [Demand],
}

/// What a figure of ours is held against.
struct Demand {
    /// The case, such as `64B`.
    case: &'static str,
    metric: &'static str,
    /// At least (true) or at most that many times the reference.
    at_least: bool,
    factor: f64,
    reference: Reference,
}

enum Reference {
    /// The figure of a system in the same run.
    Of(&'static str),
    /// The best figure of the peers.
    BestPeer,
    /// Nothing but the number itself.
    Itself,
}

use Reference::{BestPeer, Itself, Of};

const PEERS: &[&str] = &["quinn", "renet", "enet", "kcp"];

const fn least(case: &'static str, metric: &'static str, factor: f64, reference: Reference) -> Demand {
    Demand { case, metric, at_least: true, factor, reference }
}

const fn most(case: &'static str, metric: &'static str, factor: f64, reference: Reference) -> Demand {
    Demand { case, metric, at_least: false, factor, reference }
}

/// The lines that `cargo xtask bench` measures.
pub(super) const LINES: &[Speed] = &[
    Speed {
        id: "P1",
        demands: &[
            least("16 KiB", "MB/s", 2.0, Of("quinn")),
            most("16 KiB", "CPU s/GiB", 0.5, Of("quinn")),
            least("16 KiB", "MB/s", 0.65, Of("raw-batched")),
        ],
    },
    Speed {
        id: "P2",
        demands: &[
            least("64B", "msgs/s", 1.5, Of("quinn")),
            least("64B", "delivered", 0.99, Itself),
            least("1000B", "msgs/s", 2.0, Of("quinn")),
            least("1000B", "delivered", 0.99, Itself),
        ],
    },
    Speed { id: "P3", demands: &[most("wait", "p50", 1.15, Of("raw")), most("spin", "p50", 1.4, Of("raw"))] },
    Speed {
        id: "P4",
        demands: &[
            most("N=1000", "server CPU µs/pair", 1.5, Of("raw-batched")),
            least("N=5000", "delivered", 0.99, Itself),
            most("N=5000", "p99", 20.0, Itself),
            least("N=5000", "offered", 0.95, Itself),
            most("N=5000", "server CPU µs/pair", 1.0, BestPeer),
            most("N=1000", "server CPU µs/pair", 1.0, BestPeer),
        ],
    },
    Speed {
        id: "P5",
        demands: &[
            most("loss=1", "p99", 1.05, BestPeer),
            most("loss=5", "p99", 1.05, BestPeer),
            most("loss=10", "p99", 1.05, BestPeer),
        ],
    },
    Speed {
        id: "P6",
        demands: &[
            least("loss=0", "MB/s", 0.95, Of("quinn-bbr")),
            least("loss=1", "MB/s", 0.95, Of("quinn-bbr")),
            least("loss=5", "MB/s", 0.95, Of("quinn-bbr")),
            least("loss=10", "MB/s", 0.95, Of("quinn-bbr")),
            most("loss=0", "queue drops", 500.0, Itself),
            most("loss=5", "queue drops", 500.0, Itself),
            most("loss=10", "queue drops", 500.0, Itself),
            most("loss=0", "queueing delay p95", 15.0, Itself),
            most("loss=5", "queueing delay p95", 15.0, Itself),
            most("loss=10", "queueing delay p95", 15.0, Itself),
        ],
    },
    Speed {
        id: "P7",
        demands: &[
            most("in turn", "p50", 0.6, Of("quinn")),
            least("at once", "handshakes/s", 2.5, Of("quinn")),
        ],
    },
    Speed { id: "P8", demands: &[most("idle", "idle KiB/connection", 8.0, Itself)] },
];

impl Check for &'static Speed {
    fn id(&self) -> &'static str {
        self.id
    }

    fn profiles(&self) -> &'static [Profile] {
        BUILT
    }

    fn run(&self, run: &Run) -> Outcome {
        let rows = match measured(self.id, run.quick) {
            Ok(rows) => rows,
            Err(reason) => return Outcome::fell_short("not measured").note(reason),
        };
        let mut judged = judge(self.demands, &rows, &format!("fastwire-{}-aes128", run.profile), run.quick);
        if self.id == "P8" {
            let allocations = cargo_here("test --quiet --release -p fastwire --test alloc");
            judged.push((allocations.is_ok(), "no allocation a packet".into()));
        }
        conclude(judged, run.profile)
    }
}

/// The rows of a run of `cargo xtask bench`.
fn measured(workload: &str, quick: bool) -> Result<Vec<Value>, String> {
    let file = std::env::temp_dir().join(format!("fastwire-{workload}-{}.json", std::process::id()));
    let scale = if quick { "--quick" } else { "--full" };
    // Rounds that failed are missing in the file; what was measured counts.
    let ran = cargo_here(&format!(
        "{BENCH} fastwire-bench -- {scale} --workload {workload} --json {}",
        file.display()
    ));
    let text = fs::read_to_string(&file).map_err(|e| ran.err().unwrap_or_else(|| e.to_string()))?;
    let _ = fs::remove_file(&file);
    let json: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(json["rows"].as_array().cloned().unwrap_or_default())
}

/// The median a system reached; what was delivered and offered stand in every row of a case.
fn figure(rows: &[Value], case: &str, metric: &str, system: &str) -> Option<f64> {
    let of_case = |row: &&Value| row["case"] == case && row["system"] == system;
    if metric == "delivered" || metric == "offered" {
        return rows.iter().find(of_case)?[metric].as_f64();
    }
    rows.iter().filter(of_case).find(|row| row["metric"] == metric)?["median"].as_f64()
}

/// Each demand: whether it is met, and the figures. The quick form measures some of the cases only.
fn judge(demands: &[Demand], rows: &[Value], ours: &str, quick: bool) -> Vec<(bool, String)> {
    let mut judged = Vec::new();
    for Demand { case, metric, at_least, factor, reference } in demands {
        let (what, sign) = (format!("{case}: {metric}"), if *at_least { "≥" } else { "≤" });
        let Some(own) = figure(rows, case, metric, ours) else {
            if !quick {
                judged.push((false, format!("{what}: not measured")));
            }
            continue;
        };
        let (other, name) = match reference {
            Itself => (Some(1.0), String::new()),
            Of(system) => (figure(rows, case, metric, system), format!(" × {system}'s")),
            BestPeer => {
                let all = PEERS.iter().filter_map(|system| figure(rows, case, metric, system));
                (all.reduce(if *at_least { f64::max } else { f64::min }), " × the best peer's".into())
            }
        };
        let Some(other) = other else {
            judged.push((false, format!("{what}: nothing to compare with")));
            continue;
        };
        let ratio = own / other;
        let met = if *at_least { ratio >= *factor } else { ratio <= *factor };
        judged.push((met, format!("{what} {ratio:.2}{name} ({sign} {factor})")));
    }
    judged
}

/// The base profile is shown without a threshold.
fn conclude(judged: Vec<(bool, String)>, profile: Profile) -> Outcome {
    let missed = judged.iter().filter(|(met, _)| !met).count();
    let (count, binding) = (judged.len(), profile != Profile::Base);
    let figure = format!("{} of {count} figures reached", count - missed);
    let free = if binding { "" } else { ", no threshold for this profile" };
    let ok = count > 0 && (missed == 0 || !binding);
    judged.into_iter().fold(Outcome::new(ok, figure + free), |outcome, (met, text)| {
        outcome.note(format!("{} {text}", if met { "reached " } else { "missed  " }))
    })
}

/// P9: what our own code costs beside the AEAD, and its instructions against the baseline.
pub(super) struct Layers;

/// Datagrams of one run of the path that is held against the AEAD.
const BURST: f64 = 16.0;

impl Check for Layers {
    fn id(&self) -> &'static str {
        "P9"
    }

    fn profiles(&self) -> &'static [Profile] {
        BUILT
    }

    fn run(&self, run: &Run) -> Outcome {
        let rows = cargo_here(&format!("{BENCH} layers -- time --json"))
            .and_then(|text| serde_json::from_str::<Vec<Value>>(&text).map_err(|e| e.to_string()));
        let rows = match rows {
            Ok(rows) => rows,
            Err(reason) => return Outcome::fell_short("not measured").note(reason),
        };
        let path = figure(
            &rows,
            &format!("{} path: 16 unreliable messages of 1152 B, AES-128-GCM", run.profile),
            "ns",
            "fastwire",
        );
        let aead = figure(&rows, "AES-128-GCM seal and open 1200 B", "ns", "ring");
        let (Some(path), Some(aead)) = (path, aead) else { return Outcome::fell_short("not measured") };
        let ratio = path / BURST / aead;
        let whole = format!("send and receive path {ratio:.2} × the AEAD alone (≤ 2)");
        let mut judged = vec![(ratio <= 2.0, whole)];
        // Counting takes a minute; the quick form leaves it out.
        if !run.quick {
            let counts = cargo_here("run --quiet --package xtask -- bench --counts");
            judged.push((counts.is_ok(), "instructions against fastwire-bench/counts.json".into()));
        }
        conclude(judged, run.profile)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(system: &str, metric: &str, median: f64) -> Value {
        json!({"case": "16 KiB", "system": system, "metric": metric, "median": median, "delivered": 1.0})
    }

    #[test]
    fn a_demand_is_a_ratio_within_one_run() {
        let rows =
            [row("fastwire-x-aes128", "MB/s", 900.0), row("quinn", "MB/s", 400.0), row("kcp", "MB/s", 500.0)];
        let met = |demand: Demand| judge(&[demand], &rows, "fastwire-x-aes128", false)[0].0;
        assert!(met(least("16 KiB", "MB/s", 2.0, Of("quinn"))));
        assert!(!met(least("16 KiB", "MB/s", 2.0, BestPeer)), "the best peer is kcp");
        assert!(!met(most("16 KiB", "MB/s", 2.0, Of("quinn"))));
        assert!(met(least("16 KiB", "delivered", 0.99, Itself)));
        assert!(!met(least("16 KiB", "MB/s", 1.0, Of("raw"))), "nothing to compare with is not reached");
        assert!(!met(least("64B", "MB/s", 1.0, Of("quinn"))), "what was not measured is not reached");
    }

    #[test]
    fn only_the_base_profile_may_miss_a_figure() {
        let judged = || vec![(true, "a".into()), (false, "b".into())];
        assert!(!conclude(judged(), Profile::Extended).ok && conclude(judged(), Profile::Base).ok);
        assert!(!conclude(Vec::new(), Profile::Base).ok, "nothing measured shows nothing");
    }
}

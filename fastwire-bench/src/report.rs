//! What a child measured, as it tells its parent: one line of JSON on standard output.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::system::{Args, cpu, quantile};

/// Figures of one run.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    delivered: Option<f64>,
    offered: Option<f64>,
}

#[derive(Debug)]
struct Row {
    metric: &'static str,
    unit: &'static str,
    better: &'static str,
    value: f64,
}

impl Report {
    fn add(mut self, metric: &'static str, unit: &'static str, better: &'static str, value: f64) -> Self {
        self.rows.push(Row { metric, unit, better, value });
        self
    }

    /// The share of what was sent that arrived.
    pub fn delivered(mut self, share: f64) -> Self {
        self.delivered = Some(share.min(1.0));
        self
    }

    /// Memory a connection of a server in KiB, and the share of connections that stood.
    pub fn memory(kib: f64, connected: f64) -> Self {
        Self::default().add("idle KiB/connection", "KiB", "lower", kib).delivered(connected)
    }

    pub fn print(&self) {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| json!({"metric": r.metric, "unit": r.unit, "better": r.better, "value": r.value}))
            .collect();
        println!("{}", json!({"rows": rows, "delivered": self.delivered, "offered": self.offered}));
    }
}

/// Prints what a server logged.
pub fn print_latencies(latencies: &[u64]) {
    println!("{}", json!({"latencies": latencies}));
}

/// Time and processor time of client, server and relay from a moment on.
pub struct Meter {
    started: Instant,
    server: i32,
    relay: i32,
    cpu: [Duration; 3],
}

/// What a [`Meter`] showed when it was stopped.
pub struct Used {
    wall: f64,
    client: f64,
    server: f64,
    relay: f64,
}

impl Meter {
    pub fn start(args: &Args) -> Self {
        let (server, relay) = (args.get("server_pid"), args.get("relay_pid"));
        Self { started: Instant::now(), server, relay, cpu: Self::look(server, relay) }
    }

    fn look(server: i32, relay: i32) -> [Duration; 3] {
        let of = |pid| if pid == 0 { Duration::ZERO } else { cpu(pid) };
        [cpu(0), of(server), of(relay)]
    }

    pub fn stop(&self) -> Used {
        let now = Self::look(self.server, self.relay);
        let used = |i: usize| (now[i].saturating_sub(self.cpu[i])).as_secs_f64();
        Used { wall: self.started.elapsed().as_secs_f64(), client: used(0), server: used(1), relay: used(2) }
    }

    pub fn bulk(&self, messages: u64, size: usize) -> Report {
        let used = self.stop();
        let bytes = (messages * size as u64) as f64;
        let gib = bytes / f64::from(1 << 30);
        let report = Report::default()
            .add("MB/s", "MB/s", "higher", bytes / 1e6 / used.wall)
            .add("CPU s/GiB", "s/GiB", "lower", (used.client + used.server) / gib)
            .add("client CPU s/GiB", "s/GiB", "lower", used.client / gib)
            .add("server CPU s/GiB", "s/GiB", "lower", used.server / gib);
        used.with_relay(report)
    }

    pub fn flood(&self, messages: u64) -> Report {
        let used = self.stop();
        let million = messages as f64 / 1e6;
        Report::default().add("msgs/s", "msgs/s", "higher", messages as f64 / used.wall).add(
            "CPU s/million",
            "s",
            "lower",
            (used.client + used.server) / million,
        )
    }

    pub fn ping(&self, micros: &mut [f64]) -> Report {
        let used = self.stop();
        let count = micros.len() as f64;
        Report::default()
            .add("p50", "µs", "lower", quantile(micros, 0.5))
            .add("p99", "µs", "lower", quantile(micros, 0.99))
            .add("CPU µs/round trip", "µs", "lower", (used.client + used.server) * 1e6 / count)
    }

    pub fn stream(&self, sent: u64, size: usize) -> Report {
        let used = self.stop();
        let report = Report::default().add("sent", "messages", "higher", sent as f64).add(
            "payload bytes",
            "B",
            "higher",
            (sent * size as u64) as f64,
        );
        used.with_relay(report)
    }

    pub fn handshakes_in_turn(&self, micros: &mut [f64]) -> Report {
        let used = self.stop();
        let count = micros.len() as f64;
        Report::default()
            .add("p50", "µs", "lower", quantile(micros, 0.5))
            .add("p99", "µs", "lower", quantile(micros, 0.99))
            .add("server CPU µs/handshake", "µs", "lower", used.server * 1e6 / count)
    }

    pub fn handshakes_at_once(&self, connected: usize, of: usize) -> Report {
        let used = self.stop();
        Report::default()
            .add("handshakes/s", "1/s", "higher", connected as f64 / used.wall)
            .add("server CPU µs/handshake", "µs", "lower", used.server * 1e6 / connected.max(1) as f64)
            .delivered(connected as f64 / of as f64)
    }
}

impl Used {
    fn with_relay(&self, report: Report) -> Report {
        if self.relay > 0.0 {
            report.add("relay CPU", "cores", "lower", self.relay / self.wall)
        } else {
            report
        }
    }

    pub fn crowd(&self, pairs: usize, delivered: f64, offered: f64, p99: f64) -> Report {
        let mut report = Report::default()
            .add("server CPU µs/pair", "µs", "lower", self.server * 1e6 / pairs.max(1) as f64)
            .add("p99", "ms", "lower", p99)
            .add("generator CPU", "cores", "lower", self.client / self.wall)
            .delivered(delivered);
        report.offered = Some(offered);
        report
    }
}

/// Bytes that nothing compresses (xorshift64*).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let bytes = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

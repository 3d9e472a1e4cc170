//! What came of a flood, as a table.

use std::fmt;
use std::time::Duration;

/// One stage.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    /// The attackers' addresses were not theirs.
    pub(crate) is_spoofed: bool,
    /// Hostile datagrams a second that were sent, and all that the server got to see.
    pub(crate) offered: f64,
    pub(crate) taken: f64,
    /// The share of echoes that were back within a quarter of a second.
    pub(crate) in_time: f64,
    pub(crate) missing: usize,
    /// Clients that lost their connection.
    pub(crate) disconnected: usize,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    /// How much the server's resident memory grew at most.
    pub(crate) grown: u64,
    /// X25519 done, connections established, CHALLENGEs sent.
    pub(crate) agreements: u64,
    pub(crate) established: u64,
    pub(crate) answered: u64,
    pub(crate) joined: usize,
    pub(crate) kept_out: usize,
    /// Newcomers who asked too late to be judged.
    pub(crate) undecided: usize,
}

impl Stage {
    /// The share of newcomers who came in, of those who can be judged; 1 if none can.
    pub(crate) fn welcome(&self) -> f64 {
        let judged = self.joined + self.kept_out;
        if judged == 0 { 1.0 } else { self.joined as f64 / judged as f64 }
    }
}

/// All stages on one server.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Datagrams a second that a socket which only receives misses none of.
    pub(crate) rate: f64,
    /// The sender could do no more, so that the sink may have been able to.
    pub(crate) sender_limits: bool,
    pub(crate) stages: Vec<Stage>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = if self.sender_limits { ", all that one sender can send" } else { "" };
        writeln!(f, "a socket that only receives misses nothing at {:.0}/s{limit}", self.rate)?;
        writeln!(
            f,
            "{:26} {:>9} {:>9} {:>8} {:>7} {:>8} {:>8} {:>8} {:>7} {:>9} {:>9}",
            "",
            "sent/s",
            "taken/s",
            "in time",
            "missing",
            "p50",
            "p99",
            "memory",
            "X25519",
            "answered",
            "newcomers"
        )?;
        for stage in &self.stages {
            let newcomers = match (stage.joined + stage.kept_out, stage.undecided) {
                (0, 0) => "-".to_owned(),
                (judged, 0) => format!("{}/{judged}", stage.joined),
                (judged, open) => format!("{}/{judged} +{open}?", stage.joined),
            };
            writeln!(
                f,
                "{:26} {:>9.0} {:>9.0} {:>7.2}% {:>7} {:>6.1}ms {:>6.1}ms {:>5.1}MiB {:>7} {:>9} {:>9}",
                stage.name,
                stage.offered,
                stage.taken,
                100.0 * stage.in_time,
                stage.missing,
                1e3 * stage.median.as_secs_f64(),
                1e3 * stage.p99.as_secs_f64(),
                stage.grown as f64 / f64::from(1 << 20),
                stage.agreements,
                stage.answered,
                newcomers
            )?;
        }
        if self.stages.iter().any(|stage| stage.offered > 0.0 && !stage.is_spoofed) {
            writeln!(f, "no raw sockets here: the attackers were many sockets, not spoofed addresses")?;
        }
        Ok(())
    }
}

//! Shows what goes through: on a terminal one line that changes, elsewhere a line for each second in which anything moved.

use crate::fastwire::Repairs;
use crate::tunnel::Traffic;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often.
const TICK: Duration = Duration::from_secs(1);

/// Whose line is shown, and how it fares.
#[derive(Debug)]
pub enum Line {
    /// FastWire's, and what became of losses.
    Fastwire(Arc<Repairs>),
    /// KCP's, which has counters for the whole process.
    Kcp,
}

/// Figures of one moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    up: u64,
    down: u64,
    open: usize,
    resent: u64,
    /// By error correction.
    recovered: u64,
}

impl Moment {
    fn now(traffic: &Traffic, line: &Line) -> Self {
        let (resent, recovered) = match line {
            Line::Fastwire(repairs) => {
                (repairs.resent.load(Ordering::Relaxed), repairs.recovered.load(Ordering::Relaxed))
            }
            Line::Kcp => {
                let kcp = fastwire_kcp::net::snmp();
                (kcp.retrans_segs, kcp.fec_recovered)
            }
        };
        Self {
            at: Instant::now(),
            up: traffic.up.load(Ordering::Relaxed),
            down: traffic.down.load(Ordering::Relaxed),
            open: traffic.open.load(Ordering::Relaxed),
            resent,
            recovered,
        }
    }

    fn moved_since(&self, before: &Self) -> bool {
        (self.up, self.down, self.open) != (before.up, before.down, before.open)
    }

    fn line(&self, before: &Self) -> String {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        format!(
            "up {:8.2} MB/s   down {:8.2} MB/s   connections {}   resent {}   recovered {}",
            (self.up - before.up) as f64 / 1e6 / seconds,
            (self.down - before.down) as f64 / 1e6 / seconds,
            self.open,
            self.resent - before.resent,
            self.recovered - before.recovered,
        )
    }
}

/// Writes to standard output for ever.
pub async fn show(traffic: Arc<Traffic>, line: Line) {
    let terminal = std::io::stdout().is_terminal();
    let mut before = Moment::now(&traffic, &line);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = Moment::now(&traffic, &line);
        let mut out = std::io::stdout().lock();
        // Nobody may be reading; that is no reason to stop forwarding.
        let _ = if terminal {
            write!(out, "\r{}\x1b[K", now.line(&before)).and_then(|()| out.flush())
        } else if now.moved_since(&before) {
            writeln!(out, "{}", now.line(&before))
        } else {
            Ok(())
        };
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let before = Moment { at: Instant::now(), up: 5, down: 1_000_000, open: 1, resent: 2, recovered: 3 };
        let now = Moment {
            at: before.at + Duration::from_secs(2),
            up: 3_000_005,
            down: 1_000_000,
            open: 4,
            resent: 9,
            recovered: 4,
        };
        let figures = |line: String| -> Vec<f64> {
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        assert_eq!(figures(now.line(&before)), [1.5, 0.0, 4.0, 7.0, 1.0]);
        assert!(now.moved_since(&before) && !before.moved_since(&before));
    }
}

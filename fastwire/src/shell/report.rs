//! Tells operators about trouble, at most once a second for each kind, whatever the network does.

use std::io;
use std::time::{Duration, Instant};

use crate::EndpointStats;

/// At most one line of a kind in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// What went wrong since the last line about it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    send: Trouble,
    receive: Trouble,
    refusals: Trouble,
    /// Clients turned away as of the last look.
    rejected: u64,
}

#[derive(Debug, Default)]
struct Trouble {
    count: u64,
    told: Option<Instant>,
}

impl Trouble {
    /// Counts; gives how often it happened since the last line if another one is due.
    fn count(&mut self, times: u64, now: Instant) -> Option<u64> {
        self.count += times;
        let due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= INTERVAL);
        if self.count == 0 || !due {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

impl Report {
    pub(crate) fn send_failed(&mut self, error: &io::Error, now: Instant) {
        if let Some(times) = self.send.count(1, now) {
            tracing::warn!(%error, times, "the socket refuses to send; the packets count as lost");
        }
    }

    pub(crate) fn receive_failed(&mut self, error: &io::Error, now: Instant) {
        if let Some(times) = self.receive.count(1, now) {
            tracing::warn!(%error, times, "the socket refuses to receive; trying again");
        }
    }

    pub(crate) fn look_at(&mut self, stats: &EndpointStats, now: Instant) {
        let new = stats.rejected.saturating_sub(self.rejected);
        self.rejected = stats.rejected;
        if let Some(times) = self.refusals.count(new, now) {
            tracing::info!(times, "clients were turned away: full, banned or of another version");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_trouble_gives_one_line_a_second_and_forgets_none() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        let mut told = Vec::new();
        for ms in 0..3_500 {
            told.extend(trouble.count(1, start + Duration::from_millis(ms)));
        }
        assert_eq!(told, [1, 1000, 1000, 1000]);
        assert_eq!(trouble.count, 499);
        assert_eq!(trouble.count(0, start + Duration::from_secs(9)), Some(499));
        assert_eq!(trouble.count(0, start + Duration::from_secs(99)), None);
    }
}

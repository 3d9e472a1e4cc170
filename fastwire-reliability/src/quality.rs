//! What the receiver of an unreliable channel can say about the path: loss, jitter, late packets.

use std::time::{Duration, Instant};

/// The receiving side of one channel, as numbers. Meaningful on unreliable channels, where nothing is repeated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveQuality {
    /// Packets received, duplicates not counted.
    pub received: u64,
    /// Packets sent before the newest received one that have not arrived (RFC 3550 §A.3).
    pub lost: u64,
    /// Packets that arrived after a newer one.
    pub late: u64,
    /// Messages dropped because a newer one had been delivered (sequenced channels).
    pub stale: u64,
    /// Smoothed variation of the time between packets (RFC 3550 §6.4.1). The sender's spacing is not on the
    /// wire; its own mean stands for it, so a stream without a beat shows its own unrest here too.
    pub jitter: Duration,
}

/// Collects a [`ReceiveQuality`].
#[derive(Debug, Default)]
pub(crate) struct Quality {
    received: u64,
    late: u64,
    pub(crate) stale: u64,
    /// The newest packet: sequence and arrival.
    newest: Option<(u64, Instant)>,
    /// Mean time from one sequence to the next, seconds.
    spacing: f64,
    jitter: f64,
}

/// A pause that belongs to no beat: jitter is not measured across it.
const PAUSE: Duration = Duration::from_secs(2);

impl Quality {
    /// Counts the arrival of `sequence`, which is no duplicate.
    pub(crate) fn arrived(&mut self, sequence: u64, now: Instant) {
        self.received += 1;
        let Some((newest, at)) = self.newest else {
            self.newest = Some((sequence, now));
            return;
        };
        if sequence <= newest {
            self.late += 1;
            return;
        }
        self.newest = Some((sequence, now));
        // those of one batch: the clock is read once
        let gap = if now == at { Duration::ZERO } else { now.saturating_duration_since(at) };
        if gap >= PAUSE {
            return;
        }
        if gap.is_zero() && sequence == newest + 1 {
            // one of many in a batch: the same as below, for less
            self.jitter += (self.spacing - self.jitter) / 16.0;
            self.spacing -= self.spacing / 16.0;
            return;
        }
        let steps = (sequence - newest) as f64;
        let gap = gap.as_secs_f64();
        if self.spacing == 0.0 {
            self.spacing = gap / steps;
            return;
        }
        let deviation = (gap - self.spacing * steps).abs();
        self.jitter += (deviation - self.jitter) / 16.0;
        self.spacing += (gap / steps - self.spacing) / 16.0;
    }

    pub(crate) fn snapshot(&self) -> ReceiveQuality {
        let newest = self.newest.map_or(0, |(sequence, _)| sequence);
        ReceiveQuality {
            received: self.received,
            lost: newest.saturating_sub(self.received),
            late: self.late,
            stale: self.stale,
            jitter: Duration::from_secs_f64(self.jitter.max(0.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_no_jitter_and_a_gap_is_loss() {
        let start = Instant::now();
        let mut quality = Quality::default();
        for sequence in (1..=500u32).filter(|sequence| sequence % 10 != 0) {
            quality.arrived(u64::from(sequence), start + Duration::from_millis(20) * sequence);
        }
        let numbers = quality.snapshot();
        assert_eq!((numbers.received, numbers.lost, numbers.late), (450, 49, 0));
        assert!(numbers.jitter < Duration::from_micros(1), "{:?}", numbers.jitter);
        quality.arrived(10, start + Duration::from_secs(10));
        assert_eq!((quality.snapshot().late, quality.snapshot().lost), (1, 48));
    }

    #[test]
    fn alternating_delay_shows_as_jitter() {
        let start = Instant::now();
        let mut quality = Quality::default();
        for sequence in 1..=2000u32 {
            let late = Duration::from_millis(if sequence % 2 == 0 { 5 } else { 0 });
            let at = start + Duration::from_millis(20) * sequence + late;
            quality.arrived(u64::from(sequence), at);
        }
        let jitter = quality.snapshot().jitter;
        assert!(jitter > Duration::from_millis(3) && jitter < Duration::from_millis(8), "{jitter:?}");
    }
}

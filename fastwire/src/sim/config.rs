//! How bad a line is.

use std::ops::Range;
use std::time::Duration;

use thiserror::Error;

/// Which datagrams a line loses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// None of them.
    #[default]
    None,
    /// Each with the same probability, whatever became of the others.
    Bernoulli {
        /// The share of datagrams lost, 0 to 1.
        rate: f64,
    },
    /// Always the same number in a row.
    Bursts {
        /// The share of datagrams lost, 0 to 1.
        rate: f64,
        /// How many are lost in a row, at least 1.
        length: u32,
    },
    /// A good and a bad state with a loss rate each; before each datagram the state may change (Gilbert 1960,
    /// Elliott 1963). All values from 0 to 1.
    GilbertElliott {
        /// Probability of going from good to bad.
        enter: f64,
        /// Probability of going from bad to good.
        leave: f64,
        /// Loss rate in the good state.
        good: f64,
        /// Loss rate in the bad state.
        bad: f64,
    },
}

/// How far a datagram falls behind those sent after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reorder {
    /// It is late by a random time up to this.
    Delay(Duration),
    /// It is held back until a random number of later datagrams has passed it, from 1 to `depth`, or for `at_most`.
    Depth {
        /// The most datagrams that overtake it, at least 1.
        depth: u32,
        /// The longest it is held back.
        at_most: Duration,
    },
}

/// Why a [`LinkConfig`] makes no sense.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum LinkConfigError {
    /// A probability is not one.
    #[error("{name} is {value}, must be from 0 to 1: 5 % is 0.05")]
    Probability {
        /// The parameter.
        name: &'static str,
        /// What it was set to.
        value: f64,
    },
    /// Something must not be zero.
    #[error("{name} is 0, must be at least 1: {hint}")]
    Zero {
        /// The parameter.
        name: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// More jitter than latency would deliver before sending.
    #[error("jitter is {jitter:?}, must be at most the latency {latency:?}: raise the latency")]
    Jitter {
        /// The jitter.
        jitter: Duration,
        /// The latency.
        latency: Duration,
    },
    /// An outage that ends before it begins, or lasts as long as its period.
    #[error(
        "{name} is {from:?} to {to:?}: it must end after it begins, and a periodic one before its period does"
    )]
    Blackout {
        /// The parameter.
        name: &'static str,
        /// Its begin.
        from: Duration,
        /// Its end.
        to: Duration,
    },
}

/// One direction of a line. A new one is perfect; each setter makes one thing worse.
///
/// A datagram passes the bottleneck and its queue first, then loss, duplication and corruption, then the distance:
/// latency, jitter, reordering.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) loss: Loss,
    pub(super) duplicate: f64,
    pub(super) reorder: Option<(f64, Reorder)>,
    pub(super) corrupt: f64,
    pub(super) corrupt_burst: u32,
    pub(super) rate: Option<u64>,
    pub(super) overhead: usize,
    pub(super) queue_packets: usize,
    pub(super) queue_bytes: usize,
    pub(super) mark_above: usize,
    pub(super) mtu: usize,
    pub(super) blackouts: Vec<Range<Duration>>,
    pub(super) periodic: Option<(Duration, Duration)>,
}

impl LinkConfig {
    /// A perfect line: no distance, no bottleneck, no faults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Loss::None,
            duplicate: 0.0,
            reorder: None,
            corrupt: 0.0,
            corrupt_burst: 1,
            rate: None,
            overhead: 28,
            queue_packets: 1000,
            queue_bytes: usize::MAX,
            mark_above: usize::MAX,
            mtu: usize::MAX,
            blackouts: Vec::new(),
            periodic: None,
        }
    }

    /// Time from one end to the other, this way only. Default 0.
    #[must_use]
    pub fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// The latency varies evenly by this much up and down. Order is kept: jitter alone never lets one datagram
    /// overtake another. At most the latency; default 0.
    #[must_use]
    pub fn jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// Which datagrams are lost. Default none.
    #[must_use]
    pub fn loss(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// The share of datagrams that arrive twice, 0 to 1. Default 0.
    #[must_use]
    pub fn duplicate(self, share: f64) -> Self {
        Self { duplicate: share, ..self }
    }

    /// The share of datagrams that fall behind, 0 to 1, and how far. Default none.
    #[must_use]
    pub fn reorder(self, share: f64, how: Reorder) -> Self {
        Self { reorder: Some((share, how)), ..self }
    }

    /// The share of datagrams that arrive with one bit flipped, 0 to 1. Default 0.
    #[must_use]
    pub fn corrupt(self, share: f64) -> Self {
        Self { corrupt: share, ..self }
    }

    /// Corruption hits always this many in a row. At least 1; default 1.
    #[must_use]
    pub fn corrupt_burst(self, length: u32) -> Self {
        Self { corrupt_burst: length, ..self }
    }

    /// What the bottleneck passes, in bits per second, headers included. Default no bottleneck.
    #[must_use]
    pub fn rate(self, bits_per_second: u64) -> Self {
        Self { rate: Some(bits_per_second), ..self }
    }

    /// Bytes of headers that each datagram adds at the bottleneck and in its queue. Default 28, IPv4 and UDP.
    #[must_use]
    pub fn overhead(self, bytes: usize) -> Self {
        Self { overhead: bytes, ..self }
    }

    /// The most datagrams that wait at the bottleneck; more are dropped. At least 1; default 1000.
    #[must_use]
    pub fn queue_packets(self, packets: usize) -> Self {
        Self { queue_packets: packets, ..self }
    }

    /// The most bytes that wait at the bottleneck; what does not fit is dropped. At least 1; default no limit but
    /// that of packets.
    #[must_use]
    pub fn queue_bytes(self, bytes: usize) -> Self {
        Self { queue_bytes: bytes, ..self }
    }

    /// ECN-capable datagrams that find more bytes than this waiting at the bottleneck are marked CE. Default never.
    #[must_use]
    pub fn mark_above(self, bytes: usize) -> Self {
        Self { mark_above: bytes, ..self }
    }

    /// The largest datagram that passes, in bytes; larger ones are dropped. At least 1; default any.
    #[must_use]
    pub fn mtu(self, bytes: usize) -> Self {
        Self { mtu: bytes, ..self }
    }

    /// Nothing passes that is sent within this time after the link's first datagram. May be set several times.
    #[must_use]
    pub fn blackout(mut self, during: Range<Duration>) -> Self {
        self.blackouts.push(during);
        self
    }

    /// Nothing passes during the last `down` of each `period`, counted from the link's first datagram.
    #[must_use]
    pub fn blackout_every(self, down: Duration, period: Duration) -> Self {
        Self { periodic: Some((down, period)), ..self }
    }

    /// Checks all parameters.
    ///
    /// # Errors
    ///
    /// The first parameter out of its range.
    pub fn validate(&self) -> Result<(), LinkConfigError> {
        let mut probabilities = vec![("duplicate", self.duplicate), ("corrupt", self.corrupt)];
        probabilities.extend(self.reorder.map(|(share, _)| ("reorder", share)));
        match self.loss {
            Loss::None => {}
            Loss::Bernoulli { rate } | Loss::Bursts { rate, .. } => probabilities.push(("loss rate", rate)),
            Loss::GilbertElliott { enter, leave, good, bad } => probabilities.extend([
                ("loss enter", enter),
                ("loss leave", leave),
                ("loss good", good),
                ("loss bad", bad),
            ]),
        }
        if let Some(&(name, value)) = probabilities.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(LinkConfigError::Probability { name, value });
        }
        let depth = match self.reorder {
            Some((_, Reorder::Depth { depth, .. })) => depth,
            _ => 1,
        };
        let length = match self.loss {
            Loss::Bursts { length, .. } => length,
            _ => 1,
        };
        for (name, is_zero, hint) in [
            ("rate", self.rate == Some(0), "use a blackout to let nothing pass"),
            ("queue_packets", self.queue_packets == 0, "one datagram is always on its way out"),
            ("queue_bytes", self.queue_bytes == 0, "one datagram is always on its way out"),
            ("mtu", self.mtu == 0, "use a blackout to let nothing pass"),
            ("reorder depth", depth == 0, "set the share to 0 for none"),
            ("loss burst length", length == 0, "set the rate to 0 for none"),
            ("corrupt_burst", self.corrupt_burst == 0, "set the share to 0 for none"),
        ] {
            if is_zero {
                return Err(LinkConfigError::Zero { name, hint });
            }
        }
        if self.jitter > self.latency {
            return Err(LinkConfigError::Jitter { jitter: self.jitter, latency: self.latency });
        }
        if let Some(bad) = self.blackouts.iter().find(|during| during.is_empty()) {
            return Err(LinkConfigError::Blackout { name: "blackout", from: bad.start, to: bad.end });
        }
        match self.periodic {
            Some((down, period)) if down >= period => {
                Err(LinkConfigError::Blackout { name: "blackout_every", from: Duration::ZERO, to: down })
            }
            _ => Ok(()),
        }
    }

    /// Whether nothing passes `since` the link's first datagram.
    pub(super) fn is_blacked_out(&self, since: Duration) -> bool {
        self.blackouts.iter().any(|during| during.contains(&since))
            || self.periodic.is_some_and(|(down, period)| {
                since.as_nanos() % period.as_nanos().max(1) >= (period - down).as_nanos()
            })
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_parameter_out_of_range_is_named() {
        let new = LinkConfig::new;
        let ge = |enter, leave, good, bad| new().loss(Loss::GilbertElliott { enter, leave, good, bad });
        for (bad, name) in [
            (new().loss(Loss::Bernoulli { rate: 5.0 }), "loss rate is 5"),
            (new().loss(Loss::Bursts { rate: -0.1, length: 1 }), "loss rate is -0.1"),
            (new().loss(Loss::Bursts { rate: 0.1, length: 0 }), "loss burst length is 0"),
            (ge(2.0, 0.0, 0.0, 0.0), "loss enter is 2"),
            (ge(0.0, 2.0, 0.0, 0.0), "loss leave is 2"),
            (ge(0.0, 0.0, 2.0, 0.0), "loss good is 2"),
            (ge(0.0, 0.0, 0.0, f64::NAN), "loss bad is NaN"),
            (new().duplicate(1.1), "duplicate is 1.1"),
            (new().corrupt(-1.0), "corrupt is -1"),
            (new().corrupt_burst(0), "corrupt_burst is 0"),
            (new().reorder(1.5, Reorder::Delay(MS)), "reorder is 1.5"),
            (new().reorder(0.5, Reorder::Depth { depth: 0, at_most: MS }), "reorder depth is 0"),
            (new().rate(0), "rate is 0"),
            (new().queue_packets(0), "queue_packets is 0"),
            (new().queue_bytes(0), "queue_bytes is 0"),
            (new().mtu(0), "mtu is 0"),
            (new().latency(MS).jitter(2 * MS), "jitter is 2ms"),
            (new().blackout(2 * MS..MS), "blackout is 2ms to 1ms"),
            (new().blackout_every(MS, MS), "blackout_every is 0ns to 1ms"),
        ] {
            let message = bad.validate().unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
        }
        assert_eq!(new().validate(), Ok(()));
    }

    #[test]
    fn outages_happen_when_they_should() {
        let config = LinkConfig::new().blackout(5 * MS..6 * MS).blackout_every(2 * MS, 10 * MS);
        let dark: Vec<u32> = (0..30).filter(|&ms| config.is_blacked_out(ms * MS)).collect();
        assert_eq!(dark, [5, 8, 9, 18, 19, 28, 29]);
    }
}

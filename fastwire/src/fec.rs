//! Forward error correction as it is configured: how much parity, over how many flushes.

use std::time::Duration;

use crate::ConfigError;

/// Most packets of a group, and most parity for it (PROTOCOL B5).
pub(crate) const MAX_DATA: u8 = 32;
pub(crate) const MAX_PARITY: u8 = 8;

/// Parity in advance (extended profile, PROTOCOL B5, FEC): packets that carry no message and stand for any other packet of
/// their group that gets lost, so that nobody has to ask for it again.
///
/// How much of it leaves follows the loss that was measured, up to [`percent`](Self::percent); on a line that loses nothing it
/// is off and costs nothing. It covers all channels of a connection, and is the sender's own business: the peer only has to
/// have room for it ([`Limits::fec_bytes`](crate::Limits::fec_bytes)).
///
/// ```
/// use fastwire::Fec;
///
/// // two packets of parity for every two packets, which may have left one after the other
/// let fec = Fec::percent(100).over(2);
/// assert_eq!((fec.percent, fec.flushes), (100, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fec {
    /// Packets of parity for each hundred packets, at most. Range 1–400.
    pub percent: u16,
    /// How many flushes a group spans. Default 1: what leaves together is protected together, and nothing waits. With more, one
    /// group covers several small flushes, so the same parity covers more losses, and what was lost early in a group waits for
    /// its last flush. Range 1–16.
    pub flushes: u8,
    /// A group that waits for its next flush closes so long after its last packet. Default 25 ms, range 1–250 ms.
    pub max_wait: Duration,
}

impl Fec {
    /// At most so many packets of parity for each hundred packets, groups of one flush.
    pub const fn percent(percent: u16) -> Self {
        Self { percent, flushes: 1, max_wait: Duration::from_millis(25) }
    }

    /// The same with groups of so many flushes.
    pub const fn over(self, flushes: u8) -> Self {
        Self { flushes, ..self }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let in_range = (1..=400).contains(&self.percent)
            && (1..=16).contains(&self.flushes)
            && (1..=250).contains(&self.max_wait.as_millis());
        let allowed = "percent 1 to 400, flushes 1 to 16, max_wait 1 ms to 250 ms";
        if in_range { Ok(()) } else { Err(ConfigError::range("fec", format!("{self:?}"), allowed)) }
    }
}

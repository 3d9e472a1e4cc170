//! What passes over the simulated network, for those who want to look, and as one number to compare two runs by.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// A datagram that enters or leaves the network.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sighting<'a> {
    /// Virtual time since the start.
    pub at: Duration,
    /// Whether it has arrived; else it was just sent, and may get lost, late, damaged or doubled.
    pub arrived: bool,
    /// Who sent it: where it is sent, the sender's own address; where it arrives, the one others see.
    pub from: SocketAddr,
    /// Whom it is for: where it is sent, the address others see; where it arrives, the receiver's own.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Looks at every datagram.
type Watcher = Box<dyn FnMut(&Sighting<'_>) + Send>;

/// The watcher of a world, and the digest of all it could see.
#[derive(Default)]
pub(super) struct Trace {
    watcher: Option<Watcher>,
    digest: u64,
}

impl Trace {
    pub(super) fn watch(&mut self, watcher: Watcher) {
        self.watcher = Some(watcher);
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn see(&mut self, sighting: &Sighting<'_>) {
        self.mix(sighting.at.as_nanos() as u64 ^ u64::from(sighting.arrived) << 63);
        self.mix(u64::from(sighting.from.port()) << 32 | u64::from(sighting.to.port()));
        self.mix(sighting.bytes.len() as u64);
        let mut words = sighting.bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(word.try_into().map_or(0, u64::from_le_bytes));
        }
        words.remainder().iter().for_each(|byte| self.mix(u64::from(*byte)));
        if let Some(watcher) = &mut self.watcher {
            watcher(sighting);
        }
    }

    /// No cryptography: it has to tell two runs apart, not to resist anybody.
    fn mix(&mut self, word: u64) {
        let mixed = (self.digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = mixed ^ (mixed >> 32);
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("digest", &self.digest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_changes_the_digest() {
        let (a, b) = (SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 1], 2)));
        let first =
            Sighting { at: Duration::from_millis(1), arrived: false, from: a, to: b, bytes: &[7; 19] };
        let digest = |sighting: Sighting<'_>| {
            let mut trace = Trace::default();
            trace.see(&sighting);
            trace.digest()
        };
        assert_eq!(digest(first), digest(first));
        for other in [
            Sighting { at: Duration::from_millis(2), ..first },
            Sighting { arrived: true, ..first },
            Sighting { from: b, to: a, ..first },
            Sighting { bytes: &[7; 18], ..first },
            Sighting { bytes: &[[7; 18].as_slice(), &[8]].concat(), ..first },
        ] {
            assert_ne!(digest(first), digest(other), "{other:?}");
        }
    }
}

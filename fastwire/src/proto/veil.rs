//! The veil of an endpoint: handshake datagrams leave and arrive as noise; late, early and repeated ones are dropped (PROTOCOL B7).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire_crypto::extended::{PN_LEN, VEIL_NONCE, VEIL_OVERHEAD, VeilKeys};
use fastwire_wire::extended::MIN_CONNECT_DATAGRAM;
use fastwire_wire::{CONTROL_PREFIX, ControlType};

use super::entropy::Entropy;
use super::handshake::looks_bare;

/// How far a datagram's time may be off.
const TOLERANCE: u64 = 90;
/// How long a generation of nonces takes new ones; it is kept for as long again. Twice the tolerance: what has fallen out of both
/// generations is too old.
const GENERATION: Duration = Duration::from_secs(180);
/// The most random bytes after a datagram: with them no answer is a fifth of its CONNECT.
const MAX_PADDING: usize = 63;

/// What an endpoint behind a veil keeps.
pub(crate) struct Veil {
    keys: Arc<VeilKeys>,
    /// Nonces that opened: those of this generation, and of the one before.
    seen: [HashSet<[u8; VEIL_NONCE]>; 2],
    began: Instant,
    max_nonces: usize,
    /// A moment, and what Unix time it was then, in seconds.
    unix: Option<(Instant, u64)>,
}

/// What a datagram is behind the veil.
#[derive(Debug)]
pub(crate) enum Lifted {
    /// Not veiled, or under another server's key.
    Nothing,
    /// Genuine, and too late, too early, or here before.
    Stale,
    /// A handshake datagram.
    Handshake(BytesMut),
}

impl Veil {
    pub(crate) fn new(keys: Arc<VeilKeys>, max_nonces: usize, now: Instant) -> Self {
        Self { keys, seen: Default::default(), began: now, max_nonces, unix: None }
    }

    pub(crate) fn set_unix_time(&mut self, seconds: u64, now: Instant) {
        self.unix = Some((now, seconds));
    }

    /// Puts a handshake datagram behind the veil, other bytes each time. What is none stays as it is: `None`.
    pub(crate) fn cover(&self, datagram: &[u8], entropy: &mut Entropy, now: Instant) -> Option<Vec<u8>> {
        if !looks_bare(datagram) {
            return None;
        }
        let room = MIN_CONNECT_DATAGRAM - VEIL_OVERHEAD;
        let is_connect = is_connect(datagram);
        // CONNECT's own padding makes room for the veil's: it is noise then, and the datagram as large.
        let inner = if is_connect { datagram.get(..room).unwrap_or(datagram) } else { datagram };
        let padding: [u8; MAX_PADDING] = entropy.bytes();
        let [len] = entropy.bytes::<1>();
        let len = if is_connect {
            0
        } else {
            (usize::from(len) % (MAX_PADDING + 1)).min(room.saturating_sub(inner.len()))
        };
        let padding = padding.get(..len).unwrap_or_default();
        let time = self.unix(now).unwrap_or_default() as u32;
        self.keys.veil(entropy.bytes(), time, inner, padding).ok()
    }

    /// Takes the veil off a received datagram.
    pub(crate) fn lift(&mut self, datagram: &[u8], now: Instant) -> Lifted {
        let Some(found) = self.keys.unveil(datagram) else { return Lifted::Nothing };
        let unix = self.unix(now);
        if unix.is_none_or(|unix| unix.abs_diff(found.time.into()) > TOLERANCE)
            || !self.is_new(found.nonce, now)
        {
            return Lifted::Stale;
        }
        let mut inner = BytesMut::from(&found.datagram[..]);
        if is_connect(&inner) && inner.len() < datagram.len() {
            inner.resize(datagram.len(), 0);
        }
        Lifted::Handshake(inner)
    }

    /// The id before a veiled client's packet.
    pub(crate) fn id_of(&self, datagram: &[u8]) -> Option<[u8; 8]> {
        let (mut id, rest) = datagram.split_first_chunk::<8>().map(|(id, rest)| (*id, rest))?;
        mask(&self.keys, &mut id, rest)?;
        Some(id)
    }

    fn unix(&self, now: Instant) -> Option<u64> {
        self.unix.map(|(at, seconds)| seconds + now.saturating_duration_since(at).as_secs())
    }

    /// Notes a nonce that opened; false if it has come before.
    fn is_new(&mut self, nonce: [u8; VEIL_NONCE], now: Instant) -> bool {
        let age = now.saturating_duration_since(self.began);
        if age >= GENERATION || self.seen[0].len() >= self.max_nonces {
            self.seen.swap(0, 1);
            self.seen[0].clear();
            self.began = now;
        }
        if age >= 2 * GENERATION {
            self.seen[1].clear();
        }
        !self.seen[1].contains(&nonce) && self.seen[0].insert(nonce)
    }
}

/// Hides the id before a client's sealed packet, or shows it again (PROTOCOL B7).
pub(crate) fn mask_id(keys: &VeilKeys, packet: &mut [u8]) {
    if let Some((id, rest)) = packet.split_first_chunk_mut() {
        // a sealed packet holds a tag: it is long enough
        let _ = mask(keys, id, rest);
    }
}

/// `rest`: what follows the id. `None`: it is too short for a packet.
fn mask(keys: &VeilKeys, id: &mut [u8; 8], rest: &[u8]) -> Option<()> {
    let sample = rest.get(PN_LEN..)?.first_chunk()?;
    id.iter_mut().zip(keys.id_mask(sample)).for_each(|(byte, mask)| *byte ^= mask);
    Some(())
}

fn is_connect(datagram: &[u8]) -> bool {
    datagram.get(CONTROL_PREFIX.len()) == Some(&ControlType::Connect.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veil(now: Instant) -> Veil {
        let mut veil = Veil::new(Arc::new(VeilKeys::new(&[7; 32]).expect("keys")), 16, now);
        veil.set_unix_time(1_000_000, now);
        veil
    }

    fn challenge() -> Vec<u8> {
        [&CONTROL_PREFIX[..], &[ControlType::Challenge.id(), 1, 2, 3]].concat()
    }

    #[test]
    fn what_is_late_early_or_a_copy_is_stale() {
        let now = Instant::now();
        let mut entropy = Entropy::new([1; 32]);
        for (sent, received, fine) in
            [(0, 0, true), (0, 90, true), (0, 91, false), (90, 0, true), (91, 0, false)]
        {
            let at = |seconds| now + Duration::from_secs(seconds);
            let covered = veil(now).cover(&challenge(), &mut entropy, at(sent)).expect("a handshake");
            let mut receiver = veil(now);
            let lifted = receiver.lift(&covered, at(received));
            assert_eq!(
                matches!(lifted, Lifted::Handshake(inner) if inner == challenge()),
                fine,
                "{sent} {received}"
            );
            assert!(matches!(receiver.lift(&covered, at(received)), Lifted::Stale));
        }
        let mut receiver = veil(now);
        assert!(matches!(receiver.lift(&[0; 100], now), Lifted::Nothing));
        receiver.unix = None;
        let covered = veil(now).cover(&challenge(), &mut entropy, now).expect("a handshake");
        assert!(matches!(receiver.lift(&covered, now), Lifted::Stale), "no clock, no handshake");
    }

    #[test]
    fn a_copy_stays_known_as_long_as_its_time_is_good_and_memory_is_bounded() {
        let start = Instant::now();
        let mut entropy = Entropy::new([2; 32]);
        let mut receiver = veil(start);
        for second in 0..1000 {
            let now = start + Duration::from_secs(second);
            let covered = receiver.cover(&challenge(), &mut entropy, now).expect("a handshake");
            assert!(matches!(receiver.lift(&covered, now), Lifted::Handshake(_)));
            assert!(matches!(receiver.lift(&covered, now + Duration::from_secs(1)), Lifted::Stale));
            assert!(receiver.seen.iter().all(|seen| seen.len() <= 16));
        }
        // With room for all, a copy is known to the end of its time, wherever the generations change.
        receiver = veil(start);
        receiver.max_nonces = usize::MAX;
        for second in (0..2000).step_by(7) {
            let now = start + Duration::from_secs(second);
            let covered = receiver.cover(&challenge(), &mut entropy, now).expect("a handshake");
            assert!(matches!(receiver.lift(&covered, now), Lifted::Handshake(_)));
            for later in (0..=90).step_by(30) {
                assert!(matches!(receiver.lift(&covered, now + Duration::from_secs(later)), Lifted::Stale));
            }
        }
    }

    #[test]
    fn connect_stays_as_large_and_nothing_else_passes_its_size() {
        let now = Instant::now();
        let mut entropy = Entropy::new([3; 32]);
        let mut connect = [&CONTROL_PREFIX[..], &[ControlType::Connect.id(), 9, 9]].concat();
        connect.resize(MIN_CONNECT_DATAGRAM, 0);
        let covered = veil(now).cover(&connect, &mut entropy, now).expect("a handshake");
        assert_eq!(covered.len(), MIN_CONNECT_DATAGRAM);
        assert!(matches!(veil(now).lift(&covered, now), Lifted::Handshake(inner) if inner == connect));
        let sizes: HashSet<_> = (0..200)
            .map(|_| veil(now).cover(&challenge(), &mut entropy, now).expect("a handshake").len())
            .collect();
        assert!(sizes.len() > 40 && sizes.iter().all(|size| *size <= MIN_CONNECT_DATAGRAM));
        assert_eq!(veil(now).cover(&[1; 60], &mut entropy, now), None);
    }
}

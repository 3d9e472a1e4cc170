//! A server's handshake datagrams, kept for the observer of the connection that may come of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire_wire::{CONTROL_PREFIX, ControlType};

use crate::observe::{Observed, Observer};

/// Datagrams kept of all who knock.
const KEPT: usize = 1024;
/// The most that one connection's observer is told, the newest.
const TOLD: usize = 32;
/// No handshake lasts longer.
const LIFETIME: Duration = Duration::from_secs(10);

/// One datagram of a handshake.
#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Instant,
    remote: SocketAddr,
    sent: bool,
    kind: ControlType,
    bytes: usize,
}

/// Datagrams between a server and those who have no connection. Strangers cost no more than this: nothing is told before there is a
/// connection.
#[derive(Debug, Default)]
pub(super) struct Prelude {
    /// The oldest first.
    heard: VecDeque<Heard>,
}

impl Prelude {
    /// A bare datagram from or to `remote`. Gives how many made room that an observer might yet have been told of.
    pub(super) fn note(&mut self, remote: SocketAddr, sent: bool, datagram: &[u8], now: Instant) -> u64 {
        let kind = datagram.get(CONTROL_PREFIX.len()).and_then(|id| ControlType::from_id(*id));
        let Some(kind) = kind else { return 0 };
        while self.heard.front().is_some_and(|old| now.saturating_duration_since(old.at) > LIFETIME) {
            self.heard.pop_front();
        }
        let full = self.heard.len() >= KEPT;
        if full {
            self.heard.pop_front();
        }
        self.heard.push_back(Heard { at: now, remote, sent, kind, bytes: datagram.len() });
        u64::from(full)
    }

    /// When the first datagram came of those that [`tell`](Self::tell) would tell of.
    pub(super) fn began(&self, remote: SocketAddr) -> Option<Instant> {
        self.of(remote).last().map(|heard| heard.at)
    }

    /// Tells an observer of what went before its connection. Gives how many datagrams of it were too many.
    pub(super) fn tell(&mut self, remote: SocketAddr, observer: &mut dyn Observer) -> u64 {
        let mut newest: Vec<Heard> = self.of(remote).copied().collect();
        newest.reverse();
        for Heard { at, sent, kind, bytes, .. } in &newest {
            let (kind, bytes) = (*kind, *bytes);
            let what = match sent {
                true => Observed::HandshakeSent { kind, bytes },
                false => Observed::HandshakeReceived { kind, bytes },
            };
            observer.observe(*at, &what);
        }
        let before = self.heard.len();
        self.heard.retain(|heard| heard.remote != remote);
        (before - self.heard.len() - newest.len()) as u64
    }

    /// The newest of one address, backwards.
    fn of(&self, remote: SocketAddr) -> impl Iterator<Item = &Heard> {
        self.heard.iter().rev().filter(move |heard| heard.remote == remote).take(TOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What it was told: when, whether sent, how many bytes.
    #[derive(Default)]
    struct Told(Vec<(Instant, bool, usize)>);

    impl Observer for Told {
        fn observe(&mut self, at: Instant, what: &Observed<'_>) {
            match what {
                Observed::HandshakeSent { bytes, .. } => self.0.push((at, true, *bytes)),
                Observed::HandshakeReceived { bytes, .. } => self.0.push((at, false, *bytes)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn datagram(len: usize) -> Vec<u8> {
        [&CONTROL_PREFIX[..], &[ControlType::Connect.id()], &vec![0; len]].concat()
    }

    proptest! {
        /// Whoever knocks how often: memory is bounded, an observer hears of the newest datagrams of its own address, in their
        /// order, once, and what was not told was counted or grew old.
        #[test]
        fn an_observer_hears_the_newest_of_its_own(
            script in prop::collection::vec((0u8..4, any::<bool>(), 0usize..200, 0u64..40), 0..2000),
        ) {
            let (mut prelude, mut now, mut lost) = (Prelude::default(), Instant::now(), 0);
            let address = |host: u8| SocketAddr::from(([10, 0, 0, host], 5000));
            let mut all: Vec<(u8, Instant, bool, usize)> = Vec::new();
            for (host, sent, len, pause) in script {
                now += Duration::from_millis(pause);
                let datagram = datagram(len);
                lost += prelude.note(address(host), sent, &datagram, now);
                all.push((host, now, sent, datagram.len()));
                prop_assert!(prelude.heard.len() <= KEPT);
            }
            let kept = all.split_off(all.len() - prelude.heard.len());
            let young = all.iter().filter(|(_, at, ..)| now.saturating_duration_since(*at) <= LIFETIME);
            prop_assert!(lost as usize >= young.count());
            for host in 0..4 {
                let own: Vec<_> = kept.iter().filter(|(of, ..)| *of == host).map(|(_, a, b, c)| (*a, *b, *c)).collect();
                let (old, newest) = own.split_at(own.len().saturating_sub(TOLD));
                prop_assert_eq!(prelude.began(address(host)), newest.first().map(|(at, ..)| *at));
                let mut told = Told::default();
                prop_assert_eq!(prelude.tell(address(host), &mut told), old.len() as u64);
                prop_assert_eq!(&told.0[..], newest);
                prop_assert_eq!(prelude.tell(address(host), &mut told), 0);
                prop_assert_eq!(told.0.len(), newest.len(), "told once");
            }
            prop_assert!(prelude.heard.is_empty());
        }
    }

    #[test]
    fn what_is_no_handshake_is_not_kept() {
        let mut prelude = Prelude::default();
        let now = Instant::now();
        for bytes in [&[][..], &CONTROL_PREFIX[..], &[0xee; 40]] {
            assert_eq!(prelude.note(SocketAddr::from(([1, 1, 1, 1], 1)), false, bytes, now), 0);
        }
        assert!(prelude.heard.is_empty());
    }
}

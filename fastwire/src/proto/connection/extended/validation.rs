//! Following a client to another address, once it has proved that it is there (PROTOCOL B6).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use fastwire_crypto::TAG_LEN;
use fastwire_crypto::extended::PN_LEN;
use smallvec::SmallVec;

use crate::proto::connection::path::Path;
use crate::transport::{RecvMeta, SocketId};

/// What a PATH_CHALLENGE carries and its PATH_RESPONSE gives back.
pub(super) type Token = [u8; 8];

/// Bytes of a datagram that carries one frame about paths.
pub(super) const PATH_DATAGRAM: usize = 8 + PN_LEN + 9 + TAG_LEN;

/// Challenges that may wait for their answer on one path.
const MAX_OUTSTANDING: usize = 4;
/// The newest challenges of the peer that are answered.
const MAX_ECHOES: usize = 4;

/// A local socket and the address beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) socket: SocketId,
    pub(super) remote: SocketAddr,
    pub(super) source: Option<IpAddr>,
}

impl Way {
    pub(super) fn of(meta: &RecvMeta) -> Self {
        Self { socket: meta.socket, remote: meta.remote, source: meta.local }
    }

    pub(super) fn current(path: &Path) -> Self {
        Self { socket: path.socket, remote: path.remote, source: path.source }
    }
}

/// A client seen at another address.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) to: Way,
    /// Where it was until then.
    pub(super) from: Way,
    /// Only the port differs: a NAT has forgotten its mapping, the network is the same.
    pub(super) port_only: bool,
    /// Data goes to the new address, within its allowance until it is proved.
    pub(super) active: bool,
    /// The new address answered.
    pub(super) proved: bool,
    /// Challenges to the new address that wait for their answer.
    outstanding: SmallVec<[(Token, Instant); 1]>,
    /// The challenge to the old address, which cancels the move if it is answered from there.
    old_token: Option<Token>,
    /// The challenge to the old address is to leave now.
    owed_old: bool,
    /// When the next one to the new address is due.
    next_challenge: Instant,
    /// Then it is settled either way.
    until: Instant,
    received: u64,
    sent: u64,
}

/// What an answer to a challenge decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// The client is at the new address, whose answer took so long.
    Move(Duration),
    /// It is still at the old one.
    Stay,
}

impl Move {
    /// `same_id`: the packet came under the id in use, so that nobody told the client; then the old address is asked too.
    pub(super) fn new(from: Way, to: Way, same_id: bool, bytes: u64, grace: Duration, now: Instant) -> Self {
        let port_only = same_id && from.remote.ip() == to.remote.ip();
        Self {
            to,
            from,
            port_only,
            active: port_only,
            proved: false,
            outstanding: SmallVec::new(),
            old_token: None,
            owed_old: same_id,
            next_challenge: now,
            until: now + grace,
            received: bytes,
            sent: 0,
        }
    }

    pub(super) fn on_received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// The next challenge that is due, and where it goes. An unproved address gets at most three times what came from there:
    /// a move that sends data already has its books in the path, whose allowance is `on_path`.
    pub(super) fn next_challenge(
        &mut self,
        on_path: u64,
        interval: Duration,
        now: Instant,
        token: impl FnOnce() -> Token,
    ) -> Option<(Way, Token)> {
        if std::mem::take(&mut self.owed_old) {
            let token = token();
            self.old_token = Some(token);
            return Some((self.from, token));
        }
        if now < self.challenge_at(on_path)? {
            return None;
        }
        self.next_challenge = now + interval;
        self.sent += PATH_DATAGRAM as u64;
        let token = token();
        if self.outstanding.len() >= MAX_OUTSTANDING {
            self.outstanding.remove(0);
        }
        self.outstanding.push((token, now));
        Some((self.to, token))
    }

    /// When the new address is to be challenged, again if no answer came; `None` while it may not be.
    pub(super) fn challenge_at(&self, on_path: u64) -> Option<Instant> {
        let allowance = if self.active { on_path } else { (3 * self.received).saturating_sub(self.sent) };
        (!self.proved && allowance >= PATH_DATAGRAM as u64).then_some(self.next_challenge)
    }

    /// Takes a PATH_RESPONSE: it counts only from the address it was sent to.
    pub(super) fn on_response(&mut self, token: Token, way: Way, now: Instant) -> Verdict {
        if way.remote == self.from.remote && self.old_token == Some(token) {
            return Verdict::Stay;
        }
        let challenge = self.outstanding.iter().find(|(of, _)| *of == token);
        match challenge.filter(|_| way.remote == self.to.remote && !self.proved) {
            Some((_, sent)) => {
                self.proved = true;
                Verdict::Move(now.saturating_duration_since(*sent))
            }
            None => Verdict::Nothing,
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

/// Challenges of the peer that wait to be answered on the way they came.
#[derive(Debug, Default)]
pub(super) struct Echoes(Vec<(Way, Token)>);

impl Echoes {
    pub(super) fn push(&mut self, way: Way, token: Token) {
        if self.0.len() >= MAX_ECHOES {
            self.0.remove(0);
        }
        self.0.push((way, token));
    }

    pub(super) fn pop(&mut self) -> Option<(Way, Token)> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(address: &str) -> Way {
        Way { socket: SocketId::PRIMARY, remote: address.parse().unwrap(), source: None }
    }

    fn next(m: &mut Move, now: Instant, token: u8) -> Option<(Way, Token)> {
        m.next_challenge(u64::MAX, Duration::from_millis(100), now, || [token; 8])
    }

    #[test]
    fn only_the_right_answer_from_the_right_place_moves() {
        let now = Instant::now();
        let (old, new, thief) = (way("192.0.2.1:5"), way("198.51.100.1:5"), way("203.0.113.9:5"));
        let mut m = Move::new(old, new, true, 1200, Duration::from_secs(1), now);
        assert!(!m.active, "another network gets no data before it is proved");
        assert_eq!(next(&mut m, now, 1), Some((old, [1; 8])));
        assert_eq!(next(&mut m, now, 2), Some((new, [2; 8])));
        assert_eq!(next(&mut m, now, 3), None);
        for (token, from) in [([2; 8], thief), ([2; 8], old), ([9; 8], new), ([1; 8], new)] {
            assert_eq!(m.on_response(token, from, now), Verdict::Nothing);
        }
        let later = now + Duration::from_millis(70);
        assert_eq!(m.on_response([2; 8], new, later), Verdict::Move(Duration::from_millis(70)));
        assert_eq!(m.on_response([2; 8], new, later), Verdict::Nothing, "once");
        assert_eq!(m.on_response([1; 8], old, later), Verdict::Stay, "even then the old address may object");
    }

    #[test]
    fn a_lost_challenge_or_answer_costs_one_interval() {
        let now = Instant::now();
        let (old, new) = (way("192.0.2.1:5"), way("198.51.100.1:5"));
        let mut m = Move::new(old, new, false, 1200, Duration::from_secs(1), now);
        assert_eq!(next(&mut m, now, 1), Some((new, [1; 8])));
        let again = m.challenge_at(0).expect("nothing from there is needed for that");
        assert_eq!(again, now + Duration::from_millis(100));
        assert_eq!(next(&mut m, again - Duration::from_millis(1), 2), None);
        assert_eq!(next(&mut m, again, 2), Some((new, [2; 8])));
        assert!(
            matches!(m.on_response([1; 8], new, again), Verdict::Move(_)),
            "the first may still be answered"
        );
        assert_eq!(m.challenge_at(0), None);
    }

    #[test]
    fn an_unproved_address_gets_three_times_its_bytes_at_most() {
        let start = Instant::now();
        let mut m =
            Move::new(way("192.0.2.1:5"), way("198.51.100.1:5"), false, 50, Duration::from_secs(9), start);
        let mut sent = 0;
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            sent += usize::from(next(&mut m, now, second as u8).is_some()) * PATH_DATAGRAM;
        }
        assert_eq!(sent, 4 * PATH_DATAGRAM, "no more fit into 150 bytes");
        m.on_received(1000);
        assert!(next(&mut m, start + Duration::from_secs(21), 99).is_some());
    }
}

//! Client side: attempts, CHALLENGE candidates and the verdicts of servers that refuse.
//!
//! An *attempt* is one key pair on one local socket towards one address. Each may collect *candidates*,
//! the CHALLENGEs it answered, of either profile. The first candidate under whose keys a packet opens wins (PROTOCOL A5, B2).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire_compress::{Algorithm, Method};
use fastwire_crypto::{Cipher, CipherSuite, CipherSuites, PublicKey};
use fastwire_wire::extended::RefusalTrailer;
use fastwire_wire::{
    Challenge, Connect, Control, ControlType, DEFAULT_MTU, Features, PROTOCOL_VERSION, PacketHeader, Reject,
    VersionMismatch,
};

use super::extended::client::{Answers, ExtendedChallenge, NotAnswered, Won};
use super::extended::late::Losers;
use super::offer::{Offer, bare};
use crate::ConnectError;
use crate::config::CommonConfig;
use crate::proto::Side;
use crate::proto::session::{Session, Terms, UNCOMPRESSED};
use crate::proto::transmit::{DatagramBuilder, Packet, Route, TransmitBuf};
use crate::transport::SocketId;

/// CONNECT and RESPONSE go out again every 100 ms for 2 s, then ever slower up to every 500 ms.
const REPEAT: Duration = Duration::from_millis(100);
const REPEAT_STEADY: Duration = Duration::from_secs(2);
const REPEAT_MAX: Duration = Duration::from_millis(500);
/// From then on a second local port tries too: a base server may be deaf to the first for 5 s.
const SECOND_PORT: Duration = Duration::from_secs(1);
/// Addresses of one name start this far apart (RFC 8305 §5, connection attempt delay).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// How long a bare refusal waits for a valid CHALLENGE that would belie it.
const GRACE: Duration = Duration::from_millis(500);
/// CHALLENGEs answered in one attempt. Where every third packet is damaged, every third of them is useless: its own key or
/// token was hit, or the client's key in the CONNECT it answers.
const MAX_CANDIDATES: usize = 16;
/// Addresses of one name tried.
const MAX_ADDRESSES: usize = 8;
/// An extended RESPONSE without an answer for so long has a second attempt begin beside it, on the same path (PROTOCOL B2).
const SECOND_ATTEMPT: Duration = Duration::from_secs(1);
/// Attempts on one path.
const MAX_ON_PATH: usize = 2;
/// Datagrams kept that overtook CONNECTED (PROTOCOL B2).
const MAX_HELD: usize = 8;

/// When to send something again: steady first, then backing off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeats {
    since: Instant,
    next: Instant,
    interval: Duration,
}

impl Repeats {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, next: now, interval: REPEAT }
    }

    /// Goes on as slowly as can be.
    fn slow_down(&mut self, now: Instant) {
        self.interval = REPEAT_MAX;
        self.next = self.next.max(now + REPEAT_MAX);
    }

    fn due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        if now.saturating_duration_since(self.since) >= REPEAT_STEADY {
            self.interval = (self.interval * 3 / 2).min(REPEAT_MAX);
        }
        self.next = now + self.interval;
        true
    }
}

struct Attempt {
    remote: SocketAddr,
    socket: SocketId,
    offer: Offer,
    connect: Repeats,
    /// A CHALLENGE of this attempt was answered.
    answered: bool,
    /// When CONNECT went out, while it did so only once: then its answer gives a round trip (Karn).
    asked_once: Option<Instant>,
    asked: Option<Instant>,
    /// The extended CHALLENGEs that were answered.
    answers: Answers,
    /// Another attempt began beside this one.
    followed: bool,
}

impl Attempt {
    fn new(remote: SocketAddr, socket: SocketId, offer: Offer, now: Instant) -> Self {
        Self {
            remote,
            socket,
            offer,
            connect: Repeats::new(now),
            answered: false,
            asked_once: None,
            asked: None,
            answers: Answers::default(),
            followed: false,
        }
    }

    fn is_on(&self, (socket, remote): (SocketId, SocketAddr)) -> bool {
        self.socket == socket && self.remote == remote
    }

    /// When another attempt is to begin beside this one, if its answers stay unanswered.
    fn follow_at(&self) -> Option<Instant> {
        let first = self.answers.iter().map(|answer| answer.since).min()?;
        (!self.followed).then_some(first + SECOND_ATTEMPT)
    }
}

/// A CHALLENGE that was answered, with the keys it gave.
pub(crate) struct Candidate<C> {
    pub(crate) session: Session<C>,
    pub(crate) remote: SocketAddr,
    pub(crate) socket: SocketId,
    /// A round trip, if the handshake measured one.
    pub(crate) rtt: Option<Duration>,
    response: Repeats,
}

/// What the shell has to do about sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketRequest {
    /// Open another local socket that can reach `remote`.
    Open {
        /// Its name from now on.
        socket: SocketId,
        /// Whom it will talk to.
        remote: SocketAddr,
    },
    /// Close a socket.
    Close {
        /// Which.
        socket: SocketId,
    },
}

/// One handshake datagram to send.
#[derive(Clone)]
pub(crate) struct HandshakeDatagram {
    pub(crate) socket: SocketId,
    pub(crate) remote: SocketAddr,
    /// The local address to send from: where the question came to.
    pub(crate) source: Option<IpAddr>,
    pub(crate) bytes: Vec<u8>,
}

impl HandshakeDatagram {
    pub(crate) fn route(&self) -> Route {
        Route { socket: self.socket, remote: self.remote, source: self.source }
    }
}

/// What a server seems to have refused for.
struct Refusal {
    error: ConnectError,
    /// When to believe it,
    at: Instant,
    /// if it has come again: a single one may be a damaged CHALLENGE, or the answer to a damaged CONNECT.
    again: bool,
    /// It repeated our nonce: who sent it has seen a CONNECT of ours.
    proven: bool,
}

impl Refusal {
    /// Whether a CHALLENGE belies it: what a server judges by CONNECT alone fitted that time, so the refused one was damaged.
    fn is_belied_by_challenge(&self) -> bool {
        judged_by_connect(&self.error) || !self.proven
    }

    /// A busy server is asked on until time is up.
    fn is_final(&self) -> bool {
        self.again && self.error != ConnectError::Busy
    }
}

/// A client's handshake, from the first CONNECT until a packet of the server opens.
pub(crate) struct ClientHandshake<C> {
    started: Instant,
    timeout: Duration,
    attempts: Vec<Attempt>,
    /// Addresses not tried yet, the next one last, and when.
    waiting: Vec<SocketAddr>,
    next_address: Instant,
    second_port: bool,
    /// The first address, for the second port.
    first: SocketAddr,
    /// CHALLENGEs of the base profile that were answered.
    pub(crate) candidates: Vec<Candidate<C>>,
    refused: Option<Refusal>,
    /// What may be packets of a connection whose CONNECTED has yet to come.
    held: Vec<((SocketId, SocketAddr), BytesMut)>,
}

impl<C: Cipher> ClientHandshake<C> {
    /// Starts towards the first of `remotes` over `socket`; the others follow.
    pub(crate) fn new(
        remotes: &[SocketAddr],
        socket: SocketId,
        offer: Offer,
        timeout: Duration,
        now: Instant,
    ) -> Option<Self> {
        let (&first, rest) = remotes.split_first()?;
        let waiting = rest.iter().copied().take(MAX_ADDRESSES - 1).rev().collect();
        Some(Self {
            started: now,
            timeout,
            attempts: vec![Attempt::new(first, socket, offer, now)],
            waiting,
            next_address: now + NEXT_ADDRESS,
            second_port: false,
            first,
            candidates: Vec::new(),
            refused: None,
            held: Vec::new(),
        })
    }

    /// Another attempt that is due now: its address. The endpoint gives it a socket and keys with [`Self::add`].
    pub(crate) fn wants_attempt(&mut self, now: Instant) -> Option<SocketAddr> {
        if now >= self.next_address
            && let Some(remote) = self.waiting.pop()
        {
            self.next_address = now + NEXT_ADDRESS;
            return Some(remote);
        }
        if !self.second_port
            && now.saturating_duration_since(self.started) >= SECOND_PORT
            && !self.is_answered()
        {
            self.second_port = true;
            return Some(self.first);
        }
        None
    }

    /// A path on which a second attempt is due beside one whose answers stay unanswered: the cookie may have expired, or
    /// never been right. The endpoint adds it with [`Self::add`].
    pub(crate) fn wants_second(&mut self, now: Instant) -> Option<(SocketId, SocketAddr)> {
        for attempt in &mut self.attempts {
            attempt.answers.expire(now);
        }
        // One that has been followed and whose cookies have all expired can win no more.
        self.attempts.retain(|attempt| !(attempt.followed && attempt.answers.is_empty()));
        let due = |attempt: &Attempt| attempt.follow_at().is_some_and(|at| now >= at);
        let index = (0..self.attempts.len()).find(|&index| {
            self.attempts
                .get(index)
                .is_some_and(|a| due(a) && self.on_path((a.socket, a.remote)) < MAX_ON_PATH)
        })?;
        let attempt = self.attempts.get_mut(index)?;
        attempt.followed = true;
        Some((attempt.socket, attempt.remote))
    }

    fn on_path(&self, path: (SocketId, SocketAddr)) -> usize {
        self.attempts.iter().filter(|attempt| attempt.is_on(path)).count()
    }

    /// An extended CHALLENGE was answered over this socket.
    pub(crate) fn awaits_on(&self, socket: SocketId) -> bool {
        self.attempts.iter().any(|attempt| attempt.socket == socket && !attempt.answers.is_empty())
    }

    /// An extended CHALLENGE was answered.
    fn is_answered(&self) -> bool {
        self.attempts.iter().any(|attempt| !attempt.answers.is_empty())
    }

    pub(crate) fn add(&mut self, remote: SocketAddr, socket: SocketId, offer: Offer, now: Instant) {
        self.attempts.push(Attempt::new(remote, socket, offer, now));
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = SocketId> + '_ {
        self.attempts.iter().map(|attempt| attempt.socket)
    }

    pub(crate) fn expects(&self, remote: SocketAddr) -> bool {
        self.attempts.iter().any(|attempt| attempt.remote == remote)
    }

    /// Answers a CHALLENGE: at most [`MAX_CANDIDATES`] different ones of an attempt. Gives whether it was taken.
    ///
    /// Different ones are those that give different keys: with a bit of its public key flipped on the way, a CHALLENGE must not
    /// stand in the way of its own sound copy; and a copy that gives the same keys must not start their nonces anew.
    pub(crate) fn handle_challenge(
        &mut self,
        challenge: &Challenge,
        (socket, remote): (SocketId, SocketAddr),
        config: &CommonConfig,
        suites: &dyn CipherSuites<Cipher = C>,
        now: Instant,
    ) -> bool {
        let answered = self.candidates.iter().filter(|c| c.remote == remote && c.socket == socket).count();
        if answered >= MAX_CANDIDATES {
            return false;
        }
        // The newest on this path is the one that asks.
        let attempt = self.attempts.iter_mut().rev().find(|a| a.remote == remote && a.socket == socket);
        let Some(attempt) = attempt else { return false };
        let suite = CipherSuite::from_id(challenge.cipher).filter(|s| config.cipher_preference.contains(s));
        let Some(suite) = suite else {
            self.handle_refusal(ConnectError::CipherRefused(challenge.cipher), false, now);
            return false;
        };
        let features = challenge.features & config.features;
        let terms = Terms {
            suite,
            token: challenge.token,
            features,
            migration_token: challenge
                .migration_token
                .filter(|_| features.contains(Features::CONNECTION_MIGRATION) && suite != CipherSuite::None),
            compression: if challenge.compression_ack == 0 { our_compression(config) } else { UNCOMPRESSED },
        };
        let server = PublicKey::from(challenge.public_key);
        let Ok(session) = Session::agree(Side::Client, &attempt.offer.keys, &server, terms, suites) else {
            return false;
        };
        if self.candidates.iter().any(|candidate| candidate.session.has_keys_of(&session)) {
            return false;
        }
        attempt.answered = true;
        self.refused = None;
        let rtt = attempt.asked_once.map(|at| now.saturating_duration_since(at));
        self.candidates.push(Candidate { session, remote, socket, rtt, response: Repeats::new(now) });
        true
    }

    /// Answers a CHALLENGE of the extended profile. Gives whether it was taken: that costs two key agreements.
    pub(crate) fn handle_extended_challenge(
        &mut self,
        challenge: &ExtendedChallenge,
        path: (SocketId, SocketAddr),
        config: &CommonConfig,
        suites: &dyn CipherSuites<Cipher = C>,
        now: Instant,
    ) -> bool {
        let nonce = &challenge.trailer.client_nonce;
        let attempt = self.attempts.iter_mut().find(|a| a.is_on(path) && a.offer.has_nonce(nonce));
        let Some(attempt) = attempt else { return false };
        let asked = (attempt.asked, attempt.asked_once.is_some());
        match attempt.answers.answer(challenge, &attempt.offer, asked, config, suites, now) {
            Ok(()) => {
                attempt.answered = true;
                // What else a refuser that saw our nonce said still stands: it may refuse this answer as it did the last.
                self.refused = self.refused.take().filter(|refusal| !refusal.is_belied_by_challenge());
                return true;
            }
            Err(NotAnswered::Useless) => {}
            Err(NotAnswered::Suite(id)) => self.handle_refusal(ConnectError::CipherRefused(id), true, now),
            Err(NotAnswered::TokenRequired) => self.handle_refusal(ConnectError::TokenRequired, true, now),
        }
        false
    }

    /// Takes a CONNECTED of the extended profile that opens under the keys of any answer: the handshake is won. Packet numbers
    /// begin with `first`. The
    /// datagram is opened in place then.
    pub(crate) fn handle_connected(
        &mut self,
        datagram: &mut BytesMut,
        path: (SocketId, SocketAddr),
        first: u32,
        suites: &Arc<dyn CipherSuites<Cipher = C>>,
    ) -> Option<Won<C>> {
        let attempts = self.attempts.iter_mut().filter(|attempt| attempt.is_on(path));
        let opened = attempts.filter_map(|attempt| attempt.answers.open(datagram, first, suites)).next()?;
        let held = self.held.drain(..).filter(|(from, _)| *from == path).map(|(_, datagram)| datagram);
        Some(opened.won(path, held.collect()))
    }

    /// Keeps a datagram that may belong to a connection whose CONNECTED has yet to come. Gives whether it did.
    pub(crate) fn hold(&mut self, datagram: &BytesMut, path: (SocketId, SocketAddr)) -> bool {
        let may = self.attempts.iter().any(|attempt| attempt.is_on(path) && !attempt.answers.is_empty());
        let held = may && self.held.len() < MAX_HELD;
        if held {
            self.held.push((path, datagram.clone()));
        }
        held
    }

    /// Notes a refusal whose bytes after its payload are `trailer`. One without a nonce of ours counts only where the base
    /// profile would do (PROTOCOL B2).
    pub(crate) fn handle_bare_refusal(
        &mut self,
        error: ConnectError,
        trailer: &[u8],
        path: (SocketId, SocketAddr),
        config: &CommonConfig,
        now: Instant,
    ) {
        let nonce = RefusalTrailer::decode(trailer).ok().map(|(trailer, _)| trailer.client_nonce);
        let ours = |attempt: &&mut Attempt| {
            attempt.is_on(path) && nonce.is_some_and(|nonce| attempt.offer.has_nonce(&nonce))
        };
        if let Some(attempt) = self.attempts.iter_mut().find(ours) {
            if attempt.answered && judged_by_connect(&error) {
                return;
            }
            if error == ConnectError::Busy {
                attempt.answers.iter_mut().for_each(|answer| answer.repeats.slow_down(now));
            }
            self.handle_refusal(error, true, now);
        } else if config.extended.base && (nonce.is_none() || !config.extended.spoken) {
            self.handle_refusal(error, false, now);
        }
    }

    /// A DISCONNECT under the keys of each answered CHALLENGE that did not win. Not over the winner's socket:
    /// from that address the server would take it for a new connection in place of the winner.
    pub(crate) fn dismiss_losers(&mut self, won: SocketId) -> Vec<HandshakeDatagram> {
        let losers = self.candidates.drain(..).filter(|candidate| candidate.socket != won);
        losers.filter_map(dismissal).collect()
    }

    /// The extended answers that did not win: the server may take one for a connection yet.
    pub(crate) fn take_losers(&mut self) -> impl Iterator<Item = Losers> + '_ {
        let answered = self.attempts.drain(..).filter(|attempt| !attempt.answers.is_empty());
        answered.map(|attempt| Losers { path: (attempt.socket, attempt.remote), answers: attempt.answers })
    }

    /// Notes a refusal. Anybody can forge one, so it counts only if no valid CHALLENGE comes within a grace
    /// time; after a CHALLENGE it only tells why, should nothing more come.
    fn handle_refusal(&mut self, error: ConnectError, proven: bool, now: Instant) {
        match &mut self.refused {
            Some(refusal) if refusal.error == error && refusal.proven == proven => {
                // one that comes sooner may be a copy of the first
                refusal.again |= now >= refusal.at - GRACE + REPEAT;
            }
            // Whoever has not seen our nonce does not speak over one who has.
            Some(refusal) if refusal.proven && !proven => {}
            _ => self.refused = Some(Refusal { error, at: now + GRACE, again: false, proven }),
        }
    }

    /// A refusal that will be believed, unless something better comes first.
    fn credible_refusal(&self) -> Option<&Refusal> {
        let stands = |refusal: &&Refusal| refusal.proven || !self.is_answered();
        self.refused
            .as_ref()
            .filter(|refusal| refusal.is_final() && self.candidates.is_empty())
            .filter(stands)
    }

    /// The attempt's end without a connection, if it has come.
    pub(crate) fn verdict(&self, now: Instant) -> Option<ConnectError> {
        if let Some(refusal) = self.credible_refusal().filter(|refusal| now >= refusal.at) {
            return Some(refusal.error.clone());
        }
        let refused = self.refused.as_ref().map(|refusal| refusal.error.clone());
        let after = self.timeout;
        let silence = || match self.is_answered() {
            true => ConnectError::Unconfirmed { after },
            false => ConnectError::Timeout { after },
        };
        (now.saturating_duration_since(self.started) >= self.timeout).then(|| refused.unwrap_or_else(silence))
    }

    /// The next handshake datagram that is due.
    pub(crate) fn poll_datagram(&mut self, now: Instant) -> Option<HandshakeDatagram> {
        for candidate in &mut self.candidates {
            if candidate.response.due(now) {
                let bytes = response(&mut candidate.session)?;
                let (socket, remote) = (candidate.socket, candidate.remote);
                return Some(HandshakeDatagram { socket, remote, source: None, bytes });
            }
        }
        for attempt in &mut self.attempts {
            let (socket, remote) = (attempt.socket, attempt.remote);
            if let Some(answer) = attempt.answers.iter_mut().find_map(|a| a.repeats.due(now).then_some(a)) {
                return Some(HandshakeDatagram {
                    socket,
                    remote,
                    source: None,
                    bytes: answer.response.clone(),
                });
            }
            // An answered attempt asks on, slowly: its server may have forgotten the handshake.
            if attempt.connect.due(now) {
                if attempt.answered {
                    attempt.connect.next = now + REPEAT_MAX;
                    if now.saturating_duration_since(attempt.connect.since) < SECOND_PORT {
                        continue;
                    }
                }
                attempt.asked_once = attempt.asked.is_none().then_some(now);
                attempt.asked.get_or_insert(now);
                return Some(attempt.offer.datagram((socket, remote)));
            }
        }
        None
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let answers = self.attempts.iter().flat_map(|attempt| attempt.answers.iter());
        let responses = self.candidates.iter().map(|candidate| candidate.response.next);
        let responses = responses.chain(answers.map(|answer| answer.repeats.next));
        let second = |attempt: &Attempt| {
            attempt.follow_at().filter(|_| self.on_path((attempt.socket, attempt.remote)) < MAX_ON_PATH)
        };
        let seconds = self.attempts.iter().filter_map(second);
        let connects = self.attempts.iter().map(|attempt| attempt.connect.next);
        let address = (!self.waiting.is_empty()).then_some(self.next_address);
        let port = (!self.second_port && !self.is_answered()).then_some(self.started + SECOND_PORT);
        let verdict = self.credible_refusal().map(|refusal| refusal.at);
        let end = Some(self.started + self.timeout);
        responses.chain(seconds).chain(connects).chain(address).chain(port).chain(verdict).chain(end).min()
    }
}

/// What this configuration compresses with.
pub(crate) fn our_compression(config: &CommonConfig) -> Method {
    Method {
        algorithm: config.compression.algorithm,
        dictionary: config.compression.algorithm == Algorithm::Zstd
            && config.compression.dictionary.is_some(),
    }
}

/// Whether a client that asks so compresses as this configuration does.
pub(crate) fn same_compression(connect: &Connect, config: &CommonConfig) -> bool {
    let same_dictionary = connect.dictionary_hash == dictionary_hash(config);
    connect.compression == config.compression.algorithm.id()
        && (connect.compression != Algorithm::Zstd.id() || same_dictionary)
}

/// The dictionary hash as CONNECT carries it.
pub(crate) fn dictionary_hash(config: &CommonConfig) -> Option<[u8; 32]> {
    let dictionary = config.compression.dictionary.as_ref()?;
    our_compression(config).dictionary.then(|| dictionary.hash())
}

/// RESPONSE: sealed anew each time with the next nonce, never framed (PROTOCOL A5).
fn response<C: Cipher>(session: &mut Session<C>) -> Option<Vec<u8>> {
    let plain = bare(&Control::Response { token: session.token });
    let (prefix, suffix) = (session.sealer.prefix_len(), session.sealer.suffix_len());
    let mut packet = vec![0; prefix + plain.len() + suffix];
    packet.get_mut(prefix..prefix + plain.len())?.copy_from_slice(&plain);
    session.sealer.seal(&mut packet).ok()?;
    Some(packet)
}

/// DISCONNECT, framed as agreed.
fn dismissal<C: Cipher>(mut loser: Candidate<C>) -> Option<HandshakeDatagram> {
    let mut buf = TransmitBuf::new(1);
    let mut builder = DatagramBuilder::new(&mut buf, loser.session.framing(), DEFAULT_MTU);
    let payload = &[ControlType::Disconnect.id()];
    let packet = Packet { header: PacketHeader::control(0, 0, 0), fragment: None, payload };
    builder.packet(&mut loser.session.sealer, &packet).ok()?;
    builder.finish();
    let route = Route { socket: loser.socket, remote: loser.remote, source: None };
    let bytes = buf.transmit(route).contents.to_vec();
    Some(HandshakeDatagram { socket: loser.socket, remote: loser.remote, source: None, bytes })
}

/// Whether a server of the extended profile finds it in CONNECT, before it answers with CHALLENGE.
fn judged_by_connect(error: &ConnectError) -> bool {
    matches!(error, ConnectError::LayoutDiffers | ConnectError::UnknownServerKey)
}

/// A refusal as an error.
pub(crate) fn rejection(reject: &Reject) -> ConnectError {
    match reject.reason.code() {
        0 => ConnectError::ServerFull,
        1 => ConnectError::Banned,
        2 => ConnectError::LayoutDiffers,
        3 => ConnectError::NotAuthorised,
        4 => ConnectError::SuiteRefused,
        5 => ConnectError::Busy,
        6 => ConnectError::UnknownServerKey,
        other => ConnectError::Refused(other),
    }
}

/// A version mismatch as an error.
pub(crate) fn mismatch(theirs: &VersionMismatch, config: &CommonConfig) -> ConnectError {
    ConnectError::VersionMismatch {
        protocol: theirs.version,
        application: theirs.application_version,
        our_protocol: PROTOCOL_VERSION,
        our_application: config.application_version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_steady_for_two_seconds_and_then_back_off_to_half_a_second() {
        let start = Instant::now();
        let mut repeats = Repeats::new(start);
        let (mut now, mut expected) = (start, REPEAT);
        for _ in 0..100 {
            assert!(repeats.due(now), "due at its time, after {:?}", now - start);
            if now - start >= REPEAT_STEADY {
                expected = (expected * 3 / 2).min(REPEAT_MAX);
            }
            assert_eq!(repeats.next, now + expected);
            assert!(!repeats.due(repeats.next - Duration::from_nanos(1)), "and no sooner");
            now = repeats.next;
        }
        assert_eq!(expected, REPEAT_MAX);
    }

    #[test]
    fn every_reason_to_be_refused_is_told_apart() {
        let told: Vec<ConnectError> = (0..=u8::MAX)
            .map(|code| rejection(&Reject { reason: fastwire_wire::RejectReason::from_code(code) }))
            .collect();
        for (code, error) in told.iter().enumerate() {
            assert!(told[..code].iter().all(|other| other != error), "code {code}: {error:?}");
        }
    }
}

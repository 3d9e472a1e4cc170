//! Client side: attempts, CHALLENGE candidates and the verdicts of servers that refuse.
//!
//! An *attempt* is one key pair on one local socket towards one address. Each may collect *candidates*,
//! the CHALLENGEs it answered. The first candidate under whose keys a packet opens wins (PROTOCOL A5).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use fastwire_compress::{Algorithm, Method};
use fastwire_crypto::{Cipher, CipherSuite, CipherSuites, KeyPair, PublicKey};
use fastwire_wire::{
    CONTROL_PREFIX, Challenge, Connect, Control, ControlType, DEFAULT_MTU, Features, PROTOCOL_VERSION,
    PacketHeader, Reject, VersionMismatch,
};

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

/// When to send something again: steady first, then backing off.
#[derive(Debug, Clone, Copy)]
struct Repeats {
    since: Instant,
    next: Instant,
    interval: Duration,
}

impl Repeats {
    fn new(now: Instant) -> Self {
        Self { since: now, next: now, interval: REPEAT }
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
    keys: KeyPair,
    connect: Repeats,
    /// A CHALLENGE of this attempt was answered.
    answered: bool,
    /// When CONNECT went out, while it did so only once: then its answer gives a round trip (Karn).
    asked_once: Option<Instant>,
    asked: bool,
}

impl Attempt {
    fn new(remote: SocketAddr, socket: SocketId, keys: KeyPair, now: Instant) -> Self {
        Self {
            remote,
            socket,
            keys,
            connect: Repeats::new(now),
            answered: false,
            asked_once: None,
            asked: false,
        }
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
    pub(crate) candidates: Vec<Candidate<C>>,
    refused: Option<Refusal>,
}

impl<C: Cipher> ClientHandshake<C> {
    /// Starts towards the first of `remotes` over `socket`; the others follow.
    pub(crate) fn new(
        remotes: &[SocketAddr],
        socket: SocketId,
        keys: KeyPair,
        timeout: Duration,
        now: Instant,
    ) -> Option<Self> {
        let (&first, rest) = remotes.split_first()?;
        let waiting = rest.iter().copied().take(MAX_ADDRESSES - 1).rev().collect();
        Some(Self {
            started: now,
            timeout,
            attempts: vec![Attempt::new(first, socket, keys, now)],
            waiting,
            next_address: now + NEXT_ADDRESS,
            second_port: false,
            first,
            candidates: Vec::new(),
            refused: None,
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
        if !self.second_port && now.saturating_duration_since(self.started) >= SECOND_PORT {
            self.second_port = true;
            return Some(self.first);
        }
        None
    }

    pub(crate) fn add(&mut self, remote: SocketAddr, socket: SocketId, keys: KeyPair, now: Instant) {
        self.attempts.push(Attempt::new(remote, socket, keys, now));
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
        let attempt = self.attempts.iter_mut().find(|a| a.remote == remote && a.socket == socket);
        let Some(attempt) = attempt else { return false };
        let suite = CipherSuite::from_id(challenge.cipher).filter(|s| config.cipher_preference.contains(s));
        let Some(suite) = suite else {
            self.handle_refusal(ConnectError::CipherRefused(challenge.cipher), now);
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
        let Ok(session) = Session::agree(Side::Client, &attempt.keys, &server, terms, suites) else {
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

    /// A DISCONNECT under the keys of each answered CHALLENGE that did not win. Not over the winner's socket:
    /// from that address the server would take it for a new connection in place of the winner.
    pub(crate) fn dismiss_losers(&mut self, won: SocketId) -> Vec<HandshakeDatagram> {
        let losers = self.candidates.drain(..).filter(|candidate| candidate.socket != won);
        losers.filter_map(dismissal).collect()
    }

    /// Notes a refusal. Anybody can forge one, so it counts only if no valid CHALLENGE comes within a grace
    /// time; after a CHALLENGE it only tells why, should nothing more come.
    pub(crate) fn handle_refusal(&mut self, error: ConnectError, now: Instant) {
        match &mut self.refused {
            Some(refusal) if refusal.error == error => refusal.again = true,
            _ => self.refused = Some(Refusal { error, at: now + GRACE, again: false }),
        }
    }

    /// The attempt's end without a connection, if it has come.
    pub(crate) fn verdict(&self, now: Instant) -> Option<ConnectError> {
        if let Some(refusal) = &self.refused
            && refusal.again
            && now >= refusal.at
            && self.candidates.is_empty()
        {
            return Some(refusal.error.clone());
        }
        let refused = self.refused.as_ref().map(|refusal| refusal.error.clone());
        (now.saturating_duration_since(self.started) >= self.timeout)
            .then(|| refused.unwrap_or(ConnectError::Timeout { after: self.timeout }))
    }

    /// The next handshake datagram that is due.
    pub(crate) fn poll_datagram(&mut self, config: &CommonConfig, now: Instant) -> Option<HandshakeDatagram> {
        for candidate in &mut self.candidates {
            if candidate.response.due(now) {
                let bytes = response(&mut candidate.session)?;
                let (socket, remote) = (candidate.socket, candidate.remote);
                return Some(HandshakeDatagram { socket, remote, source: None, bytes });
            }
        }
        for attempt in &mut self.attempts {
            // An answered attempt asks on, slowly: its server may have forgotten the handshake.
            if attempt.connect.due(now) {
                if attempt.answered {
                    attempt.connect.next = now + REPEAT_MAX;
                    if now.saturating_duration_since(attempt.connect.since) < SECOND_PORT {
                        continue;
                    }
                }
                attempt.asked_once = (!attempt.asked).then_some(now);
                attempt.asked = true;
                return Some(connect(config, &attempt.keys, (attempt.socket, attempt.remote)));
            }
        }
        None
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let responses = self.candidates.iter().map(|candidate| candidate.response.next);
        let connects = self.attempts.iter().map(|attempt| attempt.connect.next);
        let address = (!self.waiting.is_empty()).then_some(self.next_address);
        let port = (!self.second_port).then_some(self.started + SECOND_PORT);
        let believed = |refusal: &&Refusal| refusal.again && self.candidates.is_empty();
        let verdict = self.refused.as_ref().filter(believed).map(|refusal| refusal.at);
        let end = Some(self.started + self.timeout);
        responses.chain(connects).chain(address).chain(port).chain(verdict).chain(end).min()
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

/// The dictionary hash as CONNECT carries it.
pub(crate) fn dictionary_hash(config: &CommonConfig) -> Option<[u8; 32]> {
    let dictionary = config.compression.dictionary.as_ref()?;
    our_compression(config).dictionary.then(|| dictionary.hash())
}

/// The CONNECT of one key pair.
pub(crate) fn connect(
    config: &CommonConfig,
    keys: &KeyPair,
    (socket, remote): (SocketId, SocketAddr),
) -> HandshakeDatagram {
    let suite = config.cipher_preference.first().copied().unwrap_or(CipherSuite::Aes128Gcm);
    let bytes = bare(&Control::Connect(Connect {
        version: PROTOCOL_VERSION,
        application_version: config.application_version,
        public_key: *keys.public().as_bytes(),
        cipher: suite.id(),
        compression: config.compression.algorithm.id(),
        dictionary_hash: dictionary_hash(config),
        features: config.features,
    }));
    HandshakeDatagram { socket, remote, source: None, bytes }
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

/// A control packet that travels unsealed.
pub(crate) fn bare(control: &Control) -> Vec<u8> {
    let mut bytes = vec![0; CONTROL_PREFIX.len() + control.encoded_len()];
    // The buffer has just the size.
    let len = control.encode_bare(&mut bytes).unwrap_or_default();
    bytes.truncate(len);
    bytes
}

/// A refusal as an error.
pub(crate) fn rejection(reject: &Reject) -> ConnectError {
    match reject.reason.code() {
        0 => ConnectError::ServerFull,
        1 => ConnectError::Banned,
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

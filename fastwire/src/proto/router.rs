//! Server side: whose datagram is this? Addresses, migration tokens, unfinished handshakes, bans.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastwire_crypto::{Cipher, CipherSuite, CipherSuites, KeyPair};
use fastwire_wire::info::{InfoAnswer, InfoRequest, MIN_INFO_REQUEST};
use fastwire_wire::{
    CONTROL_PREFIX, Connect, Control, Features, PROTOCOL_VERSION, Reject, RejectReason, VersionMismatch,
};

use super::entropy::Entropy;
use super::handshake::budget::{Budget, PrefixBudgets};
use super::handshake::client::{HandshakeDatagram, our_compression, same_compression};
use super::handshake::extended::server::{Asked, Gate, Judgement, ResponseOutcome};
use super::handshake::offer::{bare, bare_refusal};
use super::handshake::pending::{Pending, PendingTable};
use super::id_map::IdMap;
use super::residents::Residents;
use super::session::{Terms, UNCOMPRESSED};
use crate::config::CommonConfig;
use crate::identity::Identity;
use crate::info::ServerInfo;
use crate::transport::RecvMeta;
use crate::{ConnectionId, EndpointStats};

/// The server's key pair serves all handshakes that begin within this time (PROTOCOL A4).
const KEY_LIFETIME: Duration = Duration::from_secs(60);
/// An answer to CONNECT is at most this many times as large.
const AMPLIFICATION: usize = 3;

/// A datagram's circumstances.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) meta: &'a RecvMeta,
    /// Its size in bytes.
    pub(crate) len: usize,
    pub(crate) now: Instant,
}

/// What only a server has.
pub(crate) struct Router<C> {
    pub(crate) addresses: HashMap<SocketAddr, ConnectionId>,
    pub(crate) tokens: HashMap<[u8; 8], ConnectionId>,
    /// Connections of the extended profile by the ids they gave out.
    pub(crate) ids: IdMap,
    pub(crate) pending: PendingTable<C>,
    pub(crate) agreements: Budget,
    /// Answers to CONNECT.
    challenges: Budget,
    bans: HashSet<IpAddr>,
    keys: Arc<KeyPair>,
    keys_made: Instant,
    /// What the extended profile keeps before there is a connection.
    pub(crate) gate: Gate,
    pub(crate) max_connections: usize,
    pub(crate) residents: Residents,
    info: Option<ServerInfo>,
    info_budget: Budget,
    info_budgets: PrefixBudgets,
    require_application_version: bool,
}

impl<C: Cipher> Router<C> {
    pub(crate) fn new(
        config: &CommonConfig,
        max_connections: usize,
        require_application_version: bool,
        (keys, identity): (KeyPair, Identity),
        now: Instant,
    ) -> Self {
        let challenges = config.limits.challenges_per_second;
        Self {
            addresses: HashMap::new(),
            tokens: HashMap::new(),
            ids: IdMap::default(),
            pending: PendingTable::new(&config.limits),
            agreements: Budget::new(config.limits.key_agreements_per_second, now),
            challenges: Budget::with_burst(challenges, (challenges / 10).max(1), now),
            bans: HashSet::new(),
            keys: Arc::new(keys),
            keys_made: now,
            gate: Gate::new(config, identity, now),
            max_connections,
            residents: Residents::new(&config.limits),
            info: None,
            info_budget: Budget::new(config.limits.info_per_second, now),
            info_budgets: PrefixBudgets::new(config.limits.info_per_address, config.limits.info_per_second),
            require_application_version,
        }
    }

    /// Adds a ban unless `max` stand already.
    pub(crate) fn ban(&mut self, ip: IpAddr, max: usize) -> bool {
        let ip = ip.to_canonical();
        self.bans.contains(&ip) || (self.bans.len() < max && self.bans.insert(ip))
    }

    pub(crate) fn unban(&mut self, ip: IpAddr) -> bool {
        self.bans.remove(&ip.to_canonical())
    }

    pub(crate) fn bans(&self) -> usize {
        self.bans.len()
    }

    /// Takes the key pair that recorded conversations fix.
    pub(crate) fn set_keys(&mut self, keys: KeyPair) {
        self.keys = Arc::new(keys);
    }

    /// Answers CONNECT: with CHALLENGE, or with why not. Costs an entry in the base profile and nothing in the extended one;
    /// never a key agreement.
    pub(crate) fn handle_connect(
        &mut self,
        connect: Connect,
        datagram: &[u8],
        arrival: Arrival<'_>,
        connections: usize,
        config: &CommonConfig,
        (entropy, stats): (&mut Entropy, &mut EndpointStats),
    ) -> Option<HandshakeDatagram> {
        let Arrival { meta, len, .. } = arrival;
        stats.connects_received += 1;
        if !self.challenges.take(arrival.now) {
            stats.connects_refused += 1;
            return None;
        }
        let asked = Asked::of_datagram(datagram).filter(|_| config.extended.spoken);
        let challenged = match self.refusal(&connect, meta, connections, config) {
            Some(refusal) => Err(refusal),
            None => match &asked {
                Some(asked) => self
                    .gate
                    .challenge(asked, meta.remote, config, entropy, arrival.now)
                    .map_err(|reason| Control::Reject(Reject { reason })),
                None if config.extended.base => {
                    Ok(bare(&self.challenge(connect, arrival, config, (entropy, stats))))
                }
                // Nobody gets in here without proof that the base profile has no words for.
                None => Err(Control::Reject(Reject { reason: RejectReason::NOT_AUTHORISED })),
            },
        };
        let bytes = match challenged {
            Ok(challenge) => {
                stats.challenges_sent += 1;
                challenge
            }
            Err(refusal) => {
                tracing::debug!(remote = %meta.remote, ?refusal, "client turned away");
                stats.rejected += 1;
                match asked {
                    Some(asked) => bare_refusal(&refusal, asked.trailer.client_nonce),
                    None => bare(&refusal),
                }
            }
        };
        (bytes.len() <= AMPLIFICATION * len).then(|| answer_to(meta, bytes))
    }

    /// Judges a RESPONSE of the extended profile, cheapest checks first.
    pub(crate) fn handle_response(
        &mut self,
        datagram: &[u8],
        arrival: Arrival<'_>,
        connections: usize,
        config: &CommonConfig,
        suites: &Arc<dyn CipherSuites<Cipher = C>>,
        (entropy, stats): (&mut Entropy, &mut EndpointStats),
    ) -> ResponseOutcome {
        if !config.extended.spoken {
            stats.malformed_handshakes += 1;
            return ResponseOutcome::Ignored;
        }
        let Arrival { meta, now, .. } = arrival;
        let refusal = if self.bans.contains(&meta.remote.ip().to_canonical()) {
            Some(RejectReason::BANNED)
        } else {
            let room = connections < self.max_connections && self.residents.has_room(meta.remote.ip());
            (!room).then_some(RejectReason::SERVER_FULL)
        };
        let path = (meta.remote, now);
        let (agreements, books) = (&mut self.agreements, (entropy, &mut *stats));
        match self.gate.judge(datagram, path, refusal, agreements, (config, suites), books) {
            Judgement::Ignored => ResponseOutcome::Ignored,
            Judgement::Again(id) => ResponseOutcome::Again(id),
            Judgement::Accepted(agreed) => ResponseOutcome::Accepted(agreed),
            Judgement::Refused { reason, client_nonce } => {
                tracing::debug!(remote = %meta.remote, %reason, "client turned away");
                stats.rejected += 1;
                let refusal = Control::Reject(Reject { reason });
                ResponseOutcome::Refused(answer_to(meta, bare_refusal(&refusal, client_nonce)))
            }
        }
    }

    /// The half-open connection of an accepted cookie. Gives the half-open connection that has to end, where there are too
    /// many.
    pub(crate) fn bind_cookie(
        &mut self,
        cookie: [u8; 32],
        id: ConnectionId,
        now: Instant,
    ) -> Option<ConnectionId> {
        self.gate.cookies.bind(cookie, id, now)
    }

    pub(crate) fn set_info(&mut self, info: Option<ServerInfo>) {
        self.info = info;
    }

    /// Answers a question about the server. `None`: it is no such question, or gets no answer.
    pub(crate) fn answer_info(
        &mut self,
        datagram: &[u8],
        Arrival { meta, now, .. }: Arrival<'_>,
        connections: usize,
        (config, stats): (&CommonConfig, &mut EndpointStats),
    ) -> Option<HandshakeDatagram> {
        let (info, request) = (self.info.as_ref()?, InfoRequest::decode(datagram)?);
        let ip = meta.remote.ip();
        if self.bans.contains(&ip.to_canonical())
            || !self.info_budgets.take(ip, now)
            || !self.info_budget.take(now)
        {
            stats.info_refused += 1;
            return None;
        }
        let answer = InfoAnswer {
            nonce: request.nonce,
            application_version: config.application_version,
            players: u32::try_from(connections).unwrap_or(u32::MAX),
            max_players: u32::try_from(self.max_connections).unwrap_or(u32::MAX),
            needs_secret: config.extended.require_token || config.extended.psk.is_some(),
            name: &info.name,
            details: &info.details,
        };
        let mut bytes = vec![0; MIN_INFO_REQUEST];
        // Its parts were checked when they were set.
        let length = answer.encode(&mut bytes).ok()?;
        bytes.truncate(length);
        stats.info_answered += 1;
        Some(answer_to(meta, bytes))
    }

    /// The server shuts down: nobody gets a place, not even who had one.
    pub(crate) fn is_leaving(&self) -> bool {
        self.max_connections == 0
    }

    /// Half-open connections.
    pub(crate) fn half_open(&self) -> usize {
        self.gate.half_open()
    }

    /// The cookie's connection is half-open no more: its client was heard.
    pub(crate) fn confirm_cookie(&mut self, cookie: &[u8; 32]) {
        self.gate.cookies.confirm(cookie);
    }

    /// The cookie's connection has ended. The cookie opens nothing any more.
    pub(crate) fn release_cookie(&mut self, cookie: &[u8; 32]) {
        self.gate.cookies.release(cookie);
    }

    fn refusal(
        &self,
        connect: &Connect,
        meta: &RecvMeta,
        connections: usize,
        config: &CommonConfig,
    ) -> Option<Control> {
        if self.bans.contains(&meta.remote.ip().to_canonical()) {
            return Some(Control::Reject(Reject { reason: RejectReason::BANNED }));
        }
        let other_application =
            self.require_application_version && connect.application_version != config.application_version;
        if connect.version != PROTOCOL_VERSION || other_application {
            return Some(Control::VersionMismatch(VersionMismatch {
                version: PROTOCOL_VERSION,
                application_version: config.application_version,
            }));
        }
        // A client that starts anew takes its own old place.
        let room = connections < self.max_connections && self.residents.has_room(meta.remote.ip());
        let full = !room && (self.is_leaving() || !self.addresses.contains_key(&meta.remote));
        full.then_some(Control::Reject(Reject { reason: RejectReason::SERVER_FULL }))
    }

    fn challenge(
        &mut self,
        connect: Connect,
        Arrival { meta, len, now }: Arrival<'_>,
        config: &CommonConfig,
        (entropy, stats): (&mut Entropy, &mut EndpointStats),
    ) -> Control {
        if self.pending.find(meta.remote, &connect.public_key).is_none() {
            let terms = terms(&connect, config, entropy);
            let same = same_compression(&connect, config);
            let terms =
                Terms { compression: if same { our_compression(config) } else { UNCOMPRESSED }, ..terms };
            if now.saturating_duration_since(self.keys_made) >= KEY_LIFETIME {
                self.keys = Arc::new(KeyPair::from_secret(entropy.bytes()));
                self.keys_made = now;
            }
            let ack = u8::from(!same);
            let pending = Pending::new(meta.remote, connect, terms, ack, Arc::clone(&self.keys), now);
            stats.handshakes_expired += self.pending.insert(pending);
        }
        match self.pending.find(meta.remote, &connect.public_key) {
            Some(pending) => {
                let challenge = pending.challenge(config.application_version);
                pending.challenges += 1;
                pending.bytes_received += len as u64;
                let answer = Control::Challenge(challenge);
                pending.bytes_sent += (CONTROL_PREFIX.len() + answer.encoded_len()) as u64;
                answer
            }
            // Cannot be: it was just inserted, and the newest is not evicted.
            None => Control::Reject(Reject { reason: RejectReason::SERVER_FULL }),
        }
    }
}

pub(crate) fn answer_to(meta: &RecvMeta, bytes: Vec<u8>) -> HandshakeDatagram {
    HandshakeDatagram { socket: meta.socket, remote: meta.remote, source: meta.local, bytes }
}

/// The answer to a client of the base profile whose handshake is complete and which gets no place.
pub(crate) fn turned_away(meta: &RecvMeta, reason: RejectReason) -> HandshakeDatagram {
    answer_to(meta, bare(&Control::Reject(Reject { reason })))
}

/// The client's suite where our policy has it, else our first choice; features that both sides want.
fn terms(connect: &Connect, config: &CommonConfig, entropy: &mut Entropy) -> Terms {
    let asked = CipherSuite::from_id(connect.cipher).filter(|suite| config.cipher_preference.contains(suite));
    let suite = asked.or(config.cipher_preference.first().copied()).unwrap_or(CipherSuite::Aes128Gcm);
    let mut features = connect.features & config.features;
    if suite == CipherSuite::None {
        // Without a cipher nothing is authenticated, so nobody can prove that he moved (PROTOCOL A10).
        features = features & Features::SEND_BATCHING;
    }
    let token = entropy.bytes();
    let migration_token = features.contains(Features::CONNECTION_MIGRATION).then(|| {
        let mut token = entropy.bytes();
        if let Some(shard) = config.shard {
            shard.mark(&mut token);
        }
        token
    });
    Terms { suite, token, features, migration_token, compression: UNCOMPRESSED }
}

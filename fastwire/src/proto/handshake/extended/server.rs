//! Server side of the extended handshake: CHALLENGE without state, RESPONSE checked cheapest first (PROTOCOL B2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_compress::Method;
use fastwire_crypto::extended::{COOKIE_LEN, CookieKey, TOKEN_LEN, short_hash};
use fastwire_crypto::{
    Cipher, CipherSuite, CipherSuites, HandshakeKeys, KeyAgreement as _, KeyPair, PublicKey, TAG_LEN,
    Transcript,
};
use fastwire_wire::extended::{
    ChallengeTrailer, ConnectTrailer, EXTENDED_VERSION, MIN_CONNECT_DATAGRAM, Params, Response,
};
use fastwire_wire::{CONTROL_PREFIX, Challenge, Connect, Control, Features, PROTOCOL_VERSION, RejectReason};

use super::cookies::{Cookies, Used};
use super::{Agreed, COOKIE_LIFETIME};
use crate::config::CommonConfig;
use crate::connect_token::TokenClaims;
use crate::identity::Identity;
use crate::profile::{MAX_AUTH, PreSharedKey, is_acceptable};
use crate::proto::entropy::Entropy;
use crate::proto::handshake::budget::{Budget, PrefixBudgets};
use crate::proto::handshake::client::{HandshakeDatagram, our_compression, same_compression};
use crate::proto::handshake::offer::{bare, push_trailer};
use crate::proto::session::UNCOMPRESSED;
use crate::{ConnectionId, EndpointStats};

/// An epoch's keys make CHALLENGEs for so long (PROTOCOL, part B),
const EPOCH: Duration = Duration::from_secs(60);
/// and take answers for so much longer: as long as a cookie lives.
const EPOCH_GRACE: Duration = COOKIE_LIFETIME;

/// What came of a RESPONSE.
pub(crate) enum ResponseOutcome {
    /// Nothing: not ours, too old, or it did not open.
    Ignored,
    /// The client is told why not.
    Refused(HandshakeDatagram),
    /// The connection of this cookie exists: CONNECTED again.
    Again(ConnectionId),
    /// A half-open connection.
    Accepted(Box<Agreed>),
}

/// What [`Gate::judge`] found.
#[derive(Debug)]
pub(crate) enum Judgement {
    Ignored,
    Refused { reason: RejectReason, client_nonce: [u8; 8] },
    Again(ConnectionId),
    Accepted(Box<Agreed>),
}

/// A CONNECT with the extended profile's trailer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) connect: Connect,
    pub(crate) trailer: ConnectTrailer,
    /// The control payload with its trailer.
    payload: &'a [u8],
}

impl<'a> Asked<'a> {
    /// Reads a control payload with its trailer.
    fn parse(payload: &'a [u8]) -> Option<Self> {
        let (Control::Connect(connect), len) = Control::decode(payload).ok()? else { return None };
        let (trailer, more) = ConnectTrailer::decode(payload.get(len..)?).ok()?;
        let fits = connect.features.contains(Features::EXTENDED) && trailer.version == EXTENDED_VERSION;
        fits.then_some(Self { connect, trailer, payload: payload.get(..len + more)? })
    }

    /// Reads a datagram. One that is too short or has no whole trailer is a base CONNECT (PROTOCOL B1).
    pub(crate) fn of_datagram(datagram: &'a [u8]) -> Option<Self> {
        let payload = datagram.strip_prefix(&CONTROL_PREFIX)?;
        (datagram.len() >= MIN_CONNECT_DATAGRAM).then(|| Self::parse(payload)).flatten()
    }
}

/// The keys of one epoch.
struct Epoch {
    keys: KeyPair,
    cookies: CookieKey,
    number: u8,
    made: Instant,
}

/// What a server of the extended profile keeps before there is a connection: its keys, and which cookies were used.
pub(crate) struct Gate {
    identity: Identity,
    identity_id: [u8; 8],
    started: Instant,
    current: Option<Epoch>,
    previous: Option<Epoch>,
    pub(crate) cookies: Cookies,
    /// Of handshakes that cost key agreements, in either profile.
    pub(crate) budgets: PrefixBudgets,
    /// A moment, and what Unix time it was then, in seconds.
    unix: Option<(Instant, u64)>,
}

impl Gate {
    pub(crate) fn new(config: &CommonConfig, identity: Identity, now: Instant) -> Self {
        let limits = &config.limits;
        Self {
            identity_id: short_hash(identity.public_key().as_bytes()),
            identity,
            started: now,
            current: None,
            previous: None,
            cookies: Cookies::new(limits.half_open_connections),
            budgets: PrefixBudgets::new(limits.key_agreements_per_address, limits.key_agreements_per_site),
            unix: None,
        }
    }

    /// Connections whose client has yet to be heard.
    pub(crate) fn half_open(&self) -> usize {
        self.cookies.half_open()
    }

    /// The server's identity key.
    pub(crate) fn public_key(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// Answers for another server's key, as an impostor would.
    #[cfg(test)]
    pub(super) fn pretend_to_be(&mut self, key: &PublicKey) {
        self.identity_id = short_hash(key.as_bytes());
    }

    /// Says what time it is, for the expiry of connect tokens.
    pub(crate) fn set_unix_time(&mut self, seconds: u64, now: Instant) {
        self.unix = Some((now, seconds));
    }

    /// Whole seconds on a monotonic clock, for cookies.
    fn seconds(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.started).as_secs() as u32
    }

    /// Drops keys whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        let age = |epoch: &Epoch| now.saturating_duration_since(epoch.made);
        let is_over = |epoch: &mut Epoch| age(epoch) >= EPOCH + EPOCH_GRACE;
        self.previous.take_if(is_over);
        self.current.take_if(is_over);
    }

    /// The epoch that CHALLENGEs are made in.
    fn epoch(&mut self, now: Instant, entropy: &mut Entropy) -> Option<&Epoch> {
        self.expire(now);
        let young = |epoch: &Epoch| now.saturating_duration_since(epoch.made) < EPOCH;
        if !self.current.as_ref().is_some_and(young) {
            let number = self.current.as_ref().map_or(0, |epoch| epoch.number.wrapping_add(1));
            let (keys, cookies) = (KeyPair::from_secret(entropy.bytes()), entropy.bytes());
            let epoch = Epoch { keys, cookies: CookieKey::new(number, cookies), number, made: now };
            self.previous = self.current.replace(epoch);
        }
        self.current.as_ref()
    }

    /// Answers CONNECT: with a CHALLENGE datagram, or with why not. Keeps nothing.
    pub(crate) fn challenge(
        &mut self,
        asked: &Asked<'_>,
        remote: SocketAddr,
        config: &CommonConfig,
        entropy: &mut Entropy,
        now: Instant,
    ) -> Result<Vec<u8>, RejectReason> {
        self.fits(asked, config)?;
        let seconds = self.seconds(now);
        let random = entropy.bytes();
        let epoch = self.epoch(now, entropy).ok_or(RejectReason::TRY_LATER)?;
        let cookie = epoch.cookies.make(seconds, random, remote, asked.payload);
        let epoch_key = epoch.keys.public();
        Ok(self.challenge_datagram(asked, &epoch_key, cookie, config)?.0)
    }

    /// What of a CONNECT this server can judge before anything is proven.
    fn fits(&self, asked: &Asked<'_>, config: &CommonConfig) -> Result<(), RejectReason> {
        let trailer = &asked.trailer;
        if trailer.layout_hash != config.extended.layout_hash {
            return Err(RejectReason::LAYOUT_DIFFERS);
        }
        if trailer.server_key_id != [0; 8] && trailer.server_key_id != self.identity_id {
            return Err(RejectReason::UNKNOWN_SERVER_KEY);
        }
        Ok(())
    }

    /// The CHALLENGE datagram to a CONNECT and a cookie, always the same; and its suite and what we compress with.
    fn challenge_datagram(
        &self,
        asked: &Asked<'_>,
        epoch_key: &PublicKey,
        cookie: [u8; COOKIE_LEN],
        config: &CommonConfig,
    ) -> Result<(Vec<u8>, CipherSuite, Method), RejectReason> {
        let suite = select(asked, config).ok_or(RejectReason::SUITE_REFUSED)?;
        let same = same_compression(&asked.connect, config);
        let mut datagram = bare(&Control::Challenge(Challenge {
            version: PROTOCOL_VERSION,
            application_version: config.application_version,
            public_key: *epoch_key.as_bytes(),
            token: cookie,
            cipher: suite.id(),
            compression_ack: u8::from(!same),
            features: Features::EXTENDED,
            migration_token: None,
        }));
        let unpinned = asked.trailer.server_key_id == [0; 8];
        let trailer = ChallengeTrailer {
            version: EXTENDED_VERSION,
            token_required: config.extended.require_token,
            client_nonce: asked.trailer.client_nonce,
            server_key: unpinned.then(|| *self.identity.public_key().as_bytes()),
        };
        push_trailer::<64>(&mut datagram, |out| trailer.encode(out));
        Ok((datagram, suite, if same { our_compression(config) } else { UNCOMPRESSED }))
    }

    /// Judges a RESPONSE: lengths, cookie, whether it was used, `refusal` (no place, banned), connect token, budgets; only then
    /// the key agreements and the seal (PROTOCOL B2).
    pub(crate) fn judge<C: Cipher>(
        &mut self,
        datagram: &[u8],
        (remote, now): (SocketAddr, Instant),
        refusal: Option<RejectReason>,
        agreements: &mut Budget,
        (config, suites): (&CommonConfig, &Arc<dyn CipherSuites<Cipher = C>>),
        (entropy, stats): (&mut Entropy, &mut EndpointStats),
    ) -> Judgement {
        stats.responses_received += 1;
        let Some((response, associated, asked)) = read(datagram) else {
            stats.malformed_handshakes += 1;
            return Judgement::Ignored;
        };
        self.expire(now);
        let seconds = self.seconds(now);
        let epochs = [self.current.as_ref(), self.previous.as_ref()];
        let checks = |epoch: &&Epoch| {
            let max_age = COOKIE_LIFETIME.as_secs() as u32;
            epoch.cookies.check(&response.cookie, seconds, max_age, remote, asked.payload)
        };
        let Some(epoch) = epochs.into_iter().flatten().find(checks) else {
            stats.cookies_refused += 1;
            return Judgement::Ignored;
        };
        match self.cookies.used(&response.cookie, now) {
            Some(Used::By(id)) => return Judgement::Again(id),
            Some(Used::Gone) => return Judgement::Ignored,
            None => {}
        }
        let refused = |reason| Judgement::Refused { reason, client_nonce: asked.trailer.client_nonce };
        if let Some(reason) = refusal {
            return refused(reason);
        }
        let unix = self.unix.map(|(at, seconds)| seconds + now.saturating_duration_since(at).as_secs());
        let Some((claims, psk)) = admitted(response.token, unix, config) else {
            stats.tokens_refused += 1;
            return refused(RejectReason::NOT_AUTHORISED);
        };
        if !self.budgets.take(remote.ip(), now) || !agreements.take(now) {
            stats.key_agreements_refused += 1;
            return refused(RejectReason::TRY_LATER);
        }
        stats.key_agreements += 2;
        let Some(unsealed) =
            self.unseal(datagram, (&response, associated), &asked, epoch, psk.as_ref(), (config, suites))
        else {
            stats.responses_forged += 1;
            return Judgement::Ignored;
        };
        let Unsealed { keys, params, auth, suite, compression } = unsealed;
        if !is_acceptable(&params, &config.channel_layout) {
            stats.malformed_handshakes += 1;
            return Judgement::Ignored;
        }
        let server_random = entropy.bytes();
        let Ok(keys) = keys.finish(datagram, &server_random) else { return Judgement::Ignored };
        Judgement::Accepted(Box::new(Agreed {
            suite,
            keys,
            compression,
            peer: params,
            server_key: *self.identity.public_key().as_bytes(),
            cookie: response.cookie,
            server_random,
            client_nonce: asked.trailer.client_nonce,
            cid: [0; 8],
            auth,
            claims,
            rtt: None,
        }))
    }

    /// Does the key agreements and opens what is sealed.
    fn unseal<C: Cipher>(
        &self,
        datagram: &[u8],
        (response, associated): (&Response<'_>, usize),
        asked: &Asked<'_>,
        epoch: &Epoch,
        psk: Option<&PreSharedKey>,
        (config, suites): (&CommonConfig, &Arc<dyn CipherSuites<Cipher = C>>),
    ) -> Option<Unsealed> {
        let (challenge, suite, compression) =
            self.challenge_datagram(asked, &epoch.keys.public(), response.cookie, config).ok()?;
        let client = PublicKey::from(asked.connect.public_key);
        let ephemeral = epoch.keys.agree(&client).ok()?;
        let identity = self.identity.keys().agree(&client).ok()?;
        let server_key = self.identity.public_key();
        let transcript = Transcript {
            server_key: server_key.as_bytes(),
            connect: asked.payload,
            challenge: challenge.get(CONTROL_PREFIX.len()..)?,
        };
        let psk = psk.map(PreSharedKey::as_bytes);
        let keys = HandshakeKeys::new(suite, &response.cookie, &ephemeral, &identity, psk, &transcript);
        let (key, nonce) = keys.response().ok()?;
        let (data, tag) = response.sealed.split_last_chunk::<TAG_LEN>()?;
        let mut data = data.to_vec();
        suites.make(suite, &key).ok()?.open(&nonce, datagram.get(..associated)?, &mut data, tag).ok()?;
        let (params, len) = Params::decode(&data).ok()?;
        Some(Unsealed { keys, params, auth: Bytes::from(data).slice(len..), suite, compression })
    }
}

/// What a RESPONSE held.
struct Unsealed {
    keys: HandshakeKeys,
    params: Params,
    auth: Bytes,
    suite: CipherSuite,
    compression: Method,
}

/// Reads a RESPONSE whose lengths are possible; gives the length of its associated data too.
fn read(datagram: &[u8]) -> Option<(Response<'_>, usize, Asked<'_>)> {
    let (response, associated) = Response::decode(datagram).ok()?;
    let asked = Asked::parse(response.connect)?;
    let sealed = Params::LEN + TAG_LEN;
    let possible = asked.payload.len() == response.connect.len()
        && (response.token.is_empty() || response.token.len() == TOKEN_LEN)
        && (sealed..=sealed + MAX_AUTH).contains(&response.sealed.len());
    possible.then_some((response, associated, asked))
}

/// The client's suite where our policy and his offer have it, else our first choice of what he offers.
fn select(asked: &Asked<'_>, config: &CommonConfig) -> Option<CipherSuite> {
    let offered = |suite: &CipherSuite| {
        *suite != CipherSuite::None && asked.trailer.suites & config.extended.suites & 1 << suite.id() != 0
    };
    let first = CipherSuite::from_id(asked.connect.cipher).filter(offered);
    first.or_else(|| config.cipher_preference.iter().copied().find(offered))
}

/// What the client's connect token says and the secret that goes into the keys. `None`: it does not let him in.
fn admitted(
    token: &[u8],
    unix: Option<u64>,
    config: &CommonConfig,
) -> Option<(Option<TokenClaims>, Option<PreSharedKey>)> {
    let extended = &config.extended;
    if token.is_empty() {
        return (!extended.require_token).then(|| (None, extended.psk.clone()));
    }
    let (claims, psk) = extended.token_keys.as_ref()?.verify(token, unix?)?;
    Some((Some(claims), Some(psk)))
}

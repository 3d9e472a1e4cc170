//! Client side of the extended handshake: CHALLENGEs answered, and the CONNECTED that opens (PROTOCOL B2).

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fastwire_compress::Method;
use fastwire_crypto::extended::{COOKIE_LEN, ExtendedKeys, ShortOpener, ShortSealer, VeilKeys};
use fastwire_crypto::{
    Cipher, CipherSuite, CipherSuites, HandshakeKeys, KeyAgreement as _, PublicKey, TAG_LEN, Transcript,
};
use fastwire_wire::extended::{ChallengeTrailer, EXTENDED_VERSION, Frame, Frames, Params, Response};
use fastwire_wire::{CONTROL_PREFIX, Challenge, Control, ControlType, Features, PROTOCOL_VERSION};

use super::late::farewell;
use super::{Agreed, CONNECTED_PREFIX, COOKIE_LIFETIME};
use crate::config::CommonConfig;
use crate::proto::handshake::client::{Repeats, our_compression};
use crate::proto::handshake::offer::Offer;
use crate::proto::session::UNCOMPRESSED;
use crate::transport::SocketId;

/// CHALLENGEs answered in one attempt (PROTOCOL B2).
const MAX_ANSWERS: usize = 4;
/// While an answer is out this long at least, and half as long again as the CHALLENGE was in coming, no other CHALLENGE is
/// answered: a server that keeps nothing makes a new one for each CONNECT, and each answer costs it key agreements.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));

/// A CHALLENGE as it came, with all that is hashed.
#[derive(Debug, Clone)]
pub(crate) struct ExtendedChallenge {
    pub(crate) challenge: Challenge,
    pub(crate) trailer: ChallengeTrailer,
    /// The control payload with its trailer.
    payload: Vec<u8>,
}

impl ExtendedChallenge {
    /// Reads a datagram that is an extended CHALLENGE in form.
    pub(crate) fn parse(datagram: &[u8], config: &CommonConfig) -> Option<Self> {
        let payload = datagram.strip_prefix(&CONTROL_PREFIX)?;
        let (Control::Challenge(challenge), len) = Control::decode(payload).ok()? else { return None };
        if challenge.version != PROTOCOL_VERSION || challenge.features != Features::EXTENDED {
            return None;
        }
        let key_follows = config.extended.pinned.is_none();
        let (trailer, more) = ChallengeTrailer::decode(payload.get(len..)?, key_follows).ok()?;
        let payload = payload.get(..len + more)?.to_vec();
        (trailer.version == EXTENDED_VERSION).then_some(Self { challenge, trailer, payload })
    }
}

/// A CHALLENGE that was answered. Its RESPONSE is computed once and resent byte for byte.
pub(crate) struct Answer {
    challenge: Vec<u8>,
    cookie: [u8; COOKIE_LEN],
    suite: CipherSuite,
    keys: HandshakeKeys,
    server_key: [u8; 32],
    compression: Method,
    pub(crate) response: Vec<u8>,
    /// What a connection that came of it, too late, was told.
    farewell: Option<Vec<u8>>,
    pub(crate) repeats: Repeats,
    pub(crate) since: Instant,
    rtt: Option<Duration>,
}

/// The answers of one attempt.
#[derive(Default)]
pub(crate) struct Answers {
    list: Vec<Answer>,
}

/// Why a CHALLENGE was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAnswered {
    /// It gives no keys, or none that differ; or enough were answered.
    Useless,
    /// It selects a suite that was not offered.
    Suite(u8),
    /// It wants a connect token and there is none.
    TokenRequired,
}

impl Answers {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Answer> {
        self.list.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Answer> {
        self.list.iter_mut()
    }

    /// Drops answers whose cookie the server takes no longer.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.list.retain(|answer| now.saturating_duration_since(answer.since) < COOKIE_LIFETIME);
    }

    /// Answers a CHALLENGE to `offer`. `asked`: when the first CONNECT of the attempt left; `once`: it was the only one.
    pub(crate) fn answer<C: Cipher>(
        &mut self,
        challenge: &ExtendedChallenge,
        offer: &Offer,
        (asked, once): (Option<Instant>, bool),
        config: &CommonConfig,
        suites: &dyn CipherSuites<Cipher = C>,
        now: Instant,
    ) -> Result<(), NotAnswered> {
        let came_after = asked.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let patience = (came_after * 3 / 2).clamp(PATIENCE.0, PATIENCE.1);
        let waited =
            self.list.last().is_none_or(|last| now.saturating_duration_since(last.since) >= patience);
        let is_new = self.list.iter().all(|answer| answer.challenge != challenge.payload);
        if self.list.len() >= MAX_ANSWERS || !waited || !is_new {
            return Err(NotAnswered::Useless);
        }
        let offered = |suite: &CipherSuite| config.extended.suites & 1 << suite.id() != 0;
        let chosen = challenge.challenge.cipher;
        let suite = CipherSuite::from_id(chosen).filter(offered).ok_or(NotAnswered::Suite(chosen))?;
        if challenge.trailer.token_required && config.extended.token.is_none() {
            return Err(NotAnswered::TokenRequired);
        }
        let rtt = once.then_some(came_after).filter(|_| asked.is_some());
        let answer = respond(challenge, offer, suite, rtt, config, suites, now);
        self.list.push(answer.ok_or(NotAnswered::Useless)?);
        Ok(())
    }

    /// Takes a CONNECTED datagram under the keys of any answer; packet numbers begin with `first`. The datagram is opened in place then.
    pub(crate) fn open<C: Cipher>(
        &mut self,
        datagram: &mut BytesMut,
        first: u32,
        suites: &Arc<dyn CipherSuites<Cipher = C>>,
    ) -> Option<Opened<C>> {
        let found = self.find(datagram, first, suites)?;
        let answer = self.list.swap_remove(found.index);
        *datagram = found.datagram;
        let agreed = answer.agreed(found.keys, found.server_random, found.params, found.cid);
        Some(Opened { agreed, opener: found.opener, range: found.range, number: found.number })
    }

    /// The farewell to a connection that came of one of these answers too late, if `datagram` is its CONNECTED. It is sealed once
    /// and resent byte for byte: no nonce serves twice.
    pub(super) fn dismiss<C: Cipher>(
        &mut self,
        datagram: &BytesMut,
        first: u32,
        suites: &Arc<dyn CipherSuites<Cipher = C>>,
        veil: Option<&VeilKeys>,
    ) -> Option<Vec<u8>> {
        let found = self.find(datagram, first, suites)?;
        let answer = self.list.get_mut(found.index)?;
        if answer.farewell.is_none() {
            let (c2s, _, _) = found.keys.split();
            let sealer = ShortSealer::starting_at(first.into(), c2s, Arc::clone(suites)).ok()?;
            answer.farewell = farewell(sealer, found.cid, veil);
        }
        answer.farewell.clone()
    }

    /// Opens a copy of a CONNECTED datagram under the keys of any answer.
    fn find<C: Cipher>(
        &self,
        datagram: &BytesMut,
        first: u32,
        suites: &Arc<dyn CipherSuites<Cipher = C>>,
    ) -> Option<Found<C>> {
        let server_random = *datagram.get(CONTROL_PREFIX.len() + 1..CONNECTED_PREFIX)?.first_chunk()?;
        for index in 0..self.list.len() {
            let answer = self.list.get(index)?;
            let Ok(keys) = answer.keys.finish(&answer.response, &server_random) else { continue };
            let Ok(mut opener) = ShortOpener::starting_at(first, keys.s2c.clone(), Arc::clone(suites)) else {
                continue;
            };
            // Opening may spoil the bytes, and another answer may still want them.
            let mut copy = datagram.clone();
            let Ok(opened) = opener.open(copy.get_mut(CONNECTED_PREFIX..)?, 0) else { continue };
            let range = CONNECTED_PREFIX + opened.range.start..CONNECTED_PREFIX + opened.range.end;
            let first = copy.get(range.clone()).and_then(|bytes| Frames::new(bytes).ok()?.next());
            let Some(Ok(Frame::Connected { params, cid })) = first else { continue };
            let (datagram, number) = (copy, opened.number);
            return Some(Found { index, keys, server_random, opener, range, number, params, cid, datagram });
        }
        None
    }
}

/// The answer under whose keys a CONNECTED opened, and what was in it.
struct Found<C> {
    index: usize,
    keys: ExtendedKeys,
    server_random: [u8; 16],
    opener: ShortOpener<C>,
    range: Range<usize>,
    number: u64,
    params: Params,
    cid: [u8; 8],
    /// Opened in place.
    datagram: BytesMut,
}

/// A CONNECTED that opened.
pub(crate) struct Opened<C> {
    agreed: Agreed,
    opener: ShortOpener<C>,
    range: Range<usize>,
    number: u64,
}

/// The handshake is won: CONNECTED opened.
pub(crate) struct Won<C> {
    pub(crate) agreed: Agreed,
    pub(crate) opener: ShortOpener<C>,
    /// Where in the datagram the plaintext lies; its first frame is CONNECTED.
    pub(crate) opened: Range<usize>,
    /// Its packet number.
    pub(crate) number: u64,
    pub(crate) path: (SocketId, SocketAddr),
    /// Datagrams that overtook CONNECTED, oldest first.
    pub(crate) held: Vec<BytesMut>,
}

impl<C> Opened<C> {
    pub(crate) fn won(self, path: (SocketId, SocketAddr), held: Vec<BytesMut>) -> Won<C> {
        let Self { agreed, opener, range, number } = self;
        Won { agreed, opener, opened: range, number, path, held }
    }
}

impl Answer {
    fn agreed(self, keys: ExtendedKeys, server_random: [u8; 16], peer: Params, cid: [u8; 8]) -> Agreed {
        Agreed {
            suite: self.suite,
            keys,
            compression: self.compression,
            peer,
            server_key: self.server_key,
            cookie: self.cookie,
            server_random,
            client_nonce: [0; 8],
            cid,
            auth: Bytes::new(),
            claims: None,
            rtt: self.rtt,
        }
    }
}

/// Whether a datagram may be the extended profile's CONNECTED.
pub(crate) fn looks_connected(datagram: &[u8]) -> bool {
    datagram.len() > CONNECTED_PREFIX
        && datagram.strip_prefix(&CONTROL_PREFIX).and_then(<[u8]>::first)
            == Some(&ControlType::Connected.id())
}

/// Does the key agreements and computes RESPONSE.
fn respond<C: Cipher>(
    challenge: &ExtendedChallenge,
    offer: &Offer,
    suite: CipherSuite,
    rtt: Option<Duration>,
    config: &CommonConfig,
    suites: &dyn CipherSuites<Cipher = C>,
    now: Instant,
) -> Option<Answer> {
    let extended = &config.extended;
    let server_key = match &extended.pinned {
        Some(key) => *key.as_bytes(),
        None => challenge.trailer.server_key?,
    };
    let ephemeral = offer.keys.agree(&PublicKey::from(challenge.challenge.public_key)).ok()?;
    let identity = offer.keys.agree(&PublicKey::from(server_key)).ok()?;
    let connect = offer.connect_payload();
    let transcript = Transcript { server_key: &server_key, connect, challenge: &challenge.payload };
    let psk = extended.client_psk().map(|psk| psk.as_bytes());
    let cookie = challenge.challenge.token;
    let keys = HandshakeKeys::new(suite, &cookie, &ephemeral, &identity, psk, &transcript);
    let response = seal_response(connect, &cookie, &keys, suite, config, suites)?;
    let same = challenge.challenge.compression_ack == 0;
    Some(Answer {
        challenge: challenge.payload.clone(),
        cookie,
        suite,
        keys,
        server_key,
        compression: if same { our_compression(config) } else { UNCOMPRESSED },
        response,
        farewell: None,
        repeats: Repeats::new(now),
        since: now,
        rtt,
    })
}

fn seal_response<C: Cipher>(
    connect: &[u8],
    cookie: &[u8; COOKIE_LEN],
    keys: &HandshakeKeys,
    suite: CipherSuite,
    config: &CommonConfig,
    suites: &dyn CipherSuites<Cipher = C>,
) -> Option<Vec<u8>> {
    let extended = &config.extended;
    let mut sealed = vec![0; Params::LEN];
    extended.params.encode(&mut sealed).ok()?;
    sealed.extend_from_slice(&extended.auth);
    sealed.resize(sealed.len() + TAG_LEN, 0);
    let token = extended.token.as_ref().map_or(&[][..], |token| token.token());
    let mut datagram = vec![0; Response::MAX_LEN];
    let response = Response { connect, cookie: *cookie, token, sealed: &sealed };
    let (len, associated) = response.encode(&mut datagram).ok()?;
    datagram.truncate(len);
    let (key, nonce) = keys.response().ok()?;
    let cipher = suites.make(suite, &key).ok()?;
    let (head, rest) = datagram.split_at_mut_checked(associated)?;
    let (data, tag) = rest.split_last_chunk_mut::<TAG_LEN>()?;
    *tag = cipher.seal(&nonce, head, data).ok()?;
    Some(datagram)
}

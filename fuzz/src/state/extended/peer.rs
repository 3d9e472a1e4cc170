//! A peer of the extended profile that is put together here, from PROTOCOL part B and the public crates. It has its keys
//! and does what it is told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use fastwire::crypto::extended::{DirectionSecret, ExtendedKeys, ShortOpener, ShortSealer, short_hash};
use fastwire::crypto::{
    Cipher, CipherSuite, CipherSuites, HandshakeKeys, KeyAgreement, KeyPair, PublicKey, TAG_LEN, Transcript,
};
use fastwire::reliability::ChannelLayout;
use fastwire::wire::extended::{
    ChallengeTrailer, ConnectTrailer, EXTENDED_VERSION, Frame, Frames, MIN_CONNECT_DATAGRAM, Params, Response,
};
use fastwire::wire::{CONTROL_PREFIX, Challenge, Connect, Control, Features};

use crate::state::glass::{Glass, GlassSuites};

pub(super) const SUITE: CipherSuite = CipherSuite::Aes128Gcm;
/// Before the packet in a CONNECTED datagram: prefix, type, server's random bytes.
pub(super) const CONNECTED_PREFIX: usize = 8 + 1 + 16;
const CONNECTED: u8 = 4;
const COOKIE: [u8; 32] = [3; 32];
const RANDOM: [u8; 16] = [5; 16];
/// The id a peer that serves gives its client.
const CID: [u8; 8] = *b"fuzzpeer";

/// Key pairs cost; everybody has the same.
static EPHEMERAL: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::from_secret([9; 32]));
static IDENTITY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::from_secret([8; 32]));

/// CONNECT's control payload with its trailer, from a client of `layout` that pinned no key.
pub(super) fn connect_payload(layout: &ChannelLayout, compression: u8) -> Vec<u8> {
    let connect = Connect {
        version: 1,
        application_version: 0,
        public_key: *EPHEMERAL.public().as_bytes(),
        cipher: SUITE.id(),
        compression,
        dictionary_hash: None,
        features: Features::EXTENDED,
    };
    let trailer = ConnectTrailer {
        version: EXTENDED_VERSION,
        suites: 0b110,
        client_nonce: [6; 8],
        server_key_id: [0; 8],
        layout_hash: layout_hash(layout),
    };
    with_trailer(&Control::Connect(connect), |out| trailer.encode(out).expect("room"))
}

/// What CONNECT says of a layout.
pub(super) fn layout_hash(layout: &ChannelLayout) -> [u8; 8] {
    short_hash(&layout.shape().collect::<Vec<u8>>())
}

/// A control payload and what the extended profile appends to it.
pub(super) fn with_trailer(control: &Control, trailer: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut payload = vec![0; control.encoded_len() + 64];
    let len = control.encode(&mut payload).expect("room");
    let more = trailer(&mut payload[len..]);
    payload.truncate(len + more);
    payload
}

/// A bare handshake datagram.
pub(super) fn bare(payload: &[u8]) -> Vec<u8> {
    [&CONTROL_PREFIX[..], payload].concat()
}

/// The peer, connected.
pub(super) struct Peer {
    /// It is the client: its packets begin with an id, ours do not.
    is_client: bool,
    pub(super) cid: [u8; 8],
    suites: Arc<GlassSuites>,
    secret: DirectionSecret,
    sealer: ShortSealer<Glass>,
    opener: ShortOpener<Glass>,
    /// Packet numbers of ours that opened.
    pub(super) received: BTreeSet<u64>,
    /// Packet numbers that left here.
    pub(super) sent: BTreeSet<u64>,
    /// The newest PATH_CHALLENGE, and ids, that came.
    pub(super) challenged: [u8; 8],
    pub(super) ids: Vec<[u8; 8]>,
    /// The highest limit told for each channel.
    limits: BTreeMap<u8, u64>,
}

/// What a peer says on its way in, and what it has afterwards.
pub(super) trait Victim {
    /// Hands it a datagram and gives what it sends.
    fn exchange(&mut self, datagram: &[u8]) -> Vec<Vec<u8>>;
}

impl Peer {
    /// Connects to a server.
    pub(super) fn to_server(
        victim: &mut impl Victim,
        layout: &ChannelLayout,
        compression: u8,
        params: Params,
    ) -> Self {
        let connect = connect_payload(layout, compression);
        let mut datagram = bare(&connect);
        datagram.resize(MIN_CONNECT_DATAGRAM, 0);
        let answer = victim.exchange(&datagram).pop().expect("an answer");
        let challenge = answer.get(CONTROL_PREFIX.len()..).expect("a handshake datagram");
        let Ok((Control::Challenge(told), len)) = Control::decode(challenge) else {
            panic!("no CHALLENGE: {answer:?}")
        };
        let (trailer, more) = ChallengeTrailer::decode(&challenge[len..], true).expect("extended");
        let challenge = &challenge[..len + more];
        let server_key = trailer.server_key.expect("nothing was pinned");
        let transcript = Transcript { server_key: &server_key, connect: &connect, challenge };
        let shared = [(&*EPHEMERAL, told.public_key), (&*EPHEMERAL, server_key)];
        let keys = agree(shared, &told.token, &transcript);
        let suites = Arc::new(GlassSuites::unwatched());
        let response = sealed_response(&keys, &suites, &connect, told.token, &params);
        let connected = victim.exchange(&response).pop().expect("CONNECTED");
        let (prefix, packet) = connected.split_at(CONNECTED_PREFIX);
        let random: [u8; 16] = *prefix.last_chunk().expect("the prefix ends with it");
        let mut peer = Self::new(true, suites, keys.finish(&response, &random).expect("a known suite"));
        let plain = peer.open(packet);
        let first = Frames::new(&plain).ok().and_then(|mut frames| frames.next());
        let Some(Ok(Frame::Connected { cid, .. })) = first else { panic!("no CONNECTED frame: {plain:?}") };
        peer.cid = cid;
        peer.ids.push(cid);
        peer
    }

    /// Answers a client that sent `connect` (a datagram). The last datagram is yet to be given to it.
    pub(super) fn to_client(victim: &mut impl Victim, connect: &[u8], params: Params) -> (Self, Vec<u8>) {
        let connect = connect.get(CONTROL_PREFIX.len()..).expect("a handshake datagram");
        let Ok((Control::Connect(told), len)) = Control::decode(connect) else { panic!("no CONNECT") };
        let (trailer, more) = ConnectTrailer::decode(&connect[len..]).expect("extended");
        let connect = &connect[..len + more];
        let challenge = challenge_payload(&trailer.client_nonce);
        let answer = victim.exchange(&bare(&challenge)).pop().expect("RESPONSE");
        let server_key = *IDENTITY.public().as_bytes();
        let transcript = Transcript { server_key: &server_key, connect, challenge: &challenge };
        let shared = [(&*EPHEMERAL, told.public_key), (&*IDENTITY, told.public_key)];
        let keys = agree(shared, &COOKIE, &transcript);
        let finished = keys.finish(&answer, &RANDOM).expect("a known suite");
        let mut peer = Self::new(false, Arc::new(GlassSuites::unwatched()), finished);
        let hello = encoded(&Frame::Connected { params, cid: CID });
        let packet = peer.seal(&hello);
        (peer, [&CONTROL_PREFIX[..], &[CONNECTED], &RANDOM, &packet].concat())
    }

    fn new(is_client: bool, suites: Arc<GlassSuites>, keys: ExtendedKeys) -> Self {
        let (c2s, s2c, _) = keys.split();
        let (ours, theirs) = if is_client { (c2s, s2c) } else { (s2c, c2s) };
        Self {
            is_client,
            cid: [0; 8],
            sealer: ShortSealer::new(ours.clone(), suites.clone()).expect("a known suite"),
            opener: ShortOpener::new(theirs, suites.clone()).expect("a known suite"),
            suites,
            secret: ours,
            received: BTreeSet::new(),
            sent: BTreeSet::new(),
            challenged: [0; 8],
            ids: Vec::new(),
            limits: BTreeMap::new(),
        }
    }

    /// Seals a plaintext into a datagram.
    pub(super) fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let head: &[u8] = if self.is_client { &self.cid } else { &[] };
        let mut packet = [head, &[0; 4], plaintext, &[0; TAG_LEN]].concat();
        let number = self.sealer.seal(&mut packet, head.len()).expect("fresh keys");
        self.sent.insert(number);
        packet
    }

    /// Goes on with packet number `number`, whatever was sent under it.
    pub(super) fn jump_to(&mut self, number: u64) {
        self.sealer = ShortSealer::starting_at(number, self.secret.clone(), self.suites.clone())
            .expect("a known suite");
    }

    /// The number of the next packet.
    pub(super) fn next_number(&self) -> u64 {
        self.sealer.next_number()
    }

    /// Opens what our endpoint sent, which is sound: it opens once, its frames are whole, its acknowledgements name only
    /// what was sent, and credit never sinks.
    pub(super) fn receive(&mut self, datagram: &[u8]) {
        let packet = match datagram.strip_prefix(&CONTROL_PREFIX[..]) {
            Some([CONNECTED, ..]) => &datagram[CONNECTED_PREFIX..],
            // A client that asks whether its server was restarted, or whose CHALLENGE was answered.
            Some(_) => return,
            None => datagram,
        };
        let plain = self.open(packet);
        for frame in Frames::new(&plain).expect("a packet with something in it") {
            match frame.expect("whole frames") {
                Frame::Ack(ack) => {
                    for below in ack.numbers() {
                        let low = ack.largest.wrapping_sub(below);
                        let named = self.sent.iter().any(|number| *number as u32 == low);
                        assert!(named, "packet {low} was acknowledged and never sent");
                    }
                }
                Frame::Credit { channel, limit } => {
                    let before = self.limits.insert(channel, limit).unwrap_or(0);
                    // A packet that overtook another, or a repeat, may carry an older limit.
                    self.limits.insert(channel, before.max(limit));
                }
                Frame::PathChallenge(token) => self.challenged = token,
                Frame::NewCid { cid, .. } => self.ids.push(cid),
                _ => {}
            }
        }
    }

    fn open(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        let opened = self.opener.open(&mut packet, if self.is_client { 0 } else { CID.len() });
        let opened = opened.expect("what an endpoint seals opens once");
        self.received.insert(opened.number);
        packet[opened.range].to_vec()
    }
}

/// CHALLENGE's control payload with its trailer.
fn challenge_payload(client_nonce: &[u8; 8]) -> Vec<u8> {
    let challenge = Challenge {
        version: 1,
        application_version: 0,
        public_key: *EPHEMERAL.public().as_bytes(),
        token: COOKIE,
        cipher: SUITE.id(),
        compression_ack: 0,
        features: Features::EXTENDED,
        migration_token: None,
    };
    let trailer = ChallengeTrailer {
        version: EXTENDED_VERSION,
        token_required: false,
        client_nonce: *client_nonce,
        server_key: Some(*IDENTITY.public().as_bytes()),
    };
    with_trailer(&Control::Challenge(challenge), |out| trailer.encode(out).expect("room"))
}

fn sealed_response(
    keys: &HandshakeKeys,
    suites: &GlassSuites,
    connect: &[u8],
    cookie: [u8; 32],
    params: &Params,
) -> Vec<u8> {
    let mut datagram = vec![0; Response::MAX_LEN];
    let sealed = [0; Params::LEN + TAG_LEN];
    let response = Response { connect, cookie, token: &[], sealed: &sealed };
    let (len, associated) = response.encode(&mut datagram).expect("room");
    datagram.truncate(len);
    let (head, rest) = datagram.split_at_mut(associated);
    let (data, tag) = rest.split_at_mut(Params::LEN);
    params.encode(data).expect("room");
    let (key, nonce) = keys.response().expect("a known suite");
    let cipher = suites.make(SUITE, &key).expect("a key of the right length");
    tag.copy_from_slice(&cipher.seal(&nonce, head, data).expect("sealed once"));
    datagram
}

/// A frame that others may follow.
pub(super) fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = vec![0; frame.encoded_len(false)];
    let len = frame.encode(&mut bytes, false).expect("room");
    bytes.truncate(len);
    bytes
}

thread_local! {
    /// Key agreements done: endpoints with the same seeds show the same keys.
    static AGREED: RefCell<BTreeMap<([u8; 32], [u8; 32]), fastwire::crypto::SharedSecret>> = RefCell::default();
}

/// The handshake's keys: the agreement of the ephemeral keys, then that with the server's identity.
fn agree(shared: [(&KeyPair, [u8; 32]); 2], cookie: &[u8; 32], transcript: &Transcript<'_>) -> HandshakeKeys {
    AGREED.with_borrow_mut(|agreed| {
        for (pair, with) in shared {
            let key = (*pair.public().as_bytes(), with);
            agreed.entry(key).or_insert_with(|| pair.agree(&PublicKey::from(with)).expect("a point"));
        }
        let [ephemeral, identity] = shared.map(|(pair, with)| &agreed[&(*pair.public().as_bytes(), with)]);
        HandshakeKeys::new(SUITE, cookie, ephemeral, identity, None, transcript)
    })
}

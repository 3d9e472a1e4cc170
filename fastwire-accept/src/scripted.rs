//! A peer of the extended profile by other hands, which says what a script tells it and keeps no rule by itself.
//!
//! The handshake's bytes are put together here from PROTOCOL part B, field by field; frames and packet protection come from
//! the public crates. It repeats nothing and acknowledges nothing unless told to, so it wants a line that loses nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use fastwire::crypto::extended::{ExtendedKeys, ShortOpener, ShortSealer, short_hash};
use fastwire::crypto::{
    Aead, BuiltinSuites, Cipher, CipherSuite, HandshakeKeys, KeyAgreement, KeyPair, PublicKey, TAG_LEN,
    Transcript,
};
use fastwire::sim::Rng;
use fastwire::wire::CONTROL_PREFIX;
use fastwire::wire::extended::{Ack, Frame, Frames, Params};

const CONNECT: u8 = 1;
const CHALLENGE: u8 = 2;
const RESPONSE: u8 = 3;
const CONNECTED: u8 = 4;
/// The feature bit of the extended profile, and the version of the trailers.
const EXTENDED: u8 = 4;
const VERSION: u8 = 1;
const SUITE: CipherSuite = CipherSuite::Aes128Gcm;
/// Both suites there are.
const SUITES: u8 = 0b110;
/// Of CONNECT's payload without a dictionary: type, versions, key, cipher, compression, dictionary flag, features.
const CONNECT_LEN: usize = 1 + 1 + 2 + 32 + 4;
const CONNECT_TRAILER: usize = 1 + 1 + 8 + 8 + 8;
/// Of CHALLENGE's: type, versions, key, cookie, cipher, compression, features.
const CHALLENGE_LEN: usize = 1 + 1 + 2 + 32 + 32 + 3;
const CONNECTED_PREFIX: usize = 8 + 1 + 16;
const CONNECT_DATAGRAM: usize = 1200;
/// The id a scripted server gives its client.
const CID: [u8; 8] = *b"scripted";

/// What a scripted peer accepts, unless told otherwise.
pub(crate) const PARAMS: Params = Params {
    max_datagram: 1200,
    receive_budget_kib: 8192,
    max_message_kib: 4096,
    max_ack_delay_ms: 10,
    idle_timeout_s: 60,
    fec_max_data: 0,
    fec_max_parity: 0,
    flags: 0,
};

enum Role {
    Client {
        /// CONNECT's payload with its trailer.
        connect: Vec<u8>,
        /// The server key it expects.
        pinned: Option<[u8; 32]>,
        /// Its answer to CHALLENGE, and the keys that follow.
        answer: Option<(HandshakeKeys, Vec<u8>)>,
        cid: [u8; 8],
    },
    Server {
        identity: KeyPair,
        /// The handshake under way: CONNECT's and CHALLENGE's payloads.
        under_way: Option<(Vec<u8>, Vec<u8>)>,
        random: [u8; 16],
        cookie: [u8; 32],
    },
}

/// The peer.
pub(crate) struct Scripted {
    role: Role,
    /// Its ephemeral or epoch key.
    keys: KeyPair,
    params: Params,
    seals: Option<(ShortSealer<Aead>, ShortOpener<Aead>)>,
    /// Packet numbers that opened.
    pub(crate) received: BTreeSet<u64>,
    /// The plaintexts that opened since they were taken last.
    pub(crate) plaintexts: Vec<Vec<u8>>,
    /// What is to be sent.
    pub(crate) outgoing: Vec<Vec<u8>>,
    /// The reason of a DISCONNECT that came.
    pub(crate) dismissed: Option<u8>,
}

impl Scripted {
    /// One that has just asked a server with the default channel layout.
    pub(crate) fn client(rng: &mut Rng, pinned: Option<[u8; 32]>) -> Self {
        Self::asking(rng, pinned, 0)
    }

    /// As [`client`](Self::client), and asks for this compression by its id.
    pub(crate) fn client_with_compression(rng: &mut Rng, compression: u8) -> Self {
        Self::asking(rng, None, compression)
    }

    fn asking(rng: &mut Rng, pinned: Option<[u8; 32]>, compression: u8) -> Self {
        let mut scripted =
            Self::new(rng, Role::Client { connect: Vec::new(), pinned, answer: None, cid: [0; 8] });
        let mut payload = vec![CONNECT, 1, 0, 0];
        payload.extend(scripted.keys.public().as_bytes());
        payload.extend([SUITE.id(), compression, 0, EXTENDED]);
        payload.extend([VERSION, SUITES]);
        payload.extend(rng.next_u64().to_le_bytes());
        payload.extend(pinned.map_or([0; 8], |key| short_hash(&key)));
        payload.extend(short_hash(&[0, 1, 2, 3]));
        let mut datagram = [&CONTROL_PREFIX[..], &payload].concat();
        datagram.resize(CONNECT_DATAGRAM, 0);
        scripted.outgoing.push(datagram);
        if let Role::Client { connect, .. } = &mut scripted.role {
            *connect = payload;
        }
        scripted
    }

    /// One that waits to be asked.
    pub(crate) fn server(rng: &mut Rng) -> Self {
        let (identity, random, cookie) = (KeyPair::from_secret(bytes(rng)), bytes(rng), bytes(rng));
        Self::new(rng, Role::Server { identity, under_way: None, random, cookie })
    }

    fn new(rng: &mut Rng, role: Role) -> Self {
        Self {
            role,
            keys: KeyPair::from_secret(bytes(rng)),
            params: PARAMS,
            seals: None,
            received: BTreeSet::new(),
            plaintexts: Vec::new(),
            outgoing: Vec::new(),
            dismissed: None,
        }
    }

    /// Its packets and ours can be opened.
    pub(crate) fn is_connected(&self) -> bool {
        self.seals.is_some() && !self.received.is_empty()
    }

    /// Takes a datagram.
    pub(crate) fn receive(&mut self, datagram: &[u8]) {
        match datagram.strip_prefix(&CONTROL_PREFIX[..]) {
            Some([CHALLENGE, ..]) => self.on_challenge(&datagram[8..]),
            Some([CONNECT, ..]) => self.on_connect(&datagram[8..]),
            Some([RESPONSE, ..]) => self.on_response(datagram),
            Some([CONNECTED, ..]) if datagram.len() > CONNECTED_PREFIX => self.on_connected(datagram),
            _ => self.open(datagram, matches!(self.role, Role::Server { .. })),
        }
    }

    /// Seals `plaintext` into a packet and has it sent.
    pub(crate) fn send(&mut self, plaintext: &[u8]) {
        let head: &[u8] = match &self.role {
            Role::Client { cid, .. } => cid,
            Role::Server { .. } => &[],
        };
        let Some((sealer, _)) = &mut self.seals else { return };
        let mut packet = [head, &[0; 4], plaintext, &[0; TAG_LEN]].concat();
        sealer.seal(&mut packet, head.len()).expect("fresh keys");
        self.outgoing.push(packet);
    }

    /// Sends one frame alone in a packet.
    pub(crate) fn send_frame(&mut self, frame: &Frame<'_>) {
        self.send(&encoded(frame));
    }

    /// Acknowledges everything that opened within reach of one ACK frame.
    pub(crate) fn acknowledge(&mut self) {
        let Some(&largest) = self.received.last() else { return };
        let mut bitmap = [0; 4 * Ack::MAX_WORDS];
        for number in self.received.iter().rev().skip(1) {
            let bit = (largest - 1 - number) as usize;
            let Some(byte) = bitmap.get_mut(bit / 8) else { break };
            *byte |= 1 << (bit % 8);
        }
        self.send_frame(&Frame::Ack(Ack {
            largest: largest as u32,
            delay: 0,
            recovered: 0,
            bitmap: &bitmap,
        }));
    }

    /// A number below the highest that opened which never came: over a line that loses nothing it was skipped.
    pub(crate) fn skipped(&self) -> Option<u64> {
        let highest = *self.received.last()?;
        (0..highest).find(|number| !self.received.contains(number))
    }

    fn on_connect(&mut self, payload: &[u8]) {
        let Role::Server { identity, under_way, cookie, .. } = &mut self.role else { return };
        if self.seals.is_some() || payload.len() < CONNECT_LEN + CONNECT_TRAILER {
            return;
        }
        let connect = payload[..CONNECT_LEN + CONNECT_TRAILER].to_vec();
        let trailer = &connect[CONNECT_LEN..];
        let mut challenge = vec![CHALLENGE, 1, 0, 0];
        challenge.extend(self.keys.public().as_bytes());
        challenge.extend(*cookie);
        challenge.extend([SUITE.id(), 0, EXTENDED, VERSION, 0]);
        challenge.extend(&trailer[2..10]);
        if trailer[10..18] == [0; 8] {
            challenge.extend(identity.public().as_bytes());
        }
        self.outgoing.push([&CONTROL_PREFIX[..], &challenge].concat());
        *under_way = Some((connect, challenge));
    }

    fn on_challenge(&mut self, payload: &[u8]) {
        let Role::Client { connect, pinned, answer, .. } = &mut self.role else { return };
        let len = CHALLENGE_LEN + 10 + if pinned.is_some() { 0 } else { 32 };
        if answer.is_some() || payload.len() < len {
            return;
        }
        let challenge = &payload[..len];
        let epoch_key: [u8; 32] = *challenge[4..].first_chunk().expect("long enough");
        let cookie: [u8; 32] = *challenge[36..].first_chunk().expect("long enough");
        let server_key = pinned.unwrap_or_else(|| *challenge.last_chunk().expect("long enough"));
        let transcript = Transcript { server_key: &server_key, connect, challenge };
        let Some(keys) = agree(&self.keys, &epoch_key, &self.keys, &server_key, &cookie, &transcript) else {
            return;
        };
        let mut datagram = [&CONTROL_PREFIX[..], &[RESPONSE]].concat();
        datagram.extend((connect.len() as u16).to_le_bytes());
        datagram.extend(&*connect);
        datagram.extend(cookie);
        datagram.extend([0; 2]);
        let mut sealed = vec![0; Params::LEN];
        self.params.encode(&mut sealed).expect("room");
        let (key, nonce) = keys.response().expect("a known suite");
        let cipher = Aead::new(SUITE, &key).expect("a key of the right length");
        let tag = cipher.seal(&nonce, &datagram, &mut sealed).expect("sealed once");
        datagram.extend(sealed);
        datagram.extend(tag);
        self.outgoing.push(datagram.clone());
        *answer = Some((keys, datagram));
    }

    fn on_response(&mut self, datagram: &[u8]) {
        let Role::Server { identity, under_way: Some((connect, challenge)), random, cookie } = &self.role
        else {
            return;
        };
        if self.seals.is_some() {
            return;
        }
        let client: [u8; 32] = *connect[4..].first_chunk().expect("long enough");
        let server_key = identity.public();
        let transcript = Transcript { server_key: server_key.as_bytes(), connect, challenge };
        let Some(keys) = agree(&self.keys, &client, identity, &client, cookie, &transcript) else { return };
        let (key, nonce) = keys.response().expect("a known suite");
        let associated = 8 + 1 + 2 + connect.len() + 32 + 2;
        let Some((head, rest)) = datagram.split_at_checked(associated) else { return };
        let Some((sealed, tag)) = rest.split_last_chunk::<TAG_LEN>() else { return };
        let cipher = Aead::new(SUITE, &key).expect("a key of the right length");
        if cipher.open(&nonce, head, &mut sealed.to_vec(), tag).is_err() {
            return;
        }
        let random = *random;
        let finished = keys.finish(datagram, &random).expect("a known suite");
        let (c2s, s2c) = seals(finished);
        self.seals = Some((s2c.0, c2s.1));
        let hello = encoded(&Frame::Connected { params: self.params, cid: CID });
        self.send(&hello);
        let packet = self.outgoing.pop().unwrap_or_default();
        self.outgoing.push([&CONTROL_PREFIX[..], &[CONNECTED], &random, &packet].concat());
    }

    fn on_connected(&mut self, datagram: &[u8]) {
        let (prefix, packet) = datagram.split_at(CONNECTED_PREFIX);
        if let Role::Client { answer: Some((keys, response)), cid, .. } = &mut self.role
            && self.seals.is_none()
        {
            let random: [u8; 16] = *prefix.last_chunk().expect("the prefix ends with it");
            let (c2s, mut s2c) = seals(keys.finish(response, &random).expect("a known suite"));
            let mut copy = packet.to_vec();
            let Ok(opened) = s2c.1.open(&mut copy, 0) else { return };
            let first = Frames::new(&copy[opened.range.clone()]).ok().and_then(|mut frames| frames.next());
            let Some(Ok(Frame::Connected { cid: theirs, .. })) = first else { return };
            *cid = theirs;
            self.received.insert(opened.number);
            self.plaintexts.push(copy[opened.range].to_vec());
            self.seals = Some((c2s.0, s2c.1));
            return;
        }
        self.open(packet, false);
    }

    fn open(&mut self, datagram: &[u8], with_cid: bool) {
        let Some((_, opener)) = &mut self.seals else { return };
        let mut packet = datagram.to_vec();
        let id_len = if with_cid { CID.len() } else { 0 };
        let Ok(opened) = opener.open(&mut packet, id_len) else { return };
        self.received.insert(opened.number);
        let plaintext = packet[opened.range].to_vec();
        let frames = Frames::new(&plaintext).into_iter().flatten();
        for frame in frames.map_while(Result::ok) {
            if let Frame::Disconnect(end) = frame {
                self.dismissed = Some(end.reason);
            }
        }
        self.plaintexts.push(plaintext);
    }
}

/// A frame that others may follow.
pub(crate) fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = vec![0; frame.encoded_len(false)];
    let len = frame.encode(&mut bytes, false).expect("room");
    bytes.truncate(len);
    bytes
}

/// The handshake's keys, from the own secrets and what the other side showed of each.
fn agree(
    ephemeral: &KeyPair,
    with: &[u8; 32],
    identity: &KeyPair,
    of: &[u8; 32],
    cookie: &[u8; 32],
    transcript: &Transcript<'_>,
) -> Option<HandshakeKeys> {
    let ephemeral = ephemeral.agree(&PublicKey::from(*with)).ok()?;
    let identity = identity.agree(&PublicKey::from(*of)).ok()?;
    Some(HandshakeKeys::new(SUITE, cookie, &ephemeral, &identity, None, transcript))
}

type Seals = (ShortSealer<Aead>, ShortOpener<Aead>);

/// Sealer and opener of both directions: client's first.
fn seals(keys: ExtendedKeys) -> (Seals, Seals) {
    let (c2s, s2c, _) = keys.split();
    let seals = |secret: fastwire::crypto::extended::DirectionSecret| {
        let sealer = ShortSealer::new(secret.clone(), Arc::new(BuiltinSuites)).expect("a known suite");
        (sealer, ShortOpener::new(secret, Arc::new(BuiltinSuites)).expect("a known suite"))
    };
    (seals(c2s), seals(s2c))
}

fn bytes<const N: usize>(rng: &mut Rng) -> [u8; N] {
    std::array::from_fn(|_| rng.next_u64() as u8)
}

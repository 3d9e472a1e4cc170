//! A peer of the base profile by other hands: the testkit's weak peer behind a handshake and a seal of its own.
//!
//! It does what the protocol's text asks for and nothing of the hardening: RESPONSE leaves once, nothing is repeated
//! but data, CONNECTED is unknown to it.

use std::time::{Duration, Instant};

use fastwire::crypto::{Aead, CipherSuite, KeyPair, Opener, PublicKey, Sealer, derive_session_keys};
use fastwire::sim::Rng;
use fastwire::wire::{
    CONTROL_PREFIX, Challenge, Connect, Control, Features, FragmentFlags, FragmentHeader, PROTOCOL_VERSION,
    PacketFlags, PacketHeader,
};
use fastwire_testkit::weak_peer::{Fragment, Packet, WeakPeer};

/// How often it says something although there is nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often its client asks.
const ASK_AGAIN: Duration = Duration::from_millis(500);
const SUITE: CipherSuite = CipherSuite::Aes128Gcm;

/// The peer, from its first datagram on.
pub(crate) struct Foreign {
    /// What it is once connected.
    pub(crate) peer: WeakPeer,
    keys: KeyPair,
    token: [u8; 32],
    role: Role,
    seals: Option<(Sealer<Aead>, Opener<Aead>)>,
    /// A packet of the other side has opened.
    connected: bool,
    next_heartbeat: Instant,
    /// The other side has said DISCONNECT.
    pub(crate) dismissed: bool,
    outgoing: Vec<Vec<u8>>,
}

enum Role {
    Client { next_connect: Instant },
    Server,
}

impl Foreign {
    /// One that connects to a server.
    pub(crate) fn client(rng: &mut Rng, now: Instant) -> Self {
        Self::new(rng, Role::Client { next_connect: now }, now)
    }

    /// One that waits for a client.
    pub(crate) fn server(rng: &mut Rng, now: Instant) -> Self {
        Self::new(rng, Role::Server, now)
    }

    fn new(rng: &mut Rng, role: Role, now: Instant) -> Self {
        let mut bytes = || std::array::from_fn(|_| rng.next_u64() as u8);
        Self {
            peer: WeakPeer::new(&[0, 1, 2, 3], now),
            keys: KeyPair::from_secret(bytes()),
            token: bytes(),
            role,
            seals: None,
            connected: false,
            next_heartbeat: now + HEARTBEAT,
            dismissed: false,
            outgoing: Vec::new(),
        }
    }

    /// Takes a datagram.
    pub(crate) fn receive(&mut self, datagram: &[u8], now: Instant) {
        let mut sealed = datagram.to_vec();
        if let Some((_, opener)) = &mut self.seals
            && let Ok(opened) = opener.open(&mut sealed)
        {
            self.connected = true;
            self.take(&sealed[opened.range], now);
        } else if let Some(payload) = datagram.strip_prefix(&CONTROL_PREFIX[..])
            && let Ok((control, _)) = Control::decode(payload)
        {
            self.shake_hands(&control);
        }
    }

    fn shake_hands(&mut self, control: &Control) {
        match (&self.role, control) {
            (Role::Server, Control::Connect(connect)) if !self.connected => {
                if self.seals.is_none() {
                    self.seals = Some(self.agree(&connect.public_key, &self.token, false));
                }
                let challenge = Challenge {
                    version: PROTOCOL_VERSION,
                    application_version: 0,
                    public_key: *self.keys.public().as_bytes(),
                    token: self.token,
                    cipher: SUITE.id(),
                    compression_ack: 0,
                    features: Features::EMPTY,
                    migration_token: None,
                };
                self.outgoing.push(bare(&Control::Challenge(challenge)));
            }
            (Role::Client { .. }, Control::Challenge(challenge)) if self.seals.is_none() => {
                self.seals = Some(self.agree(&challenge.public_key, &challenge.token, true));
                let response = bare(&Control::Response { token: challenge.token });
                self.seal(&response);
            }
            _ => {}
        }
    }

    fn agree(&self, theirs: &[u8; 32], token: &[u8; 32], client: bool) -> (Sealer<Aead>, Opener<Aead>) {
        let keys =
            derive_session_keys(&self.keys, &PublicKey::from(*theirs), token, SUITE).expect("a sound key");
        let aead = |key| Aead::new(SUITE, key).expect("a key of the right length");
        let (up, down) = (aead(keys.c2s()), aead(keys.s2c()));
        let (ours, others) = if client { (up, down) } else { (down, up) };
        (Sealer::new(ours), Opener::new(others))
    }

    /// Takes a packet that has opened.
    fn take(&mut self, plain: &[u8], now: Instant) {
        let (header, len) = PacketHeader::decode(plain).expect("a whole header");
        let mut payload = &plain[len..];
        if header.is_control() {
            let (control, _) = Control::decode(payload).expect("a known control packet");
            self.dismissed |= control == Control::Disconnect;
            payload = &[];
        }
        let mut fragment = None;
        if header.is_fragment() {
            let (piece, len) = FragmentHeader::decode(payload).expect("a whole fragment header");
            let FragmentHeader { id, index, count, flags } = piece;
            fragment = Some(Fragment { id, index, count, flags: flags.bits() });
            payload = &payload[len..];
        }
        let PacketHeader { channel, sequence, ack, ack_field, .. } = header;
        self.peer
            .receive(&Packet { channel, sequence, ack, ack_field, fragment, payload: payload.to_vec() }, now);
    }

    /// Does what is due and gives what is to be sent.
    pub(crate) fn act(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if let Role::Client { next_connect } = &mut self.role
            && self.seals.is_none()
            && now >= *next_connect
        {
            *next_connect = now + ASK_AGAIN;
            let connect = Connect {
                version: PROTOCOL_VERSION,
                application_version: 0,
                public_key: *self.keys.public().as_bytes(),
                cipher: SUITE.id(),
                compression: 0,
                dictionary_hash: None,
                features: Features::EMPTY,
            };
            self.outgoing.push(bare(&Control::Connect(connect)));
        }
        // Its server says nothing before a packet of the client has opened.
        if self.seals.is_some() && (self.connected || matches!(self.role, Role::Client { .. })) {
            self.peer.tick(now);
            while let Some(packet) = self.peer.poll_transmit() {
                self.send(&packet);
            }
            if now >= self.next_heartbeat {
                self.next_heartbeat = now + HEARTBEAT;
                let nothing = Packet {
                    channel: 0,
                    sequence: 0,
                    ack: 0,
                    ack_field: 0,
                    fragment: None,
                    payload: Vec::new(),
                };
                self.send(&nothing);
            }
        }
        std::mem::take(&mut self.outgoing)
    }

    /// When to call [`act`](Self::act) again.
    pub(crate) fn next_act(&self) -> Instant {
        self.peer.next_tick()
    }

    fn send(&mut self, packet: &Packet) {
        let Packet { channel, sequence, ack, ack_field, .. } = *packet;
        let flags = match packet.fragment {
            _ if sequence == 0 => PacketFlags::CONTROL,
            Some(_) => PacketFlags::FRAGMENT,
            None => PacketFlags::EMPTY,
        };
        let header = PacketHeader { flags, channel, sequence, ack, ack_field };
        let mut plain = vec![0; PacketHeader::MAX_LEN];
        let len = header.encode(&mut plain).expect("room");
        plain.truncate(len);
        if let Some(Fragment { id, index, count, flags }) = packet.fragment {
            let mut piece = [0; 16];
            let fragment = FragmentHeader { id, index, count, flags: FragmentFlags::from_bits(flags) };
            let len = fragment.encode(&mut piece).expect("room");
            plain.extend_from_slice(&piece[..len]);
        }
        if sequence == 0 {
            let mut heartbeat = [0; 1];
            Control::Heartbeat.encode(&mut heartbeat).expect("room");
            plain.extend_from_slice(&heartbeat);
        }
        plain.extend_from_slice(&packet.payload);
        self.seal(&plain);
    }

    fn seal(&mut self, plain: &[u8]) {
        let Some((sealer, _)) = &mut self.seals else { return };
        let mut packet = vec![0; sealer.prefix_len()];
        packet.extend_from_slice(plain);
        packet.resize(packet.len() + sealer.suffix_len(), 0);
        sealer.seal(&mut packet).expect("keys are fresh");
        self.outgoing.push(packet);
    }
}

fn bare(control: &Control) -> Vec<u8> {
    let mut bytes = vec![0; CONTROL_PREFIX.len() + Control::MAX_LEN];
    let len = control.encode_bare(&mut bytes).expect("room");
    bytes.truncate(len);
    bytes
}

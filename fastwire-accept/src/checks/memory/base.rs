//! A hostile client of the base profile, which has its keys and seals what it likes.

use fastwire::crypto::{
    Aead, BuiltinSuites, CipherSuite, CipherSuites, KeyPair, PublicKey, Sealer, derive_session_keys,
};
use fastwire::sim::Rng;
use fastwire::wire::{
    CONTROL_PREFIX, Connect, Control, Features, FragmentFlags, FragmentHeader, PacketFlags, PacketHeader,
};

use super::arena::Deed;

const SUITE: CipherSuite = CipherSuite::Aes128Gcm;
/// LZ4, by its id on the wire.
const LZ4: u8 = 1;

pub(super) struct Peer {
    key: KeyPair,
    sealer: Option<Sealer<Aead>>,
    heard: bool,
    pub(super) outgoing: Vec<Vec<u8>>,
}

impl Peer {
    /// One that has just asked.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let key = KeyPair::from_secret(std::array::from_fn(|_| rng.next_u64() as u8));
        let connect = Control::Connect(Connect {
            version: 1,
            application_version: 0,
            public_key: key.public().to_bytes(),
            cipher: SUITE.id(),
            compression: LZ4,
            dictionary_hash: None,
            features: Features::SEND_BATCHING,
        });
        let mut bytes = vec![0; CONTROL_PREFIX.len() + connect.encoded_len()];
        connect.encode_bare(&mut bytes).expect("room");
        Self { key, sealer: None, heard: false, outgoing: vec![bytes] }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.heard
    }

    pub(super) fn receive(&mut self, datagram: &[u8]) {
        if self.sealer.is_some() {
            self.heard |= !datagram.starts_with(&CONTROL_PREFIX);
            return;
        }
        let Some(Ok((Control::Challenge(challenge), _))) =
            datagram.strip_prefix(&CONTROL_PREFIX).map(Control::decode)
        else {
            return;
        };
        let theirs = PublicKey::from(challenge.public_key);
        let keys = derive_session_keys(&self.key, &theirs, &challenge.token, SUITE).expect("honest keys");
        let mut sealer = Sealer::new(BuiltinSuites.make(SUITE, keys.c2s()).expect("a key of its length"));
        let response = [&CONTROL_PREFIX[..], &[3], &challenge.token].concat();
        self.outgoing.push(sealed(&mut sealer, &response));
        self.sealer = Some(sealer);
    }

    /// A heartbeat.
    pub(super) fn confirm(&mut self) {
        self.send(&[&CONTROL_PREFIX[..], &[6]].concat());
    }

    pub(super) fn act(&mut self, deed: Deed, number: u64) {
        let n = number as u32;
        match deed {
            Deed::Bombs => {
                let size: u32 = [u32::MAX, 5 << 20, 4 << 20][n as usize % 3];
                let bomb = [&size.to_le_bytes()[..], &[0x1f, 0, 1, 0], &[255; 900]].concat();
                let flags = FragmentFlags::COMPRESSED;
                // At the end on a channel where it cannot be passed over.
                let channel = if n > 4000 { 0 } else { 2 + (n % 2) as u8 };
                let fragment = FragmentHeader { id: n as u16, index: 0, count: 1, flags };
                self.data(channel, n + 1, Some(fragment), &bomb);
            }
            Deed::Gaps => match n % 64 {
                0 => self.data((n / 64 % 4) as u8, u32::MAX - n, None, b"x"),
                _ => self.data((n % 2) as u8, 2 + n / 2 * 2 % 2048, None, &[7; 1100]),
            },
            Deed::OneOf255 => {
                let flags = FragmentFlags::EMPTY;
                let fragment = FragmentHeader { id: n as u16, index: 1, count: 255, flags };
                self.data((n % 4) as u8, 2 + n / 4, Some(fragment), &[0; 1152]);
            }
            Deed::Empty => match n % 2 {
                0 => self.outgoing.push([&[255][..], &[0; 2 * 255]].concat()),
                _ => self.data((n / 2 % 4) as u8, 2 + n / 8, None, b""),
            },
            Deed::Credit => self.data((n % 2) as u8, 1 + n / 2, None, &[7; 1100]),
            Deed::Deaf => {}
        }
    }

    fn data(&mut self, channel: u8, sequence: u32, fragment: Option<FragmentHeader>, payload: &[u8]) {
        let flags = if fragment.is_some() { PacketFlags::FRAGMENT } else { PacketFlags::EMPTY };
        let header = PacketHeader { flags, channel, sequence, ..PacketHeader::default() };
        let mut plain = vec![0; header.encoded_len()];
        header.encode(&mut plain).expect("room");
        if let Some(fragment) = fragment {
            let [high, low] = fragment.id.to_be_bytes();
            plain.extend([high, low, fragment.index, fragment.count, fragment.flags.bits()]);
        }
        plain.extend_from_slice(payload);
        self.send(&plain);
    }

    /// In a batch frame of its own.
    fn send(&mut self, plain: &[u8]) {
        let Some(sealer) = &mut self.sealer else { return };
        let packet = sealed(sealer, plain);
        let [low, high] = (packet.len() as u16).to_le_bytes();
        self.outgoing.push([&[1, low, high][..], &packet].concat());
    }
}

fn sealed(sealer: &mut Sealer<Aead>, plain: &[u8]) -> Vec<u8> {
    let mut packet = [&[0; 8][..], plain, &[0; 16]].concat();
    sealer.seal(&mut packet).expect("fresh keys");
    packet
}

//! A client written by hand that has its keys and seals what it likes.

use std::net::SocketAddr;
use std::time::Instant;

use fastwire::crypto::{Aead, BuiltinSuites, CipherSuite, CipherSuites, KeyPair, Sealer};
use fastwire::crypto::{PublicKey, derive_session_keys};
use fastwire::transport::SocketId;
use fastwire::wire::{Connect, Control, Features, FragmentHeader, PacketFlags, PacketHeader};
use fastwire::{ConnectionId, ConnectionStats, Event, ServerConfig};

use crate::duo::{Core, Sent, client_address, drain, events, feed, server};

/// A server, and us as its client.
pub(super) struct Hostile {
    pub(super) core: Core,
    pub(super) now: Instant,
    pub(super) id: ConnectionId,
    pub(super) address: SocketAddr,
    sealer: Sealer<Aead>,
    batched: bool,
}

pub(super) fn connect_with(key: &KeyPair, compression: u8, features: Features) -> Vec<u8> {
    let connect = Control::Connect(Connect {
        version: 1,
        application_version: 0,
        public_key: key.public().to_bytes(),
        cipher: CipherSuite::Aes128Gcm.id(),
        compression,
        dictionary_hash: None,
        features,
    });
    crate::handshake::bare(&connect)
}

impl Hostile {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self::with(config, Features::EMPTY)
    }

    pub(super) fn with(config: &ServerConfig, features: Features) -> Self {
        let now = Instant::now();
        let mut core = server(config, now);
        let address = client_address(SocketId::PRIMARY);
        let key = KeyPair::from_secret([77; 32]);
        feed(&mut core, now, address, &connect_with(&key, config.compression.algorithm.id(), features));
        let answer = drain(&mut core, now).remove(0).bytes;
        let Ok((Control::Challenge(challenge), _)) = Control::decode(&answer[8..]) else {
            panic!("no CHALLENGE: {answer:?}");
        };
        let theirs = PublicKey::from(challenge.public_key);
        let keys =
            derive_session_keys(&key, &theirs, &challenge.token, CipherSuite::Aes128Gcm).expect("keys");
        let cipher = BuiltinSuites.make(CipherSuite::Aes128Gcm, keys.c2s()).expect("cipher");
        let mut sealer = Sealer::new(cipher);
        let mut response = vec![2, 0, 0, 0, 0, 0, 0, 0, 3];
        response.extend_from_slice(&challenge.token);
        let response = seal(&mut sealer, &response);
        feed(&mut core, now, address, &response);
        let id = match events(&mut core)[..] {
            [Event::Connected { connection }] => connection,
            ref other => panic!("{other:?}"),
        };
        drain(&mut core, now);
        let batched = challenge.features.contains(Features::SEND_BATCHING);
        Self { core, now, id, address, sealer, batched }
    }

    pub(super) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        seal(&mut self.sealer, plain)
    }

    /// Sends a datagram as it is.
    pub(super) fn raw(&mut self, datagram: &[u8]) {
        feed(&mut self.core, self.now, self.address, datagram);
    }

    /// Seals a packet and sends it, in a batch frame of its own where that was agreed.
    pub(super) fn send(&mut self, plain: &[u8]) {
        let mut packet = self.seal(plain);
        if self.batched {
            let length = (packet.len() as u16).to_le_bytes();
            packet.splice(..0, [1, length[0], length[1]]);
        }
        self.raw(&packet);
    }

    pub(super) fn data(&mut self, header: PacketHeader, fragment: Option<FragmentHeader>, payload: &[u8]) {
        let mut plain = vec![0; header.encoded_len()];
        header.encode(&mut plain).expect("fits");
        if let Some(fragment) = fragment {
            // Not through the encoder, which refuses what no peer should send.
            let [high, low] = fragment.id.to_be_bytes();
            plain.extend_from_slice(&[high, low, fragment.index, fragment.count, fragment.flags.bits()]);
        }
        plain.extend_from_slice(payload);
        self.send(&plain);
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        events(&mut self.core)
    }

    pub(super) fn drain(&mut self) -> Vec<Sent> {
        drain(&mut self.core, self.now)
    }

    pub(super) fn stats(&self) -> ConnectionStats {
        self.core.connection_stats(self.id).expect("still connected")
    }

    pub(super) fn is_connected(&self) -> bool {
        self.core.connection_stats(self.id).is_some()
    }
}

fn seal(sealer: &mut Sealer<Aead>, plain: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 8];
    packet.extend_from_slice(plain);
    packet.extend_from_slice(&[0; 16]);
    sealer.seal(&mut packet).expect("seals");
    packet
}

pub(super) fn header(channel: u8, sequence: u32) -> PacketHeader {
    PacketHeader { channel, sequence, ..PacketHeader::default() }
}

pub(super) fn piece(channel: u8, sequence: u32) -> PacketHeader {
    PacketHeader { flags: PacketFlags::FRAGMENT, ..header(channel, sequence) }
}

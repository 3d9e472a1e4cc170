//! A server's door and a client's handshake, without the connections behind them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire_crypto::extended::{DirectionSecret, PN_LEN, ShortSealer};
use fastwire_crypto::{Aead, BuiltinSuites, CipherSuites, KeyPair, TAG_LEN};
use fastwire_wire::extended::Frame;

use crate::config::CommonConfig;
use crate::identity::Identity;
use crate::proto::client::Challenged;
use crate::proto::entropy::Entropy;
use crate::proto::handshake::client::{ClientHandshake, mismatch, rejection};
use crate::proto::handshake::extended::client::Won;
use crate::proto::handshake::extended::server::ResponseOutcome;
use crate::proto::handshake::extended::{Agreed, connected_prefix};
use crate::proto::handshake::offer::Offer;
use crate::proto::handshake::{BareControl, parse_bare};
use crate::proto::router::{Arrival, Router};
use crate::transport::{RecvMeta, SocketId};
use crate::{ClientConfig, ClientProfile, ConnectionId, EndpointStats, ServerConfig, ServerProfile};

pub(super) const SERVER: &str = "192.0.2.1:7777";
pub(super) const CLIENT: &str = "198.51.100.7:5000";

pub(super) fn suites() -> Arc<dyn CipherSuites<Cipher = Aead>> {
    Arc::new(BuiltinSuites)
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(super) struct Server {
    pub(super) router: Router<Aead>,
    pub(super) config: CommonConfig,
    pub(super) entropy: Entropy,
    pub(super) stats: EndpointStats,
    pub(super) connections: usize,
}

impl Server {
    pub(super) fn new(config: &ServerConfig, now: Instant) -> Self {
        let (common, mut entropy) = (config.common().expect("a valid configuration"), Entropy::new([1; 32]));
        let identity =
            common.extended.identity.clone().unwrap_or_else(|| Identity::from_secret(entropy.bytes()));
        let keys = (KeyPair::from_secret(entropy.bytes()), identity);
        let router = Router::new(&common, config.max_connections, false, keys, now);
        Self { router, config: common, entropy, stats: EndpointStats::default(), connections: 0 }
    }

    pub(super) fn connect(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) -> Option<Vec<u8>> {
        let Some(BareControl::Connect(connect)) = parse_bare(datagram) else { return None };
        let meta = meta(from);
        let arrival = Arrival { meta: &meta, len: datagram.len(), now };
        let books = (&mut self.entropy, &mut self.stats);
        let answer =
            self.router.handle_connect(connect, datagram, arrival, self.connections, &self.config, books)?;
        assert_eq!(answer.remote, from);
        assert!(answer.bytes.len() <= 3 * datagram.len());
        Some(answer.bytes)
    }

    pub(super) fn response(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) -> ResponseOutcome {
        let meta = meta(from);
        let arrival = Arrival { meta: &meta, len: datagram.len(), now };
        let books = (&mut self.entropy, &mut self.stats);
        self.router.handle_response(datagram, arrival, self.connections, &self.config, &suites(), books)
    }

    /// Takes a RESPONSE and opens the connection number `n`. Gives what was agreed, and CONNECTED.
    pub(super) fn accept(&mut self, datagram: &[u8], now: Instant, n: u32) -> Option<(Agreed, Vec<u8>)> {
        let ResponseOutcome::Accepted(agreed) = self.response(datagram, address(CLIENT), now) else {
            return None;
        };
        self.router.bind_cookie(agreed.cookie, ConnectionId::new(n, 0), now);
        let connected = connected(&agreed, &self.config, [9; 8]);
        Some((*agreed, connected))
    }
}

/// A CONNECTED datagram.
pub(super) fn connected(agreed: &Agreed, config: &CommonConfig, cid: [u8; 8]) -> Vec<u8> {
    let frame = Frame::Connected { params: config.extended.params, cid };
    let mut packet = vec![0; PN_LEN + frame.encoded_len(true) + TAG_LEN];
    let end = packet.len() - TAG_LEN;
    frame.encode(&mut packet[PN_LEN..end], true).expect("fits");
    ShortSealer::new(agreed.keys.s2c.clone(), suites())
        .expect("a sealer")
        .seal(&mut packet, 0)
        .expect("seals");
    [&connected_prefix(&agreed.server_random)[..], &packet].concat()
}

pub(super) struct Client {
    pub(super) handshake: ClientHandshake<Aead>,
    pub(super) config: CommonConfig,
    entropy: Entropy,
}

impl Client {
    pub(super) fn new(config: &ClientConfig, now: Instant) -> Self {
        Self::scripted(config, Vec::new(), now)
    }

    /// With these first random values.
    pub(super) fn scripted(config: &ClientConfig, values: Vec<Vec<u8>>, now: Instant) -> Self {
        let (common, mut entropy) = (config.common().expect("a valid configuration"), Entropy::new([2; 32]));
        entropy.script(values);
        let offer = Offer::draw(&common, &mut entropy);
        let timeout = Duration::from_secs(5);
        let handshake = ClientHandshake::new(&[address(SERVER)], SocketId::PRIMARY, offer, timeout, now)
            .expect("an address");
        Self { handshake, config: common, entropy }
    }

    /// What is due to be sent over the first socket.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        while let Some((socket, remote)) = self.handshake.wants_second(now) {
            self.handshake.add(remote, socket, Offer::draw(&self.config, &mut self.entropy), now);
        }
        self.handshake.poll_datagram(now).map(|datagram| datagram.bytes)
    }

    /// Takes a bare handshake packet of the server.
    pub(super) fn take(&mut self, datagram: &[u8], now: Instant) -> bool {
        let path = path();
        match parse_bare(datagram) {
            Some(BareControl::Challenge(challenge)) => {
                match Challenged::read(&challenge, datagram, &self.config) {
                    Some(Challenged::Base(it)) => {
                        self.handshake.handle_challenge(&it, path, &self.config, &*suites(), now)
                    }
                    Some(Challenged::Extended(it)) => {
                        self.handshake.handle_extended_challenge(&it, path, &self.config, &*suites(), now)
                    }
                    None => false,
                }
            }
            Some(BareControl::Reject(reject)) => {
                let trailer = &datagram[10..];
                self.handshake.handle_bare_refusal(rejection(&reject), trailer, path, &self.config, now);
                false
            }
            Some(BareControl::VersionMismatch(theirs)) => {
                let (error, trailer) = (mismatch(&theirs, &self.config), &datagram[12..]);
                self.handshake.handle_bare_refusal(error, trailer, path, &self.config, now);
                false
            }
            _ => false,
        }
    }

    pub(super) fn connected(&mut self, datagram: &[u8]) -> Option<Won<Aead>> {
        self.handshake.handle_connected(&mut BytesMut::from(datagram), path(), 0, &suites())
    }
}

pub(super) fn path() -> (SocketId, SocketAddr) {
    (SocketId::PRIMARY, address(SERVER))
}

fn meta(remote: SocketAddr) -> RecvMeta {
    RecvMeta { socket: SocketId::PRIMARY, remote, local: None, ecn: None }
}

/// The four datagrams of a handshake.
pub(super) struct Exchange {
    pub(super) connect: Vec<u8>,
    pub(super) challenge: Vec<u8>,
    pub(super) response: Vec<u8>,
    pub(super) connected: Vec<u8>,
    pub(super) servers: Agreed,
    pub(super) clients: Won<Aead>,
}

/// Runs a handshake over a perfect line, as far as it goes.
pub(super) fn shake(server: &mut Server, client: &mut Client, now: Instant) -> Option<Exchange> {
    let connect = client.poll(now)?;
    let challenge = server.connect(&connect, address(CLIENT), now)?;
    client.take(&challenge, now).then_some(())?;
    let response = client.poll(now)?;
    let (servers, connected) = server.accept(&response, now, 1)?;
    let clients = client.connected(&connected)?;
    Some(Exchange { connect, challenge, response, connected, servers, clients })
}

/// A server that speaks both profiles and has an identity.
pub(super) fn server_config() -> ServerConfig {
    ServerConfig {
        profile: ServerProfile::Both,
        identity: Some(Identity::from_secret([5; 32])),
        ..ServerConfig::default()
    }
}

pub(super) fn client_config() -> ClientConfig {
    ClientConfig { profile: ClientProfile::Prefer, ..ClientConfig::default() }
}

/// A client that has pinned [`server_config`]'s key.
pub(super) fn pinning_config() -> ClientConfig {
    let pinned = Some(Identity::from_secret([5; 32]).public_key());
    ClientConfig { profile: ClientProfile::Auto, pinned, ..ClientConfig::default() }
}

/// Whether two handshakes ended with the same keys.
pub(super) fn same_keys(a: &Agreed, b: &Agreed) -> bool {
    let all = |agreed: &Agreed| {
        let keys = &agreed.keys;
        let mut exported = [0; 32];
        keys.export(b"label", &mut exported).expect("exports");
        let key = |secret: &DirectionSecret| (secret.key().expect("a key"), *secret.mask_key());
        (agreed.suite, key(&keys.c2s), key(&keys.s2c), exported)
    };
    all(a) == all(b)
}

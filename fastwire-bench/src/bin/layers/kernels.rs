//! The layers: codec, packet protection, channels, and the whole path without sockets. Counted ones leave the AEAD out:
//! the tool that counts does not know the newest vector instructions.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire::compress::{BuiltinCompressor, CompressionConfig};
use fastwire::congestion::{BuiltinController, BuiltinControllers, CongestionMode};
use fastwire::crypto::{BuiltinSuites, Cipher, CipherSuite, CipherSuites};
use fastwire::proto::{Endpoint, Parts, TransmitBuf};
use fastwire::transport::{RecvMeta, SocketId};
use fastwire::{ClientConfig, ClientProfile, ConnectionId, Event, Fec, ServerConfig};
use fastwire_crypto::{AeadLimits, CipherError, KeyError, NONCE_LEN, Opener, Sealer, TAG_LEN};
use fastwire_reliability::{ChannelLayout, Channels, ChannelsConfig, Outcome, Peer, Quota, RecoveryProfile};
use fastwire_wire::{BatchReader, BatchWriter, DEFAULT_MTU, FragmentFlags, PacketFlags, PacketHeader};

/// One run of a layer.
pub type Once = Box<dyn FnMut()>;
type Make = fn() -> Once;

/// What is counted in instructions.
pub const COUNTED: &[(&str, Make)] = &[
    ("header: encode and decode", header),
    ("batch frame of 18: write and read", batch),
    ("seal and open 1200 B, without the AEAD", protection),
    ("channel: push, send, accept, acknowledge 64 reliable messages", || channel(0)),
    ("channel: push, send, accept 64 unreliable messages", || channel(2)),
    ("base path: 16 reliable messages of 64 B, without the AEAD", || bare_path(BASE, BURST, 64, 0)),
    ("base path: 16 reliable messages of 1152 B, without the AEAD", || bare_path(BASE, BURST, 1152, 0)),
    ("base path: 16 unreliable messages of 1152 B, without the AEAD", || bare_path(BASE, BURST, 1152, 2)),
    ("extended path: 16 reliable messages of 64 B, without the AEAD", || bare_path(EXTENDED, BURST, 64, 0)),
    ("extended path: 256 unreliable messages of 64 B, without the AEAD", || bare_path(EXTENDED, 256, 64, 2)),
    ("extended path: 16 unreliable messages of 1152 B, without the AEAD", || {
        bare_path(EXTENDED, BURST, 1152, 2)
    }),
    ("extended path: 16 reliable messages of 16 KiB, without the AEAD", || {
        bare_path(EXTENDED, BURST, 16384, 0)
    }),
    ("extended path: 16 unreliable messages of 1140 B, every 20th packet lost, without the AEAD", || {
        lossy_path(None)
    }),
    ("extended path: the same with parity", || lossy_path(Some(Fec::percent(100)))),
];

/// What is only timed: the same with packets sealed.
pub const TIMED: &[(&str, Make)] = &[
    ("base path: 16 reliable messages of 1152 B, AES-128-GCM", || sealed_path(BASE, BURST, 1152, 0)),
    ("base path: 16 unreliable messages of 1152 B, AES-128-GCM", || sealed_path(BASE, BURST, 1152, 2)),
    ("extended path: 16 reliable messages of 64 B, AES-128-GCM", || sealed_path(EXTENDED, BURST, 64, 0)),
    ("extended path: 256 unreliable messages of 64 B, AES-128-GCM", || sealed_path(EXTENDED, 256, 64, 2)),
    ("extended path: 16 unreliable messages of 1152 B, AES-128-GCM", || {
        sealed_path(EXTENDED, BURST, 1152, 2)
    }),
    ("extended path: 16 reliable messages of 16 KiB, AES-128-GCM", || sealed_path(EXTENDED, BURST, 16384, 0)),
    ("base handshake, both sides", || handshake(BASE)),
    ("extended handshake, both sides", || handshake(EXTENDED)),
];

/// Messages of one run of most paths.
pub const BURST: usize = 16;

const BASE: ClientProfile = ClientProfile::BaseOnly;
const EXTENDED: ClientProfile = ClientProfile::Require;

fn header() -> Once {
    let header = PacketHeader {
        flags: PacketFlags::EMPTY,
        channel: 1,
        sequence: 70_000,
        ack: 300,
        ack_field: u32::MAX,
    };
    let mut out = [0; DEFAULT_MTU];
    Box::new(move || {
        let _ = black_box(black_box(&header).encode(&mut out));
        let _ = black_box(PacketHeader::decode(black_box(&out)));
    })
}

fn batch() -> Once {
    let mut out = [0; DEFAULT_MTU];
    Box::new(move || {
        let mut writer = BatchWriter::new(&mut out);
        while writer.push(black_box(&[3; 64])).is_ok() {}
        let length = writer.finish();
        let sum =
            BatchReader::new(black_box(&out[..length])).map(|batch| batch.map(<[u8]>::len).sum::<usize>());
        let _ = black_box(sum);
    })
}

/// Seals nothing: what remains is our own work.
struct Nothing;

impl Cipher for Nothing {
    fn seal(&self, _: &[u8; NONCE_LEN], _: &[u8], _: &mut [u8]) -> Result<[u8; TAG_LEN], CipherError> {
        Ok([0; TAG_LEN])
    }

    fn open(
        &self,
        _: &[u8; NONCE_LEN],
        _: &[u8],
        _: &mut [u8],
        _: &[u8; TAG_LEN],
    ) -> Result<(), CipherError> {
        Ok(())
    }

    fn limits(&self) -> AeadLimits {
        AeadLimits { seals: u64::MAX, forgeries: u64::MAX }
    }
}

fn nothing(_: CipherSuite, _: &[u8]) -> Result<Nothing, KeyError> {
    Ok(Nothing)
}

fn protection() -> Once {
    let (mut sealer, mut opener) = (Sealer::new(Nothing), Opener::new(Nothing));
    let mut packet = vec![0; 1200];
    Box::new(move || {
        let _ = black_box(sealer.seal(black_box(&mut packet)));
        let _ = black_box(opener.open(black_box(&mut packet)).is_ok());
    })
}

/// Sends 64 messages one way, delivers and acknowledges them.
fn channel(channel: u8) -> Once {
    let new = || {
        let mut channels =
            Channels::new(ChannelLayout::default(), &ChannelsConfig::default(), RecoveryProfile::default());
        channels.set_peer(Peer::Own);
        channels
    };
    let (mut a, mut b, mut now) = (new(), new(), Instant::now());
    let message = Bytes::from_static(&[7; 64]);
    Box::new(move || {
        now += Duration::from_millis(20);
        for _ in 0..64 {
            let _ = a.push(channel, &message, FragmentFlags::EMPTY, now);
        }
        while let Some(out) = a.next_outgoing(now, Quota::UNLIMITED) {
            black_box(a.header_ack(channel));
            a.mark_sent(&out, out.payload.len() + 40, now);
            let _ = black_box(b.accept(out.channel, out.sequence, out.fragment, out.payload, now).is_ok());
        }
        while let Some(delivery) = b.poll_delivery() {
            black_box(delivery.data.len());
        }
        let (mut outcome, later) = (Outcome::default(), now + Duration::from_millis(10));
        while let Some((channel, ack, field)) = b.next_owed_ack(later) {
            let _ = black_box(a.acknowledge(channel, ack, field, later, &mut outcome).is_ok());
        }
    })
}

type Core<C> = Endpoint<C, BuiltinCompressor, BuiltinController>;

/// Two endpoints and nothing between them.
struct Pair<C: Cipher> {
    server: Core<C>,
    client: Core<C>,
    id: ConnectionId,
    now: Instant,
    buf: TransmitBuf,
    /// What the other side's socket received.
    wire: Vec<u8>,
    delivered: u64,
    /// From the client to the server.
    line: Line,
}

/// A line that loses every so many-th datagram.
#[derive(Debug, Default)]
struct Line {
    every: Option<u64>,
    carried: u64,
}

impl Line {
    fn loses(&mut self) -> bool {
        self.carried += 1;
        self.every.is_some_and(|every| self.carried.is_multiple_of(every))
    }
}

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 7777).into()
}

impl<C: Cipher> Pair<C> {
    fn connected<S: CipherSuites<Cipher = C> + 'static>(
        profile: ClientProfile,
        suites: impl Fn() -> S,
    ) -> Self {
        Self::configured(profile, None, suites)
    }

    fn configured<S: CipherSuites<Cipher = C> + 'static>(
        profile: ClientProfile,
        fec: Option<Fec>,
        suites: impl Fn() -> S,
    ) -> Self {
        let parts = || Parts {
            suites: std::sync::Arc::new(suites()),
            compressor: BuiltinCompressor::new(&CompressionConfig::default())
                .unwrap_or_else(|e| panic!("{e}")),
            controllers: Box::new(BuiltinControllers::new(CongestionMode::Aggressive)),
        };
        let now = Instant::now();
        let server = Endpoint::server(&ServerConfig::default(), parts(), [1; 32], now);
        let mut config = ClientConfig::default();
        (config.profile, config.fec) = (profile, fec);
        let client = Endpoint::client(&config, parts(), [2; 32], now);
        let (server, mut client) =
            (server.unwrap_or_else(|e| panic!("{e}")), client.unwrap_or_else(|e| panic!("{e}")));
        let id = client.connect(now, &[address(1)]).unwrap_or_else(|e| panic!("{e}"));
        let (buf, wire) = (TransmitBuf::new(32), Vec::new());
        let mut pair = Self { server, client, id, now, buf, wire, delivered: 0, line: Line::default() };
        (0..10).for_each(|_| pair.exchange());
        assert_eq!(pair.server.connection_count(), 1, "the pair is connected");
        pair
    }

    fn exchange(&mut self) {
        self.now += Duration::from_micros(200);
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        let Self { server, client, now, buf, wire, line, .. } = self;
        carry(client, server, address(2), *now, (buf, wire), line);
        carry(server, client, address(1), *now, (buf, wire), &mut Line::default());
        while let Some(event) = self.server.poll_event() {
            if let Event::Message { data, .. } = &event {
                self.delivered += 1;
                black_box(data);
            }
        }
        while self.client.poll_event().is_some() {}
    }
}

fn carry<C: Cipher>(
    from: &mut Core<C>,
    to: &mut Core<C>,
    source: SocketAddr,
    now: Instant,
    (buf, wire): (&mut TransmitBuf, &mut Vec<u8>),
    line: &mut Line,
) {
    let meta = RecvMeta { socket: SocketId::PRIMARY, remote: source, local: None, ecn: None };
    while let Some(transmit) = from.poll_transmit(now, buf) {
        wire.clear();
        // one by one: a counter of instructions sees each byte of a long copy
        if line.every.is_none() {
            transmit.segments().for_each(|datagram| wire.extend_from_slice(datagram));
        } else {
            let came = transmit.segments().filter(|_| !line.loses());
            came.for_each(|datagram| wire.extend_from_slice(datagram));
        }
        let size = transmit.segment_size.unwrap_or(wire.len());
        to.handle_train(now, &meta, wire, size);
    }
}

fn path<C: Cipher + 'static>(mut pair: Pair<C>, count: usize, size: usize, channel: u8) -> Once {
    let message = vec![7; size];
    Box::new(move || {
        let before = pair.delivered;
        for _ in 0..count {
            let _ = black_box(pair.client.send(pair.now, pair.id, black_box(&message), channel).is_ok());
        }
        // What the window does not let go at once leaves with the next acknowledgement.
        for _ in 0..100 {
            pair.exchange();
            if pair.delivered - before == count as u64 {
                break;
            }
        }
    })
}

/// Bursts over a line that loses every 20th packet, and what it takes to make lost ones of parity, where there is some.
fn lossy_path(fec: Option<Fec>) -> Once {
    let mut pair = Pair::configured(EXTENDED, fec, || nothing);
    pair.line.every = Some(20);
    let message = vec![7; 1140];
    Box::new(move || {
        for _ in 0..BURST {
            let _ = black_box(pair.client.send(pair.now, pair.id, black_box(&message), 2).is_ok());
        }
        // a frame's time, so that all that is due leaves
        pair.now += Duration::from_millis(16);
        (0..2).for_each(|_| pair.exchange());
    })
}

fn bare_path(profile: ClientProfile, count: usize, size: usize, channel: u8) -> Once {
    path(Pair::connected(profile, || nothing), count, size, channel)
}

fn sealed_path(profile: ClientProfile, count: usize, size: usize, channel: u8) -> Once {
    path(Pair::connected(profile, || BuiltinSuites), count, size, channel)
}

fn handshake(profile: ClientProfile) -> Once {
    Box::new(move || {
        black_box(Pair::connected(profile, || BuiltinSuites).delivered);
    })
}

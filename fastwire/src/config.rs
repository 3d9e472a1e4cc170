//! Configuration of servers and clients: every field with its unit, default and range, and the named limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastwire_compress::CompressionConfig;
use fastwire_congestion::CongestionMode;
use fastwire_crypto::{CipherSuite, PublicKey};
use fastwire_reliability::ChannelLayout;
use fastwire_wire::Features;

use crate::connect_token::{ConnectToken, TokenKeys};
use crate::connection_ids::{ConnectionIdGenerator, RandomIds};
use crate::identity::Identity;
use crate::info::ServerInfo;
use crate::key_log::KeyLog;
use crate::observe::Observers;
use crate::profile::{ClientProfile, ExtendedConfig, PreSharedKey, ServerProfile};
use crate::{ChannelConfig, ConfigError, Fec};

/// How a server behaves. Start from [`ServerConfig::default`] and change what you need.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Largest UDP payload sent, in bytes. Default 1200, range 1200–9000. To a peer that is not this
    /// library never above 1200.
    pub mtu: usize,
    /// Connections at once. Default 1024, range 1–1 048 576. One more client is turned away with "server full".
    pub max_connections: usize,
    /// Ticks a second of the owned-thread and async drivers: bounds how long a queued message waits.
    /// Default 100, range 1–1000. The tick-driven server ticks when you call it.
    pub tick_rate: u32,
    /// Silence after which a heartbeat is sent. Default 1 s, range 10 ms–60 s, below `connection_timeout`.
    pub heartbeat_interval: Duration,
    /// Silence after which a connection is over. Default 10 s, range 100 ms–1 h.
    pub connection_timeout: Duration,
    /// How long a handshake may stay unfinished. Default 5 s, range 100 ms–120 s.
    pub handshake_timeout: Duration,
    /// The channels, equal on both sides. Default: one a delivery mode, channels 0 to 3.
    pub channel_layout: ChannelLayout,
    /// Compression of payloads. Default none.
    pub compression: CompressionConfig,
    /// Channels whose messages are never compressed: for secrets that stand beside text an attacker may
    /// choose, whose compressed size would give them away. Default none.
    pub uncompressed_channels: Vec<u8>,
    /// How single channels are sent: priority, weight, copies in advance. This side's own business; the peer's may differ.
    /// Default: all alike. Extended profile.
    pub channel_configs: BTreeMap<u8, ChannelConfig>,
    /// Parity in advance, as much as the loss asks for. This side's own business; the peer's may differ. Default none. Extended
    /// profile.
    pub fec: Option<Fec>,
    /// Bytes a second that one connection sends at most, all datagrams counted. Acknowledgements and control frames leave all
    /// the same and are paid off first. Default none, at least 2000.
    pub max_send_rate: Option<u64>,
    /// Congestion control. Default [`CongestionMode::Auto`]: conservative in the base profile, model-based in the extended
    /// one. Ignored where a controller of one's own is set.
    pub congestion: CongestionMode,
    /// Cipher suites allowed, most preferred first. Default AES-128-GCM, then ChaCha20-Poly1305.
    /// [`CipherSuite::None`] is only ever used where both sides list it.
    pub cipher_preference: Vec<CipherSuite>,
    /// Repeats after which a packet that also stayed unacknowledged for `connection_timeout` ends the
    /// connection. Default 15, range 1–1000.
    pub max_retransmits: u32,
    /// How long an incomplete message of an unreliable channel is kept. Default 5 s, range 10 ms–60 s.
    pub fragment_timeout: Duration,
    /// First congestion window in packets. Default 4, range 1–1000.
    pub initial_cwnd: u32,
    /// Pack several sealed packets into one datagram, where the client asks for it too. Default off.
    pub send_batching: bool,
    /// Let clients change their address without a new connection, where they ask for it too. Default off.
    /// Needs a cipher: never used with [`CipherSuite::None`].
    pub connection_migration: bool,
    /// How long [`close`](crate::proto::Endpoint::close) lets queued reliable messages leave. Default 1 s, range 0–60 s.
    pub linger: Duration,
    /// The application's own version, told to peers. Default 0.
    pub application_version: u16,
    /// Turn away clients whose application version differs. Default off.
    pub require_application_version: bool,
    /// Which profile to speak. Default [`ServerProfile::Auto`].
    pub profile: ServerProfile,
    /// The key pair that clients may pin. Default none: a new one each time, so that pins do not survive a restart.
    pub identity: Option<Identity>,
    /// A secret that clients must share. Default none. Clients with a connect token need the token's secret instead.
    pub psk: Option<PreSharedKey>,
    /// Which connect tokens open. Default none do.
    pub token_keys: Option<TokenKeys>,
    /// Let nobody in without a connect token. Default off. Needs `token_keys`.
    pub require_token: bool,
    /// Ask the application before a client is let in. Default off.
    pub authorize: bool,
    /// Tell clients that want it what time it is here (extended profile). Default off.
    pub clock_sync: bool,
    /// Let handshakes and connection ids look like noise to whoever does not know the server's key. Default off. Needs
    /// `identity`; clients need `veil` too. Hides, and protects nothing that is not protected without it.
    pub veil: bool,
    /// Where the secrets of connections are told, for tools that decrypt captures. Default nowhere. **Who has them reads
    /// everything.**
    pub key_log: Option<KeyLog>,
    /// Which ids clients put before their packets in the extended profile. Default [`RandomIds`].
    pub connection_ids: Arc<dyn ConnectionIdGenerator>,
    /// Who hears what happens inside connections. Default nobody.
    pub observers: Option<Observers>,
    /// What to tell whoever asks without a connection ([`query`](crate::query)). Default nothing: such questions get no answer.
    pub info: Option<ServerInfo>,
    /// Everything the network can make grow.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            mtu: 1200,
            max_connections: 1024,
            tick_rate: 100,
            heartbeat_interval: Duration::from_secs(1),
            connection_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(5),
            channel_layout: ChannelLayout::default(),
            compression: CompressionConfig::default(),
            uncompressed_channels: Vec::new(),
            channel_configs: BTreeMap::new(),
            fec: None,
            max_send_rate: None,
            congestion: CongestionMode::default(),
            cipher_preference: default_suites(),
            max_retransmits: 15,
            fragment_timeout: Duration::from_secs(5),
            initial_cwnd: 4,
            send_batching: false,
            connection_migration: false,
            linger: Duration::from_secs(1),
            application_version: 0,
            require_application_version: false,
            profile: ServerProfile::Auto,
            identity: None,
            psk: None,
            token_keys: None,
            require_token: false,
            authorize: false,
            clock_sync: false,
            veil: false,
            key_log: None,
            connection_ids: Arc::new(RandomIds),
            observers: None,
            info: None,
            limits: Limits::default(),
        }
    }
}

/// How a client behaves. Start from [`ClientConfig::default`] and change what you need.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// As [`ServerConfig::mtu`].
    pub mtu: usize,
    /// As [`ServerConfig::tick_rate`].
    pub tick_rate: u32,
    /// As [`ServerConfig::heartbeat_interval`].
    pub heartbeat_interval: Duration,
    /// As [`ServerConfig::connection_timeout`].
    pub connection_timeout: Duration,
    /// How long connecting may take. Default 5 s, range 100 ms–120 s.
    pub connect_timeout: Duration,
    /// As [`ServerConfig::channel_layout`].
    pub channel_layout: ChannelLayout,
    /// As [`ServerConfig::compression`].
    pub compression: CompressionConfig,
    /// As [`ServerConfig::uncompressed_channels`].
    pub uncompressed_channels: Vec<u8>,
    /// As [`ServerConfig::channel_configs`].
    pub channel_configs: BTreeMap<u8, ChannelConfig>,
    /// As [`ServerConfig::fec`].
    pub fec: Option<Fec>,
    /// As [`ServerConfig::max_send_rate`].
    pub max_send_rate: Option<u64>,
    /// As [`ServerConfig::congestion`].
    pub congestion: CongestionMode,
    /// Cipher suites allowed; the first is asked for. Default AES-128-GCM, then ChaCha20-Poly1305.
    pub cipher_preference: Vec<CipherSuite>,
    /// As [`ServerConfig::max_retransmits`].
    pub max_retransmits: u32,
    /// As [`ServerConfig::fragment_timeout`].
    pub fragment_timeout: Duration,
    /// As [`ServerConfig::initial_cwnd`].
    pub initial_cwnd: u32,
    /// As [`ServerConfig::send_batching`].
    pub send_batching: bool,
    /// As [`ServerConfig::connection_migration`].
    pub connection_migration: bool,
    /// As [`ServerConfig::linger`].
    pub linger: Duration,
    /// As [`ServerConfig::application_version`].
    pub application_version: u16,
    /// Connect anew by itself when the server was restarted: after 2 s of silence (or two heartbeat intervals, if that is
    /// more) the client asks beside the silent connection, and moves over when the server answers and the old connection
    /// stays silent.
    /// The application sees `Disconnected(Timeout)`, then `Connected`. Default on.
    pub reconnect: bool,
    /// Which profile to speak. Default [`ClientProfile::Auto`].
    pub profile: ClientProfile,
    /// The only server key to accept. Default any: the one that was shown is told to the application.
    pub pinned: Option<PublicKey>,
    /// A secret that the server shares. Default none. A connect token brings its own, which is used instead.
    pub psk: Option<PreSharedKey>,
    /// What a backend gave this client to be let in. Default none.
    pub connect_token: Option<ConnectToken>,
    /// What the application tells the server to be let in, sealed, at most 512 bytes. Default nothing. It needs `pinned`,
    /// `psk` or `connect_token`, because else anybody could be the server.
    pub auth: Bytes,
    /// Send `auth` even to a server that proves nothing. Default off.
    pub auth_to_anyone: bool,
    /// Keep track of the server's clock, where the server tells it (extended profile). Default off.
    pub clock_sync: bool,
    /// As [`ServerConfig::veil`]. Needs `pinned`.
    pub veil: bool,
    /// As [`ServerConfig::key_log`].
    pub key_log: Option<KeyLog>,
    /// As [`ServerConfig::observers`].
    pub observers: Option<Observers>,
    /// Everything the network can make grow.
    pub limits: Limits,
}

impl Default for ClientConfig {
    fn default() -> Self {
        let server = ServerConfig::default();
        Self {
            mtu: server.mtu,
            tick_rate: server.tick_rate,
            heartbeat_interval: server.heartbeat_interval,
            connection_timeout: server.connection_timeout,
            connect_timeout: Duration::from_secs(5),
            channel_layout: server.channel_layout,
            compression: server.compression,
            uncompressed_channels: server.uncompressed_channels,
            channel_configs: server.channel_configs,
            fec: server.fec,
            max_send_rate: server.max_send_rate,
            congestion: server.congestion,
            cipher_preference: server.cipher_preference,
            max_retransmits: server.max_retransmits,
            fragment_timeout: server.fragment_timeout,
            initial_cwnd: server.initial_cwnd,
            send_batching: server.send_batching,
            connection_migration: server.connection_migration,
            linger: server.linger,
            application_version: server.application_version,
            reconnect: true,
            profile: ClientProfile::Auto,
            pinned: None,
            psk: None,
            connect_token: None,
            auth: Bytes::new(),
            auth_to_anyone: false,
            clock_sync: false,
            veil: false,
            key_log: None,
            observers: None,
            limits: server.limits,
        }
    }
}

fn default_suites() -> Vec<CipherSuite> {
    vec![CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305]
}

/// Everything the network, or an application that sends faster than the network carries, can make grow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Unfinished handshakes a server keeps; the oldest makes room. Default 1024, at least 1.
    pub pending_handshakes: usize,
    /// Of these from one IP address. Default 64, at least 1.
    pub pending_handshakes_per_ip: usize,
    /// Key agreements (X25519) a server does in a second. Default 2000, at least 1.
    pub key_agreements_per_second: u32,
    /// Handshakes that cost key agreements, from one IPv4 address or IPv6 /64 in a second, with bursts of twice as many.
    /// Default 100, at least 1.
    pub key_agreements_per_address: u32,
    /// The same for an IPv6 /48, with bursts of one second's worth. Default 1000, at least 1.
    pub key_agreements_per_site: u32,
    /// CONNECTs answered in a second, with bursts of a tenth as many. Default 30 000, at least 1. A flood from spoofed
    /// addresses costs the server what it sends; clients ask again by themselves.
    pub challenges_per_second: u32,
    /// Connections of the extended profile whose client has not yet been heard under its keys; the oldest makes room.
    /// Default 1024, at least 1.
    pub half_open_connections: usize,
    /// Nonces of veiled handshake datagrams that are kept in a generation of 180 s, of two; when there are more, the older
    /// generation goes. Default 65 536, at least 16.
    pub veil_nonces: usize,
    /// Bytes of messages a connection may hold for sending, unacknowledged ones included. Default 4 MiB, at least 1 MiB.
    pub send_queue_bytes: usize,
    /// Messages a connection may hold for sending. Default 65 536, at least 16.
    pub send_queue_messages: usize,
    /// Bytes a connection holds for early, partial and undelivered messages, bookkeeping included.
    /// Default 4 MiB, at least 1 MiB. What does not fit is dropped unacknowledged and comes again.
    pub receive_budget: usize,
    /// The same in the extended profile, told to the peer, whose reliable channels share it equally. Default 4 MiB for each
    /// reliable channel, at most 65 535 KiB. A value is at least 64 KiB, and cut to whole KiB.
    pub extended_receive_budget: Option<usize>,
    /// The largest message taken in the extended profile, told to the peer. Default 4 MiB, at least 1 KiB; cut to a reliable
    /// channel's share of the receive budget.
    pub max_message: usize,
    /// Bytes of packets that a connection keeps so that lost ones can be made of the peer's parity (extended profile); they are
    /// kept only while the peer sends some. Default 96 KiB. 0: no parity is taken; else at least 16 KiB.
    pub fec_bytes: usize,
    /// Bytes of messages that handles on other threads may queue for one connection until the endpoint's
    /// next turn. Default 1 MiB; a single message always fits.
    pub handle_queue_bytes: usize,
    /// Messages that handles on other threads may so queue. Default 4096, at least 1.
    pub handle_queue_messages: usize,
    /// Messages that wait for an async reader of one connection; beyond them the connection is paused, and
    /// further ones count against `receive_budget`. Default 256, at least 1.
    pub inbox_messages: usize,
    /// Bytes that a stream of an async connection holds for its reader, and as many from its writer. Default 256 KiB, at
    /// least 1. Beyond them the stream's channel is paused, and its writer waits.
    pub stream_bytes: usize,
    /// Messages a second that one connection delivers at most. Further ones wait in the receive budget, which slows the peer
    /// down; of unreliable ones the oldest are dropped when it is full. Default none, at least 1.
    pub receive_messages_per_second: Option<u32>,
    /// Bytes of messages a second that one connection delivers at most; likewise. Default none, at least 1000.
    pub receive_bytes_per_second: Option<u64>,
    /// Banned addresses a server keeps. Default 65 536.
    pub bans: usize,
    /// Connections from one IPv4 address or IPv6 /64, by where their clients were when they came. Default no limit, at least 1.
    /// One more client is turned away with "server full".
    pub connections_per_address: Option<usize>,
    /// The same for an IPv4 /24 or IPv6 /48.
    pub connections_per_network: Option<usize>,
    /// Info queries answered in a second. Default 1000, at least 1.
    pub info_per_second: u32,
    /// Of these from one IPv4 address or IPv6 /64, with bursts of twice as many. Default 5, at least 1.
    pub info_per_address: u32,
    /// Bytes of messages that all connections of a server may hold together: partial, undelivered, waiting to leave or to be
    /// acknowledged, bookkeeping included. Default 1 GiB, at least 1 MiB. Beyond it the connection that holds most ends with
    /// [`ConnectionError::ServerMemory`](crate::ConnectionError::ServerMemory), until the others fit.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_handshakes: 1024,
            pending_handshakes_per_ip: 64,
            key_agreements_per_second: 2000,
            key_agreements_per_address: 100,
            key_agreements_per_site: 1000,
            challenges_per_second: 30_000,
            half_open_connections: 1024,
            veil_nonces: 65_536,
            send_queue_bytes: 4 << 20,
            send_queue_messages: 65_536,
            receive_budget: 4 << 20,
            extended_receive_budget: None,
            max_message: 4 << 20,
            fec_bytes: 96 << 10,
            handle_queue_bytes: 1 << 20,
            handle_queue_messages: 4096,
            inbox_messages: 256,
            stream_bytes: 256 << 10,
            receive_messages_per_second: None,
            receive_bytes_per_second: None,
            bans: 65_536,
            connections_per_address: None,
            connections_per_network: None,
            info_per_second: 1000,
            info_per_address: 5,
            memory: 1 << 30,
        }
    }
}

impl Limits {
    fn validate(&self) -> Result<(), ConfigError> {
        at_least("limits.pending_handshakes", self.pending_handshakes, 1, "at least 1")?;
        at_least("limits.pending_handshakes_per_ip", self.pending_handshakes_per_ip, 1, "at least 1")?;
        at_least(
            "limits.key_agreements_per_second",
            self.key_agreements_per_second as usize,
            1,
            "at least 1",
        )?;
        let per_address = self.key_agreements_per_address as usize;
        at_least("limits.key_agreements_per_address", per_address, 1, "at least 1")?;
        at_least("limits.key_agreements_per_site", self.key_agreements_per_site as usize, 1, "at least 1")?;
        at_least("limits.challenges_per_second", self.challenges_per_second as usize, 1, "at least 1")?;
        at_least("limits.half_open_connections", self.half_open_connections, 1, "at least 1")?;
        at_least("limits.veil_nonces", self.veil_nonces, 16, "at least 16")?;
        if let Some(budget) = self.extended_receive_budget {
            at_least("limits.extended_receive_budget", budget, 64 << 10, "at least 65536 bytes")?;
        }
        at_least("limits.max_message", self.max_message, 1 << 10, "at least 1024 bytes")?;
        if self.fec_bytes != 0 {
            at_least("limits.fec_bytes", self.fec_bytes, 16 << 10, "0, or at least 16384 bytes")?;
        }
        at_least("limits.send_queue_bytes", self.send_queue_bytes, 1 << 20, "at least 1048576 bytes")?;
        at_least("limits.send_queue_messages", self.send_queue_messages, 16, "at least 16")?;
        at_least("limits.receive_budget", self.receive_budget, 1 << 20, "at least 1048576 bytes")?;
        if let Some(rate) = self.receive_messages_per_second {
            at_least("limits.receive_messages_per_second", rate as usize, 1, "at least 1")?;
        }
        if let Some(rate) = self.receive_bytes_per_second.filter(|rate| *rate < 1000) {
            return Err(ConfigError::range("limits.receive_bytes_per_second", rate, "at least 1000"));
        }
        at_least("limits.handle_queue_messages", self.handle_queue_messages, 1, "at least 1")?;
        at_least("limits.stream_bytes", self.stream_bytes, 1, "at least 1 byte")?;
        let most = |limit: Option<usize>| limit.unwrap_or(usize::MAX);
        at_least("limits.connections_per_address", most(self.connections_per_address), 1, "at least 1")?;
        at_least("limits.connections_per_network", most(self.connections_per_network), 1, "at least 1")?;
        at_least("limits.info_per_second", self.info_per_second as usize, 1, "at least 1")?;
        at_least("limits.info_per_address", self.info_per_address as usize, 1, "at least 1")?;
        at_least("limits.memory", self.memory, 1 << 20, "at least 1048576 bytes")?;
        at_least("limits.inbox_messages", self.inbox_messages, 1, "at least 1")
    }
}

/// Where the counters of connections start, so that a test need not wait for their ends.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Packet numbers of the extended profile.
    pub packet: u32,
    /// Message numbers of every channel of the extended profile.
    pub message: u64,
    /// Sequences of every channel of the base profile.
    pub sequence: u32,
}

impl Default for Counters {
    fn default() -> Self {
        Self { packet: 0, message: 1, sequence: 1 }
    }
}

/// What both roles share, as the core wants it.
#[derive(Debug, Clone)]
pub(crate) struct CommonConfig {
    pub(crate) mtu: usize,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) connection_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) channel_layout: ChannelLayout,
    pub(crate) compression: CompressionConfig,
    pub(crate) uncompressed_channels: Vec<u8>,
    pub(crate) channel_configs: BTreeMap<u8, ChannelConfig>,
    pub(crate) fec: Option<Fec>,
    pub(crate) max_send_rate: Option<u64>,
    pub(crate) cipher_preference: Vec<CipherSuite>,
    pub(crate) max_retransmits: u32,
    pub(crate) fragment_timeout: Duration,
    pub(crate) initial_cwnd: u32,
    pub(crate) features: Features,
    pub(crate) linger: Duration,
    pub(crate) application_version: u16,
    /// Client only: ask beside a silent connection whether the server was restarted.
    pub(crate) reconnect: bool,
    pub(crate) extended: ExtendedConfig,
    pub(crate) key_log: Option<KeyLog>,
    pub(crate) observers: Option<Observers>,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    /// Server only: it shares its port with others.
    pub(crate) shard: Option<crate::proto::Shard>,
}

macro_rules! common {
    ($config:expr, $handshake:ident, $reconnect:expr, $extended:expr) => {{
        let c = $config;
        let mut features = Features::EMPTY;
        if c.send_batching {
            features = features | Features::SEND_BATCHING;
        }
        if c.connection_migration {
            features = features | Features::CONNECTION_MIGRATION;
        }
        let common = CommonConfig {
            mtu: c.mtu,
            heartbeat_interval: c.heartbeat_interval,
            connection_timeout: c.connection_timeout,
            handshake_timeout: c.$handshake,
            channel_layout: c.channel_layout.clone(),
            compression: c.compression.clone(),
            uncompressed_channels: c.uncompressed_channels.clone(),
            channel_configs: c.channel_configs.clone(),
            fec: c.fec,
            max_send_rate: c.max_send_rate,
            cipher_preference: c.cipher_preference.clone(),
            max_retransmits: c.max_retransmits,
            fragment_timeout: c.fragment_timeout,
            initial_cwnd: c.initial_cwnd,
            features,
            linger: c.linger,
            application_version: c.application_version,
            reconnect: $reconnect,
            extended: $extended,
            key_log: c.key_log.clone(),
            observers: c.observers.clone(),
            limits: c.limits.clone(),
            counters: Counters::default(),
            shard: None,
        };
        common.validate(c.tick_rate, stringify!($handshake))?;
        Ok(common)
    }};
}

impl ServerConfig {
    /// Checks every field. Opening a server does this too.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that cannot work, its value, and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.common().map(drop)
    }

    pub(crate) fn common(&self) -> Result<CommonConfig, ConfigError> {
        if !(1..=1 << 20).contains(&self.max_connections) {
            return Err(ConfigError::range("max_connections", self.max_connections, "1 to 1048576"));
        }
        if let Some(info) = &self.info {
            info.validate()?;
        }
        if self.connection_migration && self.cipher_preference == [CipherSuite::None] {
            return Err(ConfigError::Contradiction {
                field: "connection_migration",
                other: "cipher_preference",
                why: "without a cipher nothing proves who moved; allow a cipher or turn migration off",
            });
        }
        common!(self, handshake_timeout, false, ExtendedConfig::server(self)?)
    }
}

impl ClientConfig {
    /// Checks every field. Opening a client does this too.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that cannot work, its value, and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.common().map(drop)
    }

    pub(crate) fn common(&self) -> Result<CommonConfig, ConfigError> {
        common!(self, connect_timeout, self.reconnect, ExtendedConfig::client(self)?)
    }
}

impl CommonConfig {
    fn validate(&self, tick_rate: u32, handshake: &'static str) -> Result<(), ConfigError> {
        const MS: fn(u64) -> Duration = Duration::from_millis;
        if !(1200..=9000).contains(&self.mtu) {
            return Err(ConfigError::range("mtu", self.mtu, "1200 to 9000 bytes"));
        }
        if !(1..=1000).contains(&tick_rate) {
            return Err(ConfigError::range("tick_rate", tick_rate, "1 to 1000 a second"));
        }
        within("heartbeat_interval", self.heartbeat_interval, MS(10), MS(60_000), "10 ms to 60 s")?;
        within("connection_timeout", self.connection_timeout, MS(100), MS(3_600_000), "100 ms to 1 h")?;
        within(handshake, self.handshake_timeout, MS(100), MS(120_000), "100 ms to 120 s")?;
        within("fragment_timeout", self.fragment_timeout, MS(10), MS(60_000), "10 ms to 60 s")?;
        within("linger", self.linger, MS(0), MS(60_000), "0 to 60 s")?;
        if self.heartbeat_interval >= self.connection_timeout {
            return Err(ConfigError::Contradiction {
                field: "heartbeat_interval",
                other: "connection_timeout",
                why: "an idle connection would time out before its first heartbeat; make the interval smaller",
            });
        }
        let beyond =
            self.uncompressed_channels.iter().find(|c| usize::from(**c) >= self.channel_layout.len());
        if let Some(channel) = beyond {
            return Err(ConfigError::range("uncompressed_channels", channel, "channels of channel_layout"));
        }
        let beyond = self.channel_configs.keys().find(|c| usize::from(**c) >= self.channel_layout.len());
        if let Some(channel) = beyond {
            return Err(ConfigError::range("channel_configs", channel, "channels of channel_layout"));
        }
        for redundancy in self.channel_configs.values().filter_map(|config| config.redundancy) {
            if !(1..=400).contains(&redundancy.percent) || !(1..=1000).contains(&redundancy.max_len) {
                let value = format!("{redundancy:?}");
                return Err(ConfigError::range("redundancy", value, "percent 1 to 400, max_len 1 to 1000"));
            }
        }
        if let Some(fec) = self.fec {
            fec.validate()?;
        }
        if let Some(rate) = self.max_send_rate.filter(|rate| *rate < 2000) {
            return Err(ConfigError::range("max_send_rate", rate, "at least 2000 bytes a second"));
        }
        if self.cipher_preference.is_empty() {
            return Err(ConfigError::range("cipher_preference", "empty", "at least one suite"));
        }
        if !(1..=1000).contains(&self.max_retransmits) {
            return Err(ConfigError::range("max_retransmits", self.max_retransmits, "1 to 1000"));
        }
        if !(1..=1000).contains(&self.initial_cwnd) {
            return Err(ConfigError::range("initial_cwnd", self.initial_cwnd, "1 to 1000 packets"));
        }
        self.limits.validate()
    }
}

fn within(
    field: &'static str,
    value: Duration,
    low: Duration,
    high: Duration,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    if value < low || value > high {
        return Err(ConfigError::range(field, format!("{value:?}"), allowed));
    }
    Ok(())
}

fn at_least(field: &'static str, value: usize, low: usize, allowed: &'static str) -> Result<(), ConfigError> {
    if value < low {
        return Err(ConfigError::range(field, value, allowed));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        ServerConfig::default().validate().expect("server defaults");
        ClientConfig::default().validate().expect("client defaults");
    }

    #[test]
    fn errors_name_field_value_and_range() {
        let config = ServerConfig { mtu: 500, ..ServerConfig::default() };
        let text = config.validate().expect_err("500 is too small").to_string();
        assert!(text.contains("mtu") && text.contains("500") && text.contains("1200 to 9000"), "{text}");

        let mut config = ClientConfig::default();
        config.heartbeat_interval = config.connection_timeout;
        let text = config.validate().expect_err("contradiction").to_string();
        assert!(text.contains("heartbeat_interval") && text.contains("connection_timeout"), "{text}");
    }
}

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod connect_token;
mod connection_ids;
#[cfg(doctest)]
mod documents;
mod error;
mod event;
mod fec;
mod health;
mod id;
mod identity;
mod info;
mod key_log;
mod known_hosts;
mod observe;
mod payload;
mod profile;
pub mod proto;
#[cfg(feature = "qlog")]
pub mod qlog;
mod send_options;
mod shell;
pub mod sim;
mod stats;
mod sync;
pub mod transport;

pub use fastwire_compress as compress;
pub use fastwire_congestion as congestion;
pub use fastwire_crypto as crypto;
pub use fastwire_reliability as reliability;
pub use fastwire_wire as wire;

pub use fastwire_reliability::{ChannelConfig, MessageFate, Redundancy};

#[doc(hidden)]
pub use self::config::Counters;
pub use self::config::{ClientConfig, Limits, ServerConfig};
pub use self::connect_token::{
    ConnectToken, ConnectTokenKey, TOKEN_USER_DATA, TokenClaims, TokenError, TokenKeys,
};
pub use self::connection_ids::{
    ConnectionIdGenerator, IdDestination, RandomIds, RawConnectionId, RoutableIds, connection_id_of,
};
pub use self::error::{
    ConfigError, ConnectError, ConnectionError, Refusal, SendError, StreamError, UnknownConnection,
};
pub use self::event::{ConnectionState, DisconnectReason, Event};
pub use self::fec::Fec;
pub use self::health::ServerHealth;
pub use self::id::ConnectionId;
pub use self::identity::{Identity, IdentityError, fingerprint};
pub use self::info::{ServerInfo, ServerStatus, query};
pub use self::key_log::KeyLog;
pub use self::known_hosts::{KnownHosts, KnownHostsError, Trust};
pub use self::observe::{Metrics, Observed, Observer, Observers, PacketView, Subject};
pub use self::payload::Payload;
pub use self::profile::{ClientProfile, PreSharedKey, Profile, ServerProfile};
pub use self::proto::Arriving;
pub use self::send_options::{Receipt, ReceiptId, SendOptions};
#[cfg(feature = "tokio")]
pub use self::shell::asynchronous::{self, AsyncClient, AsyncConnection, AsyncServer};
pub use self::shell::{
    Client, ClientBuilder, ClientHandle, ClientThread, ConnectionHandle, Handler, HandlerPanicked, Peer,
    Peers, Server, ServerBuilder, ServerHandle, ServerThread, ShardThreads, Shards, ShardsBuilder,
    StartError,
};
pub use self::stats::{ConnectionStats, EndpointStats};

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
#[cfg(doctest)]
mod documents;
mod error;
mod event;
mod id;
mod payload;
pub mod proto;
mod shell;
pub mod sim;
mod stats;
pub mod transport;

pub use fastwire_compress as compress;
pub use fastwire_congestion as congestion;
pub use fastwire_crypto as crypto;
pub use fastwire_reliability as reliability;
pub use fastwire_wire as wire;

pub use self::config::{ClientConfig, Limits, ServerConfig};
pub use self::error::{ConfigError, ConnectError, ConnectionError, SendError, UnknownConnection};
pub use self::event::{ConnectionState, DisconnectReason, Event};
pub use self::id::ConnectionId;
pub use self::payload::Payload;
#[cfg(feature = "tokio")]
pub use self::shell::asynchronous::{self, AsyncClient, AsyncConnection, AsyncServer};
pub use self::shell::{
    Client, ClientBuilder, ClientHandle, ClientThread, ConnectionHandle, Handler, HandlerPanicked, Peer,
    Peers, Server, ServerBuilder, ServerHandle, ServerThread, StartError,
};
pub use self::stats::{ConnectionStats, EndpointStats};

//! The shells: what owns a socket and a clock around the core, and nothing else.
//!
//! [`Server`] and [`Client`] are driven by a loop of the application's ([`Server::tick`]). The same two,
//! given away, run in a thread of their own ([`Server::spawn`]) or in a task ([`Server::into_async`]). All
//! of them turn one crank, the pump.

mod builder;
mod client;
mod handle;
mod handler;
mod link;
#[cfg(feature = "metrics")]
mod metrics;
mod outgoing;
mod peer;
mod pump;
mod report;
mod resolve;
mod server;
mod shards;
mod snapshot;
mod thread;
mod turn;

#[cfg(feature = "tokio")]
pub mod asynchronous;

pub use self::builder::{ClientBuilder, ServerBuilder, ShardsBuilder, StartError};
pub use self::client::Client;
pub use self::handle::{ClientHandle, ConnectionHandle, ServerHandle};
pub use self::handler::Handler;
pub use self::peer::{Peer, Peers};
pub use self::server::Server;
pub use self::shards::{ShardThreads, Shards};
pub use self::thread::{ClientThread, HandlerPanicked, ServerThread};

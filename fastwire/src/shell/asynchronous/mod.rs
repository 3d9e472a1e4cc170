//! Servers, clients and connections for async tasks, on tokio.
//!
//! One task drives an endpoint: it sleeps on the sockets and answers a datagram in the wake it arrives in. All
//! futures here are cancellation-safe: dropping one before it is ready loses nothing but the wish.
//!
//! ```
//! use fastwire::{AsyncClient, AsyncServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = AsyncServer::bind("127.0.0.1:0").await?;
//! let address = server.local_addr().ok_or("no address")?;
//! tokio::spawn(async move {
//!     while let Some(mut connection) = server.accept().await {
//!         tokio::spawn(async move {
//!             while let Some((channel, data)) = connection.recv().await {
//!                 let _ = connection.send(data, channel).await;
//!             }
//!         });
//!     }
//! });
//!
//! let mut connection = AsyncClient::connect(address.to_string()).await?;
//! connection.send("hello", 0).await?;
//! let (channel, data) = connection.recv().await.ok_or("closed")?;
//! assert_eq!((channel, &data[..]), (0, &b"hello"[..]));
//! # Ok(())
//! # }
//! ```

mod client;
mod connection;
mod driver;
mod inbox;
mod request;
mod server;
mod streams;

pub use self::client::AsyncClient;
pub use self::connection::{AsyncConnection, Receiver, Sender};
pub(super) use self::inbox::Inbox;
pub use self::request::ConnectRequest;
pub use self::server::{AsyncServer, query};
pub(super) use self::streams::Streams;
pub use self::streams::{
    FastwireListener, FastwireStream, OwnedReadHalf, OwnedWriteHalf, ReadHalf, StreamReset, WriteHalf,
};

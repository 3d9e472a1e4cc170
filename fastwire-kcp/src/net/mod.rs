//! Streams and listeners over UDP sockets, for tokio.
//!
//! ```
//! use fastwire_kcp::crypt::{Crypt, CryptKind};
//! use fastwire_kcp::net::{KcpConfig, KcpListener, KcpStream};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let crypt = Crypt::from_passphrase(CryptKind::Aes128Gcm, "a long shared secret");
//! let config = KcpConfig::new(crypt).stream(true);
//!
//! let listener = KcpListener::bind("127.0.0.1:0", config.clone()).await?;
//! let mut client = KcpStream::connect(listener.local_addr()?, config).await?;
//! client.write_all(b"hello").await?;
//!
//! let (mut server, _from) = listener.accept().await?;
//! let mut message = [0; 5];
//! server.read_exact(&mut message).await?;
//! assert_eq!(&message, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! All sockets and sessions of a runtime are driven by at most [`MAX_DRIVERS`] tasks, however many there are.

mod config;
mod door;
mod driver;
mod entry;
mod handle;
mod listener;
mod registry;
mod snmp;
mod socket;
mod split;
mod stream;
mod timers;

pub use config::KcpConfig;
pub use listener::KcpListener;
pub use registry::MAX_DRIVERS;
pub use snmp::{reset_snmp, snmp};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use stream::KcpStream;

//! For those who want only TCP, but over FastWire: a listener whose every connection is one stream.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::ToSocketAddrs;

use super::FastwireStream;
use crate::asynchronous::connection::AsyncConnection;
use crate::asynchronous::server::look_up;
use crate::asynchronous::{AsyncServer, ConnectRequest};
use crate::reliability::{ChannelLayout, StreamOpener};
use crate::{
    Client, ClientConfig, ClientProfile, ConnectError, Server, ServerConfig, ServerProfile, StartError,
};

/// The channel of the one stream.
const CHANNEL: u8 = 0;

/// How long what was written before the end may take to arrive. As long as [`linger`](ServerConfig::linger) goes.
const LINGER: Duration = Duration::from_secs(60);

/// Accepts streams, as tokio's `TcpListener` does: each is a connection of its own, so that streams share neither
/// congestion control nor fate. (For many streams over one connection see
/// [`open_stream`](crate::asynchronous::Sender::open_stream).)
///
/// Dropping it turns newcomers away; streams that were accepted live on.
///
/// ```
/// use fastwire::asynchronous::{FastwireListener, FastwireStream};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let listener = FastwireListener::bind("127.0.0.1:0").await?;
/// let address = listener.local_addr()?;
/// tokio::spawn(async move {
///     let (mut stream, _peer) = listener.accept().await?;
///     let (mut reader, mut writer) = stream.split();
///     tokio::io::copy(&mut reader, &mut writer).await?;
///     writer.shutdown().await
/// });
///
/// let mut stream = FastwireStream::connect(address).await?;
/// stream.write_all(b"hello").await?;
/// stream.shutdown().await?;
/// let mut back = Vec::new();
/// stream.read_to_end(&mut back).await?;
/// assert_eq!(back, b"hello");
/// # Ok(())
/// # }
/// ```
pub struct FastwireListener {
    server: AsyncServer,
}

impl FastwireListener {
    /// Listens on a UDP address, with an identity of the moment: see [`bind_with`](Self::bind_with) for one that clients
    /// can pin.
    ///
    /// # Errors
    /// [`io::Error`], with the [`StartError`] inside that says more.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(address: impl ToSocketAddrs + fmt::Debug) -> io::Result<Self> {
        Self::bind_with(Self::config(), address).await
    }

    /// As [`bind`](Self::bind), with a configuration. Its channel layout and profile are set to what streams need.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind_with(
        mut config: ServerConfig,
        address: impl ToSocketAddrs + fmt::Debug,
    ) -> io::Result<Self> {
        config.channel_layout = layout();
        config.profile = ServerProfile::ExtendedOnly;
        let addresses = look_up(address).await.map_err(io_error)?;
        let server = Server::builder().config(config).bind(&addresses[..]).map_err(io_error)?;
        Ok(Self { server: server.into_async() })
    }

    /// What [`bind`](Self::bind) uses: the default configuration, but that what was written before the end of a stream has
    /// a minute to arrive.
    pub fn config() -> ServerConfig {
        ServerConfig { linger: LINGER, ..ServerConfig::default() }
    }

    /// The next stream and where it comes from. Callable from several tasks at once.
    ///
    /// Cancellation-safe: a stream is taken only when this returns.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected): the listener has stopped.
    pub async fn accept(&self) -> io::Result<(FastwireStream, SocketAddr)> {
        loop {
            let stopped = || io::Error::new(io::ErrorKind::NotConnected, "the listener has stopped");
            let connection = self.server.accept().await.ok_or_else(stopped)?;
            let address = connection.remote_addr();
            // one that is gone already is none
            if let Some((stream, address)) = only_stream(connection).zip(address) {
                return Ok((stream, address));
            }
        }
    }

    /// The next client that asks to be let in, where [`authorize`](ServerConfig::authorize) is set: see
    /// [`AsyncServer::next_request`]. `None` when the listener has stopped.
    ///
    /// Cancellation-safe: a request is taken only when this returns.
    pub async fn next_request(&self) -> Option<ConnectRequest> {
        self.server.next_request().await
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the transport has none.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl fmt::Debug for FastwireListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastwireListener").field("local_addr", &self.server.local_addr()).finish()
    }
}

/// One channel, for one stream, which begins with the connection.
fn layout() -> ChannelLayout {
    let one = ChannelLayout::builder().streams(StreamOpener::Client, 1).build();
    one.unwrap_or_default()
}

pub(super) fn stream_client() -> ClientConfig {
    ClientConfig { linger: LINGER, ..ClientConfig::default() }
}

pub(super) async fn connect(
    mut config: ClientConfig,
    server: impl ToSocketAddrs + fmt::Debug,
) -> io::Result<FastwireStream> {
    config.channel_layout = layout();
    config.profile = ClientProfile::Require;
    // a stream does not go on in another connection
    config.reconnect = false;
    let addresses = look_up(server).await.map_err(io_error)?;
    let client = Client::builder().config(config).connect(&addresses[..]).map_err(io_error)?.into_async();
    let connection = client.connection().await.map_err(|error| io_error(error.into()))?;
    only_stream(connection).ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
}

/// The stream of a connection that has one; `None` if it is over.
fn only_stream(connection: AsyncConnection) -> Option<FastwireStream> {
    let held = Arc::clone(connection.held());
    let stream = held.link.streams.adopt(CHANNEL).ok()?;
    Some(FastwireStream::new(held, stream))
}

/// The kind that a TCP socket would give.
fn io_error(error: StartError) -> io::Error {
    let kind = match &error {
        StartError::Resolve { source, .. } | StartError::Socket { source, .. } => source.kind(),
        StartError::Config(_) => io::ErrorKind::InvalidInput,
        StartError::Connect(ConnectError::Timeout { .. }) => io::ErrorKind::TimedOut,
        StartError::Connect(ConnectError::Closed) => io::ErrorKind::ConnectionAborted,
        StartError::Connect(ConnectError::NoAddress) => io::ErrorKind::InvalidInput,
        StartError::Connect(_) => io::ErrorKind::ConnectionRefused,
        StartError::Entropy(_) => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

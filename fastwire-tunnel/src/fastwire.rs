//! FastWire as a transport: many streams on one connection, further connections where one is full.
//!
//! A connection carries [`STREAMS`] streams at a time. They share its handshake, its round-trip time and its congestion
//! control, so that a new stream starts at the speed of the line and many do not push others aside; each has an order and
//! a flow control of its own, so that a slow one holds up no other. That all of them end with their connection costs
//! little: a server that was restarted has lost all of them anyway.

use crate::transport::{Accept, Open};
use fastwire::asynchronous::{AsyncClient, AsyncConnection, AsyncServer, FastwireStream, Sender};
use fastwire::crypto::PublicKey;
use fastwire::reliability::{ChannelLayout, StreamOpener};
use fastwire::{
    Client, ClientConfig, ClientProfile, ConnectionState, Fec, Identity, KnownHosts, PreSharedKey, Server,
    ServerConfig, ServerProfile,
};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, mpsc};

/// Streams that a connection carries at a time. The channels of a connection share its receive budget of 64 MiB, which
/// leaves a stream a window of 1 MiB: 40 MB/s at a round trip of 25 ms. The same at both ends.
pub const STREAMS: usize = 64;
/// How long what was written before the end of a stream may take to arrive when its connection is closed.
const LINGER: Duration = Duration::from_secs(60);
/// Streams that wait for the tunnel to take them.
const BACKLOG: usize = 128;
/// How often a connection's figures are read.
const TICK: Duration = Duration::from_secs(1);

/// What a server is set up with.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The file with the key pair that clients pin; it is made the first time. None: another key pair each time.
    pub identity: Option<PathBuf>,
    /// The secret that clients must share. None lets everybody in.
    pub psk: Option<PreSharedKey>,
    /// Largest datagram in bytes, 1200 to 9000.
    pub mtu: usize,
    /// Parity in advance.
    pub fec: Option<Fec>,
}

/// How a client knows the server, and what else it is set up with.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The only key to accept.
    pub pin: Option<PublicKey>,
    /// The file of keys seen before: the server's is looked up there, and added the first time.
    pub known_hosts: Option<PathBuf>,
    /// The secret that the server must share.
    pub psk: Option<PreSharedKey>,
    /// Largest datagram in bytes, 1200 to 9000.
    pub mtu: usize,
    /// Parity in advance.
    pub fec: Option<Fec>,
}

/// What all connections of this process did about losses, as of the last second.
#[derive(Debug, Default)]
pub struct Repairs {
    /// Packets whose contents were sent again.
    pub resent: AtomicU64,
    /// Packets made of others and their parity.
    pub recovered: AtomicU64,
}

/// One stream, which is counted while it lives.
#[derive(Debug)]
pub struct Stream {
    inner: FastwireStream,
    _place: Arc<()>,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Accepts the streams of all connections.
#[derive(Debug)]
pub struct FastwireAcceptor {
    streams: Mutex<mpsc::Receiver<(Stream, SocketAddr)>>,
    address: SocketAddr,
    key: PublicKey,
}

impl FastwireAcceptor {
    /// Listens at a UDP address. What becomes of losses is added to `repairs`.
    ///
    /// # Errors
    /// When the address or the identity's file cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(listen: &str, settings: ServerSettings, repairs: Arc<Repairs>) -> io::Result<Self> {
        let identity = match &settings.identity {
            Some(file) => Identity::load_or_generate(file),
            None => Identity::generate(),
        };
        let identity = identity.map_err(io::Error::other)?;
        let key = identity.public_key();
        let mut config = ServerConfig::default();
        config.identity = Some(identity);
        config.psk = settings.psk;
        config.mtu = settings.mtu;
        config.fec = settings.fec;
        config.profile = ServerProfile::ExtendedOnly;
        config.channel_layout = layout()?;
        config.linger = LINGER;
        let addresses: Vec<_> = tokio::net::lookup_host(listen).await?.collect();
        let server = Server::builder().config(config).bind(&addresses[..]).map_err(io::Error::other)?;
        let server = server.into_async();
        let address = server.local_addr().ok_or(io::ErrorKind::NotConnected)?;
        let (sender, streams) = mpsc::channel(BACKLOG);
        tokio::spawn(accept_connections(server, sender, repairs));
        Ok(Self { streams: Mutex::new(streams), address, key })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What clients pin.
    pub fn key(&self) -> PublicKey {
        self.key
    }
}

impl Accept for FastwireAcceptor {
    type Stream = Stream;

    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let stopped = || io::Error::new(io::ErrorKind::NotConnected, "the server has stopped");
        self.streams.lock().await.recv().await.ok_or_else(stopped)
    }
}

async fn accept_connections(
    server: AsyncServer,
    streams: mpsc::Sender<(Stream, SocketAddr)>,
    repairs: Arc<Repairs>,
) {
    while let Some(connection) = server.accept().await {
        let Some(address) = connection.remote_addr() else { continue };
        let (connection, _) = connection.split();
        tokio::spawn(count(connection.clone(), repairs.clone()));
        let streams = streams.clone();
        tokio::spawn(async move {
            let place = Arc::new(());
            while let Ok(inner) = connection.accept_stream().await {
                if streams.send((Stream { inner, _place: place.clone() }, address)).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Opens streams on connections to one server, which it makes as they are needed.
#[derive(Debug)]
pub struct FastwireOpener {
    server: String,
    settings: ClientSettings,
    pool: Mutex<Pool>,
    repairs: Arc<Repairs>,
}

#[derive(Debug, Default)]
struct Pool {
    links: Vec<Link>,
    /// The last attempt to connect that failed: when, and why.
    failed: Option<(Instant, io::ErrorKind, String)>,
}

/// A connection, and whoever uses it.
#[derive(Debug)]
struct Link {
    connection: Sender,
    /// Held once here and once by each of its streams.
    place: Arc<()>,
    /// What drives the connection also sees, sooner than by its silence, that a server was restarted.
    _client: AsyncClient,
}

impl Link {
    fn is_up(&self) -> bool {
        self.connection.state() == ConnectionState::Connected
    }

    fn streams(&self) -> usize {
        Arc::strong_count(&self.place) - 1
    }
}

impl FastwireOpener {
    /// For a server at host and port; a name is looked up again for each connection. What becomes of losses is added to `repairs`.
    pub fn new(server: String, settings: ClientSettings, repairs: Arc<Repairs>) -> Self {
        Self { server, settings, pool: Mutex::new(Pool::default()), repairs }
    }

    async fn connect(&self) -> io::Result<Link> {
        let (server, settings) = (self.server.clone(), self.settings.clone());
        let connecting = tokio::task::spawn_blocking(move || connect(&server, settings));
        let client = connecting.await.map_err(io::Error::other)??.into_async();
        let connection: AsyncConnection = client.connection().await.map_err(io::Error::other)?;
        let (connection, _) = connection.split();
        tokio::spawn(count(connection.clone(), self.repairs.clone()));
        Ok(Link { connection, place: Arc::new(()), _client: client })
    }
}

impl Open for FastwireOpener {
    type Stream = Stream;

    async fn open(&self) -> io::Result<Stream> {
        let asked = Instant::now();
        let mut pool = self.pool.lock().await;
        pool.links.retain(Link::is_up);
        if let Some(index) = pool.links.iter().position(|link| link.streams() < STREAMS) {
            // Of the others those without a stream are not needed any more.
            let mut place = 0;
            pool.links.retain(|link| {
                let kept = place <= index || link.streams() > 0;
                if !kept {
                    link.connection.close();
                }
                place += 1;
                kept
            });
        } else {
            // Who waited for an attempt shares its end, and does not begin another.
            if let Some((_, kind, text)) = pool.failed.as_ref().filter(|(at, ..)| *at >= asked) {
                return Err(io::Error::new(*kind, text.clone()));
            }
            match self.connect().await {
                Ok(link) => pool.links.push(link),
                Err(error) => {
                    pool.failed = Some((Instant::now(), error.kind(), error.to_string()));
                    return Err(error);
                }
            }
        }
        let free = pool.links.iter().find(|link| link.streams() < STREAMS);
        let link = free.ok_or(io::ErrorKind::NotConnected)?;
        let (connection, place) = (link.connection.clone(), link.place.clone());
        drop(pool);
        // It waits at most until the end of an earlier stream has reached the server.
        let inner = connection.open_stream().await.map_err(io::Error::other)?;
        Ok(Stream { inner, _place: place })
    }
}

/// Connects and makes sure who answered. Blocks.
fn connect(server: &str, settings: ClientSettings) -> io::Result<Client> {
    let other = io::Error::other::<Box<dyn std::error::Error + Send + Sync>>;
    let mut known =
        settings.known_hosts.map(KnownHosts::open).transpose().map_err(|error| other(error.into()))?;
    let mut config = ClientConfig::default();
    config.pinned = settings.pin.or_else(|| known.as_ref()?.key(server));
    config.psk = settings.psk;
    config.mtu = settings.mtu;
    config.fec = settings.fec;
    config.profile = ClientProfile::Require;
    config.channel_layout = layout()?;
    config.linger = LINGER;
    let client = Client::builder().config(config).connect(server).map_err(|error| other(error.into()))?;
    let mut client = client;
    client.wait_connected().map_err(|error| {
        io::Error::new(io::ErrorKind::ConnectionRefused, format!("no connection to {server}: {error}"))
    })?;
    if let Some(known) = &mut known {
        let shown = client.server().and_then(|server| server.server_key());
        let shown = shown.ok_or(io::ErrorKind::ConnectionAborted)?;
        known.check(server, &shown).map_err(|error| other(error.into()))?;
    }
    Ok(client)
}

/// As many streams of the client's at once as there are channels, and no messages.
fn layout() -> io::Result<ChannelLayout> {
    ChannelLayout::builder().streams(StreamOpener::Client, STREAMS).build().map_err(io::Error::other)
}

/// Adds what a connection does about losses to a total, until it is over.
async fn count(connection: Sender, total: Arc<Repairs>) {
    let mut before = (0, 0);
    loop {
        let over = tokio::time::timeout(TICK, connection.closed()).await.is_ok();
        let stats = connection.stats();
        let now = (stats.retransmits, stats.fec_recovered);
        total.resent.fetch_add(now.0.saturating_sub(before.0), Ordering::Relaxed);
        total.recovered.fetch_add(now.1.saturating_sub(before.1), Ordering::Relaxed);
        before = now;
        if over {
            return;
        }
    }
}

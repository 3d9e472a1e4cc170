//! An async server: accepts connections.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{ToSocketAddrs, UdpSocket, lookup_host};
use tokio::time::{sleep, timeout};

use super::driver::{Doors, start};
use super::{AsyncConnection, ConnectRequest};
use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::info::{ATTEMPTS, Question, any_of, no_answer};
use crate::shell::ServerHandle;
use crate::shell::link::Command;
use crate::transport::AsyncReadiness;
use crate::{ConfigError, Server, ServerHealth, ServerInfo, ServerStatus, StartError};

/// A server in a task of its own. Dropping it turns newcomers away; connections already accepted live on as long
/// as they are held, and the task ends with the last of them.
pub struct AsyncServer {
    handle: ServerHandle,
    doors: Arc<Doors>,
}

impl<T, C, Z, G> Server<T, C, Z, G>
where
    T: AsyncReadiness + 'static,
    C: Cipher + 'static,
    Z: Compressor + 'static,
    G: CongestionController + 'static,
{
    /// Runs the server in a task of its own.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn into_async(self) -> AsyncServer {
        self.pump.hub.set_local(self.local_addr().ok());
        self.pump.hub.renew(&self.pump.endpoint);
        let handle = ServerHandle::new(self.pump.hub.clone(), self.local_addr().ok());
        AsyncServer { handle, doors: start(self.pump, self.cadence, VecDeque::new()) }
    }
}

impl AsyncServer {
    /// Opens a server with the default configuration on a UDP address. For all else there is
    /// [`Server::builder`] and [`Server::into_async`].
    ///
    /// Cancellation-safe.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(address: impl ToSocketAddrs + fmt::Debug) -> Result<Self, StartError> {
        let addresses = look_up(address).await?;
        Ok(Server::bind(&addresses[..])?.into_async())
    }

    /// The next connection; `None` once the server has stopped. Callable from several tasks at once.
    ///
    /// Cancellation-safe: a connection is taken only when this returns.
    pub async fn accept(&self) -> Option<AsyncConnection> {
        loop {
            if let Ok(connection) = self.doors.arrivals.next().await? {
                return Some(connection);
            }
        }
    }

    /// The next client that asks to be let in, on a server with [`authorize`](crate::ServerConfig::authorize); `None` once
    /// the server has stopped. Nobody gets in there whom you do not accept. Callable from several tasks at once, and beside
    /// [`accept`](Self::accept), which gives the connections of those you let in.
    ///
    /// A client that waits or was refused may ask once more, under another id, because an answer may be lost: answer each.
    ///
    /// Cancellation-safe: a request is taken only when this returns.
    pub async fn next_request(&self) -> Option<ConnectRequest> {
        self.doors.requests.next().await
    }

    /// A handle for other threads and tasks.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// The address the server listens on.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.handle.local_addr()
    }

    /// How many connections there are.
    pub fn connection_count(&self) -> usize {
        self.handle.connection_count()
    }

    /// How the server is doing, as of the last 100 ms in which something happened.
    pub fn health(&self) -> ServerHealth {
        self.handle.health()
    }

    /// Turns away clients from this IP address from now on. Gives false if too much waits for the server.
    pub fn ban(&self, ip: IpAddr) -> bool {
        self.handle.ban(ip)
    }

    /// Lifts a ban. Gives false if too much waits for the server.
    pub fn unban(&self, ip: IpAddr) -> bool {
        self.handle.unban(ip)
    }

    /// Turns newcomers away, closes every connection gracefully and waits for it: at most the linger time and
    /// two seconds. Connections not accepted yet are closed too.
    ///
    /// Cancellation-safe: dropped, it shuts down without being waited for.
    pub async fn shut_down(self) {
        self.handle.hub().command(Command::ShutDown(None));
        // The task closes the queue as it ends.
        while self.doors.arrivals.next().await.is_some() {}
    }
}

impl AsyncServer {
    /// As [`shut_down`](Self::shut_down), but what is queued may leave until `deadline` from now, and who has not taken it by then
    /// is told goodbye. Ready two seconds after it at the latest.
    ///
    /// Cancellation-safe: dropped, it shuts down without being waited for.
    pub async fn shut_down_within(self, deadline: Duration) {
        self.handle.hub().command(Command::ShutDown(Some(deadline)));
        // The task closes the queue as it ends.
        while self.doors.arrivals.next().await.is_some() {}
    }

    /// As [`ServerHandle::set_info`].
    ///
    /// # Errors
    /// As there.
    pub fn set_info(&self, info: Option<ServerInfo>) -> Result<bool, ConfigError> {
        self.handle.set_info(info)
    }
}

/// As [`query`](crate::query), without blocking.
///
/// # Errors
/// As there.
pub async fn query(server: impl ToSocketAddrs + fmt::Debug, patience: Duration) -> io::Result<ServerStatus> {
    let name = format!("{server:?}");
    let nobody = || io::Error::new(io::ErrorKind::NotFound, format!("{name} gives no address"));
    let at = lookup_host(server).await?.next().ok_or_else(nobody)?;
    let socket = UdpSocket::bind(any_of(at)).await?;
    socket.connect(at).await?;
    let question = Question::new()?;
    let mut buffer = [0; 512];
    for _ in 0..ATTEMPTS {
        let asked = Instant::now();
        // What cannot be sent is lost; the system may say so of the attempt before.
        let _ = socket.send(&question.datagram).await;
        let answer = async {
            loop {
                let Ok(length) = socket.recv(&mut buffer).await else {
                    // Nobody listens there, for the moment.
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                if let Some(status) = question.read(buffer.get(..length).unwrap_or_default(), asked) {
                    return status;
                }
            }
        };
        if let Ok(status) = timeout(patience / ATTEMPTS, answer).await {
            return Ok(status);
        }
    }
    Err(no_answer(at))
}

impl Drop for AsyncServer {
    fn drop(&mut self) {
        self.doors.close();
        self.handle.hub().command(Command::Leave);
    }
}

impl fmt::Debug for AsyncServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncServer")
            .field("local_addr", &self.local_addr())
            .field("connections", &self.connection_count())
            .finish()
    }
}

/// Looks a name up without blocking the task.
pub(super) async fn look_up(name: impl ToSocketAddrs + fmt::Debug) -> Result<Vec<SocketAddr>, StartError> {
    let text = format!("{name:?}");
    match lookup_host(name).await {
        Ok(found) => Ok(found.collect()),
        Err(source) => Err(StartError::Resolve { name: text, source }),
    }
}

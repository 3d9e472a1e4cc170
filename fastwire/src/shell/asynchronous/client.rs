//! An async client: connects.

use std::fmt;
use std::sync::Arc;

use tokio::net::ToSocketAddrs;

use super::AsyncConnection;
use super::driver::{Doors, start};
use super::server::look_up;
use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::shell::ClientHandle;
use crate::shell::link::Command;
use crate::transport::AsyncReadiness;
use crate::{Client, ConnectError, StartError};

/// A client in a task of its own, that gives its connection and, when a restarted server took it in again, the
/// connection after that. Dropping it keeps the connection it gave.
pub struct AsyncClient {
    handle: ClientHandle,
    doors: Arc<Doors>,
}

impl<T, C, Z, G> Client<T, C, Z, G>
where
    T: AsyncReadiness + 'static,
    C: Cipher + 'static,
    Z: Compressor + 'static,
    G: CongestionController + 'static,
{
    /// Runs the client in a task of its own.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn into_async(self) -> AsyncClient {
        self.pump.hub.set_local(self.local_addr().ok());
        let handle = ClientHandle::new(self.pump.hub.clone());
        let Self { pump, cadence, early, .. } = self;
        AsyncClient { handle, doors: start(pump, cadence, early) }
    }
}

impl AsyncClient {
    /// Connects with the default configuration to `server`, a `host:port` or address. All addresses of a name
    /// are tried, 250 ms apart (RFC 8305). For all else there is [`Client::builder`] and
    /// [`Client::into_async`].
    ///
    /// Cancellation-safe: dropped, it gives the attempt up.
    ///
    /// # Errors
    /// [`StartError`], [`StartError::Connect`] above all.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(server: impl ToSocketAddrs + fmt::Debug) -> Result<AsyncConnection, StartError> {
        let addresses = look_up(server).await?;
        let client = Client::connect(&addresses[..])?.into_async();
        Ok(client.connection().await?)
    }

    /// The next connection: the first, and after its end the one that takes its place when the server was
    /// restarted (see [`reconnect`](crate::ClientConfig::reconnect)).
    ///
    /// Cancellation-safe: a connection is taken only when this returns.
    ///
    /// # Errors
    /// [`ConnectError`]: why there is none.
    pub async fn connection(&self) -> Result<AsyncConnection, ConnectError> {
        self.doors.arrivals.next().await.unwrap_or(Err(ConnectError::Closed))
    }

    /// A handle for other threads and tasks.
    pub fn handle(&self) -> ClientHandle {
        self.handle.clone()
    }
}

impl Drop for AsyncClient {
    fn drop(&mut self) {
        self.doors.close();
        self.handle.hub().command(Command::Leave);
    }
}

impl fmt::Debug for AsyncClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncClient").field("state", &self.handle.state()).finish()
    }
}

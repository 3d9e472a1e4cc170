//! The client, driven by its owner's loop.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::handle::ConnectionHandle;
use super::handler::{Handler, dispatch};
use super::peer::{Ending, Host, Peer};
use super::pump::Pump;
use super::resolve::resolve;
use super::turn::Cadence;
use super::{ClientBuilder, StartError};
use crate::compress::{BuiltinCompressor, Compressor};
use crate::congestion::{BuiltinController, CongestionController};
use crate::crypto::{Aead, Cipher};
use crate::proto::{Endpoint, MessageTime, RebindError, ServerTime};
use crate::transport::{Readiness, Transport, UdpTransport};
use crate::{
    ConnectError, ConnectionId, ConnectionState, ConnectionStats, Event, Payload, ReceiptId, SendError,
    SendOptions,
};

/// A client: one connection at a time. Its owner drives it, once a frame, with [`tick`](Self::tick) or with
/// [`receive`](Self::receive), [`poll_event`](Self::poll_event) and [`flush`](Self::flush), or gives it away:
/// to a thread with [`spawn`](Self::spawn), to a task with [`into_async`](Self::into_async).
///
/// ```no_run
/// use std::time::Instant;
/// use fastwire::{Client, Event};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut client = Client::connect("game.example.com:7777")?;
/// client.wait_connected()?;
/// client.send("hello", 0)?;
/// // Once a frame:
/// client.receive(Instant::now());
/// while let Some(event) = client.poll_event() {
///     println!("{event:?}");
/// }
/// client.flush(Instant::now());
/// # Ok(())
/// # }
/// ```
///
/// Dropping a client tells the server goodbye without waiting; [`stop`](Self::stop) lets what is queued leave.
pub struct Client<T = UdpTransport, C = Aead, Z = BuiltinCompressor, G = BuiltinController>
where
    T: Transport,
    C: Cipher,
    Z: Compressor,
    G: CongestionController,
{
    pub(super) pump: Pump<T, C, Z, G>,
    pub(super) cadence: Cadence,
    /// The newest connection: the one asked for, or the one that took its place when the server restarted.
    pub(super) connection: Option<ConnectionId>,
    /// Events that came while waiting to be connected.
    pub(super) early: VecDeque<Event>,
}

impl Client {
    /// Begins to connect with the default configuration to `server`, a `host:port` or address. A name is looked
    /// up first, which takes as long as the system's resolver; then nothing blocks: drive the client, or
    /// [wait](Self::wait_connected). All addresses of a name are tried, 250 ms apart (RFC 8305).
    ///
    /// # Errors
    /// [`StartError`].
    pub fn connect(server: impl ToSocketAddrs + fmt::Debug) -> Result<Self, StartError> {
        Self::builder().connect(server)
    }

    /// Chooses everything there is to choose.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

impl<T: Transport, C: Cipher, Z: Compressor, G: CongestionController> Client<T, C, Z, G> {
    pub(super) fn new(pump: Pump<T, C, Z, G>, cadence: Cadence) -> Self {
        Self { pump, cadence, connection: None, early: VecDeque::new() }
    }

    /// Begins to connect: again after the connection ended, or for the first time. Messages may be queued at
    /// once.
    ///
    /// # Errors
    /// [`StartError::Resolve`], or [`StartError::Connect`] with
    /// [`AlreadyConnected`](ConnectError::AlreadyConnected) while there is a connection.
    pub fn connect_to(
        &mut self,
        server: impl ToSocketAddrs + fmt::Debug,
    ) -> Result<ConnectionId, StartError> {
        let remotes = resolve(server)?;
        let id = self.pump.endpoint.connect(self.pump.now, &remotes)?;
        tracing::debug!(connection = %id, ?remotes, "connecting");
        self.connection = Some(id);
        Ok(id)
    }

    /// One turn with callbacks: receives, tells `handler` what happened, sends. `now` is a monotonic time; what
    /// jumps does no harm.
    pub fn tick<H: Handler + ?Sized>(&mut self, now: Instant, handler: &mut H) {
        while let Some(event) = self.early.pop_front() {
            dispatch(handler, &mut self.pump, &event);
        }
        let newest = &mut self.connection;
        self.pump.tick_showing(now, handler, |event| {
            if let Event::Connected { connection } = event {
                *newest = Some(*connection);
            }
        });
    }

    /// First half of a turn with events: takes what has arrived and does what is due. Then look at
    /// [`poll_event`](Self::poll_event).
    pub fn receive(&mut self, now: Instant) {
        self.pump.receive_all(now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = match self.early.pop_front() {
            // nothing came so early that we knew the time
            Some(event) => {
                self.pump.endpoint.forget_message_time();
                event
            }
            None => self.pump.poll_event()?,
        };
        if let Event::Connected { connection } = event {
            self.connection = Some(connection);
        }
        Some(event)
    }

    /// When the message was sent that [`poll_event`](Self::poll_event) gave last: see
    /// [`Endpoint::message_time`](crate::proto::Endpoint::message_time).
    pub fn message_time(&self) -> Option<MessageTime> {
        self.pump.endpoint.message_time()
    }

    /// Second half of a turn with events: sends what was queued, by handles too.
    pub fn flush(&mut self, now: Instant) {
        self.pump.flush_all(now);
    }

    /// When the next turn is due at the latest if nothing arrives and nothing is sent; `None`: never.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.pump.endpoint.poll_timeout()
    }

    /// The newest connection, if there ever was one. Automatic reconnection gives a new one.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Queues a message; it leaves with the next [`flush`](Self::flush) or [`tick`](Self::tick), as far as the
    /// congestion window has room. What is queued while connecting leaves once connected.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued then, and [`SendError::QueueFull`] hands the message back.
    pub fn send(&mut self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.server().ok_or(SendError::ConnectionClosed)?.send(data, channel)
    }

    /// As [`send`](Self::send), with something special: a receipt, an end of its usefulness. Gives the receipt's name, if one
    /// was asked for: [`Event::Receipt`] tells, once, what became of the message.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::NoReceipt`]; no receipt will come then.
    pub fn send_with(
        &mut self,
        channel: u8,
        data: impl Payload,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        self.server().ok_or(SendError::ConnectionClosed)?.send_with(channel, data, options)
    }

    /// As [`send`](Self::send), and sends at once all that is queued, this message last.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_now(&mut self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.server().ok_or(SendError::ConnectionClosed)?.send_now(data, channel)
    }

    /// Closes the connection gracefully: queued reliable messages leave first, for at most
    /// [`linger`](crate::ClientConfig::linger). Never blocks; `Disconnected` tells when it is over. Closing what
    /// is over already does nothing.
    pub fn close(&mut self) {
        self.end(Ending::Linger);
    }

    /// Closes the connection without waiting for what is queued.
    pub fn close_now(&mut self) {
        self.end(Ending::Now);
    }

    fn end(&mut self, ending: Ending<'_>) {
        if let Some(id) = self.connection {
            let _ = self.pump.end(id, ending);
        }
    }

    /// The server with all that can be asked of it; `None` while there is no connection.
    pub fn server(&mut self) -> Option<Peer<'_>> {
        let id = self.connection.filter(|_| self.state() != ConnectionState::Disconnected)?;
        Some(Peer::new(id, &mut self.pump))
    }

    /// Moves to a new local port, as after a change of network. In the base profile that needs connection migration, agreed by
    /// both sides.
    ///
    /// # Errors
    /// [`RebindError`].
    pub fn rebind(&mut self) -> Result<(), RebindError> {
        let id = self.connection.ok_or(RebindError::NotConnected)?;
        self.pump.endpoint.rebind(self.pump.now, id)
    }

    /// Where the connection stands.
    pub fn state(&self) -> ConnectionState {
        self.connection.map_or(ConnectionState::Disconnected, |id| self.pump.endpoint.state(id))
    }

    /// The server's address.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.pump.endpoint.remote_addr(self.connection?)
    }

    /// Smoothed round-trip time; zero before the first sample.
    pub fn rtt(&self) -> Option<Duration> {
        self.pump.endpoint.rtt(self.connection?)
    }

    /// The connection's figures.
    pub fn stats(&self) -> Option<ConnectionStats> {
        self.pump.endpoint.connection_stats(self.connection?)
    }

    /// What time it is at the server, as of the last turn; `None` before that is known, and without
    /// [`clock_sync`](crate::ClientConfig::clock_sync) on both sides.
    pub fn server_time(&self) -> Option<ServerTime> {
        self.pump.endpoint.server_time(self.connection?)
    }

    /// A handle with which other threads can send; what they send leaves with the next turn.
    pub fn handle(&mut self) -> Option<ConnectionHandle> {
        self.pump.link(self.connection?).map(ConnectionHandle::new)
    }

    /// The client's own address, as far as the system tells.
    ///
    /// # Errors
    /// What the system reports when asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.pump.transport.local_addr()
    }

    /// The core, for what the client does not pass on.
    pub fn endpoint(&self) -> &Endpoint<C, Z, G> {
        &self.pump.endpoint
    }

    /// The core, to change: whatever is asked of it leaves with the next turn.
    pub fn endpoint_mut(&mut self) -> &mut Endpoint<C, Z, G> {
        &mut self.pump.endpoint
    }
}

impl<T: Readiness, C: Cipher, Z: Compressor, G: CongestionController> Client<T, C, Z, G> {
    /// Drives the client until it is connected. Events that come meanwhile are kept for later.
    ///
    /// # Errors
    /// Why there is no connection: [`ConnectError`], at the latest after
    /// [`connect_timeout`](crate::ClientConfig::connect_timeout).
    pub fn wait_connected(&mut self) -> Result<ConnectionId, ConnectError> {
        loop {
            let now = Instant::now();
            self.pump.receive_all(now);
            while let Some(event) = self.pump.poll_event() {
                match event {
                    Event::ConnectFailed { error, .. } => return Err(error),
                    Event::Connected { connection } => self.connection = Some(connection),
                    _ => {}
                }
                self.early.push_back(event);
            }
            self.pump.flush_all(now);
            match (self.connection, self.state()) {
                (Some(id), ConnectionState::Connected | ConnectionState::Disconnecting) => return Ok(id),
                (Some(_), ConnectionState::Connecting) => {}
                _ => return Err(ConnectError::Closed),
            }
            // The connect timeout ends the loop, whatever becomes of the socket.
            let sleep = self.pump.sleep(now);
            let _ = self.pump.transport.wait(sleep);
        }
    }

    /// Closes gracefully and waits until that is done, or for `patience`. Events that come meanwhile go to
    /// `handler`.
    pub fn stop<H: Handler + ?Sized>(mut self, patience: Duration, handler: &mut H) {
        while let Some(event) = self.early.pop_front() {
            dispatch(handler, &mut self.pump, &event);
        }
        self.pump.stop(patience, handler);
    }
}

impl<T: Transport, C: Cipher, Z: Compressor, G: CongestionController> fmt::Debug for Client<T, C, Z, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connection", &self.connection)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

//! The server, driven by its owner's loop.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::handle::ConnectionHandle;
use super::handler::Handler;
use super::peer::{Ending, Host, Peer, Peers};
use super::pump::Pump;
use super::turn::Cadence;
use super::{ServerBuilder, StartError};
use crate::compress::{BuiltinCompressor, Compressor};
use crate::congestion::{BuiltinController, CongestionController};
use crate::crypto::{Aead, Cipher};
use crate::proto::{Endpoint, MessageTime};
use crate::transport::{Readiness, Transport, UdpTransport};
use crate::{
    ConfigError, ConnectionId, ConnectionState, ConnectionStats, EndpointStats, Event, Payload, ReceiptId,
    SendError, SendOptions, ServerHealth, ServerInfo, UnknownConnection,
};

/// A server. Its owner drives it: once a frame, [`tick`](Self::tick) with a [`Handler`], or
/// [`receive`](Self::receive), [`poll_event`](Self::poll_event) and [`flush`](Self::flush). Or its owner gives
/// it away: to a thread with [`spawn`](Self::spawn), to a task with [`into_async`](Self::into_async).
///
/// ```
/// use std::time::Instant;
/// use fastwire::{Event, Server};
///
/// # fn main() -> Result<(), fastwire::StartError> {
/// let mut server = Server::bind("127.0.0.1:0")?;
/// // Once a frame:
/// server.receive(Instant::now());
/// while let Some(event) = server.poll_event() {
///     if let Event::Message { connection, channel, data } = event {
///         let _ = server.send(connection, data, channel);
///     }
/// }
/// server.flush(Instant::now());
/// # Ok(())
/// # }
/// ```
///
/// Dropping a server tells its clients goodbye without waiting; [`stop`](Self::stop) lets what is queued leave.
pub struct Server<T = UdpTransport, C = Aead, Z = BuiltinCompressor, G = BuiltinController>
where
    T: Transport,
    C: Cipher,
    Z: Compressor,
    G: CongestionController,
{
    pub(super) pump: Pump<T, C, Z, G>,
    pub(super) cadence: Cadence,
}

impl Server {
    /// Opens a server with the default configuration on a UDP address: `"0.0.0.0:7777"`, or `"[::]:7777"` for
    /// IPv6 and IPv4.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn bind(address: impl ToSocketAddrs + fmt::Debug) -> Result<Self, StartError> {
        Self::builder().bind(address)
    }

    /// Chooses everything there is to choose.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }
}

impl<T: Transport, C: Cipher, Z: Compressor, G: CongestionController> Server<T, C, Z, G> {
    pub(super) fn new(pump: Pump<T, C, Z, G>, cadence: Cadence) -> Self {
        Self { pump, cadence }
    }

    /// One turn with callbacks: receives, tells `handler` what happened, sends. `now` is a monotonic time; what
    /// jumps does no harm.
    pub fn tick<H: Handler + ?Sized>(&mut self, now: Instant, handler: &mut H) {
        self.pump.tick(now, handler);
    }

    /// First half of a turn with events: takes what has arrived and does what is due. Then look at
    /// [`poll_event`](Self::poll_event).
    pub fn receive(&mut self, now: Instant) {
        self.pump.receive_all(now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.pump.poll_event()
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

    /// Queues a message; it leaves with the next [`flush`](Self::flush) or [`tick`](Self::tick), as far as the
    /// congestion window has room.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued then, and [`SendError::QueueFull`] hands the message back.
    pub fn send(&mut self, to: ConnectionId, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.peer_unchecked(to).send(data, channel)
    }

    /// As [`send`](Self::send), with something special: a receipt, an end of its usefulness. Gives the receipt's name, if one
    /// was asked for: [`Event::Receipt`] tells, once, what became of the message.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::NoReceipt`]; no receipt will come then.
    pub fn send_with(
        &mut self,
        to: ConnectionId,
        channel: u8,
        data: impl Payload,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        self.peer_unchecked(to).send_with(channel, data, options)
    }

    /// As [`send`](Self::send), and sends at once what this connection has queued, this message last.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_now(&mut self, to: ConnectionId, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.peer_unchecked(to).send_now(data, channel)
    }

    /// Queues one message for several connections: compressed once, its bytes shared, sealed for each. Gives those it was not
    /// queued for, and why. For all there are: [`Peers::broadcast`].
    pub fn broadcast(
        &mut self,
        ids: impl IntoIterator<Item = ConnectionId>,
        data: impl Payload,
        channel: u8,
    ) -> Vec<(ConnectionId, SendError)> {
        self.pump.broadcast(ids, data, channel)
    }

    /// Closes a connection gracefully: queued reliable messages leave first, for at most
    /// [`linger`](crate::ServerConfig::linger). Never blocks; `Disconnected` tells when it is over.
    ///
    /// # Errors
    /// [`UnknownConnection`] if it is over already.
    pub fn close(&mut self, id: ConnectionId) -> Result<(), UnknownConnection> {
        self.pump.end(id, Ending::Linger)
    }

    /// Closes a connection without waiting for what is queued.
    ///
    /// # Errors
    /// [`UnknownConnection`] if it is over already.
    pub fn close_now(&mut self, id: ConnectionId) -> Result<(), UnknownConnection> {
        self.pump.end(id, Ending::Now)
    }

    /// Throws a client out; `text` says why, in the log of this side.
    ///
    /// # Errors
    /// [`UnknownConnection`] if it is over already.
    pub fn kick(&mut self, id: ConnectionId, text: &str) -> Result<(), UnknownConnection> {
        self.pump.end(id, Ending::Kick(text))
    }

    /// Turns away clients from this IP address from now on. Connections that stand are not touched. Gives
    /// false if the list is full ([`Limits::bans`](crate::Limits::bans)).
    pub fn ban(&mut self, ip: IpAddr) -> bool {
        self.pump.endpoint.ban(ip)
    }

    /// Lifts a ban. Gives whether there was one.
    pub fn unban(&mut self, ip: IpAddr) -> bool {
        self.pump.endpoint.unban(ip)
    }

    /// One connection with all that can be asked of it; `None` if it is gone.
    pub fn peer(&mut self, id: ConnectionId) -> Option<Peer<'_>> {
        let lives = self.state(id) != ConnectionState::Disconnected;
        lives.then(|| self.peer_unchecked(id))
    }

    fn peer_unchecked(&mut self, id: ConnectionId) -> Peer<'_> {
        Peer::new(id, &mut self.pump)
    }

    /// All connections.
    pub fn peers(&mut self) -> Peers<'_> {
        Peers::new(&mut self.pump)
    }

    /// The connections, those on their way in or out included.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.pump.endpoint.connections()
    }

    /// How many they are.
    pub fn connection_count(&self) -> usize {
        self.pump.endpoint.connection_count()
    }

    /// Where a connection stands; `Disconnected` for an id that names none.
    pub fn state(&self, id: ConnectionId) -> ConnectionState {
        self.pump.endpoint.state(id)
    }

    /// The client's address.
    pub fn remote_addr(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.pump.endpoint.remote_addr(id)
    }

    /// Smoothed round-trip time; zero before the first sample.
    pub fn rtt(&self, id: ConnectionId) -> Option<Duration> {
        self.pump.endpoint.rtt(id)
    }

    /// Figures of one connection.
    pub fn connection_stats(&self, id: ConnectionId) -> Option<ConnectionStats> {
        self.pump.endpoint.connection_stats(id)
    }

    /// Figures of the server.
    pub fn stats(&self) -> EndpointStats {
        self.pump.endpoint.stats()
    }

    /// How the server is doing, in one value.
    pub fn health(&self) -> ServerHealth {
        self.pump.endpoint.health().unwrap_or_default()
    }

    /// A handle with which other threads can send; what they send leaves with the next turn.
    pub fn handle(&mut self, id: ConnectionId) -> Option<ConnectionHandle> {
        self.pump.link(id).map(ConnectionHandle::new)
    }

    /// The address the server listens on.
    ///
    /// # Errors
    /// What the system reports when asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.pump.transport.local_addr()
    }

    /// Turns newcomers away from now on and closes every connection gracefully. Go on driving the server until
    /// [`connection_count`](Self::connection_count) is 0, or as long as you can wait.
    pub fn shut_down(&mut self) {
        self.pump.shut_down(None);
    }

    /// As [`shut_down`](Self::shut_down), but what is queued may leave until `deadline` from now. Who has not taken it by then is
    /// told goodbye.
    pub fn shut_down_within(&mut self, deadline: Duration) {
        self.pump.shut_down(Some(deadline));
    }

    /// Changes what the server tells whoever asks without a connection ([`query`](crate::query)); `None`: nothing any more.
    ///
    /// # Errors
    /// [`ConfigError`] for a name or details that are too long; nothing is changed then.
    pub fn set_info(&mut self, info: Option<ServerInfo>) -> Result<(), ConfigError> {
        self.pump.endpoint.set_info(info)
    }

    /// The core, for what the server does not pass on.
    pub fn endpoint(&self) -> &Endpoint<C, Z, G> {
        &self.pump.endpoint
    }

    /// The core, to change: whatever is asked of it leaves with the next turn.
    pub fn endpoint_mut(&mut self) -> &mut Endpoint<C, Z, G> {
        &mut self.pump.endpoint
    }
}

impl<T: Readiness, C: Cipher, Z: Compressor, G: CongestionController> Server<T, C, Z, G> {
    /// Shuts down and waits until every connection is closed, or for `patience`. Events that come meanwhile go
    /// to `handler`.
    pub fn stop<H: Handler + ?Sized>(mut self, patience: Duration, handler: &mut H) {
        self.pump.stop(patience, handler);
    }
}

impl<T: Transport, C: Cipher, Z: Compressor, G: CongestionController> fmt::Debug for Server<T, C, Z, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local_addr", &self.local_addr().ok())
            .field("connections", &self.connection_count())
            .finish_non_exhaustive()
    }
}

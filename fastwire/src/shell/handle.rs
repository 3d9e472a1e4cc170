//! What other threads hold: names with a bounded queue behind them, to copy and share at will.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::link::{Command, Hub, Link, Order, Pending};
use crate::crypto::PublicKey;
use crate::proto::ServerTime;
use crate::reliability::extended::Undelivered;
use crate::transport::ChunkPool;
use crate::{
    ConfigError, ConnectionId, ConnectionState, ConnectionStats, DisconnectReason, Payload, Profile,
    ReceiptId, Refusal, SendError, SendOptions, ServerHealth, ServerInfo,
};

/// One connection for other threads than the one that drives it: to send, to close, to look.
///
/// Errors are known at once. [`SendError::MessageTooLarge`] is judged before compression here. What is told of
/// the connection is as of the last 100 ms in which something happened, at most one second ago.
#[derive(Clone)]
pub struct ConnectionHandle {
    link: Arc<Link>,
}

impl ConnectionHandle {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// The connection's name.
    pub fn id(&self) -> ConnectionId {
        self.link.id()
    }

    /// Queues a message. It leaves within a tick of the endpoint's own thread or task, or with the next turn of
    /// the loop that drives the endpoint.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued then. [`SendError::QueueFull`] hands the message back:
    /// [`Limits::handle_queue_bytes`](crate::Limits::handle_queue_bytes) and
    /// [`handle_queue_messages`](crate::Limits::handle_queue_messages) are reached.
    pub fn send(&self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.link.send(own(data), channel, Pending::Queued)
    }

    /// As [`send`](Self::send), with something special: a receipt, an end of its usefulness. Gives the receipt's name, if one
    /// was asked for: [`Handler::on_receipt`](super::Handler::on_receipt) (a task: its connection's `next_receipt`) tells, once, what became of the message.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::NoReceipt`]; no receipt will come then.
    pub fn send_with(
        &self,
        channel: u8,
        data: impl Payload,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        self.link.send_with(own(data), channel, Some(&options), Pending::Queued)
    }

    /// As [`send`](Self::send), but wakes the endpoint's thread or task at once.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_now(&self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.link.send(own(data), channel, Pending::Urgent)
    }

    /// Closes the connection gracefully, behind what was sent so far. Never blocks; closing twice does nothing.
    pub fn close(&self) {
        self.link.close();
    }

    /// Closes the connection without waiting for what is queued.
    pub fn close_now(&self) {
        self.link.end_with(Order::CloseNow);
    }

    /// Throws the peer out; `text` says why, in the log of this side.
    pub fn kick(&self, text: &str) {
        self.link.end_with(Order::Kick(text.to_owned()));
    }

    /// Where the connection stands.
    pub fn state(&self) -> ConnectionState {
        self.link.state()
    }

    /// The peer's address.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.link.snapshot().remote
    }

    /// Which profile it speaks; `None` while that is open.
    pub fn profile(&self) -> Option<Profile> {
        match (self.link.is_extended(), self.state()) {
            (true, _) => Some(Profile::Extended),
            (false, ConnectionState::Connecting) => None,
            (false, _) => Some(Profile::Base),
        }
    }

    /// Smoothed round-trip time; zero before the first sample.
    pub fn rtt(&self) -> Duration {
        self.link.rtt()
    }

    /// The connection's figures, renewed ten times a second while somebody holds a handle of it, zeros before the first time; its
    /// last ones once it is over.
    pub fn stats(&self) -> ConnectionStats {
        self.link.snapshot().stats()
    }

    /// What time it is at the server now: reckoned on from the driver's last look, which is at most 100 ms old while something happens.
    /// `None` before anything is known; on a client that takes [`clock_sync`](crate::ClientConfig::clock_sync) on both sides.
    pub fn server_time(&self) -> Option<ServerTime> {
        self.link.snapshot().server_time(Instant::now())
    }

    /// Why the connection ended; `None` while it lives.
    pub fn disconnect_reason(&self) -> Option<DisconnectReason> {
        self.link.snapshot().reason
    }

    /// The server's identity key, pinned or learned; `None` in the base profile.
    pub fn server_key(&self) -> Option<PublicKey> {
        self.link.snapshot().server_key
    }

    /// Once it is over: the code and text that the peer closed with.
    pub fn farewell(&self) -> Option<(u16, String)> {
        self.link.snapshot().farewell()
    }

    /// Once it is over: the reliable messages that were not wholly acknowledged, oldest first on each channel. Extended profile;
    /// what still waited in this handle's own queue never had a number and is not among them.
    pub fn undelivered(&self) -> Vec<Undelivered> {
        self.link.snapshot().undelivered()
    }
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHandle").field("id", &self.id()).field("state", &self.state()).finish()
    }
}

thread_local! {
    /// Borrowed bytes are copied once, into chunks of the sending thread.
    static POOL: RefCell<ChunkPool> = RefCell::default();
}

pub(super) fn own(data: impl Payload) -> Bytes {
    POOL.with_borrow_mut(|pool| data.into_bytes(pool))
}

/// A server in a thread of its own, for all other threads. Clones name the same server; see
/// [`ServerThread`](super::ServerThread) for who ends it.
#[derive(Clone)]
pub struct ServerHandle {
    hub: Arc<Hub>,
    local: Option<SocketAddr>,
}

impl ServerHandle {
    pub(crate) fn new(hub: Arc<Hub>, local: Option<SocketAddr>) -> Self {
        Self { hub, local }
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Queues a message for a connection; see [`ConnectionHandle::send`].
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued then, and [`SendError::QueueFull`] hands the message back.
    pub fn send(&self, to: ConnectionId, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.connection(to).ok_or(SendError::ConnectionClosed)?.send(data, channel)
    }

    /// As [`send`](Self::send), with something special: a receipt, an end of its usefulness. Gives the receipt's name, if one
    /// was asked for: [`Handler::on_receipt`](super::Handler::on_receipt) tells, once, what became of the message.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::NoReceipt`]; no receipt will come then.
    pub fn send_with(
        &self,
        to: ConnectionId,
        channel: u8,
        data: impl Payload,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        self.connection(to).ok_or(SendError::ConnectionClosed)?.send_with(channel, data, options)
    }

    /// As [`send`](Self::send), but wakes the server at once.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_now(&self, to: ConnectionId, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.connection(to).ok_or(SendError::ConnectionClosed)?.send_now(data, channel)
    }

    /// Queues one message for several connections: its bytes are shared, compressed once and sealed for each. Gives those it was
    /// not queued for, and why.
    pub fn broadcast(
        &self,
        ids: impl IntoIterator<Item = ConnectionId>,
        data: impl Payload,
        channel: u8,
    ) -> Vec<(ConnectionId, SendError)> {
        let data = own(data);
        let send = |id| Some((id, self.send(id, data.clone(), channel).err()?));
        ids.into_iter().filter_map(send).collect()
    }

    /// A handle of one connection; `None` if it is gone.
    pub fn connection(&self, id: ConnectionId) -> Option<ConnectionHandle> {
        self.hub.find(id).map(ConnectionHandle::new)
    }

    /// The connections there are.
    pub fn connections(&self) -> Vec<ConnectionId> {
        self.hub.ids()
    }

    /// How many they are.
    pub fn connection_count(&self) -> usize {
        self.hub.count()
    }

    /// Lets a client in that [`on_authorize`](super::Handler::on_authorize) told of. Gives false if the server has stopped or
    /// too much waits for it.
    pub fn accept(&self, id: ConnectionId) -> bool {
        self.hub.command(Command::Authorize(id, Ok(())))
    }

    /// Turns a client away that [`on_authorize`](super::Handler::on_authorize) told of. Gives false as
    /// [`accept`](Self::accept) does.
    pub fn refuse(&self, id: ConnectionId) -> bool {
        self.refuse_with(id, Refusal::default())
    }

    /// As [`refuse`](Self::refuse), for another reason.
    pub fn refuse_with(&self, id: ConnectionId, reason: Refusal) -> bool {
        self.hub.command(Command::Authorize(id, Err(reason)))
    }

    /// Turns away clients from this IP address from now on. Gives false if the server has stopped or too much
    /// waits for it.
    pub fn ban(&self, ip: IpAddr) -> bool {
        self.hub.command(Command::Ban(ip))
    }

    /// Lifts a ban. Gives false if the server has stopped or too much waits for it.
    pub fn unban(&self, ip: IpAddr) -> bool {
        self.hub.command(Command::Unban(ip))
    }

    /// Changes what the server tells whoever asks without a connection; `None`: nothing any more. Gives false if the server has
    /// stopped or too much waits for it.
    ///
    /// # Errors
    /// [`ConfigError`] for a name or details that are too long.
    pub fn set_info(&self, info: Option<ServerInfo>) -> Result<bool, ConfigError> {
        info.as_ref().map_or(Ok(()), ServerInfo::validate)?;
        Ok(self.hub.command(Command::Info(info)))
    }

    /// How the server is doing, as of the last 100 ms in which something happened.
    pub fn health(&self) -> ServerHealth {
        self.hub.health()
    }

    /// The address the server listens on.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The server has stopped.
    pub fn is_stopped(&self) -> bool {
        self.hub.is_closed()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("local_addr", &self.local)
            .field("connections", &self.connection_count())
            .finish()
    }
}

/// A client in a thread of its own, for all other threads. It follows the client to the new connection when a
/// restarted server gave it one.
#[derive(Clone)]
pub struct ClientHandle {
    hub: Arc<Hub>,
}

impl ClientHandle {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The connection of the moment; `None` once the client has stopped.
    pub fn connection(&self) -> Option<ConnectionHandle> {
        self.hub.current().map(ConnectionHandle::new)
    }

    /// Queues a message; see [`ConnectionHandle::send`].
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued then, and [`SendError::QueueFull`] hands the message back.
    pub fn send(&self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.connection().ok_or(SendError::ConnectionClosed)?.send(data, channel)
    }

    /// As [`send`](Self::send), with something special: a receipt, an end of its usefulness. Gives the receipt's name, if one
    /// was asked for: [`Handler::on_receipt`](super::Handler::on_receipt) tells, once, what became of the message.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::NoReceipt`]; no receipt will come then.
    pub fn send_with(
        &self,
        channel: u8,
        data: impl Payload,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        self.connection().ok_or(SendError::ConnectionClosed)?.send_with(channel, data, options)
    }

    /// As [`send`](Self::send), but wakes the client at once.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_now(&self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.connection().ok_or(SendError::ConnectionClosed)?.send_now(data, channel)
    }

    /// Where the connection stands.
    pub fn state(&self) -> ConnectionState {
        self.connection().map_or(ConnectionState::Disconnected, |connection| connection.state())
    }

    /// The connection's figures.
    pub fn stats(&self) -> Option<ConnectionStats> {
        Some(self.connection()?.stats())
    }

    /// What time it is at the server; see [`ConnectionHandle::server_time`].
    pub fn server_time(&self) -> Option<ServerTime> {
        self.connection()?.server_time()
    }

    /// Moves to a new local port, as after a change of network; the log says if that is refused. Gives false if
    /// the client has stopped.
    pub fn rebind(&self) -> bool {
        self.hub.command(Command::Rebind)
    }

    /// The client has stopped.
    pub fn is_stopped(&self) -> bool {
        self.hub.is_closed()
    }
}

impl fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandle").field("state", &self.state()).finish()
    }
}

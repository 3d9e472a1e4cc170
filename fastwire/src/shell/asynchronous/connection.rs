//! One connection in async tasks: whole, or split into what sends and what receives.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::FastwireStream;
use super::inbox::Taken;
use crate::crypto::PublicKey;
use crate::proto::{MessageTime, ServerTime};
use crate::reliability::extended::Undelivered;
use crate::shell::handle::own;
use crate::shell::link::{Command, Link, Order, Pending};
use crate::{
    ConnectionId, ConnectionState, ConnectionStats, DisconnectReason, Payload, Receipt, ReceiptId, SendError,
    SendOptions, StreamError, TokenClaims,
};

/// A connection: reads with [`recv`](Self::recv), and does all that a [`Sender`] does. Dropping it, or all halves
/// after [`split`](Self::split), and all its streams, closes it gracefully.
#[derive(Debug)]
pub struct AsyncConnection {
    sender: Sender,
    receiver: Receiver,
}

impl AsyncConnection {
    pub(super) fn new(link: Arc<Link>, shown: Shown) -> Self {
        link.inbox.serve();
        let held = Arc::new(Held { link, shown });
        Self { sender: Sender { held: held.clone() }, receiver: Receiver { held } }
    }

    pub(super) fn held(&self) -> &Arc<Held> {
        &self.sender.held
    }

    /// The next message and its channel; `None` when the connection is over and all its messages are read.
    ///
    /// Cancellation-safe: a message is taken only when this returns.
    pub async fn recv(&mut self) -> Option<(u8, Bytes)> {
        self.receiver.recv().await
    }

    /// The next message, its channel, and when it was sent: see [`Receiver::recv_timed`].
    ///
    /// Cancellation-safe: a message is taken only when this returns.
    pub async fn recv_timed(&mut self) -> Option<(u8, Bytes, Option<MessageTime>)> {
        self.receiver.recv_timed().await
    }

    /// The next message if there is one already.
    pub fn try_recv(&mut self) -> Option<(u8, Bytes)> {
        self.receiver.try_recv()
    }

    /// Splits the connection, for tasks that send and receive apart. Senders can be cloned.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl Deref for AsyncConnection {
    type Target = Sender;

    fn deref(&self) -> &Sender {
        &self.sender
    }
}

/// The half of a connection that sends, closes and tells how it fares.
#[derive(Clone)]
pub struct Sender {
    held: Arc<Held>,
}

impl Sender {
    /// The connection's name.
    pub fn id(&self) -> ConnectionId {
        self.held.link.id()
    }

    /// Queues a message, as soon as the queue has room. It leaves within a tick.
    ///
    /// Cancellation-safe: a message whose future was dropped while waiting for room was not sent.
    ///
    /// # Errors
    /// [`SendError`], never [`SendError::QueueFull`].
    pub async fn send(&self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.send_when_room(own(data), channel, Pending::Queued).await
    }

    /// As [`send`](Self::send), but wakes the task that drives the endpoint at once. Cancellation-safe likewise.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_now(&self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.send_when_room(own(data), channel, Pending::Urgent).await
    }

    /// As [`send`](Self::send), with something special: a receipt, an end of its usefulness. Gives the receipt's name, if one
    /// was asked for: [`next_receipt`](Self::next_receipt) tells, once, what became of the message. Waits while 65 536 receipts
    /// have not been taken.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::NoReceipt`]; no receipt will come then.
    pub async fn send_with(
        &self,
        channel: u8,
        data: impl Payload,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        self.send_asking(own(data), channel, Some(&options), Pending::Queued).await
    }

    /// The next receipt of a message whose sender asked for one; `None` when the connection is over and all of them were
    /// taken. Callable from several tasks at once.
    ///
    /// Cancellation-safe: a receipt is taken only when this returns.
    pub async fn next_receipt(&self) -> Option<Receipt> {
        self.held.link.inbox.next_receipt().await
    }

    /// Queues a message if there is room.
    ///
    /// # Errors
    /// [`SendError`]; [`SendError::QueueFull`] hands the message back.
    pub fn try_send(&self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        self.held.link.send(own(data), channel, Pending::Queued)
    }

    /// Opens a stream beside all others, as soon as a channel is free: of those that the layout keeps for streams which this
    /// side opens ([`ChannelLayout::with_streams`](crate::reliability::ChannelLayout::with_streams)) each carries one at a
    /// time. Those who wait are served in turn. The stream keeps the connection open.
    ///
    /// Cancellation-safe: a channel is taken only when this returns.
    ///
    /// # Errors
    /// [`StreamError::NotExtended`], [`StreamError::NoneToOpen`], [`StreamError::ConnectionClosed`].
    pub async fn open_stream(&self) -> Result<FastwireStream, StreamError> {
        let link = self.streaming()?;
        if !link.streams.can_open() {
            return Err(StreamError::NoneToOpen);
        }
        let stream = link.streams.open().await?;
        Ok(FastwireStream::new(Arc::clone(&self.held), stream))
    }

    /// The next stream that the peer opened. Callable from several tasks at once. The stream keeps the connection open.
    ///
    /// Cancellation-safe: a stream is taken only when this returns.
    ///
    /// # Errors
    /// [`StreamError::NotExtended`]; [`StreamError::ConnectionClosed`] when there will be no more.
    pub async fn accept_stream(&self) -> Result<FastwireStream, StreamError> {
        let stream = self.streaming()?.streams.accept().await?;
        Ok(FastwireStream::new(Arc::clone(&self.held), stream))
    }

    fn streaming(&self) -> Result<&Link, StreamError> {
        let link = &self.held.link;
        if link.is_extended() { Ok(link) } else { Err(StreamError::NotExtended) }
    }

    async fn send_when_room(&self, data: Bytes, channel: u8, to: Pending) -> Result<(), SendError> {
        self.send_asking(data, channel, None, to).await.map(drop)
    }

    async fn send_asking(
        &self,
        mut data: Bytes,
        channel: u8,
        options: Option<&SendOptions>,
        to: Pending,
    ) -> Result<Option<ReceiptId>, SendError> {
        let link = &self.held.link;
        loop {
            let mut room = pin!(link.inbox.room().notified());
            // Listening before looking: room made in between is not missed.
            room.as_mut().enable();
            match link.send_with(data, channel, options, to) {
                Err(SendError::QueueFull(back)) => data = back,
                other => return other,
            }
            room.await;
        }
    }

    /// Closes the connection gracefully, behind what was sent so far. Never blocks; wait for
    /// [`closed`](Self::closed) to know when that is done.
    pub fn close(&self) {
        self.held.link.close();
    }

    /// Closes the connection without waiting for what is queued.
    pub fn close_now(&self) {
        self.held.link.end_with(Order::CloseNow);
    }

    /// Throws the peer out; `text` says why, in the log of this side.
    pub fn kick(&self, text: &str) {
        self.held.link.end_with(Order::Kick(text.to_owned()));
    }

    /// Waits for the connection's end and says why; `None` if its endpoint ended first.
    ///
    /// Cancellation-safe.
    pub async fn closed(&self) -> Option<DisconnectReason> {
        self.held.link.inbox.ended().await;
        self.held.link.snapshot().reason
    }

    /// Moves a client's connection to a new local port, as after a change of network; the log says if that is
    /// refused. Does nothing on a server.
    pub fn rebind(&self) {
        self.held.link.hub().command(Command::Rebind);
    }

    /// Where the connection stands.
    pub fn state(&self) -> ConnectionState {
        self.held.link.state()
    }

    /// On a server: what the client's application sent to be let in, at most 512 bytes; `None` in the base profile.
    pub fn client_auth(&self) -> Option<&Bytes> {
        self.held.shown.auth.as_ref()
    }

    /// On a server: what the client's connect token says; `None` if it had none.
    pub fn token_claims(&self) -> Option<&TokenClaims> {
        self.held.shown.claims.as_ref()
    }

    /// The peer's address.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.held.link.snapshot().remote
    }

    /// Smoothed round-trip time; zero before the first sample.
    pub fn rtt(&self) -> Duration {
        self.held.link.rtt()
    }

    /// The connection's figures, as of the last 100 ms in which something happened; its last ones once it is
    /// over.
    pub fn stats(&self) -> ConnectionStats {
        self.held.link.snapshot().stats()
    }

    /// The server's identity key, pinned or learned; `None` in the base profile.
    pub fn server_key(&self) -> Option<PublicKey> {
        self.held.link.snapshot().server_key
    }

    /// Once it is over: the code and text that the peer closed with.
    pub fn farewell(&self) -> Option<(u16, String)> {
        self.held.link.snapshot().farewell()
    }

    /// Once it is over: the reliable messages that were not wholly acknowledged, oldest first on each channel. Extended profile;
    /// what still waited in the queue of tasks never had a number and is not among them.
    pub fn undelivered(&self) -> Vec<Undelivered> {
        self.held.link.snapshot().undelivered()
    }

    /// What time it is at the server; see [`ConnectionHandle::server_time`](crate::ConnectionHandle::server_time).
    pub fn server_time(&self) -> Option<ServerTime> {
        self.held.link.snapshot().server_time(Instant::now())
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("id", &self.id()).field("state", &self.state()).finish()
    }
}

/// The half of a connection that receives. Without it, what arrives is thrown away.
pub struct Receiver {
    held: Arc<Held>,
}

impl Receiver {
    /// The connection's name.
    pub fn id(&self) -> ConnectionId {
        self.held.link.id()
    }

    /// The next message and its channel; `None` when the connection is over and all its messages are read.
    ///
    /// Cancellation-safe: a message is taken only when this returns.
    pub async fn recv(&mut self) -> Option<(u8, Bytes)> {
        self.recv_timed().await.map(|(channel, data, _)| (channel, data))
    }

    /// As [`recv`](Self::recv), and when the message was sent, if its sender had it [stamped](SendOptions::stamped) and we know
    /// the time. Its age is that when it came, wherever it waited since.
    ///
    /// Cancellation-safe: a message is taken only when this returns.
    pub async fn recv_timed(&mut self) -> Option<(u8, Bytes, Option<MessageTime>)> {
        loop {
            match self.take() {
                Taken::Message((channel, data), time, _) => return Some((channel, data, time)),
                Taken::End => return None,
                Taken::Nothing => self.held.link.inbox.readable().await,
            }
        }
    }

    /// The next message if there is one already.
    pub fn try_recv(&mut self) -> Option<(u8, Bytes)> {
        match self.take() {
            Taken::Message(message, ..) => Some(message),
            Taken::End | Taken::Nothing => None,
        }
    }

    fn take(&mut self) -> Taken {
        let link = &self.held.link;
        let taken = link.inbox.take(link.hub().inbox_messages);
        if matches!(taken, Taken::Message(.., true)) {
            link.resume();
        }
        taken
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.held.link.inbox.stop_reading() {
            self.held.link.resume();
        }
    }
}

/// What the peer showed when it connected.
pub(super) struct Shown {
    pub(super) auth: Option<Bytes>,
    pub(super) claims: Option<TokenClaims>,
}

/// What all halves and streams share: the last one to go closes the connection.
pub(crate) struct Held {
    pub(super) link: Arc<Link>,
    shown: Shown,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.link.close();
    }
}

//! A session as a byte stream.

use super::config::KcpConfig;
use super::door::Command;
use super::handle::{SessionHandle, State};
use super::registry;
use super::socket::Socket;
use super::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::core::{NoDelay, Pacing, Pool};
use crate::session::{Counters, Session, SessionError};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::ToSocketAddrs;

/// A KCP session as a byte stream: what a `TcpStream` is to TCP.
///
/// Two things differ, because KCP has neither handshake nor close. Connecting sends nothing and cannot fail for want
/// of a peer; and a read never returns 0 for an end of the stream: a peer that is gone shows as
/// [`TimedOut`](io::ErrorKind::TimedOut) after the idle timeout. Protocols that need an end must say so in their bytes.
///
/// Shutting down waits until the peer has acknowledged everything. Dropping the stream lets that go on in the
/// background for the configured time.
pub struct KcpStream {
    handle: Arc<SessionHandle>,
}

/// Releases the session. Halves share one stream, which goes with the last of them.
impl Drop for KcpStream {
    fn drop(&mut self) {
        self.handle.change(|state| state.released = true);
    }
}

impl KcpStream {
    /// A session with the peer at the first of `addresses` that a socket can be bound for. The conversation number is
    /// random. Nothing is sent until the first write.
    ///
    /// # Errors
    /// When no socket can be bound, or the configuration contradicts itself (kind `InvalidInput`).
    pub async fn connect(addresses: impl ToSocketAddrs, config: KcpConfig) -> io::Result<Self> {
        let mut conv = [0; 4];
        getrandom::fill(&mut conv).map_err(io::Error::other)?;
        Self::connect_with_conv(addresses, u32::from_le_bytes(conv), config).await
    }

    /// As [`connect`](Self::connect), with a conversation number agreed on elsewhere.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with_conv(
        addresses: impl ToSocketAddrs,
        conv: u32,
        config: KcpConfig,
    ) -> io::Result<Self> {
        let mut last = None;
        for peer in tokio::net::lookup_host(addresses).await? {
            let any: SocketAddr = match peer {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            match Socket::bind(any) {
                Ok(socket) => return Self::start(socket, peer, conv, config),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to")))
    }

    /// A session over a socket of the caller's, which becomes non-blocking. Datagrams from others than `peer` are
    /// dropped.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn from_std(
        socket: std::net::UdpSocket,
        peer: SocketAddr,
        conv: u32,
        config: KcpConfig,
    ) -> io::Result<Self> {
        Self::start(Socket::from_std(socket)?, peer, conv, config)
    }

    fn start(socket: Socket, peer: SocketAddr, conv: u32, config: KcpConfig) -> io::Result<Self> {
        let driver = registry::driver()?;
        let local = socket.local_addr()?;
        let session = Session::new(conv, &config.session, config.crypt.clone(), driver.pool.clone());
        let session = session.map_err(invalid)?;
        let handle = SessionHandle::new(session, local, peer, driver.clone());
        super::snmp::update(|total| total.active_opens += 1);
        driver.send(Command::Connect { socket, handle: handle.clone(), config });
        Ok(Self::from_handle(handle))
    }

    pub(super) fn from_handle(handle: Arc<SessionHandle>) -> Self {
        Self { handle }
    }

    /// The address of this end's socket.
    ///
    /// # Errors
    /// None; the signature is `TcpStream`'s.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.handle.local)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// None; the signature is `TcpStream`'s.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.handle.peer)
    }

    /// Conversation number.
    pub fn conv(&self) -> u32 {
        self.handle.lock().session.kcp().conv()
    }

    /// What this session counted.
    pub fn stats(&self) -> Counters {
        self.handle.lock().session.counters()
    }

    /// Smoothed round-trip time, zero before the first sample; its variance; the timeout of new segments.
    pub fn rtt(&self) -> (Duration, Duration, Duration) {
        let (smoothed, variance, timeout) = self.handle.lock().session.kcp().rtt();
        let ms = |figure: u32| Duration::from_millis(figure.into());
        (ms(smoothed), ms(variance), ms(timeout))
    }

    /// Segments queued or in flight.
    pub fn waiting(&self) -> usize {
        self.handle.lock().session.kcp().waiting()
    }

    /// Latency settings; presets are [`NoDelay::NORMAL`] to [`NoDelay::FAST3`].
    pub fn set_nodelay(&self, nodelay: NoDelay) {
        self.handle.change(|state| state.session.kcp_mut().set_nodelay(nodelay));
    }

    /// Size of whole datagrams, in bytes.
    ///
    /// # Errors
    /// Kind `InvalidInput` when it leaves no room for a segment, or is over 1500.
    pub fn set_mtu(&self, mtu: usize) -> io::Result<()> {
        self.handle.change(|state| state.session.set_mtu(mtu)).map_err(invalid)
    }

    /// Send and receive window, in segments.
    ///
    /// # Errors
    /// Kind `InvalidInput` when one is 0 or over [`MAX_WINDOW`](crate::core::MAX_WINDOW).
    pub fn set_window(&self, send: u32, receive: u32) -> io::Result<()> {
        let result = self.handle.change(|state| state.session.kcp_mut().set_window(send, receive));
        result.map_err(|error| invalid(error.into()))
    }

    /// Joins small writes from now on.
    pub fn set_stream(&self, on: bool) {
        self.handle.change(|state| state.session.kcp_mut().set_stream(on));
    }

    /// Whether acknowledgements leave with the batch they belong to.
    pub fn set_ack_no_delay(&self, on: bool) {
        self.handle.change(|state| state.session.kcp_mut().set_ack_no_delay(on));
    }

    /// Whether small writes wait for the next tick.
    pub fn set_write_delay(&self, on: bool) {
        self.handle.change(|state| state.session.kcp_mut().set_write_delay(on));
    }

    /// Limits bursts and rate.
    pub fn set_pacing(&self, pacing: Pacing) {
        self.handle.change(|state| state.session.kcp_mut().set_pacing(pacing));
    }

    /// Copies of each datagram besides the first.
    pub fn set_copies(&self, copies: u8) {
        self.handle.change(|state| state.session.set_copies(copies));
    }

    /// When reads begin to fail with [`TimedOut`](io::ErrorKind::TimedOut); `None` for never. A read that waits hears
    /// of the change.
    pub fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.handle.change(|state| state.read_deadline = deadline);
    }

    /// As [`set_read_deadline`](Self::set_read_deadline), for writes and shutting down.
    pub fn set_write_deadline(&self, deadline: Option<Instant>) {
        self.handle.change(|state| state.write_deadline = deadline);
    }

    /// Sends an unreliable message outside the stream.
    ///
    /// # Errors
    /// Kind `InvalidInput` without error correction, or when it does not fit in a datagram
    /// ([`max_oob`](Self::max_oob)).
    pub fn send_oob(&self, message: &[u8]) -> io::Result<()> {
        self.handle.change(|state| state.session.send_oob(message)).map_err(invalid)
    }

    /// Most bytes of a message outside the stream; `None` without error correction.
    pub fn max_oob(&self) -> Option<usize> {
        self.handle.lock().session.max_oob()
    }

    /// The peer's next message outside the stream.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn recv_oob(&self) -> io::Result<Vec<u8>> {
        std::future::poll_fn(|context| {
            let mut state = self.handle.lock();
            if let Some(message) = state.session.recv_oob() {
                return Poll::Ready(Ok(message));
            }
            if let Some(end) = state.end {
                return Poll::Ready(Err(end.error()));
            }
            state.oob_reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sends one message whole, in up to 127 segments; with message mode at both ends it arrives in one piece. Waits
    /// for room. Safe to cancel.
    ///
    /// # Errors
    /// Kind `InvalidInput` when it is too long; as writing otherwise.
    pub async fn send_message(&self, message: &[u8]) -> io::Result<()> {
        std::future::poll_fn(|context| {
            let mut state = self.handle.lock();
            ready!(poll_writable(&mut state, context))?;
            let sent = state.session.send_message(message);
            self.handle.mark_dirty(&mut state);
            Poll::Ready(sent.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error)))
        })
        .await?;
        Ok(())
    }

    /// Borrowed halves, to read and write at the same time.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(self), WriteHalf(self))
    }

    /// Owned halves, for two tasks. The session ends when both are gone.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let shared = Arc::new(self);
        (OwnedReadHalf(shared.clone()), OwnedWriteHalf(shared))
    }

    pub(super) fn read_ready(
        &self,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.handle.lock();
        let count = state.session.read(buf.initialize_unfilled());
        if count > 0 {
            buf.advance(count);
            if state.session.kcp().wants_flush() {
                self.handle.mark_dirty(&mut state);
            }
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = state.end {
            return Poll::Ready(Err(end.error()));
        }
        if state.read_deadline.is_some_and(|at| Instant::now() >= at) {
            return Poll::Ready(Err(deadline_passed()));
        }
        store(&mut state.reader, context);
        Poll::Pending
    }

    pub(super) fn write_ready(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.handle.lock();
        ready!(poll_writable(&mut state, context))?;
        let count = state.session.write(bytes);
        self.handle.mark_dirty(&mut state);
        Poll::Ready(Ok(count))
    }

    /// Ready when the peer has acknowledged everything.
    pub(super) fn shutdown_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.handle.lock();
        state.shut_down = true;
        if state.session.kcp().waiting() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = state.end {
            return Poll::Ready(Err(end.error()));
        }
        if state.write_deadline.is_some_and(|at| Instant::now() >= at) {
            return Poll::Ready(Err(deadline_passed()));
        }
        store(&mut state.writer, context);
        self.handle.mark_dirty(&mut state);
        Poll::Pending
    }
}

/// Ready when bytes can be queued.
fn poll_writable(state: &mut State, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    if let Some(end) = state.end {
        return Poll::Ready(Err(end.error()));
    }
    if state.shut_down {
        let error = io::Error::new(io::ErrorKind::BrokenPipe, "the stream was shut down here");
        return Poll::Ready(Err(error));
    }
    if state.session.has_send_room() {
        return Poll::Ready(Ok(()));
    }
    if state.write_deadline.is_some_and(|at| Instant::now() >= at) {
        return Poll::Ready(Err(deadline_passed()));
    }
    store(&mut state.writer, context);
    Poll::Pending
}

fn store(slot: &mut Option<std::task::Waker>, context: &Context<'_>) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
        *slot = Some(context.waker().clone());
    }
}

fn deadline_passed() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the deadline set on the stream has passed")
}

fn invalid(error: SessionError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// Whether sessions can be made with this configuration.
pub(super) fn check_config(config: &KcpConfig) -> io::Result<()> {
    Session::new(0, &config.session, config.crypt.clone(), Pool::new()).map(drop).map_err(invalid)
}

impl std::fmt::Debug for KcpStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.handle.lock();
        let kcp = state.session.kcp();
        let (oldest, next, expected) = kcp.numbers();
        let (congestion, remote) = kcp.windows();
        let (queued, in_flight, readable, ahead, acks) = kcp.queues();
        let (smoothed, variance, timeout) = kcp.rtt();
        f.debug_struct("KcpStream")
            .field("local", &self.handle.local)
            .field("peer", &self.handle.peer)
            .field("conv", &kcp.conv())
            .field("oldest_in_flight", &oldest)
            .field("next", &next)
            .field("expected", &expected)
            .field("congestion_window", &congestion)
            .field("remote_window", &remote)
            .field("queued", &queued)
            .field("in_flight", &in_flight)
            .field("readable", &readable)
            .field("ahead", &ahead)
            .field("acks", &acks)
            .field("rtt_ms", &smoothed)
            .field("rtt_variance_ms", &variance)
            .field("timeout_ms", &timeout)
            .field("reader_waits", &state.reader.is_some())
            .field("writer_waits", &state.writer.is_some())
            .field("wants_driver", &state.dirty)
            .field("end", &state.end)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for KcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.read_ready(cx, buf)
    }
}

impl AsyncWrite for KcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write_ready(cx, buf)
    }

    /// Does nothing: what was written is on its way.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown_ready(cx)
    }
}

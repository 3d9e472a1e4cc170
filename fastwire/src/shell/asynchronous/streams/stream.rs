//! A stream of bytes as an application holds it: whole, or split into what reads and what writes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::ToSocketAddrs;

use super::Streams;
use super::listener::{connect, stream_client};
use super::shared::Shared;
use crate::asynchronous::connection::Held;
use crate::{ClientConfig, ConnectionId, ConnectionState, StreamError};

/// A stream of bytes, both ways, in order, once: what a TCP connection is, over FastWire.
///
/// It comes from [`open_stream`](crate::asynchronous::Sender::open_stream) and
/// [`accept_stream`](crate::asynchronous::Sender::accept_stream) of a connection, one of many beside each other; or, with a
/// connection of its own, from [`connect`](Self::connect) and [`FastwireListener`](super::FastwireListener).
///
/// - *The end.* [`shutdown`](AsyncWrite::poll_shutdown) ends this side's half: the peer reads all that was written,
///   then the end. After it the stream may be dropped; what was written still arrives, as long as the connection lasts.
///   A stream that is dropped without it is reset, as [`reset`](Self::reset) does with code 0.
/// - *Errors.* A read gives the end only where the peer ended its half. Else it fails:
///   [`ConnectionReset`](io::ErrorKind::ConnectionReset) when the peer reset the stream
///   ([`StreamReset`](super::StreamReset) has the code), [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) when the
///   connection ended first; what came before that end can be read, what came before a reset is gone.
/// - *Waiting.* A write waits while the peer reads more slowly than this side writes, and holds up no other stream. At most
///   [`Limits::stream_bytes`](crate::Limits::stream_bytes) are held here in each direction.
/// - The peer learns of the stream with the first bytes, its end, or [`flush`](AsyncWrite::poll_flush).
///
/// Reading and writing are cancellation-safe as far as tokio's `AsyncReadExt` and `AsyncWriteExt` say so.
pub struct FastwireStream {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
}

impl FastwireStream {
    pub(crate) fn new(held: Arc<Held>, stream: Arc<Shared>) -> Self {
        let handle = Handle { stream, held };
        Self { read: OwnedReadHalf { handle: handle.clone() }, write: OwnedWriteHalf { handle } }
    }

    /// Connects to a [`FastwireListener`](super::FastwireListener), over a connection that only this stream uses.
    ///
    /// Cancellation-safe: dropped, it gives the attempt up.
    ///
    /// # Errors
    /// [`io::Error`], with the [`StartError`](crate::StartError) inside that says more.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(server: impl ToSocketAddrs + fmt::Debug) -> io::Result<Self> {
        Self::connect_with(stream_client(), server).await
    }

    /// As [`connect`](Self::connect), with a configuration such as one that pins the server's key. Its channel layout,
    /// profile and `reconnect` are set to what a stream of its own needs.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect_with(
        config: ClientConfig,
        server: impl ToSocketAddrs + fmt::Debug,
    ) -> io::Result<Self> {
        connect(config, server).await
    }

    /// The connection it runs over.
    pub fn id(&self) -> ConnectionId {
        self.read.handle.held.link.id()
    }

    /// The channel it runs on.
    pub fn channel(&self) -> u8 {
        self.read.handle.stream.channel()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) if it is not known any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.read.peer_addr()
    }

    /// This side's address. The IP address may be the unspecified one.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the transport has none.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.read.local_addr()
    }

    /// Breaks the stream off, both ways and at once: what was written and not delivered is dropped, and the peer's reads and
    /// writes fail with this code. Does nothing to a half that has ended and arrived.
    pub fn reset(&mut self, code: u16) {
        self.write.reset(code);
    }

    /// Splits the stream for as long as the borrow lasts.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(&mut self.read), WriteHalf(&mut self.write))
    }

    /// Splits the stream, for tasks that read and write apart.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        (self.read, self.write)
    }
}

/// What both halves hold.
#[derive(Clone)]
struct Handle {
    stream: Arc<Shared>,
    /// Behind the stream: what dropping the stream asks for comes before what dropping the connection does.
    held: Arc<Held>,
}

impl Handle {
    fn streams(&self) -> &Streams {
        &self.held.link.streams
    }

    /// Has the pump serve the stream, if that is to be.
    fn call(&self, call: bool) {
        if call {
            self.streams().list(&self.stream);
            self.held.link.call();
        }
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.held.link.snapshot().remote.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.held.link.hub().local().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (poll, call) = self.stream.poll_read(cx, buf, self.streams().limit);
        self.call(call);
        poll
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.link.state() == ConnectionState::Disconnecting {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                StreamError::ConnectionClosed,
            )));
        }
        let (poll, call) = self.stream.poll_write(cx, data, self.streams().limit);
        self.call(call);
        poll
    }

    fn flush(&self) -> io::Result<()> {
        let (result, call) = self.stream.flush();
        self.call(call);
        result
    }

    fn finish(&self) -> io::Result<()> {
        let (result, call) = self.stream.finish();
        self.call(call);
        result
    }
}

/// The half of a stream that reads, by [`into_split`](FastwireStream::into_split). When it is dropped, what comes is thrown
/// away.
pub struct OwnedReadHalf {
    handle: Handle,
}

impl OwnedReadHalf {
    /// As [`FastwireStream::peer_addr`].
    ///
    /// # Errors
    /// As there.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.handle.peer_addr()
    }

    /// As [`FastwireStream::local_addr`].
    ///
    /// # Errors
    /// As there.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.handle.local_addr()
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.handle.poll_read(cx, buf)
    }
}

impl Drop for OwnedReadHalf {
    fn drop(&mut self) {
        let call = self.handle.stream.stop_reading();
        self.handle.call(call);
    }
}

/// The half of a stream that writes, by [`into_split`](FastwireStream::into_split). Dropped without `shutdown` it resets the
/// stream, the half that reads too.
pub struct OwnedWriteHalf {
    handle: Handle,
}

impl OwnedWriteHalf {
    /// As [`FastwireStream::reset`].
    pub fn reset(&mut self, code: u16) {
        let call = self.handle.stream.reset(code);
        self.handle.call(call);
    }

    /// As [`FastwireStream::peer_addr`].
    ///
    /// # Errors
    /// As there.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.handle.peer_addr()
    }

    /// As [`FastwireStream::local_addr`].
    ///
    /// # Errors
    /// As there.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.handle.local_addr()
    }
}

impl AsyncWrite for OwnedWriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.handle.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.handle.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.handle.finish())
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        let call = self.handle.stream.stop_writing();
        self.handle.call(call);
    }
}

impl AsyncRead for FastwireStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.read.handle.poll_read(cx, buf)
    }
}

impl AsyncWrite for FastwireStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.write.handle.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.write.handle.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.write.handle.finish())
    }
}

/// The half of a stream that reads, by [`split`](FastwireStream::split).
#[derive(Debug)]
pub struct ReadHalf<'a>(&'a mut OwnedReadHalf);

impl AsyncRead for ReadHalf<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.handle.poll_read(cx, buf)
    }
}

/// The half of a stream that writes, by [`split`](FastwireStream::split).
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a mut OwnedWriteHalf);

impl AsyncWrite for WriteHalf<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.handle.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.handle.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.handle.finish())
    }
}

macro_rules! debug {
    ($($name:ident => $field:ident),*) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Handle { stream, held } = &self.$field;
                f.debug_struct(stringify!($name))
                    .field("connection", &held.link.id())
                    .field("channel", &stream.channel())
                    .finish_non_exhaustive()
            }
        })*
    };
}

debug!(OwnedReadHalf => handle, OwnedWriteHalf => handle);

impl fmt::Debug for FastwireStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastwireStream")
            .field("connection", &self.id())
            .field("channel", &self.channel())
            .finish_non_exhaustive()
    }
}

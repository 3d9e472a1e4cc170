//! What carries a tunnel: something that opens streams, and something that accepts them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes both ways. Once its writing side is shut down it may be dropped: everything arrives. Dropped before, it
/// has failed.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// The client's side of a transport.
pub trait Open: Send + Sync + 'static {
    /// What it opens.
    type Stream: Stream;

    /// A new stream to the server.
    fn open(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// The server's side of a transport.
pub trait Accept: Send + Sync + 'static {
    /// What it accepts.
    type Stream: Stream;

    /// The next stream, and whose it is.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

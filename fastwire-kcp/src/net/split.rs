//! The halves of a stream.

use super::stream::KcpStream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reading half, borrowed from a [`KcpStream`], which is what [`as_ref`](AsRef::as_ref) gives: settings, deadlines, counters.
#[derive(Debug)]
pub struct ReadHalf<'a>(pub(super) &'a KcpStream);

/// Writing half, borrowed from a [`KcpStream`].
#[derive(Debug)]
pub struct WriteHalf<'a>(pub(super) &'a KcpStream);

/// Reading half that owns its part of a [`KcpStream`].
#[derive(Debug)]
pub struct OwnedReadHalf(pub(super) Arc<KcpStream>);

/// Writing half that owns its part of a [`KcpStream`].
#[derive(Debug)]
pub struct OwnedWriteHalf(pub(super) Arc<KcpStream>);

/// The two halves are not of the same stream; they come back as they were.
#[derive(Debug, thiserror::Error)]
#[error("the two halves are not of the same stream")]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl OwnedReadHalf {
    /// The whole stream again.
    ///
    /// # Errors
    /// [`ReuniteError`] when `other` is a half of another stream.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<KcpStream, ReuniteError> {
        other.reunite(self)
    }
}

impl OwnedWriteHalf {
    /// The whole stream again.
    ///
    /// # Errors
    /// [`ReuniteError`] when `other` is a half of another stream.
    pub fn reunite(self, other: OwnedReadHalf) -> Result<KcpStream, ReuniteError> {
        if !Arc::ptr_eq(&self.0, &other.0) {
            return Err(ReuniteError(other, self));
        }
        drop(other);
        Arc::try_unwrap(self.0).map_err(|stream| ReuniteError(OwnedReadHalf(stream.clone()), Self(stream)))
    }
}

macro_rules! read_half {
    ($($half:ty),*) => {$(
        impl AsRef<KcpStream> for $half {
            fn as_ref(&self) -> &KcpStream {
                &self.0
            }
        }

        impl AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.0.read_ready(cx, buf)
            }
        }
    )*};
}

macro_rules! write_half {
    ($($half:ty),*) => {$(
        impl AsRef<KcpStream> for $half {
            fn as_ref(&self) -> &KcpStream {
                &self.0
            }
        }

        impl AsyncWrite for $half {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                self.0.write_ready(cx, buf)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.shutdown_ready(cx)
            }
        }
    )*};
}

read_half!(ReadHalf<'_>, OwnedReadHalf);
write_half!(WriteHalf<'_>, OwnedWriteHalf);

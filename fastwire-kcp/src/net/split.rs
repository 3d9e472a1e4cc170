//! The halves of a stream.

use super::stream::StreamCore;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reading half, borrowed from a [`KcpStream`](super::KcpStream).
#[derive(Debug)]
pub struct ReadHalf<'a>(pub(super) &'a StreamCore);

/// Writing half, borrowed from a [`KcpStream`](super::KcpStream).
#[derive(Debug)]
pub struct WriteHalf<'a>(pub(super) &'a StreamCore);

/// Reading half that owns its part of a [`KcpStream`](super::KcpStream).
#[derive(Debug)]
pub struct OwnedReadHalf(pub(super) Arc<StreamCore>);

/// Writing half that owns its part of a [`KcpStream`](super::KcpStream).
#[derive(Debug)]
pub struct OwnedWriteHalf(pub(super) Arc<StreamCore>);

macro_rules! read_half {
    ($($half:ty),*) => {$(
        impl AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.0.poll_read(cx, buf)
            }
        }
    )*};
}

macro_rules! write_half {
    ($($half:ty),*) => {$(
        impl AsyncWrite for $half {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                self.0.poll_write(cx, buf)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.poll_shutdown(cx)
            }
        }
    )*};
}

read_half!(ReadHalf<'_>, OwnedReadHalf);
write_half!(WriteHalf<'_>, OwnedWriteHalf);

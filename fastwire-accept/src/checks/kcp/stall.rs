//! Watches two transfers and says at which state both ends are when nothing arrives any more.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ends::STALL;
use super::line::Line;

/// A transfer that brings nothing for so long has stalled, unless the line explains it.
const QUIET: Duration = Duration::from_secs(20);

/// An end of a session that one task reads, another writes and a third looks at.
pub(super) struct End<T> {
    stream: Arc<Mutex<T>>,
    /// Bytes read so far.
    read: Arc<AtomicUsize>,
}

impl<T> End<T> {
    pub(super) fn new(stream: T) -> Self {
        Self { stream: Arc::new(Mutex::new(stream)), read: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for End<T> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), read: self.read.clone() }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for End<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut *self.lock()).poll_read(cx, buf);
        self.read.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for End<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}

/// Ends, with an error that says how both ends stand, when one of them gets no more of the `bytes` that are to come. A
/// sender that waits longer and longer because the line dropped what it sent is given the time it takes.
pub(super) async fn watch<A: Debug, B: Debug>(
    client: &End<A>,
    server: &End<B>,
    line: &Line,
    bytes: usize,
) -> io::Error {
    let ways = [("client to server", true, &server.read), ("server to client", false, &client.read)];
    let mut seen = [(0, Instant::now()); 2];
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for ((way, up, read), (last, since)) in ways.iter().zip(&mut seen) {
            let now = read.load(Ordering::Relaxed);
            if now != *last || now >= bytes {
                (*last, *since) = (now, Instant::now());
                continue;
            }
            let excuse = line.tapped(|tap| tap.excuse(*up)).flatten();
            let quiet = excuse.map_or(*since, |until| until.max(*since)).elapsed();
            if quiet < QUIET && since.elapsed() < STALL {
                continue;
            }
            let text = format!(
                "{way}: nothing arrives for {:.1} s, {now} of {bytes} bytes have{}\nclient {:#?}\nserver {:#?}\n{}",
                since.elapsed().as_secs_f64(),
                if excuse.is_some_and(|until| until > Instant::now()) {
                    "; the sender backs off"
                } else {
                    ""
                },
                client.lock(),
                server.lock(),
                line.tapped(ToString::to_string).unwrap_or_default(),
            );
            return io::Error::new(io::ErrorKind::TimedOut, text);
        }
    }
}

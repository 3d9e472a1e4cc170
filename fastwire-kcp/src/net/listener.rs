//! A UDP socket that peers open sessions on.

use super::config::KcpConfig;
use super::door::{Command, DriverShared};
use super::handle::SessionHandle;
use super::registry;
use super::socket::Socket;
use super::stream::{KcpStream, check_config};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::net::ToSocketAddrs;

/// Sessions that wait for accept.
pub(super) struct AcceptQueue {
    inner: Mutex<Inner>,
    backlog: usize,
    /// The socket's place in its driver's table.
    place: OnceLock<usize>,
    driver: Arc<DriverShared>,
}

#[derive(Default)]
struct Inner {
    /// At most `backlog`.
    waiting: VecDeque<Arc<SessionHandle>>,
    wakers: Vec<Waker>,
    closed: bool,
}

impl AcceptQueue {
    pub(super) fn has_room(&self) -> bool {
        let inner = self.lock();
        !inner.closed && inner.waiting.len() < self.backlog
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn push(&self, handle: Arc<SessionHandle>) {
        let mut inner = self.lock();
        inner.waiting.push_back(handle);
        let wakers = std::mem::take(&mut inner.wakers);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn set_place(&self, place: usize) {
        // Set once, by the driver that the socket was given to.
        let _ = self.place.set(place);
    }

    /// Ends accepting; sessions that nobody took end with it.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let (waiting, wakers) = (std::mem::take(&mut inner.waiting), std::mem::take(&mut inner.wakers));
        drop(inner);
        // Dropping a stream releases its session.
        waiting.into_iter().for_each(|handle| drop(KcpStream::from_handle(handle)));
        wakers.into_iter().for_each(Waker::wake);
        // The driver lets go of the socket when it serves no session.
        if let Some(&place) = self.place.get() {
            self.driver.push_ready(place);
        }
    }

    fn poll_pop(&self, context: &mut Context<'_>) -> Poll<io::Result<Arc<SessionHandle>>> {
        let mut inner = self.lock();
        if let Some(handle) = inner.waiting.pop_front() {
            return Poll::Ready(Ok(handle));
        }
        if inner.closed {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::NotConnected, "the listener is closed")));
        }
        if !inner.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            inner.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that accepts KCP sessions, as a `TcpListener` accepts connections.
///
/// Dropping it ends accepting; accepted sessions live on, on the same socket, until they end.
pub struct KcpListener {
    queue: Arc<AcceptQueue>,
    local: SocketAddr,
}

impl KcpListener {
    /// Binds the first of `addresses` that works. Call it inside a tokio runtime, which then drives the sessions.
    ///
    /// # Errors
    /// When no address can be bound, or the configuration contradicts itself (kind `InvalidInput`).
    pub async fn bind(addresses: impl ToSocketAddrs, config: KcpConfig) -> io::Result<Self> {
        check_config(&config)?;
        let mut last = None;
        for address in tokio::net::lookup_host(addresses).await? {
            match Socket::bind(address) {
                Ok(socket) => return Self::start(socket, config),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no address to bind to")))
    }

    /// Listens on a socket of the caller's, which becomes non-blocking.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn from_std(socket: std::net::UdpSocket, config: KcpConfig) -> io::Result<Self> {
        check_config(&config)?;
        Self::start(Socket::from_std(socket)?, config)
    }

    fn start(socket: Socket, config: KcpConfig) -> io::Result<Self> {
        let driver = registry::driver()?;
        let local = socket.local_addr()?;
        let queue = Arc::new(AcceptQueue {
            inner: Mutex::default(),
            backlog: config.backlog.max(1),
            place: OnceLock::new(),
            driver: driver.clone(),
        });
        driver.send(Command::Listen { socket, local, queue: queue.clone(), config });
        Ok(Self { queue, local })
    }

    /// The next session and its peer's address. Safe to cancel.
    ///
    /// # Errors
    /// Kind `NotConnected` after [`close`](Self::close).
    pub async fn accept(&self) -> io::Result<(KcpStream, SocketAddr)> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }

    /// As [`accept`](Self::accept).
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(KcpStream, SocketAddr)>> {
        self.queue.poll_pop(context).map_ok(|handle| {
            let peer = handle.peer;
            (KcpStream::from_handle(handle), peer)
        })
    }

    /// The address the socket is bound to.
    ///
    /// # Errors
    /// None; the signature is `TcpListener`'s.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    /// Ends accepting, here and for whoever waits in [`accept`](Self::accept). Accepted sessions live on.
    pub fn close(&self) {
        self.queue.close();
    }
}

impl std::fmt::Debug for KcpListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KcpListener({})", self.local)
    }
}

impl Drop for KcpListener {
    fn drop(&mut self) {
        self.close();
    }
}

//! The door of a driver: what others ask of it, and how they wake it.

use super::config::KcpConfig;
use super::handle::SessionHandle;
use super::listener::AcceptQueue;
use super::socket::Socket;
use crate::core::Pool;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// What others ask of a driver.
pub(super) enum Command {
    /// A client's socket and its session.
    Connect { socket: Socket, handle: Arc<SessionHandle>, config: KcpConfig },
    /// A listener's socket.
    Listen { socket: Socket, local: SocketAddr, queue: Arc<AcceptQueue>, config: KcpConfig },
}

/// What waits for the driver.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) commands: Vec<Command>,
    /// Sessions to look at.
    pub(super) dirty: Vec<usize>,
    /// Sockets to look at.
    pub(super) ready: Vec<usize>,
    pub(super) waker: Option<Waker>,
    pub(super) gone: bool,
}

/// The door of a driver.
pub(super) struct DriverShared {
    inbox: Mutex<Inbox>,
    /// Where the driver's clock began.
    pub(super) epoch: Instant,
    pub(super) pool: Pool,
}

impl std::fmt::Debug for DriverShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DriverShared")
    }
}

impl DriverShared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { inbox: Mutex::default(), epoch: Instant::now(), pool: Pool::new() })
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// False when the driver is gone.
    pub(super) fn send(&self, command: Command) -> bool {
        self.push(|inbox| inbox.commands.push(command))
    }

    pub(super) fn push_dirty(&self, session: usize) {
        self.push(|inbox| inbox.dirty.push(session));
    }

    pub(super) fn push_ready(&self, socket: usize) {
        self.push(|inbox| inbox.ready.push(socket));
    }

    fn push(&self, change: impl FnOnce(&mut Inbox)) -> bool {
        let mut inbox = self.lock();
        if inbox.gone {
            return false;
        }
        change(&mut inbox);
        let waker = inbox.waker.take();
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

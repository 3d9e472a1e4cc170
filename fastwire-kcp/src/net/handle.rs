//! A session as its stream and its driver share it.

use super::door::DriverShared;
use crate::session::Session;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer was silent for the idle timeout.
    Idle,
    /// A segment was sent again and again without an answer.
    DeadLink,
    /// Another conversation took its place (kcp-go's rules only).
    Replaced,
    /// The runtime that drove it is gone.
    Aborted,
}

impl End {
    pub(super) fn error(self) -> io::Error {
        let (kind, text) = match self {
            Self::Idle => (io::ErrorKind::TimedOut, "the peer was silent for the idle timeout"),
            Self::DeadLink => {
                (io::ErrorKind::TimedOut, "the peer acknowledged nothing, however often it was sent")
            }
            Self::Replaced => {
                (io::ErrorKind::ConnectionReset, "the peer opened another conversation in its place")
            }
            Self::Aborted => (io::ErrorKind::ConnectionAborted, "the runtime that drove the session is gone"),
        };
        io::Error::new(kind, text)
    }
}

/// A session and who waits for it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) session: Session,
    /// Place in the driver's table, once it has one.
    pub(super) key: Option<usize>,
    /// In the driver's list of sessions to look at.
    pub(super) dirty: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    pub(super) oob_reader: Option<Waker>,
    pub(super) read_deadline: Option<Instant>,
    pub(super) write_deadline: Option<Instant>,
    /// No more is written; what was, is still delivered.
    pub(super) shut_down: bool,
    /// No handle is left.
    pub(super) released: bool,
    pub(super) end: Option<End>,
}

impl State {
    /// Who can go on now: the reader, the writer, the reader of out-of-band messages.
    pub(super) fn take_wakers(&mut self) -> [Option<Waker>; 3] {
        let deadlines = self.read_deadline.is_some() || self.write_deadline.is_some();
        let now = deadlines.then(Instant::now);
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|at| now.is_some_and(|now| at <= now));
        let session = &self.session;
        let ended = self.end.is_some();
        let read = ended || session.kcp().readable() > 0 || passed(self.read_deadline);
        // A writer is woken when there is room worth the trouble.
        let room = session.kcp().waiting() <= session.send_limit() * 3 / 4;
        let delivered = session.kcp().waiting() == 0;
        let write = ended || if self.shut_down { delivered } else { room } || passed(self.write_deadline);
        let oob = ended || session.has_oob();
        [
            if read { self.reader.take() } else { None },
            if write { self.writer.take() } else { None },
            if oob { self.oob_reader.take() } else { None },
        ]
    }
}

/// The shared part.
#[derive(Debug)]
pub(super) struct SessionHandle {
    state: Mutex<State>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    driver: Arc<DriverShared>,
}

impl SessionHandle {
    pub(super) fn new(
        session: Session,
        local: SocketAddr,
        peer: SocketAddr,
        driver: Arc<DriverShared>,
    ) -> Arc<Self> {
        let state = State {
            session,
            key: None,
            dirty: false,
            reader: None,
            writer: None,
            oob_reader: None,
            read_deadline: None,
            write_deadline: None,
            shut_down: false,
            released: false,
            end: None,
        };
        Arc::new(Self { state: Mutex::new(state), peer, local, driver })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst a session that misbehaves; its peer sees no difference.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the session and wakes who waits for it.
    pub(super) fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Runs `change` and has the driver look at the session afterwards.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        self.mark_dirty(&mut state);
        result
    }

    /// Has the driver look at the session soon.
    pub(super) fn mark_dirty(&self, state: &mut State) {
        if let Some(key) = state.key
            && !state.dirty
        {
            state.dirty = true;
            self.driver.push_dirty(key);
        }
    }
}

//! The task that drives many sessions: receives, keeps their timers, sends.

use super::config::KcpConfig;
use super::door::{Command, DriverShared};
use super::entry::SessionEntry;
use super::handle::{End, SessionHandle, State};
use super::listener::AcceptQueue;
use super::snmp;
use super::socket::{RecvBuf, Socket};
use super::timers::{Grace, Timers};
use crate::crypt::PacketCrypt;
use crate::session::{Counters, MAX_DATAGRAM, Peek, Route, Router, Session, TransmitBuf};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::time::Sleep;

/// Rounds of a driver before it lets other tasks run.
const ROUNDS: usize = 16;
/// Receive calls on one socket in a round: enough that a listener's sessions hear their acknowledgements before their
/// timers fire.
const RECEIVES: usize = 64;

/// Longest sleep of a driver, in ms: any time may be asked for, and not every clock can count so far.
const LONGEST_SLEEP: u64 = 24 * 3600 * 1000;

/// Wakes a driver for one of its sockets.
struct SocketWaker {
    shared: Arc<DriverShared>,
    socket: usize,
}

impl Wake for SocketWaker {
    fn wake(self: Arc<Self>) {
        self.shared.push_ready(self.socket);
    }
}

/// Whose a socket is.
enum Owner {
    Client { session: usize, peer: SocketAddr },
    Listener { router: Router<usize>, queue: Arc<AcceptQueue> },
}

impl Owner {
    /// A listener that was closed, after its last session.
    fn needs_no_socket(&self) -> bool {
        match self {
            Self::Client { .. } => false,
            Self::Listener { router, queue } => queue.is_closed() && router.is_empty(),
        }
    }
}

struct SocketEntry {
    socket: Socket,
    waker: Waker,
    owner: Owner,
    local: SocketAddr,
    config: Arc<KcpConfig>,
}

/// The task.
pub(super) struct Driver {
    shared: Arc<DriverShared>,
    sockets: Vec<Option<SocketEntry>>,
    sessions: Vec<Option<SessionEntry>>,
    free_sockets: Vec<usize>,
    free_sessions: Vec<usize>,
    timers: Timers,
    grace: Grace,
    /// A socket had more to read than its share of this round.
    behind: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Sessions to serve in this round.
    touched: Vec<usize>,
    dirty: Vec<usize>,
    ready: Vec<usize>,
    recv: RecvBuf,
    out: TransmitBuf,
    /// What this round counted.
    counted: Counters,
    opened: u64,
    closed: u64,
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        for _ in 0..ROUNDS {
            if !driver.round(context) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<DriverShared>, seed: [u8; 32]) -> Self {
        Self {
            shared,
            sockets: Vec::new(),
            sessions: Vec::new(),
            free_sockets: Vec::new(),
            free_sessions: Vec::new(),
            timers: Timers::default(),
            grace: Grace::default(),
            behind: false,
            sleep: None,
            touched: Vec::new(),
            dirty: Vec::new(),
            ready: Vec::new(),
            recv: RecvBuf::new(),
            out: TransmitBuf::new(seed),
            counted: Counters::default(),
            opened: 0,
            closed: 0,
        }
    }

    /// Does everything there is to do at one reading of the clock; false when there was nothing.
    fn round(&mut self, context: &mut Context<'_>) -> bool {
        let now = self.shared.epoch.elapsed().as_millis() as u64;
        let commands = self.take_inbox(context);
        let mut busy = !commands.is_empty() || !self.dirty.is_empty() || !self.ready.is_empty();
        for command in commands {
            self.obey(command, now);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.drain(..).for_each(|session| self.touch(session));
        self.dirty = dirty;
        self.behind = false;
        let mut ready = std::mem::take(&mut self.ready);
        ready.drain(..).for_each(|socket| self.receive(socket, now));
        self.ready = ready;
        self.fire_timers(now);
        busy |= !self.touched.is_empty();
        let mut touched = std::mem::take(&mut self.touched);
        touched.drain(..).for_each(|session| self.serve(session, now));
        self.touched = touched;
        self.report();
        busy || self.arm(context, now)
    }

    fn take_inbox(&mut self, context: &mut Context<'_>) -> Vec<Command> {
        let mut inbox = self.shared.lock();
        // Whatever comes from now on wakes this task.
        inbox.waker = Some(context.waker().clone());
        std::mem::swap(&mut inbox.dirty, &mut self.dirty);
        std::mem::swap(&mut inbox.ready, &mut self.ready);
        std::mem::take(&mut inbox.commands)
    }

    fn obey(&mut self, command: Command, now: u64) {
        match command {
            Command::Connect { socket, handle, config } => {
                let config = Arc::new(config);
                let index = self.place_for_socket();
                let (local, peer) = (handle.local, handle.peer);
                let session = self.add_session(handle, index, config.clone(), now);
                self.add_socket(index, socket, Owner::Client { session, peer }, local, config);
            }
            Command::Listen { socket, local, queue, config } => {
                let index = self.place_for_socket();
                let router = Router::new(config.compat);
                queue.set_place(index);
                self.add_socket(index, socket, Owner::Listener { router, queue }, local, Arc::new(config));
            }
        }
    }

    fn place_for_socket(&mut self) -> usize {
        self.free_sockets.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.sockets.len() - 1
        })
    }

    fn add_socket(
        &mut self,
        index: usize,
        socket: Socket,
        owner: Owner,
        local: SocketAddr,
        config: Arc<KcpConfig>,
    ) {
        let waker = Waker::from(Arc::new(SocketWaker { shared: self.shared.clone(), socket: index }));
        self.sockets[index] = Some(SocketEntry { socket, waker, owner, local, config });
        self.shared.push_ready(index);
    }

    fn add_session(
        &mut self,
        handle: Arc<SessionHandle>,
        socket: usize,
        config: Arc<KcpConfig>,
        now: u64,
    ) -> usize {
        let key = self.free_sessions.pop().unwrap_or(self.sessions.len());
        if key == self.sessions.len() {
            self.sessions.push(None);
        }
        handle.lock().key = Some(key);
        self.sessions[key] = Some(SessionEntry::new(handle, socket, config, now));
        self.opened += 1;
        self.touch(key);
        key
    }

    fn touch(&mut self, session: usize) {
        if let Some(Some(entry)) = self.sessions.get_mut(session)
            && !entry.touched
        {
            entry.touched = true;
            self.touched.push(session);
        }
    }

    fn fire_timers(&mut self, now: u64) {
        if self.grace.holds(now, self.timers.next(), self.behind) {
            return;
        }
        while let Some(session) = self.timers.pop_due(now) {
            let wake_at = self.sessions.get(session).and_then(Option::as_ref).map(|entry| entry.wake_at);
            match wake_at {
                Some(at) if at > now => self.timers.set(session, at),
                _ => self.touch(session),
            }
        }
    }

    /// Sleeps until the next timer; true when it is due already.
    fn arm(&mut self, context: &mut Context<'_>, now: u64) -> bool {
        let Some(at) = self.grace.until().or(self.timers.next()) else { return false };
        if at <= now {
            return true;
        }
        let at = Duration::from_millis(at.min(now + LONGEST_SLEEP));
        let deadline = tokio::time::Instant::from_std(self.shared.epoch + at);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(context).is_ready()
    }

    /// Takes what waits on a socket.
    fn receive(&mut self, index: usize, now: u64) {
        let Some(mut entry) = self.sockets.get_mut(index).and_then(Option::take) else { return };
        let waker = entry.waker.clone();
        let mut context = Context::from_waker(&waker);
        entry.socket.send_backlog(&mut context);
        let mut recv = std::mem::replace(&mut self.recv, RecvBuf::empty());
        let mut more = true;
        for _ in 0..RECEIVES {
            // An error is the answer to something sent earlier; what arrived lies behind it.
            let Ok(count) = entry.socket.recv(&mut context, &mut recv) else { continue };
            more = count > 0;
            if !more {
                break;
            }
            for (from, datagram) in recv.datagrams(count) {
                self.take_datagram(index, &mut entry, from, datagram, now);
            }
        }
        self.recv = recv;
        if entry.owner.needs_no_socket() {
            self.free_sockets.push(index);
            return;
        }
        self.sockets[index] = Some(entry);
        if more {
            self.behind = true;
            self.shared.push_ready(index);
        }
    }

    fn take_datagram(
        &mut self,
        index: usize,
        entry: &mut SocketEntry,
        from: SocketAddr,
        datagram: &mut [u8],
        now: u64,
    ) {
        if datagram.len() > MAX_DATAGRAM {
            return self.counted.strayed();
        }
        match &mut entry.owner {
            Owner::Client { session, peer } => {
                if !same_address(from, *peer) {
                    return self.counted.strayed();
                }
                let session = *session;
                self.with_session(session, |state| state.session.input(now as u32, datagram));
            }
            Owner::Listener { router, queue } => {
                let range = match entry.config.crypt.open(datagram) {
                    Ok(range) => range,
                    Err(error) => return self.counted.refused(&error),
                };
                let inner = datagram.get(range).unwrap_or_default();
                let session = match router.route(now as u32, from, Peek::of(inner)) {
                    Route::Session(session) => session,
                    Route::Drop => return self.counted.strayed(),
                    Route::Open { conv, replaces } => {
                        let full = router.len() >= entry.config.max_sessions;
                        if full || !queue.has_room() {
                            self.counted.in_pkts += 1;
                            self.counted.overflows += 1;
                            return;
                        }
                        let config = entry.config.clone();
                        let Some(session) = self.open(index, entry.local, from, conv, config, queue, now)
                        else {
                            return;
                        };
                        router.insert(from, conv, session);
                        if let Some(old) = replaces {
                            self.with_session(old, |state| state.end = Some(End::Replaced));
                        }
                        session
                    }
                };
                self.with_session(session, |state| state.session.input_opened(now as u32, inner));
            }
        }
    }

    /// Makes a session for a peer and queues it for accept.
    #[allow(clippy::too_many_arguments, reason = "the parts of one entry, used once")]
    fn open(
        &mut self,
        socket: usize,
        local: SocketAddr,
        peer: SocketAddr,
        conv: u32,
        config: Arc<KcpConfig>,
        queue: &AcceptQueue,
        now: u64,
    ) -> Option<usize> {
        let pool = self.shared.pool.clone();
        let session = Session::new(conv, &config.session, config.crypt.clone(), pool).ok()?;
        let handle = SessionHandle::new(session, local, peer, self.shared.clone());
        let key = self.add_session(handle.clone(), socket, config, now);
        self.counted.passive_opens += 1;
        queue.push(handle);
        Some(key)
    }

    fn with_session(&mut self, session: usize, act: impl FnOnce(&mut State)) {
        if let Some(Some(entry)) = self.sessions.get(session) {
            act(&mut entry.handle.lock());
            self.touch(session);
        }
    }

    /// Sends what a session has to send, wakes who waits for it, and finds out when to look again.
    fn serve(&mut self, key: usize, now: u64) {
        let Some(Some(entry)) = self.sessions.get_mut(key) else { return };
        self.out.clear();
        let over = entry.serve(self.shared.epoch, now, &mut self.out, &mut self.counted);
        if let Some(Some(socket)) = self.sockets.get_mut(entry.socket) {
            let mut context = Context::from_waker(&socket.waker);
            socket.socket.send(&mut context, entry.handle.peer, &self.out);
            self.counted.overflows += std::mem::take(&mut socket.socket.overflows);
        }
        if over {
            self.remove(key, now);
        } else {
            self.timers.set(key, entry.wake_at);
        }
    }

    /// Forgets a session, and its socket with it when nothing else needs it.
    fn remove(&mut self, key: usize, now: u64) {
        let Some(entry) = self.sessions.get_mut(key).and_then(Option::take) else { return };
        let conv = {
            let mut state = entry.handle.lock();
            state.key = None;
            state.session.kcp().conv()
        };
        self.timers.forget(key);
        self.free_sessions.push(key);
        self.closed += 1;
        let Some(socket) = self.sockets.get_mut(entry.socket) else { return };
        let unused = match socket.as_mut().map(|socket| &mut socket.owner) {
            Some(owner @ Owner::Listener { .. }) => {
                if let Owner::Listener { router, .. } = owner {
                    router.remove(now as u32, entry.handle.peer, conv, key);
                }
                owner.needs_no_socket()
            }
            _ => true,
        };
        if unused && socket.take().is_some() {
            self.free_sockets.push(entry.socket);
        }
    }

    /// Adds what this round counted to the process's counters.
    fn report(&mut self) {
        if self.counted == Counters::default() && self.opened == 0 && self.closed == 0 {
            return;
        }
        let counted = std::mem::take(&mut self.counted);
        let (opened, closed) = (std::mem::take(&mut self.opened), std::mem::take(&mut self.closed));
        snmp::update(|total| {
            total.add_since(&counted, &Counters::default());
            total.curr_estab = (total.curr_estab + opened).saturating_sub(closed);
            total.max_conn = total.max_conn.max(total.curr_estab);
        });
    }
}

/// Equal, an IPv4 address also in its IPv6 form.
fn same_address(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

impl Drop for Driver {
    fn drop(&mut self) {
        let mut inbox = self.shared.lock();
        inbox.gone = true;
        let commands = std::mem::take(&mut inbox.commands);
        drop(inbox);
        let waiting = commands.into_iter().filter_map(|command| match command {
            Command::Connect { handle, .. } => Some(handle),
            Command::Listen { queue, .. } => {
                queue.close();
                None
            }
        });
        for socket in self.sockets.drain(..).flatten() {
            if let Owner::Listener { queue, .. } = socket.owner {
                queue.close();
            }
        }
        let driven: Vec<_> = self.sessions.drain(..).flatten().map(|entry| entry.handle).collect();
        self.closed += driven.len() as u64;
        self.report();
        driven.into_iter().chain(waiting).for_each(|handle| handle.end(End::Aborted));
    }
}

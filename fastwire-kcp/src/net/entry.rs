//! What a driver knows of a session, and a visit to it.

use super::config::KcpConfig;
use super::handle::{End, SessionHandle, State};
use super::timers::NEVER;
use crate::session::{Counters, TransmitBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// A session in the driver's table.
pub(super) struct SessionEntry {
    pub(super) handle: Arc<SessionHandle>,
    pub(super) socket: usize,
    config: Arc<KcpConfig>,
    /// In `Driver::touched`.
    pub(super) touched: bool,
    /// When to look at it next.
    pub(super) wake_at: u64,
    /// When the peer was last heard, or the session was made; when a sign of life was last asked for.
    heard_at: u64,
    asked_at: u64,
    /// When the last handle went.
    released_at: Option<u64>,
    /// What was already added to the counters of the process.
    reported: Counters,
}

impl SessionEntry {
    pub(super) fn new(handle: Arc<SessionHandle>, socket: usize, config: Arc<KcpConfig>, now: u64) -> Self {
        Self {
            handle,
            socket,
            config,
            touched: false,
            wake_at: NEVER,
            heard_at: now,
            asked_at: now,
            released_at: None,
            reported: Counters::default(),
        }
    }

    /// Writes what the session has to send at `now` (ms since `epoch`) to `out`, wakes who waits for it and sets
    /// `wake_at`; true when nobody needs the session any more.
    pub(super) fn serve(
        &mut self,
        epoch: Instant,
        now: u64,
        out: &mut TransmitBuf,
        counted: &mut Counters,
    ) -> bool {
        self.touched = false;
        let handle = self.handle.clone();
        let mut state = handle.lock();
        state.dirty = false;
        let watch_wake = self.watch(&mut state, now);
        if state.end.is_none() {
            state.session.update(now as u32, out);
        }
        let counters = state.session.counters();
        counted.add_since(&counters, &self.reported);
        self.reported = counters;
        let delivered = state.session.kcp().waiting() == 0;
        let lingered = self.released_at.is_some_and(|at| now >= at.saturating_add(ms(self.config.linger)));
        let over = state.released && (delivered || lingered || state.end.is_some());
        let wakers = state.take_wakers();
        self.wake_at = NEVER;
        if state.end.is_none() {
            let session = state.session.check(now as u32).map_or(NEVER, |wait| now + u64::from(wait));
            let deadlines = [state.read_deadline, state.write_deadline].into_iter().flatten();
            let deadlines = deadlines.map(|at| ms(at.saturating_duration_since(epoch)));
            // One that has passed was seen by the caller that it woke.
            let deadline = deadlines.filter(|&at| at > now).min().unwrap_or(NEVER);
            self.wake_at = session.min(watch_wake).min(deadline);
        }
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
        over
    }

    /// Looks for silence and death; when to look again, in ms.
    fn watch(&mut self, state: &mut State, now: u64) -> u64 {
        if let Some(heard) = state.session.heard_at() {
            // The session's clock is the low half of the driver's.
            self.heard_at = now - u64::from((now as u32).wrapping_sub(heard));
        }
        if state.released && self.released_at.is_none() {
            self.released_at = Some(now);
        }
        let mut wake = NEVER;
        if let Some(timeout) = self.config.idle_timeout {
            let at = self.heard_at.saturating_add(ms(timeout));
            if now >= at {
                state.end.get_or_insert(End::Idle);
            }
            wake = wake.min(at);
        }
        if let Some(keepalive) = self.config.keepalive {
            let keepalive = ms(keepalive).max(1);
            if now >= self.heard_at.max(self.asked_at).saturating_add(keepalive) {
                self.asked_at = now;
                state.session.kcp_mut().ask_window();
            }
            wake = wake.min(self.heard_at.max(self.asked_at).saturating_add(keepalive));
        }
        if state.session.kcp().is_dead() {
            state.end.get_or_insert(End::DeadLink);
        }
        if let Some(released) = self.released_at {
            wake = wake.min(released.saturating_add(ms(self.config.linger)));
        }
        wake
    }
}

/// Whole ms, rounded up; what is more than a counter holds is [`NEVER`].
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(NEVER)
}

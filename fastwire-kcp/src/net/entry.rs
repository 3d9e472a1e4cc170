//! What a driver knows of a session, and a visit to it.

use super::config::KcpConfig;
use super::handle::{End, SessionHandle, State};
use crate::session::{Counters, TransmitBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// Never, in ms of the driver's clock.
pub(super) const NEVER: u64 = u64::MAX;

/// A session in the driver's table.
pub(super) struct SessionEntry {
    pub(super) handle: Arc<SessionHandle>,
    pub(super) socket: usize,
    config: Arc<KcpConfig>,
    /// In `Driver::touched`.
    pub(super) touched: bool,
    /// When to look at it next, and the entry of the timers that will lead there (it may be earlier).
    pub(super) wake_at: u64,
    pub(super) armed_at: u64,
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
            armed_at: NEVER,
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
        let lingered = self.released_at.is_some_and(|at| now >= at + self.config.linger.as_millis() as u64);
        let over = state.released && (delivered || lingered || state.end.is_some());
        let wakers = state.take_wakers();
        self.wake_at = NEVER;
        if state.end.is_none() {
            let session = state.session.check(now as u32).map_or(NEVER, |wait| now + u64::from(wait));
            let deadlines = [state.read_deadline, state.write_deadline].into_iter().flatten();
            let deadlines =
                deadlines.map(|at| at.saturating_duration_since(epoch).as_nanos().div_ceil(1_000_000) as u64);
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
            let at = self.heard_at + timeout.as_millis() as u64;
            if now >= at {
                state.end.get_or_insert(End::Idle);
            }
            wake = wake.min(at);
        }
        if let Some(keepalive) = self.config.keepalive {
            let keepalive = (keepalive.as_millis() as u64).max(1);
            if now >= self.heard_at.max(self.asked_at) + keepalive {
                self.asked_at = now;
                state.session.kcp_mut().ask_window();
            }
            wake = wake.min(self.heard_at.max(self.asked_at) + keepalive);
        }
        if state.session.kcp().is_dead() {
            state.end.get_or_insert(End::DeadLink);
        }
        if let Some(released) = self.released_at {
            wake = wake.min(released + self.config.linger.as_millis() as u64);
        }
        wake
    }
}

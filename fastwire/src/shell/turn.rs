//! What one turn of the pump is, for loops that drive it themselves.

use std::time::{Duration, Instant};

use super::handler::{Handler, dispatch};
use super::link::{Command, Pending};
use super::peer::{Ending, Host, Peer};
use super::pump::Pump;
use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::proto::Told;
use crate::transport::{Readiness, Transport};
use crate::{ConnectionId, Event};

/// What closing takes beyond the linger time: repeated farewells, one RTO apart.
const FAREWELLS: Duration = Duration::from_secs(2);
/// Batches that one turn receives at most, lest a flood should keep a game loop from its next frame.
const MAX_BATCHES: usize = 256;
/// Batches and trains between two looks at the other direction, in threads and tasks.
const WAKE_BATCHES: usize = 4;
const WAKE_TRAINS: usize = 1024;

/// What a thread or task does after a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more to do.
    Again,
    /// Sleep until something arrives, a handle calls, or for this long; `None`: as long as it takes.
    Sleep(Option<Duration>),
    /// It is over.
    Stop,
}

/// What the first half of a wake brought.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    /// Datagrams.
    received: usize,
    /// The last batch was full: more are likely.
    more: bool,
    /// The application was told something, and may have an answer.
    pub(super) told: bool,
}

/// When a thread or task looks at what handles queued, and when it ends.
#[derive(Debug)]
pub(super) struct Cadence {
    tick: Duration,
    /// Until then what is queued, and not urgent, may wait.
    tick_at: Instant,
    /// How long a shutdown waits for connections to close.
    patience: Duration,
    patience_ends: Option<Instant>,
    /// Ends with its last connection.
    leaving: bool,
}

impl Cadence {
    pub(super) fn new(tick_rate: u32, linger: Duration, now: Instant) -> Self {
        Self {
            tick: Duration::from_secs(1) / tick_rate.max(1),
            tick_at: now,
            patience: linger + FAREWELLS,
            patience_ends: None,
            leaving: false,
        }
    }

    fn note(&mut self, command: &Command, now: Instant) {
        match command {
            Command::ShutDown(linger) => {
                let patience = linger.map_or(self.patience, |linger| linger + FAREWELLS);
                self.patience_ends.get_or_insert(now + patience);
            }
            #[cfg(feature = "tokio")]
            Command::Leave => self.leaving = true,
            _ => {}
        }
    }

    fn is_over(&self, connections: usize, now: Instant) -> bool {
        let ending = self.leaving || self.patience_ends.is_some();
        ending && connections == 0 || self.patience_ends.is_some_and(|end| now >= end)
    }
}

impl<T: Transport, C: Cipher, Z: Compressor, G: CongestionController> Pump<T, C, Z, G> {
    /// A whole turn with callbacks. Events are told batch by batch, so that what one batch brought need not
    /// wait in the receive budget for the next.
    pub(super) fn tick<H: Handler + ?Sized>(&mut self, now: Instant, handler: &mut H) {
        self.tick_showing(now, handler, |_| {});
    }

    /// The same for whoever looks at events before the handler does.
    pub(super) fn tick_showing<H: Handler + ?Sized>(
        &mut self,
        now: Instant,
        handler: &mut H,
        mut show: impl FnMut(&Event),
    ) {
        self.set_greedy(true);
        for _ in 0..MAX_BATCHES {
            let received = self.receive(now);
            self.tell_all(handler, &mut show);
            if received == 0 || self.is_drained() {
                break;
            }
        }
        self.handle_timeout(now);
        self.tell_all(handler, &mut show);
        self.flush_all(now);
    }

    /// First half of a turn with events.
    pub(super) fn receive_all(&mut self, now: Instant) {
        self.set_greedy(true);
        for _ in 0..MAX_BATCHES {
            if self.receive(now) == 0 || self.is_drained() {
                break;
            }
        }
        self.handle_timeout(now);
    }

    /// Second half of a turn.
    pub(super) fn flush_all(&mut self, now: Instant) {
        self.now = now;
        self.take_orders();
        self.flush(now, usize::MAX);
        self.renew(now);
    }

    /// What a thread does each time it wakes up. Whatever has arrived is told and answered within.
    pub(super) fn wake<H: Handler + ?Sized>(
        &mut self,
        now: Instant,
        cadence: &mut Cadence,
        handler: &mut H,
    ) -> Next {
        let taken = self.take_in(now, |pump| pump.tell_all(handler, &mut |_| {}));
        self.give_out(now, cadence, taken)
    }

    /// First half of a wake: takes what has arrived and has it told by `tell`, which says whether there was anything.
    pub(super) fn take_in(&mut self, now: Instant, mut tell: impl FnMut(&mut Self) -> bool) -> Taken {
        let mut taken = Taken::default();
        for _ in 0..WAKE_BATCHES {
            taken.received += self.receive(now);
            taken.told |= tell(self);
            if !self.is_full() {
                break;
            }
        }
        taken.more = self.is_full();
        self.handle_timeout(now);
        taken.told |= tell(self);
        taken
    }

    /// Second half of a wake: sends what is due, with what handles queued.
    pub(super) fn give_out(&mut self, now: Instant, cadence: &mut Cadence, taken: Taken) -> Next {
        let Taken { received, more, .. } = taken;
        let pending = self.pending_orders();
        // What is queued may wait for the tick, but not if the pump turns anyway.
        if pending == Pending::Urgent
            || pending == Pending::Queued && (received > 0 || now >= cadence.tick_at)
        {
            cadence.tick_at = now + cadence.tick;
            self.take_orders();
            while let Some(command) = self.hub.next_command() {
                cadence.note(&command, now);
                self.apply(command);
            }
        }
        let sent_all = self.flush(now, WAKE_TRAINS);
        self.renew(now);
        if cadence.is_over(self.endpoint.connection_count(), now) {
            return Next::Stop;
        }
        if more || !sent_all || self.could_take() {
            return Next::Again;
        }
        let tick = (self.hub.pending() == Pending::Queued).then_some(cadence.tick_at);
        let until = tick.into_iter().chain(cadence.patience_ends).min();
        let until = until.map(|until| until.saturating_duration_since(now));
        Next::Sleep(self.sleep(now).into_iter().chain(until).min())
    }

    /// Tells a handler all there is to tell; `show` sees each event but messages before. Gives whether there was any.
    fn tell_all<H: Handler + ?Sized>(&mut self, handler: &mut H, show: &mut impl FnMut(&Event)) -> bool {
        let (mut small, mut any) = (std::mem::take(&mut self.small), false);
        while let Some(told) = self.poll_told(&mut small) {
            any = true;
            match told {
                Told::Copied { connection, channel } => {
                    handler.on_message(&mut Peer::new(connection, self), &small, channel);
                }
                Told::Event(event) => {
                    show(&event);
                    dispatch(handler, self, &event);
                }
            }
        }
        self.small = small;
        any
    }

    /// Turns newcomers away and closes every connection gracefully.
    pub(super) fn shut_down(&mut self, linger: Option<Duration>) {
        self.endpoint.set_max_connections(0);
        let ids: Vec<ConnectionId> = self.endpoint.connections().collect();
        for id in ids {
            let _ = self.end(id, linger.map_or(Ending::Linger, Ending::Within));
        }
    }

    /// Carries out one thing that a handle has asked of the endpoint.
    fn apply(&mut self, command: Command) {
        match command {
            Command::Ban(ip) => drop(self.endpoint.ban(ip)),
            Command::Unban(ip) => drop(self.endpoint.unban(ip)),
            // One that gave up meanwhile is nobody to answer.
            Command::Authorize(id, Ok(())) => drop(self.endpoint.accept(self.now, id)),
            Command::Authorize(id, Err(reason)) => {
                let _ = self.endpoint.refuse_with(self.now, id, reason);
            }
            #[cfg(feature = "tokio")]
            Command::Leave => self.endpoint.set_max_connections(0),
            Command::Rebind => {
                let id = self.endpoint.connections().next();
                if let Some(Err(error)) = id.map(|id| self.endpoint.rebind(self.now, id)) {
                    tracing::warn!(%error, "rebind refused");
                }
            }
            Command::ShutDown(linger) => self.shut_down(linger),
            // The handle has checked it.
            Command::Info(info) => drop(self.endpoint.set_info(info)),
        }
    }
}

impl<T: Readiness, C: Cipher, Z: Compressor, G: CongestionController> Pump<T, C, Z, G> {
    /// Turns with the system's clock until `done`, or for `patience`. Gives whether it was done.
    pub(super) fn turn_until<H: Handler + ?Sized>(
        &mut self,
        patience: Duration,
        handler: &mut H,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let until = Instant::now() + patience;
        loop {
            let now = Instant::now();
            self.tick(now, handler);
            let left = until.saturating_duration_since(now);
            if done(self) || left.is_zero() {
                return done(self);
            }
            let sleep = self.sleep(now).unwrap_or(left).min(left);
            if self.transport.wait(Some(sleep)).is_err() {
                return done(self);
            }
        }
    }

    /// Shuts down and waits until every connection is closed, or for `patience`.
    pub(super) fn stop<H: Handler + ?Sized>(&mut self, patience: Duration, handler: &mut H) {
        self.shut_down(None);
        self.turn_until(patience, handler, |pump| pump.endpoint.connection_count() == 0);
    }
}

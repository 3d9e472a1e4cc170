//! What time brings: repeats, heartbeats, silence, and the end of a connection.

use std::time::{Duration, Instant};

use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;
use fastwire_reliability::GiveUp;

use super::{Change, Closing, Connection, Env};
use crate::config::CommonConfig;
use crate::{ConnectionError, ConnectionState, DisconnectReason};

/// DISCONNECT goes out this often, one RTO apart (PROTOCOL A6).
const FAREWELLS: u8 = 3;
/// CONNECTED is repeated at growing intervals from the first to the last of these: any may be lost, and none is
/// acknowledged. As long as the peer has heard none it takes us for foreign, and plans to forget after 5 s what it could
/// not deliver (PROTOCOL A6 rule 4): by then more than twenty have left.
const CONNECTED_INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// From this share of lost packets on heartbeats go out this many times as often.
const LOSSY: f64 = 0.1;
const LOSSY_HEARTBEATS: u32 = 4;

impl<C: Cipher, G: CongestionController> Connection<C, G> {
    /// Does what is due. What then has to leave, leaves with the next transmit.
    pub(crate) fn handle_timeout(&mut self, now: Instant, env: &mut Env<'_>) {
        if matches!(self.state, ConnectionState::Connecting | ConnectionState::Disconnected) {
            return;
        }
        env.outcome.clear();
        match self.channels.handle_timeout(now, env.outcome) {
            Ok(()) => self.pressure.on_outcome(&self.channels, env.outcome, now),
            Err(GiveUp::MaxRetransmits { repeats, .. }) => {
                self.fail(ConnectionError::MaxRetransmits(repeats), now, env);
            }
            Err(other) => self.fail(ConnectionError::Undeliverable(other.to_string()), now, env),
        }
        if self.channels.sequence_exhausted() && self.closing.is_none() {
            self.fail(ConnectionError::Exhausted("sequence numbers"), now, env);
        }
        if now.saturating_duration_since(self.last_heard) >= env.config.connection_timeout {
            let reason = self.closing.as_ref().map_or(DisconnectReason::Timeout, |closing| closing.reason);
            self.end(reason, env);
            return;
        }
        if now.saturating_duration_since(self.last_sent) >= self.heartbeat_interval(env.config) {
            self.owed.heartbeat = true;
            self.channels.trim();
        }
        if self.next_connected.is_some_and(|at| now >= at) {
            self.owed.connected = true;
        }
        self.retiring.retain(|(socket, until)| {
            if now >= *until {
                env.changes.push(Change::SocketDone(*socket));
            }
            now < *until
        });
        self.go_on_closing(now, env);
    }

    /// How long to be silent: less on a line that loses much, where ten lost heartbeats in a row would be no rarity.
    fn heartbeat_interval(&self, config: &CommonConfig) -> Duration {
        let often = self.channels.loss() > LOSSY;
        if often { config.heartbeat_interval / LOSSY_HEARTBEATS } else { config.heartbeat_interval }
    }

    fn go_on_closing(&mut self, now: Instant, env: &mut Env<'_>) {
        let idle = self.channels.is_idle();
        let Some(closing) = &mut self.closing else { return };
        if closing.farewells == 0 && (idle || now >= closing.linger_until) {
            self.owed.disconnect = true;
        } else if closing.farewells > 0 && now >= closing.next_farewell {
            if closing.farewells >= FAREWELLS {
                let reason = closing.reason;
                self.end(reason, env);
            } else {
                self.owed.disconnect = true;
            }
        }
    }

    /// Begins to close: queued reliable messages may leave for `linger`, then the peer is told.
    pub(crate) fn close(
        &mut self,
        reason: DisconnectReason,
        linger: Duration,
        now: Instant,
        env: &mut Env<'_>,
    ) {
        match self.state {
            ConnectionState::Connecting => {
                self.state = ConnectionState::Disconnected;
                env.changes.push(Change::Ended(reason));
            }
            ConnectionState::Connected => {
                self.state = ConnectionState::Disconnecting;
                let linger_until = now + linger;
                self.closing = Some(Closing { reason, linger_until, farewells: 0, next_farewell: now });
                self.go_on_closing(now, env);
            }
            // Closing already: at most sooner.
            ConnectionState::Disconnecting => {
                if let Some(closing) = &mut self.closing {
                    closing.linger_until = closing.linger_until.min(now + linger);
                }
                self.go_on_closing(now, env);
            }
            ConnectionState::Disconnected => {}
        }
    }

    /// Ends with an error: the application hears of it now, the peer gets its farewells.
    pub(super) fn fail(&mut self, error: ConnectionError, now: Instant, env: &mut Env<'_>) {
        if self.closing.as_ref().is_some_and(|closing| closing.reason == DisconnectReason::Error)
            || self.state == ConnectionState::Disconnected
        {
            return;
        }
        env.changes.push(Change::Failed(error));
        self.state = ConnectionState::Disconnecting;
        let closing =
            Closing { reason: DisconnectReason::Error, linger_until: now, farewells: 0, next_farewell: now };
        self.closing = Some(closing);
        self.owed.disconnect = true;
    }

    /// A message could not be expanded: on a reliable channel that ends the connection (PROTOCOL A6 rule 4).
    pub(crate) fn fail_decompression(&mut self, why: String, now: Instant, env: &mut Env<'_>) {
        self.fail(ConnectionError::Decompression(why), now, env);
    }

    /// Over, without another word.
    pub(crate) fn end(&mut self, reason: DisconnectReason, env: &mut Env<'_>) {
        if self.state != ConnectionState::Disconnected {
            self.state = ConnectionState::Disconnected;
            env.changes.push(Change::Ended(reason));
        }
    }

    /// Nothing but DISCONNECT leaves any more.
    pub(super) fn is_saying_farewell(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| {
            closing.farewells > 0 || self.owed.disconnect || closing.reason == DisconnectReason::Error
        })
    }

    pub(super) fn on_farewell_sent(&mut self, now: Instant) {
        self.owed.disconnect = false;
        let rto = self.channels.rto();
        if let Some(closing) = &mut self.closing {
            closing.farewells += 1;
            // The last one is followed by nothing: the connection may go at once.
            closing.next_farewell = if closing.farewells < FAREWELLS { now + rto } else { now };
        }
    }

    pub(super) fn on_connected_sent(&mut self, now: Instant) {
        self.owed.connected = false;
        let (first, last) = CONNECTED_INTERVALS;
        let next = (self.connected_interval + self.connected_interval / 8).clamp(first, last);
        self.connected_interval = next;
        self.next_connected = Some(now + next);
    }

    /// When to look at this connection again.
    pub(crate) fn next_deadline(&self, config: &CommonConfig) -> Option<Instant> {
        match self.state {
            ConnectionState::Disconnected => return None,
            ConnectionState::Connecting => return self.handshake.as_ref()?.next_deadline(),
            ConnectionState::Connected | ConnectionState::Disconnecting => {}
        }
        let closing = self.closing.as_ref().map(|closing| match closing.farewells {
            0 => closing.linger_until,
            _ => closing.next_farewell,
        });
        let revival = match &self.revival {
            Some(revival) => Some(revival.next_deadline()),
            None => config.reconnect.then_some(self.last_heard + super::revival::SILENCE),
        };
        [
            Some(self.last_heard + config.connection_timeout),
            Some(self.last_sent + self.heartbeat_interval(config)),
            self.channels.next_timeout(),
            self.channels.ack_due(),
            self.next_connected,
            self.retiring.iter().map(|(_, until)| *until).min(),
            closing,
            revival,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

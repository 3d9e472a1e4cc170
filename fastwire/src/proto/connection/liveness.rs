//! What time brings to a connection of either profile: silence, heartbeats, the end.

use std::time::{Duration, Instant};

use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;

use super::revival::SILENCE;
use super::{Connection, Env, Profile};
use crate::config::CommonConfig;
use crate::{ConnectionState, DisconnectReason};

/// From this share of lost packets on heartbeats go out this many times as often.
const LOSSY: f64 = 0.1;
const LOSSY_HEARTBEATS: u32 = 4;

impl<C: Cipher, G: CongestionController> Connection<C, G> {
    /// Does what is due. What then has to leave, leaves with the next transmit.
    pub(crate) fn handle_timeout(&mut self, now: Instant, env: &mut Env<'_>) {
        let Self { common, profile } = self;
        if common.state == ConnectionState::Disconnected
            || (common.state == ConnectionState::Connecting && matches!(profile, Profile::Base(_)))
        {
            return;
        }
        match profile {
            Profile::Base(base) => base.handle_timeout(common, now, env),
            Profile::Extended(extended) => extended.handle_timeout(common, now, env),
        }
        let timeout = self.silence_allowed(env.config);
        let common = &mut self.common;
        if now.saturating_duration_since(common.last_heard) >= timeout {
            let reason = common.closing.as_ref().map_or(DisconnectReason::Timeout, |closing| closing.reason);
            common.end(reason, env);
            return;
        }
        if now.saturating_duration_since(self.common.last_sent) >= self.heartbeat_interval(env.config) {
            self.common.owed.heartbeat = true;
            either!(&mut self.profile, it => it.channels.trim());
        }
        self.common.retire_sockets(now, env);
        let idle = either!(&self.profile, it => it.channels.is_idle());
        self.common.go_on_closing(idle, now, env);
    }

    /// Silence after which the connection is over.
    fn silence_allowed(&self, config: &CommonConfig) -> Duration {
        match &self.profile {
            Profile::Base(_) => config.connection_timeout,
            Profile::Extended(extended) => extended.idle_timeout(&self.common, config),
        }
    }

    /// How long to be silent: less on a line that loses much, where ten lost heartbeats in a row would be no rarity.
    fn heartbeat_interval(&self, config: &CommonConfig) -> Duration {
        let interval = self.usual_heartbeat_interval(config);
        let loss = either!(&self.profile, it => it.channels.loss());
        if loss > LOSSY { interval / LOSSY_HEARTBEATS } else { interval }
    }

    fn usual_heartbeat_interval(&self, config: &CommonConfig) -> Duration {
        match &self.profile {
            Profile::Base(_) => config.heartbeat_interval,
            // PROTOCOL B2
            Profile::Extended(_) => config.heartbeat_interval.min(self.silence_allowed(config) / 3),
        }
    }

    /// Client: silence after which the server is asked whether it was restarted. Two heartbeats must be missing, else a quiet
    /// connection would ask all the time; and where heartbeats are so seldom that two take longer than the connection
    /// lives, time must be left for the answer.
    pub(crate) fn silence_unasked(&self, config: &CommonConfig) -> Duration {
        let interval = self.usual_heartbeat_interval(config);
        let latest = (interval + self.silence_allowed(config)) / 2;
        (interval * 2).min(latest).max(SILENCE)
    }

    /// When to look at this connection again.
    pub(crate) fn next_deadline(&self, config: &CommonConfig) -> Option<Instant> {
        let common = &self.common;
        let handshake = common.handshake.as_ref().and_then(|handshake| handshake.next_deadline());
        match (common.state, &self.profile) {
            (ConnectionState::Disconnected, _) => return None,
            (ConnectionState::Connecting, Profile::Base(_)) => return handshake,
            _ => {}
        }
        let revival = match &common.revival {
            Some(revival) => Some(revival.next_deadline()),
            None => config.reconnect.then(|| common.last_heard + self.silence_unasked(config)),
        };
        let profile = match &self.profile {
            Profile::Base(base) => base.next_deadline(),
            Profile::Extended(extended) => extended.next_deadline(common),
        };
        [
            Some(common.last_heard + self.silence_allowed(config)),
            Some(common.last_sent + self.heartbeat_interval(config)),
            profile,
            common.retiring.iter().map(|(_, until)| *until).min(),
            common.closing_deadline(),
            common.rebind_at,
            common.pressure.release_at(),
            common.send_cap.opens_at().filter(|_| !common.is_saying_farewell()),
            common.intake.opens_at(),
            revival,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

//! The extended profile's part of a connection (PROTOCOL part B): short packets of frames, one packet number line, ids.

mod clock_sync;
mod control;
mod fec;
mod ids;
mod lone;
mod mtu;
mod packet;
mod receive;
mod send;
mod validation;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fastwire_compress::Method;
use fastwire_congestion::CongestionController;
use fastwire_crypto::extended::{Exporter, ShortOpener, ShortSealer, VeilKeys};
use fastwire_crypto::{Cipher, CipherSuite, CipherSuites, KeyError, prefetch};
use fastwire_reliability::extended::{ControlFrame, ExtendedChannels, Fate, Incoming, Parts, PeerLimits};
use fastwire_reliability::{GiveUp, Outcome, RecoveryProfile};
use fastwire_wire::extended::Params;
use smallvec::SmallVec;

use self::clock_sync::ClockSync;
use self::ids::{Given, Issued};
use self::mtu::PathMtu;
use self::validation::{Echoes, Move};
use super::common::{Change, Common, Env, Farewell, Fault};
use super::path::Path;
use super::pressure::Pressure;
use crate::config::CommonConfig;
use crate::connect_token::TokenClaims;
use crate::proto::Side;
use crate::proto::entropy::Entropy;
use crate::proto::handshake::extended::Agreed;
use crate::proto::handshake::extended::client::Won;
use crate::transport::{RecvMeta, SocketId};
use crate::{ConnectionError, ConnectionState, DisconnectReason, Profile, StreamError};

pub use self::clock_sync::ServerTime;
pub(crate) use self::ids::{Cid, is_ambiguous};

/// CONNECTED answers a repeated RESPONSE at most this often (PROTOCOL B2).
const CONNECTED_INTERVAL: Duration = Duration::from_millis(100);
/// A half-open connection says it again by itself, at intervals that grow up to this.
const CONNECTED_INTERVAL_MAX: Duration = Duration::from_millis(200);

/// One packet number in every 256 to 1024 is left out: who acknowledges it has not seen what it acknowledges.
const SKIP: (u64, u64) = (256, 1024);

/// Questions about the time that a server answers at once; of more, the newest.
const MAX_ASKED: usize = 4;

/// Ids by which the server finds the connection: what it gave, or what it was given.
#[derive(Debug)]
enum Ids {
    Issued(Issued),
    Given(Given),
}

/// A server's CONNECTED, until the client has acknowledged it.
#[derive(Debug)]
struct Greeting {
    server_random: [u8; 16],
    last_sent: Option<Instant>,
    /// How long after that it leaves again while no packet of the client has opened.
    interval: Duration,
}

/// What forward error correction did so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FecCounts {
    pub(super) sent: u64,
    pub(super) recovered: u64,
    pub(super) useless: u64,
    pub(super) dropped: u64,
}

/// What a connection of the extended profile has.
pub(crate) struct Extended<C> {
    sealer: ShortSealer<C>,
    opener: ShortOpener<C>,
    pub(super) channels: ExtendedChannels,
    exporter: Exporter,
    suite: CipherSuite,
    compression: Method,
    server_key: [u8; 32],
    cookie: [u8; 32],
    client_nonce: [u8; 8],
    auth: Bytes,
    claims: Option<Box<TokenClaims>>,
    /// What the peer accepts.
    peer: Params,
    ids: Ids,
    greeting: Option<Box<Greeting>>,
    /// Server: the application has yet to let the client in.
    awaits_verdict: bool,
    moving: Option<Box<Move>>,
    echoes: Echoes,
    mtu: PathMtu,
    /// The next packet number to leave out.
    next_skip: u64,
    /// Packets that elicited an acknowledgement since the last one was written.
    unacknowledged: u32,
    /// The peer said farewell: acknowledge it once, then go.
    leaving: Option<DisconnectReason>,
    /// What it said.
    pub(super) told: Farewell,
    /// Both want the client to know what time it is at the server; messages may be stamped with it.
    tells_time: bool,
    /// Client: what time it is there.
    clock: Option<Box<ClockSync>>,
    /// Server: questions about the time that wait for an answer.
    asked: SmallVec<[u32; MAX_ASKED]>,
    /// Parity that we send, if we do, and what we make of the peer's.
    fec_out: Option<Box<fec::Outgoing>>,
    fec_in: fec::Incoming,
    /// Client: hides the id before its packets.
    veil: Option<Arc<VeilKeys>>,
}

impl<C: Cipher> Extended<C> {
    /// What a finished handshake leaves. `opener`: a client's, which has opened CONNECTED; a server's is made here, and nothing
    /// has opened under it yet.
    fn new(
        agreed: Agreed,
        (opener, ids): (Option<ShortOpener<C>>, Ids),
        profile: RecoveryProfile,
        (suites, config, entropy): (&Arc<dyn CipherSuites<Cipher = C>>, &CommonConfig, &mut Entropy),
        now: Instant,
    ) -> Result<Self, KeyError> {
        if let Some(log) = &config.key_log {
            log.extended(&agreed.cookie, &agreed.keys);
            if config.extended.veil.is_some() {
                log.veil(&agreed.cookie, &agreed.server_key);
            }
        }
        let first = config.counters.packet;
        let (c2s, s2c, exporter) = agreed.keys.split();
        let (sealer, opener) = match opener {
            Some(opener) => (c2s, opener),
            None => (s2c, ShortOpener::starting_at(first, c2s, Arc::clone(suites))?),
        };
        let greeting = matches!(ids, Ids::Issued(_)).then(|| {
            let server_random = agreed.server_random;
            Box::new(Greeting { server_random, last_sent: None, interval: CONNECTED_INTERVAL })
        });
        let tells_time = config.extended.params.flags & agreed.peer.flags & Params::CLOCK != 0;
        let clock = (tells_time && matches!(ids, Ids::Given(_))).then(|| Box::new(ClockSync::new(now)));
        let mut channels_config = super::channels_config(config);
        let params = &config.extended.params;
        channels_config.receive_budget = Some(usize::from(params.receive_budget_kib) << 10);
        channels_config.max_message = usize::from(params.max_message_kib) << 10;
        channels_config.max_ack_delay = Duration::from_millis(params.max_ack_delay_ms.into());
        let mut channels = ExtendedChannels::new(config.channel_layout.clone(), &channels_config, profile);
        channels.count_from(first.into(), config.counters.message);
        channels.set_peer(limits_of(&agreed.peer));
        if tells_time {
            channels.allow_stamps();
        }
        let fec_out = fec::Outgoing::new(config.fec, &agreed.peer);
        Ok(Self {
            sealer: ShortSealer::starting_at(first.into(), sealer, Arc::clone(suites))?,
            opener,
            channels,
            exporter,
            suite: agreed.suite,
            compression: agreed.compression,
            server_key: agreed.server_key,
            cookie: agreed.cookie,
            client_nonce: agreed.client_nonce,
            auth: agreed.auth,
            claims: agreed.claims.map(Box::new),
            peer: agreed.peer,
            ids,
            greeting,
            awaits_verdict: false,
            moving: None,
            echoes: Echoes::default(),
            mtu: PathMtu::new(config.mtu.min(agreed.peer.max_datagram.into()), now),
            next_skip: skip_after(first.into(), entropy),
            unacknowledged: 0,
            leaving: None,
            told: Farewell::default(),
            tells_time,
            clock,
            asked: SmallVec::new(),
            fec_out,
            fec_in: fec::Incoming::new(params, config.limits.fec_bytes),
            veil: config.extended.veil.clone(),
        })
    }

    /// Hints that what lies elsewhere will be used soon.
    pub(super) fn prefetch_parts(&self) {
        struct Prefetch;

        impl Parts for Prefetch {
            fn see<T>(&mut self, part: &T) {
                prefetch(part);
            }
        }

        self.opener.prefetch();
        self.sealer.prefetch();
        self.channels.show_parts(&mut Prefetch);
    }

    /// What time it is at the server, our own clock being at `uptime`.
    pub(crate) fn server_time(&self, uptime: Duration) -> Option<ServerTime> {
        self.clock.as_ref()?.server_time(uptime)
    }

    /// Whether messages may be stamped with the server's time.
    pub(crate) fn tells_time(&self) -> bool {
        self.tells_time
    }

    pub(crate) fn suite(&self) -> CipherSuite {
        self.suite
    }

    pub(crate) fn compression(&self) -> Method {
        self.compression
    }

    /// The largest datagram sent.
    pub(super) fn path_mtu(&self) -> usize {
        self.mtu.current()
    }

    /// Bytes held for what came.
    pub(super) fn memory_held(&self) -> usize {
        self.channels.memory_held() + self.fec_in.held()
    }

    pub(super) fn fec_counts(&self) -> FecCounts {
        FecCounts {
            sent: self.fec_out.as_ref().map_or(0, |fec| fec.sent()),
            recovered: self.fec_in.recovered(),
            useless: self.fec_in.useless(),
            dropped: self.fec_in.dropped(),
        }
    }

    /// The server's identity key, as pinned or as learned.
    pub(crate) fn server_key(&self) -> [u8; 32] {
        self.server_key
    }

    /// The cookie its handshake used.
    pub(crate) fn cookie(&self) -> [u8; 32] {
        self.cookie
    }

    /// What the client's application sent along with its handshake.
    pub(crate) fn auth(&self) -> &Bytes {
        &self.auth
    }

    /// What the connect token said.
    pub(crate) fn claims(&self) -> Option<&TokenClaims> {
        self.claims.as_deref()
    }

    pub(crate) fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), KeyError> {
        self.exporter.export(label, out)
    }

    /// What its client's CONNECT was marked with: a refusal shows it, to be believed.
    pub(crate) fn client_nonce(&self) -> [u8; 8] {
        self.client_nonce
    }

    /// Ends our half of a channel's stream.
    pub(crate) fn finish(&mut self, channel: u8) -> Result<(), StreamError> {
        self.channels.finish(channel).map_err(|error| StreamError::from_push(error, channel))
    }

    /// Breaks our half of a channel's stream off.
    pub(crate) fn reset(&mut self, channel: u8, code: u16) -> Result<(), StreamError> {
        self.channels.reset(channel, code).map_err(|error| StreamError::from_push(error, channel))
    }

    /// Stops or resumes delivering what comes on a reliable channel. Gives whether there is such a channel.
    pub(crate) fn pause(&mut self, channel: u8, paused: bool) -> bool {
        self.channels.pause(channel, paused)
    }

    /// What comes waits from now on (`true`), or does not any more.
    pub(crate) fn hold_back(&mut self, held_back: bool) {
        self.channels.hold_back(held_back);
    }

    /// What came waits for a while.
    pub(crate) fn set_apart(&mut self) {
        self.channels.set_apart();
    }

    /// Everything that came is delivered from now on: the connection ends.
    pub(crate) fn unpause_all(&mut self) {
        self.channels.unpause_all();
    }

    /// Bytes queued on a channel and not sent yet.
    pub(crate) fn unsent_on(&self, channel: u8) -> usize {
        self.channels.unsent_on(channel)
    }

    /// The ids a server finds it under.
    pub(crate) fn ids(&self) -> Vec<Cid> {
        match &self.ids {
            Ids::Issued(issued) => issued.all().collect(),
            Ids::Given(_) => Vec::new(),
        }
    }

    /// Has the application decide before the client hears CONNECTED.
    pub(crate) fn await_verdict(&mut self) {
        self.awaits_verdict = true;
    }

    pub(crate) fn awaits_verdict(&self) -> bool {
        self.awaits_verdict
    }

    /// The application lets the client in.
    pub(crate) fn let_in<G>(&mut self, common: &mut Common<C, G>) {
        self.awaits_verdict = false;
        common.owed.connected = true;
    }

    /// A RESPONSE came again: our CONNECTED may have been lost.
    pub(crate) fn on_response_again<G>(&mut self, common: &mut Common<C, G>, now: Instant) {
        let recent = |greeting: &Greeting| {
            greeting.last_sent.is_some_and(|at| now.saturating_duration_since(at) < CONNECTED_INTERVAL)
        };
        if !self.awaits_verdict && self.greeting.as_deref().is_some_and(|greeting| !recent(greeting)) {
            common.owed.connected = true;
        }
    }

    /// When a half-open connection says CONNECTED again: neither side may wait for a probe timeout while the client believes
    /// that it is connected.
    fn greeting_due<G>(&self, common: &Common<C, G>) -> Option<Instant> {
        let greeting = self.greeting.as_ref().filter(|_| common.state == ConnectionState::Connecting)?;
        greeting.last_sent.filter(|_| !self.awaits_verdict).map(|at| at + greeting.interval)
    }

    /// Silence after which the connection is over: the smaller of both sides' (PROTOCOL B2).
    pub(super) fn idle_timeout<G>(&self, common: &Common<C, G>, config: &CommonConfig) -> Duration {
        if common.state == ConnectionState::Connecting {
            return config.handshake_timeout;
        }
        config.connection_timeout.min(Duration::from_secs(self.peer.idle_timeout_s.into()))
    }

    /// The next message, or the end of a stream, for the application.
    pub(super) fn poll_delivery(&mut self) -> Option<Incoming> {
        self.channels.poll_delivery()
    }

    /// On another path nobody shall link the two: the next id. The server is to notice soon.
    pub(super) fn on_rebound(&mut self) {
        if let Ids::Given(given) = &mut self.ids {
            given.advance();
        }
        if let Some(clock) = &mut self.clock {
            clock.on_moved();
        }
        self.channels.requeue_in_flight();
    }

    /// Goes back to small datagrams where large ones vanish.
    fn look_for_black_hole<G>(&mut self, common: &Common<C, G>, outcome: &Outcome, now: Instant) {
        if self.mtu.on_outcome(outcome, now) {
            tracing::debug!(remote = %common.path.remote, "large datagrams vanish: back to 1200 bytes");
        }
    }

    /// What became due besides what is due in any profile.
    pub(super) fn handle_timeout<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        env: &mut Env<'_>,
    ) {
        env.outcome.clear();
        match self.channels.handle_timeout(now, env.outcome) {
            Ok(()) => {
                if let Some(fec) = &mut self.fec_out {
                    fec.on_lost(env.outcome.lost_packets);
                }
                common.on_outcome(&self.channels, env.outcome, now);
                self.look_for_black_hole(common, env.outcome, now);
            }
            Err(GiveUp::MaxRetransmits { repeats, .. }) => {
                common.fail(ConnectionError::MaxRetransmits(repeats), now, env);
            }
            Err(other) => common.fail(ConnectionError::Undeliverable(other.to_string()), now, env),
        }
        self.take_controls(common, now, env);
        if self.greeting_due(common).is_some_and(|due| now >= due) {
            common.owed.connected = true;
            if let Some(greeting) = &mut self.greeting {
                greeting.interval = (greeting.interval * 3 / 2).min(CONNECTED_INTERVAL_MAX);
                greeting.last_sent = Some(now);
            }
        }
        self.mtu.handle_timeout(now);
        self.with_fec(now, |fec| fec.handle_timeout(now));
        if let Some(over) = self.moving.take_if(|moving| moving.is_over(now))
            && over.active
            && !over.proved
        {
            // nobody there: back to where the client was last known to be
            common.path.settle_on(over.from.socket, over.from.remote, over.from.source);
        }
        if let Ids::Issued(issued) = &mut self.ids {
            issued.expire(now, |cid| env.changes.push(Change::IdDone(cid)));
        }
    }

    /// Acts upon what became of control frames: a lost one is owed again.
    fn take_controls<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        env: &mut Env<'_>,
    ) {
        while let Some((frame, fate)) = self.channels.poll_control() {
            match (frame, fate) {
                (ControlFrame::Connected, Fate::Acked) => self.greeting = None,
                (ControlFrame::Connected, Fate::Lost) => self.on_response_again(common, now),
                (ControlFrame::NewCid(sequence), Fate::Lost) => {
                    if let Ids::Issued(issued) = &mut self.ids {
                        issued.set_owed(sequence, true);
                    }
                }
                (ControlFrame::Disconnect, Fate::Acked) => {
                    if let Some(closing) = &common.closing {
                        common.end(closing.reason, env);
                    }
                }
                (ControlFrame::MtuProbe(size), Fate::Acked) => self.mtu.on_acked(size.into(), now),
                // a lost probe waits for its own time-out; a farewell is repeated by the clock
                _ => {}
            }
        }
    }

    pub(super) fn next_deadline<G>(&self, common: &Common<C, G>) -> Option<Instant> {
        let ids = match &self.ids {
            Ids::Issued(issued) => issued.next_deadline(),
            Ids::Given(_) => None,
        };
        let moving = self.moving.as_ref().map(|moving| {
            let challenge = moving.challenge_at(common.path.allowance());
            challenge.map_or(moving.until(), |at| at.min(moving.until()))
        });
        [
            self.channels.next_timeout(),
            self.channels.ack_due(),
            ids,
            moving,
            self.mtu.next_deadline(common.path.allowance()),
            self.greeting_due(common),
            self.fec_out.as_ref().and_then(|fec| fec.deadline()),
            self.clock.as_ref().filter(|_| common.closing.is_none()).map(|clock| clock.next_deadline()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn grace(&self) -> Duration {
        grace(&self.channels)
    }

    /// Tells the endpoint of new ids and has the client told.
    fn issue_ids(&mut self, env: &mut Env<'_>) {
        let Ids::Issued(issued) = &mut self.ids else { return };
        while issued.wants_more() {
            let Some(cid) = new_cid(env) else { return };
            issued.issue(cid);
            env.changes.push(Change::NewId(cid));
        }
    }
}

impl<C: Cipher, G: CongestionController> super::Connection<C, G> {
    /// Server: what a RESPONSE that was in order makes. No packet of the client has opened yet.
    pub(crate) fn half_open(
        path: (SocketId, SocketAddr),
        agreed: Agreed,
        controller: G,
        suites: &Arc<dyn CipherSuites<Cipher = C>>,
        now: Instant,
        env: &mut Env<'_>,
    ) -> Result<Self, NotMade> {
        let profile = super::recovery_profile(&controller);
        let rtt = agreed.rtt;
        let ids = Ids::Issued(Issued::new(new_cid(env).ok_or(NotMade)?));
        let parts = (suites, env.config, &mut *env.entropy);
        let mut extended = Extended::new(agreed, (None, ids), profile, parts, now).map_err(|_| NotMade)?;
        if let Some(sample) = rtt {
            extended.channels.seed_rtt(sample, now);
        }
        env.changes.extend(extended.ids().into_iter().map(Change::NewId));
        let mut common = Common::new(Side::Server, path, controller, env.config, now);
        common.owed.connected = true;
        Ok(Self { common, profile: super::Profile::Extended(Box::new(extended)) })
    }

    /// Client: the server's CONNECTED, which is `datagram`, opened.
    pub(crate) fn win_extended(
        &mut self,
        won: Won<C>,
        (datagram, meta): (BytesMut, &RecvMeta),
        controller: G,
        suites: &Arc<dyn CipherSuites<Cipher = C>>,
        now: Instant,
        env: &mut Env<'_>,
    ) {
        self.common.pressure = Pressure::new(controller, now);
        let profile = super::recovery_profile(&self.common.pressure.controller);
        let rtt = won.agreed.rtt;
        let parts = (suites, env.config, &mut *env.entropy);
        let own = (Some(won.opener), Ids::Given(Given::new(won.agreed.cid)));
        let Ok(extended) = Extended::new(won.agreed, own, profile, parts, now) else { return };
        let refused = self.turn_extended(extended, now);
        let Self { common, profile: super::Profile::Extended(extended) } = self else { return };
        if let Some(sample) = rtt {
            extended.channels.seed_rtt(sample, now);
        }
        let (socket, remote) = won.path;
        common.path = Path::new(socket, remote);
        common.end_handshake(socket, extended.grace(), now, env);
        common.establish(Profile::Extended, now, env);
        // the server reports the connection when something of ours opens
        common.owed.heartbeat = true;
        extended.receive_won(common, now, meta, &datagram, (won.opened, won.number), env);
        for mut held in won.held {
            extended.receive(common, now, meta, &mut held, env);
        }
        if let Some(error) = refused {
            // Nothing is dropped in silence: what was accepted before the server's limits were known has to be told.
            common.fail(ConnectionError::Undeliverable(error.to_string()), now, env);
        }
    }
}

/// A server's connection that cannot be: its cipher cannot be made, or there is no id for it.
pub(crate) struct NotMade;

/// How often an id is asked for before there is none.
const ID_ATTEMPTS: usize = 64;

/// A connection id that is nobody else's, and that nobody can mistake for a handshake packet.
fn new_cid(env: &mut Env<'_>) -> Option<Cid> {
    let ids = (0..ID_ATTEMPTS).map(|_| {
        let mut cid = env.config.extended.ids.generate(env.entropy.bytes());
        if let Some(shard) = env.config.shard {
            shard.mark(&mut cid);
        }
        cid
    });
    let taken = |cid: &Cid| {
        env.ids.is_some_and(|ids| ids.contains_key(cid))
            || env.changes.iter().any(|change| matches!(change, Change::NewId(new) if new == cid))
    };
    let mut ids = ids.filter(|cid| !is_ambiguous(cid) && !taken(cid));
    let cid = ids.next();
    if cid.is_none() {
        tracing::warn!(ids = ?env.config.extended.ids, "no connection id is left: they need more random bytes");
    }
    cid
}

/// How long something may still be under way: 3 PTO (PROTOCOL B6).
fn grace(channels: &ExtendedChannels) -> Duration {
    channels.rto() * 3
}

/// The next packet number to leave out, some way beyond `number`.
fn skip_after(number: u64, entropy: &mut Entropy) -> u64 {
    let (least, most) = SKIP;
    number + least + u64::from(u32::from_le_bytes(entropy.bytes())) % (most - least)
}

/// What a peer with these parameters accepts.
fn limits_of(params: &Params) -> PeerLimits {
    PeerLimits {
        receive_budget: u64::from(params.receive_budget_kib) << 10,
        max_message: usize::from(params.max_message_kib) << 10,
        max_ack_delay: Duration::from_millis(params.max_ack_delay_ms.into()),
    }
}

/// The reason of a DISCONNECT for a connection that another takes the place of (PROTOCOL B5, Closing).
pub(in crate::proto) const REPLACED: u8 = 7;

/// How a DISCONNECT says why (PROTOCOL B5, Closing).
fn reason_code(reason: DisconnectReason, fault: Option<Fault>) -> u8 {
    match fault {
        Some(Fault::Protocol) => return 5,
        Some(Fault::Limits) => return 6,
        None => {}
    }
    match reason {
        DisconnectReason::Graceful => 0,
        DisconnectReason::Timeout => 1,
        DisconnectReason::Error => 2,
        DisconnectReason::Rejected => 3,
        DisconnectReason::Kicked => 4,
        DisconnectReason::Replaced => REPLACED,
    }
}

/// What the reason of a DISCONNECT is to its receiver.
fn reason_of(code: u8) -> DisconnectReason {
    match code {
        0 => DisconnectReason::Graceful,
        1 => DisconnectReason::Timeout,
        3 => DisconnectReason::Rejected,
        4 => DisconnectReason::Kicked,
        REPLACED => DisconnectReason::Replaced,
        _ => DisconnectReason::Error,
    }
}

/// Bytes of the id before the packets that a side receives: a server is found by it.
fn id_len(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes are those of PROTOCOL B5, and who reads one back learns what its sender's application would be told.
    #[test]
    fn every_reason_has_its_code() {
        let reasons = [
            (0, DisconnectReason::Graceful),
            (1, DisconnectReason::Timeout),
            (2, DisconnectReason::Error),
            (3, DisconnectReason::Rejected),
            (4, DisconnectReason::Kicked),
            (7, DisconnectReason::Replaced),
        ];
        for (code, reason) in reasons {
            assert_eq!((reason_code(reason, None), reason_of(code)), (code, reason));
        }
        let fault = |error| reason_code(DisconnectReason::Error, Fault::of(&error));
        assert_eq!(fault(ConnectionError::Protocol(String::new())), 5);
        assert_eq!(fault(ConnectionError::Exhausted("keys")), 6);
        assert_eq!(fault(ConnectionError::ServerMemory { held: 1 }), 6);
        assert_eq!(fault(ConnectionError::MaxRetransmits(1)), 2);
        assert!((5..=6).chain(8..=255).all(|code| reason_of(code) == DisconnectReason::Error));
    }
}

//! What a connection has whichever profile it speaks: its path, controller, counters, and its way to the end.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use fastwire_congestion::{CongestionController, PathInfo};
use fastwire_crypto::Cipher;
use fastwire_reliability::{Bandwidth, Outcome};
use smallvec::SmallVec;

use super::path::Path;
use super::pressure::{Flight, Pressure};
use super::rate::{Intake, SendCap};
use super::revival::Revival;
use crate::config::CommonConfig;
use crate::observe::{Observed, Observer};
use crate::proto::Side;
use crate::proto::handshake::client::{ClientHandshake, HandshakeDatagram};
use crate::proto::handshake::extended::late::Losers;
use crate::proto::id_map::IdMap;
use crate::transport::{ChunkPool, SocketId};
use crate::{ConnectionError, ConnectionState, DisconnectReason};

/// What happened to a connection that its endpoint has to act upon.
pub(crate) enum Change {
    /// The handshake is complete.
    Established,
    /// An error; the connection says farewell and ends.
    Failed(ConnectionError),
    /// It is over: forget it.
    Ended(DisconnectReason),
    /// The peer moved from this address.
    Moved { from: SocketAddr },
    /// A datagram that cannot wait for the connection's next transmit.
    Datagram(HandshakeDatagram),
    /// A handshake of the extended profile did not win; its server may not know yet.
    Late(Losers),
    /// A local socket is no longer needed.
    SocketDone(SocketId),
    /// The connection is found under this id from now on (extended profile, server).
    NewId([u8; 8]),
    /// The connection is no longer found under this id.
    IdDone([u8; 8]),
}

/// What the endpoint lends to a connection for one call.
pub(crate) struct Env<'a> {
    pub(crate) config: &'a CommonConfig,
    pub(crate) outcome: &'a mut Outcome,
    pub(crate) changes: &'a mut Vec<Change>,
    pub(crate) entropy: &'a mut crate::proto::entropy::Entropy,
    /// Ids that lead to a connection (server).
    pub(crate) ids: Option<&'a IdMap>,
    /// How long the endpoint has been there by the shell's clock.
    pub(crate) uptime: Duration,
    /// Where messages are copied to that the application is to have.
    pub(crate) pool: &'a mut ChunkPool,
    /// The address a datagram came from is no other connection's: this one may move there.
    pub(crate) may_move: bool,
}

/// Counters that [`ConnectionStats`](crate::ConnectionStats) shows as they are.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) packets_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) datagrams_sent: u64,
    pub(crate) datagrams_received: u64,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) replayed: u64,
    pub(crate) forged: u64,
    /// So many were forged that no more are tried under these keys.
    pub(crate) keys_given_up: bool,
    pub(crate) malformed: u64,
    pub(crate) undecodable: u64,
    pub(crate) send_errors: u64,
    pub(crate) migrations: u64,
}

/// What is to be sent beside the channels' packets.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// CONNECTED, which tells the peer that we are no foreign implementation (base), or that it is in (extended).
    pub(crate) connected: bool,
    /// A packet of any kind, to keep the peer from thinking us gone.
    pub(crate) heartbeat: bool,
    /// DISCONNECT.
    pub(crate) disconnect: bool,
}

/// A connection on its way out.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) reason: DisconnectReason,
    /// Until then queued reliable messages may leave.
    pub(crate) linger_until: Instant,
    /// DISCONNECTs sent.
    pub(crate) farewells: u8,
    pub(crate) next_farewell: Instant,
}

/// DISCONNECT goes out this often (PROTOCOL A6, B5).
pub(crate) const FAREWELLS: u8 = 3;

/// What the peer is told of the end, or told us (PROTOCOL B5, DISCONNECT). The base profile has no room for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Farewell {
    pub(crate) code: u16,
    pub(crate) text: String,
    /// Ours alone: what was wrong, where that has a reason of its own.
    pub(crate) fault: Option<Fault>,
}

/// A fault that DISCONNECT has its own reason for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The peer broke the protocol.
    Protocol,
    /// Keys are used up, or the server's memory.
    Limits,
}

impl Fault {
    pub(super) fn of(error: &ConnectionError) -> Option<Self> {
        match error {
            ConnectionError::Protocol(_) => Some(Self::Protocol),
            ConnectionError::Exhausted(_) | ConnectionError::ServerMemory { .. } => Some(Self::Limits),
            _ => None,
        }
    }
}

/// Everything of a connection but its profile.
pub(crate) struct Common<C, G> {
    pub(crate) side: Side,
    /// Server: the key of the CONNECT it began with. A late copy of that CONNECT asks for nothing new.
    pub(crate) client_key: Option<[u8; 32]>,
    pub(crate) state: ConnectionState,
    pub(crate) path: Path,
    pub(crate) handshake: Option<Box<ClientHandshake<C>>>,
    pub(crate) revival: Option<Box<Revival>>,
    pub(crate) pressure: Pressure<G>,
    pub(crate) send_cap: SendCap,
    pub(crate) intake: Intake,
    pub(crate) established_at: Option<Instant>,
    pub(crate) last_heard: Instant,
    pub(crate) last_sent: Instant,
    /// Client: the endpoint was not driven for long, and nothing was heard since.
    pub(crate) resumed: bool,
    /// Client: when the silence is put down to the local socket, and another one is tried.
    pub(crate) rebind_at: Option<Instant>,
    pub(crate) owed: Owed,
    pub(crate) closing: Option<Box<Closing>>,
    pub(crate) farewell: Farewell,
    /// Sockets no longer used, and until when they stay open.
    pub(crate) retiring: SmallVec<[(SocketId, Instant); 1]>,
    /// DISCONNECTs under the keys of handshakes that lost, so that they leave no ghost at the server.
    pub(crate) dismissals: Vec<HandshakeDatagram>,
    pub(crate) counters: Counters,
    pub(crate) sent_bandwidth: Bandwidth,
    pub(crate) received_bandwidth: Bandwidth,
    pub(crate) user_data: Option<Box<dyn Any + Send>>,
    /// Hears what happens. Most connections have none.
    pub(crate) observer: Option<Box<dyn Observer>>,
    /// The endpoint's books: the earliest entry in its deadline heap, and on which of its lists this is.
    pub(crate) scheduled: Option<Instant>,
    /// Its deadline as of when it had nothing more to send.
    pub(crate) deadline: Option<Instant>,
    pub(crate) is_ready: bool,
    pub(crate) is_deliverable: bool,
    pub(crate) is_paused: bool,
    /// Server: where its client was when it came, as the count of connections from there has it.
    pub(crate) home: Option<IpAddr>,
    /// What of the server's memory was last put to this connection's account, in bytes.
    pub(crate) charged: u64,
    /// It held the most of it when it was used up: what it holds goes with it.
    pub(crate) is_shed: bool,
}

impl<C: Cipher, G: CongestionController> Common<C, G> {
    pub(super) fn new(
        side: Side,
        (socket, remote): (SocketId, SocketAddr),
        controller: G,
        config: &CommonConfig,
        now: Instant,
    ) -> Self {
        Self {
            side,
            client_key: None,
            state: ConnectionState::Connecting,
            path: Path::new(socket, remote),
            handshake: None,
            revival: None,
            pressure: Pressure::new(controller, now),
            send_cap: SendCap::new(config.max_send_rate, now),
            intake: Intake::new(&config.limits, now),
            established_at: None,
            last_heard: now,
            last_sent: now,
            resumed: false,
            rebind_at: None,
            owed: Owed::default(),
            closing: None,
            farewell: Farewell::default(),
            retiring: SmallVec::new(),
            dismissals: Vec::new(),
            counters: Counters::default(),
            sent_bandwidth: Bandwidth::new(now),
            received_bandwidth: Bandwidth::new(now),
            user_data: None,
            observer: None,
            scheduled: None,
            deadline: None,
            is_ready: false,
            is_deliverable: false,
            is_paused: false,
            home: None,
            charged: 0,
            is_shed: false,
        }
    }

    /// The handshake is complete: its other sockets close, once those they may have reached have been told.
    pub(super) fn end_handshake(&mut self, won: SocketId, linger: Duration, now: Instant, env: &mut Env<'_>) {
        let Some(mut handshake) = self.handshake.take() else { return };
        let told = handshake.dismiss_losers(won);
        for socket in handshake.sockets().filter(|socket| *socket != won) {
            if told.iter().any(|datagram| datagram.socket == socket) || handshake.awaits_on(socket) {
                self.retiring.push((socket, now + linger));
            } else {
                env.changes.push(Change::SocketDone(socket));
            }
        }
        self.dismissals = told;
        env.changes.extend(handshake.take_losers().map(Change::Late));
    }

    /// Tells the observer, if there is one.
    #[inline]
    pub(crate) fn observe<'a>(&mut self, now: Instant, what: impl FnOnce() -> Observed<'a>) {
        if let Some(observer) = &mut self.observer {
            observer.observe(now, &what());
        }
    }

    /// Tells the controller, and the observer, what an acknowledgement or a time-out brought.
    pub(super) fn on_outcome(&mut self, channels: &impl Flight, outcome: &Outcome, now: Instant) {
        self.pressure.on_outcome(channels, outcome, now);
        let Some(observer) = &mut self.observer else { return };
        if outcome.lost_packets > 0 {
            let (packets, bytes) = (outcome.lost_packets, outcome.lost_bytes);
            observer.observe(now, &Observed::Lost { numbers: &outcome.lost_numbers, packets, bytes });
        }
        if let Some(event) = &outcome.congestion {
            observer.observe(now, &Observed::Congestion { persistent: event.persistent });
        }
        if outcome.spurious > 0 {
            observer.observe(now, &Observed::Spurious { packets: outcome.spurious });
        }
        if outcome.newly_acked_packets > 0 || outcome.lost_packets > 0 {
            observer.observe(now, &Observed::Metrics(self.pressure.metrics(channels)));
        }
    }

    /// The connection goes on over another path.
    pub(super) fn on_migrated(&mut self, now: Instant) {
        self.counters.migrations += 1;
        let remote = self.path.remote;
        self.observe(now, || Observed::Moved { remote });
    }

    pub(super) fn establish(&mut self, profile: crate::Profile, now: Instant, env: &mut Env<'_>) {
        self.observe(now, || Observed::Established { profile });
        self.state = ConnectionState::Connected;
        self.established_at = Some(now);
        self.last_heard = now;
        env.changes.push(Change::Established);
    }

    /// A datagram of which something opened.
    pub(super) fn on_heard(&mut self, now: Instant, bytes: u64) {
        let again = self.last_heard == now;
        self.last_heard = now;
        self.resumed = false;
        self.rebind_at = None;
        self.revival = None;
        self.counters.bytes_received += bytes;
        self.counters.datagrams_received += 1;
        if again {
            // most of a wake: the clock stands still
            self.received_bandwidth.add(bytes);
        } else {
            self.received_bandwidth.on_bytes(now, bytes);
        }
    }

    /// Datagrams that leave.
    pub(super) fn on_transmit(&mut self, bytes: u64, datagrams: u64, now: Instant) {
        self.last_sent = now;
        self.path.on_sent(bytes);
        self.counters.bytes_sent += bytes;
        self.counters.datagrams_sent += datagrams;
        self.sent_bandwidth.on_bytes(now, bytes);
    }

    /// The peer is on another network: what was learned of the path no longer holds.
    pub(super) fn on_other_network(&mut self, mtu: usize, config: &CommonConfig, now: Instant) {
        let path = PathInfo::new(now, mtu as u16).with_initial_window(config.initial_cwnd);
        self.pressure.on_path_change(path);
    }

    /// Begins to close: queued reliable messages may leave for `linger`, then the peer is told. `idle`: there are none.
    pub(super) fn close(
        &mut self,
        reason: DisconnectReason,
        linger: Duration,
        idle: bool,
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
                let closing = Closing { reason, linger_until, farewells: 0, next_farewell: now };
                self.closing = Some(Box::new(closing));
                self.go_on_closing(idle, now, env);
            }
            // Closing already: at most sooner.
            ConnectionState::Disconnecting => {
                if let Some(closing) = &mut self.closing {
                    closing.linger_until = closing.linger_until.min(now + linger);
                }
                self.go_on_closing(idle, now, env);
            }
            ConnectionState::Disconnected => {}
        }
    }

    pub(super) fn go_on_closing(&mut self, idle: bool, now: Instant, env: &mut Env<'_>) {
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

    /// Ends with an error: the application hears of it now, the peer gets its farewells.
    pub(super) fn fail(&mut self, error: ConnectionError, now: Instant, env: &mut Env<'_>) {
        if self.closing.as_ref().is_some_and(|closing| closing.reason == DisconnectReason::Error)
            || self.state == ConnectionState::Disconnected
        {
            return;
        }
        self.farewell.fault = Fault::of(&error);
        if self.farewell.text.is_empty() {
            self.farewell.text = error.to_string();
        }
        self.observe(now, || Observed::Failed(&error));
        env.changes.push(Change::Failed(error));
        self.state = ConnectionState::Disconnecting;
        let closing =
            Closing { reason: DisconnectReason::Error, linger_until: now, farewells: 0, next_farewell: now };
        self.closing = Some(Box::new(closing));
        self.owed.disconnect = true;
    }

    /// So many forged packets came that guessing is no longer hopeless: the keys are given up (RFC 9001 §6.6). Somebody who is
    /// not known yet goes without a word.
    pub(super) fn give_up_keys(&mut self, now: Instant, env: &mut Env<'_>) {
        match self.state {
            ConnectionState::Connecting => self.end(DisconnectReason::Error, env),
            _ => self.fail(ConnectionError::Exhausted("keys"), now, env),
        }
    }

    /// Over, without another word.
    pub(super) fn end(&mut self, reason: DisconnectReason, env: &mut Env<'_>) {
        if self.state != ConnectionState::Disconnected {
            self.state = ConnectionState::Disconnected;
            env.changes.push(Change::Ended(reason));
        }
    }

    /// The peer said farewell. The reason is ours if we were closing already.
    pub(super) fn on_told(&mut self, theirs: DisconnectReason, env: &mut Env<'_>) {
        let reason = self.closing.as_ref().map_or(theirs, |closing| closing.reason);
        self.end(reason, env);
    }

    /// Nothing but DISCONNECT leaves any more.
    pub(super) fn is_saying_farewell(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| {
            closing.farewells > 0 || self.owed.disconnect || closing.reason == DisconnectReason::Error
        })
    }

    /// A DISCONNECT left; the next one follows after `interval`.
    pub(super) fn on_farewell_sent(&mut self, interval: Duration, now: Instant) {
        self.owed.disconnect = false;
        if let Some(closing) = &mut self.closing {
            closing.farewells += 1;
            // The last one is followed by nothing: the connection may go at once.
            closing.next_farewell = if closing.farewells < FAREWELLS { now + interval } else { now };
        }
    }

    pub(super) fn retire_sockets(&mut self, now: Instant, env: &mut Env<'_>) {
        self.retiring.retain(|(socket, until)| {
            if now >= *until {
                env.changes.push(Change::SocketDone(*socket));
            }
            now < *until
        });
    }

    pub(super) fn closing_deadline(&self) -> Option<Instant> {
        self.closing.as_ref().map(|closing| match closing.farewells {
            0 => closing.linger_until,
            _ => closing.next_farewell,
        })
    }
}

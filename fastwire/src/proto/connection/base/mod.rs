//! The base profile's part of a connection (PROTOCOL part A): one key for each direction, sequences for each channel.

mod receive;
mod send;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;
use fastwire_reliability::{Channels, GiveUp, Peer, RecoveryProfile};
use fastwire_wire::{DEFAULT_MTU, FragmentHeader, PacketHeader, WIRE_OVERHEAD};

use self::send::Next;
use super::common::{Common, Env};
use super::path::Path;
use crate::config::CommonConfig;
use crate::proto::session::Session;
use crate::proto::transmit::Framing;
use crate::transport::SocketId;
use crate::{ConnectionError, Profile};

pub(crate) use self::receive::opens;

/// CONNECTED is repeated at growing intervals from the first to the last of these: any may be lost, and none is
/// acknowledged. As long as the peer has heard none it takes us for foreign, and plans to forget after 5 s what it could
/// not deliver (PROTOCOL A6 rule 4): by then more than twenty have left.
const CONNECTED_INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// What a connection of the base profile has.
pub(crate) struct Base<C> {
    /// Keys and terms; on a client `None` until the handshake is won.
    pub(super) session: Option<Session<C>>,
    pub(super) channels: Channels,
    /// The peer is this library (a CONNECTED of it opened).
    pub(super) own_peer: bool,
    /// CONNECTED goes out again at growing intervals: it is never acknowledged.
    pub(super) next_connected: Option<Instant>,
    connected_interval: Duration,
    /// The server may yet answer in the extended profile: until then a candidate's keys carry a null probe and no messages.
    hold: bool,
    /// That probe is due.
    probe: bool,
    /// A packet that did not fit the last train of datagrams.
    stash: Option<Next>,
    /// The configured MTU, used towards our own.
    mtu: usize,
}

impl<C: Cipher> Base<C> {
    pub(super) fn new(config: &CommonConfig, profile: RecoveryProfile) -> Self {
        let channels_config = super::channels_config(config);
        let mut channels = Channels::new(config.channel_layout.clone(), &channels_config, profile);
        channels.count_from(config.counters.sequence);
        // A message may be queued before the framing is agreed: leave room for what we ask for.
        channels.set_piece_size(piece_size(DEFAULT_MTU, Framing::most(config.features)));
        Self {
            session: None,
            channels,
            own_peer: false,
            next_connected: None,
            connected_interval: Duration::ZERO,
            hold: config.extended.spoken,
            probe: false,
            stash: None,
            mtu: config.mtu,
        }
    }

    /// Takes the keys and terms of a finished handshake. Pieces are cut to fit from now on.
    pub(super) fn establish<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        session: Session<C>,
        (socket, remote): (SocketId, SocketAddr),
        now: Instant,
        env: &mut Env<'_>,
    ) {
        if let Some(log) = &env.config.key_log {
            session.log_keys(log);
        }
        common.path = Path::new(socket, remote);
        self.session = Some(session);
        common.handshake = None;
        common.owed.connected = true;
        self.next_connected = Some(now);
        self.channels.set_peer(Peer::Foreign);
        self.cut_to_fit(common);
        common.establish(Profile::Base, now, env);
    }

    /// The framing of what we send, and with it the largest piece.
    fn cut_to_fit<G>(&mut self, common: &Common<C, G>) {
        self.channels.set_piece_size(piece_size(self.path_mtu(), self.framing(common)));
    }

    fn framing<G>(&self, common: &Common<C, G>) -> Framing {
        let candidate = || Some(&common.handshake.as_ref()?.candidates.last()?.session);
        self.session.as_ref().or_else(candidate).map(Session::framing).unwrap_or_default()
    }

    /// Bytes held for what came.
    pub(super) fn memory_held(&self) -> usize {
        self.channels.memory_held()
    }

    /// The largest datagram the peer takes: a foreign one no more than the base MTU (PROTOCOL A11).
    pub(super) fn path_mtu(&self) -> usize {
        if self.own_peer { self.mtu } else { DEFAULT_MTU }
    }

    /// A CHALLENGE was answered: what is sent from now on goes under its keys, to where it came from.
    pub(super) fn on_candidate<G>(&mut self, common: &mut Common<C, G>) {
        let candidate = common.handshake.as_ref().and_then(|handshake| handshake.candidates.last());
        if let Some(candidate) = candidate {
            common.path = Path::new(candidate.socket, candidate.remote);
        }
        self.cut_to_fit(common);
        // PROTOCOL A5: a base server acknowledges nothing before its first heartbeat, unless there is data.
        self.probe = self.hold;
        if !self.hold && !self.channels.has_outgoing() {
            self.channels.push_probe(0);
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
            Ok(()) => common.on_outcome(&self.channels, env.outcome, now),
            Err(GiveUp::MaxRetransmits { repeats, .. }) => {
                common.fail(ConnectionError::MaxRetransmits(repeats), now, env);
            }
            Err(other) => common.fail(ConnectionError::Undeliverable(other.to_string()), now, env),
        }
        if self.channels.sequence_exhausted() && common.closing.is_none() {
            common.fail(ConnectionError::Exhausted("sequence numbers"), now, env);
        }
        if self.next_connected.is_some_and(|at| now >= at) {
            common.owed.connected = true;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        [self.channels.next_timeout(), self.channels.ack_due(), self.next_connected]
            .into_iter()
            .flatten()
            .min()
    }

    fn on_connected_sent<G>(&mut self, common: &mut Common<C, G>, now: Instant) {
        common.owed.connected = false;
        let (first, last) = CONNECTED_INTERVALS;
        let next = (self.connected_interval + self.connected_interval / 8).clamp(first, last);
        self.connected_interval = next;
        self.next_connected = Some(now + next);
    }
}

/// The largest piece of a message that a datagram has room for (PROTOCOL A7).
fn piece_size(max_datagram: usize, framing: Framing) -> usize {
    max_datagram - WIRE_OVERHEAD - PacketHeader::MAX_LEN - FragmentHeader::LEN - framing.overhead()
}

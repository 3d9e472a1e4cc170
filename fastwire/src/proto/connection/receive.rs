//! The way in: open, decode, acknowledge, accept. Marks what is owed; sends nothing.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use fastwire_congestion::{CongestionController, PathInfo};
use fastwire_crypto::{Cipher, OpenError};
use fastwire_reliability::{Accepted, Peer, Violation};
use fastwire_wire::{Control, FragmentHeader, PacketFlags, PacketHeader};
use smallvec::SmallVec;

use super::{Change, Connection, Counters, Env};
use crate::proto::Side;
use crate::proto::handshake::BareControl;
use crate::proto::handshake::client::Candidate;
use crate::proto::session::{OpenedPacket, Session};
use crate::transport::RecvMeta;
use crate::{ConnectionError, ConnectionState, DisconnectReason};

/// Whether a datagram was this connection's.
pub(crate) enum Receipt {
    /// At least one packet in it opened.
    Opened,
    /// None did: somebody else may want it.
    NotOpened(BytesMut),
}

type OpenedPackets = SmallVec<[OpenedPacket; 8]>;

impl<C: Cipher, G: CongestionController> Connection<C, G> {
    /// Takes a datagram that may be for this connection. `bare` is what it reads as without keys.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        mut datagram: BytesMut,
        bare: Option<&BareControl>,
        env: &mut Env<'_>,
    ) -> Receipt {
        let opened = match &mut self.session {
            // Without a cipher everything opens; what reads as a handshake then is one.
            Some(session) if bare.is_some() && !session.is_sealed() => return Receipt::NotOpened(datagram),
            Some(session) => open_datagram(session, &mut datagram, &mut self.counters),
            None => match self.try_candidates(&mut datagram, meta, bare, now, env) {
                Some(opened) => opened,
                None => return Receipt::NotOpened(datagram),
            },
        };
        if opened.is_empty() {
            return Receipt::NotOpened(datagram);
        }
        self.receive_opened(now, meta, datagram, &opened, env);
        Receipt::Opened
    }

    /// Takes the packets of a datagram that were opened in place.
    pub(crate) fn receive_opened(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        datagram: BytesMut,
        opened: &[OpenedPacket],
        env: &mut Env<'_>,
    ) {
        let bytes = datagram.len() as u64;
        self.on_heard(now, bytes);
        self.follow(now, meta, bytes, opened, env);
        let datagram = datagram.freeze();
        for packet in opened {
            self.handle_packet(now, meta, datagram.slice(packet.start..packet.end), env);
        }
    }

    fn on_heard(&mut self, now: Instant, bytes: u64) {
        self.last_heard = now;
        self.revival = None;
        self.counters.bytes_received += bytes;
        self.counters.datagrams_received += 1;
        self.received_bandwidth.on_bytes(now, bytes);
    }

    /// Client: a packet under the keys of any answered CHALLENGE wins the handshake.
    fn try_candidates(
        &mut self,
        datagram: &mut BytesMut,
        meta: &RecvMeta,
        bare: Option<&BareControl>,
        now: Instant,
        env: &mut Env<'_>,
    ) -> Option<OpenedPackets> {
        let handshake = self.handshake.as_mut()?;
        for index in 0..handshake.candidates.len() {
            let candidate = handshake.candidates.get_mut(index)?;
            if candidate.remote != meta.remote || (bare.is_some() && !candidate.session.is_sealed()) {
                continue;
            }
            // Opening may spoil the bytes, and another candidate may still want them.
            let mut copy = datagram.clone();
            let opened = open_datagram(&mut candidate.session, &mut copy, &mut self.counters);
            if !opened.is_empty() {
                let candidate = handshake.candidates.swap_remove(index);
                if let Some(sample) = candidate.rtt {
                    self.channels.seed_rtt(sample, now);
                }
                *datagram = copy;
                self.win(candidate, now, env);
                return Some(opened);
            }
        }
        None
    }

    /// The handshake is won: its other sockets close, once those they may have reached have been told.
    fn win(&mut self, winner: Candidate<C>, now: Instant, env: &mut Env<'_>) {
        let won = (winner.socket, winner.remote);
        if let Some(mut handshake) = self.handshake.take() {
            let told = handshake.dismiss_losers(won.0);
            for socket in handshake.sockets().filter(|socket| *socket != won.0) {
                if told.iter().any(|datagram| datagram.socket == socket) {
                    self.retire(socket, now);
                } else {
                    env.changes.push(Change::SocketDone(socket));
                }
            }
            self.farewells = told;
        }
        self.establish(winner.session, won, now, env);
    }

    /// Moves to where the newest packet came from, if the connection may move (PROTOCOL A10).
    fn follow(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        bytes: u64,
        opened: &[OpenedPacket],
        env: &mut Env<'_>,
    ) {
        if meta.remote == self.path.remote {
            self.path.on_received(bytes);
            if self.side == Side::Server {
                self.path.source = meta.local;
            }
            return;
        }
        let newest = opened.iter().any(|packet| packet.newest);
        let may = self.side == Side::Server
            && self.session.as_ref().is_some_and(|s| s.migration_token.is_some() && s.is_sealed());
        if newest && may && env.may_move && self.path.may_move(now) {
            let from = self.path.remote;
            if from.ip() != meta.remote.ip() {
                let path = PathInfo::new(now, self.max_datagram(env.config) as u16);
                self.pressure.on_path_change(path.with_initial_window(env.config.initial_cwnd));
            }
            self.path.move_to(meta.socket, meta.remote, bytes, now);
            self.counters.migrations += 1;
            env.changes.push(Change::Moved { from });
        }
    }

    fn handle_packet(&mut self, now: Instant, meta: &RecvMeta, packet: Bytes, env: &mut Env<'_>) {
        self.counters.packets_received += 1;
        let Ok((header, len)) = PacketHeader::decode(&packet) else {
            self.counters.malformed += 1;
            return;
        };
        let body = packet.slice(len..);
        if header.flags.contains(PacketFlags::CONTROL) {
            self.handle_control(now, meta, &header, &body, env);
        } else {
            self.handle_data(now, meta, &header, body, env);
        }
    }

    fn handle_control(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        header: &PacketHeader,
        body: &[u8],
        env: &mut Env<'_>,
    ) {
        let Ok((control, _)) = Control::decode(body) else {
            self.counters.malformed += 1;
            return;
        };
        match control {
            // A repeated RESPONSE: our first packets were lost.
            Control::Response { .. } => self.owed.connected = true,
            Control::Connected => {
                self.confirm();
                if !self.own_peer {
                    self.own_peer = true;
                    self.channels.set_peer(Peer::Own);
                    self.cut_to_fit(env.config);
                }
                self.handle_ack(now, meta, header, env);
            }
            Control::Heartbeat => {
                self.confirm();
                self.handle_ack(now, meta, header, env);
            }
            Control::Disconnect => {
                let reason =
                    self.closing.as_ref().map_or(DisconnectReason::Graceful, |closing| closing.reason);
                env.changes.push(Change::Ended(reason));
                self.state = ConnectionState::Disconnected;
            }
            _ => self.counters.malformed += 1,
        }
    }

    fn handle_data(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        header: &PacketHeader,
        mut body: Bytes,
        env: &mut Env<'_>,
    ) {
        self.confirm();
        self.handle_ack(now, meta, header, env);
        let fragment = if header.flags.contains(PacketFlags::FRAGMENT) {
            let Ok((fragment, len)) = FragmentHeader::decode(&body) else {
                self.counters.malformed += 1;
                return;
            };
            body = body.slice(len..);
            Some(fragment)
        } else {
            None
        };
        match self.channels.accept(header.channel, header.sequence, fragment, body, now) {
            Ok(Accepted::Invalid) => self.counters.malformed += 1,
            Ok(_) => {}
            Err(violation) => self.fail_violation(violation, now, env),
        }
    }

    fn handle_ack(&mut self, now: Instant, meta: &RecvMeta, header: &PacketHeader, env: &mut Env<'_>) {
        env.outcome.clear();
        let result =
            self.channels.acknowledge(header.channel, header.ack, header.ack_field, now, env.outcome);
        if let Err(violation) = result {
            return self.fail_violation(violation, now, env);
        }
        if let Some(first_sent) = env.outcome.newest_acked_first_sent_at
            && meta.remote == self.path.remote
        {
            self.path.on_acknowledged(first_sent);
        }
        self.pressure.on_outcome(&self.channels, env.outcome, now);
    }

    /// The peer has opened something of ours or finished the handshake.
    fn confirm(&mut self) {
        if let Some(session) = &mut self.session {
            session.confirmed();
        }
    }

    fn fail_violation(&mut self, violation: Violation, now: Instant, env: &mut Env<'_>) {
        self.fail(ConnectionError::Protocol(violation.to_string()), now, env);
    }
}

/// Opens every packet of a datagram.
fn open_datagram<C: Cipher>(
    session: &mut Session<C>,
    datagram: &mut BytesMut,
    counters: &mut Counters,
) -> OpenedPackets {
    let mut opened = OpenedPackets::new();
    for range in session.split(datagram) {
        match session.open(datagram, range) {
            Ok(packet) => opened.push(packet),
            Err(OpenError::Replayed { .. }) => counters.replayed += 1,
            Err(_) => counters.forged += 1,
        }
    }
    opened
}

/// Opens a datagram for a handshake that is not a connection yet.
pub(crate) fn opens<C: Cipher>(session: &mut Session<C>, datagram: &mut BytesMut) -> Vec<OpenedPacket> {
    open_datagram(session, datagram, &mut Counters::default()).into_vec()
}

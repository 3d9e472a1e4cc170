//! The way in: open, decode, acknowledge, accept. Marks what is owed; sends nothing.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use fastwire_congestion::CongestionController;
use fastwire_crypto::{Cipher, OpenError};
use fastwire_reliability::{Accepted, Peer};
use fastwire_wire::{Control, FragmentHeader, PacketFlags, PacketHeader, WIRE_OVERHEAD};
use smallvec::SmallVec;

use super::Base;
use crate::observe::{Observed, PacketView};
use crate::proto::Side;
use crate::proto::connection::Receipt;
use crate::proto::connection::common::{Change, Common, Counters, Env};
use crate::proto::handshake::BareControl;
use crate::proto::handshake::client::Candidate;
use crate::proto::session::{OpenedPacket, Session};
use crate::transport::RecvMeta;
use crate::{ConnectionError, DisconnectReason};

type OpenedPackets = SmallVec<[OpenedPacket; 8]>;

impl<C: Cipher> Base<C> {
    /// Takes a datagram that may be for this connection. `bare` is what it reads as without keys.
    pub(in crate::proto::connection) fn receive<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        mut datagram: BytesMut,
        bare: Option<&BareControl>,
        env: &mut Env<'_>,
    ) -> Receipt {
        let opened = match &mut self.session {
            // Without a cipher everything opens; what reads as a handshake then is one.
            Some(session) if bare.is_some() && !session.is_sealed() => return Receipt::NotOpened(datagram),
            Some(session) => open_datagram(session, &mut datagram, &mut common.counters),
            None => match self.try_candidates(common, &mut datagram, meta, bare, now, env) {
                Some(opened) => opened,
                None => return Receipt::NotOpened(datagram),
            },
        };
        if opened.is_empty() {
            if common.counters.keys_given_up {
                common.give_up_keys(now, env);
            }
            return Receipt::NotOpened(datagram);
        }
        self.receive_opened(common, now, meta, datagram, &opened, env);
        Receipt::Opened
    }

    /// Takes the packets of a datagram that were opened in place.
    pub(in crate::proto::connection) fn receive_opened<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        datagram: BytesMut,
        opened: &[OpenedPacket],
        env: &mut Env<'_>,
    ) {
        let bytes = datagram.len() as u64;
        common.on_heard(now, bytes);
        self.follow(common, now, meta, bytes, opened, env);
        let datagram = datagram.freeze();
        for packet in opened {
            self.handle_packet(common, now, meta, datagram.slice(packet.start..packet.end), env);
        }
    }

    /// Client: a packet under the keys of any answered CHALLENGE wins the handshake.
    fn try_candidates<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        datagram: &mut BytesMut,
        meta: &RecvMeta,
        bare: Option<&BareControl>,
        now: Instant,
        env: &mut Env<'_>,
    ) -> Option<OpenedPackets> {
        let handshake = common.handshake.as_mut()?;
        for index in 0..handshake.candidates.len() {
            let candidate = handshake.candidates.get_mut(index)?;
            if candidate.remote != meta.remote || (bare.is_some() && !candidate.session.is_sealed()) {
                continue;
            }
            // Opening may spoil the bytes, and another candidate may still want them.
            let mut copy = datagram.clone();
            let opened = open_datagram(&mut candidate.session, &mut copy, &mut common.counters);
            if !opened.is_empty() {
                let candidate = handshake.candidates.swap_remove(index);
                if let Some(sample) = candidate.rtt {
                    self.channels.seed_rtt(sample, now);
                }
                *datagram = copy;
                self.win(common, candidate, now, env);
                return Some(opened);
            }
        }
        None
    }

    /// The handshake is won: its other sockets close, once those they may have reached have been told.
    fn win<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        winner: Candidate<C>,
        now: Instant,
        env: &mut Env<'_>,
    ) {
        let won = (winner.socket, winner.remote);
        common.end_handshake(won.0, self.channels.rto() * 3, now, env);
        self.establish(common, winner.session, won, now, env);
    }

    /// Moves to where the newest packet came from, if the connection may move (PROTOCOL A10).
    fn follow<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        bytes: u64,
        opened: &[OpenedPacket],
        env: &mut Env<'_>,
    ) {
        if meta.remote == common.path.remote {
            common.path.on_received(bytes);
            if common.side == Side::Server {
                common.path.source = meta.local;
            }
            return;
        }
        let newest = opened.iter().any(|packet| packet.newest);
        let may = common.side == Side::Server
            && self.session.as_ref().is_some_and(|s| s.migration_token.is_some() && s.is_sealed());
        if newest && may && env.may_move && common.path.may_move(now) {
            let from = common.path.remote;
            if from.ip() != meta.remote.ip() {
                common.on_other_network(self.path_mtu(), env.config, now);
            }
            common.path.move_to(meta.socket, meta.remote, bytes, now);
            common.on_migrated(now);
            env.changes.push(Change::Moved { from });
        }
    }

    fn handle_packet<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        packet: Bytes,
        env: &mut Env<'_>,
    ) {
        common.counters.packets_received += 1;
        let Ok((header, len)) = PacketHeader::decode(&packet) else {
            common.counters.malformed += 1;
            return;
        };
        let body = packet.slice(len..);
        common.observe(now, || observed(header, &body, packet.len() + WIRE_OVERHEAD));
        if header.flags.contains(PacketFlags::CONTROL) {
            self.handle_control(common, now, meta, &header, &body, env);
        } else {
            self.handle_data(common, now, meta, &header, body, env);
        }
    }

    fn handle_control<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        header: &PacketHeader,
        body: &[u8],
        env: &mut Env<'_>,
    ) {
        let Ok((control, _)) = Control::decode(body) else {
            common.counters.malformed += 1;
            return;
        };
        match control {
            // A repeated RESPONSE: our first packets were lost.
            Control::Response { .. } => common.owed.connected = true,
            Control::Connected => {
                self.confirm();
                if !self.own_peer {
                    self.own_peer = true;
                    self.channels.set_peer(Peer::Own);
                    self.cut_to_fit(common);
                }
                self.handle_ack(common, now, meta, header, env);
            }
            Control::Heartbeat => {
                self.confirm();
                self.handle_ack(common, now, meta, header, env);
            }
            Control::Disconnect => {
                common.on_told(DisconnectReason::Graceful, env);
            }
            _ => common.counters.malformed += 1,
        }
    }

    fn handle_data<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        header: &PacketHeader,
        mut body: Bytes,
        env: &mut Env<'_>,
    ) {
        self.confirm();
        self.handle_ack(common, now, meta, header, env);
        let fragment = if header.flags.contains(PacketFlags::FRAGMENT) {
            let Ok((fragment, len)) = FragmentHeader::decode(&body) else {
                common.counters.malformed += 1;
                return;
            };
            body = body.slice(len..);
            Some(fragment)
        } else {
            None
        };
        match self.channels.accept(header.channel, header.sequence, fragment, body, now) {
            Ok(Accepted::Invalid) => common.counters.malformed += 1,
            Ok(_) => {}
            Err(violation) => common.fail(ConnectionError::Protocol(violation.to_string()), now, env),
        }
    }

    fn handle_ack<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        header: &PacketHeader,
        env: &mut Env<'_>,
    ) {
        env.outcome.clear();
        let result =
            self.channels.acknowledge(header.channel, header.ack, header.ack_field, now, env.outcome);
        if let Err(violation) = result {
            return common.fail(ConnectionError::Protocol(violation.to_string()), now, env);
        }
        if let Some(first_sent) = env.outcome.newest_acked_first_sent_at
            && meta.remote == common.path.remote
        {
            common.path.on_acknowledged(first_sent);
        }
        common.on_outcome(&self.channels, env.outcome, now);
    }

    /// The peer has opened something of ours or finished the handshake.
    fn confirm(&mut self) {
        if let Some(session) = &mut self.session {
            session.confirmed();
        }
    }
}

/// A received packet as an observer sees it. `bytes`: sealed.
fn observed(header: PacketHeader, body: &[u8], bytes: usize) -> Observed<'_> {
    let is_fragment = header.flags.contains(PacketFlags::FRAGMENT);
    let fragment = is_fragment.then(|| FragmentHeader::decode(body).ok()).flatten();
    let payload = body.get(fragment.map_or(0, |(_, len)| len)..).unwrap_or_default();
    let packet = PacketView::Base { header, fragment: fragment.map(|(fragment, _)| fragment), payload };
    Observed::PacketReceived { packet, bytes }
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
            Err(error) => {
                counters.forged += 1;
                counters.keys_given_up |= matches!(error, OpenError::LimitReached { .. });
            }
        }
    }
    opened
}

/// Opens a datagram for a handshake that is not a connection yet.
pub(crate) fn opens<C: Cipher>(session: &mut Session<C>, datagram: &mut BytesMut) -> Vec<OpenedPacket> {
    open_datagram(session, datagram, &mut Counters::default()).into_vec()
}

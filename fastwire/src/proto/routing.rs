//! The way in: whose datagram is this?

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::{Cipher, CipherSuites, PublicKey, prefetch};
use fastwire_wire::{CONTROL_PREFIX, Connect, Control, ControlType, PacketHeader, Reject, RejectReason};
use smallvec::SmallVec;

use super::admission::Arriving;
use super::connection::{Connection, Env, Receipt, opens};
use super::handshake::client::HandshakeDatagram;
use super::handshake::extended::Agreed;
use super::handshake::extended::server::ResponseOutcome;
use super::handshake::offer::bare_refusal;
use super::handshake::{BareControl, looks_bare, parse_bare};
use super::router::{Arrival, answer_to, turned_away};
use super::session::Session;
use super::veil::Lifted;
use super::{Endpoint, Side, client};
use crate::observe::Observed;
use crate::transport::RecvMeta;
use crate::{ConnectionId, DisconnectReason, Event, Profile};

/// Answers to CONNECT that wait to be sent; more are lost packets.
const MAX_WAITING_ANSWERS: usize = 1024;

/// So few connections stay in the processor's caches by themselves.
const FEW: usize = 32;

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    /// Says which datagrams come next, so that what they will touch is on its way into the cache: each round follows one
    /// pointer more, for all of them.
    pub fn announce<'d>(&self, datagrams: impl Iterator<Item = &'d [u8]>) {
        let Some(router) = self.router.as_ref().filter(|_| self.connections.len() >= FEW) else { return };
        let found = datagrams.filter_map(|datagram| router.ids.get(datagram.first_chunk()?));
        let found: SmallVec<[_; 8]> = found.filter_map(|id| self.connections.get(*id)).collect();
        found.iter().for_each(|connection| prefetch(*connection));
        found.iter().for_each(|connection| connection.prefetch_profile());
        found.iter().for_each(|connection| connection.prefetch_parts());
    }

    /// A server's datagram: by address, then as a handshake under way, then by token, then as CONNECT.
    /// `may_stray`: what is nobody's here may be another shard's.
    pub(super) fn route_to_connection(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        datagram: BytesMut,
        may_stray: bool,
    ) {
        if self.veil.is_some() {
            return self.route_veiled(now, meta, datagram, may_stray);
        }
        let Some(router) = &mut self.router else { return };
        // Most datagrams: an id of ours leads to its connection at once, and nobody else can want them.
        if let Some(id) = datagram.first_chunk().and_then(|id| router.ids.get(id).copied()) {
            self.offer(id, now, meta, datagram, None, true);
            return;
        }
        let bare = parse_bare(&datagram);
        let known = router.addresses.get(&meta.remote).copied();
        // Opening in vain may spoil the bytes: what somebody else may still want is kept.
        let contested = !router.pending.at(meta.remote).is_empty();
        let by_token = self.by_token(&datagram).filter(|id| Some(*id) != known);
        let mut datagram = datagram;
        if let Some(id) = known {
            let spare = (contested || by_token.is_some()).then(|| datagram.clone());
            match self.offer(id, now, meta, datagram, bare.as_ref(), true) {
                Receipt::Opened => return,
                Receipt::NotOpened(back) => datagram = spare.unwrap_or(back),
            }
        }
        if self.complete_handshake(now, meta, &datagram, bare.as_ref()) {
            return;
        }
        if self.config.extended.spoken && is_response(&datagram) {
            return self.handle_response(now, meta, &datagram);
        }
        if let Some(id) = by_token {
            match self.offer(id, now, meta, datagram, bare.as_ref(), known.is_none()) {
                Receipt::Opened => return,
                Receipt::NotOpened(back) => datagram = back,
            }
        }
        match bare {
            Some(BareControl::Connect(connect)) => self.handle_connect(now, meta, connect, &datagram, known),
            _ if looks_bare(&datagram) => self.handle_other_bare(now, meta, &datagram),
            _ if may_stray => {
                let cid = datagram.first_chunk().copied();
                self.lay_aside(meta, datagram, cid);
            }
            _ => self.stats.unroutable += 1,
        }
    }

    /// A datagram to a server behind a veil: by the id in it, else as a veiled handshake, else nothing.
    fn route_veiled(&mut self, now: Instant, meta: &RecvMeta, mut datagram: BytesMut, may_stray: bool) {
        let (Some(veil), Some(router)) = (&mut self.veil, &self.router) else { return };
        if let Some(cid) = veil.id_of(&datagram)
            && let Some(id) = router.ids.get(&cid).copied()
        {
            if let Some(masked) = datagram.first_chunk_mut() {
                *masked = cid;
            }
            self.offer(id, now, meta, datagram, None, true);
            return;
        }
        let cid = veil.id_of(&datagram);
        let inner = match veil.lift(&datagram, now) {
            Lifted::Nothing if may_stray => return self.lay_aside(meta, datagram, cid),
            Lifted::Nothing => return self.stats.unroutable += 1,
            Lifted::Stale => return self.stats.veiled_stale += 1,
            Lifted::Handshake(inner) => inner,
        };
        if is_response(&inner) {
            return self.handle_response(now, meta, &inner);
        }
        match parse_bare(&inner) {
            Some(BareControl::Connect(connect)) => self.handle_connect(now, meta, connect, &inner, None),
            _ => self.stats.malformed_handshakes += 1,
        }
    }

    /// CONNECT, beside the connection `known` of that address if there is one.
    fn handle_connect(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        connect: Connect,
        datagram: &[u8],
        known: Option<ConnectionId>,
    ) {
        self.note_handshake(meta.remote, false, datagram, now);
        if let Some(id) = known {
            // Whoever asks may be the silent peer itself, and the CHALLENGE alone would make it give up.
            self.with_connection(id, |connection, _| connection.on_asked_after());
        }
        let late = known.and_then(|id| self.connections.get(id));
        if late.is_some_and(|connection| connection.began_with(&connect.public_key)) {
            self.stats.connects_received += 1;
            return;
        }
        let Some(router) = &mut self.router else { return };
        let books = (&mut self.entropy, &mut self.stats);
        let arrival = Arrival { meta, len: datagram.len(), now };
        let connections = self.connections.len();
        let answer = router.handle_connect(connect, datagram, arrival, connections, &self.config, books);
        if let Some(answer) = answer {
            self.answer(answer);
        }
    }

    /// A bare datagram that is no handshake: a question about the server, or nothing.
    fn handle_other_bare(&mut self, now: Instant, meta: &RecvMeta, datagram: &[u8]) {
        let Some(router) = &mut self.router else { return };
        let arrival = Arrival { meta, len: datagram.len(), now };
        let before = self.stats.info_refused;
        let answer =
            router.answer_info(datagram, arrival, self.connections.len(), (&self.config, &mut self.stats));
        match answer {
            Some(answer) => self.answer(answer),
            None if self.stats.info_refused == before => self.stats.malformed_handshakes += 1,
            None => {}
        }
    }

    /// Whether the application lets a client in.
    fn is_welcome(&mut self, remote: SocketAddr, profile: Profile, agreed: Option<&Agreed>) -> bool {
        let arriving = Arriving {
            remote,
            profile,
            auth: agreed.map_or(&[], |agreed| &agreed.auth),
            claims: agreed.and_then(|agreed| agreed.claims.as_ref()),
            connections: self.connections.len(),
        };
        let welcome = self.admission.lets_in(&arriving);
        self.stats.rejected += u64::from(!welcome);
        welcome
    }

    /// A server's new connection takes its place.
    fn settle(&mut self, id: ConnectionId, meta: &RecvMeta) {
        let home = meta.remote.ip();
        if let (Some(router), Some(connection)) = (&mut self.router, self.connections.get_mut(id)) {
            router.residents.enter(home);
            connection.common.home = Some(home);
        }
    }

    /// RESPONSE of the extended profile: the only datagram of a stranger that may cost key agreements.
    fn handle_response(&mut self, now: Instant, meta: &RecvMeta, datagram: &[u8]) {
        let Some(router) = &mut self.router else { return };
        let arrival = Arrival { meta, len: datagram.len(), now };
        let books = (&mut self.entropy, &mut self.stats);
        let (connections, suites) = (self.connections.len(), Arc::clone(&self.parts.suites));
        let outcome = router.handle_response(datagram, arrival, connections, &self.config, &suites, books);
        if !matches!(outcome, ResponseOutcome::Again(_)) {
            self.note_handshake(meta.remote, false, datagram, now);
        }
        match outcome {
            ResponseOutcome::Ignored => {}
            ResponseOutcome::Refused(answer) => self.answer(answer),
            ResponseOutcome::Again(id) => {
                let (kind, bytes) = (ControlType::Response, datagram.len());
                self.with_connection(id, |connection, _| {
                    connection.common.observe(now, || Observed::HandshakeReceived { kind, bytes });
                    connection.on_response_again(now);
                });
            }
            ResponseOutcome::Accepted(agreed) => self.begin_half_open(*agreed, meta, &suites, now),
        }
    }

    /// A client whose RESPONSE was in order: a connection from its first short packet on.
    fn begin_half_open(
        &mut self,
        agreed: Agreed,
        meta: &RecvMeta,
        suites: &Arc<dyn CipherSuites<Cipher = C>>,
        now: Instant,
    ) {
        let cookie = agreed.cookie;
        if !self.is_welcome(meta.remote, Profile::Extended, Some(&agreed)) {
            let refusal = Control::Reject(Reject { reason: RejectReason::NOT_AUTHORISED });
            return self.answer(answer_to(meta, bare_refusal(&refusal, agreed.client_nonce)));
        }
        let (path, controller) = ((meta.socket, meta.remote), self.controller(true, now));
        let Some(router) = &mut self.router else { return };
        let mut env = Env {
            config: &self.config,
            outcome: &mut self.outcome,
            changes: &mut self.changes,
            entropy: &mut self.entropy,
            ids: Some(&router.ids),
            uptime: self.clock.uptime(),
            may_move: false,
            pool: &mut self.pool,
        };
        // A suite that cannot be made was never agreed on; but nothing here may panic.
        let Ok(mut connection) = Connection::half_open(path, agreed, controller, suites, now, &mut env)
        else {
            return;
        };
        let authorize = self.config.extended.authorize;
        if authorize && let Some(extended) = connection.extended_mut() {
            extended.await_verdict();
        }
        let id = self.connections.insert(connection);
        let evicted = router.bind_cookie(cookie, id, now);
        self.watch(id, now);
        self.settle(id, meta);
        self.with_connection(id, |_, _| {});
        if authorize {
            self.events.push_back(Event::Authorize { connection: id });
        }
        if let Some(evicted) = evicted {
            self.with_connection(evicted, |connection, env| connection.end(DisconnectReason::Timeout, env));
        }
    }

    /// Queues an answer to somebody who has no connection; beyond the limit it is a lost packet.
    pub(super) fn answer(&mut self, answer: HandshakeDatagram) {
        if self.answers.len() < MAX_WAITING_ANSWERS {
            self.answers.push_back(answer);
        }
    }

    pub(super) fn by_token(&self, datagram: &[u8]) -> Option<ConnectionId> {
        let token: [u8; 8] = datagram.get(..8)?.try_into().ok()?;
        self.router.as_ref()?.tokens.get(&token).copied()
    }

    /// Completes the handshake whose keys open the datagram, if there is one.
    pub(super) fn complete_handshake(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        datagram: &BytesMut,
        bare: Option<&BareControl>,
    ) -> bool {
        let Some(router) = &mut self.router else { return false };
        let mut found = None;
        for pending in router.pending.at(meta.remote) {
            if pending.session.is_none() && !pending.hopeless {
                if bare.is_some() || datagram.len() < fastwire_wire::WIRE_OVERHEAD {
                    continue;
                }
                if !router.gate.budgets.take(meta.remote.ip(), now) || !router.agreements.take(now) {
                    self.stats.key_agreements_refused += 1;
                    continue;
                }
                self.stats.key_agreements += 1;
                let client = PublicKey::from(pending.connect.public_key);
                let suites = &*self.parts.suites;
                match Session::agree(Side::Server, &pending.server_keys, &client, pending.terms, suites) {
                    Ok(session) => pending.session = Some(Box::new(session)),
                    Err(_) => pending.hopeless = true,
                }
            }
            let Some(session) = &mut pending.session else { continue };
            if !session.is_sealed() && !shows_token(datagram, &session.token) {
                continue;
            }
            let mut copy = datagram.clone();
            let opened = opens(session, &mut copy);
            if !opened.is_empty() {
                found = Some((pending.connect.public_key, copy, opened));
                break;
            }
        }
        let Some((key, datagram, opened)) = found else { return false };
        let Some(pending) = router.pending.remove(meta.remote, &key) else { return false };
        if opened.iter().all(|packet| is_disconnect(datagram.get(packet.start..packet.end))) {
            // The client gave this handshake up before it was complete.
            return true;
        }
        router.pending.clear(meta.remote);
        let rtt = pending.rtt(now);
        let Some(session) = pending.session else { return false };
        let old = router.addresses.get(&meta.remote).copied();
        let room =
            self.connections.len() < router.max_connections && router.residents.has_room(meta.remote.ip());
        if !room && (old.is_none() || router.is_leaving()) {
            // The last place went while this handshake was under way.
            self.stats.rejected += 1;
            self.answer(turned_away(meta, RejectReason::SERVER_FULL));
            return true;
        }
        if !self.is_welcome(meta.remote, Profile::Base, None) {
            self.answer(turned_away(meta, RejectReason::NOT_AUTHORISED));
            return true;
        }
        if let Some(old) = old {
            self.with_connection(old, |connection, env| connection.end(DisconnectReason::Replaced, env));
        }
        let id = self.add_connection((meta.socket, meta.remote), now);
        self.settle(id, meta);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.credit_handshake(key, pending.bytes_received, pending.bytes_sent);
            if let Some(sample) = rtt {
                connection.seed_rtt(sample, now);
            }
        }
        self.with_connection(id, |connection, env| {
            connection.establish(*session, (meta.socket, meta.remote), now, env);
            connection.receive_opened(now, meta, datagram, &opened, env);
        });
        self.mark_deliverable(id);
        true
    }

    /// A client's datagram: for the connection whose server sent it.
    pub(super) fn route_to_client(&mut self, now: Instant, meta: &RecvMeta, mut datagram: BytesMut) {
        let bare = if self.veil.is_none() {
            parse_bare(&datagram)
        } else {
            match self.lift(now, datagram) {
                Some((lifted, bare)) => {
                    datagram = lifted;
                    bare
                }
                None => return,
            }
        };
        let keys = (self.config.counters.packet, &self.parts.suites, self.config.extended.veil.as_deref());
        if let Some(farewell) = self.late.dismiss(&datagram, (meta.socket, meta.remote), keys, now) {
            self.stats.handshakes_dismissed += 1;
            return self.answer(farewell);
        }
        let ids: smallvec::SmallVec<[ConnectionId; 2]> = self.connections.ids().collect();
        for &id in &ids {
            let Some(connection) = self.connections.get(id) else { continue };
            let expected = connection.remote() == meta.remote
                || connection
                    .common
                    .handshake
                    .as_ref()
                    .is_some_and(|handshake| handshake.expects(meta.remote));
            if !expected {
                continue;
            }
            match self.offer(id, now, meta, datagram, bare.as_ref(), false) {
                Receipt::Opened => return,
                Receipt::NotOpened(back) => datagram = back,
            }
        }
        match &bare {
            Some(bare) => client::handle_bare(self, &ids, (bare, &datagram), meta, now),
            None if client::handle_unopened(self, &ids, datagram, meta, now) => {}
            None => self.stats.unroutable += 1,
        }
    }

    /// A client behind a veil: what a datagram is, if it is anything. The veil is looked for only as long as a handshake may be
    /// under way; all else is for the connection.
    fn lift(&mut self, now: Instant, datagram: BytesMut) -> Option<(BytesMut, Option<BareControl>)> {
        let connections = &self.connections;
        let expected =
            connections.ids().filter_map(|id| connections.get(id)).any(|c| c.expects_handshake(now));
        let lifted = match self.veil.as_mut().filter(|_| expected) {
            Some(veil) => veil.lift(&datagram, now),
            None => Lifted::Nothing,
        };
        match lifted {
            Lifted::Handshake(inner) => {
                let bare = parse_bare(&inner);
                Some((inner, bare))
            }
            Lifted::Stale => {
                self.stats.veiled_stale += 1;
                None
            }
            // Nobody of ours sends it bare.
            Lifted::Nothing if looks_bare(&datagram) => {
                self.stats.unroutable += 1;
                None
            }
            Lifted::Nothing => Some((datagram, None)),
        }
    }

    /// Offers a datagram to one connection.
    pub(super) fn offer(
        &mut self,
        id: ConnectionId,
        now: Instant,
        meta: &RecvMeta,
        datagram: BytesMut,
        bare: Option<&BareControl>,
        may_move: bool,
    ) -> Receipt {
        let mut receipt = None;
        let mut datagram = Some(datagram);
        self.with_connection(id, |connection, env| {
            env.may_move = may_move;
            receipt = datagram.take().map(|datagram| connection.receive(now, meta, datagram, bare, env));
        });
        match receipt {
            Some(Receipt::Opened) => {
                self.mark_deliverable(id);
                Receipt::Opened
            }
            Some(Receipt::NotOpened(back)) => Receipt::NotOpened(back),
            None => Receipt::NotOpened(datagram.unwrap_or_default()),
        }
    }
}

/// Whether a datagram reads as RESPONSE of the extended profile, which is bare.
fn is_response(datagram: &[u8]) -> bool {
    looks_bare(datagram) && datagram.get(CONTROL_PREFIX.len()) == Some(&ControlType::Response.id())
}

fn is_disconnect(plaintext: Option<&[u8]>) -> bool {
    let Some((header, len)) = plaintext.and_then(|bytes| PacketHeader::decode(bytes).ok()) else {
        return false;
    };
    let body = plaintext.and_then(|bytes| bytes.get(len..)).unwrap_or_default();
    header.is_control() && matches!(Control::decode(body), Ok((Control::Disconnect, _)))
}

/// Without a cipher nothing proves that the client holds the token but the token itself.
fn shows_token(datagram: &[u8], token: &[u8; 32]) -> bool {
    let Some((_, body)) = datagram.split_at_checked(fastwire_wire::CONTROL_PREFIX.len()) else {
        return false;
    };
    matches!(Control::decode(body), Ok((Control::Response { token: theirs }, _)) if theirs == *token)
}

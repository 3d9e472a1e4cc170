//! Client side of the endpoint: handshakes under way, and asking beside a silent connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;
use fastwire_wire::{CONTROL_PREFIX, Challenge, Control, Features, PROTOCOL_VERSION};

use super::Endpoint;
use super::handshake::BareControl;
use super::handshake::client::{ClientHandshake, SocketRequest, mismatch, rejection};
use super::handshake::extended::client::{ExtendedChallenge, looks_connected};
use super::handshake::looks_bare;
use super::handshake::offer::Offer;
use crate::config::CommonConfig;
use crate::observe::Observed;
use crate::transport::{RecvMeta, SocketId};
use crate::{ConnectionId, ConnectionState, DisconnectReason, Event};

/// A CHALLENGE by the profile it offers.
#[derive(Debug, Clone)]
pub(super) enum Challenged {
    Base(Challenge),
    Extended(Box<ExtendedChallenge>),
}

impl Challenged {
    /// Reads a CHALLENGE as what it is to this configuration; `None`: it is of no use.
    pub(super) fn read(challenge: &Challenge, datagram: &[u8], config: &CommonConfig) -> Option<Self> {
        let extended = config.extended.spoken && challenge.features.contains(Features::EXTENDED);
        if extended {
            return ExtendedChallenge::parse(datagram, config).map(|it| Self::Extended(Box::new(it)));
        }
        let base = config.extended.base && challenge.version == PROTOCOL_VERSION;
        base.then_some(Self::Base(*challenge))
    }
}

/// Takes a bare handshake packet of a server that a connection of ours talks to.
pub(super) fn handle_bare<C: Cipher, Z: Compressor, G: CongestionController>(
    endpoint: &mut Endpoint<C, Z, G>,
    ids: &[ConnectionId],
    (bare, datagram): (&BareControl, &[u8]),
    meta: &RecvMeta,
    now: Instant,
) {
    let path = (meta.socket, meta.remote);
    let challenged = match bare {
        BareControl::Challenge(challenge) => Challenged::read(challenge, datagram, &endpoint.config),
        _ => None,
    };
    for &id in ids {
        let Some(connection) = endpoint.connections.get_mut(id) else { continue };
        let expected = match &connection.common.handshake {
            Some(handshake) => handshake.expects(meta.remote),
            None => connection.remote() == meta.remote,
        };
        if !expected {
            continue;
        }
        let (kind, bytes) = (bare.kind(), datagram.len());
        connection.common.observe(now, || Observed::HandshakeReceived { kind, bytes });
        let config = &endpoint.config;
        if let Some(handshake) = &mut connection.common.handshake {
            match (bare, &challenged) {
                (BareControl::Challenge(_), Some(challenged)) => answer(endpoint, id, challenged, path, now),
                (BareControl::Reject(reject), _) => {
                    let trailer = after_payload(datagram);
                    handshake.handle_bare_refusal(rejection(reject), trailer, path, config, now);
                }
                // One that names our own versions answers a CONNECT that was damaged on its way.
                (BareControl::VersionMismatch(theirs), _)
                    if theirs.version != PROTOCOL_VERSION
                        || theirs.application_version != config.application_version =>
                {
                    let (error, trailer) = (mismatch(theirs, config), after_payload(datagram));
                    handshake.handle_bare_refusal(error, trailer, path, config, now);
                }
                _ => endpoint.stats.malformed_handshakes += 1,
            }
        } else if let Some(challenged) = &challenged {
            connection.handle_revival_challenge(challenged, config, now);
        }
        endpoint.with_connection(id, |_, _| {});
    }
}

/// Answers a CHALLENGE.
fn answer<C: Cipher, Z: Compressor, G: CongestionController>(
    endpoint: &mut Endpoint<C, Z, G>,
    id: ConnectionId,
    challenged: &Challenged,
    path: (SocketId, SocketAddr),
    now: Instant,
) {
    let Some(connection) = endpoint.connections.get_mut(id) else { return };
    let Some(handshake) = &mut connection.common.handshake else { return };
    let (config, suites) = (&endpoint.config, &*endpoint.parts.suites);
    match challenged {
        Challenged::Base(challenge) => {
            if handshake.handle_challenge(challenge, path, config, suites, now) {
                endpoint.stats.key_agreements += 1;
                connection.on_candidate();
            }
        }
        Challenged::Extended(challenge) => {
            if handshake.handle_extended_challenge(challenge, path, config, suites, now) {
                endpoint.stats.key_agreements += 2;
            }
        }
    }
}

/// What comes after a bare control payload.
fn after_payload(datagram: &[u8]) -> &[u8] {
    let payload = datagram.strip_prefix(&CONTROL_PREFIX).unwrap_or_default();
    let len = Control::decode(payload).map_or(payload.len(), |(_, len)| len);
    payload.get(len..).unwrap_or_default()
}

/// Takes a datagram that nobody opened and that is no bare handshake packet: CONNECTED of the extended profile, or what
/// overtook it. Gives whether it was taken.
pub(super) fn handle_unopened<C: Cipher, Z: Compressor, G: CongestionController>(
    endpoint: &mut Endpoint<C, Z, G>,
    ids: &[ConnectionId],
    mut datagram: BytesMut,
    meta: &RecvMeta,
    now: Instant,
) -> bool {
    let path = (meta.socket, meta.remote);
    let suites = Arc::clone(&endpoint.parts.suites);
    let first = endpoint.config.counters.packet;
    for &id in ids {
        let Some(connection) = endpoint.connections.get_mut(id) else { continue };
        let Some(handshake) = &mut connection.common.handshake else { continue };
        if !looks_bare(&datagram) {
            if handshake.hold(&datagram, path) {
                return true;
            }
            continue;
        }
        if !looks_connected(&datagram) {
            return false;
        }
        let Some(won) = handshake.handle_connected(&mut datagram, path, first, &suites) else { continue };
        let controller = endpoint.controller(true, now);
        endpoint.with_connection(id, |connection, env| {
            connection.win_extended(won, (datagram, meta), controller, &suites, now, env);
        });
        endpoint.mark_deliverable(id);
        return true;
    }
    false
}

/// What time brings to a client's connection besides what it brings to all.
pub(super) fn handle_timeout<C: Cipher, Z: Compressor, G: CongestionController>(
    endpoint: &mut Endpoint<C, Z, G>,
    id: ConnectionId,
    now: Instant,
) {
    drive_handshake(endpoint, id, now);
    let Some(connection) = endpoint.connections.get_mut(id) else { return };
    if connection.wants_revival(&endpoint.config, now) {
        connection.start_revival(Offer::draw(&endpoint.config, &mut endpoint.entropy), now);
    }
    if connection.rebind_due(now) {
        endpoint.move_to_new_socket(id, now);
    }
    let Some(connection) = endpoint.connections.get_mut(id) else { return };
    let path = (connection.socket(), connection.remote());
    let Some((revival, challenged)) = connection.take_revival(now) else { return };
    // The server was restarted: the old connection ends, and a new one goes on with the server's answer.
    endpoint.with_connection(id, |connection, env| connection.end(DisconnectReason::Timeout, env));
    let timeout = endpoint.config.handshake_timeout;
    let Some(handshake) = ClientHandshake::new(&[path.1], path.0, revival.offer, timeout, now) else {
        return;
    };
    let id = endpoint.add_connection(path, now);
    if let Some(connection) = endpoint.connections.get_mut(id) {
        connection.common.handshake = Some(Box::new(handshake));
    }
    answer(endpoint, id, &challenged, path, now);
    endpoint.with_connection(id, |_, _| {});
}

/// After a long gap in which nobody drove the endpoint: asks the server at once whether the connection still stands.
pub(super) fn handle_gap<C: Cipher, Z: Compressor, G: CongestionController>(
    endpoint: &mut Endpoint<C, Z, G>,
    now: Instant,
) {
    let ids: smallvec::SmallVec<[ConnectionId; 2]> = endpoint.connections.ids().collect();
    for id in ids {
        endpoint.with_connection(id, |connection, _| connection.on_resumed(now));
        handle_timeout(endpoint, id, now);
    }
}

/// Starts further attempts that are due, and ends a handshake whose time is up.
fn drive_handshake<C: Cipher, Z: Compressor, G: CongestionController>(
    endpoint: &mut Endpoint<C, Z, G>,
    id: ConnectionId,
    now: Instant,
) {
    let Some(connection) = endpoint.connections.get_mut(id) else { return };
    if connection.state() != ConnectionState::Connecting {
        return;
    }
    let Some(handshake) = &mut connection.common.handshake else { return };
    if let Some(error) = handshake.verdict(now) {
        let sockets: Vec<_> = handshake.sockets().filter(|socket| *socket != endpoint.home).collect();
        endpoint.socket_requests.extend(sockets.into_iter().map(|socket| SocketRequest::Close { socket }));
        if let Some(mut connection) = endpoint.connections.remove(id) {
            connection.common.observe(now, || Observed::Closed { reason: None });
        }
        endpoint.events.push_back(Event::ConnectFailed { connection: id, error });
        return;
    }
    while let Some(remote) = handshake.wants_attempt(now) {
        let socket = SocketId(endpoint.next_socket);
        endpoint.next_socket = endpoint.next_socket.wrapping_add(1).max(1);
        endpoint.socket_requests.push_back(SocketRequest::Open { socket, remote });
        handshake.add(remote, socket, Offer::draw(&endpoint.config, &mut endpoint.entropy), now);
    }
    while let Some((socket, remote)) = handshake.wants_second(now) {
        handshake.add(remote, socket, Offer::draw(&endpoint.config, &mut endpoint.entropy), now);
    }
}

//! Client side of the endpoint: handshakes under way, and asking beside a silent connection.

use std::time::Instant;

use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::{Cipher, KeyPair};

use super::Endpoint;
use super::handshake::BareControl;
use super::handshake::client::{ClientHandshake, SocketRequest, mismatch, rejection};
use crate::transport::{RecvMeta, SocketId};
use crate::{ConnectionId, ConnectionState, DisconnectReason, Event};

/// Takes a handshake packet of a server that a connection of ours talks to.
pub(super) fn handle_bare<C: Cipher, Z: Compressor, G: CongestionController>(
    endpoint: &mut Endpoint<C, Z, G>,
    ids: &[ConnectionId],
    bare: &BareControl,
    meta: &RecvMeta,
    now: Instant,
) {
    for &id in ids {
        let Some(connection) = endpoint.connections.get_mut(id) else { continue };
        if let Some(handshake) = &mut connection.handshake {
            if !handshake.expects(meta.remote) {
                continue;
            }
            match bare {
                BareControl::Challenge(challenge) if challenge.version == fastwire_wire::PROTOCOL_VERSION => {
                    let path = (meta.socket, meta.remote);
                    let suites = &*endpoint.parts.suites;
                    if handshake.handle_challenge(challenge, path, &endpoint.config, suites, now) {
                        endpoint.stats.key_agreements += 1;
                        connection.on_candidate(&endpoint.config);
                    }
                }
                BareControl::Reject(reject) => handshake.handle_refusal(rejection(reject), now),
                // One that names our own versions answers a CONNECT that was damaged on its way.
                BareControl::VersionMismatch(theirs)
                    if theirs.version != fastwire_wire::PROTOCOL_VERSION
                        || theirs.application_version != endpoint.config.application_version =>
                {
                    handshake.handle_refusal(mismatch(theirs, &endpoint.config), now);
                }
                _ => endpoint.stats.malformed_handshakes += 1,
            }
        } else if let BareControl::Challenge(challenge) = bare
            && connection.remote() == meta.remote
        {
            connection.handle_revival_challenge(challenge, &endpoint.config, now);
        }
        endpoint.with_connection(id, |_, _| {});
    }
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
        connection.start_revival(KeyPair::from_secret(endpoint.entropy.bytes()), now);
    }
    let Some(connection) = endpoint.connections.get_mut(id) else { return };
    let path = (connection.socket(), connection.remote());
    let Some((revival, challenge)) = connection.take_revival(now) else { return };
    // The server was restarted: the old connection ends, and a new one goes on with the server's answer.
    endpoint.with_connection(id, |connection, env| connection.end(DisconnectReason::Timeout, env));
    let timeout = endpoint.config.handshake_timeout;
    let Some(mut handshake) = ClientHandshake::new(&[path.1], path.0, revival.keys, timeout, now) else {
        return;
    };
    let taken = handshake.handle_challenge(&challenge, path, &endpoint.config, &*endpoint.parts.suites, now);
    let id = endpoint.add_connection(path, now);
    if let Some(connection) = endpoint.connections.get_mut(id) {
        connection.handshake = Some(Box::new(handshake));
        if taken {
            endpoint.stats.key_agreements += 1;
            connection.on_candidate(&endpoint.config);
        }
    }
    endpoint.with_connection(id, |_, _| {});
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
    let Some(handshake) = &mut connection.handshake else { return };
    if let Some(error) = handshake.verdict(now) {
        let sockets: Vec<_> = handshake.sockets().filter(|socket| *socket != endpoint.home).collect();
        endpoint.socket_requests.extend(sockets.into_iter().map(|socket| SocketRequest::Close { socket }));
        endpoint.connections.remove(id);
        endpoint.events.push_back(Event::ConnectFailed { connection: id, error });
        return;
    }
    while let Some(remote) = handshake.wants_attempt(now) {
        let socket = SocketId(endpoint.next_socket);
        endpoint.next_socket = endpoint.next_socket.wrapping_add(1).max(1);
        endpoint.socket_requests.push_back(SocketRequest::Open { socket, remote });
        handshake.add(remote, socket, KeyPair::from_secret(endpoint.entropy.bytes()), now);
    }
}

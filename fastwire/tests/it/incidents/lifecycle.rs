//! Connections of others that could not come back, could be taken away, or lived on as ghosts.

use std::time::Instant;

use fastwire::transport::SocketId;
use fastwire::wire::{Control, Reject, RejectReason};
use fastwire::{ConnectionState, DisconnectReason, Event, ServerConfig};

use super::peer::Hostile;
use crate::duo::{Duo, client_address, drain, feed, seeded_client, server, server_address};
use crate::handshake::{MS, bare, connect_of, defaults};

/// A client that crashed and came back on its port was told "already connected" until the old connection timed out.
#[test]
fn a_crashed_client_rejoins_at_once_on_its_old_port() {
    let (server_config, client_config) = defaults();
    let (mut duo, old, _) = Duo::connected(&server_config, &client_config);
    duo.client = seeded_client(&client_config, 9, duo.now);
    let at_client = duo.connect();
    duo.run(MS(500), |_, _| true);
    assert!(duo.client_events.contains(&Event::Connected { connection: at_client }));
    assert!(
        duo.server_events
            .contains(&Event::Disconnected { connection: old, reason: DisconnectReason::Replaced })
    );
    assert_eq!(duo.server.connection_count(), 1);
}

/// A spoofed CONNECT from a player's address threw the player out.
#[test]
fn a_spoofed_connect_takes_no_connection_away() {
    let (server_config, client_config) = defaults();
    let (mut duo, at_server, _) = Duo::connected(&server_config, &client_config);
    let now = duo.now;
    for seed in 10..40 {
        feed(&mut duo.server, now, client_address(SocketId::PRIMARY), &connect_of(seed, now));
    }
    duo.run(MS(8000), |_, _| true);
    assert_eq!(duo.server.state(at_server), ConnectionState::Connected);
    assert_eq!((&duo.server_events[..], &duo.client_events[..]), (&[][..], &[][..]));
}

/// One forged refusal ended every attempt to connect.
#[test]
fn a_forged_reject_before_the_challenge_does_not_keep_a_client_out() {
    let (server_config, client_config) = defaults();
    let mut duo = Duo::new(&server_config, &client_config);
    let at_client = duo.connect();
    let now = duo.now;
    feed(
        &mut duo.client,
        now,
        server_address(),
        &bare(&Control::Reject(Reject { reason: RejectReason::BANNED })),
    );
    duo.run(MS(500), |_, _| true);
    assert_eq!(duo.client_events, [Event::Connected { connection: at_client }]);
}

/// An id kept after the end named the next player.
#[test]
fn an_id_kept_after_the_end_names_nobody() {
    let mut peer = Hostile::new(&ServerConfig::default());
    let old = peer.id;
    let now = peer.now;
    peer.core.kick(now, old, "away").expect("known");
    peer.events();
    for step in 1..40 {
        peer.core.handle_timeout(now + MS(100) * step);
        peer.drain();
    }
    assert_eq!(peer.core.state(old), ConnectionState::Disconnected);
    let (server_config, client_config) = defaults();
    let (mut duo, first, _) = Duo::connected(&server_config, &client_config);
    let now = duo.now;
    duo.server.kick(now, first, "away").expect("known");
    duo.run(MS(5000), |_, _| true);
    duo.client = seeded_client(&client_config, 9, duo.now);
    duo.connect();
    duo.run(MS(500), |_, _| true);
    let second = duo.server_id();
    assert_ne!(first, second);
    assert!(duo.server.send(duo.now, first, b"for the first", 0).is_err());
    assert!(duo.server.connection_stats(first).is_none());
}

/// Slots filled with handshakes nobody finished.
#[test]
fn handshakes_nobody_finishes_hold_no_connection_slot() {
    let mut config = ServerConfig::default();
    config.max_connections = 2;
    let now = Instant::now();
    let mut core = server(&config, now);
    for seed in 0..60u8 {
        feed(&mut core, now, ([10, 9, 9, seed], 1).into(), &connect_of(seed, now));
        drain(&mut core, now);
    }
    feed(&mut core, now, client_address(SocketId::PRIMARY), &connect_of(200, now));
    let answer = drain(&mut core, now).remove(0).bytes;
    assert!(matches!(Control::decode(&answer[8..]), Ok((Control::Challenge(_), _))));
}

/// A clock that stepped back made `now - then` panic.
#[test]
fn a_clock_that_steps_back_neither_panics_nor_disconnects() {
    let (server_config, client_config) = defaults();
    let (mut duo, at_server, at_client) = Duo::connected(&server_config, &client_config);
    for step in 0..200u32 {
        let there = duo.now;
        duo.now = if step % 2 == 0 { there - MS(40) } else { there + MS(41) };
        let _ = duo.client.send(duo.now, at_client, b"x", 0);
        let now = duo.now;
        duo.server.handle_timeout(now);
        duo.client.handle_timeout(now);
        feed(&mut duo.server, now, client_address(SocketId::PRIMARY), &[1, 2, 3]);
        duo.now = there;
        duo.run(MS(20), |_, _| true);
    }
    assert_eq!(duo.server.state(at_server), ConnectionState::Connected);
    let messages = duo.server_events.iter().filter(|event| matches!(event, Event::Message { .. })).count();
    assert_eq!(messages, 200);
}

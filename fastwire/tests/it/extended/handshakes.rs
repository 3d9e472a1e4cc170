//! The extended handshake end to end: lost, changed, recorded and replayed datagrams, other profiles, restarts (PROTOCOL B1–B2).

use std::time::Duration;

use fastwire::crypto::PublicKey;
use fastwire::sim::{LinkConfig, Rng, World};
use fastwire::transport::SocketId;
use fastwire::{
    ClientConfig, ClientProfile, ConnectError, DisconnectReason, Event, Identity, Profile, ServerConfig,
    ServerProfile,
};

use super::MS;
use crate::duo::{
    CHALLENGE, CONNECT, Duo, LATENCY, Way, bare_type, client_address, drain, events, feed, seeded_client,
    server, server_address,
};

const RESPONSE: Option<u8> = Some(3);
const CONNECTED: Option<u8> = Some(4);

/// A server with an identity and a client that has pinned it.
fn pinned() -> (ServerConfig, ClientConfig) {
    let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
    let identity = Identity::from_secret([5; 32]);
    (client.pinned, server.identity) = (Some(identity.public_key()), Some(identity));
    (server, client)
}

fn key() -> PublicKey {
    Identity::from_secret([5; 32]).public_key()
}

/// Whether both sides of a pair are connected in this profile, the client to the server with the pinned key.
#[track_caller]
fn assert_connected(duo: &Duo, profile: Profile) {
    let at_client = duo.client.connections().next().expect("a connection");
    assert_eq!(duo.client.profile(at_client), Some(profile));
    assert!(
        duo.client_events.contains(&Event::Connected { connection: at_client }),
        "{:?}",
        duo.client_events
    );
    assert!(duo.server_events.iter().any(|event| matches!(event, Event::Connected { .. })));
    if profile == Profile::Extended {
        assert_eq!(duo.client.server_key(at_client), Some(key()));
    }
}

#[test]
fn both_ends_export_the_same_secret_and_know_the_servers_key() {
    let (server, client) = pinned();
    let mut unpinned = client.clone();
    unpinned.pinned = None;
    for client in [client, unpinned] {
        let (duo, at_server, at_client) = Duo::connected(&server, &client);
        let secret = |core: &crate::duo::Core, id, label: &[u8]| {
            let mut out = [0; 48];
            assert!(core.export_keying_material(id, label, &mut out));
            out
        };
        let here = secret(&duo.client, at_client, b"login");
        assert_eq!(here, secret(&duo.server, at_server, b"login"));
        assert_ne!(here, secret(&duo.server, at_server, b"logout"));
        assert_eq!(duo.client.server_key(at_client), Some(key()));
        assert_eq!(duo.server.identity_key(), Some(key()));
    }
}

#[test]
fn a_lost_datagram_costs_a_repeat_and_not_the_connection() {
    let kinds = [
        (CONNECT, Way::ToServer),
        (CHALLENGE, Way::ToClient),
        (RESPONSE, Way::ToServer),
        (CONNECTED, Way::ToClient),
    ];
    for (kind, lost_way) in kinds {
        for losses in 0..8 {
            let (server, client) = pinned();
            let mut duo = Duo::new(&server, &client);
            duo.connect();
            let mut lost = 0;
            // CONNECT and RESPONSE go out every 100 ms, and a CHALLENGE or CONNECTED answers each.
            duo.run(MS(100) * losses + LATENCY * 6, |way, bytes| {
                let hit = way == lost_way && bare_type(bytes) == kind && lost < losses;
                lost += u32::from(hit);
                !hit
            });
            assert_eq!(lost, losses, "{kind:?}");
            assert_connected(&duo, Profile::Extended);
        }
    }
}

/// Tampering with one datagram of the handshake, whichever bit of whichever datagram, heals within 2 s: with the pinned server, in
/// the extended profile.
#[test]
fn one_changed_datagram_heals() {
    let (server, client) = pinned();
    for kind in [CONNECT, CHALLENGE, RESPONSE, CONNECTED] {
        let mut bits = usize::MAX;
        let mut bit = 0;
        // What comes after CONNECT's trailer is padding.
        while bit < bits.min(120 * 8) {
            let mut duo = Duo::new(&server, &client);
            duo.connect();
            let mut changed = false;
            duo.run_changing(MS(2000), |_, bytes, copies| {
                let mut bytes = bytes.to_vec();
                if bare_type(&bytes) == kind && !changed {
                    changed = true;
                    bits = bytes.len() * 8;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                copies.push((Duration::ZERO, bytes));
            });
            assert!(changed);
            assert_connected(&duo, Profile::Extended);
            bit += 11;
        }
    }
}

/// The man in the middle that changes every datagram in its feature bits, or every one in its keys, gets silence.
#[test]
fn a_pinning_client_never_comes_to_another_server_or_profile() {
    let (server, client) = pinned();
    let mut unpinned = client.clone();
    unpinned.pinned = None;
    // Bit 04 of CONNECT stripped; the server's key of CHALLENGE replaced; its epoch key replaced.
    let attacks: [(Option<u8>, usize, u8); 3] =
        [(CONNECT, 8 + 39, 0x04), (CHALLENGE, 8 + 71 + 10, 1), (CHALLENGE, 8 + 4, 1)];
    for (index, (kind, at, mask)) in attacks.into_iter().enumerate() {
        for (client, is_pinned) in [(&client, true), (&unpinned, false)] {
            let mut duo = Duo::new(&server, client);
            let id = duo.connect();
            duo.run_changing(MS(6000), |_, bytes, copies| {
                let mut bytes = bytes.to_vec();
                if bare_type(&bytes) == kind && bytes.len() > at {
                    bytes[at] ^= mask;
                }
                copies.push((Duration::ZERO, bytes));
            });
            let profile = duo.client.profile(id);
            match (index, is_pinned) {
                // Nothing proves that a server that seems to speak the base profile only does.
                (0, false) => assert_eq!(profile, Some(Profile::Base)),
                // The pinned key is not in CHALLENGE: nothing was replaced.
                (1, true) => assert_eq!(profile, Some(Profile::Extended)),
                _ => {
                    assert_eq!(profile, None, "attack {index}");
                    let failed = |event: &Event| matches!(event, Event::ConnectFailed { .. });
                    assert!(duo.client_events.iter().any(failed), "{:?}", duo.client_events);
                }
            }
        }
    }
}

#[test]
fn profiles_meet_where_both_policies_allow() {
    use ClientProfile::{BaseOnly, Prefer, Require};
    let timeout = ConnectError::Timeout { after: Duration::from_secs(5) };
    let cases = [
        (ServerProfile::Both, Prefer, Ok(Profile::Extended)),
        (ServerProfile::Both, Require, Ok(Profile::Extended)),
        (ServerProfile::Both, BaseOnly, Ok(Profile::Base)),
        (ServerProfile::ExtendedOnly, Prefer, Ok(Profile::Extended)),
        (ServerProfile::ExtendedOnly, Require, Ok(Profile::Extended)),
        (ServerProfile::ExtendedOnly, BaseOnly, Err(ConnectError::NotAuthorised)),
        (ServerProfile::BaseOnly, Prefer, Ok(Profile::Base)),
        (ServerProfile::BaseOnly, Require, Err(timeout)),
        (ServerProfile::BaseOnly, BaseOnly, Ok(Profile::Base)),
    ];
    for (server_profile, client_profile, expected) in cases {
        let (mut server, _) = pinned();
        let mut client = ClientConfig::default();
        (server.profile, client.profile) = (server_profile, client_profile);
        let mut duo = Duo::new(&server, &client);
        let id = duo.connect();
        duo.run(MS(5100), |_, _| true);
        match expected {
            Ok(profile) => assert_connected(&duo, profile),
            Err(error) => assert_eq!(duo.client_events, [Event::ConnectFailed { connection: id, error }]),
        }
    }
}

/// Everything a client ever sent, sent again from its address, makes no connection that anybody hears of.
#[test]
fn a_recording_opens_nothing() {
    let (server, client) = pinned();
    for wait in [0, 1, 9, 15] {
        let mut duo = Duo::new(&server, &client);
        let id = duo.connect();
        duo.run(MS(300), |_, _| true);
        duo.client.send(duo.now, id, b"once", 0).expect("queued");
        duo.run(MS(300), |_, _| true);
        duo.client.close(duo.now, id).expect("closes");
        duo.run(Duration::from_secs(2 + wait), |_, _| true);
        let before = duo.server_events.len();
        assert_eq!(before, 3, "{:?}", duo.server_events);
        let recorded: Vec<Vec<u8>> =
            duo.log.iter().filter(|sent| sent.1 == Way::ToServer).map(|sent| sent.3.clone()).collect();
        for _ in 0..3 {
            for bytes in &recorded {
                feed(&mut duo.server, duo.now, client_address(SocketId::PRIMARY), bytes);
                drain(&mut duo.server, duo.now);
                duo.now += MS(1);
            }
        }
        duo.run(MS(6000), |_, _| true);
        assert_eq!(duo.server_events.len(), before, "{:?}", duo.server_events);
        assert_eq!(duo.server.connection_count(), 0);
        assert!(duo.server.stats().key_agreements <= 2, "no key agreement for a recording");
    }
}

/// Clients that never say more than RESPONSE hold no more places than `half_open_connections`; the ones that are connected keep
/// theirs.
#[test]
fn half_open_connections_are_bounded_and_take_no_connected_ones_place() {
    let (mut config, client) = pinned();
    config.limits.half_open_connections = 4;
    let now = std::time::Instant::now();
    let mut core = server(&config, now);
    let (mut clients, mut ids) = (Vec::new(), Vec::new());
    for seed in 10..30u8 {
        let mut client = seeded_client(&client, seed, now);
        client.connect(now, &[server_address()]).expect("connects");
        let from = client_address(SocketId(seed.into()));
        let completes = seed % 2 == 0;
        for _ in 0..4 {
            for sent in drain(&mut client, now) {
                if completes || matches!(bare_type(&sent.bytes), CONNECT | RESPONSE) {
                    feed(&mut core, now, from, &sent.bytes);
                }
            }
            for sent in drain(&mut core, now) {
                if sent.to == from {
                    feed(&mut client, now, server_address(), &sent.bytes);
                }
            }
        }
        for event in events(&mut core) {
            let Event::Connected { connection } = event else { panic!("{event:?}") };
            ids.push(connection);
        }
        clients.push(client);
    }
    assert_eq!(ids.len(), 10);
    assert_eq!(core.connection_count(), 14, "ten connected and four half-open ones");
    for id in ids {
        assert_eq!(core.state(id), fastwire::ConnectionState::Connected);
    }
}

/// Where a fifth of the datagrams is lost and a tenth of the others damaged, every client gets in, well before it gives up.
#[test]
fn a_bad_line_keeps_nobody_out() {
    let (server, client) = pinned();
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut duo = Duo::new(&server, &client);
        let id = duo.connect();
        let mut waited = Duration::ZERO;
        while duo.client.state(id) != fastwire::ConnectionState::Connected {
            assert!(waited < MS(4500), "seed {seed}: {:?}", duo.client_events);
            waited += MS(100);
            duo.run_changing(MS(100), |_, bytes, copies| {
                let mut bytes = bytes.to_vec();
                if rng.chance(0.2) {
                    return;
                }
                if rng.chance(0.1) {
                    let bit = rng.below(bytes.len() as u64 * 8) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                copies.push((Duration::ZERO, bytes));
            });
        }
        assert_eq!(duo.client.profile(id), Some(Profile::Extended), "seed {seed}");
    }
}

/// A restarted server is found again within 3 s, by a client that has pinned it too.
#[test]
fn a_client_finds_a_restarted_server() {
    for seed in 0..5 {
        let (server, client) = pinned();
        let mut world = World::new(seed);
        let server = world.server(server).expect("server");
        let client = world.client(client).expect("client");
        world.line(client, server, LinkConfig::new().latency(MS(20))).expect("line");
        let first = world.connect(client, server).expect("connects");
        let deadline = world.now() + MS(1000);
        world.run_until(deadline, |_, _, _| false);
        world.switch_off(server);
        world.switch_on(server).expect("on");
        let restarted = world.now();
        let (mut seen, mut back) = (Vec::new(), None);
        world.run_until(restarted + MS(5000), |world, node, event| {
            if node == client {
                seen.push(event);
                back = Some(world.now());
            }
            seen.len() == 2
        });
        assert_eq!(seen[0], Event::Disconnected { connection: first, reason: DisconnectReason::Timeout });
        let Some(Event::Connected { connection }) = seen.get(1) else { panic!("{seen:?}") };
        assert!(back.is_some_and(|at| at - restarted <= MS(3000)), "{:?}", back.map(|at| at - restarted));
        let profile = world.endpoint(client).and_then(|endpoint| endpoint.profile(*connection));
        assert_eq!(profile, Some(Profile::Extended));
        assert_eq!(world.report().nonces_reused, 0);
    }
}

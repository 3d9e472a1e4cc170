//! Connections in time: heartbeats, silence, farewells, and clocks that do not behave (PROTOCOL A6).

use std::time::Duration;

use fastwire::sim::Rng;
use fastwire::{ConnectionState, DisconnectReason, Event};

use crate::duo::{
    CONNECT, Duo, LATENCY, PROFILES, Way, bare_type, base_client, base_server, configs, drain, events,
};
use crate::handshake::{MS, defaults};

fn pair() -> (Duo, fastwire::ConnectionId, fastwire::ConnectionId) {
    Duo::connected(&base_server(), &base_client())
}

#[test]
fn heartbeats_keep_an_idle_connection_for_little() {
    let (mut duo, _, _) = pair();
    duo.run(MS(60_000), |_, _| true);
    assert_eq!((&duo.server_events[..], &duo.client_events[..]), (&[][..], &[][..]));
    for way in [Way::ToServer, Way::ToClient] {
        let sent: Vec<_> = duo.log.iter().filter(|entry| entry.1 == way).collect();
        // One a second; CONNECTED, which is never acknowledged, beside: at first often, then ever less.
        assert!((55..=90).contains(&sent.len()), "{way:?}: {}", sent.len());
        let gaps = sent.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert!(gaps.max().is_some_and(|gap| gap <= MS(1010)));
    }
}

/// A client that is seldom told anything is not one that has been forgotten.
#[test]
fn a_quiet_client_asks_after_its_server_no_sooner_than_heartbeats_fail() {
    for (profile, interval) in PROFILES.into_iter().flat_map(|it| [1, 3, 8, 20].map(|s| (it, MS(s * 1000)))) {
        let (mut server, mut client) = configs(profile);
        (server.heartbeat_interval, client.heartbeat_interval) = (interval, interval);
        // What was heard last may be an interval old when silence begins.
        (server.connection_timeout, client.connection_timeout) = (MS(90_000), MS(90_000));
        let (mut duo, ..) = Duo::connected(&server, &client);
        duo.run(MS(200_000), |_, _| true);
        let asked = |duo: &Duo| duo.log.iter().filter(|entry| bare_type(&entry.3) == CONNECT).count();
        assert_eq!((asked(&duo), duo.sockets.len()), (0, 1), "{profile:?}, {interval:?}");

        // and not later than two of them
        duo.run(interval * 2 + MS(2000), |_, _| false);
        assert!(asked(&duo) > 0, "{profile:?}, {interval:?}");
        assert_eq!(duo.client_events, [], "{profile:?}, {interval:?}");
    }
}

/// Whenever a server comes back before its clients give up on it, one lost question costs none of them.
#[test]
fn a_server_back_shortly_before_the_timeout_is_found_though_a_question_is_lost() {
    for (profile, away) in PROFILES.into_iter().flat_map(|it| (50..=82).map(move |away| (it, MS(away * 100))))
    {
        let (server, client) = configs(profile);
        let (mut duo, _, at_client) = Duo::connected(&server, &client);
        duo.run(away, |_, _| false);
        assert_eq!(duo.client_events, [], "{profile:?} after {away:?}");
        duo.server = crate::duo::server(&server, duo.now);
        let mut lost = false;
        duo.run(MS(10_000) - away + MS(1000), |_, bytes| {
            bare_type(bytes) != CONNECT || std::mem::replace(&mut lost, true)
        });
        let timeout = Event::Disconnected { connection: at_client, reason: DisconnectReason::Timeout };
        assert_eq!(duo.client_events.first(), Some(&timeout), "{profile:?} after {away:?}");
        assert!(
            matches!(duo.client_events[1..], [Event::Connected { .. }]),
            "{profile:?} after {away:?}: {:?}",
            duo.client_events
        );
    }
}

#[test]
fn silence_ends_a_connection_at_the_timeout_and_not_before() {
    let (server, mut client) = defaults();
    client.reconnect = false;
    let (mut duo, at_server, at_client) = Duo::connected(&server, &client);
    duo.run(MS(100), |_, _| true);
    duo.run(MS(8900), |_, _| false);
    assert_eq!((&duo.server_events[..], &duo.client_events[..]), (&[][..], &[][..]));
    duo.run(MS(1200), |_, _| false);
    let reason = DisconnectReason::Timeout;
    assert_eq!(duo.server_events, [Event::Disconnected { connection: at_server, reason }]);
    assert_eq!(duo.client_events, [Event::Disconnected { connection: at_client, reason }]);
    assert_eq!((duo.server.connection_count(), duo.client.connection_count()), (0, 0));
    duo.log.clear();
    duo.run(MS(30_000), |_, _| true);
    assert_eq!(duo.log.len(), 0, "nothing is sent for what is over");
    assert_eq!(duo.client.state(at_client), ConnectionState::Disconnected);
}

#[test]
fn an_outage_shorter_than_the_timeout_is_survived() {
    let (mut duo, at_server, at_client) = pair();
    for number in 0..50u8 {
        duo.client.send(duo.now, at_client, [number; 200], 0).expect("queued");
        duo.server.send(duo.now, at_server, [number; 200], 0).expect("queued");
    }
    duo.run(MS(8000), |_, _| false);
    duo.run(MS(4000), |_, _| true);
    for events in [&duo.server_events, &duo.client_events] {
        let firsts = events.iter().map(|event| match event {
            Event::Message { data, .. } => data[0],
            other => panic!("{other:?}"),
        });
        assert!(firsts.eq(0..50));
    }
}

#[test]
fn closing_lets_queued_messages_leave_for_the_linger_time() {
    let (mut duo, _, at_client) = pair();
    for number in 0..100u8 {
        duo.client.send(duo.now, at_client, [number; 1000], 0).expect("queued");
    }
    duo.client.close(duo.now, at_client).expect("open");
    assert!(duo.client.send(duo.now, at_client, b"late", 0).is_err(), "nothing more is taken");
    let mut count = 0;
    duo.run(MS(3000), |_, _| {
        count += 1;
        count % 10 != 0
    });
    let delivered = duo.server_events.iter().filter(|event| matches!(event, Event::Message { .. })).count();
    assert_eq!(delivered, 100);
    assert!(matches!(
        duo.server_events.last(),
        Some(Event::Disconnected { reason: DisconnectReason::Graceful, .. })
    ));

    // A peer that is gone holds the close up for the linger time and the farewells, no longer.
    let (mut duo, _, at_client) = pair();
    duo.client.send(duo.now, at_client, b"unheard", 0).expect("queued");
    duo.client.close(duo.now, at_client).expect("open");
    duo.run(MS(990), |_, _| false);
    assert_eq!(duo.client_events, []);
    duo.run(MS(5000), |_, _| false);
    let reason = DisconnectReason::Graceful;
    assert_eq!(duo.client_events, [Event::Disconnected { connection: at_client, reason }]);
}

#[test]
fn closing_now_waits_for_nothing_and_says_so_three_times_an_rto_apart() {
    let (mut duo, _, at_client) = pair();
    duo.client.send(duo.now, at_client, [1; 100], 0).expect("queued");
    duo.client.close_now(duo.now, at_client).expect("open");
    let rto = duo.client.connection_stats(at_client).expect("closing").rto;
    duo.run(MS(10_000), |way, _| way == Way::ToClient);
    let sent: Vec<_> = duo.log.iter().filter(|entry| entry.1 == Way::ToServer).collect();
    assert_eq!(sent.len(), 3, "DISCONNECT three times and nothing else");
    assert!(sent.iter().all(|entry| entry.3.len() == 33));
    for pair in sent.windows(2) {
        // An acknowledgement that was under way still changes the estimate a little.
        let gap = pair[1].0 - pair[0].0;
        assert!(gap.abs_diff(rto) <= rto / 20, "{gap:?}, {rto:?}");
    }
    let reason = DisconnectReason::Graceful;
    assert_eq!(duo.client_events, [Event::Disconnected { connection: at_client, reason }]);
}

#[test]
fn one_farewell_of_three_is_enough() {
    for arrives in 0..3 {
        let (mut duo, at_server, at_client) = pair();
        duo.client.close_now(duo.now, at_client).expect("open");
        let mut count = 0;
        duo.run(MS(2000), |way, _| {
            count += i32::from(way == Way::ToServer);
            way == Way::ToServer && count == arrives + 1
        });
        let reason = DisconnectReason::Graceful;
        assert_eq!(duo.server_events, [Event::Disconnected { connection: at_server, reason }]);
    }
}

#[test]
fn a_kicked_client_is_gone_at_once() {
    let (mut duo, at_server, at_client) = pair();
    duo.server.kick(duo.now, at_server, "no shouting").expect("open");
    duo.run(MS(1000), |_, _| true);
    let reason = DisconnectReason::Kicked;
    assert_eq!(duo.server_events, [Event::Disconnected { connection: at_server, reason }]);
    let reason = DisconnectReason::Graceful;
    assert_eq!(duo.client_events, [Event::Disconnected { connection: at_client, reason }]);
    assert!(duo.server.kick(duo.now, at_server, "again").is_err());
}

#[test]
fn clocks_that_jump_end_no_connection() {
    let (mut duo, at_server, at_client) = pair();
    let mut rng = Rng::new(6);
    let base = duo.now + MS(2 * 3_600_000);
    let (mut sent, mut delivered) = (0u32, [0u32; 2]);
    for _ in 0..1000 {
        // Anywhere within an hour before or after.
        duo.now = base + rng.duration(MS(2 * 3_600_000)) - MS(3_600_000);
        duo.client.send(duo.now, at_client, sent.to_le_bytes(), 0).expect("queued");
        duo.server.send(duo.now, at_server, sent.to_le_bytes(), 0).expect("queued");
        sent += 1;
        duo.run(MS(100), |_, _| true);
    }
    duo.run(MS(5000), |_, _| true);
    for (count, events) in delivered.iter_mut().zip([&duo.server_events, &duo.client_events]) {
        for event in events {
            let Event::Message { data, .. } = event else { panic!("{event:?}") };
            assert_eq!(data[..], count.to_le_bytes());
            *count += 1;
        }
    }
    assert_eq!(delivered, [sent; 2]);
}

#[test]
fn five_seconds_without_a_tick_are_not_five_seconds_of_silence() {
    let (server, mut client) = defaults();
    client.connection_timeout = MS(3000);
    client.reconnect = false;
    let (mut duo, at_server, at_client) = Duo::connected(&server, &client);
    for _ in 0..10 {
        // The client loads a level; the server goes on.
        for _ in 0..500 {
            duo.now += MS(10);
            duo.server.handle_timeout(duo.now);
            drain(&mut duo.server, duo.now);
        }
        duo.run(MS(1000), |_, _| true);
    }
    assert_eq!((&duo.server_events[..], &duo.client_events[..]), (&[][..], &[][..]));
    duo.client.send(duo.now, at_client, b"still here", 0).expect("queued");
    duo.run(LATENCY * 3, |_, _| true);
    assert_eq!(duo.server_events.len(), 1);
    assert_eq!(duo.server.state(at_server), ConnectionState::Connected);
}

#[test]
fn a_second_of_one_packet_in_a_hundred_lost_for_an_hour_costs_nothing() {
    let (mut duo, at_server, at_client) = pair();
    let mut rng = Rng::new(11);
    let (mut sent, mut got) = (0u32, [0u32; 2]);
    for _ in 0..3600 {
        duo.client.send(duo.now, at_client, sent.to_le_bytes(), 0).expect("queued");
        duo.server.send(duo.now, at_server, sent.to_le_bytes(), 0).expect("queued");
        sent += 1;
        duo.run(Duration::from_secs(1), |_, _| !rng.chance(0.01));
        duo.log.clear();
        for (count, list) in got.iter_mut().zip([&mut duo.server_events, &mut duo.client_events]) {
            for event in list.drain(..) {
                let Event::Message { data, .. } = event else { panic!("{event:?}") };
                assert_eq!(data[..], count.to_le_bytes());
                *count += 1;
            }
        }
    }
    assert!(got.iter().all(|count| sent - count <= 1), "{got:?} of {sent}");
    assert!(events(&mut duo.client).is_empty());
}

//! What operators ask of a server: places an address may take, a word before anybody gets one, the info query, draining.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastwire::wire::info::{InfoAnswer, InfoRequest, MIN_INFO_REQUEST};
use fastwire::{ConnectError, ConnectionId, Event, Profile, Server, ServerInfo};

use crate::duo::{PROFILES, client_address, configs, drain, feed, server};
use crate::handshake::MS;
use crate::shell::support::{SERVER, STEP, Table, client_on, messages};
use fastwire::transport::{MemoryNetwork, SocketId};

/// Whether a client has its connection, and what was said to it if not.
fn verdict(events: &[Event]) -> Option<Result<(), ConnectError>> {
    events.iter().find_map(|event| match event {
        Event::Connected { .. } => Some(Ok(())),
        Event::ConnectFailed { error, .. } => Some(Err(error.clone())),
        _ => None,
    })
}

#[test]
fn a_network_takes_no_more_places_than_it_may_and_gives_them_back() {
    for profile in PROFILES {
        let (mut config, client) = configs(profile);
        // All clients of a table are in 10.0.1.0/24, each at an address of its own.
        config.limits.connections_per_address = Some(1);
        config.limits.connections_per_network = Some(2);
        let mut table = Table::new(&config, &vec![client.clone(); 4]);
        table.until("decided", |table| table.client_events.iter().all(|events| verdict(events).is_some()));
        let verdicts: Vec<_> = table.client_events.iter().filter_map(|events| verdict(events)).collect();
        let inside = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        assert_eq!(inside, 2, "{profile:?}: {verdicts:?}");
        assert!(verdicts.iter().all(|verdict| verdict.is_ok() || *verdict == Err(ConnectError::ServerFull)));
        assert!(table.server.stats().rejected >= 2);
        let leaver: ConnectionId = table.server.connections().next().expect("two are in");
        table.server.close_now(leaver).expect("it lives");
        table.until("gone", |table| table.server.connection_count() == 1);
        table.clients.push(client_on(&table.network, &client, 9));
        table.client_events.push(Vec::new());
        table.until("in", |table| verdict(&table.client_events[4]) == Some(Ok(())));
    }
}

#[test]
fn the_application_has_a_word_before_anybody_takes_a_place() {
    for profile in PROFILES {
        let (config, mut client) = configs(profile);
        if profile == Profile::Extended {
            client.auth = b"let me in".as_slice().into();
            client.auth_to_anyone = true;
        }
        let network = MemoryNetwork::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let transport = network.bind("10.0.0.1:7777".parse().expect("address")).expect("free");
        let seen = Arc::clone(&asked);
        let mut server = Server::builder()
            .config(config)
            .on_accept(move |client| {
                let last = client.remote.ip().to_string();
                seen.lock().expect("not poisoned").push((
                    last.clone(),
                    client.profile,
                    client.auth.to_vec(),
                    client.connections,
                ));
                last != "10.0.1.1"
            })
            .build(transport)
            .expect("starts");
        let mut clients = [client_on(&network, &client, 0), client_on(&network, &client, 1)];
        let mut events = [Vec::new(), Vec::new()];
        let mut now = Instant::now();
        for _ in 0..2000 {
            now += STEP;
            for (client, events) in clients.iter_mut().zip(&mut events) {
                client.receive(now);
                events.extend(std::iter::from_fn(|| client.poll_event()));
                client.flush(now);
            }
            server.receive(now);
            while let Some(event) = server.poll_event() {
                assert!(!matches!(event, Event::Authorize { .. } | Event::Disconnected { .. }), "{event:?}");
            }
            server.flush(now);
            assert!(server.connection_count() <= 1, "who is turned away takes no place");
            if events.iter().all(|events| verdict(events).is_some()) {
                break;
            }
        }
        assert_eq!(verdict(&events[0]), Some(Ok(())), "{profile:?}");
        assert_eq!(verdict(&events[1]), Some(Err(ConnectError::NotAuthorised)), "{profile:?}");
        let asked = asked.lock().expect("not poisoned");
        assert!(asked.iter().any(|(ip, ..)| ip == "10.0.1.1"));
        let auth: &[u8] = if profile == Profile::Extended { b"let me in" } else { b"" };
        assert!(asked.iter().all(|(_, spoken, shown, _)| *spoken == profile && shown == auth), "{asked:?}");
    }
}

fn question(nonce: u8) -> [u8; MIN_INFO_REQUEST] {
    let mut datagram = [0; MIN_INFO_REQUEST];
    InfoRequest { nonce: [nonce; 8] }.encode(&mut datagram).expect("room");
    datagram
}

#[test]
fn a_server_tells_what_it_was_told_to_tell_and_never_more_than_was_asked() {
    let now = Instant::now();
    for profile in PROFILES {
        let (mut config, _) = configs(profile);
        let from = client_address(SocketId::PRIMARY);
        let mut silent = server(&config, now);
        feed(&mut silent, now, from, &question(1));
        assert!(drain(&mut silent, now).is_empty(), "off by default");
        assert_eq!(silent.stats().malformed_handshakes, 1);

        config.info = Some(ServerInfo::new("n".repeat(64)).with_details(vec![7; 256]));
        config.max_connections = 12;
        config.application_version = 3;
        let mut core = server(&config, now);
        feed(&mut core, now, from, &question(1)[..MIN_INFO_REQUEST - 1]);
        assert!(drain(&mut core, now).is_empty(), "a question that is too short could be answered with more");
        feed(&mut core, now, from, &question(2));
        let answers = drain(&mut core, now);
        assert_eq!((answers.len(), answers[0].to), (1, from));
        assert!(answers[0].bytes.len() <= MIN_INFO_REQUEST);
        let answer = InfoAnswer::decode(&answers[0].bytes).expect("an answer");
        assert_eq!((answer.nonce, answer.application_version), ([2; 8], 3));
        assert_eq!((answer.players, answer.max_players, answer.needs_secret), (0, 12, false));
        assert_eq!((answer.name.len(), answer.details.len()), (64, 256));

        // Five a second from one address, ten at once; and nothing for who is banned.
        let mut answered = 1;
        for n in 0..3000u32 {
            let at = now + MS(1) * n;
            feed(&mut core, at, from, &question(3));
            answered += drain(&mut core, at).len();
        }
        assert!((23..=26).contains(&answered), "{profile:?}: {answered} answers in three seconds");
        let stats = core.stats();
        assert_eq!((stats.info_answered, stats.info_refused), (answered as u64, 3001 - answered as u64));
        let other = "10.7.7.7:9".parse().expect("address");
        core.ban([10, 7, 7, 7].into());
        feed(&mut core, now + MS(3000), other, &question(4));
        assert!(drain(&mut core, now + MS(3000)).is_empty());
        core.set_info(None).expect("nothing is short enough");
        core.unban([10, 7, 7, 7].into());
        feed(&mut core, now + MS(3000), other, &question(5));
        assert!(drain(&mut core, now + MS(3000)).is_empty());
        assert!(core.set_info(Some(ServerInfo::new("n".repeat(65)))).is_err());
    }
}

#[test]
fn draining_lets_what_is_queued_leave_until_its_deadline_and_no_longer() {
    for profile in PROFILES {
        let (mut config, client) = configs(profile);
        config.linger = Duration::ZERO;
        for (deadline, listens) in [(Duration::from_secs(5), true), (Duration::from_secs(2), false)] {
            let (mut table, id) = Table::connected(&config, &client);
            for number in 0..200u8 {
                table.server.send(id, vec![number; 4000], 0).expect("queued");
            }
            table.server.shut_down_within(deadline);
            let started = table.now;
            if listens {
                table.until("all told", |table| table.server.connection_count() == 0);
                table.until("all heard", |table| messages(&table.client_events[0]).len() == 200);
            } else {
                while table.server.connection_count() > 0 {
                    table.now += STEP;
                    table.server.receive(table.now);
                    while table.server.poll_event().is_some() {}
                    table.server.flush(table.now);
                    // Nobody answers: the farewells are a timeout apart, which has backed off.
                    assert!(table.now - started < deadline + Duration::from_secs(5), "{profile:?}");
                }
                assert!(table.now - started >= deadline, "{profile:?}: it had until then");
            }
        }
    }
}

/// A client that was told goodbye and asks again at once finds its address still known there.
#[test]
fn nobody_comes_back_to_a_server_that_leaves() {
    for profile in PROFILES {
        let (config, client) = configs(profile);
        let mut table = Table::new(&config, &vec![client; 5]);
        table.until("in", |table| table.client_events.iter().all(|events| verdict(events) == Some(Ok(()))));
        table.client_events.iter_mut().for_each(Vec::clear);
        table.server_events.clear();
        table.server.shut_down_within(MS(500));
        let end = table.now + Duration::from_secs(20);
        let (mut asked, mut refused) = (0, 0);
        while table.now < end {
            table.step();
            for (client, events) in table.clients.iter_mut().zip(&mut table.client_events) {
                for event in events.drain(..) {
                    match event {
                        Event::Disconnected { .. } => {
                            client.connect_to(SERVER).expect("it is free to ask");
                            asked += 1;
                        }
                        Event::ConnectFailed { error, .. } => {
                            assert_eq!(error, ConnectError::ServerFull, "{profile:?}");
                            refused += 1;
                        }
                        other => panic!("{profile:?}: {other:?}"),
                    }
                }
            }
        }
        assert_eq!((asked, refused), (5, 5), "{profile:?}");
        let newcomer = |event: &Event| matches!(event, Event::Connected { .. });
        assert!(!table.server_events.iter().any(newcomer), "{profile:?}: {:?}", table.server_events);
        assert_eq!(table.server.connection_count(), 0, "{profile:?}");
    }
}

#[test]
fn a_server_in_a_thread_answers_and_drains() {
    let (mut config, _) = configs(Profile::Extended);
    config.info = Some(ServerInfo::new("first"));
    let server =
        Server::builder().config(config).bind("127.0.0.1:0").expect("binds").spawn(()).expect("spawns");
    let at = server.local_addr().expect("bound");
    let patience = Duration::from_secs(20);
    let status = fastwire::query(at, patience).expect("answers");
    assert_eq!((&status.name[..], status.players, status.max_players), ("first", 0, 1024));
    assert_eq!(server.set_info(Some(ServerInfo::new("second"))).ok(), Some(true));
    let until = Instant::now() + patience;
    while fastwire::query(at, patience).expect("answers").name != "second" {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(300));
    }
    server.stop_within(Duration::from_millis(100)).expect("nothing panicked");
    let gone = fastwire::query(at, Duration::from_millis(60)).expect_err("nobody answers any more");
    assert!(gone.to_string().contains("did not answer"), "{gone}");
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_server_in_a_task_answers_and_drains() {
    let (mut config, _) = configs(Profile::Extended);
    config.info = Some(ServerInfo::new("task"));
    let server = Server::builder().config(config).bind("127.0.0.1:0").expect("binds").into_async();
    let at = server.local_addr().expect("bound");
    let status = fastwire::asynchronous::query(at, Duration::from_secs(20)).await.expect("answers");
    assert_eq!(status.name, "task");
    assert!(server.health().is_accepting);
    server.shut_down_within(Duration::from_millis(100)).await;
    assert!(fastwire::asynchronous::query(at, Duration::from_millis(60)).await.is_err());
}

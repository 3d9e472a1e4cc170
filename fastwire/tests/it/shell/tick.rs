//! The tick-driven shells, in the test's own time.

use std::time::{Duration, Instant};

use fastwire::crypto::CipherSuite;
use fastwire::transport::{
    MemoryNetwork, MemoryTransport, RecvBatch, SendOutcome, SocketId, Transmit, Transport,
};
use fastwire::{
    Client, ClientConfig, ConnectError, ConnectionError, ConnectionId, ConnectionState, DisconnectReason,
    Event, Handler, Peer, Profile, SendError, Server, ServerConfig, StartError,
};

use super::support::{SERVER, STEP, Table, client_on, messages, server_on};
use crate::duo::{PROFILES, base_client, base_server, configs};

fn failed(events: &[Event]) -> Option<ConnectError> {
    events.iter().find_map(|event| match event {
        Event::ConnectFailed { error, .. } => Some(error.clone()),
        _ => None,
    })
}

fn ended(events: &[Event]) -> Option<DisconnectReason> {
    events.iter().find_map(|event| match event {
        Event::Disconnected { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn all_four_modes_both_ways() {
    let (mut table, id) = Table::pair();
    let mut expected = Vec::new();
    for round in 0..50u8 {
        for channel in 0..4 {
            let message = vec![round; 1 + usize::from(round) * 40];
            table.clients[0].send(&message, channel).unwrap();
            table.server.send(id, &message, channel).unwrap();
            expected.push((channel, message));
        }
        table.step();
    }
    table.until("delivered", |table| {
        table.server_events.len() >= expected.len() && table.client_events[0].len() >= expected.len()
    });
    for events in [&table.server_events, &table.client_events[0]] {
        let got = messages(events);
        for channel in 0..4 {
            let of = |all: &[(u8, Vec<u8>)]| -> Vec<Vec<u8>> {
                all.iter().filter(|(c, _)| *c == channel).map(|(_, m)| m.clone()).collect()
            };
            assert_eq!(of(&got), of(&expected), "channel {channel}");
        }
    }
    assert!(table.clients[0].rtt().unwrap() > Duration::ZERO);
    assert_eq!(table.server.connection_stats(id).unwrap().messages_received, 200);
}

#[test]
fn what_is_queued_leaves_before_a_graceful_end() {
    let (mut table, id) = Table::pair();
    for number in 0..200u32 {
        table.clients[0].send(number.to_be_bytes(), 0).unwrap();
    }
    table.clients[0].close();
    assert!(matches!(table.clients[0].send("late", 0), Err(SendError::ConnectionClosed)));
    table.until("closed", |table| {
        ended(&table.server_events).is_some() && ended(&table.client_events[0]).is_some()
    });
    assert_eq!(messages(&table.server_events).len(), 200);
    assert_eq!(ended(&table.server_events), Some(DisconnectReason::Graceful));
    assert_eq!(ended(&table.client_events[0]), Some(DisconnectReason::Graceful));
    assert_eq!(table.server.state(id), ConnectionState::Disconnected);
    assert!(matches!(table.server.send(id, "x", 0), Err(SendError::ConnectionClosed)));
    assert!(table.server.close(id).is_err());
    // The client may connect anew.
    let old = table.clients[0].connection();
    table.clients[0].connect_to(SERVER).unwrap();
    assert_ne!(table.clients[0].connection(), old);
    table.until("connected again", |table| table.server.connection_count() == 1);
}

#[test]
fn a_kicked_client_is_gone_and_a_banned_one_stays_out() {
    let (mut table, id) = Table::pair();
    table.server.kick(id, "because").unwrap();
    table.until("told", |table| {
        ended(&table.server_events).is_some() && ended(&table.client_events[0]).is_some()
    });
    assert_eq!(ended(&table.server_events), Some(DisconnectReason::Kicked));
    let ip = table.clients[0].local_addr().unwrap().ip();
    assert!(table.server.ban(ip));
    table.clients[0].connect_to(SERVER).unwrap();
    table.until("refused", |table| failed(&table.client_events[0]).is_some());
    assert_eq!(failed(&table.client_events[0]), Some(ConnectError::Banned));
    assert!(table.server.unban(ip));
    table.clients[0].connect_to(SERVER).unwrap();
    table.until("in again", |table| table.server.connection_count() == 1);
}

#[test]
fn refusals_reach_the_client_as_typed_errors() {
    let mut full = ServerConfig::default();
    full.max_connections = 1;
    let mut table = Table::new(&full, &[ClientConfig::default(), ClientConfig::default()]);
    table.until("one refused", |table| table.client_events.iter().any(|events| failed(events).is_some()));
    let error = table.client_events.iter().find_map(|events| failed(events));
    assert_eq!(error, Some(ConnectError::ServerFull));

    let mut versions = ServerConfig::default();
    versions.application_version = 3;
    versions.require_application_version = true;
    let mut table = Table::new(&versions, &[ClientConfig::default()]);
    table.until("refused", |table| failed(&table.client_events[0]).is_some());
    let error = failed(&table.client_events[0]);
    assert!(
        matches!(error, Some(ConnectError::VersionMismatch { application: 3, our_application: 0, .. })),
        "{error:?}"
    );

    for (profile, expected) in
        [(Profile::Base, ConnectError::CipherRefused(2)), (Profile::Extended, ConnectError::SuiteRefused)]
    {
        let (mut chacha, mut aes) = configs(profile);
        chacha.cipher_preference = vec![CipherSuite::ChaCha20Poly1305];
        aes.cipher_preference = vec![CipherSuite::Aes128Gcm];
        let mut table = Table::new(&chacha, &[aes]);
        table.until("refused", |table| failed(&table.client_events[0]).is_some());
        assert_eq!(failed(&table.client_events[0]), Some(expected));
    }
}

#[test]
fn the_suite_both_allow_is_used() {
    for suite in CipherSuite::ALL {
        let mut server = ServerConfig::default();
        let mut client = ClientConfig::default();
        server.cipher_preference = vec![suite];
        client.cipher_preference = vec![suite];
        let (mut table, id) = Table::connected(&server, &client);
        assert_eq!(table.server.endpoint().cipher_suite(id), Some(suite));
        table.clients[0].send("hello", 0).unwrap();
        table.until("delivered", |table| messages(&table.server_events).len() == 1);
    }
}

#[test]
fn silence_ends_an_attempt() {
    let network = MemoryNetwork::new();
    let mut client = client_on(&network, &ClientConfig::default(), 1);
    let start = Instant::now();
    let mut now = start;
    let error = loop {
        now += STEP;
        client.receive(now);
        if let Some(event) = client.poll_event() {
            break failed(&[event]);
        }
        client.flush(now);
        assert!(now - start < Duration::from_secs(6));
    };
    assert!(matches!(error, Some(ConnectError::Timeout { .. })), "{error:?}");
    assert!(now - start >= Duration::from_secs(5));
    assert_eq!(client.state(), ConnectionState::Disconnected);
}

#[test]
fn a_client_moves_to_another_port() {
    PROFILES.into_iter().for_each(move_to_another_port);
    let (mut table, _) = Table::connected(&base_server(), &base_client());
    assert!(table.clients[0].rebind().is_err(), "migration is off by default");
}

fn move_to_another_port(profile: Profile) {
    let (mut server, mut client) = configs(profile);
    server.connection_migration = true;
    client.connection_migration = true;
    let (mut table, id) = Table::connected(&server, &client);
    let before = table.server.remote_addr(id).unwrap();
    table.clients[0].rebind().unwrap();
    table.until("moved", |table| table.server.remote_addr(id) != Some(before));
    table.clients[0].send("from the new port", 0).unwrap();
    table.server.send(id, "to the new port", 0).unwrap();
    table.until("delivered", |table| {
        messages(&table.server_events).len() == 1 && messages(&table.client_events[0]).len() == 1
    });
    assert_eq!(ended(&table.server_events), None);
}

/// Notes everything; echoes messages.
#[derive(Default)]
struct Diary(Vec<String>);

impl Handler for Diary {
    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        peer.set_user_data(String::from("Ada"));
        self.0.push(format!("connect {}", peer.remote_addr().is_some()));
    }

    fn on_disconnect(&mut self, peer: &mut Peer<'_>, reason: DisconnectReason) {
        let name = peer.user_data::<String>().cloned().unwrap_or_default();
        let stats = peer.stats();
        self.0.push(format!("disconnect {name} {reason} {}", stats.messages_received));
        assert!(peer.remote_addr().is_some());
        assert!(peer.send("too late", 0).is_err());
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        peer.user_data_mut::<String>().unwrap().push('!');
        self.0.push(format!("message {} {channel}", String::from_utf8_lossy(data)));
        peer.send(data, channel).unwrap();
    }

    fn on_error(&mut self, _: &mut Peer<'_>, error: &ConnectionError) {
        self.0.push(format!("error {error}"));
    }

    fn on_connect_failed(&mut self, _: ConnectionId, error: &ConnectError) {
        self.0.push(format!("failed {error}"));
    }
}

#[test]
fn a_handler_hears_everything_in_order_and_answers_in_the_same_tick() {
    let network = MemoryNetwork::new();
    let mut server = server_on(&network, &ServerConfig::default());
    let mut client = client_on(&network, &ClientConfig::default(), 1);
    let mut heard = Diary::default();
    let mut now = Instant::now();
    client.send("hello", 1).unwrap();
    let mut echoed = None;
    while echoed.is_none() {
        now += STEP;
        let lines = heard.0.len();
        server.tick(now, &mut heard);
        let heard_it = heard.0[lines..].iter().any(|line| line.starts_with("message"));
        client.receive(now);
        let echo = messages(&std::iter::from_fn(|| client.poll_event()).collect::<Vec<_>>());
        client.flush(now);
        assert_eq!(heard_it, !echo.is_empty(), "the echo left in the tick that brought the message");
        echoed = heard_it.then_some(echo);
        assert!(heard.0.len() < 10);
    }
    assert_eq!(echoed, Some(vec![(1, b"hello".to_vec())]));
    client.close_now();
    while !heard.0.last().unwrap().starts_with("disconnect") {
        now += STEP;
        client.receive(now);
        client.flush(now);
        server.tick(now, &mut heard);
    }
    assert_eq!(heard.0, ["connect true", "message hello 1", "disconnect Ada! closed 1"]);
}

/// Takes a transport's place and refuses to send whenever told to.
struct Moody {
    inner: MemoryTransport,
    mood: std::sync::Arc<std::sync::Mutex<Mood>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Willing,
    Blocked,
    Failing,
}

impl Transport for Moody {
    fn recv(&mut self, batch: &mut RecvBatch) -> std::io::Result<usize> {
        if *self.mood.lock().unwrap() == Mood::Failing {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        self.inner.recv(batch)
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> std::io::Result<SendOutcome> {
        match *self.mood.lock().unwrap() {
            Mood::Willing => self.inner.send(transmit),
            Mood::Blocked => Ok(SendOutcome::Blocked),
            Mood::Failing => Err(std::io::ErrorKind::NetworkUnreachable.into()),
        }
    }

    fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.inner.local_addr()
    }

    fn close(&mut self, socket: SocketId) {
        self.inner.close(socket);
    }
}

#[test]
fn a_blocked_socket_loses_nothing_and_a_failing_one_only_packets() {
    for (mood, retransmits_allowed) in [(Mood::Blocked, false), (Mood::Failing, true)] {
        let network = MemoryNetwork::new();
        let mut server = server_on(&network, &ServerConfig::default());
        let feelings = std::sync::Arc::new(std::sync::Mutex::new(Mood::Willing));
        let inner = network.bind("10.0.2.1:0".parse().unwrap()).unwrap();
        let transport = Moody { inner, mood: feelings.clone() };
        let mut client = Client::builder().seed([9; 32]).build(transport).unwrap();
        client.connect_to(SERVER).unwrap();
        let mut now = Instant::now();
        let mut got = Vec::new();
        let mut sent = 0u32;
        for step in 0..400 {
            now += STEP;
            *feelings.lock().unwrap() = if step > 40 && (step / 10) % 2 == 0 { mood } else { Mood::Willing };
            if step > 40 && sent < 100 {
                client.send(sent.to_be_bytes(), 0).unwrap();
                sent += 1;
            }
            client.receive(now);
            while let Some(event) = client.poll_event() {
                assert!(
                    !matches!(event, Event::Disconnected { .. } | Event::ConnectFailed { .. }),
                    "{event:?}"
                );
            }
            client.flush(now);
            server.receive(now);
            got.extend(std::iter::from_fn(|| server.poll_event()));
            server.flush(now);
        }
        let expected: Vec<_> = (0..100u32).map(|n| (0, n.to_be_bytes().to_vec())).collect();
        assert_eq!(messages(&got), expected);
        let stats = client.stats().unwrap();
        assert_eq!(stats.send_errors > 0, retransmits_allowed, "{stats:?}");
    }
}

#[test]
fn a_restarted_server_gets_its_client_back() {
    let network = MemoryNetwork::new();
    let mood = std::sync::Arc::new(std::sync::Mutex::new(Mood::Willing));
    let start_server = |seed| {
        let inner = network.bind(SERVER.parse().unwrap()).unwrap();
        Server::builder().seed([seed; 32]).build(Moody { inner, mood: mood.clone() }).unwrap()
    };
    let mut server = start_server(1);
    let mut client = client_on(&network, &ClientConfig::default(), 1);
    let mut now = Instant::now();
    let mut heard = Vec::new();
    let mut turn = |server: &mut Server<Moody>, client: &mut Client<MemoryTransport>| {
        now += STEP;
        client.receive(now);
        heard.extend(std::iter::from_fn(|| client.poll_event()));
        client.flush(now);
        server.receive(now);
        let messages: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
        server.flush(now);
        (messages, now)
    };
    for _ in 0..200 {
        turn(&mut server, &mut client);
    }
    let first = client.connection();
    // Killed: it says nothing any more, and its address is free.
    *mood.lock().unwrap() = Mood::Blocked;
    drop(server);
    *mood.lock().unwrap() = Mood::Willing;
    let mut server = start_server(2);
    let mut back = None;
    let (_, killed) = turn(&mut server, &mut client);
    while back.is_none() {
        let (events, now) = turn(&mut server, &mut client);
        if client.connection() != first
            && client.state() == ConnectionState::Connected
            && messages(&events).is_empty()
        {
            let _ = client.send("back again", 0);
        }
        back = (!messages(&events).is_empty()).then_some(now);
        assert!(now - killed < Duration::from_secs(10), "{:?}", client.state());
    }
    assert!(back.unwrap() - killed <= Duration::from_secs(4), "{:?}", back.unwrap() - killed);
    let kinds: Vec<_> = heard.iter().filter(|event| !matches!(event, Event::Message { .. })).collect();
    assert!(
        matches!(
            kinds[..],
            [
                Event::Connected { .. },
                Event::Disconnected { reason: DisconnectReason::Timeout, .. },
                Event::Connected { .. }
            ]
        ),
        "{kinds:?}"
    );
}

#[test]
fn a_full_queue_hands_the_message_back() {
    let mut config = ClientConfig::default();
    config.limits.send_queue_messages = 16;
    let (mut table, _) = Table::connected(&ServerConfig::default(), &config);
    let mut refused = None;
    for number in 0..1000u32 {
        match table.clients[0].send(number.to_be_bytes(), 0) {
            Ok(()) => {}
            Err(SendError::QueueFull(back)) => {
                assert_eq!(back[..], number.to_be_bytes());
                refused = Some((number, back));
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let (number, back) = refused.expect("the queue is bounded");
    table.until("room", |table| table.clients[0].send(back.clone(), 0).is_ok());
    table.until("delivered", |table| messages(&table.server_events).len() == number as usize + 1);
    let expected: Vec<_> = (0..=number).map(|n| (0, n.to_be_bytes().to_vec())).collect();
    assert_eq!(messages(&table.server_events), expected);
}

#[test]
fn wrong_arguments_are_typed_errors() {
    let (mut table, id) = Table::pair();
    assert!(matches!(table.server.send(id, "x", 4), Err(SendError::InvalidChannel { channel: 4, last: 3 })));
    assert!(matches!(
        table.server.send(id, vec![0; 5 << 20], 0),
        Err(SendError::MessageTooLarge { len: 5_242_880, .. })
    ));
    let handle = table.server.handle(id).unwrap();
    assert!(matches!(handle.send("x", 4), Err(SendError::InvalidChannel { channel: 4, last: 3 })));
    assert!(matches!(handle.send(vec![0; 5 << 20], 0), Err(SendError::MessageTooLarge { .. })));
    let mut wrong = ServerConfig::default();
    wrong.mtu = 5;
    let transport = MemoryNetwork::new().bind(SERVER.parse().unwrap()).unwrap();
    let error = Server::builder().config(wrong).build(transport).unwrap_err();
    assert!(matches!(error, StartError::Config(_)) && error.to_string().contains("mtu"), "{error}");
    assert!(matches!(table.clients[0].connect_to(SERVER), Err(StartError::Connect(_))));
}

#[test]
fn handles_send_with_the_next_turn_and_know_the_end() {
    let (mut table, id) = Table::pair();
    let handle = table.server.handle(id).unwrap();
    let other = handle.clone();
    std::thread::spawn(move || {
        for number in 0..100u32 {
            other.send(number.to_be_bytes(), 0).unwrap();
        }
    })
    .join()
    .unwrap();
    table.until("delivered", |table| messages(&table.client_events[0]).len() == 100);
    let expected: Vec<_> = (0..100u32).map(|n| (0, n.to_be_bytes().to_vec())).collect();
    assert_eq!(messages(&table.client_events[0]), expected);
    handle.send("last words", 0).unwrap();
    handle.close();
    assert!(matches!(handle.send("more", 0), Err(SendError::ConnectionClosed)));
    table.until("closed", |table| ended(&table.client_events[0]).is_some());
    assert_eq!(messages(&table.client_events[0]).last().unwrap().1, b"last words");
    table.until("known", |table| ended(&table.server_events).is_some());
    assert_eq!(handle.state(), ConnectionState::Disconnected);
    assert_eq!(handle.disconnect_reason(), Some(DisconnectReason::Graceful));
    assert_eq!(handle.stats().messages_sent, 101);
}

#[test]
fn a_handles_queue_is_bounded_and_gives_back() {
    let mut config = ServerConfig::default();
    config.limits.handle_queue_messages = 10;
    let (mut table, id) = Table::connected(&config, &ClientConfig::default());
    let handle = table.server.handle(id).unwrap();
    for number in 0..10u8 {
        handle.send([number], 0).unwrap();
    }
    let Err(SendError::QueueFull(back)) = handle.send([10], 0) else { panic!("not bounded") };
    assert_eq!(back[..], [10]);
    table.step();
    handle.send(back, 0).unwrap();
    table.until("delivered", |table| messages(&table.client_events[0]).len() == 11);
}

#[test]
fn dropping_a_server_says_goodbye() {
    let (table, _) = Table::pair();
    let Table { server, mut clients, mut now, .. } = table;
    drop(server);
    now += STEP;
    clients[0].receive(now);
    let events: Vec<_> = std::iter::from_fn(|| clients[0].poll_event()).collect();
    assert_eq!(ended(&events), Some(DisconnectReason::Graceful), "{events:?}");
}

#[test]
fn shutting_down_turns_newcomers_away_and_drains() {
    let (mut table, id) = Table::pair();
    table.server.send(id, vec![1; 100_000], 0).unwrap();
    table.server.shut_down();
    table.clients.push(client_on(&table.network, &ClientConfig::default(), 9));
    table.client_events.push(Vec::new());
    table.until("drained", |table| table.server.connection_count() == 0);
    table.until("refused", |table| failed(&table.client_events[1]).is_some());
    assert_eq!(failed(&table.client_events[1]), Some(ConnectError::ServerFull));
    assert_eq!(messages(&table.client_events[0]), [(0, vec![1; 100_000])]);
}

#[test]
fn stopping_waits_for_the_last_goodbye() {
    let network = MemoryNetwork::new();
    let server = server_on(&network, &ServerConfig::default());
    let client = client_on(&network, &ClientConfig::default(), 1).spawn(()).unwrap();
    let mut server = server;
    let mut heard = Diary::default();
    while heard.0.is_empty() {
        server.tick(Instant::now(), &mut heard);
        std::thread::yield_now();
    }
    client.send("before the end", 0).unwrap();
    while heard.0.len() < 2 {
        server.tick(Instant::now(), &mut heard);
        std::thread::yield_now();
    }
    server.stop(Duration::from_secs(20), &mut heard);
    assert_eq!(heard.0[2..], ["disconnect Ada! closed 1"]);
    client.stop().unwrap();
}

/// Streams as a handler hears of them.
#[derive(Default)]
struct Heard {
    connected: bool,
    finished: Vec<u8>,
    broken: Vec<(u8, u16)>,
}

impl Handler for Heard {
    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        self.connected = true;
        // Behind the default layout: 4 and 5 are opened by the client, 6 and 7 by the server.
        for channel in 4..8 {
            let _ = peer.write_stream(channel, "and ").and_then(|()| peer.write_stream(channel, "end"));
        }
        let _ = (peer.finish_stream(4), peer.finish_stream(6));
        let _ = (peer.reset_stream(5, 9), peer.reset_stream(7, 9));
    }

    fn on_stream_finished(&mut self, _: &mut Peer<'_>, channel: u8) {
        self.finished.push(channel);
    }

    fn on_stream_reset(&mut self, _: &mut Peer<'_>, channel: u8, code: u16) {
        self.broken.push((channel, code));
    }
}

/// A client that ticks is told as much as a server that ticks.
#[test]
fn both_handlers_hear_of_streams_that_end() {
    let (mut server, mut client) = configs(Profile::Extended);
    server.channel_layout = fastwire::reliability::ChannelLayout::with_streams(2, 2).unwrap();
    client.channel_layout = server.channel_layout.clone();
    let network = MemoryNetwork::new();
    let mut server = server_on(&network, &server);
    let mut client = client_on(&network, &client, 1);
    let (mut at_server, mut at_client) = (Heard::default(), Heard::default());
    let start = Instant::now();
    for turn in 1..400 {
        client.tick(start + STEP * turn, &mut at_client);
        server.tick(start + STEP * turn, &mut at_server);
    }
    for heard in [at_server, at_client] {
        assert!(heard.connected);
        assert!(heard.finished.contains(&4) || heard.finished.contains(&6), "{:?}", heard.finished);
        assert!(
            heard.broken.iter().any(|(channel, code)| [5, 7].contains(channel) && *code == 9),
            "{:?}",
            heard.broken
        );
    }
}

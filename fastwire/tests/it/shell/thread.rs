//! Servers and clients in threads of their own.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use fastwire::proto::MessageTime;
use fastwire::transport::MemoryNetwork;
use fastwire::{
    Client, ClientConfig, ConnectError, ConnectionHandle, ConnectionId, ConnectionState, DisconnectReason,
    Handler, MessageFate, Peer, Profile, Receipt, ReceiptId, SendError, SendOptions, Server, ServerConfig,
};

use super::support::{SERVER, client_on, kicked_as_seen, server_on};
use crate::duo::{PROFILES, configs};

const PATIENCE: Duration = Duration::from_secs(20);

/// Passes on what happens.
struct Wire(mpsc::Sender<News>);

#[derive(Debug, PartialEq)]
enum News {
    Connected(ConnectionId),
    Message(ConnectionId, Vec<u8>),
    Disconnected(DisconnectReason),
    Failed(ConnectError),
    Receipt(ReceiptId, MessageFate),
}

impl Handler for Wire {
    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        let _ = self.0.send(News::Connected(peer.id()));
    }

    fn on_disconnect(&mut self, _: &mut Peer<'_>, reason: DisconnectReason) {
        let _ = self.0.send(News::Disconnected(reason));
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], _: u8) {
        let _ = self.0.send(News::Message(peer.id(), data.to_vec()));
    }

    fn on_receipt(&mut self, _: &mut Peer<'_>, receipt: &Receipt) {
        let _ = self.0.send(News::Receipt(receipt.id, receipt.fate));
    }

    fn on_connect_failed(&mut self, _: ConnectionId, error: &ConnectError) {
        let _ = self.0.send(News::Failed(error.clone()));
    }
}

fn wire() -> (Wire, mpsc::Receiver<News>) {
    let (sender, receiver) = mpsc::channel();
    (Wire(sender), receiver)
}

fn id_of(news: &mpsc::Receiver<News>) -> ConnectionId {
    match news.recv_timeout(PATIENCE) {
        Ok(News::Connected(id)) => id,
        other => panic!("expected a connection, got {other:?}"),
    }
}

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        peer.send(data, channel).unwrap();
    }
}

#[test]
fn many_threads_send_through_clones_of_one_handle() {
    let network = MemoryNetwork::new();
    let server = server_on(&network, &ServerConfig::default()).spawn(Echo).unwrap();
    let (handler, news) = wire();
    let client = client_on(&network, &ClientConfig::default(), 1).spawn(handler).unwrap();
    let id = id_of(&news);
    const THREADS: u32 = 4;
    const EACH: u32 = 500;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let handle = client.handle();
            scope.spawn(move || {
                for number in 0..EACH {
                    let mut message = [thread.to_be_bytes(), number.to_be_bytes()].concat();
                    while let Err(error) = handle.send(message, 0) {
                        let SendError::QueueFull(back) = error else { panic!("{error}") };
                        message = back.to_vec();
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    // Reliable and ordered: each thread's messages come back in its order, all of them.
    let mut next = [0u32; THREADS as usize];
    for _ in 0..THREADS * EACH {
        let Ok(News::Message(from, data)) = news.recv_timeout(PATIENCE) else { panic!("lost: {next:?}") };
        assert_eq!(from, id);
        let (thread, number) = data.split_at(4);
        let thread = u32::from_be_bytes(thread.try_into().unwrap()) as usize;
        assert_eq!(u32::from_be_bytes(number.try_into().unwrap()), next[thread]);
        next[thread] += 1;
    }
    client.stop().unwrap();
    server.stop().unwrap();
}

#[test]
fn over_real_sockets_a_message_does_not_wait_for_a_tick() {
    // One tick a second: a hundred round trips within a second or two show that nothing waited for it.
    let mut slow = ServerConfig::default();
    slow.tick_rate = 1;
    let server = Server::builder().config(slow).bind("127.0.0.1:0").unwrap().spawn(Echo).unwrap();
    let mut config = ClientConfig::default();
    config.tick_rate = 1;
    let (handler, news) = wire();
    let address = server.local_addr().unwrap();
    let client = Client::builder().config(config).connect(address).unwrap().spawn(handler).unwrap();
    id_of(&news);
    let start = Instant::now();
    for number in 0..100u8 {
        client.send_now([number], 0).unwrap();
        assert!(
            matches!(news.recv_timeout(PATIENCE), Ok(News::Message(_, data)) if data == [number]),
            "{number} did not come back"
        );
    }
    assert!(start.elapsed() < Duration::from_secs(50), "each of 100 round trips waited for a tick");
}

#[test]
fn kick_and_ban_through_the_handle() {
    PROFILES.into_iter().for_each(kick_and_ban);
}

fn kick_and_ban(profile: Profile) {
    let (served, asked) = configs(profile);
    let network = MemoryNetwork::new();
    let (handler, clients) = wire();
    let server = server_on(&network, &served).spawn(handler).unwrap();
    let (handler, news) = wire();
    let client = client_on(&network, &asked, 1).spawn(handler).unwrap();
    let id = id_of(&clients);
    id_of(&news);
    let handle: ConnectionHandle = server.connection(id).unwrap();
    let ip = handle.remote_addr().unwrap().ip();
    assert!(server.ban(ip));
    handle.kick("enough");
    assert_eq!(clients.recv_timeout(PATIENCE), Ok(News::Disconnected(DisconnectReason::Kicked)));
    assert_eq!(news.recv_timeout(PATIENCE), Ok(News::Disconnected(kicked_as_seen(profile))));
    assert!(matches!(server.send(id, "x", 0), Err(SendError::ConnectionClosed)));
    client.stop().unwrap();
    let (handler, news) = wire();
    let _client = client_on(&network, &asked, 1).spawn(handler).unwrap();
    assert_eq!(news.recv_timeout(PATIENCE), Ok(News::Failed(ConnectError::Banned)));
}

#[test]
fn stopping_lets_what_is_queued_leave_and_gives_the_handler_back() {
    let network = MemoryNetwork::new();
    let (handler, clients) = wire();
    let server = server_on(&network, &ServerConfig::default()).spawn(handler).unwrap();
    let (handler, news) = wire();
    let client = client_on(&network, &ClientConfig::default(), 1).spawn(handler).unwrap();
    id_of(&news);
    let id = id_of(&clients);
    for number in 0..100u8 {
        client.send([number], 0).unwrap();
    }
    let handle = client.handle();
    let Wire(_) = client.stop().unwrap();
    assert_eq!(handle.state(), ConnectionState::Disconnected);
    assert!(matches!(handle.send("x", 0), Err(SendError::ConnectionClosed)));
    assert!(handle.is_stopped());
    for number in 0..100u8 {
        assert_eq!(clients.recv_timeout(PATIENCE), Ok(News::Message(id, vec![number])));
    }
    assert_eq!(clients.recv_timeout(PATIENCE), Ok(News::Disconnected(DisconnectReason::Graceful)));
    drop(server);
}

#[test]
fn a_panic_in_a_callback_is_reported_and_ends_the_endpoint() {
    struct Clumsy;
    impl Handler for Clumsy {
        fn on_message(&mut self, _: &mut Peer<'_>, _: &[u8], _: u8) {
            panic!("dropped the ball");
        }
    }
    let network = MemoryNetwork::new();
    let server = server_on(&network, &ServerConfig::default()).spawn(Clumsy).unwrap();
    let (handler, news) = wire();
    let client = client_on(&network, &ClientConfig::default(), 1).spawn(handler).unwrap();
    id_of(&news);
    client.send_now("catch", 0).unwrap();
    assert_eq!(news.recv_timeout(PATIENCE), Ok(News::Disconnected(DisconnectReason::Graceful)));
    let Err(panicked) = server.stop() else { panic!("swallowed") };
    assert_eq!(panicked.message, "dropped the ball");
    // Its address is free again.
    drop(network.bind(SERVER.parse().unwrap()).unwrap());
}

#[test]
fn handles_are_for_every_thread() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<fastwire::ServerHandle>();
    shared::<fastwire::ClientHandle>();
    shared::<ConnectionHandle>();
    #[cfg(feature = "tokio")]
    shared::<fastwire::asynchronous::Sender>();
}

#[test]
fn a_handle_shows_its_servers_health() {
    let network = MemoryNetwork::new();
    let server = server_on(&network, &ServerConfig::default()).spawn(Echo).unwrap();
    assert!(server.health().is_accepting, "from the first moment on");
    let (client, news) = wire();
    let client = client_on(&network, &ClientConfig::default(), 1).spawn(client).unwrap();
    id_of(&news);
    let deadline = Instant::now() + PATIENCE;
    while server.health().stats.connections_established == 0 {
        assert!(Instant::now() < deadline, "{:?}", server.health());
        client.send(b"again", 0).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.health().connections, 1);
}

/// What handles asked for comes to the thread's handler once, also what was dropped before the endpoint had it.
#[test]
fn what_a_handle_asks_for_is_told_before_the_end() {
    for profile in PROFILES {
        let network = MemoryNetwork::new();
        let (server, client) = configs(profile);
        let _server = server_on(&network, &server).spawn(()).unwrap();
        let (handler, news) = wire();
        let client = client_on(&network, &client, 1).spawn(handler).unwrap();
        let handle = client.handle();
        id_of(&news);
        let options = SendOptions::new().receipt();
        let mut asked: Vec<_> =
            (0..50).map(|i| handle.send_with(i % 2, [i; 100], options).unwrap().unwrap()).collect();
        let unreliable = handle.send_with(2, "unreliable", options);
        match profile {
            Profile::Base => assert_eq!(unreliable, Err(SendError::NoReceipt(2))),
            Profile::Extended => asked.extend(unreliable.unwrap_or_default()),
        }
        for _ in 0..asked.len() {
            let News::Receipt(id, fate) = news.recv_timeout(PATIENCE).unwrap() else { panic!("a receipt") };
            assert!(matches!(fate, MessageFate::Acknowledged { .. }), "{fate:?}");
            let index = asked.iter().position(|other| *other == id).expect("asked for, and not told yet");
            asked.swap_remove(index);
        }
        let mut dropped: Vec<_> =
            (0..50).map(|i| handle.send_with(0, [i; 100], options).unwrap().unwrap()).collect();
        handle.connection().unwrap().close_now();
        while let Ok(next) = news.recv_timeout(PATIENCE) {
            match next {
                News::Receipt(id, _) => {
                    let index = dropped.iter().position(|other| *other == id).expect("once");
                    dropped.swap_remove(index);
                }
                News::Disconnected(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(dropped.is_empty(), "{profile:?}: {} without a receipt", dropped.len());
    }
}

/// The client's handle says what time it is at the server, whose endpoint began a second earlier: no later than what the server's own
/// says afterwards, no earlier than what it said before, give or take what both admit to be off and how long a busy machine may
/// leave a turn between looking at the clock and looking at the socket.
#[test]
fn handles_on_both_sides_agree_about_the_servers_time() {
    let (mut server_config, mut client_config) = configs(Profile::Extended);
    (server_config.clock_sync, client_config.clock_sync) = (true, true);
    let (server_wire, server_news) = wire();
    let server = Server::builder().config(server_config).bind("127.0.0.1:0").unwrap();
    let server = server.spawn(server_wire).unwrap();
    let address = server.local_addr().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let client = Client::builder().config(client_config).connect(address).unwrap();
    let client = client.spawn(wire().0).unwrap();
    let theirs = server.handle().connection(id_of(&server_news)).unwrap();
    let (mut compared, busy) = (0, Duration::from_millis(400));
    while compared < 20 {
        let before = theirs.server_time();
        let shown = client.handle().server_time();
        let after = theirs.server_time();
        if let (Some(before), Some(shown), Some(after)) = (before, shown, after) {
            assert!(
                before.time <= shown.time + shown.error + before.error + busy,
                "{before:?}, then {shown:?}"
            );
            assert!(shown.time <= after.time + after.error + shown.error + busy, "{shown:?}, then {after:?}");
            compared += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whoever is called back for a stamped message can ask how old it is, and for no other.
#[test]
fn callbacks_know_how_old_a_stamped_message_is() {
    struct Ages(mpsc::Sender<(u8, Option<MessageTime>)>);

    impl Handler for Ages {
        fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], _: u8) {
            let _ = self.0.send((data[0], peer.message_time()));
        }
    }

    let network = MemoryNetwork::new();
    let (mut server, mut client) = configs(Profile::Extended);
    (server.clock_sync, client.clock_sync) = (true, true);
    let (heard, ages) = mpsc::channel();
    let _server = server_on(&network, &server).spawn(Ages(heard)).unwrap();
    let (handler, news) = wire();
    let client = client_on(&network, &client, 1).spawn(handler).unwrap();
    id_of(&news);
    let handle = client.handle();
    let began = Instant::now();
    let mut told = 0;
    while told < 20 {
        assert!(began.elapsed() < PATIENCE, "{told} told");
        handle.send_with(0, [1], SendOptions::new().stamped()).unwrap();
        handle.send_with(0, [0], SendOptions::new()).unwrap();
        for stamped in [1, 0] {
            let (number, time) = ages.recv_timeout(PATIENCE).unwrap();
            assert_eq!(number, stamped);
            assert!(time.is_none() || stamped == 1, "{time:?}");
            let Some(time) = time else { continue };
            assert!(time.age <= began.elapsed() + time.error, "{time:?}");
            told += 1;
        }
    }
}

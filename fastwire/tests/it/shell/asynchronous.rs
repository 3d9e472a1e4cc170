//! Async servers, clients and connections. tokio's clock is paused: time passes only when all tasks sleep.

use std::time::Duration;

use fastwire::asynchronous::{AsyncClient, AsyncConnection, AsyncServer};
use fastwire::transport::MemoryNetwork;
use fastwire::{
    ClientConfig, ConnectError, ConnectionState, DisconnectReason, MessageFate, Profile, Refusal, SendError,
    SendOptions, Server, ServerConfig, StartError,
};
use tokio::time::timeout;

use super::support::{client_on, kicked_as_seen, server_on};
use crate::duo::{PROFILES, configs};

async fn pair_with(
    server: &ServerConfig,
    client: &ClientConfig,
) -> (AsyncServer, AsyncConnection, AsyncConnection) {
    let network = MemoryNetwork::new();
    let server = server_on(&network, server).into_async();
    let client = client_on(&network, client, 1).into_async();
    let (ours, theirs) = tokio::join!(client.connection(), server.accept());
    (server, ours.unwrap(), theirs.unwrap())
}

async fn pair() -> (AsyncServer, AsyncConnection, AsyncConnection) {
    pair_with(&ServerConfig::default(), &ClientConfig::default()).await
}

#[tokio::test(start_paused = true)]
async fn all_four_modes_both_ways() {
    let (_server, mut ours, mut theirs) = pair().await;
    for channel in 0..4 {
        for number in 0..100u8 {
            ours.send(vec![number; 300], channel).await.unwrap();
            assert_eq!(theirs.recv().await, Some((channel, vec![number; 300].into())));
            theirs.send_now([number], channel).await.unwrap();
            assert_eq!(ours.recv().await, Some((channel, vec![number].into())));
        }
    }
    assert!(ours.remote_addr().is_some());
    assert_eq!(ours.state(), ConnectionState::Connected);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_slows_the_sender_and_loses_nothing() {
    let mut config = ServerConfig::default();
    config.limits.inbox_messages = 8;
    let (_server, ours, mut theirs) = pair_with(&config, &ClientConfig::default()).await;
    const COUNT: u32 = 3000;
    let size = 4096;
    let sending = tokio::spawn(async move {
        for number in 0..COUNT {
            let mut message = vec![0; size];
            message[..4].copy_from_slice(&number.to_be_bytes());
            ours.send(message, 0).await.unwrap();
        }
        ours
    });
    // 12 MB do not fit into the reader's 4 MiB, the sender's 4 MiB and the queues between: the sender must wait
    // for the reader, who sleeps first.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!sending.is_finished(), "nothing held the sender back");
    for number in 0..COUNT {
        let (_, data) = theirs.recv().await.unwrap();
        assert_eq!((data.len(), &data[..4]), (size, &number.to_be_bytes()[..]));
    }
    drop(sending.await.unwrap());
    assert_eq!(theirs.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn futures_dropped_half_way_lose_nothing() {
    let mut config = ClientConfig::default();
    config.limits.handle_queue_messages = 2;
    config.limits.send_queue_messages = 16;
    let (server, ours, mut theirs) = pair_with(&ServerConfig::default(), &config).await;
    // `recv` and `accept`, given up again and again while nothing comes.
    for _ in 0..10 {
        assert!(timeout(Duration::from_millis(1), theirs.recv()).await.is_err());
        assert!(timeout(Duration::from_millis(1), server.accept()).await.is_err());
    }
    // `send`, given up while it waits for room: what was given up was not sent, all else was, in order.
    let mut sent = Vec::new();
    for number in 0..400u32 {
        let give_up_at_once = timeout(Duration::ZERO, ours.send(number.to_be_bytes(), 0));
        if let Ok(result) = give_up_at_once.await {
            result.unwrap();
            sent.push(number);
        }
        if number % 8 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(sent.len() < 400, "never had to wait");
    ours.close();
    let mut got = Vec::new();
    while let Some((_, data)) = theirs.recv().await {
        got.push(u32::from_be_bytes(data[..].try_into().unwrap()));
    }
    assert_eq!(got, sent);
}

#[tokio::test(start_paused = true)]
async fn the_end_wakes_everybody() {
    for profile in PROFILES {
        end_wakes_everybody(profile).await;
    }
}

async fn end_wakes_everybody(profile: Profile) {
    let (server, client) = configs(profile);
    let (server, ours, mut theirs) = pair_with(&server, &client).await;
    let (sender, mut receiver) = ours.split();
    let waiting = tokio::spawn(async move { receiver.recv().await });
    let closed = sender.clone();
    let closed = tokio::spawn(async move { closed.closed().await });
    theirs.send("bye", 0).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Some((0, "bye".into())));
    theirs.kick("enough");
    assert_eq!(closed.await.unwrap(), Some(kicked_as_seen(profile)));
    assert_eq!(theirs.closed().await, Some(DisconnectReason::Kicked));
    assert_eq!(theirs.recv().await, None);
    assert_eq!(sender.send("x", 0).await, Err(SendError::ConnectionClosed));
    server.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_connection_closes_it_and_lets_what_is_queued_leave() {
    let (_server, ours, mut theirs) = pair().await;
    for number in 0..50u8 {
        ours.send([number], 0).await.unwrap();
    }
    let (sender, receiver) = ours.split();
    drop(receiver);
    sender.send([50], 0).await.unwrap();
    drop(sender);
    for number in 0..=50u8 {
        assert_eq!(theirs.recv().await, Some((0, vec![number].into())));
    }
    assert_eq!(theirs.recv().await, None);
    assert_eq!(theirs.closed().await, Some(DisconnectReason::Graceful));
}

#[tokio::test]
async fn a_client_that_waited_first_gives_its_connection() {
    let server = AsyncServer::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let waiting = tokio::task::spawn_blocking(move || {
        let mut client = fastwire::Client::connect(address).unwrap();
        client.wait_connected().unwrap();
        client
    });
    let mut theirs = server.accept().await.unwrap();
    let client = waiting.await.unwrap().into_async();
    let ours = timeout(Duration::from_secs(30), client.connection()).await.unwrap().unwrap();
    ours.send("hello", 0).await.unwrap();
    assert_eq!(theirs.recv().await, Some((0, "hello".into())));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_server_takes_nobody_new_and_keeps_whom_it_has() {
    let network = MemoryNetwork::new();
    let server = server_on(&network, &ServerConfig::default()).into_async();
    let client = client_on(&network, &ClientConfig::default(), 1).into_async();
    let (ours, theirs) = tokio::join!(client.connection(), server.accept());
    let (ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
    drop((server, client));
    let newcomer = client_on(&network, &ClientConfig::default(), 2).into_async();
    assert_eq!(newcomer.connection().await.unwrap_err(), ConnectError::ServerFull);
    ours.send("still here", 0).await.unwrap();
    assert_eq!(theirs.recv().await, Some((0, "still here".into())));
    drop(ours);
    assert_eq!(theirs.recv().await, None);
    drop(theirs);
    // With its last connection the server's task has ended, and its address is free.
    let gone = async {
        while network.bind(super::support::SERVER.parse().unwrap()).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutting_down_drains() {
    let (server, mut ours, theirs) = pair().await;
    theirs.send(vec![3; 200_000], 0).await.unwrap();
    let ((), got) = tokio::join!(server.shut_down(), ours.recv());
    assert_eq!(got, Some((0, vec![3; 200_000].into())));
    assert_eq!(ours.closed().await, Some(DisconnectReason::Graceful));
    assert_eq!(theirs.state(), ConnectionState::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_a_timeout() {
    let network = MemoryNetwork::new();
    let client = client_on(&network, &ClientConfig::default(), 1).into_async();
    let start = tokio::time::Instant::now();
    let error = client.connection().await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }));
    assert!(start.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn over_real_sockets() {
    let server = AsyncServer::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let echo = tokio::spawn(async move {
        let mut connection = server.accept().await.unwrap();
        while let Some((channel, data)) = connection.recv().await {
            connection.send_now(data, channel).await.unwrap();
        }
    });
    let mut connection = AsyncClient::connect(address).await.unwrap();
    for number in 0..200u8 {
        connection.send_now([number], 0).await.unwrap();
        assert_eq!(connection.recv().await, Some((0, vec![number].into())));
    }
    connection.close();
    assert_eq!(connection.closed().await, Some(DisconnectReason::Graceful));
    echo.await.unwrap();
    assert!(matches!(AsyncClient::connect("nobody.invalid:1").await, Err(StartError::Resolve { .. })));
}

#[test]
fn the_end_of_the_runtime_ends_everything() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let server = server.spawn(()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connection = runtime.block_on(AsyncClient::connect(address)).unwrap();
    drop(runtime);
    assert_eq!(connection.state(), ConnectionState::Disconnected);
    assert_eq!(connection.try_send("x", 0), Err(SendError::ConnectionClosed));
    server.stop().unwrap();
}

/// Tasks hear of what they asked for, each receipt once, and of the end after the last.
#[tokio::test(start_paused = true)]
async fn receipts_come_to_tasks() {
    for profile in PROFILES {
        let (server, client) = configs(profile);
        let (_server, ours, _theirs) = pair_with(&server, &client).await;
        let options = SendOptions::new().receipt();
        let mut asked = std::collections::HashSet::new();
        for number in 0..100u8 {
            asked.insert(ours.send_with(number % 2, [number; 20], options).await.unwrap().unwrap());
        }
        for _ in 0..100 {
            let receipt = timeout(Duration::from_secs(9), ours.next_receipt()).await.unwrap().unwrap();
            assert!(matches!(receipt.fate, MessageFate::Acknowledged { .. }) && asked.remove(&receipt.id));
        }
        for number in 0..100u8 {
            asked.insert(ours.send_with(0, [number; 20], options).await.unwrap().unwrap());
        }
        ours.close_now();
        while let Some(receipt) = timeout(Duration::from_secs(99), ours.next_receipt()).await.unwrap() {
            assert!(asked.remove(&receipt.id), "{receipt:?} twice");
        }
        assert!(asked.is_empty(), "{profile:?}: {} without a receipt", asked.len());
    }
}

/// What the end of a connection leaves behind can be asked for afterwards: what the peer said, and what it never got.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_over_still_tells_how_it_ended() {
    for profile in PROFILES {
        let (mut server, client) = configs(profile);
        server.limits.inbox_messages = 8;
        let (_server, ours, theirs) = pair_with(&server, &client).await;
        let extended = profile == Profile::Extended;
        assert_eq!(ours.server_key().is_some(), extended);
        assert_eq!(ours.server_key(), theirs.server_key());
        assert_eq!((ours.farewell(), ours.undelivered().len()), (None, 0));
        // Nobody reads: most of it never arrives.
        for _ in 0..5 {
            while ours.try_send([7; 16_384], 0).is_ok() {}
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        theirs.kick("enough");
        assert_eq!(ours.closed().await, Some(kicked_as_seen(profile)));
        let said = extended.then(|| (0, "enough".to_owned()));
        assert_eq!(ours.farewell().filter(|said| *said != (0, String::new())), said);
        assert_eq!(!ours.undelivered().is_empty(), extended);
        assert!(ours.undelivered().iter().all(|message| message.len == 16_384));
    }
}

/// An asking client's endpoint, on its own address.
fn asking(network: &MemoryNetwork, auth: &'static str, number: u8) -> AsyncClient {
    let mut config = configs(Profile::Extended).1;
    (config.auth, config.auth_to_anyone) = (auth.into(), true);
    client_on(network, &config, number).into_async()
}

fn asked() -> (MemoryNetwork, AsyncServer) {
    let network = MemoryNetwork::new();
    let mut config = configs(Profile::Extended).0;
    config.authorize = true;
    let server = server_on(&network, &config).into_async();
    (network, server)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_asked_lets_in_whom_it_accepts_and_tells_the_others_why() {
    let (network, server) = asked();
    let server = std::sync::Arc::new(server);
    let door = std::sync::Arc::clone(&server);
    tokio::spawn(async move {
        while let Some(request) = door.next_request().await {
            assert!(request.remote_addr().ip().is_ipv4() && request.token_claims().is_none());
            // each is decided later, and the others do not wait for it
            tokio::spawn(async move {
                let shown = request.client_auth().clone();
                let patience = Duration::from_millis(if shown == "slow" { 4000 } else { 50 });
                tokio::time::sleep(patience).await;
                assert!(match &shown[..] {
                    b"slow" | b"quick" => request.accept(),
                    b"full" => request.refuse_with(Refusal::ServerFull),
                    b"banned" => request.refuse_with(Refusal::Banned),
                    b"forgotten" => return,
                    _ => request.refuse(),
                });
            });
        }
    });
    let outcomes = [
        ("slow", None),
        ("quick", None),
        ("full", Some(ConnectError::ServerFull)),
        ("banned", Some(ConnectError::Banned)),
        ("stranger", Some(ConnectError::NotAuthorised)),
        ("forgotten", Some(ConnectError::NotAuthorised)),
    ];
    for (number, (auth, expected)) in (1..).zip(outcomes) {
        let client = asking(&network, auth, number);
        match (client.connection().await, expected) {
            (Ok(_), None) => {
                let connection = server.accept().await.unwrap();
                assert_eq!(connection.client_auth().unwrap(), auth);
            }
            (Err(error), Some(expected)) => assert_eq!(error, expected, "{auth}"),
            (other, _) => panic!("{auth}: {other:?}"),
        }
    }
}

/// Lets `clients` ask in vain, one after another; gives how many requests wait then. All are accepted, too late.
async fn asked_in_vain(clients: u8) -> usize {
    let (network, server) = asked();
    for number in 1..=clients {
        let client = asking(&network, "anybody", number);
        let error = client.connection().await.unwrap_err();
        assert!(matches!(error, ConnectError::Unconfirmed { .. }), "{error:?}");
    }
    tokio::time::sleep(ServerConfig::default().handshake_timeout).await;
    let mut waiting = 0;
    while let Ok(Some(request)) = timeout(Duration::from_millis(1), server.next_request()).await {
        waiting += 1;
        request.accept();
    }
    assert!(timeout(Duration::from_secs(10), server.accept()).await.is_err());
    server.shut_down().await;
    waiting
}

#[tokio::test(start_paused = true)]
async fn requests_nobody_answers_let_nobody_in_and_do_not_pile_up() {
    let few = asked_in_vain(1).await;
    let many = asked_in_vain(20).await;
    // those of the last clients, not of all
    assert!(few > 0 && many <= 3 * few, "{few} of one client, {many} of twenty");
}

/// A task that reads a stamped message is told its age, however many others wait before it.
#[tokio::test(start_paused = true)]
async fn tasks_know_how_old_a_stamped_message_is() {
    let (mut server, mut client) = configs(Profile::Extended);
    (server.clock_sync, client.clock_sync) = (true, true);
    let (_server, ours, mut theirs) = pair_with(&server, &client).await;
    while ours.server_time().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for round in 0..20u8 {
        for number in 0..10 {
            let options = SendOptions::new();
            let options = if (number + round) % 3 == 0 { options.stamped() } else { options };
            ours.send_with(0, [number], options).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        for number in 0..10 {
            let (channel, data, time) =
                timeout(Duration::from_secs(9), theirs.recv_timed()).await.unwrap().unwrap();
            assert_eq!((channel, &data[..]), (0, &[number][..]));
            assert_eq!(time.is_some(), (number + round) % 3 == 0, "{round} {number}: {time:?}");
            assert!(time.is_none_or(|time| time.age < Duration::from_secs(1)), "{time:?}");
        }
    }
}

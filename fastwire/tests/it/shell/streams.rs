//! Streams in tasks. tokio's clock is paused where the network is in memory; a lossy line delays by its latency then.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::time::Duration;

use fastwire::asynchronous::{FastwireListener, FastwireStream, Sender, StreamReset};
use fastwire::reliability::ChannelLayout;
use fastwire::sim::{LinkConfig, Loss};
use fastwire::transport::{LossyTransport, MemoryNetwork};
use fastwire::{
    AsyncConnection, AsyncServer, Client, ClientConfig, ClientProfile, SendError, Server, ServerConfig,
    ServerProfile, StreamError,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::support::SERVER;

/// A server and a client's connection to it, with so many streams that each may open, over a line that loses that share.
async fn pair(streams: (usize, usize), loss: f64) -> (AsyncServer, AsyncConnection, AsyncConnection) {
    pair_with(streams, loss, |_| {}).await
}

async fn pair_with(
    (by_client, by_server): (usize, usize),
    loss: f64,
    change: impl FnOnce(&mut ServerConfig),
) -> (AsyncServer, AsyncConnection, AsyncConnection) {
    let layout = ChannelLayout::with_streams(by_client, by_server).unwrap();
    let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
    server.channel_layout = layout.clone();
    client.channel_layout = layout;
    change(&mut server);
    let network = MemoryNetwork::new();
    let transport = network.bind(SERVER.parse().unwrap()).unwrap();
    let server = Server::builder().config(server).seed([1; 32]).build(transport).unwrap().into_async();
    let line = LinkConfig::new().latency(Duration::from_millis(5)).loss(Loss::Bernoulli { rate: loss });
    let transport = network.bind("10.0.1.1:0".parse().unwrap()).unwrap();
    let transport = LossyTransport::new(transport, line.clone(), line, 5)
        .unwrap()
        .with_clock(|| Instant::now().into_std());
    let mut client = Client::builder().config(client).seed([2; 32]).build(transport).unwrap();
    client.connect_to(SERVER).unwrap();
    let client = client.into_async();
    let (ours, theirs) = tokio::join!(client.connection(), server.accept());
    (server, ours.unwrap(), theirs.unwrap())
}

/// Turns over all that comes, and ends when it does. Knows nothing of FastWire.
async fn turn_over(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; 3000];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        buffer[..read].iter_mut().for_each(|byte| *byte = !*byte);
        stream.write_all(&buffer[..read]).await?;
    }
}

fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seed.wrapping_mul(31) ^ i ^ (i >> 8)) as u8).collect()
}

/// Writes, ends, and has it all back turned over.
async fn exchange(stream: FastwireStream, seed: usize, len: usize) {
    let sent = bytes(seed, len);
    let (mut reader, mut writer) = stream.into_split();
    let back = tokio::spawn(async move {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).await.map(|_| back)
    });
    writer.write_all(&sent).await.unwrap();
    writer.shutdown().await.unwrap();
    let back = back.await.unwrap().unwrap();
    assert!(back.len() == len && back.iter().zip(&sent).all(|(back, sent)| *back == !sent), "stream {seed}");
}

fn serve_streams(connection: &AsyncConnection) -> tokio::task::JoinHandle<()> {
    let sender = Sender::clone(connection);
    tokio::spawn(async move {
        while let Ok(stream) = sender.accept_stream().await {
            tokio::spawn(turn_over(stream));
        }
    })
}

/// What is shown of a connection is as of its last 100 ms, and a heartbeat may be under way then: so it is looked at again.
async fn assert_nothing_left(connections: [&AsyncConnection; 2]) {
    for connection in connections {
        let left = || {
            let stats = connection.stats();
            (stats.send_queue_bytes, stats.bytes_in_flight, stats.memory_held)
        };
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(70)).await;
            if left() == (0, 0, 0) {
                break;
            }
        }
        assert_eq!(left(), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_streams_one_after_another() {
    let (_server, ours, theirs) = pair((1, 0), 0.05).await;
    serve_streams(&theirs);
    for number in 0..10_000 {
        exchange(ours.open_stream().await.unwrap(), number, number % 1500).await;
    }
    assert_nothing_left([&ours, &theirs]).await;
}

#[tokio::test(start_paused = true)]
async fn sixty_four_streams_at_once_each_way() {
    let (_server, ours, theirs) = pair((64, 64), 0.05).await;
    serve_streams(&ours);
    serve_streams(&theirs);
    let mut tasks = JoinSet::new();
    for number in 0..256 {
        for sender in [Sender::clone(&ours), Sender::clone(&theirs)] {
            tasks.spawn(async move {
                exchange(sender.open_stream().await.unwrap(), number, 10_000 + number * 300).await;
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_nothing_left([&ours, &theirs]).await;
}

#[tokio::test(start_paused = true)]
async fn opening_waits_for_a_free_channel_and_in_turn() {
    let (_server, ours, theirs) = pair((2, 0), 0.0).await;
    serve_streams(&theirs);
    let held: Vec<_> = [ours.open_stream().await.unwrap(), ours.open_stream().await.unwrap()].into();
    assert_eq!(held.iter().map(FastwireStream::channel).collect::<HashSet<_>>().len(), 2);
    assert!(timeout(Duration::from_secs(1), ours.open_stream()).await.is_err());
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for number in 0..10 {
        let (sender, order) = (Sender::clone(&ours), order.clone());
        tasks.spawn(async move {
            let stream = sender.open_stream().await.unwrap();
            order.lock().unwrap().push(number);
            exchange(stream, number, 10).await;
        });
        tokio::task::yield_now().await;
    }
    drop(held);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_up_its_own_stream_alone() {
    let (_server, ours, theirs) = pair((2, 0), 0.0).await;
    let mut slow = ours.open_stream().await.unwrap();
    let (written, mut count) = tokio::sync::watch::channel(0usize);
    let writing = tokio::spawn(async move {
        let chunk = bytes(9, 10_000);
        for number in 1..=2000 {
            slow.write_all(&chunk).await.unwrap();
            written.send_replace(number * chunk.len());
        }
        slow.shutdown().await.unwrap();
        slow
    });
    let mut unread = theirs.accept_stream().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let stood_at = *count.borrow_and_update();
    assert!(stood_at < 12 << 20, "nothing held the writer back");
    assert!(!writing.is_finished());
    // messages and the other stream go on
    let sender = Sender::clone(&theirs);
    let served = tokio::spawn(async move { turn_over(sender.accept_stream().await.unwrap()).await });
    exchange(ours.open_stream().await.unwrap(), 1, 3_000_000).await;
    served.await.unwrap().unwrap();
    assert_eq!(*count.borrow(), stood_at);
    let mut all = Vec::new();
    unread.read_to_end(&mut all).await.unwrap();
    assert!(all.len() == 20_000_000 && all.chunks(10_000).all(|chunk| chunk == bytes(9, 10_000)));
    unread.shutdown().await.unwrap();
    drop(writing.await.unwrap());
    drop(unread);
    assert_nothing_left([&ours, &theirs]).await;
}

#[tokio::test(start_paused = true)]
async fn an_unread_inbox_holds_up_no_stream() {
    let (_server, ours, mut theirs) = pair((1, 0), 0.0).await;
    serve_streams(&theirs);
    for number in 0..1000u32 {
        ours.send(number.to_be_bytes(), 0).await.unwrap();
    }
    exchange(ours.open_stream().await.unwrap(), 1, 1_000_000).await;
    for number in 0..1000u32 {
        assert_eq!(theirs.recv().await, Some((0, number.to_be_bytes().to_vec().into())));
    }
}

#[tokio::test(start_paused = true)]
async fn half_closed_streams_carry_on_the_other_way() {
    let (_server, ours, theirs) = pair((1, 1), 0.05).await;
    let mut ours = ours.open_stream().await.unwrap();
    ours.shutdown().await.unwrap();
    assert_eq!(ours.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut accepted = theirs.accept_stream().await.unwrap();
    let mut nothing = Vec::new();
    assert_eq!(accepted.read_to_end(&mut nothing).await.unwrap(), 0);
    accepted.write_all(b"still here").await.unwrap();
    accepted.shutdown().await.unwrap();
    drop(accepted);
    let mut text = String::new();
    ours.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "still here");
    assert_eq!(ours.read(&mut [0]).await.unwrap(), 0, "and the end stays the end");
}

#[tokio::test(start_paused = true)]
async fn a_reset_reaches_both_ends_and_frees_the_channel() {
    let (_server, ours, theirs) = pair((1, 0), 0.05).await;
    for code in [0, 7, u16::MAX] {
        let mut stream = ours.open_stream().await.unwrap();
        stream.write_all(&bytes(1, 500_000)).await.unwrap();
        let mut accepted = theirs.accept_stream().await.unwrap();
        accepted.read_exact(&mut [0; 1000]).await.unwrap();
        if code == 0 {
            drop(stream);
        } else {
            stream.reset(code);
            assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
        let error = accepted.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!((error.kind(), StreamReset::code_of(&error)), (ErrorKind::ConnectionReset, Some(code)));
        let error = accepted.write(b"x").await.unwrap_err();
        assert_eq!(StreamReset::code_of(&error), Some(code));
    }
    // a stream that was reset before anybody accepted it is never heard of
    ours.open_stream().await.unwrap().write_all(b"lost").await.unwrap();
    let mut stream = ours.open_stream().await.unwrap();
    stream.write_all(b"kept").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut kept = theirs.accept_stream().await.unwrap();
    let mut text = String::new();
    kept.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "kept");
    drop((kept, stream));
    assert_nothing_left([&ours, &theirs]).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_announced_by_flush_and_the_acceptor_may_speak_first() {
    let (_server, ours, theirs) = pair((0, 1), 0.05).await;
    let mut stream = theirs.open_stream().await.unwrap();
    assert!(timeout(Duration::from_secs(1), ours.accept_stream()).await.is_err());
    stream.flush().await.unwrap();
    let mut accepted = ours.accept_stream().await.unwrap();
    accepted.write_all(b"220 ready").await.unwrap();
    let mut text = [0; 9];
    stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"220 ready");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_is_no_end_of_a_stream() {
    let (_server, ours, theirs) = pair((2, 0), 0.0).await;
    let mut finished = ours.open_stream().await.unwrap();
    finished.write_all(b"all").await.unwrap();
    finished.shutdown().await.unwrap();
    let mut open = ours.open_stream().await.unwrap();
    open.write_all(b"part").await.unwrap();
    let (mut one, mut other) = (theirs.accept_stream().await.unwrap(), theirs.accept_stream().await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    ours.close();
    theirs.closed().await;
    let mut text = String::new();
    one.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "all");
    let mut part = Vec::new();
    let error = other.read_to_end(&mut part).await.unwrap_err();
    assert_eq!((error.kind(), &part[..]), (ErrorKind::ConnectionAborted, &b"part"[..]));
    assert_eq!(other.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(open.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(theirs.accept_stream().await.unwrap_err(), StreamError::ConnectionClosed);
    assert_eq!(ours.open_stream().await.unwrap_err(), StreamError::ConnectionClosed);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_what_finished_streams_hold() {
    let (_server, ours, theirs) = pair_with((1, 0), 0.0, |_| {}).await;
    let mut stream = ours.open_stream().await.unwrap();
    stream.write_all(&bytes(4, 200_000)).await.unwrap();
    stream.shutdown().await.unwrap();
    drop((stream, ours));
    let mut accepted = theirs.accept_stream().await.unwrap();
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).await.unwrap();
    assert!(all == bytes(4, 200_000));
}

#[tokio::test(start_paused = true)]
async fn streams_need_their_channels_and_the_extended_profile() {
    let (_server, ours, theirs) = pair((1, 0), 0.0).await;
    assert_eq!(ours.send("x", 4).await, Err(SendError::StreamChannel(4)));
    assert_eq!(theirs.open_stream().await.unwrap_err(), StreamError::NoneToOpen);
    let network = MemoryNetwork::new();
    let layout = ChannelLayout::with_streams(1, 1).unwrap();
    let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
    (server.channel_layout, server.profile) = (layout.clone(), ServerProfile::BaseOnly);
    (client.channel_layout, client.profile) = (layout, ClientProfile::BaseOnly);
    let server = super::support::server_on(&network, &server).into_async();
    let client = super::support::client_on(&network, &client, 1).into_async();
    let (ours, theirs) = tokio::join!(client.connection(), server.accept());
    assert_eq!(ours.unwrap().open_stream().await.unwrap_err(), StreamError::NotExtended);
    assert_eq!(theirs.unwrap().accept_stream().await.unwrap_err(), StreamError::NotExtended);
}

/// The same program over either.
async fn echo_once(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.shutdown().await.unwrap();
}

async fn call(mut stream: impl AsyncRead + AsyncWrite + Unpin, number: usize) {
    let sent = bytes(number, 50_000);
    stream.write_all(&sent).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert!(back == sent);
}

#[tokio::test]
async fn a_program_for_tcp_runs_over_real_sockets() {
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fastwire = FastwireListener::bind("127.0.0.1:0").await.unwrap();
    let (tcp_address, address) = (tcp.local_addr().unwrap(), fastwire.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        for _ in 0..8 {
            tokio::spawn(echo_once(tcp.accept().await.unwrap().0));
            let (stream, peer) = fastwire.accept().await.unwrap();
            assert_eq!(peer, stream.peer_addr().unwrap());
            assert_eq!(stream.local_addr().unwrap(), address);
            tokio::spawn(echo_once(stream));
        }
    });
    for number in 0..8 {
        call(tokio::net::TcpStream::connect(tcp_address).await.unwrap(), number).await;
        let stream = FastwireStream::connect(address).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert_ne!(stream.local_addr().unwrap().port(), 0);
        call(stream, number).await;
    }
    serving.await.unwrap();
}

/// A listener whose application is asked gives out the streams of those it lets in, and refuses the rest.
#[tokio::test]
async fn a_listener_can_be_asked_whom_to_let_in() {
    let mut config = FastwireListener::config();
    config.authorize = true;
    let listener = FastwireListener::bind_with(config, "127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = std::sync::Arc::new(listener);
    let door = std::sync::Arc::clone(&listener);
    tokio::spawn(async move {
        while let Some(request) = door.next_request().await {
            let known = request.client_auth() == "a friend";
            assert!(if known { request.accept() } else { request.refuse() });
        }
    });
    let come_as = async |auth: &'static str| {
        let mut config = ClientConfig::default();
        (config.auth, config.auth_to_anyone) = (auth.into(), true);
        FastwireStream::connect_with(config, address).await
    };
    assert_eq!(come_as("a stranger").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let stream = come_as("a friend").await.unwrap();
    tokio::spawn(async move { echo_once(listener.accept().await.unwrap().0).await });
    call(stream, 1).await;
}

//! Streams and listeners over real sockets.

use crate::exchange::{exchange, pattern};
use fastwire_kcp::core::NoDelay;
use fastwire_kcp::crypt::{Crypt, CryptKind};
use fastwire_kcp::fec::FecRatio;
use fastwire_kcp::net::{KcpConfig, KcpListener, KcpStream, MAX_DRIVERS, ReuniteError};
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn config() -> KcpConfig {
    let crypt = Crypt::from_passphrase(CryptKind::Aes128Gcm, "a long shared secret");
    KcpConfig::new(crypt).nodelay(NoDelay::FAST3)
}

async fn pair(config: KcpConfig) -> (KcpStream, KcpStream) {
    let listener = KcpListener::bind("127.0.0.1:0", config.clone()).await.unwrap();
    let mut client = KcpStream::connect(listener.local_addr().unwrap(), config).await.unwrap();
    client.write_all(b"!").await.unwrap();
    let (mut server, from) = listener.accept().await.unwrap();
    assert_eq!(from.port(), client.local_addr().unwrap().port());
    let mut first = [0];
    server.read_exact(&mut first).await.unwrap();
    (client, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_program_runs_over_tcp_and_over_kcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    exchange(client.unwrap(), server.unwrap().0, 1 << 20).await;

    for fec in [None, Some(FecRatio::KCPTUN)] {
        for stream in [false, true] {
            let (client, server) = pair(config().stream(stream).fec(fec)).await;
            exchange(client, server, 4 << 20).await;
        }
    }
}

#[tokio::test]
async fn messages_keep_their_boundaries() {
    let (client, mut server) = pair(config()).await;
    let mut buffer = vec![0; 100_000];
    for len in [1, 100, 1300, 5000, 60_000] {
        client.send_message(&pattern(len)).await.unwrap();
        if len <= 1300 {
            assert_eq!(server.read(&mut buffer).await.unwrap(), len);
        } else {
            server.read_exact(&mut buffer[..len]).await.unwrap();
        }
        assert!(buffer[..len] == pattern(len));
    }
}

#[tokio::test]
async fn out_of_band_messages_pass_beside_the_stream() {
    let (client, server) = pair(config().fec(Some(FecRatio::KCPTUN))).await;
    client.send_oob(b"ping").unwrap();
    assert_eq!(server.recv_oob().await.unwrap(), b"ping");
    server.send_oob(b"").unwrap();
    assert_eq!(client.recv_oob().await.unwrap(), b"");
    let too_long = vec![0; client.max_oob().unwrap() + 1];
    assert_eq!(client.send_oob(&too_long).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_silent_peer_is_a_timeout_and_never_an_end() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = config().idle_timeout(Some(Duration::from_millis(150)));
    let mut stream = KcpStream::connect(silent.local_addr().unwrap(), config).await.unwrap();
    stream.write_all(b"anyone?").await.unwrap();
    let mut buffer = [0; 8];
    assert_eq!(stream.read(&mut buffer).await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(stream.write(b"more").await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(stream.shutdown().await.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_keepalive_holds_an_idle_session() {
    let idle = Duration::from_millis(300);
    let config = config().idle_timeout(Some(idle)).keepalive(Some(idle / 6));
    let (mut client, mut server) = pair(config).await;
    tokio::time::sleep(3 * idle).await;
    client.write_all(b"still here").await.unwrap();
    let mut buffer = [0; 10];
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"still here");
}

#[tokio::test]
async fn deadlines_end_waiting_and_can_be_lifted() {
    let (mut client, mut server) = pair(config()).await;
    let mut buffer = [0; 4];
    client.set_read_deadline(Some(Instant::now() + Duration::from_millis(30)));
    assert_eq!(client.read(&mut buffer).await.unwrap_err().kind(), ErrorKind::TimedOut);
    client.set_read_deadline(None);
    server.write_all(b"late").await.unwrap();
    client.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"late");
}

/// Nobody answers: once the window is full, a write waits, and ends when it should; a deadline that comes while it waits counts.
#[tokio::test]
async fn a_write_without_room_ends_at_its_deadline() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = config().window(4, 128);
    let mut stream = KcpStream::connect(silent.local_addr().unwrap(), config).await.unwrap();
    stream.set_write_deadline(Some(Instant::now() + Duration::from_millis(30)));
    let error = stream.write_all(&pattern(100_000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    stream.set_write_deadline(None);
    let (_, mut writer) = stream.into_split();
    let waiting = tokio::spawn(async move { writer.write(b"more").await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!waiting.is_finished(), "a write without a deadline waits");
    waiting.abort();
}

/// Whoever waits already hears of a deadline that is set now.
#[tokio::test]
async fn a_deadline_reaches_who_waits_already() {
    let (client, _server) = pair(config()).await;
    let (mut reader, writer) = client.into_split();
    let mut buffer = [0; 4];
    let read = reader.read(&mut buffer);
    let later = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        writer.as_ref().set_read_deadline(Some(Instant::now() + Duration::from_millis(30)));
    };
    let (read, ()) = tokio::join!(read, later);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
    let other = pair(config()).await.0.into_split().1;
    let ReuniteError(reader, _) = reader.reunite(other).unwrap_err();
    let client = reader.reunite(writer).unwrap();
    assert!(client.stats().bytes_sent > 0);
}

/// What is changed under way holds from then on: sizes on the wire, what may wait, how often a datagram leaves.
#[tokio::test]
async fn settings_change_under_way() {
    let (mut client, mut server) = pair(config().stream(true)).await;
    for (mtu, window, nodelay, copies) in
        [(1400, 256, NoDelay::FAST3, 0), (300, 32, NoDelay::FAST, 1), (900, 512, NoDelay::NORMAL, 0)]
    {
        client.set_mtu(mtu).unwrap();
        client.set_window(window, window).unwrap();
        client.set_nodelay(nodelay);
        client.set_copies(copies);
        client.set_write_delay(copies == 0);
        let before = client.stats();
        let sent = pattern(200_000);
        let mut received = vec![0; sent.len()];
        let (written, read) = tokio::join!(client.write_all(&sent), server.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
        assert!(received == sent);
        client.set_write_delay(false);
        // Segments that wait keep the size they were cut to.
        while client.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let counted = client.stats();
        assert_eq!(counted.bytes_sent - before.bytes_sent, sent.len() as u64);
        let (datagrams, bytes) = (counted.out_pkts - before.out_pkts, counted.out_bytes - before.out_bytes);
        assert!(
            bytes <= datagrams * mtu as u64,
            "{datagrams} datagrams of at most {mtu} carry {bytes} bytes"
        );
        assert!(bytes >= sent.len() as u64 * u64::from(copies + 1));
    }
    let invalid =
        [client.set_mtu(60), client.set_mtu(1501), client.set_window(0, 1), client.set_window(1, 1 << 21)];
    assert!(invalid.into_iter().all(|result| result.unwrap_err().kind() == ErrorKind::InvalidInput));
    let (smoothed, _, timeout) = client.rtt();
    assert!(smoothed < timeout && timeout <= Duration::from_secs(60));
}

/// The halves live in two tasks, and the addresses are those of the sockets.
#[tokio::test]
async fn halves_go_to_two_tasks() {
    let (client, mut server) = pair(config().stream(true)).await;
    assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    assert_eq!(client.conv(), server.conv());
    let (mut reader, mut writer) = client.into_split();
    let writing = tokio::spawn(async move {
        writer.write_all(&pattern(300_000)).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let reading = tokio::spawn(async move {
        let mut received = vec![0; 300_000];
        reader.read_exact(&mut received).await.unwrap();
        received
    });
    let (mut server_reader, mut server_writer) = server.split();
    let echo = tokio::io::copy(&mut server_reader, &mut server_writer);
    tokio::select! {
        received = reading => assert!(received.unwrap() == pattern(300_000)),
        ended = echo => panic!("a stream of KCP does not end: {ended:?}"),
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn shutting_down_waits_for_the_peer_and_refuses_writes() {
    let (mut client, mut server) = pair(config()).await;
    client.write_all(&pattern(50_000)).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(client.waiting(), 0);
    assert_eq!(client.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut received = vec![0; 50_000];
    server.read_exact(&mut received).await.unwrap();
    assert!(received == pattern(50_000));
}

#[tokio::test]
async fn a_dropped_stream_still_delivers() {
    let (mut client, mut server) = pair(config().window(8, 128)).await;
    client.write_all(&pattern(10_000)).await.unwrap();
    drop(client);
    let mut received = vec![0; 10_000];
    server.read_exact(&mut received).await.unwrap();
    assert!(received == pattern(10_000));
}

#[tokio::test]
async fn a_closed_listener_accepts_no_more_but_keeps_its_sessions() {
    let listener = KcpListener::bind("127.0.0.1:0", config()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = KcpStream::connect(address, config()).await.unwrap();
    client.write_all(b"a").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    listener.close();
    assert_eq!(listener.accept().await.unwrap_err().kind(), ErrorKind::NotConnected);
    drop(listener);
    client.write_all(b"b").await.unwrap();
    let mut buffer = [0; 2];
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"ab");
}

#[tokio::test]
async fn another_key_opens_nothing() {
    let listener = KcpListener::bind("127.0.0.1:0", config()).await.unwrap();
    let other = KcpConfig::new(Crypt::from_passphrase(CryptKind::Aes128Gcm, "another secret"));
    let mut client = KcpStream::connect(listener.local_addr().unwrap(), other).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let before = fastwire_kcp::net::snmp();
    assert!(tokio::time::timeout(Duration::from_millis(400), listener.accept()).await.is_err());
    assert!(fastwire_kcp::net::snmp().in_csum_errors > before.in_csum_errors);
}

#[test]
fn the_number_of_tasks_does_not_depend_on_the_number_of_sessions() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = KcpListener::bind("127.0.0.1:0", config()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = || runtime.metrics().num_alive_tasks();
        let at_first = tasks();
        assert!(at_first <= MAX_DRIVERS);
        let mut streams = Vec::new();
        for _ in 0..50 {
            let mut client = KcpStream::connect(address, config()).await.unwrap();
            client.write_all(b"x").await.unwrap();
            streams.push((client, listener.accept().await.unwrap()));
        }
        assert_eq!(tasks(), at_first);
    });
}

#[test]
fn a_runtime_that_ends_aborts_its_sessions() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut client, _server) = runtime.block_on(pair(config()));
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = other.block_on(async { client.read(&mut [0; 1]).await.unwrap_err() });
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_closed_listener_lets_go_of_its_address() {
    let listener = KcpListener::bind("127.0.0.1:0", config()).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut tries = 0;
    while let Err(error) = KcpListener::bind(address, config()).await {
        tries += 1;
        assert!(tries < 100, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

//! Live, against an independent implementation of KCP, over a line that loses and reorders.

use crate::exchange::exchange;
use fastwire_kcp::core::{NoDelay, Timing};
use fastwire_kcp::crypt::{Crypt, CryptKind, insecure};
use fastwire_kcp::net::{KcpConfig, KcpListener, KcpStream};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;

/// How the two ends talk.
#[derive(Debug, Clone, Copy)]
struct Case {
    stream: bool,
    nodelay: bool,
    timing: Timing,
    loss_percent: u64,
    len: usize,
}

impl Case {
    fn ours(self) -> KcpConfig {
        // The other implementation speaks bare KCP.
        let crypt = Crypt::new(CryptKind::Insecure(insecure::Kind::Null), &[]).unwrap();
        let nodelay = if self.nodelay {
            NoDelay::FAST3
        } else {
            NoDelay { level: 0, interval: 40, resend: 0, congestion: true }
        };
        let mut config = KcpConfig::new(crypt).stream(self.stream).nodelay(nodelay);
        config.session.kcp.timing = self.timing;
        config
    }

    fn theirs(self) -> tokio_kcp::KcpConfig {
        let nodelay = if self.nodelay {
            tokio_kcp::KcpNoDelayConfig::fastest()
        } else {
            tokio_kcp::KcpNoDelayConfig::normal()
        };
        tokio_kcp::KcpConfig { stream: self.stream, nodelay, ..tokio_kcp::KcpConfig::default() }
    }
}

/// Every datagram's fate, from a seed.
struct Dice(u64);

impl Dice {
    fn percent(&mut self, chance: u64) -> bool {
        // Knuth's MMIX generator; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % 100 < chance
    }
}

/// Forwards between one client and `server`, losing `loss` percent and holding back a fifth of the rest for 5 ms,
/// when there is any loss. Its address.
async fn relay(server: SocketAddr, loss: u64) -> SocketAddr {
    let socket = std::sync::Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut client = None;
        let mut dice = Dice(7);
        let mut buffer = [0; 2048];
        loop {
            let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
            if from != server {
                client = Some(from);
            }
            let to = if from == server { client } else { Some(server) };
            let (Some(to), false) = (to, dice.percent(loss)) else { continue };
            if loss > 0 && dice.percent(20) {
                let (socket, datagram) = (socket.clone(), buffer[..len].to_vec());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let _ = socket.send_to(&datagram, to).await;
                });
            } else {
                let _ = socket.send_to(&buffer[..len], to).await;
            }
        }
    });
    address
}

async fn our_client(case: Case) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listener = tokio_kcp::KcpListener::bind(case.theirs(), any).await.unwrap();
    let relay = relay(listener.local_addr().unwrap(), case.loss_percent).await;
    let mut client = KcpStream::connect(relay, case.ours()).await.unwrap();
    client.write_all(b"!").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut first = [0; 16];
    assert_eq!(server.recv(&mut first).await.unwrap(), 1);
    exchange(client, server, case.len).await;
}

async fn our_listener(case: Case) {
    let listener = KcpListener::bind("127.0.0.1:0", case.ours()).await.unwrap();
    let relay = relay(listener.local_addr().unwrap(), case.loss_percent).await;
    let mut client = tokio_kcp::KcpStream::connect(&case.theirs(), relay).await.unwrap();
    client.write_all(b"!").await.unwrap();
    client.flush().await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut first = [0];
    tokio::io::AsyncReadExt::read_exact(&mut server, &mut first).await.unwrap();
    exchange(client, server, case.len).await;
}

async fn both_roles(case: Case) {
    let limit = Duration::from_secs(60);
    let roles = async { tokio::join!(our_client(case), our_listener(case)) };
    assert!(tokio::time::timeout(limit, roles).await.is_ok(), "{case:?} takes too long");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_line_carries_every_mode() {
    for stream in [false, true] {
        for nodelay in [false, true] {
            for timing in [Timing::Prompt, Timing::Classic] {
                both_roles(Case { stream, nodelay, timing, loss_percent: 0, len: 300_000 }).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_line_carries_every_mode() {
    for stream in [false, true] {
        for (loss_percent, len) in [(5, 200_000), (20, 60_000)] {
            let case = Case { stream, nodelay: true, timing: Timing::Prompt, loss_percent, len };
            both_roles(case).await;
        }
    }
    both_roles(Case { stream: true, nodelay: false, timing: Timing::Prompt, loss_percent: 5, len: 40_000 })
        .await;
}

/// Datagrams of nobody's, to a client's port, until this is dropped.
struct Strays(tokio::task::JoinHandle<()>);

impl Strays {
    fn to(port: u16) -> Self {
        Self(tokio::spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            for number in 0u32.. {
                ticks.tick().await;
                let mut stray = [0x55; 40];
                stray[..4].copy_from_slice(&number.to_le_bytes());
                let _ = socket.send_to(&stray, ("127.0.0.1", port)).await;
            }
        }))
    }
}

impl Drop for Strays {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const STRAY_CASE: Case =
    Case { stream: true, nodelay: true, timing: Timing::Prompt, loss_percent: 0, len: 4_000_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_of_nobody_change_nothing_for_our_client() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listener = tokio_kcp::KcpListener::bind(STRAY_CASE.theirs(), any).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = KcpStream::connect(address, STRAY_CASE.ours()).await.unwrap();
    let _strays = Strays::to(client.local_addr().unwrap().port());
    client.write_all(b"!").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(server.recv(&mut [0; 16]).await.unwrap(), 1);
    let transfer = exchange(client, server, STRAY_CASE.len);
    tokio::time::timeout(Duration::from_secs(60), transfer).await.expect("it goes on");
}

/// tokio_kcp's client takes the conversation number of whatever reaches its port; what it numbers until it hears its peer again
/// keeps that number and is never taken. Whether ours listens or its own, the stream stalls, or its listener takes it for another.
/// Over a connected socket nothing reaches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "shows a fault of tokio_kcp 0.9: run it after an update, to see whether the checks still need connected sockets"]
async fn datagrams_of_nobody_stall_the_client_of_tokio_kcp() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    // A line on which it numbers new data at its ticks, not as it hears its peer.
    let case = Case { stream: true, nodelay: false, timing: Timing::Prompt, loss_percent: 5, len: 1_000_000 };
    let limit = Duration::from_secs(40);
    for (we_listen, connected) in [(true, false), (false, false), (true, true), (false, true)] {
        let socket = UdpSocket::bind(any).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let client = async |server: SocketAddr| {
            if connected {
                socket.connect(server).await.unwrap();
            }
            let theirs = case.theirs();
            let mut client =
                tokio_kcp::KcpStream::connect_with_socket(&theirs, socket, server).await.unwrap();
            client.write_all(b"!").await.unwrap();
            client.flush().await.unwrap();
            client
        };
        let done = if we_listen {
            let listener = KcpListener::bind(any, case.ours()).await.unwrap();
            let client = client(relay(listener.local_addr().unwrap(), 5).await).await;
            let (mut server, _) = listener.accept().await.unwrap();
            tokio::io::AsyncReadExt::read_exact(&mut server, &mut [0]).await.unwrap();
            let _strays = Strays::to(port);
            tokio::time::timeout(limit, tokio::spawn(exchange(client, server, case.len))).await
        } else {
            let mut listener = tokio_kcp::KcpListener::bind(case.theirs(), any).await.unwrap();
            let client = client(relay(listener.local_addr().unwrap(), 5).await).await;
            let (mut server, _) = listener.accept().await.unwrap();
            assert_eq!(server.recv(&mut [0; 16]).await.unwrap(), 1);
            let _strays = Strays::to(port);
            tokio::time::timeout(limit, tokio::spawn(exchange(client, server, case.len))).await
        };
        // A transfer that fails panics in its task.
        assert_eq!(
            matches!(done, Ok(Ok(()))),
            connected,
            "ours listens: {we_listen}, connected: {connected}"
        );
    }
}

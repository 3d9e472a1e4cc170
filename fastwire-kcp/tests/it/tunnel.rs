//! The tunnel of the examples: a large file over TCP, through KCP, over a line that loses and reorders.

#[path = "../../examples/kcp_tunnel.rs"]
#[allow(dead_code, reason = "its command line is not used here")]
mod kcp_tunnel;

use crate::exchange::pattern;
use crate::interop::relay;
use fastwire_kcp::core::NoDelay;
use fastwire_kcp::crypt::{Crypt, CryptKind};
use fastwire_kcp::fec::FecRatio;
use fastwire_kcp::net::{KcpConfig, KcpListener};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const FILE: usize = 2 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_arrives_whole_and_its_end_is_seen() {
    let crypt = Crypt::from_passphrase(CryptKind::Aes128Gcm, "a long shared secret");
    let config = KcpConfig::new(crypt).stream(true).nodelay(NoDelay::FAST3).fec(Some(FecRatio::KCPTUN));

    // Answers each request with the file and closes.
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = service.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = service.accept().await {
            let mut request = Vec::new();
            peer.read_to_end(&mut request).await.unwrap();
            assert_eq!(request, b"the file, please");
            peer.write_all(&pattern(FILE)).await.unwrap();
        }
    });
    let far = KcpListener::bind("127.0.0.1:0", config.clone()).await.unwrap();
    let line = relay(far.local_addr().unwrap(), 5).await.to_string();
    tokio::spawn(kcp_tunnel::serve(far, target));
    let near = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let entrance = near.local_addr().unwrap();
    tokio::spawn(kcp_tunnel::forward(near, line, config));

    let fetched = tokio::time::timeout(Duration::from_secs(60), async {
        let mut client = TcpStream::connect(entrance).await.unwrap();
        client.write_all(b"the file, please").await.unwrap();
        client.shutdown().await.unwrap();
        let mut file = Vec::new();
        client.read_to_end(&mut file).await.unwrap();
        file
    });
    assert!(fetched.await.expect("takes no minute") == pattern(FILE));
}

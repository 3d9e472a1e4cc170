//! The program itself, both sides of it, with a line between them that loses and reorders.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod relay;

use relay::relay;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const FILE: usize = 4 << 20;
const REQUEST: &[u8] = b"GET /file HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
const LIMIT: Duration = Duration::from_secs(120);

/// A side of the tunnel, ended with its test.
struct Side {
    process: Child,
    /// Where it listens.
    address: SocketAddr,
    /// Open as long as it may write there.
    _output: BufReader<std::process::ChildStdout>,
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(role: &str, to: SocketAddr, options: &[&str]) -> Side {
    let mut process = Command::new(env!("CARGO_BIN_EXE_fastwire-tunnel"))
        .args([role, "--listen", "127.0.0.1:0", "--quiet", "--to", &to.to_string()])
        .args(options)
        .env("FASTWIRE_TUNNEL_KEY", "a long shared secret")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    // "KCP at ADDRESS to …", "TCP at ADDRESS through …"
    let address = line.split(' ').nth(2).unwrap().parse().unwrap_or_else(|error| panic!("{error}: {line:?}"));
    Side { process, address, _output: output }
}

/// Bytes that tell their place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A service that answers each request with the file; with only a part of it, and then an end that is none, when the file
/// is to be cut.
async fn service(cut: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; REQUEST.len()];
                peer.read_exact(&mut request).await.unwrap();
                assert_eq!(request, REQUEST);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {FILE}\r\nConnection: close\r\n\r\n");
                peer.write_all(head.as_bytes()).await.unwrap();
                let file = pattern(FILE);
                if cut {
                    peer.write_all(&file[..FILE / 2]).await.unwrap();
                    peer.set_zero_linger().unwrap();
                } else {
                    peer.write_all(&file).await.unwrap();
                }
            });
        }
    });
    address
}

/// What comes back for a request, to the end.
async fn fetch(entrance: SocketAddr) -> std::io::Result<Vec<u8>> {
    let fetched = tokio::time::timeout(LIMIT, async {
        let mut client = TcpStream::connect(entrance).await?;
        client.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await?;
        Ok(answer)
    });
    fetched.await.expect("ends in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_arrives_bit_for_bit_over_a_bad_line() {
    let service = service(false).await;
    for (server_options, client_options) in [
        (&[][..], &[][..]),
        (
            &["--fec", "10+3", "--compress", "3", "--mode", "fast2"][..],
            &["--fec", "3+1", "--mtu", "1200"][..],
        ),
    ] {
        let server = start("server", service, server_options);
        let client = start("client", relay(server.address, 5).await, client_options);
        // Several at once, each whole.
        let (one, two) = tokio::join!(fetch(client.address), fetch(client.address));
        for answer in [one.unwrap(), two.unwrap()] {
            let at = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            assert!(answer[at..] == pattern(FILE), "{} bytes arrived", answer.len() - at);
        }
    }
}

/// curl's view of the same, where there is a curl.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_fetches_a_large_file() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("no curl here");
        return;
    }
    let server = start("server", service(false).await, &["--fec", "10+3"]);
    let client = start("client", relay(server.address, 5).await, &[]);
    let url = format!("http://{}/file", client.address);
    let fetched = tokio::task::spawn_blocking(move || {
        Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "120",
                "--user-agent",
                "",
                "--header",
                "Accept:",
            ])
            .args(["--header", "Host: here", "--header", "Connection: close", &url])
            .output()
    });
    let output = fetched.await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == pattern(FILE), "{} bytes arrived", output.stdout.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_is_never_a_clean_end() {
    let server = start("server", service(true).await, &[]);
    let client = start("client", server.address, &[]);
    assert!(fetch(client.address).await.is_err(), "half a file looked complete");

    // A port that nobody listens at.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = start("server", nobody, &[]);
    let client = start("client", server.address, &[]);
    assert!(fetch(client.address).await.is_err(), "a service that is not there answered");
}

#[test]
fn wrong_arguments_are_explained() {
    let output = Command::new(env!("CARGO_BIN_EXE_fastwire-tunnel"))
        .args(["server", "--listen", "nowhere", "--to", "127.0.0.1:1", "--key", "k"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen at nowhere"));
    let output = Command::new(env!("CARGO_BIN_EXE_fastwire-tunnel")).arg("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

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
    /// A FastWire server's key.
    pin: String,
    /// Open as long as it may write there.
    _output: BufReader<std::process::ChildStdout>,
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What carries the connections, as options of both sides.
const CARRIERS: [&[&str]; 2] = [&[], &["--over", "kcp"]];

fn start(role: &str, to: SocketAddr, options: &[&str]) -> Side {
    start_at(role, "127.0.0.1:0", to, options).unwrap()
}

/// The passphrase comes from the environment unless the options have one.
fn start_at(role: &str, listen: &str, to: SocketAddr, options: &[&str]) -> Option<Side> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastwire-tunnel"));
    command.args([role, "--listen", listen, "--quiet", "--to", &to.to_string()]).args(options);
    if !options.iter().any(|option| ["--identity", "--pin", "--known-hosts"].contains(option)) {
        command.env("FASTWIRE_TUNNEL_KEY", "a long shared secret");
    }
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    // "FastWire at ADDRESS to …", "KCP at ADDRESS to …", "TCP at ADDRESS through …"
    let Some(address) = line.split(' ').nth(2).and_then(|address| address.parse().ok()) else {
        process.wait().unwrap();
        return None;
    };
    let mut pin = String::new();
    if role == "server" && line.starts_with("FastWire") {
        output.read_line(&mut pin).unwrap();
    }
    let pin = pin.trim().trim_start_matches("pin ").to_owned();
    Some(Side { process, address, pin, _output: output })
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
    let fetched = async {
        let mut client = TcpStream::connect(entrance).await?;
        client.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    in_time(fetched).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_arrives_bit_for_bit_over_a_bad_line() {
    let service = service(false).await;
    for (server_options, client_options) in [
        (&[][..], &[][..]),
        (&["--compress", "3", "--mtu", "1400"][..], &["--mtu", "1400"][..]),
        (&["--fec", "10+3"][..], &["--fec", "3+1"][..]),
        (&["--over", "kcp"][..], &["--over", "kcp"][..]),
        (
            &["--over", "kcp", "--fec", "10+3", "--compress", "3", "--mode", "fast2"][..],
            &["--over", "kcp", "--fec", "3+1", "--mtu", "1200"][..],
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
    for options in [&[][..], &["--over", "kcp", "--fec", "10+3"]] {
        let server = start("server", service(false).await, options);
        let client = start("client", relay(server.address, 5).await, options);
        let url = format!("http://{}/file", client.address);
        let fetched = tokio::task::spawn_blocking(move || {
            Command::new("curl")
                .args(["--silent", "--show-error", "--max-time", "120", "--user-agent", ""])
                .args([
                    "--header",
                    "Accept:",
                    "--header",
                    "Host: here",
                    "--header",
                    "Connection: close",
                    &url,
                ])
                .output()
        });
        let output = fetched.await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == pattern(FILE), "{} bytes arrived", output.stdout.len());
    }
}

/// A service that gives each connection to `serve`.
async fn each<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((peer, _)) = listener.accept().await {
            tokio::spawn(serve(peer));
        }
    });
    address
}

/// Either side may end its direction first, and still gets all of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_connection_ends_and_the_other_goes_on() {
    const LEN: usize = 300_000;
    // Answers when it has heard all.
    let listens_first = each(async |mut peer| {
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).await.unwrap();
        assert!(heard == pattern(LEN));
        heard.reverse();
        peer.write_all(&heard).await.unwrap();
    });
    // Says all it has to say, then tells how many bytes it heard to whoever asks over another connection.
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let talks_first = each(move |mut peer: TcpStream| {
        let told = told.clone();
        async move {
            peer.write_all(b"bye").await.unwrap();
            peer.shutdown().await.unwrap();
            let mut all = Vec::new();
            peer.read_to_end(&mut all).await.unwrap();
            told.send(all).unwrap();
        }
    });
    let (listens_first, talks_first) = tokio::join!(listens_first, talks_first);
    for carrier in CARRIERS {
        let server = start("server", listens_first, carrier);
        let client = start("client", relay(server.address, 5).await, carrier);
        let mut tcp = TcpStream::connect(client.address).await.unwrap();
        tcp.write_all(&pattern(LEN)).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut answer = Vec::new();
        in_time(tcp.read_to_end(&mut answer)).await.unwrap();
        answer.reverse();
        assert!(answer == pattern(LEN), "{carrier:?}: {} bytes came back", answer.len());

        let server = start("server", talks_first, carrier);
        let client = start("client", relay(server.address, 5).await, carrier);
        let mut tcp = TcpStream::connect(client.address).await.unwrap();
        let mut answer = Vec::new();
        in_time(tcp.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, b"bye", "{carrier:?}");
        tcp.write_all(&pattern(LEN)).await.unwrap();
        tcp.shutdown().await.unwrap();
        assert!(in_time(heard.recv()).await.unwrap() == pattern(LEN), "{carrier:?}");
    }
}

/// More connections than one connection of FastWire carries, all open at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_stand_at_once() {
    const MANY: u32 = 2 * fastwire_tunnel::fastwire::STREAMS as u32 + 22;
    let echo = each(async |mut peer| {
        let (mut reader, mut writer) = peer.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    })
    .await;
    for carrier in CARRIERS {
        let server = start("server", echo, carrier);
        let client = start("client", relay(server.address, 2).await, carrier);
        // Twice: what the first round used is there again for the second.
        for round in 0..2 {
            let all_open = std::sync::Arc::new(tokio::sync::Barrier::new(MANY as usize));
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..MANY {
                let (all_open, entrance) = (all_open.clone(), client.address);
                tasks.spawn(async move {
                    let mut tcp = TcpStream::connect(entrance).await.unwrap();
                    let mut back = [0; 4];
                    tcp.write_all(&number.to_le_bytes()).await.unwrap();
                    tcp.read_exact(&mut back).await.unwrap();
                    assert_eq!(u32::from_le_bytes(back), number);
                    all_open.wait().await;
                    tcp.write_all(&pattern(5000 + number as usize)).await.unwrap();
                    tcp.shutdown().await.unwrap();
                    let mut rest = Vec::new();
                    tcp.read_to_end(&mut rest).await.unwrap();
                    assert!(rest == pattern(5000 + number as usize));
                });
            }
            in_time(async {
                while let Some(done) = tasks.join_next().await {
                    done.unwrap_or_else(|error| panic!("{carrier:?}, round {round}: {error}"));
                }
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_is_never_a_clean_end() {
    let cut = service(true).await;
    for carrier in CARRIERS {
        let server = start("server", cut, carrier);
        let client = start("client", server.address, carrier);
        assert!(fetch(client.address).await.is_err(), "{carrier:?}: half a file looked complete");

        // A port that nobody listens at.
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let server = start("server", nobody, carrier);
        let client = start("client", server.address, carrier);
        assert!(fetch(client.address).await.is_err(), "{carrier:?}: a service that is not there answered");
    }
}

/// A user who has said all, and leaves while the answer comes: the service is not left talking to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_learns_that_its_user_is_gone() {
    let (told, mut gone) = tokio::sync::mpsc::unbounded_channel();
    let endless = each(move |mut peer: TcpStream| {
        let told = told.clone();
        async move {
            let mut asked = Vec::new();
            peer.read_to_end(&mut asked).await.unwrap();
            let chunk = pattern(10_000);
            while peer.write_all(&chunk).await.is_ok() {}
            told.send(()).unwrap();
        }
    })
    .await;
    for carrier in CARRIERS {
        let server = start("server", endless, carrier);
        let client = start("client", server.address, carrier);
        let mut tcp = TcpStream::connect(client.address).await.unwrap();
        tcp.write_all(b"all of it").await.unwrap();
        tcp.shutdown().await.unwrap();
        tcp.read_exact(&mut [0; 100_000]).await.unwrap();
        drop(tcp);
        in_time(gone.recv()).await.unwrap();
    }
}

/// Connections after a restart go through; those before it are reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_found_again() {
    let echo = each(async |mut peer| {
        let (mut reader, mut writer) = peer.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await;
    let folder = Folder::new("restart");
    let (identity, hosts) = (folder.file("identity"), folder.file("hosts"));
    let with_files = [&["--identity", &identity[..]][..], &["--known-hosts", &hosts]];
    for [server_options, client_options] in [with_files, [CARRIERS[0]; 2], [CARRIERS[1]; 2]] {
        let server = start("server", echo, server_options);
        let address = server.address.to_string();
        let client = start("client", server.address, client_options);
        let mut before = TcpStream::connect(client.address).await.unwrap();
        assert!(asks(&mut before).await);
        drop(server);
        let server = start_at("server", &address, echo, server_options).unwrap();
        in_time(async {
            loop {
                let mut after = TcpStream::connect(client.address).await.unwrap();
                let answer = tokio::time::timeout(Duration::from_secs(2), asks(&mut after));
                if answer.await.unwrap_or(false) {
                    break;
                }
            }
        })
        .await;
        if server_options != CARRIERS[1] {
            // Over KCP that takes as long as silence is taken for life.
            let ended = in_time(before.read(&mut [0])).await;
            assert!(ended.is_err(), "{server_options:?}: a connection to the server before looked well");
        }
        drop(server);
    }
}

/// Sends something and whether it came back.
async fn asks(tcp: &mut TcpStream) -> bool {
    let mut back = [0; 5];
    tcp.write_all(b"hello").await.is_ok() && tcp.read_exact(&mut back).await.is_ok() && &back == b"hello"
}

/// Nobody gets through without the passphrase, and nobody else plays the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_should_is_at_the_other_end() {
    let service = service(false).await;
    let folder = Folder::new("trust");
    let (identity, other, hosts) = (folder.file("identity"), folder.file("other"), folder.file("hosts"));
    let server = start("server", service, &["--identity", &identity]);
    let address = server.address.to_string();
    let by_key = start("client", server.address, &["--pin", &server.pin]);
    let by_file = start("client", server.address, &["--known-hosts", &hosts]);
    let strangers = [
        start("client", server.address, &["--pin", &server.pin.replace(|_| true, "7")]),
        // It offers a passphrase, and the server has none.
        start("client", server.address, &[]),
    ];
    assert!(fetch(by_key.address).await.is_ok() && fetch(by_file.address).await.is_ok());
    for stranger in &strangers {
        assert!(fetch(stranger.address).await.is_err());
    }
    drop((server, by_file));

    let _impostor = start_at("server", &address, service, &["--identity", &other]).unwrap();
    let by_file = start("client", address.parse().unwrap(), &["--known-hosts", &hosts]);
    assert!(fetch(by_file.address).await.is_err(), "another server was taken for the one known");

    let server = start("server", service, &[]);
    let wrong = start("client", server.address, &["--key", "another secret"]);
    let without = start("client", server.address, &["--pin", &server.pin]);
    let right = start("client", server.address, &["--pin", &server.pin, "--key", "a long shared secret"]);
    assert!(fetch(wrong.address).await.is_err() && fetch(without.address).await.is_err());
    assert!(fetch(right.address).await.is_ok());
}

/// A folder of a test's own, gone with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fastwire-tunnel-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("ends in time")
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

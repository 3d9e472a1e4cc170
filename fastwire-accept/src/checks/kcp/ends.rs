//! The two implementations under the same settings, and what all KCP checks do with them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fastwire_kcp::core::NoDelay;
use fastwire_kcp::crypt::{Crypt, CryptKind, insecure};
use fastwire_kcp::net::{KcpConfig, KcpListener, KcpStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest write that tokio_kcp takes in message mode.
const WRITE: usize = 64 << 10;

/// A transfer that brings nothing for so long has failed. A peer's timeout that doubles without bound reaches minutes by
/// chance alone: at 20 % loss, after ten losses in a row of one segment.
pub(super) const STALL: Duration = Duration::from_secs(20 * 60);

/// Settings that both implementations have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) stream: bool,
    pub(super) nodelay: NoDelay,
    pub(super) window: u16,
}

impl Settings {
    /// Ours, bare as tokio_kcp's are: no packet protection, no error correction.
    pub(super) fn ours(self) -> KcpConfig {
        let crypt = Crypt::new(CryptKind::Insecure(insecure::Kind::Null), &[]).expect("needs no key");
        let window = u32::from(self.window);
        KcpConfig::new(crypt).stream(self.stream).nodelay(self.nodelay).window(window, window)
    }

    /// Theirs.
    pub(super) fn theirs(self) -> tokio_kcp::KcpConfig {
        tokio_kcp::KcpConfig {
            stream: self.stream,
            wnd_size: (self.window, self.window),
            flush_write: true,
            flush_acks_input: true,
            nodelay: tokio_kcp::KcpNoDelayConfig {
                nodelay: self.nodelay.level > 0,
                interval: self.nodelay.interval as i32,
                resend: self.nodelay.resend as i32,
                nc: !self.nodelay.congestion,
            },
            ..tokio_kcp::KcpConfig::default()
        }
    }
}

/// A runtime as an application would have it.
pub(super) fn runtime() -> tokio::runtime::Runtime {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.expect("a runtime")
}

/// A client and the server's end of it, both ours; `via` is where the client sends to, given the listener's address.
pub(super) async fn our_pair<F, R>(config: KcpConfig, via: F) -> io::Result<(KcpStream, KcpStream)>
where
    F: FnOnce(SocketAddr) -> R,
    R: Future<Output = io::Result<SocketAddr>>,
{
    let listener = KcpListener::bind("127.0.0.1:0", config.clone()).await?;
    let mut client = KcpStream::connect(via(listener.local_addr()?).await?, config).await?;
    client.write_all(b"!").await?;
    let (mut server, _) = listener.accept().await?;
    server.read_exact(&mut [0]).await?;
    Ok((client, server))
}

/// The same, both theirs.
pub(super) async fn their_pair<F, R>(
    config: tokio_kcp::KcpConfig,
    via: F,
) -> io::Result<(tokio_kcp::KcpStream, tokio_kcp::KcpStream)>
where
    F: FnOnce(SocketAddr) -> R,
    R: Future<Output = io::Result<SocketAddr>>,
{
    let listener = tokio_kcp::KcpListener::from_socket(config, wide_socket()?).await;
    let mut listener = listener.map_err(io::Error::other)?;
    let server = via(listener.local_addr()?).await?;
    let client = their_client(config, server).await?;
    let (mut server, _) = listener.accept().await.map_err(io::Error::other)?;
    let mut first = [0; 16];
    server.recv(&mut first).await.map_err(io::Error::other)?;
    // Its sessions end with their listener.
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    Ok((client, server))
}

/// Their client, which has said its first byte. Its socket is connected: it would take the conversation number of any datagram that
/// reached it, from whoever it came, and whatever it numbered until it heard its peer again would be lost for good.
pub(super) async fn their_client(
    config: tokio_kcp::KcpConfig,
    server: SocketAddr,
) -> io::Result<tokio_kcp::KcpStream> {
    let socket = wide_socket()?;
    socket.connect(server).await?;
    let client = tokio_kcp::KcpStream::connect_with_socket(&config, socket, server).await;
    let mut client = client.map_err(io::Error::other)?;
    client.write_all(b"!").await?;
    client.flush().await?;
    Ok(client)
}

/// A socket with the buffers that ours ask for, so that theirs lose no more in the kernel than ours do.
fn wide_socket() -> io::Result<tokio::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let wide = socket2::SockRef::from(&socket);
    wide.set_recv_buffer_size(4 << 20)?;
    wide.set_send_buffer_size(4 << 20)?;
    socket.set_nonblocking(true)?;
    tokio::net::UdpSocket::from_std(socket)
}

/// Sends `len` bytes from one end to the other; false when others arrive than were sent.
pub(super) async fn transfer<A, B>(mut from: A, mut to: B, len: usize) -> io::Result<bool>
where
    A: AsyncWrite + Unpin + Send + 'static,
    B: AsyncRead + Unpin,
{
    let sender = tokio::spawn(async move {
        let pattern = pattern();
        let mut sent = 0;
        while sent < len {
            let count = WRITE.min(len - sent);
            from.write_all(&pattern[..count]).await?;
            sent += count;
        }
        from.flush().await?;
        io::Result::Ok(from)
    });
    let pattern = pattern();
    let mut buffer = vec![0; WRITE];
    let (mut received, mut same) = (0, true);
    while received < len {
        let most = buffer.len().min(len - received);
        let read = tokio::time::timeout(STALL, to.read(&mut buffer[..most])).await;
        let count =
            read.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nothing arrives any more"))??;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let at = received % WRITE;
        let until_wrap = count.min(WRITE - at);
        same &= buffer[..until_wrap] == pattern[at..at + until_wrap]
            && buffer[until_wrap..count] == pattern[..count - until_wrap];
        received += count;
    }
    // The sender's end lives until everything has arrived.
    drop(sender.await.map_err(io::Error::other)??);
    Ok(same)
}

/// The middle one of some figures.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Bytes that tell their place.
fn pattern() -> Vec<u8> {
    (0..WRITE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

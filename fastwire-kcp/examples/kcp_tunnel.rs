//! Forwards TCP connections through KCP, one session each, and shows what goes through.
//!
//! On the far machine, next to the service:  kcp_tunnel server 0.0.0.0:4000 127.0.0.1:80 --key SECRET
//! On this one, for the programs here:       kcp_tunnel client 127.0.0.1:8080 FAR:4000 --key SECRET
//!
//! KCP has no close, so each direction ends with a frame that says so: bytes travel in frames of a two-byte length,
//! and length 0 is the end.

use fastwire_kcp::core::NoDelay;
use fastwire_kcp::crypt::{Crypt, CryptKind};
use fastwire_kcp::fec::FecRatio;
use fastwire_kcp::net::{KcpConfig, KcpListener, KcpStream};
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const USAGE: &str = "\
kcp_tunnel client LISTEN PEER [OPTIONS]    accept TCP at LISTEN, forward through the server at PEER
kcp_tunnel server LISTEN TARGET [OPTIONS]  accept KCP at LISTEN, forward to TCP at TARGET

  --key SECRET     the passphrase; both sides need the same (required)
  --crypt NAME     aes-128-gcm unless said otherwise; aes-256-gcm, chacha20-poly1305, ...
  --mode NAME      normal, fast, fast2 or fast3 (default)
  --fec D+P        error correction, such as 10+3; none unless asked for
  --mtu BYTES      size of datagrams (1400)
  --window N       segments in flight (1024)
  --quiet          do not show throughput";

/// Most bytes of a frame.
const FRAME: usize = 16 << 10;

static UP: AtomicU64 = AtomicU64::new(0);
static DOWN: AtomicU64 = AtomicU64::new(0);

struct Options {
    serves: bool,
    listen: String,
    target: String,
    config: KcpConfig,
    quiet: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match parse(&arguments) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!("{complaint}\n\n{USAGE}");
            std::process::exit(2);
        }
    };
    if !options.quiet {
        tokio::spawn(show_throughput());
    }
    if options.serves {
        let listener = KcpListener::bind(&options.listen, options.config).await?;
        println!("KCP at {} to TCP at {}", listener.local_addr()?, options.target);
        serve(listener, options.target).await?;
    } else {
        let listener = TcpListener::bind(&options.listen).await?;
        println!("TCP at {} through KCP to {}", listener.local_addr()?, options.target);
        forward(listener, options.target, options.config).await?;
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Options, Box<dyn Error>> {
    let [role, listen, target, rest @ ..] = arguments else { return Err("too few arguments".into()) };
    let serves = match role.as_str() {
        "server" => true,
        "client" => false,
        other => return Err(format!("{other:?} is neither client nor server").into()),
    };
    let (mut key, mut kind, mut quiet) = (None, CryptKind::Aes128Gcm, false);
    let (mut nodelay, mut fec, mut mtu, mut window) = (NoDelay::FAST3, None, 1400, 1024);
    let mut rest = rest.iter();
    while let Some(option) = rest.next() {
        if option == "--quiet" {
            quiet = true;
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--key" => key = Some(value),
            "--crypt" => kind = value.parse()?,
            "--mode" => {
                nodelay = match value.as_str() {
                    "normal" => NoDelay::NORMAL,
                    "fast" => NoDelay::FAST,
                    "fast2" => NoDelay::FAST2,
                    "fast3" => NoDelay::FAST3,
                    other => return Err(format!("no mode is called {other:?}").into()),
                }
            }
            "--fec" => {
                let (data, parity) = value.split_once('+').ok_or("--fec wants D+P, such as 10+3")?;
                fec = Some(FecRatio::new(data.parse()?, parity.parse()?)?);
            }
            "--mtu" => mtu = value.parse()?,
            "--window" => window = value.parse()?,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let key = key.ok_or("--key is missing: both sides need the same secret")?;
    let crypt = Crypt::from_passphrase(kind, key);
    let config = KcpConfig::new(crypt).stream(true).nodelay(nodelay).fec(fec).mtu(mtu).window(window, window);
    Ok(Options { serves, listen: listen.clone(), target: target.clone(), config, quiet })
}

/// TCP here, KCP to the server.
pub(crate) async fn forward(listener: TcpListener, server: String, config: KcpConfig) -> io::Result<()> {
    loop {
        let (tcp, from) = listener.accept().await?;
        let kcp = KcpStream::connect(&server, config.clone()).await?;
        tokio::spawn(async move {
            if let Err(error) = join(tcp, kcp, &UP, &DOWN).await {
                eprintln!("{from}: {error}");
            }
        });
    }
}

/// KCP here, TCP to the target.
pub(crate) async fn serve(listener: KcpListener, target: String) -> io::Result<()> {
    loop {
        let (kcp, from) = listener.accept().await?;
        let target = target.clone();
        tokio::spawn(async move {
            let joined = async { join(TcpStream::connect(target).await?, kcp, &DOWN, &UP).await };
            if let Err(error) = joined.await {
                eprintln!("{from}: {error}");
            }
        });
    }
}

/// Copies both ways until both directions have ended.
async fn join(
    mut tcp: TcpStream,
    kcp: KcpStream,
    to_kcp: &AtomicU64,
    from_kcp: &AtomicU64,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let (mut tcp_read, mut tcp_write) = tcp.split();
    let (mut kcp_read, mut kcp_write) = kcp.into_split();
    let there = wrap(&mut tcp_read, &mut kcp_write, to_kcp);
    let back = unwrap(&mut kcp_read, &mut tcp_write, from_kcp);
    tokio::try_join!(there, back)?;
    Ok(())
}

/// Bytes into frames, then the frame that says the end, and then until the peer has them all.
async fn wrap(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    counter: &AtomicU64,
) -> io::Result<()> {
    let mut frame = vec![0; 2 + FRAME];
    loop {
        let count = from.read(&mut frame[2..]).await?;
        frame[..2].copy_from_slice(&(count as u16).to_le_bytes());
        to.write_all(&frame[..2 + count]).await?;
        counter.fetch_add(count as u64, Ordering::Relaxed);
        if count == 0 {
            return to.shutdown().await;
        }
    }
}

/// Frames back into bytes.
async fn unwrap(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    counter: &AtomicU64,
) -> io::Result<()> {
    let mut bytes = vec![0; FRAME];
    loop {
        let count = usize::from(from.read_u16_le().await?);
        if count == 0 {
            return to.shutdown().await;
        }
        let frame = bytes.get_mut(..count).ok_or(io::ErrorKind::InvalidData)?;
        from.read_exact(frame).await?;
        to.write_all(frame).await?;
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// A line a second while anything moves.
async fn show_throughput() {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut before = fastwire_kcp::net::snmp();
    loop {
        ticks.tick().await;
        let (up, down) = (UP.swap(0, Ordering::Relaxed), DOWN.swap(0, Ordering::Relaxed));
        let now = fastwire_kcp::net::snmp();
        if up + down > 0 {
            println!(
                "up {:8.2} MB/s   down {:8.2} MB/s   sessions {}   resent {}   recovered {}",
                up as f64 / 1e6,
                down as f64 / 1e6,
                now.curr_estab,
                now.retrans_segs - before.retrans_segs,
                now.fec_recovered - before.fec_recovered,
            );
        }
        before = now;
    }
}

//! Joins TCP connections and streams, one to one.

use crate::frames::{break_off, break_off_late, broken_off, unwrap, wrap};
use crate::transport::{Accept, Open, Stream};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// After an accept that failed (too many open files, say), until the next.
const PAUSE: Duration = Duration::from_millis(100);

/// What goes through, for whoever shows it.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes of TCP from the client's side to the server's, since the start.
    pub up: AtomicU64,
    /// Bytes of TCP the other way.
    pub down: AtomicU64,
    /// Connections now.
    pub open: AtomicUsize,
}

/// Counts a connection while it lives.
struct Counted<'a>(&'a Traffic);

impl<'a> Counted<'a> {
    fn new(traffic: &'a Traffic) -> Self {
        traffic.open.fetch_add(1, Ordering::Relaxed);
        Self(traffic)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// TCP here, streams to the server. `level` is that of the compression, if any. Never returns.
pub async fn forward(listener: TcpListener, transport: impl Open, level: Option<i32>, traffic: Arc<Traffic>) {
    let transport = Arc::new(transport);
    loop {
        let (mut tcp, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (transport, traffic) = (transport.clone(), traffic.clone());
        tokio::spawn(async move {
            let _counted = Counted::new(&traffic);
            let joined = match transport.open().await {
                Ok(stream) => join(&mut tcp, stream, level, &traffic.up, &traffic.down).await,
                Err(error) => Err(error),
            };
            finish(&tcp, &joined);
            if let Err(error) = joined {
                eprintln!("connection of {from}: {error}");
            }
        });
    }
}

/// Streams here, TCP to the target.
///
/// # Errors
/// When the transport accepts no more.
pub async fn serve(
    transport: impl Accept,
    target: String,
    level: Option<i32>,
    traffic: Arc<Traffic>,
) -> io::Result<()> {
    loop {
        let (mut stream, from) = transport.accept().await?;
        let (target, traffic) = (target.clone(), traffic.clone());
        tokio::spawn(async move {
            let _counted = Counted::new(&traffic);
            let joined = match TcpStream::connect(&target).await {
                Ok(mut tcp) => {
                    let joined = join(&mut tcp, stream, level, &traffic.down, &traffic.up).await;
                    finish(&tcp, &joined);
                    joined
                }
                Err(error) => {
                    let _ = break_off(&mut stream).await;
                    Err(io::Error::new(error.kind(), format!("cannot connect to {target}: {error}")))
                }
            };
            if let Err(error) = joined {
                eprintln!("stream of {from}: {error}");
            }
        });
    }
}

/// Copies both ways until both directions have ended, or one has failed and the peer was told.
async fn join(
    tcp: &mut TcpStream,
    stream: impl Stream,
    level: Option<i32>,
    to_stream: &AtomicU64,
    from_stream: &AtomicU64,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let (mut tcp_read, mut tcp_write) = tcp.split();
    let (mut stream_read, mut stream_write) = tokio::io::split(stream);
    let stop = Notify::new();
    let joined = {
        let mut there = pin!(wrap(&mut tcp_read, &mut stream_write, level, stop.notified(), to_stream));
        let mut back = pin!(async {
            let ended = unwrap(&mut stream_read, &mut tcp_write, from_stream).await;
            (ended, &mut stream_read)
        });
        tokio::select! {
            sent = &mut there => {
                sent?;
                back.await.0
            }
            (received, stream_read) = &mut back => {
                let broken = match received {
                    Ok(()) => tokio::select! {
                        sent = &mut there => {
                            sent?;
                            None
                        }
                        error = broken_off(stream_read) => Some(error),
                    },
                    Err(error) => Some(error),
                };
                if let Some(error) = broken {
                    stop.notify_one();
                    let _ = there.await;
                    return Err(error);
                }
                Ok(())
            }
        }
    };
    match joined {
        Ok(()) => stream_write.shutdown().await,
        Err(error) => {
            // Our direction has ended; the other takes nothing more.
            let _ = break_off_late(&mut stream_write).await;
            Err(error)
        }
    }
}

/// A connection that broke at the other end breaks here too: what was cut off must not look complete.
fn finish(tcp: &TcpStream, joined: &io::Result<()>) {
    if joined.is_err() {
        let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}

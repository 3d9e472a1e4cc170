//! K4: thousands of sessions at once: every reply arrives, little memory, no task or thread more.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastwire_kcp::core::NoDelay;
use fastwire_kcp::net::{KcpListener, KcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::ends::{Settings, runtime};
use crate::check::{Check, Outcome, Profile, Run};

/// Bytes of a request and of its reply.
const REQUEST: usize = 64;
const REPLY: usize = 200;
/// Requests a second of each session, highest first.
const RATES: [u32; 6] = [30, 24, 18, 12, 6, 3];
/// Most bytes of an idle session, both ends counted as one each.
const IDLE: u64 = 32 << 10;

/// K4.
pub(in super::super) struct Many;

impl Check for Many {
    fn id(&self) -> &'static str {
        "K4"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, run: &Run) -> Outcome {
        let (sessions, seconds) = if run.quick { (300, 1) } else { (5000, 10) };
        match measure(sessions, seconds) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::fell_short(format!("could not be measured: {error}")),
        }
    }
}

fn measure(sessions: usize, seconds: u32) -> io::Result<Outcome> {
    let raw_rate = RATES.into_iter().find_map(|rate| {
        let carried = runtime().block_on(raw(sessions, rate, seconds.min(3)));
        carried.map(|(sent, back)| (back == sent).then_some(rate)).transpose()
    });
    let raw_rate = raw_rate.transpose()?.unwrap_or(RATES[RATES.len() - 1]);
    let rate = (raw_rate * 2 / 3).max(1);

    let runtime = runtime();
    let shown = runtime.block_on(kcp(&runtime, sessions, rate, seconds))?;
    let per_session = shown.idle_bytes / (2 * sessions as u64);
    let ok =
        shown.sent == shown.back && per_session <= IDLE && shown.more_tasks == 0 && shown.more_threads == 0;
    let figure = format!(
        "{sessions} sessions at {rate} Hz (raw carries {raw_rate}): {} of {} replies, {:.1} KiB an idle session",
        shown.back,
        shown.sent,
        per_session as f64 / 1024.0,
    );
    let note = format!("{} tasks and {} threads more than with one", shown.more_tasks, shown.more_threads);
    let counted = fastwire_kcp::net::snmp();
    let work = format!(
        "{} datagrams out, {} in; {} of {} segments resent, {} datagrams overflowed",
        counted.out_pkts, counted.in_pkts, counted.retrans_segs, counted.out_segs, counted.overflows,
    );
    Ok(Outcome::new(ok, figure).note(note).note(work))
}

/// Requests sent and replies received with bare datagrams.
async fn raw(sessions: usize, rate: u32, seconds: u32) -> io::Result<(u64, u64)> {
    let server = UdpSocket::bind("127.0.0.1:0").await?;
    let _ = socket2::SockRef::from(&server).set_recv_buffer_size(4 << 20);
    let address = server.local_addr()?;
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            if let Ok((_, from)) = server.recv_from(&mut buffer).await {
                let _ = server.send_to(&[0; REPLY], from).await;
            }
        }
    });
    let back = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..sessions {
        let client = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
        client.connect(address).await?;
        let (reader, back) = (client.clone(), back.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while reader.recv(&mut buffer).await.is_ok() {
                back.fetch_add(1, Ordering::Relaxed);
            }
        });
        clients.push(client);
    }
    let mut sent = 0;
    let mut pace = Pace::new(sessions, rate);
    for _ in 0..rate * seconds {
        for client in &clients {
            pace.next().await;
            sent += u64::from(client.send(&[0; REQUEST]).await.is_ok());
        }
    }
    settle(&back, sent).await;
    Ok((sent, back.load(Ordering::Relaxed)))
}

struct Shown {
    sent: u64,
    back: u64,
    idle_bytes: u64,
    more_tasks: usize,
    more_threads: u64,
}

/// The same over KCP, each session with a task at either end that is the application's.
async fn kcp(
    runtime: &tokio::runtime::Runtime,
    sessions: usize,
    rate: u32,
    seconds: u32,
) -> io::Result<Shown> {
    let settings =
        Settings { stream: false, nodelay: NoDelay { interval: 100, ..NoDelay::FAST2 }, window: 128 };
    let mut config = settings.ours();
    // Acknowledgements ride on the replies.
    config.session.kcp.ack_no_delay = false;
    config.backlog = sessions;
    let listener = KcpListener::bind("127.0.0.1:0", config.clone()).await?;
    let address: SocketAddr = listener.local_addr()?;
    let back = Arc::new(AtomicU64::new(0));
    let mut writers = Vec::new();
    let (mut tasks, mut threads, mut memory) = (0, 0, 0);
    for i in 0..sessions {
        if i == 1 {
            let own = 2;
            tasks = runtime.metrics().num_alive_tasks() - own;
            threads = status("Threads:")?;
            memory = status("VmRSS:")?;
        }
        let client = KcpStream::connect(address, config.clone()).await?;
        let (mut reader, mut writer) = client.into_split();
        writer.write_all(&[0; REQUEST]).await?;
        writers.push(writer);
        let (server, _) = listener.accept().await?;
        tokio::spawn(echo(server));
        let back = back.clone();
        tokio::spawn(async move {
            let mut buffer = [0; REPLY];
            while reader.read_exact(&mut buffer).await.is_ok() {
                back.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    settle(&back, sessions as u64).await;
    let idle_bytes = (status("VmRSS:")?.saturating_sub(memory)) * 1024;
    let more_tasks = runtime.metrics().num_alive_tasks() - 2 * sessions - tasks;
    let more_threads = status("Threads:")? - threads;

    let mut sent = sessions as u64;
    let mut pace = Pace::new(sessions, rate);
    for _ in 0..rate * seconds {
        for writer in &mut writers {
            pace.next().await;
            writer.write_all(&[0; REQUEST]).await?;
            sent += 1;
        }
    }
    settle(&back, sent).await;
    Ok(Shown { sent, back: back.load(Ordering::Relaxed), idle_bytes, more_tasks, more_threads })
}

async fn echo(mut server: KcpStream) {
    let mut buffer = [0; REQUEST];
    while server.read_exact(&mut buffer).await.is_ok() {
        if server.write_all(&[0; REPLY]).await.is_err() {
            return;
        }
    }
}

/// Waits until `expected` replies are back, but not for ever.
async fn settle(back: &AtomicU64, expected: u64) {
    let start = Instant::now();
    while back.load(Ordering::Relaxed) < expected && start.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Spreads requests evenly, a millisecond's worth at a time.
struct Pace {
    start: Instant,
    each: Duration,
    count: u32,
}

impl Pace {
    fn new(sessions: usize, rate: u32) -> Self {
        Self { start: Instant::now(), each: Duration::from_secs(1) / rate / sessions as u32, count: 0 }
    }

    async fn next(&mut self) {
        let due = self.start + self.each * self.count;
        self.count += 1;
        if due > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

/// A figure of proc(5)'s status, in its unit.
fn status(name: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    figure.ok_or_else(|| io::Error::other(format!("/proc/self/status has no {name}")))
}

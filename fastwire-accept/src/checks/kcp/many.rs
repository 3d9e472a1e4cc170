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
/// Highest rate tried, in requests a second of each session.
const HIGHEST: f64 = 30.0;
/// The search for what raw carries ends when it is known this well, in requests a second.
const PRECISION: f64 = 1.0;
/// From a rate that raw did not carry for long to the next.
const BACK_OFF: f64 = 0.85;
/// Of what a rate asks for, the generator must offer at least this share: less, and the rate was not tried.
const OFFERED: f64 = 0.95;
/// Tries, each with a search of its own. Only a machine that raw finds slower than it was before is a reason for another.
const TRIES: usize = 5;
/// For the last replies to come: what raw lost never comes, what KCP lost is sent again.
const RAW_SETTLES: Duration = Duration::from_secs(3);
const KCP_SETTLES: Duration = Duration::from_secs(30);
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
        let plan = if run.quick {
            Plan { sessions: 300, seconds: 1.0, probe: 0.5 }
        } else {
            Plan { sessions: 5000, seconds: 10.0, probe: 3.0 }
        };
        match plan.run() {
            Ok(outcome) => outcome,
            Err(error) => Outcome::fell_short(format!("could not be measured: {error}")),
        }
    }
}

/// How much to do.
#[derive(Clone, Copy)]
struct Plan {
    sessions: usize,
    /// Of KCP.
    seconds: f64,
    /// Of each try of raw.
    probe: f64,
}

/// What came of offering requests at a rate.
#[derive(Clone, Copy, Debug)]
struct Shown {
    sent: u64,
    back: u64,
    /// Share of the rate that the generator offered.
    offered: f64,
}

impl Shown {
    fn held(&self) -> bool {
        self.sent == self.back && self.offered >= OFFERED
    }
}

/// What the sessions cost.
struct Cost {
    idle_bytes: u64,
    more_tasks: usize,
    more_threads: u64,
}

impl Plan {
    fn run(self) -> io::Result<Outcome> {
        let (mut raw_rate, mut notes) = (HIGHEST, Vec::new());
        // Later tries find memory that the first one left.
        let mut idle_bytes = 0;
        for _ in 0..TRIES {
            raw_rate = self.highest_raw(raw_rate)?;
            let rate = raw_rate * 2.0 / 3.0;
            let before = fastwire_kcp::net::snmp();
            let runtime = runtime();
            let (cost, shown) = runtime.block_on(self.kcp(&runtime, rate))?;
            drop(runtime);
            idle_bytes = idle_bytes.max(cost.idle_bytes);
            let after = fastwire_kcp::net::snmp();
            notes.push(format!(
                "at {rate:.1} Hz: {} of {} replies, {:.0} % offered; {} datagrams out, {} in; {} of {} segments resent, {} \
                 datagrams overflowed",
                shown.back,
                shown.sent,
                100.0 * shown.offered,
                after.out_pkts - before.out_pkts,
                after.in_pkts - before.in_pkts,
                after.retrans_segs - before.retrans_segs,
                after.out_segs - before.out_segs,
                after.overflows - before.overflows,
            ));
            if !shown.held() && !self.raw_carries(raw_rate)? {
                notes.push(format!("raw no longer carries {raw_rate:.1} Hz: the machine has become slower"));
                continue;
            }
            let per_session = idle_bytes / (2 * self.sessions as u64);
            let ok = shown.held() && per_session <= IDLE && cost.more_tasks == 0 && cost.more_threads == 0;
            let figure = format!(
                "{} sessions at {rate:.1} Hz (raw carries {raw_rate:.1}): {} of {} replies, {:.1} KiB an idle session",
                self.sessions,
                shown.back,
                shown.sent,
                per_session as f64 / 1024.0,
            );
            let more =
                format!("{} tasks and {} threads more than with one", cost.more_tasks, cost.more_threads);
            return Ok(notes.into_iter().fold(Outcome::new(ok, figure).note(more), Outcome::note));
        }
        let outcome =
            Outcome::fell_short("the machine became slower in every try: run it again on a quieter one");
        Ok(notes.into_iter().fold(outcome, Outcome::note))
    }

    /// The highest rate up to `most` that bare datagrams carry without a loss.
    fn highest_raw(self, most: f64) -> io::Result<f64> {
        runtime().block_on(async {
            let raw = Raw::open(self.sessions).await?;
            let (mut carried, mut lost) = (0.0, most);
            if raw.offer(most, self.probe).await.held() {
                carried = most;
            }
            while lost - carried > PRECISION {
                let rate = f64::midpoint(carried, lost);
                if raw.offer(rate, self.probe).await.held() {
                    carried = rate;
                } else {
                    lost = rate;
                }
            }
            if carried == 0.0 {
                return Err(io::Error::other("raw carries nothing: the machine is too busy"));
            }
            // A short try may fall in a quiet moment: what counts is the time that KCP gets.
            while carried > PRECISION && !raw.offer(carried, self.seconds).await.held() {
                carried *= BACK_OFF;
            }
            Ok(carried)
        })
    }

    fn raw_carries(self, rate: f64) -> io::Result<bool> {
        runtime()
            .block_on(async { Ok(Raw::open(self.sessions).await?.offer(rate, self.seconds).await.held()) })
    }
}

/// Bare datagrams: a server that answers each, and a client for each session.
struct Raw {
    clients: Vec<Arc<UdpSocket>>,
    back: Arc<AtomicU64>,
}

impl Raw {
    async fn open(sessions: usize) -> io::Result<Self> {
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
        Ok(Self { clients, back })
    }

    async fn offer(&self, rate: f64, seconds: f64) -> Shown {
        self.back.store(0, Ordering::Relaxed);
        let mut sent = 0;
        let mut pace = Pace::new(self.clients.len(), rate);
        for _ in 0..rounds(rate, seconds) {
            for client in &self.clients {
                pace.next().await;
                sent += u64::from(client.send(&[0; REQUEST]).await.is_ok());
            }
        }
        let offered = pace.offered();
        settle(&self.back, sent, RAW_SETTLES).await;
        Shown { sent, back: self.back.load(Ordering::Relaxed), offered }
    }
}

/// Requests of each session.
fn rounds(rate: f64, seconds: f64) -> u32 {
    (rate * seconds).ceil().max(1.0) as u32
}

impl Plan {
    /// The same over KCP, each session with a task at either end that is the application's.
    async fn kcp(self, runtime: &tokio::runtime::Runtime, rate: f64) -> io::Result<(Cost, Shown)> {
        let settings =
            Settings { stream: false, nodelay: NoDelay { interval: 100, ..NoDelay::FAST2 }, window: 128 };
        let mut config = settings.ours();
        // Acknowledgements ride on the replies.
        config.session.kcp.ack_no_delay = false;
        config.backlog = self.sessions;
        let listener = KcpListener::bind("127.0.0.1:0", config.clone()).await?;
        let address: SocketAddr = listener.local_addr()?;
        let back = Arc::new(AtomicU64::new(0));
        let mut writers = Vec::new();
        let (mut tasks, mut threads, mut memory) = (0, 0, 0);
        for i in 0..self.sessions {
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
        settle(&back, self.sessions as u64, KCP_SETTLES).await;
        let cost = Cost {
            idle_bytes: (status("VmRSS:")?.saturating_sub(memory)) * 1024,
            more_tasks: runtime.metrics().num_alive_tasks() - 2 * self.sessions - tasks,
            more_threads: status("Threads:")? - threads,
        };

        let mut sent = self.sessions as u64;
        let mut pace = Pace::new(self.sessions, rate);
        for _ in 0..rounds(rate, self.seconds) {
            for writer in &mut writers {
                pace.next().await;
                writer.write_all(&[0; REQUEST]).await?;
                sent += 1;
            }
        }
        let offered = pace.offered();
        settle(&back, sent, KCP_SETTLES).await;
        Ok((cost, Shown { sent, back: back.load(Ordering::Relaxed), offered }))
    }
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
async fn settle(back: &AtomicU64, expected: u64, most: Duration) {
    let start = Instant::now();
    while back.load(Ordering::Relaxed) < expected && start.elapsed() < most {
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
    fn new(sessions: usize, rate: f64) -> Self {
        Self { start: Instant::now(), each: Duration::from_secs_f64(1.0 / rate / sessions as f64), count: 0 }
    }

    async fn next(&mut self) {
        let due = self.start + self.each * self.count;
        self.count += 1;
        if due > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// Share of the rate that was kept so far.
    fn offered(&self) -> f64 {
        let planned = self.each * self.count;
        (planned.as_secs_f64() / self.start.elapsed().as_secs_f64()).min(1.0)
    }
}

/// A figure of proc(5)'s status, in its unit.
fn status(name: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    figure.ok_or_else(|| io::Error::other(format!("/proc/self/status has no {name}")))
}

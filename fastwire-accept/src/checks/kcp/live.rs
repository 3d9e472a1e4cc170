//! K2: live against tokio_kcp, in both roles, over good and bad lines.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire::sim::{LinkConfig, Loss, Reorder};
use fastwire_kcp::core::NoDelay;
use fastwire_kcp::net::{KcpConfig, KcpListener, KcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ends::{STALL, Settings, runtime, their_client, transfer};
use super::line::Line;
use super::stall::{End, watch};
use crate::check::{Check, Outcome, Profile, Run};
use crate::relay::Summary;

/// tokio_kcp's own default: congestion control, no fast resend.
const DEFAULT: NoDelay = NoDelay { level: 0, interval: 40, resend: 0, congestion: true };

/// K2.
pub(in super::super) struct Live;

/// One way to talk.
#[derive(Debug)]
struct Case {
    we_listen: bool,
    settings: Settings,
    loss: f64,
    bytes: usize,
}

/// How that went.
struct Shown<'a> {
    case: &'a Case,
    result: io::Result<Summary>,
    seconds: f64,
}

impl Check for Live {
    fn id(&self) -> &'static str {
        "K2"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, run: &Run) -> Outcome {
        let cases = cases(run.quick);
        // What waits more than it works goes side by side; the others one after another, so that none starves.
        let (patient, busy): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.waits());
        let start = Instant::now();
        let shown: Vec<Shown<'_>> = std::thread::scope(|scope| {
            let patient: Vec<_> =
                patient.into_iter().map(|case| scope.spawn(|| case.show(run.start()))).collect();
            let mut shown: Vec<_> = busy.into_iter().map(|case| case.show(run.start())).collect();
            shown.extend(patient.into_iter().map(|thread| thread.join().expect("a case does not panic")));
            shown
        });
        let held = shown.iter().filter(|shown| shown.result.is_ok()).count();
        let (mut lost, mut reordered, mut bytes, mut notes) = (0, 0, 0, Vec::new());
        for Shown { case, result, seconds } in shown {
            match result {
                Ok(summary) => {
                    lost += summary.up.lost + summary.down.lost;
                    reordered += summary.up.reordered + summary.down.reordered;
                    bytes += 2 * case.bytes;
                    notes.push(format!("{case}: {seconds:.1} s"));
                }
                Err(error) => notes.push(format!("{case}: {error} after {seconds:.1} s")),
            }
        }
        let figure = format!(
            "{held} of {} ways to talk, {} KiB each way, {} MiB bit-identical, {:.0} s",
            cases.len(),
            cases[0].bytes >> 10,
            bytes >> 20,
            start.elapsed().as_secs_f64(),
        );
        let outcome =
            Outcome::new(held == cases.len(), figure).fault("lost", lost).fault("reordered", reordered);
        notes.into_iter().fold(outcome, Outcome::note)
    }
}

/// Both roles, both modes, both latency settings, every loss.
fn cases(quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let losses: &[f64] = if quick { &[0.0, 0.2] } else { &[0.0, 0.05, 0.2] };
    for we_listen in [false, true] {
        for stream in [false, true] {
            for nodelay in [NoDelay::FAST3, DEFAULT] {
                for &loss in losses {
                    let settings = Settings { stream, nodelay, window: 256 };
                    let bytes = if quick { 64 << 10 } else { 64 << 20 };
                    cases.push(Case { we_listen, settings, loss, bytes });
                }
            }
        }
    }
    cases
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.we_listen { "listening" } else { "connecting" };
        let mode = if self.settings.stream { "stream" } else { "messages" };
        let latency = if self.settings.nodelay == DEFAULT { "default" } else { "nodelay" };
        write!(f, "{role}, {mode}, {latency}, {:.0} % loss", self.loss * 100.0)
    }
}

impl Case {
    /// Whether its time is spent on timeouts: under loss, congestion control keeps a segment or two in flight.
    fn waits(&self) -> bool {
        self.settings.nodelay == DEFAULT && self.loss > 0.0
    }

    fn show(&self, seed: u64) -> Shown<'_> {
        let start = Instant::now();
        let result = runtime().block_on(async {
            if self.we_listen { self.our_listener(seed).await } else { self.our_client(seed).await }
        });
        Shown { case: self, result, seconds: start.elapsed().as_secs_f64() }
    }

    /// Ours; how long to wait for the peer is for the transfer to say.
    fn ours(&self) -> KcpConfig {
        self.settings.ours().idle_timeout(None)
    }

    fn theirs(&self) -> tokio_kcp::KcpConfig {
        tokio_kcp::KcpConfig { session_expire: 2 * STALL, ..self.settings.theirs() }
    }

    fn line(&self, server: SocketAddr, seed: u64) -> io::Result<Line> {
        let mut link = LinkConfig::new().latency(Duration::from_millis(1));
        if self.loss > 0.0 {
            let late = Reorder::Delay(Duration::from_millis(5));
            link = link.loss(Loss::Bernoulli { rate: self.loss }).reorder(0.1, late);
        }
        Line::open_tapped(server, link, seed)
    }

    async fn our_client(&self, seed: u64) -> io::Result<Summary> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = tokio_kcp::KcpListener::bind(self.theirs(), any).await;
        let mut listener = listener.map_err(io::Error::other)?;
        let line = self.line(listener.local_addr()?, seed)?;
        let mut client = KcpStream::connect(line.address, self.ours()).await?;
        client.write_all(b"!").await?;
        let (mut server, _) = listener.accept().await.map_err(io::Error::other)?;
        server.recv(&mut [0; 16]).await.map_err(io::Error::other)?;
        self.both_ways(client, server, &line).await?;
        line.close()
    }

    async fn our_listener(&self, seed: u64) -> io::Result<Summary> {
        let listener = KcpListener::bind("127.0.0.1:0", self.ours()).await?;
        let line = self.line(listener.local_addr()?, seed)?;
        let client = their_client(self.theirs(), line.address).await?;
        let (mut server, _) = listener.accept().await?;
        server.read_exact(&mut [0]).await?;
        self.both_ways(client, server, &line).await?;
        line.close()
    }

    async fn both_ways<A, B>(&self, client: A, server: B, line: &Line) -> io::Result<()>
    where
        A: tokio::io::AsyncRead + tokio::io::AsyncWrite + fmt::Debug + Unpin + Send + 'static,
        B: tokio::io::AsyncRead + tokio::io::AsyncWrite + fmt::Debug + Unpin + Send + 'static,
    {
        let (client, server) = (End::new(client), End::new(server));
        let there = told("client to server", transfer(client.clone(), server.clone(), self.bytes));
        let back = told("server to client", transfer(server.clone(), client.clone(), self.bytes));
        let done = tokio::select! {
            done = async { tokio::try_join!(there, back) } => done?,
            stalled = watch(&client, &server, line, self.bytes) => return Err(stalled),
        };
        match done {
            (true, true) => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes arrived than were sent")),
        }
    }
}

/// An error that says which way it happened.
async fn told(way: &str, transfer: impl Future<Output = io::Result<bool>>) -> io::Result<bool> {
    transfer.await.map_err(|error| io::Error::new(error.kind(), format!("{way}: {error}")))
}

//! K2: live against tokio_kcp, in both roles, over good and bad lines.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fastwire::sim::{LinkConfig, Loss, Reorder};
use fastwire_kcp::core::NoDelay;
use fastwire_kcp::net::{KcpListener, KcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ends::{Settings, runtime, transfer};
use super::line::Line;
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

impl Check for Live {
    fn id(&self) -> &'static str {
        "K2"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, run: &Run) -> Outcome {
        let cases = cases(run.quick);
        let (mut lost, mut reordered, mut bytes, mut failures) = (0, 0, 0, Vec::new());
        for case in &cases {
            match runtime().block_on(case.run(run.start())) {
                Ok(summary) => {
                    lost += summary.up.lost + summary.down.lost;
                    reordered += summary.up.reordered + summary.down.reordered;
                    bytes += 2 * case.bytes;
                }
                Err(error) => failures.push(format!("{case:?}: {error}")),
            }
        }
        let figure = format!(
            "{} of {} ways to talk, {} MiB bit-identical",
            cases.len() - failures.len(),
            cases.len(),
            bytes >> 20
        );
        let outcome =
            Outcome::new(failures.is_empty(), figure).fault("lost", lost).fault("reordered", reordered);
        failures.into_iter().fold(outcome, Outcome::note)
    }
}

/// Both roles, both modes, both latency settings. Under loss, the default settings (a window of one segment after
/// each timeout) carry less in the same time.
fn cases(quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for we_listen in [false, true] {
        for stream in [false, true] {
            for (nodelay, loss, bytes) in [
                (NoDelay::FAST3, 0.0, 64 << 20),
                (NoDelay::FAST3, 0.05, 64 << 20),
                (NoDelay::FAST3, 0.2, 64 << 20),
                (DEFAULT, 0.0, 64 << 20),
                (DEFAULT, 0.05, 1 << 20),
                (DEFAULT, 0.2, 1 << 18),
            ] {
                let settings = Settings { stream, nodelay, window: 256 };
                if quick && (nodelay == DEFAULT && loss > 0.0 || loss == 0.05) {
                    continue;
                }
                let bytes = if quick { 128 << 10 } else { bytes };
                cases.push(Case { we_listen, settings, loss, bytes });
            }
        }
    }
    cases
}

impl Case {
    async fn run(&self, seed: u64) -> io::Result<Summary> {
        let limit = Duration::from_secs(600);
        let result = tokio::time::timeout(limit, async {
            if self.we_listen { self.our_listener(seed).await } else { self.our_client(seed).await }
        });
        result.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "not done after ten minutes"))?
    }

    fn line(&self, server: SocketAddr, seed: u64) -> io::Result<Line> {
        let mut link = LinkConfig::new().latency(Duration::from_millis(1));
        if self.loss > 0.0 {
            let late = Reorder::Delay(Duration::from_millis(5));
            link = link.loss(Loss::Bernoulli { rate: self.loss }).reorder(0.1, late);
        }
        Line::open(server, link, seed)
    }

    async fn our_client(&self, seed: u64) -> io::Result<Summary> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = tokio_kcp::KcpListener::bind(self.settings.theirs(), any).await;
        let mut listener = listener.map_err(io::Error::other)?;
        let line = self.line(listener.local_addr()?, seed)?;
        let mut client = KcpStream::connect(line.address, self.settings.ours()).await?;
        client.write_all(b"!").await?;
        let (mut server, _) = listener.accept().await.map_err(io::Error::other)?;
        server.recv(&mut [0; 16]).await.map_err(io::Error::other)?;
        self.both_ways(client, server).await?;
        line.close()
    }

    async fn our_listener(&self, seed: u64) -> io::Result<Summary> {
        let listener = KcpListener::bind("127.0.0.1:0", self.settings.ours()).await?;
        let line = self.line(listener.local_addr()?, seed)?;
        let client = tokio_kcp::KcpStream::connect(&self.settings.theirs(), line.address).await;
        let mut client = client.map_err(io::Error::other)?;
        client.write_all(b"!").await?;
        client.flush().await?;
        let (mut server, _) = listener.accept().await?;
        server.read_exact(&mut [0]).await?;
        self.both_ways(client, server).await?;
        line.close()
    }

    async fn both_ways<A, B>(&self, a: A, b: B) -> io::Result<()>
    where
        A: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        B: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (a_read, a_write) = tokio::io::split(a);
        let (b_read, b_write) = tokio::io::split(b);
        let there = transfer(a_write, b_read, self.bytes);
        let back = transfer(b_write, a_read, self.bytes);
        match tokio::try_join!(there, back)? {
            (true, true) => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes arrived than were sent")),
        }
    }
}

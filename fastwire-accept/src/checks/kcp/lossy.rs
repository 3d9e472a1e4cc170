//! K3: latency and goodput over a long line, beside tokio_kcp under the same settings.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire::sim::{LinkConfig, Loss};
use fastwire_kcp::core::NoDelay;
use fastwire_kcp::fec::FecRatio;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::ends::{Settings, median, our_pair, runtime, their_pair, transfer};
use super::line::Line;
use crate::check::{Check, Outcome, Profile, Run};

/// One way.
const DISTANCE: Duration = Duration::from_millis(25);
/// Bytes of a message, and how many a second.
const MESSAGE: usize = 200;
const RATE: u32 = 60;
/// How much worse still counts as no worse, where nothing is lost.
const NOISE: f64 = 1.05;
const NOISE_MS: f64 = 2.0;

/// K3.
pub(in super::super) struct Lossy;

/// Ours with error correction or without, or theirs, which has none.
#[derive(Clone, Copy)]
enum Variant {
    Ours(Option<(usize, usize)>),
    Theirs,
}

/// What one implementation showed on one line.
#[derive(Clone, Copy)]
struct Shown {
    p99_ms: f64,
    /// Bytes a second.
    goodput: f64,
}

impl Check for Lossy {
    fn id(&self) -> &'static str {
        "K3"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, run: &Run) -> Outcome {
        let plan = if run.quick {
            Plan {
                losses: &[0.0, 0.05],
                ratios: &[None, Some((10, 3))],
                messages: 60,
                bytes: 256 << 10,
                rounds: 1,
            }
        } else {
            let ratios = &[None, Some((10, 3)), Some((3, 1))];
            Plan { losses: &[0.0, 0.01, 0.05, 0.1], ratios, messages: 1200, bytes: 8 << 20, rounds: 5 }
        };
        match plan.run(run.start()) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::fell_short(format!("a transfer failed: {error}")),
        }
    }
}

struct Plan {
    losses: &'static [f64],
    ratios: &'static [Option<(usize, usize)>],
    messages: u32,
    bytes: usize,
    /// Transfers of each, of which the median counts.
    rounds: u64,
}

impl Plan {
    fn run(&self, seed: u64) -> io::Result<Outcome> {
        let (mut held, mut all, mut lost, mut notes) = (0, 0, 0, Vec::new());
        let variants: Vec<Variant> =
            self.ratios.iter().map(|&ratio| Variant::Ours(ratio)).chain([Variant::Theirs]).collect();
        for &loss in self.losses {
            let (mut shown, dropped) = self.measure(&variants, loss, seed)?;
            lost += dropped;
            let Some(theirs) = shown.pop() else { break };
            for (&ratio, ours) in self.ratios.iter().zip(shown) {
                all += 1;
                let ok = if loss == 0.0 {
                    ours.p99_ms <= theirs.p99_ms * NOISE + NOISE_MS && ours.goodput * NOISE >= theirs.goodput
                } else {
                    ours.p99_ms < theirs.p99_ms && ours.goodput > theirs.goodput
                };
                held += usize::from(ok);
                notes.push(format!(
                    "{} loss {:2.0} %, error correction {}: p99 {:.1} ms against {:.1}, {:.2} MB/s against {:.2}",
                    if ok { "ok" } else { "FELL SHORT" },
                    loss * 100.0,
                    ratio.map_or("none".to_owned(), |(data, parity)| format!("{data}+{parity}")),
                    ours.p99_ms,
                    theirs.p99_ms,
                    ours.goodput / 1e6,
                    theirs.goodput / 1e6,
                ));
            }
        }
        let outcome = Outcome::new(held == all, format!("{held} of {all} lines hold")).fault("lost", lost);
        Ok(notes.into_iter().fold(outcome, Outcome::note))
    }

    /// All side by side, in the order given, and how many datagrams the lines dropped.
    fn measure(&self, variants: &[Variant], loss: f64, seed: u64) -> io::Result<(Vec<Shown>, u64)> {
        let mut lost = 0;
        // The latency of messages at the same time: whatever else the machine does, it does to all. Then the goodput of
        // streams in turn, which needs the machine.
        let latencies: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = variants
                .iter()
                .map(|&variant| scope.spawn(move || self.one(variant, loss, seed, false)))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no measurement panics")).collect()
        });
        let mut goodputs = vec![Vec::new(); variants.len()];
        for round in 0..self.rounds {
            for (&variant, goodputs) in variants.iter().zip(&mut goodputs) {
                let (goodput, dropped) = self.one(variant, loss, seed + round, true)?;
                goodputs.push(goodput);
                lost += dropped;
            }
        }
        let mut shown = Vec::new();
        for (latency, goodputs) in latencies.into_iter().zip(goodputs) {
            let (p99_ms, dropped) = latency?;
            lost += dropped;
            shown.push(Shown { p99_ms, goodput: median(goodputs) });
        }
        Ok((shown, lost))
    }

    /// A session over a line of its own: goodput of a stream, else the latency of messages; and what the line dropped.
    fn one(&self, variant: Variant, loss: f64, seed: u64, stream: bool) -> io::Result<(f64, u64)> {
        let settings = Settings { stream, nodelay: NoDelay::FAST3, window: 1024 };
        let mut line = None;
        let mut open = |server: SocketAddr| {
            let link = LinkConfig::new().latency(DISTANCE).loss(Loss::Bernoulli { rate: loss });
            let opened = Line::open(server, link, seed)?;
            let address = opened.address;
            line = Some(opened);
            io::Result::Ok(address)
        };
        let figure = runtime().block_on(async {
            if let Variant::Ours(ratio) = variant {
                let ratio = ratio.map(|(data, parity)| FecRatio::new(data, parity)).transpose();
                let config = settings.ours().fec(ratio.map_err(io::Error::other)?);
                let (client, server) = our_pair(config, |server| std::future::ready(open(server))).await?;
                self.figure(client, server, stream).await
            } else {
                let config = settings.theirs();
                let (client, server) = their_pair(config, |server| std::future::ready(open(server))).await?;
                self.figure(client, server, stream).await
            }
        })?;
        let summary = line.map(Line::close).transpose()?.unwrap_or_default();
        Ok((figure, summary.up.lost + summary.down.lost))
    }

    async fn figure<A, B>(&self, from: A, to: B, stream: bool) -> io::Result<f64>
    where
        A: AsyncWrite + Unpin + Send + 'static,
        B: AsyncRead + Unpin,
    {
        if !stream {
            return latency(from, to, self.messages).await;
        }
        let start = Instant::now();
        if transfer(from, to, self.bytes).await? {
            Ok(self.bytes as f64 / start.elapsed().as_secs_f64())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes arrived than were sent"))
        }
    }
}

/// The 99th percentile of the time from writing a message to reading it, in ms.
async fn latency<A, B>(mut from: A, mut to: B, messages: u32) -> io::Result<f64>
where
    A: AsyncWrite + Unpin + Send + 'static,
    B: AsyncRead + Unpin,
{
    let epoch = Instant::now();
    let sender = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        for _ in 0..messages {
            ticks.tick().await;
            let mut message = [0; MESSAGE];
            message[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_le_bytes());
            from.write_all(&message).await?;
            from.flush().await?;
        }
        io::Result::Ok(from)
    });
    let mut times = Vec::new();
    let mut message = [0; MESSAGE];
    for _ in 0..messages {
        to.read_exact(&mut message).await?;
        let mut sent = [0; 8];
        sent.copy_from_slice(&message[..8]);
        let time = epoch.elapsed().as_nanos() as u64 - u64::from_le_bytes(sent);
        times.push(time as f64 / 1e6);
    }
    drop(sender.await.map_err(io::Error::other)??);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() * 99 / 100])
}

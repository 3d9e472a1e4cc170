//! K5: throughput over loopback beside tokio_kcp, and what a flush costs that has nothing to do.

use std::future::ready;
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use fastwire_kcp::core::{Config, Kcp, NoDelay};

use super::ends::{Settings, median, our_pair, runtime, their_pair, transfer};
use crate::check::{Check, Outcome, Profile, Run};

/// How much faster.
const RATIO: f64 = 3.0;
/// Most instructions of an idle flush.
const INSTRUCTIONS: f64 = 500.0;
/// No processor of today retires more instructions in a cycle, so a time in cycles bounds their number.
const MOST_PER_CYCLE: f64 = 6.0;
/// Windows tried for throughput, in segments.
const SEND_WINDOWS: [u16; 3] = [128, 512, 2048];
/// Segments in flight while nothing is due.
const WINDOWS: [u32; 3] = [32, 1024, 32_768];

/// K5.
pub(in super::super) struct Cost;

impl Check for Cost {
    fn id(&self) -> &'static str {
        "K5"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, run: &Run) -> Outcome {
        if cfg!(debug_assertions) {
            return Outcome::fell_short("this build is not optimised: run it as cargo xtask accept K5");
        }
        let (rounds, bytes) = if run.quick { (3, 8 << 20) } else { (5, 64 << 20) };
        let (ours, theirs) = match throughput(rounds, bytes) {
            Ok(medians) => medians,
            Err(error) => return Outcome::fell_short(format!("a transfer failed: {error}")),
        };
        let cycles: Vec<f64> = WINDOWS.iter().map(|&window| idle_flush(window)).collect();
        let worst = cycles.iter().copied().fold(0.0, f64::max) * MOST_PER_CYCLE;
        let ok = ours / theirs >= RATIO && worst <= INSTRUCTIONS;
        let figure = format!(
            "{:.0} MB/s, {:.1} x tokio_kcp; an idle flush takes at most {worst:.0} instructions",
            ours / 1e6,
            ours / theirs,
        );
        let note = format!("idle flush with {WINDOWS:?} segments in flight: {cycles:.1?} cycles");
        Outcome::new(ok, figure).note(note).note(format!("tokio_kcp: {:.0} MB/s", theirs / 1e6))
    }
}

/// Medians of bytes a second, ours and theirs, each with the window that suits it best.
fn throughput(rounds: usize, bytes: usize) -> io::Result<(f64, f64)> {
    let mut best = (0.0, 0.0);
    for window in SEND_WINDOWS {
        let (ours, theirs) = throughput_with(window, rounds, bytes)?;
        best = (f64::max(best.0, ours), f64::max(best.1, theirs));
    }
    Ok(best)
}

/// The same with one window for both, in alternating rounds.
fn throughput_with(window: u16, rounds: usize, bytes: usize) -> io::Result<(f64, f64)> {
    let settings = Settings { stream: true, nodelay: NoDelay::FAST3, window };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(runtime().block_on(async {
            let (client, server) = our_pair(settings.ours(), |listener| ready(Ok(listener))).await?;
            rate(bytes, transfer(client, server, bytes)).await
        })?);
        theirs.push(runtime().block_on(async {
            let (client, server) = their_pair(settings.theirs(), |listener| ready(Ok(listener))).await?;
            rate(bytes / 8, transfer(client, server, bytes / 8)).await
        })?);
    }
    Ok((median(ours), median(theirs)))
}

async fn rate(bytes: usize, transfer: impl Future<Output = io::Result<bool>>) -> io::Result<f64> {
    let start = Instant::now();
    let limited = tokio::time::timeout(Duration::from_secs(60), transfer).await;
    if !limited.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes arrived than were sent"));
    }
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

/// Cycles of a flush with nothing due while `window` segments are in flight: its time over that of operations whose
/// cycles are known. The least of several measurements each.
fn idle_flush(window: u32) -> f64 {
    let nodelay = NoDelay { level: 0, interval: 5000, resend: 0, congestion: false };
    let mut kcp = Kcp::new(1, Config { nodelay, snd_wnd: window, ..Config::default() });
    // The peer's window is as large.
    let mut wins = vec![0; 24];
    wins[0] = 1;
    wins[4] = 84;
    wins[6..8].copy_from_slice(&(window.min(65_535) as u16).to_le_bytes());
    kcp.input(0, &wins, fastwire_kcp::core::Origin::Direct).expect("a segment");
    for _ in 0..window {
        kcp.send(b"x").expect("a short message");
    }
    let mut out: Vec<Vec<u8>> = Vec::new();
    kcp.update(0, &mut out);
    assert_eq!(kcp.queues().1, window as usize, "all segments are in flight");
    out.clear();
    let flush = least(|| {
        kcp.flush(black_box(&mut out));
    });
    assert!(out.is_empty(), "nothing was due");
    let mut chain = 1u64;
    let step = least(|| {
        let mut value = black_box(chain);
        for _ in 0..64 {
            value = value.wrapping_mul(value | 1);
        }
        chain = value;
    }) / 64.0;
    black_box(chain);
    // A multiplication that waits for the one before it takes three cycles, the `or` in between one.
    flush / (step / 4.0)
}

/// ns of one call, the least of many.
fn least(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 2000;
    let mut best = f64::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    best
}

//! The workloads over anything that is a stream of bytes: messages behind their length, on tokio.

use std::future::Future;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use crate::behaviour::{Behaviour, number, progress};
use crate::report::{Meter, Noise, Report};
use crate::system::{Args, Failure, Outcome, now_ns, quantile, resident};

/// One thread a side, as the owner's loop of the other systems has.
pub fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Resolves when the parent closes standard input.
pub fn stop() -> oneshot::Receiver<()> {
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = stop.send(());
    });
    stopped
}

/// Both directions of a connection, and whatever must live as long as it.
pub struct Ends {
    pub read: Box<dyn AsyncRead + Send + Unpin>,
    pub write: Box<dyn AsyncWrite + Send + Unpin>,
    pub keep: Option<Box<dyn std::any::Any + Send>>,
}

impl Ends {
    pub fn new(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Self { read: Box::new(read), write: Box::new(write), keep: None }
    }

    async fn send(&mut self, frame: &[u8]) -> Outcome<()> {
        self.write.write_all(frame).await?;
        self.write.flush().await?;
        Ok(())
    }
}

/// A message behind its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = (message.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(message);
    frame
}

/// Calls `on` with each whole message, and leaves the rest.
fn take_frames(buffer: &mut BytesMut, mut on: impl FnMut(&[u8])) {
    while let Some(length) = buffer.first_chunk().map(|length| u32::from_le_bytes(*length) as usize)
        && buffer.len() >= 4 + length
    {
        on(&buffer[4..4 + length]);
        buffer.advance(4 + length);
    }
}

/// Reads until there is at least one message; the end is an error.
async fn read_frames(
    read: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    mut on: impl FnMut(&[u8]),
) -> Outcome<()> {
    loop {
        let mut any = false;
        take_frames(buffer, |message| {
            any = true;
            on(message);
        });
        if any {
            return Ok(());
        }
        buffer.reserve(64 << 10);
        if read.read_buf(buffer).await? == 0 {
            return Err("closed".into());
        }
    }
}

/// Answers on any number of connections.
#[derive(Clone)]
pub struct Server(Arc<Mutex<Behaviour>>);

impl Server {
    pub fn new(args: &Args) -> Self {
        Self(Arc::new(Mutex::new(Behaviour::new(args))))
    }

    pub fn on_message(&self, data: &[u8], reply: &mut Vec<u8>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).on_message(data, reply)
    }

    /// Serves one connection in a task of its own.
    pub fn serve(
        &self,
        mut read: impl AsyncRead + Send + Unpin + 'static,
        mut write: impl AsyncWrite + Send + Unpin + 'static,
    ) {
        let server = self.clone();
        tokio::spawn(async move {
            let (mut buffer, mut reply, mut out) = (BytesMut::new(), Vec::new(), Vec::new());
            loop {
                out.clear();
                let take = |message: &[u8]| {
                    if server.on_message(message, &mut reply) {
                        out.extend_from_slice(&(reply.len() as u32).to_le_bytes());
                        out.extend_from_slice(&reply);
                    }
                };
                if read_frames(&mut read, &mut buffer, take).await.is_err() {
                    return;
                }
                if !out.is_empty() && (write.write_all(&out).await.is_err() || write.flush().await.is_err()) {
                    return;
                }
            }
        });
    }

    /// Waits for the parent, then prints what was logged.
    pub async fn until_stopped(&self) -> Outcome<()> {
        stop().await?;
        crate::report::print_latencies(&self.0.lock().unwrap_or_else(PoisonError::into_inner).latencies);
        Ok(())
    }
}

/// Runs a workload over connections that `connect` makes.
pub async fn drive<F, C>(args: &Args, connect: F) -> Outcome<Report>
where
    F: Fn(Args) -> C + Clone,
    C: Future<Output = Outcome<Ends>>,
{
    match args.text("work") {
        "bulk" => bulk(args, connect(args.clone()).await?).await,
        "ping" => ping(args, connect(args.clone()).await?).await,
        "stream" => stream(args, connect(args.clone()).await?).await,
        "crowd" => crowd(args, connect).await,
        other => Err(format!("{} has no workload {other:?}", args.text("system")).into()),
    }
}

async fn bulk(args: &Args, ends: Ends) -> Outcome<Report> {
    let (total, size): (u64, usize) = (args.get("total"), args.get("size"));
    let limit = args.patience();
    let Ends { mut read, mut write, keep } = ends;
    let meter = Meter::start(args);
    let writer = tokio::spawn(async move {
        let mut frame = framed(&vec![0x5a; size]);
        for number in 0..total {
            frame[4..12].copy_from_slice(&number.to_le_bytes());
            write.write_all(&frame).await?;
        }
        write.flush().await?;
        Ok::<_, Failure>(write)
    });
    let (mut buffer, mut arrived) = (BytesMut::new(), 0);
    let reading = async {
        while arrived < total {
            read_frames(&mut read, &mut buffer, |data| arrived = arrived.max(progress(data).1)).await?;
        }
        Ok::<_, Failure>(())
    };
    // Out of time: what has arrived by then counts.
    if let Ok(result) = timeout(limit, reading).await {
        result?;
    }
    let report = meter.bulk(arrived, size);
    writer.abort();
    drop(keep);
    Ok(report)
}

async fn ping(args: &Args, mut ends: Ends) -> Outcome<Report> {
    let count: usize = args.get("count");
    let frame = framed(&vec![0x5a; args.get("size")]);
    let (mut buffer, mut times) = (BytesMut::new(), Vec::with_capacity(count));
    let meter = Meter::start(args);
    for _ in 0..count {
        let started = Instant::now();
        ends.send(&frame).await?;
        read_frames(&mut ends.read, &mut buffer, |_| {}).await?;
        times.push(started.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(meter.ping(&mut times))
}

async fn stream(args: &Args, mut ends: Ends) -> Outcome<Report> {
    let (rate, seconds, size): (f64, f64, usize) = (args.get("rate"), args.get("seconds"), args.get("size"));
    sleep(Duration::from_millis(500)).await;
    let meter = Meter::start(args);
    let mut noise = Noise::new(args.get("seed"));
    let mut frame = framed(&vec![0; size]);
    let start = tokio::time::Instant::now();
    let count = (rate * seconds) as u32;
    for sent in 0..count {
        sleep_until(start + Duration::from_secs_f64(f64::from(sent) / rate)).await;
        noise.fill(&mut frame[4..]);
        frame[4..12].copy_from_slice(&now_ns().to_le_bytes());
        ends.send(&frame).await?;
    }
    sleep(Duration::from_secs(3)).await;
    Ok(meter.stream(u64::from(count), size))
}

/// What a crowd adds up.
#[derive(Default)]
pub struct Tally {
    pub offered: AtomicU64,
    pub millis: Mutex<Vec<f64>>,
}

impl Tally {
    /// An answer that begins with the time its question was sent.
    pub fn answer(&self, data: &[u8]) {
        let millis = now_ns().saturating_sub(number(data)) as f64 / 1e6;
        self.millis.lock().unwrap_or_else(PoisonError::into_inner).push(millis);
    }
}

/// Connects everybody, then lets `talk` run for each until the time is over.
pub async fn crowd_of<E, F, C, T, U>(args: &Args, connect: F, talk: T) -> Outcome<Report>
where
    E: Send + 'static,
    F: Fn(Args) -> C,
    C: Future<Output = Outcome<E>>,
    T: Fn(E, Schedule, Arc<Tally>) -> U,
    U: Future<Output = ()> + Send + 'static,
{
    let n: usize = args.get("n");
    let (rate, seconds): (f64, f64) = (args.get("rate"), args.get("seconds"));
    let idle = resident(args.get("server_pid"));
    let mut all = Vec::with_capacity(n);
    for id in 0..n {
        let mut args = args.clone();
        args.set("id", id + 1);
        if let Ok(Ok(ends)) = timeout(Duration::from_secs(5), connect(args)).await {
            all.push(ends);
        }
    }
    let connected = all.len();
    if rate == 0.0 {
        sleep(Duration::from_secs_f64(seconds)).await;
        let grown = resident(args.get("server_pid")).saturating_sub(idle);
        return Ok(Report::memory(
            grown as f64 / connected.max(1) as f64 / 1024.0,
            connected as f64 / n as f64,
        ));
    }
    let tally = Arc::new(Tally::default());
    let meter = Meter::start(args);
    let start = tokio::time::Instant::now();
    let period = Duration::from_secs_f64(1.0 / rate);
    let mut tasks = Vec::new();
    for (index, ends) in all.into_iter().enumerate() {
        let schedule = Schedule {
            first: start + period.mul_f64(index as f64 / n as f64),
            period,
            end: start + Duration::from_secs_f64(seconds),
        };
        tasks.push(tokio::spawn(talk(ends, schedule, tally.clone())));
    }
    sleep_until(start + Duration::from_secs_f64(seconds)).await;
    let used = meter.stop();
    sleep(Duration::from_millis(300)).await;
    tasks.iter().for_each(|task| task.abort());
    let offered = tally.offered.load(Ordering::Relaxed);
    let mut millis = std::mem::take(&mut *tally.millis.lock().unwrap_or_else(PoisonError::into_inner));
    let delivered = millis.len() as f64 / offered.max(1) as f64;
    let planned = rate * seconds * n as f64;
    Ok(used.crowd(millis.len(), delivered, offered as f64 / planned, quantile(&mut millis, 0.99)))
}

/// When one member of a crowd speaks.
#[derive(Clone, Copy)]
pub struct Schedule {
    pub first: tokio::time::Instant,
    pub period: Duration,
    pub end: tokio::time::Instant,
}

async fn crowd<F, C>(args: &Args, connect: F) -> Outcome<Report>
where
    F: Fn(Args) -> C + Clone,
    C: Future<Output = Outcome<Ends>>,
{
    let size: usize = args.get("size");
    // A first message, so that the server knows the connection: KCP has no handshake.
    let connect = move |args: Args| {
        let connecting = connect(args);
        async move {
            let mut ends = connecting.await?;
            ends.send(&framed(&vec![0; size])).await?;
            read_frames(&mut ends.read, &mut BytesMut::new(), |_| {}).await?;
            Ok(ends)
        }
    };
    crowd_of(args, connect, move |ends, schedule, tally| async move {
        let Ends { mut read, mut write, keep } = ends;
        let mut frame = framed(&vec![0x5a; size]);
        let mut buffer = BytesMut::new();
        let mut due = schedule.first;
        loop {
            tokio::select! {
                () = sleep_until(due), if due < schedule.end => {
                    frame[4..12].copy_from_slice(&now_ns().to_le_bytes());
                    tally.offered.fetch_add(1, Ordering::Relaxed);
                    if write.write_all(&frame).await.is_err() || write.flush().await.is_err() {
                        break;
                    }
                    due += schedule.period;
                }
                // Dropped in the middle it loses nothing: what was read is in the buffer.
                result = read_frames(&mut read, &mut buffer, |data| tally.answer(data)) => {
                    if result.is_err() {
                        break;
                    }
                }
            }
        }
        drop(keep);
    })
    .await
}

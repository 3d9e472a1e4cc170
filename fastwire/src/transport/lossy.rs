//! A bad line in front of a good transport, in real time.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Ecn, Readiness, RecvBatch, RecvMeta, SendOutcome, SocketId, Transmit, Transport};
use crate::sim::{Delivery, Link, LinkConfig, LinkConfigError, LinkStats};

/// How many receive calls of the wrapped transport one `recv` makes at most.
const RECV_CALLS: usize = 64;

/// Wraps a transport so that everything passes a simulated line in each direction: play the game as a friend on a
/// train would.
///
/// ```
/// use std::time::Duration;
/// use fastwire::sim::{LinkConfig, Loss};
/// use fastwire::transport::{LossyTransport, UdpTransport};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let train = LinkConfig::new()
///     .latency(Duration::from_millis(60))
///     .jitter(Duration::from_millis(20))
///     .loss(Loss::Bursts { rate: 0.05, length: 3 })
///     .blackout_every(Duration::from_secs(2), Duration::from_secs(30));
/// let transport = LossyTransport::new(UdpTransport::bind("0.0.0.0:0")?, train.clone(), train, 1)?;
/// # Ok(())
/// # }
/// ```
///
/// What is due leaves when the transport is next called, so call it, or wait on it, as often as precision asks for.
pub struct LossyTransport<T> {
    inner: T,
    clock: Box<dyn FnMut() -> Instant + Send>,
    outgoing: Link<Header>,
    incoming: Link<RecvMeta>,
    /// What comes from `inner`, on its way into `incoming`.
    arrivals: RecvBatch,
    #[cfg(feature = "tokio")]
    timer: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

/// What a datagram on its way out needs besides its bytes.
#[derive(Clone, Copy, Debug)]
struct Header {
    socket: SocketId,
    destination: SocketAddr,
    source: Option<IpAddr>,
    ecn: Option<Ecn>,
}

impl<T: Transport> LossyTransport<T> {
    /// Puts one line before what `inner` sends and one behind what it receives.
    ///
    /// # Errors
    ///
    /// The first parameter of either line out of its range.
    pub fn new(
        inner: T,
        outgoing: LinkConfig,
        incoming: LinkConfig,
        seed: u64,
    ) -> Result<Self, LinkConfigError> {
        Ok(Self {
            inner,
            clock: Box::new(Instant::now),
            outgoing: Link::new(outgoing, seed)?,
            incoming: Link::new(incoming, !seed)?,
            arrivals: RecvBatch::new(),
            #[cfg(feature = "tokio")]
            timer: None,
        })
    }

    /// Asks `clock` for the time from now on instead of the system. It must not run backward.
    #[must_use]
    pub fn with_clock(mut self, clock: impl FnMut() -> Instant + Send + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// What happened so far on the lines out and in.
    #[must_use]
    pub fn stats(&self) -> (LinkStats, LinkStats) {
        (self.outgoing.stats(), self.incoming.stats())
    }

    /// The wrapped transport.
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// Sends what has reached the end of the outgoing line. What is blocked or fails there is lost.
    fn flush(&mut self, now: Instant) {
        while let Some(Delivery { bytes, meta, marked, .. }) = self.outgoing.poll(now) {
            let Header { socket, destination, source, ecn } = meta;
            let ecn = mark(ecn, marked);
            let contents = &bytes[..];
            let _ =
                self.inner.send(&Transmit { socket, destination, source, ecn, contents, segment_size: None });
        }
    }

    /// The next time something reaches the end of either line.
    fn next_due(&self) -> Option<Instant> {
        [self.outgoing.next_delivery(), self.incoming.next_delivery()].into_iter().flatten().min()
    }
}

/// A congested queue marks what says it understands marks.
fn mark(ecn: Option<Ecn>, marked: bool) -> Option<Ecn> {
    if marked { ecn.and(Some(Ecn::Ce)) } else { ecn }
}

impl<T: Transport> Transport for LossyTransport<T> {
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.clear();
        let now = (self.clock)();
        self.flush(now);
        let mut result = Ok(());
        for _ in 0..RECV_CALLS {
            match self.inner.recv(&mut self.arrivals) {
                Ok(0) => break,
                Ok(_) => {
                    for (meta, datagram) in self.arrivals.iter_mut() {
                        self.incoming.send(now, datagram, meta);
                    }
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        while !batch.is_full()
            && let Some(Delivery { bytes, meta, marked, .. }) = self.incoming.poll(now)
        {
            batch.push(RecvMeta { ecn: mark(meta.ecn, marked), ..meta }, &bytes);
        }
        if batch.is_empty() {
            result?;
        }
        Ok(batch.len())
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
        let now = (self.clock)();
        let &Transmit { socket, destination, source, ecn, .. } = transmit;
        for segment in transmit.segments() {
            self.outgoing.send(now, segment, Header { socket, destination, source, ecn });
        }
        self.flush(now);
        Ok(SendOutcome::Sent)
    }

    fn max_segments(&self) -> usize {
        self.inner.max_segments()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn open(&mut self, socket: SocketId, remote: SocketAddr) -> io::Result<()> {
        self.inner.open(socket, remote)
    }

    fn close(&mut self, socket: SocketId) {
        self.inner.close(socket);
    }
}

impl<T: Readiness> Readiness for LossyTransport<T> {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let now = (self.clock)();
        self.flush(now);
        let due = self.next_due().map(|at| at.saturating_duration_since(now));
        self.inner.wait([timeout, due].into_iter().flatten().min())?;
        let now = (self.clock)();
        self.flush(now);
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }
}

/// Needs a tokio runtime with its timer enabled.
#[cfg(feature = "tokio")]
impl<T: super::AsyncReadiness> super::AsyncReadiness for LossyTransport<T> {
    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        use std::task::Poll;

        let now = (self.clock)();
        self.flush(now);
        if self.inner.poll_ready(cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        let Some(due) = self.next_due() else { return Poll::Pending };
        if due <= now {
            return Poll::Ready(Ok(()));
        }
        let due = due.into();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx).map(Ok)
    }
}

impl<T: fmt::Debug> fmt::Debug for LossyTransport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossyTransport")
            .field("inner", &self.inner)
            .field("outgoing", &self.outgoing)
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::MemoryTransport;
    use super::*;
    use crate::sim::Loss;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn datagrams_are_late_by_the_latency_of_both_lines() {
        let time = Arc::new(Mutex::new(Instant::now()));
        let clock = {
            let time = Arc::clone(&time);
            move || *time.lock().unwrap()
        };
        let (left, mut right) = MemoryTransport::pair();
        let line = |ms| LinkConfig::new().latency(ms * MS);
        let mut left = LossyTransport::new(left, line(10), line(5), 1).unwrap().with_clock(clock);
        let mut batch = RecvBatch::with_slots(4);

        let to_right = right.local_addr().unwrap();
        let train =
            Transmit { segment_size: Some(2), ..Transmit::new(SocketId::PRIMARY, to_right, b"abcde") };
        let _ = left.send(&train).unwrap();
        *time.lock().unwrap() += 9 * MS;
        assert_eq!(left.recv(&mut batch).unwrap(), 0);
        assert_eq!(right.recv(&mut batch).unwrap(), 0);
        *time.lock().unwrap() += MS;
        assert_eq!(left.recv(&mut batch).unwrap(), 0);
        assert_eq!(right.recv(&mut batch).unwrap(), 3);
        assert!(batch.iter_mut().map(|(_, bytes)| bytes.to_vec()).eq([&b"ab"[..], b"cd", b"e"]));

        let _ = right.send(&Transmit::new(SocketId::PRIMARY, left.local_addr().unwrap(), b"back")).unwrap();
        assert_eq!(left.recv(&mut batch).unwrap(), 0);
        *time.lock().unwrap() += 5 * MS;
        assert_eq!(left.recv(&mut batch).unwrap(), 1);
        assert_eq!(batch.pop().unwrap().0.remote, to_right);
        let (outgoing, incoming) = left.stats();
        assert_eq!((outgoing.delivered, incoming.delivered), (3, 1));
    }

    #[test]
    fn waiting_delivers_what_is_due() {
        let (left, mut right) = MemoryTransport::pair();
        let line = LinkConfig::new().latency(3 * MS);
        let mut left = LossyTransport::new(left, line.clone(), line, 1).unwrap();
        let _ = left.send(&Transmit::new(SocketId::PRIMARY, right.local_addr().unwrap(), b"x")).unwrap();
        let mut batch = RecvBatch::with_slots(1);
        while right.recv(&mut batch).unwrap() == 0 {
            // Without a timeout: only what is due can end it.
            left.wait(None).unwrap();
        }
    }

    #[test]
    fn losses_are_counted() {
        let (left, mut right) = MemoryTransport::pair();
        let half = LinkConfig::new().loss(Loss::Bernoulli { rate: 0.5 });
        let mut left = LossyTransport::new(left, half, LinkConfig::new(), 1).unwrap();
        let to = Transmit::new(SocketId::PRIMARY, right.local_addr().unwrap(), b"x");
        for _ in 0..1000 {
            let _ = left.send(&to).unwrap();
        }
        let (outgoing, _) = left.stats();
        let mut batch = RecvBatch::new();
        let mut arrived = 0;
        while right.recv(&mut batch).unwrap() > 0 {
            arrived += batch.len() as u64;
        }
        assert_eq!(arrived, 1000 - outgoing.lost);
        assert!((400..600).contains(&arrived));
    }

    #[cfg(feature = "tokio")]
    #[tokio::test]
    async fn a_task_is_woken_when_something_is_due() {
        use super::super::AsyncReadiness;

        let (left, mut right) = MemoryTransport::pair();
        let line = LinkConfig::new().latency(2 * MS);
        let mut left = LossyTransport::new(left, line.clone(), line, 1).unwrap();
        let _ = right.send(&Transmit::new(SocketId::PRIMARY, left.local_addr().unwrap(), b"x")).unwrap();
        let mut batch = RecvBatch::with_slots(1);
        while left.recv(&mut batch).unwrap() == 0 {
            std::future::poll_fn(|cx| left.poll_ready(cx)).await.unwrap();
        }
    }
}

//! Socket errors on demand, to see that nothing minds them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::{Readiness, RecvBatch, SendOutcome, SocketId, Transmit, Transport};
use crate::sim::Rng;

/// How long a thread rests after an injected error before it may try again: a real error that lasts keeps the
/// system from saying that the socket is ready, an injected one does not.
const REST: Duration = Duration::from_millis(1);

/// An error a UDP socket may report, by its Unix name in the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketError {
    /// `EAGAIN`: no room, or nothing there.
    WouldBlock,
    /// `ENOBUFS`: the queue of the network interface is full.
    NoBufferSpace,
    /// `ENOMEM`: the kernel is short of memory.
    OutOfMemory,
    /// `EMSGSIZE`: larger than the interface takes.
    MessageTooLong,
    /// `ECONNREFUSED`: nobody listens there, says ICMP.
    ConnectionRefused,
    /// `EHOSTUNREACH`: no way to the host, says ICMP.
    HostUnreachable,
    /// `ENETUNREACH`: no route.
    NetworkUnreachable,
    /// `ENETDOWN`: the interface is down.
    NetworkDown,
    /// `EPERM`: a firewall rule forbids it.
    NotPermitted,
    /// `EINTR`: a signal came between.
    Interrupted,
    /// `EIO`: the interface cannot cut trains. Injected only into trains; after the first, `max_segments` is 1 and
    /// every train fails.
    OffloadFailed,
}

impl SocketError {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::WouldBlock,
        Self::NoBufferSpace,
        Self::OutOfMemory,
        Self::MessageTooLong,
        Self::ConnectionRefused,
        Self::HostUnreachable,
        Self::NetworkUnreachable,
        Self::NetworkDown,
        Self::NotPermitted,
        Self::Interrupted,
        Self::OffloadFailed,
    ];

    fn to_io(self) -> io::Error {
        let errno = match self {
            Self::WouldBlock => Errno::AGAIN,
            Self::NoBufferSpace => Errno::NOBUFS,
            Self::OutOfMemory => return io::ErrorKind::OutOfMemory.into(),
            Self::MessageTooLong => Errno::MSGSIZE,
            Self::ConnectionRefused => Errno::CONNREFUSED,
            Self::HostUnreachable => Errno::HOSTUNREACH,
            Self::NetworkUnreachable => Errno::NETUNREACH,
            Self::NetworkDown => Errno::NETDOWN,
            Self::NotPermitted => return io::ErrorKind::PermissionDenied.into(),
            Self::Interrupted => Errno::INTR,
            Self::OffloadFailed => return io::Error::other("input/output error: no segmentation offload"),
        };
        errno.into()
    }

    /// Whether a receive call can report it.
    fn on_recv(self) -> bool {
        !matches!(self, Self::MessageTooLong | Self::NotPermitted | Self::OffloadFailed)
    }
}

/// Commands the errors of a [`FaultyTransport`], from anywhere; clones command the same one.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// An `f64`, by its bits.
    share: AtomicU64,
    script: Mutex<VecDeque<SocketError>>,
    injected: [AtomicU64; SocketError::ALL.len()],
}

impl Faults {
    /// Lets this share of all calls fail from now on, 0 to 1, with every error as likely as any other.
    pub fn set_share(&self, share: f64) {
        self.shared.share.store(share.to_bits(), Ordering::Relaxed);
    }

    /// Lets a coming call fail with `error`: the next that can report it, behind those asked for before.
    pub fn push(&self, error: SocketError) {
        self.script().push_back(error);
    }

    /// How often `error` was injected so far.
    #[must_use]
    pub fn injected(&self, error: SocketError) -> u64 {
        self.count(error).load(Ordering::Relaxed)
    }

    fn script(&self) -> std::sync::MutexGuard<'_, VecDeque<SocketError>> {
        self.shared.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::indexing_slicing, reason = "a counter for each error there is")]
    fn count(&self, error: SocketError) -> &AtomicU64 {
        &self.shared.injected[error as usize]
    }

    /// The error of this call, if it is to have one.
    fn draw(&self, rng: &mut Rng, possible: impl Fn(SocketError) -> bool) -> Option<SocketError> {
        let mut script = self.script();
        let scripted = script.front().copied().filter(|error| possible(*error));
        let error = if scripted.is_some() {
            script.pop_front()
        } else if rng.chance(f64::from_bits(self.shared.share.load(Ordering::Relaxed))) {
            let count = SocketError::ALL.into_iter().filter(|error| possible(*error)).count();
            let which = rng.below(count as u64) as usize;
            SocketError::ALL.into_iter().filter(|error| possible(*error)).nth(which)
        } else {
            None
        }?;
        self.count(error).fetch_add(1, Ordering::Relaxed);
        Some(error)
    }
}

/// Wraps a transport whose calls fail as [`Faults`] says. A failed call reaches nobody.
///
/// ```
/// use fastwire::transport::{
///     Faults, FaultyTransport, MemoryTransport, SendOutcome, SocketError, SocketId, Transmit, Transport,
/// };
///
/// # fn main() -> std::io::Result<()> {
/// let (left, right) = MemoryTransport::pair();
/// let faults = Faults::default();
/// let mut left = FaultyTransport::new(left, faults.clone(), 1);
/// faults.push(SocketError::NetworkDown);
/// let hello = Transmit::new(SocketId::PRIMARY, right.local_addr()?, b"hello");
/// assert!(left.send(&hello).is_err());
/// assert_eq!(left.send(&hello)?, SendOutcome::Sent);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultyTransport<T> {
    inner: T,
    faults: Faults,
    rng: Rng,
    offload_failed: bool,
    /// An error was injected since the last `wait`.
    tired: bool,
}

impl<T: Transport> FaultyTransport<T> {
    /// Lets the calls of `inner` fail as `faults` commands, by the chances of `seed`.
    pub fn new(inner: T, faults: Faults, seed: u64) -> Self {
        Self { inner, faults, rng: Rng::new(seed), offload_failed: false, tired: false }
    }

    /// The wrapped transport.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Transport> Transport for FaultyTransport<T> {
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        let Some(error) = self.faults.draw(&mut self.rng, SocketError::on_recv) else {
            return self.inner.recv(batch);
        };
        batch.clear();
        self.tired = true;
        if error == SocketError::WouldBlock { Ok(0) } else { Err(error.to_io()) }
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
        let is_train = transmit.segment_count() > 1;
        if self.offload_failed && is_train {
            return Err(SocketError::OffloadFailed.to_io());
        }
        let possible = |error| error != SocketError::OffloadFailed || is_train;
        let Some(error) = self.faults.draw(&mut self.rng, possible) else { return self.inner.send(transmit) };
        self.tired = true;
        self.offload_failed |= error == SocketError::OffloadFailed;
        if error == SocketError::WouldBlock { Ok(SendOutcome::Blocked) } else { Err(error.to_io()) }
    }

    fn max_segments(&self) -> usize {
        if self.offload_failed { 1 } else { self.inner.max_segments() }
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

impl<T: Readiness> Readiness for FaultyTransport<T> {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if std::mem::take(&mut self.tired) {
            // Returns early, as it may: what failed is worth another attempt.
            thread::sleep(timeout.map_or(REST, |timeout| timeout.min(REST)));
            return Ok(());
        }
        self.inner.wait(timeout)
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryTransport;
    use super::*;

    #[test]
    fn every_error_has_its_own_face_and_its_own_count() {
        for (index, error) in SocketError::ALL.into_iter().enumerate() {
            assert_eq!(error as usize, index);
            let (left, mut right) = MemoryTransport::pair();
            let faults = Faults::default();
            let mut left = FaultyTransport::new(left, faults.clone(), 0);
            faults.push(error);
            let train = Transmit {
                segment_size: Some(1),
                ..Transmit::new(SocketId::PRIMARY, right.local_addr().unwrap(), b"xyz")
            };
            let result = left.send(&train);
            match error {
                SocketError::WouldBlock => assert_eq!(result.unwrap(), SendOutcome::Blocked),
                _ => assert_eq!(result.unwrap_err().to_string(), error.to_io().to_string()),
            }
            assert_eq!(faults.injected(error), 1);
            let broken = error == SocketError::OffloadFailed;
            assert_eq!((left.send(&train).is_err(), left.max_segments() == 1), (broken, broken), "{error:?}");
            assert_eq!(right.recv(&mut RecvBatch::with_slots(8)).unwrap(), if broken { 0 } else { 3 });

            faults.push(error);
            let received = left.recv(&mut RecvBatch::with_slots(1));
            assert_eq!(received.is_err(), error.on_recv() && error != SocketError::WouldBlock);
            assert_eq!(faults.injected(error), 1 + u64::from(error.on_recv()));
        }
    }

    #[test]
    fn the_share_is_kept_and_every_error_comes_up() {
        let (left, mut right) = MemoryTransport::pair();
        let faults = Faults::default();
        let mut left = FaultyTransport::new(left, faults.clone(), 7);
        let to = Transmit::new(SocketId::PRIMARY, right.local_addr().unwrap(), b"xyz");
        let mut batch = RecvBatch::new();
        let mut failures = |share: f64| {
            faults.set_share(share);
            (0..1000)
                .filter(|_| {
                    let fails = !matches!(left.send(&to), Ok(SendOutcome::Sent));
                    assert_eq!(right.recv(&mut batch).unwrap(), usize::from(!fails));
                    fails
                })
                .count()
        };
        assert_eq!(failures(0.0), 0);
        assert!((5..20).contains(&failures(0.01)));
        assert_eq!(failures(1.0), 1000);
        for error in SocketError::ALL {
            assert_eq!(faults.injected(error) > 0, error != SocketError::OffloadFailed, "{error:?}");
        }
    }
}

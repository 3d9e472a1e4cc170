//! The network as FastWire sees it: datagrams in, datagrams out, never blocking.
//!
//! [`Transport`] is all a shell needs to drive the core; [`Readiness`] adds what a thread needs to sleep until
//! something happens, [`AsyncReadiness`] what a task needs. Both are separate so that a transport for a game loop,
//! a radio or a test can be written in twenty lines.
//!
//! ```
//! use fastwire::transport::{MemoryTransport, RecvBatch, SendOutcome, SocketId, Transmit, Transport};
//!
//! # fn main() -> std::io::Result<()> {
//! let (mut left, mut right) = MemoryTransport::pair();
//! let to_right = Transmit::new(SocketId::PRIMARY, right.local_addr()?, b"hello");
//! assert_eq!(left.send(&to_right)?, SendOutcome::Sent);
//!
//! let mut batch = RecvBatch::new();
//! assert_eq!(right.recv(&mut batch)?, 1);
//! for (meta, datagram) in batch.iter_mut() {
//!     assert_eq!(meta.remote, left.local_addr()?);
//!     assert_eq!(datagram, b"hello");
//! }
//! # Ok(())
//! # }
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod batch;
mod faulty;
mod lossy;
mod memory;
mod pool;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub use batch::{DatagramsMut, RecvBatch, RecvMeta};
pub use faulty::{Faults, FaultyTransport, SocketError};
pub use lossy::LossyTransport;
pub use memory::{MemoryNetwork, MemoryTransport};
pub use pool::ChunkPool;
pub use udp::{UdpConfig, UdpTransport};

/// The largest payload a UDP datagram can have, in bytes: 65 535 less the IPv4 and UDP headers.
pub const MAX_DATAGRAM: usize = 65_507;

/// Names one of the sockets of a transport.
///
/// A server has only [`SocketId::PRIMARY`]. A client may hold a second one for a while: a second port during the
/// handshake, or the new port when it moves to another network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The socket a transport is born with.
    pub const PRIMARY: Self = Self(0);
}

/// An explicit congestion notification mark (RFC 3168 §5); the value is the two bits of the IP header.
///
/// *Not ECN-capable* is the absence of a mark: `None` wherever an `Option<Ecn>` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// ECT(1): the sender understands ECN, and asks for L4S treatment (RFC 9331).
    Ect1 = 0b01,
    /// ECT(0): the sender understands ECN.
    Ect0 = 0b10,
    /// CE: a router on the path is congested.
    Ce = 0b11,
}

impl Ecn {
    /// Reads the two low bits of a traffic class octet; `None` for *not ECN-capable*.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0b01 => Some(Self::Ect1),
            0b10 => Some(Self::Ect0),
            0b11 => Some(Self::Ce),
            _ => None,
        }
    }

    /// The two bits as they stand in the IP header, 1 to 3.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// One datagram to send, or a train of equal ones to the same destination.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// The socket it leaves from.
    pub socket: SocketId,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The local address it should leave from; `None` leaves the choice to the system.
    pub source: Option<IpAddr>,
    /// The ECN mark to set.
    pub ecn: Option<Ecn>,
    /// The bytes: one datagram, or several one after the other.
    pub contents: &'a [u8],
    /// The size of each datagram in `contents` when it is a train: all have this size, only the last may be shorter.
    /// At most [`Transport::max_segments`] of them.
    pub segment_size: Option<usize>,
}

impl<'a> Transmit<'a> {
    /// A single datagram without a mark, its source address left to the system.
    #[must_use]
    pub const fn new(socket: SocketId, destination: SocketAddr, contents: &'a [u8]) -> Self {
        Self { socket, destination, source: None, ecn: None, contents, segment_size: None }
    }

    /// The datagrams of the train, in order: one unless `segment_size` says otherwise, and one when empty.
    pub fn segments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let size = match self.segment_size {
            Some(size) if size > 0 => size,
            _ => self.contents.len().max(1),
        };
        let empty = self.contents.is_empty().then_some(self.contents);
        empty.into_iter().chain(self.contents.chunks(size))
    }

    /// How many datagrams [`segments`](Self::segments) yields.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        match self.segment_size {
            Some(size) if size > 0 && size < self.contents.len() => self.contents.len().div_ceil(size),
            _ => 1,
        }
    }
}

/// What became of a [`Transmit`] that met no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SendOutcome {
    /// It was handed to the network. If only the first datagrams of a train fitted, the others count as lost on
    /// the way: they are not to be sent again at once.
    Sent,
    /// Nothing was sent: the network takes nothing at the moment. Offer it again later.
    Blocked,
}

/// Sends and receives datagrams without ever blocking. A shell owns one, and nobody else calls it.
///
/// The trait is object-safe and `Box<dyn Transport>` implements it, so a transport can be chosen at run time.
pub trait Transport: Send {
    /// Replaces what `batch` holds by datagrams that have arrived, as many as it takes in one go.
    ///
    /// Returns how many datagrams there are; 0 says that none is waiting. A return value above 0 does not say that
    /// nothing is left: call again.
    ///
    /// # Errors
    ///
    /// An error means that nothing was received this time, and no more than that: count it and go on. Connections
    /// end by their own timeouts, not because a call failed.
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize>;

    /// Sends one datagram, or a train of them.
    ///
    /// # Errors
    ///
    /// An error means that the datagrams are lost, and no more than that: count it, and let loss recovery do its
    /// work. [`io::ErrorKind::WouldBlock`] never appears here; it is [`SendOutcome::Blocked`].
    fn send(&mut self, transmit: &Transmit<'_>) -> io::Result<SendOutcome>;

    /// Sends several, in order, in as few calls as the system allows. Gives how many left, and what met the one after
    /// those: a block, or an error with which it is lost, as in [`send`](Self::send); those behind it were not tried.
    /// [`SendOutcome::Sent`] if all left.
    fn send_many(&mut self, transmits: &[Transmit<'_>]) -> (usize, io::Result<SendOutcome>) {
        for (index, transmit) in transmits.iter().enumerate() {
            match self.send(transmit) {
                Ok(SendOutcome::Sent) => {}
                other => return (index, other),
            }
        }
        (transmits.len(), Ok(SendOutcome::Sent))
    }

    /// The longest train [`send`](Self::send) takes at the moment, in datagrams; 1 where the system has no
    /// segmentation offload. It may fall while the transport runs.
    fn max_segments(&self) -> usize {
        1
    }

    /// The address the primary socket is bound to.
    ///
    /// # Errors
    ///
    /// What the system reports when asked.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Opens another socket, on a port of the system's choice, able to reach `remote`.
    ///
    /// An id already open is closed first.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where a transport has only one socket, else what the system reports.
    fn open(&mut self, socket: SocketId, remote: SocketAddr) -> io::Result<()> {
        let _ = (socket, remote);
        Err(io::Error::new(io::ErrorKind::Unsupported, "this transport has a single socket"))
    }

    /// Closes a socket. Unknown ids are ignored; datagrams that wait in it are lost.
    fn close(&mut self, socket: SocketId) {
        let _ = socket;
    }
}

/// A transport a thread can sleep on.
pub trait Readiness: Transport {
    /// Sleeps until a datagram is there, until a send that was [`Blocked`](SendOutcome::Blocked) is worth another
    /// attempt, until a [`waker`](Self::waker) is called, or for `timeout`; `None` sleeps as long as it takes.
    ///
    /// It may return early for no reason. A waker called since the last return makes it return at once, so nothing
    /// is missed by a thread that looks at its inputs before it sleeps.
    ///
    /// # Errors
    ///
    /// Only when the transport is of no more use.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// A handle that wakes the thread in [`wait`](Self::wait) from any other thread.
    fn waker(&self) -> Waker;
}

/// A transport an async task can sleep on.
pub trait AsyncReadiness: Transport {
    /// Ready when a datagram may be there or a [`Blocked`](SendOutcome::Blocked) send is worth another attempt;
    /// otherwise the task is woken when that changes.
    ///
    /// It stays ready until [`Transport::recv`] has returned 0: drain the transport before asking again.
    ///
    /// # Errors
    ///
    /// Only when the transport is of no more use.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        (**self).recv(batch)
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
        (**self).send(transmit)
    }

    fn send_many(&mut self, transmits: &[Transmit<'_>]) -> (usize, io::Result<SendOutcome>) {
        (**self).send_many(transmits)
    }

    fn max_segments(&self) -> usize {
        (**self).max_segments()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        (**self).local_addr()
    }

    fn open(&mut self, socket: SocketId, remote: SocketAddr) -> io::Result<()> {
        (**self).open(socket, remote)
    }

    fn close(&mut self, socket: SocketId) {
        (**self).close(socket);
    }
}

impl<T: Readiness + ?Sized> Readiness for Box<T> {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        (**self).wait(timeout)
    }

    fn waker(&self) -> Waker {
        (**self).waker()
    }
}

impl<T: AsyncReadiness + ?Sized> AsyncReadiness for Box<T> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_ready(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn ecn_bits_survive_a_round_trip() {
        for bits in 0..=u8::MAX {
            let expected = (bits & 0b11 != 0).then_some(bits & 0b11);
            assert_eq!(Ecn::from_bits(bits).map(Ecn::bits), expected);
        }
    }

    #[test]
    fn segments_cut_all_of_the_contents() {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..=bytes.len() {
            for size in [None, Some(0), Some(1), Some(7), Some(64), Some(255), Some(256), Some(1000)] {
                let transmit =
                    Transmit { segment_size: size, ..Transmit::new(SocketId::PRIMARY, to, &bytes[..len]) };
                let segments: Vec<&[u8]> = transmit.segments().collect();
                assert_eq!(segments.concat(), &bytes[..len]);
                assert_eq!(segments.len(), transmit.segment_count(), "len {len} size {size:?}");
                assert!(
                    segments.len() < 2
                        || segments.iter().all(|s| !s.is_empty() && s.len() <= size.unwrap_or(0))
                );
            }
        }
    }
}

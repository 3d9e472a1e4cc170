//! What happens inside a connection, told to whoever wants to know: packets and their frames, losses, the path, its end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastwire_wire::{ControlType, FragmentHeader, PacketHeader};

use crate::{ConnectionError, ConnectionId, DisconnectReason, Profile};

/// Hears what happens inside one connection.
///
/// It is called in the middle of things, so it must be quick, and what it does cannot change anything. A connection without one
/// pays a branch.
pub trait Observer: Send {
    /// Something happened at `at`, in the time of whoever drives the endpoint.
    fn observe(&mut self, at: Instant, what: &Observed<'_>);
}

/// The connection that is about to be observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject {
    /// Its id.
    pub connection: ConnectionId,
    /// Whether this end is the server.
    pub is_server: bool,
    /// The peer's address, as far as it is known yet.
    pub remote: SocketAddr,
    /// When it began: on a server when the first datagram of its handshake came, as far as that is known.
    pub at: Instant,
}

/// Makes an observer for each connection, or for some: a closure that gives `None` leaves a connection alone.
///
/// ```
/// use fastwire::{Observed, Observer, Observers, Server};
///
/// struct Losses(u32);
///
/// impl Observer for Losses {
///     fn observe(&mut self, _: std::time::Instant, what: &Observed<'_>) {
///         if let Observed::Lost { packets, .. } = what {
///             self.0 += packets;
///         }
///     }
/// }
///
/// let builder = Server::builder().observers(Observers::new(|_| Some(Box::new(Losses(0)))));
/// ```
#[derive(Clone)]
pub struct Observers(Arc<Make>);

type Make = dyn Fn(&Subject) -> Option<Box<dyn Observer>> + Send + Sync;

impl Observers {
    /// Asks `make` for each connection as it begins.
    pub fn new(make: impl Fn(&Subject) -> Option<Box<dyn Observer>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    pub(crate) fn make(&self, subject: &Subject) -> Option<Box<dyn Observer>> {
        (self.0)(subject)
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observers(..)")
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Observed<'a> {
    /// A datagram of the handshake left. A server tells it once there is a connection, with the time when it happened.
    HandshakeSent {
        /// Which one.
        kind: ControlType,
        /// Its size in bytes.
        bytes: usize,
    },
    /// A datagram of the handshake came. A server tells it once there is a connection, with the time when it happened.
    HandshakeReceived {
        /// Which one.
        kind: ControlType,
        /// Its size in bytes.
        bytes: usize,
    },
    /// The connection is established.
    Established {
        /// What it speaks.
        profile: Profile,
    },
    /// A packet leaves.
    PacketSent {
        /// What it holds.
        packet: PacketView<'a>,
        /// Bytes of the UDP payload that it takes.
        bytes: usize,
    },
    /// A packet opened.
    PacketReceived {
        /// What it holds.
        packet: PacketView<'a>,
        /// Bytes of the UDP payload that it took.
        bytes: usize,
    },
    /// A lost packet was made of others and their parity.
    PacketRecovered {
        /// What it held.
        packet: PacketView<'a>,
    },
    /// A packet did not open.
    PacketDropped {
        /// It had been opened before; else it is forged or damaged.
        replayed: bool,
        /// Bytes of the UDP payload.
        bytes: usize,
    },
    /// Packets are taken for lost.
    Lost {
        /// Their numbers in the extended profile; empty in the base profile, whose packets leave again under their sequences.
        numbers: &'a [u64],
        /// How many.
        packets: u32,
        /// Bytes of their datagrams.
        bytes: u64,
    },
    /// The path is congested; at most once a round trip.
    Congestion {
        /// Nothing got through for long (RFC 9002 §7.6).
        persistent: bool,
    },
    /// Packets that were taken for lost have arrived.
    Spurious {
        /// How many.
        packets: u32,
    },
    /// What is known of the path after an acknowledgement or a time-out.
    Metrics(Metrics),
    /// The connection goes on from another local socket or to another address.
    Moved {
        /// The peer's address from now on.
        remote: SocketAddr,
    },
    /// The application queued a message.
    MessageQueued {
        /// On which channel.
        channel: u8,
        /// Its bytes as it travels: compressed, if it was.
        bytes: usize,
    },
    /// The application got a message.
    MessageDelivered {
        /// From which channel.
        channel: u8,
        /// Its bytes as the peer sent them.
        bytes: usize,
    },
    /// Something went wrong; the end follows.
    Failed(&'a ConnectionError),
    /// The connection is over. Nothing follows.
    Closed {
        /// Why; `None` for an attempt that led to no connection.
        reason: Option<DisconnectReason>,
    },
}

/// A packet in the clear.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum PacketView<'a> {
    /// A packet of the base profile.
    #[non_exhaustive]
    Base {
        /// Its header.
        header: PacketHeader,
        /// Its fragment header, if it carries a piece of a message.
        fragment: Option<FragmentHeader>,
        /// What follows: a message, a piece of one, or a control payload.
        payload: &'a [u8],
    },
    /// A packet of the extended profile.
    #[non_exhaustive]
    Extended {
        /// Its number.
        number: u64,
        /// Its frames, for [`Frames`](crate::wire::extended::Frames).
        frames: &'a [u8],
    },
}

/// What is known of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Smoothed round trip; zero before the first sample.
    pub rtt: Duration,
    /// Its variation.
    pub rtt_variance: Duration,
    /// The newest sample.
    pub latest_rtt: Duration,
    /// The smallest sample.
    pub min_rtt: Duration,
    /// Packets that may be in flight, of 1200 bytes where the controller counts bytes; `None`: any number.
    pub congestion_window: Option<u32>,
    /// Reliable bytes in flight.
    pub bytes_in_flight: u64,
    /// Reliable packets in flight.
    pub packets_in_flight: u32,
    /// Bytes a second at which packets leave; `None`: as fast as may be.
    pub pacing_rate: Option<u64>,
}

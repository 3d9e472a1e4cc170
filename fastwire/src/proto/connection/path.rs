//! Where the peer is, and how much may go there before it has proved that it is there (PROTOCOL A10).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::proto::transmit::Route;
use crate::transport::SocketId;

/// A connection moves at most this often.
const MOVE_INTERVAL: Duration = Duration::from_secs(1);
/// An address that has not proved itself gets at most this many times the bytes received from it.
const AMPLIFICATION: u64 = 3;

/// The address a connection's datagrams go to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    pub(crate) socket: SocketId,
    pub(crate) remote: SocketAddr,
    /// Our own address that the peer sends to; answers leave from it.
    pub(crate) source: Option<IpAddr>,
    unproven: Option<Unproven>,
    moved_at: Option<Instant>,
}

/// The books of an address that has not proved itself.
#[derive(Debug, Clone, Copy)]
struct Unproven {
    since: Instant,
    received: u64,
    sent: u64,
    /// A datagram came from there since the last probe.
    wants_probe: bool,
}

impl Path {
    /// The path of a handshake: the peer answered on it, so it is there.
    pub(crate) fn new(socket: SocketId, remote: SocketAddr) -> Self {
        Self { socket, remote, source: None, unproven: None, moved_at: None }
    }

    /// The way of its datagrams.
    pub(crate) fn route(&self) -> Route {
        Route { socket: self.socket, remote: self.remote, source: self.source }
    }

    /// Whether a packet from elsewhere may move the connection now.
    pub(crate) fn may_move(&self, now: Instant) -> bool {
        self.moved_at.is_none_or(|at| now.saturating_duration_since(at) >= MOVE_INTERVAL)
    }

    /// Moves to where a packet of `bytes` came from.
    pub(crate) fn move_to(&mut self, socket: SocketId, remote: SocketAddr, bytes: u64, now: Instant) {
        *self = Self {
            socket,
            remote,
            source: None,
            unproven: Some(Unproven { since: now, received: bytes, sent: 0, wants_probe: true }),
            moved_at: Some(now),
        };
    }

    /// Goes to an address that has proved itself.
    pub(crate) fn settle_on(&mut self, socket: SocketId, remote: SocketAddr, source: Option<IpAddr>) {
        *self = Self { socket, remote, source, unproven: None, moved_at: self.moved_at };
    }

    /// The peer has shown that it is there.
    pub(crate) fn prove(&mut self) {
        self.unproven = None;
    }

    pub(crate) fn on_received(&mut self, bytes: u64) {
        if let Some(unproven) = &mut self.unproven {
            unproven.received += bytes;
            unproven.wants_probe = true;
        }
    }

    pub(crate) fn on_sent(&mut self, bytes: u64) {
        if let Some(unproven) = &mut self.unproven {
            unproven.sent += bytes;
        }
    }

    /// The peer acknowledged, from this address, a packet first sent at `first_sent`: proof, if that was
    /// after the move.
    pub(crate) fn on_acknowledged(&mut self, first_sent: Instant) {
        self.unproven = self.unproven.filter(|unproven| first_sent < unproven.since);
    }

    /// Whether a probe should ask the address for its proof: once for each datagram from there.
    pub(crate) fn take_probe(&mut self) -> bool {
        self.unproven.as_mut().is_some_and(|unproven| std::mem::take(&mut unproven.wants_probe))
    }

    /// Bytes that may still go there.
    pub(crate) fn allowance(&self) -> u64 {
        self.unproven.map_or(u64::MAX, |u| (AMPLIFICATION * u.received).saturating_sub(u.sent))
    }
}

//! What a connection tells its controller: one struct an event, with room to grow.
//!
//! Every struct is `#[non_exhaustive]` and has a constructor, so a later version can say more without breaking
//! the controllers that exist. "In flight" always means: sent, counted by congestion control, and neither
//! acknowledged nor declared lost.

use std::time::{Duration, Instant};

/// What is on its way: sent, and neither acknowledged nor declared lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InFlight {
    /// UDP payload bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u32,
}

impl InFlight {
    /// Nothing on its way.
    pub const NONE: Self = Self { bytes: 0, packets: 0 };

    /// So many packets of so many bytes together.
    pub const fn new(packets: u32, bytes: u64) -> Self {
        Self { bytes, packets }
    }
}

/// The round-trip estimate as it stands when an acknowledgement has been processed (RFC 6298, RFC 9002 §5).
///
/// Repeated packets give no sample (Karn), so `latest` may be older than the acknowledgement it comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttSample {
    /// The newest valid sample.
    pub latest: Duration,
    /// The smoothed round-trip time.
    pub smoothed: Duration,
    /// The mean deviation of the samples.
    pub var: Duration,
    /// The smallest sample this path has shown.
    pub min: Duration,
}

impl RttSample {
    /// An estimate that rests on one sample: its deviation is half of it (RFC 6298 §2.2).
    pub fn first(sample: Duration) -> Self {
        Self { latest: sample, smoothed: sample, var: sample / 2, min: sample }
    }
}

/// What is known of a path when its controller is made, or made to start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathInfo {
    /// The time of the connection's clock.
    pub now: Instant,
    /// The largest UDP payload the path is known to carry, in bytes.
    pub mtu: u16,
    /// The window to start with, in packets. Configuration: the same on every path of a connection.
    pub initial_window_packets: u32,
    /// Each packet has a number of its own and is never sent twice (FastWire's extended profile), so that each one's fate
    /// and time are known.
    pub extended: bool,
}

impl PathInfo {
    /// A path of this MTU that starts with [`DEFAULT_INITIAL_WINDOW`](crate::DEFAULT_INITIAL_WINDOW).
    pub const fn new(now: Instant, mtu: u16) -> Self {
        Self { now, mtu, initial_window_packets: crate::DEFAULT_INITIAL_WINDOW, extended: false }
    }

    /// The same path with [`extended`](Self::extended) as given.
    pub const fn with_extended(mut self, extended: bool) -> Self {
        self.extended = extended;
        self
    }

    /// The same path with another window to start with, in packets.
    pub const fn with_initial_window(mut self, packets: u32) -> Self {
        self.initial_window_packets = packets;
        self
    }

    /// The window to start with for a controller that counts bytes: [`initial_window_packets`](Self::initial_window_packets)
    /// full packets, at least the window of RFC 9002 §7.2 (10 packets or 14 720 bytes, whichever is less, and never
    /// under 2 packets).
    pub fn initial_window_bytes(&self) -> u64 {
        let mtu = u64::from(self.mtu.max(1));
        let usual = (10 * mtu).min(14_720.max(2 * mtu));
        usual.max(mtu * u64::from(self.initial_window_packets))
    }
}

/// One packet has been given to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// When it left.
    pub now: Instant,
    /// Its size in UDP payload bytes.
    pub bytes: u64,
    /// What is in flight, this packet included.
    pub in_flight: InFlight,
}

impl Sent {
    /// A packet of `bytes` left at `now`; `in_flight` counts it already.
    pub const fn new(now: Instant, bytes: u64, in_flight: InFlight) -> Self {
        Self { now, bytes, in_flight }
    }
}

/// An acknowledgement arrived that ended the flight of at least one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acked {
    /// When it arrived.
    pub now: Instant,
    /// How many packets it acknowledged for the first time.
    pub packets: u32,
    /// Their UDP payload bytes.
    pub bytes: u64,
    /// When the newest of them had been sent. A model of the path finds what was delivered in between by
    /// remembering its own count at each [`Sent`].
    pub newest_sent_at: Instant,
    /// What is still in flight.
    pub in_flight: InFlight,
    /// The round-trip estimate with this acknowledgement in it; the caller's initial guess before the first sample.
    pub rtt: RttSample,
    /// The application had too little to send to fill the window when the newest of them left, so the
    /// acknowledgement proves nothing about a larger window (RFC 9002 §7.8).
    pub app_limited: bool,
}

impl Acked {
    /// `packets` of `bytes` together were acknowledged at `now`, and the window had been in full use;
    /// set [`app_limited`](Self::app_limited) otherwise.
    pub const fn new(
        now: Instant,
        packets: u32,
        bytes: u64,
        newest_sent_at: Instant,
        in_flight: InFlight,
        rtt: RttSample,
    ) -> Self {
        Self { now, packets, bytes, newest_sent_at, in_flight, rtt, app_limited: false }
    }

    /// The same acknowledgement, with [`app_limited`](Self::app_limited) as given.
    pub const fn with_app_limited(mut self, app_limited: bool) -> Self {
        self.app_limited = app_limited;
        self
    }
}

/// The application has nothing more to send, though the quota and the pacer would let a packet go.
///
/// Until what is in flight now has been acknowledged, delivery shows how fast the application sends and not how
/// fast the path is (draft-cheng-iccrg-delivery-rate-estimation §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppLimited {
    /// When it ran out.
    pub now: Instant,
    /// What is in flight.
    pub in_flight: InFlight,
}

impl AppLimited {
    /// Nothing was left to send at `now`.
    pub const fn new(now: Instant, in_flight: InFlight) -> Self {
        Self { now, in_flight }
    }
}

/// Packets were declared lost. Reported for every loss, unlike [`Congestion`], which comes once a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// When the loss was noticed.
    pub now: Instant,
    /// How many packets.
    pub packets: u32,
    /// Their UDP payload bytes.
    pub bytes: u64,
    /// What is still in flight.
    pub in_flight: InFlight,
}

impl Lost {
    /// `packets` of `bytes` together were declared lost at `now`; `in_flight` no longer counts them.
    pub const fn new(now: Instant, packets: u32, bytes: u64, in_flight: InFlight) -> Self {
        Self { now, packets, bytes, in_flight }
    }
}

/// What a congestion event rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CongestionKind {
    /// Packets were lost.
    Loss,
    /// Everything sent over a long time was lost (RFC 9002 §7.6).
    Persistent,
    /// The path marked packets instead of dropping them (RFC 3168).
    Ecn,
}

/// The network asked to slow down. At most once a round trip; the caller sees to that (RFC 9002 §7.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Congestion {
    /// When it was noticed.
    pub now: Instant,
    /// What it rests on.
    pub kind: CongestionKind,
    /// How many packets were declared lost with it, 0 for [`CongestionKind::Ecn`].
    pub lost_packets: u32,
    /// Their UDP payload bytes.
    pub lost_bytes: u64,
    /// What is still in flight.
    pub in_flight: InFlight,
}

impl Congestion {
    /// A congestion event noticed at `now`; `in_flight` no longer counts what was lost.
    pub const fn new(
        now: Instant,
        kind: CongestionKind,
        lost_packets: u32,
        lost_bytes: u64,
        in_flight: InFlight,
    ) -> Self {
        Self { now, kind, lost_packets, lost_bytes, in_flight }
    }
}

/// The newest congestion event was a mistake: every packet it declared lost has arrived after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spurious {
    /// When that became known.
    pub now: Instant,
    /// How many packets had been declared lost.
    pub packets: u32,
    /// Their UDP payload bytes.
    pub bytes: u64,
}

impl Spurious {
    /// `packets` of `bytes` together, declared lost in the newest congestion event, turned up by `now`.
    pub const fn new(now: Instant, packets: u32, bytes: u64) -> Self {
        Self { now, packets, bytes }
    }
}

/// The connection moved to another path: what was learnt of the old one no longer holds (RFC 9000 §9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathChange {
    /// The new path, with the time of the move.
    pub path: PathInfo,
}

impl PathChange {
    /// A move to `path` at `path.now`.
    pub const fn new(path: PathInfo) -> Self {
        Self { path }
    }
}

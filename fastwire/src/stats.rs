//! Figures an application or operator may look at any time: snapshots, cheap to take.

use std::time::Duration;

/// What one connection has done so far. Byte counts are UDP payload bytes, handshake included.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Smoothed round-trip time (RFC 6298 SRTT); zero before the first sample.
    pub rtt: Duration,
    /// Round-trip time variation (RFC 6298 RTTVAR).
    pub rtt_variance: Duration,
    /// The latest sample.
    pub latest_rtt: Duration,
    /// The smallest sample.
    pub min_rtt: Duration,
    /// Retransmission timeout in force, back-off included.
    pub rto: Duration,
    /// Lost or repeated share of the last 100 reliable packets whose fate is known, 0 to 1.
    pub packet_loss: f64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received in datagrams of this connection, opened or not.
    pub bytes_received: u64,
    /// Sealed packets sent.
    pub packets_sent: u64,
    /// Packets that opened.
    pub packets_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Messages the application queued.
    pub messages_sent: u64,
    /// Messages delivered to the application.
    pub messages_received: u64,
    /// Congestion window in packets (of 1200 bytes, where the controller counts bytes); `None` = unlimited.
    pub congestion_window: Option<u32>,
    /// Reliable bytes in flight.
    pub bytes_in_flight: u64,
    /// Reliable packets in flight.
    pub packets_in_flight: u32,
    /// Bytes of messages that wait in the send queue or for their acknowledgement.
    pub send_queue_bytes: u64,
    /// Time since the connection was established (zero before). Time the application did not drive the
    /// endpoint counts at most one second a gap.
    pub uptime: Duration,
    /// Bytes a second sent, smoothed (EWMA, α 0.2 per 10 ms).
    pub send_bandwidth: f64,
    /// Bytes a second received, smoothed likewise.
    pub recv_bandwidth: f64,
    /// Packets sent again.
    pub retransmits: u64,
    /// Of these, the ones whose first copy had arrived.
    pub spurious_retransmits: u64,
    /// Null probes sent to peers that acknowledge only 33 sequences back (PROTOCOL A6 rule 2).
    pub probes: u64,
    /// Sequences received more than once.
    pub duplicates: u64,
    /// Packets refused by the replay window.
    pub replayed: u64,
    /// Packets that did not open.
    pub forged: u64,
    /// Packets that opened and were malformed or out of any window.
    pub malformed: u64,
    /// Packets dropped unacknowledged because a byte budget was full.
    pub over_budget: u64,
    /// Older messages dropped on sequenced channels.
    pub stale: u64,
    /// Incomplete unreliable messages dropped: timed out, or over their budget.
    pub incomplete: u64,
    /// Unreliable messages dropped because they could not be decompressed.
    pub undecodable: u64,
    /// Sends the socket refused (each a lost packet).
    pub send_errors: u64,
    /// Times the connection moved to another address.
    pub migrations: u64,
    /// Copies of messages that went along before any loss was seen ([`Redundancy`](crate::Redundancy)).
    pub redundant_copies: u64,
    /// Packets of parity sent ([`Fec`](crate::Fec)).
    pub fec_sent: u64,
    /// Lost packets that were made of the peer's parity.
    pub fec_recovered: u64,
    /// Packets of parity received that were not needed.
    pub fec_useless: u64,
    /// Groups of the peer's parity that were given up: nonsense, or beyond [`Limits::fec_bytes`](crate::Limits::fec_bytes).
    pub fec_dropped: u64,
    /// Messages that expired before any of them could leave.
    pub expired: u64,
    /// Messages of sequenced channels that a newer one replaced before they could leave.
    pub superseded: u64,
    /// Times that what arrived had to wait for [`Limits::receive_messages_per_second`](crate::Limits::receive_messages_per_second)
    /// or [`receive_bytes_per_second`](crate::Limits::receive_bytes_per_second).
    pub throttled: u64,
    /// Bytes held for partial and undelivered messages.
    pub memory_held: u64,
    /// The largest UDP payload sent: what the path was found to carry (extended profile, RFC 8899), else `mtu`.
    pub path_mtu: usize,
}

/// What an endpoint has done so far, over all its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EndpointStats {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Datagrams that belonged to no connection and were no handshake: dropped in silence.
    pub unroutable: u64,
    /// Datagrams that named another shard of the server, and were handed on to it.
    pub strays: u64,
    /// Handshake packets that were malformed or came where none belongs.
    pub malformed_handshakes: u64,
    /// CONNECT packets received.
    pub connects_received: u64,
    /// CHALLENGE packets sent.
    pub challenges_sent: u64,
    /// CONNECT packets left without an answer because too many came at once.
    pub connects_refused: u64,
    /// Clients turned away with REJECT or VERSION_MISMATCH.
    pub rejected: u64,
    /// Pending handshakes dropped for age or number.
    pub handshakes_expired: u64,
    /// Clients: CONNECTEDs that came when another handshake had won, and were answered with DISCONNECT.
    pub handshakes_dismissed: u64,
    /// X25519 key agreements done.
    pub key_agreements: u64,
    /// Key agreements refused because the budget was used up.
    pub key_agreements_refused: u64,
    /// RESPONSE packets of the extended profile received.
    pub responses_received: u64,
    /// Of these, the ones whose cookie was not ours, not for that address, or too old.
    pub cookies_refused: u64,
    /// Of these, the ones whose connect token did not open, had expired, or was for another server.
    pub tokens_refused: u64,
    /// Of these, the ones that did not open under the keys agreed.
    pub responses_forged: u64,
    /// Veiled handshake datagrams that were late, early, or had come before.
    pub veiled_stale: u64,
    /// Handshake datagrams that no observer is told of, because too many came in too short a time.
    pub handshakes_unobserved: u64,
    /// Times a message was not compressed because it had just been, for another connection.
    pub compressions_shared: u64,
    /// Info queries answered.
    pub info_answered: u64,
    /// Info queries left without an answer because too many came.
    pub info_refused: u64,
    /// Connections established.
    pub connections_established: u64,
    /// Connections ended.
    pub connections_ended: u64,
}

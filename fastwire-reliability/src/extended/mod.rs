//! The channels of the extended profile: many messages in one packet, wide acknowledgements, credit (PROTOCOL B5).
//!
//! A lost piece is sent again in another packet; a packet is never sent twice.

mod types;

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_wire::FragmentFlags;
use fastwire_wire::extended::Data;

pub use types::{ControlFrame, Fate, Incoming, PeerLimits, Undelivered, Written};

use crate::{
    ChannelLayout, ChannelsConfig, ChannelsStats, GiveUp, Outcome, PushError, Quota, ReceiveQuality,
    RecoveryProfile, Rtt, Violation,
};

/// Every channel of one connection of the extended profile, with loss recovery, reassembly and credit. Sans-IO: time
/// and bytes are arguments.
///
/// Out, a packet at a time: [`begin_packet`](Self::begin_packet); [`carry`](Self::carry),
/// [`carry_ack`](Self::carry_ack) and [`carry_ping`](Self::carry_ping) for what the connection wrote itself;
/// [`write_frames`](Self::write_frames); then [`packet_sent`](Self::packet_sent) with the number it was sealed under,
/// or [`abandon_packet`](Self::abandon_packet) if it was not sealed.
#[derive(Debug)]
pub struct ExtendedChannels {}

#[allow(unused_variables, clippy::unimplemented, missing_docs)]
impl ExtendedChannels {
    /// The channels of `layout`, unused. Nothing reliable leaves before [`set_peer`](Self::set_peer).
    pub fn new(layout: ChannelLayout, config: &ChannelsConfig, profile: RecoveryProfile) -> Self {
        unimplemented!()
    }

    /// What we accept, to be announced.
    pub fn limits(&self) -> PeerLimits {
        unimplemented!()
    }

    /// Says what the peer accepts.
    pub fn set_peer(&mut self, peer: PeerLimits) {
        unimplemented!()
    }

    pub fn layout(&self) -> &ChannelLayout {
        unimplemented!()
    }

    pub fn set_profile(&mut self, profile: RecoveryProfile) {
        unimplemented!()
    }

    /// The longest message that `push` takes, in bytes.
    pub fn max_message(&self) -> usize {
        unimplemented!()
    }

    pub fn seed_rtt(&mut self, sample: Duration, now: Instant) {
        unimplemented!()
    }

    /// Begins RTT measurement anew, on another path (PROTOCOL B6).
    pub fn reset_rtt(&mut self) {
        unimplemented!()
    }

    /// Bytes (of datagrams) and packets that carry something reliable and are neither acknowledged nor taken for lost.
    pub fn in_flight(&self) -> (u64, u32) {
        unimplemented!()
    }

    /// Nothing waits to be sent and nothing reliable is unacknowledged.
    pub fn is_idle(&self) -> bool {
        unimplemented!()
    }

    pub fn stalled_since(&self) -> Option<Instant> {
        unimplemented!()
    }

    pub fn rtt(&self) -> &Rtt {
        unimplemented!()
    }

    pub fn loss(&self) -> f64 {
        unimplemented!()
    }

    /// The probe timeout with back-off (RFC 9002 §6.2.1).
    pub fn rto(&self) -> Duration {
        unimplemented!()
    }

    pub fn queued_bytes(&self) -> usize {
        unimplemented!()
    }

    pub fn queued_messages(&self) -> usize {
        unimplemented!()
    }

    pub fn memory_held(&self) -> usize {
        unimplemented!()
    }

    pub fn stats(&self) -> ChannelsStats {
        unimplemented!()
    }

    pub fn receive_quality(&self, channel: u8) -> ReceiveQuality {
        unimplemented!()
    }

    pub fn trim(&mut self) {
        unimplemented!()
    }

    /// Queues a message. `content` describes its compression.
    pub fn push(
        &mut self,
        channel: u8,
        message: &Bytes,
        content: FragmentFlags,
        now: Instant,
    ) -> Result<(), PushError> {
        unimplemented!()
    }

    /// Ends the own half of a reliable channel's stream after what is queued.
    pub fn finish(&mut self, channel: u8) -> Result<(), PushError> {
        unimplemented!()
    }

    /// Ends the own half of a reliable channel's stream at once: what is queued or unacknowledged is dropped.
    pub fn reset(&mut self, channel: u8, code: u16) -> Result<(), PushError> {
        unimplemented!()
    }

    /// The next thing the peer sent. Taking it raises the peer's credit.
    pub fn poll_delivery(&mut self) -> Option<Incoming> {
        unimplemented!()
    }

    /// Reliable messages not wholly acknowledged, of each channel the oldest first.
    pub fn undelivered(&self) -> impl Iterator<Item = Undelivered> + '_ {
        std::iter::empty()
    }

    /// Whether [`write_frames`](Self::write_frames) would write something now.
    pub fn has_outgoing(&self, quota: Quota) -> bool {
        unimplemented!()
    }

    /// Whether a probe timeout asks for a packet regardless of quota, with a PING if `write_frames` writes nothing.
    pub fn wants_probe(&self) -> bool {
        unimplemented!()
    }

    pub fn begin_packet(&mut self) {
        unimplemented!()
    }

    pub fn carry(&mut self, frame: ControlFrame) {
        unimplemented!()
    }

    /// The packet under construction carries an ACK frame with this largest number.
    pub fn carry_ack(&mut self, largest: u64) {
        unimplemented!()
    }

    /// The packet under construction carries a frame that is acknowledged and never repeated: PING, PATH_*, FEC.
    pub fn carry_ping(&mut self) {
        unimplemented!()
    }

    pub fn write_frames(&mut self, room: &mut [u8], quota: Quota, now: Instant) -> Written {
        unimplemented!()
    }

    /// Notes that the packet under construction was sealed as `number` and leaves in a datagram of `bytes` bytes.
    ///
    /// For every sealed packet, one with only ACK and PAD too (it takes no memory and is not in flight): so this knows
    /// which numbers the peer may acknowledge.
    pub fn packet_sent(&mut self, number: u64, bytes: usize, now: Instant) {
        unimplemented!()
    }

    /// The packet under construction was not sealed: what it carries goes back.
    pub fn abandon_packet(&mut self) {
        unimplemented!()
    }

    /// `number` is left out on purpose: an acknowledgement that names it is a [`Violation`].
    pub fn skip_number(&mut self, number: u64) {
        unimplemented!()
    }

    /// Everything in flight is sent again, without a congestion event: the path changed (PROTOCOL B6).
    pub fn requeue_in_flight(&mut self) {
        unimplemented!()
    }

    pub fn acknowledge(
        &mut self,
        largest: u64,
        delay: Duration,
        bitmap: &[u8],
        now: Instant,
        out: &mut Outcome,
    ) -> Result<(), Violation> {
        unimplemented!()
    }

    pub fn accept(&mut self, data: &Data<'_>, payload: Bytes, now: Instant) -> Result<(), Violation> {
        unimplemented!()
    }

    pub fn on_credit(&mut self, channel: u8, limit: u64) -> Result<(), Violation> {
        unimplemented!()
    }

    pub fn on_fin(&mut self, channel: u8, message: u32) -> Result<(), Violation> {
        unimplemented!()
    }

    pub fn on_reset(&mut self, channel: u8, message: u32, consumed: u64, code: u16) -> Result<(), Violation> {
        unimplemented!()
    }

    pub fn poll_control(&mut self) -> Option<(ControlFrame, Fate)> {
        unimplemented!()
    }

    pub fn on_packet(
        &mut self,
        number: u64,
        in_order: bool,
        ack_eliciting: bool,
        reliable: bool,
        now: Instant,
    ) {
        unimplemented!()
    }

    /// When an ACK must leave at the latest; not after now: at the end of this wake. `None`: none is owed.
    pub fn ack_due(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// The lowest number that the next ACK has to cover.
    pub fn ack_floor(&self) -> u64 {
        unimplemented!()
    }

    pub fn on_ack_written(&mut self, largest: u64) {
        unimplemented!()
    }

    /// Time since the largest number arrived.
    pub fn ack_delay(&self, now: Instant) -> Duration {
        unimplemented!()
    }

    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outcome) -> Result<(), GiveUp> {
        unimplemented!()
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }
}

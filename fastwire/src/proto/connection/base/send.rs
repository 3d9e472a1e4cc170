//! The way out: what is owed and what the channels hold, sealed into datagrams within the quota.

use std::time::Instant;

use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;
use fastwire_reliability::Outgoing;
use fastwire_wire::{ControlType, FragmentHeader, PacketFlags, PacketHeader, WIRE_OVERHEAD};

use super::Base;
use crate::observe::{Observed, PacketView};
use crate::proto::connection::common::{Common, Env};
use crate::proto::transmit::{DatagramBuilder, Framing, Packet, Refused, TransmitBuf};
use crate::{ConnectionError, ConnectionState};

/// The most bytes that a heartbeat or a probe takes, framing included.
const MAX_SMALL: u64 = 64;

/// The next packet of a connection.
#[derive(Debug)]
pub(super) enum Next {
    Control { kind: ControlType, channel: u8, ack: u32, field: u32 },
    Data(Outgoing),
}

impl<C: Cipher> Base<C> {
    /// Fills `buf` with datagrams that are due. Gives whether there may be more: the buffer was full.
    pub(in crate::proto::connection) fn transmit<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> bool {
        if common.state == ConnectionState::Disconnected {
            return false;
        }
        // Without keys nothing is taken from the channels: what is taken must leave.
        if self.session.is_none() && common.handshake.as_ref().is_none_or(|h| h.candidates.is_empty()) {
            return false;
        }
        let framing = self.framing(common);
        let max_datagram = self.path_mtu();
        let allowance = common.path.allowance();
        let mut builder = DatagramBuilder::new(buf, framing, max_datagram);
        let mut sent = 0u64;
        let mut more = false;
        while let Some(next) = self.next_within(common, allowance - sent, framing, now) {
            match self.write(common, &mut builder, &next, now) {
                Ok(Some(bytes)) => {
                    sent += bytes as u64;
                    self.on_packet_sent(common, next, bytes, now);
                }
                Ok(None) => {
                    self.put_back(next);
                    break;
                }
                Err(Refused::Full) => {
                    self.put_back(next);
                    more = true;
                    break;
                }
                Err(Refused::Keys) => {
                    common.fail(ConnectionError::Exhausted("keys"), now, env);
                    return false;
                }
            }
        }
        builder.finish();
        if !buf.is_empty() {
            common.on_transmit(buf.len() as u64, buf.segments() as u64, now);
        }
        more
    }

    /// The next packet that `room` bytes suffice for. What is too large for an address that has not proved itself
    /// waits; what is small leaves in its place, a probe among it, whose acknowledgement is the proof.
    fn next_within<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        room: u64,
        framing: Framing,
        now: Instant,
    ) -> Option<Next> {
        if room < MAX_SMALL {
            return None;
        }
        let next = self.next_packet(common, now)?;
        if self.datagram_len(&next, framing) <= room {
            return Some(next);
        }
        self.put_back(next);
        if let Some((channel, ack, field)) = self.channels.next_owed_ack(now) {
            return Some(Next::Control { kind: ControlType::Heartbeat, channel, ack, field });
        }
        let probe = common.path.take_probe().then(|| self.channels.next_probe(now))?;
        probe.map(Next::Data)
    }

    /// An upper bound of what a packet takes in a datagram of its own.
    fn datagram_len(&self, next: &Next, framing: Framing) -> u64 {
        let payload = match next {
            Next::Control { .. } => 1,
            Next::Data(out) => out.payload.len() + out.fragment.map_or(0, |_| FragmentHeader::LEN),
        };
        (framing.overhead() + WIRE_OVERHEAD + PacketHeader::MAX_LEN + payload) as u64
    }

    /// What leaves next: farewells alone once closing; else CONNECTED, the channels' packets (which carry
    /// acknowledgements), the acknowledgements nothing carried, and a heartbeat if still nothing left.
    fn next_packet<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
    ) -> Option<Next> {
        if common.owed.disconnect {
            return Some(self.control(ControlType::Disconnect));
        }
        if common.is_saying_farewell() {
            return None;
        }
        if common.owed.connected && self.session.is_some() {
            return Some(self.control(ControlType::Connected));
        }
        if let Some(next) = self.stash.take() {
            return Some(next);
        }
        if self.hold && self.session.is_none() {
            let probe = std::mem::take(&mut self.probe).then(|| self.channels.next_probe(now))?;
            return probe.map(Next::Data);
        }
        let quota = common.pressure.quota(&self.channels, self.path_mtu(), now);
        let held = common.send_cap.is_closed(now);
        if !held && let Some(outgoing) = self.channels.next_outgoing(now, quota) {
            return Some(Next::Data(outgoing));
        }
        if let Some((channel, ack, field)) = self.channels.next_owed_ack(now) {
            return Some(Next::Control { kind: ControlType::Heartbeat, channel, ack, field });
        }
        if common.owed.heartbeat && self.session.is_some() {
            return Some(self.control(ControlType::Heartbeat));
        }
        None
    }

    fn control(&mut self, kind: ControlType) -> Next {
        let (ack, field) = self.channels.header_ack(0);
        Next::Control { kind, channel: 0, ack, field }
    }

    /// Keeps a packet for the next train. What a flag in `owed` asks for is made afresh.
    fn put_back(&mut self, next: Next) {
        match next {
            Next::Control { kind: ControlType::Connected | ControlType::Disconnect, .. } => {}
            next => self.stash = Some(next),
        }
    }

    /// Seals one packet into the datagram under construction. `None`: there are no keys yet.
    fn write<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        builder: &mut DatagramBuilder<'_>,
        next: &Next,
        now: Instant,
    ) -> Result<Option<usize>, Refused> {
        let kind_byte;
        let packet = match next {
            Next::Control { kind, channel, ack, field } => {
                kind_byte = [kind.id()];
                let header = PacketHeader {
                    flags: PacketFlags::CONTROL,
                    channel: *channel,
                    sequence: 0,
                    ack: *ack,
                    ack_field: *field,
                };
                Packet { header, fragment: None, payload: &kind_byte }
            }
            Next::Data(out) => {
                let (ack, ack_field) = self.channels.header_ack(out.channel);
                let flags = if out.fragment.is_some() { PacketFlags::FRAGMENT } else { PacketFlags::EMPTY };
                let header =
                    PacketHeader { flags, channel: out.channel, sequence: out.sequence, ack, ack_field };
                Packet { header, fragment: out.fragment, payload: &out.payload }
            }
        };
        let session = match (&mut self.session, &mut common.handshake) {
            (Some(session), _) => Some(session),
            (None, Some(handshake)) => {
                handshake.candidates.last_mut().map(|candidate| &mut candidate.session)
            }
            (None, None) => None,
        };
        let Some(session) = session else { return Ok(None) };
        let bytes = builder.packet(&mut session.sealer, &packet)?;
        let Packet { header, fragment, payload } = packet;
        common.observe(now, || {
            let packet = PacketView::Base { header, fragment, payload };
            Observed::PacketSent { packet, bytes }
        });
        Ok(Some(bytes))
    }

    fn on_packet_sent<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        next: Next,
        bytes: usize,
        now: Instant,
    ) {
        common.send_cap.on_sent(bytes);
        common.counters.packets_sent += 1;
        common.owed.heartbeat = false;
        match next {
            Next::Data(outgoing) => {
                self.channels.mark_sent(&outgoing, bytes, now);
                if outgoing.reliable {
                    common.pressure.on_sent(&self.channels, bytes, now);
                }
            }
            Next::Control { kind: ControlType::Connected, .. } => self.on_connected_sent(common, now),
            Next::Control { kind: ControlType::Disconnect, .. } => {
                common.on_farewell_sent(self.channels.rto(), now)
            }
            Next::Control { .. } => {}
        }
    }
}

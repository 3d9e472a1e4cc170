//! Datagrams that cannot be part of a train: about another path, CONNECTED, a probe of the path's MTU, an ACK within a wake.

use std::time::Instant;

use fastwire_congestion::CongestionController;
use fastwire_crypto::extended::PN_LEN;
use fastwire_crypto::{Cipher, TAG_LEN};
use fastwire_reliability::extended::ControlFrame;
use fastwire_wire::extended::{Ack, Frame};

use super::packet::{Exhausted, sent};
use super::validation::{PATH_DATAGRAM, Way};
use super::{Extended, Ids};
use crate::ConnectionState;
use crate::proto::connection::common::{Common, Env};
use crate::proto::handshake::client::HandshakeDatagram;
use crate::proto::handshake::extended::connected_prefix;
use crate::proto::transmit::{Route, TransmitBuf};

/// The largest ACK.
const MAX_ACK: usize = 8 + 4 * Ack::MAX_WORDS;

impl<C: Cipher> Extended<C> {
    /// One datagram that cannot be part of a train.
    pub(super) fn transmit_special<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> Result<Option<Route>, Exhausted> {
        if let Some((way, token)) = self.echoes.pop() {
            self.write_path_frame(common, way, &Frame::PathResponse(token), now, buf, env)?;
            return Ok(Some(route(way)));
        }
        let (interval, allowance) = (self.channels.rto(), common.path.allowance());
        let challenge = self
            .moving
            .as_mut()
            .and_then(|moving| moving.next_challenge(allowance, interval, now, || env.entropy.bytes()));
        if let Some((way, token)) = challenge {
            self.write_path_frame(common, way, &Frame::PathChallenge(token), now, buf, env)?;
            return Ok(Some(route(way)));
        }
        if common.owed.connected || (self.greeting.is_some() && self.channels.wants_probe()) {
            common.owed.connected = false;
            if self.write_connected(common, now, buf, env)? {
                return Ok(Some(common.path.route()));
            }
        }
        if common.closing.is_none()
            && common.state == ConnectionState::Connected
            && let Some(size) = self.mtu.due(now).filter(|size| *size as u64 <= common.path.allowance())
        {
            self.write_mtu_probe(common, size, now, buf, env)?;
            return Ok(Some(common.path.route()));
        }
        Ok(None)
    }

    /// An acknowledgement that cannot wait for the end of the wake.
    pub(super) fn lone_ack<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        env: &mut Env<'_>,
    ) -> Option<HandshakeDatagram> {
        let mut buf = TransmitBuf::new(1);
        let size = self.header_len() + MAX_ACK + TAG_LEN;
        let size = usize::try_from(common.path.allowance()).map_or(size, |allowance| size.min(allowance));
        let mut plain = self.open_packet(&mut buf, size, env).ok()?;
        self.channels.begin_packet();
        self.put_ack(&mut plain, now);
        if plain.len == 0 {
            self.channels.abandon_packet();
            return None;
        }
        let len = self.header_len() + plain.len + TAG_LEN;
        self.seal(common, &mut buf, size, len, false, now).ok()?;
        let way = Way::current(&common.path);
        let bytes = buf.transmit(route(way)).contents.to_vec();
        common.on_transmit(bytes.len() as u64, 1, now);
        Some(HandshakeDatagram { socket: way.socket, remote: way.remote, source: way.source, bytes })
    }

    /// A datagram with one frame about a path, which goes wherever that path leads. Loss recovery does not know of it.
    fn write_path_frame<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        way: Way,
        frame: &Frame<'_>,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> Result<(), Exhausted> {
        let on_path = way.remote == common.path.remote;
        let sent = self.write_lone(common, frame, (PATH_DATAGRAM, None), now, buf, env)?;
        common.counters.packets_sent += 1;
        if on_path {
            common.on_transmit(sent as u64, 1, now);
        } else {
            common.counters.bytes_sent += sent as u64;
            common.counters.datagrams_sent += 1;
        }
        Ok(())
    }

    /// A packet of one frame that is not repeated, padded to `pad_to` bytes if that is more. Gives its bytes.
    fn write_lone<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        frame: &Frame<'_>,
        (pad_to, probe): (usize, Option<ControlFrame>),
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> Result<usize, Exhausted> {
        let size = pad_to.max(self.header_len() + frame.encoded_len(false) + TAG_LEN);
        // neither a probe of the MTU nor a packet about another path is part of a group
        self.with_fec(now, |fec| fec.close(now));
        let mut plain = self.open_packet(buf, size, env)?;
        plain.put(frame);
        plain.pad();
        self.channels.begin_packet();
        if let Some(probe) = probe {
            self.channels.carry(probe);
        }
        self.seal(common, buf, size, size, false, now)?;
        Ok(size)
    }

    /// CONNECTED: the bare prefix with the server's random number, then a short packet that begins with the frame.
    fn write_connected<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> Result<bool, Exhausted> {
        let Some(greeting) = &mut self.greeting else { return Ok(false) };
        greeting.last_sent = Some(now);
        let prefix = connected_prefix(&greeting.server_random);
        if let Some(fec) = &mut self.fec_out {
            fec.close(now);
        }
        let Ids::Issued(issued) = &self.ids else { return Ok(false) };
        let frame = Frame::Connected { params: env.config.extended.params, cid: issued.first() };
        self.skip_number(env);
        let size = prefix.len() + PN_LEN + frame.encoded_len(false) + TAG_LEN;
        let room = buf.open_datagram(size);
        let (head, packet) = room.split_at_mut_checked(prefix.len()).ok_or(Exhausted)?;
        head.copy_from_slice(&prefix);
        let body = packet.get_mut(PN_LEN..).unwrap_or_default();
        frame.encode(body, false).map_err(|_| Exhausted)?;
        self.channels.begin_packet();
        self.channels.carry(ControlFrame::Connected);
        let number = self.sealer.next_number();
        common.observe(now, || {
            sent(number, packet.get(..size - prefix.len()).unwrap_or_default(), PN_LEN, size)
        });
        let Ok(number) = self.sealer.seal(packet, 0) else {
            self.channels.abandon_packet();
            return Err(Exhausted);
        };
        buf.close_datagram(size);
        self.channels.packet_sent(number, size, now);
        common.pressure.on_sent(&self.channels, size, now);
        common.counters.packets_sent += 1;
        common.on_transmit(size as u64, 1, now);
        Ok(true)
    }

    fn write_mtu_probe<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        size: usize,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> Result<(), Exhausted> {
        let probe = ControlFrame::MtuProbe(size as u16);
        let sent = self.write_lone(common, &Frame::Ping, (size, Some(probe)), now, buf, env)?;
        self.mtu.on_probe_sent(size, self.grace(), now);
        common.counters.packets_sent += 1;
        common.on_transmit(sent as u64, 1, now);
        Ok(())
    }
}

fn route(way: Way) -> Route {
    Route { socket: way.socket, remote: way.remote, source: way.source }
}

//! The way out: frames into packets, packets sealed in place, within quota and allowance (PROTOCOL B4, B5).

use std::time::Instant;

use fastwire_congestion::CongestionController;
use fastwire_crypto::{Cipher, TAG_LEN};
use fastwire_reliability::Quota;
use fastwire_reliability::extended::ControlFrame;
use fastwire_wire::extended::Frame;

use super::control::disconnect;
use super::fec::RESERVED;
use super::packet::Exhausted;
use super::validation::PATH_DATAGRAM;
use super::{Extended, Ids};
use crate::proto::connection::common::{Common, Env};
use crate::proto::transmit::{Route, TransmitBuf};
use crate::{ConnectionError, ConnectionState};

/// A packet smaller than this is not worth an unproved address's allowance.
const MIN_DATAGRAM: usize = 64;

impl<C: Cipher> Extended<C> {
    /// Fills `buf` with datagrams that are due: those about other paths and CONNECTED one at a time, all others in trains.
    pub(in crate::proto::connection) fn transmit<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> (Option<Route>, bool) {
        if common.state == ConnectionState::Disconnected || self.awaits_verdict {
            return (None, false);
        }
        let sent = match self.transmit_special(common, now, buf, env) {
            Ok(Some(route)) => return (Some(route), true),
            Ok(None) => self.transmit_train(common, now, buf, env),
            Err(exhausted) => Err(exhausted),
        };
        let Ok(more) = sent else {
            common.fail(ConnectionError::Exhausted("keys"), now, env);
            return (None, false);
        };
        ((!buf.is_empty()).then(|| common.path.route()), more)
    }

    /// Datagrams of one size, as many as there is need and room for. Gives whether there may be more.
    fn transmit_train<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> Result<bool, Exhausted> {
        let mut allowance = usize::try_from(common.path.allowance()).unwrap_or(usize::MAX);
        if self.moving.as_ref().is_some_and(|moving| moving.active && !moving.proved) {
            // a lost challenge is to leave again, whatever data there is
            allowance = allowance.saturating_sub(PATH_DATAGRAM);
        }
        if self.write_parity(common, allowance, now, buf, env)? {
            return Ok(true);
        }
        let (mut more, mut lean) = (false, false);
        loop {
            let Some(size) = buf.room(self.mtu.current()) else {
                more = true;
                break;
            };
            let size = size.min(allowance);
            if size < MIN_DATAGRAM {
                break;
            }
            let sent = match lean {
                true => self.write_data_packet(common, size, now, buf, env)?,
                false => self.write_packet(common, size, now, buf, env)?,
            };
            if sent == 0 {
                // what does not fit into the packets of this train may fit into those of another
                more = buf.is_natural(self.mtu.current()) && self.has_data(common, now);
                break;
            }
            allowance -= sent;
            if self.fec_out.as_ref().is_some_and(|fec| fec.is_due()) {
                // a group is full: its parity is longer than what this train carries
                more = true;
                break;
            }
            // what else was due is in the first
            lean = lean || self.only_data(common, now);
        }
        let all = !more;
        if all && self.fec_out.is_some() {
            self.with_fec(now, |fec| fec.end_flush(now));
            more = self.fec_out.as_ref().is_some_and(|fec| fec.is_due());
            if buf.is_empty() {
                return if more { self.write_parity(common, allowance, now, buf, env) } else { Ok(false) };
            }
        }
        if !buf.is_empty() {
            common.on_transmit(buf.len() as u64, buf.segments() as u64, now);
            if all && !self.channels.has_outgoing(Quota::UNLIMITED) {
                common.pressure.on_app_limited(&self.channels, now);
            }
        }
        Ok(more)
    }

    /// Writes one packet of at most `size` bytes with what is due. Gives its bytes; 0: nothing is due.
    fn write_packet<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        size: usize,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> Result<usize, Exhausted> {
        let farewell = common.owed.disconnect;
        let silent = common.is_saying_farewell();
        let quota = common.pressure.quota(&self.channels, self.mtu.current(), now);
        self.channels.hold(common.send_cap.is_closed(now));
        let ack = self.channels.ack_due();
        let probe = !silent && self.channels.wants_probe();
        let data = !silent && (probe || self.channels.has_outgoing(quota));
        let ping = !silent && common.owed.heartbeat;
        let new_id = if silent { None } else { self.owed_id() };
        let ack_now = ack.is_some_and(|due| due <= now);
        let answer = ack_now && !silent && self.channels.wants_answer();
        let time =
            !silent && (!self.asked.is_empty() || self.clock.as_ref().is_some_and(|clock| clock.due(now)));
        if !(farewell || ack_now || data || ping || time || new_id.is_some()) {
            return Ok(0);
        }
        let (header, first) = (self.header_len(), buf.is_empty());
        let mut plain = self.open_packet(buf, size, env)?;
        if self.fec_out.as_ref().is_some_and(|fec| fec.is_on()) {
            plain.reserve(RESERVED);
        }
        self.channels.begin_packet();
        if ack.is_some() {
            self.put_ack(&mut plain, now);
        }
        let mut eliciting = time && self.put_time(&mut plain, now, env);
        if farewell {
            plain.put(&Frame::Disconnect(disconnect(common)));
            self.channels.carry(ControlFrame::Disconnect);
        }
        if let Some((sequence, cid)) = new_id
            && plain.put(&Frame::NewCid { sequence, cid })
        {
            self.channels.carry(ControlFrame::NewCid(sequence));
            if let Ids::Issued(issued) = &mut self.ids {
                issued.set_owed(sequence, false);
            }
            eliciting = true;
        }
        let mut protect = false;
        if data {
            let written = self.channels.write_frames(plain.rest(), quota, now);
            plain.len += written.len;
            eliciting |= written.ack_eliciting;
            protect = written.len > 0;
            if written.full && !(first && written.even && plain.is_roomy()) {
                plain.pad();
            }
        }
        if (ping || probe || answer) && !eliciting && plain.put(&Frame::Ping) {
            self.channels.carry_ping();
            eliciting = true;
        }
        if plain.len == 0 {
            self.channels.abandon_packet();
            return Ok(0);
        }
        let len = header + plain.len + TAG_LEN;
        self.seal(common, buf, size, len, protect, now)?;
        if eliciting {
            common.owed.heartbeat = false;
            common.pressure.on_sent(&self.channels, len, now);
        }
        common.send_cap.on_sent(len);
        common.counters.packets_sent += 1;
        if farewell {
            common.on_farewell_sent(self.channels.rto(), now);
        }
        Ok(len)
    }

    /// Whether the channels have something that may leave now.
    fn has_data<G: CongestionController>(&mut self, common: &mut Common<C, G>, now: Instant) -> bool {
        let quota = common.pressure.quota(&self.channels, self.mtu.current(), now);
        !common.is_saying_farewell() && self.channels.has_outgoing(quota)
    }

    /// Whether nothing is due but what the channels have: so it stays as long as the clock stands still and nothing arrives.
    fn only_data<G: CongestionController>(&self, common: &Common<C, G>, now: Instant) -> bool {
        !common.is_saying_farewell()
            && !common.owed.heartbeat
            && !self.fec_out.as_ref().is_some_and(|fec| fec.is_on())
            && self.channels.ack_due().is_none()
            && !self.channels.wants_probe()
            && self.owed_id().is_none()
            && self.asked.is_empty()
            && !self.clock.as_ref().is_some_and(|clock| clock.due(now))
    }

    /// As [`write_packet`](Self::write_packet) where [`only_data`](Self::only_data) holds.
    fn write_data_packet<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        size: usize,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> Result<usize, Exhausted> {
        let quota = common.pressure.quota(&self.channels, self.mtu.current(), now);
        self.channels.hold(common.send_cap.is_closed(now));
        if !self.channels.has_outgoing(quota) {
            return Ok(0);
        }
        let (header, first) = (self.header_len(), buf.is_empty());
        let mut plain = self.open_packet(buf, size, env)?;
        self.channels.begin_packet();
        let written = self.channels.write_frames(plain.rest(), quota, now);
        plain.len = written.len;
        if written.full && !(first && written.even && plain.is_roomy()) {
            plain.pad();
        }
        if plain.len == 0 {
            self.channels.abandon_packet();
            return Ok(0);
        }
        let len = header + plain.len + TAG_LEN;
        self.seal(common, buf, size, len, false, now)?;
        if written.ack_eliciting {
            common.pressure.on_sent(&self.channels, len, now);
        }
        common.send_cap.on_sent(len);
        common.counters.packets_sent += 1;
        Ok(len)
    }
}

//! The way out of parity: trains of its own, within quota and caps like everything else.

use std::time::Instant;

use fastwire_congestion::CongestionController;
use fastwire_crypto::{Cipher, TAG_LEN};
use fastwire_reliability::Quota;
use fastwire_wire::extended::Frame;

use super::Outgoing;
use crate::proto::connection::common::{Common, Env};
use crate::proto::connection::extended::Extended;
use crate::proto::connection::extended::packet::Exhausted;
use crate::proto::transmit::TransmitBuf;

impl<C: Cipher> Extended<C> {
    /// Parity that is due, as a train of its own: it is longer than what it stands for. Gives whether there was some. It leaves
    /// within quota and caps like everything else; what cannot leave soon is dropped.
    pub(in crate::proto::connection::extended) fn write_parity<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        allowance: usize,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> Result<bool, Exhausted> {
        let patience = self.channels.rtt().smoothed();
        let Some(plain) = self.fec_out.as_mut().and_then(|fec| fec.due(patience, now)) else {
            self.with_fec(now, |_| ());
            return Ok(false);
        };
        let size = self.header_len() + plain + TAG_LEN;
        if size > self.mtu.current().min(allowance)
            || common.is_saying_farewell()
            || common.send_cap.is_closed(now)
        {
            self.with_fec(now, |fec| fec.drop_due());
            return Ok(false);
        }
        let mut allowance = allowance;
        while size <= allowance
            && self.fec_out.as_ref().is_some_and(|fec| fec.is_due())
            && buf.room(size).is_some_and(|room| room >= size)
            && common.pressure.quota(&self.channels, size, now).is_open()
        {
            let mut plain = self.open_packet(buf, size, env)?;
            let Some(parity) = self.fec_out.as_mut().and_then(|fec| fec.next()) else { break };
            plain.put(&Frame::Fec(parity.frame));
            let (group, last) = (parity.group, parity.last);
            self.channels.begin_packet();
            self.channels.carry_ping();
            let number = self.seal(common, buf, size, size, false, now)?;
            if last {
                self.channels.parity_sent(group, number, now);
            }
            common.pressure.on_sent(&self.channels, size, now);
            common.send_cap.on_sent(size);
            common.counters.packets_sent += 1;
            allowance -= size;
        }
        if buf.is_empty() {
            return Ok(false);
        }
        common.on_transmit(buf.len() as u64, buf.segments() as u64, now);
        if !self.channels.has_outgoing(Quota::UNLIMITED) {
            common.pressure.on_app_limited(&self.channels, now);
        }
        Ok(true)
    }

    /// Does something with our forward error correction, then says to loss recovery what it is to wait for.
    pub(in crate::proto::connection::extended) fn with_fec<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Outgoing) -> T,
    ) {
        let Some(fec) = &mut self.fec_out else { return };
        act(fec);
        match fec.awaited() {
            Some(base) => self.channels.await_parity(base, now),
            None => self.channels.no_parity(now),
        }
    }
}

//! The way out: frames into packets, packets sealed in place, within quota and allowance (PROTOCOL B4, B5).

use std::time::Instant;

use fastwire_congestion::CongestionController;
use fastwire_crypto::extended::PN_LEN;
use fastwire_crypto::{Cipher, TAG_LEN};
use fastwire_reliability::Quota;
use fastwire_reliability::extended::ControlFrame;
use fastwire_wire::extended::{Ack, Disconnect, Frame};

use super::fec::RESERVED;
use super::validation::{PATH_DATAGRAM, Way};
use super::{Extended, Ids, skip_after};
use crate::observe::{Observed, PacketView};
use crate::proto::connection::common::{Common, Env};
use crate::proto::handshake::client::HandshakeDatagram;
use crate::proto::handshake::extended::connected_prefix;
use crate::proto::transmit::{Route, TransmitBuf};
use crate::proto::veil::mask_id;
use crate::{ConnectionError, ConnectionState, DisconnectReason};

/// A packet smaller than this is not worth an unproved address's allowance.
const MIN_DATAGRAM: usize = 64;

/// The largest ACK.
const MAX_ACK: usize = 8 + 4 * Ack::MAX_WORDS;

/// The largest text of a DISCONNECT.
const MAX_TEXT: usize = 255;

/// Room that is left in the first packet of a train, because equal messages do not fill it, is left out of all of them if it
/// is more than this.
const ROOMY: usize = 96;

/// The keys are used up.
struct Exhausted;

/// Frames of one packet under construction.
struct Plain<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl Plain<'_> {
    /// Puts a frame that others follow, if it fits.
    fn put(&mut self, frame: &Frame<'_>) -> bool {
        let put = frame.encode(self.rest(), false);
        self.len += *put.as_ref().unwrap_or(&0);
        put.is_ok()
    }

    fn rest(&mut self) -> &mut [u8] {
        self.room.get_mut(self.len..).unwrap_or_default()
    }

    /// Whether so much room is left that a train of smaller packets pays.
    fn is_roomy(&self) -> bool {
        self.len > 0 && self.room.len() - self.len >= ROOMY
    }

    /// Leaves so many bytes free.
    fn reserve(&mut self, bytes: usize) {
        let room = std::mem::take(&mut self.room);
        let len = room.len().saturating_sub(bytes);
        self.room = room.get_mut(..len).unwrap_or_default();
    }

    /// Fills the packet up with PAD frames.
    fn pad(&mut self) {
        self.rest().fill(0);
        self.len = self.room.len();
    }
}

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

    /// One datagram that cannot be part of a train.
    fn transmit_special<G: CongestionController>(
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

    /// Parity that is due, as a train of its own: it is longer than what it stands for. Gives whether there was some. It leaves
    /// within quota and caps like everything else; what cannot leave soon is dropped.
    fn write_parity<G: CongestionController>(
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
    pub(super) fn with_fec<T>(&mut self, now: Instant, act: impl FnOnce(&mut super::fec::Outgoing) -> T) {
        let Some(fec) = &mut self.fec_out else { return };
        act(fec);
        match fec.awaited() {
            Some(base) => self.channels.await_parity(base, now),
            None => self.channels.no_parity(now),
        }
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

    /// Room for the frames of a packet of at most `size` bytes, its id written before it.
    fn open_packet<'b>(
        &mut self,
        buf: &'b mut TransmitBuf,
        size: usize,
        env: &mut Env<'_>,
    ) -> Result<Plain<'b>, Exhausted> {
        self.skip_number(env);
        let room = buf.open_datagram(size);
        let (head, body) = room.split_at_mut_checked(self.header_len()).ok_or(Exhausted)?;
        if let Ids::Given(given) = &self.ids {
            head.get_mut(..given.current.len()).ok_or(Exhausted)?.copy_from_slice(&given.current);
        }
        let room = body.len().saturating_sub(TAG_LEN);
        Ok(Plain { room: body.get_mut(..room).unwrap_or_default(), len: 0 })
    }

    /// Seals the datagram just opened, whose packet has `len` bytes, and enters it in the books of loss recovery. `protect`: parity
    /// is to stand for it.
    fn seal<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        buf: &mut TransmitBuf,
        size: usize,
        len: usize,
        protect: bool,
        now: Instant,
    ) -> Result<u64, Exhausted> {
        let id_len = self.header_len() - PN_LEN;
        let packet = buf.open_datagram(size).get_mut(..len).ok_or(Exhausted)?;
        let number = self.sealer.next_number();
        common.observe(now, || sent(number, packet, id_len + PN_LEN, len));
        if let Some(fec) = &mut self.fec_out {
            let plain = packet.get(id_len + PN_LEN..len - TAG_LEN).unwrap_or_default();
            fec.on_packet(number, plain, protect, now);
            if let Some(base) = fec.awaited() {
                self.channels.await_parity(base, now);
            }
        }
        let Ok(number) = self.sealer.seal(packet, id_len) else {
            self.channels.abandon_packet();
            return Err(Exhausted);
        };
        if let Some(veil) = self.veil.as_ref().filter(|_| id_len > 0) {
            mask_id(veil, packet);
        }
        buf.close_datagram(len);
        self.channels.packet_sent(number, len, now);
        Ok(number)
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

    /// A question about the time, or answers. They are not repeated: a lost one is asked again soon enough.
    fn put_time(&mut self, plain: &mut Plain<'_>, now: Instant, env: &Env<'_>) -> bool {
        let mut put = false;
        let time = u64::try_from(env.uptime.as_micros()).unwrap_or(u64::MAX);
        for mark in self.asked.drain(..) {
            put |= plain.put(&Frame::Time { mark, time });
        }
        if let Some(clock) = self.clock.as_mut().filter(|clock| clock.due(now)) {
            let mark = clock.ask(now, env.uptime);
            put |= plain.put(&Frame::TimeAsk { mark });
        }
        if put {
            self.channels.carry_ping();
        }
        put
    }

    /// ACK, straight from the replay window: everything since what the peer knows we know.
    fn put_ack(&mut self, plain: &mut Plain<'_>, now: Instant) {
        let window = self.opener.window();
        let largest = window.highest();
        let words = (largest.saturating_sub(self.channels.ack_floor())).div_ceil(32);
        let words = usize::try_from(words).unwrap_or(Ack::MAX_WORDS).clamp(1, Ack::MAX_WORDS);
        let mut bitmap = [0; 4 * Ack::MAX_WORDS];
        let mut len = 4;
        for (index, bytes) in bitmap.chunks_exact_mut(4).take(words).enumerate() {
            let Some(below) = largest.checked_sub(32 * index as u64) else { break };
            let word = window.seen_below(below);
            bytes.copy_from_slice(&word.to_le_bytes());
            if word != 0 {
                len = 4 * (index + 1);
            }
        }
        let delay = self.channels.ack_delay(now).as_micros() / 500;
        let ack = Ack {
            largest: largest as u32,
            delay: delay.min(255) as u8,
            recovered: self.fec_in.recovered() as u8,
            bitmap: bitmap.get(..len).unwrap_or_default(),
        };
        if plain.put(&Frame::Ack(ack)) {
            self.channels.carry_ack(largest);
            self.channels.on_ack_written(largest);
            self.unacknowledged = 0;
        }
    }

    /// Leaves a number out where it is time to.
    fn skip_number(&mut self, env: &mut Env<'_>) {
        let number = self.sealer.next_number();
        if number >= self.next_skip {
            self.sealer.skip();
            self.channels.skip_number(number);
            self.next_skip = skip_after(number, env.entropy);
        }
    }

    fn owed_id(&self) -> Option<(u32, super::Cid)> {
        match &self.ids {
            Ids::Issued(issued) => issued.owed(),
            Ids::Given(_) => None,
        }
    }

    fn header_len(&self) -> usize {
        match &self.ids {
            Ids::Issued(_) => PN_LEN,
            Ids::Given(given) => given.current.len() + PN_LEN,
        }
    }
}

/// A packet about to be sealed as an observer sees it. `header`: its id and number; `bytes`: of its datagram.
fn sent(number: u64, packet: &[u8], header: usize, bytes: usize) -> Observed<'_> {
    let frames = packet.get(header..packet.len().saturating_sub(TAG_LEN)).unwrap_or_default();
    Observed::PacketSent { packet: PacketView::Extended { number, frames }, bytes }
}

fn route(way: Way) -> Route {
    Route { socket: way.socket, remote: way.remote, source: way.source }
}

/// What the peer is told of the end.
fn disconnect<C, G>(common: &Common<C, G>) -> Disconnect<'_> {
    let reason = common.closing.as_ref().map_or(DisconnectReason::Graceful, |closing| closing.reason);
    let farewell = &common.farewell;
    let mut end = farewell.text.len().min(MAX_TEXT);
    while !farewell.text.is_char_boundary(end) {
        end -= 1;
    }
    let message = farewell.text.get(..end).unwrap_or_default();
    let reason = super::reason_code(reason, farewell.fault);
    Disconnect { reason, code: farewell.code, message }
}

//! The way in: open, read frames, mark what is owed. Sends nothing.

use std::ops::Range;
use std::time::Instant;

use fastwire_congestion::CongestionController;
use fastwire_crypto::{Cipher, OpenError};
use fastwire_wire::CONTROL_PREFIX;
use fastwire_wire::extended::{Ack, Frame, Frames, Params};

use super::validation::{Move, Verdict, Way};
use super::{Extended, Ids, grace, id_len};
use crate::observe::{Observed, PacketView};
use crate::proto::Side;
use crate::proto::connection::common::{Change, Common, Env, Farewell};
use crate::proto::handshake::extended::CONNECTED_PREFIX;
use crate::transport::RecvMeta;
use crate::{ConnectionError, ConnectionState, DisconnectReason, Profile};

/// An ACK covers 1024 numbers: a wake that brings more packets than this is acknowledged while it lasts (PROTOCOL B5).
const MAX_UNACKNOWLEDGED: u32 = 512;

/// A packet that opened.
struct Opened {
    /// Of its datagram.
    bytes: u64,
    number: u64,
    /// It is the one after the highest before it.
    in_order: bool,
    newest: bool,
    /// The id it came under (server).
    cid: Option<super::Cid>,
}

/// How a packet came to be read.
#[derive(Debug, Clone, Copy)]
enum Origin {
    /// It opened, under this number.
    Opened(u64),
    /// It was made of others and their parity.
    Recovered,
}

/// What kinds of frames a packet held, as far as its acknowledgement is concerned.
#[derive(Default)]
struct Held {
    eliciting: bool,
    reliable: bool,
}

impl<C: Cipher> Extended<C> {
    /// Takes a datagram that may be for this connection, where it lies. Gives whether it was.
    pub(in crate::proto::connection) fn receive<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        datagram: &mut [u8],
        env: &mut Env<'_>,
    ) -> bool {
        // A repeated CONNECTED carries its packet behind the bare prefix.
        let is_connected = datagram.starts_with(&CONTROL_PREFIX) && common.side == Side::Client;
        let start = if is_connected { CONNECTED_PREFIX } else { 0 };
        let id_len = id_len(common.side);
        let cid = (id_len > 0).then(|| datagram.first_chunk().copied()).flatten();
        let expected = self.opener.highest().map_or(0, |highest| highest + 1);
        let packet = datagram.get_mut(start..).unwrap_or_default();
        match self.opener.open(packet, id_len) {
            Ok(opened) => {
                let Range { start: from, end: to } = opened.range;
                let (number, newest) = (opened.number, opened.newest);
                let bytes = datagram.len() as u64;
                let opened = Opened { bytes, number, in_order: number == expected, newest, cid };
                let plain = datagram.get(start + from..start + to).unwrap_or_default();
                self.on_opened(common, now, meta, plain, &opened, env);
                true
            }
            Err(error) => {
                let (replayed, bytes) = (matches!(error, OpenError::Replayed { .. }), datagram.len());
                common.observe(now, || Observed::PacketDropped { replayed, bytes });
                match error {
                    OpenError::Replayed { .. } => common.counters.replayed += 1,
                    _ => common.counters.forged += 1,
                }
                if matches!(error, OpenError::LimitReached { .. }) {
                    common.give_up_keys(now, env);
                }
                false
            }
        }
    }

    /// Client: takes the CONNECTED that won the handshake, opened by it.
    pub(super) fn receive_won<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        datagram: &[u8],
        (plain, number): (Range<usize>, u64),
        env: &mut Env<'_>,
    ) {
        let bytes = datagram.len() as u64;
        let opened = Opened { bytes, number, in_order: number == 0, newest: true, cid: None };
        let plain = datagram.get(plain).unwrap_or_default();
        self.on_opened(common, now, meta, plain, &opened, env);
    }

    fn on_opened<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        plain: &[u8],
        opened: &Opened,
        env: &mut Env<'_>,
    ) {
        common.on_heard(now, opened.bytes);
        common.counters.packets_received += 1;
        common.observe(now, || {
            let packet = PacketView::Extended { number: opened.number, frames: plain };
            Observed::PacketReceived { packet, bytes: opened.bytes as usize }
        });
        if common.state == ConnectionState::Connecting && is_replaced(plain) {
            // It goes on with another handshake of its own, and the application never hears of this one.
            return common.end(DisconnectReason::Replaced, env);
        }
        if common.state == ConnectionState::Connecting && !self.awaits_verdict {
            common.establish(Profile::Extended, now, env);
            self.issue_ids(env);
        }
        if common.side == Side::Server {
            self.follow(common, now, meta, opened, env);
        }
        let mut held = Held::default();
        match self.take_frames(common, now, meta, (plain, Origin::Opened(opened.number)), &mut held, env) {
            Ok(()) => {
                self.fec_in.on_packet(opened.number, plain);
                self.channels.on_packet(opened.number, opened.in_order, held.eliciting, held.reliable, now);
                self.unacknowledged += u32::from(held.eliciting);
                if self.unacknowledged >= MAX_UNACKNOWLEDGED {
                    let ack = self.lone_ack(common, now, env);
                    env.changes.extend(ack.map(Change::Datagram));
                }
            }
            Err(what) => common.fail(ConnectionError::Protocol(what), now, env),
        }
        self.take_recovered(common, now, meta, env);
        if let Some(reason) = self.leaving.take() {
            if let Some(datagram) = self.lone_ack(common, now, env) {
                env.changes.push(Change::Datagram(datagram));
            }
            common.on_told(reason, env);
        }
    }

    /// Takes lost packets that were made of parity as if they had come now, from nowhere. Each once: it enters the window.
    fn take_recovered<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        env: &mut Env<'_>,
    ) {
        while let Some((number, plain)) = self.fec_in.next() {
            if common.is_saying_farewell() || !self.opener.enter(number) {
                continue;
            }
            self.fec_in.count();
            common.observe(now, || {
                let packet = PacketView::Extended { number, frames: &plain };
                Observed::PacketRecovered { packet }
            });
            let mut held = Held::default();
            match self.take_frames(common, now, meta, (&plain, Origin::Recovered), &mut held, env) {
                Ok(()) => self.channels.on_packet(number, false, held.eliciting, held.reliable, now),
                Err(what) => common.fail(ConnectionError::Protocol(what), now, env),
            }
        }
    }

    fn take_frames<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        (plain, origin): (&[u8], Origin),
        held: &mut Held,
        env: &mut Env<'_>,
    ) -> Result<(), String> {
        let mut frames = Frames::new(plain).map_err(|error| error.to_string())?;
        loop {
            while let Some(data) = frames.next_data() {
                let data = data.map_err(|error| error.to_string())?;
                held.eliciting = true;
                held.reliable |= self.channels.layout().mode(data.channel).is_some_and(|m| m.is_reliable());
                let keep = &mut |bytes: &[u8]| env.pool.copy(bytes).freeze();
                self.channels.accept(&data, now, keep).map_err(|v| v.to_string())?;
            }
            let Some(frame) = frames.next() else { break };
            frames.skip_padding();
            let frame = frame.map_err(|error| error.to_string())?;
            held.eliciting |= frame.is_ack_eliciting();
            held.reliable |= frame.is_ack_eliciting();
            match frame {
                Frame::Pad | Frame::Ping => {}
                // what a packet says of the path and of other packets holds only where it came itself (PROTOCOL B5, FEC)
                Frame::Ack(_) | Frame::PathChallenge(_) | Frame::PathResponse(_) | Frame::Fec(_)
                    if matches!(origin, Origin::Recovered) => {}
                Frame::Fec(parity) => {
                    if let Origin::Opened(number) = origin {
                        self.fec_in.on_parity(&parity, number)?;
                    }
                }
                Frame::Ack(ack) => self.take_ack(common, now, &ack, env)?,
                Frame::Credit { channel, limit } => {
                    self.channels.on_credit(channel, limit).map_err(|v| v.to_string())?;
                }
                Frame::Fin { channel, message } => {
                    self.channels.on_fin(channel, message).map_err(|v| v.to_string())?;
                }
                Frame::Reset { channel, message, consumed, code } => {
                    self.channels.on_reset(channel, message, consumed, code).map_err(|v| v.to_string())?;
                }
                Frame::PathChallenge(token) => self.echoes.push(Way::of(meta), token),
                Frame::PathResponse(token) => self.take_path_response(common, now, meta, token, env),
                Frame::NewCid { sequence, cid } => self.take_new_id(sequence, cid)?,
                // the handshake has taken what it says
                Frame::Connected { .. } if matches!(self.ids, Ids::Given(_)) => {}
                Frame::Disconnect(end) => {
                    let reason = super::reason_of(end.reason);
                    self.told = Farewell { code: end.code, text: end.message.to_owned(), fault: None };
                    self.leaving = Some(reason);
                    // it is acknowledged once, though it elicits nothing
                    held.eliciting = true;
                    held.reliable = true;
                }
                Frame::TimeAsk { mark } if self.answers_time(env) => {
                    if self.asked.len() == super::MAX_ASKED {
                        self.asked.remove(0);
                    }
                    self.asked.push(mark);
                }
                Frame::Time { mark, time } if self.clock.is_some() => {
                    if let Some(clock) = &mut self.clock {
                        clock.on_answer(mark, time, env.uptime);
                    }
                }
                _ => return Err(format!("a frame was not agreed on: {frame:?}")),
            }
        }
        Ok(())
    }

    fn take_ack<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        ack: &Ack<'_>,
        env: &mut Env<'_>,
    ) -> Result<(), String> {
        // its low 32 bits travel; nothing beyond what was sent can be meant
        let newest =
            self.sealer.next_number().checked_sub(1).ok_or("an acknowledgement before any packet")?;
        let back = u64::from((newest as u32).wrapping_sub(ack.largest));
        let unsent = || format!("packet {} was acknowledged and never sent", ack.largest);
        let largest = newest.checked_sub(back).filter(|_| back < 1 << 31).ok_or_else(unsent)?;
        env.outcome.clear();
        let delay = std::time::Duration::from_micros(u64::from(ack.delay) * 500);
        self.channels
            .acknowledge(largest, delay, ack.bitmap, now, env.outcome)
            .map_err(|violation| violation.to_string())?;
        if let Some(fec) = &mut self.fec_out {
            let (arrived, lost) = (env.outcome.newly_acked_packets, env.outcome.lost_packets);
            let rise = fec.on_acked(arrived, lost, env.outcome.spurious, ack.recovered);
            if rise > 0 {
                self.channels.on_recovered(rise, now, env.outcome);
            }
        }
        common.on_outcome(&self.channels, env.outcome, now);
        self.look_for_black_hole(common, env.outcome, now);
        self.take_controls(common, now, env);
        Ok(())
    }

    /// Server: whether the client may ask for the time.
    fn answers_time(&self, env: &Env<'_>) -> bool {
        let agreed = env.config.extended.params.flags & self.peer.flags & Params::CLOCK != 0;
        agreed && matches!(self.ids, Ids::Issued(_))
    }

    fn take_new_id(&mut self, sequence: u32, cid: super::Cid) -> Result<(), String> {
        match &mut self.ids {
            Ids::Given(given) => {
                given.add(sequence, cid).then_some(()).ok_or("more connection ids than may be held".into())
            }
            Ids::Issued(_) => Err("a connection id from a client".into()),
        }
    }

    /// Server: a packet from elsewhere begins a move; a packet from where a move leads adds to its allowance.
    fn follow<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        opened: &Opened,
        env: &mut Env<'_>,
    ) {
        let bytes = opened.bytes;
        let channels = &self.channels;
        let deliberate = match (&mut self.ids, opened.cid) {
            (Ids::Issued(issued), Some(cid)) => issued.on_used(cid, || grace(channels), now),
            _ => false,
        };
        if deliberate {
            self.issue_ids(env);
        }
        if let Some(moving) = self.moving.as_mut().filter(|moving| moving.to.remote == meta.remote) {
            moving.on_received(bytes);
        }
        if meta.remote == common.path.remote {
            common.path.on_received(bytes);
            common.path.source = meta.local;
            return;
        }
        let under_way = self.moving.as_ref().is_some_and(|m| m.to.remote == meta.remote && !m.proved);
        if !opened.newest || under_way || !common.path.may_move(now) {
            return;
        }
        let (from, to) = (Way::current(&common.path), Way::of(meta));
        let moving = Move::new(from, to, !deliberate, bytes, grace(&self.channels), now);
        if moving.active {
            common.path.move_to(to.socket, to.remote, bytes, now);
            common.path.source = to.source;
            common.on_migrated(now);
            self.channels.requeue_in_flight();
        }
        self.moving = Some(Box::new(moving));
    }

    fn take_path_response<G: CongestionController>(
        &mut self,
        common: &mut Common<C, G>,
        now: Instant,
        meta: &RecvMeta,
        token: super::validation::Token,
        env: &mut Env<'_>,
    ) {
        let Some(moving) = &mut self.moving else { return };
        let (from, to, active, port_only) = (moving.from, moving.to, moving.active, moving.port_only);
        match moving.on_response(token, Way::of(meta), now) {
            Verdict::Nothing => {}
            Verdict::Move(took) => {
                if !active {
                    common.path.move_to(to.socket, to.remote, 0, now);
                    common.path.source = to.source;
                    common.on_migrated(now);
                    self.channels.requeue_in_flight();
                }
                if !port_only {
                    self.channels.reset_rtt();
                    // RFC 9002 §6.2.2
                    self.channels.seed_rtt(took, now);
                    self.mtu.reset(now);
                    common.on_other_network(self.mtu.current(), env.config, now);
                }
                common.path.prove();
            }
            Verdict::Stay => {
                let moved = active || moving.proved;
                self.moving = None;
                if moved {
                    common.path.settle_on(from.socket, from.remote, from.source);
                    self.channels.requeue_in_flight();
                }
            }
        }
    }
}

/// Whether a client's packet does nothing but give up a handshake for another one (PROTOCOL B2).
fn is_replaced(plain: &[u8]) -> bool {
    let first = Frames::new(plain).ok().and_then(|mut frames| frames.next());
    matches!(first, Some(Ok(Frame::Disconnect(end))) if end.reason == super::REPLACED)
}

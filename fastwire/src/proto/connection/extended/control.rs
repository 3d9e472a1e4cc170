//! Control frames as they are put into a packet: ACK, TIME and TIME_ASK, what DISCONNECT says, the id that is owed.

use std::time::Instant;

use fastwire_crypto::Cipher;
use fastwire_wire::extended::{Ack, Disconnect, Frame};

use super::packet::Plain;
use super::{Cid, Extended, Ids};
use crate::DisconnectReason;
use crate::proto::connection::common::{Common, Env};

/// The largest text of a DISCONNECT.
const MAX_TEXT: usize = 255;

impl<C: Cipher> Extended<C> {
    /// ACK, straight from the replay window: everything since what the peer knows we know.
    pub(super) fn put_ack(&mut self, plain: &mut Plain<'_>, now: Instant) {
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

    /// A question about the time, or answers. They are not repeated: a lost one is asked again soon enough.
    pub(super) fn put_time(&mut self, plain: &mut Plain<'_>, now: Instant, env: &Env<'_>) -> bool {
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

    pub(super) fn owed_id(&self) -> Option<(u32, Cid)> {
        match &self.ids {
            Ids::Issued(issued) => issued.owed(),
            Ids::Given(_) => None,
        }
    }
}

/// What the peer is told of the end.
pub(super) fn disconnect<C, G>(common: &Common<C, G>) -> Disconnect<'_> {
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

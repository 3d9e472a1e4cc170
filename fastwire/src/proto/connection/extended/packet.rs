//! One packet under construction: room for its frames, its seal, and its entry in the books.

use std::time::Instant;

use fastwire_congestion::CongestionController;
use fastwire_crypto::extended::PN_LEN;
use fastwire_crypto::{Cipher, TAG_LEN};
use fastwire_wire::extended::Frame;

use super::{Extended, Ids, skip_after};
use crate::observe::{Observed, PacketView};
use crate::proto::connection::common::{Common, Env};
use crate::proto::transmit::TransmitBuf;
use crate::proto::veil::mask_id;

/// Room that is left in the first packet of a train, because equal messages do not fill it, is left out of all of them if it
/// is more than this.
const ROOMY: usize = 96;

/// The keys are used up.
pub(super) struct Exhausted;

/// Frames of one packet under construction.
pub(super) struct Plain<'a> {
    room: &'a mut [u8],
    pub(super) len: usize,
}

impl Plain<'_> {
    /// Puts a frame that others follow, if it fits.
    pub(super) fn put(&mut self, frame: &Frame<'_>) -> bool {
        let put = frame.encode(self.rest(), false);
        self.len += *put.as_ref().unwrap_or(&0);
        put.is_ok()
    }

    pub(super) fn rest(&mut self) -> &mut [u8] {
        self.room.get_mut(self.len..).unwrap_or_default()
    }

    /// Whether so much room is left that a train of smaller packets pays.
    pub(super) fn is_roomy(&self) -> bool {
        self.len > 0 && self.room.len() - self.len >= ROOMY
    }

    /// Leaves so many bytes free.
    pub(super) fn reserve(&mut self, bytes: usize) {
        let room = std::mem::take(&mut self.room);
        let len = room.len().saturating_sub(bytes);
        self.room = room.get_mut(..len).unwrap_or_default();
    }

    /// Fills the packet up with PAD frames.
    pub(super) fn pad(&mut self) {
        self.rest().fill(0);
        self.len = self.room.len();
    }
}

impl<C: Cipher> Extended<C> {
    /// Room for the frames of a packet of at most `size` bytes, its id written before it.
    pub(super) fn open_packet<'b>(
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
    pub(super) fn seal<G: CongestionController>(
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

    /// Leaves a number out where it is time to.
    pub(super) fn skip_number(&mut self, env: &mut Env<'_>) {
        let number = self.sealer.next_number();
        if number >= self.next_skip {
            self.sealer.skip();
            self.channels.skip_number(number);
            self.next_skip = skip_after(number, env.entropy);
        }
    }

    pub(super) fn header_len(&self) -> usize {
        match &self.ids {
            Ids::Issued(_) => PN_LEN,
            Ids::Given(given) => given.current.len() + PN_LEN,
        }
    }
}

/// A packet about to be sealed as an observer sees it. `header`: its id and number; `bytes`: of its datagram.
pub(super) fn sent(number: u64, packet: &[u8], header: usize, bytes: usize) -> Observed<'_> {
    let frames = packet.get(header..packet.len().saturating_sub(TAG_LEN)).unwrap_or_default();
    Observed::PacketSent { packet: PacketView::Extended { number, frames }, bytes }
}

//! Numbers outgoing packets and makes the parity of each group.

use super::FecRatio;
use super::frame::{FEC_HEADER_LEN, PacketKind, data_header};
use fastwire_fec::{CodeError, Encoder, ReedSolomon};

/// From this gap on between a group's last two data packets, in ms, its parity is left out: it would come too late.
pub const MAX_DATA_GAP: u32 = 500;

/// The sending side of the error correction.
#[derive(Debug)]
pub struct FecSender {
    ratio: FecRatio,
    encoder: Encoder,
    /// Number of the next packet.
    next: u32,
    /// When the last data packet left.
    last_data: Option<u32>,
}

impl FecSender {
    /// A sender at number 0.
    ///
    /// # Errors
    /// None for a [`FecRatio`] that exists; the signature is the code's.
    pub fn new(ratio: FecRatio) -> Result<Self, CodeError> {
        let code = ReedSolomon::new(ratio.data, ratio.parity)?;
        Ok(Self { ratio, encoder: Encoder::new(code), next: 0, last_data: None })
    }

    /// Starts the numbers at group `group` instead, for tests of the wrap. Taken modulo the number of groups.
    pub fn start_at_group(&mut self, group: u32) {
        self.next = group % self.ratio.groups() * self.ratio.total();
        self.encoder.restart();
    }

    /// Completes a data packet at `now` (ms): `packet` is room for the header and then the payload. True when
    /// the group is complete and [`parity`](Self::parity) is to follow at once.
    pub fn seal_data(&mut self, now: u32, packet: &mut [u8]) -> bool {
        let Some((head, payload)) = packet.split_first_chunk_mut::<FEC_HEADER_LEN>() else { return false };
        *head = data_header(self.next, PacketKind::Data, payload.len());
        self.advance(1);
        let in_time = self.last_data.is_some_and(|last| now.wrapping_sub(last) < MAX_DATA_GAP);
        self.last_data = Some(now);
        let complete = self.encoder.add(packet.get(FEC_HEADER_LEN - 2..).unwrap_or_default());
        if complete && !in_time {
            self.advance(self.ratio.parity as u32);
        }
        complete && in_time
    }

    /// The parity packets of the group that was just completed, as number and parity bytes. The numbers are used up.
    pub fn parity(&mut self) -> impl ExactSizeIterator<Item = (u32, &[u8])> {
        let first = self.next;
        self.advance(self.ratio.parity as u32);
        // A group never straddles the wrap.
        self.encoder.parity().enumerate().map(move |(i, parity)| (first + i as u32, parity))
    }

    /// Number of the next packet.
    pub fn next_seqid(&self) -> u32 {
        self.next
    }

    /// The figures in use.
    pub fn ratio(&self) -> FecRatio {
        self.ratio
    }

    fn advance(&mut self, count: u32) {
        self.next += count;
        if self.next >= self.ratio.wrap() {
            self.next = 0;
        }
    }
}

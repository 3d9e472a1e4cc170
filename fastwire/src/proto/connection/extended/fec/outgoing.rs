//! Groups of packets that leave, and the parity that follows them.

use std::time::{Duration, Instant};

use fastwire_fec::{Encoder, ReedSolomon};
use fastwire_wire::extended::{Fec as Frame, Params};

use super::loss::{LossRate, parity_for};
use super::{MAX_DATA, MAX_PARITY};
use crate::Fec;

/// Parity that was not needed is saved up to so many hundredths of a packet.
const MAX_SAVED: u32 = 800;

/// The sending half; present where it is configured and the peer takes parity.
#[derive(Debug)]
pub(in super::super) struct Outgoing {
    config: Fec,
    /// What the peer takes.
    max_data: usize,
    max_parity: usize,
    loss: LossRate,
    /// The peer's count of packets recovered, as last heard.
    recovered: u8,
    /// Hundredths of a packet of parity that may leave.
    credit: u32,
    open: Option<Group>,
    /// Each packet of the open group with its length before it, one after the other.
    shards: Vec<u8>,
    /// Something to protect left since the last flush ended.
    in_flush: bool,
    encoder: Option<Encoder>,
    due: Option<Due>,
    sent: u64,
}

/// A group that may grow: packets `base` to `base + ends.len() - 1`.
#[derive(Debug)]
struct Group {
    base: u64,
    /// Where each packet ends in the bytes.
    ends: Vec<usize>,
    flushes: u8,
    /// When its last packet left.
    last: Instant,
}

/// Parity that is to leave; its bytes are the encoder's.
#[derive(Debug)]
struct Due {
    base: u64,
    data: u8,
    parity: u8,
    next: u8,
    since: Instant,
}

/// A packet of parity, about to leave.
#[derive(Debug)]
pub(in super::super) struct Parity<'a> {
    pub(in super::super) frame: Frame<'a>,
    /// The group's packets.
    pub(in super::super) group: std::ops::Range<u64>,
    /// No more of the group follows.
    pub(in super::super) last: bool,
}

impl Outgoing {
    /// `None` where nothing is configured or the peer takes none.
    pub(in super::super) fn new(config: Option<Fec>, peer: &Params) -> Option<Box<Self>> {
        let config = config.filter(|_| peer.fec_max_data > 0 && peer.fec_max_parity > 0)?;
        Some(Box::new(Self {
            config,
            max_data: peer.fec_max_data.min(MAX_DATA).into(),
            max_parity: peer.fec_max_parity.min(MAX_PARITY).into(),
            loss: LossRate::default(),
            recovered: 0,
            credit: 0,
            open: None,
            shards: Vec::new(),
            in_flush: false,
            encoder: None,
            due: None,
            sent: 0,
        }))
    }

    /// Packets of parity sent.
    pub(in super::super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether packets are to leave room for parity.
    pub(in super::super) fn is_on(&self) -> bool {
        self.open.is_some() || self.loss.rate() > 0.0
    }

    /// Whether parity is to leave.
    pub(in super::super) fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// The first packet of those whose parity is yet to leave.
    pub(in super::super) fn awaited(&self) -> Option<u64> {
        let due = self.due.as_ref().map(|due| due.base);
        due.or(self.open.as_ref().map(|group| group.base))
    }

    /// A packet is about to leave. `protect`: it is worth a group; any packet joins one that is open. A number that was left out
    /// ends the group before it.
    pub(in super::super) fn on_packet(&mut self, number: u64, plain: &[u8], protect: bool, now: Instant) {
        let follows = |group: &Group| group.base + group.ends.len() as u64 == number;
        if self.open.as_ref().is_some_and(|group| !follows(group)) {
            self.close(now);
        }
        if self.open.is_none() {
            // what is due uses the encoder, and leaves before anything else does
            if !protect || self.due.is_some() || self.loss.rate() == 0.0 {
                return;
            }
            self.shards.clear();
            self.open = Some(Group { base: number, ends: Vec::new(), flushes: 0, last: now });
        }
        let (Some(group), Ok(len)) = (&mut self.open, u16::try_from(plain.len())) else { return };
        self.shards.extend_from_slice(&len.to_le_bytes());
        self.shards.extend_from_slice(plain);
        group.ends.push(self.shards.len());
        group.last = now;
        self.in_flush |= protect;
        if group.ends.len() >= self.max_data {
            self.close(now);
        }
    }

    /// Everything that was to leave now has left.
    pub(in super::super) fn end_flush(&mut self, now: Instant) {
        if !std::mem::take(&mut self.in_flush) {
            return;
        }
        let Some(group) = &mut self.open else { return };
        group.flushes += 1;
        if group.flushes >= self.config.flushes {
            self.close(now);
        }
    }

    /// When the open group closes at the latest.
    pub(in super::super) fn deadline(&self) -> Option<Instant> {
        self.open.as_ref().map(|group| group.last + self.config.max_wait)
    }

    pub(in super::super) fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.close(now);
        }
    }

    /// Ends the open group: its parity is due, as much as the loss asks for and the share allows.
    pub(in super::super) fn close(&mut self, now: Instant) {
        let Some(group) = self.open.take() else { return };
        let data = group.ends.len();
        self.credit = (self.credit + data as u32 * u32::from(self.config.percent)).min(MAX_SAVED);
        let most = self.max_parity.min(self.credit as usize / 100);
        let parity = if most == 0 { 0 } else { parity_for(data, self.loss.rate(), most) };
        if parity == 0 {
            return;
        }
        let fits = |encoder: &Encoder| {
            let code = encoder.code();
            (code.data_shards(), code.parity_shards()) == (data, parity)
        };
        if !self.encoder.as_ref().is_some_and(fits) {
            self.encoder = ReedSolomon::new(data, parity).ok().map(Encoder::new);
        }
        let Some(encoder) = &mut self.encoder else { return };
        encoder.restart();
        let mut start = 0;
        for end in group.ends {
            encoder.add(self.shards.get(start..end).unwrap_or_default());
            start = end;
        }
        self.credit -= 100 * parity as u32;
        self.due =
            Some(Due { base: group.base, data: data as u8, parity: parity as u8, next: 0, since: now });
    }

    /// Whether parity is due, and its bytes of plaintext. What could not leave for `patience` is dropped: what it stands for is
    /// repeated by now.
    pub(in super::super) fn due(&mut self, patience: Duration, now: Instant) -> Option<usize> {
        if self.due.as_ref().is_some_and(|due| now.saturating_duration_since(due.since) > patience) {
            self.due = None;
        }
        self.due.as_ref()?;
        let longest = self.encoder.as_ref()?.parity().next()?.len();
        Some(super::FRAME + longest)
    }

    /// Nothing of what is due is to leave.
    pub(in super::super) fn drop_due(&mut self) {
        self.due = None;
    }

    /// The next packet of parity.
    pub(in super::super) fn next(&mut self) -> Option<Parity<'_>> {
        let due = self.due.as_mut()?;
        let (base, data, index, parity) = (due.base, due.data, due.next, due.parity);
        due.next += 1;
        let last = due.next >= parity;
        if last {
            self.due = None;
        }
        self.sent += 1;
        let bytes = self.encoder.as_ref()?.parity().nth(index.into())?;
        let frame = Frame { base: base as u32, data, index, parity, bytes };
        Some(Parity { frame, group: base..base + u64::from(data), last })
    }

    /// What became of packets. `recovered`: the count in an acknowledgement; gives how many more that is.
    pub(in super::super) fn on_acked(
        &mut self,
        arrived: u32,
        lost: u32,
        spurious: u32,
        recovered: u8,
    ) -> u32 {
        // acknowledgements may overtake each other: an older count is behind
        let rise = recovered.wrapping_sub(self.recovered).cast_signed().max(0).cast_unsigned();
        self.recovered = self.recovered.wrapping_add(rise);
        let rise = u32::from(rise);
        self.loss.record(arrived.saturating_sub(rise), lost + rise);
        self.loss.take_back(spurious);
        rise
    }

    /// Packets were taken for lost without an acknowledgement.
    pub(in super::super) fn on_lost(&mut self, lost: u32) {
        self.loss.record(0, lost);
    }
}

//! Collects the packets of the latest groups and recovers what is missing.

use super::FecRatio;
use super::frame::{FecPacket, PacketKind};
use super::tune::Tuner;
use crate::core::Pool;
use fastwire_fec::{CodeError, Recovered, ReedSolomon};

/// Groups whose packets are kept: the newest and three before it. Each holds fewer packets than it has data, so at
/// most 4·255 packets wait here.
pub const MAX_GROUPS_HELD: usize = 4;

/// The packets of one group that have arrived.
#[derive(Debug)]
struct Group {
    number: u32,
    /// One entry a packet, data first.
    shards: Vec<Option<Vec<u8>>>,
    present: usize,
}

/// The receiving side of the error correction. Adapts to the peer's figures.
#[derive(Debug)]
pub struct FecReceiver {
    ratio: FecRatio,
    code: ReedSolomon,
    /// At most [`MAX_GROUPS_HELD`], in no order.
    groups: Vec<Group>,
    newest: Option<u32>,
    tuner: Tuner,
    /// The figures are wrong; nothing is recovered until they are known.
    tuning: bool,
    /// Tables of groups that were dropped, empty, for the next ones.
    spare: Vec<Vec<Option<Vec<u8>>>>,
    /// Groups of which all data arrived by itself.
    whole: u64,
    recovered: Recovered,
    pool: Pool,
}

impl FecReceiver {
    /// A receiver that expects `ratio` until it sees another.
    ///
    /// # Errors
    /// None for a [`FecRatio`] that exists; the signature is the code's.
    pub fn new(ratio: FecRatio, pool: Pool) -> Result<Self, CodeError> {
        Ok(Self {
            ratio,
            code: ReedSolomon::new(ratio.data, ratio.parity)?,
            groups: Vec::new(),
            newest: None,
            tuner: Tuner::default(),
            tuning: false,
            spare: Vec::new(),
            whole: 0,
            recovered: Recovered::new(),
            pool,
        })
    }

    /// Takes a data or parity packet; what it helped to recover, size fields and padding included (see
    /// [`Recovered`]). Data packets are the caller's to use: they come out of here only when they were lost.
    pub fn receive(&mut self, packet: &FecPacket<'_>) -> &Recovered {
        if !self.try_receive(packet) {
            // Empties it.
            let none: [Option<&[u8]>; 0] = [];
            let _ = self.code.recover(&none, &mut self.recovered);
        }
        &self.recovered
    }

    /// The figures in use.
    pub fn ratio(&self) -> FecRatio {
        self.ratio
    }

    /// Whether the figures are known to be wrong and no others were found yet.
    pub fn is_tuning(&self) -> bool {
        self.tuning
    }

    /// Number of the newest group.
    pub fn newest_group(&self) -> u32 {
        self.newest.unwrap_or(0)
    }

    /// Groups of which all data arrived, so that there was nothing to recover.
    pub fn whole_groups(&self) -> u64 {
        self.whole
    }

    /// Groups kept.
    pub fn groups_held(&self) -> usize {
        self.groups.len()
    }

    /// Packets kept, at most 255 a group.
    pub fn packets_held(&self) -> usize {
        self.groups.iter().map(|group| group.present).sum()
    }

    /// True when `recovered` was filled.
    fn try_receive(&mut self, packet: &FecPacket<'_>) -> bool {
        let is_data = match packet.kind {
            PacketKind::Data => true,
            PacketKind::Parity => false,
            PacketKind::OutOfBand => return false,
        };
        if packet.seqid >= self.ratio.wrap() {
            return false;
        }
        self.tuner.record(packet.seqid, is_data);
        let place = (packet.seqid % self.ratio.total()) as usize;
        self.tuning |= is_data != (place < self.ratio.data);
        if self.tuning {
            self.tune();
            return false;
        }
        let number = packet.seqid / self.ratio.total();
        self.advance_to(number);
        if self.age(number) >= MAX_GROUPS_HELD as u32 {
            return false;
        }
        self.keep(number, place, packet.covered)
    }

    /// Stores a packet; when its group can be completed, does so and empties it.
    fn keep(&mut self, number: u32, place: usize, covered: &[u8]) -> bool {
        let total = self.ratio.total() as usize;
        let index = self.groups.iter().position(|group| group.number == number).unwrap_or_else(|| {
            let mut shards = self.spare.pop().unwrap_or_default();
            shards.resize_with(total, || None);
            self.groups.push(Group { number, shards, present: 0 });
            self.groups.len() - 1
        });
        let Some(group) = self.groups.get_mut(index) else { return false };
        let Some(slot @ None) = group.shards.get_mut(place) else { return false };
        let mut shard = self.pool.take(covered.len());
        shard.extend_from_slice(covered);
        *slot = Some(shard);
        group.present += 1;
        if group.present < self.ratio.data {
            return false;
        }
        let any_lost = group.shards.iter().take(self.ratio.data).any(Option::is_none);
        self.whole += u64::from(!any_lost);
        let recovered = any_lost && self.code.recover(&group.shards, &mut self.recovered).is_ok();
        empty(group, &self.pool);
        recovered
    }

    /// Takes figures from what was seen, if it shows any.
    fn tune(&mut self) {
        let Some(ratio) = self.tuner.search() else { return };
        let Ok(code) = ReedSolomon::new(ratio.data, ratio.parity) else { return };
        (self.ratio, self.code) = (ratio, code);
        self.drop_groups(|_| false);
        self.newest = None;
        self.tuning = false;
    }

    /// Notes that group `number` exists, and drops what has become too old.
    fn advance_to(&mut self, number: u32) {
        let groups = self.ratio.groups();
        let ahead = self.newest.map_or(0, |newest| (number + groups - newest) % groups);
        if self.newest.is_none() || ahead > 0 && ahead < groups / 2 {
            self.newest = Some(number);
            let oldest_kept = MAX_GROUPS_HELD as u32;
            self.drop_groups(|group| (number + groups - group) % groups < oldest_kept);
        }
    }

    /// How many groups before the newest this one is.
    fn age(&self, number: u32) -> u32 {
        let groups = self.ratio.groups();
        self.newest.map_or(0, |newest| (newest + groups - number) % groups)
    }

    fn drop_groups(&mut self, keep: impl Fn(u32) -> bool) {
        let mut at = 0;
        while let Some(group) = self.groups.get(at) {
            if keep(group.number) {
                at += 1;
                continue;
            }
            let mut group = self.groups.swap_remove(at);
            empty(&mut group, &self.pool);
            self.spare.push(group.shards);
        }
    }
}

fn empty(group: &mut Group, pool: &Pool) {
    group.shards.iter_mut().filter_map(Option::take).for_each(|shard| pool.give(shard));
    group.present = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_packets_stay_within_the_limits(
            packets in prop::collection::vec((0..3000u32, any::<bool>(), any::<bool>(), 0..20usize), 0..400)) {
            let mut receiver = FecReceiver::new(FecRatio::KCPTUN, Pool::new()).unwrap();
            let mut base = 0;
            for (number, jump, data, len) in packets {
                base = if jump { number.wrapping_mul(1_431_655) } else { base };
                let kind = if data { PacketKind::Data } else { PacketKind::Parity };
                let covered = vec![number as u8; len];
                receiver.receive(&FecPacket { seqid: base.wrapping_add(number % 40), kind, covered: &covered });
                prop_assert!(receiver.groups_held() <= MAX_GROUPS_HELD);
                prop_assert!(receiver.groups_held() + receiver.spare.len() <= MAX_GROUPS_HELD + 1);
                prop_assert!(receiver.groups.iter().all(|group| group.present < receiver.ratio.data().max(1)));
                prop_assert!(receiver.ratio.data() + receiver.ratio.parity() <= 256);
            }
        }
    }
}

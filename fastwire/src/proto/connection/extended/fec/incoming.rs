//! Packets that came, kept for a while, and the lost ones that parity makes of them.

use std::collections::VecDeque;

use bytes::Bytes;
use fastwire_fec::{Recovered, ReedSolomon};
use fastwire_wire::extended::{Fec as Frame, Params};

use super::{FEC_TYPE, LENGTH, MAX_DATA};

/// The two newest groups are held (PROTOCOL B5).
const GROUPS: usize = 2;

/// Packets kept: as many as those groups may have.
const KEPT: usize = GROUPS * MAX_DATA as usize;

/// After so many packets without parity the peer has stopped sending it, and nothing is kept.
const ASLEEP_AFTER: u32 = 4096;

/// How far back a group may begin: the replay window knows no further.
const REACH: u64 = 8192;

/// The receiving half. It takes memory from the first parity that comes on.
#[derive(Debug, Default)]
pub(in super::super) struct Incoming {
    max_data: u8,
    max_parity: u8,
    /// Bytes that packets and parity may take.
    budget: usize,
    awake: Option<Box<Awake>>,
    /// Packets made of parity.
    recovered: u64,
    useless: u64,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Awake {
    /// Packets since the last parity.
    idle: u32,
    /// The newest packets in the order they came, each with its length before it.
    packets: VecDeque<(u64, Vec<u8>)>,
    groups: Vec<Group>,
    held: usize,
    /// Lost packets, made, not yet taken.
    ready: VecDeque<(u64, Bytes)>,
    scratch: Recovered,
    /// Memory that serves again.
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Group {
    base: u64,
    data: u8,
    /// As many as there are, by index.
    parity: Vec<Option<Vec<u8>>>,
    /// Bytes of each parity.
    len: usize,
    /// Nothing more to be had of it.
    done: bool,
}

impl Group {
    fn holds(&self, number: u64) -> bool {
        number.checked_sub(self.base).is_some_and(|index| index < u64::from(self.data))
    }

    fn arrived(&self) -> usize {
        self.parity.iter().flatten().count()
    }
}

impl Incoming {
    /// What our parameters announced, and the bytes that may be kept.
    pub(in super::super) fn new(own: &Params, budget: usize) -> Self {
        Self { max_data: own.fec_max_data, max_parity: own.fec_max_parity, budget, ..Self::default() }
    }

    /// Packets recovered.
    pub(in super::super) fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Packets of parity that recovered nothing.
    pub(in super::super) fn useless(&self) -> u64 {
        self.useless
    }

    /// Groups dropped: over the budget, or made of nonsense.
    pub(in super::super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes kept.
    pub(in super::super) fn held(&self) -> usize {
        self.awake.as_ref().map_or(0, |awake| awake.held)
    }

    /// A packet opened.
    pub(in super::super) fn on_packet(&mut self, number: u64, plain: &[u8]) {
        let Some(awake) = &mut self.awake else { return };
        awake.idle += 1;
        if awake.idle > ASLEEP_AFTER {
            self.awake = None;
            return;
        }
        let Ok(len) = u16::try_from(plain.len()) else { return };
        // parity is never part of a group
        if plain.first() == Some(&FEC_TYPE) {
            return;
        }
        let packet = awake.copy(&[&len.to_le_bytes(), plain]);
        awake.held += packet.len();
        awake.packets.push_back((number, packet));
        awake.make_room(KEPT, self.budget);
        for index in 0..awake.groups.len() {
            let holds = |awake: &Awake| awake.groups.get(index).is_some_and(|group| group.holds(number));
            if self.awake.as_deref().is_some_and(holds) {
                self.complete(index);
            }
        }
    }

    /// A FEC frame in packet `carrier`.
    ///
    /// # Errors
    ///
    /// What it says cannot be: the connection ends.
    pub(in super::super) fn on_parity(&mut self, frame: &Frame<'_>, carrier: u64) -> Result<(), String> {
        if self.max_data == 0 || self.max_parity == 0 {
            return Err(format!("a frame was not agreed on: {frame:?}"));
        }
        let back = u64::from((carrier as u32).wrapping_sub(frame.base));
        let base = carrier.checked_sub(back);
        let sound = (1..=self.max_data).contains(&frame.data)
            && (1..=self.max_parity).contains(&frame.parity)
            && frame.index < frame.parity
            && frame.bytes.len() > LENGTH
            && back >= u64::from(frame.data);
        let Some(base) = base.filter(|_| sound) else {
            let Frame { base, data, index, parity, bytes } = frame;
            let len = bytes.len();
            return Err(format!(
                "parity {index} of {parity} over {data} packets from {base}, {len} bytes, cannot be"
            ));
        };
        if back > REACH {
            self.useless += 1;
            return Ok(());
        }
        let awake = &mut **self.awake.get_or_insert_default();
        awake.idle = 0;
        let known = awake.groups.iter().position(|group| group.base == base);
        let index = match known {
            Some(index) => {
                let same = awake.groups.get(index).is_some_and(|group| {
                    (group.data, group.parity.len()) == (frame.data, frame.parity.into())
                });
                if !same {
                    return Err(format!("two groups of parity from packet {}", frame.base));
                }
                index
            }
            None => {
                if awake.groups.len() >= GROUPS {
                    let oldest = awake.groups.iter().enumerate().min_by_key(|(_, group)| group.base);
                    let Some((oldest, _)) = oldest.filter(|(_, group)| group.base < base) else {
                        self.useless += 1;
                        return Ok(());
                    };
                    let gone = awake.groups.swap_remove(oldest);
                    self.useless += awake.free(gone.parity);
                }
                let parity = vec![None; frame.parity.into()];
                let len = frame.bytes.len();
                awake.groups.push(Group { base, data: frame.data, parity, len, done: false });
                awake.groups.len() - 1
            }
        };
        let Some(group) = awake.groups.get(index) else { return Ok(()) };
        let (done, len) = (group.done, group.len);
        if done || awake.slot(index, frame.index).is_none_or(|slot| slot.is_some()) {
            self.useless += 1;
            return Ok(());
        }
        if frame.bytes.len() != len {
            self.drop_group(index);
            return Ok(());
        }
        let bytes = awake.copy(&[frame.bytes]);
        awake.held += bytes.len();
        if let Some(slot) = awake.slot(index, frame.index) {
            *slot = Some(bytes);
        }
        if awake.held > self.budget {
            awake.make_room(0, self.budget);
        }
        if awake.held > self.budget {
            self.drop_group(index);
            return Ok(());
        }
        self.complete(index);
        Ok(())
    }

    /// The next lost packet that was made: its number and its plaintext. It is entered into the replay window, if that does not
    /// have it, and counted with [`count`](Self::count).
    pub(in super::super) fn next(&mut self) -> Option<(u64, Bytes)> {
        self.awake.as_mut()?.ready.pop_front()
    }

    /// A packet that was made is used.
    pub(in super::super) fn count(&mut self) {
        self.recovered += 1;
    }

    /// Makes what is lost of a group, if enough of it came.
    fn complete(&mut self, index: usize) {
        let Some(awake) = self.awake.as_deref_mut() else { return };
        match awake.complete(index) {
            Completed::Not => {}
            Completed::Useless(parity) => self.useless += parity,
            Completed::Nonsense => self.drop_group(index),
        }
    }

    /// A group that cannot be what it says, or is too large. Its base stays known, so that no more of it is looked at.
    fn drop_group(&mut self, index: usize) {
        self.dropped += 1;
        if let Some(awake) = &mut self.awake {
            awake.finish(index);
        }
    }
}

/// What became of a group.
enum Completed {
    /// More of it has to come.
    Not,
    /// It is done; so many packets of parity were not needed.
    Useless(u64),
    /// What it makes is no packet.
    Nonsense,
}

impl Awake {
    fn slot(&mut self, group: usize, index: u8) -> Option<&mut Option<Vec<u8>>> {
        self.groups.get_mut(group)?.parity.get_mut(usize::from(index))
    }

    /// The parts one after the other, in memory of just that size: parity is a little longer than packets, and who grows by doubling
    /// holds twice as much as is counted.
    fn copy(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        let mut memory = self.spare.pop().unwrap_or_default();
        memory.clear();
        memory.reserve_exact(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| memory.extend_from_slice(part));
        memory
    }

    fn complete(&mut self, index: usize) -> Completed {
        let Self { packets, groups, ready, scratch, .. } = self;
        let Some(group) = groups.get(index).filter(|group| !group.done) else { return Completed::Not };
        let data = usize::from(group.data);
        let mut shards: Vec<Option<&[u8]>> = vec![None; data];
        for (number, packet) in packets.iter() {
            let at = number.checked_sub(group.base).and_then(|at| usize::try_from(at).ok());
            if let Some(slot) = at.and_then(|at| shards.get_mut(at)) {
                *slot = Some(packet);
            }
        }
        let present = shards.iter().flatten().count();
        if present == data {
            return Completed::Useless(self.finish(index));
        }
        if present + group.arrived() < data {
            return Completed::Not;
        }
        // a packet that is longer than parity over it is none of the group's
        if shards.iter().flatten().any(|shard| shard.len() > group.len) {
            return Completed::Nonsense;
        }
        shards.extend(group.parity.iter().map(|parity| parity.as_deref()));
        let code = ReedSolomon::new(data, group.parity.len());
        if !code.is_ok_and(|code| code.recover(&shards, scratch).is_ok()) {
            return Completed::Nonsense;
        }
        let before = ready.len();
        for (at, shard) in scratch.iter() {
            let plain = shard.split_first_chunk::<LENGTH>().and_then(|(len, rest)| {
                let len = usize::from(u16::from_le_bytes(*len));
                rest.get(..len).filter(|_| len > 0)
            });
            let Some(plain) = plain else {
                ready.truncate(before);
                return Completed::Nonsense;
            };
            ready.push_back((group.base + at as u64, Bytes::copy_from_slice(plain)));
        }
        // as many as were lost were of use
        Completed::Useless(self.finish(index).saturating_sub((data - present) as u64))
    }

    /// Nothing more is to be had of a group. Gives how many packets of parity there were.
    fn finish(&mut self, index: usize) -> u64 {
        let Some(group) = self.groups.get_mut(index) else { return 0 };
        group.done = true;
        let parity = std::mem::take(&mut group.parity);
        group.parity = vec![None; parity.len()];
        self.free(parity)
    }

    /// Lets the oldest packets go until at most `most` of them, or `budget` bytes in all, are kept.
    fn make_room(&mut self, most: usize, budget: usize) {
        while self.held > budget || (most > 0 && self.packets.len() > most) {
            let Some((_, packet)) = self.packets.pop_front() else { return };
            self.held -= packet.len();
            self.keep_spare(packet);
        }
    }

    /// Gives memory of parity back. Gives how many there were.
    fn free(&mut self, parity: Vec<Option<Vec<u8>>>) -> u64 {
        let mut count = 0;
        for bytes in parity.into_iter().flatten() {
            self.held -= bytes.len();
            self.keep_spare(bytes);
            count += 1;
        }
        count
    }

    fn keep_spare(&mut self, memory: Vec<u8>) {
        const SPARE: usize = 4;
        if self.spare.len() < SPARE {
            self.spare.push(memory);
        }
    }
}

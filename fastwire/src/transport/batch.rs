//! What one receive call brings: datagrams in reused memory, read in place or taken out as owned bytes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::{iter, mem, slice};

use bytes::BytesMut;

use super::{ChunkPool, Ecn, SocketId};

/// Bytes of one receive buffer: any UDP datagram, and any train the system has joined (UDP GRO), fits.
const SLOT: usize = 65_536;
/// Distance between two buffers. Not a power of two, so that the first lines of all buffers do not fall into
/// the same set of the processor's caches.
const STRIDE: usize = SLOT + 3 * 64;

/// Where a datagram came from and how it travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvMeta {
    /// The socket that received it.
    pub socket: SocketId,
    /// Who sent it. IPv4 addresses appear as such, on dual-stack sockets too.
    pub remote: SocketAddr,
    /// The local address it was sent to, where the system tells. Answers should leave from it.
    pub local: Option<IpAddr>,
    /// The ECN mark it arrived with.
    pub ecn: Option<Ecn>,
}

/// The datagrams of one [`Transport::recv`](super::Transport::recv), in memory that is used again.
///
/// Read them in place with [`iter_mut`](Self::iter_mut), or take them out one by one with [`pop`](Self::pop), which
/// copies each into a pooled chunk so that it may outlive the batch. Neither allocates in the steady state.
///
/// A buffer is as large as the largest train the system may join, so a batch asks for
/// [`slots`](Self::with_slots) × 64 KiB of address space; memory is committed as it is first touched.
pub struct RecvBatch {
    /// The buffers, `STRIDE` bytes apart.
    arena: Vec<u8>,
    /// What the buffers hold: `trains[i]` describes buffer `i`. Never more than there are buffers.
    trains: Vec<Train>,
    /// The number of datagrams in `trains`, those taken out included.
    datagrams: usize,
    /// The next datagram for `pop`: its train and its offset in the train's bytes.
    cursor: (usize, usize),
    pool: ChunkPool,
    /// Nothing was left when the datagrams were taken.
    drained: bool,
    /// Whoever receives will take all there is, so it pays to ask for one datagram more than is expected.
    greedy: bool,
}

/// Datagrams that arrived together: equal sizes, only the last may be shorter.
#[derive(Clone, Copy, Debug)]
struct Train {
    meta: RecvMeta,
    /// At most `SLOT`.
    len: usize,
    /// Size of each datagram, at least 1.
    stride: usize,
}

impl Train {
    /// An empty train is one empty datagram.
    fn count(&self) -> usize {
        self.len.div_ceil(self.stride).max(1)
    }
}

impl RecvBatch {
    /// How many buffers [`RecvBatch::new`] has; one system call fills no more.
    pub const SLOTS: usize = 32;

    /// A batch of [`RecvBatch::SLOTS`] buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::with_slots(Self::SLOTS)
    }

    /// A batch of `slots` buffers, at least 1. A client with little traffic is well served by 4.
    #[must_use]
    pub fn with_slots(slots: usize) -> Self {
        let slots = slots.max(1);
        Self {
            arena: vec![0; slots * STRIDE],
            trains: Vec::with_capacity(slots),
            datagrams: 0,
            cursor: (0, 0),
            pool: ChunkPool::new(),
            drained: false,
            greedy: false,
        }
    }

    /// The number of datagrams received, those already taken out included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams
    }

    /// True when nothing was received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams == 0
    }

    /// True when no buffer is free.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.trains.len() == self.slots()
    }

    /// True when the transport saw that nothing else was waiting: asking again at once is in vain. False says
    /// nothing.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Says that nothing else was waiting. For transports that can tell; [`clear`](Self::clear) takes it back.
    pub fn set_drained(&mut self) {
        self.drained = true;
    }

    pub(crate) fn set_greedy(&mut self, greedy: bool) {
        self.greedy = greedy;
    }

    pub(super) fn is_greedy(&self) -> bool {
        self.greedy
    }

    /// The datagrams, in the order of their arrival, for reading and opening in place.
    pub fn iter_mut(&mut self) -> DatagramsMut<'_> {
        DatagramsMut {
            trains: self.trains.iter(),
            buffers: self.arena.chunks_mut(STRIDE),
            meta: None,
            rest: &mut [],
            stride: 1,
        }
    }

    /// The beginnings of the datagrams and trains from the one numbered `first` on.
    pub(crate) fn heads(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        let buffers = self.arena.chunks(STRIDE).zip(&self.trains).skip(first);
        buffers.filter_map(|(buffer, train)| buffer.get(..train.len.min(train.stride)))
    }

    /// The datagrams as they came, the `index`th time: a number of them from one sender, one after the other, and the size of
    /// each, of which only the last may fall short.
    pub fn train_mut(&mut self, index: usize) -> Option<(RecvMeta, &mut [u8], usize)> {
        let train = self.trains.get(index)?;
        let bytes = self.arena.get_mut(index * STRIDE..)?.get_mut(..train.len)?;
        Some((train.meta, bytes, train.stride))
    }

    /// Takes the next datagram out, as bytes of its own.
    pub fn pop(&mut self) -> Option<(RecvMeta, BytesMut)> {
        let (index, offset) = self.cursor;
        let train = self.trains.get(index)?;
        let end = train.len.min(offset + train.stride);
        self.cursor = if end == train.len { (index + 1, 0) } else { (index, end) };
        let start = index * STRIDE;
        let datagram = self.arena.get(start + offset..start + end)?;
        Some((train.meta, self.pool.copy(datagram)))
    }

    /// Forgets the datagrams. For transports: the first thing in `recv`.
    pub fn clear(&mut self) {
        self.trains.clear();
        self.datagrams = 0;
        self.cursor = (0, 0);
        self.drained = false;
    }

    /// The free buffers, each 64 KiB. For transports: receive into the first ones, then [`commit`](Self::commit)
    /// each in the same order.
    pub fn vacant(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.arena.chunks_mut(STRIDE).skip(self.trains.len()).filter_map(|buffer| buffer.get_mut(..SLOT))
    }

    /// Says that the first free buffer now holds `len` bytes: datagrams of `stride` bytes each, the last may be
    /// shorter. A single datagram has `stride == len`.
    ///
    /// Returns false, and ignores the call, when no buffer is free.
    pub fn commit(&mut self, meta: RecvMeta, len: usize, stride: usize) -> bool {
        if self.is_full() {
            return false;
        }
        let len = len.min(SLOT);
        let train = Train { meta, len, stride: if stride == 0 { len.max(1) } else { stride } };
        self.datagrams += train.count();
        self.trains.push(train);
        true
    }

    /// Copies a datagram into the first free buffer. For transports that own the bytes already.
    ///
    /// Returns false, and takes nothing, when no buffer is free or the datagram exceeds 64 KiB.
    pub fn push(&mut self, meta: RecvMeta, datagram: &[u8]) -> bool {
        let Some(room) = self.vacant().next().and_then(|buffer| buffer.get_mut(..datagram.len())) else {
            return false;
        };
        room.copy_from_slice(datagram);
        self.commit(meta, datagram.len(), datagram.len())
    }

    fn slots(&self) -> usize {
        self.arena.len() / STRIDE
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch")
            .field("slots", &self.slots())
            .field("datagrams", &self.datagrams)
            .finish_non_exhaustive()
    }
}

/// Iterator over the datagrams of a [`RecvBatch`], from [`RecvBatch::iter_mut`].
#[derive(Debug)]
pub struct DatagramsMut<'a> {
    trains: slice::Iter<'a, Train>,
    buffers: slice::ChunksMut<'a, u8>,
    /// Set while a datagram of the current train is left.
    meta: Option<RecvMeta>,
    rest: &'a mut [u8],
    stride: usize,
}

impl<'a> Iterator for DatagramsMut<'a> {
    type Item = (RecvMeta, &'a mut [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let meta = match self.meta {
            Some(meta) => meta,
            None => {
                let (train, buffer) = (self.trains.next()?, self.buffers.next()?);
                self.rest = buffer.get_mut(..train.len)?;
                self.stride = train.stride;
                train.meta
            }
        };
        let rest = mem::take(&mut self.rest);
        let (datagram, rest) = rest.split_at_mut(self.stride.min(rest.len()));
        self.meta = (!rest.is_empty()).then_some(meta);
        self.rest = rest;
        Some((meta, datagram))
    }
}

impl iter::FusedIterator for DatagramsMut<'_> {}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn meta(port: u16) -> RecvMeta {
        RecvMeta {
            socket: SocketId::PRIMARY,
            remote: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            local: None,
            ecn: Ecn::from_bits(port as u8),
        }
    }

    proptest! {
        /// In place and taken out, a batch yields exactly the datagrams that were put in, trains cut.
        #[test]
        fn datagrams_come_out_as_they_came_in(
            trains in proptest::collection::vec((0usize..4000, 0usize..1500), 0..12),
            slots in 1usize..10,
        ) {
            let mut batch = RecvBatch::with_slots(slots);
            for round in 0..2u8 {
                batch.clear();
                let mut expected = Vec::new();
                for (index, &(len, stride)) in trains.iter().enumerate() {
                    let bytes: Vec<u8> = (0..len).map(|i| (i + index) as u8 ^ round).collect();
                    let full = batch.is_full();
                    if let Some(buffer) = batch.vacant().next() {
                        buffer[..len].copy_from_slice(&bytes);
                    }
                    prop_assert_eq!(batch.commit(meta(index as u16), len, stride), !full);
                    if full {
                        continue;
                    }
                    if len == 0 {
                        expected.push((meta(index as u16), Vec::new()));
                    }
                    let size = if stride == 0 { len.max(1) } else { stride };
                    expected.extend(bytes.chunks(size).map(|part| (meta(index as u16), part.to_vec())));
                }
                prop_assert_eq!(batch.len(), expected.len());
                let in_place: Vec<_> = batch.iter_mut().map(|(meta, bytes)| (meta, bytes.to_vec())).collect();
                prop_assert_eq!(&in_place, &expected);
                let mut joined = Vec::new();
                let mut trains = 0..;
                while let Some((meta, bytes, size)) = trains.next().and_then(|index| batch.train_mut(index)) {
                    let parts = bytes.chunks(size).map(<[u8]>::to_vec);
                    let parts: Vec<_> = if bytes.is_empty() { vec![Vec::new()] } else { parts.collect() };
                    joined.extend(parts.into_iter().map(|part| (meta, part)));
                }
                prop_assert_eq!(&joined, &expected);
                let taken: Vec<_> = iter::from_fn(|| batch.pop()).map(|(meta, b)| (meta, b.to_vec())).collect();
                prop_assert_eq!(&taken, &expected);
            }
        }
    }

    proptest! {
        /// Whoever looks ahead sees the first datagram of each buffer that is still to be taken from.
        #[test]
        fn heads_are_what_comes_next(
            trains in proptest::collection::vec((1usize..300, 1usize..100), 1..10),
            skip in 0usize..10,
        ) {
            let mut batch = RecvBatch::with_slots(10);
            for (index, &(len, stride)) in trains.iter().enumerate() {
                batch.vacant().next().unwrap()[..len].fill(index as u8);
                batch.commit(meta(index as u16), len, stride);
            }
            let heads: Vec<Vec<u8>> = batch.heads(skip).map(<[u8]>::to_vec).collect();
            let mut firsts = Vec::new();
            while let Some((_, train, size)) = batch.train_mut(skip + firsts.len()) {
                firsts.push(train[..size.min(train.len())].to_vec());
            }
            prop_assert_eq!(heads, firsts);
        }
    }

    #[test]
    fn a_full_batch_takes_nothing_more() {
        let mut batch = RecvBatch::with_slots(2);
        assert!(batch.push(meta(1), b"one") && batch.push(meta(2), &[2; SLOT]));
        assert!(batch.is_full() && !batch.push(meta(3), b"three"));
        assert_eq!(batch.len(), 2);
        batch.clear();
        assert!(batch.is_empty() && !batch.push(meta(4), &[0; SLOT + 1]));
        assert!(batch.is_empty());
    }
}

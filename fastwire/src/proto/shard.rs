//! Several endpoints behind one port: whose a connection is stands in the ids that its server gave out.

use bytes::BytesMut;
use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;

use super::Endpoint;
use crate::transport::RecvMeta;

/// Datagrams for other shards that wait to be handed on; more are lost packets.
const MAX_STRAYS: usize = 1024;

/// One of several server endpoints that share a port and nothing else, see [`Endpoint::set_shard`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u8,
    /// At least 1, above `index`.
    count: u8,
}

impl Shard {
    /// Shard `index` of `count`, which is 1 to 255; `None` if there is no such shard.
    ///
    /// ```
    /// use fastwire::proto::Shard;
    ///
    /// assert_eq!(Shard::new(3, 4).map(|shard| shard.index()), Some(3));
    /// assert_eq!(Shard::new(4, 4), None);
    /// ```
    pub fn new(index: usize, count: usize) -> Option<Self> {
        let (index, count) = (u8::try_from(index).ok()?, u8::try_from(count).ok()?);
        (index < count).then_some(Self { index, count })
    }

    /// Which one it is, from 0.
    pub fn index(self) -> usize {
        self.index.into()
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count.into()
    }

    /// Makes a random id one of this shard's: its last byte modulo the number of shards is the shard.
    pub(crate) fn mark(self, id: &mut [u8; 8]) {
        let [.., last] = id;
        let multiple = *last - *last % self.count;
        // what would be above 255 is one multiple less
        let marked = multiple.checked_add(self.index);
        *last = marked.unwrap_or_else(|| multiple.wrapping_sub(self.count).wrapping_add(self.index));
    }

    /// The shard that gave out an id, if that is another one.
    fn other(self, id: [u8; 8]) -> Option<usize> {
        let [.., last] = id;
        let index = last % self.count;
        (index != self.index).then_some(index.into())
    }
}

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    /// Makes a server one of several that share a port. From now on the ids and migration tokens it gives out name it, and a
    /// datagram that is nobody's here waits in [`poll_stray`](Self::poll_stray) for the shard that its id names. To be called
    /// before anything is received.
    pub fn set_shard(&mut self, shard: Shard) {
        self.config.shard = Some(shard);
    }

    /// The next datagram for another shard, and which one: to be given to that endpoint's
    /// [`handle_stray`](Self::handle_stray). A client whose address changed is found so, wherever the system's hash now sends
    /// its datagrams.
    pub fn poll_stray(&mut self) -> Option<(usize, RecvMeta, BytesMut)> {
        self.strays.pop_front()
    }

    /// Takes a datagram that another shard received, as [`handle_datagram`](Self::handle_datagram) does. It goes no further.
    pub fn handle_stray(&mut self, now: std::time::Instant, meta: &RecvMeta, datagram: BytesMut) {
        let now = self.clock.advance(now);
        self.route_to_connection(now, meta, datagram, false);
    }

    /// A datagram that belongs to nobody here, and the id in it, if it is long enough for one.
    pub(super) fn lay_aside(&mut self, meta: &RecvMeta, datagram: BytesMut, id: Option<[u8; 8]>) {
        let other = self.config.shard.zip(id).and_then(|(shard, id)| shard.other(id));
        match other.filter(|_| self.strays.len() < MAX_STRAYS) {
            Some(other) => {
                self.stats.strays += 1;
                self.strays.push_back((other, *meta, datagram));
            }
            None => self.stats.unroutable += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever was drawn, the marked id names its shard to every other one, and to itself nobody else.
        #[test]
        fn a_marked_id_names_its_shard(id: [u8; 8], count in 1usize..256, index in 0usize..256, asks in 0usize..256) {
            let (index, asks) = (index % count, asks % count);
            let (shard, other) = (Shard::new(index, count).unwrap(), Shard::new(asks, count).unwrap());
            let mut marked = id;
            shard.mark(&mut marked);
            prop_assert_eq!(&marked[..7], &id[..7], "the rest stays as random as it was");
            prop_assert_eq!(other.other(marked), (asks != index).then_some(index));
        }
    }

    #[test]
    fn there_is_a_shard_for_every_index_below_the_count() {
        assert!((0..255).all(|index| Shard::new(index, 255).is_some()));
        assert_eq!((Shard::new(0, 0), Shard::new(0, 256)), (None, None));
    }
}

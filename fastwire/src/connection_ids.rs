//! Which connection ids a server gives its clients, and what a load balancer or a shard reads in them (PROTOCOL B4).

use std::fmt;

use fastwire_wire::CONTROL_PREFIX;

/// The id that stands before every packet of a client, in clear.
pub type RawConnectionId = [u8; 8];

/// Makes the ids of a server's connections in the extended profile. A client uses several in turn: on another path another, so that nobody who
/// watches both can tell that it is the same client. So ids should be random but for what a router needs.
///
/// [`RandomIds`] is the default, [`RoutableIds`] carries a server and a shard. An own one is set with
/// [`ServerBuilder::connection_ids`](crate::ServerBuilder::connection_ids).
pub trait ConnectionIdGenerator: fmt::Debug + Send + Sync {
    /// A new id, from fresh random bytes. Asked again with other bytes when the server has the id already, at most 64 times: then the
    /// connection goes without. So at least 4 bytes' worth of `random` should be in it.
    fn generate(&self, random: [u8; 8]) -> RawConnectionId;

    /// Where a packet with this id belongs, for whoever stands before several servers; `None`: nothing in it says so.
    fn destination(&self, id: &RawConnectionId) -> Option<IdDestination>;
}

/// The server and the shard that an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdDestination {
    /// The server.
    pub server: u16,
    /// The shard of that server: a thread or a socket of its own.
    pub shard: u8,
}

/// Eight random bytes: the ids tell nobody anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate(&self, random: [u8; 8]) -> RawConnectionId {
        random
    }

    fn destination(&self, _: &RawConnectionId) -> Option<IdDestination> {
        None
    }
}

/// `server 2 BE | shard 1 | random 5`: a load balancer, or a filter in the kernel, sends a client's packets to the right place wherever the client
/// has moved. Whoever watches sees which server and shard a client talks to, and no more.
///
/// ```
/// use fastwire::{ConnectionIdGenerator, IdDestination, RoutableIds, Server, connection_id_of};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let here = IdDestination { server: 7, shard: 2 };
/// let server = Server::builder().connection_ids(RoutableIds::new(here)).bind("127.0.0.1:0")?;
/// # drop(server);
///
/// // in the load balancer: a datagram of a client, of which only the first bytes matter
/// # let datagram = [&[0, 7, 2][..], &[9; 60]].concat();
/// let to = match connection_id_of(&datagram) {
///     Some(id) => RoutableIds::read(&id), // by id, so that a client that moves is followed
///     None => here,                       // a handshake: by the client's address, always the same way
/// };
/// assert_eq!(to, here);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutableIds(IdDestination);

impl RoutableIds {
    /// Ids of this server and shard.
    pub const fn new(destination: IdDestination) -> Self {
        Self(destination)
    }

    /// What an id of this kind says, whichever server made it.
    pub const fn read(id: &RawConnectionId) -> IdDestination {
        let [s0, s1, shard, ..] = *id;
        IdDestination { server: u16::from_be_bytes([s0, s1]), shard }
    }
}

impl ConnectionIdGenerator for RoutableIds {
    fn generate(&self, random: [u8; 8]) -> RawConnectionId {
        let [s0, s1] = self.0.server.to_be_bytes();
        let [r0, r1, r2, r3, r4, ..] = random;
        [s0, s1, self.0.shard, r0, r1, r2, r3, r4]
    }

    fn destination(&self, id: &RawConnectionId) -> Option<IdDestination> {
        Some(Self::read(id))
    }
}

/// The id before a client's datagram of the extended profile, as a router sees it. `None`: the datagram belongs to a handshake, or is too short.
/// Datagrams of the base profile have none, and look as if they had.
pub fn connection_id_of(datagram: &[u8]) -> Option<RawConnectionId> {
    // id 8, packet number 4, tag 16
    let id = datagram.first_chunk().filter(|_| datagram.len() >= 28)?;
    (*id != CONTROL_PREFIX).then_some(*id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_an_id_is_read_back_and_the_rest_is_random() {
        for (server, shard) in [(0, 0), (7, 2), (0x0200, 0), (u16::MAX, u8::MAX)] {
            let destination = IdDestination { server, shard };
            let ids = RoutableIds::new(destination);
            for random in [[0; 8], [0xff; 8], [1, 2, 3, 4, 5, 6, 7, 8]] {
                let id = ids.generate(random);
                assert_eq!(ids.destination(&id), Some(destination));
                assert_eq!(id[3..], random[..5]);
                assert_eq!(RandomIds.generate(random), random);
            }
        }
        assert_eq!(RandomIds.destination(&[7; 8]), None);
    }

    #[test]
    fn a_router_tells_handshakes_and_short_packets_apart() {
        let mut datagram = [5; 28];
        assert_eq!(connection_id_of(&datagram), Some([5; 8]));
        assert_eq!(connection_id_of(&datagram[..27]), None);
        datagram[..8].copy_from_slice(&CONTROL_PREFIX);
        assert_eq!(connection_id_of(&datagram), None);
    }
}

//! The way in: datagrams as they arrive, packets of extended connections opened where they lie, those that follow each other
//! for one connection in one go.

use std::time::Instant;

use bytes::BytesMut;
use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;

use super::handshake::looks_bare;
use super::{Endpoint, Side};
use crate::ConnectionId;
use crate::transport::RecvMeta;

/// What [`Endpoint::take_run`] did.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    /// Datagrams beyond the first, and their bytes.
    more: (u64, u64),
    /// Some opened.
    opened: bool,
    /// The last one did not.
    failed: bool,
}

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    /// Takes a received datagram. Whatever is in it costs a counter at most, unless an authenticated peer
    /// sent it.
    pub fn handle_datagram(&mut self, now: Instant, meta: &RecvMeta, mut datagram: BytesMut) {
        let now = self.clock.advance(now);
        self.count_datagram(datagram.len());
        match self.short_way(meta, &datagram) {
            Some(id) => {
                self.take_run(id, now, meta, &mut datagram, || None);
            }
            None => self.take_owned(now, meta, datagram),
        }
    }

    /// Takes datagrams that arrived together, as [`handle_datagram`](Self::handle_datagram) takes one, and for less: `train`
    /// holds them one after the other, of `size` bytes each (at least 1), only the last may be shorter. Packets are opened
    /// where they lie, so the bytes are of no use afterwards.
    pub fn handle_train(&mut self, now: Instant, meta: &RecvMeta, train: &mut [u8], size: usize) {
        let now = self.clock.advance(now);
        let (mut rest, size, side) = (train, size.max(1), self.side);
        loop {
            let datagram = cut_off(&mut rest, size);
            self.count_datagram(datagram.len());
            match self.short_way(meta, datagram) {
                None => {
                    let datagram = self.pool.copy(datagram);
                    self.take_owned(now, meta, datagram);
                }
                Some(id) => {
                    // a server finds the connection by the id in front, a client has only one
                    let cid = datagram.first_chunk::<8>().copied();
                    let run = self.take_run(id, now, meta, datagram, || {
                        let same = match side {
                            Side::Server => rest.first_chunk() == cid.as_ref(),
                            Side::Client => !looks_bare(rest),
                        };
                        (same && !rest.is_empty()).then(|| cut_off(&mut rest, size))
                    });
                    self.stats.datagrams_received += run.more.0;
                    self.stats.bytes_received += run.more.1;
                }
            }
            if rest.is_empty() {
                break;
            }
        }
    }

    fn count_datagram(&mut self, bytes: usize) {
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += bytes as u64;
    }

    fn take_owned(&mut self, now: Instant, meta: &RecvMeta, datagram: BytesMut) {
        match self.side {
            Side::Server => self.route_to_connection(now, meta, datagram, true),
            Side::Client => self.route_to_client(now, meta, datagram),
        }
    }

    /// The connection that a datagram must be for, if nobody else can want it.
    fn short_way(&self, meta: &RecvMeta, datagram: &[u8]) -> Option<ConnectionId> {
        if self.veil.is_some() {
            return None;
        }
        let id = match &self.router {
            Some(router) => router.ids.get(datagram.first_chunk::<8>()?).copied()?,
            None => {
                let mut ids = self.connections.ids();
                let only = ids.next().filter(|_| ids.next().is_none())?;
                let connection = self.connections.get(only)?;
                let expected = connection.remote() == meta.remote && connection.common.handshake.is_none();
                Some(only).filter(|_| expected && !looks_bare(datagram))?
            }
        };
        self.connections.get(id)?.extended().map(|_| id)
    }

    /// Has a connection take `first`, then what `next` gives, until nothing is left or the endpoint has to act on something.
    fn take_run<'d>(
        &mut self,
        id: ConnectionId,
        now: Instant,
        meta: &RecvMeta,
        first: &'d mut [u8],
        mut next: impl FnMut() -> Option<&'d mut [u8]>,
    ) -> Run {
        let (mut run, may_move) = (Run::default(), self.side == Side::Server);
        self.with_connection(id, |connection, env| {
            env.may_move = may_move;
            let mut datagram = first;
            loop {
                if !connection.receive_in_place(now, meta, datagram, env) {
                    run.failed = true;
                    break;
                }
                run.opened = true;
                if !env.changes.is_empty() {
                    break;
                }
                let Some(following) = next() else { break };
                run.more = (run.more.0 + 1, run.more.1 + following.len() as u64);
                datagram = following;
            }
        });
        if run.opened {
            self.mark_deliverable(id);
        }
        if run.failed && self.side == Side::Client {
            self.stats.unroutable += 1;
        }
        run
    }
}

/// The next datagram of a train.
fn cut_off<'d>(rest: &mut &'d mut [u8], size: usize) -> &'d mut [u8] {
    let train = std::mem::take(rest);
    let (datagram, after) = train.split_at_mut(size.min(train.len()));
    *rest = after;
    datagram
}

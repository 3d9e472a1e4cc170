//! The way out: which connection sends next, and from where to where.

use std::time::{Duration, Instant};

use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;

use super::Endpoint;
use super::connection::Env;
use super::handshake::client::HandshakeDatagram;
use super::transmit::{Route, TransmitBuf};
use crate::ConnectionId;
use crate::transport::Transmit;

/// Timers are no finer than this: what is overdue and cannot be done yet is looked at again after it.
const GRANULARITY: Duration = Duration::from_millis(1);

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    /// One train of datagrams of one connection: where it goes, and whether there is more.
    pub(super) fn transmit_connection(
        &mut self,
        id: ConnectionId,
        now: Instant,
        buf: &mut TransmitBuf,
    ) -> (Option<Route>, bool) {
        let Some(connection) = self.connections.get_mut(id) else { return (None, false) };
        let handshake = match &mut connection.common.handshake {
            Some(handshake) => handshake.poll_datagram(now),
            None => connection.take_dismissal().or_else(|| {
                let path = (connection.socket(), connection.remote());
                connection.revival_due(now).map(|offer| offer.datagram(path))
            }),
        };
        if let Some(datagram) = handshake {
            buf.push_datagram(&datagram.bytes);
            connection.on_handshake_sent(&datagram.bytes, now);
            return (Some(datagram.route()), true);
        }
        let mut env = Env {
            config: &self.config,
            outcome: &mut self.outcome,
            changes: &mut self.changes,
            entropy: &mut self.entropy,
            ids: self.router.as_ref().map(|router| &router.ids),
            may_move: false,
        };
        let (route, more) = connection.transmit(now, buf, &mut env);
        self.apply_changes(id);
        self.account(id);
        (route, more)
    }

    pub(super) fn transmit_handshake<'b>(
        &mut self,
        answer: &HandshakeDatagram,
        buf: &'b mut TransmitBuf,
    ) -> Transmit<'b> {
        buf.push_datagram(&answer.bytes);
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += answer.bytes.len() as u64;
        buf.transmit(answer.route())
    }

    pub(super) fn reschedule(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let soonest = self.clock.now() + GRANULARITY;
        let deadline = connection.next_deadline(&self.config).map(|at| at.max(soonest));
        self.deadlines.schedule(id, &mut connection.common.scheduled, deadline);
    }
}

//! The way out: which connection sends next, and from where to where.

use std::time::{Duration, Instant};

use fastwire_compress::Compressor;
use fastwire_congestion::CongestionController;
use fastwire_crypto::Cipher;

use super::Endpoint;
use super::connection::Env;
use super::handshake::client::HandshakeDatagram;
use super::handshake::looks_bare;
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
            let veiled =
                self.veil.as_ref().and_then(|veil| veil.cover(&datagram.bytes, &mut self.entropy, now));
            buf.push_datagram(veiled.as_deref().unwrap_or(&datagram.bytes));
            connection.on_handshake_sent(&datagram.bytes, buf.len(), now);
            return (Some(datagram.route()), true);
        }
        let mut env = Env {
            config: &self.config,
            outcome: &mut self.outcome,
            changes: &mut self.changes,
            entropy: &mut self.entropy,
            ids: self.router.as_ref().map(|router| &router.ids),
            uptime: self.clock.uptime(),
            pool: &mut self.pool,
            may_move: false,
        };
        let (route, more) = connection.transmit(now, buf, &mut env);
        // CONNECTED travels alone.
        if let Some(veil) = self.veil.as_ref().filter(|_| buf.segments() == 1)
            && let Some(veiled) = veil.cover(buf.contents(), &mut self.entropy, now)
        {
            let more = veiled.len().saturating_sub(buf.len());
            buf.clear();
            buf.push_datagram(&veiled);
            connection.common.counters.bytes_sent += more as u64;
        }
        self.apply_changes(id);
        self.account(id);
        (route, more)
    }

    pub(super) fn transmit_handshake<'b>(
        &mut self,
        answer: &HandshakeDatagram,
        buf: &'b mut TransmitBuf,
    ) -> Transmit<'b> {
        let now = self.clock.now();
        let veiled = self.veil.as_ref().and_then(|veil| veil.cover(&answer.bytes, &mut self.entropy, now));
        buf.push_datagram(veiled.as_deref().unwrap_or(&answer.bytes));
        if looks_bare(&answer.bytes) {
            self.note_handshake(answer.remote, true, &answer.bytes, now);
        }
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += buf.len() as u64;
        buf.transmit(answer.route())
    }

    pub(super) fn reschedule(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let soonest = self.clock.now() + GRANULARITY;
        let deadline = connection.next_deadline(&self.config);
        connection.common.deadline = deadline;
        // Only a new look is put off. Were the deadline itself, whoever sends more often than that would put it off for ever.
        let look = deadline.map(|at| at.max(soonest));
        self.deadlines.schedule(id, &mut connection.common.scheduled, look);
    }
}

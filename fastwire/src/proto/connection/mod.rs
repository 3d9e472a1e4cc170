//! One connection: what it has in any profile ([`Common`]), and the profile it speaks ([`Profile`]).
//!
//! Receive marks what is owed and never sends; transmit is the only way out; what time brings is in `liveness.rs`. `base`
//! and `extended` hold framing, acknowledgement and keys of their profile. The endpoint learns of it all through [`Change`]s.

/// Asks either profile the same question.
macro_rules! either {
    ($profile:expr, $it:ident => $answer:expr) => {
        match $profile {
            Profile::Base($it) => $answer,
            Profile::Extended($it) => $answer,
        }
    };
}

mod base;
mod common;
mod extended;
mod liveness;
mod path;
mod pressure;
mod rate;
mod revival;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fastwire_compress::Method;
use fastwire_congestion::{CongestionController, FirstRepeat};
use fastwire_crypto::{Cipher, CipherSuite, KeyError, prefetch};
use fastwire_reliability::extended::{Incoming, Polled, Undelivered};
use fastwire_reliability::{
    ChannelsConfig, ChannelsStats, PushError, ReceiveQuality, RecoveryProfile, Rtt, Terms,
};
use fastwire_wire::{CONTROL_PREFIX, ControlType, Features, FragmentFlags};

use self::base::Base;
use self::extended::Extended;
use self::revival::Revival;
use super::Side;
use super::client::Challenged;
use super::handshake::client::HandshakeDatagram;
use super::handshake::offer::Offer;
use super::session::{OpenedPacket, Session};
use super::transmit::{Route, TransmitBuf};
use crate::config::CommonConfig;
use crate::observe::Observed;
use crate::transport::{RecvMeta, SocketId};
use crate::{ConnectionError, ConnectionState, ConnectionStats, DisconnectReason, SendError};

pub(crate) use self::base::opens;
pub(crate) use self::common::{Change, Common, Env, Farewell};
pub(super) use self::extended::REPLACED;
pub use self::extended::ServerTime;
use super::handshake::BareControl;
use super::handshake::extended::COOKIE_LIFETIME;

/// Whether a datagram was this connection's.
pub(crate) enum Receipt {
    /// At least one packet in it opened.
    Opened,
    /// None did: somebody else may want it.
    NotOpened(BytesMut),
}

/// What framing, acknowledgements and keys a connection has. A client begins with the base profile and changes when
/// the server answers in the extended one.
pub(crate) enum Profile<C> {
    Base(Box<Base<C>>),
    Extended(Box<Extended<C>>),
}

/// One connection, established or on its way there.
pub(crate) struct Connection<C, G> {
    pub(crate) common: Common<C, G>,
    profile: Profile<C>,
}

impl<C: Cipher, G: CongestionController> Connection<C, G> {
    pub(crate) fn new(
        side: Side,
        path: (SocketId, SocketAddr),
        controller: G,
        config: &CommonConfig,
        now: Instant,
    ) -> Self {
        let base = Base::new(config, recovery_profile(&controller));
        Self {
            common: Common::new(side, path, controller, config, now),
            profile: Profile::Base(Box::new(base)),
        }
    }

    /// Hints that the profile will be used soon, once it is known where it lies.
    pub(crate) fn prefetch_profile(&self) {
        either!(&self.profile, it => prefetch(&**it));
    }

    /// The same of what lies apart from the profile.
    pub(crate) fn prefetch_parts(&self) {
        if let Profile::Extended(extended) = &self.profile {
            extended.prefetch_parts();
        }
    }

    pub(crate) fn side(&self) -> Side {
        self.common.side
    }

    pub(crate) fn state(&self) -> ConnectionState {
        self.common.state
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.common.path.remote
    }

    /// The way its datagrams take.
    pub(crate) fn route(&self) -> Route {
        self.common.path.route()
    }

    pub(crate) fn socket(&self) -> SocketId {
        self.common.path.socket
    }

    /// Keys and terms of a base connection; `None` before they are agreed, and in the extended profile.
    pub(crate) fn session(&self) -> Option<&Session<C>> {
        match &self.profile {
            Profile::Base(base) => base.session.as_ref(),
            Profile::Extended(_) => None,
        }
    }

    /// The extended profile's part; `None` in the base profile.
    pub(crate) fn extended(&self) -> Option<&Extended<C>> {
        match &self.profile {
            Profile::Base(_) => None,
            Profile::Extended(extended) => Some(extended),
        }
    }

    pub(crate) fn extended_mut(&mut self) -> Option<&mut Extended<C>> {
        match &mut self.profile {
            Profile::Base(_) => None,
            Profile::Extended(extended) => Some(extended),
        }
    }

    /// Whether a handshake has given it keys: from then on the application hears of its end.
    pub(crate) fn is_known(&self) -> bool {
        self.common.established_at.is_some()
    }

    /// Client: whether a handshake datagram may come: one is under way, has just been won, or asks beside a silent connection.
    pub(crate) fn expects_handshake(&self, now: Instant) -> bool {
        let recent = |at| now.saturating_duration_since(at) < COOKIE_LIFETIME;
        self.common.handshake.is_some()
            || self.common.revival.is_some()
            || self.common.established_at.is_some_and(recent)
    }

    /// Whether the peer has proved to be at its address.
    pub(crate) fn is_proved(&self) -> bool {
        self.common.path.allowance() == u64::MAX
    }

    pub(crate) fn suite(&self) -> Option<CipherSuite> {
        match &self.profile {
            Profile::Base(base) => Some(base.session.as_ref()?.suite),
            Profile::Extended(extended) => Some(extended.suite()),
        }
    }

    /// What messages are compressed with; `None` until that is agreed.
    pub(crate) fn compression(&self) -> Option<Method> {
        match &self.profile {
            Profile::Base(base) => Some(base.session.as_ref()?.compression),
            Profile::Extended(extended) => Some(extended.compression()),
        }
    }

    pub(crate) fn features(&self) -> Option<Features> {
        match &self.profile {
            Profile::Base(base) => Some(base.session.as_ref()?.features()),
            Profile::Extended(_) => Some(Features::EXTENDED),
        }
    }

    pub(crate) fn migration_token(&self) -> Option<[u8; 8]> {
        self.session()?.migration_token
    }

    /// Whether it can move to another local socket.
    pub(crate) fn can_rebind(&self) -> bool {
        self.extended().is_some() || self.migration_token().is_some()
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.path_rtt().smoothed()
    }

    fn path_rtt(&self) -> &Rtt {
        either!(&self.profile, it => it.channels.rtt())
    }

    pub(crate) fn export(&self, label: &[u8], out: &mut [u8]) -> Option<Result<(), KeyError>> {
        match &self.profile {
            Profile::Base(base) => Some(base.session.as_ref()?.export(label, out)),
            Profile::Extended(extended) => Some(extended.export(label, out)),
        }
    }

    /// Whether a CONNECT with this key is the one the connection began with.
    pub(crate) fn began_with(&self, client_key: &[u8; 32]) -> bool {
        self.common.client_key.as_ref() == Some(client_key)
    }

    /// The handshake before this connection existed: the client's key, bytes received and sent.
    pub(crate) fn credit_handshake(&mut self, client_key: [u8; 32], received: u64, sent: u64) {
        self.common.client_key = Some(client_key);
        self.common.counters.bytes_received += received;
        self.common.counters.bytes_sent += sent;
    }

    /// Takes the keys and terms of a finished handshake of the base profile.
    pub(crate) fn establish(
        &mut self,
        session: Session<C>,
        path: (SocketId, SocketAddr),
        now: Instant,
        env: &mut Env<'_>,
    ) {
        if let Profile::Base(base) = &mut self.profile {
            base.establish(&mut self.common, session, path, now, env);
        }
    }

    /// Takes up the extended profile. What was queued while it was not known goes along. Gives what the peer does not take.
    pub(super) fn turn_extended(&mut self, mut extended: Extended<C>, now: Instant) -> Option<PushError> {
        let mut refused = None;
        if let Profile::Base(base) = &mut self.profile {
            for (channel, message, content, terms) in base.channels.take_queue() {
                let pushed = extended.channels.push_with(channel, &message, content, &terms, now);
                if let Err(error) = pushed {
                    extended.channels.lose(channel, &terms);
                    refused = refused.or(Some(error));
                }
            }
            // of what had left under keys that nobody needs any more
            base.channels.settle_receipts();
            extended.channels.adopt_receipts(std::iter::from_fn(|| base.channels.poll_receipt()));
        }
        self.profile = Profile::Extended(Box::new(extended));
        refused
    }

    /// A CHALLENGE of the base profile was answered: what is sent from now on goes under its keys.
    pub(crate) fn on_candidate(&mut self) {
        if let Profile::Base(base) = &mut self.profile {
            base.on_candidate(&mut self.common);
        }
    }

    /// Takes a datagram that may be for this connection. `bare` is what it reads as without keys.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        datagram: BytesMut,
        bare: Option<&BareControl>,
        env: &mut Env<'_>,
    ) -> Receipt {
        match &mut self.profile {
            Profile::Base(base) => base.receive(&mut self.common, now, meta, datagram, bare, env),
            Profile::Extended(extended) => {
                let mut datagram = datagram;
                let opened = extended.receive(&mut self.common, now, meta, &mut datagram, env);
                if opened { Receipt::Opened } else { Receipt::NotOpened(datagram) }
            }
        }
    }

    /// Takes a datagram of the extended profile where it lies. Gives whether it opened; its bytes are of no use afterwards.
    pub(crate) fn receive_in_place(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        datagram: &mut [u8],
        env: &mut Env<'_>,
    ) -> bool {
        match &mut self.profile {
            Profile::Base(_) => false,
            Profile::Extended(extended) => extended.receive(&mut self.common, now, meta, datagram, env),
        }
    }

    /// A RESPONSE of the extended profile came again.
    pub(crate) fn on_response_again(&mut self, now: Instant) {
        if let Profile::Extended(extended) = &mut self.profile {
            extended.on_response_again(&mut self.common, now);
        }
    }

    /// The application lets a half-open connection's client in.
    pub(crate) fn let_in(&mut self) {
        if let Profile::Extended(extended) = &mut self.profile {
            extended.let_in(&mut self.common);
        }
    }

    /// Takes the packets of a datagram of the base profile that were opened in place.
    pub(crate) fn receive_opened(
        &mut self,
        now: Instant,
        meta: &RecvMeta,
        datagram: BytesMut,
        opened: &[OpenedPacket],
        env: &mut Env<'_>,
    ) {
        if let Profile::Base(base) = &mut self.profile {
            base.receive_opened(&mut self.common, now, meta, datagram, opened, env);
        }
    }

    /// Fills `buf` with datagrams that are due. Gives their way, and whether there may be more: the buffer was full.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        buf: &mut TransmitBuf,
        env: &mut Env<'_>,
    ) -> (Option<Route>, bool) {
        match &mut self.profile {
            Profile::Base(base) => {
                let more = base.transmit(&mut self.common, now, buf, env);
                ((!buf.is_empty()).then(|| self.common.path.route()), more)
            }
            Profile::Extended(extended) => extended.transmit(&mut self.common, now, buf, env),
        }
    }

    /// Queues a message. `content` says how it was compressed.
    pub(crate) fn enqueue(
        &mut self,
        message: Bytes,
        channel: u8,
        content: FragmentFlags,
        terms: &Terms,
        now: Instant,
    ) -> Result<(), SendError> {
        if !matches!(self.common.state, ConnectionState::Connecting | ConnectionState::Connected) {
            return Err(SendError::ConnectionClosed);
        }
        let (bytes, mut message) = (message.len(), message);
        let pushed = match &mut self.profile {
            Profile::Base(base) => base.channels.push_with(channel, &message, content, terms, now),
            Profile::Extended(it) => it.channels.push_taking(channel, &mut message, content, terms, now),
        };
        pushed.map_err(|error| match error {
            PushError::InvalidChannel { channel, channels } => {
                SendError::InvalidChannel { channel, last: (channels - 1) as u8 }
            }
            PushError::MessageTooLarge { len, max } => SendError::MessageTooLarge { len, max },
            PushError::NoReceipt { channel } => SendError::NoReceipt(channel),
            PushError::Finished { channel } => SendError::StreamEnded(channel),
            _ => SendError::QueueFull(message),
        })?;
        self.common.counters.messages_sent += 1;
        self.common.observe(now, || Observed::MessageQueued { channel, bytes });
        Ok(())
    }

    /// Queues a short message of an unreliable channel as it is. Gives false if it was not taken:
    /// [`enqueue`](Self::enqueue) tells why, or takes it.
    pub(crate) fn enqueue_small(&mut self, message: &[u8], channel: u8, now: Instant) -> bool {
        let open = matches!(self.common.state, ConnectionState::Connecting | ConnectionState::Connected);
        let Profile::Extended(extended) = &mut self.profile else { return false };
        if !open || !extended.channels.push_small(channel, message, now) {
            return false;
        }
        self.common.counters.messages_sent += 1;
        self.common.observe(now, || Observed::MessageQueued { channel, bytes: message.len() });
        true
    }

    /// What became of a message whose sender asked.
    pub(crate) fn poll_receipt(&mut self) -> Option<fastwire_reliability::Receipt> {
        either!(&mut self.profile, it => it.channels.poll_receipt())
    }

    /// The connection is over: what has no receipt yet is lost.
    pub(crate) fn settle_receipts(&mut self) {
        either!(&mut self.profile, it => it.channels.settle_receipts());
    }

    /// The next message for the application, as it travelled, or the end of a stream.
    pub(crate) fn poll_delivery(&mut self) -> Option<Incoming> {
        match &mut self.profile {
            Profile::Base(base) => base.channels.poll_delivery().map(Incoming::Message),
            Profile::Extended(extended) => extended.poll_delivery(),
        }
    }

    /// The same for who needs no owner of the bytes: those of a short message may be copied to `into`.
    #[inline]
    pub(crate) fn poll_delivery_into(&mut self, into: &mut Vec<u8>) -> Option<Polled> {
        match &mut self.profile {
            Profile::Base(base) => {
                base.channels.poll_delivery().map(|delivery| Polled::Owned(Incoming::Message(delivery)))
            }
            Profile::Extended(extended) => extended.channels.poll_delivery_into(into),
        }
    }

    #[inline]
    pub(crate) fn on_delivered(&mut self, channel: u8, bytes: usize, now: Instant) {
        self.common.counters.messages_received += 1;
        self.common.observe(now, || Observed::MessageDelivered { channel, bytes });
    }

    pub(crate) fn on_undecodable(&mut self) {
        self.common.counters.undecodable += 1;
    }

    /// A message could not be expanded: on a reliable channel that ends the connection (PROTOCOL A6 rule 4).
    pub(crate) fn fail_decompression(&mut self, why: String, now: Instant, env: &mut Env<'_>) {
        self.common.fail(ConnectionError::Decompression(why), now, env);
    }

    pub(crate) fn is_reliable(&self, channel: u8) -> bool {
        let mode = either!(&self.profile, it => it.channels.layout().mode(channel));
        mode.is_some_and(|mode| mode.is_reliable())
    }

    /// A datagram of the handshake left, as one of `bytes`.
    pub(crate) fn on_handshake_sent(&mut self, datagram: &[u8], bytes: usize, now: Instant) {
        self.common.observe(now, || {
            let kind = datagram.strip_prefix(&CONTROL_PREFIX).and_then(|payload| payload.first());
            // Only the base profile's RESPONSE is sealed.
            let kind = kind.and_then(|kind| ControlType::from_id(*kind)).unwrap_or(ControlType::Response);
            Observed::HandshakeSent { kind, bytes }
        });
        self.common.counters.bytes_sent += bytes as u64;
        self.common.counters.datagrams_sent += 1;
    }

    pub(crate) fn on_send_error(&mut self) {
        self.common.counters.send_errors += 1;
    }

    /// Begins to close: queued reliable messages may leave for `linger`, then the peer is told.
    pub(crate) fn close(
        &mut self,
        reason: DisconnectReason,
        farewell: Farewell,
        linger: Duration,
        now: Instant,
        env: &mut Env<'_>,
    ) {
        if self.common.closing.is_none() {
            self.common.farewell = farewell;
        }
        let idle = either!(&self.profile, it => it.channels.is_idle());
        self.common.close(reason, linger, idle, now, env);
    }

    /// Over, without another word.
    pub(crate) fn end(&mut self, reason: DisconnectReason, env: &mut Env<'_>) {
        self.common.end(reason, env);
    }

    /// Moves to another local socket; the peer learns of it with the next packet.
    pub(crate) fn rebind(&mut self, socket: SocketId, now: Instant) {
        let old = std::mem::replace(&mut self.common.path.socket, socket);
        let rto = either!(&self.profile, it => it.channels.rto());
        self.common.retiring.push((old, now + rto * 3));
        self.common.owed.heartbeat = true;
        self.common.on_migrated(now);
        if let Profile::Extended(extended) = &mut self.profile {
            extended.on_rebound();
        }
    }

    pub(crate) fn retiring_sockets(&self) -> impl Iterator<Item = SocketId> + '_ {
        self.common.retiring.iter().map(|(socket, _)| *socket)
    }

    pub(crate) fn take_dismissal(&mut self) -> Option<HandshakeDatagram> {
        self.common.dismissals.pop()
    }

    /// What the peer said of the end.
    pub(crate) fn take_told(&mut self) -> Farewell {
        self.extended_mut().map(|extended| std::mem::take(&mut extended.told)).unwrap_or_default()
    }

    /// Reliable messages that were not wholly acknowledged.
    pub(crate) fn undelivered(&self) -> Vec<Undelivered> {
        let extended = self.extended().filter(|_| !self.common.is_shed);
        extended.map(|extended| extended.channels.undelivered().collect()).unwrap_or_default()
    }

    /// Bytes of messages held: partial, undelivered, waiting to leave or to be acknowledged.
    pub(crate) fn memory(&self) -> u64 {
        either!(&self.profile, it => {
            let waiting = it.channels.queued_bytes() + it.channels.queued_messages() * QUEUED_OVERHEAD;
            (it.memory_held() + waiting) as u64 + it.channels.in_flight().0
        })
    }

    /// Ends because all connections together held too much and this one the most: without what it holds. Gives its farewell.
    pub(crate) fn shed(&mut self, now: Instant, env: &mut Env<'_>) -> Option<HandshakeDatagram> {
        self.common.is_shed = true;
        self.common.fail(ConnectionError::ServerMemory { held: self.common.charged }, now, env);
        let mut buf = TransmitBuf::new(1);
        let (route, _) = self.transmit(now, &mut buf, env);
        self.common.end(DisconnectReason::Error, env);
        let route = route?;
        let bytes = buf.transmit(route).contents.to_vec();
        Some(HandshakeDatagram { socket: route.socket, remote: route.remote, source: route.source, bytes })
    }

    /// Everything [`ConnectionStats`] tells.
    pub(crate) fn stats(&self, now: Instant) -> ConnectionStats {
        let rtt = self.path_rtt();
        let channels: ChannelsStats = either!(&self.profile, it => it.channels.stats());
        let (bytes_in_flight, packets_in_flight) = either!(&self.profile, it => it.channels.in_flight());
        let common = &self.common;
        let counters = &common.counters;
        let fec = self.extended().map(Extended::fec_counts).unwrap_or_default();
        ConnectionStats {
            rtt: rtt.smoothed(),
            rtt_variance: rtt.variance(),
            latest_rtt: rtt.latest(),
            min_rtt: rtt.min(),
            rto: either!(&self.profile, it => it.channels.rto()),
            packet_loss: either!(&self.profile, it => it.channels.loss()),
            bytes_sent: counters.bytes_sent,
            bytes_received: counters.bytes_received,
            packets_sent: counters.packets_sent,
            packets_received: counters.packets_received,
            datagrams_sent: counters.datagrams_sent,
            datagrams_received: counters.datagrams_received,
            messages_sent: counters.messages_sent,
            messages_received: counters.messages_received,
            congestion_window: common.pressure.window_packets(),
            bytes_in_flight,
            packets_in_flight,
            send_queue_bytes: either!(&self.profile, it => it.channels.queued_bytes()) as u64,
            uptime: common.established_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
            send_bandwidth: common.sent_bandwidth.rate(now),
            recv_bandwidth: common.received_bandwidth.rate(now),
            retransmits: channels.retransmits,
            spurious_retransmits: channels.spurious,
            probes: channels.probes,
            duplicates: channels.duplicates,
            replayed: counters.replayed,
            forged: counters.forged,
            malformed: counters.malformed,
            over_budget: channels.over_budget,
            stale: channels.stale,
            incomplete: channels.incomplete_dropped,
            undecodable: counters.undecodable,
            send_errors: counters.send_errors,
            migrations: counters.migrations,
            redundant_copies: channels.copies,
            fec_sent: fec.sent,
            fec_recovered: fec.recovered,
            fec_useless: fec.useless,
            fec_dropped: fec.dropped,
            expired: channels.expired,
            superseded: channels.superseded,
            throttled: common.intake.throttled(),
            memory_held: either!(&self.profile, it => it.memory_held()) as u64,
            path_mtu: match &self.profile {
                Profile::Base(base) => base.path_mtu(),
                Profile::Extended(extended) => extended.path_mtu(),
            },
        }
    }

    /// What the receiver can say about an unreliable channel; `None`: no such channel.
    pub(crate) fn receive_quality(&self, channel: u8) -> Option<ReceiveQuality> {
        either!(&self.profile, it => {
            it.channels.layout().mode(channel)?;
            Some(it.channels.receive_quality(channel))
        })
    }

    pub(crate) fn max_message(&self) -> usize {
        either!(&self.profile, it => it.channels.max_message())
    }

    /// A round trip that the handshake measured.
    pub(crate) fn seed_rtt(&mut self, sample: Duration, now: Instant) {
        either!(&mut self.profile, it => it.channels.seed_rtt(sample, now));
    }

    /// The offer of a CONNECT that is due beside a silent connection, if one is.
    pub(crate) fn revival_due(&mut self, now: Instant) -> Option<&Offer> {
        let revival = self.common.revival.as_mut()?;
        revival.due(now).then_some(&revival.offer)
    }

    /// Takes a CHALLENGE that came beside the live connection.
    pub(crate) fn handle_revival_challenge(
        &mut self,
        challenge: &Challenged,
        config: &CommonConfig,
        now: Instant,
    ) {
        // Without the back-off, which has grown with the very silence that is in question.
        let rtt = self.path_rtt();
        let rto = match &self.profile {
            Profile::Base(_) => rtt.rto(),
            // An extended peer answers a PING at once: three round trips tell, however uncertain the first samples were.
            Profile::Extended(_) => rtt.rto().min(rtt.smoothed().max(LAST_CALL_ROUND)),
        };
        let end = self.common.last_heard + config.connection_timeout;
        if let Some(revival) = &mut self.common.revival
            && revival.handle_challenge(challenge, rto, end, now)
        {
            self.common.owed.heartbeat = true;
            // This socket reaches the server. From another one the server would not know us at first, and answer CONNECT without
            // the sign of life that goes with it.
            self.common.rebind_at = None;
        }
    }

    /// The peer asks, beside this connection, whether it is still there: it is.
    pub(crate) fn on_asked_after(&mut self) {
        self.common.owed.heartbeat = true;
    }

    /// Takes over from a connection that was given up: its handshake so far.
    pub(crate) fn take_revival(&mut self, now: Instant) -> Option<(Box<Revival>, Challenged)> {
        let own = match &self.profile {
            Profile::Base(base) => base.own_peer,
            Profile::Extended(_) => true,
        };
        let challenge = self.common.revival.as_ref()?.verdict(own, now)?.clone();
        Some((self.common.revival.take()?, challenge))
    }

    pub(crate) fn wants_revival(&self, config: &CommonConfig, now: Instant) -> bool {
        config.reconnect
            && self.common.state == ConnectionState::Connected
            && self.common.revival.is_none()
            && (self.common.resumed
                || now.saturating_duration_since(self.common.last_heard) >= self.silence_unasked(config))
    }

    /// Whether the silence is long enough to try another local socket: the old one may be of a network that is gone, or a NAT
    /// may have forgotten it. Once a silence.
    pub(crate) fn rebind_due(&mut self, now: Instant) -> bool {
        let due = self.common.rebind_at.take_if(|at| now >= *at).is_some();
        if let Some(revival) = self.common.revival.as_mut().filter(|_| due) {
            // what is asked from there has to be answered there
            revival.start_over(now);
        }
        due
    }

    /// Nobody drove the endpoint for long: the server may have given us up. Unless it was heard just now, it is asked.
    pub(crate) fn on_resumed(&mut self, now: Instant) {
        const JUST_NOW: Duration = Duration::from_millis(500);
        if now.saturating_duration_since(self.common.last_heard) >= JUST_NOW {
            self.common.resumed = true;
            self.common.owed.heartbeat = true;
            // The gap is nobody's silence: what was asked before it is asked again, and waits anew.
            if let Some(revival) = &mut self.common.revival {
                revival.start_over(now);
            }
            if let Some(at) = &mut self.common.rebind_at {
                *at = now + REBIND_AFTER;
            }
        }
    }

    pub(crate) fn start_revival(&mut self, offer: Offer, now: Instant) {
        if self.extended().is_some() {
            self.common.rebind_at = Some(now + self.path_rtt().rto().max(REBIND_AFTER));
        }
        self.common.revival = Some(Box::new(Revival::new(offer, now)));
    }
}

/// What a queued message takes beside its bytes, roughly: its entry in the queue and the handle of its bytes.
const QUEUED_OVERHEAD: usize = 96;

/// A third of the time, at least, that a silent server of the extended profile gets to be heard once it answered CONNECT.
const LAST_CALL_ROUND: Duration = Duration::from_millis(150);

/// How long a question to a silent server waits before it is asked from another socket.
const REBIND_AFTER: Duration = Duration::from_millis(300);

/// How eagerly the channels repeat under this controller.
fn recovery_profile(controller: &impl CongestionController) -> RecoveryProfile {
    let profile = controller.recovery_profile();
    RecoveryProfile {
        fast_retransmit_threshold: profile.fast_retransmit_threshold,
        half_first_rto: profile.first_repeat == FirstRepeat::HalfRto,
    }
}

/// What the channels of either profile take from the configuration.
fn channels_config(config: &CommonConfig) -> ChannelsConfig {
    let mut channels = ChannelsConfig::default();
    channels.max_queued_bytes = config.limits.send_queue_bytes;
    channels.max_queued_messages = config.limits.send_queue_messages;
    channels.receive_budget = Some(config.limits.receive_budget);
    channels.fragment_timeout = config.fragment_timeout;
    channels.max_retransmits = config.max_retransmits;
    channels.connection_timeout = config.connection_timeout;
    channels.channels = config.channel_configs.clone();
    channels
}

//! What an application may ask of an endpoint: connect, send, close, look.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_compress::{Algorithm, Compressed, Compressor, Encoding, Method};
use fastwire_congestion::CongestionController;
use fastwire_crypto::{Cipher, CipherSuite, KeyPair, PublicKey};
use fastwire_reliability::extended::{SMALL_MESSAGE, Undelivered};
use fastwire_reliability::{ReceiveQuality, Terms};
use fastwire_wire::{Control, Features, FragmentFlags, Reject, RejectReason};

use super::admission::{Admission, Arriving};
use super::connection::{Farewell, ServerTime};
use super::delivery::collect_receipts;
use super::handshake::client::{ClientHandshake, HandshakeDatagram, SocketRequest};
use super::handshake::offer::{Offer, bare_refusal};
use super::transmit::Route;
use super::{Endpoint, Side};
use crate::config::Counters;
use crate::payload::Payload;
use crate::transport::SocketId;
use crate::{
    ConfigError, ConnectError, ConnectionId, ConnectionState, ConnectionStats, DisconnectReason,
    EndpointStats, Profile, ReceiptId, Refusal, SendError, SendOptions, ServerInfo, TokenClaims,
    UnknownConnection,
};

/// How a message may travel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrap {
    pub(super) may_compress: bool,
    pub(super) stamped: bool,
}

impl<C: Cipher, Z: Compressor, G: CongestionController> Endpoint<C, Z, G> {
    /// Starts to connect to a server that has these addresses; they are tried 250 ms apart, and the first
    /// that answers wins (RFC 8305). Messages may be queued at once.
    ///
    /// # Errors
    /// [`ConnectError::NotAClient`], [`ConnectError::NoAddress`], or [`ConnectError::AlreadyConnected`].
    pub fn connect(&mut self, now: Instant, remotes: &[SocketAddr]) -> Result<ConnectionId, ConnectError> {
        let now = self.clock.advance(now);
        if self.router.is_some() {
            return Err(ConnectError::NotAClient);
        }
        if let Some(id) = self.connections.ids().next() {
            return Err(ConnectError::AlreadyConnected(id));
        }
        let first = *remotes.first().ok_or(ConnectError::NoAddress)?;
        let offer = Offer::draw(&self.config, &mut self.entropy);
        let timeout = self.config.handshake_timeout;
        let handshake = ClientHandshake::new(remotes, self.home, offer, timeout, now);
        let id = self.add_connection((self.home, first), now);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.common.handshake = handshake.map(Box::new);
        }
        self.with_connection(id, |_, _| {});
        Ok(id)
    }

    /// Queues a message. It leaves with the next [`poll_transmit`](Self::poll_transmit) that the
    /// congestion window has room for.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued then, and [`SendError::QueueFull`] hands the message back.
    pub fn send(
        &mut self,
        now: Instant,
        id: ConnectionId,
        data: impl Payload,
        channel: u8,
    ) -> Result<(), SendError> {
        if data.borrowed().is_some_and(|message| self.send_small(now, id, message, channel)) {
            return Ok(());
        }
        let now = self.clock.advance(now);
        let message = data.into_bytes(&mut self.pool);
        self.send_bytes(now, id, message, channel, &SendOptions::new()).map(drop)
    }

    /// Queues a short unreliable message with neither compression nor shared memory. Gives false if it was not taken:
    /// [`send`](Self::send) tells why, or takes it.
    pub(crate) fn send_small(&mut self, now: Instant, id: ConnectionId, message: &[u8], channel: u8) -> bool {
        if message.len() > SMALL_MESSAGE {
            return false;
        }
        let now = self.clock.advance(now);
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let method = connection.compression().filter(|method| method.algorithm != Algorithm::None);
        let as_it_is = method.is_none() || self.config.uncompressed_channels.contains(&channel);
        if !as_it_is || !connection.enqueue_small(message, channel, now) {
            return false;
        }
        self.on_queued(id);
        true
    }

    /// A message was queued.
    #[inline]
    fn on_queued(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.common.is_ready {
            connection.common.is_ready = true;
            self.ready.push_back(id);
        }
        collect_receipts(id, connection, &mut self.events);
        self.account(id);
    }

    /// As [`send`](Self::send), with something special: a receipt, an end of its usefulness. Gives the receipt's name, if one
    /// was asked for: an [`Event::Receipt`](crate::Event::Receipt) with it will come, once.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::NoReceipt`]; no receipt will come then.
    pub fn send_with(
        &mut self,
        now: Instant,
        id: ConnectionId,
        data: impl Payload,
        channel: u8,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        let now = self.clock.advance(now);
        let message = data.into_bytes(&mut self.pool);
        self.send_bytes(now, id, message, channel, &options)
    }

    /// As [`send`](Self::send), but never compressed: for secrets that stand beside text an attacker may
    /// choose, whose compressed size would give them away.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_uncompressed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        data: impl Payload,
        channel: u8,
    ) -> Result<(), SendError> {
        let now = self.clock.advance(now);
        let message = data.into_bytes(&mut self.pool);
        self.send_bytes(now, id, message, channel, &SendOptions::new().uncompressed()).map(drop)
    }

    fn send_bytes(
        &mut self,
        now: Instant,
        id: ConnectionId,
        message: Bytes,
        channel: u8,
        options: &SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        if self.config.channel_layout.stream_opener(channel).is_some() {
            return Err(SendError::StreamChannel(channel));
        }
        let mut terms = Terms::NONE;
        if options.receipt {
            let name = options.id.unwrap_or_else(|| {
                self.receipts += 1;
                ReceiptId::of_endpoint(self.receipts)
            });
            terms = terms.receipt(name.0);
        }
        if let Some(time) = options.expires_after {
            // what lies beyond all time never expires
            terms.expires_at = now.checked_add(time);
        }
        let wrap = Wrap { may_compress: !options.uncompressed, stamped: options.stamped };
        self.queue_bytes(now, id, message, channel, wrap, &terms)?;
        Ok(terms.receipt.map(ReceiptId))
    }

    /// Queues what may be a message or a part of a stream.
    pub(super) fn queue_bytes(
        &mut self,
        now: Instant,
        id: ConnectionId,
        message: Bytes,
        channel: u8,
        wrap: Wrap,
        terms: &Terms,
    ) -> Result<(), SendError> {
        let connection = self.connections.get(id).ok_or(SendError::ConnectionClosed)?;
        let method = connection.compression();
        let may_compress = wrap.may_compress && !self.config.uncompressed_channels.contains(&channel);
        let method = method.filter(|method| may_compress && method.algorithm != Algorithm::None);
        let wire = method.and_then(|method| self.compress(method, &message));
        let (mut wire, mut content, mut original) = match wire {
            Some((wire, content)) => (wire, content, Some(message)),
            None => (message, FragmentFlags::EMPTY, None),
        };
        if wrap.stamped
            && let Some(stamp) = self.stamp(id)
        {
            let stamped = self.behind(stamp, &wire);
            content = content | FragmentFlags::STAMPED;
            original = original.or(Some(wire));
            wire = stamped;
        }
        let connection = self.connections.get_mut(id).ok_or(SendError::ConnectionClosed)?;
        let result = connection.enqueue(wire, channel, content, terms, now);
        self.on_queued(id);
        // The caller gets back what it gave, not what would have travelled.
        match result {
            Err(SendError::QueueFull(wire)) => {
                let message = original.unwrap_or(wire);
                self.compressions.refuse(&message);
                Err(SendError::QueueFull(message))
            }
            other => other,
        }
    }

    /// How a message travels, if not as it is. What was just compressed for another connection is not compressed again.
    fn compress(&mut self, method: Method, message: &Bytes) -> Option<(Bytes, FragmentFlags)> {
        self.compressions.take_up(message);
        if let Some(wire) = self.compressions.find(method, message) {
            self.stats.compressions_shared += 1;
            return wire;
        }
        self.scratch.clear();
        // What cannot be compressed travels as it is.
        let compressed = self.parts.compressor.compress(method, message, &mut self.scratch);
        let wire = match compressed {
            Ok(Compressed::Smaller(encoding, _)) => {
                let content = match encoding {
                    Encoding::Zstd => FragmentFlags::COMPRESSED | FragmentFlags::ZSTD,
                    _ => FragmentFlags::COMPRESSED,
                };
                Some((self.compressed.copy(&self.scratch).freeze(), content))
            }
            _ => None,
        };
        self.compressions.remember(method, message.clone(), wire.clone());
        wire
    }

    /// Queues one message for several connections: compressed once, its bytes shared, sealed for each. Gives those it was not
    /// queued for, and why.
    pub fn broadcast(
        &mut self,
        now: Instant,
        ids: impl IntoIterator<Item = ConnectionId>,
        data: impl Payload,
        channel: u8,
    ) -> Vec<(ConnectionId, SendError)> {
        let now = self.clock.advance(now);
        let message = data.into_bytes(&mut self.pool);
        let send =
            |id| Some((id, self.send_bytes(now, id, message.clone(), channel, &SendOptions::new()).err()?));
        ids.into_iter().filter_map(send).collect()
    }

    /// Lets a client in that [`Event::Authorize`](crate::Event::Authorize) told of.
    ///
    /// # Errors
    /// [`UnknownConnection`] if it does not wait for that: it was answered, or gave up.
    pub fn accept(&mut self, now: Instant, id: ConnectionId) -> Result<(), UnknownConnection> {
        self.clock.advance(now);
        self.waiting_client(id)?;
        self.with_connection(id, |connection, _| connection.let_in());
        Ok(())
    }

    /// Turns a client away that [`Event::Authorize`](crate::Event::Authorize) told of. It sees
    /// [`ConnectError::NotAuthorised`].
    ///
    /// # Errors
    /// [`UnknownConnection`] if it does not wait for an answer.
    pub fn refuse(&mut self, now: Instant, id: ConnectionId) -> Result<(), UnknownConnection> {
        self.refuse_with(now, id, Refusal::default())
    }

    /// As [`refuse`](Self::refuse), for another reason.
    ///
    /// # Errors
    /// As [`refuse`](Self::refuse).
    pub fn refuse_with(
        &mut self,
        now: Instant,
        id: ConnectionId,
        reason: Refusal,
    ) -> Result<(), UnknownConnection> {
        self.clock.advance(now);
        let (path, nonce) = self.waiting_client(id)?;
        let reason = match reason {
            Refusal::NotAuthorised => RejectReason::NOT_AUTHORISED,
            Refusal::Banned => RejectReason::BANNED,
            Refusal::ServerFull => RejectReason::SERVER_FULL,
        };
        let reject = Control::Reject(Reject { reason });
        let Route { socket, remote, source } = path;
        self.answer(HandshakeDatagram { socket, remote, source, bytes: bare_refusal(&reject, nonce) });
        self.stats.rejected += 1;
        self.with_connection(id, |connection, env| connection.end(DisconnectReason::Rejected, env));
        Ok(())
    }

    /// Whether a client waits to be let in.
    #[cfg(feature = "tokio")]
    pub(crate) fn awaits_verdict(&self, id: ConnectionId) -> bool {
        self.waiting_client(id).is_ok()
    }

    /// The way to, and nonce of, a client that waits to be let in.
    fn waiting_client(&self, id: ConnectionId) -> Result<(Route, [u8; 8]), UnknownConnection> {
        let connection = self.connections.get(id).ok_or(UnknownConnection(id))?;
        let waits = connection.extended().filter(|extended| extended.awaits_verdict());
        let nonce = waits.ok_or(UnknownConnection(id))?.client_nonce();
        Ok((connection.route(), nonce))
    }

    /// What a client's application sent to be let in: at most 512 bytes, empty if it sent nothing. `None`: no connection of the
    /// extended profile.
    pub fn client_auth(&self, id: ConnectionId) -> Option<&Bytes> {
        Some(self.connections.get(id)?.extended()?.auth())
    }

    /// What a client's connect token says; `None` if it had none.
    pub fn token_claims(&self, id: ConnectionId) -> Option<&TokenClaims> {
        self.connections.get(id)?.extended()?.claims()
    }

    /// The server's identity key, pinned or learned, on either end of an extended connection. Who stores it and pins it the next
    /// time knows that it is the same server.
    pub fn server_key(&self, id: ConnectionId) -> Option<PublicKey> {
        Some(PublicKey::from(self.connections.get(id)?.extended()?.server_key()))
    }

    /// Which profile a connection speaks; `None` while that is open.
    pub fn profile(&self, id: ConnectionId) -> Option<Profile> {
        let connection = self.connections.get(id)?;
        match (connection.extended(), connection.session()) {
            (Some(_), _) => Some(Profile::Extended),
            (None, Some(_)) => Some(Profile::Base),
            (None, None) => None,
        }
    }

    /// Closes a connection gracefully: queued reliable messages leave first, for at most the linger time;
    /// then the peer is told. Never blocks. `Disconnected` tells when it is over.
    ///
    /// # Errors
    /// [`UnknownConnection`] if it is over already.
    pub fn close(&mut self, now: Instant, id: ConnectionId) -> Result<(), UnknownConnection> {
        self.close_with(now, id, DisconnectReason::Graceful, Farewell::default(), self.config.linger)
    }

    /// Closes a connection without waiting for what is queued.
    ///
    /// # Errors
    /// [`UnknownConnection`] if it is over already.
    pub fn close_now(&mut self, now: Instant, id: ConnectionId) -> Result<(), UnknownConnection> {
        self.close_with(now, id, DisconnectReason::Graceful, Farewell::default(), Duration::ZERO)
    }

    /// Closes a connection as [`close`](Self::close) does and has the peer told why: a code of the application's own and a
    /// text of at most 255 bytes, which [`farewell`](Self::farewell) shows there. The base profile has no room for either.
    ///
    /// # Errors
    /// [`UnknownConnection`] if it is over already.
    pub fn close_saying(
        &mut self,
        now: Instant,
        id: ConnectionId,
        code: u16,
        text: &str,
    ) -> Result<(), UnknownConnection> {
        let farewell = Farewell { code, text: text.to_owned(), ..Farewell::default() };
        self.close_with(now, id, DisconnectReason::Graceful, farewell, self.config.linger)
    }

    /// What the peer said when it closed: a code of its application's own and a text. To be asked after `Disconnected`, before
    /// the next event is polled; 0 and nothing where it said nothing.
    pub fn farewell(&self, id: ConnectionId) -> Option<(u16, &str)> {
        let farewell = &self.ended.get(id)?.farewell;
        Some((farewell.code, &farewell.text))
    }

    /// The reliable messages that a connection could not deliver: sent or queued, and not wholly acknowledged, oldest first on
    /// each channel. To be asked after `Disconnected`, before the next event is polled. Extended profile.
    pub fn undelivered(&self, id: ConnectionId) -> &[Undelivered] {
        self.ended.get(id).map_or(&[], |ended| &ended.undelivered)
    }

    /// Throws a client out. `text` says why, in the server's log and (at most 255 bytes) to an extended peer; the base profile
    /// has no room for it on the wire, so a text the client shall read is sent as a message before.
    ///
    /// # Errors
    /// [`UnknownConnection`] if it is over already.
    pub fn kick(&mut self, now: Instant, id: ConnectionId, text: &str) -> Result<(), UnknownConnection> {
        tracing::info!(connection = %id, text, "kicked");
        let farewell = Farewell { text: text.to_owned(), ..Farewell::default() };
        self.close_with(now, id, DisconnectReason::Kicked, farewell, Duration::ZERO)
    }

    fn close_with(
        &mut self,
        now: Instant,
        id: ConnectionId,
        reason: DisconnectReason,
        farewell: Farewell,
        linger: Duration,
    ) -> Result<(), UnknownConnection> {
        let now = self.clock.advance(now);
        self.connections.get(id).ok_or(UnknownConnection(id))?;
        self.with_connection(id, |connection, env| connection.close(reason, farewell, linger, now, env));
        Ok(())
    }

    /// Forgets a connection at once, without telling the peer: it will time out there.
    pub fn abort(&mut self, now: Instant, id: ConnectionId) {
        self.clock.advance(now);
        self.with_connection(id, |connection, env| connection.end(DisconnectReason::Graceful, env));
    }

    /// Moves a client's connection to a new local socket, as after a change of network. In the base profile that needs
    /// connection migration, agreed by both sides.
    ///
    /// # Errors
    /// [`RebindError`].
    pub fn rebind(&mut self, now: Instant, id: ConnectionId) -> Result<(), RebindError> {
        let now = self.clock.advance(now);
        let connection = self.connections.get_mut(id).ok_or(RebindError::NotConnected)?;
        if connection.side() != Side::Client || connection.state() != ConnectionState::Connected {
            return Err(RebindError::NotConnected);
        }
        if !connection.can_rebind() {
            return Err(RebindError::MigrationOff);
        }
        self.move_to_new_socket(id, now);
        Ok(())
    }

    /// Opens another socket and goes on over it.
    pub(super) fn move_to_new_socket(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get(id) else { return };
        let socket = SocketId(self.next_socket);
        self.next_socket = self.next_socket.wrapping_add(1).max(1);
        let remote = connection.remote();
        self.socket_requests.push_back(SocketRequest::Open { socket, remote });
        self.home = socket;
        self.with_connection(id, |connection, _| connection.rebind(socket, now));
    }

    /// Stops (`true`) or resumes (`false`) delivering messages of a connection. While it is paused they
    /// stay in the connection's receive budget, and a full budget slows the peer down.
    pub fn pause(&mut self, id: ConnectionId, paused: bool) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.common.is_paused = paused;
            if let Some(extended) = connection.extended_mut() {
                extended.hold_back(paused);
            }
            self.mark_deliverable(id);
        }
    }

    /// Turns away every client from this IP address from now on. Connections that stand are not touched.
    /// Gives `false` if the list is full ([`Limits::bans`](crate::Limits::bans)) or this is a client.
    pub fn ban(&mut self, ip: IpAddr) -> bool {
        let max = self.config.limits.bans;
        self.router.as_mut().is_some_and(|router| router.ban(ip, max))
    }

    /// Lifts a ban. Gives whether there was one.
    pub fn unban(&mut self, ip: IpAddr) -> bool {
        self.router.as_mut().is_some_and(|router| router.unban(ip))
    }

    /// Changes how many connections a server takes from now on; 0 turns every newcomer away with "server
    /// full". Connections that stand are not touched.
    pub fn set_max_connections(&mut self, max: usize) {
        if let Some(router) = &mut self.router {
            router.max_connections = max;
        }
    }

    /// Changes what a server tells whoever asks without a connection; `None`: nothing any more. Does nothing on a client.
    ///
    /// # Errors
    /// [`ConfigError`] for a name or details that are too long; nothing is changed then.
    pub fn set_info(&mut self, info: Option<ServerInfo>) -> Result<(), ConfigError> {
        info.as_ref().map_or(Ok(()), ServerInfo::validate)?;
        if let Some(router) = &mut self.router {
            router.set_info(info);
        }
        Ok(())
    }

    /// Has a server ask `hook` before a client whose handshake is complete gets a connection; `false` turns it away with
    /// "not authorised". It is called in the packet path, so it must not wait for anything: what takes time is what
    /// [`authorize`](crate::ServerConfig::authorize) is for.
    pub fn set_accept_hook(&mut self, hook: impl FnMut(&Arriving<'_>) -> bool + Send + 'static) {
        self.admission = Admission(Some(Box::new(hook)));
    }

    /// As [`close`](Self::close), but queued reliable messages may leave for `linger` instead of
    /// [`linger`](crate::ServerConfig::linger).
    ///
    /// # Errors
    /// [`UnknownConnection`] if it is over already.
    pub fn close_within(
        &mut self,
        now: Instant,
        id: ConnectionId,
        linger: Duration,
    ) -> Result<(), UnknownConnection> {
        self.close_with(now, id, DisconnectReason::Graceful, Farewell::default(), linger)
    }

    /// All connections, those on their way in or out included.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.connections.ids()
    }

    /// How many connections there are.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Whether the peer at this address has proved to a server that it is there: by a connection, or in the extended profile by
    /// a cookie it was sent. Costs a look
    /// at every connection where the extended profile is spoken: for tests and tools.
    pub fn has_connection_at(&self, remote: SocketAddr) -> bool {
        let extended = |id| {
            self.connections
                .get(id)
                .is_some_and(|c: &super::connection::Connection<C, G>| c.remote() == remote && c.is_proved())
        };
        self.router.as_ref().is_some_and(|router| router.addresses.contains_key(&remote))
            || (self.config.extended.spoken && self.connections.ids().any(extended))
    }

    /// How many handshakes are under way at a server: those that wait for their RESPONSE (base profile), and half-open
    /// connections, which wait for the first packet of their client (extended profile).
    pub fn pending_handshakes(&self) -> usize {
        self.router.as_ref().map_or(0, |router| router.pending.len() + router.half_open())
    }

    /// Where a connection stands; `Disconnected` for an id that names none.
    pub fn state(&self, id: ConnectionId) -> ConnectionState {
        self.connections.get(id).map_or(ConnectionState::Disconnected, |connection| connection.state())
    }

    /// The peer's address.
    pub fn remote_addr(&self, id: ConnectionId) -> Option<SocketAddr> {
        match self.connections.get(id) {
            Some(connection) => Some(connection.remote()),
            None => Some(self.ended.get(id)?.remote),
        }
    }

    /// Smoothed round-trip time; zero before the first sample.
    pub fn rtt(&self, id: ConnectionId) -> Option<Duration> {
        match self.connections.get(id) {
            Some(connection) => Some(connection.rtt()),
            None => Some(self.ended.get(id)?.stats.rtt),
        }
    }

    /// Figures of a connection.
    pub fn connection_stats(&self, id: ConnectionId) -> Option<ConnectionStats> {
        match self.connections.get(id) {
            Some(connection) => Some(connection.stats(self.clock.now())),
            None => Some(self.ended.get(id)?.stats.clone()),
        }
    }

    /// What arrived on an unreliable channel and how: loss, jitter, late packets.
    pub fn receive_quality(&self, id: ConnectionId, channel: u8) -> Option<ReceiveQuality> {
        self.connections.get(id)?.receive_quality(channel)
    }

    /// The largest message a connection takes now, in bytes.
    pub fn max_message_size(&self, id: ConnectionId) -> Option<usize> {
        Some(self.connections.get(id)?.max_message())
    }

    /// Figures of the endpoint.
    pub fn stats(&self) -> EndpointStats {
        self.stats
    }

    /// The cipher suite a connection agreed on.
    pub fn cipher_suite(&self, id: ConnectionId) -> Option<CipherSuite> {
        self.connections.get(id)?.suite()
    }

    /// The token by which the server finds a connection whose client moved; `None` without migration.
    pub fn migration_token(&self, id: ConnectionId) -> Option<[u8; 8]> {
        self.connections.get(id)?.migration_token()
    }

    /// Fills `out` with key material that both ends of a connection, and nobody else, can compute. Compared
    /// at login over a trusted way, it shows a man in the middle. Gives `false` for no such connection.
    pub fn export_keying_material(&self, id: ConnectionId, label: &[u8], out: &mut [u8]) -> bool {
        self.connections
            .get(id)
            .and_then(|connection| connection.export(label, out))
            .is_some_and(|r| r.is_ok())
    }

    /// The application's own data of a connection.
    pub fn user_data(&self, id: ConnectionId) -> Option<&(dyn Any + Send)> {
        match self.connections.get(id) {
            Some(connection) => connection.common.user_data.as_deref(),
            None => self.ended.get(id)?.user_data.as_deref(),
        }
    }

    /// The application's own data of a connection, to change or replace.
    pub fn user_data_mut(&mut self, id: ConnectionId) -> Option<&mut Option<Box<dyn Any + Send>>> {
        match self.connections.get_mut(id) {
            Some(connection) => Some(&mut connection.common.user_data),
            None => Some(&mut self.ended.get_mut(id)?.user_data),
        }
    }

    /// Tells what time it is, in seconds since 1970: a server for the expiry of connect tokens, and either end for the veil. Needed
    /// again after a gap in driving it, which its own clock does not count. Without it no token and no veiled handshake is good.
    pub fn set_unix_time(&mut self, now: Instant, seconds: u64) {
        let now = self.clock.advance(now);
        if let Some(router) = &mut self.router {
            router.gate.set_unix_time(seconds, now);
        }
        if let Some(veil) = &mut self.veil {
            veil.set_unix_time(seconds, now);
        }
    }

    /// What time it is at the server of this connection: on a server its own time, on a client with
    /// [`clock_sync`](crate::ClientConfig::clock_sync) what it knows of that. `None` before anything is known.
    pub fn server_time(&self, id: ConnectionId) -> Option<ServerTime> {
        let (connection, uptime) = (self.connections.get(id)?, self.clock.uptime());
        if self.side == Side::Server {
            return Some(ServerTime { time: uptime, error: Duration::ZERO });
        }
        connection.extended()?.server_time(uptime)
    }

    /// The same, and the shell's own time at which it is that: when it last drove the endpoint.
    pub(crate) fn server_time_as_of(&self, id: ConnectionId) -> Option<(ServerTime, Instant)> {
        Some((self.server_time(id)?, self.clock.shell_now()))
    }

    /// A server's identity key, for clients to pin; `None` for a client.
    pub fn identity_key(&self) -> Option<PublicKey> {
        self.router.as_ref().map(|router| router.gate.public_key())
    }

    /// Counts a send that the socket refused. The datagrams count as lost on the way.
    pub fn on_send_error(&mut self, id: Option<ConnectionId>) {
        if let Some(connection) = id.and_then(|id| self.connections.get_mut(id)) {
            connection.on_send_error();
        }
    }

    /// Fixes the next random values, in order (recorded conversations fix keys and tokens). Only for tests.
    #[doc(hidden)]
    pub fn script_entropy(&mut self, values: Vec<Vec<u8>>) {
        self.entropy.script(values);
    }

    /// Starts the counters of connections to come elsewhere; both ends must agree. Only for tests.
    #[doc(hidden)]
    pub fn script_counters(&mut self, counters: Counters) {
        self.config.counters = counters;
    }

    /// Fixes a server's key pair. Only for tests.
    #[doc(hidden)]
    pub fn script_server_key(&mut self, secret: [u8; 32]) {
        if let Some(router) = &mut self.router {
            router.set_keys(KeyPair::from_secret(secret));
        }
    }

    /// What compression and framing a connection agreed on. Only for tests.
    #[doc(hidden)]
    pub fn features_of(&self, id: ConnectionId) -> Option<Features> {
        self.connections.get(id)?.features()
    }
}

/// Why a connection cannot move to a new local socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RebindError {
    /// There is no established connection of a client.
    #[error("not connected")]
    NotConnected,
    /// Migration was not agreed.
    #[error("connection_migration is off on one side; turn it on on both")]
    MigrationOff,
}

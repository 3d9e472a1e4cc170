//! The other end of a connection as an application sees it, without any type parameter of its endpoint.

use std::any::Any;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::handle::ConnectionHandle;
use super::link::Link;
use super::pump::Pump;
use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::{Cipher, CipherSuite, PublicKey};
use crate::proto::{MessageTime, ServerTime};
use crate::reliability::ReceiveQuality;
use crate::reliability::extended::Undelivered;
use crate::transport::{ChunkPool, Transport};
use crate::{
    ConnectionId, ConnectionState, ConnectionStats, EndpointStats, Payload, Profile, ReceiptId, Refusal,
    SendError, SendOptions, StreamError, TokenClaims, UnknownConnection,
};

/// How a connection shall end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending<'a> {
    Linger,
    Now,
    Kick(&'a str),
    Saying(u16, &'a str),
    Within(Duration),
}

/// What peers need of the pump they belong to; object-safe, so that [`Peer`] is one type.
pub(crate) trait Host {
    fn pool(&mut self) -> &mut ChunkPool;
    fn send(&mut self, id: ConnectionId, data: Bytes, channel: u8, urgent: bool) -> Result<(), SendError>;
    /// Queues a short unreliable message. Gives false if it was not taken: `send` tells why, or takes it.
    fn send_small(&mut self, id: ConnectionId, message: &[u8], channel: u8) -> bool;
    fn send_with(
        &mut self,
        id: ConnectionId,
        data: Bytes,
        channel: u8,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError>;
    fn end(&mut self, id: ConnectionId, ending: Ending<'_>) -> Result<(), UnknownConnection>;
    fn authorize(&mut self, id: ConnectionId, verdict: Result<(), Refusal>) -> Result<(), UnknownConnection>;
    fn client_auth(&self, id: ConnectionId) -> Option<Bytes>;
    fn token_claims(&self, id: ConnectionId) -> Option<TokenClaims>;
    fn server_key(&self, id: ConnectionId) -> Option<PublicKey>;
    fn profile(&self, id: ConnectionId) -> Option<Profile>;
    fn farewell(&self, id: ConnectionId) -> Option<(u16, String)>;
    fn undelivered(&self, id: ConnectionId) -> Vec<Undelivered>;
    fn write_stream(&mut self, id: ConnectionId, channel: u8, data: Bytes) -> Result<(), SendError>;
    fn finish_stream(&mut self, id: ConnectionId, channel: u8) -> Result<(), StreamError>;
    fn reset_stream(&mut self, id: ConnectionId, channel: u8, code: u16) -> Result<(), StreamError>;
    fn state(&self, id: ConnectionId) -> ConnectionState;
    fn remote_addr(&self, id: ConnectionId) -> Option<SocketAddr>;
    fn rtt(&self, id: ConnectionId) -> Option<Duration>;
    fn connection_stats(&self, id: ConnectionId) -> Option<ConnectionStats>;
    fn server_time(&self, id: ConnectionId) -> Option<ServerTime>;
    fn message_time(&self) -> Option<MessageTime>;
    fn receive_quality(&self, id: ConnectionId, channel: u8) -> Option<ReceiveQuality>;
    fn cipher_suite(&self, id: ConnectionId) -> Option<CipherSuite>;
    fn export(&self, id: ConnectionId, label: &[u8], out: &mut [u8]) -> bool;
    fn user_data(&self, id: ConnectionId) -> Option<&(dyn Any + Send)>;
    fn user_data_mut(&mut self, id: ConnectionId) -> Option<&mut Option<Box<dyn Any + Send>>>;
    fn link(&mut self, id: ConnectionId) -> Option<Arc<Link>>;
    fn connected(&self) -> Vec<ConnectionId>;
    fn connection_count(&self) -> usize;
    fn stats(&self) -> EndpointStats;
    fn ban(&mut self, ip: IpAddr) -> bool;
    fn unban(&mut self, ip: IpAddr) -> bool;
}

impl<T: Transport, C: Cipher, Z: Compressor, G: CongestionController> Host for Pump<T, C, Z, G> {
    fn pool(&mut self) -> &mut ChunkPool {
        &mut self.pool
    }

    fn send(&mut self, id: ConnectionId, data: Bytes, channel: u8, urgent: bool) -> Result<(), SendError> {
        Pump::send(self, id, data, channel, urgent)
    }

    fn send_small(&mut self, id: ConnectionId, message: &[u8], channel: u8) -> bool {
        self.endpoint.send_small(self.now, id, message, channel)
    }

    fn send_with(
        &mut self,
        id: ConnectionId,
        data: Bytes,
        channel: u8,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        Pump::send_with(self, id, data, channel, options)
    }

    fn end(&mut self, id: ConnectionId, ending: Ending<'_>) -> Result<(), UnknownConnection> {
        let result = match ending {
            Ending::Linger => self.endpoint.close(self.now, id),
            Ending::Now => self.endpoint.close_now(self.now, id),
            Ending::Kick(text) => self.endpoint.kick(self.now, id, text),
            Ending::Within(linger) => self.endpoint.close_within(self.now, id, linger),
            Ending::Saying(code, text) => self.endpoint.close_saying(self.now, id, code, text),
        };
        self.hub.touch(id, &self.endpoint);
        result
    }

    fn authorize(&mut self, id: ConnectionId, verdict: Result<(), Refusal>) -> Result<(), UnknownConnection> {
        match verdict {
            Ok(()) => self.endpoint.accept(self.now, id),
            Err(reason) => self.endpoint.refuse_with(self.now, id, reason),
        }
    }

    fn client_auth(&self, id: ConnectionId) -> Option<Bytes> {
        self.endpoint.client_auth(id).cloned()
    }

    fn token_claims(&self, id: ConnectionId) -> Option<TokenClaims> {
        self.endpoint.token_claims(id).cloned()
    }

    fn server_key(&self, id: ConnectionId) -> Option<PublicKey> {
        self.endpoint.server_key(id)
    }

    fn profile(&self, id: ConnectionId) -> Option<Profile> {
        self.endpoint.profile(id)
    }

    fn farewell(&self, id: ConnectionId) -> Option<(u16, String)> {
        self.endpoint.farewell(id).map(|(code, text)| (code, text.to_owned()))
    }

    fn undelivered(&self, id: ConnectionId) -> Vec<Undelivered> {
        self.endpoint.undelivered(id).to_vec()
    }

    fn write_stream(&mut self, id: ConnectionId, channel: u8, data: Bytes) -> Result<(), SendError> {
        self.endpoint.write_stream(self.now, id, channel, data)
    }

    fn finish_stream(&mut self, id: ConnectionId, channel: u8) -> Result<(), StreamError> {
        self.endpoint.finish_stream(self.now, id, channel)
    }

    fn reset_stream(&mut self, id: ConnectionId, channel: u8, code: u16) -> Result<(), StreamError> {
        self.endpoint.reset_stream(self.now, id, channel, code)
    }

    fn state(&self, id: ConnectionId) -> ConnectionState {
        self.endpoint.state(id)
    }

    fn remote_addr(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.endpoint.remote_addr(id)
    }

    fn rtt(&self, id: ConnectionId) -> Option<Duration> {
        self.endpoint.rtt(id)
    }

    fn connection_stats(&self, id: ConnectionId) -> Option<ConnectionStats> {
        self.endpoint.connection_stats(id)
    }

    fn server_time(&self, id: ConnectionId) -> Option<ServerTime> {
        self.endpoint.server_time(id)
    }

    fn message_time(&self) -> Option<MessageTime> {
        self.endpoint.message_time()
    }

    fn receive_quality(&self, id: ConnectionId, channel: u8) -> Option<ReceiveQuality> {
        self.endpoint.receive_quality(id, channel)
    }

    fn cipher_suite(&self, id: ConnectionId) -> Option<CipherSuite> {
        self.endpoint.cipher_suite(id)
    }

    fn export(&self, id: ConnectionId, label: &[u8], out: &mut [u8]) -> bool {
        self.endpoint.export_keying_material(id, label, out)
    }

    fn user_data(&self, id: ConnectionId) -> Option<&(dyn Any + Send)> {
        self.endpoint.user_data(id)
    }

    fn user_data_mut(&mut self, id: ConnectionId) -> Option<&mut Option<Box<dyn Any + Send>>> {
        self.endpoint.user_data_mut(id)
    }

    fn link(&mut self, id: ConnectionId) -> Option<Arc<Link>> {
        self.hub.link(id, &self.endpoint)
    }

    fn connected(&self) -> Vec<ConnectionId> {
        let connected = |id: &ConnectionId| self.endpoint.state(*id) == ConnectionState::Connected;
        self.endpoint.connections().filter(connected).collect()
    }

    fn connection_count(&self) -> usize {
        self.endpoint.connection_count()
    }

    fn stats(&self) -> EndpointStats {
        self.endpoint.stats()
    }

    fn ban(&mut self, ip: IpAddr) -> bool {
        self.endpoint.ban(ip)
    }

    fn unban(&mut self, ip: IpAddr) -> bool {
        self.endpoint.unban(ip)
    }
}

/// The other end of one connection, for as long as a callback or a call lasts. Keep its [`id`](Self::id) or a
/// [`handle`](Self::handle) for later.
pub struct Peer<'a> {
    id: ConnectionId,
    host: &'a mut dyn Host,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(id: ConnectionId, host: &'a mut dyn Host) -> Self {
        Self { id, host }
    }

    /// The connection's name.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Queues a message; it leaves at the end of this turn as far as the congestion window has room.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued then, and [`SendError::QueueFull`] hands the message back.
    pub fn send(&mut self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        if data.borrowed().is_some_and(|message| self.host.send_small(self.id, message, channel)) {
            return Ok(());
        }
        let data = data.into_bytes(self.host.pool());
        self.host.send(self.id, data, channel, false)
    }

    /// As [`send`](Self::send), and sends at once what this connection has queued, this message last.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_now(&mut self, data: impl Payload, channel: u8) -> Result<(), SendError> {
        let data = data.into_bytes(self.host.pool());
        self.host.send(self.id, data, channel, true)
    }

    /// As [`send`](Self::send), with something special: a receipt, an end of its usefulness. Gives the receipt's name, if one
    /// was asked for: [`on_receipt`](crate::Handler::on_receipt) will tell, once, what became of the message.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::NoReceipt`]; no receipt will come then.
    pub fn send_with(
        &mut self,
        channel: u8,
        data: impl Payload,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        let data = data.into_bytes(self.host.pool());
        self.host.send_with(self.id, data, channel, options)
    }

    /// Closes the connection gracefully: queued reliable messages leave first, for at most
    /// [`linger`](crate::ServerConfig::linger). Never blocks; closing what is over already does nothing.
    pub fn close(&mut self) {
        let _ = self.host.end(self.id, Ending::Linger);
    }

    /// As [`close`](Self::close), and tells the peer why: a code of the application's own and a text of at most 255 bytes, which
    /// [`farewell`](Self::farewell) shows there. The base profile has no room for either.
    pub fn close_saying(&mut self, code: u16, text: &str) {
        let _ = self.host.end(self.id, Ending::Saying(code, text));
    }

    /// Closes the connection without waiting for what is queued.
    pub fn close_now(&mut self) {
        let _ = self.host.end(self.id, Ending::Now);
    }

    /// As [`Endpoint::accept`](crate::proto::Endpoint::accept): lets a client in that asks to be. Nothing happens if it does not.
    pub fn accept(&mut self) {
        let _ = self.host.authorize(self.id, Ok(()));
    }

    /// As [`Endpoint::refuse`](crate::proto::Endpoint::refuse): turns a client away that asks to be let in.
    pub fn refuse(&mut self) {
        self.refuse_with(Refusal::default());
    }

    /// As [`refuse`](Self::refuse), for another reason.
    pub fn refuse_with(&mut self, reason: Refusal) {
        let _ = self.host.authorize(self.id, Err(reason));
    }

    /// What a client's application sent to be let in; `None` in the base profile.
    pub fn client_auth(&self) -> Option<Bytes> {
        self.host.client_auth(self.id)
    }

    /// What the client's connect token says.
    pub fn token_claims(&self) -> Option<TokenClaims> {
        self.host.token_claims(self.id)
    }

    /// The server's identity key, pinned or learned; `None` in the base profile.
    pub fn server_key(&self) -> Option<PublicKey> {
        self.host.server_key(self.id)
    }

    /// Which profile the connection speaks.
    pub fn profile(&self) -> Option<Profile> {
        self.host.profile(self.id)
    }

    /// In [`on_disconnect`](crate::Handler::on_disconnect): the code and text that the peer closed with.
    pub fn farewell(&self) -> Option<(u16, String)> {
        self.host.farewell(self.id)
    }

    /// In [`on_disconnect`](crate::Handler::on_disconnect): the reliable messages that were not wholly acknowledged, oldest
    /// first on each channel. Extended profile.
    pub fn undelivered(&self) -> Vec<Undelivered> {
        self.host.undelivered(self.id)
    }

    /// As [`Endpoint::write_stream`](crate::proto::Endpoint::write_stream): what comes on the channel's stream is told as
    /// messages whose bounds mean nothing.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued then, and [`SendError::QueueFull`] hands the bytes back.
    pub fn write_stream(&mut self, channel: u8, data: impl Payload) -> Result<(), SendError> {
        let data = data.into_bytes(self.host.pool());
        self.host.write_stream(self.id, channel, data)
    }

    /// As [`Endpoint::finish_stream`](crate::proto::Endpoint::finish_stream).
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn finish_stream(&mut self, channel: u8) -> Result<(), StreamError> {
        self.host.finish_stream(self.id, channel)
    }

    /// As [`Endpoint::reset_stream`](crate::proto::Endpoint::reset_stream).
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn reset_stream(&mut self, channel: u8, code: u16) -> Result<(), StreamError> {
        self.host.reset_stream(self.id, channel, code)
    }

    /// Throws the peer out; `text` says why, in the log of this side.
    pub fn kick(&mut self, text: &str) {
        let _ = self.host.end(self.id, Ending::Kick(text));
    }

    /// Where the connection stands.
    pub fn state(&self) -> ConnectionState {
        self.host.state(self.id)
    }

    /// The peer's address; `None` once the connection is gone.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.host.remote_addr(self.id)
    }

    /// Smoothed round-trip time; zero before the first sample.
    pub fn rtt(&self) -> Duration {
        self.host.rtt(self.id).unwrap_or_default()
    }

    /// The connection's figures.
    pub fn stats(&self) -> ConnectionStats {
        self.host.connection_stats(self.id).unwrap_or_default()
    }

    /// What time it is at the server, as of this turn: see [`Endpoint::server_time`](crate::proto::Endpoint::server_time).
    pub fn server_time(&self) -> Option<ServerTime> {
        self.host.server_time(self.id)
    }

    /// Inside [`on_message`](crate::Handler::on_message): when the message was sent, if its sender had it
    /// [stamped](SendOptions::stamped) and we know the time.
    pub fn message_time(&self) -> Option<MessageTime> {
        self.host.message_time()
    }

    /// What arrived on an unreliable channel and how: loss, jitter, late packets. `None`: no such channel.
    pub fn receive_quality(&self, channel: u8) -> Option<ReceiveQuality> {
        self.host.receive_quality(self.id, channel)
    }

    /// The cipher suite agreed on.
    pub fn cipher_suite(&self) -> Option<CipherSuite> {
        self.host.cipher_suite(self.id)
    }

    /// As [`Endpoint::export_keying_material`](crate::proto::Endpoint::export_keying_material).
    pub fn export_keying_material(&self, label: &[u8], out: &mut [u8]) -> bool {
        self.host.export(self.id, label, out)
    }

    /// The application's data of this connection; `None` if there is none of this type.
    pub fn user_data<D: Any>(&self) -> Option<&D> {
        self.host.user_data(self.id)?.downcast_ref()
    }

    /// The application's data of this connection, to change.
    pub fn user_data_mut<D: Any>(&mut self) -> Option<&mut D> {
        self.host.user_data_mut(self.id)?.as_mut()?.downcast_mut()
    }

    /// Attaches data of the application's to this connection, in place of what was there.
    pub fn set_user_data<D: Any + Send>(&mut self, data: D) {
        if let Some(slot) = self.host.user_data_mut(self.id) {
            *slot = Some(Box::new(data));
        }
    }

    /// A handle for other threads: what it sends leaves with the endpoint's next turn. `None` once the
    /// connection is gone.
    pub fn handle(&mut self) -> Option<ConnectionHandle> {
        self.host.link(self.id).map(ConnectionHandle::new)
    }

    /// The other connections, and what concerns them all.
    pub fn peers(&mut self) -> Peers<'_> {
        Peers { host: &mut *self.host }
    }

    /// Queues a message for everybody but this peer. Gives how many took it.
    pub fn send_to_others(&mut self, data: impl Payload, channel: u8) -> usize {
        let id = self.id;
        self.peers().send_to_all(data, channel, |other| other != id)
    }
}

impl fmt::Debug for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All connections of an endpoint.
pub struct Peers<'a> {
    host: &'a mut dyn Host,
}

impl<'a> Peers<'a> {
    pub(crate) fn new(host: &'a mut dyn Host) -> Self {
        Self { host }
    }

    /// The established connections.
    pub fn ids(&self) -> Vec<ConnectionId> {
        self.host.connected()
    }

    /// How many connections there are, those on their way in or out included.
    pub fn count(&self) -> usize {
        self.host.connection_count()
    }

    /// One connection; `None` if it is gone.
    pub fn get(&mut self, id: ConnectionId) -> Option<Peer<'_>> {
        let lives = self.host.state(id) != ConnectionState::Disconnected;
        lives.then(|| Peer::new(id, &mut *self.host))
    }

    /// Calls `visit` for every established connection.
    pub fn for_each(&mut self, mut visit: impl FnMut(&mut Peer<'_>)) {
        for id in self.ids() {
            visit(&mut Peer::new(id, &mut *self.host));
        }
    }

    /// Queues one message for every established connection that `wants` it; the bytes are shared. Gives how
    /// many took it: one whose queue is full does not.
    pub fn send_to_all(
        &mut self,
        data: impl Payload,
        channel: u8,
        mut wants: impl FnMut(ConnectionId) -> bool,
    ) -> usize {
        let data = data.into_bytes(self.host.pool());
        let ids = self.ids().into_iter().filter(|id| wants(*id));
        ids.filter(|id| self.host.send(*id, data.clone(), channel, false).is_ok()).count()
    }

    /// Queues one message for these connections: compressed once, its bytes shared, sealed for each. Gives how many took it: one
    /// that is gone, or whose queue is full, does not.
    pub fn send_to(
        &mut self,
        ids: impl IntoIterator<Item = ConnectionId>,
        data: impl Payload,
        channel: u8,
    ) -> usize {
        let data = data.into_bytes(self.host.pool());
        ids.into_iter().filter(|id| self.host.send(*id, data.clone(), channel, false).is_ok()).count()
    }

    /// Queues one message for every established connection. Gives how many took it.
    pub fn broadcast(&mut self, data: impl Payload, channel: u8) -> usize {
        self.send_to_all(data, channel, |_| true)
    }

    /// Turns away clients from this IP address from now on. Connections that stand are not touched. Gives
    /// false if the list is full.
    pub fn ban(&mut self, ip: IpAddr) -> bool {
        self.host.ban(ip)
    }

    /// Lifts a ban. Gives whether there was one.
    pub fn unban(&mut self, ip: IpAddr) -> bool {
        self.host.unban(ip)
    }

    /// The endpoint's figures.
    pub fn stats(&self) -> EndpointStats {
        self.host.stats()
    }
}

impl fmt::Debug for Peers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("count", &self.count()).finish()
    }
}

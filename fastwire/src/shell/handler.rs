//! Callbacks: what an application wants to hear, all of it optional.

use super::peer::{Host, Peer};
use crate::{ConnectError, ConnectionError, ConnectionId, DisconnectReason, Event, Receipt};

/// What an application does when something happens. Every method does nothing unless you write it.
///
/// Calls never overlap. In tick-driven mode they come inside [`Server::tick`](crate::Server::tick) on the
/// caller's thread, else on the endpoint's own thread. Whatever is sent inside a callback leaves in the same
/// turn.
///
/// ```
/// use fastwire::{Handler, Peer};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
///         // A full queue means that this peer reads more slowly than it writes: let it go.
///         let _ = peer.send(data, channel);
///     }
/// }
/// ```
pub trait Handler: Send {
    /// A connection is established.
    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        let _ = peer;
    }

    /// Server with [`authorize`](crate::ServerConfig::authorize): a client asks to be let in. Decide here or within five
    /// seconds, with [`Peer::accept`] or [`Peer::refuse`]. Lets nobody in unless you write it.
    fn on_authorize(&mut self, peer: &mut Peer<'_>) {
        let _ = peer;
    }

    /// A connection ended. Its address, figures and user data can be read for the last time; nothing can be
    /// sent to it any more.
    fn on_disconnect(&mut self, peer: &mut Peer<'_>, reason: DisconnectReason) {
        let _ = (peer, reason);
    }

    /// A message arrived. `data` is borrowed: copy what shall outlive the call.
    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        let _ = (peer, data, channel);
    }

    /// What became of a message whose sender asked, here or on another thread.
    fn on_receipt(&mut self, peer: &mut Peer<'_>, receipt: &Receipt) {
        let _ = (peer, receipt);
    }

    /// The peer ended its half of the stream on a reliable channel; all it sent before has come.
    fn on_stream_finished(&mut self, peer: &mut Peer<'_>, channel: u8) {
        let _ = (peer, channel);
    }

    /// The peer broke off its half of the stream on a reliable channel, for a reason of its application's own.
    fn on_stream_reset(&mut self, peer: &mut Peer<'_>, channel: u8, code: u16) {
        let _ = (peer, channel, code);
    }

    /// Something went wrong on a connection; [`on_disconnect`](Self::on_disconnect) follows. Bad packets of
    /// strangers are never reported here: they are counted.
    fn on_error(&mut self, peer: &mut Peer<'_>, error: &ConnectionError) {
        let _ = (peer, error);
    }

    /// A client did not get its connection.
    fn on_connect_failed(&mut self, connection: ConnectionId, error: &ConnectError) {
        let _ = (connection, error);
    }
}

/// Hears nothing.
impl Handler for () {}

impl<H: Handler + ?Sized> Handler for Box<H> {
    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        (**self).on_connect(peer);
    }

    fn on_authorize(&mut self, peer: &mut Peer<'_>) {
        (**self).on_authorize(peer);
    }

    fn on_disconnect(&mut self, peer: &mut Peer<'_>, reason: DisconnectReason) {
        (**self).on_disconnect(peer, reason);
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        (**self).on_message(peer, data, channel);
    }

    fn on_receipt(&mut self, peer: &mut Peer<'_>, receipt: &Receipt) {
        (**self).on_receipt(peer, receipt);
    }

    fn on_stream_finished(&mut self, peer: &mut Peer<'_>, channel: u8) {
        (**self).on_stream_finished(peer, channel);
    }

    fn on_stream_reset(&mut self, peer: &mut Peer<'_>, channel: u8, code: u16) {
        (**self).on_stream_reset(peer, channel, code);
    }

    fn on_error(&mut self, peer: &mut Peer<'_>, error: &ConnectionError) {
        (**self).on_error(peer, error);
    }

    fn on_connect_failed(&mut self, connection: ConnectionId, error: &ConnectError) {
        (**self).on_connect_failed(connection, error);
    }
}

/// Tells one event to a handler.
pub(crate) fn dispatch<H: Handler + ?Sized>(handler: &mut H, host: &mut dyn Host, event: &Event) {
    let mut peer = Peer::new(event.connection(), host);
    match event {
        Event::Connected { .. } => handler.on_connect(&mut peer),
        Event::Authorize { .. } => handler.on_authorize(&mut peer),
        Event::ConnectFailed { connection, error } => handler.on_connect_failed(*connection, error),
        Event::Message { channel, data, .. } => handler.on_message(&mut peer, data, *channel),
        Event::Receipt { receipt, .. } => handler.on_receipt(&mut peer, receipt),
        Event::StreamFinished { channel, .. } => handler.on_stream_finished(&mut peer, *channel),
        Event::StreamReset { channel, code, .. } => handler.on_stream_reset(&mut peer, *channel, *code),
        Event::Error { error, .. } => handler.on_error(&mut peer, error),
        Event::Disconnected { reason, .. } => handler.on_disconnect(&mut peer, *reason),
    }
}

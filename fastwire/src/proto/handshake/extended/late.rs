//! Handshakes that did not win: a CONNECTED that comes too late is answered with DISCONNECT (PROTOCOL B2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use fastwire_crypto::extended::{PN_LEN, ShortSealer, VeilKeys};
use fastwire_crypto::{Cipher, CipherSuites, TAG_LEN};
use fastwire_wire::extended::{Disconnect, Frame};

use super::COOKIE_LIFETIME;
use super::client::{Answers, looks_connected};
use crate::proto::connection::REPLACED;
use crate::proto::handshake::client::HandshakeDatagram;
use crate::proto::veil::mask_id;
use crate::transport::SocketId;

/// The answers of one attempt, on whose path another one won or a second answer did.
pub(crate) struct Losers {
    pub(crate) path: (SocketId, SocketAddr),
    pub(crate) answers: Answers,
}

/// A client's answers that the server may still take for a connection: for as long as it takes their cookies.
#[derive(Default)]
pub(crate) struct Late {
    list: Vec<(Losers, Instant)>,
}

impl Late {
    pub(crate) fn add(&mut self, losers: Losers, now: Instant) {
        self.list.retain(|(_, until)| now < *until);
        self.list.push((losers, now + COOKIE_LIFETIME));
    }

    /// The farewell to a connection that nobody here wants, if `datagram` is its CONNECTED. Packet numbers begin with `first`.
    pub(crate) fn dismiss<C: Cipher>(
        &mut self,
        datagram: &BytesMut,
        path: (SocketId, SocketAddr),
        (first, suites, veil): (u32, &Arc<dyn CipherSuites<Cipher = C>>, Option<&VeilKeys>),
        now: Instant,
    ) -> Option<HandshakeDatagram> {
        if self.list.is_empty() || !looks_connected(datagram) {
            return None;
        }
        self.list.retain(|(_, until)| now < *until);
        let on_path = self.list.iter_mut().filter(|(losers, _)| losers.path == path);
        let bytes =
            on_path.filter_map(|(losers, _)| losers.answers.dismiss(datagram, first, suites, veil)).next()?;
        Some(HandshakeDatagram { socket: path.0, remote: path.1, source: None, bytes })
    }
}

/// The only packet a client ever seals under the keys of a handshake that did not win: it gives it up for another.
pub(super) fn farewell<C: Cipher>(
    mut sealer: ShortSealer<C>,
    cid: [u8; 8],
    veil: Option<&VeilKeys>,
) -> Option<Vec<u8>> {
    let end = Frame::Disconnect(Disconnect { reason: REPLACED, code: 0, message: "" });
    let header = cid.len() + PN_LEN;
    let mut packet = vec![0; header + end.encoded_len(false) + TAG_LEN];
    packet.get_mut(..cid.len())?.copy_from_slice(&cid);
    let room = packet.len() - TAG_LEN;
    end.encode(packet.get_mut(header..room)?, false).ok()?;
    sealer.seal(&mut packet, cid.len()).ok()?;
    if let Some(veil) = veil {
        mask_id(veil, &mut packet);
    }
    Some(packet)
}

//! What a handshake agreed: keys for both directions, framing, compression.

use bytes::BytesMut;
use fastwire_compress::{Algorithm, Method};
use fastwire_crypto::{
    Cipher, CipherSuite, CipherSuites, KeyError, KeyPair, Opener, PublicKey, Sealer, SessionKeys,
};
use fastwire_wire::{BatchCursor, Features};
use smallvec::SmallVec;

use super::Side;
use super::transmit::Framing;
use crate::key_log::KeyLog;

/// Keys and terms of one connection. One challenge token = one session = one nonce counter a direction.
pub(crate) struct Session<C> {
    pub(crate) suite: CipherSuite,
    pub(crate) sealer: Sealer<C>,
    pub(crate) opener: Opener<C>,
    keys: SessionKeys,
    side: Side,
    features: Features,
    /// What we compress with; `Algorithm::None` where the peer's settings differ.
    pub(crate) compression: Method,
    pub(crate) token: [u8; 32],
    pub(crate) migration_token: Option<[u8; 8]>,
}

/// What both sides bring to a session, besides their keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) suite: CipherSuite,
    pub(crate) token: [u8; 32],
    pub(crate) features: Features,
    pub(crate) migration_token: Option<[u8; 8]>,
    pub(crate) compression: Method,
}

/// Where the packets of a datagram lie: `(start, end)`.
pub(crate) type PacketRanges = SmallVec<[(usize, usize); 8]>;

impl<C: Cipher> Session<C> {
    /// Does the key agreement (PROTOCOL A4).
    pub(crate) fn agree(
        side: Side,
        own: &KeyPair,
        peer: &PublicKey,
        terms: Terms,
        suites: &dyn CipherSuites<Cipher = C>,
    ) -> Result<Self, KeyError> {
        let keys = fastwire_crypto::derive_session_keys(own, peer, &terms.token, terms.suite)?;
        let (seal, open) = match side {
            Side::Client => (keys.c2s(), keys.s2c()),
            Side::Server => (keys.s2c(), keys.c2s()),
        };
        let mut sealer = Sealer::new(suites.make(terms.suite, seal)?);
        let opener = Opener::new(suites.make(terms.suite, open)?);
        // PROTOCOL A5: a base client may take a nonce with bit 1 for a bare control packet.
        let batched = terms.features.contains(Features::SEND_BATCHING);
        sealer.avoid_control_bit(side == Side::Server && !batched);
        Ok(Self {
            suite: terms.suite,
            sealer,
            opener,
            keys,
            side,
            features: terms.features,
            compression: terms.compression,
            token: terms.token,
            migration_token: terms.migration_token,
        })
    }

    pub(crate) fn batched(&self) -> bool {
        self.features.contains(Features::SEND_BATCHING)
    }

    /// Framing of datagrams we send.
    pub(crate) fn framing(&self) -> Framing {
        let token = match self.side {
            Side::Client => self.migration_token,
            Side::Server => None,
        };
        Framing { token, batched: self.batched() }
    }

    /// Where the packets of a received datagram lie: framed as negotiated, or else in the first way that fits. Empty: none.
    ///
    /// RESPONSE is never framed. And a CONNECT or CHALLENGE of which a bit flipped on its way can leave the two sides with
    /// the same keys and different ideas of the framing, or of the token: that must not make them deaf to each
    /// other. A token finds a connection; what proves the sender is the AEAD.
    pub(crate) fn split(&self, datagram: &[u8]) -> PacketRanges {
        let token = match (self.side, self.migration_token) {
            (Side::Server, Some(token)) => Some(token),
            _ => None,
        };
        let agreed = (token.map_or(0, |token| token.len()), self.batched());
        if !self.is_sealed() {
            let is_ours = token.is_none_or(|token| datagram.starts_with(&token));
            return if is_ours { lay_out(datagram, agreed) } else { PacketRanges::new() };
        }
        let others = [(agreed.0, !agreed.1), (0, agreed.1), (0, !agreed.1)];
        let mut layouts = std::iter::once(agreed).chain(others).map(|layout| lay_out(datagram, layout));
        let fitting =
            layouts.find(|ranges| ranges.first().is_some_and(|first| self.is_plausible(datagram, *first)));
        fitting.unwrap_or_else(|| lay_out(datagram, agreed))
    }

    /// Whether a sealed packet may lie there: its nonce is not far beyond those seen.
    fn is_plausible(&self, datagram: &[u8], (start, end): (usize, usize)) -> bool {
        let packet = datagram.get(start..end).unwrap_or_default();
        let nonce = packet.first_chunk().map_or(0, |nonce| u64::from_le_bytes(*nonce));
        packet.len() >= fastwire_wire::WIRE_OVERHEAD
            && nonce.saturating_sub(self.opener.highest()) < PLAUSIBLE_AHEAD
            && nonce > 0
    }

    /// Opens one packet in place; gives where its plaintext lies.
    pub(crate) fn open(
        &mut self,
        datagram: &mut BytesMut,
        (start, end): (usize, usize),
    ) -> Result<OpenedPacket, fastwire_crypto::OpenError> {
        let packet = datagram.get_mut(start..end).unwrap_or_default();
        let opened = self.opener.open(packet)?;
        Ok(OpenedPacket {
            start: start + opened.range.start,
            end: start + opened.range.end,
            newest: opened.newest,
        })
    }

    /// Whether two sessions seal with the same keys.
    pub(crate) fn has_keys_of(&self, other: &Self) -> bool {
        let are_one = self.is_sealed() || self.token == other.token;
        self.suite == other.suite && self.keys.c2s() == other.keys.c2s() && are_one
    }

    /// Features in use.
    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// The peer has seen that we hold the keys: any nonce will do from now on.
    pub(crate) fn confirmed(&mut self) {
        self.sealer.avoid_control_bit(false);
    }

    /// Key material for the application (PROTOCOL A5, exporter).
    pub(crate) fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), KeyError> {
        self.keys.export(label, out)
    }

    /// Tells the keys to a key log. Suite 0 has none.
    pub(crate) fn log_keys(&self, log: &KeyLog) {
        if self.is_sealed() {
            log.base(&self.token, &self.keys);
        }
    }

    /// Whether packets are authenticated at all.
    pub(crate) fn is_sealed(&self) -> bool {
        self.suite != CipherSuite::None
    }
}

/// A packet that opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenedPacket {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Its nonce is above all before it.
    pub(crate) newest: bool,
}

/// So many packets in a row are never lost on a connection that lives.
const PLAUSIBLE_AHEAD: u64 = 1 << 20;

/// The packets of a datagram, if it begins with a token of this length and is batched or not.
fn lay_out(datagram: &[u8], (token, batched): (usize, bool)) -> PacketRanges {
    let Some(body) = datagram.get(token..) else { return PacketRanges::new() };
    if !batched {
        return PacketRanges::from_slice(&[(token, datagram.len())]);
    }
    let mut ranges = PacketRanges::new();
    let Ok(mut cursor) = BatchCursor::new(body) else { return ranges };
    while let Some(entry) = cursor.next(body) {
        ranges.push((token + entry.start, token + entry.end));
    }
    ranges
}

/// No compression.
pub(crate) const UNCOMPRESSED: Method = Method { algorithm: Algorithm::None, dictionary: false };

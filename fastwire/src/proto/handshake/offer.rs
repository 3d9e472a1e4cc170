//! What a client offers: a key pair, and on top of the base profile's CONNECT the extended profile's (PROTOCOL A5, B2).

use std::net::SocketAddr;

use fastwire_crypto::extended::short_hash;
use fastwire_crypto::{CipherSuite, KeyPair};
use fastwire_wire::extended::{ConnectTrailer, EXTENDED_VERSION, MIN_CONNECT_DATAGRAM, RefusalTrailer};
use fastwire_wire::{CONTROL_PREFIX, Connect, Control, Features, PROTOCOL_VERSION};

use super::client::{HandshakeDatagram, dictionary_hash};
use crate::config::CommonConfig;
use crate::proto::entropy::Entropy;
use crate::transport::SocketId;

/// One key pair, and CONNECT as it goes out with it: the same bytes every time.
pub(crate) struct Offer {
    pub(crate) keys: KeyPair,
    /// The extended profile's part, where it is spoken.
    pub(crate) extended: Option<ExtendedOffer>,
    datagram: Vec<u8>,
}

/// What names an attempt in the extended profile.
pub(crate) struct ExtendedOffer {
    pub(crate) nonce: [u8; 8],
    /// Length of CONNECT's control payload with its trailer.
    len: usize,
}

impl Offer {
    /// With a new key pair and, where the extended profile is spoken, a new nonce.
    pub(crate) fn draw(config: &CommonConfig, entropy: &mut Entropy) -> Self {
        let keys = KeyPair::from_secret(entropy.bytes());
        let nonce = config.extended.spoken.then(|| entropy.bytes());
        Self::new(config, keys, nonce)
    }

    pub(crate) fn new(config: &CommonConfig, keys: KeyPair, nonce: Option<[u8; 8]>) -> Self {
        let suite = config.cipher_preference.first().copied().unwrap_or(CipherSuite::Aes128Gcm);
        let offered = if nonce.is_some() { Features::EXTENDED } else { Features::EMPTY };
        let connect = Control::Connect(Connect {
            version: PROTOCOL_VERSION,
            application_version: config.application_version,
            public_key: *keys.public().as_bytes(),
            cipher: suite.id(),
            compression: config.compression.algorithm.id(),
            dictionary_hash: dictionary_hash(config),
            features: config.features | offered,
        });
        let mut datagram = bare(&connect);
        let extended = nonce.map(|nonce| {
            let extended = &config.extended;
            let trailer = ConnectTrailer {
                version: EXTENDED_VERSION,
                suites: extended.suites,
                client_nonce: nonce,
                server_key_id: extended.pinned.map_or([0; 8], |key| short_hash(key.as_bytes())),
                layout_hash: extended.layout_hash,
            };
            push_trailer::<{ ConnectTrailer::LEN }>(&mut datagram, |out| trailer.encode(out));
            let len = datagram.len() - CONTROL_PREFIX.len();
            datagram.resize(MIN_CONNECT_DATAGRAM, 0);
            ExtendedOffer { nonce, len }
        });
        Self { keys, extended, datagram }
    }

    /// CONNECT's control payload with its trailer, without the padding. Empty where the extended profile is not spoken.
    pub(crate) fn connect_payload(&self) -> &[u8] {
        let len = self.extended.as_ref().map_or(0, |extended| extended.len);
        self.datagram.get(CONTROL_PREFIX.len()..CONTROL_PREFIX.len() + len).unwrap_or_default()
    }

    /// CONNECT.
    pub(crate) fn datagram(&self, (socket, remote): (SocketId, SocketAddr)) -> HandshakeDatagram {
        HandshakeDatagram { socket, remote, source: None, bytes: self.datagram.clone() }
    }

    pub(crate) fn has_nonce(&self, nonce: &[u8; 8]) -> bool {
        self.extended.as_ref().is_some_and(|extended| extended.nonce == *nonce)
    }
}

/// A control packet that travels unsealed.
pub(crate) fn bare(control: &Control) -> Vec<u8> {
    let mut bytes = vec![0; CONTROL_PREFIX.len() + control.encoded_len()];
    // The buffer has just the size.
    let len = control.encode_bare(&mut bytes).unwrap_or_default();
    bytes.truncate(len);
    bytes
}

/// A control packet with the nonce of the client it refuses.
pub(crate) fn bare_refusal(control: &Control, client_nonce: [u8; 8]) -> Vec<u8> {
    let mut bytes = bare(control);
    push_trailer::<8>(&mut bytes, |out| RefusalTrailer { client_nonce }.encode(out));
    bytes
}

/// Appends what `encode` writes into `N` bytes.
pub(crate) fn push_trailer<const N: usize>(
    bytes: &mut Vec<u8>,
    encode: impl FnOnce(&mut [u8]) -> Result<usize, fastwire_wire::EncodeError>,
) {
    let mut out = [0; N];
    // No trailer is longer than the room its caller gives.
    let len = encode(&mut out).unwrap_or_default();
    bytes.extend_from_slice(out.get(..len).unwrap_or_default());
}

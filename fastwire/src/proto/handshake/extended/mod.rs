//! The extended profile's handshake: cookie, RESPONSE, CONNECTED (PROTOCOL B1–B3).

pub(crate) mod client;
mod cookies;
pub(crate) mod late;
pub(crate) mod server;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use fastwire_compress::Method;
use fastwire_crypto::CipherSuite;
use fastwire_crypto::extended::{COOKIE_LEN, ExtendedKeys};
use fastwire_wire::extended::Params;
use fastwire_wire::{CONTROL_PREFIX, ControlType};

use crate::connect_token::TokenClaims;

/// All that both ends know when the handshake is done.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) suite: CipherSuite,
    pub(crate) keys: ExtendedKeys,
    /// What we compress with; `Algorithm::None` where the peer's settings differ.
    pub(crate) compression: Method,
    /// What the peer accepts.
    pub(crate) peer: Params,
    /// The server's identity key: learned from CHALLENGE, or pinned.
    pub(crate) server_key: [u8; 32],
    pub(crate) cookie: [u8; COOKIE_LEN],
    pub(crate) server_random: [u8; 16],
    /// Server: what the client's CONNECT was marked with.
    pub(crate) client_nonce: [u8; 8],
    /// Client: the id the server chose (CONNECTED). Server: zeros; the connection chooses.
    pub(crate) cid: [u8; 8],
    /// Server: the application's authentication; empty without.
    pub(crate) auth: Bytes,
    /// Server: what the connect token said.
    pub(crate) claims: Option<TokenClaims>,
    /// A round trip, if the handshake measured one.
    pub(crate) rtt: Option<Duration>,
}

/// How long a server takes its cookies (PROTOCOL B2).
pub(crate) const COOKIE_LIFETIME: Duration = Duration::from_secs(10);
/// Bytes before the short packet in a CONNECTED datagram.
pub(crate) const CONNECTED_PREFIX: usize = 25;

/// What comes before the short packet in a CONNECTED datagram: bare header, type, the server's random bytes.
pub(crate) fn connected_prefix(server_random: &[u8; 16]) -> [u8; CONNECTED_PREFIX] {
    let mut prefix = [0; CONNECTED_PREFIX];
    prefix[..8].copy_from_slice(&CONTROL_PREFIX);
    prefix[8] = ControlType::Connected.id();
    prefix[9..].copy_from_slice(server_random);
    prefix
}

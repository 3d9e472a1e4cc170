//! The extended profile's packet protection: key schedule, cookie, short packets (PROTOCOL B2–B4).

mod cookie;
mod mask;
mod schedule;
mod short;
mod token;
mod veil;

pub use cookie::{COOKIE_LEN, CookieKey};
pub use mask::HeaderMask;
pub use schedule::{DirectionSecret, Exporter, ExtendedKeys, HandshakeKeys, Transcript};
pub use short::{PN_LEN, ShortOpened, ShortOpener, ShortSealer};
pub use token::{TOKEN_LEN, TOKEN_NONCE, TOKEN_PLAINTEXT, open_token, seal_token, token_expiry};
pub use veil::{Unveiled, VEIL_NONCE, VEIL_OVERHEAD, VeilKeys};

use sha2::{Digest, Sha256};

/// Packets of one epoch: keys change every so many packet numbers.
pub const EPOCH_PACKETS: u64 = 1 << 16;

/// The first 8 bytes of the SHA-256: how CONNECT names a pinned server key and a channel layout (PROTOCOL B2).
pub fn short_hash(bytes: &[u8]) -> [u8; 8] {
    let hash: [u8; 32] = sha256(bytes);
    let mut short = [0; 8];
    short.copy_from_slice(&hash[..8]);
    short
}

/// The SHA-256, for fingerprints that people compare.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

//! The extended profile's packet protection: key schedule, cookie, short packets (PROTOCOL B2–B4).

mod cookie;
mod mask;
mod schedule;
mod short;

pub use cookie::{COOKIE_LEN, CookieKey};
pub use mask::HeaderMask;
pub use schedule::{DirectionSecret, ExtendedKeys, HandshakeKeys, Transcript};
pub use short::{PN_LEN, ShortOpened, ShortOpener, ShortSealer};

/// Packets of one epoch: keys change every so many packet numbers.
pub const EPOCH_PACKETS: u64 = 1 << 16;

//! The cookie by which a server recognises a CHALLENGE of its own without having kept anything (PROTOCOL B2).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a cookie: epoch 1, time 3, random 12, HMAC 16.
pub const COOKIE_LEN: usize = 32;

const MAC_AT: usize = 16;
/// A cookie's time counts seconds modulo this.
const TIME_MODULUS: u32 = 1 << 24;

/// The key of one epoch of cookies. It never leaves the process.
pub struct CookieKey {
    epoch: u8,
    key: Zeroizing<[u8; 32]>,
}

impl CookieKey {
    /// The key of `epoch`, from 32 random bytes.
    pub fn new(epoch: u8, key: [u8; 32]) -> Self {
        Self { epoch, key: Zeroizing::new(key) }
    }

    /// Which epoch a cookie says it belongs to.
    pub const fn epoch_of(cookie: &[u8; COOKIE_LEN]) -> u8 {
        cookie[0]
    }

    /// A cookie for the client at `remote` that sent `connect`, CONNECT's control payload with its trailer.
    /// `seconds` is a monotonic time.
    pub fn make(
        &self,
        seconds: u32,
        random: [u8; 12],
        remote: SocketAddr,
        connect: &[u8],
    ) -> [u8; COOKIE_LEN] {
        let mut cookie = [0; COOKIE_LEN];
        let [t0, t1, t2, _] = (seconds % TIME_MODULUS).to_le_bytes();
        cookie[..4].copy_from_slice(&[self.epoch, t0, t1, t2]);
        cookie[4..MAC_AT].copy_from_slice(&random);
        let mac = self.mac(&cookie[..MAC_AT], remote, connect).finalize().into_bytes();
        cookie.iter_mut().skip(MAC_AT).zip(mac).for_each(|(byte, mac)| *byte = mac);
        cookie
    }

    /// Whether the cookie was made with this key for this client and CONNECT, at most `max_age` seconds ago.
    pub fn check(
        &self,
        cookie: &[u8; COOKIE_LEN],
        seconds: u32,
        max_age: u32,
        remote: SocketAddr,
        connect: &[u8],
    ) -> bool {
        let made = u32::from_le_bytes([cookie[1], cookie[2], cookie[3], 0]);
        // Subtracting modulo 2^24: a cookie from the future is a very old one.
        let age = seconds.wrapping_sub(made) % TIME_MODULUS;
        cookie[0] == self.epoch
            && age <= max_age
            && self.mac(&cookie[..MAC_AT], remote, connect).verify_truncated_left(&cookie[MAC_AT..]).is_ok()
    }

    fn mac(&self, head: &[u8], remote: SocketAddr, connect: &[u8]) -> Hmac<Sha256> {
        let ip = match remote.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut key = [0; 64];
        key[..32].copy_from_slice(&*self.key);
        let key = Zeroizing::new(key);
        // A key of one block is taken as it is, zeros behind it included (RFC 2104 §2).
        let mut mac = Hmac::<Sha256>::new((&*key).into());
        mac.update(head);
        mac.update(&ip.octets());
        mac.update(&remote.port().to_le_bytes());
        mac.update(&Sha256::digest(connect));
        mac
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieKey(epoch {})", self.epoch)
    }
}

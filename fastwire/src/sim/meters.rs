//! Meters that run along in every simulation: nonces, datagram sizes, answers to strangers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastwire_crypto::{
    Aead, AeadLimits, BuiltinSuites, Cipher, CipherError, CipherSuite, CipherSuites, KeyError,
};

/// Everything that must not happen, with how often it did. All zero in a sound run.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct MeterReport {
    /// A key sealed two packets under one nonce, or went backward.
    pub nonces_reused: u64,
    /// Datagrams larger than the MTU.
    pub oversized: u64,
    /// The largest answer to an address that proved nothing, as a ratio to the bytes it sent.
    pub amplification: f64,
}

/// Watches the nonces of all keys of a simulation, restarts included.
#[derive(Debug, Clone, Default)]
pub(crate) struct NonceMeter {
    /// The highest nonce each key has sealed.
    keys: Arc<Mutex<HashMap<Vec<u8>, Arc<AtomicU64>>>>,
    reused: Arc<AtomicU64>,
}

impl NonceMeter {
    pub(crate) fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }
}

impl CipherSuites for NonceMeter {
    type Cipher = MeteredAead;

    fn make(&self, suite: CipherSuite, key: &[u8]) -> Result<MeteredAead, KeyError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = Arc::clone(keys.entry(key.to_vec()).or_default());
        Ok(MeteredAead { aead: BuiltinSuites.make(suite, key)?, highest, reused: Arc::clone(&self.reused) })
    }
}

/// A cipher that reports a nonce used twice. Nonces count upward, so the highest is all it has to know.
#[derive(Debug)]
pub struct MeteredAead {
    aead: Aead,
    highest: Arc<AtomicU64>,
    reused: Arc<AtomicU64>,
}

impl Cipher for MeteredAead {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Result<[u8; 16], CipherError> {
        let [a, b, c, d, e, f, g, h, ..] = *nonce;
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if self.highest.fetch_max(number, Ordering::Relaxed) >= number {
            self.reused.fetch_add(1, Ordering::Relaxed);
        }
        self.aead.seal(nonce, aad, data)
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> Result<(), CipherError> {
        self.aead.open(nonce, aad, data, tag)
    }

    fn is_plaintext(&self) -> bool {
        self.aead.is_plaintext()
    }

    fn limits(&self) -> AeadLimits {
        self.aead.limits()
    }
}

/// Bytes to and from one address that has proved nothing yet.
#[derive(Debug, Clone, Copy, Default)]
struct Stranger {
    received: u64,
    sent: u64,
}

/// Watches what a server answers to addresses without an established connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct AmplificationMeter {
    strangers: HashMap<SocketAddr, Stranger>,
    worst: f64,
}

impl AmplificationMeter {
    pub(crate) fn on_received(&mut self, from: SocketAddr, bytes: usize) {
        self.strangers.entry(from).or_default().received += bytes as u64;
    }

    /// `proven`: the address has an established connection.
    pub(crate) fn on_sent(&mut self, to: SocketAddr, bytes: usize, proven: bool) {
        let stranger = self.strangers.entry(to).or_default();
        if proven {
            *stranger = Stranger::default();
            return;
        }
        stranger.sent += bytes as u64;
        let ratio = stranger.sent as f64 / stranger.received.max(1) as f64;
        self.worst = self.worst.max(ratio);
    }

    pub(crate) fn worst(&self) -> f64 {
        self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_used_twice_is_seen_even_by_a_second_cipher_of_the_key() {
        let meter = NonceMeter::default();
        let seal = |nonce: u8| {
            let cipher = meter.make(CipherSuite::Aes128Gcm, &[7; 16]).expect("key");
            cipher.seal(&[nonce, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], &mut [1, 2, 3]).expect("seals");
        };
        seal(1);
        seal(2);
        assert_eq!(meter.reused(), 0);
        seal(2);
        assert_eq!(meter.reused(), 1);
    }

    #[test]
    fn an_answer_larger_than_its_question_is_seen() {
        let mut meter = AmplificationMeter::default();
        let address = "192.0.2.1:9".parse().expect("address");
        meter.on_received(address, 100);
        meter.on_sent(address, 150, false);
        meter.on_sent(address, 100, false);
        assert!((meter.worst() - 2.5).abs() < 1e-9);
        meter.on_sent(address, 1000, true);
        assert!((meter.worst() - 2.5).abs() < 1e-9);
    }
}

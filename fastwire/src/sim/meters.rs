//! Meters that run along in every simulation: nonces, datagram sizes, answers to strangers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::world::NodeId;
use crate::Limits;
use fastwire_crypto::{
    Aead, AeadLimits, BuiltinSuites, Cipher, CipherError, CipherSuite, CipherSuites, KeyError,
};
use fastwire_reliability::ChannelLayout;
use fastwire_wire::CONTROL_PREFIX;

/// Everything that must not happen, with how often it did. All zero in a sound run.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct MeterReport {
    /// A key sealed two packets under one nonce, or went backward.
    pub nonces_reused: u64,
    /// Datagrams larger than the MTU.
    pub oversized: u64,
    /// The largest answer of a handshake to an address that proved nothing, as a ratio to the bytes it sent.
    pub amplification: f64,
    /// Packets that left though the congestion window had no room for them, but for the few probes that may.
    pub beyond_quota: u64,
    /// How often a connection held more than its [`Limits`](crate::Limits) allow it, or a server more than all of its
    /// connections together may.
    pub over_memory: u64,
    /// The most that a connection held, as a share of what its limits allow.
    pub memory: f64,
    /// The most that a connection sent to an address which had not been proved yet, as a ratio to the bytes from there.
    pub on_unproved_paths: f64,
}

/// A packet that a node is about to seal.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sealing<'a> {
    /// Virtual time since the start.
    pub at: Duration,
    /// Whose packet it is.
    pub node: NodeId,
    /// What will be sealed: packets' plaintexts, and what a handshake seals.
    pub plaintext: &'a [u8],
}

/// Looks at every plaintext.
type PlaintextWatcher = Box<dyn FnMut(&Sealing<'_>) + Send>;

/// Somebody who may look at what is sealed, and the time to tell him.
#[derive(Default)]
struct Onlooker {
    /// Nanoseconds since the start.
    at: AtomicU64,
    watcher: Mutex<Option<PlaintextWatcher>>,
}

impl std::fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onlooker").finish_non_exhaustive()
    }
}

/// Watches the nonces of all keys of a simulation, restarts included.
#[derive(Debug, Clone, Default)]
pub(crate) struct NonceMeter {
    /// The node whose ciphers these are.
    node: NodeId,
    onlooker: Arc<Onlooker>,
    /// What each key has sealed.
    keys: Arc<Mutex<HashMap<Vec<u8>, Arc<Sealed>>>>,
    reused: Arc<AtomicU64>,
}

/// The nonces one key has sealed with.
#[derive(Debug, Default)]
struct Sealed {
    /// Base profile: nonces count upward, so the highest is all there is to know.
    highest: AtomicU64,
    /// Extended profile: a key serves 65 536 packet numbers, and their low 16 bits, xored with the key's vector, tell
    /// them apart.
    epoch: Mutex<Vec<u64>>,
}

impl Sealed {
    /// Gives whether the nonce is fresh.
    fn is_fresh(&self, nonce: &[u8; 12]) -> bool {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *nonce;
        if rest == [0; 4] {
            let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            return self.highest.fetch_max(number, Ordering::Relaxed) < number;
        }
        let place = usize::from(u16::from_le_bytes([e, f]));
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch.len() <= place / 64 {
            epoch.resize(place / 64 + 1, 0);
        }
        let bit = 1 << (place % 64);
        let fresh = epoch[place / 64] & bit == 0;
        epoch[place / 64] |= bit;
        fresh
    }
}

impl NonceMeter {
    /// The same meter, for the ciphers of a node.
    pub(crate) fn of(&self, node: NodeId) -> Self {
        Self { node, ..self.clone() }
    }

    pub(crate) fn set_time(&self, at: Duration) {
        self.onlooker.at.store(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn watch(&self, watcher: PlaintextWatcher) {
        *self.onlooker.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
    }

    pub(crate) fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }
}

impl CipherSuites for NonceMeter {
    type Cipher = MeteredAead;

    fn make(&self, suite: CipherSuite, key: &[u8]) -> Result<MeteredAead, KeyError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = Arc::clone(keys.entry(key.to_vec()).or_default());
        Ok(MeteredAead {
            aead: BuiltinSuites.make(suite, key)?,
            sealed,
            reused: Arc::clone(&self.reused),
            node: self.node,
            onlooker: Arc::clone(&self.onlooker),
        })
    }
}

/// A cipher that reports a nonce used twice.
#[derive(Debug)]
pub struct MeteredAead {
    aead: Aead,
    sealed: Arc<Sealed>,
    reused: Arc<AtomicU64>,
    node: NodeId,
    onlooker: Arc<Onlooker>,
}

impl Cipher for MeteredAead {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Result<[u8; 16], CipherError> {
        if !self.sealed.is_fresh(nonce) {
            self.reused.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(watcher) = &mut *self.onlooker.watcher.lock().unwrap_or_else(PoisonError::into_inner) {
            let at = Duration::from_nanos(self.onlooker.at.load(Ordering::Relaxed));
            watcher(&Sealing { at, node: self.node, plaintext: data });
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

/// What base connections may hold beside `receive_budget`: the head of a line always gets in until its message is complete, and
/// incomplete unreliable messages have a budget of their own. Both are named in docs/operations.md.
const BESIDE: u64 = (640 << 10) + (1 << 20);

/// What limits allow a connection to hold: of what arrived, and of what waits to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) base: u64,
    pub(crate) extended: u64,
    pub(crate) queue: u64,
}

impl Allowed {
    pub(crate) fn by(limits: &Limits, layout: &ChannelLayout) -> Self {
        let reliable = layout.reliable_channels().max(1) as u64;
        let budget = limits.extended_receive_budget.map_or((4 << 20) * reliable, |budget| budget as u64);
        Self {
            base: limits.receive_budget as u64 + BESIDE,
            // The unreliable channels share one reliable channel's part more.
            extended: budget + budget / reliable,
            queue: limits.send_queue_bytes as u64,
        }
    }
}

/// Watches what is held.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MemoryMeter {
    over: u64,
    most: f64,
}

impl MemoryMeter {
    /// `held` bytes where so many are allowed.
    pub(crate) fn look(&mut self, held: u64, allowed: u64) {
        self.over += u64::from(held > allowed);
        self.most = self.most.max(held as f64 / allowed.max(1) as f64);
    }

    pub(crate) fn over(&self) -> u64 {
        self.over
    }

    pub(crate) fn most(&self) -> f64 {
        self.most
    }
}

/// Bytes to and from one address that has proved nothing yet.
#[derive(Debug, Clone, Copy, Default)]
struct Stranger {
    received: u64,
    /// Handshake datagrams, and a connection's.
    answered: u64,
    sent: u64,
    /// Bytes that may go there unasked.
    free: u64,
}

/// Bytes that may go to an address that was proved once: four datagrams which ask whether its owner is still there.
const LEFT: u64 = 4 * 37;

/// Watches what a server answers to addresses that have proved nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct AmplificationMeter {
    strangers: HashMap<SocketAddr, Stranger>,
    worst: f64,
    worst_path: f64,
}

impl AmplificationMeter {
    pub(crate) fn on_received(&mut self, from: SocketAddr, bytes: usize) {
        self.strangers.entry(from).or_default().received += bytes as u64;
    }

    /// `proven`: the peer has proved to be there.
    pub(crate) fn on_sent(&mut self, to: SocketAddr, datagram: &[u8], proven: bool) {
        let bytes = datagram.len();
        let stranger = self.strangers.entry(to).or_default();
        if proven {
            // an address that was proved and is left may still be asked whether its owner has gone
            *stranger = Stranger { free: LEFT, ..Stranger::default() };
            return;
        }
        let free = stranger.free.min(bytes as u64);
        stranger.free -= free;
        let is_handshake = datagram.starts_with(&CONTROL_PREFIX);
        let (sum, worst) = match is_handshake {
            true => (&mut stranger.answered, &mut self.worst),
            false => (&mut stranger.sent, &mut self.worst_path),
        };
        *sum += bytes as u64 - free;
        *worst = worst.max(*sum as f64 / stranger.received.max(1) as f64);
    }

    pub(crate) fn worst(&self) -> f64 {
        self.worst
    }

    pub(crate) fn worst_path(&self) -> f64 {
        self.worst_path
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
    fn a_packet_number_used_twice_in_an_epoch_is_seen() {
        let meter = NonceMeter::default();
        let iv: [u8; 12] = [9, 8, 7, 6, 5, 4, 3, 2, 1, 9, 8, 7];
        let seal = |number: u64| {
            let cipher = meter.make(CipherSuite::Aes128Gcm, &[7; 16]).expect("key");
            let mut nonce = iv;
            nonce[4..].iter_mut().zip(number.to_le_bytes()).for_each(|(byte, number)| *byte ^= number);
            cipher.seal(&nonce, &[], &mut [1, 2, 3]).expect("seals");
        };
        (0..70).chain(65_530..65_536).for_each(seal);
        assert_eq!(meter.reused(), 0);
        seal(65_533);
        seal(3);
        assert_eq!(meter.reused(), 2);
    }

    #[test]
    fn a_byte_more_than_limits_allow_is_seen() {
        let mut meter = MemoryMeter::default();
        for held in [0, 50, 100] {
            meter.look(held, 100);
        }
        assert_eq!((meter.over(), meter.most()), (0, 1.0));
        meter.look(101, 100);
        meter.look(1, 0);
        assert_eq!((meter.over(), meter.most()), (2, 1.01));
    }

    #[test]
    fn an_answer_larger_than_its_question_is_seen() {
        let mut meter = AmplificationMeter::default();
        let address = "192.0.2.1:9".parse().expect("address");
        meter.on_received(address, 100);
        let challenge = |len: usize| [&CONTROL_PREFIX[..], &vec![2; len - CONTROL_PREFIX.len()]].concat();
        meter.on_sent(address, &challenge(150), false);
        meter.on_sent(address, &challenge(100), false);
        meter.on_sent(address, &[7; 120], false);
        assert!((meter.worst_path() - 1.2).abs() < 1e-9);
        assert!((meter.worst() - 2.5).abs() < 1e-9);
        meter.on_sent(address, &[7; 1000], true);
        assert!((meter.worst() - 2.5).abs() < 1e-9);
    }
}

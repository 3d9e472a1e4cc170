//! Short packets: masked packet numbers, keys that change by epoch (PROTOCOL B4).
//!
//! A packet is `[cid 8 or nothing][packet number 4][ciphertext][tag 16]`. The number is 64 bits wide; its low
//! 32 bits travel, masked.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::schedule::DirectionSecret;
use super::{EPOCH_PACKETS, HeaderMask};
use crate::cipher::{Cipher, KeyError, NONCE_LEN, TAG_LEN};
use crate::{CipherSuites, Freshness, OpenError, ReplayWindow, SealError};

/// Bytes of the packet number on the wire.
pub const PN_LEN: usize = 4;
/// Largest id and packet number together.
const MAX_HEADER: usize = 12;
/// Words of the replay window: 8192 packets.
const WINDOW: usize = 128;
/// Epochs ahead of the newest that are tried.
const AHEAD: u64 = 15;

/// The cipher of one epoch.
struct EpochKey<C> {
    cipher: C,
    iv: [u8; NONCE_LEN],
}

impl<C: Cipher> EpochKey<C> {
    fn new(secret: &DirectionSecret, suites: &dyn CipherSuites<Cipher = C>) -> Result<Self, KeyError> {
        let (key, iv) = secret.key()?;
        Ok(Self { cipher: suites.make(secret.suite(), &key)?, iv })
    }

    /// The vector, with the packet number in its last 8 bytes.
    fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(number.to_le_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

/// One direction of a connection, sending side. Packet numbers rise from 0; none is used twice.
pub struct ShortSealer<C> {
    suites: Arc<dyn CipherSuites<Cipher = C>>,
    secret: DirectionSecret,
    key: EpochKey<C>,
    mask: HeaderMask,
    next: u64,
}

impl<C: Cipher> ShortSealer<C> {
    /// Hints that a packet will be sealed soon.
    pub fn prefetch(&self) {
        self.mask.prefetch();
        self.key.cipher.prefetch();
    }

    /// Starts with packet number 0.
    ///
    /// # Errors
    ///
    /// The suites cannot make the cipher, or it is suite 0.
    pub fn new(secret: DirectionSecret, suites: Arc<dyn CipherSuites<Cipher = C>>) -> Result<Self, KeyError> {
        Self::starting_at(0, secret, suites)
    }

    /// Starts with packet number `first`, in its epoch, as if those below had been used. The opener must know.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn starting_at(
        first: u64,
        mut secret: DirectionSecret,
        suites: Arc<dyn CipherSuites<Cipher = C>>,
    ) -> Result<Self, KeyError> {
        let mask = HeaderMask::new(secret.suite(), secret.mask_key())
            .ok_or(KeyError::Unsupported { suite: secret.suite() })?;
        advance_to(first, &mut secret)?;
        let key = EpochKey::new(&secret, &*suites)?;
        Ok(Self { suites, secret, key, mask, next: first })
    }

    /// The number of the next packet.
    pub const fn next_number(&self) -> u64 {
        self.next
    }

    /// Leaves a number out: whoever acknowledges it has not seen what it acknowledges.
    pub fn skip(&mut self) {
        self.next = self.next.saturating_add(1);
    }

    /// Seals a packet where it lies: `id_len` bytes of connection id (0 or 8), room for the number, the
    /// plaintext, room for the tag. Gives its number.
    ///
    /// # Errors
    ///
    /// [`SealError::TooShort`]; [`SealError::Refused`] if the cipher refuses.
    pub fn seal(&mut self, packet: &mut [u8], id_len: usize) -> Result<u64, SealError> {
        let (len, header) = (packet.len(), id_len.saturating_add(PN_LEN));
        let needed = header.saturating_add(TAG_LEN);
        let too_short = SealError::TooShort { len, needed };
        if len < needed || header > MAX_HEADER {
            return Err(too_short);
        }
        let (head, rest) = packet.split_at_mut_checked(header).ok_or(too_short)?;
        let (data, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(too_short)?;
        let number = self.next;
        // No number is used twice, so the last one of all is not used.
        let next = number.checked_add(1).ok_or(SealError::Refused { len })?;
        while number / EPOCH_PACKETS > self.secret.epoch() {
            self.secret.advance().map_err(|_| SealError::Refused { len })?;
            self.key = EpochKey::new(&self.secret, &*self.suites).map_err(|_| SealError::Refused { len })?;
        }
        if let Some(low) = head.last_chunk_mut::<PN_LEN>() {
            *low = (number as u32).to_le_bytes();
        }
        *tag = self
            .key
            .cipher
            .seal(&self.key.nonce(number), head, data)
            .map_err(|_| SealError::Refused { len })?;
        self.next = next;
        let mask = self.mask.mask(&sample(rest));
        for (byte, mask) in head.last_chunk_mut::<PN_LEN>().into_iter().flatten().zip(mask) {
            *byte ^= mask;
        }
        Ok(number)
    }
}

/// A short packet that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortOpened {
    /// Its packet number, all 64 bits.
    pub number: u64,
    /// Where in the packet the plaintext lies.
    pub range: Range<usize>,
    /// Its number is above all before it.
    pub newest: bool,
}

/// One direction of a connection, receiving side.
pub struct ShortOpener<C> {
    suites: Arc<dyn CipherSuites<Cipher = C>>,
    /// Keys of consecutive epochs, oldest first; never empty. The last one's secret is `newest`.
    keys: VecDeque<EpochKey<C>>,
    newest: DirectionSecret,
    mask: HeaderMask,
    window: ReplayWindow<WINDOW>,
    /// Something was opened: before, the low 32 bits are the number.
    begun: bool,
    forgeries: u64,
}

impl<C: Cipher> ShortOpener<C> {
    /// Expects packet numbers from 0 on.
    ///
    /// # Errors
    ///
    /// The suites cannot make the cipher, or it is suite 0.
    pub fn new(secret: DirectionSecret, suites: Arc<dyn CipherSuites<Cipher = C>>) -> Result<Self, KeyError> {
        Self::starting_at(0, secret, suites)
    }

    /// Expects packet numbers from `first` on, which is below 2³²: as long as nothing was opened the bytes on the wire are the
    /// number.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn starting_at(
        first: u32,
        mut secret: DirectionSecret,
        suites: Arc<dyn CipherSuites<Cipher = C>>,
    ) -> Result<Self, KeyError> {
        let mask = HeaderMask::new(secret.suite(), secret.mask_key())
            .ok_or(KeyError::Unsupported { suite: secret.suite() })?;
        advance_to(first.into(), &mut secret)?;
        let keys = VecDeque::from([EpochKey::new(&secret, &*suites)?]);
        let window = ReplayWindow::new();
        Ok(Self { suites, keys, newest: secret, mask, window, begun: false, forgeries: 0 })
    }

    /// Hints that a packet will be opened soon.
    pub fn prefetch(&self) {
        self.mask.prefetch();
        self.window.prefetch();
        if let Some(key) = self.keys.back() {
            crate::prefetch(key);
            key.cipher.prefetch();
        }
    }

    /// Packets that did not open.
    pub const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// The highest number that was opened, if any was.
    pub fn highest(&self) -> Option<u64> {
        self.begun.then(|| self.window.highest())
    }

    /// The numbers that were opened, for acknowledgements.
    pub const fn window(&self) -> &ReplayWindow<WINDOW> {
        &self.window
    }

    /// Opens a packet where it lies. The bytes of its number stay masked.
    ///
    /// # Errors
    ///
    /// Every [`OpenError`]; the packet holds no plaintext and the window has not moved then.
    pub fn open(&mut self, packet: &mut [u8], id_len: usize) -> Result<ShortOpened, OpenError> {
        let (len, header) = (packet.len(), id_len.saturating_add(PN_LEN));
        let needed = header.saturating_add(TAG_LEN);
        let too_short = OpenError::TooShort { len, needed };
        if len < needed {
            return Err(too_short);
        }
        let mut aad = [0; MAX_HEADER];
        let aad = aad.get_mut(..header).ok_or(too_short)?;
        let (head, rest) = packet.split_at_mut_checked(header).ok_or(too_short)?;
        aad.copy_from_slice(head);
        let low = aad.last_chunk_mut::<PN_LEN>().ok_or(too_short)?;
        for (byte, mask) in low.iter_mut().zip(self.mask.mask(&sample(rest))) {
            *byte ^= mask;
        }
        let number = self.expand(u32::from_le_bytes(*low));
        let freshness = self.window.check(number);
        if !freshness.is_fresh() {
            return Err(OpenError::Replayed { nonce: number });
        }
        let (data, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(OpenError::Forged)?;
        self.open_in_epoch(number, aad, data, tag)?;
        self.window.commit(number);
        self.begun = true;
        self.forget_old_keys();
        Ok(ShortOpened {
            number,
            range: header..len.saturating_sub(TAG_LEN),
            newest: freshness == Freshness::Newest,
        })
    }

    /// Enters a packet that was not opened but made anew of others, such as parity, into the window. `false`: it is known already,
    /// or nobody knows any more, or no packet above it was opened; nothing has changed then.
    pub fn enter(&mut self, number: u64) -> bool {
        let enters = self.begun && self.window.check(number) == Freshness::Late;
        if enters {
            self.window.commit(number);
        }
        enters
    }

    /// The number nearest to the one expected next that has these low 32 bits.
    fn expand(&self, low: u32) -> u64 {
        if !self.begun {
            return low.into();
        }
        let expected = self.window.highest().wrapping_add(1);
        let distance = low.wrapping_sub(expected as u32).cast_signed();
        expected.checked_add_signed(distance.into()).unwrap_or(low.into())
    }

    fn open_in_epoch(
        &mut self,
        number: u64,
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        let limit = self.keys.front().ok_or(OpenError::Forged)?.cipher.limits().forgeries;
        if self.forgeries >= limit {
            return Err(OpenError::LimitReached { limit });
        }
        let epoch = number / EPOCH_PACKETS;
        let oldest = self.oldest_epoch();
        let ahead = epoch.saturating_sub(self.window.highest() / EPOCH_PACKETS);
        let held = epoch.checked_sub(oldest).and_then(|index| self.keys.get(usize::try_from(index).ok()?));
        let result = match held {
            Some(key) => key.cipher.open(&key.nonce(number), aad, data, tag).map_err(|_| OpenError::Forged),
            None if epoch < oldest || ahead > AHEAD => Err(OpenError::Forged),
            None => self.open_ahead(epoch, number, aad, data, tag),
        };
        if result.is_err() {
            self.forgeries = self.forgeries.saturating_add(1);
        }
        result
    }

    /// Tries an epoch whose key is not there yet; what was derived is kept only if the packet opens.
    fn open_ahead(
        &mut self,
        epoch: u64,
        number: u64,
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        let mut secret = self.newest.clone();
        let mut keys = Vec::new();
        while secret.epoch() < epoch {
            secret.advance().map_err(|_| OpenError::Forged)?;
            keys.push(EpochKey::new(&secret, &*self.suites).map_err(|_| OpenError::Forged)?);
        }
        let key = keys.last().ok_or(OpenError::Forged)?;
        key.cipher.open(&key.nonce(number), aad, data, tag).map_err(|_| OpenError::Forged)?;
        self.keys.extend(keys);
        self.newest = secret;
        Ok(())
    }

    /// Keys that the replay window has left behind are wiped.
    fn forget_old_keys(&mut self) {
        let oldest_possible =
            self.window.highest().saturating_sub(ReplayWindow::<WINDOW>::SIZE - 1) / EPOCH_PACKETS;
        while self.keys.len() > 1 && self.oldest_epoch() < oldest_possible {
            self.keys.pop_front();
        }
    }

    /// The epoch of the oldest key: they follow each other, and the last is the newest secret's.
    fn oldest_epoch(&self) -> u64 {
        let before = (self.keys.len() as u64).saturating_sub(1);
        self.newest.epoch().saturating_sub(before)
    }
}

/// Goes on to the epoch of packet number `number`.
fn advance_to(number: u64, secret: &mut DirectionSecret) -> Result<(), KeyError> {
    while secret.epoch() < number / EPOCH_PACKETS {
        secret.advance()?;
    }
    Ok(())
}

/// The 16 bytes after the packet number; there are at least as many.
fn sample(rest: &[u8]) -> [u8; 16] {
    rest.first_chunk().copied().unwrap_or_default()
}

impl<C> fmt::Debug for ShortSealer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShortSealer(next {})", self.next)
    }
}

impl<C> fmt::Debug for ShortOpener<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShortOpener(highest {}, {} keys)", self.window.highest(), self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyAgreement as _;
    use crate::{BuiltinSuites, CipherSuite, HandshakeKeys, KeyPair, Transcript};

    impl<C> ShortSealer<C> {
        fn jump_to(&mut self, number: u64) {
            self.next = number;
        }
    }

    fn pair(suite: CipherSuite) -> (ShortSealer<crate::Aead>, ShortOpener<crate::Aead>) {
        let shared =
            KeyPair::from_secret([1; 32]).agree(&KeyPair::from_secret([2; 32]).public()).expect("agrees");
        let transcript = Transcript { server_key: &[3; 32], connect: b"connect", challenge: b"challenge" };
        let keys = HandshakeKeys::new(suite, &[4; 32], &shared, &shared, None, &transcript);
        let secret = keys.finish(b"response", &[5; 16]).expect("keys").c2s;
        let suites: Arc<dyn CipherSuites<Cipher = crate::Aead>> = Arc::new(BuiltinSuites);
        let sealer = ShortSealer::new(secret.clone(), Arc::clone(&suites)).expect("sealer");
        (sealer, ShortOpener::new(secret, suites).expect("opener"))
    }

    fn packet(sealer: &mut ShortSealer<crate::Aead>, id_len: usize, text: &[u8]) -> Vec<u8> {
        let mut packet = vec![9; id_len];
        packet.extend_from_slice(&[0; PN_LEN]);
        packet.extend_from_slice(text);
        packet.extend_from_slice(&[0; TAG_LEN]);
        sealer.seal(&mut packet, id_len).expect("seals");
        packet
    }

    #[test]
    fn packets_open_once_across_epochs_and_out_of_order() {
        for suite in [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305] {
            let (mut sealer, mut opener) = pair(suite);
            for start in [0, EPOCH_PACKETS - 3, 2 * EPOCH_PACKETS - 2, 5 * EPOCH_PACKETS, (1 << 32) - 3] {
                if start > opener.window().highest() + AHEAD * EPOCH_PACKETS {
                    // Nobody skips so far: pretend that what lies between was opened.
                    let (jump_sealer, jump_opener) = pair(suite);
                    (sealer, opener) = (jump_sealer, jump_opener);
                    while opener.newest.epoch() < start / EPOCH_PACKETS {
                        opener.newest.advance().expect("advances");
                    }
                    opener.keys =
                        VecDeque::from([EpochKey::new(&opener.newest, &BuiltinSuites).expect("key")]);
                    opener.window.commit(start - 1);
                    opener.begun = true;
                }
                sealer.jump_to(start);
                let mut packets: Vec<_> = (0..6).map(|_| packet(&mut sealer, 8, b"hello")).collect();
                packets.swap(0, 5);
                packets.swap(1, 3);
                for packet in &packets {
                    let mut received = packet.clone();
                    let opened = opener.open(&mut received, 8).expect("opens");
                    assert_eq!(&received[opened.range], b"hello");
                    assert!((start..start + 6).contains(&opened.number));
                    let again = opener.open(&mut packet.clone(), 8);
                    assert_eq!(again, Err(OpenError::Replayed { nonce: opened.number }));
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused_and_derives_no_keys_that_stay() {
        let (mut sealer, mut opener) = pair(CipherSuite::Aes128Gcm);
        let good = packet(&mut sealer, 0, b"a message of some length");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(opener.open(&mut bad, 0).is_err(), "bit {bit}");
            assert_eq!(opener.keys.len(), 1);
        }
        assert!(opener.open(&mut good.clone(), 0).is_ok());
    }

    #[test]
    fn what_is_entered_opens_no_more_and_only_what_is_missing_enters() {
        let (mut sealer, mut opener) = pair(CipherSuite::Aes128Gcm);
        assert!(!opener.enter(0), "nothing was opened");
        let [first, mut second] = [(); 2].map(|()| {
            let mut packet = vec![0; PN_LEN + 5 + TAG_LEN];
            sealer.seal(&mut packet, 0).expect("sealed");
            packet
        });
        opener.open(&mut second, 0).expect("opens");
        assert!(!opener.enter(1) && !opener.enter(2), "opened, or yet to come");
        assert!(opener.enter(0) && !opener.enter(0));
        assert_eq!(opener.open(&mut first.clone(), 0), Err(OpenError::Replayed { nonce: 0 }));
        assert_eq!(opener.highest(), Some(1));
    }

    #[test]
    fn old_keys_go_when_the_window_has_left_them() {
        let (mut sealer, mut opener) = pair(CipherSuite::ChaCha20Poly1305);
        sealer.jump_to(EPOCH_PACKETS - 1);
        opener.open(&mut packet(&mut sealer, 0, b"last of epoch 0"), 0).expect("opens");
        opener.open(&mut packet(&mut sealer, 0, b"first of epoch 1"), 0).expect("opens");
        assert_eq!(opener.keys.len(), 2, "a late packet may still come");
        sealer.jump_to(EPOCH_PACKETS + ReplayWindow::<WINDOW>::SIZE);
        opener.open(&mut packet(&mut sealer, 0, b"the window has moved on"), 0).expect("opens");
        assert_eq!(opener.keys.len(), 1);
    }

    #[test]
    fn a_nonce_is_the_vector_with_the_number_in_its_last_bytes() {
        for suite in [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305] {
            let key = pair(suite).0.key;
            let (fixed, rest) = key.iv.split_first_chunk::<4>().expect("12 bytes");
            let vector = u64::from_le_bytes(rest.try_into().expect("8 bytes"));
            for number in [0, 1, 0xff, 1 << 32, 0x0102_0304_0506_0708, u64::MAX] {
                let nonce = key.nonce(number);
                assert_eq!((&nonce[..4], &nonce[4..]), (&fixed[..], &(vector ^ number).to_le_bytes()[..]));
            }
        }
    }

    #[test]
    fn what_has_no_room_for_number_and_tag_is_refused_with_what_it_needs() {
        let (mut sealer, mut opener) = pair(CipherSuite::Aes128Gcm);
        for id_len in [0, 8] {
            let needed = id_len + PN_LEN + TAG_LEN;
            for len in 0..needed {
                assert_eq!(sealer.seal(&mut vec![0; len], id_len), Err(SealError::TooShort { len, needed }));
                assert_eq!(opener.open(&mut vec![0; len], id_len), Err(OpenError::TooShort { len, needed }));
            }
            let mut least = vec![0; needed];
            assert!(sealer.seal(&mut least, id_len).is_ok());
            assert_eq!(
                opener.open(&mut least, id_len).map(|opened| opened.range),
                Ok(needed - 16..needed - 16)
            );
        }
        for id_len in [9, usize::MAX] {
            assert!(matches!(sealer.seal(&mut [0; 100], id_len), Err(SealError::TooShort { len: 100, .. })));
            assert!(matches!(opener.open(&mut [0; 100], id_len), Err(OpenError::TooShort { len: 100, .. })));
        }
    }

    #[test]
    fn the_last_number_of_all_is_not_used_and_never_passed() {
        let (mut sealer, _) = pair(CipherSuite::Aes128Gcm);
        sealer.jump_to(u64::MAX);
        assert_eq!(sealer.seal(&mut [0; 40], 0), Err(SealError::Refused { len: 40 }));
        sealer.skip();
        assert_eq!(sealer.next_number(), u64::MAX);
    }

    #[test]
    fn skipped_numbers_are_never_used() {
        let (mut sealer, mut opener) = pair(CipherSuite::Aes128Gcm);
        packet(&mut sealer, 0, b"");
        sealer.skip();
        let opened = opener.open(&mut packet(&mut sealer, 0, b""), 0).expect("opens");
        assert_eq!(opened.number, 2);
    }
}

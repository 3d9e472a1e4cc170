//! Laws of sealed packets: no nonce twice, nothing but what was sealed opens, a failure leaves nothing.

use std::collections::HashSet;

use fastwire_crypto::*;
use proptest::prelude::*;

use crate::sealed;

const SUITES: [CipherSuite; 2] = [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305];

fn aead(suite: CipherSuite) -> Aead {
    Aead::new(suite, &[0x5a; 32][..suite.key_len()]).unwrap()
}

fn any_suite() -> impl Strategy<Value = CipherSuite> {
    prop::sample::select(&CipherSuite::ALL[..])
}

/// A cipher that counts its tags, for limits that can be reached; refuses what begins with 0xff.
struct Frail;

impl Cipher for Frail {
    fn seal(&self, _: &[u8; 12], _: &[u8], data: &mut [u8]) -> Result<[u8; 16], CipherError> {
        if data.first() == Some(&0xff) { Err(CipherError) } else { Ok([1; 16]) }
    }

    fn open(&self, _: &[u8; 12], _: &[u8], _: &mut [u8], tag: &[u8; 16]) -> Result<(), CipherError> {
        if *tag == [1; 16] { Ok(()) } else { Err(CipherError) }
    }

    fn limits(&self) -> AeadLimits {
        AeadLimits { seals: 5, forgeries: 3 }
    }
}

fn laid_out<C: Cipher>(sealer: &Sealer<C>, plaintext: &[u8]) -> Vec<u8> {
    [&vec![0xee; sealer.prefix_len()], plaintext, &vec![0xee; sealer.suffix_len()]].concat()
}

proptest! {
    #[test]
    fn what_is_sealed_opens_once(suite in any_suite(), plaintexts in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..200), 1..20), order in any::<prop::sample::Index>())
    {
        let (mut sealer, mut opener) = (Sealer::new(aead(suite)), Opener::new(aead(suite)));
        let mut packets = Vec::new();
        for plaintext in &plaintexts {
            let mut packet = laid_out(&sealer, plaintext);
            let nonce = sealer.seal(&mut packet).unwrap();
            prop_assert_eq!(packet.len(), plaintext.len() + sealer.overhead());
            packets.push((nonce, packet, plaintext));
        }
        prop_assert_eq!(sealer.packets(), plaintexts.len() as u64);
        prop_assert_eq!(opener.is_plaintext(), suite == CipherSuite::None);
        let turn = order.index(packets.len());
        packets.rotate_left(turn);
        for (nonce, packet, plaintext) in &packets {
            let highest = opener.highest();
            let mut received = packet.clone();
            let opened = opener.open(&mut received).unwrap();
            prop_assert_eq!(&received[opened.range], &plaintext[..]);
            if suite != CipherSuite::None {
                prop_assert_eq!((opened.nonce, opened.newest), (*nonce, *nonce > highest));
                prop_assert_eq!(opener.open(&mut packet.clone()), Err(OpenError::Replayed { nonce: *nonce }));
            }
        }
        prop_assert_eq!(opener.forgeries(), 0);
    }

    #[test]
    fn a_changed_packet_leaves_no_plaintext(suite in prop::sample::select(&SUITES[..]),
        plaintext in prop::collection::vec(any::<u8>(), 16..120), bit in any::<prop::sample::Index>())
    {
        let good = sealed(&aead(suite), 1000, &plaintext);
        let mut opener = Opener::new(aead(suite));
        let bit = bit.index(good.len() * 8);
        let mut packet = good.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(opener.open(&mut packet), Err(OpenError::Forged));
        prop_assert_eq!((opener.forgeries(), opener.highest()), (1, 0));
        for (left, secret) in packet[8..].windows(8).zip(plaintext.windows(8)) {
            prop_assert_ne!(left, secret);
        }
        prop_assert!(opener.open(&mut good.clone()).is_ok(), "the window did not move");
    }

    #[test]
    fn no_bytes_open_by_chance(suite in any_suite(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let opened = Opener::new(aead(suite)).open(&mut bytes.clone());
        match suite {
            CipherSuite::None => prop_assert_eq!(opened.map(|opened| opened.range), Ok(0..bytes.len())),
            _ if bytes.len() < 24 => {
                prop_assert_eq!(opened, Err(OpenError::TooShort { len: bytes.len(), needed: 24 }));
            }
            _ => prop_assert!(opened.is_err()),
        }
    }

    /// Whatever is switched in between: rising, never twice, and without bit 1 where that is asked.
    #[test]
    fn nonces_rise(avoids in prop::collection::vec(any::<bool>(), 1..600), begin in prop_oneof![
        Just(0u64), 0..600u64, Just((1 << 28) - 100), Just((1 << 32) - 300)])
    {
        let mut sealer = Sealer::after(aead(CipherSuite::ChaCha20Poly1305), begin);
        let (mut last, mut used) = (begin, HashSet::new());
        for avoid in avoids {
            sealer.avoid_control_bit(avoid);
            let nonce = sealer.seal(&mut [0; 24]).unwrap();
            prop_assert!(nonce > last && used.insert(nonce));
            prop_assert!(!avoid || nonce & 0b10 == 0);
            let most_skipped = if avoid { 2 } else { 0 };
            prop_assert!(nonce - last - 1 <= most_skipped);
            last = nonce;
        }
    }
}

#[test]
fn the_first_nonces_for_a_base_client() {
    let mut sealer = Sealer::new(aead(CipherSuite::Aes128Gcm));
    sealer.avoid_control_bit(true);
    let nonces: Vec<u64> = (0..5).map(|_| sealer.seal(&mut [0; 24]).unwrap()).collect();
    assert_eq!(nonces, [1, 4, 5, 8, 9], "PROTOCOL A5");
}

#[test]
fn a_key_ends_at_its_limit() {
    let mut sealer = Sealer::new(Frail);
    assert_eq!(sealer.seal(&mut [0; 23]), Err(SealError::TooShort { len: 23, needed: 24 }));
    assert_eq!(sealer.seal(&mut [0; 24]), Ok(1));
    // A refused packet has used its nonce and counts.
    assert_eq!(sealer.seal(&mut [0xff; 25]), Err(SealError::Refused { len: 25 }));
    for nonce in 3..=5 {
        assert_eq!(sealer.seal(&mut [0; 24]), Ok(nonce));
    }
    assert_eq!((sealer.packets(), sealer.remaining()), (5, 0));
    for _ in 0..2 {
        assert_eq!(sealer.seal(&mut [0; 24]), Err(SealError::LimitReached { limit: 5 }));
    }
    let mut gcm = Sealer::after(aead(CipherSuite::Aes128Gcm), (1 << 28) - 1);
    assert_eq!(gcm.seal(&mut [0; 24]), Ok(1 << 28));
    assert_eq!(gcm.seal(&mut [0; 24]), Err(SealError::LimitReached { limit: 1 << 28 }));
}

#[test]
fn the_counter_ends_before_it_wraps() {
    let mut sealer = Sealer::after(aead(CipherSuite::None), u64::MAX - 1);
    assert_eq!(sealer.seal(&mut []), Ok(u64::MAX));
    assert_eq!(sealer.seal(&mut []), Err(SealError::LimitReached { limit: u64::MAX }));
}

#[test]
fn too_many_forgeries_end_the_key() {
    let mut opener = Opener::new(Frail);
    let (good, forged) = ([1; 24], [[1; 8], [1; 8], [2; 8]].concat());
    for seen in 0..3 {
        assert_eq!(opener.forgeries(), seen);
        assert_eq!(opener.open(&mut forged.clone()), Err(OpenError::Forged));
    }
    assert_eq!(opener.open(&mut good.clone()), Err(OpenError::LimitReached { limit: 3 }));
    // Short and replayed packets were never tried, so they are no forgeries.
    let mut opener = Opener::new(Frail);
    for _ in 0..10 {
        assert!(matches!(opener.open(&mut [1; 23]), Err(OpenError::TooShort { .. })));
        assert_eq!(opener.open(&mut [0; 24]), Err(OpenError::Replayed { nonce: 0 }));
    }
    assert_eq!(opener.forgeries(), 0);
    assert!(opener.open(&mut good.clone()).is_ok());
}

#[test]
fn keys_of_a_wrong_length_are_refused() {
    for suite in CipherSuite::ALL {
        for got in 0..64 {
            let made = BuiltinSuites.make(suite, &vec![0; got]).map(|cipher| cipher.suite());
            let expected = suite.key_len();
            let wrong = KeyError::WrongLength { suite, expected, got };
            assert_eq!(made, if got == expected { Ok(suite) } else { Err(wrong) });
        }
        assert_eq!(CipherSuite::from_id(suite.id()), Some(suite));
    }
    assert!((3..=u8::MAX).all(|id| CipherSuite::from_id(id).is_none()));
}

/// A cipher chosen at run time, and made by a closure, is as good as the built-in one.
#[test]
fn a_boxed_cipher_is_the_cipher_in_the_box() {
    let suites = |suite: CipherSuite, key: &[u8]| -> Result<Box<dyn Cipher>, KeyError> {
        Aead::new(suite, key).map(|cipher| Box::new(cipher) as _)
    };
    for suite in CipherSuite::ALL {
        let boxed = suites.make(suite, &[0x5a; 32][..suite.key_len()]).unwrap();
        assert_eq!(
            (boxed.limits(), boxed.is_plaintext()),
            (aead(suite).limits(), suite == CipherSuite::None)
        );
        let (mut sealer, mut opener) = (Sealer::new(boxed), Opener::new(aead(suite)));
        let mut packet = laid_out(&sealer, b"hello");
        sealer.seal(&mut packet).unwrap();
        let opened = opener.open(&mut packet.clone()).unwrap();
        assert_eq!(opened.range.len(), 5);
        let mut back = Opener::new(suites.make(suite, &[0x5a; 32][..suite.key_len()]).unwrap());
        let range = back.open(&mut packet).unwrap().range;
        assert_eq!(&packet[range], b"hello");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let secret = [0xab; 32];
    let pair = KeyPair::from_secret(secret);
    let peer = KeyPair::from_secret([1; 32]).public();
    let keys = derive_session_keys(&pair, &peer, &[2; 32], CipherSuite::ChaCha20Poly1305).unwrap();
    let shared = SharedSecret::new(secret).unwrap();
    let cipher = || Aead::new(CipherSuite::ChaCha20Poly1305, &secret).unwrap();
    let shown = format!(
        "{pair:?} {pair:#?} {shared:?} {:?} {:?} {:?} {:?} {keys:?}",
        Prk::from_bytes(secret),
        cipher(),
        Sealer::new(cipher()),
        Opener::new(cipher()),
    );
    assert!(!shown.contains("171, 171") && !shown.contains("abab") && !shown.contains("ABAB"), "{shown}");
    for name in ["KeyPair", "SharedSecret", "Prk", "Sealer", "Opener", "SessionKeys"] {
        assert!(shown.contains(name), "{name} is not among {shown}");
    }
    let first_key_bytes = format!("{:?}", &keys.c2s()[..2]);
    assert!(!shown.contains(first_key_bytes.trim_matches(['[', ']'])), "{shown}");
}

#[test]
fn a_sealer_shows_how_much_it_sealed_and_none_of_its_key() {
    let mut sealer = Sealer::new(aead(CipherSuite::Aes128Gcm));
    for _ in 0..3 {
        sealer.seal(&mut laid_out(&sealer, b"text")).unwrap();
    }
    let shown = format!("{sealer:?}");
    assert!(shown.contains("packets: 3") && shown.contains("next: 4"), "{shown}");
    assert!(!shown.contains("90") && !shown.contains("5a"), "{shown}");
}

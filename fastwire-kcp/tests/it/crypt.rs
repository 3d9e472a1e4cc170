//! Packet protection: kcp-go's recorded bytes for every cipher, and the laws all of them keep.

use crate::recorded;
use fastwire_kcp::crypt::{
    Crypt, CryptKind, NONCE_LEN, OpenError, PacketCrypt, SealError, derive_key, insecure,
};
use fastwire_testkit::vectors::{Value, cases, hex, kcp_load, kcp_sessions, number};
use proptest::prelude::*;

#[test]
fn vectors_of_checksummed_packets() {
    for case in cases(&kcp_load("crypto")["packets"]) {
        let key = hex(&case["key"]);
        let crypt = Crypt::new(kind(case, key.len()), &key).expect("a recorded key");
        assert_packet(&crypt, case, 16);
    }
}

#[test]
fn vectors_of_aead_packets() {
    for case in cases(&kcp_load("crypto")["aead"]) {
        let key = hex(&case["key"]);
        let crypt = Crypt::new(kind(case, key.len()), &key).expect("a recorded key");
        assert_packet(&crypt, case, 12);
        for tampered in case["tampered_refused"].as_array().expect("a list") {
            assert_eq!(crypt.open(&mut hex(tampered)), Err(OpenError::Tag), "{tampered}");
        }
    }
}

#[test]
fn vectors_of_key_lengths() {
    for case in cases(&kcp_load("crypto")["key_lengths"]) {
        let len = number(&case["key_len"]) as usize;
        let accepted = Crypt::new(kind(case, len), &vec![1; len]).is_ok();
        assert_eq!(accepted, case["accepted"].as_bool().expect("a flag"), "{case}");
    }
}

#[test]
fn vectors_of_key_derivation_checksum_and_table() {
    let crypto = kcp_load("crypto");
    for case in cases(&crypto["kdf"]) {
        let text = |field: &str| case[field].as_str().expect("a string").as_bytes();
        let iterations = number(&case["iterations"]).try_into().expect("a count");
        assert_eq!(derive_key(text("password"), text("salt"), iterations)[..], hex(&case["key"]), "{case}");
    }
    // "none" shows the checksum field of a datagram in clear.
    let none = Crypt::new(insecure::Kind::Plain.into(), &[]).expect("any key");
    for case in cases(&crypto["crc32"]) {
        let sealed = sealed(&none, &hex(&case["data"]), &[0; NONCE_LEN]);
        assert_eq!(sealed[16..20], hex(&case["field_le"]), "{case}");
    }
    let table = &crypto["xor_table"];
    assert_eq!(insecure::Xor::new(&hex(&table["key"])).table(), hex(&table["table"]));
}

/// Opened session datagrams match what kcp-go had inside them, and seal to the recorded bytes again.
#[test]
fn vectors_of_sessions_open_and_seal_again() {
    for (name, session) in kcp_sessions() {
        let crypt = recorded::session_crypt(&session);
        for datagram in cases(&session["datagrams"]) {
            let wire = hex(&datagram["hex"]);
            let mut opened = wire.clone();
            let inner = crypt.open(&mut opened).unwrap_or_else(|e| panic!("{name}: {e}: {datagram}"));
            if let Some(plain) = datagram.get("plain") {
                assert_eq!(opened[inner.clone()], hex(plain), "{name}");
            }
            // After opening, the nonce stands in clear at the front.
            let mut nonce = [0; NONCE_LEN];
            let len = inner.start.min(16);
            nonce[..len].copy_from_slice(&opened[..len]);
            assert_eq!(sealed(&crypt, &opened[inner], &nonce), wire, "{name}");
        }
    }
}

#[test]
fn datagrams_without_room_are_refused() {
    for kind in CryptKind::all() {
        let crypt = crypt(kind);
        let needed = crypt.header_len() + crypt.tag_len();
        for len in 0..needed {
            let mut short = vec![9; len];
            assert_eq!(
                crypt.seal(&mut short, &[9; NONCE_LEN]),
                Err(SealError::Short { len, needed }),
                "{kind}"
            );
            assert_eq!(crypt.open(&mut short), Err(OpenError::Short { len, needed }), "{kind}");
        }
        let mut empty = sealed(&crypt, &[], &[9; NONCE_LEN]);
        assert_eq!(crypt.open(&mut empty), Ok(crypt.header_len()..crypt.header_len()), "{kind}");
    }
}

#[test]
fn a_custom_crypt_works_and_nothing_shows_a_key() {
    let own = Crypt::custom(insecure::Checksummed(insecure::Salsa20::new(b"key")));
    let ours = Crypt::new(insecure::Kind::Salsa20.into(), b"key").expect("any key");
    assert_eq!(sealed(&own, b"payload", &[3; NONCE_LEN]), sealed(&ours, b"payload", &[3; NONCE_LEN]));
    assert_eq!(format!("{own:?} {ours:?}"), "Crypt(custom) Crypt(salsa20)");
}

proptest! {
    #[test]
    fn every_kind_opens_what_it_sealed(kind in any_kind(), inner: Vec<u8>, nonce: [u8; NONCE_LEN]) {
        let crypt = crypt(kind);
        let mut datagram = sealed(&crypt, &inner, &nonce);
        prop_assert_eq!(datagram.len(), crypt.header_len() + inner.len() + crypt.tag_len());
        let opened = crypt.open(&mut datagram).expect("just sealed");
        prop_assert_eq!(&datagram[opened], &inner[..]);
    }

    #[test]
    fn any_bytes_open_to_an_error_or_a_range_inside(kind in any_kind(), mut bytes: Vec<u8>) {
        let len = bytes.len();
        if let Ok(inner) = crypt(kind).open(&mut bytes) {
            prop_assert!(inner.start <= inner.end && inner.end <= len);
        }
    }

    /// Any bit for an AEAD; for the others any after the nonce, which no checksum covers.
    #[test]
    fn a_flipped_bit_is_refused(
        kind in any_kind().prop_filter("null checks nothing", |kind| kind.name() != "null"),
        inner in prop::collection::vec(any::<u8>(), 0..200),
        nonce: [u8; NONCE_LEN],
        bit: prop::sample::Index,
    ) {
        let crypt = crypt(kind);
        let mut datagram = sealed(&crypt, &inner, &nonce);
        let (first, error) = match kind {
            CryptKind::Insecure(_) => (16 * 8, OpenError::Checksum),
            _ => (0, OpenError::Tag),
        };
        let bit = first + bit.index(datagram.len() * 8 - first);
        datagram[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(crypt.open(&mut datagram), Err(error));
    }

    #[test]
    fn another_key_is_refused(
        kind in any_kind().prop_filter("no key at all", |kind| !matches!(kind.name(), "none" | "null")),
        inner: Vec<u8>,
        nonce: [u8; NONCE_LEN],
    ) {
        let other = Crypt::new(kind, &vec![0x11; key_len(kind)]).expect("a length it takes");
        prop_assert!(other.open(&mut sealed(&crypt(kind), &inner, &nonce)).is_err());
    }
}

/// The cipher of a crypto.json case.
fn kind(case: &Value, key_len: usize) -> CryptKind {
    recorded::kind(case["cipher"].as_str().expect("a name"), key_len)
}

/// Sealing gives the recorded packet, opening it the recorded payload.
fn assert_packet(crypt: &Crypt, case: &Value, nonce_len: usize) {
    let (payload, mut packet) = (hex(&case["payload"]), hex(&case["packet"]));
    let mut nonce = [0xee; NONCE_LEN];
    nonce[..nonce_len].copy_from_slice(&hex(&case["nonce"]));
    assert_eq!(sealed(crypt, &payload, &nonce), packet, "{case}");
    let inner = crypt.open(&mut packet).unwrap_or_else(|e| panic!("{e}: {case}"));
    assert_eq!(packet[inner], payload, "{case}");
}

fn sealed(crypt: &Crypt, inner: &[u8], nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    let header = crypt.header_len();
    // What stands in the rooms beforehand must not matter.
    let mut datagram = vec![0x5a; header + inner.len() + crypt.tag_len()];
    datagram[header..header + inner.len()].copy_from_slice(inner);
    crypt.seal(&mut datagram, nonce).expect("room for header and tag");
    datagram
}

fn key_len(kind: CryptKind) -> usize {
    (0..=32).rev().find(|len| kind.key_lengths().contains(*len)).expect("every cipher takes 32 bytes or less")
}

fn crypt(kind: CryptKind) -> Crypt {
    let key: Vec<u8> = (0..key_len(kind) as u8).map(|i| i.wrapping_mul(37)).collect();
    Crypt::new(kind, &key).expect("a length it takes")
}

fn any_kind() -> impl Strategy<Value = CryptKind> {
    prop::sample::select(CryptKind::all().collect::<Vec<_>>())
}

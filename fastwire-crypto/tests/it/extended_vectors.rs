//! Short packets of the extended profile with fixed keys: both suites, both directions, across epochs.

use std::sync::Arc;

use fastwire_crypto::extended::{
    DirectionSecret, EPOCH_PACKETS, HeaderMask, PN_LEN, ShortOpener, ShortSealer,
};
use fastwire_crypto::{Aead, BuiltinSuites, CipherSuite, CipherSuites, Prk, TAG_LEN};
use fastwire_testkit::vectors::{Value, cases, extended_load, hex, number};

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().expect("the right length")
}

/// One direction of the file.
struct Direction<'a> {
    name: &'a Value,
    suite: CipherSuite,
    id: Vec<u8>,
    secret: DirectionSecret,
    suites: Arc<dyn CipherSuites<Cipher = Aead>>,
}

impl<'a> Direction<'a> {
    fn of(case: &'a Value) -> Self {
        let suite = CipherSuite::from_id(number(&case["suite"]) as u8).expect("a suite");
        let secret = DirectionSecret::new(suite, &Prk::from_bytes(array(&case["secret"]))).expect("keys");
        assert_eq!(secret.mask_key()[..], hex(&case["hp"]), "{}", case["name"]);
        Self { name: &case["name"], suite, id: hex(&case["id"]), secret, suites: Arc::new(BuiltinSuites) }
    }

    fn opener(&self, first: u32) -> ShortOpener<Aead> {
        ShortOpener::starting_at(first, self.secret.clone(), Arc::clone(&self.suites)).expect("an opener")
    }

    /// Keys, mask and bytes of each packet, and an opener that takes them in this order.
    fn check(&self, packets: &[Value], first: u32) {
        let mask = HeaderMask::new(self.suite, self.secret.mask_key()).expect("a cipher");
        let mut opener = self.opener(first);
        let mut derived = self.secret.clone();
        for packet in packets {
            let (number, plaintext) = (number(&packet["number"]), hex(&packet["plaintext"]));
            let name = format!("{} packet {number}", self.name);
            if number / EPOCH_PACKETS < derived.epoch() {
                derived = self.secret.clone();
            }
            while derived.epoch() < number / EPOCH_PACKETS {
                derived.advance().expect("advances");
            }
            let (key, iv) = derived.key().expect("a key");
            assert_eq!(
                number / EPOCH_PACKETS,
                fastwire_testkit::vectors::number(&packet["keys"]["epoch"]),
                "{name}"
            );
            assert_eq!(
                (key.to_vec(), iv.to_vec()),
                (hex(&packet["keys"]["key"]), hex(&packet["keys"]["iv"])),
                "{name}"
            );
            assert_eq!(mask.mask(&array(&packet["sample"])), array(&packet["mask"]), "{name}");

            let mut sealer = ShortSealer::starting_at(number, self.secret.clone(), Arc::clone(&self.suites));
            let sealer = sealer.as_mut().expect("a sealer");
            let mut sealed = [&self.id[..], &[0; PN_LEN], &plaintext, &[0; TAG_LEN]].concat();
            assert_eq!(sealer.seal(&mut sealed, self.id.len()), Ok(number), "{name}");
            assert_eq!(sealed, hex(&packet["packet"]), "{name}");

            let opened = opener.open(&mut sealed, self.id.len()).expect(&name);
            assert_eq!((opened.number, &sealed[opened.range]), (number, &plaintext[..]), "{name}");
        }
    }
}

#[test]
fn vectors_of_short_packets_come_out_byte_for_byte_and_open() {
    let file = extended_load("packets");
    let mut epochs = std::collections::HashSet::new();
    for case in cases(&file["directions"]) {
        let direction = Direction::of(case);
        direction.check(cases(&case["packets"]), 0);
        let wide = cases(&case["wide"]);
        direction.check(wide, number(&wide[0]["number"]) as u32);
        epochs.extend(cases(&case["packets"]).iter().map(|packet| number(&packet["keys"]["epoch"])));
    }
    assert!([0, 1, 2].iter().all(|epoch| epochs.contains(epoch)), "the keys change twice: {epochs:?}");
}

#[test]
fn vectors_of_packets_that_must_not_open_do_not() {
    let file = extended_load("packets");
    for case in cases(&file["directions"]) {
        let direction = Direction::of(case);
        let mut opener = direction.opener(0);
        for refused in cases(&case["refused"]) {
            let opened = opener.open(&mut hex(&refused["packet"]), direction.id.len());
            assert!(opened.is_err(), "{}: {}", direction.name, refused["why"]);
        }
        let mut good = hex(&cases(&case["packets"])[0]["packet"]);
        assert!(opener.open(&mut good, direction.id.len()).is_ok(), "none of them stands in its way");
    }
}

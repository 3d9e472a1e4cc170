//! Opening packets of the extended profile that nobody sealed, that somebody bent, or that are for others.

use std::sync::{Arc, LazyLock};

use fastwire::crypto::extended::{DirectionSecret, EPOCH_PACKETS, ShortOpener, ShortSealer};
use fastwire::crypto::{Aead, BuiltinSuites, CipherSuite, OpenError, Prk};

use crate::Script;

/// Sealed packets of each kind.
const PACKETS: usize = 40;
/// Their first number: some are of the next epoch.
const FIRST: u64 = EPOCH_PACKETS - 20;
const SUITES: [CipherSuite; 2] = [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305];
/// The most packets of one input: what comes later is no news to an opener.
const MOST: usize = 96;

type Suites = Arc<dyn fastwire::crypto::CipherSuites<Cipher = Aead>>;

fn secret(suite: CipherSuite, key: u8) -> DirectionSecret {
    DirectionSecret::new(suite, &Prk::from_bytes([key; 32])).expect("a known suite")
}

/// What openers begin with, by suite and key.
static SECRETS: LazyLock<[[DirectionSecret; 2]; 2]> =
    LazyLock::new(|| SUITES.map(|suite| [1, 2].map(|key| secret(suite, key))));

/// Packets that were truly sealed, by suite and length of the id before them. Number `n` of them holds bytes `n`.
static GENUINE: LazyLock<[[Vec<Vec<u8>>; 2]; 2]> = LazyLock::new(|| {
    SUITES.map(|suite| {
        [0, 8].map(|id_len| {
            let suites: Suites = Arc::new(BuiltinSuites);
            let mut sealer =
                ShortSealer::starting_at(FIRST, secret(suite, 1), suites).expect("a known suite");
            let seal = |number: usize| {
                let mut packet = vec![0xc1; id_len + 4];
                packet.resize(id_len + 4 + number, number as u8);
                packet.resize(packet.len() + 16, 0);
                sealer.seal(&mut packet, id_len).expect("seals");
                packet
            };
            (0..PACKETS).map(seal).collect()
        })
    })
});

/// A short packet opens under the right keys exactly if it was sealed and did not open before, with all 64 bits of its
/// number; under others never. What fails leaves no plaintext behind, and the window moves only for what opened.
pub fn short_packets(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let (which, with_id) = (usize::from(choice & 1), usize::from(choice >> 1 & 1));
    let id_len = with_id * 8;
    let genuine = &GENUINE[which][with_id];
    let suites: Suites = Arc::new(BuiltinSuites);
    let open = |key: usize| {
        let secret = SECRETS[which][key].clone();
        ShortOpener::starting_at(FIRST as u32, secret, suites.clone()).expect("a known suite")
    };
    let mut right = open(0);
    let mut wrong = (choice & 4 != 0).then(|| open(1));
    let mut opened = [false; PACKETS];
    for _ in 0..MOST {
        if script.is_over() {
            break;
        }
        let number = usize::from(script.byte()) % PACKETS;
        let mut packet = match script.byte() % 5 {
            0 => script.block().to_vec(),
            1 => genuine[number].clone(),
            2 => {
                let mut packet = genuine[number].clone();
                let at = usize::from(script.byte()) % packet.len();
                packet[at] ^= script.byte();
                packet
            }
            3 => {
                // Of the other form, or under the other suite.
                let other = script.byte();
                GENUINE[usize::from(other & 1)][usize::from(other >> 1 & 1)][number].clone()
            }
            _ => {
                let mut packet = genuine[number].clone();
                packet.truncate(script.byte().into());
                let more = script.byte() % 16;
                packet.extend_from_slice(script.take(more.into()));
                packet
            }
        };
        if let Some(wrong) = &mut wrong {
            let before = (wrong.highest(), wrong.forgeries());
            let refused = wrong.open(&mut packet.clone(), id_len);
            assert!(refused.is_err(), "a packet opened under a key it was not sealed with");
            let counts = u64::from(matches!(refused, Err(OpenError::Forged)));
            assert_eq!((wrong.highest(), wrong.forgeries()), (before.0, before.1 + counts));
        }
        let before = packet.clone();
        let written = genuine.iter().position(|genuine| *genuine == packet);
        let (is_genuine, number) = (written.is_some(), written.unwrap_or(number));
        let highest = right.highest();
        match right.open(&mut packet, id_len) {
            Ok(plain) => {
                assert!(is_genuine && !opened[number], "a packet opened that must not");
                opened[number] = true;
                assert_eq!(plain.number, FIRST + number as u64);
                assert_eq!(plain.newest, highest.is_none_or(|highest| plain.number > highest));
                assert_eq!(plain.range.len(), number);
                assert!(packet[plain.range].iter().all(|byte| usize::from(*byte) == number));
            }
            Err(_) => {
                assert!(!is_genuine || opened[number], "a genuine packet did not open");
                assert_eq!(right.highest(), highest, "a forged packet moved the window");
                let body = id_len + 4..id_len + 4 + number;
                if number > 1 && before.get(body.clone()) == genuine[number].get(body.clone()) {
                    assert_ne!(
                        packet.get(body),
                        Some(&vec![number as u8; number][..]),
                        "plaintext left behind"
                    );
                }
            }
        }
    }
}

//! Opening packets nobody sealed, and packets somebody bent.

use std::sync::{Arc, LazyLock};

use fastwire::crypto::{Aead, BuiltinSuites, CipherSuite, CipherSuites, Opener, Sealer};

use crate::Script;

const KEY: [u8; 32] = [0x42; 32];

fn aead(suite: CipherSuite) -> Aead {
    BuiltinSuites.make(suite, &KEY[..suite.key_len()]).expect("the length is the suite's")
}

/// The most packets of one input: what comes later is no news to an opener.
const MOST: usize = 96;

/// Packets that were truly sealed, by suite; a script bends copies of them.
static GENUINE: LazyLock<Arc<[Vec<Vec<u8>>; 2]>> = LazyLock::new(|| {
    Arc::new([CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305].map(|suite| {
        let mut sealer = Sealer::new(aead(suite));
        let seal = |len: u8| {
            let mut packet = vec![0; 8 + usize::from(len) + 16];
            packet[8..8 + usize::from(len)].fill(len);
            sealer.seal(&mut packet).expect("seals");
            packet
        };
        (0..40).map(seal).collect()
    }))
});

/// A packet opens exactly if it was sealed and did not open before; what fails holds no plaintext of a genuine one, and
/// the window moves only for what opened.
pub fn sealed(data: &[u8]) {
    let mut script = Script::new(data);
    let which = usize::from(script.byte() & 1);
    let suite = [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305][which];
    let genuine = &GENUINE[which];
    let mut opener = Opener::new(aead(suite));
    let mut opened = [false; 40];
    for _ in 0..MOST {
        if script.is_over() {
            break;
        }
        let number = usize::from(script.byte()) % genuine.len();
        let mut packet = match script.byte() % 4 {
            0 => script.block().to_vec(),
            1 => genuine[number].clone(),
            2 => {
                let mut packet = genuine[number].clone();
                let at = usize::from(script.byte()) % packet.len();
                packet[at] ^= script.byte();
                packet
            }
            _ => {
                let mut packet = genuine[number].clone();
                packet.truncate(script.byte().into());
                let more = script.byte() % 16;
                packet.extend_from_slice(script.take(more.into()));
                packet
            }
        };
        let (before, highest) = (packet.clone(), opener.highest());
        // A fuzzer that sees comparisons writes genuine packets of its own accord.
        let written = genuine.iter().position(|genuine| *genuine == packet);
        let (is_genuine, number) = (written.is_some(), written.unwrap_or(number));
        match opener.open(&mut packet) {
            Ok(plain) => {
                assert!(is_genuine && !opened[number], "a packet opened that must not");
                opened[number] = true;
                assert_eq!(plain.newest, plain.nonce > highest);
                assert!(packet[plain.range].iter().all(|byte| usize::from(*byte) == number));
            }
            Err(_) => {
                assert!(!is_genuine || opened[number], "a genuine packet did not open");
                assert_eq!(opener.highest(), highest, "a forged packet moved the window");
                if !is_genuine && before.get(8..) == genuine[number].get(8..) && number > 0 {
                    assert_ne!(packet[8..8 + number], vec![number as u8; number], "plaintext left behind");
                }
            }
        }
    }
}

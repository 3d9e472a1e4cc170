//! Short packets of both suites in both directions, across epochs and beyond 32 bits, and packets that must not open.

use fastwire::crypto::CipherSuite;
use serde_json::{Value, json};

use crate::protection::{Direction, Sealed};
use crate::{first, hex, made_up};

/// PING, then PAD: the shortest plaintext that stands for something.
const PLAINTEXT: &[u8] = &[6, 0, 0];

/// Packet numbers in the order of their arrival: the first, both sides of two key updates, a late one of the old epoch, one
/// fifteen epochs ahead.
const NUMBERS: [u64; 11] = [0, 1, 255, 65_534, 65_536, 65_535, 65_537, 131_071, 131_072, 196_608, 1_179_647];
/// Both sides of the end of the 32 bits that travel, the first of them the first that arrives.
const WIDE: [u64; 3] = [(1 << 32) - 1, 1 << 32, (1 << 32) + 70_000];

pub(crate) fn all() -> Value {
    let mut directions = Vec::new();
    let suites = [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305];
    for (suite, n) in suites.into_iter().zip(1..) {
        for (direction, id) in [("c2s", &made_up("short id", n)[..8]), ("s2c", &[])] {
            let secret = made_up(direction, n);
            directions.push(json!({
                "name": format!("{direction}, suite {}", suite.id()),
                "suite": suite.id(),
                "direction": direction,
                "secret": hex(&secret),
                "hp": hex(&Direction::new(suite, secret).hp),
                "id": hex(id),
                "packets": sequence(suite, secret, id, &NUMBERS),
                "wide": sequence(suite, secret, id, &WIDE),
                "refused": refused(suite, secret, id),
            }));
        }
    }
    json!({ "directions": directions })
}

fn sequence(suite: CipherSuite, secret: [u8; 32], id: &[u8], numbers: &[u64]) -> Vec<Value> {
    let plaintexts = (0..).map(|n: u8| [PLAINTEXT, &made_up("plaintext", n)[..usize::from(n) * 3]].concat());
    let least = numbers.iter().min().copied().unwrap_or_default();
    let first = Direction::new(suite, secret).at(least);
    numbers
        .iter()
        .zip(plaintexts)
        .map(|(&number, plaintext)| {
            let keys = first.clone().at(number);
            packet(&keys, &keys.seal(id, number, &plaintext), &plaintext)
        })
        .collect()
}

fn packet(keys: &Direction, sealed: &Sealed, plaintext: &[u8]) -> Value {
    json!({
        "number": sealed.number,
        "keys": keys.epoch(),
        "plaintext": hex(plaintext),
        "sample": hex(&sealed.sample),
        "mask": hex(&sealed.mask),
        "packet": hex(&sealed.bytes),
    })
}

/// Packets for an opener that has opened nothing.
fn refused(suite: CipherSuite, secret: [u8; 32], id: &[u8]) -> Vec<Value> {
    let keys = Direction::new(suite, secret);
    let good = keys.seal(id, 0, PLAINTEXT).bytes;
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut cases = vec![
        ("a bit of the tag", flipped(good.len() - 1)),
        ("a bit of the ciphertext", flipped(id.len() + 4)),
        ("a bit of the packet number", flipped(id.len())),
        ("too short", good[..good.len() - PLAINTEXT.len() - 1].to_vec()),
        (
            "the first packet of epoch 1, sealed with the keys of epoch 0",
            keys.seal(id, 65_536, PLAINTEXT).bytes,
        ),
        (
            "sixteen epochs ahead",
            Direction::new(suite, secret).at(16 << 16).seal(id, 16 << 16, PLAINTEXT).bytes,
        ),
        (
            "of the other direction",
            Direction::new(suite, first(&made_up("other", 0))).seal(id, 0, PLAINTEXT).bytes,
        ),
    ];
    if !id.is_empty() {
        cases.push(("a bit of the id", flipped(0)));
    }
    cases.into_iter().map(|(why, bytes)| json!({ "why": why, "packet": hex(&bytes) })).collect()
}

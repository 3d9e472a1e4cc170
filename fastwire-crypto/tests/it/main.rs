//! Tests of packet protection from outside: golden vectors, published vectors, laws.
#![allow(clippy::unwrap_used)]

mod backends;
mod extended;
mod extended_vectors;
mod packets;
mod replay;
mod standards;
mod vectors;

use fastwire_crypto::{Cipher, NONCE_LEN};

/// `[nonce 8, LE][ciphertext][tag 16]`, made without a `Sealer`, so that any nonce will do.
fn sealed(cipher: &impl Cipher, nonce: u64, plaintext: &[u8]) -> Vec<u8> {
    let mut aead_nonce = [0; NONCE_LEN];
    aead_nonce[..8].copy_from_slice(&nonce.to_le_bytes());
    let mut data = plaintext.to_vec();
    let tag = cipher.seal(&aead_nonce, &[], &mut data).unwrap();
    [&nonce.to_le_bytes()[..], &data, &tag].concat()
}

//! Packet protection and key agreement by the libraries one could take, side by side.

use std::hint::black_box;

use aes_gcm::aead::{AeadInOut, KeyInit};

use crate::kernels::Once;

type Named = (String, String, Once);

/// Bytes of a packet: small, middling, full.
const SIZES: [usize; 3] = [64, 256, 1200];

/// Everything there is to compare.
pub fn all() -> Vec<Named> {
    let mut all: Vec<Named> = Vec::new();
    for size in SIZES {
        let aes = |by: &str, once: Once| (format!("AES-128-GCM seal and open {size} B"), by.to_owned(), once);
        all.push(aes("RustCrypto", rust_crypto(aes_gcm::Aes128Gcm::new(&[7; 16].into()), size)));
        all.push(aes("ring", with_ring(&ring::aead::AES_128_GCM, size)));
        all.push(aes("aws-lc-rs", with_aws(&aws_lc_rs::aead::AES_128_GCM, size)));
        let chacha =
            |by: &str, once: Once| (format!("ChaCha20-Poly1305 seal and open {size} B"), by.to_owned(), once);
        all.push(chacha(
            "RustCrypto",
            rust_crypto(chacha20poly1305::ChaCha20Poly1305::new(&[7; 32].into()), size),
        ));
        all.push(chacha("ring", with_ring(&ring::aead::CHACHA20_POLY1305, size)));
        all.push(chacha("aws-lc-rs", with_aws(&aws_lc_rs::aead::CHACHA20_POLY1305, size)));
    }
    let agreement = |by: &str, once: Once| ("X25519 key pair and agreement".to_owned(), by.to_owned(), once);
    all.push(agreement("x25519-dalek", dalek()));
    all.push(agreement("ring", ring_agreement()));
    all.push(agreement("aws-lc-rs", aws_agreement()));
    all
}

fn rust_crypto<A>(cipher: A, size: usize) -> Once
where
    A: AeadInOut<NonceSize = aes_gcm::aead::consts::U12> + 'static,
{
    let mut data = vec![0; size];
    let nonce = [1; 12].into();
    Box::new(move || {
        if let Ok(tag) = cipher.encrypt_inout_detached(&nonce, &[], black_box(&mut data[..]).into()) {
            let opened = cipher.decrypt_inout_detached(&nonce, &[], black_box(&mut data[..]).into(), &tag);
            assert!(opened.is_ok(), "what was sealed opens");
        }
    })
}

fn with_ring(algorithm: &'static ring::aead::Algorithm, size: usize) -> Once {
    use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
    let key = UnboundKey::new(algorithm, &[7; 32][..algorithm.key_len()]).map(LessSafeKey::new);
    let key = key.unwrap_or_else(|_| panic!("a key of the right length"));
    let mut data = vec![0; size];
    let nonce = || Nonce::assume_unique_for_key([1; 12]);
    Box::new(move || {
        if let Ok(tag) = key.seal_in_place_separate_tag(nonce(), Aad::empty(), black_box(&mut data)) {
            let opened =
                key.open_in_place_separate_tag(nonce(), Aad::empty(), tag, black_box(&mut data), 0..);
            assert!(opened.is_ok(), "what was sealed opens");
        }
    })
}

fn with_aws(algorithm: &'static aws_lc_rs::aead::Algorithm, size: usize) -> Once {
    use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
    let key = UnboundKey::new(algorithm, &[7; 32][..algorithm.key_len()]).map(LessSafeKey::new);
    let key = key.unwrap_or_else(|_| panic!("a key of the right length"));
    let mut data = vec![0; size];
    let mut sealed = vec![0; size];
    let nonce = || Nonce::assume_unique_for_key([1; 12]);
    Box::new(move || {
        if let Ok(tag) = key.seal_in_place_separate_tag(nonce(), Aad::empty(), black_box(&mut data)) {
            // The only detached opening there is writes elsewhere.
            let opened =
                key.open_separate_gather(nonce(), Aad::empty(), &data, tag.as_ref(), black_box(&mut sealed));
            assert!(opened.is_ok(), "what was sealed opens");
        }
    })
}

/// A fresh key and one agreement with it, as each side of a handshake does.
fn dalek() -> Once {
    use x25519_dalek::{PublicKey, StaticSecret};
    let peer = PublicKey::from(&StaticSecret::from([2; 32]));
    let mut number = 0u8;
    Box::new(move || {
        number = number.wrapping_add(1);
        let secret = StaticSecret::from([number; 32]);
        black_box(PublicKey::from(&secret));
        black_box(secret.diffie_hellman(&peer));
    })
}

fn ring_agreement() -> Once {
    use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
    let random = ring::rand::SystemRandom::new();
    let peer = EphemeralPrivateKey::generate(&X25519, &random).and_then(|key| key.compute_public_key());
    let peer = peer.unwrap_or_else(|_| panic!("a key"));
    Box::new(move || {
        if let Ok(own) = EphemeralPrivateKey::generate(&X25519, &random) {
            let _ = black_box(own.compute_public_key());
            let peer = UnparsedPublicKey::new(&X25519, peer.as_ref());
            let _ = agree_ephemeral(own, &peer, |secret| black_box(secret.len()));
        }
    })
}

fn aws_agreement() -> Once {
    use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
    let random = aws_lc_rs::rand::SystemRandom::new();
    let peer = EphemeralPrivateKey::generate(&X25519, &random).and_then(|key| key.compute_public_key());
    let peer = peer.unwrap_or_else(|_| panic!("a key"));
    Box::new(move || {
        if let Ok(own) = EphemeralPrivateKey::generate(&X25519, &random) {
            let _ = black_box(own.compute_public_key());
            let peer = UnparsedPublicKey::new(&X25519, peer.as_ref());
            let _ = agree_ephemeral(own, peer, (), |secret| {
                black_box(secret.len());
                Ok(())
            });
        }
    })
}

//! The extended profile's keys, masks and cookies.

use fastwire_crypto::extended::{
    CookieKey, HeaderMask, TOKEN_LEN, TOKEN_NONCE, TOKEN_PLAINTEXT, open_token, seal_token, token_expiry,
};
use fastwire_crypto::{CipherSuite, HandshakeKeys, KeyAgreement, KeyPair, Transcript};
use fastwire_testkit::vectors::{Value, hex};
use proptest::prelude::*;

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex(&Value::from(text)).try_into().expect("the right length")
}

/// RFC 9001 §A.2 and §A.5: the same construction, of whose five bytes four are used here.
#[test]
fn masks_are_those_of_rfc_9001() {
    let mut hp = [0; 32];
    hp[..16].copy_from_slice(&bytes::<16>("9f50449e04a0e810283a1e9933adedd2"));
    let mask = HeaderMask::new(CipherSuite::Aes128Gcm, &hp).expect("a cipher");
    assert_eq!(mask.mask(&bytes("d1b1c98dd7689fb8ec11d242b123dc9b")), bytes("437b9aec"));

    let hp = bytes("25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4");
    let mask = HeaderMask::new(CipherSuite::ChaCha20Poly1305, &hp).expect("a cipher");
    assert_eq!(mask.mask(&bytes("5e5cd55c41f69080575d7999c25a5bfb")), bytes("aefefe7d"));
    assert!(HeaderMask::new(CipherSuite::None, &hp).is_none());
}

/// Everything that goes into the keys changes them, and both sides get the same.
#[test]
fn every_input_changes_the_keys() {
    let shared = |a: u8, b: u8| {
        KeyPair::from_secret([a; 32]).agree(&KeyPair::from_secret([b; 32]).public()).expect("agrees")
    };
    #[derive(Clone, Copy)]
    struct Input<'a> {
        cookie: [u8; 32],
        ephemeral: (u8, u8),
        identity: (u8, u8),
        psk: Option<[u8; 32]>,
        server_key: [u8; 32],
        connect: &'a [u8],
        challenge: &'a [u8],
        response: &'a [u8],
        random: [u8; 16],
    }
    let keys = |input: Input<'_>| {
        let transcript =
            Transcript { server_key: &input.server_key, connect: input.connect, challenge: input.challenge };
        let ephemeral = shared(input.ephemeral.0, input.ephemeral.1);
        let identity = shared(input.identity.0, input.identity.1);
        let suite = CipherSuite::ChaCha20Poly1305;
        let keys =
            HandshakeKeys::new(suite, &input.cookie, &ephemeral, &identity, input.psk.as_ref(), &transcript);
        let response = keys.response().expect("keys");
        let done = keys.finish(input.response, &input.random).expect("keys");
        let mut exported = [0; 32];
        done.export(b"label", &mut exported).expect("exports");
        let mut next = done.c2s.clone();
        next.advance().expect("advances");
        let mut all = vec![response.0.to_vec(), exported.to_vec()];
        for direction in [&done.c2s, &done.s2c, &next] {
            let (key, iv) = direction.key().expect("key");
            all.push([&key[..], &iv].concat());
        }
        all.extend([done.c2s.mask_key().to_vec(), done.s2c.mask_key().to_vec()]);
        all
    };
    let base = Input {
        cookie: [1; 32],
        ephemeral: (1, 2),
        identity: (1, 3),
        psk: None,
        server_key: [4; 32],
        connect: b"c",
        challenge: b"h",
        response: b"r",
        random: [5; 16],
    };
    let of_base = keys(base);
    // The client's side and the server's side of the same agreements.
    assert_eq!(of_base, keys(Input { ephemeral: (2, 1), identity: (3, 1), ..base }));
    let distinct: std::collections::HashSet<_> = of_base.iter().collect();
    assert_eq!(distinct.len(), of_base.len(), "no key stands for two purposes");
    // No key at all stays as it was, but RESPONSE's where the change comes after it.
    let before = [
        Input { cookie: [2; 32], ..base },
        Input { ephemeral: (1, 7), ..base },
        Input { identity: (1, 7), ..base },
        Input { psk: Some([6; 32]), ..base },
        Input { server_key: [7; 32], ..base },
        Input { connect: b"ch", challenge: b"", ..base },
        Input { challenge: b"hh", ..base },
    ];
    for (index, input) in before.into_iter().enumerate() {
        let changed = keys(input);
        assert!(of_base.iter().zip(&changed).all(|(a, b)| a != b), "input {index}");
    }
    for input in [Input { response: b"rr", ..base }, Input { random: [6; 16], ..base }] {
        let changed = keys(input);
        assert_eq!(of_base[0], changed[0]);
        assert!(of_base.iter().zip(&changed).skip(1).all(|(a, b)| a != b));
    }
}

proptest! {
    #[test]
    fn cookies_hold_for_their_client_and_their_time_alone(
        seconds: u32,
        age in 0..20_u32,
        random: [u8; 12],
        ip: [u8; 4],
        port: u16,
        connect in proptest::collection::vec(any::<u8>(), 0..100),
        flip in 0..256_usize,
    ) {
        let key = CookieKey::new(3, [7; 32]);
        let remote = (ip, port).into();
        let mut cookie = key.make(seconds, random, remote, &connect);
        let later = seconds.wrapping_add(age);
        prop_assert_eq!(key.check(&cookie, later, 10, remote, &connect), age <= 10);
        prop_assert!(!key.check(&cookie, later, 10, (ip, port.wrapping_add(1)).into(), &connect));
        prop_assert!(!key.check(&cookie, later, 10, remote, &[&connect[..], &[0]].concat()));
        prop_assert!(!CookieKey::new(3, [8; 32]).check(&cookie, later, 10, remote, &connect));
        prop_assert!(!CookieKey::new(4, [7; 32]).check(&cookie, later, 10, remote, &connect));
        cookie[flip / 8] ^= 1 << (flip % 8);
        prop_assert!(!key.check(&cookie, later, 10, remote, &connect));
    }
}

proptest! {
    /// A token tells its expiry to everybody, and the rest to who has the key; changed anywhere it tells nothing.
    #[test]
    fn a_token_opens_with_its_key_as_it_was_sealed(
        key in any::<[u8; 32]>(),
        nonce in any::<[u8; TOKEN_NONCE]>(),
        expiry in any::<u64>(),
        seed in any::<u8>(),
        bit in 0..TOKEN_LEN * 8,
    ) {
        let plaintext: [u8; TOKEN_PLAINTEXT] = std::array::from_fn(|i| seed.wrapping_mul(31).wrapping_add(i as u8));
        let token = seal_token(&key, nonce, expiry, &plaintext).expect("seals");
        prop_assert_eq!(&token[..TOKEN_NONCE], &nonce[..]);
        prop_assert_eq!(token_expiry(&token), expiry);
        prop_assert_eq!(*open_token(&key, &token).expect("opens"), plaintext);
        let mut changed = token;
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open_token(&key, &changed).is_err());
        let mut other = key;
        other[bit % 32] ^= 1;
        prop_assert!(open_token(&other, &token).is_err());
    }
}

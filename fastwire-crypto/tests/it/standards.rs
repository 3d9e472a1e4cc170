//! Published test vectors: RFC 7748, RFC 5869, RFC 8439, the GCM specification; points of low order.

use fastwire_crypto::*;
use fastwire_testkit::vectors::Value;

fn hex(text: &str) -> Vec<u8> {
    fastwire_testkit::vectors::hex(&Value::from(text))
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

fn x25519(scalar: [u8; 32], point: [u8; 32]) -> [u8; 32] {
    *KeyPair::from_secret(scalar).agree(&point.into()).unwrap().as_bytes()
}

/// RFC 7748 §5.2.
#[test]
fn rfc7748_scalar_multiplication() {
    for (scalar, point, result) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        assert_eq!(x25519(array(scalar), array(point)), array(result));
    }
}

/// RFC 7748 §5.2, the iterated test.
#[test]
fn rfc7748_iterated() {
    let mut k = array("0900000000000000000000000000000000000000000000000000000000000000");
    let mut u = k;
    for round in 1..=1000 {
        (k, u) = (x25519(k, u), k);
        if round == 1 {
            assert_eq!(k, array("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
        }
    }
    assert_eq!(k, array("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
}

/// RFC 7748 §6.1.
#[test]
fn rfc7748_diffie_hellman() {
    let alice =
        KeyPair::from_secret(array("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = KeyPair::from_secret(array("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let shared = array::<32>("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    let publics = (
        array("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"),
        array("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"),
    );
    assert_eq!((alice.public().to_bytes(), bob.public().to_bytes()), publics);
    assert_eq!(*alice.agree(&bob.public()).unwrap().as_bytes(), shared);
    assert_eq!(*bob.agree(&alice.public()).unwrap().as_bytes(), shared);
}

/// Every encoding of every point of small order, with and without the ignored highest bit.
#[test]
fn low_order_points_are_refused() {
    let own = KeyPair::from_secret([0x42; 32]);
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let mut point = array::<32>(point);
        for _ in 0..2 {
            let refused = own.agree(&point.into());
            assert_eq!(refused.map(|_| ()), Err(KeyError::LowOrderPoint), "{point:02x?}");
            point[31] |= 0x80;
        }
    }
    assert_eq!(SharedSecret::new([0; 32]).map(|_| ()), Err(KeyError::LowOrderPoint));
    for position in 0..32 {
        let mut secret = [0; 32];
        secret[position] = 1;
        assert!(SharedSecret::new(secret).is_ok(), "one bit makes it a secret");
    }
}

/// RFC 5869 §A.1 to §A.3.
#[test]
fn rfc5869_hkdf_sha256() {
    let bytes = |range: std::ops::RangeInclusive<u8>| range.collect::<Vec<u8>>();
    for (input, salt, info, output) in [
        (
            vec![0x0b; 22],
            bytes(0..=0x0c),
            bytes(0xf0..=0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(0..=0x4f),
            bytes(0x60..=0xaf),
            bytes(0xb0..=0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ] {
        let expected = hex(output);
        let mut okm = vec![0; expected.len()];
        Prk::extract(&salt, &input).expand(&[&info], &mut okm).unwrap();
        assert_eq!(okm, expected);
    }
    let prk = array("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    let mut okm = [0; 8];
    Prk::from_bytes(prk).expand(&[&bytes(0xf0..=0xf9)], &mut okm).unwrap();
    assert_eq!(okm[..], hex("3cb25f25faacd57a"));
}

struct AeadCase {
    suite: CipherSuite,
    key: &'static str,
    nonce: &'static str,
    aad: &'static str,
    plaintext: &'static str,
    ciphertext: &'static str,
    tag: &'static str,
}

#[test]
fn rfc8439_and_gcm_vectors() {
    const GCM_KEY: &str = "feffe9928665731c6d6a8f9467308308";
    const GCM_NONCE: &str = "cafebabefacedbaddecaf888";
    const GCM_PLAINTEXT: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    const GCM_CIPHERTEXT: &str = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                                  21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985";
    const ZERO: &str = "00000000000000000000000000000000";
    let gcm = CipherSuite::Aes128Gcm;
    for case in [
        // The Galois/Counter Mode of Operation, appendix B, test cases 1 to 4.
        AeadCase {
            suite: gcm,
            key: ZERO,
            nonce: &ZERO[..24],
            aad: "",
            plaintext: "",
            ciphertext: "",
            tag: "58e2fccefa7e3061367f1d57a4e7455a",
        },
        AeadCase {
            suite: gcm,
            key: ZERO,
            nonce: &ZERO[..24],
            aad: "",
            plaintext: ZERO,
            ciphertext: "0388dace60b6a392f328c2b971b2fe78",
            tag: "ab6e47d42cec13bdf53a67b21257bddf",
        },
        AeadCase {
            suite: gcm,
            key: GCM_KEY,
            nonce: GCM_NONCE,
            aad: "",
            plaintext: GCM_PLAINTEXT,
            ciphertext: GCM_CIPHERTEXT,
            tag: "4d5c2af327cd64a62cf35abd2ba6fab4",
        },
        AeadCase {
            suite: gcm,
            key: GCM_KEY,
            nonce: GCM_NONCE,
            aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            plaintext: &GCM_PLAINTEXT[..120],
            ciphertext: &GCM_CIPHERTEXT[..120],
            tag: "5bc94fbc3221a5db94fae95ae7121a47",
        },
        // RFC 8439 §2.8.2.
        AeadCase {
            suite: CipherSuite::ChaCha20Poly1305,
            key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            nonce: "070000004041424344454647",
            aad: "50515253c0c1c2c3c4c5c6c7",
            plaintext: "4c616469657320616e642047656e746c656d656e206f662074686520636c6173\
                        73206f66202739393a204966204920636f756c64206f6666657220796f75206f\
                        6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73\
                        637265656e20776f756c642062652069742e",
            ciphertext: "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
                         3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
                         92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
                         3ff4def08e4b7a9de576d26586cec64b6116",
            tag: "1ae10b594f09e26a7e902ecbd0600691",
        },
    ] {
        let cipher = Aead::new(case.suite, &hex(case.key)).unwrap();
        let (nonce, aad, tag) = (array(case.nonce), hex(case.aad), array(case.tag));
        let mut data = hex(case.plaintext);
        assert_eq!(cipher.seal(&nonce, &aad, &mut data), Ok(tag));
        assert_eq!(data, hex(case.ciphertext));
        let other_aad = [&aad[..], &[1]].concat();
        let mut refused = data.clone();
        assert_eq!(cipher.open(&nonce, &other_aad, &mut refused, &tag), Err(CipherError));
        assert!(refused == data || refused.iter().all(|byte| *byte == 0), "as it was, or wiped");
        assert_eq!(cipher.open(&nonce, &aad, &mut data, &tag), Ok(()));
        assert_eq!(data, hex(case.plaintext));
    }
}

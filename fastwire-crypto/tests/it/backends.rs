//! Every backend seals to the same bytes and refuses the same packets.
#![cfg(feature = "ring")]

use fastwire_crypto::backend::{Ring, RustCrypto};
use fastwire_crypto::{AeadBy, Cipher, CipherSuite};
use proptest::prelude::*;

proptest! {
    #[test]
    fn backends_agree(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in proptest::collection::vec(any::<u8>(), 0..40),
        plain in proptest::collection::vec(any::<u8>(), 0..2000),
        chacha: bool,
        flip in proptest::option::of(any::<u16>()),
    ) {
        let suite = if chacha { CipherSuite::ChaCha20Poly1305 } else { CipherSuite::Aes128Gcm };
        let key = &key[..suite.key_len()];
        let pure = AeadBy::<RustCrypto>::new(suite, key).expect("key");
        let ring = AeadBy::<Ring>::new(suite, key).expect("key");

        let (mut by_pure, mut by_ring) = (plain.clone(), plain.clone());
        let mut tag = pure.seal(&nonce, &aad, &mut by_pure).expect("seals");
        prop_assert_eq!(tag, ring.seal(&nonce, &aad, &mut by_ring).expect("seals"));
        prop_assert_eq!(&by_pure, &by_ring);

        if let Some(flip) = flip {
            let bit = usize::from(flip) % ((by_pure.len() + tag.len()) * 8);
            match by_pure.get_mut(bit / 8) {
                Some(byte) => {
                    *byte ^= 1 << (bit % 8);
                    by_ring[bit / 8] ^= 1 << (bit % 8);
                }
                None => tag[bit / 8 - by_pure.len()] ^= 1 << (bit % 8),
            }
        }
        prop_assert_eq!(pure.open(&nonce, &aad, &mut by_pure, &tag).is_ok(), flip.is_none());
        prop_assert_eq!(ring.open(&nonce, &aad, &mut by_ring, &tag).is_ok(), flip.is_none());
        for opened in [by_pure, by_ring] {
            prop_assert_eq!(opened == plain, flip.is_none() || plain.is_empty());
        }
    }
}

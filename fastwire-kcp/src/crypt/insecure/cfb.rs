//! Block ciphers over datagrams: full-block CFB with kcp-go's fixed vector.

use cfb_mode::{Decryptor, Encryptor};
use cipher::{Array, Block, BlockCipherEncrypt, InnerIvInit, typenum::Unsigned};

use super::DatagramCipher;

/// The vector all peers use; 8-byte ciphers take its first half.
const VECTOR: [u8; 16] =
    [0xa7, 0x73, 0x4f, 0x9c, 0x12, 0xac, 0x1b, 0x01, 0xa4, 0x15, 0xf2, 0xc1, 0xfc, 0x78, 0xe6, 0x6b];

/// A block cipher (16-byte or 8-byte blocks) in full-block CFB. Insecure: see [the module](super).
///
/// Only the cipher's encryption is used. Enciphering goes block after block; deciphering as many at a time as the
/// cipher can.
#[derive(Clone)]
pub struct Cfb<C>(C);

impl<C: BlockCipherEncrypt> Cfb<C> {
    /// Enciphers datagrams with a keyed block cipher.
    pub fn new(cipher: C) -> Self {
        const { assert!(C::BlockSize::USIZE <= VECTOR.len()) }
        Self(cipher)
    }

    fn vector() -> Block<C> {
        Array::from_fn(|i| VECTOR[i])
    }
}

impl<C: BlockCipherEncrypt + Send + Sync> DatagramCipher for Cfb<C> {
    fn encrypt(&self, datagram: &mut [u8]) {
        Encryptor::inner_iv_init(&self.0, &Self::vector()).encrypt(datagram);
    }

    fn decrypt(&self, datagram: &mut [u8]) {
        Decryptor::inner_iv_init(&self.0, &Self::vector()).decrypt(datagram);
    }
}

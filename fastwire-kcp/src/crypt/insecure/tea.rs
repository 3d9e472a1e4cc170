//! TEA and XTEA (Wheeler and Needham, 1994 and 1997), encryption only, over any number of blocks at once.
//!
//! Words are big-endian. Both work on lanes: block `i` lives in element `i` of two arrays, so that the compiler turns
//! the rounds of eight blocks into vector instructions.

use cipher::{
    Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, InOut, Key,
    KeyInit, KeySizeUser, ParBlocks, ParBlocksSizeUser,
    consts::{U8, U16},
};
use zeroize::Zeroizing;

/// The key schedule constant of both: 2³² divided by the golden ratio.
const DELTA: u32 = 0x9e37_79b9;

/// TEA with 8 cycles (16 rounds), a quarter of what its authors ask for, because kcp-go does so. **Insecure.**
///
/// `CYCLES` other than 8 serve the published vectors, which have 32.
#[derive(Clone)]
pub struct Tea<const CYCLES: usize = 8> {
    key: Zeroizing<[u32; 4]>,
}

impl<const CYCLES: usize> Lanes for Tea<CYCLES> {
    fn from_words(key: [u32; 4]) -> Self {
        Self { key: key.into() }
    }

    #[inline(always)]
    fn rounds<const N: usize>(&self, left: &mut [u32; N], right: &mut [u32; N]) {
        let [a, b, c, d] = *self.key;
        let mut sum = 0_u32;
        for _ in 0..CYCLES {
            sum = sum.wrapping_add(DELTA);
            for (l, r) in left.iter_mut().zip(&*right) {
                *l =
                    l.wrapping_add((r << 4).wrapping_add(a) ^ r.wrapping_add(sum) ^ (r >> 5).wrapping_add(b));
            }
            for (r, l) in right.iter_mut().zip(&*left) {
                *r =
                    r.wrapping_add((l << 4).wrapping_add(c) ^ l.wrapping_add(sum) ^ (l >> 5).wrapping_add(d));
            }
        }
    }
}

/// XTEA with its 32 cycles (64 rounds). **Insecure**: 8-byte blocks, see [the module](super).
#[derive(Clone)]
pub struct Xtea {
    /// Sum and key word of each half cycle, added beforehand.
    schedule: Zeroizing<[[u32; 2]; 32]>,
}

impl Lanes for Xtea {
    fn from_words(key: [u32; 4]) -> Self {
        let mut sum = 0_u32;
        let cycle = |_| {
            let first = sum.wrapping_add(key[(sum & 3) as usize]);
            sum = sum.wrapping_add(DELTA);
            [first, sum.wrapping_add(key[(sum >> 11 & 3) as usize])]
        };
        Self { schedule: std::array::from_fn(cycle).into() }
    }

    #[inline(always)]
    fn rounds<const N: usize>(&self, left: &mut [u32; N], right: &mut [u32; N]) {
        for [first, second] in *self.schedule {
            for (l, r) in left.iter_mut().zip(&*right) {
                *l = l.wrapping_add((r << 4 ^ r >> 5).wrapping_add(*r) ^ first);
            }
            for (r, l) in right.iter_mut().zip(&*left) {
                *r = r.wrapping_add((l << 4 ^ l >> 5).wrapping_add(*l) ^ second);
            }
        }
    }
}

/// What differs between the two ciphers.
trait Lanes: Sized {
    fn from_words(key: [u32; 4]) -> Self;

    /// Encrypts `N` independent blocks; `left[i]` and `right[i]` are the two words of block `i`.
    fn rounds<const N: usize>(&self, left: &mut [u32; N], right: &mut [u32; N]);

    #[inline(always)]
    fn through_lanes<const N: usize>(&self, input: [&Block8; N]) -> [Block8; N] {
        let word = |block: &Block8, at: usize| {
            u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        let mut left = input.map(|block| word(block, 0));
        let mut right = input.map(|block| word(block, 4));
        self.rounds(&mut left, &mut right);
        std::array::from_fn(|i| {
            let mut block = Block8::default();
            block[..4].copy_from_slice(&left[i].to_be_bytes());
            block[4..].copy_from_slice(&right[i].to_be_bytes());
            block
        })
    }
}

type Block8 = cipher::Array<u8, U8>;

/// The `cipher` crate's traits, alike for both.
macro_rules! block_cipher {
    ($name:ty $(, const $parameter:ident)?) => {
        impl$(<const $parameter: usize>)? KeySizeUser for $name {
            type KeySize = U16;
        }

        impl$(<const $parameter: usize>)? KeyInit for $name {
            fn new(key: &Key<Self>) -> Self {
                Self::from_words(std::array::from_fn(|i| {
                    u32::from_be_bytes(std::array::from_fn(|j| key[4 * i + j]))
                }))
            }
        }

        impl$(<const $parameter: usize>)? BlockSizeUser for $name {
            type BlockSize = U8;
        }

        impl$(<const $parameter: usize>)? ParBlocksSizeUser for $name {
            type ParBlocksSize = U8;
        }

        impl$(<const $parameter: usize>)? BlockCipherEncrypt for $name {
            #[inline]
            fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U8>) {
                f.call(self);
            }
        }

        impl$(<const $parameter: usize>)? BlockCipherEncBackend for $name {
            #[inline]
            fn encrypt_block(&self, mut block: InOut<'_, '_, Block<Self>>) {
                let [out] = self.through_lanes([block.get_in()]);
                *block.get_out() = out;
            }

            #[inline]
            fn encrypt_par_blocks(&self, mut blocks: InOut<'_, '_, ParBlocks<Self>>) {
                let input = blocks.get_in();
                let out: [Block8; 8] = self.through_lanes(std::array::from_fn(|i| &input[i]));
                *blocks.get_out() = out.into();
            }
        }
    };
}

block_cipher!(Tea<CYCLES>, const CYCLES);
block_cipher!(Xtea);

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Bouncy Castle's TeaTest and XteaTest, which its authors' reference code gives too.
    #[test]
    fn published_vectors_hold() {
        let tea = [
            ("00000000000000000000000000000000", "0000000000000000", "41ea3a0a94baa940"),
            ("00000000000000000000000000000000", "0102030405060708", "6a2f9cf3fccf3c55"),
            ("0123456712345678234567893456789a", "0000000000000000", "34e943b0900f5dcb"),
            ("ffffffffffffffffffffffffffffffff", "ffffffffffffffff", "319bbefb016abdb2"),
        ];
        for (key, plain, sealed) in tea {
            assert_eq!(one::<Tea<32>>(key, plain), sealed, "TEA, key {key}, block {plain}");
        }
        let xtea = [
            ("00000000000000000000000000000000", "0000000000000000", "dee9d4d8f7131ed9"),
            ("000102030405060708090a0b0c0d0e0f", "4142434445464748", "497df3d072612cb5"),
            ("000102030405060708090a0b0c0d0e0f", "4141414141414141", "e78f2d13744341d8"),
            ("000102030405060708090a0b0c0d0e0f", "5a5b6e278948d77f", "4141414141414141"),
        ];
        for (key, plain, sealed) in xtea {
            assert_eq!(one::<Xtea>(key, plain), sealed, "XTEA, key {key}, block {plain}");
        }
    }

    proptest::proptest! {
        #[test]
        fn many_blocks_at_once_equal_one_by_one(
            key: [u8; 16],
            input in proptest::collection::vec(proptest::arbitrary::any::<[u8; 8]>(), 0..40),
        ) {
            many_equal_one_by_one::<Tea>(&key, &input);
            many_equal_one_by_one::<Xtea>(&key, &input);
        }
    }

    fn many_equal_one_by_one<C: KeyInit + BlockCipherEncrypt<BlockSize = U8>>(key: &[u8], input: &[[u8; 8]]) {
        let cipher = C::new_from_slice(key).expect("16 bytes");
        let mut many: Vec<Block8> = input.iter().map(|block| (*block).into()).collect();
        let mut single = many.clone();
        cipher.encrypt_blocks(&mut many);
        single.iter_mut().for_each(|block| cipher.encrypt_block(block));
        assert_eq!(many, single);
    }

    fn one<C: KeyInit + BlockCipherEncrypt<BlockSize = U8>>(key: &str, block: &str) -> String {
        let cipher = C::new_from_slice(&bytes(key)).expect("16 bytes");
        let mut block = Block8::try_from(&bytes(block)[..]).expect("8 bytes");
        cipher.encrypt_block(&mut block);
        block.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
    }
}

//! Twofish (Schneier, Kelsey, Whiting, Wagner, Hall and Ferguson, 1998), encryption only, with the key-dependent
//! S-boxes of §5.1 ("full keying") computed once per key.
//!
//! The registry's `twofish` crate computes them anew for every byte, 2 MB/s; it stays as the oracle of the tests.

use cipher::{
    Array, Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, InOut,
    InvalidLength, Key, KeyInit, KeySizeUser, ParBlocksSizeUser,
    consts::{U1, U16, U32},
};
use zeroize::Zeroizing;

/// Twofish with a key of 16, 24 or 32 bytes.
#[derive(Clone)]
pub(super) struct Twofish {
    /// Four words of input whitening, four of output whitening, two for each round.
    keys: Zeroizing<[u32; 40]>,
    /// `boxes[i][x]` is what byte `i`, when it is `x`, adds to `g`: S-box and MDS column in one.
    boxes: Box<Zeroizing<[[u32; 256]; 4]>>,
}

impl KeyInit for Twofish {
    fn new(key: &Key<Self>) -> Self {
        Self::schedule(key)
    }

    fn new_from_slice(key: &[u8]) -> Result<Self, InvalidLength> {
        if matches!(key.len(), 16 | 24 | 32) { Ok(Self::schedule(key)) } else { Err(InvalidLength) }
    }
}

impl Twofish {
    /// §4.3, for a key of 16, 24 or 32 bytes.
    fn schedule(key: &[u8]) -> Self {
        let words = |first: usize| -> Zeroizing<Vec<[u8; 4]>> {
            let picked = key.chunks_exact(4).skip(first).step_by(2);
            picked.map(|word| [word[0], word[1], word[2], word[3]]).collect::<Vec<_>>().into()
        };
        let (even, odd) = (words(0), words(1));
        // The vector S lists its words backwards.
        let secret: Zeroizing<Vec<_>> =
            key.chunks_exact(8).rev().map(reed_solomon).collect::<Vec<_>>().into();

        let mut keys = Zeroizing::new([0; 40]);
        for (pair, i) in keys.chunks_exact_mut(2).zip(0_u8..) {
            let a = h(2 * i, &even);
            let b = h(2 * i + 1, &odd).rotate_left(8);
            pair[0] = a.wrapping_add(b);
            pair[1] = a.wrapping_add(b).wrapping_add(b).rotate_left(9);
        }
        let mut boxes = Box::new(Zeroizing::new([[0; 256]; 4]));
        for (position, table) in boxes.iter_mut().enumerate() {
            for (entry, x) in table.iter_mut().zip(0..=255) {
                *entry = column(position, substitute(position, x, &secret));
            }
        }
        Self { keys, boxes }
    }

    #[inline(always)]
    fn g(&self, x: u32) -> u32 {
        let [a, b, c, d] = x.to_le_bytes().map(usize::from);
        self.boxes[0][a] ^ self.boxes[1][b] ^ self.boxes[2][c] ^ self.boxes[3][d]
    }

    /// §4.1 and §4.2.
    #[inline]
    fn encrypt(&self, block: &Block<Self>) -> Block<Self> {
        let (input, keys) = self.keys.split_at(4);
        let (output, rounds) = keys.split_at(4);
        let mut r: [u32; 4] =
            std::array::from_fn(|i| u32::from_le_bytes(std::array::from_fn(|j| block[4 * i + j])) ^ input[i]);
        for round in rounds.chunks_exact(2) {
            let t0 = self.g(r[0]);
            let t1 = self.g(r[1].rotate_left(8));
            let f0 = t0.wrapping_add(t1).wrapping_add(round[0]);
            let f1 = t0.wrapping_add(t1).wrapping_add(t1).wrapping_add(round[1]);
            r = [(r[2] ^ f0).rotate_right(1), r[3].rotate_left(1) ^ f1, r[0], r[1]];
        }
        // The last round swaps no halves: undo it.
        let words: [u32; 4] = std::array::from_fn(|i| r[(i + 2) % 4] ^ output[i]);
        Array::from_fn(|i| words[i / 4].to_le_bytes()[i % 4])
    }
}

impl KeySizeUser for Twofish {
    type KeySize = U32;
}

impl BlockSizeUser for Twofish {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for Twofish {
    type ParBlocksSize = U1;
}

impl BlockCipherEncrypt for Twofish {
    #[inline]
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
        f.call(self);
    }
}

impl BlockCipherEncBackend for Twofish {
    #[inline]
    fn encrypt_block(&self, mut block: InOut<'_, '_, Block<Self>>) {
        *block.get_out() = self.encrypt(block.get_in());
    }
}

/// The function h of §4.3.2 on four equal bytes: all that the key schedule asks of it.
fn h(byte: u8, words: &[[u8; 4]]) -> u32 {
    (0..4).fold(0, |sum, position| sum ^ column(position, substitute(position, byte, words)))
}

/// One byte's way through the q permutations and key words of h, up to the MDS matrix.
fn substitute(position: usize, byte: u8, words: &[[u8; 4]]) -> u8 {
    /// Which q each byte passes before the word 3, 2, 1, 0 is added, and after the last (§4.3.2, figure 2).
    const ORDER: [[usize; 4]; 5] = [[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 0]];
    let skipped = 4 - words.len();
    let keyed = words.iter().rev().zip(&ORDER[skipped..]);
    let last = keyed.fold(byte, |y, (word, order)| Q[order[position]][usize::from(y)] ^ word[position]);
    Q[ORDER[4][position]][usize::from(last)]
}

/// The MDS matrix times a vector that is zero but for `byte` at `position` (§4.2).
fn column(position: usize, byte: u8) -> u32 {
    const MDS: [[u8; 4]; 4] = [
        [0x01, 0xef, 0x5b, 0x5b],
        [0x5b, 0xef, 0xef, 0x01],
        [0xef, 0x5b, 0x01, 0xef],
        [0xef, 0x01, 0xef, 0x5b],
    ];
    u32::from_le_bytes(MDS.map(|row| multiply(row[position], byte, 0x169)))
}

/// The RS matrix times eight bytes of key (§4.3).
fn reed_solomon(key: &[u8]) -> [u8; 4] {
    const RS: [[u8; 8]; 4] = [
        [0x01, 0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e],
        [0xa4, 0x56, 0x82, 0xf3, 0x1e, 0xc6, 0x68, 0xe5],
        [0x02, 0xa1, 0xfc, 0xc1, 0x47, 0xae, 0x3d, 0x19],
        [0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e, 0x03],
    ];
    RS.map(|row| row.iter().zip(key).fold(0, |sum, (a, b)| sum ^ multiply(*a, *b, 0x14d)))
}

/// Product in GF(2⁸) modulo `polynomial`.
fn multiply(a: u8, b: u8, polynomial: u16) -> u8 {
    let mut power = u16::from(a);
    let mut product = 0;
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            product ^= power as u8;
        }
        power <<= 1;
        if power > 0xff {
            power ^= polynomial;
        }
    }
    product
}

/// The permutations q0 and q1 (§4.3.5).
static Q: [[u8; 256]; 2] = [
    permutation([
        *b"\x08\x01\x07\x0d\x06\x0f\x03\x02\x00\x0b\x05\x09\x0e\x0c\x0a\x04",
        *b"\x0e\x0c\x0b\x08\x01\x02\x03\x05\x0f\x04\x0a\x06\x07\x00\x09\x0d",
        *b"\x0b\x0a\x05\x0e\x06\x0d\x09\x00\x0c\x08\x0f\x03\x02\x04\x07\x01",
        *b"\x0d\x07\x0f\x04\x01\x02\x06\x0e\x09\x0b\x03\x00\x08\x05\x0c\x0a",
    ]),
    permutation([
        *b"\x02\x08\x0b\x0d\x0f\x07\x06\x0e\x03\x01\x09\x04\x00\x0a\x0c\x05",
        *b"\x01\x0e\x02\x0b\x04\x0c\x03\x07\x06\x0d\x0a\x05\x0f\x09\x00\x08",
        *b"\x04\x0c\x07\x05\x01\x06\x09\x0a\x00\x0e\x0d\x08\x02\x0b\x03\x0f",
        *b"\x0b\x09\x05\x01\x0c\x03\x0d\x0e\x06\x04\x07\x0f\x02\x00\x08\x0a",
    ]),
];

/// A byte permutation from four permutations of half bytes (§4.3.5).
const fn permutation(t: [[u8; 16]; 4]) -> [u8; 256] {
    const fn mix(a: u8, b: u8) -> (usize, usize) {
        ((a ^ b) as usize, ((a ^ (b >> 1 | b << 3) ^ a << 3) & 15) as usize)
    }
    let mut table = [0; 256];
    let mut x = 0;
    while x < table.len() {
        let (a, b) = mix((x >> 4) as u8, (x & 15) as u8);
        let (a, b) = mix(t[0][a], t[1][b]);
        table[x] = t[3][b] << 4 | t[2][a];
        x += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::{arbitrary::any, collection, prop_assert_eq, sample::select, strategy::Strategy};

    use super::*;

    /// The vectors of the Twofish paper's appendix A.
    #[test]
    fn published_vectors_hold() {
        let key = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10\
                     \x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
        let cases = [
            (&[0; 16][..], "9f589f5cf6122c32b6bfec2f2ae8c35a"),
            (&key[..24], "cfd1d2e5a9be9cdf501f13b892bd2248"),
            (&key, "37527be0052334b89f0cfccae87cfa20"),
        ];
        for (key, sealed) in cases {
            let block = encrypt::<Twofish>(key, [0; 16]);
            assert_eq!(block.map(|byte| format!("{byte:02x}")).concat(), sealed);
        }
    }

    proptest::proptest! {
        #[test]
        fn equals_the_slow_one(
            key in select(vec![16, 24, 32]).prop_flat_map(|len| collection::vec(any::<u8>(), len)),
            block: [u8; 16],
        ) {
            prop_assert_eq!(encrypt::<Twofish>(&key, block), encrypt::<twofish::Twofish>(&key, block));
        }
    }

    fn encrypt<C: KeyInit + BlockCipherEncrypt<BlockSize = U16>>(key: &[u8], block: [u8; 16]) -> [u8; 16] {
        let mut block = Array::from(block);
        C::new_from_slice(key).expect("a length it takes").encrypt_block(&mut block);
        block.into()
    }
}

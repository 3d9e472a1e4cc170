//! The inner loop: adds one shard, times one coefficient a row, to every row.
//!
//! A product c·x is the sum of x·2^i over the bits i of c. The eight doublings of a block of bytes are
//! computed once and serve every row, and each is four plain vector operations (add, compare, and, xor),
//! so the compiler makes vector code of it without intrinsics: the same source runs everywhere, and on
//! x86-64 AVX2 is used where the CPU has it, which is decided at run time. (AVX-512 needs Rust 1.89 and gains
//! nothing for groups of a few shards.)

use crate::gf256::POLYNOMIAL;

/// Bytes handled at a time. Rows are padded to a multiple of it.
pub(crate) const BLOCK: usize = 128;

type Block = [u8; BLOCK];

/// Adds `coefficients[j] · shard` to row `j`, which starts at `j · stride` of `rows`.
///
/// # Panics
/// When `stride` is not a multiple of [`BLOCK`] or `rows` is shorter than `coefficients.len()` rows, or
/// the shard longer than one.
pub(crate) fn add_to_rows(coefficients: &[u8], shard: &[u8], rows: &mut [u8], stride: usize) {
    assert!(stride.is_multiple_of(BLOCK) && shard.len() <= stride);
    assert!(rows.len() >= coefficients.len() * stride);
    add_blocks(coefficients, shard, rows, stride);
}

#[cfg_attr(all(feature = "simd", not(fastwire_portable)), multiversion::multiversion(targets("x86_64+avx2")))]
fn add_blocks(coefficients: &[u8], shard: &[u8], rows: &mut [u8], stride: usize) {
    for (n, bytes) in shard.chunks(BLOCK).enumerate() {
        let mut block = [0; BLOCK];
        if let Some(block) = block.get_mut(..bytes.len()) {
            block.copy_from_slice(bytes);
        }
        let doublings = doublings(block);
        let start = n * BLOCK;
        for (&coefficient, row) in coefficients.iter().zip(rows.chunks_exact_mut(stride)) {
            let Some(target) = row.get_mut(start..).and_then(|row| row.first_chunk_mut::<BLOCK>()) else {
                return;
            };
            let mut sum = *target;
            for (bit, doubling) in doublings.iter().enumerate() {
                if coefficient >> bit & 1 == 1 {
                    xor(&mut sum, doubling);
                }
            }
            *target = sum;
        }
    }
}

/// `block · 2^i` for i in 0..8.
#[inline(always)]
fn doublings(block: Block) -> [Block; 8] {
    let mut all = [block; 8];
    for i in 1..8 {
        let (done, rest) = all.split_at_mut(i);
        let (Some(from), Some(to)) = (done.last(), rest.first_mut()) else { break };
        for (to, from) in to.iter_mut().zip(from) {
            // An arithmetic shift spreads the top bit: all ones where the product must be reduced.
            let overflow = (*from as i8 >> 7) as u8;
            *to = from.wrapping_add(*from) ^ (overflow & POLYNOMIAL);
        }
    }
    all
}

#[inline(always)]
fn xor(to: &mut Block, from: &Block) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gf256::mul;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_multiplication_byte_by_byte(
            coefficients in proptest::collection::vec(any::<u8>(), 0..5),
            shard in proptest::collection::vec(any::<u8>(), 0..3 * BLOCK),
            fill: u8,
        ) {
            let stride = 3 * BLOCK;
            let mut rows = vec![fill; coefficients.len() * stride];
            add_to_rows(&coefficients, &shard, &mut rows, stride);
            for (j, &c) in coefficients.iter().enumerate() {
                for i in 0..stride {
                    let product = shard.get(i).map_or(0, |&x| mul(c, x));
                    prop_assert_eq!(rows[j * stride + i], fill ^ product);
                }
            }
        }
    }
}

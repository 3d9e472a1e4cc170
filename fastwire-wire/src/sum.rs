//! Sums of lengths of bytes in memory, the only arithmetic of this crate that nothing checks at run time.

/// Where `len` bytes from `start` on end, both found to lie in one slice.
#[inline(always)]
#[allow(clippy::arithmetic_side_effects, reason = "a slice has at most isize::MAX bytes")]
pub(crate) const fn end(start: usize, len: usize) -> usize {
    start + len
}

/// The length of fields, each of them at most as long as a slice, of which few are slices.
#[inline(always)]
#[allow(
    clippy::arithmetic_side_effects,
    reason = "slices that are in memory together have at most usize::MAX bytes"
)]
pub(crate) fn of<const N: usize>(lengths: [usize; N]) -> usize {
    let mut sum = 0;
    for length in lengths {
        sum += length;
    }
    sum
}

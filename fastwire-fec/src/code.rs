//! The code itself: which combination of which shards makes which.
//!
//! The systematic Vandermonde matrix (rows V\[r\]\[c\] = r^c, times the inverse of its top square) says:
//! shard `r` is the value at `r` of the polynomial of degree < d that runs through the data shards at
//! 0..d. So parity and recovery are one thing, Lagrange interpolation: d known points give any other.

use crate::gf256::{exp, log};
use crate::rows::Rows;
use std::fmt;

/// Most shards, data and parity together, of a group: the field has no more points.
pub const MAX_SHARDS: usize = 256;

/// Why there is no code with these figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// No data or no parity shards.
    #[error("{data} data and {parity} parity shards: a code needs at least 1 of each")]
    Empty {
        /// The figure given.
        data: usize,
        /// The figure given.
        parity: usize,
    },
    /// More shards than the field has points.
    #[error("{data} data and {parity} parity shards are more than {MAX_SHARDS} together: use fewer")]
    TooMany {
        /// The figure given.
        data: usize,
        /// The figure given.
        parity: usize,
    },
}

/// Why nothing was recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The slice does not have one entry a shard.
    #[error("{given} shards given, {expected} expected: pass one entry a shard, None for a lost one")]
    WrongCount {
        /// Entries given.
        given: usize,
        /// Data and parity shards of the code.
        expected: usize,
    },
    /// Fewer shards arrived than the group has data shards.
    #[error("{present} shards arrived and {needed} are needed: wait for more or give the group up")]
    TooFew {
        /// Shards that arrived.
        present: usize,
        /// Data shards of the code.
        needed: usize,
    },
}

/// A Reed–Solomon code of some data and some parity shards.
///
/// Any `data` of the `data + parity` shards of a group give back the rest. Shards of a group may differ
/// in length; a shorter one counts as padded with zeros.
#[derive(Clone)]
pub struct ReedSolomon {
    data: usize,
    parity: usize,
    /// `columns[i · parity + j]`: the factor of data shard i in parity shard j.
    columns: Vec<u8>,
}

impl fmt::Debug for ReedSolomon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReedSolomon({} + {})", self.data, self.parity)
    }
}

impl ReedSolomon {
    /// The code of `data` data and `parity` parity shards, both at least 1, at most [`MAX_SHARDS`] together.
    ///
    /// # Errors
    /// [`CodeError`] when the figures are outside these bounds.
    pub fn new(data: usize, parity: usize) -> Result<Self, CodeError> {
        if data == 0 || parity == 0 {
            return Err(CodeError::Empty { data, parity });
        }
        if data.checked_add(parity).is_none_or(|total| total > MAX_SHARDS) {
            return Err(CodeError::TooMany { data, parity });
        }
        let points: Vec<u8> = (0..data + parity).map(|point| point as u8).collect();
        let (known, wanted) = points.split_at(data);
        let mut columns = Vec::new();
        interpolation(known, wanted, &mut Vec::new(), &mut columns);
        Ok(Self { data, parity, columns })
    }

    /// Data shards of a group.
    pub fn data_shards(&self) -> usize {
        self.data
    }

    /// Parity shards of a group.
    pub fn parity_shards(&self) -> usize {
        self.parity
    }

    /// Data and parity shards of a group.
    pub fn total_shards(&self) -> usize {
        self.data + self.parity
    }

    /// Writes the lost data shards of a group into `recovered`. `shards` has one entry a shard of the
    /// group, data first, `None` for what has not arrived. Nothing lost is no error: `recovered` is empty.
    ///
    /// # Errors
    /// [`RecoverError`] when fewer than [`data_shards`](Self::data_shards) arrived or the slice has the wrong length.
    pub fn recover<S: AsRef<[u8]>>(
        &self,
        shards: &[Option<S>],
        recovered: &mut Recovered,
    ) -> Result<(), RecoverError> {
        recovered.clear();
        if shards.len() != self.total_shards() {
            return Err(RecoverError::WrongCount { given: shards.len(), expected: self.total_shards() });
        }
        let present = shards.iter().flatten().count();
        if present < self.data {
            return Err(RecoverError::TooFew { present, needed: self.data });
        }
        let lost = shards.iter().take(self.data).enumerate().filter(|(_, shard)| shard.is_none());
        recovered.points.extend(lost.map(|(i, _)| i as u8));
        if recovered.points.is_empty() {
            return Ok(());
        }
        let known = shards.iter().enumerate().filter_map(|(i, shard)| Some((i as u8, shard.as_ref()?)));
        let known = known.take(self.data);
        recovered.known.extend(known.clone().map(|(point, _)| point));
        interpolation(&recovered.known, &recovered.points, &mut recovered.scratch, &mut recovered.columns);
        recovered.rows.start(recovered.points.len());
        for ((_, shard), column) in known.zip(recovered.columns.chunks_exact(recovered.points.len())) {
            recovered.rows.add(column, shard.as_ref());
        }
        Ok(())
    }
}

/// The parity shards of one group, made while its data shards go by.
///
/// Reused from group to group; allocates only for the first, or when shards get longer.
#[derive(Debug, Clone)]
pub struct Encoder {
    code: ReedSolomon,
    /// Data shards of the present group so far.
    added: usize,
    rows: Rows,
}

impl Encoder {
    /// An encoder at the start of a group. Allocates nothing yet.
    pub fn new(code: ReedSolomon) -> Self {
        let mut rows = Rows::default();
        rows.start(code.parity);
        Self { code, added: 0, rows }
    }

    /// The code in use.
    pub fn code(&self) -> &ReedSolomon {
        &self.code
    }

    /// Takes the next data shard of the group; true when it was the last one and
    /// [`parity`](Self::parity) is complete. After a complete group the next shard starts another.
    pub fn add(&mut self, shard: &[u8]) -> bool {
        if self.added == self.code.data {
            self.restart();
        }
        let start = self.added * self.code.parity;
        let coefficients = self.code.columns.get(start..start + self.code.parity);
        self.rows.add(coefficients.unwrap_or_default(), shard);
        self.added += 1;
        self.added == self.code.data
    }

    /// Data shards of the present group so far.
    pub fn added(&self) -> usize {
        self.added
    }

    /// Forgets the present group.
    pub fn restart(&mut self) {
        self.added = 0;
        self.rows.start(self.code.parity);
    }

    /// The parity shards, each as long as the longest data shard. Until the group is complete, those of
    /// a group whose remaining shards are empty.
    pub fn parity(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.code.parity).map(|j| self.rows.row(j).unwrap_or_default())
    }
}

/// The data shards that [`ReedSolomon::recover`] brought back. Reused from group to group.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Indices of the lost data shards, ascending.
    points: Vec<u8>,
    known: Vec<u8>,
    scratch: Vec<u32>,
    columns: Vec<u8>,
    rows: Rows,
}

impl Recovered {
    /// Nothing, in no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Index in the group and bytes of each recovered shard, as long as the longest that arrived (the
    /// code does not know how long it was: zeros may follow).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (usize, &[u8])> {
        let shard = |(j, &point): (usize, &u8)| (usize::from(point), self.rows.row(j).unwrap_or_default());
        self.points.iter().enumerate().map(shard)
    }

    /// Number of recovered shards.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// True when there was nothing to recover.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Length of each recovered shard, in bytes.
    pub fn shard_len(&self) -> usize {
        self.rows.len()
    }

    fn clear(&mut self) {
        self.points.clear();
        self.known.clear();
        self.rows.start(0);
    }
}

/// Writes the Lagrange coefficients: `columns[k · wanted + j]` is the factor of the value at `known[k]`
/// in the value at `wanted[j]`. All points are distinct.
///
/// L_k(x) = Π_{m≠k} (x − m) / (k − m) = Π_m (x − m) / ((x − k) · Π_{m≠k} (k − m)), in logarithms. The
/// difference of two elements is their exclusive or.
fn interpolation(known: &[u8], wanted: &[u8], products: &mut Vec<u32>, columns: &mut Vec<u8>) {
    let product = |x: u8| known.iter().filter(|&&m| m != x).map(|&m| log(x ^ m)).sum::<u32>() % 255;
    products.clear();
    products.extend(wanted.iter().map(|&x| product(x)));
    columns.clear();
    for &k in known {
        let at_k = product(k);
        let factor = |(&x, &at_x): (&u8, &u32)| exp(at_x + 2 * 255 - log(x ^ k) - at_k);
        columns.extend(wanted.iter().zip(products.iter()).map(factor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gf256::mul;

    /// The matrix by its definition: V (r^c), times the inverse of its top square by elimination.
    fn matrix(data: usize, parity: usize) -> Vec<Vec<u8>> {
        let power = |r: u8, c: usize| (0..c).fold(1, |product, _| mul(product, r));
        let v: Vec<Vec<u8>> =
            (0..data + parity).map(|r| (0..data).map(|c| power(r as u8, c)).collect()).collect();
        let mut left: Vec<Vec<u8>> = v[..data].to_vec();
        let mut inverse: Vec<Vec<u8>> =
            (0..data).map(|r| (0..data).map(|c| u8::from(r == c)).collect()).collect();
        for i in 0..data {
            let pivot = (i..data).find(|&r| left[r][i] != 0).expect("a Vandermonde square is regular");
            left.swap(i, pivot);
            inverse.swap(i, pivot);
            let scale = exp(255 - log(left[i][i]));
            for c in 0..data {
                left[i][c] = mul(left[i][c], scale);
                inverse[i][c] = mul(inverse[i][c], scale);
            }
            for r in (0..data).filter(|&r| r != i) {
                let factor = left[r][i];
                for c in 0..data {
                    left[r][c] ^= mul(factor, left[i][c]);
                    inverse[r][c] ^= mul(factor, inverse[i][c]);
                }
            }
        }
        let entry = |r: usize, c: usize| (0..data).fold(0, |sum, k| sum ^ mul(v[r][k], inverse[k][c]));
        (0..data + parity).map(|r| (0..data).map(|c| entry(r, c)).collect()).collect()
    }

    #[test]
    fn interpolation_is_the_systematic_vandermonde_matrix() {
        for (data, parity) in [(1, 1), (2, 2), (3, 1), (10, 3), (5, 9), (64, 16), (100, 156), (200, 56)] {
            let code = ReedSolomon::new(data, parity).unwrap();
            let matrix = matrix(data, parity);
            for (r, row) in matrix[..data].iter().enumerate() {
                assert!((0..data).all(|c| row[c] == u8::from(r == c)), "the code is systematic");
            }
            for (j, row) in matrix[data..].iter().enumerate() {
                let made: Vec<u8> = (0..data).map(|i| code.columns[i * parity + j]).collect();
                assert_eq!(&made, row, "{data}+{parity}, parity {j}");
            }
        }
    }

    #[test]
    fn figures_outside_the_field_are_refused() {
        for (data, parity) in [(0, 0), (0, 1), (1, 0)] {
            assert_eq!(ReedSolomon::new(data, parity).unwrap_err(), CodeError::Empty { data, parity });
        }
        for (data, parity) in [(200, 57), (256, 1), (1, usize::MAX), (usize::MAX, usize::MAX)] {
            assert_eq!(ReedSolomon::new(data, parity).unwrap_err(), CodeError::TooMany { data, parity });
        }
        for (data, parity) in [(1, 1), (1, 255), (255, 1), (128, 128)] {
            assert_eq!(ReedSolomon::new(data, parity).unwrap().total_shards(), data + parity);
        }
    }
}

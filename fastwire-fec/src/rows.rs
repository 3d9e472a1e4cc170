//! Equally long shards under construction, in one reused allocation.

use crate::kernel::{BLOCK, add_to_rows};

/// A number of shards of equal length, all zero at first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    /// Row after row, `stride` bytes each; zero beyond `len` in every row.
    bytes: Vec<u8>,
    /// A multiple of [`BLOCK`], at least `len`.
    stride: usize,
    count: usize,
    len: usize,
}

impl Rows {
    /// Starts `count` rows of zeros, empty until something is added. Keeps the allocation.
    pub(crate) fn start(&mut self, count: usize) {
        self.bytes.clear();
        self.count = count;
        self.len = 0;
        self.bytes.resize(count * self.stride, 0);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn row(&self, index: usize) -> Option<&[u8]> {
        let start = (index < self.count).then_some(index * self.stride)?;
        self.bytes.get(start..start + self.len)
    }

    /// Adds `coefficients[j] · shard` to row `j`; rows grow to the length of the longest shard.
    pub(crate) fn add(&mut self, coefficients: &[u8], shard: &[u8]) {
        debug_assert_eq!(coefficients.len(), self.count);
        self.len = self.len.max(shard.len());
        if self.len > self.stride {
            self.widen();
        }
        add_to_rows(coefficients, shard, &mut self.bytes, self.stride);
    }

    /// Moves the rows apart so that `len` bytes fit in each.
    fn widen(&mut self) {
        let stride = self.len.next_multiple_of(BLOCK);
        let mut bytes = Vec::with_capacity(self.count * stride);
        for index in 0..self.count {
            let start = index * self.stride;
            bytes.extend_from_slice(self.bytes.get(start..start + self.stride).unwrap_or_default());
            bytes.resize((index + 1) * stride, 0);
        }
        self.bytes = bytes;
        self.stride = stride;
    }
}

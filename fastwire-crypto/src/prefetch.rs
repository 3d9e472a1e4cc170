//! Asks the processor for memory that will be used soon, so that it need not wait for one cache line after the other.
//!
//! The one place of it: `unsafe`, because the instruction takes a pointer.

/// Bytes of a cache line.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const LINE: usize = 64;

/// Hints that `value` will be used soon. Does nothing where the processor has no such hint.
///
/// A server of many connections finds each of them out of its caches. What one packet touches are some hundred lines;
/// asked for at once they come in the time of a few.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let start = std::ptr::from_ref(value).cast::<i8>();
        let skew = start.addr() % LINE;
        for offset in (0..size_of::<T>().saturating_add(skew)).step_by(LINE) {
            let line = start.wrapping_add(offset).wrapping_sub(skew);
            // SAFETY: PREFETCHT0 is part of SSE, which every x86-64 has. It reads nothing into registers, changes nothing
            // and raises no exception whatever the address is (Intel SDM volume 2, PREFETCHh); these are of lines that
            // hold bytes of `value`.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(line);
            }
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever its size and wherever it lies: the value is what it was, and neither its end nor that of the memory matters.
    #[test]
    fn a_hint_changes_nothing() {
        fn hinted<T: PartialEq + std::fmt::Debug + Copy>(value: T) {
            let boxed = Box::new(value);
            prefetch(&*boxed);
            assert_eq!(*boxed, value);
        }
        hinted(());
        hinted(7u8);
        hinted([7u8; 4097]);
        hinted([7u64; 1000]);
        let bytes: Vec<u8> = (0..=255).collect();
        bytes.iter().for_each(prefetch);
        assert!(bytes.iter().copied().eq(0..=255));
        prefetch::<[u8; 0]>(&[]);
    }
}

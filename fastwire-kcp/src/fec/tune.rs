//! Finds out the peer's figures from which numbers are data and which are parity.

use super::FecRatio;
use std::collections::VecDeque;

/// Packets remembered: more than the longest group.
const SAMPLES: usize = 258;

/// The latest packets, as number and whether it was data.
#[derive(Debug, Default)]
pub(crate) struct Tuner {
    samples: VecDeque<(u32, bool)>,
    /// Reused by `search`.
    sorted: Vec<(u32, bool)>,
}

impl Tuner {
    pub(crate) fn record(&mut self, seqid: u32, is_data: bool) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((seqid, is_data));
    }

    /// The figures that the latest packets show, if they show any.
    pub(crate) fn search(&mut self) -> Option<FecRatio> {
        self.sorted.clear();
        self.sorted.extend(&self.samples);
        self.sorted.sort_unstable();
        let (data, parity) = (full_run(&self.sorted, true)?, full_run(&self.sorted, false)?);
        (data + parity < 256).then(|| FecRatio::new(data, parity).ok())?
    }
}

/// Length of the first run of data (or parity) with a change on either side, if no number is missing up to
/// its end.
fn full_run(sorted: &[(u32, bool)], of_data: bool) -> Option<usize> {
    let mut start = None;
    for (i, (&(number, was_data), &(next, is_data))) in sorted.iter().zip(sorted.iter().skip(1)).enumerate() {
        if number.checked_add(1) != Some(next) {
            return None;
        }
        match start {
            None if was_data != of_data && is_data == of_data => start = Some(i + 1),
            Some(start) if is_data != of_data => return Some(i + 1 - start),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_any_ratio_in_an_unbroken_run(data in 1..58usize, parity in 1..40usize, from in 0..200u32) {
            // Two groups and a run are enough to see both changes of each kind, wherever the samples begin.
            assert!(2 * (data + parity) + data.max(parity) < SAMPLES);
            let mut tuner = Tuner::default();
            let total = (data + parity) as u32;
            (from..from + SAMPLES as u32).for_each(|n| tuner.record(n, n % total < data as u32));
            prop_assert_eq!(tuner.search(), FecRatio::new(data, parity).ok());
        }

        #[test]
        fn remembers_no_more_than_its_limit(samples in prop::collection::vec(any::<(u32, bool)>(), 0..600)) {
            let mut tuner = Tuner::default();
            samples.iter().for_each(|&(seqid, is_data)| tuner.record(seqid, is_data));
            tuner.search();
            prop_assert!(tuner.samples.len() <= SAMPLES);
        }
    }
}

//! The replay window against a set that remembers everything.

use std::collections::HashSet;

use fastwire_crypto::{Freshness, ReplayWindow};
use proptest::prelude::*;

#[derive(Default)]
struct Naive(HashSet<u64>);

impl Naive {
    fn check(&self, number: u64, size: u64) -> Freshness {
        match self.0.iter().max() {
            Some(&highest) if number <= highest && highest - number >= size => Freshness::TooOld,
            Some(_) if self.0.contains(&number) => Freshness::Duplicate,
            Some(&highest) if number < highest => Freshness::Late,
            _ => Freshness::Newest,
        }
    }
}

/// Where a run begins and the steps it makes from the highest number so far.
fn run() -> impl Strategy<Value = (u64, Vec<i64>)> {
    let begin = prop_oneof![
        0..200u64,
        any::<u64>(),
        (0..20_000u64).prop_map(|below| u64::MAX - below),
        (0..20_000u64).prop_map(|off| (1 << 32) - 10_000 + off),
    ];
    let step = prop_oneof![
        4 => -3..4i64,
        4 => -70..70i64,
        2 => -1100..1100i64,
        2 => -9000..9000i64,
        1 => any::<i64>(),
    ];
    (begin, prop::collection::vec(step, 1..200))
}

fn compare<const WORDS: usize>((begin, steps): &(u64, Vec<i64>)) -> Result<(), TestCaseError> {
    let (mut window, mut naive) = (ReplayWindow::<WORDS>::new(), Naive::default());
    let mut number = *begin;
    for (i, step) in steps.iter().enumerate() {
        let verdict = window.check(number);
        prop_assert_eq!(verdict, naive.check(number, ReplayWindow::<WORDS>::SIZE), "number {}", number);
        // Some numbers are only looked at: checking must not mark them.
        if i % 4 != 3 {
            window.commit(number);
            if verdict.is_fresh() {
                naive.0.insert(number);
            }
        }
        let highest = naive.0.iter().max().copied().unwrap_or_default();
        prop_assert_eq!(window.highest(), highest);
        number = highest.saturating_add_signed(*step);
    }
    // The whole window, its edge, and what lies outside.
    for back in 0..ReplayWindow::<WORDS>::SIZE + 70 {
        let Some(number) = window.highest().checked_sub(back) else { break };
        prop_assert_eq!(window.check(number), naive.check(number, ReplayWindow::<WORDS>::SIZE));
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_window_agrees_with_a_set(run in run()) {
        compare::<1>(&run)?;
        compare::<3>(&run)?;
        compare::<16>(&run)?;
        compare::<128>(&run)?;
    }
}

#[test]
fn the_top_of_the_number_line_is_ordinary() {
    let mut window = ReplayWindow::<16>::new();
    window.commit(u64::MAX);
    assert_eq!(window.check(u64::MAX), Freshness::Duplicate);
    assert_eq!(window.check(u64::MAX - 1023), Freshness::Late);
    assert_eq!(window.check(u64::MAX - 1024), Freshness::TooOld);
    assert_eq!(window.check(0), Freshness::TooOld);
}

#[test]
fn a_window_is_a_bitmap_and_a_number() {
    // the bitmap grows beside it, up to the window's bits
    let expected = size_of::<u64>() + size_of::<Vec<u64>>();
    assert_eq!((size_of::<ReplayWindow<16>>(), size_of::<ReplayWindow<128>>()), (expected, expected));
}
proptest! {
    /// The word for acknowledgements says what `check` says, number by number.
    #[test]
    fn the_word_below_a_number_tells_what_was_seen(
        numbers in prop::collection::vec(0u64..600, 0..200),
        base in prop_oneof![Just(0u64), Just(1000), Just(u64::MAX - 2000), Just(u64::MAX - 300)],
        at in 0u64..700,
    ) {
        let mut window = ReplayWindow::<4>::new();
        for number in numbers {
            window.commit(base.saturating_add(number));
        }
        let at = base.saturating_add(at);
        let word = window.seen_below(at);
        for i in 0..32u64 {
            let seen = at.checked_sub(1 + i).is_some_and(|n| window.check(n) == Freshness::Duplicate);
            prop_assert_eq!(word >> i & 1 == 1, seen, "bit {} below {}", i, at);
        }
    }
}

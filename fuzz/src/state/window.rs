//! The replay window beside a set that remembers everything.

use std::collections::BTreeSet;

use fastwire::crypto::{Freshness, ReplayWindow};

use crate::Script;

/// Two sizes of the window, whose every answer is the set's, to the top of the number range.
pub fn replay(data: &[u8]) {
    let mut script = Script::new(data);
    if script.byte() & 1 == 0 {
        compare::<16>(&mut script);
    } else {
        compare::<128>(&mut script);
    }
}

fn compare<const WORDS: usize>(script: &mut Script<'_>) {
    let size = ReplayWindow::<WORDS>::SIZE;
    let mut window = ReplayWindow::<WORDS>::new();
    let mut seen = BTreeSet::<u64>::new();
    while !script.is_over() {
        let highest = seen.last().copied().unwrap_or(0);
        let number = match script.byte() % 6 {
            0 => script.u64(),
            1 => u64::MAX - u64::from(script.u16()),
            2 => u64::from(script.u16()),
            3 => highest.saturating_add(script.byte().into()),
            4 => highest.saturating_add(script.u16().into()),
            _ => highest.saturating_sub(script.u16().into()),
        };
        let expected = match seen.last() {
            None if number == 0 => Freshness::Newest,
            None => Freshness::Newest,
            Some(highest) if number > *highest => Freshness::Newest,
            Some(highest) if highest - number >= size => Freshness::TooOld,
            Some(_) if seen.contains(&number) => Freshness::Duplicate,
            Some(_) => Freshness::Late,
        };
        assert_eq!(window.check(number), expected, "{number}, highest {highest}");
        if expected.is_fresh() && script.byte() % 8 > 0 {
            window.commit(number);
            seen.insert(number);
            assert_eq!(window.check(number), Freshness::Duplicate);
            assert_eq!(window.highest(), number.max(highest));
        }
    }
}

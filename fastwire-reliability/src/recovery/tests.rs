//! Laws of loss recovery on a number line whose packets are repeated under their numbers.

use super::*;
use crate::space::Repeat;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Step {
    Send,
    Repeat,
    Ack { back: u32, field: u32 },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Send),
        3 => Just(Step::Repeat),
        3 => (0u32..60, any::<u32>()).prop_map(|(back, field)| Step::Ack { back, field }),
        2 => (0u64..300).prop_map(Step::Wait),
    ]
}

/// The space as plain facts: which numbers are unacknowledged, and how each was left.
fn check(
    recovery: &Recovery,
    space: &AckSpace<u64>,
    unacknowledged: &BTreeSet<u64>,
) -> Result<(), TestCaseError> {
    let present: BTreeSet<u64> = space.unacknowledged().copied().collect();
    prop_assert_eq!(&present, unacknowledged, "each packet is kept until acknowledged, and not longer");
    prop_assert_eq!(space.oldest(), unacknowledged.first().copied().unwrap_or(space.next()));
    let sent = || unacknowledged.iter().filter_map(|&number| space.get(number));
    let in_flight: Vec<_> = sent().filter(|sent| sent.state == State::InFlight).collect();
    let bytes: u64 = in_flight.iter().map(|sent| u64::from(sent.bytes)).sum();
    prop_assert_eq!(recovery.in_flight(), (bytes, in_flight.len() as u32));
    prop_assert_eq!(
        recovery.fresh_in_flight as usize,
        in_flight.iter().filter(|sent| sent.sends == 1).count()
    );
    let listed: Vec<u64> = space.in_flight().map(|(_, sent)| sent.order).collect();
    prop_assert!(listed.is_sorted() && listed.len() == in_flight.len(), "the flight is in the order sent");
    prop_assert_eq!(
        recovery.deadline(space).is_some(),
        !in_flight.is_empty(),
        "what is in flight has a time-out"
    );
    Ok(())
}

proptest! {
    #[test]
    fn no_packet_is_forgotten_and_the_accounts_are_right(steps in prop::collection::vec(step(), 1..300)) {
        let config = ChannelsConfig::default();
        let mut recovery = Recovery::new(&config, RecoveryProfile::default());
        let mut space = AckSpace::new(1, Repeat::SameNumber);
        let mut unacknowledged = BTreeSet::new();
        let mut now = Instant::now();
        let mut last_congestion: Option<Instant> = None;
        for step in steps {
            let mut out = Outcome::default();
            match step {
                Step::Send => {
                    let number = space.next();
                    prop_assert_eq!(space.push(number, now), number);
                    recovery.on_sent(&mut space, number, 100 + number as u32, now);
                    unacknowledged.insert(number);
                }
                Step::Repeat => {
                    if let Some(number) = space.pop_due().map(|(number, _)| number) {
                        prop_assert!(unacknowledged.contains(&number));
                        recovery.on_sent(&mut space, number, 50, now);
                    }
                }
                Step::Ack { back, field } => {
                    let newest = (space.next() - 1) as u32;
                    let Some(set) = AckSet::from_header(newest.saturating_sub(back), field) else { continue };
                    recovery.on_ack(&mut space, set, now, &mut out);
                    let news = set.iter().filter(|number| unacknowledged.remove(number)).count();
                    prop_assert_eq!(out.newly_acked_packets as usize, news);
                }
                Step::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    recovery.on_reordering_timer(&mut space, now, &mut out);
                    if recovery.deadline(&space).is_some_and(|at| at <= now) {
                        let backoff = recovery.backoff;
                        let any = recovery.expire(&mut space, now, &mut out);
                        prop_assert!(any, "a deadline that passed concerns a packet");
                        recovery.expired(now, &mut out);
                        prop_assert_eq!(recovery.backoff, backoff + 1);
                    }
                }
            }
            if out.congestion.is_some() {
                prop_assert!(last_congestion.is_none_or(|at| at < now || out.lost_packets > 0));
                last_congestion = Some(now);
            }
            // lost, and only lost, packets wait to leave again
            let lost = |number: &&u64| space.get(**number).is_some_and(|s| matches!(s.state, State::Lost { .. }));
            prop_assert!(space.has_due() || unacknowledged.iter().filter(lost).count() == 0);
            check(&recovery, &space, &unacknowledged)?;
            prop_assert!(recovery.timeout() <= config.max_rto + config.max_ack_delay);
        }
        // whatever happened before: every packet leaves again until it is acknowledged
        for _ in 0..unacknowledged.len() {
            now += Duration::from_secs(10);
            let mut out = Outcome::default();
            recovery.on_reordering_timer(&mut space, now, &mut out);
            if recovery.expire(&mut space, now, &mut out) {
                recovery.expired(now, &mut out);
            }
            while let Some(number) = space.pop_due().map(|(number, _)| number) {
                recovery.on_sent(&mut space, number, 1, now);
                let set = AckSet::from_header(number as u32, 0).expect("numbers begin at 1");
                recovery.on_ack(&mut space, set, now, &mut out);
                unacknowledged.remove(&number);
            }
        }
        prop_assert!(space.is_empty() && unacknowledged.is_empty());
        prop_assert_eq!(recovery.in_flight(), (0, 0));
    }
}

/// `count` packets sent `apart`, first at `start`.
fn sent(recovery: &mut Recovery, count: u64, apart: Duration, start: Instant) -> AckSpace<u64> {
    let mut space = AckSpace::new(1, Repeat::SameNumber);
    for number in 1..=count {
        space.push(number, start);
        recovery.on_sent(&mut space, number, 100, start + apart * number as u32);
    }
    space
}

fn recovery() -> Recovery {
    let mut recovery = Recovery::new(&ChannelsConfig::default(), RecoveryProfile::default());
    recovery.sample(Duration::from_millis(100), Instant::now(), &mut Outcome::default());
    recovery
}

fn ack(recovery: &mut Recovery, space: &mut AckSpace<u64>, number: u32, field: u32, now: Instant) -> Outcome {
    let mut out = Outcome::default();
    recovery.on_ack(space, AckSet::from_header(number, field).unwrap(), now, &mut out);
    out
}

#[test]
fn three_later_acknowledgements_make_a_loss_two_do_not() {
    let (mut recovery, start) = (recovery(), Instant::now());
    let mut space = sent(&mut recovery, 10, Duration::ZERO, start);
    let now = start + Duration::from_millis(100);
    assert_eq!(ack(&mut recovery, &mut space, 3, 0b1, now).lost_packets, 0);
    let out = ack(&mut recovery, &mut space, 4, 0b11, now);
    assert_eq!((out.lost_packets, out.congestion.map(|event| event.lost_packets)), (1, Some(1)));
    assert_eq!(space.pop_due().map(|(number, _)| number), Some(1));
}

#[test]
fn a_packet_missing_for_nine_eighths_of_a_round_trip_is_lost() {
    let (mut recovery, start) = (recovery(), Instant::now());
    let mut space = sent(&mut recovery, 2, Duration::ZERO, start);
    ack(&mut recovery, &mut space, 2, 0, start + Duration::from_millis(100));
    let deadline = recovery.deadline(&space).unwrap();
    assert_eq!(deadline, start + Duration::from_micros(112_500));
    let mut out = Outcome::default();
    recovery.on_reordering_timer(&mut space, deadline - Duration::from_micros(1), &mut out);
    assert_eq!(out.lost_packets, 0);
    recovery.on_reordering_timer(&mut space, deadline, &mut out);
    assert_eq!(out.lost_packets, 1);
    assert_eq!(recovery.backoff, 0, "no time-out");
}

#[test]
fn a_lost_repeat_is_found_by_what_left_after_it() {
    let (mut recovery, start) = (recovery(), Instant::now());
    let mut space = sent(&mut recovery, 5, Duration::ZERO, start);
    let now = start + Duration::from_millis(100);
    ack(&mut recovery, &mut space, 5, 0b111, now);
    assert_eq!(space.pop_due().map(|(number, _)| number), Some(1));
    recovery.on_sent(&mut space, 1, 100, now);
    for number in 6..=8 {
        space.push(number, now);
        recovery.on_sent(&mut space, number, 100, now);
    }
    let later = now + Duration::from_millis(100);
    assert_eq!(ack(&mut recovery, &mut space, 7, 0b1, later).lost_packets, 0);
    assert_eq!(ack(&mut recovery, &mut space, 8, 0b11, later).lost_packets, 1);
    assert_eq!(space.pop_due().map(|(number, sent)| (number, sent.sends)), Some((1, 2)));
}

#[test]
fn back_off_doubles_once_a_time_out_and_ends_with_a_valid_sample_only() {
    let (mut recovery, start) = (recovery(), Instant::now());
    let mut space = sent(&mut recovery, 4, Duration::ZERO, start);
    let base = recovery.timeout();
    assert_eq!(base, Duration::from_millis(310), "100 + 4 x 50, and 10 for the acknowledgement");
    let mut now = start;
    let mut out = Outcome::default();
    for doublings in 1..4 {
        now += recovery.timeout();
        assert_eq!(recovery.deadline(&space), Some(now));
        assert!(recovery.expire(&mut space, now, &mut out));
        recovery.expired(now, &mut out);
        assert_eq!(recovery.timeout(), (base * (1 << doublings)).min(Duration::from_secs(1)));
        while let Some(number) = space.pop_due().map(|(number, _)| number) {
            recovery.on_sent(&mut space, number, 100, now);
        }
    }
    // repeated packets are ambiguous (Karn)
    let backed_off = recovery.timeout();
    let out = ack(&mut recovery, &mut space, 4, 0b111, now + Duration::from_millis(100));
    assert_eq!((out.newly_acked_packets, out.rtt_sample, recovery.timeout()), (4, None, backed_off));
    space.push(5, now);
    recovery.on_sent(&mut space, 5, 100, now);
    let out = ack(&mut recovery, &mut space, 5, 0, now + Duration::from_millis(100));
    assert_eq!(out.rtt_sample, Some(Duration::from_millis(100)));
    assert!(recovery.timeout() < Duration::from_millis(400));
}

#[test]
fn one_congestion_event_a_round_trip() {
    let (mut recovery, start) = (recovery(), Instant::now());
    let mut space = sent(&mut recovery, 40, Duration::from_millis(1), start);
    let mut events = 0;
    // every fourth is lost
    for number in (4..=40u32).filter(|number| number % 4 != 1) {
        let now = start + Duration::from_millis(100 + u64::from(number));
        let field = (0..number - 1).fold(0u32, |field, i| {
            let below = number - 1 - i;
            if i < 32 && below % 4 != 1 { field | 1 << i } else { field }
        });
        events += u32::from(ack(&mut recovery, &mut space, number, field, now).congestion.is_some());
    }
    assert_eq!(events, 1);
}

#[test]
fn the_third_time_out_in_a_row_is_persistent_congestion() {
    let (mut recovery, start) = (recovery(), Instant::now());
    let mut space = sent(&mut recovery, 1, Duration::ZERO, start);
    let mut now = start;
    let persistent: Vec<bool> = (0..3)
        .map(|_| {
            now += recovery.timeout();
            let mut out = Outcome::default();
            assert!(recovery.expire(&mut space, now, &mut out));
            recovery.expired(now, &mut out);
            while let Some(number) = space.pop_due().map(|(number, _)| number) {
                recovery.on_sent(&mut space, number, 100, now);
            }
            out.congestion.is_some_and(|event| event.persistent)
        })
        .collect();
    assert_eq!(persistent, [false, false, true]);
}

#[test]
fn a_needless_repeat_is_told_and_makes_patient() {
    let (mut recovery, start) = (recovery(), Instant::now());
    let mut space = sent(&mut recovery, 4, Duration::ZERO, start);
    let now = start + Duration::from_millis(100);
    ack(&mut recovery, &mut space, 4, 0b11, now);
    assert_eq!(space.pop_due().map(|(number, _)| number), Some(1));
    recovery.on_sent(&mut space, 1, 100, now);
    // faster than anything can answer the repeat
    let out = ack(&mut recovery, &mut space, 4, 0b111, now + Duration::from_millis(10));
    assert_eq!((out.spurious, recovery.threshold), (1, 6));
}

#[test]
fn the_short_first_time_out_is_half_and_never_under_the_round_trip() {
    let config = ChannelsConfig::default();
    let profile = RecoveryProfile { fast_retransmit_threshold: 2, half_first_rto: true };
    let mut recovery = Recovery::new(&config, profile);
    let delay = config.max_ack_delay;
    assert_eq!(recovery.timeout(), Duration::from_millis(500) + delay);
    recovery.sample(Duration::from_millis(400), Instant::now(), &mut Outcome::default());
    assert_eq!(recovery.rtt().rto(), Duration::from_millis(1200));
    assert_eq!(recovery.timeout(), Duration::from_millis(600) + delay);
    for _ in 0..50 {
        recovery.sample(Duration::from_millis(400), Instant::now(), &mut Outcome::default());
    }
    assert_eq!(recovery.timeout(), Duration::from_millis(400) + delay, "half would be under the round trip");
    for _ in 0..100 {
        recovery.sample(Duration::from_millis(1), Instant::now(), &mut Outcome::default());
    }
    assert_eq!(recovery.timeout(), Duration::from_millis(50) + delay);
}

#[test]
fn the_threshold_comes_down_again_after_enough_rightful_losses() {
    let mut recovery = recovery();
    let least = recovery.threshold;
    recovery.was_spurious(true, &mut Outcome::default());
    assert_eq!(recovery.threshold, 2 * least);
    for _ in 1..RIGHTFUL_TO_LOWER {
        recovery.was_right();
    }
    assert_eq!(recovery.threshold, 2 * least);
    recovery.was_right();
    assert_eq!(recovery.threshold, least);
}

#[test]
fn an_unreliable_sample_counts_when_the_reliable_ones_are_old_or_the_timer_is_backed_off() {
    let (slow, start) = (Duration::from_millis(400), Instant::now());
    let mut recovery = recovery();
    let taken = |recovery: &mut Recovery, at| {
        let mut out = Outcome::default();
        recovery.on_unreliable_sample(slow, at, &mut out);
        out.rtt_sample.is_some()
    };
    recovery.sample(Duration::from_millis(100), start, &mut Outcome::default());
    assert!(!taken(&mut recovery, start + SAMPLE_AGE / 2));
    assert!(taken(&mut recovery, start + SAMPLE_AGE));
    recovery.sample(Duration::from_millis(100), start, &mut Outcome::default());
    recovery.expired(start, &mut Outcome::default());
    assert!(taken(&mut recovery, start + SAMPLE_AGE / 2));
    assert!(!recovery.is_backed_off());
}

#[test]
fn one_packet_sent_once_can_end_the_back_off_and_two_after_every_second_time_out() {
    let (mut recovery, start) = (recovery(), Instant::now());
    let space = sent(&mut recovery, 1, Duration::ZERO, start);
    assert_eq!(space.in_flight().count(), 1);
    let enough: Vec<bool> = (0..5)
        .map(|_| {
            let enough = recovery.has_fresh();
            recovery.expired(start, &mut Outcome::default());
            enough
        })
        .collect();
    assert_eq!(enough, [true, true, false, true, false]);
}

#[test]
fn a_repeat_answered_sooner_than_three_quarters_of_the_least_round_trip_was_for_nothing() {
    for (millis, early) in [(74, true), (75, false), (100, false)] {
        let (mut recovery, start) = (recovery(), Instant::now());
        let mut space = sent(&mut recovery, 1, Duration::ZERO, start);
        let again = start + Duration::from_secs(5);
        let mut out = Outcome::default();
        assert!(recovery.expire(&mut space, again, &mut out));
        let number = space.pop_due().map(|(number, _)| number).unwrap();
        recovery.on_sent(&mut space, number, 100, again);
        let out = ack(&mut recovery, &mut space, number as u32, 0, again + Duration::from_millis(millis));
        assert_eq!((out.newly_acked_packets, out.spurious), (1, u32::from(early)), "after {millis} ms");
    }
}

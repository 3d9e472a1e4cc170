//! Laws of a line.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn link(config: LinkConfig, seed: u64) -> Link<u32> {
    Link::new(config, seed).unwrap()
}

/// Sends `count` numbered datagrams of `len` bytes, `gap` apart; returns (sent at, delivery) in order of arrival,
/// each taken at the very time the link announces.
fn run(link: &mut Link<u32>, count: u32, len: usize, gap: Duration) -> Vec<(Instant, Delivery<u32>)> {
    let start = Instant::now();
    let sent_at = |number: u32| start + gap * number;
    let mut arrived = Vec::new();
    let mut number = 0;
    loop {
        let next_send = (number < count).then(|| sent_at(number));
        match (next_send, link.next_delivery()) {
            (Some(now), next) if next.is_none_or(|next| now < next) => {
                link.send(now, &vec![number as u8; len], number);
                number += 1;
            }
            (_, Some(now)) => {
                let before = arrived.len();
                while let Some(delivery) = link.poll(now) {
                    assert_eq!(delivery.at, now, "delivered when it was due");
                    arrived.push((sent_at(delivery.meta), delivery));
                }
                assert!(arrived.len() > before, "an announced delivery happens");
            }
            (None, None) => break,
            (Some(_), None) => unreachable!("sent above"),
        }
    }
    let stats = link.stats();
    let lost = stats.lost + stats.blacked_out + stats.oversized + stats.queue_drops;
    assert_eq!(stats.offered + stats.duplicated, stats.delivered + lost, "every datagram is accounted for");
    arrived
}

/// Checks a count against a binomial distribution at five standard deviations.
#[track_caller]
fn assert_share(count: u64, of: u64, probability: f64) {
    let mean = of as f64 * probability;
    let deviation = (mean * (1.0 - probability)).sqrt();
    assert!((count as f64 - mean).abs() <= 5.0 * deviation.max(1.0), "{count} of {of}, expected {mean:.0}");
}

fn faulty() -> impl Strategy<Value = LinkConfig> {
    let loss =
        prop_oneof![
            Just(Loss::None),
            (0.0..1.0).prop_map(|rate| Loss::Bernoulli { rate }),
            (0.0..1.0, 1u32..9).prop_map(|(rate, length)| Loss::Bursts { rate, length }),
            (0.0..1.0, 0.0..1.0, 0.0..0.2, 0.5..1.0)
                .prop_map(|(enter, leave, good, bad)| Loss::GilbertElliott { enter, leave, good, bad }),
        ];
    let reorder = prop_oneof![
        (0u32..100).prop_map(|ms| Reorder::Delay(ms * MS)),
        (1u32..5000, 1u32..2000).prop_map(|(depth, ms)| Reorder::Depth { depth, at_most: ms * MS }),
    ];
    let faults = (loss, 0.0..1.0, 0.0..1.0, reorder, 0.0..1.0);
    let line =
        (0u32..400, 0.0..1.0, proptest::option::of(10_000u64..100_000_000), 1usize..50, 100usize..2000);
    (faults, line).prop_map(|((loss, duplicate, share, how, corrupt), (ms, jitter, rate, packets, mtu))| {
        let latency = ms * MS;
        let config = LinkConfig::new()
            .latency(latency)
            .jitter(latency.mul_f64(jitter))
            .loss(loss)
            .duplicate(duplicate)
            .reorder(share, how)
            .corrupt(corrupt)
            .queue_packets(packets)
            .mtu(mtu)
            .blackout(50 * MS..70 * MS);
        match rate {
            Some(rate) => config.rate(rate),
            None => config,
        }
    })
}

proptest! {
    /// Whatever the faults: nothing arrives before its latency or after it must, no bytes but one bit differ,
    /// nothing arrives more than twice, and the same seed gives the same trace.
    #[test]
    fn any_line_keeps_the_laws(config in faulty(), seed: u64, gap in 0u64..5000, len in 0usize..600) {
        let gap = Duration::from_micros(gap);
        let arrived = run(&mut link(config.clone(), seed), 300, len, gap);
        let at_most = match config.reorder {
            Some((_, Reorder::Delay(at_most) | Reorder::Depth { at_most, .. })) => at_most,
            None => Duration::ZERO,
        };
        let mut copies = [0; 300];
        for (sent, delivery) in &arrived {
            let travelled = delivery.at - *sent;
            let sending = config.rate.map_or(Duration::ZERO, |rate| {
                Duration::from_secs_f64((len + 28) as f64 * 8.0 / rate as f64)
            });
            let leaves = delivery.queued + sending;
            prop_assert!(travelled + MS / 1000 >= leaves + config.latency - config.jitter);
            prop_assert!(travelled <= leaves + config.latency + config.jitter + at_most + MS / 1000);
            prop_assert_eq!(delivery.bytes.len(), len);
            let flipped: u32 =
                delivery.bytes.iter().map(|byte| (byte ^ delivery.meta as u8).count_ones()).sum();
            prop_assert!(flipped <= 1);
            copies[delivery.meta as usize] += 1;
        }
        prop_assert!(copies.iter().all(|count| *count <= 2));
        let again = run(&mut link(config, seed), 300, len, gap);
        let trace = |run: &[(Instant, Delivery<u32>)]| -> Vec<_> {
            run.iter().map(|(sent, d)| (d.meta, d.at - *sent, d.bytes.to_vec())).collect()
        };
        prop_assert_eq!(trace(&arrived), trace(&again));
    }

    /// Without faults every line, however long, narrow and unsteady, delivers exact copies in order.
    #[test]
    fn a_line_without_faults_is_exact(
        latency in 0u32..400,
        jitter in 0.0..1.0,
        rate in proptest::option::of(100_000u64..1_000_000_000),
        seed: u64,
        gap in 0u64..5000,
    ) {
        let latency = latency * MS;
        let mut config = LinkConfig::new().latency(latency).jitter(latency.mul_f64(jitter));
        if let Some(rate) = rate {
            config = config.rate(rate);
        }
        let arrived = run(&mut link(config, seed), 500, 100, Duration::from_micros(gap));
        prop_assert!(arrived.iter().map(|(_, delivery)| delivery.meta).eq(0..500));
        for (_, delivery) in arrived {
            prop_assert_eq!(&delivery.bytes[..], &[delivery.meta as u8; 100][..]);
        }
    }
}

const MANY: u32 = 100_000;

#[test]
fn each_share_is_what_was_asked_for() {
    for (seed, share) in [0.0, 0.01, 0.05, 0.3, 0.5, 1.0].into_iter().enumerate() {
        let config = LinkConfig::new()
            .loss(Loss::Bernoulli { rate: 0.05 })
            .duplicate(share)
            .corrupt(share)
            .reorder(share, Reorder::Delay(MS));
        let mut link = link(config, seed as u64);
        run(&mut link, MANY, 8, MS / 100);
        let stats = link.stats();
        let passed = stats.offered - stats.lost;
        assert_share(stats.lost, stats.offered, 0.05);
        assert_share(stats.duplicated, passed, share);
        assert_share(stats.corrupted, stats.delivered, share);
        assert_share(stats.reordered, stats.delivered, share);
    }
}

#[test]
fn every_bit_is_flipped_as_often_as_any_other() {
    let mut link = link(LinkConfig::new().corrupt(1.0), 5);
    let mut flips = [0u64; 64];
    for (_, delivery) in run(&mut link, MANY, 8, MS) {
        let wrong = u64::from_le_bytes(delivery.bytes[..].try_into().unwrap())
            ^ u64::from_le_bytes([delivery.meta as u8; 8]);
        assert_eq!(wrong.count_ones(), 1);
        flips[wrong.trailing_zeros() as usize] += 1;
    }
    flips.iter().for_each(|count| assert_share(*count, MANY.into(), 1.0 / 64.0));
}

/// Lengths of the runs of lost datagrams.
fn lost_runs(arrived: &[(Instant, Delivery<u32>)]) -> Vec<u32> {
    let numbers: Vec<u32> = arrived.iter().map(|(_, delivery)| delivery.meta).collect();
    numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|run| *run > 0).collect()
}

#[test]
fn bursts_have_their_length_and_their_rate() {
    for (rate, length) in [(0.05, 3), (0.3, 3), (0.1, 10), (0.2, 1)] {
        let mut link = link(LinkConfig::new().loss(Loss::Bursts { rate, length }), 9);
        let runs = lost_runs(&run(&mut link, MANY, 1, MS));
        assert!(runs.iter().all(|run| run % length == 0), "only whole bursts");
        // Bursts, not datagrams, are independent: `length` times the variance.
        let stats = link.stats();
        assert_share(stats.lost / u64::from(length), stats.offered / u64::from(length), rate);
    }
}

#[test]
fn gilbert_elliott_spends_its_time_as_the_chain_says() {
    let (enter, leave) = (0.02, 0.25);
    let loss = Loss::GilbertElliott { enter, leave, good: 0.0, bad: 1.0 };
    let mut link = link(LinkConfig::new().loss(loss), 3);
    let runs = lost_runs(&run(&mut link, MANY, 1, MS));
    // Stationary share of the bad state enter / (enter + leave); mean stay 1 / leave.
    let share = link.stats().lost as f64 / f64::from(MANY);
    assert!((share - enter / (enter + leave)).abs() < 0.005, "{share}");
    let mean = f64::from(runs.iter().sum::<u32>()) / runs.len() as f64;
    assert!((mean - 1.0 / leave).abs() < 0.2, "{mean}");
}

#[test]
fn reordering_is_as_deep_as_asked_for_and_no_deeper() {
    for depth in [1, 4, 100, 4096] {
        let how = Reorder::Depth { depth, at_most: 3600 * SECOND };
        let mut link = link(LinkConfig::new().latency(20 * MS).reorder(0.05, how), 11);
        let arrived = run(&mut link, 20_000, 1, MS);
        // How many of those that kept their place overtook a datagram.
        let mut newest = 0;
        let mut keepers = Vec::new();
        let mut deepest = 0;
        for (_, delivery) in &arrived {
            if delivery.meta >= newest {
                newest = delivery.meta;
                keepers.push(delivery.meta);
            } else {
                let overtaken_by = keepers.len() - keepers.partition_point(|keeper| *keeper < delivery.meta);
                deepest = deepest.max(overtaken_by as u32);
            }
        }
        assert!(deepest <= depth, "{deepest} of {depth}");
        assert!(deepest * 10 >= depth * 9, "{deepest} of {depth}");
    }
}

#[test]
fn what_nothing_overtakes_is_let_go_in_time() {
    let how = Reorder::Depth { depth: 4096, at_most: 100 * MS };
    let mut link = link(LinkConfig::new().latency(20 * MS).reorder(1.0, how), 2);
    let arrived = run(&mut link, 50, 1, MS);
    assert!(arrived.iter().all(|(sent, delivery)| delivery.at - *sent == 120 * MS));
}

#[test]
fn jitter_is_even_around_the_latency() {
    let mut link = link(LinkConfig::new().latency(25 * MS).jitter(5 * MS), 4);
    let mut tenths = [0; 10];
    // Further apart than the jitter, so that order costs nothing.
    for (sent, delivery) in run(&mut link, MANY, 1, 11 * MS) {
        let travelled = (delivery.at - sent - 20 * MS).as_micros();
        tenths[(travelled / 1000).min(9) as usize] += 1;
    }
    tenths.iter().for_each(|count| assert_share(*count, MANY.into(), 0.1));
}

#[test]
fn the_bottleneck_passes_its_rate_and_its_queue_holds_its_length() {
    // 1000 + 28 bytes at 8.224 Mbit/s take a millisecond each.
    let config = LinkConfig::new().rate(8_224_000).latency(10 * MS).queue_packets(25);
    let mut narrow = link(config.clone(), 0);
    let arrived = run(&mut narrow, 100, 1000, Duration::ZERO);
    let times: Vec<_> = arrived.iter().map(|(sent, delivery)| delivery.at - *sent).collect();
    assert_eq!(times, (1..=25).map(|number| 10 * MS + number * MS).collect::<Vec<_>>());
    assert_eq!(narrow.stats().queue_drops, 75);
    assert!(arrived.iter().enumerate().all(|(place, (_, d))| d.queued == place as u32 * MS));

    let mut by_bytes = link(config.queue_bytes(10 * 1028), 0);
    assert_eq!(run(&mut by_bytes, 100, 1000, Duration::ZERO).len(), 10);

    // Twice as fast as the bottleneck: half of it passes, at the full rate, once the queue is full.
    let mut overrun = link(LinkConfig::new().rate(8_224_000).queue_packets(25), 0);
    let arrived = run(&mut overrun, 2000, 1000, MS / 2);
    assert!((1000..=1026).contains(&arrived.len()), "{}", arrived.len());
    assert!(arrived.windows(2).all(|pair| pair[1].1.at - pair[0].1.at == MS));
}

#[test]
fn a_queue_above_its_mark_marks() {
    let config = LinkConfig::new().rate(8_224_000).queue_packets(100).mark_above(5 * 1028);
    let arrived = run(&mut link(config, 0), 20, 1000, Duration::ZERO);
    assert!(arrived.iter().enumerate().all(|(place, (_, delivery))| delivery.marked == (place > 5)));
}

#[test]
fn outages_and_the_mtu_drop_what_they_should() {
    let config = LinkConfig::new().blackout_every(20 * MS, 70 * MS);
    let mut dark = link(config, 0);
    let arrived = run(&mut dark, 700, 1, MS);
    assert_eq!((arrived.len(), dark.stats().blacked_out), (500, 200));
    let now = Instant::now();
    dark.blackout(now, now + MS);
    dark.send(now, b"x", 0);
    assert_eq!(dark.stats().blacked_out, 201);

    let mut small = link(LinkConfig::new().mtu(1200), 0);
    assert_eq!(run(&mut small, 3, 1200, MS).len(), 3);
    assert_eq!(run(&mut small, 3, 1201, MS).len(), 0);
    assert_eq!(small.stats().to_string(), "6 sent, 3 delivered, 3 oversized");
}

#[test]
fn a_shorter_route_overtakes_the_longer() {
    let start = Instant::now();
    let mut link = link(LinkConfig::new().latency(SECOND), 0);
    link.send(start, b"long", 1);
    link.set_config(LinkConfig::new().latency(10 * MS)).unwrap();
    link.send(start, b"short", 2);
    assert_eq!(link.poll(start + 10 * MS).map(|delivery| delivery.meta), Some(2));
    assert_eq!(link.poll(start + SECOND).map(|delivery| delivery.meta), Some(1));
    assert!(link.set_config(LinkConfig::new().corrupt(2.0)).is_err());
}

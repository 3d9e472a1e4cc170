//! Both halves against each other: whatever is lost up to the parity comes back, whatever a peer sends stays within bounds.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use fastwire_wire::extended::{Fec as Frame, Params};
use proptest::prelude::*;

use super::{FEC_TYPE, Incoming, Outgoing};
use crate::Fec;

const BUDGET: usize = 96 << 10;

fn params(fec_max_data: u8, fec_max_parity: u8) -> Params {
    Params {
        max_datagram: 1200,
        receive_budget_kib: 4096,
        max_message_kib: 1024,
        max_ack_delay_ms: 10,
        idle_timeout_s: 10,
        fec_max_data,
        fec_max_parity,
        flags: 0,
    }
}

/// A sender on a line that loses much.
fn lossy(fec: Fec) -> Box<Outgoing> {
    let mut outgoing = Outgoing::new(Some(fec), &params(32, 8)).expect("the peer takes parity");
    outgoing.on_lost(60);
    outgoing
}

/// A frame with bytes of its own.
#[derive(Debug, Clone)]
struct Parity {
    base: u32,
    data: u8,
    index: u8,
    parity: u8,
    bytes: Vec<u8>,
}

impl Parity {
    fn frame(&self) -> Frame<'_> {
        let Self { base, data, index, parity, ref bytes } = *self;
        Frame { base, data, index, parity, bytes }
    }
}

fn take_due(outgoing: &mut Outgoing, now: Instant) -> Vec<Parity> {
    let mut all = Vec::new();
    while outgoing.due(Duration::MAX, now).is_some() {
        let parity = outgoing.next().expect("due");
        let Frame { base, data, index, parity, bytes } = parity.frame;
        all.push(Parity { base, data, index, parity, bytes: bytes.to_vec() });
    }
    all
}

/// A receiver that has seen parity before.
fn awake(carrier: u64) -> Incoming {
    let mut incoming = Incoming::new(&params(32, 8), BUDGET);
    let first = Frame { base: (carrier - 1) as u32, data: 1, index: 0, parity: 1, bytes: &[1, 0, 6] };
    incoming.on_parity(&first, carrier).expect("sound");
    while incoming.next().is_some() {}
    incoming
}

proptest! {
    /// Of a group any loss of as many packets as parity arrives comes back, bit by bit, whatever comes in which order; and nothing
    /// else ever does.
    #[test]
    fn any_loss_up_to_the_parity_comes_back(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..1100), 1..33),
        percent in 50u16..=400,
        base in prop_oneof![2u64..1 << 20, (1u64 << 32) - 20..(1u64 << 32) + 20],
        lost in any::<u64>(),
        order in any::<u64>(),
    ) {
        let now = Instant::now();
        let mut packets = packets;
        for packet in &mut packets {
            // what begins with parity is never in a group
            packet[0] = packet[0].max(FEC_TYPE + 1);
        }
        let mut outgoing = lossy(Fec::percent(percent).over(16));
        for (number, packet) in (base..).zip(&packets) {
            outgoing.on_packet(number, packet, true, now);
        }
        outgoing.close(now);
        let parity = take_due(&mut outgoing, now);
        prop_assume!(!parity.is_empty());
        prop_assert!(parity.len() * 100 <= packets.len() * usize::from(percent));
        let arrives = |index: usize| lost >> (index % 64) & 1 == 0;
        let end = base + packets.len() as u64;
        let mut arriving: Vec<usize> =
            (0..packets.len() + parity.len()).filter(|index| arrives(*index)).collect();
        let mut random = order | 1;
        for index in (1..arriving.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            arriving.swap(index, (random >> 33) as usize % (index + 1));
        }
        let mut incoming = awake(base - 1);
        let mut made = Vec::new();
        for &index in &arriving {
            match packets.get(index) {
                Some(packet) => incoming.on_packet(base + index as u64, packet),
                None => {
                    let parity = &parity[index - packets.len()];
                    incoming.on_parity(&parity.frame(), end + u64::from(parity.index)).expect("sound");
                }
            }
            made.extend(std::iter::from_fn(|| incoming.next()));
        }
        let numbers: HashSet<u64> = made.iter().map(|(number, _)| *number).collect();
        prop_assert_eq!(numbers.len(), made.len(), "each once");
        for (number, plain) in &made {
            let index = number.checked_sub(base).and_then(|index| usize::try_from(index).ok());
            prop_assert_eq!(index.and_then(|index| packets.get(index)), Some(&plain.to_vec()));
        }
        let missing: Vec<u64> =
            (0..packets.len()).filter(|index| !arrives(*index)).map(|index| base + index as u64).collect();
        let came = (packets.len()..packets.len() + parity.len()).filter(|index| arrives(*index)).count();
        if missing.len() <= came {
            prop_assert!(missing.iter().all(|number| numbers.contains(number)), "{missing:?} of {numbers:?}");
        } else {
            prop_assert!(made.is_empty());
        }
        prop_assert_eq!(incoming.dropped(), 0);
    }

    /// Whatever parity a peer sends, what is kept stays within the budget, nothing panics, and what is made has a number below
    /// the packet it was made in.
    #[test]
    fn hostile_parity_stays_within_the_budget(
        steps in prop::collection::vec(
            (any::<bool>(), 0u64..80, 0u8..40, 0u8..12, 0u8..12, prop::collection::vec(any::<u8>(), 0..1200)), 1..150,
        ),
        budget in 16usize << 10..64 << 10,
    ) {
        let mut incoming = Incoming::new(&params(32, 8), budget);
        for (number, (packet, back, data, index, parity, bytes)) in (100u64..).zip(steps) {
            if packet {
                incoming.on_packet(number, &bytes);
            } else {
                let frame = Frame { base: (number - back) as u32, data, index, parity, bytes: &bytes };
                let _ = incoming.on_parity(&frame, number);
            }
            prop_assert!(incoming.held() <= budget, "{} of {budget}", incoming.held());
            while let Some((made, plain)) = incoming.next() {
                prop_assert!(made < number && !plain.is_empty());
            }
        }
    }

    /// Over any traffic there is no more parity than the share allows, each group is of consecutive packets, and none without loss.
    #[test]
    fn groups_are_consecutive_and_parity_keeps_its_share(
        steps in prop::collection::vec((0u8..8, 1usize..200), 1..200), percent in 1u16..=400, flushes in 1u8..=16, loses in any::<bool>(),
    ) {
        let mut now = Instant::now();
        let fec = Fec::percent(percent).over(flushes);
        let mut outgoing =
            if loses { lossy(fec) } else { Outgoing::new(Some(fec), &params(32, 8)).expect("agreed") };
        let (mut number, mut packets, mut parity) = (0u64, 0usize, 0usize);
        let mut left_out = HashSet::new();
        for (step, len) in steps {
            match step {
                0 => {
                    left_out.insert(number);
                    number += 1;
                }
                1 => {
                    now += Duration::from_millis(len as u64);
                    outgoing.handle_timeout(now);
                }
                2 => outgoing.end_flush(now),
                _ => {
                    outgoing.on_packet(number, &vec![7; len], step > 3, now);
                    number += 1;
                    packets += 1;
                }
            }
            for due in take_due(&mut outgoing, now) {
                parity += 1;
                let group = u64::from(due.base)..u64::from(due.base) + u64::from(due.data);
                prop_assert!(group.end <= number && due.data <= 32 && due.parity <= 8);
                prop_assert!(group.clone().all(|number| !left_out.contains(&number)), "{group:?}");
                left_out.insert(number);
                number += 1;
            }
            prop_assert!(outgoing.deadline().is_none_or(|at| at <= now + fec.max_wait));
        }
        prop_assert!(parity * 100 <= packets * usize::from(percent));
        prop_assert!(loses || parity == 0);
    }
}

#[test]
fn what_cannot_be_is_refused_and_nonsense_costs_a_counter() {
    let sound = Frame { base: 10, data: 2, index: 0, parity: 2, bytes: &[1, 0, 6] };
    let refused = |frame: Frame<'_>| awake(5).on_parity(&frame, 12).is_err();
    assert!(!refused(sound));
    assert!(refused(Frame { data: 0, ..sound }) && refused(Frame { data: 33, ..sound }));
    assert!(refused(Frame { parity: 0, ..sound }) && refused(Frame { parity: 9, ..sound }));
    assert!(refused(Frame { index: 2, ..sound }), "there is no such parity");
    assert!(refused(Frame { bytes: &[1, 0], ..sound }), "of packets without a byte");
    assert!(refused(Frame { data: 3, ..sound }), "over a packet that is yet to come");
    assert!(Incoming::new(&params(0, 0), BUDGET).on_parity(&sound, 12).is_err(), "nobody asked for it");

    let mut incoming = awake(5);
    incoming.on_parity(&sound, 12).expect("sound");
    assert!(
        incoming.on_parity(&Frame { parity: 3, index: 1, ..sound }, 13).is_err(),
        "another group from there"
    );
    // the code of what is a packet of length 0
    let mut incoming = awake(5);
    incoming.on_packet(10, &[6; 3]);
    incoming.on_parity(&Frame { bytes: &[0; 5], ..sound }, 12).expect("sound by itself");
    let made = incoming.next();
    assert_eq!((made, incoming.dropped(), incoming.recovered()), (None, 1, 0));
}

#[test]
fn memory_is_given_back_when_parity_ends() {
    let mut incoming = awake(5);
    (10..10_000).for_each(|number| incoming.on_packet(number, &[6; 1000]));
    assert_eq!(incoming.held(), 0);
}

#[test]
fn a_count_that_comes_late_or_turns_over_is_no_rise() {
    let mut outgoing = lossy(Fec::percent(100));
    let rises = [3, 1, 3, 120, 247, 2, 250, 2].map(|count| outgoing.on_acked(1, 0, 0, count));
    assert_eq!(rises, [3, 0, 0, 117, 127, 11, 0, 0]);
}

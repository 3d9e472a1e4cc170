//! What an authenticated peer of the extended profile may not do, and what it cannot make us hold.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_reliability::{FragmentFlags, Outcome, Quota, Violation};
use fastwire_wire::extended::{Data, Piece};
use proptest::prelude::*;

use crate::extended::{channels, config};
use crate::peer::Peer;

const BUDGET: usize = 128 << 10;

#[derive(Debug, Clone)]
enum Step {
    Data { channel: u8, message: u32, piece: Option<(u32, u32)>, len: usize, content: u8 },
    Credit { channel: u8, limit: u64 },
    Fin { channel: u8, message: u32 },
    Reset { channel: u8, message: u32, consumed: u64 },
    Ack { largest: u64, bitmap: Vec<u8> },
    Push { channel: u8, len: usize },
    Send,
    Poll(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let message = || prop_oneof![6 => 0u32..40, 2 => 0u32..3000, 1 => 65_000u32..66_000, 1 => any::<u32>()];
    let piece = prop::option::of((
        prop_oneof![3 => 0u32..4000, 1 => any::<u32>()],
        prop_oneof![0u32..9000, any::<u32>()],
    ));
    let len = prop_oneof![0usize..70, 64usize..1200];
    prop_oneof![
        30 => (0u8..4, message(), piece, len, prop_oneof![9 => 0u8..4, 1 => any::<u8>()]).prop_map(
            |(channel, message, piece, len, content)| Step::Data { channel, message, piece, len, content }),
        2 => (0u8..5, any::<u64>()).prop_map(|(channel, limit)| Step::Credit { channel, limit }),
        1 => (0u8..2, message()).prop_map(|(channel, message)| Step::Fin { channel, message }),
        1 => (0u8..2, message(), 0u64..100_000).prop_map(
            |(channel, message, consumed)| Step::Reset { channel, message, consumed }),
        2 => (0u64..60, prop::collection::vec(any::<u8>(), 4..=128)).prop_map(
            |(largest, bitmap)| Step::Ack { largest, bitmap }),
        3 => (0u8..4, 0usize..5000).prop_map(|(channel, len)| Step::Push { channel, len }),
        3 => Just(Step::Send),
        4 => (0usize..20).prop_map(Step::Poll),
        2 => (0u64..3000).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever frames come: no panic, and what is held for the peer stays within the budget and 64 KiB.
    #[test]
    fn hostile_frames_stay_within_the_budget(steps in prop::collection::vec(step(), 1..300)) {
        let mut now = Instant::now();
        let mut peer = Peer::new(channels(&config(Some(BUDGET))), 1);
        let limits = peer.channels.limits();
        peer.channels.set_peer(limits);
        let mut out = Outcome::default();
        for step in steps {
            let channels = &mut peer.channels;
            let result = match step {
                Step::Data { channel, message, piece, len, content } => {
                    let payload = Bytes::from(vec![7; len]);
                    let piece = piece.map(|(offset, total)| Piece { offset, total });
                    let data = Data { channel, message, piece, content, payload: &payload };
                    channels.accept(&data, now, &mut Bytes::copy_from_slice)
                }
                Step::Credit { channel, limit } => channels.on_credit(channel, limit),
                Step::Fin { channel, message } => channels.on_fin(channel, message),
                Step::Reset { channel, message, consumed } => channels.on_reset(channel, message, consumed, 1),
                Step::Ack { largest, bitmap } => channels.acknowledge(largest, Duration::ZERO, &bitmap, now, &mut out),
                Step::Push { channel, len } => {
                    let _ = channels.push(channel, &Bytes::from(vec![1; len]), FragmentFlags::EMPTY, now);
                    Ok(())
                }
                Step::Send => {
                    peer.flush(now, Quota { packets: 20, bytes: u64::MAX });
                    Ok(())
                }
                Step::Poll(count) => {
                    (0..count).for_each(|_| drop(channels.poll_delivery()));
                    Ok(())
                }
                Step::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    channels.handle_timeout(now, &mut out).unwrap();
                    Ok(())
                }
            };
            // a violation ends the connection; go on all the same, it must stay harmless
            let _: Result<(), Violation> = result;
            // of the unreliable channels' share as of the reliable ones'
            let most = BUDGET + BUDGET / 2 + (64 << 10);
            prop_assert!(peer.channels.memory_held() <= most, "{}", peer.channels.memory_held());
        }
    }
}

/// A peer that has sent the packets 0 to 9, number 5 left out.
fn sender(now: Instant) -> Peer {
    let mut peer = Peer::new(channels(&config(None)), 1);
    let limits = peer.channels.limits();
    peer.channels.set_peer(limits);
    for number in 0..10 {
        if number == 5 {
            peer.channels.skip_number(number);
            continue;
        }
        peer.channels.push(0, &Bytes::from_static(b"x"), FragmentFlags::EMPTY, now).unwrap();
        peer.channels.begin_packet();
        peer.channels.write_frames(&mut [0; 100], Quota::UNLIMITED, now);
        peer.channels.packet_sent(number, 100, now);
    }
    peer
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_a_violation() {
    let now = Instant::now();
    let ack = |largest, bitmap: u32| {
        let mut out = Outcome::default();
        let bitmap = bitmap.to_le_bytes();
        sender(now).channels.acknowledge(largest, Duration::ZERO, &bitmap, now, &mut out).map(|()| out)
    };
    assert_eq!(ack(10, 0).err(), Some(Violation::AckOfUnsentPacket { number: 10, next: 10 }));
    assert_eq!(ack(5, 0).err(), Some(Violation::AckOfSkipped { number: 5 }));
    for largest in 6..10u64 {
        let bit = 1 << (largest - 6);
        assert_eq!(ack(largest, bit).err(), Some(Violation::AckOfSkipped { number: 5 }), "{largest}");
        let others = ack(largest, !bit).expect("every other was sent");
        assert_eq!(u64::from(others.newly_acked_packets), largest);
    }
}

#[test]
fn each_breach_has_its_name() {
    let now = Instant::now();
    let fresh = || channels(&config(Some(BUDGET)));
    let send = |channel, message, piece: Option<(u32, u32)>, len: usize, content| {
        let (mut channels, payload) = (fresh(), Bytes::from(vec![0; len]));
        let piece = piece.map(|(offset, total)| Piece { offset, total });
        let data = Data { channel, message, piece, content, payload: &payload };
        channels.accept(&data, now, &mut Bytes::copy_from_slice)
    };
    let window = BUDGET / 2;
    assert_eq!(send(9, 1, None, 1, 0), Err(Violation::UnknownChannel { channel: 9 }));
    assert_eq!(send(0, 1, None, 1, 4), Err(Violation::ContentFlags { channel: 0, flags: 4 }));
    for content in 0..=u8::MAX {
        let (mut stamping, payload) = (fresh(), [1]);
        stamping.allow_stamps();
        let data = Data { channel: 0, message: 1, piece: None, content, payload: &payload };
        let unknown = Err(Violation::ContentFlags { channel: 0, flags: content });
        let taken = stamping.accept(&data, now, &mut Bytes::copy_from_slice);
        assert_eq!(taken, if content < 8 { Ok(()) } else { unknown });
    }
    let (total, max) = (window + 1, window);
    let long = Err(Violation::MessageTooLong { channel: 2, total, max });
    assert_eq!(send(2, 1, Some((0, total as u32)), 100, 0), long);
    let span = Err(Violation::SpanExceeded { channel: 0, message: 65_537 });
    assert_eq!(send(0, 65_537, None, 1, 0), span);
    // each number left out was a message of the peer's, and used credit
    let (used, limit) = (65_000 * 32 + 1, window as u64);
    assert_eq!(send(1, 65_000, None, 1, 0), Err(Violation::CreditExceeded { channel: 1, used, limit }));
    let mut channels = fresh();
    assert_eq!(channels.on_credit(2, 1), Err(Violation::NotReliable { channel: 2 }));
    assert_eq!(channels.on_fin(7, 1), Err(Violation::UnknownChannel { channel: 7 }));
    assert_eq!(channels.on_fin(0, 3), Ok(()));
    assert_eq!(channels.on_fin(0, 2), Err(Violation::BadEnd { channel: 0, message: 2 }));
    assert_eq!(channels.on_fin(0, 4), Err(Violation::AfterEnd { channel: 0, message: 4 }));
    let used = window as u64 + 1;
    let over = Err(Violation::CreditExceeded { channel: 1, used, limit: window as u64 });
    assert_eq!(channels.on_reset(1, 1, used, 0), over);
    // the next stream before ours has ended
    assert_eq!(channels.on_reset(0, 3, 64, 0), Ok(()));
    assert_eq!(channels.on_fin(0, 4), Err(Violation::AfterEnd { channel: 0, message: 4 }));
}

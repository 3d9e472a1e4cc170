//! Limits reached: queues, windows, budgets, patience; and what ends a connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_reliability::{
    Accepted, ChannelLayout, Channels, ChannelsConfig, DeliveryMode, GiveUp, Outcome, Peer, PushError, Quota,
    RecoveryProfile, Violation,
};
use fastwire_wire::{FragmentFlags, FragmentHeader};

const MS: Duration = Duration::from_millis(1);

fn with(config: &ChannelsConfig) -> Channels {
    let mut channels = Channels::new(ChannelLayout::default(), config, RecoveryProfile::default());
    channels.set_peer(Peer::Own);
    channels
}

fn channels() -> Channels {
    with(&ChannelsConfig::default())
}

fn bytes(len: usize) -> Bytes {
    Bytes::from(vec![7; len])
}

fn piece(id: u16, index: u8, count: u8) -> Option<FragmentHeader> {
    Some(FragmentHeader { id, index, count, flags: FragmentFlags::EMPTY })
}

/// Lets everything leave that may; the packets as (channel, sequence).
fn flush(channels: &mut Channels, now: Instant) -> Vec<(u8, u32)> {
    let mut sent = Vec::new();
    while let Some(out) = channels.next_outgoing(now, Quota::UNLIMITED) {
        channels.mark_sent(&out, out.payload.len() + 40, now);
        sent.push((out.channel, out.sequence));
    }
    sent
}

#[test]
fn a_full_queue_is_an_error_and_takes_again_later() {
    let now = Instant::now();
    let mut config = ChannelsConfig::default();
    config.max_queued_messages = 3;
    config.max_queued_bytes = 100;
    let mut channels = with(&config);
    let push = |channels: &mut Channels, len| channels.push(2, &bytes(len), FragmentFlags::EMPTY, now);
    assert_eq!(push(&mut channels, 60), Ok(()));
    assert_eq!(push(&mut channels, 41), Err(PushError::QueueFull { messages: 1, bytes: 60 }));
    assert_eq!(push(&mut channels, 20), Ok(()));
    assert_eq!(push(&mut channels, 20), Ok(()));
    assert_eq!(push(&mut channels, 0), Err(PushError::QueueFull { messages: 3, bytes: 100 }));
    assert_eq!(flush(&mut channels, now).len(), 3);
    assert_eq!((channels.queued_messages(), channels.queued_bytes()), (0, 0));
    assert_eq!(push(&mut channels, 100), Ok(()));
}

#[test]
fn wrong_arguments_are_named() {
    let now = Instant::now();
    let mut channels = channels();
    let invalid = channels.push(4, &bytes(1), FragmentFlags::EMPTY, now);
    assert_eq!(invalid, Err(PushError::InvalidChannel { channel: 4, channels: 4 }));
    assert_eq!(invalid.unwrap_err().to_string(), "channel 4 does not exist: the layout has channels 0 to 3");
    let max = 255 * 1155;
    let long = channels.push(0, &bytes(max + 1), FragmentFlags::EMPTY, now);
    assert_eq!(long, Err(PushError::MessageTooLarge { len: max + 1, max }));
    assert_eq!(channels.push(0, &bytes(max), FragmentFlags::EMPTY, now), Ok(()));
}

#[test]
fn the_span_of_a_foreign_peer_is_24_and_of_ours_1024() {
    let now = Instant::now();
    for (peer, span) in [(Peer::Foreign, 24), (Peer::Own, 1024)] {
        let mut channels = channels();
        channels.set_peer(peer);
        for _ in 0..3000 {
            channels.push(0, &bytes(1), FragmentFlags::EMPTY, now).unwrap();
        }
        assert_eq!(flush(&mut channels, now).len(), span);
        assert!(!channels.has_outgoing());
        // all but the first acknowledged: the span stays shut
        let mut outcome = Outcome::default();
        for ack in (2..=span as u32).rev() {
            channels.acknowledge(0, ack, 0, now, &mut outcome).unwrap();
        }
        assert_eq!(
            flush(&mut channels, now).iter().filter(|(_, sequence)| *sequence > span as u32).count(),
            0
        );
        channels.acknowledge(0, 1, 0, now, &mut outcome).unwrap();
        assert!(channels.has_outgoing());
        assert_eq!(flush(&mut channels, now).len(), span);
    }
}

#[test]
fn a_message_that_fits_travels_bare_and_a_compressed_one_as_fragments() {
    let now = Instant::now();
    let mut channels = channels();
    channels.push(0, &bytes(1155), FragmentFlags::EMPTY, now).unwrap();
    channels.push(0, &bytes(1156), FragmentFlags::EMPTY, now).unwrap();
    channels.push(0, &bytes(10), FragmentFlags::COMPRESSED, now).unwrap();
    channels.set_piece_size(1000);
    channels.push(0, &bytes(1001), FragmentFlags::EMPTY, now).unwrap();
    let mut seen = Vec::new();
    while let Some(out) = channels.next_outgoing(now, Quota::UNLIMITED) {
        channels.mark_sent(&out, 1200, now);
        seen.push((out.payload.len(), out.fragment.map(|f| (f.id, f.index, f.count, f.flags))));
    }
    let (none, lz4) = (FragmentFlags::EMPTY, FragmentFlags::COMPRESSED);
    // pieces are cut with the size of the moment a message's first one leaves
    let expected = [
        (1000, Some((0, 0, 2, none))),
        (155, Some((0, 1, 2, none))),
        (1000, Some((1, 0, 2, none))),
        (156, Some((1, 1, 2, none))),
        (10, Some((2, 0, 1, lz4))),
        (1000, Some((3, 0, 2, none))),
        (1, Some((3, 1, 2, none))),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn channels_take_turns() {
    let now = Instant::now();
    let layout = (0..200)
        .fold(ChannelLayout::builder(), |builder, i| builder.channel(DeliveryMode::ALL[i % 4], 0))
        .build()
        .unwrap();
    let mut channels = Channels::new(layout, &ChannelsConfig::default(), RecoveryProfile::default());
    for channel in 0..200u8 {
        for _ in 0..5 {
            channels.push(channel, &bytes(10), FragmentFlags::EMPTY, now).unwrap();
        }
    }
    let sent = flush(&mut channels, now);
    assert_eq!(sent.len(), 1000);
    for round in sent.chunks(200) {
        let mut served: Vec<u8> = round.iter().map(|(channel, _)| *channel).collect();
        served.sort_unstable();
        served.dedup();
        assert_eq!(served.len(), 200, "each channel once a round");
    }
}

#[test]
fn unreliable_packets_need_no_quota() {
    let now = Instant::now();
    let mut channels = channels();
    for channel in 0..4 {
        channels.push(channel, &bytes(10), FragmentFlags::EMPTY, now).unwrap();
    }
    let mut left = Vec::new();
    while let Some(out) = channels.next_outgoing(now, Quota::NONE) {
        channels.mark_sent(&out, 50, now);
        left.push(out.channel);
    }
    left.sort_unstable();
    assert_eq!(left, [2, 3]);
    assert!(channels.has_outgoing() && !channels.is_idle());
    assert_eq!(channels.in_flight(), (0, 0));
}

#[test]
fn acknowledging_what_was_never_sent_ends_the_connection() {
    let now = Instant::now();
    let mut outcome = Outcome::default();
    for channel in 0..4 {
        let mut channels = channels();
        channels.push(channel, &bytes(1), FragmentFlags::EMPTY, now).unwrap();
        flush(&mut channels, now);
        assert_eq!(channels.acknowledge(channel, 0, u32::MAX, now, &mut outcome), Ok(()));
        assert_eq!(channels.acknowledge(channel, 1, u32::MAX, now, &mut outcome), Ok(()));
        let unsent = channels.acknowledge(channel, 2, 0, now, &mut outcome);
        assert_eq!(unsent, Err(Violation::AckOfUnsent { channel, ack: 2, sent: 1 }));
        let nowhere = channels.acknowledge(200, 1, 0, now, &mut outcome);
        assert_eq!(nowhere, Err(Violation::AckOfUnsent { channel: 200, ack: 1, sent: 0 }));
    }
}

#[test]
fn a_packet_repeated_fifteen_times_for_ten_seconds_ends_the_connection() {
    let start = Instant::now();
    let mut channels = channels();
    channels.seed_rtt(20 * MS, start);
    channels.push(0, &bytes(1), FragmentFlags::EMPTY, start).unwrap();
    flush(&mut channels, start);
    let mut outcome = Outcome::default();
    let mut repeats = 0;
    let (end, at) = loop {
        let now = channels.next_timeout().unwrap();
        match channels.handle_timeout(now, &mut outcome) {
            Ok(()) => repeats += flush(&mut channels, now).len() as u32,
            Err(end) => break (end, now),
        }
    };
    assert!(repeats >= 15 && at - start >= Duration::from_secs(10), "{repeats} in {:?}", at - start);
    assert_eq!(end, GiveUp::MaxRetransmits { channel: 0, sequence: 1, repeats });
}

#[test]
fn the_receive_window_is_1024_and_beyond_is_not_acknowledged() {
    let now = Instant::now();
    for channel in [0, 1] {
        let mut channels = channels();
        assert_eq!(channels.accept(channel, 1025, None, bytes(1), now), Ok(Accepted::OverBudget));
        assert_eq!(channels.ack_due(), None);
        assert_eq!(channels.accept(channel, 1024, None, bytes(1), now), Ok(Accepted::Taken));
        assert_eq!(channels.next_owed_ack(now), Some((channel, 1024, 0)));
        assert_eq!(channels.accept(channel, u32::MAX, None, bytes(1), now), Ok(Accepted::OverBudget));
        for sequence in 1..1024 {
            assert_eq!(channels.accept(channel, sequence, None, bytes(1), now), Ok(Accepted::Taken));
        }
        assert_eq!(std::iter::from_fn(|| channels.poll_delivery()).count(), 1024);
        assert_eq!(channels.memory_held(), 0);
    }
}

#[test]
fn nonsense_is_counted() {
    let now = Instant::now();
    let mut channels = channels();
    assert_eq!(channels.accept(9, 1, None, bytes(1), now), Ok(Accepted::Invalid));
    assert_eq!(channels.accept(0, 0, None, bytes(1), now), Ok(Accepted::Invalid));
    assert_eq!(channels.accept(2, 1, piece(1, 3, 3), bytes(1), now), Ok(Accepted::Invalid));
    assert_eq!(channels.accept(2, 1, piece(1, 0, 3), bytes(1), now), Ok(Accepted::Taken));
    assert_eq!(channels.accept(2, 2, piece(1, 1, 4), bytes(1), now), Ok(Accepted::Invalid));
    assert_eq!(channels.stats().invalid, 4);
}

#[test]
fn a_reliable_message_that_contradicts_itself_ends_the_connection() {
    let now = Instant::now();
    for channel in [0, 1] {
        let mut channels = channels();
        channels.accept(channel, 1, piece(1, 0, 3), bytes(1), now).unwrap();
        let end = channels.accept(channel, 2, piece(1, 1, 4), bytes(1), now);
        assert_eq!(end, Err(Violation::FragmentMismatch { channel, id: 1, index: 1 }));
    }
}

#[test]
fn a_reliable_message_left_incomplete_ends_the_connection() {
    let now = Instant::now();
    for channel in [0, 1] {
        let mut channels = channels();
        channels.accept(channel, 1, piece(1, 0, 3), bytes(1), now).unwrap();
        let end =
            (2..2000).find_map(|sequence| channels.accept(channel, sequence, None, bytes(1), now).err());
        assert_eq!(end, Some(Violation::MessageIncomplete { channel, id: 1, missing: 2 }));
    }
}

#[test]
fn incomplete_unreliable_messages_are_bounded_in_number_bytes_and_age() {
    let start = Instant::now();
    let mut channels = channels();
    for id in 0..1000u16 {
        channels.accept(2, u32::from(id) * 2 + 1, piece(id, 0, 2), bytes(10), start).unwrap();
    }
    assert_eq!(channels.stats().incomplete_dropped, 1000 - 256);
    assert!(channels.memory_held() < 256 * 400);
    // the oldest are gone, the newest complete
    channels.accept(2, 2, piece(0, 1, 2), bytes(10), start).unwrap();
    channels.accept(2, 2000, piece(999, 1, 2), bytes(10), start).unwrap();
    assert_eq!(channels.poll_delivery().map(|delivery| delivery.data.len()), Some(20));
    assert_eq!(channels.poll_delivery(), None);
    // 5 s later nothing is left
    let due = channels.next_timeout().unwrap();
    assert_eq!(due, start + Duration::from_secs(5));
    channels.handle_timeout(due, &mut Outcome::default()).unwrap();
    assert_eq!((channels.memory_held(), channels.next_timeout()), (0, None));

    let mut config = ChannelsConfig::default();
    config.unreliable_budget = 10_000;
    let mut channels = with(&config);
    for id in 0..100u16 {
        channels.accept(2 + (id % 2) as u8, u32::from(id) + 1, piece(id, 0, 9), bytes(1000), start).unwrap();
        assert!(channels.memory_held() <= 10_000);
    }
}

#[test]
fn a_null_probe_takes_its_sequence_and_nothing_else() {
    let now = Instant::now();
    for channel in 0..4 {
        let mut channels = channels();
        assert_eq!(channels.accept(channel, 1, piece(5, 0, 2), Bytes::new(), now), Ok(Accepted::Taken));
        assert_eq!(channels.accept(channel, 3, piece(6, 0, 2), Bytes::new(), now), Ok(Accepted::Taken));
        let late = channels.accept(channel, 2, None, bytes(1), now);
        assert_eq!(late, Ok(Accepted::Taken));
        assert_eq!(channels.accept(channel, 4, None, bytes(2), now), Ok(Accepted::Taken));
        let delivered: Vec<usize> =
            std::iter::from_fn(|| channels.poll_delivery()).map(|d| d.data.len()).collect();
        assert_eq!(delivered, [1, 2]);
        assert_eq!(channels.memory_held(), 0);
    }
}

#[test]
fn early_one_byte_packets_cost_what_they_cost() {
    let now = Instant::now();
    let mut channels = channels();
    let chunk = bytes(64 << 10);
    for sequence in 2..=1024u32 {
        // small parts of a large receive buffer
        let part = chunk.slice(sequence as usize..sequence as usize + 1);
        channels.accept(0, sequence, None, part, now).unwrap();
    }
    let held = channels.memory_held();
    assert!((1023 * 64..1023 * 256).contains(&held), "{held}");
    drop(chunk);
    channels.accept(0, 1, None, bytes(1), now).unwrap();
    assert_eq!(std::iter::from_fn(|| channels.poll_delivery()).count(), 1024);
    assert_eq!(channels.memory_held(), 0);
}

#[test]
fn what_arrives_in_its_turn_is_not_copied() {
    let now = Instant::now();
    let chunk = bytes(4096);
    for channel in 0..4 {
        let mut channels = channels();
        channels.accept(channel, 1, None, chunk.slice(100..200), now).unwrap();
        let data = channels.poll_delivery().unwrap().data;
        assert_eq!(data.as_ptr(), chunk[100..].as_ptr());
    }
}

#[test]
fn fragment_ids_of_a_connection_differ_within_five_seconds() {
    let start = Instant::now();
    let mut config = ChannelsConfig::default();
    config.max_queued_messages = usize::MAX;
    let mut channels = with(&config);
    let mut used: BTreeMap<u16, Instant> = BTreeMap::new();
    let mut now = start;
    let mut sent = 0;
    while sent < 200_000 {
        if channels.queued_messages() == 0 {
            for channel in [2, 3] {
                for _ in 0..500 {
                    channels.push(channel, &bytes(1), FragmentFlags::ZSTD, now).unwrap();
                }
            }
        }
        match channels.next_outgoing(now, Quota::UNLIMITED) {
            Some(out) => {
                sent += 1;
                channels.mark_sent(&out, 50, now);
                if let Some(before) = used.insert(out.fragment.unwrap().id, now) {
                    assert!(now - before >= Duration::from_secs(5));
                }
            }
            // sending waits; it does not fail
            None => now = channels.next_timeout().unwrap().max(now + MS),
        }
    }
    assert!(now - start > Duration::from_secs(9), "{:?}", now - start);
}

#[test]
fn an_idle_connection_is_small() {
    let now = Instant::now();
    let (mut a, mut b) = (channels(), channels());
    println!("Channels: {} bytes inline", size_of::<Channels>());
    assert!(size_of::<Channels>() <= 1100);
    // a message on each channel and back to rest
    for channel in 0..4 {
        a.push(channel, &bytes(100), FragmentFlags::EMPTY, now).unwrap();
    }
    while let Some(out) = a.next_outgoing(now, Quota::UNLIMITED) {
        a.mark_sent(&out, 140, now);
        b.accept(out.channel, out.sequence, out.fragment, out.payload, now).unwrap();
    }
    let mut outcome = Outcome::default();
    while let Some((channel, ack, field)) = b.next_owed_ack(now + 10 * MS) {
        a.acknowledge(channel, ack, field, now + 10 * MS, &mut outcome).unwrap();
    }
    assert!(a.is_idle() && a.next_timeout().is_none() && b.ack_due().is_none());
    a.trim();
    b.trim();
    assert_eq!(std::iter::from_fn(|| b.poll_delivery()).count(), 4);
}

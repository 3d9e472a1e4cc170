//! Message numbers pass 2³² on the wire as if nothing were there.

use std::time::Instant;

use bytes::Bytes;
use fastwire_wire::extended::{Data, Frame, Frames};

use super::inbox::Inbox;
use super::loose::LooseInbox;
use super::outbox::Outbox;
use super::{ExtendedChannels, Incoming};
use crate::{
    ChannelLayout, ChannelsConfig, DeliveryMode, FragmentFlags, Outcome, Quota, RecoveryProfile, Violation,
};

/// Both ends, a few numbers before the end of 32 bits.
fn pair() -> [ExtendedChannels; 2] {
    let first = (1u64 << 32) - 20;
    [(); 2].map(|()| {
        let config = ChannelsConfig::default();
        let mut channels =
            ExtendedChannels::new(ChannelLayout::default(), &config, RecoveryProfile::default());
        channels.set_peer(channels.limits());
        let (credit, window) = (channels.peer_window, channels.window);
        for (index, mode) in DeliveryMode::ALL.into_iter().enumerate() {
            let slot = &mut channels.channels[index];
            slot.outbox = Some(Box::new(Outbox::starting_at(mode, credit, first)));
            if mode.is_reliable() {
                let ordered = mode == DeliveryMode::ReliableOrdered;
                slot.inbox = Some(Box::new(Inbox::starting_at(index as u8, ordered, window, first)));
            } else {
                slot.loose = Some(Box::new(LooseInbox::starting_at(first)));
            }
        }
        channels
    })
}

#[test]
fn numbers_go_on_beyond_two_to_the_32() {
    let now = Instant::now();
    let [mut a, mut b] = pair();
    let mut wire = Vec::new();
    for channel in 0..4u8 {
        for index in 0..60u8 {
            a.push(channel, &Bytes::from(vec![index; 100]), FragmentFlags::EMPTY, now).unwrap();
        }
        if channel < 2 {
            a.finish(channel).unwrap();
        }
    }
    let mut number = 0;
    while a.has_outgoing(Quota::UNLIMITED) {
        let mut room = [0; 1170];
        a.begin_packet();
        let written = a.write_frames(&mut room, Quota::UNLIMITED, now);
        a.packet_sent(number, 1200, now);
        number += 1;
        wire.push(Bytes::copy_from_slice(&room[..written.len]));
    }
    // the first packet comes last: everything reliable waits for it, or is delivered around it
    wire.rotate_left(1);
    for packet in &wire {
        for frame in Frames::new(packet).unwrap() {
            match frame.unwrap() {
                Frame::Data(data) => b.accept(&data, now, &mut Bytes::copy_from_slice).unwrap(),
                Frame::Fin { channel, message } => b.on_fin(channel, message).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }
    let mut received = [const { Vec::new() }; 4];
    let mut finished = Vec::new();
    while let Some(incoming) = b.poll_delivery() {
        match incoming {
            Incoming::Message(delivery) => received[usize::from(delivery.channel)].push(delivery.data[0]),
            Incoming::Finished { channel } => {
                assert_eq!(received[usize::from(channel)].len(), 60, "after all its messages");
                finished.push(channel);
            }
            Incoming::Reset { .. } => panic!("nobody did"),
        }
    }
    let all: Vec<u8> = (0..60).collect();
    assert_eq!(received[0], all);
    received[1].sort_unstable();
    received[2].sort_unstable();
    assert_eq!((&received[1], &received[2]), (&all, &all));
    assert!(received[3].is_sorted_by(|a, b| a < b) && received[3].last() == Some(&59));
    assert_eq!(finished, [0, 1]);
    let mut out = Outcome::default();
    a.acknowledge(number - 1, std::time::Duration::ZERO, &[0xff; 128], now, &mut out).unwrap();
    assert!(a.is_idle());
}

#[test]
fn what_is_beyond_the_credit_counts_nothing_however_often_it_comes() {
    let now = Instant::now();
    let config = ChannelsConfig { receive_budget: Some(64 << 10), ..ChannelsConfig::default() };
    let mut channels = ExtendedChannels::new(ChannelLayout::default(), &config, RecoveryProfile::default());
    let payload = Bytes::from(vec![7; 16 << 10]);
    let mut accept = |message| {
        let data = Data { channel: 1, message, piece: None, content: 0, payload: &payload };
        channels.accept(&data, now, &mut Bytes::copy_from_slice)
    };
    accept(1).unwrap();
    let refused = accept(2).unwrap_err();
    assert!(matches!(refused, Violation::CreditExceeded { .. }));
    for _ in 0..3 {
        assert_eq!(accept(2), Err(refused));
    }
}

#[test]
fn only_reliable_channels_that_there_are_can_be_paused() {
    let [mut channels, _] = pair();
    for paused in [true, false] {
        let known: Vec<bool> = (0..6).map(|channel| channels.pause(channel, paused)).collect();
        let reliable = DeliveryMode::ALL.map(DeliveryMode::is_reliable);
        assert_eq!(known, [&reliable[..], &[false, false]].concat());
    }
}

#[test]
fn an_acknowledgement_says_how_long_its_largest_number_waited() {
    let (now, waited) = (Instant::now(), std::time::Duration::from_millis(7));
    let [mut channels, _] = pair();
    channels.on_packet(5, true, true, true, now);
    channels.on_packet(4, false, true, true, now + waited);
    assert_eq!(channels.ack_delay(now + waited), waited);
}

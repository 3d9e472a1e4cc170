//! Packets that made other implementations panic, loop or read out of bounds.

use fastwire::transport::SocketId;
use fastwire::wire::{Features, FragmentFlags, FragmentHeader, PacketHeader};
use fastwire::{ConnectionError, DisconnectReason, Event, ServerConfig};

use super::peer::{Hostile, connect_with, header, piece};
use crate::duo::{client, client_address, drain, feed, server, server_address};
use crate::handshake::{MS, connect_of, defaults};

/// An unknown frame or message type reached an `unreachable!`.
#[test]
fn every_control_type_and_flag_from_an_authenticated_peer_is_harmless() {
    let mut peer = Hostile::new(&ServerConfig::default());
    for flags in 0..=u8::MAX {
        for kind in 0..=u8::MAX {
            // A DISCONNECT does what it says.
            if flags & 2 != 0 && kind == 5 {
                continue;
            }
            peer.send(&[flags, 0, 0, 0, 0, 0, 0, 0, kind, 1, 2, 3]);
        }
    }
    assert!(peer.is_connected(), "{:?}", peer.events());
    assert!(peer.stats().malformed > 30_000);
}

/// A parameter that was cut off was unwrapped.
#[test]
fn a_handshake_packet_cut_anywhere_costs_a_counter() {
    let (server_config, client_config) = defaults();
    let now = std::time::Instant::now();
    let mut at_server = server(&server_config, now);
    let connect = connect_of(3, now);
    for end in 0..connect.len() {
        feed(&mut at_server, now, client_address(SocketId::PRIMARY), &connect[..end]);
    }
    assert_eq!((at_server.pending_handshakes(), drain(&mut at_server, now).len()), (0, 0));

    feed(&mut at_server, now, client_address(SocketId::PRIMARY), &connect);
    let challenge = drain(&mut at_server, now).remove(0).bytes;
    let mut at_client = client(&client_config, now);
    at_client.connect(now, &[server_address()]).expect("connects");
    drain(&mut at_client, now);
    for end in 0..challenge.len() {
        feed(&mut at_client, now, server_address(), &challenge[..end]);
    }
    assert_eq!(drain(&mut at_client, now).len(), 0, "a piece of a CHALLENGE was answered");
}

/// `index >= count` and `count == 0` indexed out of bounds; sizes multiplied over their type.
#[test]
fn impossible_fragments_on_unreliable_channels_are_counted() {
    let mut peer = Hostile::new(&ServerConfig::default());
    let mut sequence = 0;
    for channel in [2, 3] {
        for (index, count) in [(0, 0), (1, 1), (255, 255), (7, 3), (255, 1)] {
            sequence += 1;
            let fragment = FragmentHeader { id: 1, index, count, flags: FragmentFlags::EMPTY };
            peer.data(piece(channel, sequence), Some(fragment), b"x");
        }
    }
    assert_eq!(peer.stats().malformed, 10);
    assert!(peer.events().is_empty());
}

/// Fragments whose count or flags contradict those before them: on a reliable channel a hole nobody could fill.
#[test]
fn fragments_that_contradict_each_other_end_a_reliable_connection_with_a_reason() {
    let first = FragmentHeader { id: 5, index: 0, count: 3, flags: FragmentFlags::EMPTY };
    let wrong = [
        FragmentHeader { index: 1, count: 4, ..first },
        FragmentHeader { index: 1, flags: FragmentFlags::COMPRESSED, ..first },
        first,
    ];
    for wrong in wrong {
        let mut peer = Hostile::new(&ServerConfig::default());
        peer.data(piece(0, 1), Some(first), b"one");
        peer.data(piece(0, 2), Some(wrong), b"two");
        let events = peer.events();
        let told = matches!(&events[..], [Event::Error { error: ConnectionError::Protocol(_), .. }, ..]);
        assert!(told, "{wrong:?}: {events:?}");
    }
}

/// The largest message there can be, and one piece more than fits.
#[test]
fn the_largest_message_arrives_whole() {
    let mut peer = Hostile::new(&ServerConfig::default());
    for index in 0..255u8 {
        let fragment = FragmentHeader { id: 9, index, count: 255, flags: FragmentFlags::EMPTY };
        peer.data(piece(1, 1 + u32::from(index)), Some(fragment), &[index; 1155]);
        peer.drain();
    }
    match &peer.events()[..] {
        [Event::Message { data, .. }] => {
            assert_eq!(data.len(), 255 * 1155);
            assert!(data.chunks(1155).zip(0..).all(|(chunk, index)| chunk.iter().all(|byte| *byte == index)));
        }
        other => panic!("{other:?}"),
    }
}

/// An acknowledgement range that ran below zero, or to the top of the range one by one.
#[test]
fn an_acknowledgement_of_everything_ends_the_connection_and_no_loop() {
    for channel in 0..4u8 {
        for (ack, field) in [(1, u32::MAX), (32, u32::MAX), (u32::MAX, u32::MAX), (1 << 31, 0)] {
            let mut peer = Hostile::new(&ServerConfig::default());
            peer.data(PacketHeader { ack, ack_field: field, ..header(channel, 1) }, None, b"x");
            let events = peer.events();
            assert!(
                events.iter().any(|event| matches!(event, Event::Error { .. })),
                "channel {channel}, {ack}: {events:?}"
            );
        }
    }
}

/// The lowest numbers: an acknowledgement whose field reaches below the first.
#[test]
fn an_acknowledgement_field_that_reaches_below_the_first_number_is_taken() {
    let mut peer = Hostile::new(&ServerConfig::default());
    let (now, id) = (peer.now, peer.id);
    peer.core.send(now, id, b"one", 0).expect("queued");
    assert_eq!(peer.drain().len(), 1);
    peer.data(PacketHeader { ack: 1, ack_field: u32::MAX, ..header(0, 1) }, None, b"x");
    assert_eq!(peer.stats().packets_in_flight, 0);
}

/// A sender that believed acknowledgements of what it had not sent yet grew its window without limit.
#[test]
fn optimistic_acknowledgement_ends_the_connection() {
    let mut peer = Hostile::new(&ServerConfig::default());
    let (now, id) = (peer.now, peer.id);
    for _ in 0..3 {
        peer.core.send(now, id, b"queued", 0).expect("queued");
    }
    let sent = peer.drain().len() as u32;
    peer.data(PacketHeader { ack: sent + 1, ..header(0, 1) }, None, b"x");
    let mut events = peer.events();
    for _ in 0..100 {
        peer.now += MS(100);
        peer.core.handle_timeout(peer.now);
        peer.drain();
        events.extend(peer.events());
    }
    let told = |event: &Event| matches!(event, Event::Error { error: ConnectionError::Protocol(_), .. });
    assert!(events.iter().any(told), "{events:?}");
    let end = Event::Disconnected { connection: id, reason: DisconnectReason::Error };
    assert_eq!(events.last(), Some(&end));
}

/// A zero-length datagram read as "the peer closed", or was indexed.
#[test]
fn empty_datagrams_packets_and_messages_are_just_that() {
    let mut peer = Hostile::new(&ServerConfig::default());
    for _ in 0..100 {
        peer.raw(&[]);
    }
    let empty = peer.seal(&[]);
    peer.raw(&empty);
    assert_eq!(peer.stats().malformed, 1);
    for channel in 0..4 {
        peer.data(header(channel, 1), None, &[]);
    }
    let events = peer.events();
    let empty = |event: &Event| matches!(event, Event::Message { data, .. } if data.is_empty());
    assert!(events.len() == 4 && events.iter().all(empty), "{events:?}");

    let now = std::time::Instant::now();
    let mut at_client = client(&defaults().1, now);
    at_client.connect(now, &[server_address()]).expect("connects");
    feed(&mut at_client, now, server_address(), &[]);
    assert!(at_client.poll_event().is_none());
}

/// A batch whose count or lengths lie, or whose entries are empty.
#[test]
fn a_batch_that_lies_about_its_entries_is_dropped_whole() {
    let mut config = ServerConfig::default();
    config.send_batching = true;
    let mut peer = Hostile::with(&config, Features::SEND_BATCHING);
    peer.raw(&[0]);
    peer.raw(&[255]);
    peer.raw(&[1, 255, 255]);
    let mut empty = vec![200];
    empty.resize(1 + 200 * 2, 0);
    peer.raw(&empty);
    let packet = peer.seal(&[0, 1, 1, 0, 0, 0, 0, 0, b'x']);
    let length = (packet.len() as u16).to_le_bytes();
    let lie = [&[2][..], &length, &packet].concat();
    peer.raw(&lie);
    assert!(peer.is_connected());
    let truth = [&[2][..], &length, &packet, &[0, 0]].concat();
    peer.raw(&truth);
    let events = peer.events();
    assert!(matches!(&events[..], [Event::Message { .. }]), "{events:?}");
}

/// Sequences that leap: stretches to acknowledge joined over billions of numbers and were walked through one by one. (A
/// fuzzer found this one here: 70 datagrams took half a minute to acknowledge.)
#[test]
fn leaping_sequences_of_unreliable_channels_are_acknowledged_in_few_steps() {
    let mut peer = Hostile::new(&ServerConfig::default());
    for leap in 1..=200u32 {
        for channel in [2, 3] {
            peer.data(header(channel, leap * (u32::MAX / 200)), None, b"x");
        }
    }
    let answers = peer.drain().len();
    assert!(answers <= 200, "{answers} datagrams");
    assert_eq!(peer.events().len(), 400);
}

/// A channel or a sequence that does not exist.
#[test]
fn a_channel_outside_the_layout_and_sequence_0_are_counted() {
    let mut peer = Hostile::new(&ServerConfig::default());
    for channel in 4..=u8::MAX {
        peer.data(header(channel, 1), None, b"x");
    }
    for channel in 0..4 {
        peer.data(header(channel, 0), None, b"x");
    }
    assert_eq!(peer.stats().malformed, 252 + 4);
    assert!(peer.events().is_empty());
}

/// Bare packets from anybody that ended connections of others.
#[test]
fn a_bare_disconnect_reject_or_version_mismatch_ends_no_connection() {
    let (server_config, client_config) = defaults();
    let (mut duo, _, _) = crate::duo::Duo::connected(&server_config, &client_config);
    for kind in 0..=u8::MAX {
        let bytes = [&[2, 0, 0, 0, 0, 0, 0, 0, kind][..], &[1; 70]].concat();
        for end in [9, 10, 12, bytes.len()] {
            let now = duo.now;
            feed(&mut duo.server, now, client_address(SocketId::PRIMARY), &bytes[..end]);
            feed(&mut duo.client, now, server_address(), &bytes[..end]);
        }
    }
    duo.run(MS(500), |_, _| true);
    assert_eq!((&duo.server_events[..], &duo.client_events[..]), (&[][..], &[][..]));
    assert_eq!(duo.server.connection_count(), 1);
}

/// A client key of low order made a shared secret everybody knows.
#[test]
fn keys_of_low_order_agree_on_nothing() {
    let low: [[u8; 32]; 3] = {
        let (mut one, mut top) = ([0; 32], [255; 32]);
        one[0] = 1;
        (top[0], top[31]) = (236, 127);
        [[0; 32], one, top]
    };
    for key in low {
        let (server_config, _) = defaults();
        let now = std::time::Instant::now();
        let mut core = server(&server_config, now);
        let mut connect = connect_with(&fastwire::crypto::KeyPair::from_secret([1; 32]), 0, Features::EMPTY);
        connect[12..44].copy_from_slice(&key);
        feed(&mut core, now, client_address(SocketId::PRIMARY), &connect);
        drain(&mut core, now);
        // Any sealed packet makes the server agree on keys.
        feed(&mut core, now, client_address(SocketId::PRIMARY), &[1; 65]);
        assert_eq!(core.connection_count(), 0);
        assert!(core.poll_event().is_none());
    }
}

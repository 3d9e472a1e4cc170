//! What peers made others hold, queue or expand without end.

#[cfg(any(feature = "lz4", feature = "zstd"))]
use fastwire::ConnectionError;
#[cfg(any(feature = "lz4", feature = "zstd"))]
use fastwire::compress::{Algorithm, CompressionConfig};
use fastwire::transport::SocketId;
use fastwire::wire::{FragmentFlags, FragmentHeader, PacketHeader};
use fastwire::{Event, SendError, ServerConfig};

use super::peer::{Hostile, header, piece};
use crate::duo::{client_address, drain, feed, server};
use crate::handshake::{MS, connect_of, defaults};

/// Bytes beyond the budget that one message being completed, and incomplete unreliable ones, may take.
const BEYOND: u64 = (640 << 10) + (1 << 20);

fn small() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.limits.receive_budget = 1 << 20;
    config
}

/// Out-of-order pieces were kept without a budget.
#[test]
fn pieces_out_of_order_are_held_up_to_the_budget_and_no_further() {
    for channel in 0..4u8 {
        let mut peer = Hostile::new(&small());
        let mut most = 0;
        // Never a first piece: nothing can be delivered.
        for sequence in 2..6000u32 {
            let fragment = FragmentHeader {
                id: (sequence / 8) as u16,
                index: 1 + (sequence % 8) as u8,
                count: 255,
                flags: FragmentFlags::EMPTY,
            };
            peer.data(piece(channel, sequence), Some(fragment), &[0; 1155]);
            peer.drain();
            if !peer.is_connected() {
                break;
            }
            most = most.max(peer.stats().memory_held);
        }
        assert!(most > 500_000, "channel {channel} holds {most} bytes, so the attack proves little");
        assert!(most <= (1 << 20) + BEYOND, "channel {channel} holds {most} bytes");
        assert!(peer.events().iter().all(|event| !matches!(event, Event::Message { .. })));
    }
}

/// One piece of each of many large messages, whose buffers were reserved whole.
#[test]
fn one_of_255_pieces_reserves_no_more_than_it_brings() {
    let mut peer = Hostile::new(&small());
    for id in 0..200u16 {
        let fragment = FragmentHeader { id, index: 0, count: 255, flags: FragmentFlags::EMPTY };
        peer.data(piece(2, 1 + u32::from(id) * 255), Some(fragment), &[0; 100]);
    }
    let held = peer.stats().memory_held;
    assert!(held <= 200 * (100 + 512), "{held} bytes for 20 000");
    for _ in 0..70 {
        peer.now += MS(100);
        peer.core.handle_timeout(peer.now);
        peer.drain();
    }
    assert_eq!(peer.stats().memory_held, 0, "incomplete messages of unreliable channels age");
}

/// A sequence far ahead made a window of that size.
#[test]
fn a_gap_in_the_sequences_takes_no_memory() {
    for (channel, taken) in [(0, false), (1, false), (2, true), (3, true)] {
        let mut peer = Hostile::new(&small());
        for sequence in [1025 + 1, 1 << 20, u32::MAX - 1, u32::MAX] {
            peer.data(header(channel, sequence), None, b"x");
        }
        let stats = peer.stats();
        assert!(stats.memory_held < 4096, "{stats:?}");
        let messages = peer.events().len();
        assert_eq!((messages > 0, stats.over_budget > 0), (taken, !taken), "channel {channel}");
    }
}

/// An application that does not read was buried by a peer that sends.
#[test]
fn messages_nobody_reads_stay_within_the_budget_and_come_later() {
    let mut peer = Hostile::new(&small());
    peer.core.pause(peer.id, true);
    let mut sequence = 0;
    while sequence < 3000 {
        sequence += 1;
        peer.data(header(1, sequence), None, &[7; 1000]);
        peer.drain();
        assert!(peer.stats().memory_held <= 1 << 20, "{}", peer.stats().memory_held);
    }
    assert!(peer.stats().over_budget > 1000);
    peer.core.pause(peer.id, false);
    let first = peer.events().len();
    assert!(first > 500, "{first} messages waited");
    // What was refused was not acknowledged; the peer repeats it and it gets in.
    peer.data(header(1, first as u32 + 1), None, &[7; 1000]);
    assert_eq!(peer.events().len(), 1);
}

/// A peer that never acknowledges filled the sender's memory.
#[test]
fn a_peer_that_never_acknowledges_fills_a_queue_with_an_end() {
    let mut config = ServerConfig::default();
    config.limits.send_queue_bytes = 1 << 20;
    let mut peer = Hostile::new(&config);
    let (now, id) = (peer.now, peer.id);
    let mut refused = false;
    for _ in 0..3000 {
        match peer.core.send(now, id, vec![1; 1000], 0) {
            Ok(()) => {}
            Err(SendError::QueueFull(message)) => {
                assert_eq!(message.len(), 1000, "the message comes back");
                refused = true;
            }
            Err(error) => panic!("{error}"),
        }
        peer.drain();
    }
    assert!(refused && peer.stats().send_queue_bytes <= 1 << 20);
}

/// Requests that could not be answered at once waited in a queue without end.
#[test]
fn a_saturated_server_keeps_few_answers_and_no_amplification() {
    let (config, _) = defaults();
    let now = std::time::Instant::now();
    let mut core = server(&config, now);
    let mut received = 0;
    for number in 0..20_000u32 {
        let mut connect = connect_of(1, now);
        connect[12..16].copy_from_slice(&number.to_le_bytes());
        let [_, a, b, c] = number.to_be_bytes();
        feed(&mut core, now, ([10, a, b, c], 1000).into(), &connect);
        received += connect.len();
    }
    // Nobody drained it meanwhile.
    let answers = drain(&mut core, now);
    assert!(answers.len() <= 1024, "{} answers waited", answers.len());
    assert!(answers.iter().map(|answer| answer.bytes.len()).sum::<usize>() <= 3 * received);
    assert!(core.pending_handshakes() <= config.limits.pending_handshakes);
    assert_eq!(core.stats().key_agreements, 0);
    // And it still serves.
    let later = now + MS(100);
    feed(&mut core, later, client_address(SocketId::PRIMARY), &connect_of(2, now));
    assert_eq!(drain(&mut core, later).len(), 1);
}

/// A length field of four gibibytes was allocated.
#[cfg(feature = "lz4")]
#[test]
fn an_lz4_bomb_ends_a_reliable_connection_before_memory_is_taken() {
    let mut config = ServerConfig::default();
    config.compression = CompressionConfig::new(Algorithm::Lz4);
    for size in [u32::MAX, 5 << 20] {
        let mut peer = Hostile::new(&config);
        let bomb = [&size.to_le_bytes()[..], &[0x1f, 0, 1, 0], &[255; 900]].concat();
        let fragment = FragmentHeader { id: 1, index: 0, count: 1, flags: FragmentFlags::COMPRESSED };
        peer.data(piece(2, 1), Some(fragment), &bomb);
        assert!(peer.events().is_empty());
        assert_eq!(peer.stats().undecodable, 1);
        peer.data(piece(0, 1), Some(fragment), &bomb);
        let events = peer.events();
        assert!(
            matches!(&events[..], [Event::Error { error: ConnectionError::Decompression(_), .. }, ..]),
            "{events:?}"
        );
    }
}

/// A small zstd frame of a gibibyte of zeros.
#[cfg(feature = "zstd")]
#[test]
fn a_zstd_bomb_ends_a_reliable_connection_before_memory_is_taken() {
    let mut config = ServerConfig::default();
    config.compression = CompressionConfig::new(Algorithm::Zstd);
    let mut peer = Hostile::new(&config);
    // Magic, no declared size, 128 KiB window, then blocks of 128 KiB of one byte each, 40 of them: 5 MiB.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 0..40u32 {
        let head = (0x2_0000 << 3) | (1 << 1) | u32::from(block == 39);
        bomb.extend_from_slice(&head.to_le_bytes()[..3]);
        bomb.push(0);
    }
    let flags = FragmentFlags::COMPRESSED | FragmentFlags::ZSTD;
    let fragment = FragmentHeader { id: 1, index: 0, count: 1, flags };
    peer.data(piece(0, 1), Some(fragment), &bomb);
    let events = peer.events();
    assert!(
        matches!(&events[..], [Event::Error { error: ConnectionError::Decompression(_), .. }, ..]),
        "{events:?}"
    );
}

/// Heartbeats and acknowledgements that asked for answers without end.
#[test]
fn a_flood_of_duplicates_is_not_answered_with_a_flood() {
    let mut peer = Hostile::new(&ServerConfig::default());
    let mut answered = 0;
    for _ in 0..2000 {
        peer.data(PacketHeader { ack: 0, ..header(0, 1) }, None, b"again");
        answered += peer.drain().len();
    }
    assert!(answered <= 2000, "{answered} datagrams for 2000");
    assert_eq!(peer.events().len(), 1);
}

//! Loss, probes and timers of the extended profile (PROTOCOL B5 Recovery, RFC 9002).

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_reliability::extended::{ControlFrame, Fate};
use fastwire_reliability::{FragmentFlags, Outcome, Quota};
use fastwire_wire::extended::{Frame, Frames};

use crate::extended::{World, channels, config};
use crate::link::LinkConfig;
use crate::peer::{Packet, Peer};

const MS: Duration = Duration::from_millis(1);

fn peer() -> Peer {
    let mut peer = Peer::new(channels(&config(None)), 1);
    let limits = peer.channels.limits();
    peer.channels.set_peer(limits);
    peer
}

fn push(peer: &mut Peer, channel: u8, now: Instant) {
    peer.channels.push(channel, &Bytes::from(vec![7; 1100]), FragmentFlags::EMPTY, now).unwrap();
}

/// Sends so many packets of a reliable channel at `now`.
fn send(peer: &mut Peer, count: usize, now: Instant) -> Vec<Packet> {
    (0..count).for_each(|_| push(peer, 0, now));
    let packets = peer.flush(now, Quota::UNLIMITED);
    assert_eq!(packets.len(), count);
    packets
}

fn ack(peer: &mut Peer, largest: u64, below: &[u64], now: Instant) -> Outcome {
    let mut bitmap = [0u8; 128];
    for number in below {
        let bit = (largest - 1 - number) as usize;
        bitmap[bit / 8] |= 1 << (bit % 8);
    }
    let mut out = Outcome::default();
    peer.channels.acknowledge(largest, Duration::ZERO, &bitmap, now, &mut out).unwrap();
    out
}

fn carries_data(packet: &Packet) -> bool {
    Frames::new(&packet.frames).unwrap().any(|frame| matches!(frame, Ok(Frame::Data(_))))
}

#[test]
fn three_later_packets_or_nine_eighths_of_a_round_trip_make_a_loss() {
    let start = Instant::now();
    let mut peer = peer();
    send(&mut peer, 8, start);
    let now = start + 80 * MS;
    assert_eq!(ack(&mut peer, 2, &[1], now).lost_packets, 0);
    let out = ack(&mut peer, 3, &[], now);
    assert_eq!((out.lost_packets, out.congestion.is_some()), (1, true));
    // it leaves again, in another packet
    let packets = peer.flush(now, Quota::UNLIMITED);
    assert_eq!((packets.len(), packets[0].number, carries_data(&packets[0])), (1, 8, true));
    // packets 4 and 5 are two behind 6: time decides
    let out = ack(&mut peer, 6, &[], now);
    assert_eq!(out.lost_packets, 0);
    let at = peer.channels.next_timeout().unwrap();
    assert_eq!(at, start + 90 * MS);
    peer.channels.handle_timeout(at, &mut Outcome::default()).unwrap();
    assert_eq!(peer.flush(at, Quota::UNLIMITED).len(), 2);
    // one event for all of it: they left before the first was told
    assert_eq!(peer.channels.stats().retransmits, 3);
}

/// Numbers of the messages a packet carries.
fn messages(packet: &Packet) -> Vec<u32> {
    let frames = Frames::new(&packet.frames).unwrap();
    frames
        .filter_map(|frame| if let Ok(Frame::Data(data)) = frame { Some(data.message) } else { None })
        .collect()
}

/// Everything on an ordered channel waits for its oldest message, in whichever packet that was lost last.
#[test]
fn the_oldest_lost_message_leaves_first() {
    let start = Instant::now();
    let mut peer = peer();
    send(&mut peer, 8, start);
    let now = start + 80 * MS;
    ack(&mut peer, 4, &[0, 2, 3], now);
    let repeat = peer.flush(now, Quota::UNLIMITED);
    assert_eq!(messages(&repeat[0]), [2], "packet 1 carried message 2; packet 8 does now");
    peer.channels.requeue_in_flight();
    let again: Vec<u32> = peer.flush(now, Quota::UNLIMITED).iter().flat_map(messages).collect();
    assert_eq!(again, [2, 6, 7, 8]);
}

/// A side that only receives learns which of its ACKs arrived, so that they stay short; two such sides do not keep each other awake.
#[test]
fn a_receiver_asks_for_an_acknowledgement_now_and_then() {
    let link = LinkConfig { delay: 20 * MS, jitter: Duration::ZERO, loss: 0.0, duplicate: 0.0, reorder: 0.0 };
    let mut world = World::new(&config(None), link, Quota { packets: 32, bytes: u64::MAX }, 5);
    let start = world.now;
    let mut widest = 0;
    for _ in 0..500 {
        for _ in 0..8 {
            let now = world.now;
            push(&mut world.peers[0], 0, now);
        }
        world.run(world.now + 10 * MS);
        let behind = world.peers[0].sent_packets - world.peers[1].channels.ack_floor();
        widest = widest.max(behind);
    }
    assert!(widest <= 128, "two round trips of 32 packets each, not {widest}");
    world.run(world.now + Duration::from_secs(1));
    let sent = [0, 1].map(|side| world.peers[side].sent_packets);
    assert!(sent[0] >= 4000 && world.now > start);
    world.run(world.now + Duration::from_secs(60));
    assert_eq!([0, 1].map(|side| world.peers[side].sent_packets), sent, "nothing to say, nothing said");
    assert!((0..2).all(|side| world.peers[side].channels.in_flight() == (0, 0)));
}

/// Only what is repeated can be repeated for nothing.
#[test]
fn a_late_acknowledgement_of_a_ping_is_no_spurious_repeat() {
    let start = Instant::now();
    let mut peer = peer();
    peer.channels.seed_rtt(100 * MS, start);
    let mut now = start;
    for number in 0..40 {
        peer.channels.begin_packet();
        peer.channels.carry_ping();
        peer.channels.packet_sent(number, 40, now);
        now += MS;
    }
    now += 60 * MS;
    // the last arrived: most of the others are taken for lost, and were not
    let lost = ack(&mut peer, 39, &[], now).lost_packets;
    assert!(lost >= 30, "{lost}");
    let late: Vec<u64> = (0..39).collect();
    assert!(ack(&mut peer, 39, &late, now + MS).spurious >= lost, "the path reorders, and that is learned");
    let stats = peer.channels.stats();
    assert_eq!((stats.retransmits, stats.spurious), (0, 0));
}

#[test]
fn a_probe_timeout_sends_copies_of_the_oldest_declares_nothing_lost_and_backs_off_to_two_seconds() {
    let start = Instant::now();
    let mut peer = peer();
    peer.channels.seed_rtt(100 * MS, start);
    let first = peer.channels.rto();
    assert_eq!(first, 310 * MS, "100 + 4 x 50 and 10 for the acknowledgement");
    let packets = send(&mut peer, 5, start);
    let mut now = start;
    for round in 0..8u32 {
        let wait = (first * (1 << round)).min(Duration::from_secs(2));
        assert_eq!(peer.channels.rto(), wait);
        now += wait;
        assert_eq!(peer.channels.next_timeout(), Some(now));
        let mut out = Outcome::default();
        peer.channels.handle_timeout(now, &mut out).unwrap();
        assert_eq!((out.lost_packets, out.congestion), (0, None));
        assert!(peer.channels.wants_probe());
        let probes = peer.flush(now, Quota::NONE);
        assert_eq!(probes.len(), 2);
        assert_eq!(probes[0].frames, packets[0].frames, "what the oldest carried");
        assert_eq!(probes[1].frames, packets[1].frames, "then what the one after it carried");
    }
    // new data goes first
    now += Duration::from_secs(2);
    peer.channels.handle_timeout(now, &mut Outcome::default()).unwrap();
    push(&mut peer, 0, now);
    let probes = peer.flush(now, Quota::NONE);
    assert_eq!(probes.len(), 2);
    assert!(!packets.iter().any(|packet| packet.frames == probes[0].frames));
    // whatever comes through ends the back-off
    let largest = probes[1].number;
    ack(&mut peer, largest, &[], now + 100 * MS);
    assert!(peer.channels.rto() < 2 * first);
}

#[test]
fn nothing_but_an_outage_longer_than_three_probe_timeouts_is_persistent_congestion() {
    for (pause, persistent) in [(100 * MS, false), (3000 * MS, true)] {
        let start = Instant::now();
        let mut peer = peer();
        peer.channels.seed_rtt(100 * MS, start);
        send(&mut peer, 1, start);
        send(&mut peer, 1, start + pause);
        let packets = send(&mut peer, 4, start + pause);
        let out = ack(&mut peer, packets[3].number, &[], start + pause + 100 * MS);
        let event = out.congestion.expect("a loss");
        assert_eq!(event.persistent, persistent, "{pause:?}");
    }
}

#[test]
fn unreliable_packets_ask_for_no_probe_do_not_wait_for_the_quota_and_give_samples() {
    let start = Instant::now();
    let mut peer = peer();
    push(&mut peer, 2, start);
    assert_eq!(peer.flush(start, Quota::NONE).len(), 1);
    assert_eq!((peer.channels.in_flight(), peer.channels.is_idle()), ((0, 0), true));
    let out = ack(&mut peer, 0, &[], start + 40 * MS);
    assert_eq!((out.rtt_sample, out.newly_acked_packets), (Some(40 * MS), 1));
    push(&mut peer, 2, start);
    peer.flush(start, Quota::NONE);
    // unheard, it is given up after a while, without a probe, and nothing is sent again
    let mut out = Outcome::default();
    while let Some(at) = peer.channels.next_timeout() {
        peer.channels.handle_timeout(at, &mut out).unwrap();
        assert!(!peer.channels.wants_probe());
    }
    assert_eq!((out.lost_packets, out.congestion), (1, None));
    assert!(peer.flush(start + Duration::from_secs(9), Quota::UNLIMITED).is_empty());
}

#[test]
fn a_late_acknowledgement_is_told_and_makes_patient() {
    let start = Instant::now();
    let mut peer = peer();
    send(&mut peer, 20, start);
    let now = start + 100 * MS;
    assert_eq!(ack(&mut peer, 3, &[1, 2], now).lost_packets, 1);
    assert_eq!(messages(&peer.flush(now, Quota::UNLIMITED)[0]), [1], "it is repeated");
    let out = ack(&mut peer, 3, &[0], now + MS);
    assert_eq!((out.spurious, peer.channels.stats().spurious), (1, 1));
    // the next needs six later ones
    assert_eq!(ack(&mut peer, 9, &[5, 6, 7, 8], now + MS).lost_packets, 0);
    assert_eq!(ack(&mut peer, 10, &[], now + MS).lost_packets, 1);
    assert!(peer.flush(now + MS, Quota::UNLIMITED).len() <= 2);
}

#[test]
fn the_delay_the_peer_names_is_taken_off_up_to_its_maximum() {
    let start = Instant::now();
    let mut peer = peer();
    peer.channels.seed_rtt(50 * MS, start);
    send(&mut peer, 3, start);
    let mut out = Outcome::default();
    let ack = |peer: &mut Peer, number, delay, out: &mut Outcome| {
        peer.channels.acknowledge(number, delay, &[0; 4], start + 70 * MS, out).unwrap();
        out.rtt_sample
    };
    assert_eq!(ack(&mut peer, 0, 5 * MS, &mut out), Some(65 * MS));
    assert_eq!(ack(&mut peer, 1, 100 * MS, &mut out), Some(60 * MS), "10 ms is the most");
    assert_eq!(ack(&mut peer, 1, MS, &mut Outcome::default()), None, "no news, no sample");
}

#[test]
fn control_frames_come_back_with_their_fate_and_a_lost_mtu_probe_is_no_congestion() {
    let start = Instant::now();
    let mut peer = peer();
    let frames = [ControlFrame::Connected, ControlFrame::MtuProbe(1400), ControlFrame::NewCid(7)];
    for (number, frame) in frames.into_iter().enumerate() {
        peer.channels.begin_packet();
        peer.channels.carry(frame);
        peer.channels.packet_sent(number as u64, 1200, start);
    }
    let mut out = Outcome::default();
    peer.channels.begin_packet();
    peer.channels.carry(ControlFrame::Disconnect);
    peer.channels.abandon_packet();
    assert_eq!(peer.controls(), [(ControlFrame::Disconnect, Fate::Lost)]);
    peer.channels.acknowledge(2, Duration::ZERO, &[0b10, 0, 0, 0], start + 50 * MS, &mut out).unwrap();
    assert_eq!(peer.controls(), [(frames[2], Fate::Acked), (frames[0], Fate::Acked)]);
    let at = peer.channels.next_timeout().unwrap();
    peer.channels.handle_timeout(at, &mut out).unwrap();
    assert_eq!(peer.controls(), [(frames[1], Fate::Lost)]);
    assert_eq!((out.lost_packets, out.congestion, peer.channels.in_flight()), (0, None, (0, 0)));
}

#[test]
fn what_is_in_flight_at_a_move_leaves_again_without_a_congestion_event() {
    let start = Instant::now();
    let mut peer = peer();
    send(&mut peer, 5, start);
    peer.channels.requeue_in_flight();
    peer.channels.reset_rtt();
    assert_eq!(peer.channels.in_flight(), (0, 0));
    let packets = peer.flush(start + MS, Quota::UNLIMITED);
    assert_eq!(packets.iter().map(|packet| packet.number).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
    // the first copies arrived all the same
    let out = ack(&mut peer, 4, &[0, 1, 2, 3], start + 100 * MS);
    assert_eq!((out.congestion, out.lost_packets), (None, 0));
    assert_eq!(out.newly_acked_packets, 5);
    ack(&mut peer, 9, &[5, 6, 7, 8], start + 101 * MS);
    assert!(peer.channels.is_idle());
}

#[test]
fn an_acknowledged_acknowledgement_need_not_be_covered_again() {
    let start = Instant::now();
    let mut peer = peer();
    assert_eq!(peer.channels.ack_floor(), 0);
    for (number, largest) in [(0, 40), (1, 90)] {
        push(&mut peer, 0, start);
        peer.channels.begin_packet();
        peer.channels.carry_ack(largest);
        peer.channels.write_frames(&mut [0; 1200], Quota::UNLIMITED, start);
        peer.channels.packet_sent(number, 1200, start);
    }
    ack(&mut peer, 0, &[], start + MS);
    assert_eq!(peer.channels.ack_floor(), 41);
    ack(&mut peer, 1, &[], start + MS);
    assert_eq!(peer.channels.ack_floor(), 91);
}

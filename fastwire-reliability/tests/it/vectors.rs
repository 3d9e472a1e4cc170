//! The recorded traces of the reference implementation, with PROTOCOL A6's departures named.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_reliability::{
    Accepted, ChannelLayout, Channels, ChannelsConfig, Outcome, Peer, Quota, RecoveryProfile, Rtt,
};
use fastwire_testkit::vectors::{self, Value};
use fastwire_wire::{FragmentFlags, FragmentHeader};

fn channels() -> Channels {
    let mut channels =
        Channels::new(ChannelLayout::default(), &ChannelsConfig::default(), RecoveryProfile::default());
    channels.set_peer(Peer::Own);
    channels
}

fn trace(name: &str) -> Vec<Value> {
    let file = vectors::load("behaviour");
    let cases = vectors::cases(&file[name]);
    println!("behaviour.json {name}: {} cases", cases.len());
    cases.to_vec()
}

fn number(value: &Value) -> u32 {
    vectors::number(value).try_into().expect("32 bits")
}

/// The freshest acknowledgement, once nothing is owed any more.
fn freshest(channels: &mut Channels, channel: u8, now: Instant) -> (u32, u32) {
    let later = now + Duration::from_secs(1);
    while channels.next_owed_ack(later).is_some() {}
    channels.header_ack(channel)
}

#[test]
fn receive_window_vectors() {
    let now = Instant::now();
    for case in trace("receive_window") {
        // an unreliable channel: the trace jumps further than a reliable window (rule 1) allows
        let mut channels = channels();
        for step in vectors::cases(&case["steps"]) {
            let sequence = number(&step["seq"]);
            let (before, _) = freshest(&mut channels, 2, now);
            let accepted = channels.accept(2, sequence, None, Bytes::from_static(b"x"), now).unwrap();
            // PROTOCOL A6 rule 1: the window is wider than the acknowledgement field, so a packet more than 32
            // behind is taken here, where the trace drops it. It still cannot be acknowledged.
            let beyond_field = before > sequence && before - sequence > 32 && before - sequence < 1024;
            let theirs = step["accepted"].as_bool().unwrap();
            if !beyond_field {
                assert_eq!(accepted == Accepted::Taken, theirs, "{step}");
            } else {
                assert!(!theirs, "{step}");
            }
            let expected = (number(&step["ack"]), number(&step["ack_field"]));
            assert_eq!(freshest(&mut channels, 2, now), expected, "{step}");
        }
    }
}

#[test]
fn reliable_receive_window_vectors() {
    let now = Instant::now();
    for case in trace("receive_window") {
        let mut channels = channels();
        for step in vectors::cases(&case["steps"]) {
            let sequence = number(&step["seq"]);
            let accepted = channels.accept(0, sequence, None, Bytes::from_static(b"x"), now).unwrap();
            if accepted == Accepted::OverBudget {
                // PROTOCOL A6 rule 1: at most 1024 beyond the lowest missing; not acknowledged
                assert!(sequence > 1024, "{step}");
                break;
            }
            if accepted == Accepted::Duplicate {
                // PROTOCOL A6 rule 1: a duplicate is acknowledged again, however far back
                let (channel, ack, field) = channels.next_owed_ack(now).expect("acknowledged again");
                let back = ack - sequence;
                assert!(channel == 0 && (back == 0 || (back <= 32 && field >> (back - 1) & 1 == 1)));
            }
            let expected = (number(&step["ack"]), number(&step["ack_field"]));
            assert_eq!(freshest(&mut channels, 0, now), expected, "{step}");
        }
    }
}

#[test]
fn delivery_vectors() {
    let now = Instant::now();
    let names = ["reliable_ordered", "reliable_unordered", "unreliable", "unreliable_sequenced"];
    for (channel, name) in (0u8..).zip(names) {
        let mut channels = channels();
        let mut highest = 0;
        for step in trace(&format!("deliver_{name}")) {
            let sequence = number(&step["seq"]);
            let payload = Bytes::copy_from_slice(&sequence.to_be_bytes());
            let accepted = channels.accept(channel, sequence, None, payload, now).unwrap();
            let delivered: Vec<u32> = std::iter::from_fn(|| channels.poll_delivery())
                .map(|delivery| u32::from_be_bytes(delivery.data[..].try_into().unwrap()))
                .collect();
            let theirs: Vec<u32> =
                step["delivered"].as_array().map_or_else(Vec::new, |list| list.iter().map(number).collect());
            if highest > sequence && highest - sequence > 32 {
                // PROTOCOL A6 rule 1: taken, where the trace's window of 33 drops it
                assert!(!step["accepted"].as_bool().unwrap() && accepted == Accepted::Taken, "{name} {step}");
                break;
            }
            highest = highest.max(sequence);
            let ours = matches!(accepted, Accepted::Taken | Accepted::Stale);
            assert_eq!(ours, step["accepted"].as_bool().unwrap(), "{name} {step}");
            assert_eq!(delivered, theirs, "{name} {step}");
        }
    }
}

#[test]
fn fragment_vectors() {
    let now = Instant::now();
    let names = [
        ("reliable_ordered", 0u8),
        ("reliable_unordered", 1),
        ("unreliable", 2),
        ("unreliable_sequenced_inorder", 3),
        ("unreliable_sequenced_swapped", 3),
    ];
    for (name, channel) in names {
        let mut channels = channels();
        let mut missed = Vec::new();
        for step in trace(&format!("fragments_{name}")) {
            // message A = sequences 1 to 3 = bytes 1 to 3, B = 4 to 6
            let sequence = number(&step["seq"]);
            let (id, index) = (((sequence - 1) / 3) as u16, ((sequence - 1) % 3) as u8);
            let fragment = FragmentHeader { id, index, count: 3, flags: FragmentFlags::EMPTY };
            let payload = Bytes::copy_from_slice(&[sequence as u8]);
            let accepted = channels.accept(channel, sequence, Some(fragment), payload, now).unwrap();
            assert_eq!(accepted == Accepted::Taken, step["accepted"].as_bool().unwrap(), "{name} {step}");
            let delivered: Vec<Bytes> =
                std::iter::from_fn(|| channels.poll_delivery()).map(|delivery| delivery.data).collect();
            let theirs: Vec<Bytes> = step["delivered"]
                .as_array()
                .map_or_else(Vec::new, |list| list.iter().map(|m| vectors::hex(m).into()).collect());
            if delivered != theirs {
                missed.push((delivered, theirs));
            }
        }
        if name == "unreliable_sequenced_swapped" {
            // PROTOCOL A6 rule 5: a reordered fragment does not lose its message
            let a = Bytes::from_static(&[1, 2, 3]);
            assert_eq!(missed, [(vec![a], vec![])], "{name}");
        } else {
            assert_eq!(missed, [], "{name}");
        }
    }
}

#[test]
fn acknowledgement_vectors() {
    for case in trace("process_acks") {
        let start = Instant::now();
        let mut channels = channels();
        for _ in 0..45 {
            channels.push(0, &Bytes::from_static(b"x"), FragmentFlags::EMPTY, start).unwrap();
        }
        while let Some(out) = channels.next_outgoing(start, Quota::UNLIMITED) {
            channels.mark_sent(&out, 40, start);
        }
        let mut outcome = Outcome::default();
        let (ack, field) = (number(&case["ack"]), number(&case["ack_field"]));
        channels.acknowledge(0, ack, field, start + Duration::from_millis(30), &mut outcome).unwrap();
        let acked: Vec<u32> =
            case["acked"].as_array().map_or_else(Vec::new, |list| list.iter().map(number).collect());
        assert_eq!(outcome.newly_acked_packets as usize, acked.len(), "{case}");
        assert_eq!(u32::try_from(acked.len()).unwrap() + number(&case["remaining"]), 45);
        // what remains is what leaves again
        let later = start + Duration::from_secs(30);
        channels.handle_timeout(later, &mut outcome).unwrap();
        let mut repeated = Vec::new();
        while let Some(out) = channels.next_outgoing(later, Quota::UNLIMITED) {
            repeated.push(out.sequence);
        }
        repeated.sort_unstable();
        let remaining: Vec<u32> = (1..=45).filter(|sequence| !acked.contains(sequence)).collect();
        assert_eq!(repeated, remaining, "{case}");
    }
}

#[test]
fn rtt_vectors() {
    let mut rtt = Rtt::new(Duration::from_secs(1), Duration::from_millis(50), Duration::from_secs(5));
    for step in trace("rtt") {
        if !step["sample_ns"].is_null() {
            rtt.sample(Duration::from_nanos(vectors::number(&step["sample_ns"])));
        }
        let near = |ours: Duration, theirs: &Value| {
            // whole nanoseconds are rounded differently here and there
            let theirs = Duration::from_nanos(vectors::number(theirs));
            assert!(ours.abs_diff(theirs) <= Duration::from_nanos(20), "{ours:?} {step}");
        };
        near(rtt.smoothed(), &step["srtt_ns"]);
        near(rtt.variance(), &step["rttvar_ns"]);
        near(rtt.rto(), &step["rto_ns"]);
    }
}

//! kcp-go's error correction, packet by packet as recorded.

use crate::recorded::is_own_copy;
use fastwire_kcp::core::Pool;
use fastwire_kcp::fec::{
    FEC_HEADER_LEN, FecPacket, FecRatio, FecReceiver, FecSender, MAX_DATA_GAP, OOB_SEQID, PacketKind,
};
use fastwire_testkit::vectors::{Value, cases, hex, kcp_load, number};
use proptest::prelude::*;

fn ratio(value: &Value) -> FecRatio {
    let figure = |name: &str| number(&value[name]) as usize;
    FecRatio::new(figure("data_shards"), figure("parity_shards")).expect("recorded figures")
}

fn pair(value: &Value) -> FecRatio {
    FecRatio::new(number(&value[0]) as usize, number(&value[1]) as usize).expect("recorded figures")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What sending `payload` emits: the data packet and, when the group is complete, its parity.
fn send(sender: &mut FecSender, now: u32, payload: &[u8]) -> Vec<Vec<u8>> {
    let mut packet = vec![0; FEC_HEADER_LEN];
    packet.extend_from_slice(payload);
    let complete = sender.seal_data(now, &mut packet);
    let mut out = vec![packet];
    if complete {
        out.extend(sender.parity().map(|(seqid, parity)| {
            [&seqid.to_le_bytes()[..], &(PacketKind::Parity as u16).to_le_bytes(), parity].concat()
        }));
    }
    out
}

fn recovered(receiver: &mut FecReceiver, packet: &[u8]) -> Vec<Vec<u8>> {
    let packet = FecPacket::parse(packet).expect("a recorded packet");
    receiver.receive(&packet).iter().map(|(_, shard)| shard.to_vec()).collect()
}

#[test]
fn vectors_of_groups_are_sent_and_recovered_as_recorded() {
    let file = kcp_load("fec");
    let mut recoveries = 0;
    for run in cases(&file["groups"]) {
        let ratio = ratio(run);
        let packets = cases(&run["packets"]);
        let bytes: Vec<Vec<u8>> = packets.iter().map(|packet| hex(&packet["packet"])).collect();

        let mut sender = FecSender::new(ratio).unwrap();
        let first = FecPacket::parse(&bytes[0]).unwrap().seqid;
        sender.start_at_group(first / (ratio.data() + ratio.parity()) as u32);
        let mut sent = Vec::new();
        for packet in packets.iter().filter(|packet| packet["type"] == "data") {
            sent.extend(send(&mut sender, 0, &hex(&packet["payload"])));
        }
        assert_eq!(sent, bytes, "{ratio:?}");
        assert_eq!(u64::from(sender.next_seqid()), number(&run["next_seqid_after"]), "{ratio:?}");

        for case in list(&run["recover"]) {
            let mut receiver = FecReceiver::new(ratio, Pool::new()).unwrap();
            let group: Vec<Vec<u8>> = packets
                .iter()
                .filter(|packet| packet["group"] == case["group"])
                .map(|packet| hex(&packet["packet"]))
                .collect();
            let mut events = list(&case["events"]).iter().peekable();
            for (arrival, index) in list(&case["arrival_order"]).iter().enumerate() {
                let got = recovered(&mut receiver, &group[number(index) as usize]);
                let event = events.next_if(|event| number(&event["after_arrival"]) == arrival as u64);
                let expected: Vec<Vec<u8>> =
                    event.map_or(&[][..], |event| list(&event["recovered_shards"])).iter().map(hex).collect();
                assert_eq!(got, expected, "{ratio:?}: {case}");
                recoveries += 1;
            }
            assert!(events.next().is_none(), "{ratio:?}: {case}");
        }
    }
    assert!(recoveries > 100 || !is_own_copy());
}

#[test]
fn vectors_of_late_groups_have_no_parity() {
    let file = kcp_load("fec");
    let run = &file["skipped_parity"];
    let mut sender = FecSender::new(ratio(run)).unwrap();
    let mut now = 0;
    for step in cases(&run["steps"]) {
        now += if step["gap_exceeds_limit"] == true { MAX_DATA_GAP } else { 1 };
        let sent = send(&mut sender, now, &hex(&step["payload"]));
        let parity = list(&step["parity"]).iter().map(hex);
        let expected: Vec<Vec<u8>> = std::iter::once(hex(&step["packet"])).chain(parity).collect();
        assert_eq!(sent, expected, "{step}");
        assert_eq!(u64::from(sender.next_seqid()), number(&step["next_seqid"]), "{step}");
    }
}

fn follow(receiver: &mut FecReceiver, steps: &Value) {
    for (i, step) in cases(steps).iter().enumerate() {
        let got = recovered(receiver, &hex(&step["packet"]));
        let expected: Vec<Vec<u8>> = list(&step["recovered_shards"]).iter().map(hex).collect();
        assert_eq!(got, expected, "step {i}: {step}");
        assert_eq!(receiver.ratio(), ratio(step), "step {i}: {step}");
        assert_eq!(receiver.is_tuning(), step["tuning"] == true, "step {i}: {step}");
        assert_eq!(u64::from(receiver.newest_group()), number(&step["newest_group"]), "step {i}: {step}");
        assert_eq!(receiver.groups_held() as u64, number(&step["groups_held"]), "step {i}: {step}");
    }
}

#[test]
fn vectors_of_tuning_are_followed_step_by_step() {
    for run in cases(&kcp_load("fec")["autotune"]) {
        follow(&mut FecReceiver::new(pair(&run["receiver_start"]), Pool::new()).unwrap(), &run["steps"]);
    }
}

#[test]
fn vectors_of_expiry_are_followed_step_by_step() {
    let file = kcp_load("fec");
    let run = &file["expiry"];
    let start = ratio(&cases(&run["steps"])[0]);
    follow(&mut FecReceiver::new(start, Pool::new()).unwrap(), &run["steps"]);
}

#[test]
fn vectors_of_out_of_band_packets_are_understood() {
    for case in cases(&kcp_load("fec")["oob"]) {
        let bytes = hex(&case["packet"]);
        let packet = FecPacket::parse(&bytes).unwrap();
        assert_eq!((packet.seqid, packet.kind), (OOB_SEQID, PacketKind::OutOfBand));
        let payload = packet.payload().unwrap();
        assert_eq!(u64::from(u32::from_le_bytes(*payload.first_chunk().unwrap())), number(&case["conv"]));
        assert_eq!(payload[4..], hex(&case["payload"]));
    }
}

/// Figures that kcp-go's decoder takes are those that this side takes. (Above 256 its encoder silently uses another
/// code, which no decoder understands.)
#[test]
fn vectors_of_limits_agree() {
    for case in cases(&kcp_load("fec")["limits"]) {
        let figure = |name: &str| usize::try_from(case[name].as_i64().expect("a figure"));
        let accepted = match (figure("data_shards"), figure("parity_shards")) {
            (Ok(data), Ok(parity)) => FecRatio::new(data, parity).is_ok(),
            _ => false,
        };
        assert_eq!(accepted, case["decoder"] == true, "{case}");
    }
}

proptest! {
    /// A group counts as whole when all its data came, whatever became of its parity and of other groups.
    #[test]
    fn whole_groups_are_counted(
        data in 1..12usize, parity in 1..6usize, lost in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let ratio = FecRatio::new(data, parity).unwrap();
        let mut sender = FecSender::new(ratio).unwrap();
        let mut receiver = FecReceiver::new(ratio, Pool::new()).unwrap();
        let mut whole = 0;
        // The first group of a single packet has no parity; it is not looked at.
        send(&mut sender, 0, b"first");
        (1..data).for_each(|_| drop(send(&mut sender, 0, b"more")));
        for lost in lost {
            for place in 0..data {
                let packets = send(&mut sender, 0, &[place as u8; 20]);
                let skip = usize::from(lost && place == 0);
                let back: usize = packets[skip..].iter().map(|packet| recovered(&mut receiver, packet).len()).sum();
                // More parity than data brings back once more what had come already.
                prop_assert!(back > 0 || !lost || place + 1 < data);
            }
            whole += u64::from(!lost);
            prop_assert_eq!(receiver.whole_groups(), whole);
        }
    }
}

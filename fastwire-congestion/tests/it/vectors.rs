//! The recorded trace of the conservative controller, number for number.

use std::time::{Duration, Instant};

use fastwire_congestion::{
    Acked, Congestion, CongestionController, CongestionKind, Conservative, InFlight, PathInfo, RttSample,
    Window,
};
use fastwire_testkit::vectors;

#[test]
fn vectors_conservative() {
    let now = Instant::now();
    let mut controller = Conservative::new(&PathInfo::new(now, 1200));
    let behaviour = vectors::load("behaviour");
    let trace = behaviour["conservative"].as_array().expect("an array of operations");
    for (at, step) in trace.iter().enumerate() {
        let op = step["op"].as_str().expect("an operation");
        if let Some(packets) = op.strip_prefix("ack") {
            let packets: u32 = packets.parse().expect("a number of packets");
            let rtt = RttSample::first(Duration::from_millis(20));
            let bytes = u64::from(packets) * 1200;
            controller.on_acked(&Acked::new(now, packets, bytes, now, InFlight::NONE, rtt));
        } else {
            assert_eq!(op, "loss", "an operation this test does not know");
            controller.on_congestion(&Congestion::new(now, CongestionKind::Loss, 1, 1200, InFlight::NONE));
        }
        assert_eq!(controller.cwnd(), step["cwnd"].as_f64().expect("a number"), "after step {at}, {op}");
        let window = step["window"].as_u64().expect("a number of packets") as u32;
        assert_eq!(controller.window(), Window::of_packets(window), "after step {at}, {op}");
    }
    assert!(!trace.is_empty());
    println!("behaviour: {} steps of the conservative controller", trace.len());
}

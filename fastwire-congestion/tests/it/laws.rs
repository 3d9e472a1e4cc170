//! What the controllers do to a line and to each other, in the rig.

use std::time::Duration;

use fastwire_congestion::rig::{self, Change, Flow, Line, Loss, Report, Setup, Traffic};
use fastwire_congestion::{BuiltinControllers, CongestionMode, ControllerFactory, Cubic};

const RATE: u64 = 2_500_000; // 20 Mbit/s
const QUEUE: u64 = 64 * 1024;

fn line() -> Line {
    Line::new(RATE, Duration::from_millis(25), QUEUE)
}

fn flow(mode: CongestionMode) -> Flow {
    Flow::bulk(format!("{mode:?}"), move |path| BuiltinControllers::new(mode).make(path))
}

fn alone(mode: CongestionMode, line: Line, seconds: f64, seed: u64) -> Report {
    rig::run(Setup::new(line, Duration::from_secs_f64(seconds)).seed(seed).flow(flow(mode)))
}

#[test]
fn the_model_fills_a_lossy_line_with_a_short_queue() {
    for (loss, delay_ms) in [(0.0, 15), (0.01, 15), (0.05, 16), (0.1, 20)] {
        for seed in 1..=4 {
            let report = alone(CongestionMode::ModelBased, line().loss(Loss::Each(loss)), 30.0, seed);
            let (share, delay) = (report.utilisation(), report.queueing_delay(0.95));
            assert!(share >= 0.95, "{share} of the line at a loss of {loss}, seed {seed}");
            assert!(delay <= Duration::from_millis(delay_ms), "{delay:?} at a loss of {loss}, seed {seed}");
        }
    }
}

#[test]
fn losses_in_bursts_and_packets_that_overtake_do_not_slow_the_model() {
    for seed in 1..=4 {
        for line in [line().loss(Loss::Bursts(0.05, 3.0)), line().jitter(Duration::from_millis(5))] {
            let report = alone(CongestionMode::ModelBased, line, 30.0, seed);
            assert!(report.utilisation() >= 0.93, "{} over {line:?}, seed {seed}", report.utilisation());
        }
    }
}

#[test]
fn eight_mebibytes_cost_the_queue_few_drops() {
    for loss in [0.0, 0.01, 0.05, 0.1] {
        for seed in 1..=5 {
            let line = line().loss(Loss::Each(loss));
            let seconds = f64::from(8 << 20) / RATE as f64 / line.arriving();
            let report = alone(CongestionMode::ModelBased, line, seconds, seed);
            assert!(report.queue_drops() < 200, "{} at {loss}, seed {seed}", report.queue_drops());
            // From the first packet on: the start costs four round trips.
            assert!(report.utilisation() > 0.9, "{} at {loss}, seed {seed}", report.utilisation());
        }
    }
}

#[test]
fn flows_of_one_kind_share_evenly() {
    let between = |report: &Report| report.rates_between(Duration::from_secs(30), Duration::from_secs(60));
    for mode in [CongestionMode::ModelBased, CongestionMode::Cubic, CongestionMode::Conservative] {
        for seed in 1..=3 {
            let setup = Setup::new(line(), Duration::from_secs(60)).seed(seed);
            let later = Duration::from_millis(700 * seed);
            let report = rig::run(setup.flow(flow(mode)).flow(flow(mode).starts(later)));
            let rates = between(&report);
            let ratio = rates[0].min(rates[1]) / rates[0].max(rates[1]);
            assert!(ratio >= 0.75, "{mode:?}, seed {seed}: {rates:?}");
        }
    }
    let mut setup = Setup::new(line(), Duration::from_secs(60));
    for number in 0..4 {
        setup = setup.flow(flow(CongestionMode::ModelBased).starts(Duration::from_secs(number)));
    }
    let fairness = rig::run(setup).fairness_between(Duration::from_secs(30), Duration::from_secs(60));
    assert!(fairness > 0.95, "{fairness} among four");
}

#[test]
fn the_model_and_cubic_leave_each_other_a_third_at_least() {
    for queue in [QUEUE, 4 * QUEUE] {
        let line = Line::new(RATE, Duration::from_millis(25), queue);
        for later in [CongestionMode::Cubic, CongestionMode::Conservative] {
            let setup = Setup::new(line, Duration::from_secs(60)).flow(flow(CongestionMode::ModelBased));
            let report = rig::run(setup.flow(flow(later).starts(Duration::from_secs(2))));
            let rates = report.rates_between(Duration::from_secs(20), Duration::from_secs(60));
            assert!(
                rates.iter().all(|rate| *rate > RATE as f64 / 4.0),
                "{later:?}, {queue} bytes: {rates:?}"
            );
        }
    }
}

#[test]
fn a_faster_line_is_found_and_a_slower_one_believed() {
    let (half, double) = (RATE / 2, RATE * 2);
    let at = Duration::from_secs;
    for mode in [CongestionMode::ModelBased, CongestionMode::Cubic] {
        let setup = Setup::new(line(), at(40)).flow(flow(mode));
        let setup = setup.change(at(10), Change::Rate(double)).change(at(20), Change::Rate(half));
        let report = rig::run(setup.change(at(30), Change::Outage(Duration::from_secs(1))));
        let over = Duration::from_secs(1);
        for (since, rate, most) in [(10, double, 8), (20, half, 5), (31, half, 5)] {
            let took = report.time_to_reach(at(since), rate as f64 * 0.85, over);
            assert!(took.is_some_and(|took| took < at(most)), "{mode:?}: {took:?} after {since} s");
        }
    }
}

#[test]
fn a_game_is_never_held_back() {
    let every = Duration::from_micros(16_667);
    for delay_ms in [1, 25, 100, 250] {
        for loss in [0.0, 0.01, 0.1] {
            let line = Line::new(RATE, Duration::from_millis(delay_ms), QUEUE).loss(Loss::Each(loss));
            let game = flow(CongestionMode::ModelBased).traffic(Traffic::Messages { bytes: 240, every });
            let report = rig::run(Setup::new(line, Duration::from_secs(60)).flow(game));
            let flow = &report.flows[0];
            assert_eq!(flow.held_back, 0, "{delay_ms} ms, {loss} loss");
            assert!(flow.arrived / 240 > 3500, "{} messages", flow.arrived / 240);
        }
    }
}

#[test]
fn a_game_beside_a_bulk_of_its_own_kind_waits_little() {
    let every = Duration::from_micros(16_667);
    let game = flow(CongestionMode::ModelBased).traffic(Traffic::Messages { bytes: 240, every });
    let report = rig::run(
        Setup::new(line(), Duration::from_secs(30)).flow(flow(CongestionMode::ModelBased)).flow(game),
    );
    assert!(report.queueing_delay(0.95) < Duration::from_millis(15), "{:?}", report.queueing_delay(0.95));
    assert_eq!(report.flows[1].held_back, 0);
}

#[test]
fn hystart_leaves_slow_start_before_a_deep_queue_overflows() {
    let deep = Line::new(RATE, Duration::from_millis(25), 2 << 20);
    for datagram in [1200, 1452] {
        let setup = Setup::new(deep, Duration::from_secs(4)).datagram(datagram);
        let report = rig::run(setup.flow(Flow::bulk("cubic", Cubic::new)));
        assert_eq!(report.queue_drops(), 0);
        // Doubling each round trip, the window would have passed the queue's size within the first second.
        let most = report.moments.iter().filter_map(|moment| moment.windows[0].bytes).max().unwrap_or(0);
        assert!(most < (3 << 20) / 2, "a window of {most}");
        assert!(report.utilisation() > 0.85, "{}", report.utilisation());
    }
}

#[test]
fn cubic_fills_a_clean_line() {
    let report = alone(CongestionMode::Cubic, line(), 30.0, 1);
    assert!(report.utilisation() > 0.95, "{}", report.utilisation());
}

#[test]
fn the_same_setup_gives_the_same_report() {
    for mode in [CongestionMode::ModelBased, CongestionMode::Cubic, CongestionMode::Conservative] {
        let line = line().loss(Loss::Each(0.02)).jitter(Duration::from_millis(3));
        let play = |seed| alone(mode, line, 3.0, seed);
        assert_eq!(play(7), play(7));
        assert_ne!(play(7), play(8));
    }
}

//! Two cores and a bad line between them, in virtual time: what holds for either timing, and what prompt timing adds.

use fastwire_kcp::core::{Command, Config, HEADER_LEN, Header, Kcp, NoDelay, Origin, Pacing, Timing};
use proptest::prelude::*;

/// A line with a delay in ms, which loses and delays by a seed.
struct Line {
    delay: u32,
    loss_percent: u32,
    late_percent: u32,
    state: u64,
    /// (arrival, datagram), unordered.
    under_way: Vec<(u32, Vec<u8>)>,
}

impl Line {
    fn new(delay: u32, loss_percent: u32, late_percent: u32, seed: u64) -> Self {
        Self { delay, loss_percent, late_percent, state: seed, under_way: Vec::new() }
    }

    fn chance(&mut self, percent: u32) -> bool {
        // Knuth's MMIX generator; the high bits are the good ones.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % 100 < u64::from(percent)
    }

    fn send(&mut self, now: u32, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams {
            if self.chance(self.loss_percent) {
                continue;
            }
            let late = if self.chance(self.late_percent) { self.delay } else { 0 };
            self.under_way.push((now + self.delay + late, datagram));
        }
    }

    fn arrive(&mut self, now: u32) -> Vec<Vec<u8>> {
        let (arrived, rest) = std::mem::take(&mut self.under_way).into_iter().partition(|(at, _)| *at <= now);
        self.under_way = rest;
        let mut arrived: Vec<(u32, Vec<u8>)> = arrived;
        arrived.sort_by_key(|(at, _)| *at);
        arrived.into_iter().map(|(_, datagram)| datagram).collect()
    }
}

fn update(kcp: &mut Kcp, now: u32, mtu: usize) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    kcp.update(now, &mut out);
    assert!(out.iter().all(|datagram| (HEADER_LEN..=mtu).contains(&datagram.len())));
    out
}

fn timing() -> impl Strategy<Value = Timing> {
    prop_oneof![Just(Timing::Classic), Just(Timing::Prompt)]
}

fn nodelay() -> impl Strategy<Value = NoDelay> {
    (0..3u32, 10..60u32, 0..4u32, any::<bool>()).prop_map(|(level, interval, resend, congestion)| NoDelay {
        level,
        interval,
        resend,
        congestion,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every message arrives once, whole and in order, from either timing to either, and the run ends.
    #[test]
    fn messages_arrive_exactly_once_and_in_order(
        timings in (timing(), timing()), nodelay in nodelay(), pacing in prop_oneof![Just(Pacing::Off), Just(Pacing::Auto)],
        lengths in prop::collection::vec(0..4000usize, 1..60),
        // The classic back-off doubles without end: with much more loss, some run would take days.
        loss in 0..15u32, late in 0..50u32, delay in 0..80u32, seed: u64,
        stream: bool, ack_no_delay: bool, write_delay: bool, starts: (u32, u32),
    ) {
        let config = Config { nodelay, pacing, stream, ack_no_delay, write_delay, mtu: 500, ..Config::default() };
        let mut a = Kcp::new(7, Config { timing: timings.0, ..config });
        let mut b = Kcp::new(7, Config { timing: timings.1, ..config });
        a.start_at(starts.0, starts.1);
        b.start_at(starts.1, starts.0);
        let (mut there, mut back) = (Line::new(delay, loss, late, seed), Line::new(delay, loss, late, !seed));
        let messages: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(i, &len)| (0..len).map(|j| (i * 31 + j) as u8).collect()).collect();
        for message in &messages {
            a.send(message).unwrap();
        }
        let mut received: Vec<Vec<u8>> = Vec::new();
        let mut buffer = vec![0; 5000];
        let wanted = messages.concat();
        let mut count = 0;
        let mut now = 0;
        while count < wanted.len() || a.waiting() > 0 || !stream && received.len() < messages.len() {
            there.send(now, update(&mut a, now, 500));
            back.send(now, update(&mut b, now, 500));
            now += 1;
            there.arrive(now).iter().for_each(|datagram| b.input(now, datagram, Origin::Direct).unwrap());
            back.arrive(now).iter().for_each(|datagram| a.input(now, datagram, Origin::Direct).unwrap());
            while let Ok(len) = b.recv(&mut buffer) {
                received.push(buffer[..len].to_vec());
                count += len;
            }
            prop_assert!(now < 10_000_000, "the run does not end");
        }
        if stream {
            prop_assert!(received.concat() == wanted);
        } else {
            prop_assert!(received == messages);
        }
        prop_assert!(!a.is_dead() || loss > 0);
    }
}

fn prompt(config: Config) -> (Kcp, Kcp) {
    (Kcp::new(7, config), Kcp::new(7, config))
}

fn headers(datagrams: &[Vec<u8>]) -> Vec<Header> {
    let mut headers = Vec::new();
    for datagram in datagrams {
        let mut rest = &datagram[..];
        while let Some((head, tail)) = rest.split_first_chunk() {
            let header = Header::decode(head).unwrap();
            rest = &tail[header.len as usize..];
            headers.push(header);
        }
    }
    headers
}

/// A segment that comes again was not heard to be acknowledged: under prompt timing it is answered at once and once more an interval
/// later, unless something else says the same meanwhile. A copy that the network made, or the peer, is no such sign.
#[test]
fn what_comes_again_is_answered_twice() {
    let push = |ts| {
        let header =
            Header { conv: 7, cmd: Command::Push, frg: 0, wnd: 32, ts, sn: 0, una: 0, len: 0 }.encode();
        header.to_vec()
    };
    for (timing, again, says_more) in [
        (Timing::Prompt, true, false),
        (Timing::Prompt, true, true),
        (Timing::Prompt, false, false),
        (Timing::Classic, true, false),
    ] {
        let nodelay = NoDelay { interval: 40, ..NoDelay::FAST3 };
        let mut kcp = Kcp::new(7, Config { timing, nodelay, ..Config::default() });
        update(&mut kcp, 0, 1400);
        kcp.input(0, &push(0), Origin::Direct).unwrap();
        update(&mut kcp, 40, 1400);
        kcp.input(200, &push(if again { 200 } else { 0 }), Origin::Direct).unwrap();
        let answers = headers(&update(&mut kcp, 200, 1400));
        assert_eq!((answers.len(), answers[0].cmd, answers[0].una), (1, Command::Ack, 1));
        if says_more {
            kcp.send(b"x").unwrap();
            assert_eq!(headers(&update(&mut kcp, 210, 1400))[0].una, 1);
        }
        assert!(update(&mut kcp, 239, 1400).is_empty() || says_more);
        let later = headers(&update(&mut kcp, 240, 1400));
        let expected = timing == Timing::Prompt && again && !says_more;
        let told = later.iter().filter(|header| header.cmd == Command::Wins && header.una == 1);
        assert_eq!(told.count(), usize::from(expected), "{timing:?} {again} {says_more}: {later:?}");
        assert!(headers(&update(&mut kcp, 280, 1400)).iter().all(|header| header.cmd == Command::Push));
    }
}

#[test]
fn an_idle_session_has_no_next_event() {
    let (mut a, mut b) = prompt(Config::default());
    assert_eq!(a.check(0), None);
    a.send(b"x").unwrap();
    assert_eq!(a.check(0), Some(0));
    let out = update(&mut a, 0, 1400);
    assert!(a.check(0).is_some_and(|wait| wait > 0), "a resend is due some time");
    b.input(5, &out[0], Origin::Direct).unwrap();
    let acks = update(&mut b, 5, 1400);
    a.input(10, &acks[0], Origin::Direct).unwrap();
    assert_eq!((a.check(10), b.check(10)), (None, None));
    assert!(update(&mut a, 1_000_000, 1400).is_empty());
}

#[test]
fn one_acknowledgement_answers_a_batch_in_order() {
    let (mut a, mut b) = prompt(Config { snd_wnd: 64, nodelay: NoDelay::FAST3, ..Config::default() });
    for _ in 0..40 {
        a.send(&[1; 1000]).unwrap();
    }
    let batch = update(&mut a, 0, 1400);
    assert_eq!(batch.len(), 40);
    batch.iter().for_each(|datagram| b.input(3, datagram, Origin::Direct).unwrap());
    let answer = headers(&update(&mut b, 3, 1400));
    assert_eq!(answer.len(), 1);
    assert_eq!((answer[0].cmd, answer[0].sn, answer[0].una), (Command::Ack, 39, 40));
    assert!(update(&mut b, 4, 1400).is_empty());
}

#[test]
fn a_gap_is_filled_without_waiting_for_the_timeout() {
    let (mut a, mut b) = prompt(Config { nodelay: NoDelay::FAST3, ..Config::default() });
    for _ in 0..5 {
        a.send(&[1; 1000]).unwrap();
    }
    let batch = update(&mut a, 0, 1400);
    batch[1..].iter().for_each(|datagram| b.input(20, datagram, Origin::Direct).unwrap());
    update(&mut b, 20, 1400).iter().for_each(|datagram| a.input(40, datagram, Origin::Direct).unwrap());
    assert_eq!(a.check(40), Some(0));
    let again = headers(&update(&mut a, 40, 1400));
    assert_eq!(again.iter().map(|header| header.sn).collect::<Vec<_>>(), [0]);
    assert_eq!(a.stats().fast, 1);
    assert_eq!(a.stats().lost, 0);
}

#[test]
fn a_reader_that_catches_up_tells_so_unasked() {
    let (mut a, mut b) =
        prompt(Config { snd_wnd: 300, rcv_wnd: 128, nodelay: NoDelay::FAST3, ..Config::default() });
    for _ in 0..128 {
        a.send(&[1; 100]).unwrap();
    }
    update(&mut a, 0, 1400).iter().for_each(|datagram| b.input(1, datagram, Origin::Direct).unwrap());
    assert_eq!(headers(&update(&mut b, 1, 1400)).last().map(|header| header.wnd), Some(0));
    for _ in 0..64 {
        assert_eq!(b.read(&mut [0; 100]), 100);
    }
    let told = headers(&update(&mut b, 2, 1400));
    assert!(told.iter().any(|header| header.cmd == Command::Wins && header.wnd == 64), "{told:?}");
}

#[test]
fn pacing_keeps_to_its_rate() {
    let rate = 100_000;
    let nodelay = NoDelay::FAST3;
    let (mut a, mut b) = prompt(Config {
        snd_wnd: 1024,
        rcv_wnd: 1024,
        nodelay,
        pacing: Pacing::Rate(rate),
        ..Config::default()
    });
    for _ in 0..1000 {
        a.send(&[1; 1000]).unwrap();
    }
    let (mut received, mut now) = (0, 0);
    while received < 1_000_000 {
        update(&mut a, now, 1400).iter().for_each(|datagram| b.input(now, datagram, Origin::Direct).unwrap());
        update(&mut b, now, 1400).iter().for_each(|datagram| a.input(now, datagram, Origin::Direct).unwrap());
        let mut buffer = [0; 1000];
        while b.read(&mut buffer) > 0 {
            received += 1000;
        }
        now += a.check(now).unwrap_or(1).max(1);
    }
    // A burst of 96 000 bytes is allowed at once.
    assert!((8_900..10_500).contains(&now), "{now} ms for 1 MB at 100 kB/s");
}

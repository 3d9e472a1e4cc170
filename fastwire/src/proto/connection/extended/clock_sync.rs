//! A client's idea of its server's clock: asked now and then, steered smoothly (PROTOCOL B5, Clock).
//!
//! One exchange bounds the offset by half its round trip, as in NTP (RFC 5905 §8). The exchange with the shortest round trip among
//! the newest few knows best, the longer ago the less so: clocks drift.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Exchanges remembered.
const KEPT: usize = 8;
/// The first exchanges follow each other so fast, until there are enough to choose from; then each [`INTERVAL`].
const EAGER: Duration = Duration::from_millis(250);
const EAGER_COUNT: u32 = 4;
const INTERVAL: Duration = Duration::from_secs(5);
/// How fast two clocks may drift apart, in parts of a million: quartz is better, and what is not known is added to the error.
const DRIFT_PPM: i64 = 100;
/// How fast the shown time is steered, in parts of a million: it never runs backwards and never runs more than this too fast.
const SLEW_PPM: i64 = 5_000;
/// A larger error is not steered but corrected at once: 250 ms.
const STEP: i64 = 250_000;

/// Time of a server's clock as a client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerTime {
    /// Time since the server's endpoint began.
    pub time: Duration,
    /// How far off that may be, unless the way there is longer than the way back by more than that.
    pub error: Duration,
}

impl ServerTime {
    /// What this is so much later, if nobody looks at the clock in between: it may have drifted, and been steered.
    pub(crate) fn after(self, time: Duration) -> Self {
        let off = time.as_micros().saturating_mul((DRIFT_PPM + SLEW_PPM) as u128) / 1_000_000;
        let off = Duration::from_micros(u64::try_from(off).unwrap_or(u64::MAX));
        Self { time: self.time.saturating_add(time), error: self.error.saturating_add(off) }
    }
}

/// One exchange, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    at: i64,
    /// Server's time less ours.
    offset: i64,
    /// Half the round trip, and what the clocks may drift apart in it.
    error: i64,
}

impl Exchange {
    fn error_at(&self, now: i64) -> i64 {
        self.error + (now - self.at).max(0) * DRIFT_PPM / 1_000_000
    }
}

/// What is shown, from the newest answer to the next.
#[derive(Debug, Clone, Copy)]
struct Shown {
    /// When the newest answer arrived, and the offset that was shown at that moment.
    since: i64,
    begin: i64,
    /// What is steered towards. It is chosen once an answer: errors that grow alike must not change places by their rounding, for the
    /// time shown would jump with them.
    best: Exchange,
}

impl Shown {
    /// On its way from where it was to what is best known.
    fn offset(&self, now: i64) -> i64 {
        let most = (now - self.since).max(0) * SLEW_PPM / 1_000_000;
        self.begin + (self.best.offset - self.begin).clamp(-most, most)
    }
}

/// The client's side: when to ask, what was asked, what the answers come to.
#[derive(Debug)]
pub(super) struct ClockSync {
    /// In the endpoint's time; all else is in that of its shell.
    next_ask: Instant,
    asked: u32,
    /// Questions under way: their marks and when they left.
    open: VecDeque<(u32, i64)>,
    exchanges: VecDeque<Exchange>,
    shown: Option<Shown>,
}

impl ClockSync {
    pub(super) fn new(now: Instant) -> Self {
        Self { next_ask: now, asked: 0, open: VecDeque::new(), exchanges: VecDeque::new(), shown: None }
    }

    pub(super) fn due(&self, now: Instant) -> bool {
        now >= self.next_ask
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.next_ask
    }

    /// A question leaves at `now`, our own clock being at `uptime`; gives its mark.
    pub(super) fn ask(&mut self, now: Instant, uptime: Duration) -> u32 {
        self.asked = self.asked.wrapping_add(1);
        let eager = self.asked < EAGER_COUNT;
        self.next_ask = now + if eager { EAGER } else { INTERVAL };
        if self.open.len() == KEPT {
            self.open.pop_front();
        }
        self.open.push_back((self.asked, micros(uptime)));
        self.asked
    }

    /// The answer to the question `mark`: the server's time in microseconds when it answered.
    pub(super) fn on_answer(&mut self, mark: u32, server: u64, uptime: Duration) {
        let Some(index) = self.open.iter().position(|(open, _)| *open == mark) else { return };
        let Some((_, sent)) = self.open.remove(index) else { return };
        let received = micros(uptime);
        let Ok(server) = i64::try_from(server) else { return };
        let exchange = Exchange {
            at: received,
            offset: server.min(i64::MAX / 4).saturating_sub(sent + (received - sent) / 2),
            error: (received - sent) / 2 + (received - sent) * DRIFT_PPM / 1_000_000 + 1,
        };
        if self.exchanges.len() == KEPT {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(exchange);
        let best = self
            .exchanges
            .iter()
            .min_by_key(|exchange| exchange.error_at(received))
            .copied()
            .unwrap_or(exchange);
        // What was shown so far is where steering starts from.
        let before = self.shown.map(|shown| shown.offset(received));
        let begin = before.filter(|offset| (best.offset - offset).abs() <= STEP).unwrap_or(best.offset);
        self.shown = Some(Shown { since: received, begin, best });
    }

    /// The path changed: a question that went the old way and is answered the new one would mislead.
    pub(super) fn on_moved(&mut self) {
        self.open.clear();
    }

    /// The server's time; `None` before the first answer.
    pub(super) fn server_time(&self, uptime: Duration) -> Option<ServerTime> {
        let now = micros(uptime);
        let shown = self.shown.as_ref()?;
        let offset = shown.offset(now);
        let error = shown.best.error_at(now) + (shown.best.offset - offset).abs();
        Some(ServerTime {
            time: Duration::from_micros(u64::try_from(now.saturating_add(offset)).unwrap_or(0)),
            error: Duration::from_micros(u64::try_from(error).unwrap_or(0)),
        })
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    proptest! {
        /// Whatever the line does, the true time lies within the error, and what is shown never runs backwards unless the two errors
        /// leave room for a step.
        #[test]
        fn the_true_time_lies_within_the_error(
            ahead in 0..10_000_000i64,
            delays in proptest::collection::vec((0..400u64, 0..400u64), 1..60),
            drift in -50..50i64,
        ) {
            let start = Instant::now();
            let truth = |own: Duration| ahead + micros(own) + micros(own) * drift / 1_000_000;
            let mut sync = ClockSync::new(start);
            let mut own = Duration::ZERO;
            let mut last: Option<ServerTime> = None;
            for (there, back) in delays {
                own = own.max(sync.next_deadline().saturating_duration_since(start));
                let mark = sync.ask(start + own, own);
                let told = truth(own + MS(there));
                own += MS(there + back);
                sync.on_answer(mark, told as u64, own);
                for later in [0, 100, 1000] {
                    let at = own + MS(later);
                    let shown = sync.server_time(at).expect("answered");
                    let off = (micros(shown.time) - truth(at)).abs();
                    prop_assert!(off <= micros(shown.error) + 2, "off by {off} µs: {shown:?}");
                    // Both intervals hold the true time, and the older has grown by 0.6 ms at most since.
                    let may_step = |last: ServerTime| micros(last.error + shown.error) + 1_000 > STEP;
                    prop_assert!(last.is_none_or(|last| shown.time >= last.time || may_step(last)), "{last:?} then {shown:?}");
                    last = Some(shown);
                }
                own += MS(1000);
            }
        }
    }

    #[test]
    fn answers_to_nothing_and_copies_change_nothing() {
        let mut sync = ClockSync::new(Instant::now());
        sync.on_answer(1, 77, MS(0));
        assert_eq!(sync.server_time(MS(0)), None);
        let mark = sync.ask(Instant::now(), MS(0));
        sync.on_answer(mark, 1_000_000, MS(20));
        let shown = sync.server_time(MS(20)).expect("answered");
        assert_eq!((shown.time, shown.error), (MS(1010), Duration::from_micros(10_003)));
        sync.on_answer(mark, 9_000_000, MS(20));
        sync.on_answer(mark + 1, 9_000_000, MS(20));
        assert_eq!(sync.server_time(MS(20)), Some(shown));
        // No number of a server's choosing does harm.
        for time in [u64::MAX, i64::MAX as u64, 0] {
            let mark = sync.ask(Instant::now(), MS(30));
            sync.on_answer(mark, time, MS(31));
            assert!(sync.server_time(MS(40)).is_some());
        }
    }

    #[test]
    fn a_small_correction_is_steered_and_a_large_one_made_at_once() {
        let (now, mut sync) = (Instant::now(), ClockSync::new(Instant::now()));
        let mark = sync.ask(now, MS(0));
        sync.on_answer(mark, 10_000_000, MS(200));
        // A better exchange says that we are 50 ms behind: 10.1 s at 200 ms was believed.
        let mark = sync.ask(now, MS(1000));
        sync.on_answer(mark, 10_901_000 + 50_000, MS(1002));
        let behind = |sync: &ClockSync, own: Duration| {
            10_951_000 + micros(own) - 1_001_000 - micros(sync.server_time(own).expect("answered").time)
        };
        assert_eq!(behind(&sync, MS(1002)), 50_000);
        assert_eq!(behind(&sync, MS(3002)), 40_000, "5 ms a second");
        assert_eq!(behind(&sync, MS(60_000)), 0);
        let mark = sync.ask(now, MS(60_000));
        sync.on_answer(mark, 90_000_000, MS(60_000));
        assert_eq!(sync.server_time(MS(60_000)).expect("answered").time, MS(90_000));
    }
}

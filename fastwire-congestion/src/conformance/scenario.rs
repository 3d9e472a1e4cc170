//! The event sequences: a plausible sender, arbitrary orders, clocks that step back, numbers at their ends.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Law;
use super::probe::{Broken, Event, Make, Probe, exceeds};
use crate::{
    Acked, AppLimited, Congestion, CongestionKind, InFlight, Lost, PathChange, PathInfo, RttSample, Sent,
    Spurious, Window,
};

const STEPS: u64 = 300;
/// Clean round trips in which a window must have recovered.
const RECOVERY_ROUNDS: u64 = 200;
/// A window of so many packets has recovered, however large the initial one was.
const RECOVERED: u32 = 64;
/// Packets that the model of a sender keeps on its way at most.
const MOST_IN_FLIGHT: usize = 128;

pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The law that a failure here is a failure of; `None` names whichever broke.
    pub(super) about: Option<Law>,
    play: fn(&Make<'_>, Instant, &mut Dice, &mut u64) -> Result<(), Broken>,
}

impl Scenario {
    pub(super) fn play(
        &self,
        make: &Make<'_>,
        origin: Instant,
        sequence: u64,
        step: &mut u64,
    ) -> Result<(), Broken> {
        (self.play)(make, origin, &mut Dice(sequence), step)
    }
}

/// From the ordinary to the extreme, so that a failure is reported in its plainest form.
pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "a sender on a lossy path", about: None, play: plausible },
    Scenario { name: "events in any order", about: None, play: any_order },
    Scenario { name: "persistent congestion, then a clean path", about: None, play: recovery },
    Scenario { name: "a clock that steps back", about: Some(Law::ClockBackwards), play: clock_backwards },
    Scenario { name: "numbers at the ends of their range", about: Some(Law::ExtremeValues), play: extremes },
];

/// SplitMix64 (Steele, Lea and Flood 2014): small, and the same everywhere.
pub(super) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..n`.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }

    fn path(&mut self, now: Instant) -> PathInfo {
        let mtu = [1200, 1452, 9000][self.below(3) as usize];
        PathInfo::new(now, mtu)
    }

    fn kind(&mut self) -> CongestionKind {
        [CongestionKind::Loss, CongestionKind::Ecn, CongestionKind::Persistent][self.below(3) as usize]
    }
}

/// A sender that keeps to its quota on a path of fixed round trip with random loss.
fn plausible(make: &Make<'_>, origin: Instant, dice: &mut Dice, step: &mut u64) -> Result<(), Broken> {
    let path = dice.path(origin);
    let rtt = Duration::from_millis(1 + dice.below(300));
    let loss_one_in = 2 + dice.below(100);
    let mut sender = Sender::new(make, &path, rtt)?;
    while *step < STEPS {
        let app_limited = dice.one_in(4);
        let burst = if app_limited { 1 } else { MOST_IN_FLIGHT };
        sender.send(burst, step)?;
        if app_limited {
            sender.tell(Event::AppLimited(AppLimited::new(sender.now, sender.in_flight())), step)?;
        }
        sender.wait();
        let lost = sender.flight.len() / 2 * usize::from(dice.one_in(loss_one_in));
        if lost > 0 {
            let kind = if dice.one_in(8) { CongestionKind::Persistent } else { CongestionKind::Loss };
            sender.lose(lost, kind, step)?;
            if dice.one_in(4) {
                sender.tell(
                    Event::Spurious(Spurious::new(sender.now, lost as u32, lost as u64 * sender.bytes)),
                    step,
                )?;
            }
        }
        let acked = 1 + dice.below(sender.flight.len().max(1) as u64) as usize;
        sender.acknowledge(acked, app_limited, step)?;
        if dice.one_in(32) {
            sender.change_path(&dice.path(sender.now), step)?;
        }
    }
    Ok(())
}

/// Round trips without loss after the worst event there is.
fn recovery(make: &Make<'_>, origin: Instant, dice: &mut Dice, step: &mut u64) -> Result<(), Broken> {
    let path = dice.path(origin);
    let mut sender = Sender::new(make, &path, Duration::from_millis(1 + dice.below(300)))?;
    let start = sender.probe.window();
    let goal = Window {
        packets: start.packets.map(|packets| packets.min(RECOVERED)),
        bytes: start.bytes.map(|bytes| bytes.min(u64::from(RECOVERED) * sender.bytes)),
    };
    for _ in 0..dice.below(20) {
        sender.round(step)?;
    }
    sender.send(MOST_IN_FLIGHT, step)?;
    sender.wait();
    sender.lose(sender.flight.len(), CongestionKind::Persistent, step)?;
    for _ in 0..RECOVERY_ROUNDS {
        sender.round(step)?;
    }
    let end = sender.probe.window();
    if exceeds(goal, end) {
        return Err((
            Law::Recovers,
            format!("{end:?} after {RECOVERY_ROUNDS} clean round trips, expected {goal:?}"),
        ));
    }
    Ok(())
}

/// Numbers and order that no sender would show, on a clock that runs forward.
fn any_order(make: &Make<'_>, origin: Instant, dice: &mut Dice, step: &mut u64) -> Result<(), Broken> {
    disorder(make, origin, dice, step, |dice, now| now + dice.millis(50), |dice| dice.below(100_000))
}

fn clock_backwards(make: &Make<'_>, origin: Instant, dice: &mut Dice, step: &mut u64) -> Result<(), Broken> {
    let floor = origin - Duration::from_secs(1800);
    let jump = move |dice: &mut Dice, now: Instant| match dice.below(4) {
        0 => (now - dice.millis(600_000)).max(floor),
        _ => now + dice.millis(50),
    };
    disorder(make, origin, dice, step, jump, |dice| dice.below(100_000))
}

fn extremes(make: &Make<'_>, origin: Instant, dice: &mut Dice, step: &mut u64) -> Result<(), Broken> {
    let number =
        |dice: &mut Dice| [0, 1, u64::MAX, u64::MAX - 1, u64::from(u32::MAX), 1200][dice.below(6) as usize];
    let jump =
        |dice: &mut Dice, now: Instant| if dice.one_in(20) { now + Duration::from_secs(3600) } else { now };
    disorder(make, origin, dice, step, jump, number)
}

/// Arbitrary events with numbers from `number` at times from `jump`.
fn disorder(
    make: &Make<'_>,
    origin: Instant,
    dice: &mut Dice,
    step: &mut u64,
    jump: impl Fn(&mut Dice, Instant) -> Instant,
    number: impl Fn(&mut Dice) -> u64,
) -> Result<(), Broken> {
    let mut now = origin;
    let mut probe = Probe::new(make, &dice.path(now))?;
    while *step < STEPS {
        now = jump(dice, now);
        let bytes = number(dice);
        let packets = u32::try_from(number(dice)).unwrap_or(u32::MAX);
        let in_flight = InFlight::new(u32::try_from(number(dice)).unwrap_or(u32::MAX), number(dice));
        let event = match dice.below(17) {
            0..=4 => Event::Sent(Sent::new(now, bytes, in_flight)),
            5..=9 => {
                // No estimate above an hour: retransmission timeouts are bounded far below that.
                let mut time = || Duration::from_nanos(number(dice)).min(Duration::from_secs(3600));
                let rtt = RttSample { latest: time(), smoothed: time(), var: time(), min: time() };
                let sent_at = if dice.one_in(2) { now } else { origin };
                let acked = Acked::new(now, packets, bytes, sent_at, in_flight, rtt);
                Event::Acked(acked.with_app_limited(dice.one_in(3)))
            }
            10 => Event::Lost(Lost::new(now, packets, bytes, in_flight)),
            11 | 12 => Event::Congestion(Congestion::new(now, dice.kind(), packets, bytes, in_flight)),
            13 => Event::Spurious(Spurious::new(now, packets, bytes)),
            14 => Event::Mtu(dice.path(now).mtu),
            15 => Event::AppLimited(AppLimited::new(now, in_flight)),
            _ => Event::PathChange(PathChange::new(dice.path(now))),
        };
        probe.tell(event, now, in_flight)?;
        *step += 1;
    }
    Ok(())
}

/// A model of a sender: packets of one size, acknowledged or lost from the oldest on.
struct Sender<'m, 'a> {
    probe: Probe<'m, 'a>,
    now: Instant,
    rtt: Duration,
    bytes: u64,
    /// When each packet in flight left, oldest first.
    flight: VecDeque<Instant>,
}

impl<'m, 'a> Sender<'m, 'a> {
    fn new(make: &'m Make<'a>, path: &PathInfo, rtt: Duration) -> Result<Self, Broken> {
        let probe = Probe::new(make, path)?;
        Ok(Self { probe, now: path.now, rtt, bytes: u64::from(path.mtu), flight: VecDeque::new() })
    }

    fn in_flight(&self) -> InFlight {
        InFlight::new(self.flight.len() as u32, self.flight.len() as u64 * self.bytes)
    }

    fn tell(&mut self, event: Event, step: &mut u64) -> Result<(), Broken> {
        let in_flight = self.in_flight();
        self.probe.tell(event, self.now, in_flight)?;
        *step += 1;
        Ok(())
    }

    fn send(&mut self, burst: usize, step: &mut u64) -> Result<(), Broken> {
        for _ in 0..burst {
            let full = self.flight.len() >= MOST_IN_FLIGHT;
            if full || !self.probe.quota(self.now, self.in_flight()).allows(self.bytes) {
                break;
            }
            self.flight.push_back(self.now);
            self.tell(Event::Sent(Sent::new(self.now, self.bytes, self.in_flight())), step)?;
        }
        Ok(())
    }

    fn wait(&mut self) {
        self.now += self.rtt;
    }

    fn take(&mut self, packets: usize) -> Option<Instant> {
        let packets = packets.min(self.flight.len());
        self.flight.drain(..packets).next_back()
    }

    fn acknowledge(&mut self, packets: usize, app_limited: bool, step: &mut u64) -> Result<(), Broken> {
        let packets = packets.min(self.flight.len());
        if let Some(newest) = self.take(packets) {
            let (rtt, bytes) = (RttSample::first(self.rtt), packets as u64 * self.bytes);
            let acked = Acked::new(self.now, packets as u32, bytes, newest, self.in_flight(), rtt);
            self.tell(Event::Acked(acked.with_app_limited(app_limited)), step)?;
        }
        Ok(())
    }

    fn lose(&mut self, packets: usize, kind: CongestionKind, step: &mut u64) -> Result<(), Broken> {
        let packets = packets.min(self.flight.len());
        self.take(packets);
        let (count, bytes) = (packets as u32, packets as u64 * self.bytes);
        self.tell(Event::Lost(Lost::new(self.now, count, bytes, self.in_flight())), step)?;
        self.tell(Event::Congestion(Congestion::new(self.now, kind, count, bytes, self.in_flight())), step)
    }

    /// One clean round trip with the window in full use.
    fn round(&mut self, step: &mut u64) -> Result<(), Broken> {
        self.send(MOST_IN_FLIGHT, step)?;
        self.wait();
        self.acknowledge(MOST_IN_FLIGHT, false, step)
    }

    fn change_path(&mut self, path: &PathInfo, step: &mut u64) -> Result<(), Broken> {
        self.bytes = u64::from(path.mtu);
        self.tell(Event::PathChange(PathChange::new(*path)), step)
    }
}

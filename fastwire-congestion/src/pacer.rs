//! Spreads datagrams over time at a controller's rate: a token bucket that lets them go in small trains.

use std::time::{Duration, Instant};

/// A train is about what the rate sends in this time: short enough to be no burst to a bottleneck of the same rate.
const QUANTUM: Duration = Duration::from_millis(1);
/// The least and the most datagrams of a train. Two, because acknowledgements come for two; 64, because that is what
/// one call with segmentation offload takes.
const QUANTUM_DATAGRAMS: (u64, u64) = (2, 64);
/// What may leave at once after a pause, in datagrams: the initial window of RFC 9002 §7.2 and §7.7.
const BURST_DATAGRAMS: u64 = 10;
/// A sender that waited for the pacer and comes back within this time makes up for all of it; later, it has paused. A
/// little over one tick of a loop that runs 30 times a second, so that a game loop does not lower the rate.
const LATENESS: Duration = Duration::from_millis(35);

/// When datagrams may leave at a given rate.
///
/// Tokens are bytes. They grow with time at the rate and are spent by what leaves. A sender that has used them up
/// waits until a whole *train* is there, which is about 1 ms of the rate and between 2 and 64 datagrams: small enough
/// not to fill a queue, long enough for segmentation offload at speed. After a pause, 10 datagrams (or a train, if
/// that is more) may leave at once. A sender that comes late to a release it waited for, because a timer or a game
/// loop is coarse, makes up for up to 35 ms, so that its rate does not suffer.
///
/// ```
/// use std::time::{Duration, Instant};
/// use fastwire_congestion::Pacer;
///
/// let mut now = Instant::now();
/// let mut pacer = Pacer::new(now);
/// let (rate, mtu) = (Some(1_200_000), 1200); // a datagram a millisecond
/// let mut sent = 0;
/// for _ in 0..1000 {
///     while pacer.allowance(now, rate, mtu) >= 1200 {
///         pacer.on_sent(now, 1200);
///         sent += 1;
///     }
///     now = pacer.next_release(now, rate, mtu).expect("the pacer is the limit");
/// }
/// assert_eq!(sent, 10 + 999 * 2);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    /// When `tokens` were counted.
    counted: Instant,
    /// Bytes that may leave. Below zero after a datagram larger than what was left. `None` before the first call,
    /// which starts with a full burst.
    tokens: Option<f64>,
    /// The sender used up what was there and waits for the next train.
    waiting: bool,
    /// What the largest datagram took when the tokens were last counted.
    mtu: f64,
}

impl Pacer {
    /// A pacer that lets a full burst go at first.
    pub const fn new(now: Instant) -> Self {
        Self { counted: now, tokens: None, waiting: false, mtu: 1200.0 }
    }

    /// How many bytes may leave at `now`, at `rate` bytes a second, with datagrams of up to `mtu` bytes. 0 while a
    /// train is still gathering, at least `mtu` otherwise; `u64::MAX` without a rate, as
    /// [`pacing_rate`](crate::CongestionController::pacing_rate) answers where nothing is to be paced.
    pub fn allowance(&mut self, now: Instant, rate: Option<u64>, mtu: u16) -> u64 {
        let Some(rate) = rate else {
            self.tokens = None;
            self.waiting = false;
            return u64::MAX;
        };
        self.mtu = f64::from(mtu.max(1));
        let tokens = self.count(now, rate);
        if tokens < self.threshold(rate) {
            self.waiting = true;
            return 0;
        }
        self.waiting = false;
        tokens as u64
    }

    /// A datagram of `bytes` left at `now`. More than the allowance may be told (probes do not wait); it is a debt.
    pub fn on_sent(&mut self, now: Instant, bytes: u64) {
        self.counted = self.counted.max(now);
        if let Some(tokens) = &mut self.tokens {
            // A debt of more than one longest train cannot come from here.
            *tokens = (*tokens - bytes as f64).max(-64.0 * f64::from(u16::MAX));
            self.waiting |= *tokens < self.mtu;
        }
    }

    /// When the next train may leave if nothing may now. `None`: something may leave at `now`.
    pub fn next_release(&mut self, now: Instant, rate: Option<u64>, mtu: u16) -> Option<Instant> {
        let rate = rate.filter(|_| self.allowance(now, rate, mtu) == 0)?;
        let missing = self.threshold(rate) - self.tokens.unwrap_or(0.0);
        // Rounded up: a sender that wakes at this moment must find the train complete.
        let wait = Duration::try_from_secs_f64(missing / rate.max(1) as f64).unwrap_or(Duration::MAX);
        let wait = wait.saturating_add(Duration::from_nanos(1)).min(Duration::from_secs(3600));
        now.checked_add(wait)
    }

    /// Tokens below which nothing leaves.
    fn threshold(&self, rate: u64) -> f64 {
        if self.waiting { self.quantum(rate) } else { self.mtu }
    }

    fn quantum(&self, rate: u64) -> f64 {
        let (least, most) = QUANTUM_DATAGRAMS;
        (rate as f64 * QUANTUM.as_secs_f64()).clamp(least as f64 * self.mtu, most as f64 * self.mtu)
    }

    /// Brings the tokens up to date. A clock that steps back adds none and takes none away.
    fn count(&mut self, now: Instant, rate: u64) -> f64 {
        let burst = self.quantum(rate).max(BURST_DATAGRAMS as f64 * self.mtu);
        let elapsed = now.saturating_duration_since(self.counted);
        let tokens = match self.tokens {
            None => burst,
            Some(tokens) => {
                let late = rate as f64 * LATENESS.as_secs_f64();
                let most = if self.waiting && elapsed <= LATENESS { burst.max(late) } else { burst };
                // What was made up for and not used yet stays, unless the sender paused.
                let kept = if elapsed > LATENESS { tokens.min(most) } else { tokens };
                kept.max((tokens + rate as f64 * elapsed.as_secs_f64()).min(most))
            }
        };
        if now < self.counted && self.counted - now > LATENESS {
            // The clock has stepped back: what follows is counted from here, or the pacer would stand still.
            self.counted = now;
        }
        self.counted = self.counted.max(now);
        self.tokens = Some(tokens);
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends all that may leave, in datagrams of `mtu`; how many that were.
    fn train(pacer: &mut Pacer, now: Instant, rate: u64, mtu: u16) -> u64 {
        let mut sent = 0;
        while pacer.allowance(now, Some(rate), mtu) >= u64::from(mtu) {
            pacer.on_sent(now, u64::from(mtu));
            sent += 1;
        }
        sent
    }

    #[test]
    fn the_rate_is_kept_and_trains_are_a_millisecond_long() {
        for (rate, mtu) in [(12_000, 1200), (2_500_000, 1200), (40_000_000, 1200), (1_000_000_000, 1452)] {
            let start = Instant::now();
            let (mut now, mut pacer) = (start, Pacer::new(start));
            let quantum = (rate / 1000 / u64::from(mtu)).clamp(2, 64);
            let first = train(&mut pacer, now, rate, mtu);
            assert!(first == quantum.max(10) || first == quantum.max(10) + 1, "{first} at first");
            let mut sent = 0;
            for _ in 0..500 {
                now = pacer.next_release(now, Some(rate), mtu).expect("it is the limit");
                let train = train(&mut pacer, now, rate, mtu);
                assert!(train.abs_diff(quantum) <= 1, "a train of {train} instead of {quantum} at {rate}");
                sent += train;
            }
            let share = (sent * u64::from(mtu)) as f64 / (now - start).as_secs_f64() / rate as f64;
            assert!((0.98..1.02).contains(&share), "{share} of the rate {rate}");
        }
    }

    #[test]
    fn a_sender_that_wakes_thirty_times_a_second_reaches_the_rate() {
        let (start, rate) = (Instant::now(), 2_500_000);
        let mut pacer = Pacer::new(start);
        let sent: u64 = (0..300)
            .map(|tick| train(&mut pacer, start + Duration::from_micros(33_333) * tick, rate, 1200))
            .sum();
        let share = (sent * 1200) as f64 / 10.0 / rate as f64;
        assert!((0.99..1.01).contains(&share), "{share} of the rate");
    }

    #[test]
    fn a_pause_saves_up_one_burst_and_no_more() {
        let (start, rate) = (Instant::now(), 2_500_000);
        let mut pacer = Pacer::new(start);
        assert_eq!(train(&mut pacer, start, rate, 1200), 10);
        let later = start + Duration::from_secs(60);
        let sent = train(&mut pacer, later, rate, 1200);
        assert!((10..=20).contains(&sent), "{sent} after a pause");
    }

    #[test]
    fn small_messages_at_a_fixed_rate_below_the_pacing_rate_never_wait() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start);
        for tick in 0..10_000_u32 {
            let now = start + Duration::from_micros(16_667) * tick;
            assert!(pacer.allowance(now, Some(15_000), 1200) >= 240, "held back at tick {tick}");
            pacer.on_sent(now, 240);
        }
    }

    #[test]
    fn without_a_rate_nothing_waits_and_a_release_is_never_early() {
        let now = Instant::now();
        let mut pacer = Pacer::new(now);
        assert_eq!(pacer.allowance(now, None, 1200), u64::MAX);
        assert_eq!(pacer.next_release(now, None, 1200), None);
        for rate in [0, 1, 777, 12_345_678, u64::MAX] {
            let mut pacer = Pacer::new(now);
            while pacer.allowance(now, Some(rate), 1200) > 0 {
                pacer.on_sent(now, u64::from(u16::MAX));
            }
            let release = pacer.next_release(now, Some(rate), 1200).expect("it is the limit");
            assert!(release > now);
            if release - now < Duration::from_secs(3600) {
                assert!(pacer.allowance(release, Some(rate), 1200) >= 1200, "early at {rate}");
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_stops_nothing_for_long() {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut pacer = Pacer::new(start);
        train(&mut pacer, start, 1_000_000, 1200);
        let back = start - Duration::from_secs(1800);
        assert_eq!(pacer.allowance(back, Some(1_000_000), 1200), 0);
        let release = pacer.next_release(back, Some(1_000_000), 1200).expect("it is the limit");
        assert!(release - back < Duration::from_millis(10));
        assert!(pacer.allowance(release, Some(1_000_000), 1200) >= 1200);
    }
}

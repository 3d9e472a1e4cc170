//! The window of CUBIC as a function of time (RFC 9438 §4.1 to §4.3), in segments and seconds.

/// How steep the curve is (RFC 9438 §5.1).
pub(super) const C: f64 = 0.4;
/// What a congestion event leaves of the window (RFC 9438 §4.6).
pub(super) const BETA: f64 = 0.7;
/// What AIMD with this decrease adds a round trip to share fairly with Reno (RFC 9438 §4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// One congestion avoidance: from a congestion event, or from the end of slow start, to the next event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Epoch {
    /// The window the curve has its plateau at.
    w_max: f64,
    /// Seconds from the start to the plateau (RFC 9438 §4.2).
    k: f64,
    /// What Reno would have by now (RFC 9438 §4.3).
    w_est: f64,
    /// The window at the last congestion event: from there on Reno's estimate grows as Reno does.
    prior: f64,
    /// Seconds in use: time in which the application left the window unused does not count (RFC 9438 §5.8).
    elapsed: f64,
}

impl Epoch {
    /// Starts at `cwnd`, with the plateau at `w_max`; `prior` was the window before the event.
    pub(super) fn new(cwnd: f64, w_max: f64, prior: f64) -> Self {
        let w_max = w_max.max(cwnd);
        Self { w_max, k: ((w_max - cwnd) / C).cbrt(), w_est: cwnd, prior, elapsed: 0.0 }
    }

    /// `W_cubic(t)` of RFC 9438 §4.2, `t` in seconds since the start.
    pub(super) fn w_cubic(&self, t: f64) -> f64 {
        C * (t - self.k).powi(3) + self.w_max
    }

    /// The window after `acked` segments arrived, `passed` seconds after the acknowledgement before.
    pub(super) fn grow(&mut self, cwnd: f64, acked: f64, passed: f64, rtt: f64) -> f64 {
        self.elapsed += passed;
        let alpha = if self.w_est < self.prior { ALPHA } else { 1.0 };
        self.w_est += alpha * acked / cwnd;
        let now = self.w_cubic(self.elapsed);
        if now < self.w_est {
            return self.w_est.max(cwnd); // §4.3: where Reno would have more
        }
        // §4.4, §4.5: towards the curve one round trip ahead, at most half as much again.
        let target = self.w_cubic(self.elapsed + rtt).clamp(cwnd, 1.5 * cwnd);
        cwnd + (target - cwnd) / cwnd * acked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_starts_at_the_window_and_has_its_plateau_at_the_maximum() {
        for (cwnd, w_max) in [(70.0, 100.0), (7.0, 10.0), (700.0, 1000.0), (100.0, 100.0)] {
            let epoch = Epoch::new(cwnd, w_max, w_max);
            assert!((epoch.w_cubic(0.0) - cwnd).abs() < 1e-9 * cwnd);
            assert!((epoch.w_cubic(epoch.k) - w_max).abs() < 1e-9);
            // Directly: K = ((W_max − cwnd) / C)^(1/3).
            assert!((0.4 * epoch.k.powi(3) - (w_max - cwnd)).abs() < 1e-9 * w_max);
            // Concave before the plateau, convex after, symmetric about it.
            for t in [0.1, 0.5, 1.0] {
                let (before, after) = (epoch.w_cubic(epoch.k - t), epoch.w_cubic(epoch.k + t));
                assert!(((w_max - before) - (after - w_max)).abs() < 1e-9 * w_max);
            }
        }
    }

    #[test]
    fn acknowledged_windows_follow_the_curve() {
        // 1000 segments over 100 ms: far above what Reno would have, so the curve alone decides.
        let (rtt, mut cwnd) = (0.1, 700.0);
        let mut epoch = Epoch::new(cwnd, 1000.0, 1000.0);
        let mut t = 0.0;
        while t < 12.0 {
            let acks = 100;
            for _ in 0..acks {
                cwnd = epoch.grow(cwnd, cwnd / f64::from(acks), rtt / f64::from(acks), rtt);
                t += rtt / f64::from(acks);
            }
            let expected = 0.4 * (t - (300.0_f64 / 0.4).cbrt()).powi(3) + 1000.0;
            assert!((cwnd - expected).abs() < 0.03 * expected, "{cwnd} at {t} s instead of {expected}");
        }
    }

    #[test]
    fn on_short_paths_the_window_is_renos() {
        // 10 segments over 10 ms: one second is a hundred round trips, in which the curve hardly moves.
        let (rtt, mut cwnd) = (0.01, 7.0);
        let mut epoch = Epoch::new(cwnd, 10.0, 10.0);
        let mut reno: f64 = 7.0;
        for _ in 0..100 {
            let window = cwnd;
            cwnd = epoch.grow(cwnd, window, rtt, rtt);
            reno += if reno < 10.0 { 9.0 / 17.0 } else { 1.0 };
        }
        assert!((cwnd - reno).abs() <= 2.0, "{cwnd} instead of {reno}");
    }
}

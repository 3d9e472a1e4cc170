//! The congestion window: how many segments may be in flight besides what the peer's window allows.

use super::settings::Rules;

const MIN_SSTHRESH: u32 = 2;

/// Kept up to date even when it does not limit, so that it can be turned on at any time.
#[derive(Debug, Clone)]
pub(crate) struct Cwnd {
    /// In segments.
    window: u32,
    /// The window in bytes, counted finer than in segments.
    bytes: u64,
    /// Below it the window grows by a segment an input, above it by about a segment a window.
    ssthresh: u32,
}

impl Cwnd {
    pub(crate) fn new(rules: &Rules, mss: usize) -> Self {
        let window = rules.initial_cwnd;
        Self { window, bytes: u64::from(window) * mss as u64, ssthresh: rules.initial_ssthresh }
    }

    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// One input freed segments; the peer's window caps the growth.
    pub(crate) fn on_ack(&mut self, mss: usize, remote: u32) {
        if self.window >= remote {
            return;
        }
        let mss = mss as u64;
        if self.window < self.ssthresh {
            self.window += 1;
            self.bytes += mss;
        } else {
            self.bytes = self.bytes.max(mss);
            self.bytes += mss * mss / self.bytes + mss / 16;
            if u64::from(self.window + 1) * mss <= self.bytes {
                self.window = u32::try_from(self.bytes.div_ceil(mss)).unwrap_or(u32::MAX);
            }
        }
        if self.window > remote {
            self.window = remote;
            self.bytes = u64::from(remote) * mss;
        }
    }

    /// Segments were resent before their timeout.
    pub(crate) fn on_fast_resend(&mut self, in_flight: u32, resend: u32, mss: usize) {
        self.ssthresh = (in_flight / 2).max(MIN_SSTHRESH);
        self.set(self.ssthresh.saturating_add(resend), mss);
    }

    /// Segments timed out while `effective` was the window in use.
    pub(crate) fn on_timeout(&mut self, effective: u32, mss: usize) {
        self.ssthresh = (effective / 2).max(MIN_SSTHRESH);
        self.set(1, mss);
    }

    /// After a flush at least one segment may leave.
    pub(crate) fn at_least_one(&mut self, mss: usize) {
        if self.window < 1 {
            self.set(1, mss);
        }
    }

    fn set(&mut self, window: u32, mss: usize) {
        self.window = window;
        self.bytes = u64::from(window) * mss as u64;
    }
}

//! When to flush.

use super::packer::Output;
use super::{Kcp, Timing};

/// A clock that jumped by this much, in ms, restarts the classic schedule.
const JUMP: i64 = 10_000;

impl Kcp {
    /// Flushes if something is due at `now`, a clock in ms that may wrap.
    pub fn update<O: Output>(&mut self, now: u32, output: &mut O) {
        self.now = self.extend(now);
        let due = match self.config.timing {
            Timing::Classic => self.tick_is_due(),
            Timing::Prompt => self.next_event().is_some_and(|at| at <= self.now),
        };
        if due {
            self.flush(output);
        }
    }

    /// How many ms after `now` the next [`update`](Self::update) has something to do; `None` while nothing but
    /// input, or sending, can give it any. Classic timing always has a next tick.
    pub fn check(&mut self, now: u32) -> Option<u32> {
        let now = self.extend(now);
        let at = match self.config.timing {
            Timing::Classic => self.next_tick(now),
            Timing::Prompt => self.next_event()?,
        };
        Some(u32::try_from(at - now).unwrap_or(if at > now { u32::MAX } else { 0 }))
    }

    fn tick_is_due(&mut self) -> bool {
        let interval = i64::from(self.config.nodelay.interval);
        let mut tick = self.tick.unwrap_or(self.now);
        if jumped(self.now, tick) {
            tick = self.now;
        }
        let due = self.now >= tick;
        if due {
            tick += interval;
            if tick <= self.now {
                tick = self.now + interval;
            }
        }
        self.tick = Some(tick);
        due
    }

    /// No allowance is made for acknowledgements waiting: they go with the tick.
    fn next_tick(&mut self, now: i64) -> i64 {
        let Some(tick) = self.tick else { return now };
        if jumped(now, tick) {
            return now;
        }
        let resend = self.flight.next_timeout().unwrap_or(i64::MAX);
        tick.min(resend).min(now + i64::from(self.config.nodelay.interval)).max(now)
    }

    /// Prompt: the nearest time at which a flush would do something.
    fn next_event(&mut self) -> Option<i64> {
        if self.urgent {
            return Some(self.now);
        }
        let interval = i64::from(self.config.nodelay.interval);
        let acks = (!self.acks.is_empty()).then_some(self.acks_since + interval);
        let data = (self.outbox.len() > 0 && self.has_room(self.window())).then(|| {
            let may_wait = self.config.write_delay && self.waiting() < self.config.snd_wnd as usize;
            let wanted = if may_wait { self.queued_at + interval } else { self.now };
            wanted.max(self.pacer.opens_at())
        });
        // Only who has something to send needs to know when a closed window opens.
        let wants_window = self.remote_window == 0 && self.outbox.len() > 0;
        let probe = wants_window.then(|| self.probe.due().unwrap_or(self.now));
        let resend = self.flight.next_timeout();
        [acks, data, probe, resend, self.answer_again].into_iter().flatten().min()
    }
}

fn jumped(now: i64, tick: i64) -> bool {
    now - tick >= JUMP || now - tick < -JUMP
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Config;

    /// A clock may show anything when a conversation begins; what was queued before its first tick waits no longer for it.
    #[test]
    fn what_waits_for_the_first_tick_leaves_whatever_the_clock_shows() {
        for timing in [Timing::Classic, Timing::Prompt] {
            for start in [0, 1, 1 << 31, (1 << 31) + 1, 0xe3f2_0b0b, u32::MAX] {
                let mut kcp = Kcp::new(7, Config { timing, write_delay: true, ..Config::default() });
                kcp.send(b"waits").expect("room");
                let mut out: Vec<Vec<u8>> = Vec::new();
                for step in 0..=20 {
                    kcp.update(u32::wrapping_add(start, step * 10), &mut out);
                }
                assert!(!out.is_empty(), "{timing:?} from {start}");
            }
        }
    }
}

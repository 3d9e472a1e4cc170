//! Everything that is due, as datagrams.

use super::packer::{Output, Packer};
use super::segment::{Command, Header, distance};
use super::{Cause, Kcp, policy};

impl Kcp {
    /// Writes what is due to `output`, in the order: acknowledgements, window probes, new and resent data.
    ///
    /// Classic timing does nothing before the first [`update`](Self::update).
    pub fn flush<O: Output>(&mut self, output: &mut O) {
        if self.config.timing.rules().waits_for_update && self.tick.is_none() {
            return;
        }
        self.urgent = false;
        self.told_window = self.inbox.free();
        // wnd and una are those of the start of the flush.
        let mut header = Header {
            conv: self.conv,
            cmd: Command::Ack,
            frg: 0,
            wnd: self.inbox.free() as u16,
            ts: 0,
            sn: 0,
            una: self.inbox.next(),
            len: 0,
        };
        // A window told says up to where all has arrived, and is no sample of the round trip.
        self.owes_window |= self.answer_again.take_if(|at| *at <= self.now).is_some();
        let answers = !self.acks.is_empty();
        let mut packer = Packer::new(output, self.config.mtu);
        self.flush_acks(&mut header, &mut packer);
        self.flush_probes(&mut header, &mut packer);
        self.flush_data(header, &mut packer);
        packer.finish();
        if packer.datagrams > 0 && !answers {
            self.answer_again = None;
        }
    }

    fn flush_acks<O: Output>(&mut self, header: &mut Header, packer: &mut Packer<'_, O>) {
        let drops_covered = self.config.timing.rules().drops_covered_acks;
        let last = self.acks.len().wrapping_sub(1);
        for (i, (sn, ts)) in self.acks.drain(..).enumerate() {
            // What una covers needs no word of its own, but the last carries the newest time and stands for all.
            if drops_covered && i != last && distance(sn, header.una) < 0 {
                continue;
            }
            (header.sn, header.ts) = (sn, ts);
            packer.push(header, &[]);
        }
    }

    fn flush_probes<O: Output>(&mut self, header: &mut Header, packer: &mut Packer<'_, O>) {
        let first_wait = self.config.timing.rules().first_probe;
        let due = self.probe.is_due(self.remote_window, first_wait, self.now);
        if std::mem::take(&mut self.asks_window) || due {
            header.cmd = Command::Wask;
            packer.push(header, &[]);
        }
        if std::mem::take(&mut self.owes_window) {
            header.cmd = Command::Wins;
            packer.push(header, &[]);
        }
    }

    fn flush_data<O: Output>(&mut self, mut header: Header, packer: &mut Packer<'_, O>) {
        let window = self.window();
        self.number_new_data(window);
        let policy = policy(&self.config);
        let mut due = std::mem::take(&mut self.due);
        self.flight.collect_due(self.now, &policy, &mut due);
        header.cmd = Command::Push;
        header.ts = self.now as u32;
        let (mut lost, mut resent) = (false, false);
        for &(sn, cause) in &due {
            match cause {
                Cause::First => {}
                Cause::Timeout => {
                    lost = true;
                    self.stats.lost += 1;
                }
                Cause::Fast => self.stats.fast += 1,
                Cause::Early => self.stats.early += 1,
            }
            resent |= matches!(cause, Cause::Fast | Cause::Early) && self.is_new_event(sn);
            let sent = self.flight.transmit(sn, cause, self.now, self.rtt.rto(), &policy);
            header.sn = sn;
            header.frg = sent.frg;
            header.len = sent.data.len() as u32;
            packer.push(&header, &sent.data);
            if cause != Cause::First {
                self.pacer.spend(sent.data.len());
            }
            self.stats.out_segments += 1;
            self.dead |= sent.transmissions >= self.config.dead_link;
        }
        due.clear();
        self.due = due;
        self.adjust_cwnd(window, lost, resent);
    }

    /// Segments that may be in flight.
    pub(super) fn window(&self) -> u32 {
        let window = self.config.snd_wnd.min(self.remote_window);
        if self.config.nodelay.congestion { window.min(self.cwnd.window()) } else { window }
    }

    /// Whether the window has room for a new segment.
    pub(super) fn has_room(&self, window: u32) -> bool {
        distance(self.flight.next(), self.flight.first().wrapping_add(window)) < 0
    }

    fn number_new_data(&mut self, window: u32) {
        let bytes = u64::from(window) * self.config.mtu as u64;
        self.pacer.refill(self.config.pacing, bytes, self.rtt.smoothed(), self.now);
        while self.has_room(window) && self.pacer.is_open() {
            let Some(piece) = self.outbox.pop() else { return };
            self.pacer.spend(piece.data.len());
            self.flight.push(piece);
        }
    }

    fn is_new_event(&self, sn: u32) -> bool {
        let counted = |end| distance(sn, end) < 0;
        !(self.config.timing.rules().one_event_a_round && self.recovery_end.is_some_and(counted))
    }

    fn adjust_cwnd(&mut self, window: u32, lost: bool, resent: bool) {
        let mss = self.mss();
        if resent {
            let in_flight = self.flight.next().wrapping_sub(self.flight.first());
            self.cwnd.on_fast_resend(in_flight, self.config.nodelay.resend, mss);
        }
        if lost {
            self.cwnd.on_timeout(window, mss);
        }
        if lost || resent {
            self.recovery_end = Some(self.flight.next());
        }
        self.cwnd.at_least_one(mss);
    }
}

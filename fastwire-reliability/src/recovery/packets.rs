//! The recovery of packets that are never sent twice: loss, probe timeout and persistent congestion of RFC 9002.
//!
//! Numbers are in the order of sending, so what is lost is found from the old end of the flight.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{CongestionEvent, MIN_REPEAT_WINDOW, Outcome, Recovery};
use crate::extended::Fate;
use crate::space::{AckSpace, Class, Sent, Shield, State};

/// Timers run in steps of this (RFC 9002 §6.1.2).
pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

/// For so many probe timeouts a lost packet stays known.
const KEPT_FOR: u32 = 3;

/// An acknowledgement of packets with only unreliable data may wait so many times longer (PROTOCOL B5).
pub(crate) const UNRELIABLE_PATIENCE: u32 = 4;

/// RFC 9002 §7.6.1: kPersistentCongestionThreshold.
const PERSISTENT: u32 = 3;

/// Groups under parity that are remembered: more than are under way at the rates this is for.
const MAX_SHIELDS: usize = 32;

/// What one packet is, as it leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving {
    pub(crate) number: u64,
    pub(crate) bytes: u32,
    pub(crate) class: Class,
    /// It carries something that was sent before.
    pub(crate) repeat: bool,
    /// Nothing in it leaves again if it is lost.
    pub(crate) idle: bool,
}

impl Recovery {
    /// Sets what the peer may let an acknowledgement wait.
    pub(crate) fn set_max_ack_delay(&mut self, delay: Duration) {
        self.max_ack_delay = delay;
    }

    /// Forgets the round-trip time: the path is another.
    pub(crate) fn restart_rtt(&mut self) {
        self.rtt = self.rtt.restarted();
        self.backoff = 0;
        self.last_expiry = None;
        self.recovery_start = None;
    }

    /// Nothing reliable waits for the peer any more.
    pub(crate) fn at_rest(&mut self) {
        self.last_progress = None;
    }

    /// Notes a packet that leaves at `now` and is acknowledged by the peer.
    pub(crate) fn on_packet_sent<C>(
        &mut self,
        space: &mut AckSpace<C>,
        packet: Leaving,
        carries: C,
        now: Instant,
    ) {
        space.pass_to(packet.number, now);
        debug_assert_eq!(space.next(), packet.number, "numbers rise");
        space.push_sent(Sent {
            carries: Some(carries),
            first_at: now,
            at: now,
            order: packet.number,
            bytes: packet.bytes,
            sends: if packet.repeat { 2 } else { 1 },
            state: State::InFlight,
            class: packet.class,
            missing: false,
            idle: packet.idle,
        });
        if packet.class == Class::Unreliable {
            return;
        }
        if packet.repeat {
            self.retransmitted += 1;
        } else {
            self.fresh_in_flight += 1;
        }
        self.in_flight_bytes += u64::from(packet.bytes);
        self.in_flight_packets += 1;
        self.last_reliable = Some(now);
        if self.last_progress.is_none() {
            self.last_progress = Some(now);
        }
    }

    /// Takes an acknowledgement: bit i of `bitmap`, in byte order, stands for `largest − 1 − i`. All numbers must have
    /// been sent. `delay`: how long the peer says `largest` waited.
    pub(crate) fn on_packets_acked<C>(
        &mut self,
        space: &mut AckSpace<C>,
        largest: u64,
        bitmap: &[u8],
        delay: Duration,
        now: Instant,
        out: &mut Outcome,
    ) {
        let mut news = false;
        if let Some((at, class)) = self.packet_acked(space, largest, out) {
            news = true;
            let most = self.max_ack_delay * if class == Class::Unreliable { UNRELIABLE_PATIENCE } else { 1 };
            let sample = self.rtt.sample_delayed(now.saturating_duration_since(at), delay.min(most));
            self.last_sample_at = Some(now);
            self.ambiguous = false;
            out.rtt_sample = Some(sample);
        }
        let oldest = space.oldest();
        'bitmap: for (index, &byte) in bitmap.iter().enumerate() {
            let Some(newest) = largest.checked_sub(1 + 8 * index as u64).filter(|&newest| newest >= oldest)
            else {
                break;
            };
            let mut bits = byte;
            while bits != 0 {
                let Some(number) = newest.checked_sub(u64::from(bits.trailing_zeros())) else {
                    break 'bitmap;
                };
                bits &= bits - 1;
                news |= self.packet_acked(space, number, out).is_some();
            }
        }
        space.largest_acked = space.largest_acked.max(Some(largest));
        if news {
            self.backoff = 0;
            self.last_expiry = None;
            self.last_progress = Some(now);
        }
        self.find_lost(space, now, out);
        self.clean(space, now);
    }

    /// Lets time pass; true if a probe timeout ran out, so that probes should leave (RFC 9002 §6.2).
    pub(crate) fn on_packet_timer<C>(
        &mut self,
        space: &mut AckSpace<C>,
        now: Instant,
        out: &mut Outcome,
    ) -> bool {
        if space.loss_at.is_some_and(|at| at <= now) {
            self.find_lost(space, now, out);
        }
        while let Some((number, at)) = self.stale(space).filter(|(_, at)| *at <= now) {
            debug_assert!(at <= now);
            self.packet_lost(space, number, false, out);
            space.pop_flight(|_, _| true);
        }
        self.clean(space, now);
        if space.loss_at.is_some() || self.probe_at().is_none_or(|at| now < at) {
            return false;
        }
        self.backoff = self.backoff.saturating_add(1);
        self.repeat_window = (self.repeat_window / 2).max(MIN_REPEAT_WINDOW);
        self.last_expiry = Some(now);
        true
    }

    /// When [`on_packet_timer`](Self::on_packet_timer) has something to do.
    pub(crate) fn packet_deadline<C>(&self, space: &AckSpace<C>) -> Option<Instant> {
        let stale = self.stale(space).map(|(_, at)| at);
        let timer = space.loss_at.or_else(|| self.probe_at());
        timer.into_iter().chain(stale).min()
    }

    /// Packets from `first` on are in a group whose parity is yet to leave.
    pub(crate) fn shield_from<C>(&mut self, space: &mut AckSpace<C>, first: u64, now: Instant) {
        if space.shields.back().is_some_and(|shield| shield.packets.start == first) {
            return;
        }
        self.unshield(space, now);
        let oldest = space.oldest();
        space.shields.retain(|shield| shield.packets.end > oldest);
        if space.shields.len() >= MAX_SHIELDS {
            space.shields.pop_front();
        }
        space.shields.push_back(Shield { packets: first..u64::MAX, parity: None });
    }

    /// The last of the parity over `packets` left as `number`.
    pub(crate) fn shielded<C>(
        &mut self,
        space: &mut AckSpace<C>,
        packets: Range<u64>,
        number: u64,
        now: Instant,
    ) {
        let shield = space.shields.iter_mut().find(|shield| shield.packets.start == packets.start);
        if let Some(shield) = shield {
            *shield = Shield { packets, parity: Some((number, now)) };
        }
        let at = now + self.reordering_wait();
        Self::look_again(space, at);
    }

    /// No parity follows for a group that was announced.
    pub(crate) fn unshield<C>(&mut self, space: &mut AckSpace<C>, now: Instant) {
        let before = space.shields.len();
        space.shields.retain(|shield| shield.parity.is_some());
        if space.shields.len() < before {
            Self::look_again(space, now);
        }
    }

    /// What was shown missing behind a shield is judged at `at`, if not before.
    fn look_again<C>(space: &mut AckSpace<C>, at: Instant) {
        let largest = space.largest_acked;
        let missing =
            space.first_in_flight().is_some_and(|first| largest.is_some_and(|largest| first <= largest));
        if missing {
            space.loss_at = Some(space.loss_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// So many packets were recovered from parity: they were lost on the way, once a round trip an event (PROTOCOL B5, FEC).
    pub(crate) fn on_recovered(&mut self, packets: u32, now: Instant, out: &mut Outcome) {
        (0..packets).for_each(|_| self.loss.record(true));
        let left = out.newest_acked_sent_at.or_else(|| now.checked_sub(self.rtt.smoothed()));
        if self.recovery_start.is_none_or(|start| left.is_some_and(|left| left > start)) {
            self.recovery_start = Some(now);
            out.congestion.get_or_insert(CongestionEvent {
                lost_packets: packets,
                lost_bytes: 0,
                persistent: false,
            });
        }
    }

    /// Takes everything in flight back, as if it had never left: the path is another.
    pub(crate) fn take_back<C>(&mut self, space: &mut AckSpace<C>) {
        while let Some((number, live)) = space.pop_flight(|_, _| true) {
            let Some(sent) = space.get_mut(number).filter(|_| live) else { continue };
            sent.state = State::Lost { by_order: false };
            space.was_lost(number);
        }
        space.loss_at = None;
        space.shields.clear();
        (self.in_flight_bytes, self.in_flight_packets, self.fresh_in_flight) = (0, 0, 0);
        self.backoff = 0;
        self.last_expiry = None;
    }

    fn packet_acked<C>(
        &mut self,
        space: &mut AckSpace<C>,
        number: u64,
        out: &mut Outcome,
    ) -> Option<(Instant, Class)> {
        let sent = space.get_mut(number).filter(|sent| sent.state != State::Acked)?;
        let (state, at, bytes, class, sends) = (sent.state, sent.at, sent.bytes, sent.class, sent.sends);
        let idle = sent.idle;
        sent.state = State::Acked;
        if let Some(carries) = sent.carries.take() {
            space.hand_back(Fate::Acked, carries);
        }
        out.newly_acked_packets += 1;
        out.newly_acked_bytes += u64::from(bytes);
        out.largest_acked_bytes = out.largest_acked_bytes.max(bytes);
        out.newest_acked_sent_at = out.newest_acked_sent_at.max(Some(at));
        out.newest_acked_first_sent_at = out.newest_acked_sent_at;
        match state {
            State::InFlight => {
                self.packet_left_flight(class, bytes, sends);
                self.loss.record(false);
                if sends > 1 {
                    self.repeat_window = self.repeat_window.saturating_add(1);
                }
            }
            State::Lost { by_order } => {
                self.was_hasty(by_order, out);
                // one repeat may carry what several lost packets did, or none have left yet
                if !idle && self.spurious < self.retransmitted {
                    self.spurious += 1;
                }
            }
            State::Handed | State::Acked => {}
        }
        Some((at, class))
    }

    fn packet_lost<C>(&mut self, space: &mut AckSpace<C>, number: u64, by_order: bool, out: &mut Outcome) {
        let Some(sent) = space.get_mut(number).filter(|sent| sent.state == State::InFlight) else { return };
        let (at, bytes, class, sends) = (sent.at, sent.bytes, sent.class, sent.sends);
        sent.state = State::Lost { by_order };
        space.was_lost(number);
        self.packet_left_flight(class, bytes, sends);
        if class == Class::MtuProbe {
            return;
        }
        self.loss.record(true);
        out.lost_packets += 1;
        out.lost_numbers.push(number);
        out.lost_bytes += u64::from(bytes);
        out.largest_lost_bytes = out.largest_lost_bytes.max(bytes);
        if by_order {
            out.newest_lost_sent_at = out.newest_lost_sent_at.max(Some(at));
        }
    }

    fn packet_left_flight(&mut self, class: Class, bytes: u32, sends: u32) {
        if class != Class::Unreliable {
            self.left_flight(bytes, sends);
        }
    }

    /// RFC 9002 §6.1: lost is what left `threshold` packets, or 9/8 of a round trip, before one that was acknowledged.
    fn find_lost<C>(&mut self, space: &mut AckSpace<C>, now: Instant, out: &mut Outcome) {
        let Some(largest) = space.largest_acked else { return };
        let (wait, threshold) = (self.reordering_wait(), u64::from(self.threshold));
        space.loss_at = None;
        let mut loss_at = None;
        // §7.6: a stretch of lost packets without an acknowledged one between them
        let (mut stretch, mut longest) = (None, Duration::ZERO);
        loop {
            let mut left_at = None;
            let shield =
                space.first_in_flight().and_then(|number| space.shield(number)).map(|shield| shield.parity);
            let popped = space.pop_flight(|number, sent| {
                let Some(sent) = sent else { return true };
                if number > largest {
                    return false;
                }
                left_at = Some(sent.at);
                // what parity stands for is judged as if it had left with that
                let (newest, from) = match shield {
                    None => (number, sent.at),
                    Some(Some(parity)) => parity,
                    Some(None) => return false,
                };
                let lost = largest.saturating_sub(newest) >= threshold || from + wait <= now;
                if !lost {
                    loss_at = Some(from + wait);
                }
                lost
            });
            match (popped, left_at) {
                (None, _) => break,
                (Some((number, true)), Some(at)) => {
                    let began = *stretch.get_or_insert(at);
                    longest = longest.max(at.saturating_duration_since(began));
                    self.packet_lost(space, number, true, out);
                }
                _ => stretch = None,
            }
        }
        space.loss_at = loss_at;
        self.judge(now, false, out);
        if self.rtt.is_measured() && longest >= self.unbacked_timeout() * PERSISTENT {
            let (lost_packets, lost_bytes) = (out.lost_packets, out.lost_bytes);
            let event = CongestionEvent { lost_packets, lost_bytes, persistent: true };
            out.congestion.get_or_insert(event).persistent = true;
        }
    }

    /// Forgets what needs to be known no longer.
    fn clean<C>(&mut self, space: &mut AckSpace<C>, now: Instant) {
        while space.pop_flight(|_, live| live.is_none()).is_some() {}
        let horizon = now.checked_sub(self.unbacked_timeout() * KEPT_FOR);
        for _ in 0..space.forget_lost(horizon) {
            self.was_right();
        }
    }

    /// The oldest packet in flight and when it is given up, if it is one that arms no probe timeout.
    fn stale<C>(&self, space: &AckSpace<C>) -> Option<(u64, Instant)> {
        let (number, sent) = space.oldest_in_flight().filter(|(_, sent)| sent.class == Class::Unreliable)?;
        Some((number, sent.at + self.unbacked_timeout() + self.max_ack_delay * UNRELIABLE_PATIENCE))
    }

    fn probe_at(&self) -> Option<Instant> {
        let last = self.last_reliable.filter(|_| self.in_flight_packets > 0)?;
        Some(self.last_expiry.map_or(last, |expiry| expiry.max(last)) + self.timeout())
    }

    fn unbacked_timeout(&self) -> Duration {
        self.rtt.rto().saturating_add(self.max_ack_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Repeat;
    use crate::{ChannelsConfig, RecoveryProfile};

    const RTT: Duration = Duration::from_millis(100);

    fn flight(class: Class, count: u64, start: Instant) -> (Recovery, AckSpace<u64>) {
        let mut recovery = Recovery::new(&ChannelsConfig::default(), RecoveryProfile::default());
        recovery.sample(RTT, start, &mut Outcome::default());
        let mut space = AckSpace::new(0, Repeat::NewNumber);
        for number in 0..count {
            let packet = Leaving { number, bytes: 1000, class, repeat: false, idle: false };
            recovery.on_packet_sent(&mut space, packet, number, start);
        }
        (recovery, space)
    }

    #[test]
    fn an_unreliable_packet_is_given_up_after_the_timeout_and_the_patience_its_peer_may_have() {
        let start = Instant::now();
        let (mut recovery, mut space) = flight(Class::Unreliable, 1, start);
        let delay = recovery.max_ack_delay;
        let due = start + recovery.rtt.rto() + delay + delay * UNRELIABLE_PATIENCE;
        assert_eq!(recovery.packet_deadline(&space), Some(due));
        for (now, lost) in [(due - Duration::from_nanos(1), 0), (due, 1)] {
            let mut out = Outcome::default();
            recovery.on_packet_timer(&mut space, now, &mut out);
            assert_eq!(out.lost_packets, lost);
        }
        assert_eq!(recovery.packet_deadline(&space), None);
    }

    #[test]
    fn a_lost_packet_stays_known_for_three_timeouts_and_what_was_acknowledged_behind_it_goes_with_it() {
        let start = Instant::now();
        let (mut recovery, mut space) = flight(Class::Reliable, 8, start);
        let mut out = Outcome::default();
        // 7, 6, 5 and 3 are acknowledged; 4 and what is below the threshold are lost.
        let bitmap = [0b0000_1011, 0, 0, 0];
        recovery.on_packets_acked(&mut space, 7, &bitmap, Duration::ZERO, start + RTT, &mut out);
        assert_eq!((out.newly_acked_packets, out.lost_packets), (4, 4));
        let kept = recovery.unbacked_timeout() * KEPT_FOR;
        assert_eq!(space.oldest(), 0);
        recovery.on_packet_timer(&mut space, start + kept - Duration::from_nanos(1), &mut out);
        assert_eq!(space.oldest(), 0, "an acknowledgement that was only late may still come");
        recovery.on_packet_timer(&mut space, start + kept, &mut out);
        assert!(space.is_empty(), "oldest {}", space.oldest());
    }

    #[test]
    fn the_lost_are_counted_as_they_are_forgotten_past_the_acknowledged_between_them() {
        let start = Instant::now();
        let (mut recovery, mut space) = flight(Class::Reliable, 8, start);
        let mut out = Outcome::default();
        recovery.on_packets_acked(
            &mut space,
            7,
            &[0b0000_1011, 0, 0, 0],
            Duration::ZERO,
            start + RTT,
            &mut out,
        );
        assert_eq!(space.forget_lost(Some(start)), 4);
        assert_eq!(space.forget_lost(Some(start)), 0);
    }
}

//! The one recovery core: when a packet counts as lost, how long to wait, what the path is like.
//!
//! It knows number lines ([`AckSpace`]) and time, no channels. Fast repeats follow the order of transmissions
//! as in RFC 8985 (RACK), time-outs and back-off RFC 6298 §5, congestion events RFC 9002 §7.3.1.

mod packets;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::ack::AckSet;
use crate::config::{ChannelsConfig, RecoveryProfile};
use crate::loss::LossTracker;
use crate::rtt::Rtt;
use crate::space::{AckSpace, MAX_THRESHOLD, Sent, State};

pub(crate) use packets::{GRANULARITY, Leaving, UNRELIABLE_PATIENCE};

/// What one acknowledgement or time-out brought, for the congestion controller. A reused buffer: the calls add to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Packets acknowledged for the first time.
    pub newly_acked_packets: u32,
    /// Their datagram bytes.
    pub newly_acked_bytes: u64,
    /// Bytes of the largest of them.
    pub largest_acked_bytes: u32,
    /// When the newest of them last left.
    pub newest_acked_sent_at: Option<Instant>,
    /// When the newest of them left for the first time.
    pub newest_acked_first_sent_at: Option<Instant>,
    /// A round-trip sample, if a packet that was sent once gave one.
    pub rtt_sample: Option<Duration>,
    /// Packets that were taken for lost.
    pub lost_packets: u32,
    /// Their datagram bytes.
    pub lost_bytes: u64,
    /// Bytes of the largest of them.
    pub largest_lost_bytes: u32,
    /// Their numbers in the order found, where packets have numbers of their own (extended profile).
    pub lost_numbers: Vec<u64>,
    /// A congestion event; at most one a round trip.
    pub congestion: Option<CongestionEvent>,
    /// Packets that turned out to have been taken for lost wrongly.
    pub spurious: u32,
    /// When the newest lost packet had left.
    newest_lost_sent_at: Option<Instant>,
}

impl Outcome {
    /// Empties the buffer. It keeps its memory.
    pub fn clear(&mut self) {
        let mut lost_numbers = std::mem::take(&mut self.lost_numbers);
        lost_numbers.clear();
        *self = Self { lost_numbers, ..Self::default() };
    }
}

/// Loss that should slow the sender down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CongestionEvent {
    /// Packets lost.
    pub lost_packets: u32,
    /// Their datagram bytes.
    pub lost_bytes: u64,
    /// Three time-outs in a row: nothing got through for more than 3 RTO (RFC 9002 §7.6).
    pub persistent: bool,
}

/// Time, loss and flight of one connection.
#[derive(Debug)]
pub(crate) struct Recovery {
    rtt: Rtt,
    profile: RecoveryProfile,
    min_rto: Duration,
    max_ack_delay: Duration,
    max_backoff: Duration,
    max_backoff_alive: Duration,
    /// Doublings of the time-out since the last valid sample (RFC 6298 §5.5).
    backoff: u32,
    /// When the timer last ran out; the next doubling waits for a whole time-out after it.
    last_expiry: Option<Instant>,
    /// Since the last valid sample a packet was acknowledged so soon after a repeat that the repeat was needless: the
    /// path lives, and is slower than the time-out.
    ambiguous: bool,
    in_flight_bytes: u64,
    in_flight_packets: u32,
    /// Those in flight that were sent once: their acknowledgement will be a valid sample.
    fresh_in_flight: u32,
    /// How many repeats may be in flight where no controller says so: the others are in flight for the first time.
    repeat_window: u32,
    /// The last transmission's place among all.
    order: u64,
    /// Losses of packets sent before this belong to an event already told.
    recovery_start: Option<Instant>,
    /// Later acknowledgements it takes to call a packet lost: the profile's, more where the path reorders.
    threshold: u32,
    /// Repeats that proved right since the threshold last rose.
    rightful: u32,
    last_sample_at: Option<Instant>,
    last_progress: Option<Instant>,
    /// When a packet last left whose loss would matter: the probe timeout runs from there (RFC 9002 §6.2.1).
    last_reliable: Option<Instant>,
    loss: LossTracker,
    retransmitted: u64,
    spurious: u64,
}

/// A packet's first acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Acked {
    /// Its latest transmission.
    at: Instant,
    /// It was sent once: the time since is a valid sample (Karn).
    once: bool,
}

/// Rightful repeats after which a raised threshold comes down again (RFC 8985 §6.2 step 4: 16 recoveries).
const RIGHTFUL_TO_LOWER: u32 = 16;

/// Repeats in flight that a connection without a congestion window begins with, and never falls below: what was lost
/// because a queue overflowed would only overflow it again if it all came back at once.
const FIRST_REPEAT_WINDOW: u32 = 32;
const MIN_REPEAT_WINDOW: u32 = 10;

/// How long a valid sample stands before a packet on an unreliable channel may give another.
const SAMPLE_AGE: Duration = Duration::from_millis(250);

impl Recovery {
    pub(crate) fn new(config: &ChannelsConfig, profile: RecoveryProfile) -> Self {
        let mut recovery = Self {
            rtt: Rtt::new(config.initial_rto, config.min_rto, config.max_rto),
            profile,
            min_rto: config.min_rto,
            max_ack_delay: config.max_ack_delay,
            max_backoff: config.max_backoff,
            max_backoff_alive: config.max_backoff_alive.max(config.max_backoff),
            backoff: 0,
            last_expiry: None,
            ambiguous: false,
            in_flight_bytes: 0,
            in_flight_packets: 0,
            fresh_in_flight: 0,
            repeat_window: FIRST_REPEAT_WINDOW,
            order: 0,
            recovery_start: None,
            threshold: 0,
            rightful: 0,
            last_sample_at: None,
            last_progress: None,
            last_reliable: None,
            loss: LossTracker::default(),
            retransmitted: 0,
            spurious: 0,
        };
        recovery.set_profile(profile);
        recovery
    }

    /// The same with a least variation in the timeout (RFC 9002 §6.1.2).
    pub(crate) fn with_granularity(mut self, granularity: Duration) -> Self {
        self.rtt = self.rtt.with_granularity(granularity);
        self
    }

    pub(crate) fn set_profile(&mut self, profile: RecoveryProfile) {
        self.profile = profile;
        self.threshold = self.least_threshold();
    }

    pub(crate) fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    pub(crate) fn loss(&self) -> f64 {
        self.loss.ratio()
    }

    pub(crate) fn in_flight(&self) -> (u64, u32) {
        (self.in_flight_bytes, self.in_flight_packets)
    }

    pub(crate) fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    pub(crate) fn spurious(&self) -> u64 {
        self.spurious
    }

    /// Since when no packet was acknowledged although some waited for it.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.last_progress
    }

    /// Whether a time-out has no valid sample after it yet.
    pub(crate) fn is_backed_off(&self) -> bool {
        self.backoff > 0
    }

    /// Whether enough packets in flight were sent once, so that an acknowledgement can end the back-off: one, and
    /// after every second time-out in a row two, because the first may be lost like the last one.
    pub(crate) fn has_fresh(&self) -> bool {
        let enough = if self.backoff > 0 && self.backoff.is_multiple_of(2) { 2 } else { 1 };
        self.fresh_in_flight >= enough
    }

    /// Whether another repeat may leave where no congestion window limits what is in flight. The room for them doubles
    /// with every round trip that acknowledges them (RFC 5681 §3.1) and halves with every time-out.
    pub(crate) fn may_repeat(&self) -> bool {
        self.in_flight_packets - self.fresh_in_flight < self.repeat_window
    }

    /// The time a packet gets to be acknowledged: RTO, doubled for each time-out in a row (RFC 6298 §5.5, PROTOCOL
    /// A6 rule 3), plus what the peer may let an acknowledgement wait (RFC 9002 §6.2.1).
    pub(crate) fn timeout(&self) -> Duration {
        let rto = self.rtt.rto();
        let first = if self.profile.half_first_rto {
            // PROTOCOL A11: never under 50 ms nor under the measured round trip
            (rto / 2).max(self.min_rto).max(self.rtt.smoothed())
        } else {
            rto
        };
        let first = first.saturating_add(self.max_ack_delay);
        let most =
            if self.ambiguous || !self.rtt.is_measured() { self.max_backoff_alive } else { self.max_backoff };
        first.saturating_mul(1 << self.backoff.min(16)).min(most.max(rto.saturating_add(self.max_ack_delay)))
    }

    /// How long a packet may be missing once a later one is acknowledged: 9/8 of a round trip (RFC 9002 §6.1.2), more
    /// where the path was seen to reorder.
    fn reordering_wait(&self) -> Duration {
        let rtt = self.rtt.smoothed().max(self.rtt.latest());
        rtt + rtt / 8 * (self.threshold / self.least_threshold())
    }

    /// When the oldest packet in flight on `space` has waited long enough.
    pub(crate) fn deadline<C>(&self, space: &AckSpace<C>) -> Option<Instant> {
        let (_, oldest) = space.oldest_in_flight()?;
        // RFC 6298 §5.5-5.6: the doubled timer starts anew when the last one ran out
        let from = self.last_expiry.map_or(oldest.at, |expiry| expiry.max(oldest.at));
        let expiry = from + self.timeout();
        Some(space.loss_at.map_or(expiry, |at| at.min(expiry)))
    }

    /// Takes those for lost that were shown missing long enough ago.
    pub(crate) fn on_reordering_timer<C>(
        &mut self,
        space: &mut AckSpace<C>,
        now: Instant,
        out: &mut Outcome,
    ) {
        if space.loss_at.is_none_or(|at| now < at) {
            return;
        }
        let wait = self.reordering_wait();
        loop {
            // not many: of what is in flight, what left before the newest acknowledged packet and is still missing
            let next = space
                .in_flight()
                .find(|(_, sent)| sent.missing)
                .map(|(number, sent)| (number, sent.at + wait));
            match next {
                Some((number, lost_at)) if lost_at <= now => self.lost(space, number, true, out),
                next => {
                    space.loss_at = next.map(|(_, lost_at)| lost_at);
                    break;
                }
            }
        }
        space.settle();
        self.judge(now, false, out);
    }

    /// Notes that packet `number` leaves in a datagram of `bytes` bytes.
    pub(crate) fn on_sent<C>(&mut self, space: &mut AckSpace<C>, number: u64, bytes: u32, now: Instant) {
        let Some(sent) = space.get_mut(number).filter(|sent| sent.state == State::Handed) else { return };
        self.order += 1;
        sent.state = State::InFlight;
        sent.order = self.order;
        sent.at = now;
        sent.bytes = bytes;
        sent.sends += 1;
        let sends = sent.sends;
        if sends == 1 {
            sent.first_at = now;
            self.fresh_in_flight += 1;
        } else {
            self.retransmitted += 1;
        }
        if self.last_progress.is_none() {
            self.last_progress = Some(now);
        }
        self.in_flight_bytes += u64::from(bytes);
        self.in_flight_packets += 1;
        space.transmitted(number, sends);
    }

    /// Takes an acknowledgement of packets of `space`; all its numbers must have been sent.
    pub(crate) fn on_ack<C>(
        &mut self,
        space: &mut AckSpace<C>,
        set: AckSet,
        now: Instant,
        out: &mut Outcome,
    ) {
        let (mut newest, mut largest) = (None, None);
        for number in set.iter() {
            let Some(acked) = self.acked(space, number, now, out) else { continue };
            newest = newest.max(Some(acked.at));
            if number == set.largest() {
                largest = Some(acked);
            }
        }
        let Some(newest) = newest else { return };
        // The largest number stands for the packet that caused the acknowledgement (RFC 9002 §5.1), unless one that
        // left clearly later is news too: then an earlier acknowledgement of the largest was lost.
        if let Some(Acked { at, once: true }) = largest
            && newest.saturating_duration_since(at) <= self.max_ack_delay
        {
            // What took longer than the time-out is as likely an acknowledgement that was lost, and reported with another
            // packet's: an outage is no round trip. A path that did grow slower is learned sample by sample.
            let most = if self.rtt.is_measured() { self.timeout() } else { Duration::MAX };
            self.sample(now.saturating_duration_since(at).min(most), now, out);
        }
        self.last_progress = Some(now);
        let (mark, later, wait) =
            (space.mark(self.threshold as usize), space.mark(1), self.reordering_wait());
        for number in set.missing() {
            // only what the peer shows as missing: what it has not reported yet may have arrived
            let in_doubt =
                |sent: &&mut Sent<C>| sent.state == State::InFlight && sent.sends == 1 && sent.order < later;
            let Some(sent) = space.get_mut(number).filter(in_doubt) else { continue };
            sent.missing = true;
            let lost_at = sent.at + wait;
            if sent.order < mark || lost_at <= now {
                self.lost(space, number, true, out);
            } else {
                space.loss_at = Some(space.loss_at.map_or(lost_at, |at| at.min(lost_at)));
            }
        }
        while let Some(number) = space.pop_repeat_before(mark) {
            self.lost(space, number, true, out);
        }
        space.settle();
        self.judge(now, false, out);
        if self.in_flight_packets == 0 && space.is_empty() {
            self.last_progress = None;
        }
    }

    /// Takes the time-outs of `space` at `now`; true if there were any. [`expired`](Self::expired) ends the round.
    pub(crate) fn expire<C>(&mut self, space: &mut AckSpace<C>, now: Instant, out: &mut Outcome) -> bool {
        let timeout = self.timeout();
        let mut any = false;
        while let Some((number, sent)) = space.oldest_in_flight() {
            if now.saturating_duration_since(sent.at) < timeout {
                break;
            }
            self.lost(space, number, false, out);
            space.settle();
            any = true;
        }
        any
    }

    /// The timer ran out at `now`: one doubling, however many packets it concerned.
    pub(crate) fn expired(&mut self, now: Instant, out: &mut Outcome) {
        self.judge(now, self.backoff >= 2, out);
        self.backoff = self.backoff.saturating_add(1);
        self.repeat_window = (self.repeat_window / 2).max(MIN_REPEAT_WINDOW);
        self.last_expiry = Some(now);
    }

    /// A valid sample from a packet that is never repeated; taken where the reliable channels gave none lately.
    pub(crate) fn on_unreliable_sample(&mut self, rtt: Duration, now: Instant, out: &mut Outcome) {
        let recent = |at| now.saturating_duration_since(at) < SAMPLE_AGE;
        if self.backoff > 0 || !self.last_sample_at.is_some_and(recent) {
            self.sample(rtt, now, out);
        }
    }

    /// A valid sample, which ends the back-off (RFC 6298 §5.7, Karn).
    pub(crate) fn sample(&mut self, rtt: Duration, now: Instant, out: &mut Outcome) {
        self.rtt.sample(rtt);
        self.backoff = 0;
        self.last_expiry = None;
        self.ambiguous = false;
        self.last_sample_at = Some(now);
        out.rtt_sample = Some(rtt);
    }

    /// One acknowledged number; `None` if that is no news.
    fn acked<C>(
        &mut self,
        space: &mut AckSpace<C>,
        number: u64,
        now: Instant,
        out: &mut Outcome,
    ) -> Option<Acked> {
        let sent = space.get_mut(number).filter(|sent| sent.state != State::Acked)?;
        let (state, at, bytes, sends, order) = (sent.state, sent.at, sent.bytes, sent.sends, sent.order);
        let first_at = sent.first_at;
        sent.state = State::Acked;
        space.was_acked(number);
        out.newly_acked_packets += 1;
        out.newly_acked_bytes += u64::from(bytes);
        out.largest_acked_bytes = out.largest_acked_bytes.max(bytes);
        out.newest_acked_sent_at = out.newest_acked_sent_at.max(Some(at));
        out.newest_acked_first_sent_at = out.newest_acked_first_sent_at.max(Some(first_at));
        let waited = now.saturating_duration_since(at);
        // nothing comes back faster than the path's least round trip: an earlier copy had arrived
        let early = sends > 1 && waited < self.rtt.min() / 4 * 3;
        match state {
            State::InFlight => self.left_flight(bytes, sends),
            State::Lost { by_order } => self.was_spurious(by_order, out),
            State::Handed | State::Acked => {}
        }
        if sends == 1 {
            if state == State::InFlight {
                self.loss.record(false);
            }
            space.note_latest(order, MAX_THRESHOLD.min(self.threshold as usize));
        } else {
            self.repeat_window = self.repeat_window.saturating_add(1);
            self.ambiguous |= early || !self.rtt.is_measured();
            if early && state == State::InFlight {
                self.was_spurious(true, out);
            } else if !early {
                self.was_right();
            }
        }
        Some(Acked { at, once: sends == 1 })
    }

    fn lost<C>(&mut self, space: &mut AckSpace<C>, number: u64, by_order: bool, out: &mut Outcome) {
        let Some(sent) = space.get_mut(number).filter(|sent| sent.state == State::InFlight) else { return };
        let (at, bytes, sends) = (sent.at, sent.bytes, sent.sends);
        sent.state = State::Lost { by_order };
        sent.missing = false;
        space.was_lost(number);
        self.left_flight(bytes, sends);
        if sends == 1 {
            self.loss.record(true);
        }
        out.lost_packets += 1;
        out.lost_bytes += u64::from(bytes);
        out.largest_lost_bytes = out.largest_lost_bytes.max(bytes);
        out.newest_lost_sent_at = out.newest_lost_sent_at.max(Some(at));
    }

    /// Whether the losses are an event of their own: only packets sent after the last one count (RFC 9002 §7.3.1).
    fn judge(&mut self, now: Instant, persistent: bool, out: &mut Outcome) {
        let Some(lost_at) = out.newest_lost_sent_at.take() else { return };
        if self.recovery_start.is_none_or(|start| lost_at > start) {
            self.recovery_start = Some(now);
            out.congestion = Some(CongestionEvent {
                lost_packets: out.lost_packets,
                lost_bytes: out.lost_bytes,
                persistent,
            });
        }
    }

    fn left_flight(&mut self, bytes: u32, sends: u32) {
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(u64::from(bytes));
        self.in_flight_packets = self.in_flight_packets.saturating_sub(1);
        if sends == 1 {
            self.fresh_in_flight = self.fresh_in_flight.saturating_sub(1);
        }
    }

    /// A packet was repeated for nothing.
    fn was_spurious(&mut self, by_order: bool, out: &mut Outcome) {
        self.spurious += 1;
        self.was_hasty(by_order, out);
    }

    /// A packet was taken for lost and was not: where order misled, the path reorders more than was thought.
    fn was_hasty(&mut self, by_order: bool, out: &mut Outcome) {
        out.spurious += 1;
        if by_order {
            self.threshold = (self.threshold * 2).min(MAX_THRESHOLD as u32);
            self.rightful = 0;
        }
    }

    fn was_right(&mut self) {
        self.rightful += 1;
        if self.rightful >= RIGHTFUL_TO_LOWER {
            self.rightful = 0;
            self.threshold = self.least_threshold();
        }
    }

    fn least_threshold(&self) -> u32 {
        self.profile.fast_retransmit_threshold.clamp(1, MAX_THRESHOLD as u32)
    }
}

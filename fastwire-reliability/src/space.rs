//! One number line of sent packets: what is in flight, what is lost and waits to leave again.
//!
//! `C` is what a packet carries: one piece bound to its number for life in the base profile, several frames that
//! leave again under another number in the extended one. [`Repeat`] is the one switch between them.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use smallvec::SmallVec;

use crate::extended::Fate;

/// The greatest fast-retransmit threshold.
pub(crate) const MAX_THRESHOLD: usize = 16;

/// What becomes of a lost packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It is due again under its number.
    SameNumber,
    /// It is over: what it carried goes back to its owner, and leaves in another packet. It stays known for a while, so
    /// that an acknowledgement that was only late is seen as such.
    NewNumber,
}

/// What a packet means for timers and for the congestion controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Something in it is repeated when it is lost.
    Reliable,
    /// Nothing in it is: it does not count in flight and arms no probe timeout.
    Unreliable,
    /// A path MTU probe: reliable, and its loss is no congestion.
    MtuProbe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Handed out to be sent; nobody said yet that it was.
    Handed,
    InFlight,
    /// Taken for lost and due again. `by_order`: later packets were acknowledged; else its time was up.
    Lost {
        by_order: bool,
    },
    Acked,
}

#[derive(Debug)]
pub(crate) struct Sent<C> {
    /// `None` once acknowledged; with new numbers, once its fate is known.
    pub(crate) carries: Option<C>,
    /// The first transmission.
    pub(crate) first_at: Instant,
    /// The latest transmission.
    pub(crate) at: Instant,
    /// Place of the latest transmission among all of the connection's.
    pub(crate) order: u64,
    /// Datagram bytes of the latest transmission.
    pub(crate) bytes: u32,
    /// Transmissions so far.
    pub(crate) sends: u32,
    pub(crate) state: State,
    pub(crate) class: Class,
    /// An acknowledgement of a later packet showed it missing.
    pub(crate) missing: bool,
    /// With new numbers: nothing in it leaves again if it is lost.
    pub(crate) idle: bool,
}

/// One transmission of a packet; stale once the packet is no longer in flight with this count.
#[derive(Debug, Clone, Copy)]
struct Transmission {
    number: u64,
    sends: u32,
}

/// The sent packets of one number line, from the oldest unacknowledged on.
#[derive(Debug)]
pub(crate) struct AckSpace<C> {
    repeat: Repeat,
    /// Index = number − oldest. The first is never acknowledged.
    sent: VecDeque<Sent<C>>,
    oldest: u64,
    /// Every transmission in the order sent; the first is in flight. Timers look here.
    flight: VecDeque<Transmission>,
    /// Repeats in the order sent: what later packets' acknowledgements can show to be lost again.
    repeats: VecDeque<Transmission>,
    /// Lost packets in the order found; entries whose packet was acknowledged since are skipped.
    due: VecDeque<u64>,
    /// Orders of the newest acknowledged packets that were sent once, newest first.
    latest: SmallVec<[u64; 3]>,
    /// When a packet shown missing counts as lost though too few later ones were acknowledged.
    pub(crate) loss_at: Option<Instant>,
    /// The largest number acknowledged; with new numbers only, where it is the order of sending too.
    pub(crate) largest_acked: Option<u64>,
    /// With new numbers: what packets carried whose fate became known, for the owner to take.
    pub(crate) returned: Vec<(Fate, C)>,
    /// Packets that parity stands for, oldest first.
    pub(crate) shields: VecDeque<Shield>,
}

/// Packets that parity stands for, and so are not lost before it was due (PROTOCOL B5, FEC).
#[derive(Debug, Clone)]
pub(crate) struct Shield {
    pub(crate) packets: Range<u64>,
    /// The last packet of parity, and when it left; `None`: it is yet to leave.
    pub(crate) parity: Option<(u64, Instant)>,
}

impl<C> AckSpace<C> {
    /// Shows the records of the oldest packet, which the next acknowledgement may be of, and the place of the next one.
    pub(crate) fn show_parts(&self, to: &mut impl crate::extended::Parts) {
        if let (Some(oldest), Some(newest)) = (self.sent.front(), self.sent.back()) {
            to.see(oldest);
            to.see(newest);
        }
        if let Some(flight) = self.flight.front() {
            to.see(flight);
        }
    }

    /// A line whose first number is `first`.
    pub(crate) fn new(first: u64, repeat: Repeat) -> Self {
        Self {
            repeat,
            sent: VecDeque::new(),
            oldest: first,
            flight: VecDeque::new(),
            repeats: VecDeque::new(),
            due: VecDeque::new(),
            latest: SmallVec::new(),
            loss_at: None,
            largest_acked: None,
            returned: Vec::new(),
            shields: VecDeque::new(),
        }
    }

    /// The number the next new packet gets.
    pub(crate) fn next(&self) -> u64 {
        self.oldest + self.sent.len() as u64
    }

    /// Numbers from the oldest unacknowledged to the newest.
    pub(crate) fn span(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Takes a number that nobody will wait for: the packet is sent once.
    pub(crate) fn skip(&mut self) -> u64 {
        debug_assert!(self.sent.is_empty());
        self.oldest += 1;
        self.oldest - 1
    }

    /// Binds the next number to `carries`, which is kept until acknowledged.
    pub(crate) fn push(&mut self, carries: C, now: Instant) -> u64 {
        let number = self.next();
        if self.sent.capacity() == 0 {
            // most idle connections have one packet in flight
            self.sent.reserve_exact(1);
        }
        self.sent.push_back(Sent {
            carries: Some(carries),
            first_at: now,
            at: now,
            order: 0,
            bytes: 0,
            sends: 0,
            state: State::Handed,
            class: Class::Reliable,
            missing: false,
            idle: false,
        });
        number
    }

    /// Leaves out the numbers below `number` of a line that is unused.
    pub(crate) fn begin_at(&mut self, number: u64) {
        if self.sent.is_empty() {
            self.oldest = self.oldest.max(number);
        }
    }

    /// Leaves out the numbers below `number`: nobody waits for them.
    pub(crate) fn pass_to(&mut self, number: u64, now: Instant) {
        if self.sent.is_empty() {
            self.oldest = self.oldest.max(number);
        }
        while self.next() < number {
            let next = self.push_done(now);
            debug_assert!(next <= number);
        }
    }

    fn push_done(&mut self, now: Instant) -> u64 {
        self.sent.push_back(Sent {
            carries: None,
            first_at: now,
            at: now,
            order: 0,
            bytes: 0,
            sends: 1,
            state: State::Acked,
            class: Class::Unreliable,
            missing: false,
            idle: false,
        });
        self.next()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Sent<C>> {
        self.sent.get(usize::try_from(number.checked_sub(self.oldest)?).ok()?)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Sent<C>> {
        self.sent.get_mut(usize::try_from(number.checked_sub(self.oldest)?).ok()?)
    }

    /// Everything not yet acknowledged.
    pub(crate) fn unacknowledged(&self) -> impl Iterator<Item = &C> {
        self.sent.iter().filter_map(|sent| sent.carries.as_ref())
    }

    /// Whether a lost packet waits to leave again.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The next packet to repeat; it is now handed out.
    pub(crate) fn pop_due(&mut self) -> Option<(u64, &Sent<C>)> {
        while let Some(number) = self.due.pop_front() {
            let lost = self.get_mut(number).filter(|sent| matches!(sent.state, State::Lost { .. }));
            if let Some(sent) = lost {
                sent.state = State::Handed;
                // a second look-up, because the borrow of a conditional return lasts too long
                return self.get(number).map(|sent| (number, sent));
            }
        }
        None
    }

    /// Notes a transmission just recorded in the packet's [`Sent`].
    pub(crate) fn transmitted(&mut self, number: u64, sends: u32) {
        self.flight.push_back(Transmission { number, sends });
        if sends > 1 {
            self.repeats.push_back(Transmission { number, sends });
        }
    }

    /// A packet just marked lost: it is due again, or what it carried goes back to its owner.
    pub(crate) fn was_lost(&mut self, number: u64) {
        match self.repeat {
            Repeat::SameNumber => self.due.push_back(number),
            Repeat::NewNumber => self.give_back(number, Fate::Lost),
        }
    }

    /// A packet just marked acknowledged: nothing needs what it carried any more.
    pub(crate) fn was_acked(&mut self, number: u64) {
        match self.repeat {
            Repeat::SameNumber => {
                if let Some(sent) = self.get_mut(number) {
                    sent.carries = None;
                }
            }
            Repeat::NewNumber => self.give_back(number, Fate::Acked),
        }
    }

    fn give_back(&mut self, number: u64, fate: Fate) {
        if let Some(carries) = self.get_mut(number).and_then(|sent| sent.carries.take()) {
            self.hand_back(fate, carries);
        }
    }

    /// What a packet carried goes back to its owner.
    #[inline]
    pub(crate) fn hand_back(&mut self, fate: Fate, carries: C) {
        if self.returned.capacity() == 0 {
            self.returned.reserve_exact(1);
        }
        self.returned.push((fate, carries));
    }

    /// Notes a packet that leaves, whose number is the next.
    #[inline]
    pub(crate) fn push_sent(&mut self, sent: Sent<C>) {
        if self.sent.capacity() == 0 {
            // most idle connections have one packet in flight
            self.sent.reserve_exact(1);
        }
        self.flight.push_back(Transmission { number: self.next(), sends: sent.sends });
        self.sent.push_back(sent);
    }

    /// Notes the acknowledgement of a packet that was sent once, `order`-th of all.
    pub(crate) fn note_latest(&mut self, order: u64, keep: usize) {
        let at = self.latest.iter().position(|&other| other < order).unwrap_or(self.latest.len());
        if at < keep {
            self.latest.insert(at, order);
            self.latest.truncate(keep);
        }
    }

    /// Transmissions before this order have `threshold` later ones acknowledged (0 = none has).
    pub(crate) fn mark(&self, threshold: usize) -> u64 {
        threshold.checked_sub(1).and_then(|i| self.latest.get(i)).copied().unwrap_or(0)
    }

    /// The next repeat in flight sent before `mark`, in the order sent.
    pub(crate) fn pop_repeat_before(&mut self, mark: u64) -> Option<u64> {
        while let Some(&first) = self.repeats.front() {
            let order = self.live(first).map(|sent| sent.order);
            if order.is_some_and(|order| order >= mark) {
                return None;
            }
            self.repeats.pop_front();
            if order.is_some() {
                return Some(first.number);
            }
        }
        None
    }

    /// The transmissions in flight, in the order sent.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (u64, &Sent<C>)> {
        self.flight.iter().filter_map(|&of| self.live(of).map(|sent| (of.number, sent)))
    }

    /// The oldest transmission in flight.
    pub(crate) fn oldest_in_flight(&self) -> Option<(u64, &Sent<C>)> {
        self.flight.front().and_then(|&first| self.live(first).map(|sent| (first.number, sent)))
    }

    /// The number of the oldest transmission that may be in flight.
    pub(crate) fn first_in_flight(&self) -> Option<u64> {
        self.flight.front().map(|first| first.number)
    }

    /// Takes the oldest entry off the flight if `take` says so, which sees its number and, unless it is stale, the packet.
    /// Returns the number and whether the packet is in flight.
    pub(crate) fn pop_flight(
        &mut self,
        take: impl FnOnce(u64, Option<&Sent<C>>) -> bool,
    ) -> Option<(u64, bool)> {
        let &first = self.flight.front()?;
        let live = self.live(first);
        let is_live = live.is_some();
        if !take(first.number, live) {
            return None;
        }
        self.flight.pop_front();
        Some((first.number, is_live))
    }

    /// With new numbers: forgets lost packets that left at `horizon` or before, for whose acknowledgement it is too late.
    /// Returns how many.
    pub(crate) fn forget_lost(&mut self, horizon: Option<Instant>) -> u32 {
        let mut forgotten = 0;
        while let Some(front) = self.sent.front() {
            match front.state {
                State::Acked => {}
                State::Lost { .. } if horizon.is_some_and(|horizon| front.at <= horizon) => forgotten += 1,
                _ => break,
            }
            self.sent.pop_front();
            self.oldest += 1;
        }
        forgotten
    }

    /// Restores what the fields promise after packets were acknowledged or lost.
    pub(crate) fn settle(&mut self) {
        while self.sent.front().is_some_and(|sent| sent.state == State::Acked) {
            self.sent.pop_front();
            self.oldest += 1;
        }
        while self.flight.front().is_some_and(|&first| self.live(first).is_none()) {
            self.flight.pop_front();
        }
        if self.sent.is_empty() {
            self.repeats.clear();
            self.due.clear();
        }
    }

    /// What shields a packet.
    pub(crate) fn shield(&self, number: u64) -> Option<&Shield> {
        self.shields.iter().find(|shield| shield.packets.contains(&number))
    }

    /// Gives back memory that a burst took.
    pub(crate) fn trim(&mut self) {
        // What is small would only be asked for again.
        const SMALL: usize = 2;
        if self.sent.capacity() > SMALL {
            self.sent.shrink_to_fit();
        }
        if self.flight.capacity() > 2 * SMALL {
            self.flight.shrink_to_fit();
        }
        if self.returned.capacity() > SMALL {
            self.returned.shrink_to_fit();
        }
        self.repeats.shrink_to_fit();
        self.due.shrink_to_fit();
    }

    fn live(&self, of: Transmission) -> Option<&Sent<C>> {
        self.get(of.number).filter(|sent| sent.state == State::InFlight && sent.sends == of.sends)
    }
}

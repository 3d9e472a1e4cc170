//! One number line of sent packets: what is in flight, what is lost and waits to leave again.
//!
//! `C` is what a packet carries: one piece bound to its number for life in the base profile.

use std::collections::VecDeque;
use std::time::Instant;

use smallvec::SmallVec;

/// The greatest fast-retransmit threshold.
pub(crate) const MAX_THRESHOLD: usize = 16;

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
    /// `None` once acknowledged.
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
    /// An acknowledgement of a later packet showed it missing.
    pub(crate) missing: bool,
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
}

impl<C> AckSpace<C> {
    /// A line whose first number is `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            sent: VecDeque::new(),
            oldest: first,
            flight: VecDeque::new(),
            repeats: VecDeque::new(),
            due: VecDeque::new(),
            latest: SmallVec::new(),
            loss_at: None,
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
        self.sent.push_back(Sent {
            carries: Some(carries),
            first_at: now,
            at: now,
            order: 0,
            bytes: 0,
            sends: 0,
            state: State::Handed,
            missing: false,
        });
        number
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

    /// Puts a packet among those due again.
    pub(crate) fn fell_due(&mut self, number: u64) {
        self.due.push_back(number);
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

    /// Gives back memory that a burst took.
    pub(crate) fn trim(&mut self) {
        self.sent.shrink_to_fit();
        self.flight.shrink_to_fit();
        self.repeats.shrink_to_fit();
        self.due.shrink_to_fit();
    }

    fn live(&self, of: Transmission) -> Option<&Sent<C>> {
        self.get(of.number).filter(|sent| sent.state == State::InFlight && sent.sends == of.sends)
    }
}

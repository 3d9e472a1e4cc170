//! What a connection has for its async reader, and the news its tasks wait for.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::Receipt;
use crate::proto::MessageTime;
use crate::shell::link::lock;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Receipts that a connection's tasks have asked for and not taken; further messages with one wait.
const MAX_RECEIPTS: usize = 65_536;

/// Messages on their way to the reader. Bounded: beyond the limit the connection is paused and its messages stay
/// in the core's receive budget. Only what a connection still holds at its end comes on top.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// A message or the end has come; for the one reader.
    readable: Notify,
    /// The queue of orders may have room; for all senders.
    room: Notify,
    /// The connection is over; for all who wait for that.
    ended: Notify,
    /// A receipt has come; for all who wait for one.
    receipt: Notify,
    /// Tasks read here.
    served: AtomicBool,
    /// The reader has room again, and the pump does not know yet.
    pub(crate) wants_resume: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(u8, Bytes)>,
    /// Messages taken from it so far.
    taken: u64,
    /// When messages in it were sent that have a stamp; how many are taken before them.
    times: VecDeque<(u64, MessageTime)>,
    receipts: VecDeque<Receipt>,
    /// Receipts asked for that nobody has taken.
    expected: usize,
    ended: bool,
    /// Nobody reads any more.
    deaf: bool,
    paused: bool,
}

/// What taking a message gave.
pub(super) enum Taken {
    /// A message, and whether the connection has to be resumed.
    Message((u8, Bytes), Option<MessageTime>, bool),
    Nothing,
    End,
}

impl Inbox {
    /// Adds a message, or drops a `spare` one that finds it full. Gives whether the connection has to be paused now.
    pub(super) fn push(
        &self,
        (channel, data): (u8, Bytes),
        time: Option<MessageTime>,
        limit: usize,
        spare: bool,
    ) -> bool {
        let mut state = lock(&self.state);
        if state.deaf || (spare && state.queue.len() >= limit) {
            return false;
        }
        if let Some(time) = time {
            let before = state.taken + state.queue.len() as u64;
            state.times.push_back((before, time));
        }
        state.queue.push_back((channel, data));
        let pause = state.queue.len() >= limit && !state.paused;
        state.paused |= pause;
        drop(state);
        self.readable.notify_one();
        pause
    }

    pub(super) fn take(&self, limit: usize) -> Taken {
        let mut state = lock(&self.state);
        match state.queue.pop_front() {
            Some(message) => {
                let resume = state.paused && !state.ended && state.queue.len() <= limit / 2;
                state.paused &= !resume;
                let its = state.times.front().is_some_and(|(before, _)| *before == state.taken);
                let time = if its { state.times.pop_front().map(|(_, time)| time) } else { None };
                state.taken += 1;
                Taken::Message(message, time, resume)
            }
            None if state.ended => Taken::End,
            None => Taken::Nothing,
        }
    }

    /// Tasks read here from now on.
    pub(super) fn serve(&self) {
        self.served.store(true, Ordering::Release);
    }

    pub(crate) fn is_served(&self) -> bool {
        self.served.load(Ordering::Acquire)
    }

    /// A message with a receipt is to be queued. Gives whether there may be one more.
    pub(crate) fn expect_receipt(&self) -> bool {
        if !self.is_served() {
            return true;
        }
        let mut state = lock(&self.state);
        let fits = state.expected < MAX_RECEIPTS;
        state.expected += usize::from(fits);
        fits
    }

    pub(crate) fn give_receipt(&self, receipt: Receipt) {
        lock(&self.state).receipts.push_back(receipt);
        self.receipt.notify_one();
    }

    /// The next receipt; `None` when there will be no more.
    pub(super) async fn next_receipt(&self) -> Option<Receipt> {
        loop {
            {
                let mut state = lock(&self.state);
                if let Some(receipt) = state.receipts.pop_front() {
                    state.expected = state.expected.saturating_sub(1);
                    // one who waits beside us may take the next, or see the end
                    let more = !state.receipts.is_empty();
                    drop(state);
                    self.room.notify_waiters();
                    if more {
                        self.receipt.notify_one();
                    }
                    return Some(receipt);
                }
                if state.ended {
                    drop(state);
                    self.receipt.notify_one();
                    return None;
                }
            }
            self.receipt.notified().await;
        }
    }

    pub(super) async fn readable(&self) {
        self.readable.notified().await;
    }

    /// Nobody reads any more. Gives whether the connection has to be resumed.
    pub(super) fn stop_reading(&self) -> bool {
        let mut state = lock(&self.state);
        state.deaf = true;
        state.queue.clear();
        state.times.clear();
        std::mem::take(&mut state.paused) && !state.ended
    }

    pub(super) fn room(&self) -> &Notify {
        &self.room
    }

    /// The pump took orders out of the queue.
    pub(crate) fn announce_room(&self) {
        self.room.notify_waiters();
    }

    /// The connection is over. What is queued can still be read.
    pub(crate) fn end(&self) {
        lock(&self.state).ended = true;
        self.readable.notify_one();
        self.receipt.notify_one();
        self.room.notify_waiters();
        self.ended.notify_waiters();
    }

    pub(crate) fn take_resume(&self) -> bool {
        self.wants_resume.load(Ordering::Relaxed) && self.wants_resume.swap(false, Ordering::AcqRel)
    }

    pub(super) async fn ended(&self) {
        let mut ended = std::pin::pin!(self.ended.notified());
        ended.as_mut().enable();
        if !lock(&self.state).ended {
            ended.await;
        }
    }
}

#[cfg(all(test, fastwire_model))]
mod model;

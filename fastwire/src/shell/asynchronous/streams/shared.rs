//! One stream between the tasks that use it and the pump: what has come and was not read, what was written and is not in
//! the core yet, how both halves ended.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::ReadBuf;

use super::core::Core;
use crate::shell::link::lock;
use crate::sync::Mutex;
use crate::{ConnectionId, DisconnectReason, SendError, StreamError};

/// A stream's bytes travel in messages of at most this many bytes: a lost packet holds up no more than one of them beyond
/// its own.
const MESSAGE: usize = 16 << 10;

/// So many bytes of one stream wait in the core at most, so that one stream does not fill the connection's queue. Enough
/// for the pump's next turn.
const AHEAD: usize = 256 << 10;

/// What a read or write fails with, inside an [`io::Error`] of the kind
/// [`ConnectionReset`](io::ErrorKind::ConnectionReset), when the peer broke the stream off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the peer reset the stream with code {code}")]
pub struct StreamReset {
    /// What the peer's application says of it; 0 where it dropped the stream unfinished.
    pub code: u16,
}

impl StreamReset {
    /// The code of the reset that an error of a stream is about, if it is about one.
    ///
    /// ```
    /// use fastwire::asynchronous::StreamReset;
    ///
    /// let error = std::io::Error::other("something else");
    /// assert_eq!(StreamReset::code_of(&error), None);
    /// ```
    pub fn code_of(error: &io::Error) -> Option<u16> {
        Some(error.get_ref()?.downcast_ref::<Self>()?.code)
    }
}

/// Why a half of a stream works no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// By the peer.
    Reset(u16),
    /// By this side.
    Given,
    /// The connection is over.
    Lost(Option<DisconnectReason>),
}

impl Broken {
    fn error(self) -> io::Error {
        match self {
            Self::Reset(code) => io::Error::new(io::ErrorKind::ConnectionReset, StreamReset { code }),
            Self::Given => io::Error::new(io::ErrorKind::BrokenPipe, "this side reset the stream"),
            Self::Lost(None) => {
                io::Error::new(io::ErrorKind::ConnectionAborted, "the endpoint ended before the stream")
            }
            Self::Lost(Some(reason)) => io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!("the connection ended before the stream: {reason}"),
            ),
        }
    }
}

/// How the peer's half stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    Finished,
    Broken(Broken),
}

/// How our half stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// FIN follows what waits.
    Finished,
    /// RESET with this code is to be sent; what waits is dropped.
    Resetting(u16),
    Broken(Broken),
}

/// What serving a stream came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    All,
    /// Something waits until the core has room.
    Stuck,
    /// Both halves ended: the channel is free.
    Over,
}

#[derive(Debug)]
struct State {
    reading: Reading,
    arrived: VecDeque<Bytes>,
    /// Bytes in `arrived`.
    held: usize,
    /// Nobody reads: what comes is thrown away.
    deaf: bool,
    /// The channel is paused in the core, and to be resumed.
    paused: bool,
    resume: bool,
    reader: Option<Waker>,
    writing: Writing,
    /// Written, and not in the core.
    waiting: BytesMut,
    /// The front of `waiting`, as the core refused it.
    refused: Option<Bytes>,
    /// The peer is to learn of the stream though nothing was written; and it does.
    announce: bool,
    announced: bool,
    writer: Option<Waker>,
    /// It waits for the core to send what it has of this stream.
    is_ahead: bool,
    listed: bool,
    own_ended: bool,
    peer_ended: bool,
}

/// One stream. The lock of its state is held for no call that could take another.
#[derive(Debug)]
pub(crate) struct Shared {
    channel: u8,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new(channel: u8) -> Self {
        let state = State {
            reading: Reading::Open,
            arrived: VecDeque::new(),
            held: 0,
            deaf: false,
            paused: false,
            resume: false,
            reader: None,
            writing: Writing::Open,
            waiting: BytesMut::new(),
            refused: None,
            announce: false,
            announced: false,
            writer: None,
            is_ahead: false,
            listed: false,
            own_ended: false,
            peer_ended: false,
        };
        Self { channel, state: Mutex::new(state) }
    }

    pub(super) fn channel(&self) -> u8 {
        self.channel
    }

    /// Reads what has come; the flag asks for the pump.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        limit: usize,
    ) -> (Poll<io::Result<()>>, bool) {
        let mut state = lock(&self.state);
        if buf.remaining() == 0 {
            return (Poll::Ready(Ok(())), false);
        }
        let before = buf.remaining();
        while let Some(front) = state.arrived.front_mut() {
            let piece = front.split_to(front.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if front.is_empty() {
                state.arrived.pop_front();
            }
            if buf.remaining() == 0 {
                break;
            }
        }
        let read = before - buf.remaining();
        state.held -= read;
        if read > 0 {
            let resume = state.paused && state.held <= limit / 2;
            state.paused &= !resume;
            state.resume |= resume;
            return (Poll::Ready(Ok(())), resume && state.list());
        }
        match state.reading {
            Reading::Finished => (Poll::Ready(Ok(())), false),
            Reading::Broken(broken) => (Poll::Ready(Err(broken.error())), false),
            Reading::Open => {
                keep(&mut state.reader, cx);
                (Poll::Pending, false)
            }
        }
    }

    /// Takes bytes to send; the flag asks for the pump.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
        limit: usize,
    ) -> (Poll<io::Result<usize>>, bool) {
        let mut state = lock(&self.state);
        if let Err(error) = state.may_write() {
            return (Poll::Ready(Err(error)), false);
        }
        let room = limit.saturating_sub(state.unsent());
        if room == 0 && !data.is_empty() {
            keep(&mut state.writer, cx);
            return (Poll::Pending, false);
        }
        let taken = data.len().min(room);
        state.waiting.extend_from_slice(data.get(..taken).unwrap_or_default());
        let call = taken > 0 && state.list();
        (Poll::Ready(Ok(taken)), call)
    }

    /// Has the peer learn of the stream if it cannot know it yet; the flag asks for the pump.
    pub(super) fn flush(&self) -> (io::Result<()>, bool) {
        let mut state = lock(&self.state);
        match state.writing {
            Writing::Open => {}
            Writing::Finished => return (Ok(()), false),
            Writing::Resetting(_) => return (Err(Broken::Given.error()), false),
            Writing::Broken(broken) => return (Err(broken.error()), false),
        }
        let call = !state.announced && state.unsent() == 0;
        state.announce |= call;
        (Ok(()), call && state.list())
    }

    /// Ends our half after what was written; the flag asks for the pump.
    pub(super) fn finish(&self) -> (io::Result<()>, bool) {
        let mut state = lock(&self.state);
        match state.writing {
            Writing::Open => {
                state.writing = Writing::Finished;
                (Ok(()), state.list())
            }
            Writing::Finished => (Ok(()), false),
            Writing::Resetting(_) => (Err(Broken::Given.error()), false),
            Writing::Broken(broken) => (Err(broken.error()), false),
        }
    }

    /// Ends the stream at once; whether the pump is asked for.
    pub(super) fn reset(&self, code: u16) -> bool {
        let mut state = lock(&self.state);
        if matches!(state.reading, Reading::Open) {
            state.reading = Reading::Broken(Broken::Given);
        }
        let wakers = state.wakers();
        let called = state.stop_reading();
        let resets = matches!(state.writing, Writing::Open | Writing::Finished);
        if resets {
            state.writing = Writing::Resetting(code);
            state.drop_unsent();
        }
        let call = (resets || called) && state.list();
        drop(state);
        wake(wakers);
        call
    }

    /// Nobody writes any more. Unfinished, that is a reset.
    pub(super) fn stop_writing(&self) -> bool {
        let mut state = lock(&self.state);
        if state.writing != Writing::Open {
            return false;
        }
        state.writing = Writing::Resetting(0);
        state.drop_unsent();
        state.list()
    }

    /// Nobody reads any more.
    pub(super) fn stop_reading(&self) -> bool {
        let mut state = lock(&self.state);
        state.stop_reading() && state.list()
    }

    /// Bytes came. Gives whether the channel is to be paused.
    pub(super) fn on_data(&self, data: Bytes, limit: usize) -> bool {
        let mut state = lock(&self.state);
        if state.deaf || state.reading != Reading::Open || data.is_empty() {
            return false;
        }
        state.held += data.len();
        state.arrived.push_back(data);
        let pause = state.held >= limit && !state.paused;
        // a resume that the pump has not seen yet is overtaken
        state.resume &= !pause;
        state.paused |= pause;
        let reader = state.reader.take();
        drop(state);
        wake([reader, None]);
        pause
    }

    /// The peer ended its half. Gives whether the stream is over.
    pub(super) fn on_finished(&self) -> bool {
        let mut state = lock(&self.state);
        if state.reading == Reading::Open {
            state.reading = Reading::Finished;
        }
        state.peer_ended = true;
        let (reader, over) = (state.reader.take(), state.own_ended);
        drop(state);
        wake([reader, None]);
        over
    }

    /// The peer broke the stream off. Gives the code to end our half with in answer, if it has not ended: after that the
    /// stream is over.
    pub(super) fn on_reset(&self, code: u16) -> Option<u16> {
        let mut state = lock(&self.state);
        let own = if let Writing::Resetting(code) = state.writing { code } else { 0 };
        state.fail(Broken::Reset(code));
        state.peer_ended = true;
        let answer = !std::mem::replace(&mut state.own_ended, true);
        let wakers = state.wakers();
        drop(state);
        wake(wakers);
        answer.then_some(own)
    }

    /// The connection is over.
    pub(super) fn on_lost(&self, reason: Option<DisconnectReason>) {
        let mut state = lock(&self.state);
        if state.reading == Reading::Open {
            state.reading = Reading::Broken(Broken::Lost(reason));
        }
        // what was finished may have arrived, and may not: nobody asks any more
        state.writing = Writing::Broken(Broken::Lost(reason));
        state.drop_unsent();
        let wakers = state.wakers();
        drop(state);
        wake(wakers);
    }

    /// Whether it waits only for the core to send some of what it has, and the core has sent some.
    pub(super) fn could_go(&self, id: ConnectionId, core: &impl Core) -> bool {
        lock(&self.state).is_ahead && core.unsent_on(id, self.channel) < AHEAD / 2
    }

    /// Carries out what tasks have asked for.
    pub(super) fn serve(&self, id: ConnectionId, now: Instant, core: &mut impl Core, limit: usize) -> Served {
        let mut state = lock(&self.state);
        state.listed = false;
        state.is_ahead = false;
        if std::mem::take(&mut state.resume) {
            let _ = core.pause_channel(id, self.channel, false);
        }
        if state.own_ended && state.peer_ended {
            return Served::All;
        }
        if !state.advance(id, now, self.channel, core) {
            // it stays on the list
            state.listed = true;
            let writer = state.writer_with_room(limit);
            drop(state);
            wake([writer, None]);
            return Served::Stuck;
        }
        let over = state.own_ended && state.peer_ended;
        let writer = state.writer_with_room(limit);
        drop(state);
        wake([writer, None]);
        if over { Served::Over } else { Served::All }
    }
}

impl State {
    /// Puts the stream on the list of those that want the pump. Gives whether it was not there.
    fn list(&mut self) -> bool {
        !std::mem::replace(&mut self.listed, true)
    }

    fn may_write(&self) -> io::Result<()> {
        match self.writing {
            Writing::Open => Ok(()),
            Writing::Finished => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "this side has shut its half of the stream down",
            )),
            Writing::Resetting(_) => Err(Broken::Given.error()),
            Writing::Broken(broken) => Err(broken.error()),
        }
    }

    fn unsent(&self) -> usize {
        self.waiting.len() + self.refused.as_ref().map_or(0, Bytes::len)
    }

    fn drop_unsent(&mut self) {
        self.waiting = BytesMut::new();
        self.refused = None;
        self.announce = false;
    }

    /// Throws away what came and what will. Gives whether the pump has to resume the channel.
    fn stop_reading(&mut self) -> bool {
        self.deaf = true;
        self.arrived = VecDeque::new();
        self.held = 0;
        let resume = std::mem::take(&mut self.paused);
        self.resume |= resume;
        resume
    }

    fn fail(&mut self, broken: Broken) {
        self.arrived = VecDeque::new();
        self.held = 0;
        if self.reading != Reading::Broken(Broken::Given) {
            self.reading = Reading::Broken(broken);
        }
        if !matches!(self.writing, Writing::Broken(_)) {
            self.writing = Writing::Broken(broken);
        }
        self.drop_unsent();
    }

    fn wakers(&mut self) -> [Option<Waker>; 2] {
        [self.reader.take(), self.writer.take()]
    }

    fn writer_with_room(&mut self, limit: usize) -> Option<Waker> {
        if self.unsent() <= limit / 2 { self.writer.take() } else { None }
    }

    /// Does what our half wants of the core. Gives false when that has to wait.
    fn advance(&mut self, id: ConnectionId, now: Instant, channel: u8, core: &mut impl Core) -> bool {
        let ended = match self.writing {
            Writing::Resetting(code) => core.reset_stream(now, id, channel, code),
            Writing::Open | Writing::Finished if !self.own_ended => {
                if !self.feed(id, now, channel, core) {
                    return false;
                }
                if self.writing == Writing::Open {
                    return true;
                }
                core.finish_stream(now, id, channel)
            }
            _ => return true,
        };
        if matches!(ended, Err(StreamError::Ended(_))) && !self.announced && !self.own_ended {
            // the end of the channel's last stream has not left yet
            return false;
        }
        if matches!(self.writing, Writing::Resetting(_)) {
            self.writing = Writing::Broken(Broken::Given);
        }
        self.own_ended = true;
        true
    }

    /// Hands to the core what waits. Gives false when the core has enough.
    fn feed(&mut self, id: ConnectionId, now: Instant, channel: u8, core: &mut impl Core) -> bool {
        loop {
            let next = match self.refused.take() {
                Some(refused) => refused,
                None if !self.waiting.is_empty() => {
                    if core.unsent_on(id, channel) >= AHEAD {
                        self.is_ahead = true;
                        return false;
                    }
                    let len = self.waiting.len().min(MESSAGE);
                    self.waiting.split_to(len).freeze()
                }
                None if self.announce && !self.announced => Bytes::new(),
                None => return true,
            };
            match core.write_stream(now, id, channel, next.clone()) {
                Ok(()) => self.announced = true,
                Err(SendError::QueueFull(_)) => {
                    self.refused = (!next.is_empty()).then_some(next);
                    return false;
                }
                // the end of the channel's last stream has not left yet
                Err(SendError::StreamEnded(_)) if !self.announced => {
                    self.refused = (!next.is_empty()).then_some(next);
                    return false;
                }
                Err(SendError::ConnectionClosed) => {
                    // the news of it is on its way
                    self.drop_unsent();
                    return true;
                }
                Err(error) => {
                    tracing::warn!(connection = %id, channel, %error, "bytes of a stream were dropped");
                    self.drop_unsent();
                    return true;
                }
            }
        }
    }
}

/// Has the task woken; the newest one that asked.
fn keep(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(wakers: [Option<Waker>; 2]) {
    wakers.into_iter().flatten().for_each(Waker::wake);
}

#[cfg(all(test, fastwire_model))]
mod model;

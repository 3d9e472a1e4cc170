//! The pump and the tasks of one stream, under many schedules.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Wake;

use shuttle::{future::block_on, thread};

use super::*;
use crate::sync::model::{Bell, check};

/// Whose stream it is.
fn id() -> ConnectionId {
    ConnectionId::new(0, 0)
}

/// A core that takes one message at a time, and what it was asked.
#[derive(Debug, Default)]
struct OneMessage {
    full: bool,
    taken: Vec<u8>,
    finished: bool,
    reset: Option<u16>,
    paused: bool,
}

impl Core for OneMessage {
    fn pause_channel(&mut self, _: ConnectionId, _: u8, paused: bool) -> Result<(), StreamError> {
        self.paused = paused;
        Ok(())
    }

    fn unsent_on(&self, _: ConnectionId, _: u8) -> usize {
        0
    }

    fn write_stream(&mut self, _: Instant, _: ConnectionId, _: u8, data: Bytes) -> Result<(), SendError> {
        assert!(!self.finished && self.reset.is_none(), "nothing follows an end");
        if self.full {
            return Err(SendError::QueueFull(data));
        }
        self.full = true;
        self.taken.extend_from_slice(&data);
        Ok(())
    }

    fn finish_stream(&mut self, _: Instant, _: ConnectionId, _: u8) -> Result<(), StreamError> {
        self.finished = true;
        Ok(())
    }

    fn reset_stream(&mut self, _: Instant, _: ConnectionId, _: u8, code: u16) -> Result<(), StreamError> {
        self.reset = Some(code);
        Ok(())
    }
}

/// A stream, and the bell with which its tasks call the pump.
fn stream() -> (Arc<Shared>, Arc<Bell>) {
    (Arc::new(Shared::new(0)), Arc::default())
}

fn ring(bell: &Arc<Bell>, call: bool) {
    if call {
        Arc::clone(bell).wake();
    }
}

#[test]
fn model_what_is_written_reaches_a_core_with_little_room_whole_and_before_the_end() {
    check(|| {
        const LIMIT: usize = 4;
        let (stream, called) = stream();
        let (pump, heard) = (Arc::clone(&stream), Arc::clone(&called));
        let pump = thread::spawn(move || {
            let (mut core, now) = (OneMessage::default(), Instant::now());
            let mut stuck = false;
            while !core.finished {
                if !heard.take() && !stuck {
                    thread::yield_now();
                    continue;
                }
                stuck = pump.serve(id(), now, &mut core, LIMIT) == Served::Stuck;
                core.full = false;
            }
            core
        });
        let written: Vec<u8> = (0..10).collect();
        let mut rest = &written[..];
        while !rest.is_empty() {
            let count = block_on(poll_fn(|cx| {
                let (poll, call) = stream.poll_write(cx, rest, LIMIT);
                ring(&called, call);
                poll
            }));
            let count = count.expect("the stream is open");
            assert!((1..=LIMIT).contains(&count));
            rest = &rest[count..];
        }
        let (finished, call) = stream.finish();
        finished.expect("the stream is open");
        ring(&called, call);
        let core = pump.join().unwrap();
        assert_eq!((core.taken, core.reset), (written, None));
    });
}

#[test]
fn model_what_comes_is_read_whole_and_a_pause_is_taken_back_once_there_is_room() {
    check(|| {
        const LIMIT: usize = 2;
        let (stream, called) = stream();
        let (pump, heard) = (Arc::clone(&stream), Arc::clone(&called));
        let pump = thread::spawn(move || {
            let (mut core, now) = (OneMessage::default(), Instant::now());
            let mut came = 0;
            while came < 6 {
                if heard.take() {
                    pump.serve(id(), now, &mut core, LIMIT);
                }
                if core.paused {
                    thread::yield_now();
                    continue;
                }
                core.paused = pump.on_data(Bytes::copy_from_slice(&[came]), LIMIT);
                came += 1;
            }
            pump.on_finished();
        });
        let mut got = Vec::new();
        loop {
            let mut memory = [0; 4];
            let mut buf = ReadBuf::new(&mut memory);
            let read = block_on(poll_fn(|cx| {
                let (poll, call) = stream.poll_read(cx, &mut buf, LIMIT);
                ring(&called, call);
                poll
            }));
            read.expect("nothing breaks it");
            assert!(buf.filled().len() <= LIMIT, "no more waits than that");
            if buf.filled().is_empty() {
                break;
            }
            got.extend_from_slice(buf.filled());
        }
        assert_eq!(got, [0, 1, 2, 3, 4, 5]);
        pump.join().unwrap();
    });
}

#[test]
fn model_whoever_waits_at_a_stream_sees_its_end_and_a_reset_reaches_the_core() {
    check(|| {
        let (stream, called) = stream();
        let reader = {
            let (stream, called) = (Arc::clone(&stream), Arc::clone(&called));
            thread::spawn(move || {
                let mut memory = [0; 4];
                let mut buf = ReadBuf::new(&mut memory);
                block_on(poll_fn(|cx| {
                    let (poll, call) = stream.poll_read(cx, &mut buf, 4);
                    ring(&called, call);
                    poll
                }))
            })
        };
        let writer = {
            let (stream, called) = (Arc::clone(&stream), Arc::clone(&called));
            thread::spawn(move || {
                while block_on(poll_fn(|cx| {
                    let (poll, call) = stream.poll_write(cx, &[1, 2], 4);
                    ring(&called, call);
                    poll
                }))
                .is_ok()
                {}
            })
        };
        let breaker = {
            let (stream, called) = (Arc::clone(&stream), Arc::clone(&called));
            thread::spawn(move || ring(&called, stream.reset(7)))
        };
        // The core takes one message and then has no room: the writer has to wait, until the reset drops what waits.
        let (mut core, now) = (OneMessage::default(), Instant::now());
        let mut stuck = false;
        while core.reset.is_none() {
            if called.take() || stuck {
                stuck = stream.serve(id(), now, &mut core, 4) == Served::Stuck;
            }
            thread::yield_now();
        }
        assert_eq!(core.reset, Some(7));
        assert!(reader.join().unwrap().is_err());
        writer.join().unwrap();
        breaker.join().unwrap();
    });
}

//! The channels of two ends of the extended profile, joined by a line that does what a script says: messages, streams
//! and their ends, credit.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire::reliability::extended::{ExtendedChannels, Incoming};
use fastwire::reliability::{
    ChannelLayout, ChannelsConfig, DeliveryMode, FragmentFlags, Outcome, Quota, RecoveryProfile,
};
use fastwire::wire::extended::{Ack, Frame, Frames};

use crate::Script;

/// Packets the line holds in each direction; older ones are lost.
const LINE: usize = 256;
/// Plaintext of a packet.
const ROOM: usize = 600;

/// How a stream ends for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Finished,
    Reset,
    /// It was finished, and reset before the reader had it all.
    Either,
}

/// One stream of a channel: what its reader has still to see.
#[derive(Debug, Default)]
struct Stream {
    messages: VecDeque<Bytes>,
    ending: Option<Ending>,
}

/// One direction of one channel.
#[derive(Debug)]
struct Book {
    mode: DeliveryMode,
    /// The last one has no ending yet.
    streams: VecDeque<Stream>,
    /// Ends made by the writer, and seen by the reader.
    made: usize,
    seen: usize,
}

impl Book {
    fn new(mode: DeliveryMode) -> Self {
        Self { mode, streams: VecDeque::from([Stream::default()]), made: 0, seen: 0 }
    }

    fn last(&mut self) -> &mut Stream {
        self.streams.back_mut().expect("there is always one")
    }

    fn end(&mut self, how: Ending) {
        self.last().ending = Some(how);
        self.streams.push_back(Stream::default());
        self.made += 1;
    }

    /// The writer broke it off, having seen `seen` ends of the other direction.
    fn reset(&mut self, seen: usize) {
        let is_last = self.last().messages.is_empty() && self.made > seen;
        if !is_last {
            return self.end(Ending::Reset);
        }
        // The reader may have seen that end by now, though the writer does not know.
        let before = self.streams.len().checked_sub(2).and_then(|at| self.streams.get_mut(at));
        if let Some(Stream { ending: Some(how @ Ending::Finished), .. }) = before {
            *how = Ending::Either;
        }
    }

    fn read(&mut self, data: &Bytes) {
        let stream = self.streams.front_mut().expect("there is always one");
        let at = stream.messages.iter().position(|message| message == data);
        let at = at.unwrap_or_else(|| panic!("{} bytes that nobody sent, or twice", data.len()));
        match self.mode {
            DeliveryMode::ReliableOrdered => assert_eq!(at, 0, "out of order"),
            // What is older does not come any more.
            DeliveryMode::UnreliableSequenced => drop(stream.messages.drain(..at)),
            _ => {}
        }
        let at = if self.mode == DeliveryMode::UnreliableSequenced { 0 } else { at };
        stream.messages.remove(at);
    }

    fn ended(&mut self, reset: bool) {
        let stream = self.streams.pop_front().expect("there is always one");
        let how = stream.ending.expect("nobody ended the stream");
        assert!(reset || stream.messages.is_empty(), "ended before its messages: {stream:?}");
        assert_ne!(how, if reset { Ending::Finished } else { Ending::Reset });
        self.seen += 1;
    }

    fn is_complete(&self) -> bool {
        !self.mode.is_reliable() || (self.streams.len() == 1 && self.streams[0].messages.is_empty())
    }
}

/// One end: its channels, and what it reads.
struct End {
    channels: ExtendedChannels,
    next: u64,
    received: BTreeSet<u64>,
    /// What the peer wrote and this end has not read, by channel.
    books: [Book; 4],
    /// Its application takes nothing.
    asleep: bool,
    count: u32,
}

impl End {
    fn new(config: &ChannelsConfig) -> Self {
        let mut channels =
            ExtendedChannels::new(ChannelLayout::default(), config, RecoveryProfile::default());
        channels.set_peer(channels.limits());
        let books = DeliveryMode::ALL.map(Book::new);
        Self { channels, next: 0, received: BTreeSet::new(), books, asleep: false, count: 0 }
    }

    /// Writes what is due.
    fn send(&mut self, quota: Quota, now: Instant, line: &mut Vec<(u64, Bytes)>) {
        for _ in 0..32 {
            let due = self.channels.ack_due().is_some_and(|due| due <= now);
            if !due && !self.channels.has_outgoing(quota) && !self.channels.wants_probe() {
                break;
            }
            let mut plain = vec![0; ROOM];
            self.channels.begin_packet();
            let mut len = self.write_ack(&mut plain, now);
            let written = self.channels.write_frames(&mut plain[len..], quota, now);
            len += written.len;
            if self.channels.wants_probe() && !written.ack_eliciting {
                len += Frame::Ping.encode(&mut plain[len..], false).expect("room");
                self.channels.carry_ping();
            }
            if len == 0 {
                self.channels.abandon_packet();
                break;
            }
            plain.truncate(len);
            self.channels.packet_sent(self.next, len + 40, now);
            line.push((self.next, plain.into()));
            self.next += 1;
        }
        let over = line.len().saturating_sub(LINE);
        line.drain(..over);
    }

    fn write_ack(&mut self, plain: &mut [u8], now: Instant) -> usize {
        let Some(&largest) = self.received.last().filter(|_| self.channels.ack_due().is_some()) else {
            return 0;
        };
        let mut bitmap = [0; 64];
        for number in self.received.iter().rev().skip(1) {
            let bit = (largest - 1 - number) as usize;
            let Some(byte) = bitmap.get_mut(bit / 8) else { break };
            *byte |= 1 << (bit % 8);
        }
        let delay = (self.channels.ack_delay(now).as_micros() / 500).min(255) as u8;
        let ack = Ack { largest: largest as u32, delay, recovered: 0, bitmap: &bitmap };
        let len = Frame::Ack(ack).encode(plain, false).expect("room");
        self.channels.on_ack_written(largest);
        self.channels.carry_ack(largest);
        len
    }

    fn arrive(&mut self, number: u64, packet: &Bytes, now: Instant) {
        let highest = self.received.last().copied();
        if !self.received.insert(number) {
            return;
        }
        let frames: Vec<Frame<'_>> =
            Frames::new(packet).expect("something").map(|frame| frame.expect("whole frames")).collect();
        let loose = |frame: &Frame<'_>| match frame {
            Frame::Data(data) => !DeliveryMode::ALL[usize::from(data.channel)].is_reliable(),
            Frame::Ack(_) => true,
            _ => false,
        };
        let eliciting = frames.iter().any(|frame| !matches!(frame, Frame::Ack(_)));
        let in_order = number == highest.map_or(0, |highest| highest + 1);
        self.channels.on_packet(number, in_order, eliciting, !frames.iter().all(loose), now);
        let mut outcome = Outcome::default();
        for frame in frames {
            let told = match frame {
                Frame::Ack(ack) => {
                    let delay = Duration::from_micros(500) * u32::from(ack.delay);
                    self.channels.acknowledge(ack.largest.into(), delay, ack.bitmap, now, &mut outcome)
                }
                Frame::Data(data) => self.channels.accept(&data, now, &mut Bytes::copy_from_slice),
                Frame::Credit { channel, limit } => self.channels.on_credit(channel, limit),
                Frame::Fin { channel, message } => self.channels.on_fin(channel, message),
                Frame::Reset { channel, message, consumed, code } => {
                    self.channels.on_reset(channel, message, consumed, code)
                }
                Frame::Ping => Ok(()),
                other => panic!("nobody writes {other:?}"),
            };
            told.unwrap_or_else(|violation| panic!("between our own: {violation} ({frame:?})"));
        }
    }

    /// The application reads.
    fn read(&mut self) {
        while !self.asleep
            && let Some(incoming) = self.channels.poll_delivery()
        {
            let book = &mut self.books[usize::from(incoming.channel())];
            match incoming {
                Incoming::Message(delivery) => book.read(&delivery.data),
                Incoming::Finished { .. } => book.ended(false),
                Incoming::Reset { .. } => book.ended(true),
                other => panic!("{other:?}"),
            }
        }
        while self.channels.poll_control().is_some() {}
    }

    fn sleep(&mut self, now: Instant) {
        let mut outcome = Outcome::default();
        if self.channels.next_timeout().is_some_and(|at| at <= now) {
            self.channels.handle_timeout(now, &mut outcome).expect("it never gives up");
        }
    }

    fn check(&self) {
        let limits = self.channels.limits();
        let most = 2 * limits.receive_budget + 6 * (64 << 10);
        let held = self.channels.memory_held() as u64;
        assert!(held <= most, "{held} bytes held of {most}");
    }
}

/// Both ends write messages, end their halves of streams, break them off and go to sleep; the line loses, repeats and
/// reorders. Every frame is lawful in the other's eyes: credit, span, ends. Messages keep their mode's law within their
/// stream, an end comes after what was before it, memory keeps its bound; and over a good line everything reliable
/// arrives, every end is seen, nothing stays in flight and nothing is held.
pub fn extended_streams(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let mut config = ChannelsConfig::default();
    config.receive_budget = Some(4 << (10 + (choice & 3) * 2));
    config.max_message = if choice & 4 == 0 { 1 << 20 } else { 1 << 10 };
    config.max_queued_bytes = 1 << 18;
    let mut now = Instant::now();
    let mut ends = [End::new(&config), End::new(&config)];
    let mut lines: [Vec<(u64, Bytes)>; 2] = Default::default();
    let mut steps = 0;
    while !script.is_over() && steps < 1500 {
        steps += 1;
        let action = script.byte();
        let at = usize::from(action >> 7);
        let channel = action >> 4 & 3;
        match action & 15 {
            0..=2 => {
                let len = usize::from(script.byte()) << (2 * (action & 3));
                write(&mut ends, at, channel, len, now);
            }
            3 | 4 if action & 0x20 == 0 => finish(&mut ends, at, channel),
            3 => reset(&mut ends, at, channel, script.byte().into()),
            5..=7 => {
                let quota = match action & 15 {
                    5 => Quota { packets: u32::from(action >> 4 & 7), bytes: 2000 },
                    _ => Quota::UNLIMITED,
                };
                ends[at].send(quota, now, &mut lines[at]);
            }
            8..=11 => {
                let index = usize::from(script.byte());
                if !lines[at].is_empty() {
                    let index = index % lines[at].len();
                    let again = action & 15 == 8;
                    let (number, packet) =
                        if again { lines[at][index].clone() } else { lines[at].remove(index) };
                    if action & 15 != 9 || action & 0x40 == 0 {
                        ends[1 - at].arrive(number, &packet, now);
                    }
                }
            }
            12 => {
                now += Duration::from_millis(u64::from(script.byte()) * u64::from(action >> 4 & 7));
                ends.iter_mut().for_each(|end| end.sleep(now));
            }
            13 => ends[at].asleep = action & 0x10 != 0,
            14 => {
                ends[at].channels.pause(channel, action & 0x40 != 0);
            }
            _ => exchange(&mut ends, &mut lines, &mut now),
        }
        for end in &mut ends {
            end.read();
            end.check();
        }
    }
    for end in &mut ends {
        end.asleep = false;
        end.channels.unpause_all();
    }
    for round in 0.. {
        assert!(round < 4000, "it does not end: {:?} {:?}", ends[0].books, ends[1].books);
        exchange(&mut ends, &mut lines, &mut now);
        ends.iter_mut().for_each(End::read);
        let done = |end: &End| end.channels.is_idle() && end.books.iter().all(Book::is_complete);
        if ends.iter().all(done) {
            break;
        }
    }
    // Acknowledgements of acknowledgements, and what unreliable channels still hold, go with time.
    for _ in 0..800 {
        exchange(&mut ends, &mut lines, &mut now);
        ends.iter_mut().for_each(End::read);
        if ends.iter().all(|end| (end.channels.in_flight(), end.channels.memory_held()) == ((0, 0), 0)) {
            return;
        }
    }
    let left = ends.each_ref().map(|end| (end.channels.in_flight(), end.channels.memory_held()));
    panic!("in flight or held for nothing: {left:?}");
}

fn write(ends: &mut [End; 2], at: usize, channel: u8, len: usize, now: Instant) {
    let writer = &mut ends[at];
    writer.count += 1;
    let mut message = vec![at as u8; len];
    message.iter_mut().zip(writer.count.to_le_bytes()).for_each(|(byte, count)| *byte = count);
    let message = Bytes::from(message);
    if writer.channels.push(channel, &message, FragmentFlags::EMPTY, now).is_ok() {
        ends[1 - at].books[usize::from(channel)].last().messages.push_back(message);
    }
}

fn finish(ends: &mut [End; 2], at: usize, channel: u8) {
    if ends[at].channels.finish(channel).is_ok() {
        ends[1 - at].books[usize::from(channel)].end(Ending::Finished);
    }
}

fn reset(ends: &mut [End; 2], at: usize, channel: u8, code: u16) {
    let seen = ends[at].books[usize::from(channel)].seen;
    if ends[at].channels.reset(channel, code).is_ok() {
        ends[1 - at].books[usize::from(channel)].reset(seen);
    }
}

/// A perfect line for 10 ms.
fn exchange(ends: &mut [End; 2], lines: &mut [Vec<(u64, Bytes)>; 2], now: &mut Instant) {
    for at in 0..2 {
        ends[at].send(Quota::UNLIMITED, *now, &mut lines[at]);
        for (number, packet) in std::mem::take(&mut lines[at]) {
            ends[1 - at].arrive(number, &packet, *now);
        }
    }
    *now += Duration::from_millis(10);
    ends.iter_mut().for_each(|end| end.sleep(*now));
}

//! Streams at the core, in virtual time over a lossy line: against a naive model, many in turn, many at once.

use std::collections::BTreeMap;
use std::time::Duration;

use fastwire::reliability::ChannelLayout;
use fastwire::{ClientConfig, ConnectionId, Event, SendError, ServerConfig, StreamError};

use crate::duo::{Core, Duo};

/// xorshift64*, so that a run is one number.
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn connected(by_client: usize, by_server: usize) -> (Duo, [ConnectionId; 2]) {
    connected_with(by_client, by_server, |_| {})
}

fn connected_with(
    by_client: usize,
    by_server: usize,
    change: impl FnOnce(&mut ServerConfig),
) -> (Duo, [ConnectionId; 2]) {
    let layout = ChannelLayout::with_streams(by_client, by_server).expect("few channels");
    let (mut server, mut client) = (ServerConfig::default(), ClientConfig::default());
    server.channel_layout = layout.clone();
    client.channel_layout = layout;
    change(&mut server);
    let (duo, at_server, at_client) = Duo::connected(&server, &client);
    (duo, [at_client, at_server])
}

/// Runs over a line that loses one datagram in twenty.
fn run(duo: &mut Duo, span: Duration, rng: &mut Rng) {
    duo.run(span, |_, _| rng.below(20) != 0);
    duo.log.clear();
}

fn sides(duo: &mut Duo) -> [(&mut Core, &mut Vec<Event>); 2] {
    [(&mut duo.client, &mut duo.client_events), (&mut duo.server, &mut duo.server_events)]
}

/// Nothing is queued, under way or held on either side. A heartbeat may be under way, so it is looked at more than once.
fn assert_nothing_left(duo: &mut Duo, ids: [ConnectionId; 2]) {
    let left = |duo: &Duo| {
        [(&duo.client, ids[0]), (&duo.server, ids[1])].map(|(core, id)| {
            let stats = core.connection_stats(id).expect("it stands");
            assert_eq!((stats.malformed, stats.undecodable), (0, 0));
            (stats.send_queue_bytes, stats.bytes_in_flight, stats.memory_held)
        })
    };
    for _ in 0..20 {
        if left(duo) == [(0, 0, 0); 2] {
            break;
        }
        duo.run(Duration::from_millis(70), |_, _| true);
    }
    assert_eq!(left(duo), [(0, 0, 0); 2]);
    assert!(duo.client_events.is_empty() && duo.server_events.is_empty());
}

/// One half of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Half {
    bytes: Vec<u8>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Reset(u16),
}

/// What one side sent and saw on one channel, stream by stream.
#[derive(Debug, Default)]
struct Side {
    sent: Vec<Half>,
    seen: Vec<Half>,
}

fn last(halves: &mut Vec<Half>) -> &mut Half {
    if halves.last().is_none_or(|half| half.end.is_some()) {
        halves.push(Half::default());
    }
    halves.last_mut().expect("there is one")
}

impl Side {
    /// Our half has ended, and the peer's has not.
    fn is_waiting(&self) -> bool {
        let ended = |halves: &[Half]| halves.iter().filter(|half| half.end.is_some()).count();
        ended(&self.sent) > ended(&self.seen)
    }

    /// Our half of the last stream has ended.
    fn has_ended(&self) -> bool {
        self.sent.last().is_some_and(|half| half.end.is_some())
    }

    /// Notes what ending our half came to.
    fn finish(&mut self, result: Result<(), StreamError>, seed: u64, channel: u8) {
        match result {
            Ok(()) => {
                assert!(!self.is_waiting(), "seed {seed}: ended twice");
                last(&mut self.sent).end = Some(End::Finished);
            }
            Err(error) => {
                assert_eq!(error, StreamError::Ended(channel), "seed {seed}");
                assert!(self.has_ended(), "seed {seed}: no end in the midst of a stream");
            }
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Message { data, .. } => last(&mut self.seen).bytes.extend_from_slice(data),
            Event::StreamFinished { .. } => last(&mut self.seen).end = Some(End::Finished),
            Event::StreamReset { code, .. } => last(&mut self.seen).end = Some(End::Reset(*code)),
            other => panic!("{other:?}"),
        }
    }
}

fn channel_of(event: &Event) -> u8 {
    match event {
        Event::Message { channel, .. }
        | Event::StreamFinished { channel, .. }
        | Event::StreamReset { channel, .. } => *channel,
        other => panic!("{other:?}"),
    }
}

/// What one side saw is what the other sent: whole where it was finished, a beginning of it where it was reset.
fn assert_same(seed: u64, sent: &[Half], seen: &[Half], all: bool) {
    assert!(seen.len() <= sent.len(), "seed {seed}: streams out of nothing");
    assert!(!all || seen.len() == sent.len(), "seed {seed}: {} of {} streams", seen.len(), sent.len());
    for (index, (sent, seen)) in sent.iter().zip(seen).enumerate() {
        assert!(sent.bytes.starts_with(&seen.bytes), "seed {seed}: other bytes in stream {index}");
        match seen.end {
            Some(End::Finished) => {
                assert_eq!(seen.bytes.len(), sent.bytes.len(), "seed {seed}, stream {index}")
            }
            Some(End::Reset(code)) => {
                assert_eq!(sent.end, Some(End::Reset(code)), "seed {seed}, stream {index}")
            }
            None => assert!(!all, "seed {seed}: stream {index} never ended"),
        }
    }
}

#[test]
fn whatever_both_sides_do_each_sees_what_the_other_sent() {
    const CHANNELS: std::ops::Range<u8> = 4..7;
    for seed in 0..24 {
        let mut rng = Rng::new(seed);
        let (mut duo, ids) = connected(2, 1);
        let mut model: [BTreeMap<u8, Side>; 2] = Default::default();
        for round in 0..400 {
            let over = round >= 350;
            let now = duo.now;
            for (index, (core, events)) in sides(&mut duo).into_iter().enumerate() {
                let (id, model) = (ids[index], &mut model[index]);
                for event in events.drain(..) {
                    let channel = channel_of(&event);
                    let side = model.entry(channel).or_default();
                    side.note(&event);
                    let open = side.sent.last().is_some_and(|half| half.end.is_none());
                    if matches!(event, Event::StreamReset { .. })
                        && (open || side.sent.len() < side.seen.len())
                    {
                        core.reset_stream(now, id, channel, 0).expect("our half is open");
                        last(&mut side.sent).end = Some(End::Reset(0));
                    }
                }
                for channel in CHANNELS {
                    let side = model.entry(channel).or_default();
                    let begun = side.sent.len().max(side.seen.len()) > 0
                        && (side.sent.last().is_some_and(|half| half.end.is_none())
                            || side.sent.len() < side.seen.len());
                    match rng.below(8) {
                        _ if over => {
                            core.pause_channel(id, channel, false).expect("reliable");
                            if begun && !side.is_waiting() {
                                side.finish(core.finish_stream(now, id, channel), seed, channel);
                            }
                        }
                        0..3 => {
                            let bytes = rng.below(4000);
                            let bytes = rng.bytes(bytes);
                            let result = core.write_stream(now, id, channel, &bytes[..]);
                            match result {
                                Ok(()) => {
                                    assert!(!side.is_waiting(), "seed {seed}: written after the end");
                                    last(&mut side.sent).bytes.extend_from_slice(&bytes);
                                }
                                // our end before may not have left yet
                                Err(error) => {
                                    assert_eq!(error, SendError::StreamEnded(channel), "seed {seed}");
                                    assert!(
                                        side.has_ended(),
                                        "seed {seed}: refused in the midst of a stream"
                                    );
                                }
                            }
                        }
                        3 => {
                            side.finish(core.finish_stream(now, id, channel), seed, channel);
                        }
                        4 if rng.below(4) == 0 && !side.is_waiting() => {
                            let code = rng.next() as u16;
                            if core.reset_stream(now, id, channel, code).is_ok() {
                                last(&mut side.sent).end = Some(End::Reset(code));
                            } else {
                                assert!(side.has_ended(), "seed {seed}: no reset in the midst of a stream");
                            }
                        }
                        5 => core.pause_channel(id, channel, true).expect("reliable"),
                        6 => core.pause_channel(id, channel, false).expect("reliable"),
                        _ => {}
                    }
                }
            }
            let span = rng.below(if over { 60_000 } else { 40_000 });
            run(&mut duo, Duration::from_micros(span), &mut rng);
        }
        // all that was begun has been ended by its side, and now that arrives
        for _ in 0..200 {
            let now = duo.now;
            for (index, (core, events)) in sides(&mut duo).into_iter().enumerate() {
                for event in events.drain(..) {
                    model[index].entry(channel_of(&event)).or_default().note(&event);
                }
                for channel in CHANNELS {
                    let side = model[index].entry(channel).or_default();
                    let open = side.sent.last().is_some_and(|half| half.end.is_none());
                    if open || side.sent.len() < side.seen.len() {
                        side.finish(core.finish_stream(now, ids[index], channel), seed, channel);
                    }
                }
            }
            run(&mut duo, Duration::from_millis(50), &mut rng);
        }
        let [client, server] = &model;
        let mut streams = 0;
        for channel in CHANNELS {
            assert_same(seed, &client[&channel].sent, &server[&channel].seen, true);
            assert_same(seed, &server[&channel].sent, &client[&channel].seen, true);
            streams += client[&channel].sent.len();
        }
        assert!(streams > 30, "seed {seed}: only {streams} streams");
        assert_nothing_left(&mut duo, ids);
    }
}

/// The server sends back what comes on a channel, turned over, and ends its half when the client has.
fn echo(duo: &mut Duo, id: ConnectionId) {
    let now = duo.now;
    for event in std::mem::take(&mut duo.server_events) {
        match event {
            Event::Message { channel, data, .. } => {
                let turned: Vec<u8> = data.iter().map(|byte| !byte).collect();
                duo.server.write_stream(now, id, channel, turned).expect("room");
            }
            Event::StreamFinished { channel, .. } => {
                duo.server.finish_stream(now, id, channel).expect("open")
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Streams of the client's, so many at once until there were so many in all, on an echoing server.
fn stream_many(at_once: usize, in_all: usize, longest: u64) {
    let (mut duo, ids) = connected(at_once, 0);
    let mut rng = Rng::new(7);
    let mut open: BTreeMap<u8, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
    let (mut opened, mut done) = (0, 0);
    let limit = duo.now + Duration::from_secs(3600);
    while done < in_all {
        assert!(duo.now < limit, "{done} of {in_all} streams after an hour");
        let now = duo.now;
        for channel in (4..).take(at_once) {
            if opened < in_all && !open.contains_key(&channel) {
                let len = rng.below(longest);
                let bytes = rng.bytes(len);
                for part in bytes.chunks(5000) {
                    duo.client.write_stream(now, ids[0], channel, part).expect("room");
                }
                duo.client.finish_stream(now, ids[0], channel).expect("open");
                open.insert(channel, (bytes, Vec::new()));
                opened += 1;
            }
        }
        run(&mut duo, Duration::from_millis(2), &mut rng);
        echo(&mut duo, ids[1]);
        for event in std::mem::take(&mut duo.client_events) {
            let channel = channel_of(&event);
            let (sent, back) = open.get_mut(&channel).expect("a stream");
            match event {
                Event::Message { data, .. } => back.extend(data.iter().map(|byte| !byte)),
                Event::StreamFinished { .. } => {
                    assert!(sent == back, "stream {done} came back changed");
                    open.remove(&channel);
                    done += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    run(&mut duo, Duration::from_secs(5), &mut rng);
    assert_nothing_left(&mut duo, ids);
    let stats = duo.client.connection_stats(ids[0]).expect("it stands");
    assert!(stats.retransmits > 0, "nothing was lost");
}

#[test]
fn ten_thousand_streams_one_after_another_leave_nothing() {
    stream_many(1, 10_000, 2000);
}

#[test]
fn sixty_four_streams_at_once_leave_nothing() {
    stream_many(64, 640, 60_000);
}

#[test]
fn a_paused_channel_holds_up_no_other_and_is_held_to_its_credit() {
    const CREDIT: usize = 128 << 10;
    const PART: usize = 16 << 10;
    // two channels for messages are reliable too
    let (mut duo, ids) =
        connected_with(2, 0, |server| server.limits.extended_receive_budget = Some(4 * CREDIT));
    duo.server.pause_channel(ids[1], 4, true).expect("reliable");
    let (mut offered, mut seen) = (0, 0);
    for _ in 0..1000 {
        let now = duo.now;
        for channel in [4, 5] {
            while duo.client.unsent_on(ids[0], channel) < PART {
                duo.client.write_stream(now, ids[0], channel, vec![channel; PART]).expect("room");
                offered += usize::from(channel == 4) * PART;
            }
        }
        duo.run(Duration::from_millis(5), |_, _| true);
        for event in std::mem::take(&mut duo.server_events) {
            let Event::Message { channel: 5, data, .. } = event else { panic!("{event:?}") };
            seen += data.len();
        }
    }
    let held = duo.server.connection_stats(ids[1]).expect("it stands").memory_held as usize;
    assert!((CREDIT / 2..=2 * CREDIT).contains(&held), "{held} bytes are held");
    assert!(offered <= CREDIT + 2 * PART, "the sender was not held back: {offered}");
    assert!(seen > 10 * offered, "the other channel stood still: {seen} bytes");
    duo.server.pause_channel(ids[1], 4, false).expect("reliable");
    duo.run(Duration::from_secs(10), |_, _| true);
    let of_4 = |event: &Event| matches!(event, Event::Message { channel: 4, .. });
    assert_eq!(duo.server_events.iter().filter(|event| of_4(event)).count() * PART, offered);
}

#[test]
fn streams_and_messages_do_not_mix() {
    let (mut duo, ids) = connected(1, 0);
    let now = duo.now;
    assert_eq!(duo.client.send(now, ids[0], "x", 4), Err(SendError::StreamChannel(4)));
    for channel in [0, 2, 9] {
        assert_eq!(duo.client.write_stream(now, ids[0], channel, "x"), Err(SendError::NoStream(channel)));
        assert_eq!(duo.client.finish_stream(now, ids[0], channel), Err(StreamError::NoStream(channel)));
        assert_eq!(duo.client.reset_stream(now, ids[0], channel, 1), Err(StreamError::NoStream(channel)));
    }
    assert_eq!(duo.client.pause_channel(ids[0], 2, true), Err(StreamError::NoStream(2)));
}

//! A server and a client whose line does what a script says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire::reliability::{ChannelLayout, DeliveryMode, StreamOpener};
use fastwire::sim::Ledger;
use fastwire::transport::SocketId;
use fastwire::{ConnectionError, ConnectionId, ConnectionState, Event, Profile, SendOptions};

use super::endpoint::{Metered, client_address, configs, server_address};
use super::glass::{Glass, GlassSuites};
use crate::Script;

/// Datagrams the line holds; older ones are lost.
const LINE: usize = 256;

/// The first channel that carries streams.
const FIRST_STREAM: u8 = 4;

struct Pair {
    server: Metered<Glass>,
    client: Metered<Glass>,
    sockets: Vec<SocketId>,
    /// Towards the server: which socket of the client it left, and its bytes.
    up: Vec<(SocketId, Vec<u8>)>,
    down: Vec<(SocketId, Vec<u8>)>,
    /// How often an address translator between them forgot the client.
    forgot: u32,
    extended: bool,
}

impl Pair {
    /// Where the server sees a socket of the client.
    fn outside(&self, socket: SocketId) -> SocketAddr {
        client_address(self.forgot * 100 + socket.0)
    }

    fn turn(&mut self) {
        for end in [&mut self.server, &mut self.client] {
            end.transmit();
            end.listen();
            end.check();
        }
        self.client.sockets(&mut self.sockets);
        self.up.extend(self.client.sent.drain(..).map(|sent| (sent.socket, sent.bytes)));
        for sent in self.server.sent.drain(..) {
            let from = self.forgot * 100;
            let mut open = self.sockets.iter().copied();
            let socket = open.find(|socket| client_address(from + socket.0) == sent.to);
            self.down.extend(socket.map(|socket| (socket, sent.bytes)));
        }
        for line in [&mut self.up, &mut self.down] {
            let over = line.len().saturating_sub(LINE);
            line.drain(..over);
        }
    }

    fn arrive(&mut self, up: bool, (socket, bytes): (SocketId, Vec<u8>)) {
        if up {
            self.server.feed(SocketId::PRIMARY, self.outside(socket), &bytes);
        } else if self.sockets.contains(&socket) {
            self.client.feed(socket, server_address(), &bytes);
        }
    }

    fn sleep(&mut self, span: Duration) {
        self.server.sleep(span);
        self.client.sleep(span);
    }

    /// A perfect line for a while.
    fn calm(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.turn();
            for datagram in std::mem::take(&mut self.up) {
                self.arrive(true, datagram);
            }
            for datagram in std::mem::take(&mut self.down) {
                self.arrive(false, datagram);
            }
            self.sleep(Duration::from_millis(10));
        }
        self.turn();
    }
}

/// Both ends talk over a line that loses, delays, repeats, reorders and bends. No nonce is used twice under one key
/// (a meter in the cipher), every mode keeps its law, memory and datagrams keep their bounds, and what is reliable
/// arrives once the line is good again, if the connection lived on.
pub fn pair(data: &[u8]) {
    play(Profile::Base, data);
}

/// The same in the extended profile, with streams beside the messages and an address translator that forgets. The bytes
/// of a stream arrive in order, then its end; of one that was reset, as many as arrived.
pub fn extended_pair(data: &[u8]) {
    play(Profile::Extended, data);
}

fn play(profile: Profile, data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let extended = profile == Profile::Extended;
    let (mut server, mut client) = configs(profile, choice);
    if extended {
        (server.channel_layout, client.channel_layout) = (with_streams(), with_streams());
    }
    let suites = GlassSuites::new();
    let now = Instant::now();
    let mut pair = Pair {
        server: Metered::server(&server, suites.clone(), 1, now),
        client: Metered::client(&client, suites, 2, now),
        sockets: vec![SocketId::PRIMARY],
        up: Vec::new(),
        down: Vec::new(),
        forgot: 0,
        extended,
    };
    let at_client = pair.client.core.connect(now, &[server_address()]).expect("connects");
    let mut at_server: Option<ConnectionId> = None;
    if choice & 0x80 == 0 {
        pair.calm(8);
        at_server = pair.server.core.connections().next();
    }
    let (mut ups, mut downs) = (Books::new(1), Books::new(2));
    let mut one_connection = true;
    while !script.is_over() {
        let action = script.byte();
        let up = action & 0x80 == 0;
        match action & 15 {
            0..=2 => {
                let len = usize::from(script.byte()) << (action >> 4 & 6);
                let channel = action & 3;
                // where both know the time it is put before the message
                let options = if len & 1 == 0 { SendOptions::new() } else { SendOptions::new().stamped() };
                if up {
                    let ledger = &mut ups.messages[usize::from(channel)];
                    let message = ledger.message(len);
                    let client = &mut pair.client;
                    if client.core.send_with(client.now, at_client, message, channel, options).is_ok() {
                        ledger.on_sent(len);
                    }
                } else if let Some(id) = at_server {
                    let ledger = &mut downs.messages[usize::from(channel)];
                    let message = ledger.message(len);
                    let server = &mut pair.server;
                    if server.core.send_with(server.now, id, message, channel, options).is_ok() {
                        ledger.on_sent(len);
                    }
                }
            }
            3..=7 => {
                let line = if up { &mut pair.up } else { &mut pair.down };
                let index = usize::from(script.byte());
                if !line.is_empty() {
                    let index = index % line.len();
                    let repeated = action & 0x40 != 0;
                    let mut datagram = if repeated { line[index].clone() } else { line.remove(index) };
                    if action & 15 == 7 {
                        let at = usize::from(script.u16()) % datagram.1.len();
                        datagram.1[at] ^= 1 << (action >> 4 & 3);
                    }
                    if action & 0x30 != 0x30 || action & 15 == 7 {
                        pair.arrive(up, datagram);
                    }
                }
            }
            8 | 9 => pair.sleep(Duration::from_millis(u64::from(script.byte()) * u64::from(action >> 4 & 7))),
            10 => pair.calm(usize::from(action >> 4 & 3)),
            11 if extended && action & 0x10 != 0 => pair.forgot = (pair.forgot + 1) % 10,
            // Each move keeps its old socket for a while, and nothing but the application bounds how often it moves.
            11 => {
                if pair.sockets.len() < 8 {
                    let _ = pair.client.core.rebind(pair.client.now, at_client);
                }
            }
            12 if action & 0x70 == 0x70 => {
                let _ = pair.client.core.close(pair.client.now, at_client);
            }
            12 if extended => {
                let channel = FIRST_STREAM + (script.byte() & 1);
                let ends = (&mut ups, &mut downs);
                let (end, id, (ours, theirs)) = if up {
                    (&mut pair.client, Some(at_client), ends)
                } else {
                    (&mut pair.server, at_server, (ends.1, ends.0))
                };
                if let Some(id) = id {
                    stream(end, id, channel, action >> 4 & 7, script.byte(), (ours, theirs));
                }
            }
            13 => {
                let line = if up { &mut pair.up } else { &mut pair.down };
                line.clear();
            }
            14 => {
                pair.server.core.pause(at_server.unwrap_or(at_client), action & 0x10 == 0);
            }
            _ => {
                let bytes = script.block().to_vec();
                pair.arrive(up, (SocketId::PRIMARY, bytes));
            }
        }
        pair.turn();
        at_server = at_server.or_else(|| pair.server.core.connections().next());
        one_connection &= judge(&mut pair, &mut ups, &mut downs);
    }
    if let Some(id) = at_server {
        pair.server.core.pause(id, false);
    }
    for channel in if extended { FIRST_STREAM..FIRST_STREAM + 2 } else { 0..0 } {
        let _ = pair.client.core.pause_channel(at_client, channel, false);
        let _ = at_server.map(|id| pair.server.core.pause_channel(id, channel, false));
    }
    let alive = |pair: &Pair| {
        pair.client.core.state(at_client) == ConnectionState::Connected
            && at_server.is_some_and(|id| pair.server.core.state(id) == ConnectionState::Connected)
    };
    if !one_connection || !alive(&pair) {
        return;
    }
    for _ in 0..100 {
        pair.calm(10);
        one_connection &= judge(&mut pair, &mut ups, &mut downs);
        if !one_connection || !alive(&pair) || ups.is_complete() && downs.is_complete() {
            return;
        }
    }
    panic!("not everything arrived over a good line: {ups:?} {downs:?}");
}

/// The default channels and a stream of either side.
fn with_streams() -> ChannelLayout {
    let messages = ChannelLayout::builder();
    let messages = DeliveryMode::ALL.into_iter().fold(messages, |layout, mode| layout.channel(mode, 0));
    let streams = messages.streams(StreamOpener::Client, 1).streams(StreamOpener::Server, 1);
    streams.build().expect("six channels")
}

/// Writes to a stream, ends it, breaks it off or stops reading it.
fn stream(
    end: &mut Metered<Glass>,
    id: ConnectionId,
    channel: u8,
    what: u8,
    len: u8,
    (ours, theirs): (&mut Books, &mut Books),
) {
    let at = usize::from(channel - FIRST_STREAM);
    let (written, seen) = (&mut ours.streams[at], theirs.streams[at].seen);
    match what {
        0..=3 => {
            let len = usize::from(len) << (2 * what);
            let bytes: Vec<u8> = (written.written..written.written + len).map(content).collect();
            if end.core.write_stream(end.now, id, channel, bytes).is_ok() && len > 0 {
                written.written += len;
                written.unended = true;
            }
        }
        4 | 5 => {
            if end.core.finish_stream(end.now, id, channel).is_ok() {
                written.end(Ending::Finished);
            }
        }
        6 => {
            if end.core.reset_stream(end.now, id, channel, len.into()).is_ok() {
                written.reset(seen);
            }
        }
        _ => {
            let _ = end.core.pause_channel(id, channel, len & 1 == 1);
        }
    }
}

/// The byte at a place of a stream.
fn content(at: usize) -> u8 {
    (at ^ at >> 8) as u8
}

/// How a stream ends for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Finished,
    Reset,
    /// It was finished, and reset before the reader had it all.
    Either,
}

/// One direction of a stream channel, over all its streams.
#[derive(Debug, Default)]
struct Stream {
    written: usize,
    read: usize,
    /// Where streams end that the reader has not seen the end of, and how.
    ends: VecDeque<(usize, Ending)>,
    /// How many ends were made, and how many seen.
    made: usize,
    seen: usize,
    /// Something was written since the last end.
    unended: bool,
}

impl Stream {
    fn end(&mut self, how: Ending) {
        self.ends.push_back((self.written, how));
        self.made += 1;
        self.unended = false;
    }

    /// The writer broke it off, having seen `seen` ends of the other direction.
    fn reset(&mut self, seen: usize) {
        let is_last = !self.unended && self.made > 0 && seen < self.made;
        match self.ends.back_mut() {
            Some((_, how)) if is_last && *how != Ending::Reset => *how = Ending::Either,
            // Its end was seen by now, though the writer did not know.
            None if is_last => {}
            _ => self.end(Ending::Reset),
        }
    }

    fn read(&mut self, data: &[u8]) {
        let expected: Vec<u8> = (self.read..self.read + data.len()).map(content).collect();
        assert_eq!(data, expected, "bytes of a stream at {}", self.read);
        self.read += data.len();
        let most = self.ends.front().map_or(self.written, |(end, _)| *end);
        assert!(self.read <= most, "bytes of the next stream before the end of this one");
    }

    fn ended(&mut self, reset: bool) {
        let (at, how) = self.ends.pop_front().expect("nobody ended the stream");
        assert!(reset || self.read == at, "a stream ended at {} instead of {at}", self.read);
        assert_ne!(how, if reset { Ending::Finished } else { Ending::Reset });
        self.read = at;
        self.seen += 1;
    }

    fn is_complete(&self) -> bool {
        self.ends.is_empty() && self.read == self.written
    }
}

/// What was sent in one direction and what of it arrived.
#[derive(Debug)]
struct Books {
    messages: [Ledger; 4],
    streams: [Stream; 2],
}

impl Books {
    fn new(salt: u64) -> Self {
        let messages = DeliveryMode::ALL.map(|mode| Ledger::new(mode, salt));
        Self { messages, streams: Default::default() }
    }

    fn is_complete(&self) -> bool {
        self.messages.iter().all(Ledger::is_complete) && self.streams.iter().all(Stream::is_complete)
    }
}

/// Holds what arrived against what was sent. False once a connection ended or a second one began: messages that were
/// under way then may be lost, and nothing more is promised.
fn judge(pair: &mut Pair, ups: &mut Books, downs: &mut Books) -> bool {
    let (mut one, extended) = (true, pair.extended);
    for (end, books) in [(&mut pair.server, ups), (&mut pair.client, downs)] {
        for event in end.events.drain(..) {
            match event {
                Event::Message { channel: channel @ FIRST_STREAM.., data, .. } => {
                    books.streams[usize::from(channel - FIRST_STREAM)].read(&data);
                }
                Event::StreamFinished { channel, .. } => {
                    books.streams[usize::from(channel - FIRST_STREAM)].ended(false);
                }
                Event::StreamReset { channel, .. } => {
                    books.streams[usize::from(channel - FIRST_STREAM)].ended(true);
                }
                Event::Message { channel, data, .. } => {
                    books.messages[usize::from(channel)].on_delivered(&data).expect("the mode's law");
                }
                Event::Connected { .. } => {}
                // A line that loses everything for seconds: the base profile gives up what it cannot deliver.
                Event::Error {
                    error: ConnectionError::MaxRetransmits(_) | ConnectionError::Undeliverable(_),
                    ..
                } if !extended => one = false,
                Event::Error { error, .. } => panic!("between our own: {error}"),
                _ => one = false,
            }
        }
    }
    one
}

//! What comes in of the extended profile, beside a model that remembers everything.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire::reliability::extended::{ExtendedChannels, Incoming};
use fastwire::reliability::{ChannelLayout, ChannelsConfig, DeliveryMode, RecoveryProfile};
use fastwire::wire::extended::{Data, Piece};

use crate::Script;

/// A piece under way.
#[derive(Debug, Clone)]
struct Flight {
    channel: u8,
    message: usize,
    start: usize,
    end: usize,
}

#[derive(Debug, Default)]
struct Message {
    bytes: Vec<u8>,
    /// Which of them arrived.
    arrived: Vec<bool>,
    /// An empty message arrived.
    came: bool,
    delivered: bool,
}

impl Message {
    fn is_whole(&self) -> bool {
        self.came && self.arrived.iter().all(|arrived| *arrived)
    }
}

/// What is delivered, told without windows, budgets or time.
#[derive(Debug, Default)]
struct Channel {
    messages: Vec<Message>,
    /// The sender ended its half: after this many messages.
    finished: bool,
    reset: bool,
    /// The end arrived, and was delivered.
    fin_came: bool,
    ended: bool,
    /// Sequenced: one above the newest delivered.
    newest: usize,
}

/// What the receiver is to give, in order.
#[derive(Debug, PartialEq, Eq)]
enum Given {
    Message(u8, Vec<u8>),
    Finished(u8),
    Reset(u8),
}

impl Channel {
    fn arrive(&mut self, flight: &Flight, mode: DeliveryMode) -> Vec<Given> {
        let mut given = Vec::new();
        let sequenced = mode == DeliveryMode::UnreliableSequenced;
        if self.ended || (sequenced && flight.message < self.newest) {
            return given;
        }
        let message = &mut self.messages[flight.message];
        message.arrived[flight.start..flight.end].fill(true);
        message.came = true;
        if mode == DeliveryMode::ReliableOrdered {
            let due = self.messages.iter_mut().skip_while(|message| message.delivered);
            for message in due.take_while(|message| message.is_whole()) {
                message.delivered = true;
                given.push(Given::Message(flight.channel, message.bytes.clone()));
            }
        } else if message.is_whole() && !message.delivered {
            message.delivered = true;
            self.newest = flight.message + 1;
            given.push(Given::Message(flight.channel, message.bytes.clone()));
        }
        given.extend(self.end_if_due(flight.channel));
        given
    }

    fn end_if_due(&mut self, channel: u8) -> Option<Given> {
        let due = self.fin_came && !self.ended && self.messages.iter().all(|message| message.delivered);
        due.then(|| {
            self.ended = true;
            Given::Finished(channel)
        })
    }

    /// Credit that its messages take.
    fn credit(&self) -> u64 {
        self.messages.iter().map(|message| message.bytes.len() as u64 + 32).sum()
    }
}

/// Messages of a well-behaved sender, cut in any way and each time anew, arrive in any order, some twice, some late,
/// some never; so do the ends of streams. What is delivered, and when, is what the model says. Frames nobody may send,
/// between them, are refused and change nothing; nothing is held once everything was delivered.
pub fn extended_reassembly(data: &[u8]) {
    let mut script = Script::new(data);
    let mut now = Instant::now();
    let config = ChannelsConfig::default();
    let mut channels = ExtendedChannels::new(ChannelLayout::default(), &config, RecoveryProfile::default());
    channels.set_peer(channels.limits());
    let mut model: [Channel; 4] = Default::default();
    let mut line: Vec<Flight> = Vec::new();
    let mut steps = 0;
    while !script.is_over() && steps < 2000 {
        steps += 1;
        let action = script.byte();
        let channel = action >> 3 & 3;
        let at = usize::from(channel);
        let mode = DeliveryMode::ALL[at];
        match action & 7 {
            // Within the incomplete messages and the credit that a receiver keeps for whoever loses packets.
            0 | 1 if model[at].messages.len() < 120 && !model[at].finished && !model[at].reset => {
                let len = usize::from(script.byte()) << (action >> 5);
                let message = model[at].messages.len();
                let bytes: Vec<u8> = (0..len).map(|i| (i ^ message ^ i >> 8) as u8).collect();
                let arrived = vec![false; len];
                model[at].messages.push(Message { bytes, arrived, ..Message::default() });
                cut(&mut script, channel, message, (0, len), &mut line);
            }
            // What is missing of a reliable message leaves again, cut anew.
            2 if mode.is_reliable() && !model[at].messages.is_empty() => {
                let message = usize::from(script.byte()) % model[at].messages.len();
                let len = model[at].messages[message].bytes.len();
                let start = usize::from(script.u16()) % (len + 1);
                cut(&mut script, channel, message, (start, len), &mut line);
            }
            3 => {
                now += Duration::from_millis(script.byte().into());
                end(&mut script, action, channel, &mut channels, &mut model[at]);
            }
            4 => refuse(&mut script, action, &mut channels, now),
            _ if line.is_empty() => {}
            choice => {
                let index = usize::from(script.byte()) % line.len();
                let flight =
                    if choice == 5 && DeliveryMode::ALL[usize::from(line[index].channel)].is_reliable() {
                        line[index].clone()
                    } else {
                        line.swap_remove(index)
                    };
                if choice != 6 || action & 0x20 != 0 {
                    arrive(&mut channels, &mut model, &flight, now);
                }
            }
        }
        let held = channels.memory_held() as u64;
        assert!(held <= channels.limits().receive_budget * 2, "{held} bytes held");
    }
    // Everything reliable arrives in the end.
    for at in 0..2 {
        for message in 0..model[at].messages.len() {
            let end = model[at].messages[message].bytes.len();
            arrive(&mut channels, &mut model, &Flight { channel: at as u8, message, start: 0, end }, now);
        }
        let whole = model[at].reset || model[at].messages.iter().all(|message| message.delivered);
        assert!(whole, "channel {at}");
    }
    let loose = model[2..].iter().flat_map(|channel| &channel.messages);
    let begun: BTreeSet<bool> = loose.map(|message| message.came && !message.delivered).collect();
    if !begun.contains(&true) {
        assert_eq!(channels.memory_held(), 0, "something is held for nothing");
    }
}

/// Cuts a stretch of a message into pieces.
fn cut(
    script: &mut Script<'_>,
    channel: u8,
    message: usize,
    (mut start, end): (usize, usize),
    line: &mut Vec<Flight>,
) {
    let most = 64 + 4 * usize::from(script.byte());
    loop {
        let stop = end.min(start + most);
        line.push(Flight { channel, message, start, end: stop });
        start = stop;
        if start >= end || line.len() > 400 {
            break;
        }
    }
}

fn arrive(channels: &mut ExtendedChannels, model: &mut [Channel; 4], flight: &Flight, now: Instant) {
    let Flight { channel, message, start, end } = *flight;
    let at = usize::from(channel);
    let bytes = model[at].messages[message].bytes.clone();
    let whole = start == 0 && end == bytes.len();
    let piece = (!whole).then_some(Piece { offset: start as u32, total: bytes.len() as u32 });
    let payload = Bytes::copy_from_slice(&bytes[start..end]);
    let data = Data { channel, message: message as u32 + 1, piece, content: 0, payload: &payload };
    channels.accept(&data, now, &mut Bytes::copy_from_slice).expect("a well-behaved sender");
    let expected = model[at].arrive(flight, DeliveryMode::ALL[at]);
    assert_eq!(given(channels), expected, "{flight:?}");
}

fn given(channels: &mut ExtendedChannels) -> Vec<Given> {
    let told = std::iter::from_fn(|| channels.poll_delivery());
    told.map(|incoming| match incoming {
        Incoming::Message(delivery) => Given::Message(delivery.channel, delivery.data.to_vec()),
        Incoming::Finished { channel } => Given::Finished(channel),
        Incoming::Reset { channel, .. } => Given::Reset(channel),
        other => panic!("{other:?}"),
    })
    .collect()
}

/// The end of a stream arrives: FIN once, or RESET, which may take the place of a FIN.
fn end(
    script: &mut Script<'_>,
    action: u8,
    channel: u8,
    channels: &mut ExtendedChannels,
    model: &mut Channel,
) {
    let message = model.messages.len() as u32 + 1;
    if action & 0x60 == 0 || channel > 1 {
        return;
    }
    if action & 0x80 == 0 {
        if model.reset {
            return;
        }
        // After a message that has begun to arrive: what is above the highest seen.
        model.finished = true;
        channels.on_fin(channel, message).expect("a well-behaved sender");
        model.fin_came = true;
        let expected: Vec<Given> = model.end_if_due(channel).into_iter().collect();
        assert_eq!(given(channels), expected);
    } else {
        let (consumed, code) = (model.credit(), script.u16());
        channels.on_reset(channel, message, consumed, code).expect("a well-behaved sender");
        let first = !model.ended;
        (model.reset, model.ended) = (true, true);
        let expected: Vec<Given> = first.then_some(Given::Reset(channel)).into_iter().collect();
        assert_eq!(given(channels), expected);
    }
}

/// Frames that no sender may send.
fn refuse(script: &mut Script<'_>, action: u8, channels: &mut ExtendedChannels, now: Instant) {
    let held = channels.memory_held();
    let payload = Bytes::copy_from_slice(script.take(8));
    let message = script.u32();
    let sound = Data { channel: 0, message: 1, piece: None, content: 0, payload: &payload };
    let refused = match action >> 3 & 7 {
        0 => channels.accept(
            &Data { channel: 4 + (script.byte() & 0x7f), ..sound },
            now,
            &mut Bytes::copy_from_slice,
        ),
        1 => channels.accept(
            &Data { content: 4 + (script.byte() & 0x7b), ..sound },
            now,
            &mut Bytes::copy_from_slice,
        ),
        2 => {
            let total = channels.limits().max_message as u32 + 1 + u32::from(script.u16());
            let piece = Some(Piece { offset: 0, total });
            channels.accept(&Data { piece, ..sound }, now, &mut Bytes::copy_from_slice)
        }
        3 => channels.on_fin(2 + (script.byte() & 0x7f), message),
        4 => channels.on_reset(2 + (script.byte() & 0x7f), message, script.u64(), 0),
        5 => channels.on_credit(2 + (script.byte() & 0x7f), script.u64()),
        // Further ahead than a channel's numbers may reach.
        6 => channels.accept(
            &Data { message: (1 << 20) + (message >> 16), ..sound },
            now,
            &mut Bytes::copy_from_slice,
        ),
        _ => channels.on_reset(0, 60_000, 1 << 40, 0),
    };
    assert!(refused.is_err(), "{action}");
    assert_eq!((channels.memory_held(), given(channels)), (held, Vec::new()));
}

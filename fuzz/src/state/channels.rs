//! Reassembly and acknowledgement beside models that remember everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire::reliability::{
    Accepted, ChannelLayout, Channels, ChannelsConfig, DeliveryMode, FragmentFlags, FragmentHeader, Outcome,
    Peer, Quota, RecoveryProfile,
};

use crate::Script;

fn channels(config: &ChannelsConfig) -> Channels {
    Channels::new(ChannelLayout::default(), config, RecoveryProfile::default())
}

/// A packet of a well-behaved sender.
#[derive(Debug, Clone)]
struct Packet {
    channel: u8,
    sequence: u32,
    fragment: Option<FragmentHeader>,
    payload: Bytes,
    /// Which message of the channel this is a piece of, and that message's sequences.
    message: usize,
}

/// What a receiver must deliver, told without windows, budgets or time.
#[derive(Default)]
struct Model {
    arrived: [BTreeSet<u32>; 4],
    /// Of each message: its first and last sequence, its bytes.
    messages: [Vec<(u32, u32, Vec<u8>)>; 4],
    done: [BTreeSet<usize>; 4],
    newest: u32,
}

impl Model {
    /// What arrives now makes these messages deliverable.
    fn arrive(&mut self, packet: &Packet) -> Vec<(u8, Vec<u8>)> {
        let at = usize::from(packet.channel);
        let mode = DeliveryMode::ALL[at];
        if !self.arrived[at].insert(packet.sequence) {
            return Vec::new();
        }
        let mut out = Vec::new();
        if mode == DeliveryMode::ReliableOrdered {
            for (number, (first, last, bytes)) in self.messages[at].iter().enumerate() {
                if !(*first..=*last).all(|sequence| self.arrived[at].contains(&sequence)) {
                    break;
                }
                if self.done[at].insert(number) {
                    out.push((packet.channel, bytes.clone()));
                }
            }
            return out;
        }
        let (first, last, bytes) = &self.messages[at][packet.message];
        if mode == DeliveryMode::UnreliableSequenced && *first <= self.newest {
            return out;
        }
        if (*first..=*last).all(|sequence| self.arrived[at].contains(&sequence)) {
            if mode == DeliveryMode::UnreliableSequenced {
                self.newest = *first;
            }
            out.push((packet.channel, bytes.clone()));
        }
        out
    }
}

/// Messages of a well-behaved sender arrive in any order, some twice, some never: what is delivered, and when, is what
/// the model says; every acknowledgement names only what arrived, and what is reliable is acknowledged in the end.
/// Packets nobody sent, between them, are refused and change nothing the model knows.
pub fn reassembly(data: &[u8]) {
    let mut script = Script::new(data);
    let mut now = Instant::now();
    let mut channels = channels(&ChannelsConfig::default());
    let mut model = Model::default();
    let mut line: Vec<Packet> = Vec::new();
    let mut next = [1u32; 4];
    let mut id = 0u16;
    let mut told: [BTreeSet<u32>; 4] = Default::default();
    let mut steps = 0;
    while !script.is_over() && steps < 2000 {
        steps += 1;
        let action = script.byte();
        match action & 7 {
            // Within the window and the number of incomplete messages a receiver keeps, whatever is lost.
            0 | 1 if line.len() < 200 && next.iter().all(|sequence| *sequence < 900) => {
                let channel = action >> 3 & 3;
                let at = usize::from(channel);
                let (count, piece) = (1 + script.byte() % 12, usize::from(script.byte()) + 1);
                let message = model.messages[at].len();
                let bytes: Vec<u8> = (0..usize::from(count) * piece).map(|i| (i ^ message) as u8).collect();
                model.messages[at].push((next[at], next[at] + u32::from(count) - 1, bytes.clone()));
                id = id.wrapping_add(1);
                for (index, payload) in (0..).zip(bytes.chunks(piece)) {
                    let fragment = FragmentHeader { id, index, count, flags: FragmentFlags::EMPTY };
                    line.push(Packet {
                        channel,
                        sequence: next[at],
                        fragment: (count > 1).then_some(fragment),
                        payload: Bytes::copy_from_slice(payload),
                        message,
                    });
                    next[at] += 1;
                }
            }
            2 => now += Duration::from_millis(script.byte().into()),
            3 => {
                let channel = action >> 3 & 3;
                let (ack, field) = channels.header_ack(channel);
                note(&mut told, &model, channel, ack, field);
            }
            4 => {
                // A packet on a channel that does not exist, or numbered 0.
                let channel = if action & 8 == 0 { 4 + (action >> 4) } else { action >> 4 & 3 };
                let payload = Bytes::copy_from_slice(script.take(8));
                let held = channels.memory_held();
                let told = channels.accept(channel, 0, None, payload, now);
                assert_eq!((told, channels.memory_held()), (Ok(Accepted::Invalid), held));
            }
            _ if line.is_empty() => {}
            choice => {
                let at = usize::from(script.byte()) % line.len();
                let packet = if choice == 5 { line[at].clone() } else { line.swap_remove(at) };
                if choice == 6 && !DeliveryMode::ALL[usize::from(packet.channel)].is_reliable() {
                    continue;
                }
                let again = model.arrived[usize::from(packet.channel)].contains(&packet.sequence);
                let Packet { channel, sequence, fragment, payload, .. } = packet.clone();
                let told = channels.accept(channel, sequence, fragment, payload, now).expect("well-behaved");
                assert_eq!(told == Accepted::Duplicate, again, "{packet:?}: {told:?}");
                let expected = model.arrive(&packet);
                let mut delivered = Vec::new();
                while let Some(delivery) = channels.poll_delivery() {
                    delivered.push((delivery.channel, delivery.data.to_vec()));
                }
                assert_eq!(delivered, expected, "{packet:?}: {told:?}");
            }
        }
    }
    now += Duration::from_millis(20);
    for _ in 0..4096 {
        let Some((channel, ack, field)) = channels.next_owed_ack(now) else { break };
        note(&mut told, &model, channel, ack, field);
    }
    assert_eq!(channels.next_owed_ack(now), None, "acknowledgements without end");
    for at in 0..2 {
        assert_eq!(told[at], model.arrived[at], "channel {at}: acknowledged and arrived");
    }
}

fn note(told: &mut [BTreeSet<u32>; 4], model: &Model, channel: u8, ack: u32, field: u32) {
    let at = usize::from(channel);
    if ack == 0 {
        return;
    }
    let below = (0..32).filter(|bit| field >> bit & 1 == 1).filter_map(|bit| (ack - 1).checked_sub(bit));
    for number in std::iter::once(ack).chain(below.filter(|number| *number > 0)) {
        assert!(model.arrived[at].contains(&number), "channel {at} acknowledges {number}, which never came");
        told[at].insert(number);
    }
}

/// A sender whose packets are acknowledged as the script says: truly, again, late, or for what was never sent. The
/// model knows what is outstanding: only an acknowledgement of the unsent is refused, each packet counts once, nothing
/// acknowledged is sent again, and when everything was acknowledged nothing is left.
pub fn acknowledgement(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let start = Instant::now();
    let mut now = start;
    let mut config = ChannelsConfig::default();
    config.max_queued_bytes = 1 << 16;
    let mut channels = channels(&config);
    if choice & 1 == 1 {
        channels.set_peer(Peer::Own);
    }
    channels.set_piece_size(64);
    let mut sent: [u32; 4] = [0; 4];
    // Reliable sequences that were sent and not acknowledged, with their payload.
    let mut outstanding: [BTreeMap<u32, Bytes>; 4] = Default::default();
    let mut outcome = Outcome::default();
    let mut budget = 4096;
    while !script.is_over() {
        let action = script.byte();
        match action & 7 {
            0 => {
                let message = Bytes::from(vec![action; usize::from(script.byte()) * 4]);
                let content =
                    if action & 0x80 == 0 { FragmentFlags::EMPTY } else { FragmentFlags::COMPRESSED };
                let _ = channels.push(action >> 3 & 3, &message, content, now);
            }
            1..=3 => {
                let packets = u32::from(action >> 3);
                let quota = if action & 7 == 1 { Quota::UNLIMITED } else { Quota { packets, bytes: 4096 } };
                for _ in 0..=packets {
                    let Some(out) = channels.next_outgoing(now, quota) else { break };
                    budget -= 1;
                    let at = usize::from(out.channel);
                    assert_eq!(out.reliable, DeliveryMode::ALL[at].is_reliable());
                    assert!(out.payload.len() <= 64);
                    if out.repeat {
                        let first = outstanding[at].get(&out.sequence);
                        assert_eq!(first, Some(&out.payload), "a repeat of {}", out.sequence);
                    } else {
                        assert_eq!(out.sequence, sent[at] + 1, "numbers are given in order");
                        sent[at] += 1;
                        if out.reliable {
                            outstanding[at].insert(out.sequence, out.payload.clone());
                        }
                    }
                    channels.mark_sent(&out, out.payload.len() + 40, now);
                }
                if budget <= 0 {
                    break;
                }
            }
            4 | 5 => {
                let at = usize::from(action >> 3 & 3);
                let below = script.u16();
                let ack =
                    if action & 0x80 == 0 { sent[at].saturating_sub(below.into()) } else { script.u32() };
                let field = script.u32();
                outcome.clear();
                let told = channels.acknowledge(at as u8, ack, field, now, &mut outcome);
                assert_eq!(told.is_err(), ack > sent[at], "ack {ack} of {} sent", sent[at]);
                if told.is_err() {
                    return;
                }
                let before = outstanding[at].len();
                outstanding[at].retain(|number, _| {
                    let named = *number == ack
                        || (*number < ack && ack - 1 - number < 32 && field >> (ack - 1 - number) & 1 == 1);
                    ack == 0 || !named
                });
                let acked = before - outstanding[at].len();
                assert_eq!(
                    outcome.newly_acked_packets as usize, acked,
                    "packets acknowledged for the first time"
                );
            }
            6 => {
                now += Duration::from_millis(u64::from(script.byte()) * u64::from(action >> 3));
                outcome.clear();
                if channels.handle_timeout(now, &mut outcome).is_err() {
                    return;
                }
            }
            _ => channels.push_probe(action >> 3),
        }
        let (bytes, packets) = channels.in_flight();
        let most: usize = outstanding.iter().map(BTreeMap::len).sum();
        assert!(packets as usize <= most && (bytes > 0) == (packets > 0), "{packets} in flight of {most}");
        assert!(channels.queued_bytes() <= 1 << 16);
    }
    for (at, outstanding) in outstanding.iter().enumerate() {
        for number in outstanding.keys() {
            channels.acknowledge(at as u8, *number, 0, now, &mut outcome).expect("it was sent");
        }
    }
    assert_eq!(channels.in_flight(), (0, 0));
    assert_eq!(channels.is_idle(), reliable_queue_is_empty(&mut channels, now));
}

/// Whether nothing new leaves on a reliable channel.
fn reliable_queue_is_empty(channels: &mut Channels, now: Instant) -> bool {
    while let Some(out) = channels.next_outgoing(now, Quota::UNLIMITED) {
        assert!(!out.repeat, "everything was acknowledged");
        let probe = out.payload.is_empty() && out.fragment.is_some_and(|header| header.count == 2);
        if out.reliable && !probe {
            return false;
        }
        channels.mark_sent(&out, 40, now);
    }
    true
}

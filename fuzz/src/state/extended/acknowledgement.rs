//! What leaves in the extended profile and is acknowledged, beside a model that remembers every packet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire::reliability::extended::ExtendedChannels;
use fastwire::reliability::{
    ChannelLayout, ChannelsConfig, DeliveryMode, FragmentFlags, Outcome, Quota, RecoveryProfile,
};
use fastwire::wire::extended::{Frame, Frames};

use crate::Script;

/// A stretch of a message that a packet carried.
type Stretch = (u8, usize, usize, usize);

/// A reliable message that was sent at least in part.
#[derive(Debug)]
struct Message {
    bytes: Bytes,
    /// In acknowledgements that came in time.
    acknowledged: Stretches,
    /// In any.
    arrived: Stretches,
}

/// Which bytes of a message, and whether anything of it: it may be empty.
#[derive(Debug, Default)]
struct Stretches {
    bytes: Vec<bool>,
    any: bool,
}

impl Stretches {
    fn of(len: usize) -> Self {
        Self { bytes: vec![false; len], any: false }
    }

    fn add(&mut self, start: usize, end: usize) {
        self.bytes[start..end].fill(true);
        self.any = true;
    }

    fn is_whole(&self) -> bool {
        self.any && self.bytes.iter().all(|there| *there)
    }
}

#[derive(Debug, Default)]
struct Model {
    /// Messages as they were pushed and not yet sent, by channel.
    queued: [std::collections::VecDeque<Bytes>; 4],
    /// Messages of reliable channels by number − 1.
    begun: [Vec<Message>; 2],
    /// Packets not acknowledged so far, and what they carried.
    outstanding: BTreeMap<u64, Vec<Stretch>>,
    /// What of them may have been taken for lost: an acknowledgement comes too late for what they carried.
    taken_back: BTreeSet<u64>,
    skipped: BTreeSet<u64>,
    next: u64,
}

/// A sender whose packets are acknowledged as the script says: truly, again, late, for what was never sent or was left
/// out on purpose. Only the last two are refused; each packet counts at most once; every piece that leaves is a part of
/// its message; what was wholly acknowledged does not leave again; and over a peer that acknowledges everything all that
/// is reliable arrives and nothing stays in flight.
pub fn extended_acknowledgement(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let mut now = Instant::now();
    let mut config = ChannelsConfig::default();
    config.max_queued_bytes = 1 << 16;
    let mut channels = ExtendedChannels::new(ChannelLayout::default(), &config, RecoveryProfile::default());
    channels.set_peer(channels.limits());
    let mut model = Model::default();
    let mut outcome = Outcome::default();
    let mut budget = 4096;
    while !script.is_over() && budget > 0 {
        let action = script.byte();
        match action & 7 {
            0 => {
                let channel = action >> 3 & 3;
                let message = Bytes::from(vec![action ^ 0x5a; usize::from(script.byte()) << (action >> 5)]);
                if channels.push(channel, &message, FragmentFlags::EMPTY, now).is_ok() {
                    model.queued[usize::from(channel)].push_back(message);
                }
            }
            1..=3 => {
                let packets = u32::from(action >> 3);
                let quota = if action & 7 == 1 { Quota::UNLIMITED } else { Quota { packets, bytes: 4096 } };
                let room = 100 + usize::from(choice) * 4;
                for _ in 0..=packets & 7 {
                    budget -= 1;
                    if !write(&mut channels, &mut model, room, quota, now) {
                        break;
                    }
                }
            }
            4 | 5 => {
                let below = u64::from(script.u16());
                let largest = if action & 0x80 == 0 {
                    (model.next.saturating_sub(1)).saturating_sub(below)
                } else {
                    script.u32().into()
                };
                let words = 4 * (1 + usize::from(action >> 3 & 7));
                let mut bitmap = script.take(words).to_vec();
                bitmap.resize(words, 0);
                let delay = Duration::from_micros(500) * u32::from(script.byte());
                outcome.clear();
                let refused = channels.acknowledge(largest, delay, &bitmap, now, &mut outcome).is_err();
                let named: BTreeSet<u64> = named(largest, &bitmap).collect();
                let foul = largest >= model.next || named.iter().any(|number| model.skipped.contains(number));
                assert_eq!(refused, foul, "{largest} of {} sent, {named:?}", model.next);
                if refused {
                    return;
                }
                acknowledged(&mut model, &named, &outcome);
            }
            6 => {
                now += Duration::from_millis(u64::from(script.byte()) * u64::from(action >> 3));
                outcome.clear();
                channels.handle_timeout(now, &mut outcome).expect("it never gives up");
                note_lost(&mut model, &outcome);
            }
            _ if action & 8 == 0 => {
                channels.skip_number(model.next);
                model.skipped.insert(model.next);
                model.next += 1;
            }
            _ => {
                channels.requeue_in_flight();
                model.taken_back.extend(model.outstanding.keys());
            }
        }
        let (bytes, packets) = channels.in_flight();
        assert!(packets as usize <= model.outstanding.len() && (bytes > 0) == (packets > 0));
        assert!(channels.queued_bytes() <= 1 << 16);
    }
    // A peer that acknowledges everything at once.
    for round in 0.. {
        assert!(round < 20_000, "it does not end: {model:?}");
        let wrote = write(&mut channels, &mut model, 1170, Quota::UNLIMITED, now);
        let numbers: Vec<u64> = model.outstanding.keys().copied().collect();
        for number in numbers {
            outcome.clear();
            channels.acknowledge(number, Duration::ZERO, &[0; 4], now, &mut outcome).expect("it was sent");
            acknowledged(&mut model, &BTreeSet::from([number]), &outcome);
        }
        if !wrote && channels.is_idle() {
            break;
        }
        now += Duration::from_millis(100);
        outcome.clear();
        channels.handle_timeout(now, &mut outcome).expect("it never gives up");
        note_lost(&mut model, &outcome);
    }
    assert_eq!((channels.in_flight(), channels.queued_bytes()), ((0, 0), 0));
    for (at, messages) in model.begun.iter().enumerate() {
        let all = messages.iter().all(|message| message.arrived.is_whole());
        assert!(model.queued[at].is_empty() && all, "channel {at}");
    }
    assert_eq!(channels.undelivered().count(), 0);
}

/// The numbers an acknowledgement names.
fn named<'a>(largest: u64, bitmap: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
    let below = (0..bitmap.len() as u64 * 8).filter(|bit| bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 1);
    std::iter::once(largest).chain(below.filter_map(move |bit| largest.checked_sub(1 + bit)))
}

fn acknowledged(model: &mut Model, named: &BTreeSet<u64>, outcome: &Outcome) {
    let mut news = Vec::new();
    for number in named {
        let carried = model.outstanding.remove(number);
        news.extend(carried.map(|carried| (!model.taken_back.contains(number), carried)));
    }
    let counted = outcome.newly_acked_packets as usize;
    assert!(counted <= news.len(), "{counted} packets acknowledged of {}", news.len());
    // What lost packets carried leaves again, whether they are acknowledged late or so late that they do not count.
    let counts = counted == news.len();
    for (in_time, carried) in news {
        for (channel, number, start, end) in carried {
            let message = &mut model.begun[usize::from(channel)][number];
            message.arrived.add(start, end);
            if in_time && counts {
                message.acknowledged.add(start, end);
            }
        }
    }
    note_lost(model, outcome);
}

/// Which packets were lost is not told.
fn note_lost(model: &mut Model, outcome: &Outcome) {
    if outcome.lost_packets > 0 {
        model.taken_back.extend(model.outstanding.keys());
    }
}

/// Writes a packet if there is something to write; whether there was.
fn write(
    channels: &mut ExtendedChannels,
    model: &mut Model,
    room: usize,
    quota: Quota,
    now: Instant,
) -> bool {
    if !channels.has_outgoing(quota) && !channels.wants_probe() {
        return false;
    }
    let mut plain = vec![0; room];
    channels.begin_packet();
    let written = channels.write_frames(&mut plain, quota, now);
    if written.len == 0 {
        if !channels.wants_probe() {
            channels.abandon_packet();
            return false;
        }
        channels.carry_ping();
    }
    let mut carried = Vec::new();
    for frame in Frames::new(&plain[..written.len]).into_iter().flatten() {
        let Frame::Data(data) = frame.expect("whole frames") else { panic!("{frame:?}") };
        let at = usize::from(data.channel);
        let number = data.message as usize - 1;
        let (start, total) =
            data.piece.map_or((0, data.payload.len()), |piece| (piece.offset as usize, piece.total as usize));
        let end = start + data.payload.len();
        if !DeliveryMode::ALL[at].is_reliable() {
            continue;
        }
        if number == model.begun[at].len() {
            let bytes = model.queued[at].pop_front().expect("it was pushed");
            let [acknowledged, arrived] = [(); 2].map(|()| Stretches::of(bytes.len()));
            model.begun[at].push(Message { bytes, acknowledged, arrived });
        }
        let message = &model.begun[at][number];
        assert!(
            !message.acknowledged.is_whole(),
            "message {number} of channel {at} was acknowledged and leaves again"
        );
        assert_eq!((&message.bytes[start..end], message.bytes.len()), (data.payload, total));
        carried.push((data.channel, number, start, end));
    }
    channels.packet_sent(model.next, written.len + 40, now);
    model.outstanding.insert(model.next, carried);
    model.next += 1;
    true
}

//! Ends of streams on reliable channels: FIN and RESET, both ways, over bad links.

use std::time::Duration;

use fastwire_reliability::extended::Incoming;
use fastwire_reliability::{FragmentFlags, PushError, Quota};
use proptest::prelude::*;

use crate::extended::{World, config, index_of, message};
use crate::link::LinkConfig;

/// What one side does next.
#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Finish,
    Reset(u16),
    Wait(u64),
}

/// How a stream's half ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Open,
    Finished,
    Reset(u16),
}

/// One half of one stream: indices of its messages, and its end.
#[derive(Debug, Clone, PartialEq)]
struct Half {
    messages: Vec<u32>,
    end: End,
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![
        10 => prop_oneof![4usize..60, 4usize..6000].prop_map(Step::Push),
        3 => Just(Step::Finish),
        1 => any::<u16>().prop_map(Step::Reset),
        6 => (0u64..300).prop_map(Step::Wait),
    ];
    (0usize..2, step)
}

fn halves(received: &[Incoming]) -> Vec<Half> {
    let mut halves = vec![Half { messages: Vec::new(), end: End::Open }];
    for incoming in received {
        let last = halves.last_mut().unwrap();
        match incoming {
            Incoming::Message(delivery) => last.messages.push(index_of(&delivery.data)),
            Incoming::Finished { .. } => last.end = End::Finished,
            Incoming::Reset { code, .. } => last.end = End::Reset(*code),
            other => panic!("{other:?}"),
        }
        if halves.last().unwrap().end != End::Open {
            halves.push(Half { messages: Vec::new(), end: End::Open });
        }
    }
    halves
}

proptest! {
    /// Streams follow one another on a channel: of one that was finished every message arrives, then its end; of one that was
    /// reset some do, then its end; and nothing of the next comes before.
    #[test]
    fn streams_end_as_they_were_ended(
        steps in prop::collection::vec(step(), 1..60),
        loss in prop_oneof![Just(0.0), 0.0..0.3],
        channel in 0u8..2,
        seed: u64,
    ) {
        let link = LinkConfig {
            jitter: Duration::from_millis(10), duplicate: 0.05, reorder: 0.1, ..LinkConfig::lossy(Duration::from_millis(20), loss)
        };
        let mut world = World::new(&config(None), link, Quota { packets: 12, bytes: u64::MAX }, seed);
        let mut sent: [Vec<Half>; 2] = [0, 1].map(|_| vec![Half { messages: Vec::new(), end: End::Open }]);
        // since the last step of a side nothing has left
        let (mut index, mut fresh) = (0, [false; 2]);
        for (side, step) in steps {
            // an application ends its half once, and begins the next stream when the peer's half has ended too
            let seen = world.received[side].iter().filter(|incoming| !matches!(incoming, Incoming::Message(_))).count();
            let channels = &mut world.peers[side].channels;
            let halves = &mut sent[side];
            let ended = halves.last().unwrap().end != End::Open;
            let may = !ended || seen >= halves.len();
            let result = match &step {
                Step::Push(len) => channels.push(channel, &message(channel, index, *len), FragmentFlags::EMPTY, world.now),
                Step::Finish => channels.finish(channel),
                Step::Reset(code) if !ended || fresh[side] => channels.reset(channel, *code),
                Step::Reset(_) => continue,
                Step::Wait(millis) => {
                    world.run(world.now + Duration::from_millis(*millis));
                    fresh = [false; 2];
                    continue;
                }
            };
            if let Err(error) = result {
                prop_assert_eq!(error, PushError::Finished { channel });
                prop_assert!(ended, "only a stream that was ended refuses");
                continue;
            }
            if ended && !matches!(step, Step::Reset(_)) {
                prop_assert!(may, "the peer's half goes on");
                halves.push(Half { messages: Vec::new(), end: End::Open });
            }
            let last = halves.last_mut().unwrap();
            match step {
                Step::Push(_) => last.messages.push(index),
                Step::Finish => last.end = End::Finished,
                Step::Reset(code) => last.end = End::Reset(code),
                Step::Wait(_) => {}
            }
            fresh[side] = true;
            index += 1;
        }
        world.run(world.now + Duration::from_secs(300));
        for (side, sent) in sent.iter().enumerate() {
            prop_assert!(world.peers[side].channels.is_idle() || sent.len() > 1);
            let arrived = halves(&world.received[1 - side]);
            for (at, half) in sent.iter().enumerate() {
                let Some(got) = arrived.get(at) else {
                    prop_assert!(false, "stream {at} of {side} is missing");
                    continue;
                };
                let mut messages = got.messages.clone();
                if channel == 1 {
                    messages.sort_unstable();
                }
                prop_assert_eq!(got.end, half.end, "stream {} of {}", at, side);
                if matches!(half.end, End::Reset(_)) {
                    prop_assert!(messages.iter().all(|index| half.messages.contains(index)));
                    prop_assert!(messages.is_sorted_by(|a, b| a < b));
                } else {
                    prop_assert_eq!(&messages, &half.messages, "stream {} of {}", at, side);
                }
            }
        }
    }
}

#[test]
fn only_reliable_channels_have_streams() {
    let mut channels = crate::extended::channels(&config(None));
    assert_eq!(channels.finish(2), Err(PushError::NotReliable { channel: 2 }));
    assert_eq!(channels.reset(3, 1), Err(PushError::NotReliable { channel: 3 }));
    assert_eq!(channels.finish(9), Err(PushError::InvalidChannel { channel: 9, channels: 4 }));
}

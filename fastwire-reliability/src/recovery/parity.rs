//! Laws of loss recovery where parity stands for packets, and where the peer made lost ones of it (PROTOCOL B5, FEC).

use super::packets::Leaving;
use super::*;
use crate::space::{Class, Repeat, State};
use proptest::prelude::*;

/// One packet as its sender knows it.
#[derive(Debug, Clone, Copy)]
struct Known {
    at: Instant,
    group: Option<usize>,
    acked: bool,
    lost: bool,
}

/// A group of packets: open, dropped without parity, or covered by a packet that left then.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Group {
    Open { first: u64 },
    Dropped,
    Covered { parity: u64, at: Instant },
}

#[derive(Debug, Clone)]
enum Step {
    Send,
    /// What is sent from now on is in a group, unless one is open.
    Begin,
    /// The open group ends, with its parity in a packet, or with none.
    End {
        parity: bool,
    },
    Ack {
        back: u64,
        bitmap: u32,
    },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Send),
        1 => Just(Step::Begin),
        1 => any::<bool>().prop_map(|parity| Step::End { parity }),
        3 => (0u64..12, any::<u32>()).prop_map(|(back, bitmap)| Step::Ack { back, bitmap }),
        3 => (0u64..120).prop_map(Step::Wait),
    ]
}

/// A sender and what it knows.
struct World {
    recovery: Recovery,
    space: AckSpace<u64>,
    now: Instant,
    sent: Vec<Known>,
    groups: Vec<Group>,
    largest: Option<u64>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut recovery = Recovery::new(&ChannelsConfig::default(), RecoveryProfile::default());
        recovery.sample(Duration::from_millis(40), now, &mut Outcome::default());
        let space = AckSpace::new(0, Repeat::NewNumber);
        Self { recovery, space, now, sent: Vec::new(), groups: Vec::new(), largest: None }
    }

    fn send(&mut self, grouped: bool) {
        let number = self.sent.len() as u64;
        let packet = Leaving { number, bytes: 100, class: Class::Reliable, repeat: false, idle: false };
        self.recovery.on_packet_sent(&mut self.space, packet, number, self.now);
        let open = matches!(self.groups.last(), Some(Group::Open { .. }));
        let group = (open && grouped).then(|| self.groups.len() - 1);
        self.sent.push(Known { at: self.now, group, acked: false, lost: false });
    }

    fn begin(&mut self) {
        // as many as are remembered
        if self.groups.len() < 30 && !matches!(self.groups.last(), Some(Group::Open { .. })) {
            let first = self.sent.len() as u64;
            self.recovery.shield_from(&mut self.space, first, self.now);
            self.groups.push(Group::Open { first });
        }
    }

    fn end(&mut self, parity: bool) {
        let Some(Group::Open { first }) = self.groups.last().copied() else { return };
        let end = self.sent.len() as u64;
        let group = if parity && first < end {
            let number = end;
            self.send(false);
            self.recovery.shielded(&mut self.space, first..end, number, self.now);
            Group::Covered { parity: number, at: self.now }
        } else {
            self.recovery.unshield(&mut self.space, self.now);
            Group::Dropped
        };
        *self.groups.last_mut().expect("open") = group;
    }

    fn ack(&mut self, largest: u64, bitmap: u32, out: &mut Outcome) {
        let bytes = bitmap.to_le_bytes();
        let named = |number: u64| {
            number == largest
                || largest.checked_sub(1 + number).is_some_and(|bit| bit < 32 && bitmap >> bit & 1 == 1)
        };
        for (number, known) in (0..).zip(&mut self.sent) {
            known.acked |= named(number);
        }
        self.largest = self.largest.max(Some(largest));
        self.recovery.on_packets_acked(&mut self.space, largest, &bytes, Duration::ZERO, self.now, out);
    }

    /// What was just taken for lost had its parity due, if there is some, and is late in one of the two ways there are.
    fn judge(&mut self, out: &Outcome) -> Result<(), TestCaseError> {
        // at least as much as was asked for
        let (threshold, wait) = (u64::from(self.recovery.threshold), self.recovery.reordering_wait());
        for &number in &out.lost_numbers {
            let known = &mut self.sent[number as usize];
            prop_assert!(!known.acked && !known.lost, "{number}: {known:?}");
            known.lost = true;
            let largest = self.largest.expect("something was acknowledged");
            prop_assert!(number < largest);
            let (newest, from) = match known.group.map(|group| self.groups[group]) {
                Some(Group::Open { .. }) => return Err(TestCaseError::fail("lost before its parity")),
                Some(Group::Covered { parity, at }) => (parity, at),
                Some(Group::Dropped) | None => (number, known.at),
            };
            let by_order = largest >= newest + threshold;
            let by_time = self.now.saturating_duration_since(from) >= wait;
            prop_assert!(by_order || by_time, "{number} of {largest}: {known:?}");
        }
        Ok(())
    }
}

proptest! {
    /// Whatever is sent, grouped, acknowledged and waited for: no packet is lost while its group is open, nor before what
    /// came after its parity says so; and in the end none waits behind a shield for ever.
    #[test]
    fn no_packet_is_lost_before_its_parity_was_due_and_none_waits_for_ever(
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut world = World::new();
        for step in steps {
            let mut out = Outcome::default();
            match step {
                Step::Send => world.send(true),
                Step::Begin => world.begin(),
                Step::End { parity } => world.end(parity),
                Step::Ack { back, bitmap } => {
                    let Some(newest) = (world.sent.len() as u64).checked_sub(1) else { continue };
                    world.ack(newest.saturating_sub(back), bitmap, &mut out);
                }
                Step::Wait(millis) => {
                    world.now += Duration::from_millis(millis);
                    world.recovery.on_packet_timer(&mut world.space, world.now, &mut out);
                }
            }
            world.judge(&out)?;
        }
        world.end(true);
        let before = world.sent.len() as u64;
        (0..20).for_each(|_| world.send(false));
        let mut out = Outcome::default();
        world.ack(before + 19, (1 << 19) - 1, &mut out);
        world.judge(&out)?;
        for _ in 0..40 {
            let Some(at) = world.space.loss_at else { break };
            world.now = world.now.max(at);
            let mut out = Outcome::default();
            world.recovery.on_packet_timer(&mut world.space, world.now, &mut out);
            world.judge(&out)?;
        }
        for (number, known) in (0..).zip(&world.sent) {
            prop_assert!(known.acked || known.lost, "{number} waits for ever: {known:?}");
            let gone = world.space.get(number).is_none_or(|sent| sent.state != State::InFlight);
            prop_assert!(gone, "{number} is in flight still");
        }
        prop_assert_eq!(world.recovery.in_flight(), (0, 0));
    }

    /// What the peer made of parity was lost on the way: it counts as such, is one congestion event a round trip together with
    /// what was lost and not recovered, and changes nothing of what is in flight.
    #[test]
    fn recovered_packets_are_losses_and_one_congestion_event_a_round_trip(
        steps in prop::collection::vec((1u64..80, 0u64..8, any::<u32>(), 0u32..4), 1..60),
    ) {
        let mut world = World::new();
        let (mut event_at, mut recovered_all) = (None::<Instant>, 0);
        for (pause, back, bitmap, recovered) in steps {
            world.now += Duration::from_millis(pause);
            (0..4).for_each(|_| world.send(true));
            let mut out = Outcome::default();
            let newest = world.sent.len() as u64 - 1;
            world.ack(newest.saturating_sub(back), bitmap, &mut out);
            world.judge(&out)?;
            let newest_acked = out.newest_acked_sent_at;
            let (flight, known) = (world.recovery.in_flight(), world.recovery.loss.clone());
            let lost = out.congestion;
            if recovered > 0 {
                world.recovery.on_recovered(recovered, world.now, &mut out);
                recovered_all += recovered;
            }
            prop_assert_eq!(world.recovery.in_flight(), flight);
            let mut expected = known;
            (0..recovered).for_each(|_| expected.record(true));
            prop_assert!((world.recovery.loss.ratio() - expected.ratio()).abs() < 1e-12);
            if lost.is_some() {
                prop_assert_eq!(out.congestion, lost, "one event, not two");
            } else if let Some(event) = out.congestion {
                prop_assert!(recovered > 0 && event.lost_packets == recovered && !event.persistent);
            }
            let left = newest_acked.unwrap_or(world.now - world.recovery.rtt.smoothed());
            let fresh = event_at.is_none_or(|at| left > at);
            if recovered > 0 && fresh {
                prop_assert!(out.congestion.is_some(), "a round trip has passed");
            }
            if out.congestion.is_some() {
                let since = |at: Instant| event_at.is_none_or(|event| at > event);
                let late = out.lost_numbers.iter().any(|number| since(world.sent[*number as usize].at));
                prop_assert!(late || (recovered > 0 && fresh), "what left before the last event is part of it");
                event_at = Some(world.now);
            }
        }
        prop_assert!(recovered_all == 0 || event_at.is_some());
    }
}

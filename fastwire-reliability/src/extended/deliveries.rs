//! What waits for the application, in the order it came; reliable and unreliable apart, because only the latter may be
//! dropped.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use fastwire_wire::FragmentFlags;

use super::small::SmallMessages;
use super::{Incoming, MESSAGE_CREDIT, Polled};
use crate::Delivery;
use crate::channel_set::ChannelSet;

/// Copies bytes into memory that is shared with others'.
pub type Keep<'a> = dyn FnMut(&[u8]) -> Bytes + 'a;

/// Deliveries that may wait in memory that is shared with other connections'; later ones have the connection's own.
pub(crate) const MAX_PINNED: usize = 256;

/// The connection's own copies share memory of so many bytes: none is an allocation of its own.
const CHUNK: usize = 16 << 10;

/// What a delivery costs, its bytes included.
pub(crate) fn cost(len: usize) -> usize {
    len + MESSAGE_CREDIT as usize
}

/// What of an unreliable channel waits.
#[derive(Debug)]
enum Waiting {
    /// Its bytes are in [`SmallMessages`].
    Small {
        channel: u8,
        content: FragmentFlags,
        len: u16,
    },
    Owned(Delivery),
}

impl Waiting {
    fn cost(&self) -> usize {
        match self {
            Waiting::Small { len, .. } => cost(usize::from(*len)),
            Waiting::Owned(delivery) => cost(delivery.data.len()),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    reliable: VecDeque<(u64, Incoming)>,
    loose: VecDeque<(u64, Waiting)>,
    small: SmallMessages,
    /// Reliable channels that are paused, and what of them came up for delivery since.
    paused: ChannelSet,
    aside: BTreeMap<u8, VecDeque<Incoming>>,
    count: u64,
    /// What came up to here shares no memory with others'.
    apart: u64,
    /// Nothing is delivered for now: what comes waits.
    held_back: bool,
    /// What `loose` costs.
    loose_held: usize,
    /// Where copies are made; what is handed out is cut off its front.
    copies: BytesMut,
}

impl Deliveries {
    pub(crate) fn push_reliable(&mut self, incoming: Incoming) {
        self.count += 1;
        self.reliable.push_back((self.count, incoming));
    }

    pub(crate) fn push_loose(&mut self, delivery: Delivery) {
        self.wait(Waiting::Owned(delivery));
    }

    /// The same for a message that lies in the datagram it came in.
    #[inline]
    pub(crate) fn take_loose(
        &mut self,
        channel: u8,
        content: FragmentFlags,
        payload: &[u8],
        keep: &mut Keep<'_>,
    ) {
        match u16::try_from(payload.len()) {
            Ok(len) if payload.len() <= SmallMessages::LONGEST => {
                self.small.push(payload);
                self.wait(Waiting::Small { channel, content, len });
            }
            _ => {
                let data = self.keep(payload, keep);
                self.push_loose(Delivery { channel, content, data });
            }
        }
    }

    #[inline]
    fn wait(&mut self, waiting: Waiting) {
        self.count += 1;
        self.loose_held += waiting.cost();
        self.loose.push_back((self.count, waiting));
    }

    /// Stops or resumes delivering what is on a reliable channel.
    pub(crate) fn pause(&mut self, channel: u8, paused: bool) {
        if paused {
            self.paused.insert(channel);
            return;
        }
        self.paused.remove(channel);
        // before anything of the channel that is still in line, which came later
        let Some(aside) = self.aside.remove(&channel) else { return };
        for incoming in aside.into_iter().rev() {
            self.reliable.push_front((0, incoming));
        }
    }

    pub(crate) fn unpause_all(&mut self) {
        for channel in self.paused.after(u8::MAX) {
            self.pause(channel, false);
        }
    }

    /// Whether the oldest that is not on a paused channel is of a reliable one.
    fn reliable_is_next(&mut self) -> bool {
        if self.reliable.is_empty() {
            return false;
        }
        while let Some((_, front)) = self.reliable.front() {
            let channel = front.channel();
            if !self.paused.contains(channel) {
                break;
            }
            let Some((count, mut incoming)) = self.reliable.pop_front() else { break };
            if let (true, Incoming::Message(delivery)) = (count > self.apart, &mut incoming) {
                set_apart(&mut self.copies, delivery);
            }
            self.aside.entry(channel).or_default().push_back(incoming);
        }
        match (self.reliable.front(), self.loose.front()) {
            (Some((a, _)), Some((b, _))) => a < b,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// The oldest that is not on a paused channel; and whether it is reliable.
    pub(crate) fn pop(&mut self) -> Option<(Incoming, bool)> {
        if self.reliable_is_next() {
            return self.reliable.pop_front().map(|(_, incoming)| (incoming, true));
        }
        let delivery = match self.pop_waiting()? {
            Waiting::Owned(delivery) => delivery,
            Waiting::Small { channel, content, len } => {
                let Self { small, copies, .. } = self;
                let data = small.pop(len.into(), |message| copy(copies, message))?;
                Delivery { channel, content, data }
            }
        };
        Some((Incoming::Message(delivery), false))
    }

    /// As [`pop`](Self::pop), with the bytes of a short message copied to `into` in place of an owner of its own.
    #[inline]
    pub(crate) fn pop_into(&mut self, into: &mut Vec<u8>) -> Option<(Polled, bool)> {
        if self.reliable_is_next() {
            return self.reliable.pop_front().map(|(_, incoming)| (Polled::Owned(incoming), true));
        }
        let polled = match self.pop_waiting()? {
            Waiting::Owned(delivery) => Polled::Owned(Incoming::Message(delivery)),
            Waiting::Small { channel, content, len } => {
                into.clear();
                self.small.pop(len.into(), |message| into.extend_from_slice(message))?;
                Polled::Copied { channel, content }
            }
        };
        Some((polled, false))
    }

    /// Drops the oldest unreliable one. Gives whether there was one.
    pub(crate) fn drop_loose(&mut self) -> bool {
        match self.pop_waiting() {
            Some(Waiting::Small { len, .. }) => self.small.pop(len.into(), |_| ()).is_some(),
            waiting => waiting.is_some(),
        }
    }

    #[inline]
    fn pop_waiting(&mut self) -> Option<Waiting> {
        let (_, waiting) = self.loose.pop_front()?;
        self.loose_held -= waiting.cost();
        Some(waiting)
    }

    pub(crate) fn loose_held(&self) -> usize {
        self.loose_held
    }

    /// What comes waits for longer than for the next look at it (`true`), or does not any more. What waits so has the connection's own
    /// memory: one message would keep as much of others' alive as shares its chunk.
    pub(crate) fn hold_back(&mut self, held_back: bool) {
        self.held_back = held_back;
        if held_back {
            self.set_apart();
        }
    }

    /// Moves what waits into memory of the connection's own.
    pub(crate) fn set_apart(&mut self) {
        let Self { reliable, loose, apart, copies, .. } = self;
        for (_, incoming) in reliable.iter_mut().rev().take_while(|(count, _)| count > apart) {
            if let Incoming::Message(delivery) = incoming {
                set_apart(copies, delivery);
            }
        }
        for (_, waiting) in loose.iter_mut().rev().take_while(|(count, _)| count > apart) {
            if let Waiting::Owned(delivery) = waiting {
                set_apart(copies, delivery);
            }
        }
        self.apart = self.count;
    }

    /// A payload as it may wait: in shared memory, or in the connection's own once many wait.
    pub(crate) fn keep(&mut self, payload: &[u8], shared: &mut Keep<'_>) -> Bytes {
        let aside = match self.aside.is_empty() {
            true => 0,
            false => self.aside.values().map(VecDeque::len).sum(),
        };
        if !self.held_back && self.reliable.len() + self.loose.len() + aside < MAX_PINNED {
            return shared(payload);
        }
        copy(&mut self.copies, payload)
    }

    pub(crate) fn trim(&mut self) {
        self.copies = BytesMut::new();
        self.reliable.shrink_to_fit();
        self.loose.shrink_to_fit();
        self.small.trim();
    }
}

/// A copy in the connection's own memory.
fn copy(copies: &mut BytesMut, message: &[u8]) -> Bytes {
    if copies.capacity() < message.len() {
        copies.reserve(message.len().max(CHUNK));
    }
    copies.extend_from_slice(message);
    copies.split().freeze()
}

fn set_apart(copies: &mut BytesMut, delivery: &mut Delivery) {
    delivery.data = copy(copies, &delivery.data);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// Memory that all connections share, as the count of who has some of it shows.
    struct Shared(Arc<()>);

    impl Shared {
        fn keep(&self, bytes: &[u8]) -> Bytes {
            struct Piece {
                bytes: Vec<u8>,
                _chunk: Arc<()>,
            }
            impl AsRef<[u8]> for Piece {
                fn as_ref(&self) -> &[u8] {
                    &self.bytes
                }
            }
            Bytes::from_owner(Piece { bytes: bytes.to_vec(), _chunk: self.0.clone() })
        }

        fn pieces(&self) -> usize {
            Arc::strong_count(&self.0) - 1
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Wait {
        Push(u8, u16),
        Poll,
        Pause(u8, bool),
        HoldBack(bool),
        SetApart,
    }

    fn wait() -> impl Strategy<Value = Wait> {
        prop_oneof![
            8 => (0..4u8, 0..3000u16).prop_map(|(channel, len)| Wait::Push(channel, len)),
            3 => Just(Wait::Poll),
            1 => (0..2u8, any::<bool>()).prop_map(|(channel, paused)| Wait::Pause(channel, paused)),
            1 => any::<bool>().prop_map(Wait::HoldBack),
            1 => Just(Wait::SetApart),
        ]
    }

    #[derive(Debug, Clone)]
    enum Step {
        Reliable(u8),
        Loose(usize),
        Joined(usize),
        Pause(u8, bool),
        Drop,
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        let len = prop_oneof![0usize..300, Just(SmallMessages::LONGEST), Just(SmallMessages::LONGEST + 1)];
        prop_oneof![
            1 => (0u8..3).prop_map(Step::Reliable),
            4 => len.clone().prop_map(Step::Loose),
            1 => len.prop_map(Step::Joined),
            1 => (0u8..3, any::<bool>()).prop_map(|(channel, paused)| Step::Pause(channel, paused)),
            1 => Just(Step::Drop),
            4 => Just(Step::Take),
        ]
    }

    fn play(deliveries: &mut Deliveries, number: usize, step: &Step) {
        let content = FragmentFlags::from_bits(number as u8 & 3);
        let delivery = |channel, len| Delivery { channel, content, data: vec![number as u8; len].into() };
        match *step {
            Step::Reliable(channel) => deliveries.push_reliable(Incoming::Message(delivery(channel, 10))),
            Step::Loose(len) => {
                let keep = &mut |bytes: &[u8]| Bytes::copy_from_slice(bytes);
                deliveries.take_loose(7, content, &vec![number as u8; len], keep);
            }
            Step::Joined(len) => deliveries.push_loose(delivery(7, len)),
            Step::Pause(channel, paused) => deliveries.pause(channel, paused),
            Step::Drop => drop(deliveries.drop_loose()),
            Step::Take => {}
        }
    }

    proptest! {
        /// Whoever has short messages copied is told the same, in the same order, as who asks for owners; and nothing is held
        /// for what was taken.
        #[test]
        fn copied_and_owned_deliveries_are_the_same(steps in prop::collection::vec(step(), 1..400)) {
            let (mut owned, mut copied, mut into) = (Deliveries::default(), Deliveries::default(), Vec::new());
            for (number, step) in steps.iter().enumerate() {
                play(&mut owned, number, step);
                play(&mut copied, number, step);
                if matches!(step, Step::Take) {
                    let other = copied.pop_into(&mut into).map(|(polled, reliable)| match polled {
                        Polled::Owned(incoming) => (incoming, reliable),
                        Polled::Copied { channel, content } => {
                            (Incoming::Message(Delivery { channel, content, data: into.clone().into() }), reliable)
                        }
                    });
                    prop_assert_eq!(owned.pop(), other);
                }
                prop_assert_eq!(owned.loose_held(), copied.loose_held());
            }
            while copied.drop_loose() {}
            prop_assert_eq!((copied.loose_held(), copied.loose.len()), (0, 0));
        }

        /// Everything comes out as it went in and, on a channel, in the order in which it went in; what waits for longer keeps no shared
        /// memory alive, and never more pieces of it than [`MAX_PINNED`].
        #[test]
        fn what_waits_for_longer_shares_no_memory(steps in prop::collection::vec(wait(), 1..600)) {
            let (mut deliveries, shared) = (Deliveries::default(), Shared(Arc::new(())));
            let mut waiting: [VecDeque<Vec<u8>>; 4] = Default::default();
            let mut held_back = false;
            let polled = |deliveries: &mut Deliveries, waiting: &mut [VecDeque<Vec<u8>>; 4]| {
                let Some((incoming, reliable)) = deliveries.pop() else { return Ok(false) };
                let channel = usize::from(incoming.channel());
                let Incoming::Message(Delivery { data, .. }) = incoming else { unreachable!("messages alone went in") };
                prop_assert_eq!(reliable, channel < 2);
                let expected = waiting[channel].pop_front();
                prop_assert_eq!(expected.as_deref(), Some(&data[..]));
                Ok(true)
            };
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Wait::Push(channel, len) => {
                        let payload = vec![number as u8; usize::from(len)];
                        let keep = &mut |bytes: &[u8]| shared.keep(bytes);
                        if channel < 2 {
                            let data = deliveries.keep(&payload, keep);
                            let message = Delivery { channel, content: FragmentFlags::EMPTY, data };
                            deliveries.push_reliable(Incoming::Message(message));
                        } else {
                            deliveries.take_loose(channel, FragmentFlags::EMPTY, &payload, keep);
                        }
                        waiting[usize::from(channel)].push_back(payload);
                    }
                    Wait::Poll => {
                        polled(&mut deliveries, &mut waiting)?;
                    }
                    Wait::Pause(channel, paused) => deliveries.pause(channel, paused),
                    Wait::HoldBack(on) => {
                        held_back = on;
                        deliveries.hold_back(on);
                    }
                    Wait::SetApart => {
                        deliveries.set_apart();
                        prop_assert_eq!(shared.pieces(), 0);
                    }
                }
                let most = if held_back { 0 } else { MAX_PINNED };
                prop_assert!(shared.pieces() <= most);
            }
            // What is left for paused channels was put aside, with memory of its own.
            while polled(&mut deliveries, &mut waiting)? {}
            prop_assert_eq!(shared.pieces(), 0);
            deliveries.unpause_all();
            while polled(&mut deliveries, &mut waiting)? {}
            prop_assert!(waiting.iter().all(VecDeque::is_empty));
        }
    }
}

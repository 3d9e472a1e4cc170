//! What comes in: packets, their acknowledgement, messages whose turn it is.

use std::time::Instant;

use bytes::Bytes;
use fastwire_wire::{FragmentFlags, FragmentHeader};

use crate::DeliveryMode;
use crate::channels::{Accepted, Channels, Delivery};
use crate::error::Violation;
use crate::inbox::{Contradiction, Inbox, Packet};
use crate::seen::Arrival;

/// Incomplete messages an unreliable channel keeps; beyond, the oldest goes.
const MAX_UNRELIABLE_PARTIALS: usize = 256;

/// What the privileged channel may hold beyond the receive budget: a message of the largest size whose buffer has
/// doubled while more of its pieces wait.
const OVER_BUDGET: usize = 640 << 10;

/// Incomplete messages are looked through for hopeless ones whenever the lowest missing sequence has advanced this far.
const SWEEP: u32 = 64;

/// What a delivery that waits to be polled costs beside its bytes.
const DELIVERY_OVERHEAD: usize = std::mem::size_of::<Delivery>() + 32;

/// Deliveries that may wait as parts of receive buffers; later ones are copied.
const MAX_PINNED: usize = 256;

impl Channels {
    /// Takes a received data packet. What can be delivered now waits in [`poll_delivery`](Self::poll_delivery); what nobody polls
    /// counts in the receive budget, and so slows the peer. A message that arrives whole and in its turn passes through as the same
    /// `Bytes`; what has to wait is copied, so that it pins no receive buffer.
    ///
    /// # Errors
    ///
    /// [`Violation`]: the connection ends.
    pub fn accept(
        &mut self,
        channel: u8,
        sequence: u32,
        fragment: Option<FragmentHeader>,
        payload: Bytes,
        now: Instant,
    ) -> Result<Accepted, Violation> {
        let Some(mode) = self.layout.mode(channel).filter(|_| sequence > 0) else {
            self.stats.invalid += 1;
            return Ok(Accepted::Invalid);
        };
        let packet = Packet { fragment, payload };
        if let Some(header) = packet.fragment.filter(|header| header.index >= header.count) {
            return self.contradiction(channel, mode, Contradiction(header));
        }
        let Some(slot) = self.channels.get_mut(usize::from(channel)) else { return Ok(Accepted::Invalid) };
        let inbox = slot.inbox.get_or_insert_with(|| Box::new(Inbox::starting_at(self.first_sequence)));
        match inbox.seen.judge(sequence, !mode.is_reliable()) {
            Arrival::New => {}
            Arrival::Duplicate => {
                // PROTOCOL A6 rule 1: the acknowledgement may have been lost
                inbox.owed.add(sequence, mode.is_reliable(), now);
                self.owing.insert(channel);
                self.stats.duplicates += 1;
                return Ok(Accepted::Duplicate);
            }
            Arrival::TooOld => {
                self.stats.too_old += 1;
                return Ok(Accepted::TooOld);
            }
            Arrival::TooFar => {
                self.stats.over_budget += 1;
                return Ok(Accepted::OverBudget);
            }
        }
        let arrives = packet.payload.len() + DELIVERY_OVERHEAD;
        if self.undelivered > 0 && self.held + self.undelivered + arrives > self.receive_budget {
            // the application will poll, so this is no deadlock
            self.stats.over_budget += 1;
            return Ok(Accepted::OverBudget);
        }
        if mode.is_reliable() && !self.admits(channel, mode, sequence, &packet)? {
            self.stats.over_budget += 1;
            return Ok(Accepted::OverBudget);
        }
        self.take(channel, mode, sequence, packet, now)
    }

    /// The next message whose turn it is.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        let delivery = self.deliveries.pop_front()?;
        self.undelivered = self.undelivered.saturating_sub(delivery.data.len() + DELIVERY_OVERHEAD);
        Some(delivery)
    }

    /// The acknowledgement for the header of a packet that leaves on `channel` now: (ack, field). It reports what
    /// was longest unreported; what it covers is no longer owed.
    pub fn header_ack(&mut self, channel: u8) -> (u32, u32) {
        let Some(inbox) = self.channels.get_mut(usize::from(channel)).and_then(|slot| slot.inbox.as_mut())
        else {
            return (0, 0);
        };
        let ack = inbox.owed.take(&inbox.seen);
        if inbox.owed.due().is_none() {
            self.owing.remove(channel);
        }
        ack.unwrap_or_else(|| (inbox.seen.highest(), inbox.seen.field(inbox.seen.highest())))
    }

    /// The next acknowledgement that has to leave by itself, in a HEARTBEAT: (channel, ack, field). What it
    /// covers is no longer owed. `None`: none is due yet.
    pub fn next_owed_ack(&mut self, now: Instant) -> Option<(u8, u32, u32)> {
        for channel in self.owing.after(u8::MAX) {
            let Some(inbox) =
                self.channels.get_mut(usize::from(channel)).and_then(|slot| slot.inbox.as_mut())
            else {
                continue;
            };
            if inbox.owed.due().is_some_and(|due| now < due) {
                continue;
            }
            let ack = inbox.owed.take(&inbox.seen);
            if inbox.owed.due().is_none() {
                self.owing.remove(channel);
            }
            if let Some((ack, field)) = ack {
                return Some((channel, ack, field));
            }
        }
        None
    }

    /// When the next acknowledgement has to leave: at once for reliable packets, 10 ms after the first of up to 16
    /// unreliable ones (PROTOCOL A6 rules 1 and 3).
    pub fn ack_due(&self) -> Option<Instant> {
        if self.owing.is_empty() {
            return None;
        }
        let inbox =
            |channel: u8| self.channels.get(usize::from(channel)).and_then(|slot| slot.inbox.as_ref());
        self.owing.after(u8::MAX).filter_map(|channel| inbox(channel)?.owed.due()).min()
    }

    pub(crate) fn drop_timed_out(&mut self, now: Instant) {
        if self.held_unreliable == 0 {
            return;
        }
        for (index, channel) in self.channels.iter_mut().enumerate() {
            let unreliable = self.layout.mode(index as u8).is_some_and(|mode| !mode.is_reliable());
            let Some(inbox) = channel.inbox.as_mut().filter(|_| unreliable) else { continue };
            let before = inbox.held();
            let timeout = self.config.fragment_timeout;
            let old = |started| now.saturating_duration_since(started) >= timeout;
            while inbox.reassembly.oldest().is_some_and(old) && inbox.reassembly.drop_oldest() {
                self.stats.incomplete_dropped += 1;
            }
            self.held_unreliable = self.held_unreliable - before + inbox.held();
        }
    }

    /// Whether there is memory for a new packet of a reliable channel (PROTOCOL A6 rule 7). Early packets may use half of the
    /// budget, the message at the head of the line seven eighths; beyond, one channel at a time has the privilege to complete
    /// a message, then hands it to one that was refused. So some channel always advances, and each in its turn.
    fn admits(
        &mut self,
        channel: u8,
        mode: DeliveryMode,
        sequence: u32,
        packet: &Packet,
    ) -> Result<bool, Violation> {
        let Some(inbox) = self.channels.get(usize::from(channel)).and_then(|slot| slot.inbox.as_ref()) else {
            return Ok(true);
        };
        let cost = inbox.cost(mode, sequence, packet);
        if cost == 0 {
            return Ok(true);
        }
        let held = self.held.saturating_add(cost);
        if held.saturating_add(self.undelivered) <= self.receive_budget / 2 {
            return Ok(true);
        }
        if !inbox.is_front(sequence, packet) {
            return Ok(false);
        }
        if held <= self.receive_budget / 8 * 7 {
            return Ok(true);
        }
        match self.privileged {
            None => self.privileged = Some(channel),
            Some(other) if other != channel => {
                self.privileged_next = Some(channel);
                return Ok(false);
            }
            Some(_) => {}
        }
        if held > self.receive_budget.saturating_add(OVER_BUDGET) {
            return Err(Violation::ReceiveBudget { channel, held, budget: self.receive_budget });
        }
        Ok(true)
    }

    fn take(
        &mut self,
        channel: u8,
        mode: DeliveryMode,
        sequence: u32,
        packet: Packet,
        now: Instant,
    ) -> Result<Accepted, Violation> {
        let Some(inbox) = self.channels.get_mut(usize::from(channel)).and_then(|slot| slot.inbox.as_mut())
        else {
            return Ok(Accepted::Invalid);
        };
        if self.privileged_next == Some(channel) && inbox.is_front(sequence, &packet) {
            // it got in without the privilege, and may never ask again
            self.privileged_next = None;
        }
        let (before, floor) = (inbox.held(), inbox.seen.floor());
        inbox.owed.add(sequence, mode.is_reliable(), now);
        self.owing.insert(channel);
        self.stats.received += 1;
        inbox.quality.arrived(u64::from(sequence), now);
        if mode == DeliveryMode::UnreliableSequenced && inbox.is_stale(sequence, &packet) {
            inbox.seen.insert(sequence);
            if !packet.is_probe() {
                self.stats.stale += 1;
                inbox.quality.stale += 1;
            }
            return Ok(Accepted::Stale);
        }
        let delivered = self.stats.delivered;
        let (deliveries, stats, undelivered) = (&mut self.deliveries, &mut self.stats, &mut self.undelivered);
        let mut deliver = |content: FragmentFlags, data: Bytes| {
            stats.delivered += 1;
            *undelivered += data.len() + DELIVERY_OVERHEAD;
            // what waits long pins no receive buffer
            let data = if deliveries.len() < MAX_PINNED { data } else { Bytes::copy_from_slice(&data) };
            deliveries.push_back(Delivery { channel, content, data });
        };
        let taken = inbox.take(mode, sequence, packet, now, &mut deliver);
        if !mode.is_reliable() {
            while inbox.reassembly.len() > MAX_UNRELIABLE_PARTIALS && inbox.reassembly.drop_oldest() {
                self.stats.incomplete_dropped += 1;
            }
            let others = self.held_unreliable - before;
            while others + inbox.held() > self.config.unreliable_budget && inbox.reassembly.drop_oldest() {
                self.stats.incomplete_dropped += 1;
            }
            self.held_unreliable = others + inbox.held();
        } else {
            self.held = self.held - before + inbox.held();
            let completed = self.stats.delivered > delivered && inbox.held() < before;
            if self.privileged == Some(channel) && (completed || inbox.held() == 0) {
                self.privileged = self.privileged_next.take();
            }
            let advanced = inbox.seen.floor() / SWEEP != floor / SWEEP;
            if advanced && let Some((id, missing)) = inbox.reassembly.beyond_hope(inbox.seen.floor()) {
                return Err(Violation::MessageIncomplete { channel, id, missing });
            }
        }
        match taken {
            Ok(()) => Ok(Accepted::Taken),
            Err(contradiction) => self.contradiction(channel, mode, contradiction),
        }
    }

    /// On a reliable channel a hole would remain (PROTOCOL A6 rule 4); elsewhere the fragment is a lost one.
    fn contradiction(
        &mut self,
        channel: u8,
        mode: DeliveryMode,
        Contradiction(header): Contradiction,
    ) -> Result<Accepted, Violation> {
        if mode.is_reliable() {
            return Err(Violation::FragmentMismatch { channel, id: header.id, index: header.index });
        }
        self.stats.invalid += 1;
        Ok(Accepted::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelLayout, ChannelsConfig, RecoveryProfile};
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Debug, Clone)]
    enum Step {
        Accept { channel: u8, sequence: u32, fragment: Option<(u16, u8, u8)>, len: usize },
        Poll(usize),
        Wait(u64),
    }

    /// Packets of an authenticated peer that means harm: any sequence near the window, any fragment.
    fn step() -> impl Strategy<Value = Step> {
        let sequence = prop_oneof![8 => 0u32..300, 2 => 0u32..3000, 1 => any::<u32>()];
        let fragment = prop::option::weighted(0.8, (0u16..40, 0u8..8, 1u8..9));
        let accept = (0u8..5, sequence, fragment, prop_oneof![Just(0usize), 1usize..1300]);
        prop_oneof![
            20 => accept.prop_map(|(channel, sequence, fragment, len)| Step::Accept { channel, sequence, fragment, len }),
            2 => (0usize..20).prop_map(Step::Poll),
            1 => (0u64..3000).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever arrives: no panic, the account of memory is right, and it stays within the budgets.
        #[test]
        fn hostile_packets_stay_within_the_budgets(
            steps in prop::collection::vec(step(), 1..400),
            budget in prop_oneof![Just(0usize), 1000usize..60_000, Just(1 << 20)],
        ) {
            let config = ChannelsConfig {
                receive_budget: Some(budget), unreliable_budget: 20_000, ..ChannelsConfig::default()
            };
            let mut channels = Channels::new(ChannelLayout::default(), &config, RecoveryProfile::default());
            let mut now = Instant::now();
            let mut outcome = crate::Outcome::default();
            for step in steps {
                match step {
                    Step::Accept { channel, sequence, fragment, len } => {
                        let fragment = fragment.map(|(id, index, count)| FragmentHeader {
                            id, index, count, flags: FragmentFlags::EMPTY,
                        });
                        let before = channels.memory_held();
                        match channels.accept(channel, sequence, fragment, Bytes::from(vec![1; len]), now) {
                            // over, the connection ends
                            Err(_) => return Ok(()),
                            Ok(Accepted::OverBudget) => prop_assert_eq!(channels.memory_held(), before),
                            Ok(_) => {}
                        }
                    }
                    Step::Poll(count) => (0..count).for_each(|_| drop(channels.poll_delivery())),
                    Step::Wait(millis) => {
                        now += Duration::from_millis(millis);
                        prop_assert!(channels.handle_timeout(now, &mut outcome).is_ok());
                    }
                }
                let held = |reliable: bool| -> usize {
                    let inboxes = channels.channels.iter().zip(DeliveryMode::ALL);
                    let inboxes = inboxes.filter(|(_, mode)| mode.is_reliable() == reliable);
                    inboxes.filter_map(|(slot, _)| slot.inbox.as_ref()).map(|inbox| inbox.held()).sum()
                };
                prop_assert_eq!((channels.held, channels.held_unreliable), (held(true), held(false)));
                let waiting = channels.deliveries.iter().map(|d| d.data.len() + DELIVERY_OVERHEAD).sum::<usize>();
                prop_assert_eq!(channels.undelivered, waiting);
                prop_assert!(channels.held <= budget + OVER_BUDGET + 2600);
                prop_assert!(channels.held_unreliable <= 20_000);
                if let Some(due) = channels.ack_due() {
                    let (_, ack, _) = channels.next_owed_ack(due).expect("what is due is there");
                    prop_assert!(ack > 0);
                }
            }
        }
    }
}

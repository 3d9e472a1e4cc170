//! All channels of one connection: the state, and what is asked about it.
//!
//! What goes out is in `sending`, what comes in is in `receiving`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_wire::{FragmentFlags, FragmentHeader};

use crate::asks::Asks;
use crate::channel_set::ChannelSet;
use crate::config::{ChannelsConfig, Peer, RecoveryProfile};
use crate::error::{GiveUp, Violation};
use crate::fragments::FragmentIds;
use crate::inbox::Inbox;
use crate::outbox::Outbox;
use crate::quality::ReceiveQuality;
use crate::recovery::{Outcome, Recovery};
use crate::{ChannelLayout, Rtt};

/// A packet that should leave now. Hand it back with [`Channels::mark_sent`] before the socket sees it.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The channel.
    pub channel: u8,
    /// The packet's sequence on the channel, from 1.
    pub sequence: u32,
    /// The fragment header to write, if the packet carries a fragment.
    pub fragment: Option<FragmentHeader>,
    /// The message, or the piece of it.
    pub payload: Bytes,
    /// Whether the packet is repeated until acknowledged, and counts in flight.
    pub reliable: bool,
    /// Whether it was sent before.
    pub repeat: bool,
}

/// A message whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The channel.
    pub channel: u8,
    /// How the data is compressed; empty if it is not.
    pub content: FragmentFlags,
    /// The message as its sender gave it to `push`.
    pub data: Bytes,
}

/// What became of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accepted {
    /// Taken; perhaps there are deliveries now.
    Taken,
    /// It had arrived before. It is acknowledged again.
    Duplicate,
    /// Too far behind to know.
    TooOld,
    /// A message older than the newest delivered, on a sequenced channel.
    Stale,
    /// Beyond the receive window, or no memory for it: dropped before it was acknowledged, so the sender repeats it.
    OverBudget,
    /// No such channel, sequence 0, or (unreliable) a fragment that contradicts others: dropped.
    Invalid,
}

/// What happened on a connection's channels, counted since its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelsStats {
    /// Packets sent again.
    pub retransmits: u64,
    /// Packets taken for lost that had arrived.
    pub spurious: u64,
    /// Null probes sent (PROTOCOL A6 rule 2).
    pub probes: u64,
    /// Packets received, duplicates and dropped ones not counted.
    pub received: u64,
    /// Duplicates received.
    pub duplicates: u64,
    /// Packets too far behind the window of an unreliable channel.
    pub too_old: u64,
    /// Messages of sequenced channels that came after a newer one.
    pub stale: u64,
    /// Packets dropped because they were beyond the receive window or the budget.
    pub over_budget: u64,
    /// Packets that made no sense.
    pub invalid: u64,
    /// Incomplete unreliable messages dropped: timed out, or over the budget.
    pub incomplete_dropped: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages of sequenced channels that a newer one replaced before they could leave (extended profile).
    pub superseded: u64,
    /// Messages that expired before any piece of them could leave.
    pub expired: u64,
    /// Copies of messages that went along before any loss was seen (extended profile).
    pub copies: u64,
}

/// Connection timeouts without any acknowledgement after which a packet to one of ours counts as undeliverable. Long before,
/// silence ends the connection; this is for a peer that is heard and acknowledges nothing.
const OWN_PATIENCE: u32 = 3;

/// What one channel has in use; nothing until it is used.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    pub(crate) outbox: Option<Box<Outbox>>,
    pub(crate) inbox: Option<Box<Inbox>>,
}

/// Every channel of one connection, with loss recovery and reassembly. Sans-IO: time and bytes are arguments.
///
/// Out: [`push`](Self::push), then [`next_outgoing`](Self::next_outgoing) and [`mark_sent`](Self::mark_sent) until
/// `None`. In: [`acknowledge`](Self::acknowledge) the header, [`accept`](Self::accept) the packet, drain
/// [`poll_delivery`](Self::poll_delivery), send what [`next_owed_ack`](Self::next_owed_ack) says. Time: at
/// [`next_timeout`](Self::next_timeout) call [`handle_timeout`](Self::handle_timeout).
#[derive(Debug)]
pub struct Channels {
    pub(crate) layout: ChannelLayout,
    pub(crate) config: ChannelsConfig,
    /// As many as the layout has.
    pub(crate) channels: Box<[Channel]>,
    pub(crate) recovery: Recovery,
    pub(crate) peer: Peer,
    pub(crate) piece_size: usize,
    pub(crate) ids: FragmentIds,
    /// Waiting to be sent for the first time, over all channels.
    pub(crate) queued_bytes: usize,
    pub(crate) queued_messages: usize,
    /// Channels with something new, with lost packets, with a probe due.
    pub(crate) waiting: ChannelSet,
    pub(crate) repeating: ChannelSet,
    pub(crate) probing: ChannelSet,
    /// Channels that owe an acknowledgement.
    pub(crate) owing: ChannelSet,
    /// The channel served last, so that the next turn is another's.
    pub(crate) turn: u8,
    /// The packet handed out last was a repeat.
    pub(crate) repeated_last: bool,
    /// What the inboxes of reliable channels hold.
    pub(crate) held: usize,
    pub(crate) held_unreliable: usize,
    /// What `deliveries` holds.
    pub(crate) undelivered: usize,
    pub(crate) receive_budget: usize,
    /// The channel that may exceed the budget to complete a message, and the one to follow it.
    pub(crate) privileged: Option<u8>,
    pub(crate) privileged_next: Option<u8>,
    pub(crate) deliveries: VecDeque<Delivery>,
    /// The sequence of a channel's first packet.
    pub(crate) first_sequence: u32,
    pub(crate) stats: ChannelsStats,
    pub(crate) asks: Asks,
    /// Channels of which something that waits may expire.
    pub(crate) expiring: ChannelSet,
}

impl Channels {
    /// The channels of `layout`, unused, towards a foreign peer with pieces of 1155 bytes.
    pub fn new(layout: ChannelLayout, config: &ChannelsConfig, profile: RecoveryProfile) -> Self {
        let channels = (0..layout.len()).map(|_| Channel::default()).collect();
        Self {
            channels,
            recovery: Recovery::new(config, profile),
            peer: Peer::Foreign,
            piece_size: fastwire_wire::MAX_FRAGMENT_PAYLOAD,
            ids: FragmentIds::default(),
            queued_bytes: 0,
            queued_messages: 0,
            waiting: ChannelSet::default(),
            repeating: ChannelSet::default(),
            probing: ChannelSet::default(),
            owing: ChannelSet::default(),
            turn: u8::MAX,
            repeated_last: false,
            held: 0,
            held_unreliable: 0,
            undelivered: 0,
            receive_budget: config.receive_budget_for(&layout),
            privileged: None,
            privileged_next: None,
            deliveries: VecDeque::new(),
            first_sequence: 1,
            stats: ChannelsStats::default(),
            asks: Asks::default(),
            expiring: ChannelSet::default(),
            config: config.clone(),
            layout,
        }
    }

    /// The layout given to [`new`](Self::new).
    pub fn layout(&self) -> &ChannelLayout {
        &self.layout
    }

    /// Starts the sequences of every channel elsewhere, before anything was sent. Both sides must agree, so this is only for
    /// tests of what happens after a long time.
    #[doc(hidden)]
    pub fn count_from(&mut self, sequence: u32) {
        self.first_sequence = sequence.max(1);
    }

    /// Says whose implementation the peer is; [`Peer::Foreign`] until then.
    pub fn set_peer(&mut self, peer: Peer) {
        self.peer = peer;
        if peer == Peer::Own {
            self.probing = ChannelSet::default();
            for outbox in self.channels.iter_mut().filter_map(|channel| channel.outbox.as_mut()) {
                outbox.unwatch();
            }
        }
    }

    /// Sets the most bytes of a message, or piece, that one packet carries: 1155, less the migration token and the batch
    /// frame where they are in use. Before the first `push`: a longer queue of maximum-size messages would be cut larger.
    pub fn set_piece_size(&mut self, max_payload: usize) {
        self.piece_size = max_payload.max(1);
    }

    /// Changes how eagerly lost packets are repeated.
    pub fn set_profile(&mut self, profile: RecoveryProfile) {
        self.recovery.set_profile(profile);
    }

    /// The longest message a reliable or unreliable channel takes, in bytes (a foreign peer over a slow path takes less, see
    /// [`PushError::MessageTooLarge`](crate::PushError::MessageTooLarge)).
    pub fn max_message(&self) -> usize {
        self.piece_size * fastwire_wire::MAX_FRAGMENTS
    }

    /// Takes a round-trip sample from elsewhere, such as the handshake.
    pub fn seed_rtt(&mut self, sample: Duration, now: Instant) {
        self.recovery.sample(sample, now, &mut Outcome::default());
    }

    /// Lets time pass: packets whose time is up become due again, stale incomplete messages go.
    ///
    /// # Errors
    ///
    /// [`GiveUp`]: the connection should end.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outcome) -> Result<(), GiveUp> {
        self.drop_timed_out(now);
        if !self.expiring.is_empty() {
            self.drop_expired(now);
        }
        if self.peer == Peer::Foreign {
            for (index, channel) in self.channels.iter_mut().enumerate() {
                if let Some(waited) = channel.outbox.as_mut().and_then(|outbox| outbox.forgotten(now)) {
                    return Err(GiveUp::MessageForgotten { channel: index as u8, waited });
                }
            }
        }
        if self.retransmit_at().is_none_or(|at| now < at) {
            return Ok(());
        }
        for (index, channel) in self.channels.iter_mut().enumerate() {
            let Some(outbox) = channel.outbox.as_mut() else { continue };
            self.recovery.on_reordering_timer(&mut outbox.space, now, out);
            if outbox.space.has_due() {
                self.repeating.insert(index as u8);
            }
        }
        if self.retransmit_at().is_none_or(|at| now < at) {
            return Ok(());
        }
        let mut any = false;
        // One of ours acknowledges every copy. While it acknowledges anything, one packet's delay is only bad luck, and the
        // last packet of all needs more than the ten copies that leave within the connection timeout.
        let progress = self.recovery.stalled_since().filter(|_| self.peer == Peer::Own);
        for (index, channel) in self.channels.iter_mut().enumerate() {
            let Some(outbox) = channel.outbox.as_mut() else { continue };
            while let Some((number, sent)) = outbox.space.oldest_in_flight() {
                let repeats = sent.sends - 1;
                let waited =
                    now.saturating_duration_since(progress.map_or(sent.first_at, |at| at.max(sent.first_at)));
                let patience =
                    self.config.connection_timeout * if self.peer == Peer::Own { OWN_PATIENCE } else { 1 };
                let given_up = repeats >= self.config.max_retransmits && waited >= patience;
                if given_up {
                    let (channel, sequence) = (index as u8, u32::try_from(number).unwrap_or(u32::MAX));
                    return Err(GiveUp::MaxRetransmits { channel, sequence, repeats });
                }
                if !self.recovery.expire(&mut outbox.space, now, out) {
                    break;
                }
                any = true;
                self.repeating.insert(index as u8);
            }
        }
        if any {
            self.recovery.expired(now, out);
        }
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next. Acknowledgements have a time of their
    /// own: [`ack_due`](Self::ack_due).
    pub fn next_timeout(&self) -> Option<Instant> {
        let watched = self.peer == Peer::Foreign && self.recovery.in_flight().1 > 0;
        let forgotten = watched.then(|| self.outboxes().filter_map(Outbox::forgotten_at).min()).flatten();
        let id_free = self.ids.resting_until().filter(|_| self.queued_messages > 0);
        let expires = self
            .expiring
            .after(u8::MAX)
            .filter_map(|channel| self.channels.get(usize::from(channel))?.outbox.as_ref()?.expires());
        let timers = [self.retransmit_at(), forgotten, id_free, self.fragments_time_out_at(), expires.min()];
        timers.into_iter().flatten().min()
    }

    /// Bytes (of datagrams) and packets that are sent, reliable, and neither acknowledged nor taken for lost.
    pub fn in_flight(&self) -> (u64, u32) {
        self.recovery.in_flight()
    }

    /// Whether the reliable channels have nothing queued and nothing unacknowledged.
    pub fn is_idle(&self) -> bool {
        let reliable = |index: usize| self.layout.mode(index as u8).is_some_and(|mode| mode.is_reliable());
        let idle = |channel: &Channel| channel.outbox.as_ref().is_none_or(|outbox| outbox.is_idle());
        self.channels.iter().enumerate().all(|(index, channel)| !reliable(index) || idle(channel))
    }

    /// Since when packets wait for acknowledgement and none came; `None` while none waits.
    pub fn stalled_since(&self) -> Option<Instant> {
        self.recovery.stalled_since()
    }

    /// Whether a channel nears the end of its sequences: reconnect or close (PROTOCOL A6 rule 9). True from 2²⁰ before.
    pub fn sequence_exhausted(&self) -> bool {
        const RESERVE: u32 = 1 << 20;
        self.outboxes().any(|outbox| outbox.highest() > u32::MAX - RESERVE)
    }

    /// The path's round-trip time.
    pub fn rtt(&self) -> &Rtt {
        self.recovery.rtt()
    }

    /// The share of the last 100 reliable packets that were lost or repeated, 0.0 to 1.0; 0.0 while none is known.
    pub fn loss(&self) -> f64 {
        self.recovery.loss()
    }

    /// The time a packet that leaves now has to be acknowledged: the retransmission timeout with back-off and the
    /// peer's acknowledgement delay.
    pub fn rto(&self) -> Duration {
        self.recovery.timeout()
    }

    /// Bytes that wait to be sent for the first time.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Messages of which something waits to be sent for the first time.
    pub fn queued_messages(&self) -> usize {
        self.queued_messages
    }

    /// Bytes held on the receiving side, overhead included: early packets, incomplete messages, and
    /// deliveries nobody polled.
    pub fn memory_held(&self) -> usize {
        self.held + self.held_unreliable + self.undelivered
    }

    /// What happened so far.
    pub fn stats(&self) -> ChannelsStats {
        ChannelsStats {
            retransmits: self.recovery.retransmitted(),
            spurious: self.recovery.spurious(),
            ..self.stats
        }
    }

    /// What the receiving side of a channel looks like; zeros if nothing arrived on it.
    pub fn receive_quality(&self, channel: u8) -> ReceiveQuality {
        let inbox = self.channels.get(usize::from(channel)).and_then(|channel| channel.inbox.as_ref());
        inbox.map(|inbox| inbox.quality.snapshot()).unwrap_or_default()
    }

    /// Gives back memory that a burst took. For a quiet moment, such as a heartbeat's.
    pub fn trim(&mut self) {
        self.deliveries.shrink_to_fit();
        for channel in &mut self.channels {
            if let Some(outbox) = &mut channel.outbox {
                outbox.trim();
            }
            if let Some(inbox) = &mut channel.inbox {
                inbox.trim();
            }
        }
    }

    pub(crate) fn outboxes(&self) -> impl Iterator<Item = &Outbox> {
        self.channels.iter().filter_map(|channel| channel.outbox.as_deref())
    }

    fn retransmit_at(&self) -> Option<Instant> {
        if self.recovery.in_flight().1 == 0 {
            return None;
        }
        self.outboxes().filter_map(|outbox| self.recovery.deadline(&outbox.space)).min()
    }

    fn fragments_time_out_at(&self) -> Option<Instant> {
        if self.held_unreliable == 0 {
            return None;
        }
        let unreliable = |index: usize| self.layout.mode(index as u8).is_some_and(|mode| !mode.is_reliable());
        let inboxes = self.channels.iter().enumerate().filter(|(index, _)| unreliable(*index));
        let oldest = inboxes.filter_map(|(_, channel)| channel.inbox.as_ref()?.reassembly.oldest()).min();
        oldest.map(|started| started + self.config.fragment_timeout)
    }
}

/// What an authenticated peer's acknowledgement may not name.
pub(crate) fn ack_of_unsent(channel: u8, ack: u32, sent: u32) -> Violation {
    Violation::AckOfUnsent { channel, ack, sent }
}

//! The channels of the extended profile: many messages in one packet, wide acknowledgements, credit (PROTOCOL B5).
//!
//! A lost piece is sent again in another packet; a packet is never sent twice. What goes out is in `sending` (the
//! application's calls), `schedule` (what a packet carries, in which order) and `fates` (what became of packets); what
//! comes in is in `receiving`.

mod copies;
mod cut;
mod deliveries;
mod fates;
mod held;
mod inbox;
mod loose;
mod number;
mod outbox;
mod owed;
mod packet;
mod partial;
mod ranges;
mod receiving;
mod schedule;
mod sending;
mod shares;
mod small;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

pub use deliveries::Keep;
pub use held::SMALL_MESSAGE;
pub use types::{ControlFrame, Fate, Incoming, PeerLimits, Polled, Undelivered, Written};

use crate::asks::Asks;
use crate::channel_set::ChannelSet;
use crate::recovery::{GRANULARITY, Outcome, Recovery};
use crate::space::{AckSpace, Repeat};
use crate::{
    ChannelConfig, ChannelLayout, ChannelsConfig, ChannelsStats, DeliveryMode, GiveUp, ReceiveQuality,
    RecoveryProfile, Rtt,
};
use deliveries::Deliveries;
use fastwire_wire::FragmentFlags;
use inbox::Inbox;
use loose::{Loose, LooseInbox};
use outbox::Outbox;
use owed::AckOwed;
use packet::{Building, Packet};
use shares::Shares;

/// What a message costs of its channel's credit beside its bytes (PROTOCOL B5, Credit).
pub(crate) const MESSAGE_CREDIT: u64 = 32;

/// From the oldest unfinished to the newest message number of a reliable channel (PROTOCOL B5, Credit).
pub(crate) const SPAN: u64 = 65_536;

/// The most the probe timeout backs off to (PROTOCOL B5, Recovery).
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Credit that rose too little to be told is told so much later, if a large message might wait for it.
const CREDIT_DELAY: Duration = Duration::from_millis(100);

/// The receive budget is announced in 16 bits of KiB.
const MAX_BUDGET: u64 = 65_535 << 10;

/// What of the configuration is asked for later: every connection holds it.
#[derive(Debug)]
struct Kept {
    max_queued_bytes: usize,
    max_queued_messages: usize,
    fragment_timeout: Duration,
    channels: BTreeMap<u8, ChannelConfig>,
}

/// Who wants to see the parts of a connection that lie apart, to have them at hand when its next packet comes.
pub trait Parts {
    /// One of them.
    fn see<T>(&mut self, part: &T);
}

/// What one channel has in use; nothing until it is used.
#[derive(Debug, Default)]
struct Channel {
    outbox: Option<Box<Outbox>>,
    inbox: Option<Box<Inbox>>,
    loose: Option<Box<LooseInbox>>,
}

/// Every channel of one connection of the extended profile, with loss recovery, reassembly and credit. Sans-IO: time
/// and bytes are arguments.
///
/// Out, a packet at a time: [`begin_packet`](Self::begin_packet); [`carry`](Self::carry),
/// [`carry_ack`](Self::carry_ack) and [`carry_ping`](Self::carry_ping) for what the connection wrote itself;
/// [`write_frames`](Self::write_frames); then [`packet_sent`](Self::packet_sent) with the number it was sealed under,
/// or [`abandon_packet`](Self::abandon_packet) if it was not sealed.
///
/// In: [`on_packet`](Self::on_packet), then a call for each frame, then [`poll_delivery`](Self::poll_delivery) and
/// [`poll_control`](Self::poll_control) until `None`. Time: at [`next_timeout`](Self::next_timeout) call
/// [`handle_timeout`](Self::handle_timeout); at [`ack_due`](Self::ack_due) send an ACK.
#[derive(Debug)]
pub struct ExtendedChannels {
    layout: ChannelLayout,
    config: Kept,
    limits: PeerLimits,
    peer: PeerLimits,
    /// A channel's share of our receive budget, and a reliable channel's of the peer's: asked for with every message.
    window: u64,
    peer_window: u64,
    /// As many as the layout has.
    channels: Box<[Channel]>,
    recovery: Recovery,
    space: AckSpace<Packet>,
    /// The newest numbers left out on purpose; an ACK reaches no further back than they do.
    skipped: VecDeque<u64>,
    building: Building,
    /// Packets that a probe timeout still asks for, and the packet whose content the next one copies.
    probes: u32,
    probe_from: u64,
    /// The room of the largest packet offered lately.
    fresh: usize,
    /// Waiting to be sent for the first time, over all channels.
    queued_bytes: usize,
    queued_messages: usize,
    /// Reliable messages under way.
    unfinished: usize,
    /// Channels with something new that can leave, by kind, and those whose new messages wait for credit.
    reliable: ChannelSet,
    unreliable: ChannelSet,
    blocked: ChannelSet,
    /// Channels with something lost, with credit to tell, with an end that waits to leave, with one unacknowledged.
    repeating: ChannelSet,
    crediting: ChannelSet,
    ending: ChannelSet,
    unended: ChannelSet,
    /// Channels of which something that waits may expire.
    expiring: ChannelSet,
    /// The channel served last, so that the next turn is another's.
    turn: u8,
    /// Priorities and weights; `None`: all channels alike.
    shares: Option<Box<Shares>>,
    /// Channels that may send copies of what was not lost.
    redundant: ChannelSet,
    /// Nothing but acknowledgements, control and probes leaves.
    held: bool,
    /// Content flags that the peer may set.
    content: FragmentFlags,
    asks: Asks,
    controls: VecDeque<(ControlFrame, Fate)>,
    owed: AckOwed,
    loose: Loose,
    deliveries: Deliveries,
    /// When the last of the credit is told to channels on which a large message might wait for it.
    credit_at: Option<Instant>,
    /// The newest time seen.
    clock: Option<Instant>,
    /// The number of a channel's first message.
    first_message: u64,
    stats: ChannelsStats,
}

impl ExtendedChannels {
    /// The channels of `layout`, unused. Nothing reliable leaves before [`set_peer`](Self::set_peer).
    pub fn new(layout: ChannelLayout, config: &ChannelsConfig, profile: RecoveryProfile) -> Self {
        let channels = (0..layout.len()).map(|_| Channel::default()).collect();
        let timers = ChannelsConfig {
            min_rto: GRANULARITY,
            max_backoff: MAX_BACKOFF,
            max_backoff_alive: MAX_BACKOFF,
            ..config.clone()
        };
        let limits = limits(&layout, config);
        Self {
            window: share(limits.receive_budget, &layout),
            peer_window: 0,
            channels,
            recovery: Recovery::new(&timers, profile).with_granularity(GRANULARITY),
            space: AckSpace::new(0, Repeat::NewNumber),
            skipped: VecDeque::new(),
            building: Building::default(),
            probes: 0,
            probe_from: 0,
            fresh: 0,
            queued_bytes: 0,
            queued_messages: 0,
            unfinished: 0,
            reliable: ChannelSet::default(),
            unreliable: ChannelSet::default(),
            blocked: ChannelSet::default(),
            repeating: ChannelSet::default(),
            crediting: ChannelSet::default(),
            ending: ChannelSet::default(),
            unended: ChannelSet::default(),
            expiring: ChannelSet::default(),
            turn: u8::MAX,
            shares: Shares::of(&layout, config),
            redundant: redundant(&layout, config),
            held: false,
            content: FragmentFlags::COMPRESSED.union(FragmentFlags::ZSTD),
            asks: Asks::default(),
            controls: VecDeque::new(),
            owed: AckOwed::new(limits.max_ack_delay),
            loose: Loose::default(),
            deliveries: Deliveries::default(),
            credit_at: None,
            clock: None,
            first_message: 1,
            stats: ChannelsStats::default(),
            config: Kept {
                max_queued_bytes: config.max_queued_bytes,
                max_queued_messages: config.max_queued_messages,
                fragment_timeout: config.fragment_timeout,
                channels: config.channels.clone(),
            },
            peer: PeerLimits { receive_budget: 0, ..limits },
            limits,
            layout,
        }
    }

    /// Starts packet numbers and the message numbers of every channel elsewhere, before anything was sent. Both sides must
    /// agree, so this is only for tests of what happens after a long time.
    #[doc(hidden)]
    pub fn count_from(&mut self, packet: u64, message: u64) {
        self.space = AckSpace::new(packet, Repeat::NewNumber);
        self.first_message = message.max(1);
    }

    /// What we accept, to be announced. Sizes are whole KiB, as the wire has them.
    pub fn limits(&self) -> PeerLimits {
        self.limits
    }

    /// Says what the peer accepts. Once, before anything is sent.
    pub fn set_peer(&mut self, peer: PeerLimits) {
        self.peer = peer;
        self.recovery.set_max_ack_delay(peer.max_ack_delay);
        self.peer_window = share(peer.receive_budget, &self.layout);
        let window = self.peer_window;
        for channel in 0..self.layout.len() {
            if let Some(outbox) = self.outbox_mut(channel as u8) {
                outbox.grant(window);
                self.refile(channel as u8);
            }
        }
    }

    /// The peer may stamp messages, besides compressing them (PROTOCOL B5, Stamps).
    pub fn allow_stamps(&mut self) {
        self.content = self.content.union(FragmentFlags::STAMPED);
    }

    /// The layout given to [`new`](Self::new).
    pub fn layout(&self) -> &ChannelLayout {
        &self.layout
    }

    /// Changes how eagerly packets are taken for lost.
    pub fn set_profile(&mut self, profile: RecoveryProfile) {
        self.recovery.set_profile(profile);
    }

    /// The longest message that every channel takes, in bytes.
    pub fn max_message(&self) -> usize {
        self.max_message_on(true)
    }

    /// Takes a round-trip sample from elsewhere, such as the handshake.
    pub fn seed_rtt(&mut self, sample: Duration, now: Instant) {
        self.recovery.sample(sample, now, &mut Outcome::default());
    }

    /// Begins RTT measurement anew, on another path (PROTOCOL B6).
    pub fn reset_rtt(&mut self) {
        self.recovery.restart_rtt();
    }

    /// Bytes (of datagrams) and packets that are neither acknowledged nor taken for lost. Packets with unreliable data alone
    /// do not count: they wait for no quota, so they would starve what does.
    pub fn in_flight(&self) -> (u64, u32) {
        self.recovery.in_flight()
    }

    /// Whether nothing waits to be sent and nothing reliable is unacknowledged.
    pub fn is_idle(&self) -> bool {
        self.queued_messages == 0 && self.unfinished == 0 && self.unended.is_empty()
    }

    /// Since when no packet was acknowledged although something reliable waited for it; `None` while nothing does.
    pub fn stalled_since(&self) -> Option<Instant> {
        self.recovery.stalled_since().filter(|_| self.recovery.in_flight().1 > 0 || !self.is_idle())
    }

    /// The path's round-trip time.
    pub fn rtt(&self) -> &Rtt {
        self.recovery.rtt()
    }

    /// The share of the last 100 packets whose fate is known that were lost, 0.0 to 1.0; 0.0 while none is known.
    pub fn loss(&self) -> f64 {
        self.recovery.loss()
    }

    /// The probe timeout with back-off (RFC 9002 §6.2.1).
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

    /// Bytes held on the receiving side, overhead included: early and incomplete messages, and deliveries nobody polled.
    pub fn memory_held(&self) -> usize {
        let inboxes = self.channels.iter().filter_map(|channel| channel.inbox.as_ref());
        inboxes.map(|inbox| inbox.held()).sum::<usize>() + self.loose.held() + self.deliveries.loose_held()
    }

    /// What happened so far; of packets where the base profile counts packets, of DATA frames on the receiving side.
    pub fn stats(&self) -> ChannelsStats {
        let (retransmits, spurious) = (self.recovery.retransmitted(), self.recovery.spurious());
        ChannelsStats { retransmits, spurious, ..self.stats }
    }

    /// What the receiving side of a channel looks like; zeros if nothing arrived on it. Counted in messages.
    pub fn receive_quality(&self, channel: u8) -> ReceiveQuality {
        let Some(channel) = self.channels.get(usize::from(channel)) else { return ReceiveQuality::default() };
        let reliable = channel.inbox.as_ref().map(|inbox| inbox.quality.snapshot());
        let loose = channel.loose.as_ref().map(|inbox| inbox.quality.snapshot());
        reliable.or(loose).unwrap_or_default()
    }

    /// Shows what the next packet will touch and what does not lie in `self`.
    pub fn show_parts(&self, to: &mut impl Parts) {
        for channel in &self.channels {
            to.see(channel);
        }
        self.space.show_parts(to);
        for channel in &self.channels {
            if let Some(outbox) = &channel.outbox {
                to.see(&**outbox);
            }
            if let Some(inbox) = &channel.inbox {
                to.see(&**inbox);
            }
            if let Some(loose) = &channel.loose {
                to.see(&**loose);
            }
        }
    }

    /// Gives back memory that a burst took. For a quiet moment, such as a heartbeat's.
    pub fn trim(&mut self) {
        self.deliveries.trim();
        self.space.trim();
        self.controls.shrink_to_fit();
        self.asks.trim();
        for channel in &mut self.channels {
            if let Some(outbox) = &mut channel.outbox {
                outbox.trim();
            }
            if let Some(inbox) = &mut channel.inbox {
                inbox.trim();
            }
        }
    }

    /// Lets time pass: packets are taken for lost, probes asked for, stale incomplete messages go.
    ///
    /// # Errors
    ///
    /// None today: a connection of the extended profile ends for silence, which is not this layer's to judge.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outcome) -> Result<(), GiveUp> {
        self.clock = Some(now);
        self.asks.at(now);
        if !self.expiring.is_empty() {
            self.drop_expired(now);
        }
        if self.recovery.on_packet_timer(&mut self.space, now, out) {
            // RFC 9002 §6.2.4: one packet, and another in case that one is lost
            self.probes = 2;
            self.probe_from = 0;
        }
        self.settle_fates();
        self.stats.incomplete_dropped += self.loose.drop_aged(self.config.fragment_timeout, now);
        if self.credit_at.is_some_and(|at| at <= now) {
            self.credit_at = None;
            let longest = self.limits.max_message;
            for (index, channel) in self.channels.iter().enumerate() {
                if channel.inbox.as_ref().is_some_and(|inbox| inbox.might_block(longest)) {
                    self.crediting.insert(index as u8);
                }
            }
        }
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next. Acknowledgements have a time of their own:
    /// [`ack_due`](Self::ack_due).
    pub fn next_timeout(&self) -> Option<Instant> {
        let aged = self.loose.oldest().map(|started| started + self.config.fragment_timeout);
        let expires =
            self.expiring.after(u8::MAX).filter_map(|channel| self.outbox(channel)?.expires()).min();
        let timers = [self.recovery.packet_deadline(&self.space), aged, self.credit_at, expires];
        timers.into_iter().flatten().min()
    }

    fn max_message_on(&self, reliable: bool) -> usize {
        // a message that the whole credit does not cover would wait for ever
        let credit = self.peer_window.saturating_sub(MESSAGE_CREDIT).max(1);
        let known = self.peer.receive_budget > 0 && reliable;
        let most = if known { usize::try_from(credit).unwrap_or(usize::MAX) } else { usize::MAX };
        self.peer.max_message.min(most)
    }

    fn mode(&self, channel: u8) -> Option<DeliveryMode> {
        self.layout.mode(channel)
    }

    fn outbox(&self, channel: u8) -> Option<&Outbox> {
        self.channels.get(usize::from(channel)).and_then(|slot| slot.outbox.as_deref())
    }

    fn outbox_mut(&mut self, channel: u8) -> Option<&mut Outbox> {
        self.channels.get_mut(usize::from(channel)).and_then(|slot| slot.outbox.as_deref_mut())
    }

    /// Restores what the channel sets promise about `channel`.
    fn refile(&mut self, channel: u8) {
        let Some(outbox) = self.channels.get(usize::from(channel)).and_then(|slot| slot.outbox.as_ref())
        else {
            return;
        };
        let (new, waiting) = (outbox.has_new(), outbox.is_waiting());
        let set = if outbox.is_reliable() { &mut self.reliable } else { &mut self.unreliable };
        set.set(channel, new);
        self.blocked.set(channel, waiting && !new);
        self.ending.set(channel, outbox.has_end());
        self.unended.set(channel, outbox.is_ending());
        self.repeating.set(channel, outbox.has_repeats());
    }
}

/// A reliable channel's share of a receive budget.
fn share(budget: u64, layout: &ChannelLayout) -> u64 {
    budget / layout.reliable_channels().max(1) as u64
}

/// What a configuration accepts. Whole KiB, so that both sides reckon with the same figures.
fn limits(layout: &ChannelLayout, config: &ChannelsConfig) -> PeerLimits {
    let channels = layout.reliable_channels().max(1) as u64;
    let budget = (config.receive_budget_for(layout) as u64).clamp(channels << 10, MAX_BUDGET) & !1023;
    let most = (budget / channels).max(1 << 10) as usize;
    let max_message = config.max_message.clamp(1 << 10, most) & !1023;
    PeerLimits { receive_budget: budget, max_message, max_ack_delay: config.max_ack_delay }
}

/// The channels that may send copies of what was not lost.
fn redundant(layout: &ChannelLayout, config: &ChannelsConfig) -> ChannelSet {
    let mut set = ChannelSet::default();
    for (&channel, config) in &config.channels {
        let reliable = layout.mode(channel).is_some_and(DeliveryMode::is_reliable);
        set.set(channel, reliable && config.redundancy.is_some());
    }
    set
}

//! What crosses threads: for each connection a bounded queue of orders towards the pump and a snapshot back.
//!
//! A [`Link`] belongs to one connection, the [`Hub`] to the endpoint. Handles hold links; the pump looks at the
//! hub when it turns, and sleeps on a waker that the hub calls.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

#[cfg(feature = "tokio")]
use super::asynchronous::{Inbox, Streams};
use super::snapshot::{Last, Snapshot};
use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::proto::Endpoint;
use crate::reliability::{ChannelLayout, StreamOpener};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use crate::{
    ConnectionId, ConnectionState, DisconnectReason, Limits, MessageFate, Profile, Receipt, ReceiptId,
    Refusal, SendError, SendOptions, ServerHealth, ServerInfo,
};

/// Orders for the endpoint itself (bans, rebinds) that may wait.
const MAX_COMMANDS: usize = 1024;

/// What a handle asks of one connection. The order of one handle's orders is kept.
#[derive(Debug)]
pub(crate) enum Order {
    /// With what was asked for it, if anything was.
    Message(u8, Bytes, Option<Box<SendOptions>>),
    Close,
    CloseNow,
    Kick(String),
}

/// What a handle asks of the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Ban(IpAddr),
    Unban(IpAddr),
    /// Let a client in that asks to be, or turn it away.
    Authorize(ConnectionId, Result<(), Refusal>),
    Rebind,
    /// Turn newcomers away, close all connections, then end. Queued reliable messages may leave for this long; `None`: the linger
    /// time.
    ShutDown(Option<Duration>),
    /// Tell this to whoever asks without a connection.
    Info(Option<ServerInfo>),
    /// Turn newcomers away, and end with the last connection.
    #[cfg(feature = "tokio")]
    Leave,
}

/// Whether the pump has to look at the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Pending {
    Nothing = 0,
    /// By the next tick.
    Queued = 1,
    /// At once.
    Urgent = 2,
}

/// A panic elsewhere leaves every structure here consistent, so a poisoned lock is as good as any.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where all handles of one endpoint meet its pump.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) layout: ChannelLayout,
    max_messages: usize,
    max_bytes: usize,
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    pub(crate) inbox_messages: usize,
    /// The streams that this side opens, and what each may hold in each direction.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    opener: StreamOpener,
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    stream_bytes: usize,
    /// The transport's own address.
    local: OnceLock<SocketAddr>,
    /// Links are made for every connection, not only when asked for.
    eager: AtomicBool,
    links: RwLock<HashMap<ConnectionId, Arc<Link>>>,
    /// A client's newest connection.
    current: Mutex<Option<Arc<Link>>>,
    /// Links with orders the pump has not seen; each stands here once.
    listed: Mutex<Vec<Arc<Link>>>,
    commands: Mutex<VecDeque<Command>>,
    /// Receipts that handles asked for so far.
    receipts: AtomicU64,
    pending: AtomicU8,
    waker: OnceLock<Waker>,
    /// The pump is gone.
    closed: AtomicBool,
    /// How the server was doing at the pump's last look.
    health: Mutex<ServerHealth>,
}

impl Hub {
    pub(crate) fn new(layout: ChannelLayout, limits: &Limits, opener: StreamOpener) -> Arc<Self> {
        Arc::new(Self {
            layout,
            max_messages: limits.handle_queue_messages,
            max_bytes: limits.handle_queue_bytes,
            inbox_messages: limits.inbox_messages,
            opener,
            stream_bytes: limits.stream_bytes,
            local: OnceLock::new(),
            eager: AtomicBool::new(false),
            links: RwLock::default(),
            current: Mutex::default(),
            listed: Mutex::default(),
            commands: Mutex::default(),
            receipts: AtomicU64::new(0),
            pending: AtomicU8::new(Pending::Nothing as u8),
            waker: OnceLock::new(),
            closed: AtomicBool::new(false),
            health: Mutex::default(),
        })
    }

    /// From now on every connection has a link, and `waker` wakes the pump.
    pub(crate) fn serve(&self, waker: Waker) {
        self.eager.store(true, Ordering::Release);
        let _ = self.waker.set(waker);
    }

    /// Notes the transport's own address.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    pub(crate) fn set_local(&self, local: Option<SocketAddr>) {
        if let Some(local) = local {
            let _ = self.local.set(local);
        }
    }

    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local.get().copied()
    }

    /// The link of a connection that is known to live; made if there is none yet.
    pub(crate) fn link<C: Cipher, Z: Compressor, G: CongestionController>(
        self: &Arc<Self>,
        id: ConnectionId,
        endpoint: &Endpoint<C, Z, G>,
    ) -> Option<Arc<Link>> {
        let state = endpoint.state(id);
        if state == ConnectionState::Disconnected {
            return None;
        }
        let link = self.make(id, endpoint);
        link.renew(endpoint, true);
        Some(link)
    }

    /// A link, made if there is none yet.
    fn make<C: Cipher, Z: Compressor, G: CongestionController>(
        self: &Arc<Self>,
        id: ConnectionId,
        endpoint: &Endpoint<C, Z, G>,
    ) -> Arc<Link> {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(id).or_insert_with(|| {
            let link = Arc::new(Link::new(id, Arc::clone(self)));
            link.renew(endpoint, false);
            *lock(&self.current) = Some(Arc::clone(&link));
            link
        });
        Arc::clone(link)
    }

    pub(crate) fn find(&self, id: ConnectionId) -> Option<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// A client's newest connection.
    pub(crate) fn current(&self) -> Option<Arc<Link>> {
        lock(&self.current).clone()
    }

    pub(crate) fn ids(&self) -> Vec<ConnectionId> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.links.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn on_connected<C: Cipher, Z: Compressor, G: CongestionController>(
        self: &Arc<Self>,
        id: ConnectionId,
        endpoint: &Endpoint<C, Z, G>,
    ) {
        let eager = self.eager.load(Ordering::Acquire);
        let link = if eager { Some(self.make(id, endpoint)) } else { self.find(id) };
        if let Some(link) = link {
            // Of a server's connections most are never asked for their figures.
            let is_client = endpoint.health().is_none();
            link.renew(endpoint, is_client);
        }
    }

    /// A connection is over. Gives the receipts of messages that no endpoint will have.
    pub(crate) fn on_ended<C: Cipher, Z: Compressor, G: CongestionController>(
        &self,
        id: ConnectionId,
        reason: Option<DisconnectReason>,
        endpoint: &Endpoint<C, Z, G>,
    ) -> Vec<Receipt> {
        let link = self.links.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let Some(link) = link else { return Vec::new() };
        link.renew(endpoint, true);
        link.end(reason, Last::of(id, endpoint))
    }

    /// Renews what handles see of one connection.
    pub(crate) fn touch<C: Cipher, Z: Compressor, G: CongestionController>(
        &self,
        id: ConnectionId,
        endpoint: &Endpoint<C, Z, G>,
    ) {
        if let Some(link) = self.find(id) {
            // The map and this call hold two references.
            link.renew(endpoint, Arc::strong_count(&link) > 2);
        }
    }

    pub(crate) fn health(&self) -> ServerHealth {
        lock(&self.health).clone()
    }

    /// Renews the figures that handles show, where there are handles.
    pub(crate) fn renew<C: Cipher, Z: Compressor, G: CongestionController>(
        &self,
        endpoint: &Endpoint<C, Z, G>,
    ) {
        if let Some(health) = endpoint.health() {
            *lock(&self.health) = health;
        }
        for link in self.links.read().unwrap_or_else(PoisonError::into_inner).values() {
            // The map holds one reference; the rest are handles.
            if Arc::strong_count(link) > 1 {
                link.renew(endpoint, true);
            }
        }
    }

    pub(crate) fn command(&self, command: Command) -> bool {
        let mut commands = lock(&self.commands);
        if commands.len() >= MAX_COMMANDS || self.is_closed() {
            return false;
        }
        commands.push_back(command);
        drop(commands);
        self.raise(Pending::Urgent);
        true
    }

    pub(crate) fn next_command(&self) -> Option<Command> {
        lock(&self.commands).pop_front()
    }

    pub(crate) fn pending(&self) -> Pending {
        match self.pending.load(Ordering::Acquire) {
            0 => Pending::Nothing,
            1 => Pending::Queued,
            _ => Pending::Urgent,
        }
    }

    /// Wakes the pump, unless it knows already that it has to look that soon.
    pub(crate) fn raise(&self, to: Pending) {
        if self.pending.fetch_max(to as u8, Ordering::AcqRel) < to as u8 {
            self.waker.get().inspect(|waker| waker.wake_by_ref());
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The pump is gone: nothing queued from now on would ever be seen.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let links = std::mem::take(&mut *self.links.write().unwrap_or_else(PoisonError::into_inner));
        for link in links.values() {
            drop(link.end(None, Last::default()));
        }
        lock(&self.listed).clear();
        *lock(&self.current) = None;
    }
}

/// One connection as other threads see it.
#[derive(Debug)]
pub(crate) struct Link {
    id: ConnectionId,
    hub: Arc<Hub>,
    /// A `ConnectionState`, as of the pump's last look.
    state: AtomicU8,
    /// Largest message in bytes; 0 = not known yet.
    max_message: AtomicUsize,
    rtt_nanos: AtomicU64,
    queue: Mutex<Queue>,
    snapshot: Mutex<Snapshot>,
    /// It speaks the extended profile.
    extended: AtomicBool,
    #[cfg(feature = "tokio")]
    pub(crate) inbox: Inbox,
    #[cfg(feature = "tokio")]
    pub(crate) streams: Streams,
}

#[derive(Debug, Default)]
struct Queue {
    orders: VecDeque<Order>,
    /// Messages among the orders, and their bytes.
    messages: usize,
    bytes: usize,
    /// The link stands in the hub's list or in the pump's backlog.
    listed: bool,
    /// Messages that were dropped here, and whose senders asked what becomes of them.
    lost: Vec<Receipt>,
    /// Nobody looks here any more.
    is_over: bool,
}

impl Queue {
    /// Gives up all orders.
    fn drop_messages(&mut self) {
        let asked = self.orders.drain(..).filter_map(|order| match order {
            Order::Message(channel, _, Some(options)) => {
                Some(Receipt { id: options.id?, channel, fate: MessageFate::Lost })
            }
            _ => None,
        });
        self.lost.extend(asked);
        (self.messages, self.bytes) = (0, 0);
    }
}

impl Link {
    fn new(id: ConnectionId, hub: Arc<Hub>) -> Self {
        Self {
            id,
            #[cfg(feature = "tokio")]
            streams: Streams::new(&hub.layout, hub.opener, hub.stream_bytes),
            hub,
            extended: AtomicBool::new(false),
            state: AtomicU8::new(state_to_u8(ConnectionState::Connecting)),
            max_message: AtomicUsize::new(0),
            rtt_nanos: AtomicU64::new(0),
            queue: Mutex::default(),
            snapshot: Mutex::default(),
            #[cfg(feature = "tokio")]
            inbox: Inbox::default(),
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn state(&self) -> ConnectionState {
        state_from_u8(self.state.load(Ordering::Acquire))
    }

    pub(crate) fn rtt(&self) -> Duration {
        Duration::from_nanos(self.rtt_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        lock(&self.snapshot).clone()
    }

    /// Queues a message. What can be known to be wrong is an error now.
    pub(crate) fn send(&self, data: Bytes, channel: u8, to: Pending) -> Result<(), SendError> {
        self.send_with(data, channel, None, to).map(drop)
    }

    /// Queues a message for which something is asked. Gives the name of its receipt.
    pub(crate) fn send_with(
        &self,
        data: Bytes,
        channel: u8,
        options: Option<&SendOptions>,
        to: Pending,
    ) -> Result<Option<ReceiptId>, SendError> {
        if !matches!(self.state(), ConnectionState::Connecting | ConnectionState::Connected) {
            return Err(SendError::ConnectionClosed);
        }
        let last = self.hub.layout.len().saturating_sub(1);
        if usize::from(channel) > last {
            return Err(SendError::InvalidChannel { channel, last: last as u8 });
        }
        if self.hub.layout.stream_opener(channel).is_some() {
            return Err(SendError::StreamChannel(channel));
        }
        let asks = options.is_some_and(|options| options.receipt);
        let follows = self.is_extended() && self.state() == ConnectionState::Connected;
        if asks && !follows && !self.hub.layout.mode(channel).is_some_and(|mode| mode.is_reliable()) {
            return Err(SendError::NoReceipt(channel));
        }
        let max = self.max_message.load(Ordering::Relaxed);
        if max > 0 && data.len() > max {
            return Err(SendError::MessageTooLarge { len: data.len(), max });
        }
        let mut queue = lock(&self.queue);
        if queue.is_over {
            return Err(SendError::ConnectionClosed);
        }
        let fits = queue.messages < self.hub.max_messages && queue.bytes + data.len() <= self.hub.max_bytes;
        if !fits && queue.messages > 0 {
            return Err(SendError::QueueFull(data));
        }
        #[cfg(feature = "tokio")]
        if asks && !self.inbox.expect_receipt() {
            return Err(SendError::QueueFull(data));
        }
        queue.messages += 1;
        queue.bytes += data.len();
        let id = asks.then(|| ReceiptId::of_handle(self.hub.receipts.fetch_add(1, Ordering::Relaxed)));
        let options = options.map(|options| Box::new(SendOptions { id, ..*options }));
        self.push(queue, Order::Message(channel, data, options), to);
        Ok(id)
    }

    /// Closes the connection behind the messages queued so far.
    pub(crate) fn close(&self) {
        if self.leave() {
            self.push(lock(&self.queue), Order::Close, Pending::Urgent);
        }
    }

    /// Gives up the messages queued so far, then closes or kicks.
    pub(crate) fn end_with(&self, order: Order) {
        if self.leave() {
            let mut queue = lock(&self.queue);
            queue.drop_messages();
            self.push(queue, order, Pending::Urgent);
        }
    }

    /// From now on this handle's connection takes no more messages. Gives false if it is over already.
    fn leave(&self) -> bool {
        let leaving = |state| {
            (state != state_to_u8(ConnectionState::Disconnected))
                .then_some(state_to_u8(ConnectionState::Disconnecting))
        };
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, leaving).is_ok()
    }

    /// The reader has room again. Never waits behind messages: two full peers would wait for each other.
    #[cfg(feature = "tokio")]
    pub(crate) fn resume(&self) {
        self.inbox.wants_resume.store(true, Ordering::Release);
        self.list(lock(&self.queue), Pending::Urgent);
    }

    /// A stream wants the pump.
    #[cfg(feature = "tokio")]
    pub(crate) fn call(&self) {
        self.list(lock(&self.queue), Pending::Urgent);
    }

    /// Whether a reader or a stream wants the pump. Asked once the link is off the list: who came while it was still on it
    /// has not listed it anew.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_wanted(&self) -> bool {
        self.inbox.wants_resume.load(Ordering::Acquire) || self.streams.is_listed()
    }

    /// Whether the connection speaks the extended profile.
    pub(crate) fn is_extended(&self) -> bool {
        self.extended.load(Ordering::Acquire)
    }

    fn push(&self, mut queue: MutexGuard<'_, Queue>, order: Order, to: Pending) {
        // Closed, while a handle was about to close it.
        if queue.is_over {
            return;
        }
        queue.orders.push_back(order);
        self.list(queue, to);
    }

    fn list(&self, mut queue: MutexGuard<'_, Queue>, to: Pending) {
        let newly = !std::mem::replace(&mut queue.listed, true);
        drop(queue);
        if newly && let Some(this) = self.hub.find(self.id) {
            let mut listed = lock(&self.hub.listed);
            // Who finds the hub open now is cleared away when it closes: a link in the list of a closed hub would keep both.
            if !self.hub.is_closed() {
                listed.push(this);
            }
        }
        self.hub.raise(to);
    }

    #[cfg(test)]
    fn next_order(&self) -> Option<Order> {
        self.take_order(false)
    }

    /// The next order. The link is off the list when there is none, unless it `stays`.
    pub(crate) fn take_order(&self, stays: bool) -> Option<Order> {
        let mut queue = lock(&self.queue);
        let Some(order) = queue.orders.pop_front() else {
            queue.listed = stays;
            return None;
        };
        if let Order::Message(_, data, _) = &order {
            queue.messages -= 1;
            queue.bytes -= data.len();
        }
        Some(order)
    }

    /// Receipts of what was dropped before the endpoint had it.
    pub(crate) fn take_lost(&self) -> Vec<Receipt> {
        std::mem::take(&mut lock(&self.queue).lost)
    }

    /// Puts back at the front what could not be carried out; the link stays listed.
    pub(crate) fn put_back(&self, order: Order) {
        let mut queue = lock(&self.queue);
        if let Order::Message(_, data, _) = &order {
            queue.messages += 1;
            queue.bytes += data.len();
        }
        queue.orders.push_front(order);
    }

    /// Shows how the connection is now; its figures if they are `wanted`.
    fn renew<C: Cipher, Z: Compressor, G: CongestionController>(
        &self,
        endpoint: &Endpoint<C, Z, G>,
        wanted: bool,
    ) {
        let state = endpoint.state(self.id);
        if endpoint.profile(self.id) == Some(Profile::Extended) {
            self.extended.store(true, Ordering::Release);
        }
        if let Some(stats) = endpoint.connection_stats(self.id) {
            self.max_message.store(endpoint.max_message_size(self.id).unwrap_or(0), Ordering::Relaxed);
            self.rtt_nanos.store(stats.rtt.as_nanos() as u64, Ordering::Relaxed);
            let mut snapshot = lock(&self.snapshot);
            snapshot.remote = endpoint.remote_addr(self.id);
            if wanted {
                **snapshot.stats.get_or_insert_default() = stats;
            }
            snapshot.server_key = snapshot.server_key.or_else(|| endpoint.server_key(self.id));
            snapshot.server_time = endpoint.server_time_as_of(self.id);
        }
        // A handle that has said farewell is ahead of the pump.
        if state != ConnectionState::Disconnected && self.state() != ConnectionState::Disconnecting {
            self.state.store(state_to_u8(state), Ordering::Release);
        }
    }

    fn end(&self, reason: Option<DisconnectReason>, last: Last) -> Vec<Receipt> {
        let mut snapshot = lock(&self.snapshot);
        (snapshot.reason, snapshot.last) = (reason, Some(Arc::new(last)));
        drop(snapshot);
        self.state.store(state_to_u8(ConnectionState::Disconnected), Ordering::Release);
        let mut queue = lock(&self.queue);
        queue.drop_messages();
        #[cfg_attr(not(feature = "tokio"), allow(unused_mut))]
        let mut lost = std::mem::take(&mut queue.lost);
        *queue = Queue { is_over: true, ..Queue::default() };
        drop(queue);
        #[cfg(feature = "tokio")]
        {
            self.streams.end(reason);
            if self.inbox.is_served() {
                lost.drain(..).for_each(|receipt| self.inbox.give_receipt(receipt));
            }
            self.inbox.end();
        }
        lost
    }
}

fn state_to_u8(state: ConnectionState) -> u8 {
    match state {
        ConnectionState::Disconnected => 0,
        ConnectionState::Connecting => 1,
        ConnectionState::Connected => 2,
        ConnectionState::Disconnecting => 3,
    }
}

fn state_from_u8(state: u8) -> ConnectionState {
    match state {
        1 => ConnectionState::Connecting,
        2 => ConnectionState::Connected,
        3 => ConnectionState::Disconnecting,
        _ => ConnectionState::Disconnected,
    }
}

/// The pump's side of the hub's list: links whose orders are to be carried out now.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    stuck: Vec<Arc<Link>>,
    spare: Vec<Arc<Link>>,
}

impl Backlog {
    /// All links with orders: those stuck before first. Whoever orders something from now on raises anew.
    pub(crate) fn start(&mut self, hub: &Hub) -> Vec<Arc<Link>> {
        let mut links = std::mem::take(&mut self.spare);
        links.append(&mut self.stuck);
        if hub.pending.swap(Pending::Nothing as u8, Ordering::AcqRel) != Pending::Nothing as u8 {
            links.append(&mut lock(&hub.listed));
        }
        links
    }

    pub(crate) fn push(&mut self, link: Arc<Link>) {
        self.stuck.push(link);
    }

    /// Keeps the memory of the list.
    pub(crate) fn finish(&mut self, links: Vec<Arc<Link>>) {
        self.spare = links;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stuck.is_empty()
    }

    /// Whether a stream was held up only by what it had sent just now.
    #[cfg(feature = "tokio")]
    pub(crate) fn could_go<C: Cipher, Z: Compressor, G: CongestionController>(
        &self,
        endpoint: &Endpoint<C, Z, G>,
    ) -> bool {
        self.stuck.iter().any(|link| link.streams.could_go(link.id, endpoint))
    }
}

#[cfg(all(test, fastwire_model))]
mod model;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicU32);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn hub(change: impl FnOnce(&mut Limits)) -> (Arc<Hub>, Arc<Link>, Arc<Calls>) {
        let mut limits = Limits::default();
        change(&mut limits);
        let hub = Hub::new(ChannelLayout::default(), &limits, StreamOpener::Client);
        let id = ConnectionId::new(0, 1);
        let link = Arc::new(Link::new(id, Arc::clone(&hub)));
        hub.links.write().unwrap().insert(id, Arc::clone(&link));
        let calls = Arc::new(Calls::default());
        hub.serve(Waker::from(Arc::clone(&calls)));
        (hub, link, calls)
    }

    #[test]
    fn the_pump_is_woken_once_until_it_looks_and_again_for_what_is_urgent() {
        let (hub, link, calls) = hub(|_| {});
        let called = || calls.0.load(Ordering::Relaxed);
        let mut backlog = Backlog::default();
        for round in 0..3 {
            let before = called();
            for _ in 0..10 {
                link.send(Bytes::from_static(b"x"), 0, Pending::Queued).unwrap();
            }
            assert_eq!((called(), hub.pending()), (before + 1, Pending::Queued), "round {round}");
            for _ in 0..10 {
                link.send(Bytes::from_static(b"x"), 0, Pending::Urgent).unwrap();
            }
            assert_eq!((called(), hub.pending()), (before + 2, Pending::Urgent));
            let links = backlog.start(&hub);
            assert_eq!(links.len(), 1, "listed once");
            assert_eq!(std::iter::from_fn(|| links[0].next_order()).count(), 20);
            backlog.finish(Vec::new());
            assert_eq!(hub.pending(), Pending::Nothing);
        }
    }

    #[test]
    fn queues_end_at_their_limits_and_give_the_message_back() {
        let (_, link, _) = hub(|limits| limits.handle_queue_messages = 3);
        let send = |link: &Link, len| link.send(vec![7; len].into(), 0, Pending::Queued);
        assert!((0..3).all(|_| send(&link, 1).is_ok()));
        assert_eq!(send(&link, 2), Err(SendError::QueueFull(vec![7; 2].into())));
        link.next_order();
        assert_eq!(send(&link, 2), Ok(()));

        let (_, link, _) = hub(|limits| limits.handle_queue_bytes = 100);
        assert_eq!(send(&link, 1000), Ok(()), "a single message always fits");
        assert_eq!(send(&link, 1), Err(SendError::QueueFull(vec![7].into())));
        link.next_order();
        assert_eq!(send(&link, 60), Ok(()));
        assert_eq!(send(&link, 60), Err(SendError::QueueFull(vec![7; 60].into())));
        assert_eq!(send(&link, 40), Ok(()));

        let (hub, ..) = hub(|_| {});
        assert!((0..MAX_COMMANDS).all(|_| hub.command(Command::Rebind)));
        assert!(!hub.command(Command::Rebind));
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn a_reader_that_came_while_the_pump_emptied_the_link_is_not_forgotten() {
        let (_, link, _) = hub(|_| {});
        link.send(Bytes::from_static(b"x"), 0, Pending::Queued).unwrap();
        // the pump has looked for this already, and now takes the orders
        assert!(!link.inbox.take_resume());
        link.resume();
        while link.next_order().is_some() {}
        assert!(link.is_wanted());
        assert!(link.inbox.take_resume() && !link.is_wanted());
    }

    #[test]
    fn closing_waits_for_what_was_sent_and_kicking_does_not() {
        let (_, link, _) = hub(|_| {});
        link.send(Bytes::from_static(b"x"), 0, Pending::Queued).unwrap();
        link.close();
        assert_eq!(link.send(Bytes::new(), 0, Pending::Queued), Err(SendError::ConnectionClosed));
        assert!(matches!(link.next_order(), Some(Order::Message(..))));
        assert!(matches!(link.next_order(), Some(Order::Close)));

        let (_, link, _) = hub(|_| {});
        link.send(Bytes::from_static(b"x"), 0, Pending::Queued).unwrap();
        link.end_with(Order::Kick("out".into()));
        assert!(matches!(link.next_order(), Some(Order::Kick(_))));
        assert!(link.next_order().is_none());
    }
}

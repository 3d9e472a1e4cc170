//! The crank that every shell turns: datagrams in, timers, orders of other threads, datagrams out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::link::{Backlog, Hub, Link, Order, Pending};
use super::outgoing::Outgoing;
use super::report::Report;
use super::shards::Siblings;
#[cfg(feature = "tokio")]
use crate::Profile;
use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::proto::Told;
use crate::proto::{Endpoint, Route, SocketRequest};
use crate::transport::{ChunkPool, RecvBatch, Transmit, Transport};
use crate::{ConnectionId, Event, MessageFate, Payload, Receipt, ReceiptId, SendError, SendOptions};

/// A transport that takes nothing is offered the held train again after this long, readiness or not.
const BLOCKED_RETRY: Duration = Duration::from_millis(10);
/// What handles show of their connections is renewed no more often than this.
const RENEW_INTERVAL: Duration = Duration::from_millis(100);

/// So many datagrams at a time are announced to the endpoint: what they touch fits into the first cache.
const EXPECTED: usize = 8;

/// An endpoint, its transport, and the buffers between them.
pub(crate) struct Pump<T, C, Z, G>
where
    T: Transport,
    C: Cipher,
    Z: Compressor,
    G: CongestionController,
{
    pub(crate) endpoint: Endpoint<C, Z, G>,
    pub(crate) transport: T,
    batch: RecvBatch,
    /// What is to be sent; what the transport would not take yet leaves before anything else.
    outgoing: Outgoing,
    /// The time of the last drive: for commands between two drives time stands still.
    pub(crate) now: Instant,
    pub(crate) pool: ChunkPool,
    pub(crate) hub: Arc<Hub>,
    /// Where the short message lies that a handler is told of.
    pub(super) small: Vec<u8>,
    /// What is to be told before anything else.
    last_words: VecDeque<Event>,
    /// Connections whose send queue could not take all that handles had queued.
    backlog: Backlog,
    report: Report,
    /// The other shards of this server.
    pub(crate) siblings: Option<Siblings>,
    /// When the handles' figures were renewed last.
    renewed: Instant,
    /// What metrics call this endpoint: its address.
    #[cfg(feature = "metrics")]
    name: String,
}

impl<T: Transport, C: Cipher, Z: Compressor, G: CongestionController> Pump<T, C, Z, G> {
    pub(crate) fn new(
        mut endpoint: Endpoint<C, Z, G>,
        transport: T,
        slots: usize,
        hub: Arc<Hub>,
        now: Instant,
    ) -> Self {
        endpoint.set_unix_time(now, unix_seconds());
        let outgoing = Outgoing::new(transport.max_segments());
        #[cfg(feature = "metrics")]
        let name = transport.local_addr().map_or_else(|_| "unknown".to_owned(), |local| local.to_string());
        Self {
            #[cfg(feature = "metrics")]
            name,
            endpoint,
            transport,
            batch: RecvBatch::with_slots(slots),
            outgoing,
            now,
            pool: ChunkPool::new(),
            hub,
            small: Vec::new(),
            last_words: VecDeque::new(),
            backlog: Backlog::default(),
            report: Report::default(),
            siblings: None,
            renewed: now,
        }
    }

    /// Takes one batch of datagrams. Gives how many there were; the batch was [full](Self::is_full) if more
    /// are likely.
    pub(crate) fn receive(&mut self, now: Instant) -> usize {
        self.now = now;
        let handed = self.take_strays(now);
        match self.transport.recv(&mut self.batch) {
            Ok(count) => {
                let mut taken = 0;
                loop {
                    if taken % EXPECTED == 0 {
                        self.endpoint.announce(self.batch.heads(taken).take(EXPECTED));
                    }
                    let Some((meta, train, size)) = self.batch.train_mut(taken) else { break };
                    self.endpoint.handle_train(now, &meta, train, size);
                    taken += 1;
                }
                self.hand_on_strays();
                count + handed
            }
            Err(error) => {
                self.report.receive_failed(&error, now);
                // Whatever the transport left in it has been handled.
                self.batch.clear();
                0
            }
        }
    }

    /// Takes what other shards received for this one. Gives how many datagrams that were.
    fn take_strays(&mut self, now: Instant) -> usize {
        let Some(siblings) = &self.siblings else { return 0 };
        let strays = siblings.take();
        let count = strays.len();
        for (meta, datagram) in strays {
            self.endpoint.handle_stray(now, &meta, datagram);
        }
        count
    }

    fn hand_on_strays(&mut self) {
        let Some(siblings) = &self.siblings else { return };
        while let Some((to, meta, datagram)) = self.endpoint.poll_stray() {
            siblings.hand_on(to, meta, datagram);
        }
    }

    /// Whether each receive call shall look for the end of the queue: for those who ask again until there is
    /// nothing left, or until the socket says so. A thread that sleeps on the sockets learns of more by itself.
    pub(crate) fn set_greedy(&mut self, greedy: bool) {
        self.batch.set_greedy(greedy);
    }

    /// Asking the transport again is in vain.
    pub(crate) fn is_drained(&self) -> bool {
        self.batch.is_drained()
    }

    /// The last batch had no room left.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    /// Does what time brings. After receiving, so that an acknowledgement that lay in the socket comes before
    /// the timeout it prevents.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.endpoint.set_unix_time(now, unix_seconds());
        self.endpoint.handle_timeout(now);
        self.report.look_at(&self.endpoint.stats(), now);
    }

    /// The next event, said to the log where it is of interest to an operator.
    #[inline]
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        if !self.last_words.is_empty() {
            self.endpoint.forget_message_time();
            return self.last_words.pop_front();
        }
        let event = self.endpoint.poll_event()?;
        match event {
            Event::Message { .. } => Some(event),
            event => self.note(event),
        }
    }

    /// As [`poll_event`](Self::poll_event); the bytes of a short message may be copied to `into`.
    #[inline]
    pub(super) fn poll_told(&mut self, into: &mut Vec<u8>) -> Option<Told> {
        if !self.last_words.is_empty() {
            self.endpoint.forget_message_time();
            return self.last_words.pop_front().map(Told::Event);
        }
        match self.endpoint.poll_told(into)? {
            Told::Event(event) if !matches!(event, Event::Message { .. }) => {
                self.note(event).map(Told::Event)
            }
            told => Some(told),
        }
    }

    /// Does what an event other than a message asks of the pump. Gives what is to be told first.
    fn note(&mut self, event: Event) -> Option<Event> {
        let mut lost = Vec::new();
        match &event {
            Event::Connected { connection } => {
                let remote = self.endpoint.remote_addr(*connection);
                tracing::info!(%connection, ?remote, "connected");
                self.hub.on_connected(*connection, &self.endpoint);
            }
            Event::ConnectFailed { connection, error } => {
                tracing::info!(%connection, %error, "not connected");
                lost = self.hub.on_ended(*connection, None, &self.endpoint);
            }
            Event::Disconnected { connection, reason } => {
                tracing::info!(%connection, %reason, "disconnected");
                lost = self.hub.on_ended(*connection, Some(*reason), &self.endpoint);
                #[cfg(feature = "metrics")]
                if let Some(stats) = self.endpoint.connection_stats(*connection) {
                    super::metrics::show_ended(&self.name, *reason, &stats);
                }
            }
            Event::Error { connection, error } => tracing::warn!(%connection, %error, "connection failed"),
            Event::Authorize { .. }
            | Event::Receipt { .. }
            | Event::Message { .. }
            | Event::StreamFinished { .. }
            | Event::StreamReset { .. } => {}
        }
        // before the end of their connection is told
        if !lost.is_empty() {
            let connection = event.connection();
            let lost = lost.into_iter().map(|receipt| Event::Receipt { connection, receipt });
            self.last_words.extend(lost);
            self.last_words.push_back(event);
            return self.last_words.pop_front();
        }
        Some(event)
    }

    /// Carries out what handles on other threads have asked for.
    pub(crate) fn take_orders(&mut self) {
        let mut links = self.backlog.start(&self.hub);
        for link in links.drain(..) {
            let emptied = self.take_from(&link);
            #[cfg(feature = "tokio")]
            link.inbox.announce_room();
            if !emptied {
                self.backlog.push(link);
            }
        }
        self.backlog.finish(links);
    }

    /// How soon [`take_orders`](Self::take_orders) is due. What a full send queue held up is tried again
    /// whenever the pump turns.
    pub(crate) fn pending_orders(&self) -> Pending {
        if self.backlog.is_empty() { self.hub.pending() } else { Pending::Urgent }
    }

    /// All that one link has queued, in its order. Gives false when the send queue was full before the end.
    fn take_from(&mut self, link: &Link) -> bool {
        #[cfg(feature = "tokio")]
        loop {
            if link.inbox.take_resume() {
                self.pause_messages(link.id(), false);
            }
            let served = link.streams.serve(link.id(), self.now, &mut self.endpoint);
            if !self.carry_out(link, !served) || !served {
                return false;
            }
            // who came between found the link on the list still
            if !link.is_wanted() {
                return true;
            }
        }
        #[cfg(not(feature = "tokio"))]
        self.carry_out(link, false)
    }

    /// A message of a handle's was not taken, for a reason that the handle could not know.
    fn on_dropped(&mut self, connection: ConnectionId, channel: u8, asked: &SendOptions, error: &SendError) {
        if !matches!(error, SendError::ConnectionClosed) {
            tracing::warn!(%connection, channel, %error, "a message was dropped");
        }
        if let Some(id) = asked.id {
            let receipt = Receipt { id, channel, fate: MessageFate::Lost };
            self.last_words.push_back(Event::Receipt { connection, receipt });
        }
    }

    /// A link's orders. `holding`: its streams have bytes that wait for room, so that closing waits too. Gives false if an
    /// order is left.
    fn carry_out(&mut self, link: &Link, holding: bool) -> bool {
        let (now, id) = (self.now, link.id());
        for receipt in link.take_lost() {
            self.last_words.push_back(Event::Receipt { connection: id, receipt });
        }
        while let Some(order) = link.take_order(holding) {
            match order {
                Order::Message(channel, data, options) => {
                    let asked = options.as_deref().copied().unwrap_or_default();
                    match self.endpoint.send_with(now, id, data, channel, asked) {
                        Ok(_) => {}
                        Err(SendError::QueueFull(data)) => {
                            link.put_back(Order::Message(channel, data, options));
                            return false;
                        }
                        Err(error) => self.on_dropped(id, channel, &asked, &error),
                    }
                }
                Order::Close if holding => {
                    link.put_back(Order::Close);
                    return false;
                }
                Order::Close => drop(self.endpoint.close(now, id)),
                Order::CloseNow => drop(self.endpoint.close_now(now, id)),
                Order::Kick(text) => drop(self.endpoint.kick(now, id, &text)),
            }
        }
        true
    }

    /// Stops or resumes delivering messages of a connection, because of its reader. Streams have readers of their own, so
    /// where there may be some only the reliable channels beside them are paused.
    #[cfg(feature = "tokio")]
    pub(crate) fn pause_messages(&mut self, id: ConnectionId, paused: bool) {
        let layout = &self.hub.layout;
        if !layout.has_streams() || self.endpoint.profile(id) != Some(Profile::Extended) {
            self.endpoint.pause(id, paused);
            return;
        }
        for (channel, mode) in (0..=u8::MAX).zip(layout.modes()) {
            if mode.is_reliable() && layout.stream_opener(channel).is_none() {
                let _ = self.endpoint.pause_channel(id, channel, paused);
            }
        }
    }

    /// Whether a stream has more for the core, which has sent what it had.
    pub(crate) fn could_take(&self) -> bool {
        #[cfg(feature = "tokio")]
        return self.backlog.could_go(&self.endpoint);
        #[cfg(not(feature = "tokio"))]
        false
    }

    /// Queues a message and, for `urgent` ones, sends what the connection's window has room for.
    pub(crate) fn send(
        &mut self,
        id: ConnectionId,
        data: Bytes,
        channel: u8,
        urgent: bool,
    ) -> Result<(), SendError> {
        self.endpoint.send(self.now, id, data, channel)?;
        if urgent {
            self.flush_connection(id);
        }
        Ok(())
    }

    /// Queues one message for several connections; gives those it was not queued for.
    pub(crate) fn broadcast(
        &mut self,
        ids: impl IntoIterator<Item = ConnectionId>,
        data: impl Payload,
        channel: u8,
    ) -> Vec<(ConnectionId, SendError)> {
        self.endpoint.broadcast(self.now, ids, data, channel)
    }

    pub(crate) fn send_with(
        &mut self,
        id: ConnectionId,
        data: Bytes,
        channel: u8,
        options: SendOptions,
    ) -> Result<Option<ReceiptId>, SendError> {
        self.endpoint.send_with(self.now, id, data, channel, options)
    }

    /// Sends what is due, at most `trains` trains. Gives false when something is left that could go at once.
    pub(crate) fn flush(&mut self, now: Instant, mut trains: usize) -> bool {
        self.now = now;
        self.open_and_close();
        if !self.send_waiting() {
            return true;
        }
        self.outgoing.buf.set_max_segments(self.transport.max_segments());
        while trains > 0 {
            let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.outgoing.buf) else { break };
            let route = route_of(&transmit);
            let connection = self.outgoing.buf.connection();
            self.outgoing.push(route, connection);
            trains -= 1;
            if self.outgoing.is_full() && !self.send_waiting() {
                break;
            }
        }
        self.send_waiting();
        self.open_and_close();
        trains > 0
    }

    fn flush_connection(&mut self, id: ConnectionId) {
        self.open_and_close();
        if !self.send_waiting() {
            return;
        }
        while let Some(transmit) = self.endpoint.poll_transmit_of(self.now, id, &mut self.outgoing.buf) {
            let route = route_of(&transmit);
            self.outgoing.push(route, Some(id));
            if !self.send_waiting() {
                break;
            }
        }
    }

    /// Sends what waits. Gives false if the transport does not take all of it.
    fn send_waiting(&mut self) -> bool {
        let Self { outgoing, transport, endpoint, report, now, .. } = self;
        outgoing.send(transport, |connection, error| {
            report.send_failed(error, *now);
            endpoint.on_send_error(connection);
        })
    }

    fn open_and_close(&mut self) {
        while let Some(request) = self.endpoint.poll_socket() {
            match request {
                SocketRequest::Open { socket, remote } => {
                    if let Err(error) = self.transport.open(socket, remote) {
                        tracing::debug!(%error, %remote, "no further socket; going on with what there is");
                    }
                }
                SocketRequest::Close { socket } => self.transport.close(socket),
            }
        }
    }

    /// Renews what handles show, every now and then.
    pub(crate) fn renew(&mut self, now: Instant) {
        if now.saturating_duration_since(self.renewed) >= RENEW_INTERVAL {
            self.renewed = now;
            self.hub.renew(&self.endpoint);
            #[cfg(feature = "metrics")]
            if let Some(health) = self.endpoint.health() {
                super::metrics::show(&self.name, &health);
            }
        }
    }

    /// How long a shell may sleep if nothing arrives.
    pub(crate) fn sleep(&self, now: Instant) -> Option<Duration> {
        if !self.outgoing.is_empty() {
            // Something is due all the time, but cannot go.
            return Some(BLOCKED_RETRY);
        }
        self.endpoint.poll_timeout().map(|at| at.saturating_duration_since(now))
    }

    /// Tells every peer that this is the end, without waiting for anything.
    fn farewell(&mut self) {
        let ids: Vec<ConnectionId> = self.endpoint.connections().collect();
        for id in ids {
            let _ = self.endpoint.close_now(self.now, id);
        }
        self.flush(self.now, usize::MAX);
    }
}

impl<T: Transport, C: Cipher, Z: Compressor, G: CongestionController> Drop for Pump<T, C, Z, G> {
    fn drop(&mut self) {
        self.farewell();
        self.hub.close();
    }
}

/// For connect tokens, which end by the calendar, and for the veil. A clock before 1970 lets every token live.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn route_of(transmit: &Transmit<'_>) -> Route {
    Route { socket: transmit.socket, remote: transmit.destination, source: transmit.source }
}

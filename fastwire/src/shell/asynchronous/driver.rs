//! The task that drives an endpoint: sleeps on its sockets, its timers and its handles.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::connection::Shown;
use super::{AsyncConnection, ConnectRequest};
use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::shell::link::{Hub, Link, lock};
use crate::shell::pump::Pump;
use crate::shell::turn::{Cadence, Next};
use crate::sync::Mutex;
use crate::transport::AsyncReadiness;
use crate::{ConnectError, ConnectionId, Event};

/// Where tasks wait for what the driver brings.
#[derive(Debug, Default)]
pub(super) struct Doors {
    /// Connections that nobody has taken yet, and failed attempts. Not longer than there are connections.
    pub(super) arrivals: Arrivals<Result<AsyncConnection, ConnectError>>,
    /// Clients that ask to be let in. Those that gave up leave from the front, so there are never more than come within one
    /// handshake timeout.
    pub(super) requests: Arrivals<ConnectRequest>,
}

impl Doors {
    pub(super) fn close(&self) {
        self.arrivals.close();
        self.requests.close();
    }
}

/// What nobody has taken yet, oldest first.
#[derive(Debug)]
pub(super) struct Arrivals<T> {
    state: Mutex<ArrivalsState<T>>,
    news: Notify,
}

#[derive(Debug)]
struct ArrivalsState<T> {
    queue: VecDeque<T>,
    /// Nothing more will come, or nobody will ask.
    closed: bool,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(ArrivalsState { queue: VecDeque::new(), closed: false }),
            news: Notify::new(),
        }
    }
}

impl<T> Arrivals<T> {
    /// Adds news. What nobody can take any more is dropped, and with it closed.
    fn push(&self, arrival: T) {
        let mut state = lock(&self.state);
        if state.closed {
            drop(state);
            return;
        }
        state.queue.push_back(arrival);
        drop(state);
        self.news.notify_one();
    }

    /// Drops the oldest as long as they are `over`.
    fn drop_old(&self, over: impl Fn(&T) -> bool) {
        let mut state = lock(&self.state);
        let count = state.queue.iter().take_while(|old| over(old)).count();
        let dropped: Vec<T> = state.queue.drain(..count).collect();
        drop(state);
        drop(dropped);
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
        self.news.notify_waiters();
    }

    /// The next arrival; `None` when there will be no more. Cancellation-safe.
    pub(super) async fn next(&self) -> Option<T> {
        loop {
            let mut news = pin!(self.news.notified());
            // Listening before looking: what comes in between is not missed.
            news.as_mut().enable();
            {
                let mut state = lock(&self.state);
                if let Some(arrival) = state.queue.pop_front() {
                    return Some(arrival);
                }
                if state.closed {
                    return None;
                }
            }
            news.await;
        }
    }
}

/// Wakes the driver from any thread.
#[derive(Default)]
struct Call(Notify);

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

/// Ends everybody's waiting when the driver ends, however it ends.
struct Closing(Arc<Doors>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Starts the task. Must be called inside a tokio runtime.
pub(super) fn start<T, C, Z, G>(
    pump: Pump<T, C, Z, G>,
    cadence: Cadence,
    early: VecDeque<Event>,
) -> Arc<Doors>
where
    T: AsyncReadiness + 'static,
    C: Cipher + 'static,
    Z: Compressor + 'static,
    G: CongestionController + 'static,
{
    let doors = Arc::new(Doors::default());
    let call = Arc::new(Call::default());
    pump.hub.serve(Waker::from(call.clone()));
    tokio::spawn(drive(pump, cadence, early, call, doors.clone()));
    doors
}

async fn drive<T, C, Z, G>(
    mut pump: Pump<T, C, Z, G>,
    mut cadence: Cadence,
    early: VecDeque<Event>,
    call: Arc<Call>,
    doors: Arc<Doors>,
) where
    T: AsyncReadiness,
    C: Cipher,
    Z: Compressor,
    G: CongestionController,
{
    // The reactor takes a socket for readable until a call has seen its end.
    pump.set_greedy(true);
    let closing = Closing(doors);
    let mut postman = Postman { hub: pump.hub.clone(), doors: closing.0.clone(), last: None };
    for event in early {
        postman.deliver(&mut pump, event);
    }
    let mut alarm = pin!(sleep_until(Instant::now()));
    loop {
        // tokio's clock, so that a paused one drives the endpoint too.
        let now = Instant::now();
        let taken = pump.take_in(now.into_std(), |pump| postman.deliver_all(pump));
        if taken.told {
            // Who was told something may answer at once: then the acknowledgement travels with the answer.
            give_way().await;
        }
        match pump.give_out(now.into_std(), &mut cadence, taken) {
            Next::Again => tokio::task::yield_now().await,
            Next::Stop => return,
            Next::Sleep(timeout) => {
                if let Some(timeout) = timeout {
                    alarm.as_mut().reset(now + timeout);
                }
                tokio::select! {
                    ready = poll_fn(|cx| pump.transport.poll_ready(cx)) => {
                        if let Err(error) = ready {
                            tracing::error!(%error, "the transport is of no more use; its endpoint is closed");
                            return;
                        }
                    }
                    () = call.0.notified() => {}
                    () = alarm.as_mut(), if timeout.is_some() => {}
                }
            }
        }
    }
}

/// Lets the tasks run that are ready. Not tokio's `yield_now`, which looks at all sockets first: those can wait.
async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Brings events to the connections they concern.
struct Postman {
    hub: Arc<Hub>,
    doors: Arc<Doors>,
    /// The connection that got the last message: most often the next is for it too.
    last: Option<Arc<Link>>,
}

impl Postman {
    fn link(&mut self, connection: ConnectionId) -> Option<&Arc<Link>> {
        if self.last.as_ref().is_none_or(|link| link.id() != connection) {
            self.last = self.hub.find(connection);
        }
        self.last.as_ref()
    }

    /// Gives whether there was anything.
    fn deliver_all<T, C, Z, G>(&mut self, pump: &mut Pump<T, C, Z, G>) -> bool
    where
        T: AsyncReadiness,
        C: Cipher,
        Z: Compressor,
        G: CongestionController,
    {
        let mut any = false;
        while let Some(event) = pump.poll_event() {
            any = true;
            self.deliver(pump, event);
        }
        any
    }

    fn deliver<T, C, Z, G>(&mut self, pump: &mut Pump<T, C, Z, G>, event: Event)
    where
        T: AsyncReadiness,
        C: Cipher,
        Z: Compressor,
        G: CongestionController,
    {
        match event {
            Event::Connected { connection } => {
                // Before the task there may have been no link: a client can wait for its connection first.
                if let Some(link) = self.hub.link(connection, &pump.endpoint) {
                    let shown = Shown {
                        auth: pump.endpoint.client_auth(connection).cloned(),
                        claims: pump.endpoint.token_claims(connection).cloned(),
                    };
                    self.doors.arrivals.push(Ok(AsyncConnection::new(link, shown)));
                }
            }
            Event::ConnectFailed { error, .. } => self.doors.arrivals.push(Err(error)),
            Event::Authorize { connection } => {
                let requests = &self.doors.requests;
                requests.drop_old(|request| !pump.endpoint.awaits_verdict(request.id()));
                if let Some(request) = ConnectRequest::new(connection, &self.hub, &pump.endpoint) {
                    requests.push(request);
                }
            }
            Event::Message { connection, channel, data } => {
                let hub = Arc::clone(&self.hub);
                let (Some(link), layout) = (self.link(connection), &hub.layout) else { return };
                if layout.stream_opener(channel).is_some() {
                    link.streams.on_data(connection, channel, data, &mut pump.endpoint);
                    return;
                }
                // beside streams unreliable channels are not paused
                let spare =
                    layout.has_streams() && !layout.mode(channel).is_some_and(|mode| mode.is_reliable());
                let time = pump.endpoint.message_time();
                if link.inbox.push((channel, data), time, hub.inbox_messages, spare) {
                    pump.pause_messages(connection, true);
                }
            }
            Event::Receipt { connection, receipt } => {
                if let Some(link) = self.link(connection) {
                    link.inbox.give_receipt(receipt);
                }
            }
            Event::StreamFinished { connection, channel } => {
                if let Some(link) = self.link(connection) {
                    link.streams.on_finished(channel);
                }
            }
            Event::StreamReset { connection, channel, code } => {
                let now = pump.now;
                if let Some(link) = self.link(connection) {
                    link.streams.on_reset(connection, channel, code, now, &mut pump.endpoint);
                }
            }
            Event::Disconnected { connection, .. } => {
                self.last.take_if(|link| link.id() == connection);
            }
            _ => {}
        }
    }
}

#[cfg(all(test, fastwire_model))]
mod model {
    use shuttle::{future::block_on, thread};

    use super::*;
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use crate::sync::model::check;

    /// Counts itself when it is dropped.
    struct Arrival(Arc<AtomicUsize>);

    impl Drop for Arrival {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn model_an_arrival_goes_to_one_of_two_who_wait_or_is_dropped_at_the_end() {
        check(|| {
            let (door, dropped) = (Arc::new(Arrivals::default()), Arc::new(AtomicUsize::new(0)));
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    let door: Arc<Arrivals<Arrival>> = Arc::clone(&door);
                    thread::spawn(move || {
                        block_on(async {
                            let mut taken = 0;
                            while door.next().await.is_some() {
                                taken += 1;
                            }
                            taken
                        })
                    })
                })
                .collect();
            for _ in 0..3 {
                door.push(Arrival(Arc::clone(&dropped)));
            }
            door.close();
            door.push(Arrival(Arc::clone(&dropped)));
            let taken: usize = waiting.into_iter().map(|waiting| waiting.join().unwrap()).sum();
            assert!(taken <= 3);
            assert_eq!(dropped.load(Ordering::SeqCst), 4, "nothing is left behind a closed door");
        });
    }

    #[test]
    fn model_who_waits_at_the_door_is_woken_by_each_arrival() {
        check(|| {
            let door = Arc::new(Arrivals::default());
            let driver = Arc::clone(&door);
            let driver = thread::spawn(move || (0..3).for_each(|number| driver.push(number)));
            let got = block_on(async { [door.next().await, door.next().await, door.next().await] });
            assert_eq!(got, [Some(0), Some(1), Some(2)]);
            driver.join().unwrap();
        });
    }
}

//! A server or client in a thread of its own, that sleeps until there is something to do.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::handle::{ClientHandle, ServerHandle};
use super::handler::{Handler, dispatch};
use super::link::Command;
use super::pump::Pump;
use super::turn::{Cadence, Next};
use super::{Client, Server};
use crate::compress::Compressor;
use crate::congestion::CongestionController;
use crate::crypto::Cipher;
use crate::transport::Readiness;

/// A callback panicked, and with it ended its server or client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a callback panicked: {message}")]
pub struct HandlerPanicked {
    /// What the panic said.
    pub message: String,
}

/// Owns a server that runs in a thread of its own; gives access to it like a [`ServerHandle`], of which other
/// threads keep clones.
///
/// [`stop`](Self::stop), or dropping this, closes every connection gracefully and waits for it: at most the
/// linger time and two seconds.
#[derive(Debug)]
pub struct ServerThread<H> {
    handle: ServerHandle,
    thread: Owned<H>,
}

/// Owns a client that runs in a thread of its own; gives access to it like a [`ClientHandle`], of which other
/// threads keep clones.
///
/// [`stop`](Self::stop), or dropping this, closes the connection gracefully and waits for it: at most the linger
/// time and two seconds.
#[derive(Debug)]
pub struct ClientThread<H> {
    handle: ClientHandle,
    thread: Owned<H>,
}

impl<T, C, Z, G> Server<T, C, Z, G>
where
    T: Readiness + 'static,
    C: Cipher + 'static,
    Z: Compressor + 'static,
    G: CongestionController + 'static,
{
    /// Runs the server in a thread of its own, with `handler` for its callbacks. A datagram is handled and
    /// answered in the wake it arrives in; what handles queue waits at most 1 / `tick_rate`.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn<H: Handler + 'static>(self, handler: H) -> io::Result<ServerThread<H>> {
        self.pump.hub.renew(&self.pump.endpoint);
        let handle = ServerHandle::new(self.pump.hub.clone(), self.local_addr().ok());
        let thread = Owned::spawn("fastwire-server", self.pump, self.cadence, handler, VecDeque::new())?;
        Ok(ServerThread { handle, thread })
    }
}

impl<T, C, Z, G> Client<T, C, Z, G>
where
    T: Readiness + 'static,
    C: Cipher + 'static,
    Z: Compressor + 'static,
    G: CongestionController + 'static,
{
    /// Runs the client in a thread of its own, with `handler` for its callbacks. A datagram is handled and
    /// answered in the wake it arrives in; what handles queue waits at most 1 / `tick_rate`.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn<H: Handler + 'static>(self, handler: H) -> io::Result<ClientThread<H>> {
        let Self { pump, cadence, connection, early } = self;
        // Messages may be queued before the connection is established.
        connection.and_then(|id| pump.hub.link(id, &pump.endpoint));
        let handle = ClientHandle::new(pump.hub.clone());
        let thread = Owned::spawn("fastwire-client", pump, cadence, handler, early)?;
        Ok(ClientThread { handle, thread })
    }
}

impl<H> ServerThread<H> {
    /// A handle for other threads.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Begins to shut the server down.
    pub(super) fn shut_down(&self) {
        self.handle.hub().command(Command::ShutDown(None));
    }

    /// Shuts the server down, waits for its thread and gives the handler back.
    ///
    /// # Errors
    /// [`HandlerPanicked`] if a callback ended the thread before.
    pub fn stop(mut self) -> Result<H, HandlerPanicked> {
        self.handle.hub().command(Command::ShutDown(None));
        self.thread.join()
    }
}

impl<H> ServerThread<H> {
    /// As [`stop`](Self::stop), but what is queued may leave until `deadline` from now, and who has not taken it by then is told
    /// goodbye. Returns two seconds after it at the latest.
    ///
    /// # Errors
    /// [`HandlerPanicked`] if a callback ended the thread before.
    pub fn stop_within(mut self, deadline: Duration) -> Result<H, HandlerPanicked> {
        self.handle.hub().command(Command::ShutDown(Some(deadline)));
        self.thread.join()
    }
}

impl<H> ClientThread<H> {
    /// A handle for other threads.
    pub fn handle(&self) -> ClientHandle {
        self.handle.clone()
    }

    /// Closes the connection, waits for the thread and gives the handler back.
    ///
    /// # Errors
    /// [`HandlerPanicked`] if a callback ended the thread before.
    pub fn stop(mut self) -> Result<H, HandlerPanicked> {
        self.handle.hub().command(Command::ShutDown(None));
        self.thread.join()
    }
}

impl<H> Deref for ServerThread<H> {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.handle
    }
}

impl<H> Deref for ClientThread<H> {
    type Target = ClientHandle;

    fn deref(&self) -> &ClientHandle {
        &self.handle
    }
}

impl<H> Drop for ServerThread<H> {
    fn drop(&mut self) {
        self.handle.hub().command(Command::ShutDown(None));
        self.thread.leave();
    }
}

impl<H> Drop for ClientThread<H> {
    fn drop(&mut self) {
        self.handle.hub().command(Command::ShutDown(None));
        self.thread.leave();
    }
}

/// The thread itself. `None` once it was joined.
#[derive(Debug)]
struct Owned<H>(Option<JoinHandle<Result<H, HandlerPanicked>>>);

impl<H: Handler + 'static> Owned<H> {
    fn spawn<T, C, Z, G>(
        name: &str,
        pump: Pump<T, C, Z, G>,
        cadence: Cadence,
        mut handler: H,
        early: VecDeque<crate::Event>,
    ) -> io::Result<Self>
    where
        T: Readiness + 'static,
        C: Cipher + 'static,
        Z: Compressor + 'static,
        G: CongestionController + 'static,
    {
        pump.hub.serve(pump.transport.waker());
        if let Some(siblings) = &pump.siblings {
            siblings.serve(pump.transport.waker());
        }
        let body = move || {
            let run = AssertUnwindSafe(|| run(pump, cadence, &mut handler, early));
            match catch_unwind(run) {
                Ok(()) => Ok(handler),
                Err(payload) => {
                    let message = message_of(&*payload);
                    tracing::error!(message, "a callback panicked; its endpoint is closed");
                    Err(HandlerPanicked { message })
                }
            }
        };
        Ok(Self(Some(thread::Builder::new().name(name.to_owned()).spawn(body)?)))
    }
}

impl<H> Owned<H> {
    fn join(&mut self) -> Result<H, HandlerPanicked> {
        let gone = || HandlerPanicked { message: "the thread is gone".to_owned() };
        let thread = self.0.take().ok_or_else(gone)?;
        thread.join().unwrap_or_else(|payload| Err(HandlerPanicked { message: message_of(&*payload) }))
    }

    /// Waits for the thread, unless a callback in this very thread drops its own owner.
    fn leave(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic was logged where it happened.
            let _ = thread.join();
        }
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn run<T, C, Z, G, H>(
    mut pump: Pump<T, C, Z, G>,
    mut cadence: Cadence,
    handler: &mut H,
    early: VecDeque<crate::Event>,
) where
    T: Readiness,
    C: Cipher,
    Z: Compressor,
    G: CongestionController,
    H: Handler,
{
    pump.set_greedy(false);
    for event in early {
        dispatch(handler, &mut pump, &event);
    }
    loop {
        let now = Instant::now();
        match pump.wake(now, &mut cadence, handler) {
            Next::Again => {}
            Next::Stop => return,
            Next::Sleep(timeout) => {
                if let Err(error) = pump.transport.wait(timeout) {
                    tracing::error!(%error, "the transport is of no more use; its endpoint is closed");
                    return;
                }
            }
        }
    }
}

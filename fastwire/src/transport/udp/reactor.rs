//! Lets tokio watch the sockets of a [`UdpTransport`].

use std::io;
use std::task::{Context, Poll};

use tokio::io::Interest;

use super::{READ_AGAIN, Socket, UdpTransport};
use crate::transport::{AsyncReadiness, SendOutcome};

/// A second handle of a socket, known to tokio's reactor.
///
/// tokio remembers that a socket is ready until a call inside `try_io` would block: so the system calls of a
/// registered socket go through here.
#[derive(Debug)]
pub(super) struct Registered(tokio::net::UdpSocket);

impl Registered {
    /// `recv` gives whether it saw the end of the queue: then tokio may forget that the socket was ready, and the
    /// call that would only meet an empty queue is spared.
    pub(super) fn try_recv(&self, recv: impl FnOnce() -> io::Result<bool>) -> io::Result<bool> {
        let mut outcome = None;
        let asked = self.0.try_io(Interest::READABLE, || {
            let result = recv();
            let end = match &result {
                Ok(end) => *end,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            outcome = Some(result);
            if end { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        // Without an outcome `recv` was not called: tokio knows that nothing is there.
        outcome.unwrap_or_else(|| asked.map(|()| false))
    }

    pub(super) fn try_send(&self, send: impl FnOnce() -> io::Result<SendOutcome>) -> io::Result<SendOutcome> {
        let sent = self.0.try_io(Interest::WRITABLE, || match send()? {
            SendOutcome::Sent => Ok(()),
            SendOutcome::Blocked => Err(io::ErrorKind::WouldBlock.into()),
        });
        match sent {
            Ok(()) => Ok(SendOutcome::Sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(SendOutcome::Blocked),
            Err(error) => Err(error),
        }
    }
}

impl Socket {
    fn registered(&mut self) -> io::Result<&Registered> {
        match &mut self.reactor {
            Some(reactor) => Ok(reactor),
            unset => Ok(unset.insert(Registered(tokio::net::UdpSocket::from_std(self.udp.try_clone()?)?))),
        }
    }
}

/// Must be called within a tokio runtime that has its I/O and time drivers enabled; the first call registers the
/// sockets.
impl AsyncReadiness for UdpTransport {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.troubled {
            let rest = self.rest.get_or_insert_with(|| Box::pin(tokio::time::sleep(READ_AGAIN)));
            if rest.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.rest = None;
            self.troubled = false;
        }
        let mut ready = false;
        for socket in &mut self.sockets {
            let blocked = socket.blocked;
            let registered = &socket.registered()?.0;
            ready |= registered.poll_recv_ready(cx)?.is_ready();
            if blocked {
                ready |= registered.poll_send_ready(cx)?.is_ready();
            }
        }
        if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

//! A UDP socket with batched, non-blocking input and output.

use crate::session::TransmitBuf;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Bytes of the kernel's buffers, asked for; less is accepted.
const KERNEL_BUFFER: usize = 4 << 20;
/// Datagrams that wait while the kernel takes none; more are dropped, and KCP sends them again.
pub(super) const MAX_SEND_BACKLOG: usize = 2048;
/// Bytes of one receive buffer: what the kernel joins at most.
const RECV_BUFFER: usize = 65_536;
/// Receive buffers of a driver.
const RECV_BATCH: usize = 8;
/// Buffers that one call fills when there is enough.
const FULL_BATCH: usize = if RECV_BATCH < quinn_udp::BATCH_SIZE { RECV_BATCH } else { quinn_udp::BATCH_SIZE };

/// The socket.
pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    /// Datagrams the kernel did not take, at most [`MAX_SEND_BACKLOG`].
    backlog: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Datagrams dropped because the backlog was full.
    pub(super) overflows: u64,
}

/// Buffers for received datagrams, shared by all sockets of a driver.
pub(super) struct RecvBuf {
    bytes: Vec<u8>,
    metas: [RecvMeta; RECV_BATCH],
}

impl RecvBuf {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; RECV_BATCH * RECV_BUFFER], metas: [RecvMeta::default(); RECV_BATCH] }
    }

    /// Buffers of no bytes, to stand in while the others are in use.
    pub(super) fn empty() -> Self {
        Self { bytes: Vec::new(), metas: [RecvMeta::default(); RECV_BATCH] }
    }

    /// The datagrams of the first `count` filled buffers, each with its sender.
    pub(super) fn datagrams(&mut self, count: usize) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        self.bytes.chunks_mut(RECV_BUFFER).zip(&self.metas).take(count).flat_map(|(buffer, meta)| {
            let filled = &mut buffer[..meta.len.min(RECV_BUFFER)];
            filled.chunks_mut(meta.stride.max(1)).map(move |datagram| (meta.addr, datagram))
        })
    }
}

impl Socket {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        Self::from_std(socket)
    }

    pub(super) fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        // Larger buffers are a wish.
        let _ = state.set_recv_buffer_size((&socket).into(), KERNEL_BUFFER);
        let _ = state.set_send_buffer_size((&socket).into(), KERNEL_BUFFER);
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self { socket, state, backlog: VecDeque::new(), overflows: 0 })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Fills buffers; how many. 0 when nothing is there: `context`'s waker then hears of more. After an error call again.
    pub(super) fn recv(&self, context: &mut Context<'_>, buf: &mut RecvBuf) -> io::Result<usize> {
        loop {
            match self.socket.poll_recv_ready(context) {
                Poll::Pending => return Ok(0),
                Poll::Ready(ready) => ready?,
            }
            let mut slices: [IoSliceMut<'_>; RECV_BATCH] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
            for (slice, buffer) in slices.iter_mut().zip(buf.bytes.chunks_mut(RECV_BUFFER)) {
                *slice = IoSliceMut::new(buffer);
            }
            let mut drained = None;
            let received = self.socket.try_io(Interest::READABLE, || {
                let count = self.state.recv((&self.socket).into(), &mut slices, &mut buf.metas)?;
                if count < FULL_BATCH {
                    // The kernel had no more: said now, that saves asking again. What arrives after the call is news.
                    drained = Some(count);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(count)
            });
            if let Some(count) = drained {
                return Ok(count);
            }
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Sends all of `buf` to `peer`; what the kernel does not take now waits.
    pub(super) fn send(&mut self, context: &mut Context<'_>, peer: SocketAddr, buf: &TransmitBuf) {
        let mut first = 0;
        while self.backlog.is_empty() && first < buf.len() {
            let (bytes, segment, count) = buf.train(first, self.state.max_gso_segments());
            if !self.try_send(peer, bytes, (count > 1).then_some(segment)) {
                break;
            }
            first += count;
        }
        for datagram in buf.iter().skip(first) {
            if self.backlog.len() < MAX_SEND_BACKLOG {
                self.backlog.push_back((peer, datagram.to_vec()));
            } else {
                self.overflows += 1;
            }
        }
        if first < buf.len() {
            self.send_backlog(context);
        }
    }

    /// Sends what waits, as far as the kernel takes it; its waker hears when it takes more.
    pub(super) fn send_backlog(&mut self, context: &mut Context<'_>) {
        while let Some((peer, datagram)) = self.backlog.pop_front() {
            if self.socket.poll_send_ready(context).is_ready() && self.try_send(peer, &datagram, None) {
                continue;
            }
            self.backlog.push_front((peer, datagram));
            if self.socket.poll_send_ready(context).is_pending() {
                return;
            }
        }
    }

    /// False when the kernel takes nothing now. An error of the network is as a lost datagram.
    fn try_send(&self, peer: SocketAddr, contents: &[u8], segment_size: Option<usize>) -> bool {
        let transmit = Transmit { destination: peer, ecn: None, contents, segment_size, src_ip: None };
        let sent =
            self.socket.try_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), &transmit));
        !matches!(sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[tokio::test]
    async fn the_backlog_reaches_its_limit_and_no_further() {
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = peer.local_addr().unwrap();
        let mut socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut out = TransmitBuf::new([1; 32]);
        (0..=MAX_SEND_BACKLOG).for_each(|_| out.push(b"later"));
        // While one waits, the others queue up behind it.
        socket.backlog.push_back((address, b"first".to_vec()));
        socket.send(&mut Context::from_waker(Waker::noop()), address, &out);
        assert_eq!(socket.overflows, 2);
        std::future::poll_fn(|context| {
            socket.send_backlog(context);
            if socket.backlog.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let mut first = [0; 8];
        assert_eq!(peer.recv(&mut first).await.unwrap(), 5);
        assert_eq!(&first[..5], b"first");
    }
}

//! A network inside the process: endpoints with addresses, perfect delivery, no sockets.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::{
    AsyncReadiness, Ecn, MAX_DATAGRAM, Readiness, RecvBatch, RecvMeta, SendOutcome, SocketId, Transmit,
    Transport,
};

/// A network in memory. Clones share it.
///
/// Datagrams arrive at once, unchanged and in order. As with UDP, those to an address nobody is bound to, or to an
/// endpoint whose queue is full, vanish. Wrap an endpoint in a [`LossyTransport`](super::LossyTransport) for a worse line.
#[derive(Clone, Debug, Default)]
pub struct MemoryNetwork {
    hub: Arc<Mutex<Hub>>,
}

#[derive(Debug, Default)]
struct Hub {
    endpoints: BTreeMap<SocketAddr, (SocketId, Arc<Inbox>)>,
    /// Next candidate for a port of the network's choice.
    next_port: u16,
}

impl MemoryNetwork {
    /// Datagrams an endpoint holds before it drops more.
    pub const QUEUE: usize = 4096;

    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new endpoint at `address`; port 0 leaves the port to the network.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] when the address is taken, or all ports of it are.
    pub fn bind(&self, address: SocketAddr) -> io::Result<MemoryTransport> {
        let inbox = Arc::new(Inbox::default());
        let address = self.attach(address, SocketId::PRIMARY, &inbox)?;
        Ok(MemoryTransport { network: self.clone(), sockets: vec![(SocketId::PRIMARY, address)], inbox })
    }

    fn attach(
        &self,
        mut address: SocketAddr,
        socket: SocketId,
        inbox: &Arc<Inbox>,
    ) -> io::Result<SocketAddr> {
        let mut hub = lock(&self.hub);
        if address.port() == 0 {
            let taken = |hub: &Hub, port| hub.endpoints.contains_key(&SocketAddr::new(address.ip(), port));
            let mut candidates = 0..=u16::MAX;
            while hub.next_port < 1024 || taken(&hub, hub.next_port) {
                hub.next_port = hub.next_port.wrapping_add(1).max(1024);
                if candidates.next().is_none() {
                    return Err(in_use(address));
                }
            }
            address.set_port(hub.next_port);
        }
        if hub.endpoints.contains_key(&address) {
            return Err(in_use(address));
        }
        hub.endpoints.insert(address, (socket, Arc::clone(inbox)));
        Ok(address)
    }

    fn detach(&self, address: SocketAddr) {
        lock(&self.hub).endpoints.remove(&address);
    }

    fn find(&self, address: SocketAddr) -> Option<(SocketId, Arc<Inbox>)> {
        lock(&self.hub).endpoints.get(&address).cloned()
    }
}

fn in_use(address: SocketAddr) -> io::Error {
    io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("{address} is taken in this memory network: bind another"),
    )
}

/// A panic elsewhere leaves the queues consistent, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has arrived for an endpoint, and who wants to know.
#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<InboxState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct InboxState {
    /// At most [`MemoryNetwork::QUEUE`].
    queue: VecDeque<Datagram>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    /// A waker was called since the last `wait`.
    woken: bool,
    /// The task in `poll_ready`.
    task: Option<Waker>,
}

#[derive(Debug)]
struct Datagram {
    socket: SocketId,
    remote: SocketAddr,
    local: IpAddr,
    ecn: Option<Ecn>,
    bytes: Vec<u8>,
}

impl Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        lock(&self.state).woken = true;
        self.changed.notify_all();
    }
}

/// An endpoint of a [`MemoryNetwork`].
///
/// Takes trains of up to [`MemoryTransport::MAX_SEGMENTS`] datagrams and delivers them one by one.
#[derive(Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    /// The primary socket is the first.
    sockets: Vec<(SocketId, SocketAddr)>,
    /// One queue for all sockets.
    inbox: Arc<Inbox>,
}

impl MemoryTransport {
    /// The longest train taken in one call.
    pub const MAX_SEGMENTS: usize = 64;

    /// Two endpoints on a network of their own, at 192.0.2.1 and 192.0.2.2.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let network = MemoryNetwork::new();
        let endpoint = |last| {
            let inbox = Arc::new(Inbox::default());
            let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), 4000));
            lock(&network.hub).endpoints.insert(address, (SocketId::PRIMARY, Arc::clone(&inbox)));
            Self { network: network.clone(), sockets: vec![(SocketId::PRIMARY, address)], inbox }
        };
        (endpoint(1), endpoint(2))
    }

    fn address_of(&self, socket: SocketId) -> io::Result<SocketAddr> {
        let found = self.sockets.iter().find(|(id, _)| *id == socket);
        found.map(|&(_, address)| address).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotConnected,
                format!("socket {} is not open: open it first", socket.0),
            )
        })
    }
}

impl Transport for MemoryTransport {
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.clear();
        let mut state = lock(&self.inbox.state);
        while !batch.is_full() {
            let Some(datagram) = state.queue.pop_front() else { break };
            let Datagram { socket, remote, local, ecn, bytes } = datagram;
            batch.push(RecvMeta { socket, remote, local: Some(local), ecn }, &bytes);
            state.spare.push(bytes);
        }
        Ok(batch.len())
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
        let remote = self.address_of(transmit.socket)?;
        if transmit.segments().any(|segment| segment.len() > MAX_DATAGRAM) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a datagram holds at most {MAX_DATAGRAM} bytes: send less"),
            ));
        }
        let Some((socket, inbox)) = self.network.find(transmit.destination) else {
            return Ok(SendOutcome::Sent);
        };
        let mut state = lock(&inbox.state);
        for segment in transmit.segments() {
            if state.queue.len() >= MemoryNetwork::QUEUE {
                break;
            }
            let mut bytes = state.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(segment);
            let local = transmit.destination.ip();
            state.queue.push_back(Datagram { socket, remote, local, ecn: transmit.ecn, bytes });
        }
        let task = state.task.take();
        drop(state);
        inbox.changed.notify_all();
        if let Some(task) = task {
            task.wake();
        }
        Ok(SendOutcome::Sent)
    }

    fn max_segments(&self) -> usize {
        Self::MAX_SEGMENTS
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address_of(SocketId::PRIMARY)
    }

    fn open(&mut self, socket: SocketId, remote: SocketAddr) -> io::Result<()> {
        self.close(socket);
        let own = self.sockets.first().map(|(_, address)| address.ip());
        let any = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let address = self.network.attach(SocketAddr::new(own.unwrap_or(any), 0), socket, &self.inbox)?;
        self.sockets.push((socket, address));
        Ok(())
    }

    fn close(&mut self, socket: SocketId) {
        let network = &self.network;
        self.sockets.retain(|&(id, address)| {
            if id == socket {
                network.detach(address);
            }
            id != socket
        });
        lock(&self.inbox.state).queue.retain(|datagram| datagram.socket != socket);
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        for &(_, address) in &self.sockets {
            self.network.detach(address);
        }
    }
}

impl Readiness for MemoryTransport {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = lock(&self.inbox.state);
        while !state.woken && state.queue.is_empty() {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.inbox.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.inbox.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.woken = false;
        Ok(())
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.inbox))
    }
}

impl AsyncReadiness for MemoryTransport {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.inbox.state);
        if !state.queue.is_empty() {
            return Poll::Ready(Ok(()));
        }
        state.task = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn at(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), port))
    }

    fn receive(transport: &mut MemoryTransport) -> Vec<(RecvMeta, Vec<u8>)> {
        let mut batch = RecvBatch::with_slots(8);
        let mut all = Vec::new();
        while transport.recv(&mut batch).unwrap() > 0 {
            all.extend(batch.iter_mut().map(|(meta, bytes)| (meta, bytes.to_vec())));
        }
        all
    }

    #[test]
    fn datagrams_reach_their_address_in_order_with_their_marks() {
        let network = MemoryNetwork::new();
        let mut hub = network.bind(at(1, 100)).unwrap();
        let mut peers = [network.bind(at(2, 0)).unwrap(), network.bind(at(2, 0)).unwrap()];
        assert_ne!(peers[0].local_addr().unwrap(), peers[1].local_addr().unwrap());
        let train: Vec<u8> = (0..50).collect();
        for peer in &mut peers {
            let train = Transmit {
                segment_size: Some(20),
                ecn: Some(Ecn::Ce),
                ..Transmit::new(SocketId::PRIMARY, at(1, 100), &train)
            };
            assert_eq!(peer.send(&train).unwrap(), SendOutcome::Sent);
        }
        let received = receive(&mut hub);
        assert_eq!(received.len(), 6);
        for (index, (meta, bytes)) in received.iter().enumerate() {
            assert_eq!(meta.remote, peers[index / 3].local_addr().unwrap());
            assert_eq!((meta.local, meta.ecn), (Some(at(1, 100).ip()), Some(Ecn::Ce)));
            assert_eq!(bytes[..], train[index % 3 * 20..][..bytes.len()]);
        }
    }

    #[test]
    fn a_taken_address_is_refused_and_free_again_after_drop() {
        let network = MemoryNetwork::new();
        let first = network.bind(at(1, 1)).unwrap();
        assert_eq!(network.bind(at(1, 1)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        network.bind(at(1, 1)).unwrap();
    }

    #[test]
    fn a_full_queue_drops() {
        let (mut left, mut right) = MemoryTransport::pair();
        let to = right.local_addr().unwrap();
        for _ in 0..MemoryNetwork::QUEUE + 10 {
            assert_eq!(left.send(&Transmit::new(SocketId::PRIMARY, to, b"x")).unwrap(), SendOutcome::Sent);
        }
        assert_eq!(receive(&mut right).len(), MemoryNetwork::QUEUE);
    }

    #[test]
    fn a_second_socket_has_its_own_address_until_closed() {
        let (mut left, mut right) = MemoryTransport::pair();
        let (to_left, to_right) = (left.local_addr().unwrap(), right.local_addr().unwrap());
        let second = SocketId(1);
        assert!(left.send(&Transmit::new(second, to_right, b"no")).is_err());
        left.open(second, to_right).unwrap();
        let _ = left.send(&Transmit::new(second, to_right, b"yes")).unwrap();
        let (meta, _) = receive(&mut right).remove(0);
        assert_ne!(meta.remote, to_left);
        let _ = right.send(&Transmit::new(SocketId::PRIMARY, meta.remote, b"back")).unwrap();
        assert_eq!(receive(&mut left)[0].0.socket, second);
        left.close(second);
        let _ = right.send(&Transmit::new(SocketId::PRIMARY, meta.remote, b"gone")).unwrap();
        assert!(receive(&mut left).is_empty());
    }

    #[test]
    fn wait_ends_with_a_datagram_a_waker_or_the_timeout() {
        let (mut left, mut right) = MemoryTransport::pair();
        left.wait(Some(Duration::ZERO)).unwrap();
        let waker = left.waker();
        waker.wake_by_ref();
        left.wait(None).unwrap();
        thread::spawn(move || waker.wake());
        left.wait(None).unwrap();
        let to = left.local_addr().unwrap();
        let sender = thread::spawn(move || right.send(&Transmit::new(SocketId::PRIMARY, to, b"x")).unwrap());
        left.wait(None).unwrap();
        assert_eq!(sender.join().unwrap(), SendOutcome::Sent);
        assert_eq!(receive(&mut left).len(), 1);
    }
}

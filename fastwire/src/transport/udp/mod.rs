//! The transport of the paved path: UDP sockets of the operating system.

mod config;
#[cfg(target_os = "linux")]
mod control;
mod driver;
#[cfg(target_os = "linux")]
mod many;
#[cfg(feature = "tokio")]
mod reactor;
mod wake;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smallvec::SmallVec;

use super::{Readiness, RecvBatch, SendOutcome, SocketId, Transmit, Transport};
pub use config::UdpConfig;
use driver::Driver;
use wake::WakeSignal;

/// How long a socket whose reads fail is left alone before it is read again.
const READ_AGAIN: Duration = Duration::from_millis(2);

/// Errors in a row after which one `recv` stops trying.
const READ_ERRORS: usize = 8;

/// UDP over IPv4, IPv6 or both, with segmentation offload, batched reads and ECN where the system has them.
///
/// ```
/// use fastwire::transport::{RecvBatch, SocketId, Transmit, Transport, UdpTransport};
///
/// # fn main() -> std::io::Result<()> {
/// let mut transport = UdpTransport::bind("127.0.0.1:0")?;
/// let to_itself = transport.local_addr()?;
/// let _ = transport.send(&Transmit::new(SocketId::PRIMARY, to_itself, b"ping"))?;
/// assert_eq!(transport.recv(&mut RecvBatch::new())?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct UdpTransport {
    config: UdpConfig,
    /// The primary socket first. Seldom more than one, never more than the core opens.
    sockets: SmallVec<[Socket; 2]>,
    wake: Arc<WakeSignal>,
    /// The last `recv` met only errors: sleep a little, lest a lasting error should keep a processor busy.
    troubled: bool,
    recv_errors: u64,
    /// The same for a task.
    #[cfg(feature = "tokio")]
    rest: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

#[derive(Debug)]
struct Socket {
    id: SocketId,
    udp: UdpSocket,
    driver: Driver,
    /// The last send was blocked: whoever waits wants to know when there is room again.
    blocked: bool,
    #[cfg(feature = "tokio")]
    reactor: Option<reactor::Registered>,
}

impl Socket {
    fn new(id: SocketId, udp: UdpSocket, config: &UdpConfig) -> io::Result<Self> {
        Ok(Self {
            id,
            driver: Driver::new(&udp, config)?,
            udp,
            blocked: false,
            #[cfg(feature = "tokio")]
            reactor: None,
        })
    }

    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<bool> {
        let Self { id, driver, udp, .. } = self;
        let recv = || driver.recv(udp, *id, batch);
        #[cfg(feature = "tokio")]
        if let Some(reactor) = &self.reactor {
            return reactor.try_recv(recv);
        }
        let mut recv = recv;
        recv()
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
        let Self { driver, udp, .. } = self;
        let send = || driver.send(udp, transmit);
        #[cfg(feature = "tokio")]
        if let Some(reactor) = &self.reactor {
            return reactor.try_send(send);
        }
        let mut send = send;
        send()
    }

    /// Sends single datagrams in one call. Gives how many of the first left; 0: the socket takes nothing at the moment.
    fn send_many(&mut self, transmits: &[Transmit<'_>]) -> io::Result<usize> {
        let mut sent = 0;
        let Self { driver, udp, .. } = self;
        let mut send = || match driver.send_many(udp, transmits) {
            Ok(count) => {
                sent = count;
                Ok(SendOutcome::Sent)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(SendOutcome::Blocked),
            Err(error) => Err(error),
        };
        #[cfg(feature = "tokio")]
        if let Some(reactor) = &self.reactor {
            self.blocked = reactor.try_send(send)? == SendOutcome::Blocked;
            return Ok(sent);
        }
        self.blocked = send()? == SendOutcome::Blocked;
        Ok(sent)
    }
}

impl UdpTransport {
    /// Binds a socket with the default [`UdpConfig`]. `"[::]:7777"` serves IPv6 and IPv4.
    ///
    /// # Errors
    ///
    /// The address does not resolve, is in use, or is not ours.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with(address, UdpConfig::new())
    }

    /// Binds a socket. When `address` resolves to several, the first that can be bound is taken.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind), and [`io::ErrorKind::InvalidInput`] for a configuration out of range.
    pub fn bind_with(address: impl ToSocketAddrs, config: UdpConfig) -> io::Result<Self> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name resolves to no address");
        for address in address.to_socket_addrs()? {
            match config.open(address) {
                Ok(socket) => return Self::around(socket.into(), config),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Takes over a bound socket, as one gets from a supervisor or with options of one's own. It becomes non-blocking;
    /// its buffers stay as they are.
    ///
    /// # Errors
    ///
    /// What the system reports when the socket is prepared.
    pub fn from_socket(socket: UdpSocket, config: UdpConfig) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::around(socket, config)
    }

    /// The bytes the system grants for receiving: what a burst may have before it is lost.
    ///
    /// # Errors
    ///
    /// What the system reports when asked.
    pub fn recv_buffer_size(&self) -> io::Result<usize> {
        config::recv_buffer_size(&socket2::SockRef::from(&self.primary()?.udp))
    }

    /// How many receive calls failed since the transport was made. Such errors concern single peers, or pass.
    #[must_use]
    pub fn recv_errors(&self) -> u64 {
        self.recv_errors
    }

    fn around(socket: UdpSocket, config: UdpConfig) -> io::Result<Self> {
        let mut sockets = SmallVec::new();
        sockets.push(Socket::new(SocketId::PRIMARY, socket, &config)?);
        Ok(Self {
            config,
            sockets,
            wake: Arc::new(WakeSignal::new()?),
            troubled: false,
            recv_errors: 0,
            #[cfg(feature = "tokio")]
            rest: None,
        })
    }

    fn primary(&self) -> io::Result<&Socket> {
        self.sockets
            .first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "all sockets are closed"))
    }

    /// Where another socket binds: beside the primary one if that reaches `remote`, else anywhere.
    fn beside_primary(&self, remote: SocketAddr) -> SocketAddr {
        let own = self.primary().and_then(|primary| primary.udp.local_addr());
        match own {
            Ok(own) if own.is_ipv4() == remote.is_ipv4() || own.ip() == Ipv6Addr::UNSPECIFIED => {
                SocketAddr::new(own.ip(), 0)
            }
            _ if remote.is_ipv4() => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            _ => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        }
    }
}

impl Transport for UdpTransport {
    fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.clear();
        let (mut errors, mut drained) = (0, 0);
        for socket in &mut self.sockets {
            while !batch.is_full() && errors < READ_ERRORS {
                match socket.recv(batch) {
                    Ok(nothing_left) if socket.driver.reads_many() => {
                        drained += usize::from(nothing_left);
                        break;
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        drained += 1;
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        tracing::trace!(%error, socket = socket.id.0, "receive failed");
                        errors += 1;
                    }
                }
            }
        }
        if drained == self.sockets.len() {
            batch.set_drained();
        }
        self.recv_errors += errors as u64;
        self.troubled = errors > 0 && batch.is_empty();
        Ok(batch.len())
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
        let Some(socket) = self.sockets.iter_mut().find(|socket| socket.id == transmit.socket) else {
            let message = format!("socket {} is not open: open it first", transmit.socket.0);
            return Err(io::Error::new(io::ErrorKind::NotConnected, message));
        };
        let result = socket.send(transmit);
        socket.blocked = matches!(result, Ok(SendOutcome::Blocked));
        result
    }

    fn send_many(&mut self, transmits: &[Transmit<'_>]) -> (usize, io::Result<SendOutcome>) {
        let mut done = 0;
        while let Some(rest) = transmits.get(done..)
            && let Some(first) = rest.first()
        {
            let socket = self.sockets.iter_mut().find(|socket| socket.id == first.socket);
            let alike = socket.as_ref().map_or(0, |socket| {
                rest.iter().take_while(|t| t.socket == socket.id && socket.driver.takes_many(t)).count()
            });
            let sent = match socket {
                Some(socket) if alike > 1 => socket.send_many(rest.get(..alike).unwrap_or(rest)),
                _ => match self.send(first) {
                    Ok(SendOutcome::Sent) => Ok(1),
                    Ok(SendOutcome::Blocked) => Ok(0),
                    Err(error) => Err(error),
                },
            };
            match sent {
                Ok(0) => return (done, Ok(SendOutcome::Blocked)),
                Ok(sent) => done += sent,
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(SendOutcome::Sent))
    }

    fn max_segments(&self) -> usize {
        self.sockets.iter().map(|socket| socket.driver.max_segments).min().unwrap_or(1)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.primary()?.udp.local_addr()
    }

    fn open(&mut self, socket: SocketId, remote: SocketAddr) -> io::Result<()> {
        let udp = self.config.open(self.beside_primary(remote))?;
        let opened = Socket::new(socket, udp.into(), &self.config)?;
        self.close(socket);
        self.sockets.push(opened);
        Ok(())
    }

    fn close(&mut self, socket: SocketId) {
        self.sockets.retain(|candidate| candidate.id != socket);
    }
}

impl Readiness for UdpTransport {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let (timeout, watched) = if self.troubled {
            self.troubled = false;
            (Some(timeout.map_or(READ_AGAIN, |timeout| timeout.min(READ_AGAIN))), &[][..])
        } else {
            (timeout, &self.sockets[..])
        };
        let mut descriptors: SmallVec<[PollFd<'_>; 4]> = SmallVec::new();
        descriptors.push(PollFd::new(&self.wake.signal, PollFlags::IN));
        for socket in watched {
            let room = if socket.blocked { PollFlags::OUT } else { PollFlags::empty() };
            descriptors.push(PollFd::new(&socket.udp, PollFlags::IN | room));
        }
        // A timeout beyond what the system's clock can express is as good as none.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if descriptors.first().is_some_and(|wake| !wake.revents().is_empty()) {
            self.wake.lower();
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.wake))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::thread;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::super::RecvMeta;
    use super::*;

    const LOCAL: &str = "127.0.0.1:0";

    /// Every way of setting up sockets that has a path of its own through the driver.
    fn setups() -> [(&'static str, UdpConfig); 4] {
        [
            ("offload", UdpConfig::new()),
            ("offload with DSCP", UdpConfig::new().dscp(46)),
            ("plain", UdpConfig::new().offload(false)),
            ("plain with DSCP", UdpConfig::new().offload(false).dscp(8)),
        ]
    }

    fn to(destination: SocketAddr, contents: &[u8]) -> Transmit<'_> {
        Transmit::new(SocketId::PRIMARY, destination, contents)
    }

    /// Waits until `count` datagrams have arrived, or for three seconds.
    fn receive(transport: &mut UdpTransport, count: usize) -> Vec<(RecvMeta, Vec<u8>)> {
        let mut batch = RecvBatch::new();
        let mut all = Vec::new();
        let give_up = Instant::now() + Duration::from_secs(3);
        while all.len() < count && Instant::now() < give_up {
            if transport.recv(&mut batch).unwrap() == 0 {
                transport.wait(Some(Duration::from_millis(100))).unwrap();
            }
            all.extend(batch.iter_mut().map(|(meta, bytes)| (meta, bytes.to_vec())));
        }
        all
    }

    fn has_ipv6() -> bool {
        UdpSocket::bind("[::1]:0").is_ok()
    }

    #[test]
    fn answers_find_their_way_back_over_every_family() {
        let mut pairs = vec![("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", LOCAL, "127.0.0.1")];
        if has_ipv6() {
            pairs.extend([
                ("[::1]:0", "[::1]:0", "::1"),
                ("[::]:0", LOCAL, "127.0.0.1"),
                ("[::]:0", "[::1]:0", "::1"),
            ]);
        }
        for (name, config) in setups() {
            for (server_at, client_at, reached_at) in &pairs {
                let mut server = UdpTransport::bind_with(server_at, config.clone()).unwrap();
                let mut client = UdpTransport::bind_with(client_at, config.clone()).unwrap();
                let reached: IpAddr = reached_at.parse().unwrap();
                let port = server.local_addr().unwrap().port();
                let ping = to(SocketAddr::new(reached, port), b"ping");
                assert_eq!(client.send(&ping).unwrap(), SendOutcome::Sent, "{name} {server_at}");
                let (meta, bytes) = receive(&mut server, 1).remove(0);
                assert_eq!((meta.remote, &bytes[..]), (client.local_addr().unwrap(), &b"ping"[..]), "{name}");
                assert!(meta.local.is_none_or(|local| local == reached), "{name} {server_at}: {meta:?}");
                let pong = Transmit { source: meta.local, ..to(meta.remote, b"pong") };
                assert_eq!(server.send(&pong).unwrap(), SendOutcome::Sent);
                let (meta, bytes) = receive(&mut client, 1).remove(0);
                assert_eq!(
                    (meta.remote, &bytes[..]),
                    (SocketAddr::new(reached, port), &b"pong"[..]),
                    "{name}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// However a train is cut and carried, the datagrams that arrive are its segments, in order.
        #[test]
        fn trains_arrive_as_their_segments(
            size in 1usize..3000,
            count in 1usize..150,
            last in 0usize..3000,
            setup in 0usize..4,
        ) {
            let (_, config) = setups()[setup].clone();
            let mut sender = UdpTransport::bind_with(LOCAL, config.clone()).unwrap();
            let mut receiver = UdpTransport::bind_with(LOCAL, config).unwrap();
            let len = (count - 1) * size + 1 + last % size;
            let bytes: Vec<u8> = (0..len).map(|i| ((i * 31) >> 3) as u8).collect();
            let train = Transmit { segment_size: Some(size), ..to(receiver.local_addr().unwrap(), &bytes) };
            prop_assert_eq!(sender.send(&train).unwrap(), SendOutcome::Sent);
            let received = receive(&mut receiver, count);
            prop_assert_eq!(received.len(), count);
            for ((meta, got), expected) in received.iter().zip(train.segments()) {
                prop_assert_eq!(meta.remote, sender.local_addr().unwrap());
                prop_assert_eq!(&got[..], expected);
            }
        }
    }

    proptest! {
        /// Whatever stands among them: datagrams, trains, marks, sources, places nobody can be at, sockets that are not open.
        #[test]
        fn many_leave_as_if_each_had_left_alone(
            kinds in prop::collection::vec((0u8..12, 0usize..3), 1..100),
            setup in 0usize..4,
            anywhere in any::<bool>(),
        ) {
            let (_, config) = setups()[setup].clone();
            let at = if anywhere { "0.0.0.0:0" } else { LOCAL };
            let mut sender = UdpTransport::bind_with(at, config.clone()).unwrap();
            let mut receivers: Vec<_> =
                (0..3).map(|_| UdpTransport::bind_with(LOCAL, config.clone()).unwrap()).collect();
            let contents: Vec<Vec<u8>> = (0..kinds.len()).map(|index| vec![index as u8; 1 + index]).collect();
            let mut expected = vec![Vec::new(); 3];
            let transmits: Vec<Transmit<'_>> = kinds
                .iter()
                .zip(&contents)
                .map(|(&(kind, receiver), contents)| {
                    let transmit = to(receivers[receiver].local_addr().unwrap(), contents);
                    let transmit = match kind {
                        0 => Transmit { destination: SocketAddr::from(([127, 0, 0, 1], 0)), ..transmit },
                        1 => Transmit { socket: SocketId(9), ..transmit },
                        2 => Transmit { segment_size: Some(7), ..transmit },
                        3 => Transmit { source: Some(Ipv4Addr::LOCALHOST.into()), ..transmit },
                        4 => Transmit { ecn: Some(super::super::Ecn::Ect0), ..transmit },
                        _ => transmit,
                    };
                    if kind > 1 {
                        expected[receiver].extend(transmit.segments().map(<[u8]>::to_vec));
                    }
                    transmit
                })
                .collect();
            let mut done = 0;
            while done < transmits.len() {
                let (sent, then) = sender.send_many(&transmits[done..]);
                done += sent;
                match then {
                    Ok(SendOutcome::Sent) => prop_assert_eq!(done, transmits.len()),
                    Ok(SendOutcome::Blocked) => prop_assert!(false, "no loopback socket fills up so soon"),
                    Err(_) => {
                        prop_assert!(kinds[done].0 < 2, "the error is of the one it is said to be of");
                        done += 1;
                    }
                }
            }
            for (receiver, expected) in receivers.iter_mut().zip(expected) {
                let got = receive(receiver, expected.len());
                prop_assert_eq!(got.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[cfg(all(target_os = "linux", not(fastwire_portable)))]
    #[test]
    fn marks_arrive_whatever_the_dscp() {
        use super::super::Ecn;

        for (dscp, address) in [(0, LOCAL), (46, LOCAL), (0, "[::1]:0"), (46, "[::1]:0")] {
            if address != LOCAL && !has_ipv6() {
                continue;
            }
            let mut sender = UdpTransport::bind_with(address, UdpConfig::new().dscp(dscp)).unwrap();
            let mut receiver = UdpTransport::bind(address).unwrap();
            let destination = receiver.local_addr().unwrap();
            for ecn in [None, Some(Ecn::Ect0), Some(Ecn::Ect1), Some(Ecn::Ce)] {
                let _ = sender.send(&Transmit { ecn, ..to(destination, b"x") }).unwrap();
                assert_eq!(receive(&mut receiver, 1)[0].0.ecn, ecn, "DSCP {dscp} {address}");
            }
        }
    }

    #[test]
    fn empty_and_largest_datagrams_arrive() {
        for (name, config) in setups() {
            let mut sender = UdpTransport::bind_with(LOCAL, config.clone()).unwrap();
            let mut receiver = UdpTransport::bind_with(LOCAL, config).unwrap();
            let destination = receiver.local_addr().unwrap();
            let largest = vec![9; super::super::MAX_DATAGRAM];
            for contents in [&[][..], &largest] {
                // Loopback carries 65 535 bytes of IP packet at once; a smaller interface may refuse the largest.
                let _ = sender.send(&to(destination, contents)).unwrap();
                assert_eq!(receive(&mut receiver, 1)[0].1, contents, "{name}");
            }
            assert!(sender.send(&to(destination, &[0; super::super::MAX_DATAGRAM + 1])).is_err());
        }
    }

    #[test]
    fn a_bad_destination_costs_its_own_datagrams_and_no_offload() {
        let mut sender = UdpTransport::bind(LOCAL).unwrap();
        let segments = sender.max_segments();
        let bytes = [1; 4000];
        for bad in ["127.0.0.1:0", "255.255.255.255:9", "[::1]:9"] {
            let train = Transmit { segment_size: Some(1000), ..to(bad.parse().unwrap(), &bytes) };
            assert!(sender.send(&train).is_err(), "{bad}");
        }
        assert_eq!(sender.max_segments(), segments);
    }

    #[test]
    fn a_refused_port_is_not_fatal() {
        let closed = UdpSocket::bind(LOCAL).unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind(LOCAL).unwrap();
        socket.connect(closed).unwrap();
        let mut transport = UdpTransport::from_socket(socket, UdpConfig::new()).unwrap();
        let _ = transport.send(&to(closed, b"anybody?")).unwrap();
        let give_up = Instant::now() + Duration::from_secs(3);
        while transport.recv_errors() == 0 && Instant::now() < give_up {
            transport.wait(Some(Duration::from_millis(10))).unwrap();
            assert_eq!(transport.recv(&mut RecvBatch::with_slots(1)).unwrap(), 0);
        }
        assert!(transport.recv_errors() > 0 || !cfg!(target_os = "linux"));
        let mut peer = UdpTransport::bind(closed).unwrap();
        let _ = peer.send(&to(transport.local_addr().unwrap(), b"now I am here")).unwrap();
        assert_eq!(receive(&mut transport, 1)[0].1, b"now I am here");
    }

    #[test]
    fn a_second_socket_lives_until_closed() {
        let mut client = UdpTransport::bind("0.0.0.0:0").unwrap();
        let mut server = UdpTransport::bind(LOCAL).unwrap();
        let (second, destination) = (SocketId(7), server.local_addr().unwrap());
        let from_second = Transmit { socket: second, ..to(destination, b"second") };
        assert_eq!(client.send(&from_second).unwrap_err().kind(), io::ErrorKind::NotConnected);
        client.open(second, destination).unwrap();
        let _ = client.send(&from_second).unwrap();
        let _ = client.send(&to(destination, b"first")).unwrap();
        let ports: Vec<_> = receive(&mut server, 2).iter().map(|(meta, _)| meta.remote).collect();
        assert_ne!(ports[0], ports[1]);
        for port in ports {
            let _ = server.send(&to(port, b"back")).unwrap();
        }
        let mut sockets: Vec<_> = receive(&mut client, 2).iter().map(|(meta, _)| meta.socket).collect();
        sockets.sort_unstable();
        assert_eq!(sockets, [SocketId::PRIMARY, second]);
        client.close(second);
        assert!(client.send(&from_second).is_err());
    }

    #[test]
    fn bursts_after_silence_arrive_whole() {
        let mut sender = UdpTransport::bind(LOCAL).unwrap();
        let mut receiver = UdpTransport::bind(LOCAL).unwrap();
        let destination = receiver.local_addr().unwrap();
        for burst in [1, 100, 0, 1, 33, 32, 1, 1, 200] {
            for number in 0..burst {
                let _ = sender.send(&to(destination, &[number])).unwrap();
            }
            let got: Vec<u8> =
                receive(&mut receiver, burst.into()).iter().map(|(_, bytes)| bytes[0]).collect();
            assert!(got.iter().copied().eq(0..burst));
            for _ in 0..8 {
                assert_eq!(receiver.recv(&mut RecvBatch::with_slots(1)).unwrap(), 0);
            }
        }
    }

    #[test]
    fn a_drained_batch_leaves_nothing_behind() {
        for (name, config) in setups() {
            let mut sender = UdpTransport::bind(LOCAL).unwrap();
            let mut receiver = UdpTransport::bind_with(LOCAL, config).unwrap();
            let destination = receiver.local_addr().unwrap();
            let mut batch = RecvBatch::new();
            batch.set_greedy(true);
            for burst in [1, 2, 3, 0, 100, 1, 33, 1, 1, 7, 8] {
                for number in 0..burst {
                    let _ = sender.send(&to(destination, &[number])).unwrap();
                }
                let mut got = 0;
                // Loopback has put all of them into the queue by now.
                while receiver.recv(&mut batch).unwrap() > 0 {
                    got += batch.len();
                    if batch.is_drained() {
                        break;
                    }
                }
                assert_eq!(got, usize::from(burst), "{name}");
            }
        }
    }

    #[test]
    fn wait_ends_with_a_datagram_a_waker_or_the_timeout() {
        let mut transport = UdpTransport::bind(LOCAL).unwrap();
        transport.wait(Some(Duration::ZERO)).unwrap();
        let waker = transport.waker();
        for _ in 0..3 {
            waker.wake_by_ref();
            waker.wake_by_ref();
            transport.wait(None).unwrap();
        }
        let before = Instant::now();
        transport.wait(Some(Duration::from_millis(5))).unwrap();
        assert!(before.elapsed() >= Duration::from_millis(5), "a wake-up was counted twice");
        let thread = thread::spawn(move || waker.wake());
        transport.wait(None).unwrap();
        thread.join().unwrap();
        let destination = transport.local_addr().unwrap();
        let mut peer = UdpTransport::bind(LOCAL).unwrap();
        let thread = thread::spawn(move || peer.send(&to(destination, b"x")).unwrap());
        transport.wait(None).unwrap();
        assert_eq!(thread.join().unwrap(), SendOutcome::Sent);
        assert_eq!(receive(&mut transport, 1).len(), 1);
    }

    #[cfg(feature = "tokio")]
    #[tokio::test]
    async fn a_task_is_woken_for_each_datagram() {
        use std::future::poll_fn;

        use super::super::AsyncReadiness;

        let mut transport = UdpTransport::bind(LOCAL).unwrap();
        let destination = transport.local_addr().unwrap();
        let mut peer = UdpTransport::bind(LOCAL).unwrap();
        let mut batch = RecvBatch::with_slots(4);
        for round in 0..20u8 {
            let _ = peer.send(&to(destination, &[round])).unwrap();
            loop {
                poll_fn(|cx| transport.poll_ready(cx)).await.unwrap();
                if transport.recv(&mut batch).unwrap() > 0 {
                    break;
                }
            }
            assert!(batch.iter_mut().map(|(_, bytes)| bytes.to_vec()).eq([vec![round]]));
            let _ = transport.send(&to(peer.local_addr().unwrap(), b"ack")).unwrap();
        }
        assert_eq!(receive(&mut peer, 20).len(), 20);
    }
}

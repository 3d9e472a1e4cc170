//! A bad line between real UDP sockets: clients talk to the relay, the relay to the server.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use fastwire::sim::{Link, LinkConfig, LinkStats, Rng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

/// Clients beyond this number are ignored.
pub const MAX_CLIENTS: usize = 8192;

/// Datagrams read from one socket before the others have their turn.
const READS: usize = 64;

/// Queueing delays kept, at most.
const MAX_DELAYS: usize = 1 << 20;

/// Bytes asked for each socket's buffers; the relay should lose nothing but what it is told to.
const BUFFER: usize = 4 << 20;

/// How a client's address changes under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebind {
    /// Another port.
    Port,
    /// Another address of 127.0.0.0/8, and another port. For servers on IPv4 loopback.
    Address,
}

/// What the relay did so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Clients seen.
    pub clients: usize,
    /// From clients to the server.
    pub up: LinkStats,
    /// From the server to clients.
    pub down: LinkStats,
    /// Addresses changed.
    pub rebinds: u64,
    /// Send calls that failed or were blocked: lost without being told to.
    pub failed_sends: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} clients; up: {}; down: {}", self.clients, self.up, self.down)?;
        if self.rebinds > 0 {
            write!(f, "; {} rebound", self.rebinds)?;
        }
        if self.failed_sends > 0 {
            write!(f, "; {} sends failed", self.failed_sends)?;
        }
        Ok(())
    }
}

/// A datagram that came to the line.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// When.
    pub at: Instant,
    /// From a client to the server, else the other way.
    pub up: bool,
    /// The line dropped it.
    pub dropped: bool,
    /// Its bytes as they came.
    pub datagram: &'a [u8],
}

/// Is told of every datagram.
pub type Watcher = Box<dyn FnMut(&Passing<'_>) + Send>;

/// A [`Watcher`], perhaps.
#[derive(Default)]
struct Watched(Option<Watcher>);

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "watched" } else { "not watched" })
    }
}

impl Watched {
    /// Sends `datagram` into `link` and tells of it.
    fn send(&mut self, link: &mut Link, at: Instant, up: bool, datagram: &[u8]) {
        let before = dropped(&link.stats());
        link.send(at, datagram, ());
        if let Some(watcher) = &mut self.0 {
            watcher(&Passing { at, up, dropped: dropped(&link.stats()) > before, datagram });
        }
    }
}

/// Datagrams that a link did not deliver and will not.
fn dropped(stats: &LinkStats) -> u64 {
    stats.lost + stats.queue_drops + stats.blacked_out + stats.oversized
}

/// Forwards datagrams between any number of clients and one server. Each client has a socket towards the server and
/// a line of its own, the same in both directions.
#[derive(Debug)]
pub struct Relay {
    listener: UdpSocket,
    server: SocketAddr,
    line: LinkConfig,
    rng: Rng,
    clients: Vec<Client>,
    by_address: HashMap<SocketAddr, usize>,
    rebind: Option<(Duration, Rebind)>,
    next_rebind: Option<Instant>,
    rebinds: u64,
    /// Clients that are silent for so long are forgotten; `None`: never.
    patience: Option<Duration>,
    next_look: Option<Instant>,
    /// What those did who are forgotten.
    gone: (usize, LinkStats, LinkStats),
    failed_sends: u64,
    /// How long each datagram towards the server waited in the bottleneck's queue; `None`: not asked for.
    delays: Option<Vec<Duration>>,
    watcher: Watched,
    /// Room for any datagram.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    upstream: UdpSocket,
    up: Link,
    down: Link,
    heard: Instant,
}

impl Relay {
    /// Listens at `listen` for clients of `server`.
    ///
    /// # Errors
    ///
    /// `listen` cannot be bound, or `line` is out of range.
    pub fn bind(listen: SocketAddr, server: SocketAddr, line: LinkConfig, seed: u64) -> io::Result<Self> {
        line.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self {
            listener: open(listen)?,
            server,
            line,
            rng: Rng::new(seed),
            clients: Vec::new(),
            by_address: HashMap::new(),
            rebind: None,
            next_rebind: None,
            rebinds: 0,
            patience: None,
            next_look: None,
            gone: Default::default(),
            failed_sends: 0,
            delays: None,
            watcher: Watched::default(),
            buffer: vec![0; 65_536],
        })
    }

    /// Lets the server see every client at another address each `period`.
    #[must_use]
    pub fn rebind_every(mut self, period: Duration, how: Rebind) -> Self {
        self.rebind = Some((period, how));
        self
    }

    /// Forgets clients that were silent for `patience`: a relay that outlives its clients.
    #[must_use]
    pub fn forget_after(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Keeps how long datagrams towards the server wait in the queue of the bottleneck.
    #[must_use]
    pub fn keep_delays(mut self) -> Self {
        self.delays = Some(Vec::new());
        self
    }

    /// Tells `watcher` of every datagram.
    #[must_use]
    pub fn watch(mut self, watcher: Watcher) -> Self {
        self.watcher = Watched(Some(watcher));
        self
    }

    /// The delays kept so far, of the first 2²⁰ datagrams, in the order of delivery.
    #[must_use]
    pub fn delays(&self) -> &[Duration] {
        self.delays.as_deref().unwrap_or_default()
    }

    /// Where clients should connect to.
    ///
    /// # Errors
    ///
    /// What the system reports when asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What happened so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (gone, up, down) = self.gone;
        let mut summary = Summary {
            clients: gone + self.clients.len(),
            up,
            down,
            rebinds: self.rebinds,
            failed_sends: self.failed_sends,
        };
        for client in &self.clients {
            summary.up += client.up.stats();
            summary.down += client.down.stats();
        }
        summary
    }

    /// Forwards until `until`.
    ///
    /// # Errors
    ///
    /// The sockets cannot be watched or opened any more. Failing sends and receives are losses.
    pub fn run(&mut self, until: Instant) -> io::Result<()> {
        loop {
            let now = Instant::now();
            self.forward(now);
            self.rebind_if_due(now)?;
            self.forget_if_due(now);
            if now >= until {
                return Ok(());
            }
            let due = self.next_due().map_or(until, |due| due.min(until));
            let readable = self.sleep(due.saturating_duration_since(Instant::now()))?;
            let now = Instant::now();
            for index in readable {
                match index.checked_sub(1) {
                    None => self.read_listener(now)?,
                    Some(client) => self.read_upstream(client, now),
                }
            }
        }
    }

    /// Sleeps for `timeout` or until a socket is readable. Yields which: 0 the listener, then the clients'.
    fn sleep(&self, timeout: Duration) -> io::Result<Vec<usize>> {
        let sockets =
            std::iter::once(&self.listener).chain(self.clients.iter().map(|client| &client.upstream));
        let mut watched: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(watched
            .iter()
            .enumerate()
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(index, _)| index)
            .collect())
    }

    fn read_listener(&mut self, now: Instant) -> io::Result<()> {
        for _ in 0..READS {
            match self.listener.recv_from(&mut self.buffer) {
                Ok((len, from)) => {
                    if let Some(client) = self.client(from, now)? {
                        let client = &mut self.clients[client];
                        client.heard = now;
                        self.watcher.send(&mut client.up, now, true, &self.buffer[..len]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn read_upstream(&mut self, index: usize, now: Instant) {
        let client = &mut self.clients[index];
        for _ in 0..READS {
            match client.upstream.recv_from(&mut self.buffer) {
                Ok((len, from)) if from == self.server => {
                    self.watcher.send(&mut client.down, now, false, &self.buffer[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => {}
            }
        }
    }

    /// The client at `address`, new or known; `None` when there are too many.
    fn client(&mut self, address: SocketAddr, now: Instant) -> io::Result<Option<usize>> {
        if let Some(&index) = self.by_address.get(&address) {
            return Ok(Some(index));
        }
        if self.clients.len() >= MAX_CLIENTS {
            return Ok(None);
        }
        let upstream = open(any_beside(self.server))?;
        let link = |seed| {
            Link::new(self.line.clone(), seed).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
        };
        let (up, down) = (link(self.rng.next_u64())?, link(self.rng.next_u64())?);
        self.by_address.insert(address, self.clients.len());
        self.clients.push(Client { address, upstream, up, down, heard: now });
        Ok(self.clients.len().checked_sub(1))
    }

    /// Sends what has come through.
    fn forward(&mut self, now: Instant) {
        for client in &mut self.clients {
            while let Some(datagram) = client.up.poll(now) {
                if let Some(delays) = self.delays.as_mut().filter(|delays| delays.len() < MAX_DELAYS) {
                    delays.push(datagram.queued);
                }
                let sent = client.upstream.send_to(&datagram.bytes, self.server);
                self.failed_sends += u64::from(sent.is_err());
            }
            while let Some(datagram) = client.down.poll(now) {
                let sent = self.listener.send_to(&datagram.bytes, client.address);
                self.failed_sends += u64::from(sent.is_err());
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let links = self.clients.iter().flat_map(|client| [&client.up, &client.down]);
        links.filter_map(Link::next_delivery).chain(self.next_rebind).min()
    }

    fn forget_if_due(&mut self, now: Instant) {
        let Some(patience) = self.patience else { return };
        if now < *self.next_look.get_or_insert(now + LOOK) {
            return;
        }
        self.next_look = Some(now + LOOK);
        let gone = &mut self.gone;
        self.clients.retain(|client| {
            let stays = now.saturating_duration_since(client.heard) < patience;
            if !stays {
                gone.0 += 1;
                gone.1 += client.up.stats();
                gone.2 += client.down.stats();
            }
            stays
        });
        if self.clients.len() < self.by_address.len() {
            self.by_address.clear();
            let indices = self.clients.iter().enumerate().map(|(index, client)| (client.address, index));
            self.by_address.extend(indices);
        }
    }

    fn rebind_if_due(&mut self, now: Instant) -> io::Result<()> {
        let Some((period, how)) = self.rebind else { return Ok(()) };
        if now < *self.next_rebind.get_or_insert(now + period) {
            return Ok(());
        }
        self.next_rebind = Some(now + period);
        for client in &mut self.clients {
            let local = match how {
                Rebind::Port => any_beside(self.server),
                Rebind::Address => {
                    let host = 0x7f00_0002 + self.rng.below(0x00ff_fff0) as u32;
                    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(host)), 0)
                }
            };
            client.upstream = open(local)?;
            self.rebinds += 1;
        }
        Ok(())
    }
}

/// How often a relay looks for clients that are gone.
const LOOK: Duration = Duration::from_secs(1);

/// Where a socket binds that is to reach `server`.
fn any_beside(server: SocketAddr) -> SocketAddr {
    if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // As large as the system grants.
    let _ = SockRef::from(&socket).set_recv_buffer_size(BUFFER);
    let _ = SockRef::from(&socket).set_send_buffer_size(BUFFER);
    Ok(socket)
}

/// Processor time this process has used, in seconds; `None` where the system does not tell.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    // proc(5): fields 14 and 15, counted from the end of the name in brackets, in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn local() -> UdpSocket {
        open(([127, 0, 0, 1], 0).into()).expect("loopback")
    }

    /// Lets every client be answered `rounds` times, asking again what a rebinding lost; returns the addresses the
    /// server saw.
    fn echo(relay: &mut Relay, server: &UdpSocket, clients: &[UdpSocket], rounds: u8) -> Vec<SocketAddr> {
        let at = relay.local_addr().expect("bound");
        let mut seen = Vec::new();
        let mut buffer = [0; 100];
        for (round, number) in
            (0..rounds).flat_map(|round| (0..clients.len()).map(move |number| (round, number)))
        {
            let question = [number as u8, round];
            let give_up = Instant::now() + 5000 * MS;
            let mut ask_again = Instant::now();
            loop {
                assert!(Instant::now() < give_up, "no answer");
                if Instant::now() >= ask_again {
                    clients[number].send_to(&question, at).expect("sent");
                    ask_again = Instant::now() + 200 * MS;
                }
                relay.run(Instant::now() + 2 * MS).expect("runs");
                while let Ok((len, from)) = server.recv_from(&mut buffer) {
                    server.send_to(&buffer[..len], from).expect("sent");
                    seen.push(from);
                }
                match clients[number].recv_from(&mut buffer) {
                    Ok((len, from)) if buffer[..len] == question => {
                        assert_eq!(from, at);
                        break;
                    }
                    Ok((2, _)) => assert_eq!((buffer[0], buffer[1] < round), (number as u8, true)),
                    _ => {}
                }
            }
        }
        seen
    }

    #[test]
    fn answers_reach_the_client_that_asked() {
        let (server, clients) = (local(), [local(), local(), local()]);
        let line = LinkConfig::new().latency(MS);
        let to = server.local_addr().expect("bound");
        let mut relay = Relay::bind(([127, 0, 0, 1], 0).into(), to, line, 1).expect("binds");
        let seen = echo(&mut relay, &server, &clients, 4);
        let summary = relay.summary();
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 3);
        assert!(summary.clients == 3 && summary.up.delivered >= 12 && summary.down.delivered >= 12);
        assert_eq!((summary.rebinds, summary.failed_sends), (0, 0));
    }

    #[test]
    fn rebinding_moves_clients_on() {
        for how in [Rebind::Port, Rebind::Address] {
            let (server, clients) = (local(), [local()]);
            let to = server.local_addr().expect("bound");
            let relay = Relay::bind(([127, 0, 0, 1], 0).into(), to, LinkConfig::new(), 1).expect("binds");
            let mut relay = relay.rebind_every(20 * MS, how);
            let mut seen = Vec::new();
            while relay.summary().rebinds < 4 {
                seen.extend(echo(&mut relay, &server, &clients, 1));
            }
            let addresses: HashSet<_> = seen.iter().map(SocketAddr::ip).collect();
            assert!(seen.iter().collect::<HashSet<_>>().len() >= 2);
            assert_eq!(addresses.len() > 1, how == Rebind::Address);
        }
    }

    #[test]
    fn who_is_silent_is_forgotten_and_still_counted() {
        let (server, clients) = (local(), [local(), local()]);
        let to = server.local_addr().expect("bound");
        let relay = Relay::bind(([127, 0, 0, 1], 0).into(), to, LinkConfig::new(), 1).expect("binds");
        let mut relay = relay.forget_after(1500 * MS);
        echo(&mut relay, &server, &clients, 1);
        let give_up = Instant::now() + 10_000 * MS;
        // Only the second one goes on.
        while relay.clients.len() > 1 && Instant::now() < give_up {
            clients[1].send_to(&[9, 9], relay.local_addr().expect("bound")).expect("sent");
            relay.run(Instant::now() + 50 * MS).expect("runs");
        }
        assert_eq!((relay.clients.len(), relay.by_address.len(), relay.summary().clients), (1, 1, 2));
        assert!(relay.by_address.contains_key(&clients[1].local_addr().expect("bound")));
        assert!(relay.summary().up.delivered > 2);
    }

    #[test]
    fn faults_are_those_of_the_line() {
        let (server, client) = (local(), local());
        let to = server.local_addr().expect("bound");
        let line = LinkConfig::new().mtu(100);
        let mut relay = Relay::bind(([127, 0, 0, 1], 0).into(), to, line, 1).expect("binds");
        for len in [100, 101] {
            client.send_to(&vec![1; len], relay.local_addr().expect("bound")).expect("sent");
        }
        let give_up = Instant::now() + 5000 * MS;
        while relay.summary().up.delivered + relay.summary().up.oversized < 2 && Instant::now() < give_up {
            relay.run(Instant::now() + MS).expect("runs");
        }
        assert_eq!(relay.summary().up.to_string(), "2 sent, 1 delivered, 1 oversized");
    }
}

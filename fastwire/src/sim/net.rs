//! Nodes joined by links, seen from above: send a datagram, learn when and where the next one arrives.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;

use super::{Link, LinkConfig, LinkConfigError, LinkStats, Rng};
use crate::transport::Ecn;

/// A datagram that has reached a node.
#[derive(Debug)]
pub struct Arrived {
    /// When it arrived.
    pub at: Instant,
    /// Who sent it, as the receiver sees it: behind a NAT, the address the NAT gave.
    pub from: SocketAddr,
    /// The node it reached.
    pub to: SocketAddr,
    /// The ECN mark it carries.
    pub ecn: Option<Ecn>,
    /// Its bytes.
    pub bytes: BytesMut,
}

/// A simulated network. One seed decides all that happens on it.
///
/// A node is named by the address it believes to have. Others see it there too, until [`rebind`](Self::rebind) gives
/// it another one, as a NAT does: the node itself notices nothing. Each pair of nodes has a link of its own in each
/// direction, which lasts through rebinding.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    default: LinkConfig,
    nodes: Vec<Node>,
    /// From a node's own address.
    by_home: HashMap<SocketAddr, usize>,
    /// From the address others see.
    by_public: HashMap<SocketAddr, usize>,
    links: Vec<Link<Route>>,
    /// From sender and receiver to the link.
    by_route: BTreeMap<(usize, usize), usize>,
    /// For each link its `next_delivery`.
    due: Vec<Option<Instant>>,
    /// Holds all of `due`, and entries that are out of date; the earliest never is.
    agenda: BinaryHeap<Reverse<(Instant, usize)>>,
    unreachable: u64,
    rebinds: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    home: SocketAddr,
    public: SocketAddr,
}

/// What travels along with the bytes.
#[derive(Clone, Copy, Debug)]
struct Route {
    from: SocketAddr,
    to: usize,
    /// The receiver's public address when it was sent.
    towards: SocketAddr,
    ecn: Option<Ecn>,
}

impl Network {
    /// A network without nodes, whose links are perfect.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            default: LinkConfig::new(),
            nodes: Vec::new(),
            by_home: HashMap::new(),
            by_public: HashMap::new(),
            links: Vec::new(),
            by_route: BTreeMap::new(),
            due: Vec::new(),
            agenda: BinaryHeap::new(),
            unreachable: 0,
            rebinds: 0,
        }
    }

    /// Adds a node, seen by others where it believes to be. A known one stays as it is.
    pub fn add(&mut self, address: SocketAddr) {
        self.node(address);
    }

    /// What links are like that are not set one by one. Concerns those whose first datagram is still to come.
    ///
    /// # Errors
    ///
    /// The first parameter of `config` out of its range.
    pub fn set_default_link(&mut self, config: LinkConfig) -> Result<(), LinkConfigError> {
        config.validate()?;
        self.default = config;
        Ok(())
    }

    /// What the link from one node to another is like from now on, in this direction only. Unknown nodes are added.
    ///
    /// # Errors
    ///
    /// The first parameter of `config` out of its range.
    pub fn set_link(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        config: LinkConfig,
    ) -> Result<(), LinkConfigError> {
        config.validate()?;
        self.link_between(from, to).set_config(config)
    }

    /// As [`set_link`](Self::set_link), in both directions.
    ///
    /// # Errors
    ///
    /// The first parameter of `config` out of its range.
    pub fn set_line(
        &mut self,
        a: SocketAddr,
        b: SocketAddr,
        config: LinkConfig,
    ) -> Result<(), LinkConfigError> {
        self.set_link(a, b, config.clone())?;
        self.set_link(b, a, config)
    }

    /// Lets nothing pass between two nodes that is sent from `start` until `end`, both ways.
    pub fn blackout(&mut self, a: SocketAddr, b: SocketAddr, start: Instant, end: Instant) {
        self.link_between(a, b).blackout(start, end);
        self.link_between(b, a).blackout(start, end);
    }

    /// Lets others see `node` at `public` from now on. What is sent to its former address is lost, on its way
    /// already or not. False when there is no such node or another node is seen at `public`.
    pub fn rebind(&mut self, node: SocketAddr, public: SocketAddr) -> bool {
        let Some(&index) = self.by_home.get(&node) else { return false };
        if self.by_public.contains_key(&public) {
            return false;
        }
        self.by_public.remove(&self.nodes[index].public);
        self.nodes[index].public = public;
        self.by_public.insert(public, index);
        self.rebinds += 1;
        true
    }

    /// Gives `node` a random free port, as a NAT does that forgot it. Returns what others see now; `None` when there
    /// is no such node.
    pub fn rebind_port(&mut self, node: SocketAddr) -> Option<SocketAddr> {
        let public = self.public(node)?;
        self.rebind_somewhere(node, |_| public.ip())
    }

    /// Gives `node` a random free address and port, as when it moves to another network. Returns what others see
    /// now; `None` when there is no such node.
    pub fn rebind_address(&mut self, node: SocketAddr) -> Option<SocketAddr> {
        let is_ipv4 = self.public(node)?.is_ipv4();
        self.rebind_somewhere(node, |rng| {
            // Blocks set aside for documentation and benchmarks: RFC 2544, RFC 3849.
            let bits = rng.next_u64();
            if is_ipv4 {
                IpAddr::V4(Ipv4Addr::from(0xc612_0000 | (bits as u32 & 0x1_ffff)))
            } else {
                IpAddr::V6(Ipv6Addr::from((0x2001_0db8 << 96) | u128::from(bits)))
            }
        })
    }

    fn rebind_somewhere(
        &mut self,
        node: SocketAddr,
        mut address: impl FnMut(&mut Rng) -> IpAddr,
    ) -> Option<SocketAddr> {
        loop {
            let port = 1024 + self.rng.below(64_512) as u16;
            let public = SocketAddr::new(address(&mut self.rng), port);
            if self.rebind(node, public) {
                return Some(public);
            }
        }
    }

    /// Where others see `node` at present.
    #[must_use]
    pub fn public(&self, node: SocketAddr) -> Option<SocketAddr> {
        self.by_home.get(&node).map(|&index| self.nodes[index].public)
    }

    /// Sends a datagram from the node `from` to whoever is seen at `to`. An unknown sender becomes a node; a datagram
    /// to nobody is lost. `now` must not run backward.
    pub fn send(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        ecn: Option<Ecn>,
        datagram: &[u8],
    ) {
        let from = self.node(from);
        let towards = to;
        let Some(&to) = self.by_public.get(&towards) else {
            self.unreachable += 1;
            return;
        };
        let route = Route { from: self.nodes[from].public, to, towards, ecn };
        let index = self.link_index(from, to);
        self.links[index].send(now, datagram, route);
        self.note(index);
    }

    /// When the next datagram arrives, if any is on its way.
    #[must_use]
    pub fn next_event_time(&self) -> Option<Instant> {
        self.agenda.peek().map(|Reverse((at, _))| *at)
    }

    /// The next datagram that has arrived by `now`. Call until `None`.
    ///
    /// Of those due at the same time, the links come in the order in which they were first used or set.
    pub fn poll(&mut self, now: Instant) -> Option<Arrived> {
        while let Some(&Reverse((at, index))) = self.agenda.peek()
            && at <= now
        {
            let delivery = self.links[index].poll(at);
            self.note(index);
            let Some(delivery) = delivery else { continue };
            let Route { from, to, towards, ecn } = delivery.meta;
            if self.nodes[to].public != towards {
                self.unreachable += 1;
                continue;
            }
            let ecn = if delivery.marked { ecn.and(Some(Ecn::Ce)) } else { ecn };
            return Some(Arrived {
                at: delivery.at,
                from,
                to: self.nodes[to].home,
                ecn,
                bytes: delivery.bytes,
            });
        }
        None
    }

    /// What happened on all links together.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.links.iter().fold(LinkStats::default(), |mut sum, link| {
            sum += link.stats();
            sum
        })
    }

    /// What happened on the link from one node to another; `None` when it was never used nor set.
    #[must_use]
    pub fn link_stats(&self, from: SocketAddr, to: SocketAddr) -> Option<LinkStats> {
        let route = (*self.by_home.get(&from)?, *self.by_home.get(&to)?);
        self.by_route.get(&route).map(|&index| self.links[index].stats())
    }

    /// Datagrams sent to addresses where nobody was seen.
    #[must_use]
    pub fn unreachable(&self) -> u64 {
        self.unreachable
    }

    /// How often a node was given another address.
    #[must_use]
    pub fn rebinds(&self) -> u64 {
        self.rebinds
    }

    fn node(&mut self, home: SocketAddr) -> usize {
        if let Some(&node) = self.by_home.get(&home) {
            return node;
        }
        let node = self.nodes.len();
        self.nodes.push(Node { home, public: home });
        self.by_home.insert(home, node);
        self.by_public.entry(home).or_insert(node);
        node
    }

    fn link_between(&mut self, from: SocketAddr, to: SocketAddr) -> &mut Link<Route> {
        let (from, to) = (self.node(from), self.node(to));
        let index = self.link_index(from, to);
        &mut self.links[index]
    }

    fn link_index(&mut self, from: usize, to: usize) -> usize {
        *self.by_route.entry((from, to)).or_insert_with(|| {
            self.links.push(Link::with_rng(self.default.clone(), self.rng.fork()));
            self.due.push(None);
            self.links.len() - 1
        })
    }

    /// Brings the agenda up to date with a link.
    fn note(&mut self, index: usize) {
        let next = self.links[index].next_delivery();
        if self.due[index] != next {
            self.due[index] = next;
            self.agenda.extend(next.map(|at| Reverse((at, index))));
        }
        while let Some(&Reverse((at, index))) = self.agenda.peek()
            && self.due[index] != Some(at)
        {
            self.agenda.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::{Loss, Reorder};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn node(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1000))
    }

    fn drain(network: &mut Network) -> Vec<Arrived> {
        let mut all = Vec::new();
        while let Some(now) = network.next_event_time() {
            while let Some(arrived) = network.poll(now) {
                assert_eq!(arrived.at, now);
                all.push(arrived);
            }
        }
        all
    }

    proptest! {
        /// Many nodes talking over bad lines: time never runs backward, nothing reaches the wrong node, all links
        /// are emptied, and the same seed gives the same trace.
        #[test]
        fn traces_are_ordered_and_repeat(
            seed: u64,
            script in proptest::collection::vec((0u8..5, 0u8..5, 0u64..3), 1..200),
        ) {
            let start = Instant::now();
            let trace = || {
                let mut network = Network::new(seed);
                let config = LinkConfig::new()
                    .latency(5 * MS)
                    .jitter(2 * MS)
                    .loss(Loss::Bernoulli { rate: 0.1 })
                    .duplicate(0.1)
                    .reorder(0.3, Reorder::Depth { depth: 8, at_most: 20 * MS });
                network.set_default_link(config).unwrap();
                (0..5).for_each(|last| network.add(node(last)));
                let mut now = start;
                let mut trace = Vec::new();
                for (number, &(from, to, pause)) in script.iter().enumerate() {
                    now += pause as u32 * MS;
                    while let Some(arrived) = network.poll(now) {
                        trace.push(arrived);
                    }
                    network.send(now, node(from), node(to), None, &[from, to, number as u8]);
                }
                trace.extend(drain(&mut network));
                let stats = network.stats();
                assert_eq!(stats.delivered as usize, trace.len());
                assert_eq!(stats.offered + stats.duplicated, stats.delivered + stats.lost);
                trace
            };
            let trace = [trace(), trace()].map(|trace| {
                trace.iter().map(|a| (a.at, a.from, a.to, a.bytes.to_vec())).collect::<Vec<_>>()
            });
            prop_assert!(trace[0].windows(2).all(|pair| pair[0].0 <= pair[1].0));
            for (_, from, to, bytes) in &trace[0] {
                prop_assert_eq!((*from, *to), (node(bytes[0]), node(bytes[1])));
            }
            prop_assert_eq!(&trace[0], &trace[1]);
        }
    }

    #[test]
    fn a_rebound_node_is_seen_and_reached_only_at_its_new_address() {
        let now = Instant::now();
        let mut network = Network::new(1);
        let (client, server) = (node(1), node(2));
        network.set_line(client, server, LinkConfig::new().latency(MS)).unwrap();
        network.send(now, server, client, None, b"on its way");
        let public = network.rebind_port(client).unwrap();
        assert_eq!((public.ip(), network.public(client)), (client.ip(), Some(public)));
        assert_ne!(public, client);
        network.send(now, client, server, None, b"here I am");
        network.send(now, server, client, None, b"to the old port");
        network.send(now, server, public, None, b"to the new port");
        let arrived = drain(&mut network);
        let seen: Vec<_> = arrived.iter().map(|a| (a.from, a.to, &a.bytes[..])).collect();
        assert_eq!(seen, [(public, server, &b"here I am"[..]), (server, client, b"to the new port")]);
        assert_eq!((network.unreachable(), network.rebinds()), (2, 1));

        let moved = network.rebind_address(client).unwrap();
        assert_ne!(moved.ip(), public.ip());
        assert!(!network.rebind(client, server), "taken");
        assert!(!network.rebind(moved, node(9)), "not a node's own address");
        assert_eq!(network.rebind_address(node(77)), None);
    }

    #[test]
    fn rebinding_never_runs_into_another_node() {
        let mut network = Network::new(3);
        let v6 = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 1));
        network.add(v6);
        (0..50).for_each(|last| network.add(node(last)));
        for round in 0..2000u32 {
            let own = if round % 10 == 0 { v6 } else { node((round % 50) as u8) };
            let public = if round % 3 == 0 { network.rebind_port(own) } else { network.rebind_address(own) };
            assert!(public.is_some_and(|public| public.is_ipv6() == own.is_ipv6()));
        }
        assert_eq!(network.by_public.len(), 51);
        assert!(network.by_public.iter().all(|(public, &index)| network.nodes[index].public == *public));
    }

    #[test]
    fn an_outage_is_felt_both_ways_and_marks_only_where_ecn_is_spoken() {
        let now = Instant::now();
        let mut network = Network::new(1);
        let narrow = LinkConfig::new().rate(8_000_000).mark_above(0);
        network.set_line(node(1), node(2), narrow).unwrap();
        network.blackout(node(1), node(2), now + MS, now + 2 * MS);
        for _ in 0..2 {
            network.send(now, node(1), node(2), Some(Ecn::Ect0), b"x");
            network.send(now, node(2), node(1), None, b"x");
        }
        network.send(now + MS, node(1), node(2), None, b"x");
        network.send(now + MS, node(2), node(1), None, b"x");
        let marks: Vec<_> = drain(&mut network).iter().map(|a| (a.to, a.ecn)).collect();
        assert_eq!(marks.len(), 4);
        assert!(marks.contains(&(node(2), Some(Ecn::Ect0))) && marks.contains(&(node(2), Some(Ecn::Ce))));
        assert!(marks.iter().all(|(to, ecn)| *to == node(2) || ecn.is_none()));
        assert_eq!(network.stats().blacked_out, 2);
        assert_eq!(network.link_stats(node(1), node(2)).map(|stats| stats.delivered), Some(2));
    }
}

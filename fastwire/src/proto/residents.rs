//! How many connections come from each address and each network, where that is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::Limits;

/// Counts connections by where their clients were when they came. A client that moves on keeps its place there.
#[derive(Debug)]
pub(crate) struct Residents {
    per_address: Option<usize>,
    per_network: Option<usize>,
    addresses: HashMap<IpAddr, usize>,
    networks: HashMap<IpAddr, usize>,
}

impl Residents {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            per_address: limits.connections_per_address,
            per_network: limits.connections_per_network,
            addresses: HashMap::new(),
            networks: HashMap::new(),
        }
    }

    /// Whether one more may come from there.
    pub(crate) fn has_room(&self, ip: IpAddr) -> bool {
        let below = |limit: Option<usize>, counts: &HashMap<IpAddr, usize>, key: IpAddr| {
            limit.is_none_or(|limit| counts.get(&key).copied().unwrap_or_default() < limit)
        };
        below(self.per_address, &self.addresses, address(ip))
            && below(self.per_network, &self.networks, network(ip))
    }

    pub(crate) fn enter(&mut self, ip: IpAddr) {
        if self.per_address.is_some() {
            *self.addresses.entry(address(ip)).or_default() += 1;
        }
        if self.per_network.is_some() {
            *self.networks.entry(network(ip)).or_default() += 1;
        }
    }

    pub(crate) fn leave(&mut self, ip: IpAddr) {
        for (counts, key) in [(&mut self.addresses, address(ip)), (&mut self.networks, network(ip))] {
            let Some(count) = counts.get_mut(&key) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&key);
            }
        }
    }
}

/// Who can be told apart: an IPv4 address, an IPv6 /64.
fn address(ip: IpAddr) -> IpAddr {
    masked(ip, 32, 64)
}

/// Their network: an IPv4 /24, an IPv6 /48.
fn network(ip: IpAddr) -> IpAddr {
    masked(ip, 24, 48)
}

fn masked(ip: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & (u32::MAX << (32 - v4))).into()),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - v6)))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Comings and goings in any order: nobody is over a limit, and who has left is forgotten.
        #[test]
        fn limits_hold_and_nothing_is_left(moves in prop::collection::vec((any::<bool>(), 0u8..3, 0u8..4), 1..400)) {
            let limits = Limits {
                connections_per_address: Some(3),
                connections_per_network: Some(5),
                ..Limits::default()
            };
            let mut residents = Residents::new(&limits);
            let mut inside: Vec<IpAddr> = Vec::new();
            for (comes, net, host) in moves {
                let ip = IpAddr::from([10, 0, net, host]);
                if comes {
                    let of_address = inside.iter().filter(|other| **other == ip).count();
                    let of_network = inside.iter().filter(|other| network(**other) == network(ip)).count();
                    prop_assert_eq!(residents.has_room(ip), of_address < 3 && of_network < 5);
                    if residents.has_room(ip) {
                        residents.enter(ip);
                        inside.push(ip);
                    }
                } else if let Some(ip) = inside.pop() {
                    residents.leave(ip);
                }
            }
            inside.drain(..).for_each(|ip| residents.leave(ip));
            prop_assert!(residents.addresses.is_empty() && residents.networks.is_empty());
        }
    }

    #[test]
    fn mapped_addresses_and_hosts_of_a_64_are_one() {
        let limits = Limits { connections_per_address: Some(1), ..Limits::default() };
        let mut residents = Residents::new(&limits);
        for (first, same, other) in [
            ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
            ("2001:db8:1:1::1", "2001:db8:1:1:ffff::9", "2001:db8:1:2::1"),
        ] {
            let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
            residents.enter(ip(first));
            assert!(!residents.has_room(ip(same)) && residents.has_room(ip(other)));
        }
    }
}

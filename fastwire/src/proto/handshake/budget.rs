//! Budgets of so many acts a second: token buckets, alone and one for each address prefix.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

/// Grants at most `rate` acts a second, and at most `burst` at once.
#[derive(Debug)]
pub(crate) struct Budget {
    rate: u32,
    burst: u32,
    left: f64,
    at: Instant,
}

impl Budget {
    /// With bursts of one second's worth.
    pub(crate) fn new(rate: u32, now: Instant) -> Self {
        Self::with_burst(rate, rate, now)
    }

    pub(crate) fn with_burst(rate: u32, burst: u32, now: Instant) -> Self {
        Self { rate, burst, left: f64::from(burst), at: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + elapsed * f64::from(self.rate)).min(f64::from(self.burst));
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left >= f64::from(self.burst)
    }
}

/// Buckets are looked through for full ones, which are as good as none, when there are this many, and twice as many as were
/// left the last time.
const SWEEP: usize = 1024;

/// A budget for each prefix of one length. A bucket is forgotten when it is full again, so there are no more of them than acts
/// that were granted in the time one takes to fill.
#[derive(Debug)]
struct Buckets<K> {
    rate: u32,
    burst: u32,
    map: HashMap<K, Budget>,
    sweep_at: usize,
}

impl<K: Eq + std::hash::Hash> Buckets<K> {
    fn new(rate: u32, burst: u32) -> Self {
        Self { rate, burst, map: HashMap::new(), sweep_at: SWEEP }
    }

    fn take(&mut self, key: K, now: Instant) -> bool {
        if self.map.len() >= self.sweep_at {
            self.map.retain(|_, budget| !budget.is_full(now));
            self.sweep_at = (self.map.len() * 2).max(SWEEP);
        }
        let (rate, burst) = (self.rate, self.burst);
        self.map.entry(key).or_insert_with(|| Budget::with_burst(rate, burst, now)).take(now)
    }
}

/// Budgets by where a client comes from: one for each IPv4 address and IPv6 /64, and one more for each IPv6 /48.
#[derive(Debug)]
pub(crate) struct PrefixBudgets {
    v4: Buckets<u32>,
    v6_64: Buckets<u64>,
    v6_48: Buckets<u64>,
}

impl PrefixBudgets {
    /// `address` acts a second for each address, with bursts of twice as many; `site` for each /48.
    pub(crate) fn new(address: u32, site: u32) -> Self {
        let burst = address.saturating_mul(2);
        Self {
            v4: Buckets::new(address, burst),
            v6_64: Buckets::new(address, burst),
            v6_48: Buckets::new(site, site),
        }
    }

    /// Takes one for a client at `ip`, if there is one.
    pub(crate) fn take(&mut self, ip: IpAddr, now: Instant) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.take(ip.to_bits(), now),
            IpAddr::V6(ip) => {
                let prefix = (ip.to_bits() >> 64) as u64;
                self.v6_64.take(prefix, now) && self.v6_48.take(prefix >> 16, now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::Duration;

    use super::*;

    #[test]
    fn grants_its_rate_and_no_more() {
        let start = Instant::now();
        let mut budget = Budget::new(100, start);
        let granted = (0..100_000u64).filter(|i| budget.take(start + Duration::from_micros(i * 100))).count();
        // 10 s at 100 a second, and the second's worth it started with.
        assert!((1099..=1100).contains(&granted), "{granted}");
    }

    #[test]
    fn each_prefix_has_its_own_budget() {
        let now = Instant::now();
        let count = |budgets: &mut PrefixBudgets, ips: &[IpAddr]| {
            (0..10_000).filter(|i| budgets.take(ips[i % ips.len()], now)).count()
        };
        let v4 = |last: u8| IpAddr::from([10, 0, 0, last]);
        let v6 = |site: u16, net: u16, host: u16| {
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, site, net, 0, 0, 0, host))
        };
        let mut budgets = PrefixBudgets::new(100, 1000);
        assert_eq!(count(&mut budgets, &[v4(1)]), 200);
        assert_eq!(count(&mut budgets, &[v4(1), v4(2)]), 200, "the other one's");
        let mapped = IpAddr::from(std::net::Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped());
        assert_eq!(count(&mut budgets, &[mapped]), 0, "the same address");
        let hosts: Vec<IpAddr> = (0..50).map(|host| v6(1, 1, host)).collect();
        assert_eq!(count(&mut budgets, &hosts), 200, "the hosts of a /64 share one");
        let nets: Vec<IpAddr> = (0..50).map(|net| v6(2, net, 1)).collect();
        assert_eq!(count(&mut budgets, &nets), 1000, "the networks of a /48 share one");
    }

    #[test]
    fn buckets_do_not_pile_up() {
        let start = Instant::now();
        let mut budgets = PrefixBudgets::new(100, 1000);
        for i in 0..200_000u32 {
            // 1000 new addresses a second: a bucket that lost one is full again after 10 ms.
            let now = start + Duration::from_millis(i.into());
            assert!(budgets.take(IpAddr::from(i.to_be_bytes()), now));
            assert!(budgets.v4.map.len() <= SWEEP, "{}", budgets.v4.map.len());
        }
    }
}

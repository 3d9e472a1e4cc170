//! From a host name to the addresses to try, in the order to try them.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use super::StartError;

/// Looks a name up. Takes as long as the system's resolver; addresses are taken as they are.
pub(crate) fn resolve(name: impl ToSocketAddrs + fmt::Debug) -> Result<Vec<SocketAddr>, StartError> {
    let failed = |source| StartError::Resolve { name: format!("{name:?}"), source };
    let found = name.to_socket_addrs().map_err(failed)?;
    Ok(interleave(found.collect()))
}

/// The families in turn, beginning with that of the first address; within a family the order stays
/// (RFC 8305 §4). Each address once.
pub(crate) fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = found.first().is_some_and(SocketAddr::is_ipv4);
    let (mut first, mut second): (Vec<SocketAddr>, Vec<SocketAddr>) = (Vec::new(), Vec::new());
    for address in found {
        let family = if address.is_ipv4() == first_is_v4 { &mut first } else { &mut second };
        if !family.contains(&address) {
            family.push(address);
        }
    }
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn address(v4: bool, last: u8) -> SocketAddr {
        if v4 { ([10, 0, 0, last], 1).into() } else { ([0, 0, 0, 0, 0, 0, 0, u16::from(last)], 1).into() }
    }

    proptest! {
        #[test]
        fn every_address_once_families_in_turn_order_kept(
            found in proptest::collection::vec((any::<bool>(), 0u8..6), 0..12),
        ) {
            let found: Vec<SocketAddr> = found.into_iter().map(|(v4, last)| address(v4, last)).collect();
            let order = interleave(found.clone());
            let unique: HashSet<_> = found.iter().copied().collect();
            prop_assert_eq!(order.len(), unique.len());
            prop_assert_eq!(order.first(), found.first());
            for v4 in [true, false] {
                let mut expected: Vec<_> = Vec::new();
                for address in found.iter().filter(|address| address.is_ipv4() == v4) {
                    if !expected.contains(&address) {
                        expected.push(address);
                    }
                }
                let got: Vec<_> = order.iter().filter(|address| address.is_ipv4() == v4).collect();
                prop_assert_eq!(got, expected);
            }
            // Two of a family stand beside each other only where the other family is used up.
            for (index, pair) in order.windows(2).enumerate() {
                if pair[0].is_ipv4() == pair[1].is_ipv4() {
                    let v4 = pair[0].is_ipv4();
                    prop_assert!(order[index + 1..].iter().all(|address| address.is_ipv4() == v4));
                }
            }
        }
    }

    #[test]
    fn a_name_that_cannot_be_is_named_in_the_error() {
        let error = resolve("no port here").unwrap_err().to_string();
        assert!(error.contains("no port here"), "{error}");
    }
}

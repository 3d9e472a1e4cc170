//! Many datagrams to many peers in one call on Linux (sendmmsg(2)), which quinn-udp has for one peer alone.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};

use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use smallvec::SmallVec;

use crate::transport::Transmit;

/// Datagrams of one call.
const AT_ONCE: usize = 32;

/// Sends single datagrams that need neither a mark nor a source address, to where `address` says. Gives how many of the first
/// left, at least one.
pub(super) fn send(
    socket: &UdpSocket,
    transmits: &[Transmit<'_>],
    address: impl Fn(SocketAddr) -> SocketAddr,
) -> io::Result<usize> {
    let transmits = transmits.get(..AT_ONCE).unwrap_or(transmits);
    let mut controls: SmallVec<[SendAncillaryBuffer<'_, '_, '_>; AT_ONCE]> =
        transmits.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let contents: SmallVec<[[IoSlice<'_>; 1]; AT_ONCE]> =
        transmits.iter().map(|transmit| [IoSlice::new(transmit.contents)]).collect();
    let addresses: SmallVec<[SocketAddrAny; AT_ONCE]> =
        transmits.iter().map(|transmit| address(transmit.destination).as_any()).collect();
    let mut messages: SmallVec<[MMsgHdr<'_>; AT_ONCE]> = addresses
        .iter()
        .zip(&contents)
        .zip(&mut controls)
        .map(|((address, contents), control)| MMsgHdr::new_with_addr(address, contents, control))
        .collect();
    loop {
        match sendmmsg(socket, &mut messages, SendFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

//! Control messages for `sendmsg` on Linux: what quinn-udp does not let one choose, the DSCP bits.
//!
//! quinn-udp writes the whole traffic class octet from the ECN mark, which clears the DSCP of the socket. The layout
//! is the kernel's `struct cmsghdr` (cmsg(3)): length, level, type, data, padded to the size of `usize`.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};

use socket2::{MsgHdr, SockAddr, SockRef};

use crate::transport::Transmit;

const SOL_IP: i32 = 0;
const IP_TOS: i32 = 1;
const IP_PKTINFO: i32 = 8;
const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;
const SOL_IPV6: i32 = 41;
const IPV6_PKTINFO: i32 = 50;
const IPV6_TCLASS: i32 = 67;

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 2 * size_of::<i32>();

/// Sends `transmit` with `dscp` in the upper six bits of its traffic class.
pub(super) fn send(
    socket: SockRef<'_>,
    transmit: &Transmit<'_>,
    destination: SocketAddr,
    dscp: u8,
) -> io::Result<()> {
    let address = SockAddr::from(destination);
    let control = Control::describe(transmit, dscp);
    let contents = [IoSlice::new(transmit.contents)];
    let message = MsgHdr::new()
        .with_addr(&address)
        .with_buffers(&contents)
        .with_control(control.bytes.get(..control.len).unwrap_or_default());
    loop {
        match socket.sendmsg(&message, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
}

/// Encoded control messages.
struct Control {
    bytes: [u8; Self::SPACE],
    /// How many of `bytes` are written.
    len: usize,
}

impl Control {
    /// Room for a traffic class, a train and an IPv6 source, each with its header and padding.
    const SPACE: usize = 3 * (HEADER + WORD) + 24;

    fn describe(transmit: &Transmit<'_>, dscp: u8) -> Self {
        let mut control = Self { bytes: [0; Self::SPACE], len: 0 };
        let class = i32::from(dscp << 2 | transmit.ecn.map_or(0, |ecn| ecn.bits()));
        if transmit.destination.ip().to_canonical().is_ipv4() {
            control.push(SOL_IP, IP_TOS, &class.to_ne_bytes());
        } else {
            control.push(SOL_IPV6, IPV6_TCLASS, &class.to_ne_bytes());
        }
        if let Some(size) = transmit.segment_size.filter(|size| *size < transmit.contents.len()) {
            control.push(SOL_UDP, UDP_SEGMENT, &u16::try_from(size).unwrap_or(u16::MAX).to_ne_bytes());
        }
        match transmit.source {
            // struct in_pktinfo: interface, source, destination.
            Some(IpAddr::V4(source)) => {
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&source.octets());
                control.push(SOL_IP, IP_PKTINFO, &info);
            }
            // struct in6_pktinfo: source, interface.
            Some(IpAddr::V6(source)) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&source.octets());
                control.push(SOL_IPV6, IPV6_PKTINFO, &info);
            }
            None => {}
        }
        control
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let (length, level, kind) =
            ((HEADER + data.len()).to_ne_bytes(), level.to_ne_bytes(), kind.to_ne_bytes());
        let parts = length.iter().chain(&level).chain(&kind).chain(data);
        self.bytes.iter_mut().skip(self.len).zip(parts).for_each(|(to, from)| *to = *from);
        self.len += (HEADER + data.len()).next_multiple_of(WORD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Ecn, SocketId};

    /// Reads messages back as cmsg(3) says a receiver does.
    fn parse(mut bytes: &[u8]) -> Vec<(i32, i32, Vec<u8>)> {
        let mut messages = Vec::new();
        while bytes.len() >= HEADER {
            let len = usize::from_ne_bytes(bytes[..WORD].try_into().unwrap());
            let level = i32::from_ne_bytes(bytes[WORD..WORD + 4].try_into().unwrap());
            let kind = i32::from_ne_bytes(bytes[WORD + 4..HEADER].try_into().unwrap());
            messages.push((level, kind, bytes[HEADER..len].to_vec()));
            bytes = &bytes[len.next_multiple_of(WORD)..];
        }
        assert!(bytes.is_empty());
        messages
    }

    #[test]
    fn the_traffic_class_carries_both_dscp_and_ecn() {
        for (address, source, level, kind) in [
            ("192.0.2.1:1", "192.0.2.9", SOL_IP, IP_TOS),
            ("[::ffff:192.0.2.1]:1", "192.0.2.9", SOL_IP, IP_TOS),
            ("[2001:db8::1]:1", "2001:db8::9", SOL_IPV6, IPV6_TCLASS),
        ] {
            for (dscp, ecn) in [(0, None), (46, Some(Ecn::Ect0)), (63, Some(Ecn::Ce))] {
                let transmit = Transmit {
                    ecn,
                    source: Some(source.parse().unwrap()),
                    segment_size: Some(1200),
                    ..Transmit::new(SocketId::PRIMARY, address.parse().unwrap(), &[0; 3000])
                };
                let control = Control::describe(&transmit, dscp);
                let messages = parse(&control.bytes[..control.len]);
                let class = i32::from(dscp << 2) | ecn.map_or(0, |ecn| i32::from(ecn.bits()));
                assert_eq!(messages[0], (level, kind, class.to_ne_bytes().to_vec()));
                assert_eq!(messages[1], (SOL_UDP, UDP_SEGMENT, 1200u16.to_ne_bytes().to_vec()));
                assert_eq!(messages.len(), 3);
            }
        }
    }
}

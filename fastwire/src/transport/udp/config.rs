//! What can be chosen about a UDP socket before it is opened.

use std::io;
use std::net::SocketAddr;
use std::sync::Once;

use socket2::{Domain, Protocol, Socket, Type};

/// How the sockets of a [`UdpTransport`](super::UdpTransport) are set up. Each setter changes one parameter.
///
/// ```
/// use fastwire::transport::{UdpConfig, UdpTransport};
///
/// # fn main() -> std::io::Result<()> {
/// let voice = UdpConfig::new().dscp(46).recv_buffer(256 * 1024);
/// let transport = UdpTransport::bind_with("127.0.0.1:0", voice)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct UdpConfig {
    recv_buffer: usize,
    send_buffer: usize,
    pub(super) dscp: u8,
    only_v6: bool,
    pub(super) offload: bool,
    shared_port: bool,
}

impl UdpConfig {
    /// The defaults: 4 MiB to receive, 1 MiB to send, no DSCP, dual-stack, offload where there is one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            recv_buffer: 4 << 20,
            send_buffer: 1 << 20,
            dscp: 0,
            only_v6: false,
            offload: true,
            shared_port: false,
        }
    }

    /// Bytes the system may hold for us before we read them. A larger buffer than this is left as it is. Default 4 MiB.
    #[must_use]
    pub const fn recv_buffer(self, bytes: usize) -> Self {
        Self { recv_buffer: bytes, ..self }
    }

    /// Bytes the system may hold on their way out. A larger buffer than this is left as it is. Default 1 MiB.
    #[must_use]
    pub const fn send_buffer(self, bytes: usize) -> Self {
        Self { send_buffer: bytes, ..self }
    }

    /// The differentiated services code point of outgoing datagrams (RFC 2474), 0 to 63: 46 (EF) for voice,
    /// 34 (AF41) for games. Default 0, best effort.
    ///
    /// With plain sockets (see [`offload`](Self::offload)) it marks IPv4 only.
    #[must_use]
    pub const fn dscp(self, code_point: u8) -> Self {
        Self { dscp: code_point, ..self }
    }

    /// Whether an IPv6 wildcard socket refuses IPv4. Default false: `[::]:port` serves both where the system can.
    #[must_use]
    pub const fn only_v6(self, only: bool) -> Self {
        Self { only_v6: only, ..self }
    }

    /// Whether to use what the system offers beyond plain sockets: many datagrams a call, segmentation offload, ECN
    /// marks, local addresses. Default true.
    #[must_use]
    pub const fn offload(self, offload: bool) -> Self {
        Self { offload, ..self }
    }

    /// Lets further sockets of this process bind to the same address; the system spreads clients over them.
    #[must_use]
    pub(crate) const fn shared_port(self) -> Self {
        Self { shared_port: true, ..self }
    }

    /// A bound, non-blocking socket.
    pub(super) fn open(&self, address: SocketAddr) -> io::Result<Socket> {
        if self.dscp > 63 {
            let message =
                format!("DSCP is {}, must be 0 to 63: pass the code point, not the octet", self.dscp);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6()
            && let Err(error) = socket.set_only_v6(self.only_v6)
        {
            tracing::debug!(%error, only_v6 = self.only_v6, "the system decides itself about dual-stack sockets");
        }
        if self.shared_port {
            share_port(&socket)?;
        }
        socket.set_nonblocking(true)?;
        grow(
            "receive",
            "net.core.rmem_max",
            self.recv_buffer,
            || recv_buffer_size(&socket),
            |bytes| socket.set_recv_buffer_size(bytes),
        );
        grow(
            "send",
            "net.core.wmem_max",
            self.send_buffer,
            || socket.send_buffer_size().map(usable),
            |bytes| socket.set_send_buffer_size(bytes),
        );
        socket.bind(&address.into())?;
        Ok(socket)
    }
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Only Linux spreads datagrams over the sockets of a port; elsewhere one of them would get all.
#[cfg(target_os = "linux")]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(target_os = "linux"))]
fn share_port(_: &Socket) -> io::Result<()> {
    let message = "this system does not spread clients over sockets that share a port: start one shard";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// The bytes of payload the system granted for receiving.
pub(super) fn recv_buffer_size(socket: &Socket) -> io::Result<usize> {
    socket.recv_buffer_size().map(usable)
}

/// Linux grants and reports twice what was asked for; half of it is its own book-keeping (socket(7)).
fn usable(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}

/// Raises a socket buffer and says, once in a process, how to allow more when the system clips it.
fn grow(
    which: &'static str,
    limit: &'static str,
    wanted: usize,
    granted: impl Fn() -> io::Result<usize>,
    set: impl Fn(usize) -> io::Result<()>,
) {
    static WARNED: Once = Once::new();
    if granted().is_ok_and(|bytes| bytes >= wanted) {
        return;
    }
    let refused = set(wanted).err();
    let granted = granted().unwrap_or(0);
    if granted < wanted {
        WARNED.call_once(|| {
            tracing::warn!(
                wanted,
                granted,
                ?refused,
                "the system clips the UDP {which} buffer: bursts may be lost; on Linux raise it with `sysctl -w {limit}={wanted}`"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dscp_beyond_six_bits_is_refused() {
        let open = |code| UdpConfig::new().dscp(code).open(SocketAddr::from(([127, 0, 0, 1], 0)));
        assert!(open(63).is_ok());
        let error = open(64).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("64"));
    }

    #[test]
    fn buffers_grow_and_never_shrink() {
        let size = |bytes| {
            let config = UdpConfig::new().recv_buffer(bytes);
            recv_buffer_size(&config.open(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()).unwrap()
        };
        let default = size(0);
        assert_eq!(size(default / 2), default);
        assert!(size(1 << 30) >= size(default + 4096));
    }
}

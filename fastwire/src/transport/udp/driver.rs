//! The system calls behind a UDP socket: with everything the system offers, or plain.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};

use quinn_udp::{BATCH_SIZE, EcnCodepoint, UdpSocketState};
use smallvec::SmallVec;
use socket2::SockRef;

use super::UdpConfig;
use crate::transport::{Ecn, MAX_DATAGRAM, RecvBatch, RecvMeta, SendOutcome, SocketId, Transmit};

/// `EIO` has this number on every Unix.
const EIO: i32 = 5;

/// How one socket is read and written.
#[derive(Debug)]
pub(super) struct Driver {
    /// `None`: plain `send_to` and `recv_from`.
    offload: Option<UdpSocketState>,
    /// An IPv6 socket: IPv4 addresses are written `::ffff:a.b.c.d`.
    v6: bool,
    /// Bound to one address, which is then the source of all it sends.
    one_source: bool,
    /// 0 to 63.
    dscp: u8,
    /// Falls to 1 when the system refuses a train and takes its datagrams one by one.
    pub(super) max_segments: usize,
    /// How many datagrams or trains the next read asks for, 1 to [`BATCH_SIZE`]. It follows what arrives: preparing
    /// a call for 32 makes receiving a single one a fifth dearer.
    read_ahead: usize,
}

impl Driver {
    pub(super) fn new(socket: &UdpSocket, config: &UdpConfig) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let v6 = local.is_ipv6();
        // Elsewhere than on Linux quinn-udp would clear the DSCP bits, see `control`.
        let marks = config.dscp == 0 || cfg!(target_os = "linux");
        let offload = (config.offload && marks && !cfg!(fastwire_portable))
            .then(|| UdpSocketState::new(socket.into()))
            .transpose()?;
        if offload.is_none() && config.dscp != 0 {
            set_dscp_v4(socket, config.dscp);
        }
        let max_segments = offload.as_ref().map_or(1, UdpSocketState::max_gso_segments);
        let one_source = !local.ip().is_unspecified();
        Ok(Self { offload, v6, one_source, dscp: config.dscp, max_segments, read_ahead: 1 })
    }

    /// Appends to `batch` what one call yields. [`io::ErrorKind::WouldBlock`]: nothing is there. Gives whether it is
    /// known that nothing is left.
    pub(super) fn recv(
        &mut self,
        socket: &UdpSocket,
        id: SocketId,
        batch: &mut RecvBatch,
    ) -> io::Result<bool> {
        let Some(state) = &self.offload else { return recv_one(socket, id, batch).map(|()| false) };
        // One more than is expected tells the end of the queue, which spares whoever wants all of it a call.
        let asked = if batch.is_greedy() { self.read_ahead.max(2) } else { self.read_ahead };
        let count = recv_many(state, socket, id, batch, asked)?;
        if count == asked {
            self.read_ahead = (asked * 4).min(BATCH_SIZE);
        } else if count <= self.read_ahead / 4 {
            self.read_ahead = (self.read_ahead / 2).max(1);
        }
        Ok(count < asked)
    }

    /// Whether one call of [`recv`](Self::recv) takes all it can get.
    pub(super) fn reads_many(&self) -> bool {
        self.offload.is_some()
    }

    /// Sends a datagram or a train of any length, in as few calls as the system allows.
    pub(super) fn send(&mut self, socket: &UdpSocket, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
        // The system would answer EINVAL, which must not be taken for a refused train: nobody can be at port 0.
        if transmit.destination.port() == 0 {
            let message = format!("{} has no port to send to", transmit.destination);
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message));
        }
        let Some(size) = transmit.segment_size.filter(|size| (1..transmit.contents.len()).contains(size))
        else {
            return self.send_call(socket, &Transmit { segment_size: None, ..*transmit });
        };
        let at_once = self.max_segments.min(MAX_DATAGRAM / size);
        if at_once < 2 {
            return self.send_each(socket, transmit, size);
        }
        let (first, rest) =
            transmit.contents.split_at_checked(at_once * size).unwrap_or((transmit.contents, &[]));
        match self.send_call(socket, &Transmit { contents: first, ..*transmit }) {
            Err(error) if offload_refused(&error) => {
                let result = self.send_each(socket, transmit, size);
                if result.is_ok() {
                    tracing::info!(%error, "no segmentation offload towards {}: not used any more", transmit.destination);
                    self.max_segments = 1;
                }
                result
            }
            Ok(SendOutcome::Sent) if !rest.is_empty() => {
                // Sent in part is sent: what did not fit counts as lost on the way.
                let _ = self.send(socket, &Transmit { contents: rest, ..*transmit });
                Ok(SendOutcome::Sent)
            }
            result => result,
        }
    }

    /// Whether [`send_many`](Self::send_many) takes this: a single datagram without anything beside it.
    pub(super) fn takes_many(&self, transmit: &Transmit<'_>) -> bool {
        let is_single = transmit.segment_size.is_none_or(|size| size >= transmit.contents.len());
        let is_plain = (self.one_source || transmit.source.is_none()) && transmit.ecn.is_none();
        cfg!(target_os = "linux")
            && self.offload.is_some()
            && self.dscp == 0
            && is_single
            && is_plain
            && transmit.destination.port() != 0
    }

    /// Sends datagrams that [it takes](Self::takes_many), in one call. Gives how many of the first left, at least one.
    #[cfg(target_os = "linux")]
    pub(super) fn send_many(&self, socket: &UdpSocket, transmits: &[Transmit<'_>]) -> io::Result<usize> {
        super::many::send(socket, transmits, |address| if self.v6 { mapped(address) } else { address })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn send_many(&self, _: &UdpSocket, _: &[Transmit<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends the datagrams of a train one by one.
    fn send_each(&self, socket: &UdpSocket, transmit: &Transmit<'_>, size: usize) -> io::Result<SendOutcome> {
        for (index, contents) in transmit.contents.chunks(size).enumerate() {
            match self.send_call(socket, &Transmit { contents, segment_size: None, ..*transmit }) {
                Ok(SendOutcome::Sent) => {}
                result if index == 0 => return result,
                _ => break,
            }
        }
        Ok(SendOutcome::Sent)
    }

    /// One system call.
    fn send_call(&self, socket: &UdpSocket, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
        let destination = if self.v6 { mapped(transmit.destination) } else { transmit.destination };
        let result = match &self.offload {
            None => send_plain(socket, transmit.contents, destination),
            #[cfg(target_os = "linux")]
            Some(_) if self.dscp != 0 => {
                super::control::send(SockRef::from(socket), transmit, destination, self.dscp)
            }
            Some(state) => {
                let transmit = quinn_udp::Transmit {
                    destination,
                    ecn: transmit.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn.bits())),
                    contents: transmit.contents,
                    segment_size: transmit.segment_size,
                    src_ip: transmit.source,
                };
                state.try_send(socket.into(), &transmit)
            }
        };
        match result {
            Ok(()) => Ok(SendOutcome::Sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(SendOutcome::Blocked),
            Err(error) => Err(error),
        }
    }
}

/// Some network drivers cannot cut trains; Linux says so only when one is sent, with EIO or sometimes EINVAL.
fn offload_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput || error.raw_os_error() == Some(EIO)
}

/// Returns how many datagrams or trains came, of `at_most`.
fn recv_many(
    state: &UdpSocketState,
    socket: &UdpSocket,
    id: SocketId,
    batch: &mut RecvBatch,
    at_most: usize,
) -> io::Result<usize> {
    let mut metas: SmallVec<[quinn_udp::RecvMeta; BATCH_SIZE]> = SmallVec::new();
    let count = {
        let mut buffers: SmallVec<[IoSliceMut<'_>; BATCH_SIZE]> =
            batch.vacant().take(at_most).map(IoSliceMut::new).collect();
        metas.resize(buffers.len(), quinn_udp::RecvMeta::default());
        state.recv(socket.into(), &mut buffers, &mut metas)?
    };
    for meta in metas.iter().take(count) {
        let ecn = meta.ecn.and_then(|ecn| Ecn::from_bits(ecn as u8));
        let local = meta.dst_ip.map(|address| address.to_canonical());
        batch.commit(
            RecvMeta { socket: id, remote: canonical(meta.addr), local, ecn },
            meta.len,
            meta.stride,
        );
    }
    Ok(count)
}

fn recv_one(socket: &UdpSocket, id: SocketId, batch: &mut RecvBatch) -> io::Result<()> {
    let Some(buffer) = batch.vacant().next() else { return Ok(()) };
    let (len, remote) = socket.recv_from(buffer)?;
    batch.commit(RecvMeta { socket: id, remote: canonical(remote), local: None, ecn: None }, len, len);
    Ok(())
}

fn send_plain(socket: &UdpSocket, contents: &[u8], destination: SocketAddr) -> io::Result<()> {
    loop {
        match socket.send_to(contents, destination) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
}

fn set_dscp_v4(socket: &UdpSocket, dscp: u8) {
    if let Err(error) = SockRef::from(socket).set_tos_v4(u32::from(dscp) << 2) {
        tracing::warn!(%error, dscp, "the system does not let us mark outgoing datagrams");
    }
}

/// The address as a dual-stack socket wants it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddrV6::new(ip.to_ipv6_mapped(), address.port(), 0, 0).into(),
        IpAddr::V6(_) => address,
    }
}

/// The address as everybody else wants it: IPv4 peers of a dual-stack socket appear as IPv4.
fn canonical(mut address: SocketAddr) -> SocketAddr {
    if let IpAddr::V4(ip) = address.ip().to_canonical() {
        address.set_ip(ip.into());
    }
    address
}

//! rusty_enet, serviced whenever its socket has something or its timers may.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rusty_enet::{EventNoRef, Host, HostSettings, Packet, PeerID};

use crate::poll::{self, Mode, PollClient, PollServer, fd_of};
use crate::system::{Args, MTU, Outcome, small_udp, udp};

/// The protocol's own limit of peers a host.
const MOST_PEERS: usize = 4095;
/// ENet looks at its timers only when it is serviced.
const SERVICE: Duration = Duration::from_millis(10);
/// Packets a service call may leave unsent before no more are accepted; ENet's own queue has no limit.
const QUEUE: usize = 4096;

fn packet(data: &[u8], mode: Mode) -> Packet {
    match mode {
        Mode::Ordered => Packet::reliable(data),
        Mode::Unreliable => Packet::unreliable_unsequenced(data),
    }
}

fn host(socket: UdpSocket, peer_limit: usize) -> Outcome<Host<UdpSocket>> {
    let settings = HostSettings { peer_limit, channel_limit: 1, ..HostSettings::default() };
    let mut host = Host::new(socket, settings).map_err(|_| "no ENet host")?;
    host.set_mtu(MTU as u16).map_err(|_| "this MTU is not allowed")?;
    Ok(host)
}

pub fn serve(args: &Args) -> Outcome<()> {
    let socket = udp()?;
    let port = socket.local_addr()?.port();
    let server = Server {
        host: host(socket.try_clone()?, MOST_PEERS)?,
        socket,
        down: Mode::of(args, "down"),
        reply: Vec::new(),
    };
    poll::serve(server, port, args)
}

struct Server {
    host: Host<UdpSocket>,
    socket: UdpSocket,
    down: Mode,
    reply: Vec<u8>,
}

impl PollServer for Server {
    fn descriptor(&self) -> BorrowedFd<'_> {
        fd_of(&self.socket)
    }

    fn turn(&mut self, on: &mut dyn FnMut(&[u8], &mut Vec<u8>) -> bool) -> Outcome<()> {
        while let Some(event) = self.host.service()? {
            if let EventNoRef::Receive { peer, packet: message, .. } = event.no_ref()
                && on(message.data(), &mut self.reply)
            {
                // An error: the peer is gone.
                let _ = self.host.peer_mut(peer).send(0, &packet(&self.reply, self.down));
            }
        }
        self.host.flush();
        Ok(())
    }

    fn sleep(&self) -> Duration {
        SERVICE
    }
}

pub struct Client {
    host: Host<UdpSocket>,
    socket: UdpSocket,
    peer: PeerID,
    queued: usize,
}

impl PollClient for Client {
    fn start(args: &Args, crowd: bool) -> Outcome<Self> {
        let socket = if crowd { small_udp()? } else { udp()? };
        let mut host = host(socket.try_clone()?, 1)?;
        let server: SocketAddr = args.server()?;
        let peer = host.connect(server, 1, 0).map_err(|_| "no free peer")?.id();
        Ok(Self { host, socket, peer, queued: 0 })
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        fd_of(&self.socket)
    }

    fn is_connected(&mut self) -> bool {
        self.host.peer(self.peer).connected()
    }

    fn send(&mut self, data: &[u8], mode: Mode) -> bool {
        if self.queued >= QUEUE {
            return false;
        }
        self.queued += 1;
        self.host.peer_mut(self.peer).send(0, &packet(data, mode)).is_ok()
    }

    fn receive(&mut self, on: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        while let Some(event) = self.host.service()? {
            match event.no_ref() {
                EventNoRef::Receive { packet, .. } => on(packet.data()),
                EventNoRef::Disconnect { .. } => return Err("disconnected".into()),
                EventNoRef::Connect { .. } => {}
            }
        }
        self.queued = 0;
        Ok(())
    }

    fn flush(&mut self) -> Outcome<()> {
        self.host.flush();
        Ok(())
    }

    fn sleep(&self) -> Duration {
        // There is no way to ask when the next timer is due.
        SERVICE
    }
}

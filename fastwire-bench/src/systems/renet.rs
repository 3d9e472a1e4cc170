//! renet with netcode, driven whenever its socket has something or its next update is due.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use renet::{ConnectionConfig, DefaultChannel, RenetClient, RenetServer};
use renet_netcode::{
    ClientAuthentication, ConnectToken, NetcodeClientTransport, NetcodeServerTransport, ServerAuthentication,
    ServerConfig,
};

use crate::poll::{self, Mode, PollClient, PollServer, fd_of};
use crate::system::{Args, Outcome, small_udp, udp};

const PROTOCOL: u64 = 7;
const KEY: [u8; 32] = [42; 32];
/// The default of 60 000 bytes an update is made for 60 updates a second; here updates come as fast as datagrams.
const BYTES_PER_UPDATE: u64 = 256 << 10;
/// How often an update runs when nothing arrives: repeats are looked for only then.
const UPDATE: Duration = Duration::from_millis(10);

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn connection() -> ConnectionConfig {
    ConnectionConfig { available_bytes_per_tick: BYTES_PER_UPDATE, ..ConnectionConfig::default() }
}

fn channel(mode: Mode) -> DefaultChannel {
    match mode {
        Mode::Ordered => DefaultChannel::ReliableOrdered,
        Mode::Unreliable => DefaultChannel::Unreliable,
    }
}

pub fn serve(args: &Args) -> Outcome<()> {
    let socket = udp()?;
    let address = socket.local_addr()?;
    // Behind a relay clients hold tokens for the relay's address.
    let relay: Option<SocketAddr> = args.text("relay").parse().ok();
    let config = ServerConfig {
        current_time: unix_time(),
        max_clients: 1024,
        protocol_id: PROTOCOL,
        public_addresses: vec![relay.unwrap_or(address)],
        authentication: ServerAuthentication::Secure { private_key: KEY },
    };
    let server = Server {
        inner: RenetServer::new(connection()),
        transport: NetcodeServerTransport::new(config, socket.try_clone()?)?,
        socket,
        updated: Instant::now(),
        down: Mode::of(args, "down"),
        reply: Vec::new(),
    };
    poll::serve(server, address.port(), args)
}

struct Server {
    inner: RenetServer,
    transport: NetcodeServerTransport,
    socket: UdpSocket,
    updated: Instant,
    down: Mode,
    reply: Vec<u8>,
}

impl PollServer for Server {
    fn descriptor(&self) -> BorrowedFd<'_> {
        fd_of(&self.socket)
    }

    fn turn(&mut self, on: &mut dyn FnMut(&[u8], &mut Vec<u8>) -> bool) -> Outcome<()> {
        let now = Instant::now();
        let elapsed = now - self.updated;
        self.updated = now;
        self.inner.update(elapsed);
        // Errors concern single clients, such as one that is gone.
        let _ = self.transport.update(elapsed, &mut self.inner);
        while self.inner.get_event().is_some() {}
        for id in self.inner.clients_id() {
            for from in [Mode::Ordered, Mode::Unreliable] {
                while let Some(message) = self.inner.receive_message(id, channel(from)) {
                    if on(&message, &mut self.reply) {
                        self.inner.send_message(id, channel(self.down), self.reply.clone());
                    }
                }
            }
        }
        self.transport.send_packets(&mut self.inner);
        Ok(())
    }

    fn sleep(&self) -> Duration {
        UPDATE
    }
}

pub struct Client {
    inner: RenetClient,
    transport: NetcodeClientTransport,
    socket: UdpSocket,
    updated: Instant,
}

impl PollClient for Client {
    fn start(args: &Args, crowd: bool) -> Outcome<Self> {
        let socket = if crowd { small_udp()? } else { udp()? };
        let id = args.get::<u64>("id").max(1);
        let connect_token =
            ConnectToken::generate(unix_time(), PROTOCOL, 300, id, 15, vec![args.server()?], None, &KEY)?;
        let authentication = ClientAuthentication::Secure { connect_token };
        Ok(Self {
            inner: RenetClient::new(connection()),
            transport: NetcodeClientTransport::new(unix_time(), authentication, socket.try_clone()?)?,
            socket,
            updated: Instant::now(),
        })
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        fd_of(&self.socket)
    }

    fn is_connected(&mut self) -> bool {
        self.inner.is_connected()
    }

    fn send(&mut self, data: &[u8], mode: Mode) -> bool {
        let channel: u8 = channel(mode).into();
        let room = self.inner.can_send_message(channel, data.len());
        if room {
            self.inner.send_message(channel, data.to_vec());
        }
        room
    }

    fn receive(&mut self, on: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let now = Instant::now();
        let elapsed = now - self.updated;
        self.updated = now;
        self.inner.update(elapsed);
        self.transport.update(elapsed, &mut self.inner)?;
        for mode in [Mode::Ordered, Mode::Unreliable] {
            while let Some(message) = self.inner.receive_message(channel(mode)) {
                on(&message);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome<()> {
        if self.inner.is_connected() {
            self.transport.send_packets(&mut self.inner)?;
        }
        Ok(())
    }

    fn sleep(&self) -> Duration {
        UPDATE.saturating_sub(self.updated.elapsed())
    }
}

//! What a connection costs a server that does nothing with it but keep it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::proto::{Endpoint, TransmitBuf};
use fastwire::transport::{RecvMeta, SocketId};
use fastwire_testkit::counting;

use crate::check::Profile;
use crate::scenario::{Core, configs, parts, server_address};

const STEP: Duration = Duration::from_millis(20);
/// Clients that ask in one step: fewer than a server agrees on keys with.
const ASKING: usize = 30;
/// Until the cookies of the last handshakes are forgotten.
const SETTLED: Duration = Duration::from_secs(15);

fn address(number: usize) -> SocketAddr {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 50_000))
}

/// Bytes for each of so many.
pub(super) fn each(profile: Profile, count: usize) -> Result<i64, String> {
    let told = |error: fastwire::ConfigError| error.to_string();
    let (mut served, asked) = configs(profile);
    served.max_connections = count;
    let mut now = Instant::now();
    let mut server: Core = Endpoint::server(&served, parts()?, [1; 32], now).map_err(told)?;
    let numbers: HashMap<SocketAddr, usize> = (0..count).map(|number| (address(number), number)).collect();
    let mut clients: Vec<Core> = Vec::with_capacity(count);
    let mut buf = TransmitBuf::new(16);
    let mut settled = None;
    while settled.is_none_or(|since| now < since + SETTLED) {
        now += STEP;
        for _ in 0..ASKING.min(count - clients.len()) {
            let mut seed = [2; 32];
            seed[..8].copy_from_slice(&(clients.len() as u64).to_le_bytes());
            let mut client: Core = Endpoint::client(&asked, parts()?, seed, now).map_err(told)?;
            client.connect(now, &[server_address()]).map_err(|error| error.to_string())?;
            clients.push(client);
        }
        let mut up = Vec::new();
        for (number, client) in clients.iter_mut().enumerate() {
            client.handle_timeout(now);
            while client.poll_event().is_some() || client.poll_socket().is_some() {}
            while let Some(transmit) = client.poll_transmit(now, &mut buf) {
                up.extend(transmit.segments().map(|bytes| (number, BytesMut::from(bytes))));
            }
        }
        for (number, datagram) in up {
            let meta =
                RecvMeta { socket: SocketId::PRIMARY, remote: address(number), local: None, ecn: None };
            server.handle_datagram(now, &meta, datagram);
        }
        server.handle_timeout(now);
        while server.poll_event().is_some() {}
        let mut down = Vec::new();
        while let Some(transmit) = server.poll_transmit(now, &mut buf) {
            let to = numbers.get(&transmit.destination).copied();
            down.extend(transmit.segments().filter_map(|bytes| Some((to?, BytesMut::from(bytes)))));
        }
        let meta = RecvMeta { socket: SocketId::PRIMARY, remote: server_address(), local: None, ecn: None };
        for (number, datagram) in down {
            clients[number].handle_datagram(now, &meta, datagram);
        }
        if settled.is_none() && server.connection_count() == count {
            settled = Some(now);
        }
        if settled.is_none() && clients.len() == count && server.stats().connections_ended > 0 {
            return Err("idle connections end".into());
        }
    }
    if server.connection_count() != count {
        return Err(format!("{} of {count} idle connections stand", server.connection_count()));
    }
    // What the server holds is what dropping it gives back.
    let before = counting::live_bytes();
    drop(server);
    Ok((before - counting::live_bytes()) / count as i64)
}

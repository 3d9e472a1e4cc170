//! A conversation of an honest client, datagram by datagram, to be replayed by somebody else.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::Event;
use fastwire::proto::{Endpoint, TransmitBuf};
use fastwire::transport::{RecvMeta, SocketId};

use crate::check::Profile;
use crate::scenario::{configs, parts};

const PATIENCE: Duration = Duration::from_secs(3);
const MESSAGES: usize = 20;

/// Connects, says something, leaves; gives every datagram that the client sent.
pub(super) fn record(profile: Profile, at: SocketAddr) -> Result<Vec<Vec<u8>>, String> {
    let told = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(told)?;
    socket.set_read_timeout(Some(Duration::from_millis(2))).map_err(told)?;
    let (_, config) = configs(profile);
    let started = Instant::now();
    let mut core =
        Endpoint::client(&config, parts()?, [0x72; 32], started).map_err(|error| error.to_string())?;
    let id = core.connect(started, &[at]).map_err(|error| error.to_string())?;
    let (mut recorded, mut heard) = (Vec::new(), 0);
    let (mut buffer, mut train) = ([0; 2048], TransmitBuf::new(1));
    loop {
        let now = Instant::now();
        core.handle_timeout(now);
        while let Some(transmit) = core.poll_transmit(now, &mut train) {
            for datagram in transmit.segments() {
                recorded.push(datagram.to_vec());
                // Not sent is lost.
                let _ = socket.send_to(datagram, at);
            }
        }
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let meta = RecvMeta { socket: SocketId::PRIMARY, remote: from, local: None, ecn: None };
            core.handle_datagram(Instant::now(), &meta, BytesMut::from(&buffer[..length]));
        }
        while let Some(event) = core.poll_event() {
            match event {
                Event::Connected { .. } => {
                    for _ in 0..MESSAGES {
                        core.send(now, id, [0x72; 200], 0).map_err(|error| error.to_string())?;
                    }
                }
                Event::Message { .. } => {
                    heard += 1;
                    if heard == MESSAGES {
                        core.close(now, id).map_err(|error| error.to_string())?;
                    }
                }
                Event::Disconnected { .. } => return Ok(recorded),
                other => return Err(format!("recording: {other:?}")),
            }
        }
        if started.elapsed() > PATIENCE {
            return Err("the conversation to replay did not come to its end".into());
        }
    }
}

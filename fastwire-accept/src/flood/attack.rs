//! Attackers: datagrams from addresses that are not theirs, at a rate or as fast as it goes.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastwire::sim::Rng;
use fastwire::wire::{CONTROL_PREFIX, Connect, Control, Features, PROTOCOL_VERSION};
use rustix::net::{
    AddressFamily, MMsgHdr, RawProtocol, SendAncillaryBuffer, SendFlags, SocketType, connect, sendmmsg,
    socket,
};

use crate::check::Profile;
use crate::scripted::Scripted;

/// Datagrams of one call.
const BATCH: usize = 64;
/// Sockets where spoofing is not allowed.
const SOCKETS: usize = 256;
/// IPv4 header and UDP header.
const HEADERS: usize = 28;
/// IPPROTO_RAW: whoever sends writes the IP header.
const RAW: u32 = 255;
/// Where the key begins in CONNECT: after the prefix, type and versions.
const KEY_AT: usize = 12;
const KEY_LEN: usize = 32;
/// Where the client's nonce begins in the extended profile's CONNECT: 40 bytes of payload and two of its trailer further on.
const NONCE_AT: usize = 8 + 40 + 2;

/// No attack comes from the addresses of an earlier one.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What they send.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// CONNECT, each with a key of its own.
    Connects,
    /// Garbage, empty datagrams, and copies of these.
    Mixed(Arc<Vec<Vec<u8>>>),
}

/// An attack under way. Ends when dropped.
pub(super) struct Attack {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    /// The sources are not the attacker's.
    pub(super) is_spoofed: bool,
}

impl Attack {
    /// Sends to `at`; `rate` in datagrams a second, `None`: as fast as it goes.
    pub(super) fn start(
        kind: &Kind,
        profile: Profile,
        at: SocketAddr,
        rate: Option<f64>,
    ) -> Result<Self, String> {
        let SocketAddr::V4(at) = at else { return Err("the attackers know IPv4 alone".into()) };
        let mut shooter = Shooter::new(kind.clone(), profile, at)?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let is_spoofed = matches!(shooter.gun, Gun::Raw(_));
        let thread = thread::spawn({
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            move || {
                let started = Instant::now();
                let mut done = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    let due = rate.map_or(BATCH, |rate| {
                        let due = (started.elapsed().as_secs_f64() * rate) as u64;
                        due.saturating_sub(done).min(BATCH as u64) as usize
                    });
                    if due == 0 {
                        thread::sleep(Duration::from_micros(500));
                        continue;
                    }
                    let count = shooter.shoot(due) as u64;
                    done += due as u64;
                    sent.fetch_add(count, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { stop, sent, thread: Some(thread), is_spoofed })
    }

    /// Datagrams sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; gives how many were sent.
    pub(super) fn stop(mut self) -> u64 {
        self.end();
        self.sent()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the attacker's is seen in what was not sent.
            let _ = thread.join();
        }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.end();
    }
}

enum Gun {
    Raw(OwnedFd),
    Many(Vec<UdpSocket>),
}

/// Makes datagrams and sends them.
struct Shooter {
    gun: Gun,
    kind: Kind,
    profile: Profile,
    at: SocketAddrV4,
    /// A CONNECT that lacks only a key and a nonce.
    connect: Vec<u8>,
    /// Datagrams with room for headers before them.
    packets: Vec<Vec<u8>>,
    rng: Rng,
}

impl Shooter {
    fn new(kind: Kind, profile: Profile, at: SocketAddrV4) -> Result<Self, String> {
        let gun = match raw(at) {
            Ok(socket) => Gun::Raw(socket),
            Err(_) => Gun::Many(sockets()?),
        };
        let connect = connect_of(profile)?;
        let seed = 0x666c_6f6f ^ NEXT.fetch_add(1, Ordering::Relaxed) << 32;
        let packets = vec![[&[0; HEADERS][..], &connect].concat(); BATCH];
        Ok(Self { gun, kind, profile, at, connect, packets, rng: Rng::new(seed) })
    }

    /// Sends `count` datagrams in one go, at most [`BATCH`]; gives how many the system took.
    fn shoot(&mut self, count: usize) -> usize {
        for index in 0..count.min(BATCH) {
            self.load(index);
        }
        let packets = &self.packets[..count.min(BATCH)];
        match &self.gun {
            Gun::Raw(socket) => {
                let slices: Vec<[IoSlice<'_>; 1]> =
                    packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
                let mut controls: Vec<_> = packets.iter().map(|_| SendAncillaryBuffer::default()).collect();
                let mut messages: Vec<MMsgHdr<'_>> = slices
                    .iter()
                    .zip(&mut controls)
                    .map(|(slice, control)| MMsgHdr::new(slice, control))
                    .collect();
                // What the system does not take is not sent, and counted as such.
                sendmmsg(socket, &mut messages, SendFlags::empty()).unwrap_or(0)
            }
            Gun::Many(sockets) => {
                let mut sent = 0;
                for packet in packets {
                    let socket = &sockets[self.rng.below(sockets.len() as u64) as usize];
                    sent += usize::from(socket.send_to(&packet[HEADERS..], self.at).is_ok());
                }
                sent
            }
        }
    }

    /// Makes the next datagram.
    fn load(&mut self, index: usize) {
        let rng = &mut self.rng;
        let packet = &mut self.packets[index];
        match &self.kind {
            Kind::Connects => {
                for chunk in packet[HEADERS + KEY_AT..][..KEY_LEN].chunks_mut(8) {
                    chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]);
                }
                if self.profile == Profile::Extended {
                    packet[HEADERS + NONCE_AT..][..8].copy_from_slice(&rng.next_u64().to_le_bytes());
                }
            }
            Kind::Mixed(recorded) => {
                packet.truncate(HEADERS);
                match rng.below(4) {
                    0 => {}
                    1 => {
                        let words = 1 + rng.below(150);
                        packet.extend((0..words).flat_map(|_| rng.next_u64().to_le_bytes()));
                    }
                    // Looks bare and is nonsense.
                    2 => {
                        packet.extend(CONTROL_PREFIX);
                        packet.extend((0..1 + rng.below(20)).flat_map(|_| rng.next_u64().to_le_bytes()));
                    }
                    _ => {
                        let place = rng.below(recorded.len().max(1) as u64) as usize;
                        packet.extend(recorded.get(place).unwrap_or(&self.connect));
                    }
                }
            }
        }
        let source =
            Ipv4Addr::new(127, 1 + rng.below(200) as u8, rng.below(256) as u8, 1 + rng.below(254) as u8);
        let port = 1024 + rng.below(60_000) as u16;
        write_headers(packet, (source, port), self.at);
    }
}

/// RFC 791 and RFC 768. The system writes the identification and the header's checksum; UDP's may be left out over IPv4.
fn write_headers(packet: &mut [u8], (source, port): (Ipv4Addr, u16), to: SocketAddrV4) {
    let length = packet.len() as u16;
    packet[..HEADERS].fill(0);
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet[24..26].copy_from_slice(&(length - 20).to_be_bytes());
}

fn raw(at: SocketAddrV4) -> rustix::io::Result<OwnedFd> {
    let protocol = RawProtocol::new(RAW).map(rustix::net::Protocol::from_raw);
    let socket = socket(AddressFamily::INET, SocketType::RAW, protocol)?;
    connect(&socket, &SocketAddrV4::new(*at.ip(), 0))?;
    Ok(socket)
}

fn sockets() -> Result<Vec<UdpSocket>, String> {
    (0..SOCKETS)
        .map(|number| {
            let address = Ipv4Addr::new(127, 1, (number / 250) as u8, 1 + (number % 250) as u8);
            UdpSocket::bind((address, 0)).or_else(|_| UdpSocket::bind("127.0.0.1:0"))
        })
        .collect::<Result<_, _>>()
        .map_err(|error| format!("no sockets for the attackers: {error}"))
}

/// A CONNECT of the profile.
pub(super) fn connect_of(profile: Profile) -> Result<Vec<u8>, String> {
    if profile == Profile::Extended {
        let mut scripted = Scripted::client(&mut Rng::new(1), None);
        return scripted.outgoing.pop().ok_or_else(|| "no CONNECT".into());
    }
    let connect = Control::Connect(Connect {
        version: PROTOCOL_VERSION,
        application_version: 0,
        public_key: [9; KEY_LEN],
        cipher: 1,
        compression: 0,
        dictionary_hash: None,
        features: Features::EMPTY,
    });
    let mut bytes = vec![0; CONTROL_PREFIX.len() + connect.encoded_len()];
    bytes[..CONTROL_PREFIX.len()].copy_from_slice(&CONTROL_PREFIX);
    connect.encode(&mut bytes[CONTROL_PREFIX.len()..]).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is sent arrives, from other addresses than the sender's where that is allowed, and reads as what it is.
    #[test]
    fn spoofed_connects_arrive_whole() {
        for profile in [Profile::Base, Profile::Extended] {
            let receiver = UdpSocket::bind("127.0.0.1:0").expect("loopback");
            receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            let SocketAddr::V4(at) = receiver.local_addr().expect("bound") else { panic!("IPv4") };
            let mut shooter = Shooter::new(Kind::Connects, profile, at).expect("a socket");
            assert_eq!(shooter.shoot(8), 8);
            let mut seen = std::collections::HashSet::new();
            let mut buffer = [0; 2000];
            for _ in 0..8 {
                let (length, from) = receiver.recv_from(&mut buffer).expect("a datagram");
                let payload = buffer[..length].strip_prefix(&CONTROL_PREFIX[..]).expect("bare");
                let (Control::Connect(connect), _) = Control::decode(payload).expect("reads") else {
                    panic!("no CONNECT")
                };
                assert!(seen.insert((from, connect.public_key)), "each has a source and a key of its own");
            }
        }
    }
}

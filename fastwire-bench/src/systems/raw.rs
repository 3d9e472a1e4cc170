//! UDP itself, without connections, reliability or encryption: the floor. Plain (a call a datagram) and batched
//! (segmentation offload, recvmmsg, sendmmsg).

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};

use crate::behaviour::{Behaviour, progress};
use crate::poll::{Mode, PollClient, fd_of, stop_with_parent};
use crate::report::{Meter, Report};
use crate::system::{Args, MTU, Outcome, small_udp, udp, wait_readable};

/// Datagrams of one train of single messages.
const SEGMENTS: usize = 50;
/// Datagrams of a 16 KiB message, which leaves as one train.
const MESSAGE: usize = 14;
/// Room for one joined train.
const SLOT: usize = 65_536;

/// A socket with or without all that the system offers.
struct Raw {
    socket: UdpSocket,
    batched: Option<UdpSocketState>,
    arena: Vec<u8>,
}

impl Raw {
    fn new(args: &Args) -> Outcome<Self> {
        let socket = udp()?;
        let batched = args.text("system") == "raw-batched";
        let batched = batched.then(|| UdpSocketState::new((&socket).into())).transpose()?;
        let slots = if batched.is_some() { BATCH_SIZE } else { 1 };
        Ok(Self { socket, batched, arena: vec![0; SLOT * slots] })
    }

    /// One of a crowd: its messages are single ones.
    fn small() -> Outcome<Self> {
        Ok(Self { socket: small_udp()?, batched: None, arena: vec![0; 2 * MTU] })
    }

    /// Takes what one call brings; 0 if nothing is there.
    fn receive(&mut self, mut on: impl FnMut(&[u8], SocketAddr)) -> usize {
        let Some(state) = &self.batched else {
            return match self.socket.recv_from(&mut self.arena) {
                Ok((length, from)) => {
                    on(&self.arena[..length], from);
                    1
                }
                Err(_) => 0,
            };
        };
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let count = {
            let mut slots: Vec<IoSliceMut<'_>> = self.arena.chunks_mut(SLOT).map(IoSliceMut::new).collect();
            state.recv((&self.socket).into(), &mut slots, &mut metas).unwrap_or(0)
        };
        for (meta, slot) in metas.iter().zip(self.arena.chunks(SLOT)).take(count) {
            for datagram in slot[..meta.len].chunks(meta.stride.max(1)) {
                on(datagram, meta.addr);
            }
        }
        count
    }

    /// Sends equal datagrams that stand one after the other. False: no room.
    fn send(&self, bytes: &[u8], size: usize, to: SocketAddr) -> bool {
        let Some(state) = &self.batched else {
            return bytes.chunks(size).all(|datagram| self.socket.send_to(datagram, to).is_ok());
        };
        let train = Transmit {
            destination: to,
            ecn: None,
            contents: bytes,
            segment_size: (bytes.len() > size).then_some(size),
            src_ip: None,
        };
        state.try_send((&self.socket).into(), &train).is_ok()
    }

    /// Sends many datagrams to many places in one call.
    fn send_many(&self, datagrams: &[(Vec<u8>, SocketAddrV4)]) {
        if self.batched.is_none() {
            for (bytes, to) in datagrams {
                let _ = self.socket.send_to(bytes, *to);
            }
            return;
        }
        for part in datagrams.chunks(64) {
            let slices: Vec<[IoSlice<'_>; 1]> = part.iter().map(|(bytes, _)| [IoSlice::new(bytes)]).collect();
            let addresses: Vec<Option<SockaddrIn>> =
                part.iter().map(|(_, to)| Some(SockaddrIn::from(*to))).collect();
            let mut headers = MultiHeaders::preallocate(part.len(), None);
            let none: [ControlMessage<'_>; 0] = [];
            let _ =
                sendmmsg(self.socket.as_raw_fd(), &mut headers, &slices, &addresses, none, MsgFlags::empty());
        }
    }
}

/// Whole messages in one system are datagrams here.
fn in_datagrams(args: &Args) -> Args {
    let mut args = args.clone();
    if args.text("work") == "bulk" {
        let scale = |count: u64| count * args.get::<u64>("size") / MTU as u64;
        let (total, every) = (scale(args.get("total")), scale(args.get("every")));
        args.set("total", total);
        args.set("every", every);
        args.set("size", MTU);
    }
    args
}

pub fn serve(args: &Args) -> Outcome<()> {
    let args = &in_datagrams(args);
    let mut raw = Raw::new(args)?;
    println!("{}", raw.socket.local_addr()?.port());
    let stop = stop_with_parent();
    let spin = args.text("wait") == "spin";
    let mut behaviour = Behaviour::new(args);
    let (mut reply, mut replies) = (Vec::new(), Vec::new());
    let (mut message, mut filled) = (vec![0; MESSAGE * MTU], 0);
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let received = raw.receive(|data, from| {
            // And out of them.
            if let Some(room) = message.get_mut(filled..filled + data.len()) {
                room.copy_from_slice(data);
                filled += data.len();
            } else {
                filled = 0;
            }
            if behaviour.on_message(data, &mut reply)
                && let SocketAddr::V4(from) = from
            {
                replies.push((reply.clone(), from));
            }
        });
        match &replies[..] {
            [] => {}
            [(bytes, to)] => drop(raw.send(bytes, bytes.len().max(1), (*to).into())),
            many => raw.send_many(many),
        }
        replies.clear();
        if received == 0 && !spin {
            wait_readable(&raw.socket, Duration::from_millis(50));
        }
    }
    crate::report::print_latencies(&behaviour.latencies);
    Ok(())
}

pub fn drive(args: &Args) -> Outcome<Report> {
    let args = &in_datagrams(args);
    match args.text("work") {
        "bulk" | "flood" => flood(args),
        "ping" => crate::poll::drive::<Client>(args),
        "crowd" => crate::poll::drive::<Client>(args),
        other => Err(format!("raw sockets have no workload {other:?}").into()),
    }
}

/// Datagrams as fast as the receiver tells that they arrive: a fixed number, or for a time.
fn flood(args: &Args) -> Outcome<Report> {
    let (size, total): (usize, u64) = (args.get("size"), args.get("total"));
    let window = if args.text("work") == "bulk" { 1500 } else { args.get::<u64>("window") };
    let segments = if args.text("work") == "bulk" { MESSAGE } else { SEGMENTS };
    let (to, mut raw) = (args.server()?, Raw::new(args)?);
    let message = vec![0x5a; segments * size];
    let mut train = message.clone();
    let (mut sent, mut newest, mut arrived, mut heard) = (1u64, 0u64, 0u64, Instant::now());
    let meter = Meter::start(args);
    let seconds: f64 = args.get("seconds");
    let end = (total == 0).then(|| Instant::now() + Duration::from_secs_f64(seconds));
    loop {
        if end.map_or(sent > total && newest >= total, |end| Instant::now() >= end) {
            break;
        }
        while sent - newest + segments as u64 <= window && (total == 0 || sent <= total) {
            let left = if total == 0 { segments as u64 } else { (total + 1 - sent).min(segments as u64) };
            let part = &mut train[..left as usize * size];
            // A message is copied into its datagrams, as every system does.
            part.copy_from_slice(&message[..left as usize * size]);
            for (index, datagram) in part.chunks_mut(size).enumerate() {
                datagram[..8].copy_from_slice(&(sent + index as u64).to_le_bytes());
            }
            if !raw.send(part, size, to) {
                break;
            }
            sent += left;
        }
        wait_readable(&raw.socket, Duration::from_millis(5));
        let before = arrived;
        raw.receive(|data, _| {
            let told = progress(data);
            (newest, arrived) = (newest.max(told.0), arrived.max(told.1));
        });
        if arrived > before {
            heard = Instant::now();
        } else if heard.elapsed() > Duration::from_millis(50) {
            // All that was under way is lost.
            (newest, heard) = (sent - 1, Instant::now());
        }
    }
    if total > 0 {
        return Ok(meter.bulk(arrived, size).delivered(arrived as f64 / total as f64));
    }
    let report = meter.flood(arrived);
    std::thread::sleep(Duration::from_millis(100));
    while raw.receive(|data, _| arrived = arrived.max(progress(data).1)) > 0 {}
    let unannounced = args.get::<u64>("every").min((sent - 1).saturating_sub(newest));
    Ok(report.delivered((arrived + unannounced) as f64 / (sent - 1).max(1) as f64))
}

/// One plain socket that asks and is answered.
struct Client {
    raw: Raw,
    to: SocketAddr,
}

impl PollClient for Client {
    fn start(args: &Args, crowd: bool) -> Outcome<Self> {
        let raw = if crowd { Raw::small()? } else { Raw::new(args)? };
        Ok(Self { raw, to: args.server()? })
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        fd_of(&self.raw.socket)
    }

    fn is_connected(&mut self) -> bool {
        true
    }

    fn send(&mut self, data: &[u8], _: Mode) -> bool {
        self.raw.send(data, data.len().max(1), self.to)
    }

    fn receive(&mut self, on: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        self.raw.receive(|data, _| on(data));
        Ok(())
    }

    fn flush(&mut self) -> Outcome<()> {
        Ok(())
    }

    fn sleep(&self) -> Duration {
        Duration::from_secs(1)
    }
}

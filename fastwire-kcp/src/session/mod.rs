//! One session as kcp-go frames it: the core inside, error correction and packet protection around it. Sans-IO.
//!
//! ```
//! use fastwire_kcp::core::Pool;
//! use fastwire_kcp::crypt::{Crypt, CryptKind};
//! use fastwire_kcp::fec::FecRatio;
//! use fastwire_kcp::session::{Session, SessionConfig, TransmitBuf};
//!
//! let config = SessionConfig { fec: Some(FecRatio::KCPTUN), ..SessionConfig::default() };
//! let crypt = Crypt::from_passphrase(CryptKind::Aes128Gcm, "a long shared secret");
//! let mut a = Session::new(7, &config, crypt.clone(), Pool::new())?;
//! let mut b = Session::new(7, &config, crypt, Pool::new())?;
//!
//! let mut out = TransmitBuf::new([1; 32]); // fresh randomness in a real program
//! a.write(b"hello");
//! a.update(0, &mut out);
//! for datagram in out.iter() {
//!     b.input(20, &mut datagram.to_vec());
//! }
//! let mut message = [0; 16];
//! assert_eq!(b.read(&mut message), 5);
//! assert_eq!(&message[..5], b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod counters;
mod peek;
mod router;
mod transmit;

pub use counters::Counters;
pub use peek::{MIN_INNER_LEN, Peek};
pub use router::{Compat, MAX_CLOSED_REMEMBERED, MAX_CONVS_PER_ADDRESS, Route, Router};
pub use transmit::TransmitBuf;

use crate::core::{Config, Kcp, NoDelay, Origin, Output, Pool, SettingError};
use crate::crypt::{Crypt, PacketCrypt};
use crate::fec::{FEC_HEADER_LEN, FecPacket, FecRatio, FecReceiver, FecSender, OOB_SEQID, PacketKind};
use crate::fec::{data_header, payload_of};
use fastwire_fec::CodeError;
use std::collections::VecDeque;
use transmit::Framer;

/// Largest datagram, sent or accepted.
pub const MAX_DATAGRAM: usize = 1500;
/// Out-of-band messages that wait for the application; more are dropped.
pub const MAX_OOB_WAITING: usize = 64;
/// Out-of-band messages of the application's that wait to leave; more are dropped.
pub const MAX_OOB_QUEUED: usize = 2048;

/// Why a session cannot be as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The datagram size leaves no room for a segment, or is over [`MAX_DATAGRAM`].
    #[error(
        "mtu is {given}, it must be {least} to {MAX_DATAGRAM} bytes with this crypt and error correction"
    )]
    Mtu {
        /// The figure given.
        given: usize,
        /// Least figure with this crypt and error correction.
        least: usize,
    },
    /// The code does not exist.
    #[error(transparent)]
    Fec(#[from] CodeError),
    /// A setting of the core is out of bounds.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// An out-of-band message without error correction: its packets have no form then.
    #[error("out-of-band messages need error correction: set SessionConfig::fec")]
    OobNeedsFec,
    /// An out-of-band message that does not fit in one datagram.
    #[error("out-of-band message of {len} bytes, at most {most} fit in a datagram")]
    OobTooLong {
        /// Length of the message in bytes.
        len: usize,
        /// Most bytes.
        most: usize,
    },
}

/// Settings of a session. Both ends must agree on crypt (given apart) and nothing else; each may have its own
/// error-correction figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// The core's settings. `mtu` is the size of whole datagrams here; what the layers around the core take is
    /// subtracted.
    pub kcp: Config,
    /// Error correction of what this side sends.
    pub fec: Option<FecRatio>,
    /// Copies of each datagram besides the first, for links that lose much and cost nothing.
    pub copies: u8,
}

impl Default for SessionConfig {
    /// Prompt timing, kcptun's `fast` latency settings, windows of 256 and 256 segments, no error correction.
    fn default() -> Self {
        let kcp = Config { nodelay: NoDelay::FAST, snd_wnd: 256, rcv_wnd: 256, ..Config::default() };
        Self { kcp, fec: None, copies: 0 }
    }
}

/// One end of a session.
#[derive(Debug)]
pub struct Session {
    kcp: Kcp,
    crypt: Crypt,
    fec_out: Option<FecSender>,
    /// Made at the first error-correction packet, whatever this side sends.
    fec_in: Option<Box<FecReceiver>>,
    copies: u8,
    pool: Pool,
    /// At most [`MAX_OOB_WAITING`].
    oob: VecDeque<Vec<u8>>,
    /// To leave with the next update; at most [`MAX_OOB_QUEUED`].
    oob_out: Vec<Vec<u8>>,
    counters: Counters,
    /// When the peer was last heard.
    heard_at: Option<u32>,
}

impl Session {
    /// A session of conversation `conv`, its buffers from `pool`.
    ///
    /// # Errors
    /// [`SessionError::Mtu`] when the datagrams are too small for the layers, or too large.
    pub fn new(conv: u32, config: &SessionConfig, crypt: Crypt, pool: Pool) -> Result<Self, SessionError> {
        let fec_out = config.fec.map(FecSender::new).transpose()?;
        let fec_in =
            config.fec.map(|ratio| FecReceiver::new(ratio, pool.clone()).map(Box::new)).transpose()?;
        let overhead = overhead(&crypt, fec_out.is_some());
        let kcp_config = Config { mtu: inner_mtu(config.kcp.mtu, overhead)?, ..config.kcp };
        Ok(Self {
            kcp: Kcp::with_pool(conv, kcp_config, pool.clone()),
            crypt,
            fec_out,
            fec_in,
            copies: config.copies,
            pool,
            oob: VecDeque::new(),
            oob_out: Vec::new(),
            counters: Counters::default(),
            heard_at: None,
        })
    }

    /// Takes a datagram from the peer, opened in place. What does not belong here costs a counter.
    pub fn input(&mut self, now: u32, datagram: &mut [u8]) {
        match self.crypt.open(datagram) {
            Ok(range) => self.input_opened(now, datagram.get(range).unwrap_or_default()),
            Err(error) => self.counters.refused(&error),
        }
    }

    /// Takes what was inside a datagram that a listener has opened.
    pub fn input_opened(&mut self, now: u32, inner: &[u8]) {
        self.counters.in_pkts += 1;
        self.counters.in_bytes += inner.len() as u64;
        if !(MIN_INNER_LEN..=MAX_DATAGRAM).contains(&inner.len()) {
            self.counters.in_errs += 1;
            return;
        }
        match FecPacket::parse(inner) {
            None => self.input_segments(now, inner, Origin::Direct),
            Some(packet) => self.input_fec(now, &packet),
        }
    }

    fn input_fec(&mut self, now: u32, packet: &FecPacket<'_>) {
        match (packet.kind, packet.payload()) {
            (PacketKind::OutOfBand, Some(payload)) => return self.input_oob(now, payload),
            (PacketKind::Data, Some(payload)) => self.input_segments(now, payload, Origin::Direct),
            (PacketKind::Parity, _) => self.counters.fec_parity_shards += 1,
            (_, None) => {
                self.counters.fec_errs += 1;
                return;
            }
        }
        if self.fec_in.is_none() {
            self.fec_in = FecReceiver::new(FecRatio::UNKNOWN, self.pool.clone()).ok().map(Box::new);
        }
        // Taken out while what it recovers goes to the core.
        let Some(mut fec) = self.fec_in.take() else { return };
        for (_, shard) in fec.receive(packet).iter() {
            match payload_of(shard) {
                Some(payload) => {
                    self.counters.fec_recovered += 1;
                    self.input_segments(now, payload, Origin::Recovered);
                }
                None => self.counters.fec_errs += 1,
            }
        }
        self.fec_in = Some(fec);
    }

    fn input_segments(&mut self, now: u32, segments: &[u8], origin: Origin) {
        if self.kcp.input(now, segments, origin).is_ok() {
            self.heard_at = Some(now);
        } else {
            self.counters.kcp_in_errors += 1;
        }
    }

    /// The conversation number in front of an out-of-band message is checked here, which kcp-go does not do.
    fn input_oob(&mut self, now: u32, payload: &[u8]) {
        let Some((conv, message)) = payload.split_first_chunk() else {
            self.counters.fec_errs += 1;
            return;
        };
        if u32::from_le_bytes(*conv) != self.kcp.conv() {
            self.counters.in_errs += 1;
            return;
        }
        self.heard_at = Some(now);
        self.counters.oob_packets += 1;
        if self.oob.len() < MAX_OOB_WAITING {
            self.oob.push_back(message.to_vec());
        } else {
            self.counters.overflows += 1;
        }
    }

    /// Appends what is due at `now` to `buf`.
    pub fn update(&mut self, now: u32, buf: &mut TransmitBuf) {
        let mut framer = Framer {
            now,
            buf,
            crypt: &self.crypt,
            fec: self.fec_out.as_mut(),
            copies: self.copies,
            counters: &mut self.counters,
        };
        self.kcp.update(now, &mut framer);
        framer.fec = None;
        let conv = self.kcp.conv().to_le_bytes();
        for message in self.oob_out.drain(..) {
            framer.begin();
            let header = data_header(OOB_SEQID, PacketKind::OutOfBand, conv.len() + message.len());
            framer.buffer().extend_from_slice(&header);
            framer.buffer().extend_from_slice(&conv);
            framer.buffer().extend_from_slice(&message);
            framer.seal();
        }
    }

    /// ms from `now` until [`update`](Self::update) has something to do; `None` while only input or a write can
    /// give it any.
    pub fn check(&mut self, now: u32) -> Option<u32> {
        if self.oob_out.is_empty() { self.kcp.check(now) } else { Some(0) }
    }

    /// Queues bytes, cut at the segment size as kcp-go cuts them, while there is [room](Self::has_send_room); how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mss = self.kcp.mss();
        let mut written = 0;
        while let Some(rest @ [_, ..]) = bytes.get(written..)
            && self.has_send_room()
        {
            let piece = rest.get(..mss).unwrap_or(rest);
            let Ok(count) = self.kcp.send(piece) else { break };
            written += count;
        }
        self.counters.bytes_sent += written as u64;
        written
    }

    /// Queues one message as a whole, in up to 127 segments; it arrives in one piece.
    ///
    /// # Errors
    /// [`SendError`](crate::core::SendError) when it needs more segments.
    pub fn send_message(&mut self, message: &[u8]) -> Result<usize, crate::core::SendError> {
        let count = self.kcp.send(message)?;
        self.counters.bytes_sent += count as u64;
        Ok(count)
    }

    /// Whether another segment may be queued: up to two send windows wait, so that acknowledgements always find
    /// something to send.
    pub fn has_send_room(&self) -> bool {
        self.kcp.waiting() < self.send_limit()
    }

    /// Segments that may be queued and in flight before [`write`](Self::write) takes no more.
    pub fn send_limit(&self) -> usize {
        2 * self.kcp.config().snd_wnd as usize
    }

    /// Moves received bytes into `buffer`, see [`Kcp::read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.kcp.read(buffer);
        self.counters.bytes_received += count as u64;
        count
    }

    /// Moves the next whole message into `buffer`; its length.
    ///
    /// # Errors
    /// [`RecvError`](crate::core::RecvError) when there is none, or the buffer is too small.
    pub fn recv_message(&mut self, buffer: &mut [u8]) -> Result<usize, crate::core::RecvError> {
        let count = self.kcp.recv(buffer)?;
        self.counters.bytes_received += count as u64;
        Ok(count)
    }

    /// Queues an unreliable message outside the stream. When [`MAX_OOB_QUEUED`] wait already it is dropped and counted.
    ///
    /// # Errors
    /// [`SessionError::OobNeedsFec`], [`SessionError::OobTooLong`].
    pub fn send_oob(&mut self, message: &[u8]) -> Result<(), SessionError> {
        let most = self.max_oob().ok_or(SessionError::OobNeedsFec)?;
        if message.len() > most {
            return Err(SessionError::OobTooLong { len: message.len(), most });
        }
        if self.oob_out.len() < MAX_OOB_QUEUED {
            self.oob_out.push(message.to_vec());
        } else {
            self.counters.overflows += 1;
        }
        Ok(())
    }

    /// Most bytes of an out-of-band message; `None` without error correction.
    pub fn max_oob(&self) -> Option<usize> {
        self.fec_out.as_ref().map(|_| self.kcp.config().mtu - 4)
    }

    /// The next out-of-band message of the peer.
    pub fn recv_oob(&mut self) -> Option<Vec<u8>> {
        self.oob.pop_front()
    }

    /// Whether one waits.
    pub fn has_oob(&self) -> bool {
        !self.oob.is_empty()
    }

    /// Size of whole datagrams.
    ///
    /// # Errors
    /// [`SessionError::Mtu`]; nothing changes.
    pub fn set_mtu(&mut self, mtu: usize) -> Result<(), SessionError> {
        let inner = inner_mtu(mtu, overhead(&self.crypt, self.fec_out.is_some()))?;
        Ok(self.kcp.set_mtu(inner)?)
    }

    /// Copies of each datagram besides the first.
    pub fn set_copies(&mut self, copies: u8) {
        self.copies = copies;
    }

    /// The core.
    pub fn kcp(&self) -> &Kcp {
        &self.kcp
    }

    /// The core, to change its settings; sizes of datagrams are [`set_mtu`](Self::set_mtu)'s.
    pub fn kcp_mut(&mut self) -> &mut Kcp {
        &mut self.kcp
    }

    /// The receiving error correction, once there is one.
    pub fn fec_receiver(&self) -> Option<&FecReceiver> {
        self.fec_in.as_deref()
    }

    /// When the peer was last heard, on the clock of the inputs.
    pub fn heard_at(&self) -> Option<u32> {
        self.heard_at
    }

    /// What this session counted.
    pub fn counters(&self) -> Counters {
        let kcp = self.kcp.stats();
        Counters {
            in_segs: kcp.in_segments,
            out_segs: kcp.out_segments,
            retrans_segs: kcp.lost + kcp.fast + kcp.early,
            fast_retrans_segs: kcp.fast,
            early_retrans_segs: kcp.early,
            lost_segs: kcp.lost,
            repeat_segs: kcp.repeated,
            fec_full_shard_set: self.fec_in.as_ref().map_or(0, |fec| fec.whole_groups()),
            ..self.counters
        }
    }
}

/// Bytes that the layers around the core add to a datagram.
fn overhead(crypt: &Crypt, fec: bool) -> usize {
    crypt.header_len() + crypt.tag_len() + if fec { FEC_HEADER_LEN } else { 0 }
}

fn inner_mtu(mtu: usize, overhead: usize) -> Result<usize, SessionError> {
    let least = overhead + crate::core::MIN_MTU;
    if !(least..=MAX_DATAGRAM).contains(&mtu) {
        return Err(SessionError::Mtu { given: mtu, least });
    }
    Ok(mtu - overhead)
}

//! The KCP core: reliable, ordered segments. Sans-IO; time comes in as milliseconds, datagrams as bytes.
//!
//! The contract is small. Feed arriving datagrams to [`input`](Kcp::input) and data to
//! [`send`](Kcp::send); call [`update`](Kcp::update) at the latest when [`check`](Kcp::check) says so; read with
//! [`recv`](Kcp::recv) or [`read`](Kcp::read). There is no handshake, no close and no keepalive: two ends need the same
//! conversation number and nothing else.
//!
//! ```
//! use fastwire_kcp::core::{Config, Kcp, NoDelay, Origin};
//!
//! let config = Config { nodelay: NoDelay::FAST3, ..Config::default() };
//! let (mut a, mut b) = (Kcp::new(7, config), Kcp::new(7, config));
//!
//! a.send(b"ping")?;
//! let mut datagrams: Vec<Vec<u8>> = Vec::new();
//! a.update(0, &mut datagrams);
//! b.input(25, &datagrams[0], Origin::Direct)?;
//!
//! let mut message = [0; 16];
//! assert_eq!(b.recv(&mut message), Ok(4));
//! assert_eq!(&message[..4], b"ping");
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

mod cwnd;
mod flight;
mod flush;
mod inbox;
mod input;
mod outbox;
mod pacer;
mod packer;
mod pool;
mod probe;
mod rtt;
mod schedule;
mod segment;
mod settings;

pub use inbox::RecvError;
pub use input::{InputError, Origin};
pub use pacer::PACING_BURST;
pub use packer::Output;
pub use pool::{MAX_POOLED, Pool};
pub use segment::{Command, HEADER_LEN, Header, peek_conv};
pub use settings::{
    Config, INTERVAL, MAX_FRAGMENTS, MAX_MTU, MAX_PENDING_ACKS, MAX_WINDOW, MIN_MTU, MIN_RCV_WND, NoDelay,
    Pacing, SettingError, Timing,
};

use cwnd::Cwnd;
use flight::{Cause, Flight, Policy};
use inbox::Inbox;
use outbox::Outbox;
use pacer::Pacer;
use probe::Probe;
use rtt::Rtt;

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message needs more segments than any peer's window is sure to hold.
    #[error(
        "message of {len} bytes needs {fragments} segments, at most {MAX_FRAGMENTS} are allowed: split it"
    )]
    TooLong {
        /// Length of the message in bytes.
        len: usize,
        /// Segments it would take.
        fragments: usize,
    },
}

/// What a conversation counted since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KcpStats {
    /// Segments received and understood.
    pub in_segments: u64,
    /// PUSH segments transmitted, resends included.
    pub out_segments: u64,
    /// Resends after a timeout.
    pub lost: u64,
    /// Resends because later segments were acknowledged.
    pub fast: u64,
    /// Resends of overtaken segments while there was nothing new to send.
    pub early: u64,
    /// PUSH segments that had arrived before.
    pub repeated: u64,
}

/// One end of a conversation.
#[derive(Debug)]
pub struct Kcp {
    conv: u32,
    config: Config,
    pool: Pool,
    /// The caller's clock, extended so that it does not wrap.
    now: i64,
    /// Whether the caller's clock was seen: the first time it shows is taken as it is.
    started: bool,
    /// Classic: when the next tick is; `None` before the first update.
    tick: Option<i64>,
    /// Prompt: something happened that a flush should not wait with.
    urgent: bool,
    outbox: Outbox,
    /// Since when the outbox holds data.
    queued_at: i64,
    flight: Flight,
    inbox: Inbox,
    /// Acknowledgements that wait for a flush, (sn, ts); at most [`MAX_PENDING_ACKS`].
    acks: Vec<(u32, u32)>,
    /// When the oldest of them came.
    acks_since: i64,
    /// When what came again is answered once more, unless something left before that.
    answer_again: Option<i64>,
    /// The newest time of a peer's transmission.
    newest_push: Option<u32>,
    /// A WINS is owed.
    owes_window: bool,
    /// A WASK was asked for.
    asks_window: bool,
    /// Free slots as last told to the peer.
    told_window: u32,
    probe: Probe,
    rtt: Rtt,
    cwnd: Cwnd,
    /// Resends before this number belong to a congestion event that was already counted.
    recovery_end: Option<u32>,
    pacer: Pacer,
    /// The peer's free slots.
    remote_window: u32,
    dead: bool,
    stats: KcpStats,
    /// Reused by flush.
    due: Vec<(u32, Cause)>,
}

impl Kcp {
    /// One end of conversation `conv`. Figures of `config` outside their bounds are moved to the nearest bound.
    pub fn new(conv: u32, config: Config) -> Self {
        Self::with_pool(conv, config, Pool::new())
    }

    /// As [`new`](Self::new), with buffers from a stock that others share.
    pub fn with_pool(conv: u32, config: Config, pool: Pool) -> Self {
        let rules = config.timing.rules();
        let config = Config {
            mtu: config.mtu.clamp(MIN_MTU, MAX_MTU),
            snd_wnd: config.snd_wnd.clamp(1, MAX_WINDOW),
            rcv_wnd: config.rcv_wnd.clamp(rules.min_rcv_wnd, MAX_WINDOW),
            nodelay: bounded(config.nodelay),
            ..config
        };
        Self {
            conv,
            pool,
            now: 0,
            started: false,
            tick: None,
            urgent: false,
            outbox: Outbox::default(),
            queued_at: 0,
            flight: Flight::default(),
            inbox: Inbox::new(config.rcv_wnd),
            acks: Vec::new(),
            acks_since: 0,
            answer_again: None,
            newest_push: None,
            owes_window: false,
            asks_window: false,
            told_window: config.rcv_wnd,
            probe: Probe::default(),
            rtt: Rtt::new(config.nodelay.level),
            cwnd: Cwnd::new(rules, settings::mss(config.mtu)),
            recovery_end: None,
            pacer: Pacer::default(),
            remote_window: MIN_RCV_WND,
            dead: false,
            stats: KcpStats::default(),
            due: Vec::new(),
            config,
        }
    }

    /// Starts the numbers elsewhere than at 0: for tests of what happens where they wrap. Both ends must agree, and
    /// nothing may have been sent yet.
    pub fn start_at(&mut self, send: u32, receive: u32) {
        self.flight.start_at(send);
        self.inbox.start_at(receive);
    }

    /// Queues a message, in stream mode bytes without boundaries; how many bytes were queued.
    ///
    /// In message mode an empty message is sent as one. (The Go implementation's readers block on it for ever; they
    /// never send one.) In stream mode nothing is queued for it.
    ///
    /// # Errors
    /// [`SendError::TooLong`] from 128 segments on, unless (stream mode) a part was joined to the last segment: then
    /// the count says how much.
    pub fn send(&mut self, message: &[u8]) -> Result<usize, SendError> {
        let mss = self.mss();
        let joined = if self.config.stream { self.outbox.fill_last(message, mss) } else { 0 };
        let rest = message.get(joined..).unwrap_or_default();
        if self.config.stream && rest.is_empty() {
            return Ok(joined);
        }
        let fragments = rest.len().div_ceil(mss);
        if fragments > MAX_FRAGMENTS {
            let error = SendError::TooLong { len: message.len(), fragments };
            return if joined > 0 { Ok(joined) } else { Err(error) };
        }
        if self.outbox.len() == 0 {
            self.queued_at = self.now;
        }
        if self.config.stream {
            self.outbox.push_stream(rest, mss, &self.pool);
        } else {
            self.outbox.push_message(rest, mss, &self.pool);
        }
        Ok(message.len())
    }

    /// Moves the next whole message into `buffer`; its length.
    ///
    /// # Errors
    /// [`RecvError`] when there is none, or the buffer is too small for it.
    pub fn recv(&mut self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        let (len, opened) = self.inbox.recv(buffer, &self.pool)?;
        self.owe_window(opened);
        Ok(len)
    }

    /// Length of the next whole message.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn peek_size(&self) -> Result<usize, RecvError> {
        self.inbox.peek()
    }

    /// Moves bytes that are in order into `buffer`; 0 when there are none. A read ends with a message, in stream
    /// mode only with the buffer or the data. Empty messages are skipped; parts of a message need not wait for the rest.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let (len, opened) = self.inbox.read(buffer, self.config.stream, &self.pool);
        self.owe_window(opened);
        len
    }

    /// Bytes that [`read`](Self::read) could give now.
    pub fn readable(&self) -> usize {
        self.inbox.readable()
    }

    /// Segments queued or in flight.
    pub fn waiting(&self) -> usize {
        self.outbox.len() + self.flight.len()
    }

    /// A segment was transmitted so often that the peer is taken for gone. Nothing stops by itself.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Asks the peer for its window with the next flush. Any peer answers: a sign of life where KCP has none.
    pub fn ask_window(&mut self) {
        self.asks_window = true;
        self.urgent = true;
    }

    /// Whether reading gave a reason to flush before the time [`check`](Self::check) last named.
    pub fn wants_flush(&self) -> bool {
        self.urgent
    }

    /// Conversation number.
    pub fn conv(&self) -> u32 {
        self.conv
    }

    /// The settings in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Most data bytes of a segment.
    pub fn mss(&self) -> usize {
        settings::mss(self.config.mtu)
    }

    /// Smoothed round-trip time, 0 before the first sample; its variance; the timeout of new segments. All in ms.
    pub fn rtt(&self) -> (u32, u32, u32) {
        (self.rtt.smoothed(), self.rtt.variance(), self.rtt.rto())
    }

    /// Congestion window and the peer's window, in segments.
    pub fn windows(&self) -> (u32, u32) {
        (self.cwnd.window(), self.remote_window)
    }

    /// Numbers of the oldest segment in flight, of the next new one, and of the next expected.
    pub fn numbers(&self) -> (u32, u32, u32) {
        (self.flight.first(), self.flight.next(), self.inbox.next())
    }

    /// Segments queued, in flight, in order for the reader, ahead of order; acknowledgements waiting.
    pub fn queues(&self) -> (usize, usize, usize, usize, usize) {
        let (ready, ahead) = self.inbox.held();
        (self.outbox.len(), self.flight.len(), ready, ahead, self.acks.len())
    }

    /// What was counted so far.
    pub fn stats(&self) -> &KcpStats {
        &self.stats
    }

    /// Whether small writes are joined. Queued segments keep their boundaries.
    pub fn set_stream(&mut self, stream: bool) {
        self.config.stream = stream;
    }

    /// Most bytes of a datagram. Queued segments keep their size.
    ///
    /// # Errors
    /// [`SettingError::Mtu`] outside [`MIN_MTU`] to [`MAX_MTU`]; nothing changes.
    pub fn set_mtu(&mut self, mtu: usize) -> Result<(), SettingError> {
        if !(MIN_MTU..=MAX_MTU).contains(&mtu) {
            return Err(SettingError::Mtu { given: mtu, least: MIN_MTU });
        }
        self.config.mtu = mtu;
        Ok(())
    }

    /// Send and receive window, in segments.
    ///
    /// # Errors
    /// [`SettingError::Window`] when one is 0 or over [`MAX_WINDOW`]; nothing changes.
    pub fn set_window(&mut self, send: u32, receive: u32) -> Result<(), SettingError> {
        if let Some(given) = [send, receive].into_iter().find(|given| !(1..=MAX_WINDOW).contains(given)) {
            return Err(SettingError::Window { given });
        }
        self.config.snd_wnd = send;
        self.config.rcv_wnd = receive.max(self.config.timing.rules().min_rcv_wnd);
        self.inbox.set_window(self.config.rcv_wnd);
        Ok(())
    }

    /// Latency settings; the interval is kept within [`INTERVAL`].
    pub fn set_nodelay(&mut self, nodelay: NoDelay) {
        self.config.nodelay = bounded(nodelay);
        self.rtt.set_level(nodelay.level);
        self.flight.policy_changed(&policy(&self.config));
    }

    /// Whether acknowledgements leave with the batch they belong to.
    pub fn set_ack_no_delay(&mut self, on: bool) {
        self.config.ack_no_delay = on;
    }

    /// Whether small writes wait for the next tick.
    pub fn set_write_delay(&mut self, on: bool) {
        self.config.write_delay = on;
    }

    /// Limits bursts.
    pub fn set_pacing(&mut self, pacing: Pacing) {
        self.config.pacing = pacing;
    }

    /// Transmissions of one segment after which the link counts as dead.
    pub fn set_dead_link(&mut self, transmissions: u32) {
        self.config.dead_link = transmissions;
    }

    /// Extends the caller's 32-bit clock: the nearest time to the last one that has these low bits.
    fn extend(&mut self, clock: u32) -> i64 {
        if !std::mem::replace(&mut self.started, true) {
            self.now = i64::from(clock);
        }
        self.now + i64::from(segment::distance(clock, self.now as u32))
    }

    /// A window that opened is told at once; under prompt timing one that grew by half, too, so that a sender who
    /// waits for a slow reader need not run dry.
    fn owe_window(&mut self, opened: bool) {
        let grown = self.inbox.free().saturating_sub(self.told_window) >= self.config.rcv_wnd.div_ceil(2);
        if opened || grown && self.config.timing.rules().tells_grown_window {
            self.owes_window = true;
            self.urgent = true;
        }
    }
}

fn bounded(nodelay: NoDelay) -> NoDelay {
    let interval = nodelay.interval.clamp(*INTERVAL.start(), *INTERVAL.end());
    NoDelay { interval, ..nodelay }
}

/// How the flight treats its segments under these settings.
fn policy(config: &Config) -> Policy {
    let NoDelay { level, resend, .. } = config.nodelay;
    Policy { rules: config.timing.rules(), level, resend: if resend == 0 { u32::MAX } else { resend } }
}

//! What a user may choose, its bounds, and the table of what differs between the two timings.

use super::segment::HEADER_LEN;

/// Least MTU: a header and 26 bytes of data.
pub const MIN_MTU: usize = 50;
/// Greatest MTU: what fits in a UDP datagram.
pub const MAX_MTU: usize = 65_507;
/// Bounds of the update interval, in ms.
pub const INTERVAL: std::ops::RangeInclusive<u32> = 10..=5000;
/// Least receive window, in segments: the longest message of any peer must fit.
pub const MIN_RCV_WND: u32 = 128;
/// Greatest window, in segments: far below half the number space, where numbers before and after could be confused. A
/// header has 16 bits for the free part of it, so a peer sees the rest modulo 65 536.
pub const MAX_WINDOW: u32 = 1 << 20;
/// Most fragments of one message.
pub const MAX_FRAGMENTS: usize = 127;
/// Acknowledgements that wait for a flush; more are dropped, and their senders ask again.
pub const MAX_PENDING_ACKS: usize = 8192;

/// When things are sent. The bytes are the same, and each timing can talk to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timing {
    /// The C KCP 1.7.1, datagram by datagram: everything leaves at the ticks of [`update`](super::Kcp::update).
    Classic,
    /// Acknowledges and resends as soon as a datagram gives reason to, and sleeps when nothing is due.
    #[default]
    Prompt,
}

/// How hard to fight for latency: the four figures of `ikcp_nodelay` and `SetNoDelay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDelay {
    /// 0: least retransmission timeout 100 ms, doubling with each. 1: 30 ms, growing by half. 2: 30 ms, growing by half
    /// of what was measured.
    pub level: u32,
    /// Update interval in ms, kept within [`INTERVAL`].
    pub interval: u32,
    /// Resend after so many later segments were acknowledged; 0 turns this off.
    pub resend: u32,
    /// Whether the congestion window limits sending.
    pub congestion: bool,
}

impl NoDelay {
    /// What KCP starts with: 0, 100 ms, no fast resend, congestion control.
    pub const DEFAULT: Self = Self { level: 0, interval: 100, resend: 0, congestion: true };
    /// kcptun's `normal`.
    pub const NORMAL: Self = Self { level: 0, interval: 40, resend: 2, congestion: false };
    /// kcptun's `fast`.
    pub const FAST: Self = Self { level: 0, interval: 30, resend: 2, congestion: false };
    /// kcptun's `fast2`.
    pub const FAST2: Self = Self { level: 1, interval: 20, resend: 2, congestion: false };
    /// kcptun's `fast3`: least latency, most bandwidth.
    pub const FAST3: Self = Self { level: 1, interval: 10, resend: 2, congestion: false };
}

impl Default for NoDelay {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How fast data may leave, besides the windows. Classic timing ignores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pacing {
    /// As fast as the windows allow.
    #[default]
    Off,
    /// At most so many bytes of data a second, in bursts of at most [`PACING_BURST`](super::PACING_BURST) bytes.
    Rate(u32),
    /// A quarter faster than one window a round trip, so that a window does not leave as one burst.
    Auto,
}

/// The least and greatest that a setting may be, in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// An MTU out of bounds.
    #[error("mtu is {given}, it must be {least} to {MAX_MTU} bytes")]
    Mtu {
        /// The figure given.
        given: usize,
        /// Least figure allowed here.
        least: usize,
    },
    /// A window of nothing, or beyond [`MAX_WINDOW`].
    #[error("a window is {given}, it must be 1 to {MAX_WINDOW} segments")]
    Window {
        /// The figure given.
        given: u32,
    },
}

/// Settings of a conversation. All but `timing` and `stream` can be changed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// When things are sent.
    pub timing: Timing,
    /// Joins small writes into full segments; message boundaries are lost.
    pub stream: bool,
    /// Most bytes of a datagram of segments.
    pub mtu: usize,
    /// Most segments in flight.
    pub snd_wnd: u32,
    /// Most segments held for the reader. Classic timing raises it to [`MIN_RCV_WND`].
    pub rcv_wnd: u32,
    /// Latency settings.
    pub nodelay: NoDelay,
    /// Acknowledge at the end of each batch of datagrams rather than at the next tick. Classic timing ignores it.
    pub ack_no_delay: bool,
    /// Lets small writes wait for the next tick, or for a full window. Classic timing ignores it.
    pub write_delay: bool,
    /// Limits bursts.
    pub pacing: Pacing,
    /// Transmissions of one segment after which the link counts as dead.
    pub dead_link: u32,
}

impl Config {
    /// The C KCP with its defaults.
    pub fn classic() -> Self {
        Self { timing: Timing::Classic, ..Self::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timing: Timing::Prompt,
            stream: false,
            mtu: 1400,
            snd_wnd: 32,
            rcv_wnd: 128,
            nodelay: NoDelay::DEFAULT,
            ack_no_delay: true,
            write_delay: false,
            pacing: Pacing::Off,
            dead_link: 20,
        }
    }
}

/// Most data bytes of a segment.
pub(crate) fn mss(mtu: usize) -> usize {
    mtu.saturating_sub(HEADER_LEN).max(1)
}

/// What differs between the timings, and nothing else does.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Input uses the clock of the last update rather than its own.
    pub(crate) clock_of_update: bool,
    /// Flush does nothing before the first update.
    pub(crate) waits_for_update: bool,
    /// Acknowledgements that `una` covers are left out, but for the last.
    pub(crate) drops_covered_acks: bool,
    /// Only the last ACK of a datagram is an RTT sample.
    pub(crate) one_sample_a_datagram: bool,
    /// A sample far below the mean hardly raises the variance.
    pub(crate) damped_variance: bool,
    /// Every ACK counts the segments it overtook, not only the greatest of the datagram.
    pub(crate) every_ack_counts: bool,
    /// Most transmissions of a segment that is resent fast; later ones wait for the timeout.
    pub(crate) fast_limit: u32,
    /// A fast resend starts from the measured timeout again.
    pub(crate) fast_takes_measured_rto: bool,
    /// The congestion window shrinks once a round trip, not at each flush that resends (RFC 9002 §7.3.2).
    pub(crate) one_event_a_round: bool,
    /// An overtaken segment is resent when there is no new data to send.
    pub(crate) early_resend: bool,
    /// First timeout is later by an eighth when `level` is 0.
    pub(crate) slow_first_timeout: bool,
    /// Where the timeout of a segment that is sent again and again stops growing, in ms; the measured one may be more.
    pub(crate) longest_backoff: u32,
    /// A timeout forgets who overtook the segment.
    pub(crate) timeout_clears_skips: bool,
    /// A window that grew much is told although it was never closed.
    pub(crate) tells_grown_window: bool,
    /// What comes again although it was acknowledged is answered twice, the second time an interval later.
    pub(crate) answers_again: bool,
    /// First wait before asking a closed window, in ms.
    pub(crate) first_probe: u32,
    /// Congestion window and threshold at the start, in segments.
    pub(crate) initial_cwnd: u32,
    pub(crate) initial_ssthresh: u32,
    /// Least receive window.
    pub(crate) min_rcv_wnd: u32,
}

impl Timing {
    pub(crate) fn rules(self) -> &'static Rules {
        match self {
            Self::Classic => &CLASSIC,
            Self::Prompt => &PROMPT,
        }
    }
}

static CLASSIC: Rules = Rules {
    clock_of_update: true,
    waits_for_update: true,
    drops_covered_acks: false,
    one_sample_a_datagram: false,
    damped_variance: false,
    every_ack_counts: false,
    fast_limit: 5,
    fast_takes_measured_rto: false,
    one_event_a_round: false,
    early_resend: false,
    slow_first_timeout: true,
    // It never does; a sum that grew for ever would wrap.
    longest_backoff: 1 << 30,
    timeout_clears_skips: false,
    tells_grown_window: false,
    answers_again: false,
    first_probe: 7_000,
    initial_cwnd: 0,
    initial_ssthresh: 2,
    min_rcv_wnd: MIN_RCV_WND,
};

static PROMPT: Rules = Rules {
    clock_of_update: false,
    waits_for_update: false,
    drops_covered_acks: true,
    one_sample_a_datagram: true,
    damped_variance: true,
    every_ack_counts: true,
    fast_limit: u32::MAX,
    fast_takes_measured_rto: true,
    one_event_a_round: true,
    early_resend: true,
    slow_first_timeout: false,
    // After an outage traffic is back soon.
    longest_backoff: 2_000,
    timeout_clears_skips: true,
    tells_grown_window: true,
    // A peer whose timeout doubles waits twice as long for each answer that is lost.
    answers_again: true,
    first_probe: 500,
    // RFC 6928 §2 and RFC 5681 §3.1: ten segments, and slow start until the first loss.
    initial_cwnd: 10,
    initial_ssthresh: u32::MAX,
    min_rcv_wnd: 1,
};

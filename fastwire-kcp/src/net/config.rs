//! What a socket and its sessions are opened with.

use crate::core::NoDelay;
use crate::crypt::Crypt;
use crate::fec::FecRatio;
use crate::session::{Compat, SessionConfig};
use std::time::Duration;

/// Settings of [`KcpStream`](super::KcpStream)s and [`KcpListener`](super::KcpListener)s. Start from
/// [`new`](Self::new) and change what differs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KcpConfig {
    /// Packet protection; both ends need the same.
    pub crypt: Crypt,
    /// The session: windows, latency, datagram size, error correction.
    pub session: SessionConfig,
    /// A peer that was not heard for so long is gone: reads and writes then fail with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut). KCP has no close, so this is how most sessions end. Default 5 minutes.
    pub idle_timeout: Option<Duration>,
    /// After so long without hearing the peer, ask for a sign of life; any KCP answers. Default none: kcp-go sends
    /// nothing on an idle session.
    pub keepalive: Option<Duration>,
    /// How long data that was not acknowledged is still sent after the last handle is gone. Default 30 s.
    pub linger: Duration,
    /// Listener: sessions that wait for accept; more are not opened. Default 128.
    pub backlog: usize,
    /// Listener: sessions at a time; more are not opened. Default 65 536.
    pub max_sessions: usize,
    /// Listener: how to treat what no well-behaved peer sends.
    pub compat: Compat,
}

impl KcpConfig {
    /// Defaults around `crypt`. Choose an AEAD, such as
    /// [`CryptKind::Aes128Gcm`](crate::crypt::CryptKind::Aes128Gcm), unless the peer cannot.
    pub fn new(crypt: Crypt) -> Self {
        Self {
            crypt,
            session: SessionConfig::default(),
            idle_timeout: Some(Duration::from_secs(300)),
            keepalive: None,
            linger: Duration::from_secs(30),
            backlog: 128,
            max_sessions: 65_536,
            compat: Compat::Safe,
        }
    }

    /// Joins small writes, as a TCP stream does; message boundaries are lost.
    #[must_use]
    pub fn stream(mut self, on: bool) -> Self {
        self.session.kcp.stream = on;
        self
    }

    /// Latency settings.
    #[must_use]
    pub fn nodelay(mut self, nodelay: NoDelay) -> Self {
        self.session.kcp.nodelay = nodelay;
        self
    }

    /// Send and receive window, in segments.
    #[must_use]
    pub fn window(mut self, send: u32, receive: u32) -> Self {
        self.session.kcp.snd_wnd = send;
        self.session.kcp.rcv_wnd = receive;
        self
    }

    /// Size of whole datagrams, in bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: usize) -> Self {
        self.session.kcp.mtu = mtu;
        self
    }

    /// Error correction of what this side sends.
    #[must_use]
    pub fn fec(mut self, ratio: Option<FecRatio>) -> Self {
        self.session.fec = ratio;
        self
    }

    /// See [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// See [`keepalive`](Self::keepalive).
    #[must_use]
    pub fn keepalive(mut self, after: Option<Duration>) -> Self {
        self.keepalive = after;
        self
    }
}

//! The info query: what a server tells a server browser, and how to ask.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastwire_wire::info::{InfoAnswer, InfoRequest, MAX_INFO_DETAILS, MAX_INFO_NAME, MIN_INFO_REQUEST};

use crate::ConfigError;

/// A question that got no answer is asked again after this share of the patience.
pub(crate) const ATTEMPTS: u32 = 3;

/// What a server says about itself to anybody who asks. How many connections there are, and may be, it adds by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Its name, at most 64 bytes.
    pub name: String,
    /// Whatever else the application wants to say, at most 256 bytes: the map, the mode, a colour.
    pub details: Bytes,
}

impl ServerInfo {
    /// A server with this name and nothing else to say.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), details: Bytes::new() }
    }

    /// Adds what the application wants to say.
    #[must_use]
    pub fn with_details(self, details: impl Into<Bytes>) -> Self {
        Self { details: details.into(), ..self }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.name.len() > MAX_INFO_NAME {
            return Err(ConfigError::range("info.name", self.name.len(), "at most 64 bytes"));
        }
        if self.details.len() > MAX_INFO_DETAILS {
            return Err(ConfigError::range("info.details", self.details.len(), "at most 256 bytes"));
        }
        Ok(())
    }
}

/// What a server answered. Nothing of it is proved: whoever is on the path can write what he likes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// What its application adds.
    pub details: Vec<u8>,
    /// The application's version.
    pub application_version: u16,
    /// Connections there are,
    pub players: u32,
    /// and may be.
    pub max_players: u32,
    /// A client needs a secret or a token to be let in.
    pub needs_secret: bool,
    /// How long the answer took.
    pub ping: Duration,
}

/// Asks a server about itself, and waits at most for `patience`. Servers answer only where
/// [`ServerConfig::info`](crate::ServerConfig::info) is set.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] if no answer came, else what the system says of the name or the socket.
///
/// ```
/// use std::time::Duration;
/// use fastwire::{Server, ServerConfig, ServerInfo};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = ServerConfig::default();
/// config.info = Some(ServerInfo::new("Harbour 7"));
/// let server = Server::builder().config(config).bind("127.0.0.1:0")?.spawn(())?;
/// let address = server.local_addr().expect("bound");
/// let status = fastwire::query(address, Duration::from_secs(2))?;
/// assert_eq!((&status.name[..], status.players), ("Harbour 7", 0));
/// # Ok(())
/// # }
/// ```
pub fn query(server: impl ToSocketAddrs + fmt::Debug, patience: Duration) -> io::Result<ServerStatus> {
    let nobody = || io::Error::new(io::ErrorKind::NotFound, format!("{server:?} gives no address"));
    let at = server.to_socket_addrs()?.next().ok_or_else(nobody)?;
    let socket = UdpSocket::bind(any_of(at))?;
    socket.connect(at)?;
    let question = Question::new()?;
    let mut buffer = [0; MIN_INFO_REQUEST];
    let each = (patience / ATTEMPTS).max(Duration::from_millis(1));
    for _ in 0..ATTEMPTS {
        let asked = Instant::now();
        // What cannot be sent is lost; the system may say so of the attempt before.
        let _ = socket.send(&question.datagram);
        loop {
            let left = each.saturating_sub(asked.elapsed());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    if let Some(status) = question.read(buffer.get(..length).unwrap_or_default(), asked) {
                        return Ok(status);
                    }
                }
                Err(error) if is_timeout(&error) => break,
                // Nobody listens there, for the moment.
                Err(_) => std::thread::sleep(left.min(Duration::from_millis(10))),
            }
        }
    }
    Err(no_answer(at))
}

/// A question, and how to know its answer.
pub(crate) struct Question {
    pub(crate) datagram: [u8; MIN_INFO_REQUEST],
    nonce: [u8; 8],
}

impl Question {
    pub(crate) fn new() -> io::Result<Self> {
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
        let mut datagram = [0; MIN_INFO_REQUEST];
        InfoRequest { nonce }.encode(&mut datagram).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { datagram, nonce })
    }

    pub(crate) fn read(&self, datagram: &[u8], asked: Instant) -> Option<ServerStatus> {
        let answer = InfoAnswer::decode(datagram).filter(|answer| answer.nonce == self.nonce)?;
        Some(ServerStatus {
            name: answer.name.to_owned(),
            details: answer.details.to_vec(),
            application_version: answer.application_version,
            players: answer.players,
            max_players: answer.max_players,
            needs_secret: answer.needs_secret,
            ping: asked.elapsed(),
        })
    }
}

/// Where to ask a server from.
pub(crate) fn any_of(at: SocketAddr) -> SocketAddr {
    if at.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() }
}

pub(crate) fn no_answer(at: SocketAddr) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{at} did not answer; servers do only where info is set"))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

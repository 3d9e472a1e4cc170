//! Opening whole packets: check the replay window, decrypt in place, move the window (PROTOCOL A3).

use std::fmt;
use std::ops::Range;

use crate::cipher::Cipher;
use crate::replay::{Freshness, ReplayWindow};
use crate::seal::{PREFIX_LEN, SUFFIX_LEN, aead_nonce};

/// The base profile's replay window: 1024 packets (PROTOCOL A3).
const WINDOW_WORDS: usize = 16;

/// Why a packet was not opened. It costs the receiver a counter, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The packet cannot hold nonce and tag.
    #[error("packet of {len} bytes is too short: nonce and tag alone take {needed}")]
    TooShort {
        /// Bytes of the packet.
        len: usize,
        /// Bytes of prefix and suffix.
        needed: usize,
    },
    /// The nonce was seen before, is older than the replay window, or 0.
    #[error("packet with nonce {nonce} replayed or older than the window")]
    Replayed {
        /// The packet's nonce.
        nonce: u64,
    },
    /// The packet was not sealed with this key, or was changed on its way.
    #[error("packet forged or damaged: its tag does not fit")]
    Forged,
    /// So many packets failed to open that guessing is no longer hopeless: end the connection.
    #[error("{limit} forged packets: reconnect to get new keys")]
    LimitReached {
        /// Packets that may fail to open.
        limit: u64,
    },
}

/// A packet that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The packet's nonce; with suite 0 always 0.
    pub nonce: u64,
    /// Where in the packet the plaintext lies.
    pub range: Range<usize>,
    /// Whether the nonce is higher than all before it; with suite 0, which has none, always true.
    pub newest: bool,
}

/// One direction of a connection, receiving side. No nonce gets through it twice.
pub struct Opener<C> {
    cipher: C,
    plaintext: bool,
    /// Packets that may fail to open.
    limit: u64,
    /// Packets that failed to open.
    forgeries: u64,
    /// Moved only by packets that opened, so that forged ones cannot poison it.
    window: ReplayWindow<WINDOW_WORDS>,
}

impl<C: Cipher> Opener<C> {
    /// Starts with an empty window of 1024 packets.
    pub fn new(cipher: C) -> Self {
        let (plaintext, limit) = (cipher.is_plaintext(), cipher.limits().forgeries);
        Self { cipher, plaintext, limit, forgeries: 0, window: ReplayWindow::new() }
    }

    /// The highest nonce opened; 0 before the first.
    pub const fn highest(&self) -> u64 {
        self.window.highest()
    }

    /// Whether packets travel bare (suite 0).
    pub const fn is_plaintext(&self) -> bool {
        self.plaintext
    }

    /// Packets that failed to open although they were long enough and fresh.
    pub const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// Opens a packet in place. With suite 0 every packet opens and stays as it is.
    ///
    /// # Errors
    ///
    /// Every [`OpenError`]; the packet holds no plaintext and the window has not moved then.
    #[inline]
    pub fn open(&mut self, packet: &mut [u8]) -> Result<Opened, OpenError> {
        let len = packet.len();
        if self.plaintext {
            return Ok(Opened { nonce: 0, range: 0..len, newest: true });
        }
        let too_short = OpenError::TooShort { len, needed: PREFIX_LEN + SUFFIX_LEN };
        let (prefix, rest) = packet.split_first_chunk_mut::<PREFIX_LEN>().ok_or(too_short)?;
        let (data, suffix) = rest.split_last_chunk_mut::<SUFFIX_LEN>().ok_or(too_short)?;
        if self.forgeries >= self.limit {
            return Err(OpenError::LimitReached { limit: self.limit });
        }
        let nonce = u64::from_le_bytes(*prefix);
        let freshness = self.window.check(nonce);
        if nonce == 0 || !freshness.is_fresh() {
            return Err(OpenError::Replayed { nonce });
        }
        if self.cipher.open(&aead_nonce(*prefix), &[], data, suffix).is_err() {
            self.forgeries = self.forgeries.saturating_add(1);
            return Err(OpenError::Forged);
        }
        self.window.commit(nonce);
        Ok(Opened {
            nonce,
            range: PREFIX_LEN..len.saturating_sub(SUFFIX_LEN),
            newest: freshness == Freshness::Newest,
        })
    }
}

impl<C> fmt::Debug for Opener<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("forgeries", &self.forgeries)
            .field("highest", &self.window.highest())
            .finish_non_exhaustive()
    }
}

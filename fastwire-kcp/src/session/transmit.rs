//! Outgoing datagrams: one buffer for a whole batch, each datagram framed, protected and laid end to end.

use super::Counters;
use crate::core::Output;
use crate::crypt::{Crypt, NONCE_LEN, PacketCrypt};
use crate::fec::{FEC_HEADER_LEN, FecSender, parity_header};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::ops::Range;

/// Finished datagrams, and the randomness their nonces come from. Reused from batch to batch.
pub struct TransmitBuf {
    bytes: Vec<u8>,
    /// End of each datagram in `bytes`; it starts where the one before it ends.
    ends: Vec<usize>,
    nonces: ChaCha12Rng,
}

impl TransmitBuf {
    /// An empty buffer. `seed` must be fresh randomness from the operating system, never used twice: with an AEAD,
    /// security rests on nonces that do not repeat.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), nonces: ChaCha12Rng::from_seed(seed) }
    }

    /// The datagrams, in the order in which they are to leave.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|i| self.bytes.get(self.range(i)).unwrap_or_default())
    }

    /// Number of datagrams.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all datagrams.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Datagrams from `first` on that can leave as one train: all of one length, only the last may be shorter, at
    /// most `max` of them and 64 000 bytes. Their bytes and that length; empty at the end.
    pub fn train(&self, first: usize, max: usize) -> (&[u8], usize, usize) {
        if first >= self.ends.len() {
            return (&[], 0, 0);
        }
        let start = self.range(first).start;
        let segment = self.range(first).len();
        let mut count = 1;
        while count < max && first + count < self.ends.len() {
            let next = self.range(first + count);
            if next.len() > segment || next.end - start > 64_000 {
                break;
            }
            count += 1;
            if next.len() < segment {
                break;
            }
        }
        let train = self.bytes.get(start..self.range(first + count - 1).end);
        (train.unwrap_or_default(), segment, count)
    }

    /// Forgets the datagrams, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    #[cfg(all(test, feature = "tokio"))]
    pub(crate) fn push(&mut self, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.ends.push(self.bytes.len());
    }

    fn range(&self, i: usize) -> Range<usize> {
        let end = |i: usize| self.ends.get(i).copied().unwrap_or(0);
        i.checked_sub(1).map_or(0, end)..end(i)
    }

    fn start(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

impl std::fmt::Debug for TransmitBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TransmitBuf({} datagrams, {} bytes)", self.len(), self.total_bytes())
    }
}

/// Wraps the datagrams of one flush in what the session puts around them.
pub(super) struct Framer<'a> {
    pub(super) now: u32,
    pub(super) buf: &'a mut TransmitBuf,
    pub(super) crypt: &'a Crypt,
    pub(super) fec: Option<&'a mut FecSender>,
    /// Copies of each datagram besides the first.
    pub(super) copies: u8,
    pub(super) counters: &'a mut Counters,
}

impl Output for Framer<'_> {
    fn begin(&mut self) {
        debug_assert_eq!(self.buf.bytes.len(), self.buf.start());
        let room = self.crypt.header_len() + if self.fec.is_some() { FEC_HEADER_LEN } else { 0 };
        self.buf.bytes.resize(self.buf.start() + room, 0);
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buf.bytes
    }

    fn end(&mut self) {
        let inner = self.buf.start() + self.crypt.header_len();
        let now = self.now;
        let packet = self.buf.bytes.get_mut(inner..).unwrap_or_default();
        let complete = self.fec.as_mut().is_some_and(|fec| fec.seal_data(now, packet));
        self.seal();
        if complete && let Some(fec) = self.fec.take() {
            for (seqid, parity) in fec.parity() {
                self.buf.bytes.resize(self.buf.start() + self.crypt.header_len(), 0);
                self.buf.bytes.extend_from_slice(&parity_header(seqid));
                self.buf.bytes.extend_from_slice(parity);
                self.seal();
            }
            self.fec = Some(fec);
        }
    }
}

impl Framer<'_> {
    /// Protects the open datagram and closes it.
    pub(super) fn seal(&mut self) {
        let start = self.buf.start();
        let inner_end = self.buf.bytes.len();
        let mut nonce = [0; NONCE_LEN];
        for copy in 0..=self.copies {
            if copy > 0 {
                // A copy is the same datagram; bytes that repeat tell an onlooker no more than their number.
                self.buf
                    .bytes
                    .extend_from_within(start..start + (self.buf.start() - start) / usize::from(copy));
            } else {
                self.buf.bytes.resize(inner_end + self.crypt.tag_len(), 0);
                self.buf.nonces.fill_bytes(&mut nonce);
                if self.crypt.seal(self.buf.bytes.get_mut(start..).unwrap_or_default(), &nonce).is_err() {
                    // Only a crypt of the user's own can refuse; what it refuses must not leave.
                    self.buf.bytes.truncate(start);
                    self.counters.in_errs += 1;
                    return;
                }
            }
            let end = self.buf.bytes.len();
            self.counters.out_pkts += 1;
            self.counters.out_bytes += (end - self.buf.start()) as u64;
            self.buf.ends.push(end);
        }
    }
}

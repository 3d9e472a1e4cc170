//! Puts segments into datagrams.

use super::segment::{HEADER_LEN, Header};

/// Where a conversation writes its datagrams.
///
/// One at a time: `begin`, then bytes appended to `buffer`, then `end`. An implementation may leave room
/// in front of and behind the bytes for what it wraps around them.
pub trait Output {
    /// Starts a datagram.
    fn begin(&mut self);
    /// The buffer at whose end the datagram grows. Bytes already in it must be left alone.
    fn buffer(&mut self) -> &mut Vec<u8>;
    /// The datagram is complete.
    fn end(&mut self);
}

/// Each datagram a vector of its own: simple, for tests and first steps.
impl Output for Vec<Vec<u8>> {
    fn begin(&mut self) {
        self.push(Vec::new());
    }

    #[allow(clippy::indexing_slicing, reason = "there is one: it was pushed if there was none")]
    fn buffer(&mut self) -> &mut Vec<u8> {
        if self.is_empty() {
            self.push(Vec::new());
        }
        let last = self.len() - 1;
        &mut self[last]
    }

    fn end(&mut self) {}
}

/// The datagram under construction in one flush.
pub(crate) struct Packer<'a, O: Output> {
    output: &'a mut O,
    mtu: usize,
    /// Bytes of the open datagram; 0 when none is open.
    len: usize,
    /// Datagrams begun.
    pub(crate) datagrams: u64,
}

impl<'a, O: Output> Packer<'a, O> {
    pub(crate) fn new(output: &'a mut O, mtu: usize) -> Self {
        Self { output, mtu, len: 0, datagrams: 0 }
    }

    /// Appends a segment, to a new datagram when the open one has no room. A segment larger than the MTU
    /// (queued before the MTU shrank) goes alone.
    pub(crate) fn push(&mut self, header: &Header, data: &[u8]) {
        let len = HEADER_LEN + data.len();
        if self.len > 0 && self.len + len > self.mtu {
            self.finish();
        }
        if self.len == 0 {
            self.output.begin();
            self.datagrams += 1;
        }
        let buffer = self.output.buffer();
        buffer.extend_from_slice(&header.encode());
        buffer.extend_from_slice(data);
        self.len += len;
    }

    /// Closes the open datagram, if any.
    pub(crate) fn finish(&mut self) {
        if self.len > 0 {
            self.output.end();
            self.len = 0;
        }
    }
}

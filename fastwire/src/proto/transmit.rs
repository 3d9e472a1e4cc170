//! The datagrams under construction: one reused buffer, filled in place, sealed in place.

use std::net::{IpAddr, SocketAddr};

use fastwire_crypto::{Cipher, Sealer};
use fastwire_wire::{Features, FragmentHeader, PacketHeader};

use crate::ConnectionId;
use crate::transport::{MAX_DATAGRAM, SocketId, Transmit};

/// Bytes of the batch frame: a count, and a length before each packet (PROTOCOL A9).
const BATCH_COUNT: usize = 1;
const BATCH_LENGTH: usize = 2;
/// Most packets in one batch: the count is one byte.
const MAX_BATCH: u8 = 255;

/// Holds a train: datagrams of one size to one address, only the last one shorter (the law of generic segmentation
/// offload). Owned by the shell and reused; before the train under construction there may be others that wait to be sent.
#[derive(Debug)]
pub struct TransmitBuf {
    /// Storage, never shrunk and never cleared: what counts are its bytes from `base` to `len`.
    bytes: Vec<u8>,
    /// Where the train under construction begins: behind those that were set aside.
    base: usize,
    len: usize,
    /// Most datagrams in one send call.
    max_segments: usize,
    /// Size of the first datagram; 0 while there is none.
    segment_size: usize,
    segments: usize,
    /// A shorter datagram ended the train.
    closed: bool,
    /// Whose datagrams these are; `None` for answers to strangers.
    connection: Option<ConnectionId>,
}

impl TransmitBuf {
    /// A buffer for up to `max_segments` datagrams a send call (what the transport can take; at least 1).
    pub fn new(max_segments: usize) -> Self {
        Self {
            bytes: Vec::new(),
            base: 0,
            len: 0,
            max_segments: max_segments.max(1),
            segment_size: 0,
            segments: 0,
            closed: false,
            connection: None,
        }
    }

    /// Changes how many datagrams the transport takes in one send call from now on (at least 1).
    pub fn set_max_segments(&mut self, max_segments: usize) {
        self.max_segments = max_segments.max(1);
    }

    /// The connection whose datagrams were filled in last, for
    /// [`Endpoint::on_send_error`](super::Endpoint::on_send_error); `None` where they belong to none.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    pub(crate) fn set_connection(&mut self, id: ConnectionId) {
        self.connection = Some(id);
    }

    /// Keeps the train as it is and begins another behind it.
    pub(crate) fn set_aside(&mut self) -> Aside {
        let aside = Aside { start: self.base, end: self.len, segment_size: self.train_size() };
        self.base = self.len;
        self.clear();
        aside
    }

    /// Forgets the trains that were set aside, and the one under construction.
    pub(crate) fn forget_all(&mut self) {
        self.base = 0;
        self.clear();
    }

    /// Bytes of the trains that were set aside.
    pub(crate) fn aside_len(&self) -> usize {
        self.base
    }

    pub(crate) fn clear(&mut self) {
        self.len = self.base;
        self.segment_size = 0;
        self.segments = 0;
        self.closed = false;
        self.connection = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments == 0
    }

    pub(crate) fn segments(&self) -> usize {
        self.segments
    }

    /// Bytes of the train under construction.
    pub(crate) fn len(&self) -> usize {
        self.len - self.base
    }

    /// What was filled in.
    pub(crate) fn contents(&self) -> &[u8] {
        self.bytes.get(self.base..self.len).unwrap_or_default()
    }

    /// How large the next datagram may be, given the largest the path takes; `None` when the train is full: it has as many
    /// datagrams, or together as many bytes, as one send call takes.
    pub(crate) fn room(&self, max_datagram: usize) -> Option<usize> {
        if self.segments == 0 {
            return Some(max_datagram);
        }
        let fits = self.segments < self.max_segments && self.len() + self.segment_size <= MAX_DATAGRAM;
        (!self.closed && fits).then(|| max_datagram.min(self.segment_size))
    }

    /// Whether the datagrams are smaller than the path takes, and another of their size would still fit.
    pub(crate) fn is_natural(&self, max_datagram: usize) -> bool {
        self.room(max_datagram).is_some_and(|room| self.segments > 0 && room < max_datagram)
    }

    fn end_datagram(&mut self, start: usize) {
        let len = self.len - start;
        if self.segments == 0 {
            self.segment_size = len;
        }
        debug_assert!(len <= self.segment_size);
        self.closed = len < self.segment_size;
        self.segments += 1;
    }

    /// Adds a datagram as it is (handshake packets). Only into an empty buffer.
    pub(crate) fn push_datagram(&mut self, datagram: &[u8]) {
        debug_assert!(self.is_empty());
        let start = self.len;
        self.append(datagram);
        self.end_datagram(start);
    }

    /// Room for the next datagram, of at most `size` bytes (what [`room`](Self::room) allows). It counts once
    /// [`close_datagram`](Self::close_datagram) says how long it became.
    pub(crate) fn open_datagram(&mut self, size: usize) -> &mut [u8] {
        let start = self.len;
        self.reserve(size);
        self.bytes.get_mut(start..start + size).unwrap_or_default()
    }

    /// The datagram just opened has `len` bytes.
    pub(crate) fn close_datagram(&mut self, len: usize) {
        let start = self.len;
        self.len = (start + len).min(self.bytes.len());
        self.end_datagram(start);
    }

    fn append(&mut self, bytes: &[u8]) {
        let start = self.grow(bytes.len());
        if let Some(room) = self.bytes.get_mut(start..self.len) {
            room.copy_from_slice(bytes);
        }
    }

    /// Takes `more` bytes of storage, whatever they hold; gives where they start.
    fn grow(&mut self, more: usize) -> usize {
        let start = self.len;
        self.reserve(more);
        self.len += more;
        start
    }

    fn reserve(&mut self, more: usize) {
        if self.bytes.len() < self.len + more {
            self.bytes.resize(self.len + more, 0);
        }
    }

    pub(crate) fn transmit(&self, route: Route) -> Transmit<'_> {
        let Route { socket, remote, source } = route;
        let segment_size = self.train_size();
        let contents = self.contents();
        Transmit { segment_size, source, ..Transmit::new(socket, remote, contents) }
    }

    /// A train that was set aside, and not forgotten since.
    pub(crate) fn transmit_aside(&self, aside: &Aside, route: Route) -> Transmit<'_> {
        let Route { socket, remote, source } = route;
        let contents = self.bytes.get(aside.start..aside.end).unwrap_or_default();
        Transmit { segment_size: aside.segment_size, source, ..Transmit::new(socket, remote, contents) }
    }

    /// What a [`Transmit`] says of the sizes of the datagrams; a single one needs no word.
    fn train_size(&self) -> Option<usize> {
        (self.segments > 1).then_some(self.segment_size)
    }
}

/// Where in its [`TransmitBuf`] a train lies that was set aside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aside {
    start: usize,
    end: usize,
    segment_size: Option<usize>,
}

/// From where to where datagrams go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) socket: SocketId,
    pub(crate) remote: SocketAddr,
    /// The local address to send from, on a host that has several.
    pub(crate) source: Option<IpAddr>,
}

/// How the packets of one connection are laid into datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Framing {
    /// The client's migration token, before every datagram (PROTOCOL A10).
    pub(crate) token: Option<[u8; 8]>,
    /// The batch frame around packets (PROTOCOL A9).
    pub(crate) batched: bool,
}

impl Framing {
    /// The most that asking for `features` can lead to.
    pub(crate) fn most(features: Features) -> Self {
        Self {
            token: features.contains(Features::CONNECTION_MIGRATION).then_some([0; 8]),
            batched: features.contains(Features::SEND_BATCHING),
        }
    }

    /// Bytes of one datagram that the framing takes where it carries one packet.
    pub(crate) fn overhead(&self) -> usize {
        let token = if self.token.is_some() { 8 } else { 0 };
        token + if self.batched { BATCH_COUNT + BATCH_LENGTH } else { 0 }
    }
}

/// What goes into one sealed packet.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) header: PacketHeader,
    pub(crate) fragment: Option<FragmentHeader>,
    pub(crate) payload: &'a [u8],
}

impl Packet<'_> {
    fn plaintext_len(&self) -> usize {
        let fragment = if self.fragment.is_some() { FragmentHeader::LEN } else { 0 };
        self.header.encoded_len() + fragment + self.payload.len()
    }
}

/// Writes datagrams of one connection into a [`TransmitBuf`].
pub(crate) struct DatagramBuilder<'b> {
    buf: &'b mut TransmitBuf,
    framing: Framing,
    max_datagram: usize,
    /// Where the datagram under construction starts, and how far it may reach; `None` between datagrams.
    open: Option<Open>,
}

struct Open {
    start: usize,
    end: usize,
    packets: u8,
}

/// Why a packet was not written.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The train is full, or the packet is larger than its segments: send first.
    Full,
    /// The keys are used up.
    Keys,
}

impl<'b> DatagramBuilder<'b> {
    pub(crate) fn new(buf: &'b mut TransmitBuf, framing: Framing, max_datagram: usize) -> Self {
        Self { buf, framing, max_datagram, open: None }
    }

    /// Writes and seals one packet, in the open datagram where the framing packs several, else in a new
    /// one. Gives the bytes it added.
    pub(crate) fn packet<C: Cipher>(
        &mut self,
        sealer: &mut Sealer<C>,
        packet: &Packet<'_>,
    ) -> Result<usize, Refused> {
        let sealed = sealer.overhead() + packet.plaintext_len();
        let before = self.buf.len;
        self.make_room(sealed)?;
        let length = if self.framing.batched { BATCH_LENGTH } else { 0 };
        if self.framing.batched {
            self.buf.append(&(sealed as u16).to_le_bytes());
        }
        let start = self.buf.grow(sealed);
        let room = self.buf.bytes.get_mut(start..start + sealed).unwrap_or_default();
        write_plaintext(packet, room.get_mut(sealer.prefix_len()..).unwrap_or_default());
        if sealer.seal(room).is_err() {
            self.buf.len = start - length;
            self.drop_if_empty();
            return Err(Refused::Keys);
        }
        if let Some(open) = &mut self.open {
            open.packets += 1;
        }
        if !self.framing.batched {
            self.finish();
        }
        Ok(self.buf.len - before)
    }

    fn make_room(&mut self, sealed: usize) -> Result<(), Refused> {
        if let Some(open) = &self.open {
            if open.packets < MAX_BATCH && self.buf.len + BATCH_LENGTH + sealed <= open.end {
                return Ok(());
            }
            self.finish();
        }
        let room = self.buf.room(self.max_datagram).ok_or(Refused::Full)?;
        // A lone packet larger than the path takes cannot arise (pieces are cut to fit); in a train it may
        // be larger than the segments.
        if self.framing.overhead() + sealed > room && self.buf.segments > 0 {
            return Err(Refused::Full);
        }
        let start = self.buf.len;
        if let Some(token) = self.framing.token {
            self.buf.append(&token);
        }
        if self.framing.batched {
            self.buf.append(&[0]);
        }
        self.open = Some(Open { start, end: start + room, packets: 0 });
        Ok(())
    }

    fn drop_if_empty(&mut self) {
        if let Some(open) = self.open.take_if(|open| open.packets == 0) {
            self.buf.len = open.start;
        }
    }

    /// Ends the datagram under construction, if any.
    pub(crate) fn finish(&mut self) {
        self.drop_if_empty();
        let Some(open) = self.open.take() else { return };
        if self.framing.batched {
            let count = open.start + if self.framing.token.is_some() { 8 } else { 0 };
            if let Some(byte) = self.buf.bytes.get_mut(count) {
                *byte = open.packets;
            }
        }
        self.buf.end_datagram(open.start);
    }
}

fn write_plaintext(packet: &Packet<'_>, room: &mut [u8]) {
    // The room was sized from the same lengths, so nothing here fails.
    let mut at = packet.header.encode(room).unwrap_or_default();
    if let Some(fragment) = &packet.fragment {
        at += fragment.encode(room.get_mut(at..).unwrap_or_default()).unwrap_or_default();
    }
    if let Some(room) = room.get_mut(at..at + packet.payload.len()) {
        room.copy_from_slice(packet.payload);
    }
}

//! Frames: what an opened short packet consists of (PROTOCOL B5).

use core::fmt;

use super::Params;
use crate::{DecodeError, EncodeError, Reader, Writer, sum, varint_len, varlong_len};

/// A piece of a message has at least this many bytes, unless it reaches the message's end.
pub const MIN_PIECE: usize = 64;

const PAD: u8 = 0x00;
const CONNECTED: u8 = 0x04;
const DISCONNECT: u8 = 0x05;
const PING: u8 = 0x06;
const ACK: u8 = 0x09;
const PATH_CHALLENGE: u8 = 0x0a;
const PATH_RESPONSE: u8 = 0x0b;
const FEC: u8 = 0x0c;
const CREDIT: u8 = 0x0d;
const NEW_CID: u8 = 0x0e;
const FIN: u8 = 0x0f;
const RESET: u8 = 0x10;
const TIME_ASK: u8 = 0x11;
const TIME: u8 = 0x12;
const DATA: u8 = 0x20;
/// Flags in the type of a DATA frame.
const DATA_PIECE: u8 = 0x01;
const DATA_LAST: u8 = 0x02;
const DATA_CONTENT: u8 = 0x04;
const DATA_FLAGS: u8 = DATA_PIECE | DATA_LAST | DATA_CONTENT;

/// One frame, borrowing from the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// Nothing, to make a packet larger.
    Pad,
    /// The server's half of the handshake.
    Connected {
        /// What the server accepts.
        params: Params,
        /// The connection id the client is to use.
        cid: [u8; 8],
    },
    /// The end.
    Disconnect(Disconnect<'a>),
    /// Asks for an acknowledgement.
    Ping,
    /// Packet numbers that were opened.
    Ack(Ack<'a>),
    /// Asks whether the peer is at an address.
    PathChallenge([u8; 8]),
    /// Answers so.
    PathResponse([u8; 8]),
    /// Parity over earlier packets.
    Fec(Fec<'a>),
    /// How much more a reliable channel may carry.
    Credit {
        /// The channel.
        channel: u8,
        /// Bytes in all, since the connection began.
        limit: u64,
    },
    /// Another id under which the connection is found.
    NewCid {
        /// Which one, counted up.
        sequence: u32,
        /// The id.
        cid: [u8; 8],
    },
    /// One half of a stream ends.
    Fin {
        /// The channel.
        channel: u8,
        /// The number the end takes: one more than the last message's.
        message: u32,
    },
    /// A stream ends at once.
    Reset {
        /// The channel.
        channel: u8,
        /// The number the end takes.
        message: u32,
        /// Credit used on the channel before it.
        consumed: u64,
        /// What the application says of it.
        code: u16,
    },
    /// A client asks what time it is at the server. Agreed by [`Params::CLOCK`].
    TimeAsk {
        /// Tells the answer from others.
        mark: u32,
    },
    /// The server says so.
    Time {
        /// The question's.
        mark: u32,
        /// The server's clock when this left, in microseconds.
        time: u64,
    },
    /// A message or a piece of one.
    Data(Data<'a>),
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// 0 graceful, 1 timeout, 2 error, 3 rejected, 4 kicked, 5 protocol error, 6 limits, 7 replaced.
    pub reason: u8,
    /// What the application says of it.
    pub code: u16,
    /// The same for people; at most 255 bytes.
    pub message: &'a str,
}

/// Packet numbers that were opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The largest one's low 32 bits.
    pub largest: u32,
    /// How long `largest` waited for this, in steps of half a millisecond.
    pub delay: u8,
    /// Packets recovered by FEC so far, modulo 256.
    pub recovered: u8,
    /// 1 to 32 words of 4 bytes; see [`numbers`](Self::numbers).
    pub bitmap: &'a [u8],
}

impl<'a> Ack<'a> {
    /// Most words of the bitmap.
    pub const MAX_WORDS: usize = 32;

    /// How far below `largest` each acknowledged number lies, `largest` itself (0) first.
    pub fn numbers(&self) -> AckNumbers<'a> {
        AckNumbers { bitmap: self.bitmap, next: 0 }
    }
}

impl fmt::Debug for Ack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ack({} and below: ", self.largest)?;
        f.debug_list().entries(self.numbers()).finish()?;
        write!(f, ", delay {}, recovered {})", self.delay, self.recovered)
    }
}

/// Distances below the largest number; see [`Ack::numbers`].
#[derive(Debug, Clone)]
pub struct AckNumbers<'a> {
    bitmap: &'a [u8],
    next: u32,
}

impl Iterator for AckNumbers<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.next == 0 {
            self.next = 1;
            return Some(0);
        }
        loop {
            let (bit, distance) = (self.next.saturating_sub(1), self.next);
            // Bit i of the little-endian word w is bit i % 8 of byte 4 w + i / 8: plain byte order.
            let byte = self.bitmap.get(bit as usize / 8)?;
            // Far below its end: a bitmap has at most 1024 bits.
            self.next = distance.wrapping_add(1);
            if byte >> (bit % 8) & 1 == 1 {
                return Some(distance);
            }
        }
    }
}

/// Parity over the packets from `base` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fec<'a> {
    /// Low 32 bits of the group's first packet number.
    pub base: u32,
    /// Packets in the group.
    pub data: u8,
    /// Which parity packet this is, from 0.
    pub index: u8,
    /// How many there are.
    pub parity: u8,
    /// The parity bytes.
    pub bytes: &'a [u8],
}

/// A message or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data<'a> {
    /// The channel.
    pub channel: u8,
    /// The message's number on the channel, from 1.
    pub message: u32,
    /// Which part of the message; `None`: all of it.
    pub piece: Option<Piece>,
    /// How the message is compressed: bit 0 compressed, bit 1 zstd.
    pub content: u8,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Where in its message a piece lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its first byte.
    pub offset: u32,
    /// Length of the whole message.
    pub total: u32,
}

impl Data<'_> {
    /// Bytes of the frame besides its payload. `last`: no frame follows, so no length is needed.
    pub fn overhead(&self, last: bool) -> usize {
        let piece =
            self.piece.map_or(0, |piece| sum::of([varint_len(piece.offset), varint_len(piece.total)]));
        let length = if last { 0 } else { varint_len(self.payload.len() as u32) };
        sum::of([2, varint_len(self.message), piece, usize::from(self.content != 0), length])
    }
}

impl<'a> Frame<'a> {
    /// Whether the peer acknowledges a packet for this frame: all but ACK, PAD and DISCONNECT.
    pub const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Ack(_) | Self::Pad | Self::Disconnect(_))
    }

    /// Bytes of the frame. `last`: no frame follows it in the packet.
    pub fn encoded_len(&self, last: bool) -> usize {
        match self {
            Self::Pad | Self::Ping => 1,
            Self::Connected { .. } => 1 + Params::LEN + 8,
            Self::Disconnect(end) => sum::of([5, end.message.len()]),
            Self::Ack(ack) => sum::of([8, ack.bitmap.len()]),
            Self::PathChallenge(_) | Self::PathResponse(_) => 9,
            Self::Fec(fec) => sum::of([10, fec.bytes.len()]),
            Self::Credit { limit, .. } => sum::of([2, varlong_len(*limit)]),
            Self::NewCid { sequence, .. } => sum::of([1, varint_len(*sequence), 8]),
            Self::Fin { message, .. } => sum::of([2, varint_len(*message)]),
            Self::Reset { message, consumed, .. } => {
                sum::of([4, varint_len(*message), varlong_len(*consumed)])
            }
            Self::TimeAsk { .. } => 5,
            Self::Time { .. } => 13,
            Self::Data(data) => sum::of([data.overhead(last), data.payload.len()]),
        }
    }

    /// Writes the frame. Only a DATA frame cares whether it is the `last` of its packet.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`]; [`EncodeError::InvalidFrame`] for what no reader would take: a text or
    /// parity too long, a bitmap of no or too many words, a piece outside its message or too small.
    pub fn encode(&self, out: &mut [u8], last: bool) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(out);
        self.write(&mut writer, last)?;
        Ok(writer.written())
    }

    fn write(&self, writer: &mut Writer<'_>, last: bool) -> Result<(), EncodeError> {
        match self {
            Self::Pad => writer.put_u8(PAD),
            Self::Ping => writer.put_u8(PING),
            Self::Connected { params, cid } => {
                writer.put_u8(CONNECTED)?;
                params.write(writer)?;
                writer.put_array(cid)
            }
            Self::Disconnect(end) => {
                writer.put_u8(DISCONNECT)?;
                writer.put_u8(end.reason)?;
                writer.put_u16_le(end.code)?;
                let len = u8::try_from(end.message.len());
                writer.put_u8(len.map_err(|_| EncodeError::InvalidFrame { kind: DISCONNECT })?)?;
                writer.put_bytes(end.message.as_bytes())
            }
            Self::Ack(ack) => {
                let words = ack.bitmap.len() / 4;
                if ack.bitmap.len() % 4 != 0 || !(1..=Ack::MAX_WORDS).contains(&words) {
                    return Err(EncodeError::InvalidFrame { kind: ACK });
                }
                writer.put_u8(ACK)?;
                writer.put_u32_le(ack.largest)?;
                writer.put_u8(ack.delay)?;
                writer.put_u8(ack.recovered)?;
                writer.put_u8(words as u8)?;
                writer.put_bytes(ack.bitmap)
            }
            Self::PathChallenge(data) => {
                writer.put_u8(PATH_CHALLENGE)?;
                writer.put_array(data)
            }
            Self::PathResponse(data) => {
                writer.put_u8(PATH_RESPONSE)?;
                writer.put_array(data)
            }
            Self::Fec(fec) => {
                writer.put_u8(FEC)?;
                writer.put_u32_le(fec.base)?;
                writer.put_u8(fec.data)?;
                writer.put_u8(fec.index)?;
                writer.put_u8(fec.parity)?;
                let len = u16::try_from(fec.bytes.len());
                writer.put_u16_le(len.map_err(|_| EncodeError::InvalidFrame { kind: FEC })?)?;
                writer.put_bytes(fec.bytes)
            }
            Self::Credit { channel, limit } => {
                writer.put_u8(CREDIT)?;
                writer.put_u8(*channel)?;
                writer.put_varlong(*limit)
            }
            Self::NewCid { sequence, cid } => {
                writer.put_u8(NEW_CID)?;
                writer.put_varint(*sequence)?;
                writer.put_array(cid)
            }
            Self::Fin { channel, message } => {
                writer.put_u8(FIN)?;
                writer.put_u8(*channel)?;
                writer.put_varint(*message)
            }
            Self::Reset { channel, message, consumed, code } => {
                writer.put_u8(RESET)?;
                writer.put_u8(*channel)?;
                writer.put_varint(*message)?;
                writer.put_varlong(*consumed)?;
                writer.put_u16_le(*code)
            }
            Self::TimeAsk { mark } => {
                writer.put_u8(TIME_ASK)?;
                writer.put_u32_le(*mark)
            }
            Self::Time { mark, time } => {
                writer.put_u8(TIME)?;
                writer.put_u32_le(*mark)?;
                writer.put_array(&time.to_le_bytes())
            }
            Self::Data(data) => data.write(writer, last),
        }
    }
}

impl<'a> Data<'a> {
    /// Whether the piece lies in its message and is not needlessly small.
    fn is_sound(&self) -> bool {
        let Some(piece) = self.piece else { return true };
        let Some(rest) = piece.total.checked_sub(piece.offset) else { return false };
        let len = self.payload.len();
        len as u64 == u64::from(rest) || (len >= MIN_PIECE && (len as u64) < u64::from(rest))
    }

    /// As [`Frame::encode`], of this frame.
    ///
    /// # Errors
    ///
    /// As of [`Frame::encode`].
    #[inline]
    pub fn encode(&self, out: &mut [u8], last: bool) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(out);
        self.write(&mut writer, last)?;
        Ok(writer.written())
    }

    #[inline]
    fn write(&self, writer: &mut Writer<'_>, last: bool) -> Result<(), EncodeError> {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let kind = DATA
            | flag(self.piece.is_some(), DATA_PIECE)
            | flag(last, DATA_LAST)
            | flag(self.content != 0, DATA_CONTENT);
        let len = u32::try_from(self.payload.len()).map_err(|_| EncodeError::InvalidFrame { kind })?;
        if !self.is_sound() {
            return Err(EncodeError::InvalidFrame { kind });
        }
        writer.put_u8(kind)?;
        writer.put_u8(self.channel)?;
        writer.put_varint(self.message)?;
        if let Some(piece) = self.piece {
            writer.put_varint(piece.offset)?;
            writer.put_varint(piece.total)?;
        }
        if self.content != 0 {
            writer.put_u8(self.content)?;
        }
        if !last {
            writer.put_varint(len)?;
        }
        writer.put_bytes(self.payload)
    }

    #[inline]
    fn read(reader: &mut Reader<'a>, kind: u8) -> Result<Self, DecodeError> {
        let channel = reader.u8()?;
        let message = reader.varint()?;
        let piece = if kind & DATA_PIECE != 0 {
            Some(Piece { offset: reader.varint()?, total: reader.varint()? })
        } else {
            None
        };
        let content = if kind & DATA_CONTENT != 0 { reader.u8()? } else { 0 };
        let len = if kind & DATA_LAST != 0 { reader.remaining() } else { reader.varint()? as usize };
        let data = Self { channel, message, piece, content, payload: reader.bytes(len)? };
        if data.is_sound() { Ok(data) } else { Err(DecodeError::InvalidFrame { kind }) }
    }
}

/// The frames of an opened packet, in order. Ends with the first error: nothing after it can be told apart.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    reader: Reader<'a>,
    failed: bool,
}

impl<'a> Frames<'a> {
    /// Reads a packet's plaintext.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`]: a packet holds at least one frame.
    pub fn new(plaintext: &'a [u8]) -> Result<Self, DecodeError> {
        if plaintext.is_empty() {
            return Err(DecodeError::BufferTooSmall { needed: 1, available: 0 });
        }
        Ok(Self { reader: Reader::new(plaintext), failed: false })
    }

    /// The next frame, if it is DATA: most are. `None`: [`next`](Iterator::next) tells what comes, if anything does.
    #[inline]
    pub fn next_data(&mut self) -> Option<Result<Data<'a>, DecodeError>> {
        let kind = *self.reader.rest().first().filter(|&&kind| kind & !DATA_FLAGS == DATA && !self.failed)?;
        // it is there
        let data = self.reader.u8().and_then(|_| Data::read(&mut self.reader, kind));
        self.failed = data.is_err();
        Some(data)
    }

    /// Passes over PAD frames that come next, which mean nothing: up to a whole packet of them.
    pub fn skip_padding(&mut self) {
        self.reader.skip_zeros();
    }

    #[inline]
    fn read(&mut self) -> Result<Frame<'a>, DecodeError> {
        let reader = &mut self.reader;
        let kind = reader.u8()?;
        // most frames by far
        if kind & !DATA_FLAGS == DATA {
            return Data::read(reader, kind).map(Frame::Data);
        }
        Self::read_other(reader, kind)
    }

    fn read_other(reader: &mut Reader<'a>, kind: u8) -> Result<Frame<'a>, DecodeError> {
        let frame = match kind {
            PAD => Frame::Pad,
            CONNECTED => Frame::Connected { params: Params::read(reader)?, cid: reader.array()? },
            DISCONNECT => {
                let (reason, code, len) = (reader.u8()?, reader.u16_le()?, reader.u8()?);
                let bytes = reader.bytes(len.into())?;
                let message = core::str::from_utf8(bytes)
                    .map_err(|error| DecodeError::InvalidUtf8 { valid_up_to: error.valid_up_to() })?;
                Frame::Disconnect(Disconnect { reason, code, message })
            }
            PING => Frame::Ping,
            ACK => {
                let (largest, delay, recovered) = (reader.u32_le()?, reader.u8()?, reader.u8()?);
                let words = usize::from(reader.u8()?);
                if !(1..=Ack::MAX_WORDS).contains(&words) {
                    return Err(DecodeError::InvalidFrame { kind });
                }
                Frame::Ack(Ack { largest, delay, recovered, bitmap: reader.bytes(words * 4)? })
            }
            PATH_CHALLENGE => Frame::PathChallenge(reader.array()?),
            PATH_RESPONSE => Frame::PathResponse(reader.array()?),
            FEC => {
                let base = reader.u32_le()?;
                let (data, index, parity) = (reader.u8()?, reader.u8()?, reader.u8()?);
                let len = reader.u16_le()?;
                Frame::Fec(Fec { base, data, index, parity, bytes: reader.bytes(len.into())? })
            }
            CREDIT => Frame::Credit { channel: reader.u8()?, limit: reader.varlong()? },
            NEW_CID => Frame::NewCid { sequence: reader.varint()?, cid: reader.array()? },
            FIN => Frame::Fin { channel: reader.u8()?, message: reader.varint()? },
            RESET => Frame::Reset {
                channel: reader.u8()?,
                message: reader.varint()?,
                consumed: reader.varlong()?,
                code: reader.u16_le()?,
            },
            TIME_ASK => Frame::TimeAsk { mark: reader.u32_le()? },
            TIME => Frame::Time { mark: reader.u32_le()?, time: u64::from_le_bytes(reader.array()?) },
            _ => return Err(DecodeError::UnknownFrame { kind }),
        };
        Ok(frame)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.is_empty() {
            return None;
        }
        let frame = self.read();
        self.failed = frame.is_err();
        Some(frame)
    }
}

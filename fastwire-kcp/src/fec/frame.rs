//! The bytes of an error-correction packet: number 4, type 2, then for data and out-of-band packets a size 2
//! that counts itself, and the payload.

/// Bytes in front of a data packet's payload.
pub const FEC_HEADER_LEN: usize = 8;
/// The number of every out-of-band packet.
pub const OOB_SEQID: u32 = u32::MAX;
/// Bytes in front of what the code covers.
const COVERED_FROM: usize = 6;

/// What an error-correction packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// A datagram of segments.
    Data = 0x00f1,
    /// Parity of a group.
    Parity = 0x00f2,
    /// A user's message outside the stream.
    OutOfBand = 0x00f3,
}

/// An error-correction packet, its bytes borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FecPacket<'a> {
    /// Number, for data and parity.
    pub seqid: u32,
    /// What it carries.
    pub kind: PacketKind,
    /// What the code covers: size field, payload and what follows it; or parity.
    pub covered: &'a [u8],
}

impl<'a> FecPacket<'a> {
    /// Reads a packet; `None` when it is none (a segment, most likely).
    pub fn parse(inner: &'a [u8]) -> Option<Self> {
        let (head, covered) = inner.split_first_chunk::<COVERED_FROM>()?;
        let kind = match u16::from_le_bytes([head[4], head[5]]) {
            0x00f1 => PacketKind::Data,
            0x00f2 => PacketKind::Parity,
            0x00f3 => PacketKind::OutOfBand,
            _ => return None,
        };
        Some(Self { seqid: u32::from_le_bytes([head[0], head[1], head[2], head[3]]), kind, covered })
    }

    /// The payload of a data or out-of-band packet; `None` when its size field lies.
    pub fn payload(&self) -> Option<&'a [u8]> {
        payload_of(self.covered)
    }
}

/// The payload behind a size field, without padding.
pub(crate) fn payload_of(covered: &[u8]) -> Option<&[u8]> {
    let size = u16::from_le_bytes(*covered.first_chunk()?);
    covered.get(2..usize::from(size))
}

/// The bytes in front of a payload of `len` bytes.
pub(crate) fn data_header(seqid: u32, kind: PacketKind, len: usize) -> [u8; FEC_HEADER_LEN] {
    let [s0, s1, s2, s3] = seqid.to_le_bytes();
    let [k0, k1] = (kind as u16).to_le_bytes();
    let [l0, l1] = ((len + 2) as u16).to_le_bytes();
    [s0, s1, s2, s3, k0, k1, l0, l1]
}

/// The bytes in front of parity.
pub(crate) fn parity_header(seqid: u32) -> [u8; COVERED_FROM] {
    let [s0, s1, s2, s3] = seqid.to_le_bytes();
    let [k0, k1] = (PacketKind::Parity as u16).to_le_bytes();
    [s0, s1, s2, s3, k0, k1]
}

//! The header at the start of every packet, inside the seal (PROTOCOL A2).

use crate::varint_len;
use crate::{DecodeError, EncodeError, MAX_HEADER_SIZE, MIN_HEADER_SIZE, PacketFlags, Reader, Writer};

/// What a packet is, and what its sender has received on the packet's channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PacketHeader {
    /// Whether this is a fragment or a control packet.
    pub flags: PacketFlags,
    /// Index into the channel layout. Whether the layout has it is the caller's question.
    pub channel: u8,
    /// Number of the packet on its channel, from 1; 0 on control packets.
    pub sequence: u32,
    /// Highest sequence received on this channel, 0 = nothing yet.
    pub ack: u32,
    /// Bit i set: sequence `ack - 1 - i` was received.
    pub ack_field: u32,
}

impl PacketHeader {
    /// Fewest bytes of a header.
    pub const MIN_LEN: usize = MIN_HEADER_SIZE;

    /// Most bytes of a header.
    pub const MAX_LEN: usize = MAX_HEADER_SIZE;

    /// The header of a control packet that acknowledges what was received on `channel`.
    pub const fn control(channel: u8, ack: u32, ack_field: u32) -> Self {
        Self { flags: PacketFlags::CONTROL, channel, sequence: 0, ack, ack_field }
    }

    /// Whether the packet is a control packet.
    pub const fn is_control(&self) -> bool {
        self.flags.contains(PacketFlags::CONTROL)
    }

    /// Whether the packet carries a fragment.
    pub const fn is_fragment(&self) -> bool {
        self.flags.contains(PacketFlags::FRAGMENT)
    }

    /// Bytes that [`encode`](Self::encode) writes: 8 to 16.
    pub const fn encoded_len(&self) -> usize {
        varint_len(self.sequence).saturating_add(varint_len(self.ack)).saturating_add(6)
    }

    /// Writes the header at the start of `out` and returns the bytes written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`]; `out` is untouched then.
    #[inline]
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let (needed, available) = (self.encoded_len(), out.len());
        if available < needed {
            return Err(EncodeError::BufferTooSmall { needed, available });
        }
        let mut writer = Writer::new(out);
        writer.put_array(&[self.flags.bits(), self.channel])?;
        writer.put_varint(self.sequence)?;
        writer.put_varint(self.ack)?;
        writer.put_u32_le(self.ack_field)?;
        Ok(writer.written())
    }

    /// Reads a header from the start of `input`; returns it with the bytes it took.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidPacketHeader`] if the input has fewer than 8 bytes, ends inside the
    /// header, or one of the two varints overflows.
    #[inline]
    pub fn decode(input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let invalid = |_| DecodeError::InvalidPacketHeader { available: input.len() };
        let mut reader = Reader::new(input);
        let [flags, channel] = reader.array().map_err(invalid)?;
        let header = Self {
            flags: PacketFlags::from_bits(flags),
            channel,
            sequence: reader.varint().map_err(invalid)?,
            ack: reader.varint().map_err(invalid)?,
            ack_field: reader.u32_le().map_err(invalid)?,
        };
        Ok((header, reader.position()))
    }
}

const _: () = {
    // The shortest header that can be read has the fewest bytes, so no separate length check is needed.
    assert!(PacketHeader::control(0, 0, 0).encoded_len() == PacketHeader::MIN_LEN);
    let longest = PacketHeader::control(0, u32::MAX, 0);
    assert!(PacketHeader { sequence: u32::MAX, ..longest }.encoded_len() == PacketHeader::MAX_LEN);
};

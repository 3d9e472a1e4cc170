//! Transport parameters: what the sender of them accepts (PROTOCOL B2).

use crate::{DecodeError, EncodeError, Reader, Writer};

/// The 12 bytes both sides exchange, in RESPONSE and in CONNECTED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    /// Largest UDP payload taken, in bytes; at least 1200.
    pub max_datagram: u16,
    /// Bytes held for reliable channels together, in KiB.
    pub receive_budget_kib: u16,
    /// Largest message, in KiB; not 0.
    pub max_message_kib: u16,
    /// How long an acknowledgement may wait, in milliseconds; at most 120.
    pub max_ack_delay_ms: u8,
    /// Silence after which the connection is over, in seconds; at least 3.
    pub idle_timeout_s: u8,
    /// Most data packets in an FEC group; 0 = no FEC.
    pub fec_max_data: u8,
    /// Most parity packets in an FEC group.
    pub fec_max_parity: u8,
    /// Unknown bits are ignored.
    pub flags: u16,
}

impl Params {
    /// Flag: the clock is told and asked for (PROTOCOL B5, Clock).
    pub const CLOCK: u16 = 1;

    /// Length in bytes.
    pub const LEN: usize = 12;

    /// Whether every figure is in its range.
    pub const fn is_valid(&self) -> bool {
        self.max_datagram >= 1200
            && self.max_message_kib > 0
            && self.max_ack_delay_ms <= 120
            && self.idle_timeout_s >= 3
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.put_u16_le(self.max_datagram)?;
        writer.put_u16_le(self.receive_budget_kib)?;
        writer.put_u16_le(self.max_message_kib)?;
        writer.put_u8(self.max_ack_delay_ms)?;
        writer.put_u8(self.idle_timeout_s)?;
        writer.put_u8(self.fec_max_data)?;
        writer.put_u8(self.fec_max_parity)?;
        writer.put_u16_le(self.flags)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            max_datagram: reader.u16_le()?,
            receive_budget_kib: reader.u16_le()?,
            max_message_kib: reader.u16_le()?,
            max_ack_delay_ms: reader.u8()?,
            idle_timeout_s: reader.u8()?,
            fec_max_data: reader.u8()?,
            fec_max_parity: reader.u8()?,
            flags: reader.u16_le()?,
        })
    }

    /// Writes the 12 bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(out);
        self.write(&mut writer)?;
        Ok(writer.written())
    }

    /// Reads the 12 bytes; gives them with how many they were.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BufferTooSmall`]. Ranges are [`is_valid`](Self::is_valid)'s business.
    pub fn decode(input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(input);
        Ok((Self::read(&mut reader)?, reader.position()))
    }
}

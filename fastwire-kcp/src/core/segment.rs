//! The 24-byte header of a segment and its bytes.

/// Bytes of a segment's header.
pub const HEADER_LEN: usize = 24;

/// What a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Carries data.
    Push = 81,
    /// Acknowledges one PUSH.
    Ack = 82,
    /// Asks for the window.
    Wask = 83,
    /// Tells the window.
    Wins = 84,
}

impl Command {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            81 => Some(Self::Push),
            82 => Some(Self::Ack),
            83 => Some(Self::Wask),
            84 => Some(Self::Wins),
            _ => None,
        }
    }
}

/// A segment's header; every integer is little-endian on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Conversation number, equal at both ends.
    pub conv: u32,
    /// What the segment is for.
    pub cmd: Command,
    /// Fragments of the message still to follow.
    pub frg: u8,
    /// Free receive slots of the sender, in segments.
    pub wnd: u16,
    /// PUSH: clock of this transmission, in ms. ACK: the `ts` of the PUSH it answers.
    pub ts: u32,
    /// PUSH: number of the segment. ACK: number acknowledged.
    pub sn: u32,
    /// Next number the sender expects; everything before it has arrived.
    pub una: u32,
    /// Bytes of data that follow.
    pub len: u32,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&self.conv.to_le_bytes());
        bytes[4] = self.cmd as u8;
        bytes[5] = self.frg;
        bytes[6..8].copy_from_slice(&self.wnd.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.ts.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sn.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.una.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` when the command is unknown. Nothing else is checked.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let &[c0, c1, c2, c3, cmd, frg, w0, w1, ref rest @ ..] = bytes;
        let &[t0, t1, t2, t3, s0, s1, s2, s3, u0, u1, u2, u3, l0, l1, l2, l3] = rest;
        Some(Self {
            conv: u32::from_le_bytes([c0, c1, c2, c3]),
            cmd: Command::from_byte(cmd)?,
            frg,
            wnd: u16::from_le_bytes([w0, w1]),
            ts: u32::from_le_bytes([t0, t1, t2, t3]),
            sn: u32::from_le_bytes([s0, s1, s2, s3]),
            una: u32::from_le_bytes([u0, u1, u2, u3]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
        })
    }
}

/// The conversation number of a datagram that begins with a segment.
pub fn peek_conv(datagram: &[u8]) -> Option<u32> {
    (datagram.len() >= HEADER_LEN).then(|| datagram.first_chunk().copied().map(u32::from_le_bytes))?
}

/// `a − b` of numbers that wrap: positive when `a` is the later one.
pub(crate) fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_reverses_encode(bytes: [u8; HEADER_LEN], cmd in 81..=84u8) {
            let mut bytes = bytes;
            bytes[4] = cmd;
            prop_assert_eq!(Header::decode(&bytes).unwrap().encode(), bytes);
        }
    }

    #[test]
    fn other_commands_are_refused() {
        let known = (0..=255).filter(|&byte| Command::from_byte(byte).is_some());
        assert!(known.eq(81..=84));
    }
}

//! What a listener can tell from a datagram before it knows the session.

use crate::core::{Command, HEADER_LEN, Header};
use crate::fec::{FecPacket, PacketKind};

/// Least bytes inside a datagram; shorter ones are dropped.
pub const MIN_INNER_LEN: usize = 12;

/// A datagram's conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek {
    /// It shows its conversation number.
    Shown {
        /// Conversation number.
        conv: u32,
        /// Number of its first segment; 0 for an out-of-band message.
        sn: u32,
        /// Whether the first segment carries data, as the first datagram of any well-behaved peer does.
        opens: bool,
    },
    /// Parity: it belongs to whatever session the address has.
    Hidden,
    /// Too short for anything.
    Nothing,
}

impl Peek {
    /// Looks into the opened datagram.
    pub fn of(inner: &[u8]) -> Self {
        if inner.len() < MIN_INNER_LEN {
            return Self::Nothing;
        }
        match FecPacket::parse(inner) {
            None => Self::of_segments(inner),
            Some(packet) => match packet.kind {
                PacketKind::Parity => Self::Hidden,
                PacketKind::Data => packet.covered.get(2..).map_or(Self::Nothing, Self::of_segments),
                PacketKind::OutOfBand => {
                    let conv = packet.covered.get(2..).and_then(|payload| payload.first_chunk());
                    conv.map_or(Self::Nothing, |conv| Self::Shown {
                        conv: u32::from_le_bytes(*conv),
                        sn: 0,
                        opens: false,
                    })
                }
            },
        }
    }

    fn of_segments(segments: &[u8]) -> Self {
        let Some(head) = segments.first_chunk::<HEADER_LEN>() else { return Self::Nothing };
        let &[c0, c1, c2, c3, _, _, _, _, _, _, _, _, s0, s1, s2, s3, ..] = head;
        let (conv, sn) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([s0, s1, s2, s3]));
        let opens = Header::decode(head).is_some_and(|header| header.cmd == Command::Push);
        Self::Shown { conv, sn, opens }
    }
}

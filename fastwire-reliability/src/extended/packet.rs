//! What a sent packet carries, for when its fate is known.

use smallvec::SmallVec;

use super::ControlFrame;
use super::cut::Put;
use crate::asks::Key;
use crate::space::Class;

/// Frames that leave again when their packet is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// Whole messages of a channel with consecutive numbers.
    Whole {
        channel: u8,
        first: u64,
        count: u32,
    },
    /// Bytes `start` to `end` of a message.
    Piece {
        channel: u8,
        number: u64,
        start: u32,
        end: u32,
    },
    Credit {
        channel: u8,
        limit: u64,
    },
    /// FIN, or RESET.
    End {
        channel: u8,
        number: u64,
        reset: bool,
    },
    Control(ControlFrame),
    /// A piece of an unreliable message whose sender wants to know what becomes of it.
    Asked(Key),
}

/// What a packet carries that its sender wants to hear about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packet {
    pub(crate) frames: SmallVec<[Carried; 3]>,
    /// The largest number of the ACK in it.
    pub(crate) ack: Option<u64>,
}

impl Packet {
    /// Notes a message, or a piece of one.
    #[inline]
    pub(crate) fn add(&mut self, channel: u8, number: u64, put: &Put) {
        if put.whole {
            self.add_whole(channel, number);
        } else {
            self.frames.push(Carried::Piece { channel, number, start: put.start, end: put.end });
        }
    }

    /// Notes a whole message, as one with its neighbours.
    pub(crate) fn add_whole(&mut self, channel: u8, number: u64) {
        let neighbour = self.frames.iter_mut().rev().find_map(|frame| match frame {
            Carried::Whole { channel: of, first, count }
                if *of == channel && *first + u64::from(*count) == number =>
            {
                Some(count)
            }
            _ => None,
        });
        match neighbour {
            Some(count) => *count += 1,
            None => self.frames.push(Carried::Whole { channel, first: number, count: 1 }),
        }
    }
}

/// The packet under construction.
#[derive(Debug, Default)]
pub(crate) struct Building {
    pub(crate) packet: Packet,
    pub(crate) ack_eliciting: bool,
    pub(crate) reliable: bool,
    pub(crate) mtu_probe: bool,
    /// It carries something that was sent before.
    pub(crate) repeat: bool,
}

impl Building {
    pub(crate) fn class(&self) -> Class {
        match (self.mtu_probe, self.reliable) {
            (true, _) => Class::MtuProbe,
            (false, true) => Class::Reliable,
            (false, false) => Class::Unreliable,
        }
    }
}

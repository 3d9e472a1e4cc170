//! Forward error correction (PROTOCOL B5, FEC): parity over packets that left, and lost packets made of parity that came.

mod incoming;
mod loss;
mod outgoing;
mod send;
#[cfg(test)]
mod tests;

pub(super) use self::incoming::Incoming;
pub(super) use self::outgoing::Outgoing;

use crate::fec::{MAX_DATA, MAX_PARITY};

/// Bytes of a FEC frame beside its parity.
const FRAME: usize = 10;

/// Before each packet in a group stands its length.
const LENGTH: usize = 2;

/// What a packet of a group has to leave free, so that parity for it fits a packet of its own (PROTOCOL B5).
pub(super) const RESERVED: usize = FRAME + LENGTH;

/// The first byte of a packet with parity.
const FEC_TYPE: u8 = 0x0c;

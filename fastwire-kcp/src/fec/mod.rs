//! Error correction as kcp-go frames it: numbered data packets in groups, parity packets after each group.
//!
//! A group of d data and p parity packets has the numbers \[k·(d+p), (k+1)·(d+p)), data first. The code covers
//! each packet from its size field on.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod frame;
mod receiver;
mod sender;
mod tune;

pub use frame::{FEC_HEADER_LEN, FecPacket, OOB_SEQID, PacketKind};
pub(crate) use frame::{data_header, parity_header, payload_of};
pub use receiver::{FecReceiver, MAX_GROUPS_HELD};
pub use sender::{FecSender, MAX_DATA_GAP};

use fastwire_fec::{CodeError, ReedSolomon};

/// Data and parity packets of a group, at least one of each and at most 256 together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FecRatio {
    data: usize,
    parity: usize,
}

impl FecRatio {
    /// kcptun's default: three packets more for ten.
    pub const KCPTUN: Self = Self { data: 10, parity: 3 };
    /// What a receiver that was told nothing begins with, before it has seen the peer's.
    pub const UNKNOWN: Self = Self { data: 1, parity: 1 };

    /// `data` and `parity` packets a group.
    ///
    /// # Errors
    /// [`CodeError`] when either is 0 or both are more than 256.
    pub fn new(data: usize, parity: usize) -> Result<Self, CodeError> {
        ReedSolomon::new(data, parity).map(|_| Self { data, parity })
    }

    /// Data packets of a group.
    pub fn data(self) -> usize {
        self.data
    }

    /// Parity packets of a group.
    pub fn parity(self) -> usize {
        self.parity
    }

    /// Packets of a group.
    fn total(self) -> u32 {
        (self.data + self.parity) as u32
    }

    /// Groups until the numbers start again at 0.
    fn groups(self) -> u32 {
        u32::MAX / self.total()
    }

    /// The first number that is never used: numbers are below a multiple of the group.
    fn wrap(self) -> u32 {
        self.groups() * self.total()
    }
}

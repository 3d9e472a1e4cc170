#![no_std]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]
//!
//! ## Where to find what
//!
//! | module | what it holds | PROTOCOL |
//! |---|---|---|
//! | [`Reader`], [`Writer`] | cursors over byte slices, one method per primitive | A1 |
//! | [`varint`], [`string`], [`Uuid`] | the primitives as free functions and types | A1 |
//! | [`PacketHeader`] | the 8 to 16 bytes every packet begins with | A2 |
//! | [`Control`] | handshake and keep-alive payloads | A5 |
//! | [`FragmentHeader`] | the 5 bytes before a piece of a message | A7 |
//! | [`batch`] | many sealed packets in one datagram | A9 |
//! | [`info`] | question and answer of the info query | C1 |
//! | [`extended`] | the extended profile's trailers, parameters and frames | B2, B5 |
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
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

pub mod batch;
mod constants;
mod control;
mod error;
pub mod extended;
mod flags;
mod fragment;
mod header;
pub mod info;
mod reader;
pub mod string;
mod sum;
mod uuid;
pub mod varint;
mod writer;

#[cfg(test)]
extern crate std;

pub use batch::{BatchCursor, BatchReader, BatchWriter};
pub use constants::{
    DEFAULT_MTU, FRAGMENT_HEADER_SIZE, MAX_BATCH_PACKETS, MAX_FRAGMENT_PAYLOAD, MAX_FRAGMENTS,
    MAX_HEADER_SIZE, MAX_MESSAGE_SIZE, MAX_STRING_LEN, MIGRATION_TOKEN_SIZE, MIN_HEADER_SIZE,
    PROTOCOL_VERSION, WIRE_OVERHEAD,
};
pub use control::{
    CONTROL_PREFIX, Challenge, Connect, Control, ControlType, Reject, RejectReason, VersionMismatch,
};
pub use error::{DecodeError, EncodeError};
pub use flags::{Features, FragmentFlags, PacketFlags};
pub use fragment::{FragmentHeader, fragment_count};
pub use header::PacketHeader;
pub use reader::Reader;
pub use string::{put_string, read_string};
pub use uuid::{ParseUuidError, Uuid, put_uuid, read_uuid};
pub use varint::{put_varint, put_varlong, read_varint, read_varlong, varint_len, varlong_len};
pub use writer::Writer;

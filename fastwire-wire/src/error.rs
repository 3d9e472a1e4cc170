//! What can be wrong with bytes that are read, and with values that are written.

use crate::ControlType;

/// Why bytes are not the value they should be.
///
/// Nothing is consumed when one is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends before the value does.
    #[error("buffer too small: at least {needed} bytes needed, {available} available")]
    BufferTooSmall {
        /// Bytes the value needs at least.
        needed: usize,
        /// Bytes that are left.
        available: usize,
    },
    /// A varint is longer than 5 bytes or holds more than 32 bits.
    #[error("varint overflow: a varint has at most 5 bytes and 32 bits")]
    VarIntOverflow,
    /// A varlong is longer than 10 bytes or holds more than 64 bits.
    #[error("varlong overflow: a varlong has at most 10 bytes and 64 bits")]
    VarLongOverflow,
    /// A string begins with a length below zero.
    #[error("negative string length {length}: a length is 0 to 32767")]
    NegativeStringLength {
        /// The length as it was read.
        length: i16,
    },
    /// A string is not UTF-8.
    #[error("invalid string: not UTF-8 after {valid_up_to} bytes")]
    InvalidUtf8 {
        /// Bytes from the string's start that are valid.
        valid_up_to: usize,
    },
    /// A UUID has fewer than 16 bytes.
    #[error("invalid UUID: 16 bytes needed, {available} available")]
    InvalidUuid {
        /// Bytes that are left.
        available: usize,
    },
    /// A packet header is shorter than 8 bytes, ends inside a field, or one of its varints overflows.
    #[error("invalid packet header in {available} bytes: a header is 8 to 16 bytes with two varints")]
    InvalidPacketHeader {
        /// Bytes that were there to read it from.
        available: usize,
    },
    /// A fragment header is shorter than 5 bytes.
    #[error("invalid fragment header: 5 bytes needed, {available} available")]
    TruncatedFragmentHeader {
        /// Bytes that were there to read it from.
        available: usize,
    },
    /// A fragment header names a fragment that its message does not have.
    #[error("invalid fragment header: index {index} of {count} fragments; it must be below the count")]
    InvalidFragmentHeader {
        /// The fragment's index, from 0.
        index: u8,
        /// The number of fragments it claims.
        count: u8,
    },
    /// The first byte of a control payload is no known control type.
    #[error("unknown control type {value:#04x}: known are 0x01 to 0x08")]
    UnknownControlType {
        /// The byte as it was read.
        value: u8,
    },
    /// A control payload ends before its last field.
    #[error("invalid handshake packet: {control:?} ends after {available} bytes, before its last field")]
    InvalidHandshake {
        /// The type its first byte names.
        control: ControlType,
        /// Bytes of the payload, type byte included.
        available: usize,
    },
    /// A batch frame holds no packet, or ends before its last packet does.
    #[error("invalid batch frame: {count} packets announced, {available} bytes hold {complete} of them")]
    InvalidBatchFrame {
        /// The number of packets the frame announces.
        count: u8,
        /// The number of packets that are there.
        complete: u8,
        /// Bytes of the frame.
        available: usize,
    },
    /// The first byte of a frame names no frame of the extended profile.
    #[error("unknown frame {kind:#04x}")]
    UnknownFrame {
        /// The byte as it was read.
        kind: u8,
    },
    /// A frame of the extended profile contradicts itself.
    #[error("invalid frame {kind:#04x}: a count or an offset is outside its range")]
    InvalidFrame {
        /// The frame's type.
        kind: u8,
    },
    /// A RESPONSE of the extended profile is too long, or ends before its last field.
    #[error("invalid RESPONSE in {available} bytes: at most 850, with two lengths that fit")]
    InvalidResponse {
        /// Bytes of the datagram.
        available: usize,
    },
}

/// Why a value cannot be written.
///
/// Nothing is counted as written when one is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The output has no room for the value.
    #[error("buffer too small: {needed} bytes needed, {available} available")]
    BufferTooSmall {
        /// Bytes the value takes.
        needed: usize,
        /// Bytes of room that are left.
        available: usize,
    },
    /// A string has more than 32 767 bytes.
    #[error("string of {length} bytes exceeds 32767 bytes")]
    StringTooLong {
        /// The string's length in bytes.
        length: usize,
    },
    /// A fragment header names a fragment that its message does not have.
    #[error("invalid fragment header: index {index} of {count} fragments; it must be below the count")]
    InvalidFragmentHeader {
        /// The fragment's index, from 0.
        index: u8,
        /// The number of fragments it claims.
        count: u8,
    },
    /// A challenge carries a migration token without feature bit 02, or the bit without a token.
    #[error(
        "challenge with features {features:#04x} and {} migration token: the token goes with feature bit 0x02",
        if *.has_token { "a" } else { "no" }
    )]
    MigrationTokenMismatch {
        /// The challenge's feature bits.
        features: u8,
        /// Whether it carries a token.
        has_token: bool,
    },
    /// A batch frame already holds 255 packets.
    #[error("batch frame full: it holds 255 packets, send it and begin another")]
    BatchFull,
    /// A packet is too long for a batch frame, whose lengths have 16 bits.
    #[error("packet of {length} bytes exceeds the 65535 bytes of a batch entry")]
    PacketTooLong {
        /// The packet's length in bytes.
        length: usize,
    },
    /// A frame of the extended profile that no reader would take.
    #[error("invalid frame {kind:#04x}: a length, count or offset is outside its range")]
    InvalidFrame {
        /// The frame's type.
        kind: u8,
    },
    /// A RESPONSE of the extended profile exceeds 850 bytes.
    #[error("RESPONSE of {length} bytes exceeds 850 bytes: shorten the application's authentication")]
    ResponseTooLong {
        /// Its length in bytes.
        length: usize,
    },
}

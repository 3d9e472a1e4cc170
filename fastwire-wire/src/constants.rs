//! The sizes and numbers both peers must agree on.

/// Version of the base protocol, the first field of CONNECT and CHALLENGE.
pub const PROTOCOL_VERSION: u8 = 1;

/// Largest UDP payload in bytes that every peer accepts (PROTOCOL A11).
pub const DEFAULT_MTU: usize = 1200;

/// Bytes that sealing adds to a packet: nonce 8 and tag 16 (PROTOCOL A3).
pub const WIRE_OVERHEAD: usize = 24;

/// Fewest bytes a packet header takes (PROTOCOL A2).
pub const MIN_HEADER_SIZE: usize = 8;

/// Most bytes a packet header takes (PROTOCOL A2).
pub const MAX_HEADER_SIZE: usize = 16;

/// Bytes of a fragment header (PROTOCOL A7).
pub const FRAGMENT_HEADER_SIZE: usize = 5;

/// Most message bytes in one fragment: an MTU less sealing, the longest packet header and the
/// fragment header (PROTOCOL A7).
pub const MAX_FRAGMENT_PAYLOAD: usize = DEFAULT_MTU - WIRE_OVERHEAD - MAX_HEADER_SIZE - FRAGMENT_HEADER_SIZE;

/// Most fragments in one message; the count travels in one byte (PROTOCOL A7).
pub const MAX_FRAGMENTS: usize = 255;

/// Most bytes of a message on the wire, after compression: 294 525 (PROTOCOL A7).
pub const MAX_MESSAGE_SIZE: usize = MAX_FRAGMENT_PAYLOAD * MAX_FRAGMENTS;

/// Most packets in one batch frame; the count travels in one byte (PROTOCOL A9).
pub const MAX_BATCH_PACKETS: usize = 255;

/// Bytes of the token a migrating client puts before its datagrams (PROTOCOL A10).
pub const MIGRATION_TOKEN_SIZE: usize = 8;

/// Most bytes of a string: the length is a signed 16-bit number (PROTOCOL A1).
pub const MAX_STRING_LEN: usize = i16::MAX as usize;
